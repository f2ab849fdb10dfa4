//! The packet rules of a pod: what leads its TCP traffic through its sidecar.
//!
//! The ruleset is for the pod's own network namespace, so node and peers keep seeing the real
//! addresses and ports. It covers IPv4 and IPv6 in one `inet` table and touches nothing but TCP;
//! neighbour discovery, DNS over UDP and pings pass as ever.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

use crate::{ADMIN_PORT, DEFAULT_MARK, INBOUND_PORT, OUTBOUND_PORT};

/// The table in the pod's network namespace.
pub const TABLE: &str = "tortie_sidecar";

/// Where Istio's annotations about redirection start.
const ANNOTATION_PREFIX: &str = "traffic.sidecar.istio.io/";

/// Which traffic of a pod passes its sidecar: all TCP, unless narrowed.
///
/// What is left out here meets no authorizer. Only the rules of the node still apply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The mark of the sidecar's own sockets, which pass.
    pub mark: u32,
    /// Ports whose incoming connections are redirected.
    pub include_inbound_ports: Ports,
    /// Ports whose incoming connections are not, also if included above.
    pub exclude_inbound_ports: BTreeSet<u16>,
    /// Destination ports whose outgoing connections are not redirected.
    pub exclude_outbound_ports: BTreeSet<u16>,
    /// Destinations whose outgoing connections are not redirected.
    pub exclude_outbound_ranges: Vec<IpNet>,
}

/// A choice of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    All,
    /// These; none if empty.
    Only(BTreeSet<u16>),
}

/// An annotation about redirection that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidAnnotation {
    /// It would be silently without effect.
    #[error(
        "annotation `{ANNOTATION_PREFIX}{0}`: not supported (hint: includeInboundPorts, \
         excludeInboundPorts, excludeOutboundPorts and excludeOutboundIPRanges are)"
    )]
    Unknown(String),
    /// An entry of its list is no port.
    #[error("annotation `{ANNOTATION_PREFIX}{name}`: `{entry}` is not a port from 1 to 65535")]
    Port {
        /// The annotation, without its prefix.
        name: String,
        /// The entry.
        entry: String,
    },
    /// An entry of its list is no CIDR.
    #[error(
        "annotation `{ANNOTATION_PREFIX}{name}`: `{entry}` is not an address range such as \
         `10.0.0.0/8`"
    )]
    Range {
        /// The annotation, without its prefix.
        name: String,
        /// The entry.
        entry: String,
    },
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            mark: DEFAULT_MARK,
            include_inbound_ports: Ports::All,
            exclude_inbound_ports: BTreeSet::new(),
            exclude_outbound_ports: BTreeSet::new(),
            exclude_outbound_ranges: Vec::new(),
        }
    }
}

impl Redirect {
    /// What a pod's annotations ask for, with [`DEFAULT_MARK`]; annotations about other matters
    /// are passed over.
    ///
    /// # Errors
    /// If an annotation about redirection is not one of those in [`Redirect`], or its value is
    /// malformed: to ignore it would redirect what its author wanted left alone, or the reverse.
    pub fn from_annotations<'a>(
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidAnnotation> {
        let mut redirect = Self::default();
        for (key, value) in annotations {
            if let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) {
                redirect.annotate(name, value)?;
            }
        }
        Ok(redirect)
    }

    fn annotate(&mut self, name: &str, value: &str) -> Result<(), InvalidAnnotation> {
        match name {
            "includeInboundPorts" if value.trim() == "*" => {
                self.include_inbound_ports = Ports::All;
            }
            "includeInboundPorts" => self.include_inbound_ports = Ports::Only(ports(name, value)?),
            "excludeInboundPorts" => self.exclude_inbound_ports = ports(name, value)?,
            "excludeOutboundPorts" => self.exclude_outbound_ports = ports(name, value)?,
            "excludeOutboundIPRanges" => self.exclude_outbound_ranges = ranges(name, value)?,
            unknown => return Err(InvalidAnnotation::Unknown(unknown.to_owned())),
        }
        Ok(())
    }

    /// The ruleset, as text for `nft -f -`. Loading it again replaces it in one step.
    #[must_use]
    pub fn ruleset(&self) -> String {
        let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
        text.push_str(&format!("table inet {TABLE} {{\n"));
        push_chain(&mut text, "guard", "filter hook prerouting priority -150", &[guard()]);
        push_chain(&mut text, "inbound", "nat hook prerouting priority -100", &self.inbound());
        push_chain(&mut text, "outbound", "nat hook output priority -100", &self.outbound());
        text.push_str("}\n");
        text
    }

    fn inbound(&self) -> Vec<String> {
        let mut rules = vec!["iifname \"lo\" return".to_owned()];
        rules.extend(except_ports(&self.exclude_inbound_ports));
        match &self.include_inbound_ports {
            Ports::All => rules.push(redirect("meta l4proto tcp", INBOUND_PORT)),
            Ports::Only(ports) if ports.is_empty() => {}
            Ports::Only(ports) => {
                rules.push(redirect(&format!("tcp dport {}", set(ports)), INBOUND_PORT));
            }
        }
        rules
    }

    fn outbound(&self) -> Vec<String> {
        let mut rules =
            vec![format!("meta mark {} return", self.mark), "oifname \"lo\" return".to_owned()];
        rules.extend(except_ports(&self.exclude_outbound_ports));
        let (v4, v6) = by_family(&self.exclude_outbound_ranges);
        rules.extend(except("ip daddr", &v4));
        rules.extend(except("ip6 daddr", &v6));
        rules.push(redirect("meta l4proto tcp", OUTBOUND_PORT));
        rules
    }
}

/// Nobody outside the pod dials the sidecar's own ports: redirected connections get their port
/// only after this chain.
fn guard() -> String {
    let own = BTreeSet::from([ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT]);
    format!("iifname != \"lo\" tcp dport {} drop", set(&own))
}

fn push_chain(text: &mut String, name: &str, hook: &str, rules: &[String]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\tchain {name} {{\n\t\ttype {hook}; policy accept;");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

fn redirect(criterion: &str, port: u16) -> String {
    format!("{criterion} redirect to :{port}")
}

fn except_ports(ports: &BTreeSet<u16>) -> Option<String> {
    (!ports.is_empty()).then(|| format!("tcp dport {} return", set(ports)))
}

fn except<T: Display>(criterion: &str, values: &[T]) -> Option<String> {
    (!values.is_empty()).then(|| format!("{criterion} {} return", set(values)))
}

fn set<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("{{ {} }}", values.join(", "))
}

/// Ranges by family, merged: an nft set refuses elements that overlap.
fn by_family(ranges: &[IpNet]) -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let mut families = (Vec::new(), Vec::new());
    for range in ranges {
        match range {
            IpNet::V4(net) => families.0.push(net.trunc()),
            IpNet::V6(net) => families.1.push(net.trunc()),
        }
    }
    (Ipv4Net::aggregate(&families.0), Ipv6Net::aggregate(&families.1))
}

/// The entries of a comma-separated list; an empty value has none.
fn entries(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn ports(name: &str, value: &str) -> Result<BTreeSet<u16>, InvalidAnnotation> {
    let port = |entry: &str| match entry.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(InvalidAnnotation::Port { name: name.to_owned(), entry: entry.to_owned() }),
    };
    entries(value).map(port).collect()
}

fn ranges(name: &str, value: &str) -> Result<Vec<IpNet>, InvalidAnnotation> {
    let range = |entry: &str| {
        entry.parse().map_err(|_| InvalidAnnotation::Range {
            name: name.to_owned(),
            entry: entry.to_owned(),
        })
    };
    entries(value).map(range).collect()
}
