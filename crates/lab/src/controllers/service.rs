//! Addresses for Services that have none.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Action, Facts, merge};
use crate::plan::{cluster_addresses, families};
use crate::world::{Kind, World, is_terminating, list, text};

pub(super) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let taken = world.documents(Kind::Service).flat_map(|service| {
        let single = service.pointer("/spec/clusterIP");
        let all = list(service, "/spec/clusterIPs").chain(single);
        all.filter_map(|one| one.as_str()?.parse().ok()).collect::<Vec<IpAddr>>()
    });
    let mut taken: BTreeSet<IpAddr> = taken.collect();
    let waiting = world.documents(Kind::Service).filter(|service| is_waiting(service));
    let mut waiting: Vec<&Value> = waiting.collect();
    waiting.sort_by_key(|one| text(one, "/metadata/resourceVersion").parse::<u64>().ok());
    waiting.into_iter().filter_map(|service| addressed(service, facts.v6, &mut taken)).collect()
}

fn is_waiting(service: &Value) -> bool {
    text(service, "/spec/clusterIP").is_empty()
        && text(service, "/spec/type") != "ExternalName"
        && !is_terminating(service)
}

fn addressed(service: &Value, v6: bool, taken: &mut BTreeSet<IpAddr>) -> Option<Action> {
    let families = families(service, v6);
    let addresses = cluster_addresses(&families, taken)?;
    let first = *addresses.first()?;
    taken.extend(addresses.iter().copied());
    let names = addresses.iter().map(|one| if one.is_ipv4() { "IPv4" } else { "IPv6" });
    let names: Vec<&str> = names.collect();
    let mut document = service.clone();
    let spec = json!({"clusterIP": first, "clusterIPs": addresses, "ipFamilies": names});
    merge(&mut document, &json!({ "spec": spec }));
    if text(service, "/spec/ipFamilyPolicy").is_empty() {
        merge(&mut document, &json!({"spec": {"ipFamilyPolicy": "SingleStack"}}));
    }
    Some(Action::Replace(Kind::Service, document))
}
