//! Random clusters and traffic, for comparing engines with each other.
//!
//! A [`World`] is made of small words of its own, not of the types under test, so that an evaluator
//! can be written over it that shares nothing with the one it checks. [`World::documents`] writes it
//! as the resources a user would write. Every world is valid: what is refused is tested elsewhere.

mod documents;
mod expr;
mod legs;
pub mod strategy;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use tortie_model::Resource;
use tortie_policy::{Cluster, Compat};

pub use documents::put_on_plane;
pub use expr::{Expr, Test};
pub use legs::{Leg, Place};

/// A word of a fixed vocabulary.
pub type Word = &'static str;

/// Labels as written.
pub type Labels = BTreeMap<Word, Word>;

/// Everything a cluster is made of.
#[derive(Clone)]
pub struct World {
    /// Namespaces that are described; others are merely used.
    pub namespaces: Vec<Namespace>,
    /// Service accounts that are described; others are merely used.
    pub accounts: Vec<Account>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Tiers besides those built in.
    pub tiers: Vec<Tier>,
    /// Policies; their names are all different.
    pub policies: Vec<Policy>,
}

/// A namespace.
#[derive(Debug, Clone)]
pub struct Namespace {
    /// Name.
    pub name: Word,
    /// Labels.
    pub labels: Labels,
    /// Whether its pods get sidecars.
    pub sidecars: bool,
}

/// A service account.
#[derive(Debug, Clone)]
pub struct Account {
    /// Namespace.
    pub namespace: Word,
    /// Name.
    pub name: Word,
    /// Labels.
    pub labels: Labels,
}

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Namespace.
    pub namespace: Word,
    /// Name.
    pub name: String,
    /// Service account, if one is named.
    pub account: Option<Word>,
    /// Labels.
    pub labels: Labels,
    /// Addresses, one of a family at most.
    pub addresses: Vec<IpAddr>,
    /// Named ports.
    pub ports: Vec<Port>,
    /// What becomes of it.
    pub state: State,
    /// Whether it refuses a sidecar.
    pub no_sidecar: bool,
}

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is an endpoint.
    Running,
    /// It has ended: an endpoint without an address.
    Finished,
    /// It shares its node's network: no endpoint.
    HostNetwork,
}

/// A declared port with a name.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// Name.
    pub name: Word,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub number: u16,
}

/// A protocol, as written and as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// As written.
    pub text: Word,
    /// Number.
    pub number: u8,
}

/// A tier.
#[derive(Debug, Clone)]
pub struct Tier {
    /// Name.
    pub name: Word,
    /// Order, if given.
    pub order: Option<f64>,
    /// Default action, if given: whether it is Pass.
    pub pass: Option<bool>,
}

/// A policy, global if it has no namespace.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Namespace.
    pub namespace: Option<Word>,
    /// Name.
    pub name: String,
    /// Tier, if given.
    pub tier: Option<Word>,
    /// Order, if given.
    pub order: Option<f64>,
    /// Its `selector`, if given.
    pub selector: Option<Expr>,
    /// Its `namespaceSelector`, if given; global policies only.
    pub namespaces: Option<Expr>,
    /// Its `serviceAccountSelector`, if given.
    pub accounts: Option<Expr>,
    /// Its `types`, if given.
    pub types: Option<Vec<Direction>>,
    /// Its ingress rules, if there is a list.
    pub ingress: Option<Vec<Rule>>,
    /// Its egress rules, if there is a list.
    pub egress: Option<Vec<Rule>>,
}

/// A direction of traffic, seen from the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To it.
    Ingress,
    /// From it.
    Egress,
}

/// An action of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Accept.
    Allow,
    /// Refuse.
    Deny,
    /// Note.
    Log,
    /// Leave the tier.
    Pass,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Action.
    pub action: Action,
    /// `ipVersion`.
    pub version: Option<u8>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Excluded protocol.
    pub not_protocol: Option<Protocol>,
    /// Criteria on the sender.
    pub source: Entity,
    /// Criteria on the receiver.
    pub destination: Entity,
    /// HTTP criteria.
    pub http: Option<Http>,
}

/// Criteria on one end.
#[derive(Debug, Clone, Default)]
pub struct Entity {
    /// Nets, all of one family in a rule.
    pub nets: Vec<Word>,
    /// Excluded nets.
    pub not_nets: Vec<Word>,
    /// Selector.
    pub selector: Option<Expr>,
    /// Excluding selector.
    pub not_selector: Option<Expr>,
    /// Namespace selector.
    pub namespaces: Option<Expr>,
    /// Names of service accounts.
    pub account_names: Vec<Word>,
    /// Selector of service accounts.
    pub accounts: Option<Expr>,
    /// Ports.
    pub ports: Vec<Ports>,
    /// Excluded ports.
    pub not_ports: Vec<Ports>,
}

/// A port criterion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// From the first to the second.
    Range(u16, u16),
    /// By name.
    Named(Word),
}

/// HTTP criteria.
#[derive(Debug, Clone)]
pub struct Http {
    /// Methods.
    pub methods: Vec<Word>,
    /// Paths: whether the whole path is meant, and the path.
    pub paths: Vec<(bool, Word)>,
}

/// One packet or request.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Sender.
    pub from: Party,
    /// Receiver.
    pub to: Party,
    /// Whether the ends are to be taken of IPv6, if both have it.
    pub six: bool,
    /// Protocol.
    pub protocol: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub port: u16,
    /// Method and path, if it is an HTTP request.
    pub http: Option<(Word, Word)>,
    /// The sender's certificate.
    pub certificate: Certificate,
}

/// One end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// A pod, by its position modulo their number.
    Pod(usize),
    /// A stranger, by its position in [`STRANGERS`].
    Stranger(usize),
}

/// What the sender shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing.
    None,
    /// The certificate of its own service account.
    Own,
    /// The certificate of an account, by namespace and name.
    Of(Word, Word),
    /// A certificate that names no workload.
    Foreign,
    /// A certificate of its own account's name in a trust domain nobody believes.
    Untrusted,
}

/// Addresses of nobody known: IPv4 and IPv6.
pub const STRANGERS: [(Word, Word); 2] =
    [("192.0.2.1", "2001:db8::1"), ("192.0.2.200", "2001:db8:8000::1")];

/// Paths of requests, with their normal form if there is one, worked out by hand.
pub const PATHS: [(Word, Option<Word>); 10] = [
    ("/", Some("/")),
    ("/public", Some("/public")),
    ("/public/", Some("/public")),
    ("/public/x?y=/admin", Some("/public/x")),
    ("/publicity", Some("/publicity")),
    ("/public/../admin", Some("/admin")),
    ("/public/%2e%2e/admin", Some("/admin")),
    ("/%70ublic//x", Some("/public/x")),
    ("/public/%252e%252e/admin", None),
    ("public", None),
];

impl World {
    /// The cluster that the documents describe.
    ///
    /// # Errors
    /// If they are refused, which is a mistake in the world or in what refuses it.
    pub fn cluster(&self) -> Result<Cluster, String> {
        build(self.documents())
    }

    /// The addresses of a party, if it has any.
    pub fn addresses(&self, party: Party) -> Vec<IpAddr> {
        match party {
            Party::Stranger(index) => {
                let (four, six) = STRANGERS.get(index).copied().unwrap_or_default();
                [four, six].iter().filter_map(|text| text.parse().ok()).collect()
            }
            Party::Pod(_) => match self.pod(party) {
                Some(pod) if pod.state == State::Running => pod.addresses.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// The pod a party is.
    pub fn pod(&self, party: Party) -> Option<&Pod> {
        match party {
            Party::Pod(index) => self.pods.get(index.checked_rem(self.pods.len())?),
            Party::Stranger(_) => None,
        }
    }

    /// The pair of addresses a piece of traffic uses; none if the ends have no common family.
    pub fn ends(&self, traffic: &Traffic) -> Option<(IpAddr, IpAddr)> {
        let (from, to) = (self.addresses(traffic.from), self.addresses(traffic.to));
        let of = |list: &[IpAddr], six: bool| list.iter().find(|a| a.is_ipv6() == six).copied();
        [traffic.six, !traffic.six].into_iter().find_map(|s| of(&from, s).zip(of(&to, s)))
    }

    /// The cluster that the world and further documents describe, with Calico's behaviour in some points.
    ///
    /// # Errors
    /// If it is refused.
    pub fn cluster_with(&self, extras: &[Value], compat: Compat) -> Result<Cluster, String> {
        build_with(self.documents().into_iter().chain(extras.iter().cloned()), compat)
    }
}

/// The cluster that documents describe.
///
/// # Errors
/// If they are refused.
pub fn build(documents: impl IntoIterator<Item = Value>) -> Result<Cluster, String> {
    build_with(documents, Compat::STRICT)
}

fn build_with(
    documents: impl IntoIterator<Item = Value>,
    compat: Compat,
) -> Result<Cluster, String> {
    let resources = decode(documents)?;
    Cluster::build_with(&resources, compat).map_err(|invalid| format!("{invalid:?}"))
}

/// The resources that documents describe.
///
/// # Errors
/// If they are refused.
pub fn decode(documents: impl IntoIterator<Item = Value>) -> Result<Vec<Resource>, String> {
    let mut resources = Vec::new();
    for document in documents {
        resources.extend(tortie_model::decode(document).map_err(|errors| format!("{errors:?}"))?);
    }
    Ok(resources)
}

impl Pod {
    /// Its service account; `default` where none is named.
    pub fn account(&self) -> Word {
        self.account.unwrap_or("default")
    }
}

/// Shows a world as its documents, which can be pasted into a file.
impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for document in self.documents() {
            write!(f, "\n---\n{document}")?;
        }
        Ok(())
    }
}
