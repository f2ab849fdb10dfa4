//! Runs the scenarios under `corpus/verdicts` on the reference evaluator.
#![allow(clippy::unwrap_used, reason = "test code")]

use tortie_testkit::{Reference, verdicts};

#[test]
fn the_reference_evaluator_gives_the_verdicts_of_the_corpus() {
    let report = verdicts::run(&Reference).unwrap();
    let failures = report.failures.join("\n\n");
    assert!(report.failures.is_empty(), "{} cases fail:\n{failures}", report.failures.len());
    assert_eq!(report.out_of_scope, 0);
    println!("{report:?}");
    // A corpus that is not found would pass.
    assert!(report.scenarios >= 45 && report.passed >= 180, "{report:?}");
    assert!(report.with_reason * 10 >= report.passed * 9, "{report:?}");
}
