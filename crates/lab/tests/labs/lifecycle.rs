//! Labs come, run side by side, and go without a trace.

use std::process::Command;

use crate::harness::{Place, Traces, alive, eventually, tree};

#[test]
fn nothing_is_left_after_down() {
    let before = Traces::now();
    let mut place = Place::new();
    place.ok("x", &["up"]);
    let processes = tree(place.init("x"));
    assert!(processes.len() >= 2, "{processes:?}");
    place.ok("x", &["down"]);
    assert!(!processes.into_iter().any(alive));
    assert_eq!(place.state().read_dir().unwrap().count(), 0);
    assert_eq!(Traces::now(), before);
    let error = place.fails("x", &["down"], 3);
    assert!(error.contains("lab `x`: is not running"), "{error}");
}

#[test]
fn nothing_is_left_after_the_supervisor_was_killed() {
    let before = Traces::now();
    let mut place = Place::new();
    place.ok("x", &["up"]);
    let processes = tree(place.init("x"));
    let supervisor = processes[1];
    assert!(Command::new("kill").args(["-9", &supervisor.to_string()]).status().unwrap().success());
    eventually("the lab's end", || !processes.iter().copied().any(alive));
    place.ok("x", &["down"]);
    assert_eq!(place.state().read_dir().unwrap().count(), 0);
    assert_eq!(Traces::now(), before);
}

#[test]
fn two_labs_side_by_side() {
    let mut place = Place::new();
    place.ok("a", &["up"]);
    place.ok("b", &["up"]);
    let error = place.fails("a", &["up"], 1);
    assert!(error.contains("lab `a`: is already running"), "{error}");
    let error = place.fails("c", &["down"], 3);
    assert!(error.contains("running: a, b"), "{error}");
    place.ok("a", &["down"]);
    assert!(alive(place.init("b")));
}
