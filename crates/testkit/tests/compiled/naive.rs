//! Facts as a plain reading of a state gives them: every set searched from end to end.

use std::net::IpAddr;

use ipnet::IpNet;
use tortie_calc::{IpSet, Member, SetId, Settings, State};
use tortie_policy::{
    Account, Address, Facts, HttpAtNetwork, HttpRequest, IcmpMatch, IpVersion, Labels, PathMatch,
    Peers, Principal, Protocol, Scope, ServiceRef, Side, Tri,
};
use tortie_selector::Selector;

/// Traffic, and the state that is asked about it.
pub(crate) struct Naive<'a> {
    pub(crate) state: &'a State,
    pub(crate) ends: [(Address, Principal); 2],
    pub(crate) protocol: Protocol,
    pub(crate) icmp: Option<(u8, Option<u8>)>,
    /// A network's view has one, a sidecar's view has none.
    pub(crate) network: Option<HttpAtNetwork>,
    pub(crate) http: Option<HttpRequest<'a>>,
}

impl Naive<'_> {
    fn address(&self, side: Side) -> &Address {
        &self.ends[side as usize].0
    }

    fn ip(&self, side: Side) -> Option<IpAddr> {
        self.address(side).ip.map(|ip| ip.to_canonical())
    }

    fn settings(&self) -> Settings {
        self.state.settings.as_deref().cloned().unwrap_or_default()
    }

    fn users(&self, ip: IpAddr) -> Vec<Account> {
        let users = self.state.addresses.get(&ip).filter(|_| self.settings().addresses);
        users.map(|users| users.to_vec()).unwrap_or_default()
    }

    /// Yes or no of a set: a no is open where the set is incomplete, a yes where several claim the
    /// address, if the set speaks of who they are.
    fn held(&self, ip: IpAddr, set: &IpSet, yes: bool, of_whom: bool) -> Tri {
        match yes {
            true if of_whom && self.users(ip).len() > 1 => Tri::Unknown,
            false if set.incomplete => Tri::Unknown,
            yes => yes.into(),
        }
    }

    fn in_nets(&self, side: Side, id: &SetId, of_whom: bool) -> Tri {
        let (Some(set), Some(ip)) = (self.state.sets.get(id), self.ip(side)) else {
            return Tri::Unknown;
        };
        let holds = |m: &Member| matches!(m, Member::Net(net) if net.contains(&ip));
        self.held(ip, set, set.members.iter().any(holds), of_whom)
    }

    fn certificate(&self, account: &Account, peers: &Peers) -> Tri {
        let labelled = |labels: Option<&Labels>, selector: &Selector| {
            labels.map_or(Tri::Unknown, |labels| selector.matches(labels).into())
        };
        let namespace = self.state.namespaces.get(&account.namespace).map(|l| &**l);
        let scope = match &peers.scope {
            None => Tri::True,
            Some(Scope::Own(own)) => (*own == account.namespace).into(),
            Some(Scope::Selected(s)) if s.uses_global() => Tri::False,
            Some(Scope::Selected(s)) => labelled(namespace, s),
        };
        let Some(accounts) = &peers.accounts else { return scope };
        let names = accounts.names.is_empty() || accounts.names.contains(&account.name);
        let own = self.state.accounts.get(account).map(|l| &**l);
        let selected = accounts.selector.as_ref().map_or(Tri::True, |s| labelled(own, s));
        scope & names.into() & selected
    }

    /// The account a certificate states, if it may be believed at all.
    fn account(&self, side: Side) -> Option<Result<&Account, ()>> {
        let trust = self.settings().trust;
        match &self.ends[side as usize].1 {
            Principal::Plaintext => None,
            Principal::Foreign => Some(Err(())),
            Principal::Workload(id) if side == Side::Source => {
                let believed = match &self.ends[1].1 {
                    Principal::Workload(own) => own.trust_domain.clone(),
                    _ => trust.domain.clone(),
                };
                let ok = id.trust_domain == believed || trust.aliases.contains(&id.trust_domain);
                Some(if ok { Ok(&id.account) } else { Err(()) })
            }
            Principal::Workload(id) => Some(Ok(&id.account)),
        }
    }
}

impl Facts for Naive<'_> {
    fn ip_version(&self, version: IpVersion) -> Tri {
        let ends = Side::BOTH.into_iter().filter_map(|side| self.ip(side));
        Tri::unanimous(ends.map(|ip| IpVersion::of(ip) == version))
    }

    fn protocol(&self, protocol: Protocol) -> Tri {
        (self.protocol == protocol).into()
    }

    fn net(&self, side: Side, net: &IpNet) -> Tri {
        self.ip(side).map(|ip| net.contains(&ip)).into()
    }

    fn port(&self, side: Side, first: u16, last: u16) -> Tri {
        self.address(side).port.map(|port| (first..=last).contains(&port)).into()
    }

    fn named_port(&self, side: Side, name: &str) -> Tri {
        let (Some(set), Some(ip), Some(port)) =
            (self.state.sets.get(&SetId::of_port(name)), self.ip(side), self.address(side).port)
        else {
            return Tri::Unknown;
        };
        let yes = set.members.contains(&Member::AddressPort(ip, self.protocol, port));
        self.held(ip, set, yes, true)
    }

    fn icmp(&self, wanted: &IcmpMatch) -> Tri {
        if self.network.is_none() || ![Protocol::ICMP, Protocol::ICMPV6].contains(&self.protocol) {
            return Tri::False;
        }
        let Some((kind, code)) = self.icmp else { return Tri::Unknown };
        let code = wanted.code.map_or(Tri::True, |wanted| code.map(|code| code == wanted).into());
        Tri::from(kind == wanted.kind) & code
    }

    fn service(&self, side: Side, service: &ServiceRef) -> Tri {
        if side == Side::Source {
            return self.in_nets(side, &SetId::of_service_addresses(service), false);
        }
        let (Some(set), Some(ip)) =
            (self.state.sets.get(&SetId::of_service(service)), self.ip(side))
        else {
            return Tri::Unknown;
        };
        let port = self.address(side).port;
        let served = set.members.iter().filter_map(|member| match member {
            Member::AddressPort(a, protocol, p) if *a == ip && *protocol == self.protocol => {
                Some(Tri::from(port.map(|port| port == *p)))
            }
            _ => None,
        });
        match Tri::any(served) {
            Tri::False if set.incomplete => Tri::Unknown,
            answer => answer,
        }
    }

    fn peers(&self, side: Side, peers: &Peers) -> Tri {
        let selected = |s: &Option<Selector>, none: Tri| {
            s.as_ref().map_or(none, |s| self.in_nets(side, &SetId::of_selector(s), true))
        };
        let by_address =
            selected(&peers.included, Tri::True) & !selected(&peers.excluded, Tri::False);
        let users = self.ip(side).map(|ip| self.users(ip)).unwrap_or_default();
        match self.account(side) {
            None => by_address,
            Some(Err(())) => Tri::Unknown,
            Some(Ok(_)) if self.ip(side).is_none() => Tri::Unknown,
            Some(Ok(account)) if users.is_empty() => by_address & self.certificate(account, peers),
            Some(Ok(account)) if users.iter().all(|user| user == account) => by_address,
            Some(Ok(_)) => Tri::Unknown,
        }
    }

    fn http(&self) -> Tri {
        match self.network {
            Some(http) => {
                (http == HttpAtNetwork::Deferred && self.protocol == Protocol::TCP).into()
            }
            None if self.http.is_some() => Tri::True,
            None => Tri::Unknown,
        }
    }

    fn method(&self, method: &str) -> Tri {
        match &self.http {
            Some(http) if self.network.is_none() => (method == "*" || method == http.method).into(),
            _ => self.http(),
        }
    }

    fn path(&self, path: &PathMatch) -> Tri {
        match &self.http {
            Some(http) if self.network.is_none() => {
                http.path().map(|known| path.matches(known)).into()
            }
            _ => self.http(),
        }
    }

    fn describe(&self, _: Side) -> String {
        String::new()
    }

    fn describe_traffic(&self) -> String {
        String::new()
    }
}
