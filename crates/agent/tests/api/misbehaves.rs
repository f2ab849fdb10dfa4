//! An API server that answers, but not as it should.

use std::net::SocketAddr;

use crate::agent::Agent;
use crate::way::{Mood, Way};
use crate::world::{Api, FIRST, policy, soon};

const POLICIES: &str = "/apis/projectcalico.org/v3/networkpolicies";

/// As long as there is trouble, the last policy is kept, and said to be old, with the reason; in the
/// end there is what a fresh agent has.
async fn trouble(mood: impl FnOnce(SocketAddr) -> Mood, reason: &str) {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = Agent::impatient(&way.url);
    agent.ready().await;
    let before = agent.converges(&api.url()).await;
    agent.forget();

    way.cut();
    agent.says(false).await;
    way.is(mood(api.address));
    api.apply(&policy("late", 7)).await;
    let said = async || agent.log().contains(reason).then_some(());
    soon(&format!("it says `{reason}`"), said).await;
    let age = async || agent.metric("tortie_source_age_seconds");
    soon("it gets old", async || (age().await > 1.0).then_some(())).await;
    assert_eq!(agent.forget(), std::slice::from_ref(&before), "the last policy is kept");
    assert!(agent.is_ready(), "what is in force is what was known");

    way.open(api.address);
    let after = agent.converges(&api.url()).await;
    agent.says(true).await;
    let whole = |state: &String| *state == before || *state == after;
    assert!(agent.forget().iter().all(whole), "something else was told in between");
}

#[tokio::test]
async fn one_kind_is_forbidden() {
    trouble(|to| Mood::Refuses(to, POLICIES, 403), "refused on the way").await;
}

#[tokio::test]
async fn everything_fails() {
    trouble(|to| Mood::Refuses(to, "/", 500), "answered 500 Internal Server Error").await;
}

#[tokio::test]
async fn nothing_comes_back() {
    trouble(|_| Mood::Silent, "no answer within").await;
}

#[tokio::test]
async fn what_is_listed_is_no_object() {
    trouble(|to| Mood::Garbles(to, POLICIES), "something among networkpolicies").await;
}

/// What a watch loses, a list brings.
#[tokio::test]
async fn watches_end_in_the_middle_of_a_line() {
    gets_through(Mood::Tears).await;
}

#[tokio::test]
async fn what_happens_to_is_no_object() {
    gets_through(Mood::Mangles).await;
}

/// What is written comes through all the same, and nothing else does.
async fn gets_through(mood: fn(SocketAddr) -> Mood) {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    way.is(mood(api.address));
    let agent = Agent::impatient(&way.url);
    agent.ready().await;
    for port in 1..5 {
        let before = agent.converges(&api.url()).await;
        agent.forget();
        api.apply(&policy("late", port)).await;
        let after = agent.converges(&api.url()).await;
        assert_ne!(before, after);
        assert_eq!(agent.forget(), [before, after]);
    }
    assert!(agent.log().contains("the API server is away"), "{}", agent.log());
}

#[tokio::test]
async fn what_may_not_be_read_is_waited_for() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    way.is(Mood::Refuses(api.address, POLICIES, 403));
    let agent = Agent::impatient(&way.url);
    let said = async || agent.get("/ready").filter(|said| said.contains("refused on the way"));
    soon("it says what it waits for", said).await;
    assert_eq!((agent.is_ready(), agent.now()), (false, String::new()));
    way.open(api.address);
    agent.ready().await;
    agent.converges(&api.url()).await;
}

/// A server that is starting may not know its kinds yet; one that goes on to deny them is believed.
#[tokio::test]
async fn a_kind_is_denied() {
    let api = Api::new(FIRST).await;
    let way = Way::to(api.address).await;
    let agent = Agent::impatient(&way.url);
    agent.ready().await;
    let before = agent.converges(&api.url()).await;
    way.is(Mood::Refuses(api.address, POLICIES, 404));
    let doubts = "does not have this kind any more";
    soon("it is not believed", async || agent.log().contains(doubts).then_some(())).await;
    // The state is read first: what is told later may be without the kind.
    let now = agent.now();
    let missing = async || agent.metric("tortie_source_missing_kinds");
    assert!(now == before || missing().await == 1.0, "not yet");
    soon("it is believed", async || (missing().await == 1.0).then_some(())).await;
    agent.says(true).await;
    soon("without it", async || (!agent.now().contains("admits")).then_some(())).await;
    way.open(api.address);
    soon("with it", async || (agent.now() == before).then_some(())).await;
    assert_eq!(missing().await, 0.0);
}
