//! What the kernel would refuse of a ruleset, and what would be there for nobody.

use std::collections::BTreeSet;

use tortie_nft::{Element, Match, Rule, Ruleset, Set, SetKind, Statement, Verdict};

/// Checks a ruleset.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn check(ruleset: &Ruleset) -> Result<(), String> {
    let mut reached = BTreeSet::new();
    for (name, chain) in &ruleset.chains {
        check_name(name)?;
        for rule in &chain.rules {
            check_rule(ruleset, rule).map_err(|error| format!("{name}: {error}"))?;
            if let Some(Verdict::Jump(target) | Verdict::Goto(target)) = &rule.verdict {
                reached.insert(target.clone());
            }
        }
    }
    for (name, set) in &ruleset.sets {
        check_name(name)?;
        check_set(set).map_err(|error| format!("{name}: {error}"))?;
        reached.extend(set.elements.iter().filter_map(|element| match element {
            Element::Dispatch(_, chain) => Some(chain.clone()),
            _ => None,
        }));
    }
    if let Some(missing) = reached.iter().find(|name| !ruleset.chains.contains_key(*name)) {
        return Err(format!("there is no chain {missing}"));
    }
    const ALWAYS: [&str; 4] = ["anti-spoofing", "to-own-host", "from-own-host", "pass"];
    let idle = ruleset.chains.iter().find(|(name, chain)| {
        chain.hook.is_none() && !reached.contains(*name) && !ALWAYS.contains(&name.as_str())
    });
    idle.map_or(Ok(()), |(name, _)| Err(format!("nobody goes to {name}")))
}

fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    match begins && name.len() <= 110 && name.chars().all(fits) {
        true => Ok(()),
        false => Err(format!("`{name}` is no name")),
    }
}

fn check_rule(ruleset: &Ruleset, rule: &Rule) -> Result<(), String> {
    for matched in &rule.matches {
        let (set, wanted) = match matched {
            Match::AddressSet { set, family, .. } => {
                (set, vec![SetKind::Address(*family), SetKind::Net(*family)])
            }
            Match::AddressPortSet { set, family, .. } => (set, vec![SetKind::AddressPort(*family)]),
            Match::InterfaceSourceSet { set, family, nets: false, .. } => {
                (set, vec![SetKind::InterfaceAddress(*family)])
            }
            Match::InterfaceSourceSet { set, family, nets: true, .. } => {
                (set, vec![SetKind::InterfaceNet(*family)])
            }
            Match::Nets { nets, .. } if nets.is_empty() => return Err("no nets".into()),
            Match::Nets { nets, .. } => {
                check_nets(nets.iter().copied())?;
                continue;
            }
            Match::Ports { ranges, .. } if ranges.is_empty() => return Err("no ports".into()),
            Match::Ports { ranges, .. } => {
                match ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 < b.0) {
                    true => continue,
                    false => return Err(format!("{ranges:?} overlap")),
                }
            }
            _ => continue,
        };
        let kind = ruleset.sets.get(set).map(|set| set.kind);
        if !kind.is_some_and(|kind| wanted.contains(&kind)) {
            return Err(format!("{set} is {kind:?}"));
        }
    }
    if let Some(Verdict::Dispatch { map, .. }) = &rule.verdict {
        let kind = ruleset.sets.get(map).map(|set| set.kind);
        if kind != Some(SetKind::Dispatch) {
            return Err(format!("{map} is {kind:?}"));
        }
    }
    let decides = matches!(rule.verdict, Some(Verdict::Drop | Verdict::Reject))
        || (rule.verdict.is_some() && rule.origin.is_some());
    let counted = rule.statements.contains(&Statement::Counter);
    match !decides || (counted && rule.origin.is_some()) {
        true => Ok(()),
        false => Err(format!("{rule:?} decides uncounted")),
    }
}

fn check_set(set: &Set) -> Result<(), String> {
    let nets = set.elements.iter().filter_map(|element| match element {
        Element::Net(net) => Some(net),
        _ => None,
    });
    let interfaces = set.elements.iter().filter_map(|element| match element {
        Element::Dispatch(interface, _) => Some(interface),
        _ => None,
    });
    let interfaces: Vec<_> = interfaces.collect();
    if interfaces.iter().collect::<BTreeSet<_>>().len() != interfaces.len() {
        return Err("an interface goes two ways".into());
    }
    check_nets(nets)
}

fn check_nets(nets: impl Iterator<Item = ipnet::IpNet>) -> Result<(), String> {
    let mut nets: Vec<_> = nets.collect();
    nets.sort_unstable();
    let overlapping = nets.iter().zip(nets.iter().skip(1)).find(|(a, b)| a.contains(*b));
    match overlapping {
        Some((a, b)) => Err(format!("{b} is in {a}")),
        None if nets.iter().any(|net| net.prefix_len() == 0) => Err("a net is everything".into()),
        None => Ok(()),
    }
}
