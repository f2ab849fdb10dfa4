//! Runs the tables under `corpus/validation`.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;

use tortie_policy::lint::Code;
use tortie_testkit::validation::{self, Case};
use tortie_testkit::workspace;

/// Runs the cases, of which there must be some: a corpus that is not found would pass.
fn run(cases: &[Case], least: usize, test: impl Fn(&Case) -> anyhow::Result<()>) {
    let failures: Vec<String> =
        cases.iter().filter_map(|case| test(case).err()).map(|e| format!("{e:#}")).collect();
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n\n"));
    println!("{} cases", cases.len());
    assert!(cases.len() >= least, "only {} cases", cases.len());
}

#[test]
fn documents_have_the_errors_of_the_corpus() {
    run(&validation::cases().unwrap(), 500, Case::run);
}

#[test]
fn documents_have_the_warnings_of_the_corpus() {
    run(&validation::warning_cases().unwrap(), 60, Case::warn);
}

#[test]
fn every_refusal_has_a_reason() {
    for case in validation::cases().unwrap() {
        for error in validation::check(&case.document) {
            assert!(!error.reason.is_empty(), "{}: {error:?}", case.name);
            assert!(!error.reason.ends_with('.'), "{}: {error:?}", case.name);
        }
    }
}

/// What `tortie-policy` refuses says what to try next; decoding says what it expected.
#[test]
fn every_refusal_of_a_value_has_a_hint() {
    let decoding = ["expected", "required", "unknown field", "not YAML", "duplicate", "non-finite"];
    let mut bare = Vec::new();
    for case in validation::cases().unwrap() {
        for error in validation::check(&case.document).into_iter().filter(|e| e.hint.is_none()) {
            if !decoding.iter().any(|start| error.reason.contains(start)) {
                bare.push(format!("{}: {error}", case.name));
            }
        }
    }
    assert!(bare.is_empty(), "{}", bare.join("\n"));
}

#[test]
fn every_warning_has_cases_with_and_without_it_and_is_described() {
    let cases = validation::warning_cases().unwrap();
    let guide = fs::read_to_string(workspace::root().join("docs/validation.md")).unwrap();
    let warned: BTreeSet<&str> =
        cases.iter().flat_map(|case| &case.warnings).filter_map(|w| w.code.as_deref()).collect();
    for code in Code::ALL.map(Code::as_str) {
        assert!(warned.contains(code), "no case has {code}");
        let file = format!("warnings-{code}.yaml: ");
        let quiet = |case: &&Case| {
            case.name.starts_with(&file)
                && !case.warnings.iter().any(|w| w.code.as_deref() == Some(code))
        };
        assert!(cases.iter().any(|case| quiet(&case)), "no case in {file} is without {code}");
        assert!(guide.contains(&format!("### `{code}`")), "docs/validation.md has no {code}");
    }
}
