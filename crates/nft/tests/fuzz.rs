//! Runs the fuzz bodies on random input: bytes, and messages with some of their bytes changed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use support::random::{Random, number};
use tortie_nft::fuzz;

fn bytes(random: &mut Random, limit: usize) -> Vec<u8> {
    (0..random.below(limit)).map(|_| random.byte()).collect()
}

/// A list of attributes, most of whose lengths are right.
fn attributes(random: &mut Random, depth: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..random.below(4) {
        let value = if depth > 0 && random.below(4) > 0 {
            attributes(random, depth - 1)
        } else {
            let length = random.of(&[0, 1, 4, 8, 12, 16, 20, 32]);
            (0..length).map(|_| random.byte()).collect()
        };
        let damage = if random.below(30) == 0 { random.below(9) } else { 4 };
        let length = u16::try_from(value.len() + damage).unwrap();
        let kind = u16::try_from(random.below(12)).unwrap();
        all.extend([length.to_ne_bytes(), kind.to_ne_bytes()].concat());
        all.extend(value);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

fn message(random: &mut Random) -> Vec<u8> {
    let body = attributes(random, 5);
    let length = u32::try_from(20 + body.len()).unwrap();
    let kind = u16::try_from(random.of(&[2, 3, 0xa03, 0xa06, 0xa0c])).unwrap();
    let flags = u16::try_from(random.of(&[0, 0x200, 0x300])).unwrap();
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
    [&head[..], &[0; 8], &[1, 0, 0, 0], &body].concat()
}

#[test]
fn any_bytes_can_be_answers() {
    let mut random = Random::new();
    for _ in 0..number("FUZZ_ROUNDS").unwrap_or(5_000) {
        fuzz::answers(&bytes(&mut random, 200));
        fuzz::answers(&message(&mut random));
        let mut several = [message(&mut random), message(&mut random)].concat();
        for _ in 0..random.below(4) {
            let at = random.below(several.len());
            several[at] = random.byte();
        }
        fuzz::answers(&several);
    }
}

#[test]
fn sets_are_read_as_they_were_written() {
    let mut random = Random::new();
    for _ in 0..number("FUZZ_ROUNDS").unwrap_or(2_000) {
        fuzz::sets(&bytes(&mut random, 480));
    }
}
