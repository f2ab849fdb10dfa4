//! Runs the tables under `corpus/validation`.
#![allow(clippy::unwrap_used, reason = "test code")]

use tortie_testkit::validation;

#[test]
fn documents_have_the_errors_of_the_corpus() {
    let cases = validation::cases().unwrap();
    let failures: Vec<String> =
        cases.iter().filter_map(|case| case.run().err()).map(|e| e.to_string()).collect();
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n\n"));
    println!("{} cases", cases.len());
    // A corpus that is not found would pass.
    assert!(cases.len() >= 120, "only {} cases", cases.len());
}
