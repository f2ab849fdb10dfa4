//! Messages written by hand from the public protocol, byte by byte, mean what they should: numbers
//! and types of fields are those of Calico's agent.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::net::IpAddr;

use prost::Message;
use tortie_calc::{ActivePolicy, Member, SetId, SetKind, State, Update};
use tortie_policy::{
    Action, Compat, CompatPoint, DefaultAction, IcmpMatch, IpVersion, PathMatch, PolicyKind,
    PortMatch, Protocol, Rule, Scope, Stage, StagedAction,
};
use tortie_policysync::wire::{Decoder, WireError};
use tortie_proto::felix::{DataplaneStats, ReportResult};

// === an encoder of its own ===

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

/// A field with a number.
fn n(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3, &mut out);
    varint(value, &mut out);
    out
}

/// A field with text, bytes or a message.
fn b(field: u64, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    varint(field << 3 | 2, &mut out);
    varint(body.as_ref().len() as u64, &mut out);
    out.extend(body.as_ref());
    out
}

/// A negative number, as protobuf writes it.
fn negative(field: u64, value: i64) -> Vec<u8> {
    n(field, u64::from_ne_bytes(value.to_ne_bytes()))
}

fn decode(bytes: &[u8]) -> Vec<Update> {
    Decoder::default().decode_bytes(bytes).unwrap().updates
}

fn one(bytes: &[u8]) -> Update {
    let mut updates = decode(bytes);
    assert_eq!(updates.len(), 1);
    updates.remove(0)
}

// === fixtures ===

#[test]
fn whole_messages_in_hexadecimal() {
    assert!(matches!(one(b"\x0a\x00"), Update::InSync));
    // ipset_update { id: "s", members: "10.0.0.0/8", type: NET }
    let update = one(b"\x12\x11\x0a\x01s\x12\x0a10.0.0.0/8\x18\x02");
    let Update::IpSet { id, kind: SetKind::Net, members } = update else { panic!("{update:?}") };
    assert_eq!(
        (id, members),
        (SetId("s".into()), vec![Member::Net("10.0.0.0/8".parse().unwrap())])
    );
    // service_account_update { id { namespace: "n", name: "a" }, labels { "k": "v" } }
    let update = one(b"\x9a\x01\x10\x0a\x06\x0a\x01n\x12\x01a\x12\x06\x0a\x01k\x12\x01v");
    let Update::ServiceAccount(account, labels) = update else { panic!("{update:?}") };
    assert_eq!(account.to_string(), "n/a");
    assert_eq!(labels["k"], "v");
    // namespace_remove { id { name: "n" } }, behind the sequence number 300
    let update = one(b"\x78\xac\x02\xb2\x01\x05\x0a\x03\x0a\x01n");
    assert!(matches!(update, Update::NamespaceRemove(name) if name == "n"));
    // Messages that sidecars have no use for: config_update, route_update, wireguard_endpoint_v6_update.
    for bytes in [&b"\x6a\x00"[..], b"\xba\x01\x02\x0a\x00", b"\x8a\x02\x00", b""] {
        assert!(decode(bytes).is_empty());
    }
}

#[test]
fn sets() {
    let mut decoder = Decoder::default();
    let mut state = State::default();
    let mut take = |bytes: &[u8]| {
        for update in decoder.decode_bytes(bytes).unwrap().updates {
            state.apply(update).unwrap();
        }
        state.clone()
    };
    let members = |set: &[&str]| set.iter().flat_map(|m| b(2, m)).collect::<Vec<u8>>();
    let ports = ["10.0.0.1,tcp:80", "fd00::1,udp:53", "10.0.0.1,sctp:9", "10.0.0.2,99:1"];
    let state = take(&b(2, [b(1, "p"), members(&ports), n(3, 1)].concat()));
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    let set = &state.sets[&SetId("p".into())];
    assert_eq!((set.kind, set.members.len(), set.incomplete), (SetKind::AddressPort, 4, false));
    assert!(set.members.contains(&Member::AddressPort(address, Protocol::TCP, 80)));

    // Addresses are nets of full length; IPv4 in IPv6 form is IPv4; bits beyond a prefix are none.
    let nets = ["10.0.0.1/32", "::ffff:10.0.0.2/128", "10.9.9.9/8"];
    let state = take(&b(2, [b(1, "n"), members(&nets), n(3, 2)].concat()));
    for text in ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.0/8"] {
        let net = Member::Net(text.parse().unwrap());
        assert!(state.sets[&SetId("n".into())].members.contains(&net), "{text}");
    }
    let state = take(&b(2, [b(1, "i"), members(&["10.0.0.1", "fd00::1"])].concat()));
    assert_eq!(state.sets[&SetId("i".into())].members.len(), 2);

    // Additions come before removals.
    let delta = [b(1, "i"), b(2, "10.0.0.7"), b(3, "10.0.0.1"), b(3, "10.0.0.7")].concat();
    let state = take(&b(3, delta));
    assert_eq!(state.sets[&SetId("i".into())].members.len(), 1);
    let state = take(&b(4, b(1, "i")));
    assert!(!state.sets.contains_key(&SetId("i".into())));
}

#[test]
fn sets_with_members_that_cannot_be_read_are_incomplete() {
    let unreadable = [
        (2, "10.0.0.0/33"),
        (2, "10.0.0.0/+8"),
        (2, "ten"),
        (2, ""),
        (2, "/8"),
        (2, "10.0.0.1,tcp:80"),
        (0, "10.0.0.0/8"),
        (1, "10.0.0.1"),
        (1, "10.0.0.1,tcp"),
        (1, "10.0.0.1,tcp:65536"),
        (1, "10.0.0.1,quic:80"),
        (1, "10.0.0.1,tcp:80,x"),
        (1, "10.0.0.0/8,tcp:80"),
    ];
    for (kind, text) in unreadable {
        let good = if kind == 1 { "10.0.0.9,tcp:80" } else { "10.0.0.9" };
        let mut decoder = Decoder::default();
        let mut state = State::default();
        let mut take = |bytes: Vec<u8>| {
            for update in decoder.decode_bytes(&bytes).unwrap().updates {
                state.apply(update).unwrap();
            }
            let set = &state.sets[&SetId("s".into())];
            (set.members.len(), set.incomplete)
        };
        let whole = [b(1, "s"), b(2, good), b(2, text), n(3, kind)].concat();
        assert_eq!(take(b(2, whole)), (1, true), "{text}");
        assert_eq!(take(b(3, [b(1, "s"), b(3, text)].concat())), (1, false), "{text} goes");
        assert_eq!(take(b(3, [b(1, "s"), b(2, text)].concat())), (1, true), "{text} comes back");
        let whole = [b(1, "s"), b(2, good), n(3, kind)].concat();
        assert_eq!(take(b(2, whole)), (1, false), "{text} is replaced");
    }
}

#[test]
fn sets_of_an_unknown_type_are_there_and_nothing_is_known_of_them() {
    let mut decoder = Decoder::default();
    let mut state = State::default();
    let whole = [b(1, "s"), b(2, "10.0.0.0/8"), n(3, 9)].concat();
    let delta = [b(1, "s"), b(2, "10.0.0.1/32"), b(3, "10.0.0.0/8")].concat();
    for bytes in [b(2, whole), b(3, delta)] {
        for update in decoder.decode_bytes(&bytes).unwrap().updates {
            state.apply(update).unwrap();
        }
        let set = &state.sets[&SetId("s".into())];
        assert!(set.members.is_empty() && set.incomplete);
    }
}

fn policy_id(name: &str, namespace: &str, kind: &str) -> Vec<u8> {
    [b(2, name), b(3, namespace), b(4, kind)].concat()
}

fn policy(update: Update) -> ActivePolicy {
    let Update::Policy(policy) = update else { panic!("{update:?}") };
    ActivePolicy::clone(&policy)
}

#[test]
fn policies_and_profiles() {
    let body = [
        b(1, b(1, "allow")),
        b(2, b(1, "deny")),
        b(2, b(1, "log")),
        n(3, 1),
        b(5, "n"),
        b(6, "a == 'b'"),
        b(7, "AssumeNeededOnEveryNode"),
        b(8, "tier"),
    ];
    let id = policy_id("p", "n", "StagedNetworkPolicy");
    let read = policy(one(&b(7, [b(1, id.clone()), b(2, body.concat())].concat())));
    assert_eq!(read.policy.id.to_string(), "StagedNetworkPolicy n/p");
    assert_eq!((read.policy.ingress.len(), read.policy.egress.len()), (1, 2));
    assert_eq!(
        (read.policy.stage, read.policy.staged),
        (Stage::Untracked, Some(StagedAction::Set))
    );
    assert_eq!(read.policy.tier, "tier");
    assert!(matches!(one(&b(8, b(1, id))), Update::PolicyRemove(id) if id.name == "p"));
    for (kind, expected) in [
        ("NetworkPolicy", PolicyKind::NetworkPolicy),
        ("GlobalNetworkPolicy", PolicyKind::GlobalNetworkPolicy),
        ("KubernetesNetworkPolicy", PolicyKind::KubernetesNetworkPolicy),
        ("KubernetesClusterNetworkPolicy", PolicyKind::KubernetesClusterNetworkPolicy),
        ("StagedGlobalNetworkPolicy", PolicyKind::StagedGlobalNetworkPolicy),
        ("StagedKubernetesNetworkPolicy", PolicyKind::StagedKubernetesNetworkPolicy),
    ] {
        let remove = one(&b(8, b(1, policy_id("p", "", kind))));
        assert!(matches!(remove, Update::PolicyRemove(id) if id.kind == expected));
    }
    let update = [b(1, b(1, "kns.n")), b(2, [b(1, b(1, "allow")), b(2, b(1, "pass"))].concat())];
    let Update::Profile(profile) = one(&b(5, update.concat())) else { panic!() };
    assert_eq!(
        (profile.profile.name.as_str(), profile.profile.egress[0].action),
        ("kns.n", Action::Pass)
    );
    assert!(matches!(one(&b(6, b(1, b(1, "kns.n")))), Update::ProfileRemove(n) if n == "kns.n"));
}

#[test]
fn endpoints() {
    let ids = [policy_id("p", "n", "NetworkPolicy"), policy_id("g", "", "GlobalNetworkPolicy")];
    let tier = |action: &str| {
        [b(1, "t"), b(2, &ids[0]), b(2, &ids[1]), b(3, &ids[1]), b(4, action)].concat()
    };
    let endpoint = [
        b(1, "active"),
        b(2, "cali1"),
        b(3, "ee:ee:ee:ee:ee:ee"),
        b(4, "kns.n"),
        b(4, "ksa.n.a"),
        b(5, "10.0.0.1/32"),
        b(6, "fd00::1/128"),
        b(7, tier("pASS")),
        b(7, tier("Deny")),
        b(7, tier("")),
        b(7, tier("next")),
        b(8, [b(1, "1.2.3.4"), b(2, "10.0.0.1")].concat()),
        b(10, "10.1.0.0/16"),
        b(11, [b(1, "k"), b(2, "v")].concat()),
        b(12, n(1, 5)),
        n(14, 1),
        n(16, 1),
        n(17, 1),
        b(18, "u"),
        b(19, "v"),
    ];
    let id = [b(2, "k8s"), b(3, "n/pod"), b(4, "eth0")].concat();
    let update = one(&b(11, [b(1, &id), b(5, endpoint.concat())].concat()));
    let Update::Endpoint(read) = update else { panic!("{update:?}") };
    assert_eq!((read.id.to_string().as_str(), read.interface.as_str()), ("n/pod", "cali1"));
    assert_eq!(read.profiles, ["kns.n", "ksa.n.a"]);
    assert_eq!(read.addresses.len(), 2);
    assert_eq!(read.spoofed_sources.len(), 1);
    assert_eq!((read.tiers[0].ingress.len(), read.tiers[0].egress.len()), (2, 1));
    use DefaultAction::{Deny, Pass};
    assert_eq!([Pass, Deny, Deny, Deny], [0, 1, 2, 3].map(|n: usize| read.tiers[n].default_action));
    assert!(matches!(one(&b(12, b(1, &id))), Update::EndpointRemove(id) if id.name == "pod"));

    let lenient = Decoder::new(CompatPoint::TierDefaultAction.into())
        .decode_bytes(&b(11, [b(1, id), b(5, b(7, tier("pass")))].concat()));
    let Update::Endpoint(read) = &lenient.unwrap().updates[0] else { panic!() };
    assert_eq!(read.tiers[0].default_action, Deny);
}

/// The rule of a policy in the namespace `n`.
fn rule_as(fields: &[u8], compat: Compat) -> (Rule, tortie_calc::RuleSets) {
    let body = [b(1, fields), b(5, "n")].concat();
    let update = b(7, [b(1, policy_id("p", "n", "NetworkPolicy")), b(2, body)].concat());
    let mut updates = Decoder::new(compat).decode_bytes(&update).unwrap().updates;
    let read = policy(updates.remove(0));
    (read.policy.ingress[0].clone(), read.ingress[0].clone())
}

fn rule(fields: &[Vec<u8>]) -> (Rule, tortie_calc::RuleSets) {
    rule_as(&fields.concat(), Compat::STRICT)
}

#[test]
fn every_field_of_a_rule() {
    let allow = b(1, "Allow");
    let with = |field: Vec<u8>| rule(&[allow.clone(), field]);
    let ids = |list: &[SetId]| list.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",");
    let ports = [n(1, 80), n(2, 90)].concat();
    let range = [PortMatch::Range(80, 90)];
    let code = [n(1, 8), n(2, 3)].concat();
    let coded = Some(IcmpMatch { kind: 8, code: Some(3) });

    assert_eq!(with(n(2, 4)).0.ip_version, Some(IpVersion::V4));
    assert_eq!(with(n(2, 6)).0.ip_version, Some(IpVersion::V6));
    assert_eq!(with(b(3, n(1, 132))).0.protocol, Some(Protocol::SCTP));
    assert_eq!(with(b(3, b(2, "udp"))).0.protocol, Some(Protocol::UDP));
    assert_eq!(with(b(4, "10.0.0.0/8")).0.source.nets.len(), 1);
    assert_eq!(with(b(5, &ports)).0.source.ports, range);
    assert_eq!(with(b(6, "10.0.0.0/8")).0.destination.nets.len(), 1);
    assert_eq!(with(b(7, &ports)).0.destination.ports, range);
    assert_eq!(with(n(8, 8)).0.icmp, Some(IcmpMatch { kind: 8, code: None }));
    assert_eq!(with(b(9, &code)).0.icmp, coded);
    assert_eq!(ids(&with(b(10, "s")).1.source.included), "s");
    assert_eq!(ids(&with(b(11, "s")).1.destination.included), "s");
    assert_eq!(ids(&with(b(12, "s")).1.source.named_ports), "s");
    assert_eq!(ids(&with(b(13, "s")).1.destination.named_ports), "s");
    assert_eq!(ids(&with(b(15, "s")).1.destination.services), "s");
    assert_eq!(with(b(102, b(2, "TCP"))).0.not_protocol, Some(Protocol::TCP));
    assert_eq!(with(b(103, "10.0.0.0/8")).0.source.not_nets.len(), 1);
    assert_eq!(with(b(104, &ports)).0.source.not_ports, range);
    assert_eq!(with(b(105, "10.0.0.0/8")).0.destination.not_nets.len(), 1);
    assert_eq!(with(b(106, &ports)).0.destination.not_ports, range);
    assert_eq!(with(n(107, 8)).0.not_icmp, Some(IcmpMatch { kind: 8, code: None }));
    assert_eq!(with(b(108, &code)).0.not_icmp, coded);
    assert_eq!(ids(&with(b(109, "s")).1.source.excluded), "s");
    assert_eq!(ids(&with(b(110, "s")).1.destination.excluded), "s");
    assert_eq!(ids(&with(b(112, "s")).1.source.not_named_ports), "s");
    assert_eq!(ids(&with(b(113, "s")).1.destination.not_named_ports), "s");
    let http = [b(1, "GET"), b(2, b(1, "/a/")), b(2, b(2, "/%62"))].concat();
    let http = with(b(122, http)).0.http.unwrap();
    assert_eq!(http.methods, ["GET"]);
    assert!(matches!(&http.paths[0], PathMatch::Exact(path) if path.as_bytes() == b"/a"));
    assert!(matches!(&http.paths[1], PathMatch::Prefix(path) if path.as_bytes() == b"/b"));
    let service = with([b(130, "svc"), b(131, "m")].concat()).0.destination.service.unwrap();
    assert_eq!(service.to_string(), "m/svc");
    let service = with([b(132, "svc"), b(133, "m")].concat()).0.source.service.unwrap();
    assert_eq!(service.to_string(), "m/svc");
    let notes = with([b(123, b(1, [b(1, "k"), b(2, "v")].concat())), b(201, "id")].concat()).0;
    assert_eq!((notes.action, notes.source.peers.is_none()), (Action::Allow, true));
    for (word, action) in [
        ("allow", Action::Allow),
        ("DENY", Action::Deny),
        ("next-tier", Action::Pass),
        ("log", Action::Log),
    ] {
        assert_eq!(rule(&[b(1, word)]).0.action, action);
    }
    for word in ["", "accept", "allow "] {
        assert_eq!(rule(&[b(1, word)]).0.action, Action::Deny, "what it matches");
    }
}

#[test]
fn namespaces_are_derived_from_what_else_is_asked_for() {
    let accounts = |body: Vec<u8>| b(120, body);
    let peers = |fields: &[Vec<u8>]| rule(fields).0.source.peers;
    let own = |fields: &[Vec<u8>]| match peers(fields).map(|peers| peers.scope) {
        Some(Some(Scope::Own(namespace))) => namespace == "n",
        _ => false,
    };
    assert!(own(&[b(114, "a == 'b'")]), "a selector");
    assert!(own(&[b(118, "a == 'b'")]), "a negated selector");
    assert!(own(&[accounts(b(2, "a"))]), "names of service accounts");
    assert!(own(&[accounts(b(1, "a == 'b'"))]), "a selector of service accounts");
    assert!(peers(&[accounts(Vec::new())]).is_none(), "nothing");
    assert!(peers(&[b(10, "s")]).is_none(), "sets alone");
    let selected = peers(&[b(116, "team == 'x'"), accounts(b(2, "a"))]).unwrap();
    assert!(matches!(selected.scope, Some(Scope::Selected(s)) if s.canonical() == "team == \"x\""));
    assert_eq!(selected.accounts.unwrap().names, ["a"]);
    let peers = rule(&[b(121, b(2, "a")), b(115, "x"), b(117, "all()"), b(119, "y")]).0;
    let peers = peers.destination.peers.unwrap();
    assert!(matches!(&peers.scope, Some(Scope::Selected(s)) if s.is_all()));
    for part in
        ["service account `a`", "labels `x`", "not labels `y`", "namespace matching `all()`"]
    {
        assert!(peers.text.contains(part), "{}", peers.text);
    }
}

/// Parts that cannot be used, and whether the rule still asks for what they are about.
fn unusable() -> Vec<(&'static str, Vec<u8>)> {
    let range = |first, last| [negative(1, first), negative(2, last)].concat();
    vec![
        ("address family", n(2, 5)),
        ("protocol name", b(3, b(2, "quic"))),
        ("protocol number", b(3, n(1, 256))),
        ("negative protocol", b(3, negative(1, -6))),
        ("no protocol", b(3, "")),
        ("net", [b(4, "10.0.0.0/8"), b(4, "10.0.0.0/99")].concat()),
        ("receiver's net", b(6, "ten")),
        ("ports", b(7, range(90, 80))),
        ("negative port", b(5, range(-1, 80))),
        ("large port", b(5, range(80, 65536))),
        ("ICMP type", n(8, 256)),
        ("ICMP code", b(9, [n(1, 8), n(2, 300)].concat())),
        ("negated protocol", b(102, b(2, "quic"))),
        ("negated net", b(103, "10.0.0.0/8/8")),
        ("negated ports", b(106, range(0, 70000))),
        ("negated ICMP type", negative(107, -1)),
        ("namespace selector", b(116, "a ==")),
        ("service account selector", b(120, b(1, "=="))),
        ("path", b(122, [b(2, b(1, "/a")), b(2, b(1, "/%zz"))].concat())),
        ("empty path", b(122, b(2, ""))),
        ("relative path", b(122, b(2, b(2, "a")))),
    ]
}

#[test]
fn parts_that_cannot_be_used_never_allow() {
    let never = |rule: &Rule| rule.protocol.is_some() && rule.protocol == rule.not_protocol;
    for (what, field) in unusable() {
        let with = |action: &str| rule(&[b(1, action), field.clone()]).0;
        for action in ["allow", "log"] {
            assert!(never(&with(action)), "{what}: {action} matches nothing");
        }
        for action in ["deny", "next-tier", "unheard-of"] {
            let denies = with(action);
            assert_eq!(denies.action, Action::Deny, "{what}: {action}");
            let entity = |side: &tortie_policy::EntityMatch| {
                let lists =
                    side.nets.len() + side.not_nets.len() + side.ports.len() + side.not_ports.len();
                lists == 0
            };
            assert!(
                !never(&denies) && entity(&denies.source) && entity(&denies.destination),
                "{what}"
            );
            assert!(denies.http.is_none_or(|http| http.paths.is_empty()), "{what}");
        }
    }
}

#[test]
fn parts_that_cannot_be_used_match_nothing_if_compatibility_wants_it() {
    let lenient = Compat::from(CompatPoint::UnusableRulePart);
    for (what, field) in unusable() {
        let (read, _) = rule_as(&[b(1, "deny"), field].concat(), lenient);
        let matches = match what {
            "negated protocol" => read.not_protocol.is_none() && read.protocol.is_none(),
            "path" => read.http.is_some_and(|http| http.paths.len() == 1),
            _ => read.protocol == Some(Protocol::TCP) && read.not_protocol == read.protocol,
        };
        assert!(matches, "{what}");
    }
}

#[test]
fn what_does_not_say_what_it_is_about_is_refused() {
    let id = || policy_id("p", "n", "NetworkPolicy");
    let old = [b(1, "default"), b(2, "p")].concat();
    let old_tier = |list: Vec<u8>| {
        let endpoint = b(7, [b(1, "default"), list].concat());
        b(11, [b(1, b(3, "n/pod")), b(5, endpoint)].concat())
    };
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("id", b(2, "")),
        ("id", b(3, "")),
        ("id", b(4, "")),
        ("id", b(5, "")),
        ("id", b(6, "")),
        ("id", b(7, "")),
        ("id", b(8, "")),
        ("id", b(11, "")),
        ("id", b(12, "")),
        ("id", b(19, "")),
        ("id", b(20, "")),
        ("id", b(21, "")),
        ("id", b(22, "")),
        ("id.name", b(19, b(1, b(1, "n")))),
        ("id.name", b(8, b(1, b(4, "NetworkPolicy")))),
        ("policy", b(7, b(1, id()))),
        ("profile", b(5, b(1, b(1, "kns.n")))),
        ("endpoint", b(11, b(1, b(3, "n/pod")))),
        ("id.workload_id", b(12, b(1, b(3, "pod")))),
        ("id.workload_id", b(12, b(1, b(3, "/pod")))),
        ("up to 3.31", b(7, [b(1, &old), b(2, "")].concat())),
        ("up to 3.31", b(8, b(1, &old))),
        ("up to 3.31", old_tier(b(2, "default.allow-http"))),
        ("up to 3.31", old_tier(b(3, "knp.default.deny"))),
        ("up to 3.31", old_tier(b(2, "abcdefghi"))),
        ("up to 3.31", old_tier(b(2, &old))),
        ("ipv4_nets", b(11, [b(1, b(3, "n/pod")), b(5, b(5, "10.0.0.0/8"))].concat())),
        ("address", b(1001, b(1, b(1, "ten")))),
        ("trust_domain", b(1002, "")),
        ("not a message", vec![0x12, 0x05, 0x0a]),
    ];
    for (reason, bytes) in refused {
        let error = Decoder::default().decode_bytes(&bytes).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    let kind = b(8, b(1, policy_id("p", "", "AdminNetworkPolicy")));
    let error = Decoder::default().decode_bytes(&kind).unwrap_err();
    assert!(matches!(error, WireError::Invalid { field: "id.kind", .. }), "{error}");
}

#[test]
fn reports_and_answers() {
    let statistic = [n(1, 1), n(2, 1), n(3, 1), n(4, 1), n(5, 7)].concat();
    let trace = [b(1, policy_id("p", "n", "NetworkPolicy")), n(4, 1), n(5, 2)].concat();
    let bytes = [
        b(1, "10.0.0.1"),
        b(2, "10.0.0.2"),
        n(3, 4000),
        n(4, 80),
        b(5, b(2, "tcp")),
        b(6, statistic),
        b(7, trace),
        n(8, 1),
    ];
    let stats = DataplaneStats::decode(bytes.concat().as_slice()).unwrap();
    assert_eq!((stats.src_port, stats.dst_port, stats.action), (4000, 80, 1));
    assert_eq!((stats.stats[0].value, stats.rules[0].rule_num), (7, 2));
    assert_eq!(ReportResult { successful: true }.encode_to_vec(), [8, 1]);
}
