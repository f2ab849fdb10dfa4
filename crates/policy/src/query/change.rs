//! Changes that would make a rule match, in words and as data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use smol_str::SmolStr;

use crate::{IpVersion, Policy, Protocol, Rule, Side};

/// The Allow rule that lacked least, and what would have made it match.
#[derive(Debug, Clone, Serialize)]
pub struct Nearest {
    /// Tier of its policy.
    pub tier: String,
    /// Kind of its policy.
    pub kind: &'static str,
    /// Namespace of its policy.
    pub namespace: Option<String>,
    /// Name of its policy.
    pub name: String,
    /// Position of the rule in the list its author wrote, from 0.
    pub rule: usize,
    /// What would have to be different, all of it; empty if no way is known.
    pub changes: Vec<Described>,
    /// The same in one sentence; absent if no way is known.
    pub text: Option<String>,
}

impl Nearest {
    pub(super) fn new(policy: &Policy, rule: &Rule, changes: Vec<Change>) -> Nearest {
        let origin = rule.origin;
        let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
        let sentence =
            format!("{} would match rule {origin} of {}", words.join(" and "), policy.id);
        Nearest {
            tier: policy.tier.to_string(),
            kind: policy.id.kind.as_str(),
            namespace: policy.id.namespace.as_ref().map(ToString::to_string),
            name: policy.id.name.to_string(),
            rule: origin,
            text: (!changes.is_empty()).then_some(sentence),
            changes: changes.into_iter().map(Described::from).collect(),
        }
    }
}

/// A change with its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The change in words.
    pub text: String,
}

impl From<Change> for Described {
    fn from(change: Change) -> Described {
        Described { text: change.to_string(), change }
    }
}

/// One thing about a flow, or about one of its ends, that would have to be different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Change {
    /// A label of an end: another value, or none.
    Label {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Label.
        key: SmolStr,
        /// Its value; absent if there must be no such label.
        value: Option<SmolStr>,
    },
    /// A label of the namespace of an end.
    NamespaceLabel {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Label.
        key: SmolStr,
        /// Its value; absent if there must be no such label.
        value: Option<SmolStr>,
    },
    /// A label of the service account of an end.
    AccountLabel {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Label.
        key: SmolStr,
        /// Its value; absent if there must be no such label.
        value: Option<SmolStr>,
    },
    /// The namespace of an end.
    Namespace {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Its name.
        name: SmolStr,
    },
    /// The service account of an end.
    Account {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Its name.
        name: SmolStr,
    },
    /// A network set that holds the address of an end nobody knows.
    NetworkSet {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Address.
        address: IpAddr,
        /// Namespace of the set; absent for a global one.
        namespace: Option<SmolStr>,
        /// Labels of the set.
        labels: BTreeMap<SmolStr, SmolStr>,
    },
    /// The address of an end.
    Address {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// One that would do.
        address: IpAddr,
    },
    /// The port of an end.
    Port {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// One that would do.
        port: u16,
    },
    /// A port that the end must declare under a name.
    NamedPort {
        /// Which end.
        #[serde(serialize_with = "word")]
        side: Side,
        /// Number.
        port: u16,
        /// Name.
        name: SmolStr,
    },
    /// The protocol.
    Protocol {
        /// One that would do.
        #[serde(serialize_with = "word")]
        protocol: Protocol,
    },
    /// The address family.
    Family {
        /// Which.
        #[serde(serialize_with = "word")]
        family: IpVersion,
    },
    /// The ICMP message.
    Icmp {
        /// Type.
        #[serde(rename = "type")]
        kind: u8,
        /// Code.
        code: u8,
    },
    /// A sidecar of the receiver that checks HTTP requests.
    Sidecar,
    /// That there is an HTTP request.
    Http,
    /// The method of the request.
    Method {
        /// One that would do.
        method: SmolStr,
    },
    /// The path of the request.
    Path {
        /// One that would do.
        path: String,
    },
}

fn word<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Label { side, key, value } => label(f, *side, "label", key, value.as_ref()),
            Change::NamespaceLabel { side, key, value } => {
                label(f, *side, "namespace label", key, value.as_ref())
            }
            Change::AccountLabel { side, key, value } => {
                label(f, *side, "service account label", key, value.as_ref())
            }
            Change::Namespace { side, name } => write!(f, "{side} namespace {name}"),
            Change::Account { side, name } => write!(f, "{side} service account {name}"),
            Change::NetworkSet { side, address, namespace, labels } => {
                write!(f, "{side} {address} in a network set")?;
                if let Some(namespace) = namespace {
                    write!(f, " of namespace {namespace}")?;
                }
                let labels: Vec<_> = labels.iter().map(|(k, v)| equals(k, v)).collect();
                let with = if labels.is_empty() { "" } else { " with label " };
                write!(f, "{with}{}", labels.join(", "))
            }
            Change::Address { side, address } => write!(f, "{side} address {address}"),
            Change::Port { side, port } => write!(f, "{side} port {port}"),
            Change::NamedPort { side, port, name } => {
                write!(f, "{side} port {port} declared as {name}")
            }
            Change::Protocol { protocol } => write!(f, "protocol {protocol}"),
            Change::Family { family } => write!(f, "{family}"),
            Change::Icmp { kind, code } => write!(f, "ICMP type {kind} code {code}"),
            Change::Sidecar => f.write_str("a sidecar of the destination that checks HTTP"),
            Change::Http => f.write_str("an HTTP request"),
            Change::Method { method } => write!(f, "method {method}"),
            Change::Path { path } => write!(f, "path {path}"),
        }
    }
}

fn label(
    f: &mut fmt::Formatter<'_>,
    side: Side,
    what: &str,
    key: &str,
    value: Option<&SmolStr>,
) -> fmt::Result {
    match value {
        Some(value) => write!(f, "{side} {what} {}", equals(key, value)),
        None => write!(f, "{side} without {what} {key}"),
    }
}

/// `key=value`; the key alone for an empty value, which `has(key)` asks for.
fn equals(key: &str, value: &str) -> String {
    if value.is_empty() { key.to_owned() } else { format!("{key}={value}") }
}
