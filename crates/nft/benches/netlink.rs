//! What programming the kernel costs: one member of a set against the bare messages, and whole
//! rulesets against `nft -f` of their text, in turns in one run. Needs root and nft.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use support::net::{Namespace, possible};
use support::program;
use tortie_nft::{
    Chain, Element, Family, Kernel, Match, Op, Rule, Ruleset, Set, SetKind, Statement, Verdict,
    text,
};
use tortie_policy::Side;
use tortie_testkit::bare::Bare;

/// Repeats of whole rulesets.
const REPEATS: usize = 3;
/// Repeats of single members.
const MEMBERS: u32 = 2_000;

fn main() {
    if !possible() {
        return;
    }
    for kind in [SetKind::Address(Family::V4), SetKind::Net(Family::V4)] {
        members(kind, 10_000);
    }
    for (sets, size, chains) in [(100, 20, 100), (500, 50, 500), (2000, 100, 2000)] {
        rulesets(sets, size, chains);
    }
    million();
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + 2 * n)
}

fn element(n: u32) -> Element {
    Element::Net(IpAddr::from(address(n)).into())
}

/// Adds one member and removes it, by the crate and by the bare messages in turns.
fn members(kind: SetKind, size: u32) {
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let elements = (0..size).map(element).collect();
    let add = |elements| Op::AddElements("s".into(), kind, elements);
    kernel.apply(&[Op::AddTable, Op::AddSet("s".into(), kind), add(elements)]).unwrap();
    let bare = namespace.enter(|| Bare::new("tortie", "s")).unwrap();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for n in size..size + MEMBERS {
        let element = element(n);
        let batch = [add(vec![element.clone()])];
        ours.push(time(|| {
            kernel.apply(&batch).unwrap();
        }));
        kernel.apply(&[Op::DeleteElements("s".into(), kind, vec![element])]).unwrap();
        let interval = matches!(kind, SetKind::Net(_));
        let [add, remove] = [true, false].map(|joins| bare.member(address(n), interval, joins));
        floor.push(time(|| bare.send(&add).unwrap()));
        bare.send(&remove).unwrap();
    }
    ours.sort();
    floor.sort();
    let at = |times: &[Duration], per_mille: usize| times[times.len() * per_mille / 1000];
    println!(
        "one member of {size} ({kind:?}): {:?}, p99 {:?}; bare {:?}, p99 {:?}; ratio {:.2}",
        at(&ours, 500),
        at(&ours, 990),
        at(&floor, 500),
        at(&floor, 990),
        at(&ours, 500).as_secs_f64() / at(&floor, 500).as_secs_f64(),
    );
}

/// Writes whole rulesets, and reads them back.
fn rulesets(sets: u32, size: u32, chains: u32) {
    let ruleset = ruleset(sets, size, chains);
    let text = text::ruleset(&ruleset);
    let mut times = [const { Vec::new() }; 5];
    for _ in 0..REPEATS {
        let (theirs, ours) = (Namespace::new(), Namespace::new());
        let mut kernel = ours.kernel();
        times[0].push(time(|| theirs.load(&text)));
        times[1].push(time(|| {
            let batch = program(&ruleset);
            kernel.apply(&batch).unwrap();
        }));
        times[2].push(time(|| {
            theirs.nft(&["-j", "list", "ruleset"], "").unwrap();
        }));
        times[3].push(time(|| {
            kernel.read().unwrap().unwrap();
        }));
        times[4].push(time(|| {
            kernel.generation().unwrap();
        }));
    }
    let [load, apply, list, read, generation] = times.map(median);
    println!(
        "{sets} sets x {size}, {chains} chains x 10: nft -f {load:?}, netlink {apply:?} (ratio \
         {:.2}); read back: nft -j {list:?}, netlink {read:?} (ratio {:.2}); generation {generation:?}",
        apply.as_secs_f64() / load.as_secs_f64(),
        read.as_secs_f64() / list.as_secs_f64(),
    );
}

fn ruleset(sets: u32, size: u32, chains: u32) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let kind = SetKind::Address(Family::V4);
    for n in 0..sets {
        let elements = (n * size..(n + 1) * size).map(element).collect();
        ruleset.sets.insert(format!("set{n}").into(), Set { kind, elements });
    }
    for n in 0..chains {
        let rules = (0..10).map(|m| rule(&format!("set{}", (n + m) % sets), m));
        ruleset.chains.insert(format!("chain{n}").into(), Chain::new(None, rules));
    }
    ruleset
}

fn rule(set: &str, n: u32) -> Rule {
    let port = u16::try_from(1000 + n).unwrap();
    let (side, not, family) = (Side::Source, false, Family::V4);
    Rule {
        matches: vec![
            Match::Family(family),
            Match::Protocol { not, number: 6 },
            Match::AddressSet { side, not, set: set.into(), family },
            Match::Ports { side: Side::Destination, not, ranges: vec![(port, port)] },
        ],
        statements: vec![Statement::Counter],
        verdict: Some(Verdict::Accept),
        origin: None,
    }
}

/// A million elements in one batch.
fn million() {
    let namespace = Namespace::new();
    let mut kernel = namespace.kernel();
    let kind = SetKind::Address(Family::V4);
    let batch = [
        Op::AddTable,
        Op::AddSet("s".into(), kind),
        Op::AddElements("s".into(), kind, (0..1_000_000).map(element).collect()),
    ];
    let apply = time(|| {
        kernel.apply(&batch).unwrap();
    });
    let read = time(|| {
        assert_eq!(kernel.read().unwrap().unwrap().sets["s"].elements.len(), 1_000_000);
    });
    println!("1,000,000 elements in one batch: {apply:?}; read back {read:?}");
}

fn time(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
