//! What sidecars are told over their sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{
    Agent, Sidecar, account, endpoint, endpoint_id, eventually, from_accounts, from_set, labels,
    net, nets, policy, policy_id, profile, set, set_id, settings, start,
};
use tortie_calc::Update;
use tortie_policysync::server::layout;

#[tokio::test]
async fn a_sidecar_is_told_what_concerns_it_and_nothing_else() {
    let agent = Agent::new();
    agent.server.update(start());
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    assert_eq!(state.endpoints.keys().collect::<Vec<_>>(), [&endpoint_id("a")]);
    assert_eq!(state.policies.keys().collect::<Vec<_>>(), [&policy_id("p")]);
    assert_eq!(state.profiles.keys().collect::<Vec<_>>(), ["kns.shop"]);
    assert_eq!(state.sets.keys().collect::<Vec<_>>(), [&set_id("s:1")]);
    assert_eq!(state.sets[&set_id("s:1")].members, nets(1..5).into_iter().collect());
    assert!(sidecar.is("in sync", |s| s.is_synced()).await.stale_since.is_none());
}

#[tokio::test]
async fn changes_arrive_in_order() {
    let agent = Agent::new();
    agent.server.update(start());
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    sidecar.sees("the start", |state| state.in_sync).await;
    let (added, removed) = (vec![net(9)], vec![net(1)]);
    agent.server.update([Update::IpSetDelta { id: set_id("s:1"), added, removed }]);
    sidecar.sees("a delta", |s| s.sets[&set_id("s:1")].members.contains(&net(9))).await;
    agent.server.update([
        set("s:2", nets(1..2)),
        policy("q", vec![from_set("s:2")]),
        endpoint("a", &["q"], &[]),
        Update::PolicyRemove(policy_id("p")),
        Update::IpSetRemove(set_id("s:1")),
    ]);
    let state = sidecar.sees("another policy", |s| s.policies.contains_key(&policy_id("q"))).await;
    assert_eq!(state.policies.len(), 1, "a change arrives as a whole");
    assert_eq!(state.sets.keys().collect::<Vec<_>>(), [&set_id("s:2")]);
    assert!(state.profiles.is_empty());
    assert_eq!(sidecar.status.borrow().connections, 1, "nothing was out of order");
}

#[tokio::test]
async fn nothing_is_told_before_everything_is_known() {
    let agent = Agent::new();
    let mut updates = start();
    let in_sync = updates.pop();
    agent.server.update(updates);
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    sidecar.is("connected", |s| s.connections == 1).await;
    assert_eq!(sidecar.status.borrow().messages, 0);
    agent.server.update(in_sync);
    sidecar.sees("the start", |state| state.endpoints.len() == 1).await;
}

#[tokio::test]
async fn a_workload_may_come_later_and_go() {
    let agent = Agent::new();
    agent.server.update([Update::InSync]);
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    let state = sidecar.sees("being in sync", |state| state.in_sync).await;
    assert!(state.endpoints.is_empty());
    agent.server.update([profile("kns.shop"), endpoint("a", &[], &["kns.shop"])]);
    sidecar.sees("the workload", |state| state.endpoints.len() == 1).await;
    agent.server.update([Update::EndpointRemove(endpoint_id("a"))]);
    sidecar.sees("its end", |state| state.endpoints.is_empty()).await;
    sidecar.is("another connection", |s| s.connections >= 2 && s.is_synced()).await;
}

#[tokio::test]
async fn the_latest_client_takes_over() {
    let agent = Agent::new();
    agent.server.update(start());
    let socket = agent.socket("a").await;
    let mut first = Sidecar::connect(&socket);
    first.sees("the start", |state| state.in_sync).await;
    let mut second = Sidecar::connect(&socket);
    second.sees("the start", |state| state.in_sync).await;
    let lost = first.is("lost", |s| s.connections >= 2 || !s.is_synced()).await;
    assert!(lost.connections >= 1);
    assert!(first.now().in_sync, "what it had stays in force");
    eventually("one of them", || agent.server.numbers().sidecars <= 1).await;
}

#[tokio::test]
async fn identities_are_told_to_those_whose_policy_asks_for_them() {
    let agent = Agent::new();
    let others = ["b", "c"].map(|name| {
        Update::ServiceAccount(account(name), labels(&[("role", name), ("secret", "x")]))
    });
    agent.server.update(start());
    agent.server.update(others);
    agent.server.update([
        Update::Namespace("shop".into(), labels(&[("team", "1"), ("secret", "x")])),
        Update::Namespace("bare".into(), labels(&[])),
        Update::Address("10.0.0.2".parse().unwrap(), vec![account("b")]),
        settings(true),
        policy("who", vec![from_accounts("role", "team")]),
        endpoint("b", &["who"], &[]),
    ]);
    let mut plain = Sidecar::connect(&agent.socket("a").await);
    let state = plain.sees("the start", |state| state.settings.is_some()).await;
    assert!(state.accounts.is_empty() && state.namespaces.is_empty());
    assert!(state.addresses.is_empty() && !state.settings.as_ref().unwrap().addresses);

    let mut asking = Sidecar::connect(&agent.socket("b").await);
    let state = asking.sees("the start", |state| state.in_sync).await;
    assert_eq!(state.accounts[&account("c")], labels(&[("role", "c")]));
    assert_eq!(state.namespaces["shop"], labels(&[("team", "1")]));
    assert_eq!(state.namespaces["bare"], labels(&[]), "that it is there");
    assert!(state.settings.as_ref().unwrap().addresses);
    assert_eq!(state.addresses.iter().count(), 1);

    // More is asked for, and something goes.
    agent.server.update([
        policy("who", vec![from_accounts("secret", "team")]),
        Update::ServiceAccountRemove(account("b")),
        Update::Address("10.0.0.2".parse().unwrap(), vec![]),
    ]);
    let wanted = labels(&[("role", "c"), ("secret", "x")]);
    let state =
        asking.sees("more labels", |s| s.accounts.get(&account("c")) == Some(&wanted)).await;
    assert_eq!(state.accounts.len(), 1);
    assert!(state.addresses.is_empty());
    assert_eq!(asking.status.borrow().connections, 1);
}

#[tokio::test]
async fn sockets_come_and_go_with_credentials_and_prefix() {
    let agent = Agent::new();
    agent.server.update(start());
    let socket = agent.socket("a").await;
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "not for everybody");
    let mut sidecar = Sidecar::connect(&socket);
    sidecar.sees("the start", |state| state.in_sync).await;
    layout::withdraw(agent.folder.path(), "a").unwrap();
    sidecar.is("the end", |s| !s.is_synced()).await;
    eventually("no socket", || !socket.exists()).await;
    agent.socket("a").await;
    sidecar.is("back", |s| s.is_synced()).await;
    agent.server.set_prefix(None);
    sidecar.is("the end", |s| !s.is_synced()).await;
    eventually("no sockets", || agent.server.numbers().sockets == 0).await;
    agent.server.set_prefix(Some(agent.folder.path().to_owned()));
    sidecar.is("back", |s| s.is_synced()).await;
}

#[tokio::test]
async fn large_sets_arrive_whole() {
    let agent = Agent::new();
    let count = 1_000_000;
    agent.server.update([
        set("s:1", nets(0..count)),
        policy("p", vec![from_set("s:1")]),
        endpoint("a", &["p"], &[]),
        Update::InSync,
    ]);
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    assert_eq!(state.sets[&set_id("s:1")].members.len(), count as usize);
    let removed = nets(10..20);
    agent.server.update([Update::IpSetDelta { id: set_id("s:1"), added: vec![], removed }]);
    sidecar.sees("fewer", |s| s.sets[&set_id("s:1")].members.len() == count as usize - 10).await;
}
