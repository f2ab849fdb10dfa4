//! Runs the fuzz bodies on damaged pieces of the corpus.
//!
//! `FUZZ_ROUNDS` sets how much (for long runs) and `FUZZ_SEED` repeats a failed one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::env;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use tortie_testkit::{fuzz, table, validation, verdicts, workspace};

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
        usize::try_from(self.0 >> 16).unwrap() % limit.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|value| value.parse().unwrap())
}

fn rounds(usual: u64) -> u64 {
    number("FUZZ_ROUNDS").unwrap_or(usual)
}

const TOKENS: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "''",
    "0",
    "-1",
    "4294967296",
    "99999999999999999999",
    "0.5",
    "1e308",
    ".nan",
    "~",
    "*a",
    "&a",
    "<<",
    "!!str",
    "!x",
    "---",
    "...",
    "|",
    ">",
    "?",
    ": ",
    "- ",
    ", ",
    "#",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{85}",
    "\0",
    "é",
    "%",
    "\\",
    "\"",
    "'",
    "all()",
    "global()",
    "!has(a)",
    "a in {",
    "10.0.0.0/8",
    "::/0",
    "::ffff:1.2.3.4",
    "0.0.0.0/0",
    "*",
    "spec",
    "metadata",
    "kind",
    "List",
    "items",
    "replicas",
    "10000",
    "pcns.a",
    "labels",
    "http",
];

/// The documents of the tables, many of them wrong, and the scenarios and examples.
fn texts() -> [Vec<String>; 2] {
    let tables = validation::cases().unwrap().into_iter().map(|case| case.document).collect();
    let mut whole = Vec::new();
    gather(&verdicts::folder(), &mut whole);
    gather(&workspace::root().join("examples"), &mut whole);
    assert!(whole.len() > 50, "{}", whole.len());
    [tables, whole]
}

fn gather(folder: &Path, texts: &mut Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, texts);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// A text with a few things removed, doubled, moved, replaced or taken from another one.
fn damaged(random: &mut Random, texts: &[Vec<String>; 2]) -> String {
    let texts = &texts[random.below(4).min(1)];
    let text = random.of(texts).clone();
    let mut pieces: Vec<String> = if random.below(2) == 0 {
        text.split_inclusive('\n').map(str::to_owned).collect()
    } else {
        text.split_inclusive([' ', ',', ':', '{', '}', '[', ']', '\n']).map(str::to_owned).collect()
    };
    pieces.push(String::new()); // so that there is one
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(pieces.len()), random.below(pieces.len()));
        match random.below(7) {
            0 if pieces.len() > 1 => drop(pieces.remove(at)),
            1 => pieces.insert(at, pieces[other].clone()),
            2 => pieces.swap(at, other),
            3 => pieces[at].clone_from(&(*random.of(TOKENS)).to_owned()),
            4 => pieces.insert(at, (*random.of(TOKENS)).to_owned()),
            5 => {
                let lines: Vec<_> = random.of(texts).split('\n').collect();
                pieces.insert(at, (*random.of(&lines)).to_owned());
            }
            _ => {
                let mut bytes = std::mem::take(&mut pieces[at]).into_bytes();
                if !bytes.is_empty() {
                    let place = random.below(bytes.len());
                    bytes[place] = u8::try_from(random.below(256)).unwrap();
                }
                pieces[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
    }
    pieces.concat()
}

fn resources(rounds: u64) {
    let texts = texts();
    let mut random = Random::new();
    let mut accepted = 0;
    for _ in 0..rounds {
        let text = damaged(&mut random, &texts);
        let mut data = vec![u8::try_from(random.below(8) / 7).unwrap()];
        data.extend(text.into_bytes());
        accepted += u64::from(fuzz::resources(&data));
    }
    println!("{accepted} of {rounds} were accepted");
    assert!(accepted > rounds / 50 && accepted < rounds / 2);
}

#[test]
fn damaged_resources_have_an_answer_or_an_error() {
    resources(rounds(10_000));
}

#[test]
#[ignore = "long: run by itself"]
fn soak_damaged_resources() {
    resources(rounds(500_000));
}

/// Words with a few characters changed.
fn damaged_word(random: &mut Random, words: &[String], letters: &[u8]) -> Vec<u8> {
    let mut bytes = random.of(words).clone().into_bytes();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 if !bytes.is_empty() => drop(bytes.remove(at)),
            1 if !bytes.is_empty() => bytes[at] = *random.of(letters),
            _ => bytes.insert(at, *random.of(letters)),
        }
    }
    bytes
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn damaged_paths_have_a_normal_form_or_none() {
    let rows = table::read::<2>(&workspace::root().join("corpus/http/normal.tsv")).unwrap();
    let paths: Vec<String> = rows.into_iter().map(|row| row.cells[0].clone()).collect();
    let mut random = Random::new();
    for _ in 0..rounds(20_000) {
        let path = damaged_word(&mut random, &paths, b"/.%;\\?#25efEFcC+aZ\0 \xc3\xa9");
        tortie_policy::fuzz::http_path(&path);
    }
}

#[test]
fn damaged_identities_are_read_exactly_or_not() {
    let ids = words(&[
        "spiffe://cluster.local/ns/default/sa/summary",
        "spiffe://a/ns/b/sa/c",
        "spiffe:///ns//sa/",
        "",
    ]);
    let mut random = Random::new();
    for _ in 0..rounds(20_000) {
        let id = damaged_word(&mut random, &ids, b"/:.-_abAZ09%?# \n\0\xc3\xa9");
        tortie_policy::fuzz::spiffe(&id);
    }
}

#[test]
fn damaged_nets_and_ports_mean_what_they_say_or_are_refused() {
    let list = words(&[
        "10.0.0.0/8",
        "192.0.2.1/32",
        "0.0.0.0/0",
        "fd00::/8",
        "::/0",
        "::ffff:10.0.0.0/104",
        "2001:db8::1/128",
        "80",
        "1:65535",
        "80:90",
        "http",
        "http-alt",
        "65536",
        "0",
    ]);
    let mut random = Random::new();
    for _ in 0..rounds(5_000) {
        let text = damaged_word(&mut random, &list, b"0123456789abcdef.:/-+ \n\0");
        tortie_policy::fuzz::cidr_port(&text);
    }
}
