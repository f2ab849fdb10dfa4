//! A second evaluator, written from the description of the language and sharing nothing with the one
//! it checks: it reads worlds, not resources, and knows true and false alone.
//!
//! It works as the kernel of a node would: each criterion is turned into a set of addresses, or of
//! addresses with ports, and a packet is looked up in it. The policies of an endpoint are one sorted
//! list, and a tier is a run of neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tortie_testkit::world::{
    Action, Direction, Entity, Expr, Http, Pod, Policy, Ports, Protocol, Rule, State, Word, World,
};

type LabelMap = BTreeMap<String, String>;

/// What is known of a packet or request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    /// Sender: address and port.
    pub(crate) source: (IpAddr, u16),
    /// Receiver: address and port.
    pub(crate) destination: (IpAddr, u16),
    /// Protocol.
    pub(crate) protocol: u8,
    /// HTTP.
    pub(crate) http: Seen,
    /// Namespace and account of the sender's certificate.
    pub(crate) certificate: Option<(Word, Word)>,
}

/// What is seen of HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    /// Nothing, and nobody will look.
    Nothing,
    /// Nothing, but a sidecar will look.
    Later,
    /// A request of that method and normal path.
    Request(Word, Option<Word>),
}

/// Which rule decided: the policy's name and the rule's position, the tier, or the profile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum By {
    Rule(String, usize),
    EndOfTier(String),
    Profile,
}

/// One end of a packet as a rule sees it.
type End = (IpAddr, u16);

pub(crate) struct Oracle<'w> {
    world: &'w World,
    /// Running pods with the labels that selectors see.
    endpoints: Vec<(&'w Pod, LabelMap)>,
}

impl<'w> Oracle<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        let running = world.pods.iter().filter(|p| p.state == State::Running);
        let endpoints = running.map(|pod| (pod, seen_labels(world, pod))).collect();
        Oracle { world, endpoints }
    }

    /// Whether a packet may pass an endpoint, and what decided.
    pub(crate) fn decide(&self, pod: &Pod, direction: Direction, packet: &Packet) -> (bool, By) {
        let mut policies: Vec<_> =
            self.world.policies.iter().filter(|p| self.applies(p, pod, direction)).collect();
        policies.sort_by(|a, b| self.rank(a).partial_cmp(&self.rank(b)).unwrap());
        for tier in policies.chunk_by(|a, b| tier_of(a) == tier_of(b)) {
            let rules = tier.iter().flat_map(|p| rules(p, direction).map(move |(i, r)| (*p, i, r)));
            let mut hits = rules.filter(|(policy, _, rule)| {
                rule.action != Action::Log && self.hits(policy, rule, packet)
            });
            let name = tier_of(tier[0]);
            match hits.next() {
                Some((_, _, Rule { action: Action::Pass, .. })) => {}
                Some((policy, index, rule)) => {
                    let by = By::Rule(policy.name.clone(), index);
                    return (rule.action == Action::Allow, by);
                }
                None if self.passes(name) => {}
                None => return (false, By::EndOfTier(name.to_owned())),
            }
        }
        (true, By::Profile)
    }

    fn applies(&self, policy: &Policy, pod: &Pod, direction: Direction) -> bool {
        let labels = seen_labels(self.world, pod);
        let of_namespace = namespace_labels(self.world, pod.namespace);
        let of_account = account_labels(self.world, pod.namespace, pod.account());
        governs(policy, direction)
            && policy.namespace.is_none_or(|n| n == pod.namespace)
            && policy.selector.as_ref().is_none_or(|s| s.holds(&labels))
            && policy.namespaces.as_ref().is_none_or(|s| s.holds(&of_namespace))
            && policy.accounts.as_ref().is_none_or(|s| s.holds(&of_account))
    }

    /// Undefined tiers last; then by tier order and name; then by order, none last; then by text.
    fn rank(&self, policy: &'w Policy) -> (bool, f64, &'w str, f64, String) {
        let name = tier_of(policy);
        let order = match name {
            "kube-admin" => Some(1_000.0),
            "default" => Some(1_000_000.0),
            "kube-baseline" => Some(10_000_000.0),
            name => self.tier(name).map(|t| t.0),
        };
        let (namespace, kind) = match policy.namespace {
            Some(namespace) => (namespace, "NetworkPolicy"),
            None => ("", "GlobalNetworkPolicy"),
        };
        let text = format!("{}/{namespace}/{kind}", policy.name);
        let position = policy.order.unwrap_or(f64::INFINITY);
        (order.is_none(), order.unwrap_or(0.0), name, position, text)
    }

    fn tier(&self, name: &str) -> Option<(f64, bool)> {
        let tier = self.world.tiers.iter().find(|t| t.name == name)?;
        Some((tier.order.unwrap_or(1_000_000.0), tier.pass == Some(true)))
    }

    fn passes(&self, tier: &str) -> bool {
        tier.starts_with("kube-") || self.tier(tier).is_some_and(|t| t.1)
    }

    /// Addresses of the endpoints of a kind.
    fn addresses(&self, of: impl Fn(&Pod, &LabelMap) -> bool) -> BTreeSet<IpAddr> {
        let fitting = self.endpoints.iter().filter(|(pod, labels)| of(pod, labels));
        fitting.flat_map(|(pod, _)| pod.addresses.iter().copied()).collect()
    }

    fn hits(&self, policy: &Policy, rule: &Rule, packet: &Packet) -> bool {
        let Packet { source, destination, protocol, .. } = packet;
        let six = source.0.is_ipv6();
        family(rule).is_none_or(|f| f == six)
            && rule.protocol.is_none_or(|p| p.number == *protocol)
            && rule.not_protocol.is_none_or(|p| p.number != *protocol)
            && self.fits(policy, &rule.source, *source, packet)
            && self.fits(policy, &rule.destination, *destination, packet)
            && packet.certificate.is_none_or(|c| self.certified(policy, &rule.source, c))
            && rule.http.as_ref().is_none_or(|http| asked_for(http, packet.http))
    }

    fn fits(&self, policy: &Policy, entity: &Entity, end: End, packet: &Packet) -> bool {
        let (ip, _) = end;
        let in_any = |nets: &[Word]| nets.iter().any(|net| lies_in(ip, net));
        let on_any = |ports: &[Ports]| ports.iter().any(|p| self.uses(*p, end, packet.protocol));
        self.sets(policy, entity).iter().all(|set| set.contains(&ip))
            && entity.not_selector.as_ref().is_none_or(|selector| {
                !self.addresses(|_, labels| selector.holds(labels)).contains(&ip)
            })
            && (entity.nets.is_empty() || in_any(&entity.nets))
            && !in_any(&entity.not_nets)
            && (entity.ports.is_empty() || on_any(&entity.ports))
            && !on_any(&entity.not_ports)
    }

    /// The sets of addresses that an end must be in, all of them.
    fn sets(&self, policy: &Policy, entity: &Entity) -> Vec<BTreeSet<IpAddr>> {
        let mut sets = Vec::new();
        if let Some(selector) = &entity.selector {
            sets.push(self.addresses(|_, labels| selector.holds(labels)));
        }
        if let Some(namespace) = own_namespace(policy, entity) {
            sets.push(self.addresses(|pod, _| pod.namespace == namespace));
        }
        if let Some(selector) = &entity.namespaces {
            let labels = |pod: &Pod| namespace_labels(self.world, pod.namespace);
            sets.push(self.addresses(|pod, _| selector.holds(&labels(pod))));
        }
        if !entity.account_names.is_empty() {
            sets.push(self.addresses(|pod, _| entity.account_names.contains(&pod.account())));
        }
        if let Some(selector) = &entity.accounts {
            let labels = |pod: &Pod| account_labels(self.world, pod.namespace, pod.account());
            sets.push(self.addresses(|pod, _| selector.holds(&labels(pod))));
        }
        sets
    }

    fn uses(&self, ports: Ports, (ip, number): End, protocol: u8) -> bool {
        match ports {
            Ports::Range(first, last) => first <= number && number <= last,
            Ports::Named(name) => self.endpoints.iter().any(|(pod, _)| {
                let declared = pod.ports.iter().map(|p| (p.name, p.protocol.number, p.number));
                pod.addresses.contains(&ip)
                    && declared.into_iter().any(|d| d == (name, protocol, number))
            }),
        }
    }

    /// Whether a certificate meets the criteria it can speak of.
    fn certified(&self, policy: &Policy, entity: &Entity, (namespace, name): (Word, Word)) -> bool {
        let of_namespace = namespace_labels(self.world, namespace);
        let of_account = account_labels(self.world, namespace, name);
        own_namespace(policy, entity).is_none_or(|own| own == namespace)
            && entity.namespaces.as_ref().is_none_or(|s| s.holds(&of_namespace))
            && (entity.account_names.is_empty() || entity.account_names.contains(&name))
            && entity.accounts.as_ref().is_none_or(|s| s.holds(&of_account))
    }

    /// Whether a namespace and account are known: described, or used by somebody.
    pub(crate) fn knows(&self, namespace: Word, account: Word) -> bool {
        let World { namespaces, accounts, pods, policies, .. } = self.world;
        let account_known = accounts.iter().any(|a| (a.namespace, a.name) == (namespace, account))
            || pods.iter().any(|p| (p.namespace, p.account()) == (namespace, account));
        let namespace_known = namespaces.iter().any(|n| n.name == namespace)
            || policies.iter().any(|p| p.namespace == Some(namespace));
        account_known || (namespace_known && pods.is_empty())
    }
}

fn tier_of(policy: &Policy) -> &str {
    policy.tier.unwrap_or("default")
}

fn list(policy: &Policy, direction: Direction) -> &[Rule] {
    let rules = match direction {
        Direction::Ingress => &policy.ingress,
        Direction::Egress => &policy.egress,
    };
    rules.as_deref().unwrap_or_default()
}

fn rules(policy: &Policy, direction: Direction) -> impl Iterator<Item = (usize, &Rule)> {
    list(policy, direction).iter().enumerate()
}

fn governs(policy: &Policy, direction: Direction) -> bool {
    let given = |d| !list(policy, d).is_empty();
    match &policy.types {
        Some(types) => types.contains(&direction),
        None if direction == Direction::Egress => given(Direction::Egress),
        None => given(Direction::Ingress) || !given(Direction::Egress),
    }
}

/// The policy's own namespace, where a rule's criteria mean it.
fn own_namespace(policy: &Policy, entity: &Entity) -> Option<Word> {
    let asks = entity.selector.is_some()
        || entity.not_selector.is_some()
        || !entity.account_names.is_empty()
        || entity.accounts.is_some();
    policy.namespace.filter(|_| asks && entity.namespaces.is_none())
}

/// Whether a rule is of IPv6 alone; none if it is of both families.
fn family(rule: &Rule) -> Option<bool> {
    let Rule { source, destination, .. } = rule;
    let by_version = rule.version.map(|v| v == 6);
    let by_protocol = match rule.protocol {
        Some(Protocol { number: 1, .. }) => Some(false),
        Some(Protocol { number: 58, .. }) => Some(true),
        _ => None,
    };
    let nets = [&source.nets, &source.not_nets, &destination.nets, &destination.not_nets];
    let by_net = nets.into_iter().flatten().next().map(|net| net.contains(':'));
    by_version.or(by_protocol).or(by_net)
}

/// Bit by bit.
fn lies_in(ip: IpAddr, net: &str) -> bool {
    let (address, length) = net.split_once('/').unwrap();
    let (address, length): (IpAddr, usize) = (address.parse().unwrap(), length.parse().unwrap());
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => format!("{:032b}", u32::from(ip)),
        IpAddr::V6(ip) => format!("{:0128b}", u128::from(ip)),
    };
    ip.is_ipv4() == address.is_ipv4() && bits(ip)[..length] == bits(address)[..length]
}

fn asked_for(http: &Http, seen: Seen) -> bool {
    let (method, path) = match seen {
        Seen::Nothing => return false,
        Seen::Later => return true,
        Seen::Request(method, path) => (method, path),
    };
    let methods = &http.methods;
    let by_method = methods.is_empty() || methods.contains(&"*") || methods.contains(&method);
    let fits = |(exact, want): &(bool, Word)| {
        let want = want.trim_end_matches('/');
        path.is_some_and(|path| {
            let below = path.strip_prefix(want).is_some_and(|rest| rest.starts_with('/'));
            path.trim_end_matches('/') == want || (!*exact && below)
        })
    };
    by_method && (http.paths.is_empty() || http.paths.iter().any(fits))
}

fn owned(labels: &BTreeMap<Word, Word>) -> LabelMap {
    labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The labels of a namespace as namespace selectors see them.
fn namespace_labels(world: &World, name: Word) -> LabelMap {
    let described = world.namespaces.iter().find(|n| n.name == name);
    let mut labels = described.map(|n| owned(&n.labels)).unwrap_or_default();
    if described.is_some_and(|n| n.sidecars) {
        labels.insert("istio-injection".into(), "enabled".into());
    }
    labels.insert("projectcalico.org/name".into(), name.into());
    labels.insert("kubernetes.io/metadata.name".into(), name.into());
    labels
}

/// The labels of a service account as service account selectors see them.
fn account_labels(world: &World, namespace: Word, name: Word) -> LabelMap {
    let mut all = world.accounts.iter().filter(|a| a.namespace == namespace);
    let described = all.find(|a| a.name == name);
    let mut labels = described.map(|a| owned(&a.labels)).unwrap_or_default();
    labels.insert("projectcalico.org/name".into(), name.into());
    labels
}

/// The labels of a pod as selectors see them.
fn seen_labels(world: &World, pod: &Pod) -> LabelMap {
    let mut labels = owned(&pod.labels);
    labels.insert("projectcalico.org/namespace".into(), pod.namespace.into());
    labels.insert("projectcalico.org/serviceaccount".into(), pod.account().into());
    labels.insert("projectcalico.org/orchestrator".into(), "k8s".into());
    let inherited = namespace_labels(world, pod.namespace).into_iter();
    labels.extend(inherited.map(|(k, v)| (format!("pcns.{k}"), v)));
    let inherited = account_labels(world, pod.namespace, pod.account()).into_iter();
    labels.extend(inherited.map(|(k, v)| (format!("pcsa.{k}"), v)));
    labels
}

/// `all()` of a namespace selector is every namespace, which every pod has; `global()` is none.
#[test]
fn scopes_of_the_oracle() {
    assert!(Expr::All.holds(&LabelMap::new()) && !Expr::Global.holds(&LabelMap::new()));
}
