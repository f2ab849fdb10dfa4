//! Runs the scenarios under `corpus/verdicts` on every engine of the house.
#![allow(clippy::unwrap_used, reason = "test code")]

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
    assert_eq!(report.out_of_scope, 0);
    println!("{report:?}");
    // A corpus that is not found would pass.
    assert!(report.scenarios >= 45 && report.passed >= 180, "{report:?}");
    assert!(report.with_reason * 10 >= report.passed * 9, "{report:?}");
}
