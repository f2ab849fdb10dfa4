//! Labs come, run side by side, and go without a trace.

use std::process::Stdio;

use crate::harness::{
    INJECTED, Place, Traces, alive, eventually, is_empty, kill, outsider, pod, tree, web,
};

/// A pod that never gets ready.
fn unready() -> String {
    pod("never", "idle", ", ports: [{containerPort: 9}]")
}

#[test]
fn nothing_is_left_after_down() {
    let before = Traces::now();
    let Some(mut place) = Place::new() else { return };
    place.up("x", &(INJECTED.to_owned() + &web("a")), &[]);
    let processes = tree(place.init("x"));
    assert!(processes.len() > 8, "{processes:?}");
    place.ok("x", &["down"]);
    assert!(!processes.into_iter().any(alive));
    assert!(is_empty(&place.state()));
    before.assert_unchanged();
    let error = place.fails("x", &["down"], 3);
    assert!(error.contains("lab `x`: is not running"), "{error}");
}

#[test]
fn nothing_is_left_after_the_supervisor_was_killed() {
    let before = Traces::now();
    let Some(mut place) = Place::new() else { return };
    place.up("x", &outsider("a"), &[]);
    let processes = tree(place.init("x"));
    let supervisor = place.process("x", "supervise").pid;
    kill("-9", supervisor);
    eventually("the lab's end", || !processes.iter().copied().any(alive));
    let error = place.fails("x", &["status"], 3);
    assert!(error.contains("lab `x`: is not running"), "{error}");
    assert!(is_empty(&place.state()), "what a crash leaves is cleaned up");
    before.assert_unchanged();
}

#[test]
fn nothing_is_left_of_a_start_that_was_interrupted() {
    // Not SIGINT: a shell may have started all of this in the background, where that is ignored.
    for signal in ["-TERM", "-KILL"] {
        let before = Traces::now();
        let Some(mut place) = Place::new() else { return };
        let file = place.file("m.yaml", &(crate::harness::images() + &unready()));
        let mut up = place.command("x", &["up", "-f", &file]);
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let record = place.state().join("x/record.json");
        let status = place.state().join("x/status.json");
        eventually("the containers' start", || {
            status.exists()
                && std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"init\""))
        });
        let processes = tree(place.init("x"));
        kill(signal, up.id());
        up.wait().unwrap();
        eventually("the lab's end", || !processes.iter().copied().any(alive));
        eventually("the directory's end", || is_empty(&place.state()));
        before.assert_unchanged();
    }
}

#[test]
fn two_labs_side_by_side() {
    let Some(mut place) = Place::new() else { return };
    for name in ["a", "b"] {
        place.up(name, &(web("web") + &outsider("client")), &[]);
    }
    for name in ["a", "b"] {
        // Both have the same addresses, and each finds its own.
        assert!(place.curl(name, "client", "http://10.65.0.2").starts_with("web "));
    }
    let file = place.file("again.yaml", &(crate::harness::images() + &outsider("a")));
    let error = place.fails("a", &["up", "-f", &file], 1);
    assert!(error.contains("lab `a`: is already running"), "{error}");
    let error = place.fails("c", &["down"], 3);
    assert!(error.contains("running: a, b"), "{error}");
    place.ok("a", &["down"]);
    assert!(place.curl("b", "client", "http://10.65.0.2").starts_with("web "));
}
