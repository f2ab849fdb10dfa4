//! Everything policy needs to know of a cluster at one moment, immutable.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_model::{DecodeError, FieldError, Object, Resource};

use crate::build::Builder;
use crate::{
    Account, Compat, CompatPoint, DefaultAction, Direction, Endpoint, EndpointId, EstablishedFlows,
    HostEndpoint, HostSettings, Interface, Labels, NetworkSet, Policy, PolicyId, Profile, Protocol,
    ServiceRef, Stage, StagedAction, Tier, Trust,
};

/// Policies, tiers, endpoints, network sets, namespaces, service accounts and services.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub(crate) tiers: BTreeMap<SmolStr, Arc<Tier>>,
    pub(crate) policies: BTreeMap<PolicyId, Arc<Policy>>,
    pub(crate) endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    pub(crate) hosts: BTreeMap<SmolStr, Arc<HostEndpoint>>,
    pub(crate) sets: Vec<Arc<NetworkSet>>,
    /// Those of the sets of which an address could not be read.
    pub(crate) unreadable_sets: Vec<Arc<NetworkSet>>,
    pub(crate) by_address: HashMap<IpAddr, Holders>,
    pub(crate) namespaces: BTreeMap<SmolStr, Labels>,
    pub(crate) accounts: BTreeMap<Account, Labels>,
    pub(crate) profiles: BTreeMap<SmolStr, Arc<Profile>>,
    pub(crate) services: BTreeMap<ServiceRef, Vec<Backend>>,
    pub(crate) nodes: BTreeMap<SmolStr, Vec<IpAddr>>,
    /// Settings of all hosts (no name) and of single ones.
    pub(crate) settings: BTreeMap<Option<SmolStr>, HostSettings>,
    pub(crate) trust: Trust,
    pub(crate) established: EstablishedFlows,
    pub(crate) compat: Compat,
    pub(crate) invalid: Vec<Invalid>,
}

/// Who uses an address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holders {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) hosts: Vec<Arc<HostEndpoint>>,
}

/// One address behind a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// Address.
    pub address: IpAddr,
    /// Protocol and port it serves on; absent for the address as such, which counts as a source.
    pub port: Option<(Protocol, u16)>,
}

/// A resource that cannot be enforced as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Position of the resource among those given.
    pub resource: usize,
    /// What is wrong with it.
    pub error: FieldError,
}

/// Which of a host endpoint's four lists of policies is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    /// Before connection tracking.
    Untracked,
    /// Before destination NAT.
    PreDnat,
    /// For forwarded traffic.
    Forward,
    /// For traffic of the host itself, and of workloads.
    Normal,
}

impl Plane {
    /// The plane in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Plane::Untracked => "untracked",
            Plane::PreDnat => "preDNAT",
            Plane::Forward => "forward",
            Plane::Normal => "normal",
        }
    }

    /// All planes, in the order packets meet them.
    pub const ALL: [Plane; 4] = [Plane::Untracked, Plane::PreDnat, Plane::Forward, Plane::Normal];

    /// Whether policies of a stage are asked in this plane.
    pub fn asks(self, stage: Stage) -> bool {
        match self {
            Plane::Untracked => stage == Stage::Untracked,
            Plane::PreDnat => stage == Stage::PreDnat,
            Plane::Forward => stage == Stage::NormalAndForward,
            Plane::Normal => matches!(stage, Stage::Normal | Stage::NormalAndForward),
        }
    }
}

/// The policies that apply to one endpoint in one direction, in the order they are asked.
#[derive(Debug, Clone)]
pub struct Applicable {
    /// Direction.
    pub direction: Direction,
    /// Tiers with at least one policy that applies.
    pub tiers: Vec<TierPolicies>,
    /// What decides if no tier does.
    pub end: End,
}

/// What decides if no tier does.
#[derive(Debug, Clone)]
pub enum End {
    /// Profiles, in the endpoint's order; and if they do not decide, a denial. A profile that does
    /// not exist decides nothing.
    Profiles(Vec<Arc<Profile>>),
    /// Nothing: the traffic goes on to what else there is.
    Continue,
}

impl Applicable {
    /// The profiles that decide if no tier does; none where the traffic goes on instead.
    pub fn profiles(&self) -> &[Arc<Profile>] {
        match &self.end {
            End::Profiles(profiles) => profiles,
            End::Continue => &[],
        }
    }
}

/// The policies of one tier that apply, in order.
#[derive(Debug, Clone)]
pub struct TierPolicies {
    /// The tier.
    pub tier: Arc<Tier>,
    /// What happens to traffic that none of the policies decides.
    pub default_action: DefaultAction,
    /// Its policies.
    pub policies: Vec<Arc<Policy>>,
}

impl Cluster {
    /// Reads a cluster from resources, all or nothing. Kinds without a meaning for policy are
    /// passed over. Defaults are those an API server would fill in; pods without an address get
    /// one, always the same for the same resources.
    ///
    /// # Errors
    /// Every resource that cannot be enforced as written, each with every reason.
    pub fn build<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
    ) -> Result<Cluster, Vec<Invalid>> {
        Cluster::build_with(resources, Compat::STRICT)
    }

    /// The same, with Calico's behaviour in some points besides those that the resources choose.
    ///
    /// # Errors
    /// As for [`Cluster::build`].
    pub fn build_with<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        compat: Compat,
    ) -> Result<Cluster, Vec<Invalid>> {
        Cluster::gather(resources, compat, false)
    }

    /// Reads a cluster from resources that somebody else has accepted, so that refusing them is too
    /// late. What cannot be enforced as written never vanishes: what is in doubt denies (house rule
    /// 7), and [`Cluster::invalid`] lists it.
    pub fn build_mended<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        compat: Compat,
    ) -> Cluster {
        let built = Cluster::gather(resources, compat, true);
        // Nothing is refused here.
        built.unwrap_or_else(|invalid| Cluster { invalid, ..Cluster::default() })
    }

    /// The same cluster with what stands for documents of policies that could not even be read as
    /// resources: [`Policy::undecodable`].
    #[must_use]
    pub fn with_undecodable<'a>(
        mut self,
        errors: impl IntoIterator<Item = &'a DecodeError>,
    ) -> Cluster {
        for policy in errors.into_iter().filter_map(Policy::undecodable) {
            self.policies.insert(policy.id.clone(), Arc::new(policy));
        }
        self
    }

    fn gather<'a>(
        resources: impl IntoIterator<Item = &'a Resource>,
        compat: Compat,
        mend: bool,
    ) -> Result<Cluster, Vec<Invalid>> {
        let resources: Vec<&Resource> = resources.into_iter().collect();
        let chosen = resources.iter().filter_map(|resource| match &resource.object {
            Object::TortieConfiguration(config) => Some(&config.spec.compat),
            _ => None,
        });
        // Names that are not known are found when the configuration is read.
        let chosen = chosen.flatten().filter_map(|name| Compat::parse([name.as_str()]).ok());
        let mut builder = Builder::new(chosen.fold(compat, Compat::union), mend);
        for (index, resource) in resources.into_iter().enumerate() {
            builder.add(index, resource);
        }
        builder.finish()
    }

    /// What is wrong with resources that count all the same, mended, or as absent where that is
    /// chosen.
    pub fn invalid(&self) -> &[Invalid] {
        &self.invalid
    }

    /// The cluster as it would be if staged policies were enforced: each takes the place of its
    /// enforced twin, a staged deletion removes it, and those that learn or are ignored do not
    /// count (house rule 13).
    #[must_use]
    pub fn pending(&self) -> Cluster {
        let lax = |point| self.compat.has(point);
        let mut pending = self.clone();
        for (id, policy) in self.policies.iter().filter(|(id, _)| id.kind.is_staged()) {
            pending.policies.remove(id);
            let set = match policy.staged {
                None => false,
                Some(StagedAction::Set) => true,
                Some(StagedAction::Learn | StagedAction::Ignore) => {
                    lax(CompatPoint::StagedLearnIgnore)
                }
                Some(StagedAction::Delete) => {
                    if !lax(CompatPoint::StagedDelete) {
                        pending.policies.remove(&id.enforced());
                    }
                    false
                }
            };
            if set {
                if !lax(CompatPoint::StagedBesideItsTwin) {
                    pending.policies.remove(&id.enforced());
                }
                let enforced = Policy { staged: None, ..(**policy).clone() };
                pending.policies.insert(id.clone(), Arc::new(enforced));
            }
        }
        pending
    }

    /// The endpoint of a name.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// All workload endpoints, by namespace and name.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// The host endpoint of a name.
    pub fn host(&self, name: &str) -> Option<&Arc<HostEndpoint>> {
        self.hosts.get(name)
    }

    /// All host endpoints, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostEndpoint>> {
        self.hosts.values()
    }

    /// The endpoints that use an address: one in a sound cluster, none for a stranger.
    pub fn at(&self, address: IpAddr) -> &[Arc<Endpoint>] {
        self.holders(address).map(|h| h.endpoints.as_slice()).unwrap_or_default()
    }

    /// The host endpoints that expect an address.
    pub fn hosts_at(&self, address: IpAddr) -> &[Arc<HostEndpoint>] {
        self.holders(address).map(|h| h.hosts.as_slice()).unwrap_or_default()
    }

    fn holders(&self, address: IpAddr) -> Option<&Holders> {
        self.by_address.get(&address.to_canonical())
    }

    /// The network sets that hold an address.
    pub fn sets_with(&self, address: IpAddr) -> impl Iterator<Item = &Arc<NetworkSet>> {
        let address = address.to_canonical();
        self.sets.iter().filter(move |set| set.nets.iter().any(|net| net.contains(&address)))
    }

    /// The network sets of which an address could not be read, so that any may be in them.
    pub(crate) fn unreadable_sets(&self) -> impl Iterator<Item = &Arc<NetworkSet>> {
        self.unreadable_sets.iter()
    }

    /// What is behind a service: nothing if there is no such service.
    pub fn backends(&self, service: &ServiceRef) -> &[Backend] {
        self.services.get(service).map(Vec::as_slice).unwrap_or_default()
    }

    /// The addresses of a node, as far as known.
    pub fn node(&self, name: &str) -> &[IpAddr] {
        self.nodes.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The addresses of all nodes, as far as known.
    pub fn node_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.nodes.values().flatten().copied()
    }

    /// The node that has an address.
    pub fn node_at(&self, address: IpAddr) -> Option<&SmolStr> {
        self.nodes.iter().find(|(_, a)| a.contains(&address)).map(|(name, _)| name)
    }

    /// The settings of a host.
    pub fn settings(&self, node: &SmolStr) -> HostSettings {
        let own = self.settings.get(&Some(node.clone()));
        own.or_else(|| self.settings.get(&None)).cloned().unwrap_or_default()
    }

    /// The settings of hosts that have none of their own.
    pub(crate) fn common_settings(&self) -> HostSettings {
        self.settings.get(&None).cloned().unwrap_or_default()
    }

    /// The points in which Calico's behaviour is chosen over the strict one.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// The trust domains the cluster's configuration names.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What becomes of connections that are open when a change of policy denies them.
    pub fn established_flows(&self) -> EstablishedFlows {
        self.established
    }

    /// All policies, by identity, staged ones included.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// Whether somebody defined a tier, or it is built in.
    pub fn has_tier(&self, name: &str) -> bool {
        self.tiers.contains_key(name)
    }

    /// The labels of a namespace as selectors see them, if it is known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// The labels of a service account as selectors see them, if it is known.
    pub fn account(&self, account: &Account) -> Option<&Labels> {
        self.accounts.get(account)
    }

    /// The policies that apply to a workload endpoint, in the order they are asked.
    pub fn applicable(&self, endpoint: &Endpoint, direction: Direction) -> Applicable {
        let tiers = self.tiers_of(&endpoint.labels, direction, Plane::Normal);
        Applicable { direction, tiers, end: End::Profiles(self.profiles_of(&endpoint.profiles)) }
    }

    /// The policies that apply to a host endpoint in one of its planes, in the order they are
    /// asked. Untracked policy is not asked of a host endpoint for all interfaces.
    pub fn applicable_to_host(
        &self,
        host: &HostEndpoint,
        direction: Direction,
        plane: Plane,
    ) -> Applicable {
        let inert = plane == Plane::Untracked && host.interface == Interface::All;
        let tiers = match inert {
            true => Vec::new(),
            false => self.tiers_of(&host.labels, direction, plane),
        };
        let end = match plane {
            Plane::Normal => End::Profiles(self.profiles_of(&host.profiles)),
            Plane::Untracked | Plane::PreDnat | Plane::Forward => End::Continue,
        };
        Applicable { direction, tiers, end }
    }

    fn profiles_of(&self, names: &[SmolStr]) -> Vec<Arc<Profile>> {
        names.iter().filter_map(|name| self.profiles.get(name)).cloned().collect()
    }

    /// All tiers with all their policies, staged ones included, in the order they are asked: what
    /// people see of it.
    pub fn in_order(&self) -> Vec<TierPolicies> {
        self.order(self.policies.values())
    }

    /// As [`Cluster::in_order`], with these policies in place of the cluster's own.
    pub fn order<'a>(
        &'a self,
        policies: impl IntoIterator<Item = &'a Arc<Policy>>,
    ) -> Vec<TierPolicies> {
        let mut by_tier: BTreeMap<&str, Vec<Arc<Policy>>> =
            self.tiers.keys().map(|name| (name.as_str(), Vec::new())).collect();
        for policy in policies {
            by_tier.entry(&policy.tier).or_default().push(Arc::clone(policy));
        }
        self.ordered(by_tier)
    }

    fn tiers_of(&self, labels: &Labels, direction: Direction, plane: Plane) -> Vec<TierPolicies> {
        let mut by_tier: BTreeMap<&str, Vec<Arc<Policy>>> = BTreeMap::new();
        for policy in self.policies.values() {
            let asked = policy.staged.is_none() && plane.asks(policy.stage);
            if asked && policy.governs(direction) && policy.subject.matches(labels) {
                by_tier.entry(&policy.tier).or_default().push(Arc::clone(policy));
            }
        }
        let mut tiers = self.ordered(by_tier);
        if matches!(plane, Plane::Untracked | Plane::PreDnat) {
            tiers.iter_mut().for_each(|tier| tier.default_action = DefaultAction::Pass);
        }
        tiers
    }

    /// Policies by the name of their tier, in the order they are asked.
    fn ordered(&self, by_tier: BTreeMap<&str, Vec<Arc<Policy>>>) -> Vec<TierPolicies> {
        let mut tiers: Vec<TierPolicies> = by_tier
            .into_iter()
            .map(|(name, mut policies)| {
                policies.sort_by_cached_key(|p| (p.order, p.id.tie_key()));
                let tier = self.tier(name);
                TierPolicies { default_action: tier.default_action, tier, policies }
            })
            .collect();
        tiers.sort_by(|a, b| a.tier.sort_key().cmp(&b.tier.sort_key()));
        tiers
    }

    /// A tier by name. One that nobody defined still holds its policies: it comes after all
    /// others and denies what they do not allow.
    pub fn tier(&self, name: &str) -> Arc<Tier> {
        self.tiers.get(name).cloned().unwrap_or_else(|| Arc::new(Tier::undefined(name)))
    }
}
