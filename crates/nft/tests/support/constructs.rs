//! A ruleset for each construct of the language.

use smol_str::SmolStr;
use tortie_nft::{
    Chain, ConnectionState, Element, Family, Hook, HookPoint, InterfaceMatch, Limit, Match, Origin,
    Rule, Ruleset, Set, SetKind, Statement, Subject, Verdict, Way,
};
use tortie_policy::{Direction, PolicyId, PolicyKind, Side};

const SIDES: [Side; 2] = [Side::Source, Side::Destination];

/// All of them, by name.
pub fn all() -> Vec<(&'static str, Ruleset)> {
    vec![
        ("hooks", hooks()),
        ("verdicts", input(verdicts())),
        ("statements", prerouting(statements())),
        ("origins", input(origins())),
        ("interfaces", input(interfaces())),
        ("protocols", input(protocols())),
        ("nets", input(nets())),
        ("ports", input(ports())),
        ("icmp", input(icmp())),
        ("connection", prerouting(connection())),
        ("address_sets", with_sets(address_sets())),
        ("port_sets", with_sets(port_sets())),
        ("interface_sets", with_sets(interface_sets())),
        ("dispatch", dispatch()),
    ]
}

/// A rule of criteria and a verdict.
pub fn rule(matches: Vec<Match>, verdict: Verdict) -> Rule {
    Rule { matches, verdict: Some(verdict), ..Rule::default() }
}

/// A ruleset of one base chain and a chain `other`.
fn one(point: HookPoint, priority: i32, rules: Vec<Rule>) -> Ruleset {
    let hook = Some(Hook { point, priority });
    let base = ("base".into(), Chain::new(hook, rules));
    Ruleset { chains: [base, ("other".into(), Chain::default())].into(), ..Ruleset::default() }
}

pub fn input(rules: Vec<Rule>) -> Ruleset {
    one(HookPoint::Input, -5, rules)
}

fn prerouting(rules: Vec<Rule>) -> Ruleset {
    one(HookPoint::Prerouting, -300, rules)
}

fn hooks() -> Ruleset {
    let points = [HookPoint::Prerouting, HookPoint::Input, HookPoint::Forward, HookPoint::Output];
    let base = |(n, point): (i32, HookPoint)| {
        let hook = Some(Hook { point, priority: n * 7 - 10 });
        let name: SmolStr = format!("{point:?}").to_lowercase().into();
        (name, Chain { hook, rules: Vec::new() })
    };
    let plain = ("plain-1_a.b".into(), Chain::default());
    Ruleset { chains: (0..).zip(points).map(base).chain([plain]).collect(), ..Ruleset::default() }
}

fn verdicts() -> Vec<Rule> {
    let tcp = Match::Protocol { not: false, number: 6 };
    let icmpv4 = Match::Family(Family::V4);
    let mut rules: Vec<Rule> = [
        Verdict::Accept,
        Verdict::Drop,
        Verdict::Reject,
        Verdict::Return,
        Verdict::Jump("other".into()),
        Verdict::Goto("other".into()),
    ]
    .map(|verdict| rule(Vec::new(), verdict))
    .into();
    rules.push(rule(vec![tcp.clone()], Verdict::Reject));
    rules.push(rule(vec![icmpv4.clone()], Verdict::Reject));
    rules.push(rule(vec![icmpv4, tcp], Verdict::Reject));
    rules
}

fn statements() -> Vec<Rule> {
    let nflog = |length| Statement::Nflog { group: 5, prefix: "D|ns/policy|3".into(), length };
    let mut lists = vec![
        vec![Statement::Counter],
        vec![nflog(80), Statement::Counter],
        vec![nflog(0)],
        vec![Statement::NoTrack],
        vec![Statement::SetMark(0x10000), Statement::ClearMark(0x8000_0001)],
    ];
    lists.extend(
        (0..=7).map(|level| {
            vec![Statement::Log { prefix: format!("tortie {level}: ").into(), level }]
        }),
    );
    lists.push(vec![Statement::Log { prefix: "x".repeat(127).into(), level: 5 }]);
    let rule = |statements| Rule { statements, ..Rule::default() };
    lists.into_iter().map(rule).collect()
}

fn origins() -> Vec<Rule> {
    let policy = |namespace: Option<&str>, name: &str| {
        Subject::Policy(PolicyId {
            kind: PolicyKind::NetworkPolicy,
            namespace: namespace.map(Into::into),
            name: name.into(),
        })
    };
    let subjects = [
        (policy(Some("bank"), "customer"), Some(3)),
        (policy(None, &"long-name.".repeat(20)), Some(0)),
        (policy(Some("quotes\"and\n"), "control"), None),
        (Subject::Profile("kns.bank".into()), Some(1)),
        (Subject::Tier("default".into()), None),
        (Subject::NoProfile, None),
        (Subject::Fixed("failsafe".into()), None),
    ];
    let rule = |(direction, (subject, rule)): (Direction, (Subject, Option<usize>))| Rule {
        origin: Some(Origin { subject, direction, rule }.into()),
        statements: vec![Statement::Counter],
        ..Rule::default()
    };
    let directions = [Direction::Ingress, Direction::Egress].into_iter().cycle();
    directions.zip(subjects).map(rule).collect()
}

fn interfaces() -> Vec<Rule> {
    let names = [
        InterfaceMatch::Exact("eth0".into()),
        InterfaceMatch::Exact("cali0123456789a".into()),
        InterfaceMatch::Exact("star*".into()),
        InterfaceMatch::Prefix("cali".into()),
        InterfaceMatch::Prefix("a".into()),
    ];
    let mut rules = Vec::new();
    for name in names {
        for (way, not) in [(Way::In, false), (Way::In, true), (Way::Out, false), (Way::Out, true)] {
            // The input hook has no outgoing interface, but may be asked about it.
            rules.push(rule(
                vec![Match::Interface { way, not, name: name.clone() }],
                Verdict::Accept,
            ));
        }
    }
    rules
}

fn protocols() -> Vec<Rule> {
    let mut rules: Vec<Rule> = [1, 6, 17, 47, 58, 132, 136, 255, 0]
        .into_iter()
        .flat_map(|number| [false, true].map(|not| Match::Protocol { not, number }))
        .map(|criterion| rule(vec![criterion], Verdict::Accept))
        .collect();
    for family in Family::BOTH {
        rules.push(rule(vec![Match::Family(family)], Verdict::Return));
    }
    rules
}

/// Criteria of addresses stand behind their family.
pub fn of_family(family: Family, criterion: Match) -> Rule {
    rule(vec![Match::Family(family), criterion], Verdict::Accept)
}

fn nets() -> Vec<Rule> {
    let lists: [(Family, &[&str]); 14] = [
        (Family::V4, &["10.0.0.1/32"]),
        (Family::V4, &["10.0.0.0/8"]),
        (Family::V4, &["10.1.0.0/16"]),
        (Family::V4, &["10.1.2.128/25"]),
        (Family::V4, &["0.0.0.0/0"]),
        (Family::V4, &["10.0.0.0/9", "192.168.0.1/32", "172.16.0.0/12"]),
        (Family::V4, &["0.0.0.0/8", "255.0.0.0/8"]),
        (Family::V4, &["10.0.0.0/25", "10.0.0.128/25"]),
        (Family::V4, &["0.0.0.0/1", "128.0.0.0/1"]),
        (Family::V6, &["fd00::1/128"]),
        (Family::V6, &["fd00::/64"]),
        (Family::V6, &["fd00::/7"]),
        (Family::V6, &["::/0"]),
        (Family::V6, &["::/128", "fd00::/64", "ff00::/8"]),
    ];
    let mut rules = Vec::new();
    for (family, nets) in lists {
        for (side, not) in SIDES.into_iter().zip([false, true]) {
            let nets = nets.iter().map(|net| net.parse().unwrap()).collect();
            rules.push(of_family(family, Match::Nets { side, not, nets }));
        }
    }
    rules
}

fn ports() -> Vec<Rule> {
    let lists: [&[(u16, u16)]; 7] = [
        &[(80, 80)],
        &[(0, 0)],
        &[(80, 90)],
        &[(0, 65535)],
        &[(80, 80), (443, 443), (8000, 9000)],
        &[(0, 10), (65000, 65535)],
        &[(1, 2), (3, 4)],
    ];
    let mut rules = Vec::new();
    for ranges in lists {
        for (number, not) in [(6, false), (17, true), (132, false), (136, true)] {
            for side in SIDES {
                let ports = Match::Ports { side, not, ranges: ranges.to_vec() };
                let protocol = Match::Protocol { not: false, number };
                rules.push(rule(vec![protocol, ports], Verdict::Accept));
            }
        }
    }
    rules
}

fn icmp() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (family, number, kind) in [(Family::V4, 1, 8), (Family::V6, 58, 128)] {
        for code in [None, Some(0), Some(7)] {
            for not in [false, true] {
                let protocol = Match::Protocol { not: false, number };
                let criterion = Match::Icmp { not, kind, code };
                let matches = vec![Match::Family(family), protocol, criterion];
                rules.push(rule(matches, Verdict::Accept));
            }
        }
    }
    rules
}

fn connection() -> Vec<Rule> {
    use ConnectionState::{Established, Invalid, New, Related, Untracked};
    let mut criteria: Vec<Match> =
        [vec![Established, Related], vec![Invalid], vec![New], vec![Untracked, New]]
            .map(Match::Connection)
            .into();
    criteria.extend([0x10000, 0x8000_0001].map(Match::Mark));
    criteria.extend([false, true].map(|not| Match::ReversePath { not }));
    for (packets, seconds, burst) in [(10, 1, 5), (1, 60, 1), (100, 3600, 20), (7, 86400, 3)] {
        criteria.push(Match::Limit(Limit { packets, seconds, burst }));
    }
    criteria.into_iter().map(|criterion| rule(vec![criterion], Verdict::Accept)).collect()
}

type Sets = Vec<(&'static str, SetKind, Vec<Element>)>;

fn with_sets((sets, rules): (Sets, Vec<Rule>)) -> Ruleset {
    let sets = sets.into_iter().map(|(name, kind, elements)| {
        (name.into(), Set { kind, elements: elements.into_iter().collect() })
    });
    Ruleset { sets: sets.collect(), ..input(rules) }
}

/// Elements that are nets.
pub fn net_elements(nets: &[&str]) -> Vec<Element> {
    nets.iter().map(|net| Element::Net(net.parse().unwrap())).collect()
}

fn address_sets() -> (Sets, Vec<Rule>) {
    let (v4, v6) = (Family::V4, Family::V6);
    let sets: Sets = vec![
        ("a4", SetKind::Address(v4), net_elements(&["10.0.0.2/32", "10.0.0.1/32"])),
        ("a6", SetKind::Address(v6), net_elements(&["fd00::1/128", "::/128"])),
        ("empty", SetKind::Address(v4), Vec::new()),
        (
            "n4",
            SetKind::Net(v4),
            net_elements(&["10.0.0.0/25", "10.0.0.128/25", "0.0.0.0/8", "1.2.3.4/32"]),
        ),
        ("n4-all", SetKind::Net(v4), net_elements(&["0.0.0.0/0"])),
        ("n4-halves", SetKind::Net(v4), net_elements(&["0.0.0.0/1", "128.0.0.0/1"])),
        ("n4-top", SetKind::Net(v4), net_elements(&["255.255.255.255/32", "10.0.0.0/8"])),
        ("n6", SetKind::Net(v6), net_elements(&["fd00::/64", "fd00:0:0:1::/64", "ff00::/8"])),
        ("n6-all", SetKind::Net(v6), net_elements(&["::/0"])),
    ];
    let mut rules = Vec::new();
    for (name, kind, _) in &sets {
        let (SetKind::Address(family) | SetKind::Net(family)) = kind else { continue };
        for (side, not) in SIDES.into_iter().zip([false, true]) {
            let criterion = Match::AddressSet { side, not, set: (*name).into(), family: *family };
            rules.push(of_family(*family, criterion));
        }
    }
    (sets, rules)
}

fn port_sets() -> (Sets, Vec<Rule>) {
    let element = |address: &str, protocol, port| {
        Element::AddressPort(address.parse().unwrap(), protocol, port)
    };
    let v4 =
        vec![element("10.0.0.1", 6, 80), element("10.0.0.1", 17, 53), element("10.0.0.2", 132, 1)];
    let v6 = vec![element("fd00::1", 6, 65535), element("::", 136, 0)];
    let sets: Sets = vec![
        ("p4", SetKind::AddressPort(Family::V4), v4),
        ("p6", SetKind::AddressPort(Family::V6), v6),
    ];
    let mut rules = Vec::new();
    for (family, set) in [(Family::V4, "p4"), (Family::V6, "p6")] {
        for (side, not) in SIDES.into_iter().zip([false, true]) {
            let criterion = Match::AddressPortSet { side, not, set: set.into(), family };
            rules.push(of_family(family, criterion.clone()));
            let protocol = Match::Protocol { not: false, number: 6 };
            rules.push(rule(vec![Match::Family(family), protocol, criterion], Verdict::Drop));
        }
    }
    (sets, rules)
}

fn interface_sets() -> (Sets, Vec<Rule>) {
    let element = |name: &str, net: &str| Element::InterfaceNet(name.into(), net.parse().unwrap());
    let sets: Sets = vec![
        (
            "ia4",
            SetKind::InterfaceAddress(Family::V4),
            vec![element("cali1", "10.0.0.1/32"), element("cali0123456789a", "10.0.0.1/32")],
        ),
        ("ia6", SetKind::InterfaceAddress(Family::V6), vec![element("cali1", "fd00::1/128")]),
        (
            "in4",
            SetKind::InterfaceNet(Family::V4),
            vec![
                element("cali1", "10.0.0.0/24"),
                element("cali1", "255.0.0.0/8"),
                element("cali2", "0.0.0.0/0"),
                element("cali2x", "10.0.0.1/32"),
            ],
        ),
        (
            "in6",
            SetKind::InterfaceNet(Family::V6),
            vec![element("cali1", "fd00::/64"), element("cali2", "::/0")],
        ),
    ];
    let mut rules = Vec::new();
    for (name, kind, _) in &sets {
        let (nets, family) = match kind {
            SetKind::InterfaceNet(family) => (true, *family),
            SetKind::InterfaceAddress(family) => (false, *family),
            _ => continue,
        };
        for not in [false, true] {
            let set = (*name).into();
            let criterion = Match::InterfaceSourceSet { not, set, family, nets };
            rules.push(of_family(family, criterion));
        }
    }
    (sets, rules)
}

fn dispatch() -> Ruleset {
    let elements = ["cali1", "cali2", "cali0123456789a"]
        .map(|name| Element::Dispatch(name.into(), "other".into()))
        .into();
    let rules = [Way::In, Way::Out]
        .map(|way| rule(Vec::new(), Verdict::Dispatch { way, map: "endpoints".into() }))
        .into();
    with_sets((vec![("endpoints", SetKind::Dispatch, elements)], rules))
}
