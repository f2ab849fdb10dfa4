//! Properties that are checked on random values.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// A property, and how long to look for a value without it.
///
/// The values depend on the seed alone, which is printed. `TORTIE_SEED` chooses another one, and
/// `TORTIE_CASES` multiplies the number of values.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    name: &'static str,
    cases: u32,
    seed: u64,
}

fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    std::env::var(variable).ok()?.parse().ok()
}

impl Property {
    /// A property to be checked on the same values each time.
    pub fn new(name: &'static str, cases: u32) -> Property {
        Property { name, cases, seed: 1 }
    }

    /// A property to be checked on other values each time.
    pub fn soak(name: &'static str, cases: u32) -> Property {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Property { name, cases, seed: since.as_secs() ^ u64::from(since.subsec_nanos()) }
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
        let seed = number("TORTIE_SEED").unwrap_or(self.seed);
        let cases = self.cases.saturating_mul(number("TORTIE_CASES").unwrap_or(1));
        println!("{}: {cases} cases, TORTIE_SEED={seed}", self.name);
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 4096,
            rng_seed: RngSeed::Fixed(seed),
            ..Config::default()
        };
        if let Err(failure) = TestRunner::new(config).run(values, test) {
            panic!("{} (TORTIE_SEED={seed}): {failure}", self.name);
        }
    }
}
