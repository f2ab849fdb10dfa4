//! The agent, its API server, or both are away: the last policy stays, and what has changed meanwhile
//! is in force when they are back, and not said to be before.

use std::process::{Command, Stdio};

use crate::harness::{
    INJECTED, Place, SHORT, alive, eventually, kill, outsider, pod, service, text, web,
    without_sidecar,
};

/// One that sidecars enforce, and one that is the kernel's alone.
const POLICIES: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: get-only}\nspec:\n  selector: app == 'server'\n  \
    ingress: [{action: Allow, http: {methods: [GET]}}]\n---\n\
    apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: friends}\nspec:\n  selector: app == 'plain'\n  \
    ingress: [{action: Allow, source: {selector: app == 'client'}}]\n";

/// What becomes of a POST in the mesh, and of a stranger's request to a pod without a sidecar.
const OPEN: [&str; 2] = ["200", "reached"];
const CLOSED: [&str; 2] = ["403", "failed 28"];

/// A lab with those policies, and the file they are in.
fn up(place: &mut Place) -> String {
    let manifests = INJECTED.to_owned()
        + &web("server")
        + &service("server", "server", "")
        + &without_sidecar("plain", &web("plain"))
        + &service("plain", "plain", "")
        + &pod("client", "idle", "")
        + &outsider("stranger");
    place.up("x", &manifests, &[]);
    judged(place, OPEN, "before");
    let policies = place.file("p.yaml", POLICIES);
    place.ok("x", &["apply", "-f", &policies]);
    judged(place, CLOSED, "after");
    policies
}

#[track_caller]
fn judged(place: &mut Place, expected: [&str; 2], when: &str) {
    let post = place.curl("x", "client", "-o /dev/null -w %{http_code} -X POST http://server");
    // An answer may take its time, for silence there is no need to.
    let limit = if expected == OPEN { "" } else { SHORT };
    let plain = format!("{limit} -o /dev/null http://plain && echo reached");
    assert_eq!([post, place.curl("x", "stranger", &plain)], expected, "{when}");
}

/// Whether the API server has a policy.
fn is_stored(place: &Place, policy: &str) -> bool {
    let socket = place.state().join("x/api/api.sock");
    let url = format!("http://api/apis/projectcalico.org/v3/globalnetworkpolicies/{policy}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"]).arg(socket);
    match &*text(&curl.arg(url).output().unwrap().stdout) {
        "200" => true,
        "404" => false,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_stored_while_the_agent_is_away() {
    let Some(mut place) = Place::new() else { return };
    let policies = up(&mut place);
    for (verb, before, after) in [("delete", CLOSED, OPEN), ("apply", OPEN, CLOSED)] {
        let agent = place.process("x", "agent");
        kill("-STOP", agent.pid);
        let mut command = place.command("x", &[verb, "-f", &policies]);
        let mut command = command.stdout(Stdio::null()).spawn().unwrap();
        eventually("the change", || is_stored(&place, "friends") == (verb == "apply"));
        judged(&mut place, before, &format!("{verb}: stored, but not in force"));
        assert!(command.try_wait().unwrap().is_none(), "{verb}: not done before it is in force");
        kill("-KILL", agent.pid);
        assert!(command.wait().unwrap().success(), "{verb}");
        judged(&mut place, after, verb);
        assert!(!alive(agent));
    }
}

#[test]
fn what_is_killed_leaves_the_last_policy_and_catches_up() {
    let Some(mut place) = Place::new() else { return };
    let policies = up(&mut place);
    for killed in [&["agent"][..], &["apiserver"], &["apiserver", "agent"]] {
        let agent = place.process("x", "agent");
        let processes: Vec<_> = killed.iter().map(|word| place.process("x", word)).collect();
        processes.iter().for_each(|process| kill("-KILL", process.pid));
        judged(&mut place, CLOSED, &format!("{killed:?}: the last policy stays"));
        eventually("the deletion", || {
            place.run("x", &["delete", "-f", &policies]).status.success()
        });
        judged(&mut place, OPEN, &format!("{killed:?}: deleted"));
        place.ok("x", &["apply", "-f", &policies]);
        judged(&mut place, CLOSED, &format!("{killed:?}: applied"));
        assert_eq!(alive(agent), !killed.contains(&"agent"), "{killed:?}: nothing else ended");
    }
}
