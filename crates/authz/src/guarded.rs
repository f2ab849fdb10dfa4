//! Whom a server guards: which workload's policies a check is put to, and in which direction.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use smol_str::SmolStr;
use tortie_policy::{Direction, EndpointId};

use crate::call::{Call, Place};

/// How the workload of a check is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// There is one: the one named, or else the one that Policy Sync tells of.
    Workload(Option<EndpointId>),
    /// Any of a node: by its address, and where no workload has it, by what the listener says.
    Node {
        /// Name of the node, to tell its workloads from others in files; all without it.
        node: Option<SmolStr>,
        /// The context extension in which listeners name the workload, if they are believed.
        trusted: Option<String>,
    },
}

/// A workload that can be guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its name.
    pub id: EndpointId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Finds the workload of a check.
#[derive(Debug)]
pub struct Guarded {
    mode: Mode,
    direction: Direction,
    locals: Vec<Local>,
    by_name: HashMap<String, usize>,
    /// Nothing for an address that several workloads claim.
    by_address: HashMap<IpAddr, Option<usize>>,
    /// Where there is only one.
    sole: Option<usize>,
}

/// Why a check cannot be put to any workload's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost<'a> {
    /// The one workload is not known, or nobody said which it is.
    Unknown(Option<&'a EndpointId>),
    /// No workload of the node has the address.
    Address(Place<'a>),
    /// What the listener says names no workload of the node.
    Extension(&'a str),
}

impl Guarded {
    /// Of these workloads, the ones the mode is about.
    #[must_use]
    pub fn new(mode: Mode, direction: Direction, locals: Vec<Local>) -> Self {
        let name = |(index, local): (usize, &Local)| (local.id.to_string(), index);
        let by_name: HashMap<_, _> = locals.iter().enumerate().map(name).collect();
        let mut by_address = HashMap::new();
        for (index, local) in locals.iter().enumerate() {
            for address in &local.addresses {
                let claim = by_address.entry(address.to_canonical());
                claim.and_modify(|claimed| *claimed = None).or_insert(Some(index));
            }
        }
        let sole = match &mode {
            Mode::Workload(Some(id)) => by_name.get(&id.to_string()).copied(),
            Mode::Workload(None) => locals.len().checked_sub(1),
            Mode::Node { .. } => None,
        };
        Self { mode, direction, locals, by_name, by_address, sole }
    }

    /// The workloads, in the order in which they were given.
    #[must_use]
    pub fn locals(&self) -> &[Local] {
        &self.locals
    }

    /// Why nothing can be decided, if so.
    #[must_use]
    pub fn problem(&self) -> Option<Lost<'_>> {
        match &self.mode {
            Mode::Workload(id) if self.sole.is_none() => Some(Lost::Unknown(id.as_ref())),
            _ => None,
        }
    }

    /// The workload that a check is about, by its position, and the direction of the check.
    ///
    /// # Errors
    /// If there is none: the check must be refused.
    pub fn find<'a>(&'a self, call: &Call<'a>) -> Result<(usize, Direction), Lost<'a>> {
        match &self.mode {
            Mode::Workload(id) => {
                self.sole.map(|sole| (sole, self.direction)).ok_or(Lost::Unknown(id.as_ref()))
            }
            Mode::Node { trusted, .. } => {
                self.of_node(call, trusted.as_ref().and_then(|key| call.extension(key)))
            }
        }
    }

    /// A listener may say the direction, the workload, or both: `egress`, `bank/web`,
    /// `egress:bank/web`. Where an address tells, it counts, and not what the listener says.
    fn of_node<'a>(
        &'a self,
        call: &Call<'a>,
        said: Option<&'a str>,
    ) -> Result<(usize, Direction), Lost<'a>> {
        let (direction, name) =
            match said.map(|said| (said, said.split_once(':').unwrap_or((said, "")))) {
                Some((_, ("ingress", name))) => (Direction::Ingress, name),
                Some((_, ("egress", name))) => (Direction::Egress, name),
                Some((said, _)) => (self.direction, said),
                None => (self.direction, ""),
            };
        let place = match direction {
            Direction::Ingress => call.destination.place,
            Direction::Egress => call.source.place,
        };
        let holder = match place {
            Place::Ip(ip, _) => self.by_address.get(&ip),
            _ => None,
        };
        let found = match (holder, name) {
            (Some(Some(index)), _) => Ok(*index),
            (Some(None), _) | (None, "") => Err(Lost::Address(place)),
            (None, name) => self.by_name.get(name).copied().ok_or(Lost::Extension(name)),
        };
        found.map(|index| (index, direction))
    }
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(Some(id)) => write!(f, "no workload `{id}` is known"),
            Self::Unknown(None) => f.write_str("no workload is known"),
            Self::Address(place) => {
                write!(f, "not exactly one workload of this node has the address: {place}")
            }
            Self::Extension(name) => {
                let name = crate::text::Shown::principal(name);
                write!(f, "the listener names `{name}`, which is no workload of this node")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::End;

    fn local(id: &str, addresses: &[&str]) -> Local {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Local { id: id.parse().unwrap(), addresses }
    }

    fn locals() -> Vec<Local> {
        vec![
            local("a/one", &["10.0.0.1", "fd00::1"]),
            local("a/two", &["10.0.0.2"]),
            local("b/three", &["10.0.0.3"]),
            local("b/four", &["10.0.0.3"]),
        ]
    }

    fn end(place: &str) -> End<'_> {
        End { place: Place::socket(place, Some(80)), principal: "" }
    }

    fn message(extension: Option<&str>) -> Vec<u8> {
        use prost::Message;
        let mut attributes = tortie_proto::ext_authz::AttributeContext::default();
        if let Some(said) = extension {
            attributes.context_extensions.insert("who".into(), said.into());
        }
        tortie_proto::ext_authz::CheckRequest { attributes: Some(attributes) }.encode_to_vec()
    }

    fn found(mode: Mode, source: &str, destination: &str, extension: Option<&str>) -> String {
        let guarded = Guarded::new(mode, Direction::Ingress, locals());
        let message = message(extension);
        let call = Call {
            source: end(source),
            destination: end(destination),
            protocol: None,
            http: None,
            message: &message,
        };
        match guarded.find(&call) {
            Ok((index, direction)) => format!("{direction:?} {}", guarded.locals()[index].id),
            Err(lost) => lost.to_string(),
        }
    }

    #[test]
    fn one_workload() {
        let of = |id: Option<&str>| {
            found(Mode::Workload(id.map(|id| id.parse().unwrap())), "", "10.0.0.1", Some("a/one"))
        };
        assert_eq!(of(Some("a/two")), "Ingress a/two");
        assert_eq!(of(Some("a/none")), "no workload `a/none` is known");
        assert_eq!(of(None), "Ingress b/four");
        let nobody = Guarded::new(Mode::Workload(None), Direction::Ingress, Vec::new());
        assert_eq!(nobody.problem().unwrap().to_string(), "no workload is known");
    }

    #[test]
    fn any_of_a_node() {
        let of = |trusted: Option<&str>, source, destination, said| {
            let mode = Mode::Node { node: None, trusted: trusted.map(str::to_owned) };
            found(mode, source, destination, said)
        };
        let nobody = "not exactly one workload of this node has the address: ";
        for (destination, said, expected) in [
            ("10.0.0.1", None, "Ingress a/one".to_owned()),
            ("::ffff:10.0.0.1", None, "Ingress a/one".into()),
            ("fd00::1", Some("a/two"), "Ingress a/one".into()),
            ("10.9.9.9", None, format!("{nobody}10.9.9.9:80")),
            ("10.9.9.9", Some("a/two"), "Ingress a/two".into()),
            ("10.9.9.9", Some("ingress:a/two"), "Ingress a/two".into()),
            ("10.9.9.9", Some("egress"), "Egress a/two".into()),
            ("10.9.9.9", Some("egress:a/one"), "Egress a/two".into()),
            ("10.9.9.9", Some("ingress"), format!("{nobody}10.9.9.9:80")),
            ("10.0.0.3", Some("a/two"), format!("{nobody}10.0.0.3:80")),
            ("garbage", None, format!("{nobody}unreadable: garbage")),
            (
                "10.9.9.9",
                Some("a/x"),
                "the listener names `a/x`, which is no workload of this node".into(),
            ),
        ] {
            assert_eq!(of(Some("who"), "10.0.0.2", destination, said), expected, "{said:?}");
        }
        assert_eq!(of(None, "", "10.9.9.9", Some("a/two")), format!("{nobody}10.9.9.9:80"));
        assert_eq!(
            of(Some("other"), "", "10.9.9.9", Some("a/two")),
            format!("{nobody}10.9.9.9:80")
        );
    }
}
