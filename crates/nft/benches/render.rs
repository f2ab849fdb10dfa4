//! What rendering costs, each beside the least work that could do it, in the same run: from all updates
//! to a ruleset beside a copy of that ruleset; one member of a set beside a hash set; one policy
//! written anew beside a copy of its chains.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use tortie_calc::{ActivePolicy, Calculation, Key, Member, SetId, SetKind, Update};
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{Delta, Element, Members};
use tortie_testkit::scale;

/// Endpoints of the cluster, a tenth of them of the node.
const PODS: usize = 2_000;
/// Policies of the cluster.
const POLICIES: usize = 200;

fn updates() -> Vec<Update> {
    let mut calculation = Calculation::new(Some("node-0".into())).assigning_addresses();
    let documents = scale::documents(PODS, POLICIES).into_iter();
    for resource in documents.flat_map(|document| tortie_model::decode(document).unwrap()) {
        calculation.apply(&Key::of(&resource), Some(&resource));
    }
    calculation.in_sync();
    let mut updates = Vec::new();
    calculation.flush(&mut updates);
    updates
}

fn rendered(updates: &[Update]) -> Renderer {
    let mut renderer = Renderer::new(Options::default());
    renderer.update(updates, &mut Delta::default());
    renderer
}

/// The set of most members, as members.
fn biggest(updates: &[Update]) -> (SetId, Vec<Member>) {
    let sets = updates.iter().filter_map(|update| match update {
        Update::IpSet { id, kind: SetKind::Net, members } => Some((id, members)),
        _ => None,
    });
    let (id, members) = sets.max_by_key(|(_, members)| members.len()).unwrap();
    (id.clone(), members.clone())
}

fn start(c: &mut Criterion) {
    let updates = updates();
    let ruleset = rendered(&updates).ruleset().clone();
    let mut group = c.benchmark_group("from all updates");
    group.bench_function("rendered", |b| b.iter(|| rendered(black_box(&updates))));
    group.bench_function("baseline: the ruleset copied", |b| b.iter(|| ruleset.clone()));
    group.finish();
}

fn member(c: &mut Criterion) {
    let updates = updates();
    let mut renderer = rendered(&updates);
    let (id, members) = biggest(&updates);
    let address = IpAddr::V4(Ipv4Addr::new(11, 0, 0, 1));
    let change = |added: &[Member], removed: &[Member]| {
        let (id, added, removed) = (id.clone(), added.to_vec(), removed.to_vec());
        [Update::IpSetDelta { id, added, removed }]
    };
    let one = [Member::address(address)];
    let (joins, leaves) = (change(&one, &[]), change(&[], &one));
    let mut group = c.benchmark_group("one member joins and leaves");
    group.bench_function("rendered", |b| {
        b.iter(|| {
            renderer.update(&joins, &mut Delta::default());
            renderer.update(&leaves, &mut Delta::default());
        });
    });
    let nets = members.iter().filter_map(|member| match member {
        Member::Net(net) => Some(Element::Net(*net)),
        Member::AddressPort(..) => None,
    });
    let (mut bare, element): (Members, _) = (nets.collect(), Element::Net(address.into()));
    group.bench_function("baseline: a hash set", |b| {
        b.iter(|| bare.insert(black_box(element.clone())) && bare.remove(&element));
    });
    group.finish();
}

/// A policy as it is, and without its last rule.
fn edited(updates: &[Update]) -> [Arc<ActivePolicy>; 2] {
    let mut policies = updates.iter().filter_map(|update| match update {
        Update::Policy(active) if active.policy.ingress.len() > 1 => Some(active),
        _ => None,
    });
    let policy = policies.next().unwrap();
    let mut shorter = ActivePolicy::clone(policy);
    Arc::make_mut(&mut shorter.policy).ingress.pop();
    shorter.ingress.pop();
    [Arc::clone(policy), Arc::new(shorter)]
}

fn policy(c: &mut Criterion) {
    let updates = updates();
    let mut renderer = rendered(&updates);
    let [whole, shorter] = edited(&updates).map(|policy| [Update::Policy(policy)]);
    let mut delta = Delta::default();
    renderer.update(&shorter, &mut delta);
    let chains: Vec<_> =
        delta.chains.iter().map(|name| renderer.ruleset().chains[name].clone()).collect();
    let mut group = c.benchmark_group("a policy loses a rule and has it again");
    group.bench_function("rendered", |b| {
        b.iter(|| {
            renderer.update(&whole, &mut Delta::default());
            renderer.update(&shorter, &mut Delta::default());
        });
    });
    group.bench_function("baseline: its chains copied", |b| {
        b.iter(|| (black_box(&chains).clone(), black_box(&chains).clone()));
    });
    group.finish();
}

criterion_group!(benches, start, member, policy);
criterion_main!(benches);
