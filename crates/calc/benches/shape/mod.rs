//! States of a size, without a cluster around them: always the same for the same numbers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use smol_str::{SmolStr, format_smolstr};
use tortie_calc::{
    ActivePolicy, EndpointTier, LocalEndpoint, Member, RuleSets, SetId, SetKind, Settings,
    SideSets, State, Update,
};
use tortie_policy::{
    Account, Accounts, Action, DefaultAction, EndpointId, HttpMatch, NormalPath, Order, PathMatch,
    Peers, Policy, PolicyId, PolicyKind, PortMatch, Protocol, Rule, Scope, Stage,
};
use tortie_selector::Selector;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) policies: usize,
    pub(crate) rules: usize,
    pub(crate) sets: usize,
}

/// A production cluster's: 19,992 rules, a quarter of them with one of 3,708 sets, which have about
/// 256,000 members in all, the biggest of them 54,566.
pub(crate) const PRODUCTION: Shape = Shape { policies: 294, rules: 68, sets: 3_708 };

/// Numbers that look random and are not.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = u32::try_from(self.0 >> 33).unwrap_or_default();
        number % below.max(1)
    }
}

/// The workload that everything is asked of.
pub(crate) fn endpoint() -> EndpointId {
    EndpointId { namespace: "shop".into(), name: "database-1".into() }
}

/// The account at [`sender`].
pub(crate) const SENDER: &str = "spiffe://cluster.local/ns/shop/sa/summary";

/// An address of a known workload that is in a few sets, the biggest among them.
pub(crate) fn sender() -> IpAddr {
    Ipv4Addr::new(10, 65, 0, 2).into()
}

impl Shape {
    pub(crate) fn state(self) -> State {
        let mut numbers = Numbers(7);
        let mut updates =
            vec![Update::Settings(Arc::new(Settings { addresses: true, ..Settings::default() }))];
        updates.extend((0..self.sets).map(|n| set(n, &mut numbers)));
        let mut ids = Vec::new();
        for n in 0..self.policies {
            let policy = self.policy(n, &mut numbers);
            ids.push(policy.policy.id.clone());
            updates.push(Update::Policy(Arc::new(policy)));
        }
        updates.push(Update::Endpoint(Arc::new(workload(ids))));
        let summary = Account { namespace: "shop".into(), name: "summary".into() };
        updates.push(Update::Address(sender(), vec![summary]));
        updates.push(Update::InSync);
        let mut state = State::default();
        for update in updates {
            let _ = state.apply(update);
        }
        state
    }

    fn policy(self, n: usize, numbers: &mut Numbers) -> ActivePolicy {
        let (mut ingress, mut sets) = (Vec::new(), Vec::new());
        for rule in 0..self.rules {
            let number = n * self.rules + rule;
            let (rule, ids) = match number % 4 {
                0 if self.sets > 0 => set_rule(number, number / 4 % self.sets),
                3 => (request_rule(number), RuleSets::default()),
                _ => (net_rule(number, numbers), RuleSets::default()),
            };
            ingress.push(rule);
            sets.push(ids);
        }
        if n == 0 {
            if let Some(early) = ingress.get_mut(2) {
                *early = early_rule();
            }
            if let Some(ids) = sets.get_mut(2) {
                *ids = RuleSets::default();
            }
        }
        let policy = Policy {
            id: PolicyId {
                kind: PolicyKind::GlobalNetworkPolicy,
                namespace: None,
                name: format_smolstr!("policy-{n:04}"),
            },
            tier: "default".into(),
            order: Order::LAST,
            subject: Selector::all(),
            governs_ingress: true,
            governs_egress: false,
            ingress,
            egress: Vec::new(),
            stage: Stage::Normal,
            staged: None,
        };
        ActivePolicy { policy: Arc::new(policy), ingress: sets, egress: Vec::new() }
    }
}

/// Sets are of all sizes, a few of them big. The sender is in one of 400, the biggest among them.
fn set(n: usize, numbers: &mut Numbers) -> Update {
    let rank = f64::from(u32::try_from(n).unwrap_or(u32::MAX)) + 1.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let size = (54_566.0 / rank.powf(1.2)) as usize;
    let member = |number: usize, numbers: &mut Numbers| {
        let ip = Ipv4Addr::from_bits(0x6440_0000 + numbers.next(1 << 22));
        let length = if number % 20 == 19 { 28 } else { 32 };
        let net = Ipv4Net::new(ip, length).map(|net| net.trunc());
        Member::Net(IpNet::V4(net.unwrap_or_default()))
    };
    let mut members: Vec<Member> = (0..size).map(|number| member(number, numbers)).collect();
    if n.is_multiple_of(400) {
        members.push(Member::address(sender()));
    }
    Update::IpSet { id: set_id(n), kind: SetKind::Net, members }
}

fn set_id(n: usize) -> SetId {
    SetId(format_smolstr!("s:{n}"))
}

/// An account of a set, for requests of a path.
fn set_rule(number: usize, set: usize) -> (Rule, RuleSets) {
    let mut rule = Rule::any(Action::Allow);
    rule.protocol = Some(Protocol::TCP);
    rule.destination.ports = vec![PortMatch::Range(2379, 2379)];
    rule.source.peers = Some(Peers {
        included: None,
        excluded: None,
        scope: Some(Scope::Own("shop".into())),
        accounts: Some(Accounts { names: vec!["summary".into(), "web".into()], selector: None }),
        text: "service accounts".to_owned(),
    });
    rule.http = Some(http(&format!("/set/{number}")));
    let source = SideSets { included: vec![set_id(set)], ..SideSets::default() };
    (rule, RuleSets { source, destination: SideSets::default() })
}

fn request_rule(number: usize) -> Rule {
    let mut rule = Rule::any(Action::Allow);
    rule.protocol = Some(Protocol::TCP);
    rule.destination.ports = vec![PortMatch::Range(2379, 2379)];
    rule.http = Some(http(&format!("/api/v1/resource-{number}")));
    rule
}

fn http(prefix: &str) -> HttpMatch {
    let path = NormalPath::parse(prefix).map(NormalPath::into_owned);
    HttpMatch {
        methods: vec![SmolStr::new_static("GET")],
        paths: path.into_iter().map(PathMatch::Prefix).collect(),
    }
}

/// A net and a few ports, which few other rules have.
fn net_rule(number: usize, numbers: &mut Numbers) -> Rule {
    let mut rule = Rule::any(Action::Allow);
    rule.protocol = Some(Protocol::TCP);
    let length = [8, 12, 16, 20, 24, 24, 24, 28, 32, 32].get(number % 10).copied().unwrap_or(32);
    let ip = Ipv4Addr::from_bits(0x0a00_0000 + numbers.next(1 << 24));
    let net = Ipv4Net::new(ip, length).unwrap_or_default().trunc();
    rule.source.nets = vec![IpNet::V4(net)];
    let port =
        if number % 10 == 9 { 443 } else { 10_000 + u16::try_from(number % 40_000).unwrap_or(0) };
    rule.destination.ports = vec![PortMatch::Range(port, port)];
    rule
}

/// The rule that [`Traffic`] for `/early` meets at once.
fn early_rule() -> Rule {
    let mut rule = Rule::any(Action::Allow);
    rule.http = Some(http("/early"));
    rule
}

fn workload(policies: Vec<PolicyId>) -> LocalEndpoint {
    let tier = EndpointTier {
        name: "default".into(),
        default_action: DefaultAction::Deny,
        ingress: policies,
        egress: Vec::new(),
    };
    LocalEndpoint {
        id: endpoint(),
        interface: "cali0".into(),
        addresses: vec![Ipv4Addr::new(10, 65, 0, 3).into()],
        account: None,
        tiers: [tier].into(),
        profiles: Vec::new(),
        ports: Vec::new(),
        application_enforced: true,
        spoofed_sources: Vec::new(),
    }
}
