//! Random rulesets that a kernel takes, made from numbers so that they shrink well.

use std::collections::BTreeMap;

use proptest::prelude::*;
use smol_str::{SmolStr, format_smolstr};
use tortie_nft::{
    Chain, Delta, Element, Elements, Family, Hook, HookPoint, Limit, Match, Origin, Rule, Ruleset,
    Set, SetKind, Statement, Subject, Verdict, Way,
};
use tortie_policy::{Direction, Side};

/// Numbers that [`world`] makes a ruleset of.
pub(crate) type Seed = (Vec<(u8, u8, u8)>, Vec<(u8, u8)>);

pub(crate) fn seed() -> impl Strategy<Value = Seed> {
    let rules = prop::collection::vec((0..8u8, 0..7u8, 0..6u8), 0..14);
    (rules, prop::collection::vec((0..6u8, 0..12u8), 0..16))
}

/// A ruleset: some rules (chain, what, argument), and some elements (set, which).
pub(crate) fn world((rules, elements): &Seed) -> Ruleset {
    let mut ruleset = Ruleset::default();
    for (name, point) in [("input", HookPoint::Input), ("forward", HookPoint::Forward)] {
        let chain = Chain { hook: Some(Hook { point, priority: 0 }), rules: Vec::new() };
        ruleset.chains.insert(name.into(), chain);
    }
    for &(chain, what, argument) in rules {
        let rule = rule(&mut ruleset, chain, what, argument);
        ruleset.chains.entry(chain_name(chain)).or_default().rules.push(rule.into());
    }
    for &(set, element) in elements {
        add_element(&mut ruleset, set, element);
    }
    ruleset
}

fn chain_name(number: u8) -> SmolStr {
    match number {
        0 => "input".into(),
        1 => "forward".into(),
        other => format_smolstr!("c{other}"),
    }
}

pub(crate) fn counting(subject: &str, rule: usize) -> Rule {
    Rule {
        statements: vec![Statement::Counter],
        origin: Some(
            Origin {
                subject: Subject::Tier(subject.into()),
                direction: Direction::Ingress,
                rule: Some(rule),
            }
            .into(),
        ),
        ..Rule::default()
    }
}

fn rule(ruleset: &mut Ruleset, chain: u8, what: u8, argument: u8) -> Rule {
    let mut rule = Rule::default();
    let match_set = |ruleset: &mut Ruleset, number, make: fn(SmolStr) -> Match| {
        let name = set(ruleset, number, 0);
        vec![Match::Family(Family::V4), make(name)]
    };
    match what {
        0 => rule = counting("tier", argument.into()),
        1 => {
            let to = chain_name((chain + 1 + argument % 3).clamp(2, 9));
            ruleset.chains.entry(to.clone()).or_default();
            rule.verdict = Some(Verdict::Jump(to));
        }
        2 => {
            rule.matches = match_set(ruleset, argument % 2, |set| {
                let (side, not, family) = (Side::Source, false, Family::V4);
                Match::AddressSet { side, not, set, family }
            });
        }
        3 => {
            rule.matches = match_set(ruleset, 2, |set| {
                let (side, not, family) = (Side::Destination, true, Family::V4);
                Match::AddressPortSet { side, not, set, family }
            });
            rule.verdict = Some(Verdict::Drop);
        }
        4 if chain < 2 => {
            let map = set(ruleset, 5, 0);
            rule.verdict = Some(Verdict::Dispatch { way: Way::In, map });
        }
        5 => {
            rule.matches = match_set(ruleset, 4, |set| {
                let (side, not, family) = (Side::Source, false, Family::V4);
                Match::AddressSet { side, not, set, family }
            });
            rule.statements = counting("tier", 0).statements;
            rule.origin = counting("odd", argument.into()).origin;
        }
        _ => {
            let (packets, seconds) = (u64::from(argument) + 1, 1);
            rule.matches = vec![Match::Limit(Limit { packets, seconds, burst: 5 })];
            rule.verdict = Some(Verdict::Accept);
        }
    }
    rule
}

/// The name of a set, which is made if it is not there.
fn set(ruleset: &mut Ruleset, number: u8, element: u8) -> SmolStr {
    let v4 = Family::V4;
    let (name, kind) = match number {
        0 => ("addresses", SetKind::Address(v4)),
        1 => ("nets", SetKind::Net(v4)),
        2 => ("ports", SetKind::AddressPort(v4)),
        3 => ("sources", SetKind::InterfaceAddress(v4)),
        // One whose kind may be another one the next time.
        4 if element.is_multiple_of(2) => ("odd", SetKind::Net(v4)),
        4 => ("odd", SetKind::Address(v4)),
        _ => ("dispatch", SetKind::Dispatch),
    };
    let new = || Set { kind, elements: Default::default() };
    ruleset.sets.entry(name.into()).or_insert_with(new);
    name.into()
}

fn add_element(ruleset: &mut Ruleset, number: u8, element: u8) {
    let name = set(ruleset, number, element);
    let address = |n: u8| format!("10.0.0.{n}").parse().unwrap();
    let net = |text: String| text.parse().unwrap();
    let set = &ruleset.sets[&name];
    let element = match set.kind {
        SetKind::Address(_) => Element::Net(net(format!("10.0.0.{element}/32"))),
        // Some overlap with others of which only one is ever there.
        SetKind::Net(_) => {
            Element::Net(net(format!("10.{}.0.0/{}", element / 2 * 2, 15 + element % 2)))
        }
        SetKind::AddressPort(_) => Element::AddressPort(address(element), 6, 80),
        SetKind::InterfaceAddress(_) | SetKind::InterfaceNet(_) => Element::InterfaceNet(
            format_smolstr!("cali{}", element % 4),
            net(format!("10.0.0.{element}/32")),
        ),
        SetKind::Dispatch => {
            Element::Dispatch(format_smolstr!("cali{}", element % 3), chain_name(2 + element % 5))
        }
    };
    let taken = |other: &Element| match (other, &element) {
        (Element::Net(a), Element::Net(b)) => a.contains(b) || b.contains(a),
        (Element::Dispatch(a, _), Element::Dispatch(b, _)) => a == b,
        _ => false,
    };
    if set.elements.iter().any(|other| taken(&other)) {
        return;
    }
    if let Element::Dispatch(_, chain) = &element {
        ruleset.chains.entry(chain.clone()).or_default();
    }
    ruleset.sets.get_mut(&name).unwrap().elements.insert(element);
}

/// From one ruleset to the next.
pub(crate) fn delta(old: &Ruleset, new: &Ruleset) -> Delta {
    let mut delta = Delta::default();
    for (name, set) in &new.sets {
        match old.sets.get(name) {
            Some(before) if before.kind == set.kind => {
                let added = set.elements.difference(&before.elements).collect();
                let removed = before.elements.difference(&set.elements).collect();
                let elements = Elements { added, removed };
                if elements != Elements::default() {
                    delta.elements.insert(name.clone(), elements);
                }
            }
            before => {
                delta.gone_sets.extend(before.map(|_| name.clone()));
                delta.new_sets.insert(name.clone());
            }
        }
    }
    delta
        .gone_sets
        .extend(gone(&old.sets.keys().map(|k| (k, ())).collect(), |k| new.sets.contains_key(k)));
    let changed = |(name, chain): &(&SmolStr, &Chain)| old.chains.get(*name) != Some(*chain);
    delta.chains.extend(new.chains.iter().filter(changed).map(|(name, _)| name.clone()));
    delta.gone_chains.extend(gone(&old.chains.iter().collect(), |k| new.chains.contains_key(k)));
    delta
}

fn gone<T>(old: &BTreeMap<&SmolStr, T>, is_there: impl Fn(&SmolStr) -> bool) -> Vec<SmolStr> {
    old.keys().filter(|name| !is_there(name)).map(|name| (*name).clone()).collect()
}
