//! The agent and a real API server with trouble between them: the last policy is kept, and in the
//! end there is what a fresh agent would have.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod world;

use std::time::Duration;

use tokio::time::sleep;

use crate::world::{Agent, Api, FIRST, SECOND, Way, digest, soon};

#[tokio::test]
async fn away_and_back_with_everything_changed() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = Agent::start(way.address).await;
    agent.ready().await;
    let before = Agent::start(api.address).await.settled().await;
    soon("the first policy", async || (agent.now() == before).then_some(())).await;
    agent.forget();

    way.cut();
    soon("it is noticed", async || (agent.metric("tortie_source_connected") == 0.0).then_some(()))
        .await;
    api.replace(FIRST, SECOND).await;
    soon("it gets old", async || (agent.metric("tortie_source_age_seconds") > 1.0).then_some(()))
        .await;
    assert_eq!(agent.now(), before, "the last policy is kept");
    assert!(agent.is_ready(), "what is in force is what was known");

    way.open(api.address);
    let after = Agent::start(api.address).await.settled().await;
    assert_ne!(before, after);
    soon("the new policy", async || (agent.now() == after).then_some(())).await;
    let between = agent.forget();
    let whole = |state: &String| *state == before || *state == after;
    assert!(between.iter().all(whole), "half of it was told: {between:#?}");
    assert_eq!(agent.metric("tortie_source_connected"), 1.0);
}

#[tokio::test]
async fn flapping() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = Agent::start(way.address).await;
    agent.ready().await;
    soon("the first policy", async || (!agent.now().is_empty()).then_some(())).await;
    for round in 0..15 {
        way.cut();
        sleep(Duration::from_millis(100)).await;
        let port = 8000 + round;
        api.apply(&world::policy("server", port)).await;
        way.open(api.address);
        sleep(Duration::from_millis(100)).await;
    }
    let fresh = Agent::start(api.address).await.settled().await;
    soon("the same as fresh", async || (agent.now() == fresh).then_some(())).await;
    for state in agent.forget() {
        assert!(state.contains("server"), "the policy was gone for a while: {state}");
    }
}

#[tokio::test]
async fn another_server_that_has_come_less_far() {
    let api = Api::new(FIRST).await;
    for port in 0..50 {
        api.apply(&world::policy("server", 9000 + port)).await;
    }
    let other = Api::new(SECOND).await;
    let way = Way::to(api.address).await;
    let agent = Agent::start(way.address).await;
    agent.ready().await;
    soon("the first policy", async || (!agent.now().is_empty()).then_some(())).await;
    // It is never seen that there is no server.
    way.open(other.address);
    let fresh = Agent::start(other.address).await.settled().await;
    soon("the other's policy", async || (agent.now() == fresh).then_some(())).await;
    // And it is followed from there.
    other.apply(&world::policy("late", 1)).await;
    soon("what is written now", async || agent.now().contains("late").then_some(())).await;
}

#[tokio::test]
async fn nothing_before_everything_is_known() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    way.cut();
    let agent = Agent::start(way.address).await;
    let waits =
        async || agent.get("/ready").filter(|said| said.contains("cannot reach the API server"));
    soon("it says what it waits for", waits).await;
    assert!(!agent.is_ready());
    assert_eq!(agent.now(), "");
    way.open(api.address);
    agent.ready().await;
    soon("the policy", async || agent.now().contains("server").then_some(())).await;
    assert_eq!(agent.metric("tortie_source_missing_kinds"), 0.0, "our server has every kind");
}

#[test]
fn states_that_differ_look_different() {
    let empty = tortie_calc::State::default();
    let mut other = tortie_calc::State::default();
    other.namespaces.insert("a".into(), std::sync::Arc::default());
    assert_ne!(digest(&empty), digest(&other));
}
