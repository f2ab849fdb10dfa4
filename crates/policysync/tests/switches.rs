//! What the switches do that concern sidecars alone: see `docs/compat.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use common::{
    Agent, Sidecar, account, endpoint, endpoint_id, eventually, fast, from_accounts, from_set,
    labels, policy, set_id, start,
};
use tortie_calc::compiled::{Snapshot, Traffic};
use tortie_calc::{Disorder, RuleSets, Settings, SideSets, State, Update};
use tortie_policy::{
    Action, Address, Compat, CompatPoint, Direction, HttpAtNetwork, Protocol, Rule,
};
use tortie_policysync::server::{Anybody, Config};

fn switched(compat: impl Into<Compat>) -> Update {
    Update::Settings(Arc::new(Settings { compat: compat.into(), ..Settings::default() }))
}

/// Whether an endpoint with one rule lets plain text in, as the network sees it and as a sidecar does.
fn allows(rule: (Rule, RuleSets), compat: Compat) -> [bool; 2] {
    let mut state = State::default();
    let updates =
        [switched(compat), policy("p", vec![rule]), endpoint("a", &["p"], &[]), Update::InSync];
    for update in updates {
        // What is named but not there is taken in all the same.
        assert!(matches!(state.apply(update), Ok(()) | Err(Disorder::UnknownSet(..))));
    }
    let snapshot = Snapshot::new(&state);
    let place = snapshot.workload(&endpoint_id("a"), Direction::Ingress).unwrap();
    let [from, to] = [("10.0.0.9", 40_000), ("10.0.0.1", 80)]
        .map(|(address, port)| Address::new(address.parse().unwrap(), port));
    let network = Traffic::network(from, to, Protocol::TCP, None, HttpAtNetwork::Deferred);
    let sidecar = Traffic::sidecar((from, ""), (to, ""), Protocol::TCP, None);
    [network, sidecar].map(|traffic| place.decide(&traffic).allowed())
}

/// A rule that allows what does not come from a set.
fn not_from_set(name: &str) -> (Rule, RuleSets) {
    let source = SideSets { excluded: vec![set_id(name)], ..SideSets::default() };
    (Rule::any(Action::Allow), RuleSets { source, ..RuleSets::default() })
}

#[test]
fn a_set_that_was_never_told_opens_nothing_unless_asked_for() {
    let lax = Compat::from(CompatPoint::MissingIpSet);
    for rule in [from_set("s:none"), not_from_set("s:none")] {
        assert_eq!(allows(rule.clone(), Compat::STRICT), [false, false]);
        assert_eq!(allows(rule, lax), [true, true]);
    }
}

#[test]
fn plain_text_has_no_identity_without_a_map_unless_asked_for() {
    let rule = || from_accounts("role", "team");
    assert_eq!(allows(rule(), Compat::STRICT), [false, false]);
    let lax = Compat::from(CompatPoint::PlaintextWithoutMap);
    assert!(allows(rule(), lax)[1]);
}

#[tokio::test]
async fn identities_of_all_are_told_if_asked_for() {
    let agent = Agent::new();
    agent.server.update(start());
    agent.server.update([
        Update::ServiceAccount(account("b"), labels(&[("role", "b")])),
        Update::Namespace("far".into(), labels(&[("team", "1")])),
        Update::Address("10.0.0.2".parse().unwrap(), vec![account("b")]),
    ]);
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    assert!(state.accounts.is_empty() && state.namespaces.is_empty());
    agent.server.update([switched(CompatPoint::AllIdentities)]);
    let state = sidecar.sees("all", |s| s.accounts.len() + s.namespaces.len() == 2).await;
    assert_eq!(state.accounts[&account("b")], labels(&[("role", "b")]));
    assert_eq!(state.namespaces["far"], labels(&[("team", "1")]));
    assert_eq!(state.addresses.iter().count(), 0, "no rule asks who uses them");
}

#[tokio::test]
async fn sockets_have_the_mode_and_group_that_are_asked_for() {
    let own = std::fs::metadata("/proc/self").unwrap();
    // Only root can give files to a group it is not in.
    let group = if own.uid() == 0 { own.gid() + 1 } else { own.gid() };
    let config = Config { socket_mode: 0o600, socket_group: Some(group), ..fast() };
    let agent = Agent::with(config, Anybody);
    let path = agent.socket("a").await;
    eventually("its mode and group", || {
        let socket = std::fs::metadata(&path).unwrap();
        (socket.permissions().mode() & 0o777, socket.gid()) == (0o600, group)
    })
    .await;
}
