//! Properties that are checked on random values.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// A property, and how long to look for a value without it.
///
/// The values depend on the seed alone, which is printed. Without a word from the environment both
/// are the same each time. `PROPTEST_CASES` asks for that many values, and other ones each time;
/// `PROPTEST_RNG_SEED` asks for the values of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    name: &'static str,
    cases: u32,
    seed: u64,
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    std::env::var(variable).ok()?.parse().ok()
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos())
}

impl Property {
    /// A property to be checked on a number of values.
    pub fn new(name: &'static str, cases: u32) -> Property {
        let asked = number("PROPTEST_CASES");
        let seed = number("PROPTEST_RNG_SEED").unwrap_or(if asked.is_some() { clock() } else { 1 });
        Property { name, cases: asked.unwrap_or(cases), seed }
    }

    /// A property to be checked for long, on other values each time.
    pub fn soak(name: &'static str, cases: u32) -> Property {
        Property { name, cases, seed: number("PROPTEST_RNG_SEED").unwrap_or_else(clock) }
    }

    /// Checks the property.
    ///
    /// # Panics
    /// With the smallest value found that does not have it.
    #[expect(clippy::panic, reason = "tests report their findings by a panic")]
    pub fn check<S>(self, values: &S, test: impl Fn(S::Value) -> TestCaseResult)
    where
        S: Strategy,
        S::Value: Debug,
    {
        let Property { name, cases, seed } = self;
        println!("{name}: {cases} cases, PROPTEST_RNG_SEED={seed}");
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 4096,
            rng_seed: RngSeed::Fixed(seed),
            ..Config::default()
        };
        if let Err(failure) = TestRunner::new(config).run(values, test) {
            panic!("{name} (PROPTEST_RNG_SEED={seed}): {failure}");
        }
    }
}
