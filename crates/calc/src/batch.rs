//! What a node has to enforce, worked out from a whole cluster at once: slowly, and obviously right.
//!
//! The incremental calculation must end with the same [`State`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_policy::{
    Account, Cluster, DefaultAction, Direction, Endpoint, EntityMatch, HostEndpoint, Interface,
    Labels, NamedPort, Plane, Policy, PolicyId, PortMatch, Rule, Side, Tier,
};
use tortie_selector::Selector;

use crate::{
    ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, LocalHost, Member, SetId, SetKind,
    Settings, State, Update,
};

/// The state of one node, or of all nodes together.
pub fn batch(cluster: &Cluster, node: Option<&str>) -> State {
    let mut state = State::default();
    for update in updates(cluster, node) {
        // What comes out is in order: sets, policies and profiles, endpoints.
        let applied = state.apply(update);
        debug_assert!(applied.is_ok(), "{applied:?}");
    }
    state
}

/// The same as updates that lead there from nothing, in an order that keeps the rules of the stream.
pub fn updates(cluster: &Cluster, node: Option<&str>) -> Vec<Update> {
    let (endpoints, hosts) = (local_endpoints(cluster, node), local_hosts(cluster, node));
    let policies = active_policies(cluster, &endpoints, &hosts);
    let profiles = active_profiles(cluster, &endpoints, &hosts);
    let mut updates = vec![Update::Settings(Arc::new(settings(cluster, node)))];
    updates.extend(sets(cluster, &policies, &profiles));
    updates.extend(policies.into_iter().map(Update::Policy));
    updates.extend(profiles.into_iter().map(Update::Profile));
    updates.extend(endpoints.into_iter().map(Update::Endpoint));
    updates.extend(hosts.into_iter().map(Update::Host));
    updates.extend(
        cluster.accounts().map(|(a, l)| Update::ServiceAccount(a.clone(), Arc::new(l.clone()))),
    );
    updates.extend(
        cluster.namespaces().map(|(n, l)| Update::Namespace(n.clone(), Arc::new(l.clone()))),
    );
    updates.extend(addresses(cluster).into_iter().map(|(ip, a)| Update::Address(ip, a)));
    updates.push(Update::InSync);
    updates
}

fn settings(cluster: &Cluster, node: Option<&str>) -> Settings {
    Settings {
        trust: cluster.trust().clone(),
        compat: cluster.compat(),
        established: cluster.established_flows(),
        host: cluster.settings(&node.unwrap_or_default().into()),
        revision: 0,
        addresses: true,
        nodes: Arc::new(cluster.node_addresses().collect()),
    }
}

/// One account for each workload that uses an address.
fn addresses(cluster: &Cluster) -> BTreeMap<IpAddr, Vec<Account>> {
    let mut addresses: BTreeMap<IpAddr, Vec<Account>> = BTreeMap::new();
    for endpoint in cluster.endpoints() {
        for address in &endpoint.addresses {
            let users = addresses.entry(address.to_canonical()).or_default();
            users.push(endpoint.account.clone());
        }
    }
    for users in addresses.values_mut() {
        users.sort();
    }
    addresses
}

// === endpoints ===

fn is_local(of: Option<&SmolStr>, node: Option<&str>) -> bool {
    node.is_none() || of.map(SmolStr::as_str) == node
}

fn local_endpoints(cluster: &Cluster, node: Option<&str>) -> Vec<Arc<LocalEndpoint>> {
    let local = cluster.endpoints().filter(|e| is_local(e.node.as_ref(), node));
    local.map(|e| Arc::new(local_endpoint(cluster, e))).collect()
}

fn local_endpoint(cluster: &Cluster, endpoint: &Endpoint) -> LocalEndpoint {
    LocalEndpoint {
        id: endpoint.id.clone(),
        interface: SmolStr::default(),
        addresses: endpoint.addresses.clone(),
        account: Some(endpoint.account.clone()),
        tiers: tiers(cluster, &endpoint.labels, Plane::Normal).into(),
        profiles: endpoint.profiles.clone(),
        ports: endpoint.ports.clone(),
        application_enforced: endpoint.application_enforced,
        spoofed_sources: Vec::new(),
    }
}

fn local_hosts(cluster: &Cluster, node: Option<&str>) -> Vec<Arc<LocalHost>> {
    let local = cluster.hosts().filter(|h| is_local(Some(&h.node), node));
    local.map(|h| Arc::new(local_host(cluster, h))).collect()
}

fn local_host(cluster: &Cluster, host: &HostEndpoint) -> LocalHost {
    let asked = |plane: &Plane| *plane != Plane::Untracked || host.interface != Interface::All;
    let planes = Plane::ALL.into_iter().filter(asked);
    let planes = planes.map(|plane| (plane, tiers(cluster, &host.labels, plane).into()));
    LocalHost {
        name: host.name.clone(),
        interface: host.interface.clone(),
        addresses: host.addresses.clone(),
        planes: planes.filter(|(_, tiers): &(_, Arc<[_]>)| !tiers.is_empty()).collect(),
        profiles: host.profiles.clone(),
    }
}

/// The tiers with a policy for these labels, staged ones included.
fn tiers(cluster: &Cluster, labels: &Labels, plane: Plane) -> Vec<EndpointTier> {
    let mut by_tier: BTreeMap<SmolStr, Vec<&Policy>> = BTreeMap::new();
    for policy in cluster.policies().filter(|p| plane.asks(p.stage) && p.subject.matches(labels)) {
        by_tier.entry(policy.tier.clone()).or_default().push(policy);
    }
    let mut tiers: Vec<(Arc<Tier>, Vec<&Policy>)> =
        by_tier.into_iter().map(|(name, policies)| (cluster.tier(&name), policies)).collect();
    tiers.sort_by_key(|(tier, _)| (!tier.defined, tier.order, tier.name.clone()));
    let tiers = tiers.into_iter().map(|(tier, policies)| endpoint_tier(&tier, policies, plane));
    tiers.filter(|tier| !tier.ingress.is_empty() || !tier.egress.is_empty()).collect()
}

fn endpoint_tier(tier: &Tier, mut policies: Vec<&Policy>, plane: Plane) -> EndpointTier {
    policies.sort_by_key(|p| (p.order, p.id.tie_key(), p.id.clone()));
    let of = |direction| {
        let governing = policies.iter().filter(|p| p.governs(direction));
        governing.map(|p| p.id.clone()).collect::<Vec<PolicyId>>()
    };
    EndpointTier {
        name: tier.name.clone(),
        default_action: match plane {
            Plane::Untracked | Plane::PreDnat => DefaultAction::Pass,
            Plane::Forward | Plane::Normal => tier.default_action,
        },
        ingress: of(Direction::Ingress),
        egress: of(Direction::Egress),
    }
}

// === policies and profiles ===

fn active_policies(
    cluster: &Cluster,
    endpoints: &[Arc<LocalEndpoint>],
    hosts: &[Arc<LocalHost>],
) -> Vec<Arc<ActivePolicy>> {
    let of_hosts = hosts.iter().flat_map(|h| h.planes.iter().flat_map(|(_, tiers)| tiers.iter()));
    let tiers = endpoints.iter().flat_map(|e| e.tiers.iter()).chain(of_hosts);
    let named: BTreeSet<_> = tiers.flat_map(|t| t.ingress.iter().chain(&t.egress)).collect();
    let active = cluster.policies().filter(|p| named.contains(&p.id));
    active.map(|p| Arc::new(ActivePolicy::new(Arc::clone(p)))).collect()
}

fn active_profiles(
    cluster: &Cluster,
    endpoints: &[Arc<LocalEndpoint>],
    hosts: &[Arc<LocalHost>],
) -> Vec<Arc<ActiveProfile>> {
    let of_hosts = hosts.iter().flat_map(|h| &h.profiles);
    let named: BTreeSet<_> = endpoints.iter().flat_map(|e| &e.profiles).chain(of_hosts).collect();
    let active = cluster.profiles().filter(|p| named.contains(&p.name));
    active.map(|p| Arc::new(ActiveProfile::new(Arc::clone(p)))).collect()
}

// === sets ===

fn sets(
    cluster: &Cluster,
    policies: &[Arc<ActivePolicy>],
    profiles: &[Arc<ActiveProfile>],
) -> Vec<Update> {
    let (mut sets, mut incomplete) = (Sets::new(), BTreeSet::new());
    let of_policies = policies.iter().flat_map(|p| p.policy.ingress.iter().chain(&p.policy.egress));
    let of_profiles =
        profiles.iter().flat_map(|p| p.profile.ingress.iter().chain(&p.profile.egress));
    for rule in of_policies.chain(of_profiles) {
        for side in Side::BOTH {
            add_sets(cluster, rule, side, &mut sets);
            incomplete.extend(incomplete_sets(cluster, rule.side(side)));
        }
    }
    let mut updates = Vec::new();
    for (id, (kind, members)) in sets {
        let incomplete =
            incomplete.contains(&id).then(|| Update::IpSetIncomplete(id.clone(), true));
        updates.push(Update::IpSet { id, kind, members: members.into_iter().collect() });
        updates.extend(incomplete);
    }
    updates
}

type Sets = BTreeMap<SetId, (SetKind, BTreeSet<Member>)>;

fn add_sets(cluster: &Cluster, rule: &Rule, side: Side, sets: &mut Sets) {
    let entity = rule.side(side);
    let mut add = |id, kind, members: &dyn Fn() -> BTreeSet<Member>| {
        sets.entry(id).or_insert_with(|| (kind, members()));
    };
    let peers = entity.peers.iter();
    for selector in peers.flat_map(|p| p.included.iter().chain(&p.excluded)) {
        add(SetId::of_selector(selector), SetKind::Net, &|| selected(cluster, selector));
    }
    for port in entity.ports.iter().chain(&entity.not_ports) {
        if let PortMatch::Named(name) = port {
            add(SetId::of_port(name), SetKind::AddressPort, &|| with_port(cluster, name));
        }
    }
    let Some(service) = &entity.service else { return };
    let backends = cluster.backends(service).iter();
    match side {
        Side::Source => add(SetId::of_service_addresses(service), SetKind::Net, &|| {
            backends.clone().map(|b| Member::address(b.address)).collect()
        }),
        Side::Destination => add(SetId::of_service(service), SetKind::AddressPort, &|| {
            let served = backends.clone().filter_map(|b| Some((b.address, b.port?)));
            served
                .map(|(address, (protocol, port))| Member::AddressPort(address, protocol, port))
                .collect()
        }),
    }
}

/// The sets of an end whose selectors match a network set with an address that could not be read.
fn incomplete_sets(cluster: &Cluster, entity: &EntityMatch) -> Vec<SetId> {
    let unreadable = || cluster.network_sets().filter(|s| cluster.is_unreadable(s));
    let selectors = entity.peers.iter().flat_map(|p| p.included.iter().chain(&p.excluded));
    let selectors = selectors.filter(|s| unreadable().any(|set| s.matches(&set.labels)));
    selectors.map(SetId::of_selector).collect()
}

/// The addresses of everything whose labels a selector matches.
fn selected(cluster: &Cluster, selector: &Selector) -> BTreeSet<Member> {
    let endpoints = cluster.endpoints().filter(|e| selector.matches(&e.labels));
    let hosts = cluster.hosts().filter(|h| selector.matches(&h.labels));
    let addresses = endpoints.flat_map(|e| &e.addresses).chain(hosts.flat_map(|h| &h.addresses));
    let network_sets = cluster.network_sets().filter(|s| selector.matches(&s.labels));
    let nets = network_sets.flat_map(|s| &s.nets).map(|net| Member::Net(net.trunc()));
    addresses.map(|a| Member::address(*a)).chain(nets).collect()
}

/// The ports of a name, of workloads and host endpoints.
fn with_port(cluster: &Cluster, name: &str) -> BTreeSet<Member> {
    let endpoints = cluster.endpoints().map(|e| (&e.addresses, &e.ports));
    let hosts = cluster.hosts().map(|h| (&h.addresses, &h.ports));
    let mut members = BTreeSet::new();
    for (addresses, ports) in endpoints.chain(hosts) {
        for NamedPort { protocol, port, .. } in ports.iter().filter(|p| p.name == name) {
            members.extend(
                addresses.iter().map(|a| Member::AddressPort(a.to_canonical(), *protocol, *port)),
            );
        }
    }
    members
}
