//! Runs the fuzz bodies on random input: bytes, token soup, and damaged selectors.
//!
//! `FUZZ_ROUNDS` sets how much (for long runs) and `FUZZ_SEED` repeats a failed one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use tortie_selector::fuzz;

/// Xorshift: small, and good enough to wander about.
struct Random(u64);

impl Random {
    /// Seeded from the environment or the clock; prints the seed, which a failed test shows.
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = now.as_secs() << 30 | u64::from(now.subsec_nanos());
        let seed = number("FUZZ_SEED").unwrap_or(clock) | 1;
        println!("FUZZ_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit
    }

    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        (0..self.below(limit)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap())
}

fn rounds() -> u64 {
    number("FUZZ_ROUNDS").unwrap_or(20_000)
}

const TOKENS: &[&str] = &[
    " ",
    "\t",
    "a",
    "b",
    "in",
    "not",
    "not in",
    "has",
    "has(",
    "all()",
    "global()",
    "(",
    ")",
    "{",
    "}",
    ",",
    "==",
    "!=",
    "=",
    "!",
    "&&",
    "||",
    "&",
    "'",
    "\"",
    "'a'",
    "\"b\"",
    "contains",
    "starts with",
    "endswith",
    "a == 'b'",
    "has(a)",
    "b in {'x', 'y'}",
    "\n",
    "é",
    "界",
    "\u{a0}",
];

fn soup(random: &mut Random) -> String {
    (0..random.below(12)).map(|_| TOKENS[random.below(TOKENS.len())]).collect()
}

#[test]
fn any_bytes_can_be_parsed() {
    let mut random = Random::new();
    for _ in 0..rounds() {
        fuzz::parse(&random.bytes(24));
    }
}

#[test]
fn any_tokens_can_be_parsed() {
    let mut random = Random::new();
    for _ in 0..rounds() {
        fuzz::parse(soup(&mut random).as_bytes());
    }
}

#[test]
fn damaged_selectors_can_be_parsed() {
    let whole = "(a == 'b' || !has(c)) && d not in {\"e\", 'é'} && !(f starts with '' || all( ))";
    let mut random = Random::new();
    for _ in 0..rounds() {
        let mut characters: Vec<char> = whole.chars().collect();
        for _ in 0..=random.below(3) {
            characters.remove(random.below(characters.len()));
            let token = TOKENS[random.below(TOKENS.len())];
            let at = random.below(characters.len());
            characters.splice(at..at, token.chars());
        }
        fuzz::parse(characters.into_iter().collect::<String>().as_bytes());
    }
}

#[test]
fn any_tree_can_be_built() {
    let mut random = Random::new();
    for _ in 0..rounds() {
        fuzz::build(&random.bytes(64));
    }
}

#[test]
fn trees_of_nothing_but_groups_can_be_built() {
    let mut random = Random::new();
    for _ in 0..rounds() / 10 {
        let group = |random: &mut Random| [14 + 32, 15 + 32, 13][random.below(3)];
        let bytes: Vec<u8> = (0..random.below(300)).map(|_| group(&mut random)).collect();
        fuzz::build(&bytes);
    }
}
