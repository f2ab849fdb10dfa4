//! `connectivity` says of every cell what `explain` says, and nothing changes from a cluster to
//! itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tortie_policy::{
    Cell, Cluster, EndpointId, Matrix, Party, PortName, PortSpec, Query, QueryError, TraceEntry,
    Trust, Word, explain,
};
use tortie_testkit::Property;
use tortie_testkit::world::{World, build, strategy};

const PORTS: [&str; 6] = ["tcp/53", "tcp/80", "tcp/8080", "udp/53", "udp/4789", "sctp/81"];

/// Worlds whose pods are on nodes, some of which have host endpoints with policy for what passes.
fn on_nodes() -> impl Strategy<Value = Vec<Value>> {
    (strategy::world(), vec(0..3_usize, 8), any::<[bool; 4]>()).prop_map(
        |(world, nodes, [closed, raw, early, open])| {
            let mut documents = world.documents();
            let pods = documents.iter_mut().filter(|d| d["kind"] == "Pod");
            for (pod, node) in pods.zip(nodes) {
                if node > 0 {
                    pod["spec"]["nodeName"] = format!("node-{node}").into();
                }
            }
            documents.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
                "metadata": {"name": "host", "labels": {"role": "host"}},
                "spec": {"node": "node-1", "interfaceName": if raw { "eth0" } else { "*" }}}));
            let allow = json!([{"action": "Allow", "protocol": "TCP"}]);
            let mut policy = |name: &str, extra: Value| {
                let mut spec = json!({"selector": "role == 'host'", "applyOnForward": true});
                spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
                documents.push(json!({"apiVersion": "projectcalico.org/v3",
                    "kind": "GlobalNetworkPolicy", "metadata": {"name": name}, "spec": spec}));
            };
            if closed {
                policy("closed", json!({"types": ["Ingress", "Egress"], "egress": allow}));
            }
            if raw {
                policy(
                    "raw",
                    json!({"doNotTrack": true, "ingress": [
                    {"action": "Deny", "protocol": "TCP", "destination": {"ports": [53]}}]}),
                );
            }
            if early {
                policy(
                    "early",
                    json!({"preDNAT": true, "ingress": [
                    {"action": if open { "Allow" } else { "Deny" }, "protocol": "UDP"}]}),
                );
            }
            documents
        },
    )
}

fn query(from: &EndpointId, to: &EndpointId, port: PortSpec) -> Query {
    Query {
        from: Party::Endpoint(from.clone()),
        to: Party::Endpoint(to.clone()),
        protocol: port.protocol,
        port: Some(PortName::Number(port.port)),
        icmp: None,
        http: None,
        from_identity: None,
    }
}

/// Compares a cell with the explanation; what it was decided by.
fn compare(cluster: &Cluster, query: &Query, cell: &Cell<'_>) -> Result<String, TestCaseError> {
    let decided = cell.decided_by.map(TraceEntry::from);
    let explanation = match explain(cluster, &Trust::default(), query) {
        Err(QueryError::NoFamily(..)) => {
            prop_assert!(!cell.allowed && decided.is_none());
            return Ok("no family".to_owned());
        }
        other => other.map_err(|e| TestCaseError::fail(e.to_string()))?,
    };
    prop_assert_eq!(cell.allowed, explanation.verdict == Word::Allow, "{:?}", explanation);
    let last = explanation.deciding().and_then(|(_, leg)| leg.trace.last());
    prop_assert_eq!(decided.as_ref(), last, "{:?}", explanation);
    let what = decided.map_or("itself".to_owned(), |d| match d.plane {
        Some(plane) => plane.to_owned(),
        None => d.kind.unwrap_or_else(|| d.action.to_owned()),
    });
    Ok(what)
}

#[test]
fn connectivity_is_explain_cell_by_cell() {
    let tally = RefCell::new(BTreeMap::<String, u32>::new());
    Property::new("connectivity is explain, cell by cell", 300).check(&on_nodes(), |documents| {
        let cluster = build(documents).map_err(TestCaseError::fail)?;
        let matrix = Matrix::new(&cluster);
        let ids: Vec<_> = matrix.endpoints().map(|e| e.id.clone()).collect();
        for port in PORTS.map(|port| port.parse::<PortSpec>().unwrap()) {
            for (row, from) in ids.iter().enumerate() {
                let cells = matrix.row(row, port);
                prop_assert_eq!(cells.len(), ids.len());
                for (to, cell) in ids.iter().zip(&cells) {
                    let what = compare(&cluster, &query(from, to, port), cell)?;
                    *tally.borrow_mut().entry(what).or_default() += 1;
                }
            }
        }
        Ok(())
    });
    let tally = tally.into_inner();
    let expected = [
        "itself",
        "no family",
        "tier-default",
        "Profile",
        "GlobalNetworkPolicy",
        "NetworkPolicy",
        "forward",
        "untracked",
        "preDNAT",
        "Fixed",
    ];
    assert!(expected.iter().all(|what| tally.contains_key(*what)), "{tally:?}");
}

/// Every verdict with what decided, from a world's documents in some order.
fn all(documents: Vec<Value>) -> Result<Vec<(bool, bool, Option<TraceEntry>)>, TestCaseError> {
    let cluster = build(documents).map_err(TestCaseError::fail)?;
    let matrix = Matrix::new(&cluster);
    let ports = PORTS.map(|port| port.parse::<PortSpec>().unwrap());
    let rows = ports.iter().flat_map(|port| (0..matrix.len()).map(|row| matrix.row(row, *port)));
    let cell = |c: &Cell<'_>| (c.allowed, c.conditional, c.decided_by.map(TraceEntry::from));
    Ok(rows.flat_map(|row| row.iter().map(cell).collect::<Vec<_>>()).collect())
}

#[test]
fn a_cluster_and_itself_differ_in_nothing() {
    let shuffled = strategy::world().prop_flat_map(|world: World| {
        (Just(world.documents()), Just(world.documents()).prop_shuffle())
    });
    let property = Property::new("a cluster and itself differ in nothing", 200);
    property.check(&shuffled, |(documents, shuffled)| {
        prop_assert_eq!(all(documents)?, all(shuffled)?);
        Ok(())
    });
}
