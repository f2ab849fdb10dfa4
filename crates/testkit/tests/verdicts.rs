//! Runs the scenarios under `corpus/verdicts` on every engine of the house.
#![allow(clippy::unwrap_used, reason = "test code")]

use tortie_policy::{CompatPlace, CompatPoint};
use tortie_testkit::{Compiled, Engine, Reference, verdicts};

#[test]
fn the_reference_evaluator_gives_the_verdicts_of_the_corpus() {
    run(&Reference);
}

#[test]
fn the_compiled_engine_gives_the_verdicts_of_the_corpus() {
    run(&Compiled);
}

fn run(engine: &dyn Engine) {
    let report = verdicts::run(engine).unwrap();
    let failures = report.failures.join("\n\n");
    assert!(report.failures.is_empty(), "{} cases fail:\n{failures}", report.failures.len());
    // Only ways of reading resources that an engine does not know are not for it to judge.
    assert!(report.out_of_scope == 0 || engine.name() != Reference.name(), "{report:?}");
    println!("{report:?}");
    // A corpus that is not found would pass.
    assert!(report.scenarios >= 150 && report.passed >= 650, "{report:?}");
    assert!(report.with_reason * 10 >= report.passed * 9, "{report:?}");
}

/// Every scenario the list of traps names is there, and so is one for each point of compatibility
/// that bears on verdicts.
#[test]
fn the_traps_and_points_have_their_scenarios() {
    let folder = verdicts::folder();
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let (_, traps) = readme.split_once("## What naive versions get wrong").unwrap();
    let named = traps.lines().filter(|line| line.starts_with("| ")).skip(1);
    let named = named.filter_map(|line| line.rsplit(" | ").next()).flat_map(|cell| cell.split('`'));
    let mut named: Vec<_> = named.filter(|name| name.contains('/')).map(str::to_owned).collect();
    assert!(named.len() > 30, "{named:?}");
    let points = CompatPoint::ALL.iter().filter(|p| p.place() != CompatPlace::Authorizer);
    named.extend(points.map(|point| format!("compat/{point}")));
    for name in named {
        assert!(folder.join(format!("{name}.yaml")).exists(), "{name}");
    }
}
