//! How worlds and traffic are drawn. The vocabulary is small, so that things match.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tortie_policy::Plane;

use super::{
    Account, Action, Certificate, Direction, Entity, Expr, Http, Labels, Namespace, PATHS, Party,
    Pod, Policy, Port, Ports, Protocol, Rule, STRANGERS, State, Test, Tier, Traffic, Word, World,
};

/// Labels that can be asked about, each with its values.
type Vocabulary = &'static [(Word, &'static [Word])];

const NAMESPACES: [Word; 3] = ["one", "two", "three"];
const ACCOUNTS: [Word; 3] = ["default", "robot", "spare"];

const OF_PODS: Vocabulary = &[("app", &["a", "b", "ab"]), ("role", &["x", "xy"])];
const OF_NAMESPACES: Vocabulary = &[("env", &["prod", "test"]), ("zone", &["a", "b"])];
const OF_ACCOUNTS: Vocabulary = &[("kind", &["batch", "web"])];

const ON_ENDPOINTS: Vocabulary = &[
    ("app", &["a", "b", "ab"]),
    ("app", &["a", "b", "ab"]),
    ("role", &["x", "xy"]),
    ("pcns.env", &["prod", "test"]),
    ("pcsa.kind", &["batch", "web"]),
    ("projectcalico.org/namespace", &NAMESPACES),
    ("projectcalico.org/serviceaccount", &ACCOUNTS),
    ("projectcalico.org/orchestrator", &["k8s"]),
    ("pcns.projectcalico.org/name", &NAMESPACES),
    ("pcsa.projectcalico.org/name", &ACCOUNTS),
];
const ON_NAMESPACES: Vocabulary = &[
    ("env", &["prod", "test"]),
    ("zone", &["a", "b"]),
    ("projectcalico.org/name", &NAMESPACES),
    ("kubernetes.io/metadata.name", &NAMESPACES),
    ("app", &["a"]),
];
const ON_ACCOUNTS: Vocabulary =
    &[("kind", &["batch", "web"]), ("projectcalico.org/name", &ACCOUNTS), ("app", &["a"])];

const NETS: [&[Word]; 2] = [
    &["10.0.0.0/30", "10.0.0.2/32", "10.0.0.4/30", "10.0.0.0/8", "192.0.2.0/25", "192.0.2.0/24"],
    &["fd00::/126", "fd00::2/128", "fd00::4/126", "fd00::/8", "2001:db8::/33", "::/0"],
];
const NOT_NETS: [&[Word]; 2] =
    [&["10.0.0.2/31", "10.0.0.0/8", "192.0.2.0/25"], &["fd00::2/127", "fd00::/8", "2001:db8::/33"]];

const TCP: Protocol = Protocol { text: "TCP", number: 6 };
const UDP: Protocol = Protocol { text: "UDP", number: 17 };
const ICMP: Protocol = Protocol { text: "ICMP", number: 1 };
const ICMPV6: Protocol = Protocol { text: "ICMPv6", number: 58 };
const PROTOCOLS: [Protocol; 8] = [
    TCP,
    TCP,
    TCP,
    UDP,
    Protocol { text: "132", number: 132 },
    ICMP,
    ICMPV6,
    Protocol { text: "99", number: 99 },
];

/// Names of policies: where orders are equal, their bytes decide.
const NAMES: [Word; 7] = ["a-b", "a", "a.b", "a0", "b", "ab", "a-b.c"];

const NUMBERS: [u16; 4] = [53, 80, 81, 8080];
const METHODS: [Word; 3] = ["GET", "PUT", "*"];
const RULE_PATHS: [Word; 5] = ["/", "/public", "/public/", "/admin", "/public/x"];

/// A cluster of two to six pods.
pub fn world() -> impl Strategy<Value = World> {
    let policies = vec(policy(), 0..7).prop_map(|mut policies| {
        for (policy, name) in policies.iter_mut().zip(NAMES) {
            policy.name = name.to_owned();
        }
        policies
    });
    (namespaces(), accounts(), vec(pod(), 2..6), tiers(), policies).prop_map(
        |(namespaces, accounts, mut pods, tiers, policies)| {
            for (pod, number) in pods.iter_mut().zip(1_u8..) {
                pod.name = format!("pod-{number}");
                place(pod, number);
            }
            World { namespaces, accounts, pods, tiers, policies }
        },
    )
}

/// A piece of traffic, to be read against any world.
pub fn traffic() -> impl Strategy<Value = Traffic> {
    let http = option::weighted(0.6, (select(&METHODS[..2]), 0..PATHS.len()));
    let http =
        http.prop_map(|http| http.and_then(|(method, path)| Some((method, PATHS.get(path)?.0))));
    let protocol = select(&PROTOCOLS[..]).prop_map(|p| p.number);
    let ports = (select(&NUMBERS[..]), select(&NUMBERS[..]));
    (party(), party(), any::<bool>(), protocol, ports, http, certificate()).prop_map(
        |(from, to, six, protocol, (source_port, port), http, certificate)| Traffic {
            from,
            to,
            six,
            protocol: if http.is_some() { 6 } else { protocol },
            source_port,
            port,
            http,
            certificate,
        },
    )
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        5 => (0_usize..60).prop_map(Party::Pod),
        1 => (0..STRANGERS.len()).prop_map(Party::Stranger),
    ]
}

fn certificate() -> impl Strategy<Value = Certificate> {
    prop_oneof![
        4 => Just(Certificate::None),
        4 => Just(Certificate::Own),
        2 => (select(&NAMESPACES[..]), select(&ACCOUNTS[..])).prop_map(|(n, a)| Certificate::Of(n, a)),
        1 => Just(Certificate::Foreign),
        1 => Just(Certificate::Untrusted),
    ]
}

fn labels(vocabulary: Vocabulary) -> impl Strategy<Value = Labels> {
    let one = |(label, values): (Word, &'static [Word])| {
        option::weighted(0.7, select(values)).prop_map(move |value| Some((label, value?)))
    };
    let all: Vec<_> = vocabulary.iter().copied().map(one).collect();
    all.prop_map(|pairs| pairs.into_iter().flatten().collect())
}

/// Two of the three namespaces are described.
fn namespaces() -> impl Strategy<Value = Vec<Namespace>> {
    let one = |name: Word| {
        (labels(OF_NAMESPACES), any::<bool>()).prop_map(move |(labels, sidecars)| Namespace {
            name,
            labels,
            sidecars,
        })
    };
    (one("one"), option::of(one("two"))).prop_map(|(a, b)| [a].into_iter().chain(b).collect())
}

fn accounts() -> impl Strategy<Value = Vec<Account>> {
    let places: Vec<(Word, Word)> = ["one", "two"]
        .into_iter()
        .flat_map(|namespace| ACCOUNTS.into_iter().map(move |name| (namespace, name)))
        .collect();
    let described = subsequence(places, 0..4);
    (described, vec(labels(OF_ACCOUNTS), 4)).prop_map(|(places, labels)| {
        let accounts = places.into_iter().zip(labels);
        accounts.map(|((namespace, name), labels)| Account { namespace, name, labels }).collect()
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let port = (select(&["http", "dns", "alt"][..]), select(&[TCP, UDP][..]), select(&NUMBERS[..]));
    let ports = vec(port, 0..3).prop_map(|ports| {
        ports.into_iter().map(|(name, protocol, number)| Port { name, protocol, number }).collect()
    });
    let state = prop_oneof![
        12 => Just(State::Running),
        1 => Just(State::Finished),
        1 => Just(State::HostNetwork),
    ];
    let families =
        prop_oneof![3 => Just((true, true)), 2 => Just((true, false)), 1 => Just((false, true))];
    (
        select(&NAMESPACES[..]),
        option::weighted(0.7, select(&ACCOUNTS[..])),
        labels(OF_PODS),
        ports,
        state,
        families,
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(namespace, account, labels, ports, state, families, no_sidecar)| Pod {
            namespace,
            name: String::new(),
            account,
            labels,
            addresses: unplaced(families),
            ports,
            state,
            no_sidecar,
        })
}

/// Stand-ins for the addresses a pod gets when its number is known.
fn unplaced((four, six): (bool, bool)) -> Vec<IpAddr> {
    let four = four.then_some(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    four.into_iter().chain(six.then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED))).collect()
}

fn place(pod: &mut Pod, number: u8) {
    for address in &mut pod.addresses {
        *address = match address {
            IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, number).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
        };
    }
}

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    let order = option::weighted(0.8, select(&[10.0, 10.5, 2_000_000.0][..]));
    let tier = (order, option::of(any::<bool>()));
    subsequence(vec!["early", "late"], 0..=2).prop_flat_map(move |names| {
        let tiers = vec(tier.clone(), names.len());
        tiers.prop_map(move |tiers| {
            let tiers = names.iter().zip(tiers);
            tiers.map(|(name, (order, pass))| Tier { name, order, pass }).collect()
        })
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let tier = option::weighted(
        0.5,
        select(&["early", "late", "default", "kube-admin", "kube-baseline", "ghost"][..]),
    );
    let directions = vec![Direction::Ingress, Direction::Egress];
    let types = option::weighted(0.4, subsequence(directions, 1..=2));
    let head = (
        option::of(select(&NAMESPACES[..])),
        tier,
        option::weighted(0.6, select(&[-1.0, 0.5, 100.0][..])),
    );
    let subject = (
        option::weighted(0.4, expr(ON_ENDPOINTS)),
        option::weighted(0.15, scope(false)),
        option::weighted(0.1, expr(ON_ACCOUNTS)),
    );
    let rules = |ingress| option::weighted(0.8, vec(rule(ingress), 0..5));
    (head, subject, types, rules(true), rules(false)).prop_map(
        |((namespace, tier, order), (selector, namespaces, accounts), types, ingress, egress)| {
            Policy {
                namespace,
                name: String::new(),
                tier,
                order,
                selector,
                namespaces: namespaces.filter(|_| namespace.is_none()),
                accounts,
                types,
                ingress,
                egress,
            }
        },
    )
}

/// A selector over one vocabulary.
fn expr(vocabulary: Vocabulary) -> impl Strategy<Value = Expr> + Clone {
    let leaf = select(vocabulary).prop_flat_map(|(label, values)| {
        let value = select(values);
        let test = select(&[Test::Starts, Test::Ends, Test::Contains][..]);
        prop_oneof![
            1 => Just(Expr::Has(label)),
            6 => value.clone().prop_map(move |v| Expr::Test(label, Test::Is, v)),
            1 => (test, value.clone()).prop_map(move |(t, v)| Expr::Test(label, t, v)),
            2 => value.clone().prop_map(move |v| Expr::IsNot(label, v)),
            2 => (vec(value, 0..3), any::<bool>()).prop_map(move |(v, n)| Expr::In(label, v, n)),
        ]
    });
    let leaf = prop_oneof![1 => Just(Expr::All), 20 => leaf].boxed();
    let pair = (leaf.clone(), leaf.clone());
    prop_oneof![
        6 => leaf.clone(),
        1 => leaf.prop_map(|a| Expr::Not(Box::new(a))),
        1 => pair.clone().prop_map(|(a, b)| Expr::And(Box::new(a), Box::new(b))),
        1 => pair.prop_map(|(a, b)| Expr::Or(Box::new(a), Box::new(b))),
    ]
    .boxed()
}

/// A namespace selector; of a rule it may be `global()`.
fn scope(of_rule: bool) -> impl Strategy<Value = Expr> + Clone {
    let global = if of_rule { Expr::Global } else { Expr::All };
    prop_oneof![1 => Just(global), 2 => Just(Expr::All), 8 => expr(ON_NAMESPACES)].boxed()
}

/// A rule of one direction.
pub fn rule(ingress: bool) -> impl Strategy<Value = Rule> {
    let action = prop_oneof![
        4 => Just(Action::Allow),
        3 => Just(Action::Deny),
        1 => Just(Action::Log),
        2 => Just(Action::Pass),
    ];
    let protocol = || option::weighted(0.3, select(&PROTOCOLS[..]));
    let not_protocol = option::weighted(0.1, select(&PROTOCOLS[..]));
    let version = option::weighted(0.08, select(&[4_u8, 6][..]));
    let http = option::weighted(0.4, http()).prop_map(move |http| http.filter(|_| ingress));
    (action, version, protocol(), not_protocol, any::<bool>(), entity(), entity(), http).prop_map(
        |(action, version, protocol, not_protocol, six, source, destination, http)| {
            let draft = Rule { action, version, protocol, not_protocol, source, destination, http };
            valid(draft, six)
        },
    )
}

/// The rule without what the API refuses. `six` says which family its nets are of.
fn valid(mut rule: Rule, six: bool) -> Rule {
    let protocol = rule.protocol.map(|p| p.number);
    let six = match protocol {
        Some(1) => false,
        Some(58) => true,
        _ => rule.version.map_or(six, |v| v == 6),
    };
    rule.version = rule.version.map(|_| if six { 6 } else { 4 });
    let excluded = rule.not_protocol.map(|p| p.number);
    if matches!((excluded, six), (Some(1), true) | (Some(58), false)) {
        rule.version = None;
    }
    let has_ports = matches!(protocol, Some(6 | 17 | 132));
    for entity in [&mut rule.source, &mut rule.destination] {
        let fits = |net: &Word| net.contains(':') == six;
        entity.nets.retain(fits);
        entity.not_nets.retain(fits);
        let fits =
            |ports: &Ports| has_ports || (protocol.is_none() && matches!(ports, Ports::Named(_)));
        entity.ports.retain(fits);
        entity.not_ports.retain(fits);
    }
    if rule.action != Action::Allow || !matches!(protocol, None | Some(6)) {
        rule.http = None;
    }
    rule
}

fn entity() -> impl Strategy<Value = Entity> {
    let nets = |lists: [&'static [Word]; 2]| {
        let all: Vec<Word> = lists.concat();
        vec(select(all), 0..3)
    };
    let sometimes = |weight| proptest::bool::weighted(weight);
    let ports = || {
        let one = prop_oneof![
            3 => select(&NUMBERS[..]).prop_map(|n| Ports::Range(n, n)),
            1 => Just(Ports::Range(1, 80)),
            1 => Just(Ports::Range(81, 65535)),
            3 => select(&["http", "dns", "alt"][..]).prop_map(Ports::Named),
        ];
        vec(one, 1..3)
    };
    let layer3 = (sometimes(0.12), nets(NETS), sometimes(0.08), nets(NOT_NETS));
    let layer4 = (sometimes(0.2), ports(), sometimes(0.08), ports());
    let peers = (
        option::weighted(0.2, expr(ON_ENDPOINTS)),
        option::weighted(0.08, expr(ON_ENDPOINTS)),
        option::weighted(0.1, scope(true)),
        option::weighted(0.1, vec(select(&ACCOUNTS[..]), 1..3)),
        option::weighted(0.06, expr(ON_ACCOUNTS)),
    );
    (layer3, layer4, peers).prop_map(
        |((n, nets, nn, not_nets), (p, ports, np, not_ports), peers)| {
            let (selector, not_selector, namespaces, account_names, accounts) = peers;
            Entity {
                nets: if n { nets } else { Vec::new() },
                not_nets: if nn { not_nets } else { Vec::new() },
                selector,
                not_selector,
                namespaces,
                account_names: account_names.unwrap_or_default(),
                accounts,
                ports: if p { ports } else { Vec::new() },
                not_ports: if np { not_ports } else { Vec::new() },
            }
        },
    )
}

/// A plane of host endpoints, for a global policy.
pub fn plane() -> impl Strategy<Value = Plane> {
    let (normal, forward) = (Plane::Normal, Plane::Forward);
    select(vec![normal, normal, forward, forward, Plane::PreDnat, Plane::Untracked])
}

fn http() -> impl Strategy<Value = Http> {
    let methods = subsequence(METHODS.to_vec(), 0..3);
    let paths = vec((any::<bool>(), select(&RULE_PATHS[..])), 0..3);
    (methods, paths).prop_map(|(methods, paths)| Http { methods, paths })
}
