//! The agent and a real API server with trouble between them: the last policy is kept, and in the
//! end there is what a fresh agent would have.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

#[path = "../common/admin.rs"]
mod admin;
mod agent;
mod etcd;
mod misbehaves;
mod process;
mod program;
mod stored;
mod way;
mod world;

use std::time::Duration;

use tokio::time::sleep;

use crate::agent::Agent;
use crate::way::Way;
use crate::world::{Api, FIRST, SECOND, digest, soon};

#[tokio::test]
async fn away_and_back_with_everything_changed() {
    // A minute in `make soak`.
    let seconds = std::env::var("TORTIE_AWAY_SECONDS").map_or(1.0, |text| text.parse().unwrap());
    away_and_back(Agent::start, seconds).await;
}

/// For longer than it waits for anything.
#[tokio::test]
async fn away_for_longer_than_any_wait() {
    away_and_back(Agent::impatient, 4.0).await;
}

async fn away_and_back(start: fn(&str) -> Agent, seconds: f64) {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = start(&way.url);
    agent.ready().await;
    let before = agent.converges(&api.url()).await;
    agent.forget();

    way.cut();
    agent.says(false).await;
    api.replace(FIRST, SECOND).await;
    let age = async || agent.metric("tortie_source_age_seconds");
    soon("it gets old", async || (age().await > seconds).then_some(())).await;
    assert_eq!(agent.now(), before, "the last policy is kept");
    assert!(agent.is_ready(), "what is in force is what was known");
    assert!(agent.log().contains("the API server is away"), "{}", agent.log());

    // Before it is back, so that nothing else is busy then.
    let after = Agent::start(&api.url()).settled().await;
    way.open(api.address);
    soon("the same as fresh", async || (agent.now() == after).then_some(())).await;
    assert_ne!(before, after);
    let between = agent.forget();
    let whole = |state: &String| *state == before || *state == after;
    assert!(between.iter().all(whole), "half of it was told: {between:#?}");
    agent.says(true).await;
}

#[tokio::test]
async fn the_way_to_it_is_flapping() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = Agent::start(&way.url);
    agent.ready().await;
    soon("the first policy", async || (!agent.now().is_empty()).then_some(())).await;
    for round in 0..15 {
        way.cut();
        sleep(Duration::from_millis(100)).await;
        let port = 8000 + round;
        api.apply(&world::policy("admits", port)).await;
        way.open(api.address);
        sleep(Duration::from_millis(100)).await;
    }
    agent.converges(&api.url()).await;
    for state in agent.forget() {
        assert!(state.contains("admits"), "the policy was gone for a while: {state}");
    }
}

#[tokio::test]
async fn another_server_that_has_come_less_far() {
    let api = Api::new(FIRST).await;
    for port in 0..50 {
        api.apply(&world::policy("admits", 9000 + port)).await;
    }
    let other = Api::new(SECOND).await;
    let way = Way::to(api.address).await;
    let agent = Agent::start(&way.url);
    agent.ready().await;
    soon("the first policy", async || (!agent.now().is_empty()).then_some(())).await;
    // It is never seen that there is no server.
    way.open(other.address);
    agent.converges(&other.url()).await;
    // And it is followed from there.
    other.apply(&world::policy("late", 1)).await;
    soon("what is written now", async || agent.now().contains("late").then_some(())).await;
}

#[tokio::test]
async fn nothing_before_everything_is_known() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    way.cut();
    let agent = Agent::start(&way.url);
    let waits =
        async || agent.get("/ready").filter(|said| said.contains("cannot reach the API server"));
    soon("it says what it waits for", waits).await;
    assert!(!agent.is_ready());
    assert_eq!(agent.now(), "");
    way.open(api.address);
    agent.ready().await;
    soon("the policy", async || agent.now().contains("admits").then_some(())).await;
    assert_eq!(agent.metric("tortie_source_missing_kinds"), 0.0, "our server has every kind");
}

#[test]
fn states_that_differ_look_different() {
    let empty = tortie_calc::State::default();
    let mut other = tortie_calc::State::default();
    other.namespaces.insert("a".into(), std::sync::Arc::default());
    assert_ne!(digest(&empty), digest(&other));
}
