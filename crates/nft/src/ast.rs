//! What a ruleset is made of: no more than policy needs, at the level at which it can be read,
//! encoded, and walked.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};
use tortie_policy::{Direction, PolicyId, Side};

use crate::Members;

/// Everything in the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ruleset {
    /// Chains by name.
    pub chains: BTreeMap<SmolStr, Chain>,
    /// Named sets and dispatch maps by name.
    pub sets: HashMap<SmolStr, Set>,
}

/// Rules that are asked in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter; absent for a chain that others jump to. At the end of a base chain, and
    /// of what it goes to, packets are accepted (its policy).
    pub hook: Option<Hook>,
    /// The rules. Where many chains have the same, they share it: there are far more places than
    /// rules.
    pub rules: Vec<Arc<Rule>>,
}

/// Where packets enter a base chain (of type `filter`, policy accept).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// The point on their way.
    pub point: HookPoint,
    /// Chains of lower priority come first.
    pub priority: i32,
}

/// A point on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// As it comes in, before it is known where it goes.
    Prerouting,
    /// To the host itself.
    Input,
    /// Through the host.
    Forward,
    /// From the host itself.
    Output,
}

/// One rule: all matches must hold, then the statements take effect in order, then the verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Criteria, cheap ones first.
    pub matches: Vec<Match>,
    /// What is done on the way.
    pub statements: Vec<Statement>,
    /// What becomes of the packet; it goes on to the next rule if absent.
    pub verdict: Option<Verdict>,
    /// What the rule stands for, for counters and for readers.
    pub origin: Option<Arc<Origin>>,
}

/// What a rule of the kernel stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Who wrote it.
    pub subject: Subject,
    /// Direction, seen from the endpoint.
    pub direction: Direction,
    /// Position in the author's list; absent for the end of a tier or of the profiles.
    pub rule: Option<usize>,
}

/// Who wrote a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A policy.
    Policy(PolicyId),
    /// A profile.
    Profile(SmolStr),
    /// The default action of a tier.
    Tier(SmolStr),
    /// The end of all profiles.
    NoProfile,
    /// A rule that is always there, by name (`failsafe`, `anti-spoofing`, `unknown interface`, …).
    Fixed(SmolStr),
}

/// One criterion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Match {
    /// Address family (`meta nfproto`). Stands before anything that looks at addresses.
    Family(Family),
    /// Name of an interface.
    Interface {
        /// Which.
        way: Way,
        /// Whether it must not match.
        not: bool,
        /// The name.
        name: InterfaceMatch,
    },
    /// Transport protocol (`meta l4proto`). Stands before anything that looks at ports or ICMP,
    /// except in [`Match::AddressPortSet`], whose key has it.
    Protocol {
        /// Whether it must be another one.
        not: bool,
        /// Its number.
        number: u8,
    },
    /// An address in (or out of) any of some nets of one family; never empty. Several are an
    /// anonymous set, without overlaps.
    Nets {
        /// Whose address.
        side: Side,
        /// Whether it must be in none of them.
        not: bool,
        /// The nets.
        nets: Vec<IpNet>,
    },
    /// An address in a named set of kind [`SetKind::Address`] or [`SetKind::Net`].
    AddressSet {
        /// Whose address.
        side: Side,
        /// Whether it must not be in it.
        not: bool,
        /// The set's name.
        set: SmolStr,
        /// The family of the set.
        family: Family,
    },
    /// Address, protocol and port in a named set of kind [`SetKind::AddressPort`].
    AddressPortSet {
        /// Whose address and port.
        side: Side,
        /// Whether they must not be in it.
        not: bool,
        /// The set's name.
        set: SmolStr,
        /// The family of the set.
        family: Family,
    },
    /// Incoming interface and source address in a named set of kind [`SetKind::InterfaceAddress`]
    /// or [`SetKind::InterfaceNet`].
    InterfaceSourceSet {
        /// Whether they must not be in it.
        not: bool,
        /// The set's name.
        set: SmolStr,
        /// The family of the set.
        family: Family,
        /// Whether the set is of nets.
        nets: bool,
    },
    /// A port in any of some ranges (both ends included); never empty, without overlaps. Several
    /// are an anonymous interval set. Behind a [`Match::Protocol`] of TCP, UDP, SCTP or UDPLite: nft
    /// cannot print ports of others.
    Ports {
        /// Whose port.
        side: Side,
        /// Whether it must be in none of them.
        not: bool,
        /// The ranges.
        ranges: Vec<(u16, u16)>,
    },
    /// Type and, if given, code of ICMP or ICMPv6, whichever protocol was asked for before.
    Icmp {
        /// Whether it must be another pair.
        not: bool,
        /// The type.
        kind: u8,
        /// The code.
        code: Option<u8>,
    },
    /// What connection tracking says, any of these (`ct state`).
    Connection(Vec<ConnectionState>),
    /// All of these bits of the packet's mark (`meta mark`).
    Mark(u32),
    /// That a route back to the source leads over the interface it came from (`fib saddr . iif oif
    /// missing` if not).
    ReversePath {
        /// Whether there must be none.
        not: bool,
    },
    /// No more than so many packets.
    Limit(Limit),
}

/// Address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Which interface of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// The one it came from (`iifname`).
    In,
    /// The one it goes to (`oifname`).
    Out,
}

/// A name of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InterfaceMatch {
    /// One.
    Exact(SmolStr),
    /// All that begin with it (`cali*`).
    Prefix(SmolStr),
}

/// What connection tracking says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// It belongs to no connection and cannot begin one.
    Invalid,
    /// Of a connection whose first packet was let through.
    Established,
    /// About such a connection.
    Related,
    /// It begins one.
    New,
    /// It is exempt from tracking.
    Untracked,
}

/// A rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Packets in each [`Limit::seconds`].
    pub packets: u64,
    /// 1, 60, 3600 or 86400.
    pub seconds: u64,
    /// Packets beyond the rate that may come at once; at least 1.
    pub burst: u32,
}

/// What a rule does on the way to its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Statement {
    /// Counts packets and bytes.
    Counter,
    /// Writes to the kernel's log.
    Log {
        /// What the line begins with; at most 127 bytes.
        prefix: SmolStr,
        /// Level of syslog, 0 (emergency) to 7 (debug).
        level: u8,
    },
    /// Sends the packet's beginning to whoever listens.
    Nflog {
        /// Group of listeners.
        group: u16,
        /// Names the deciding rule; at most 127 bytes.
        prefix: SmolStr,
        /// Bytes of the packet.
        length: u32,
    },
    /// Exempts the packet from connection tracking.
    NoTrack,
    /// Sets bits of the packet's mark, which goes with it to later base chains.
    SetMark(u32),
    /// Clears bits of the packet's mark.
    ClearMark(u32),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The leg is done; the next one decides.
    Accept,
    /// It is dropped.
    Drop,
    /// It is refused: by a TCP reset in a rule that asks for TCP ([`Rule::rejects_by_reset`]), else
    /// by an ICMP error (port unreachable). Only in `input`, `forward` and `output`. Where TCP is to
    /// get its reset and everything else an error, two rules say so.
    Reject,
    /// Back to whence the last jump came; in a base chain, accept.
    Return,
    /// On to another chain, and back.
    Jump(SmolStr),
    /// On to another chain, and not back.
    Goto(SmolStr),
    /// On to the chain that a dispatch map names for the interface; to the next rule if it names
    /// none.
    Dispatch {
        /// Which interface.
        way: Way,
        /// The map's name.
        map: SmolStr,
    },
}

/// A named set or dispatch map.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// What its elements are.
    pub kind: SetKind,
    /// The elements; no two overlap.
    pub elements: Members,
}

/// What the elements of a named set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Single addresses ([`Element::Net`] of full length); a hash set.
    Address(Family),
    /// Nets ([`Element::Net`]); an interval set.
    Net(Family),
    /// Addresses with protocol and port ([`Element::AddressPort`]); a concatenated hash set.
    AddressPort(Family),
    /// Interfaces with addresses ([`Element::InterfaceNet`] of full length); a concatenated hash set.
    InterfaceAddress(Family),
    /// Interfaces with nets ([`Element::InterfaceNet`]); a concatenated interval set.
    InterfaceNet(Family),
    /// Interfaces with the chain to go to ([`Element::Dispatch`]); a verdict map.
    Dispatch,
}

/// One element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A net without host bits.
    Net(IpNet),
    /// An address with protocol and port.
    AddressPort(IpAddr, u8, u16),
    /// An interface with a net.
    InterfaceNet(SmolStr, IpNet),
    /// An interface with the chain its packets go to (a `goto`).
    Dispatch(SmolStr, SmolStr),
}

impl Chain {
    /// A chain of some rules.
    pub fn new(hook: Option<Hook>, rules: impl IntoIterator<Item = Rule>) -> Chain {
        Chain { hook, rules: rules.into_iter().map(Arc::new).collect() }
    }
}

impl Rule {
    /// A short text that tells rules apart and survives in the kernel, at the beginning of the rule's
    /// comment: 16 hexadecimal digits, a hash of what the rule does and of its origin. The same in
    /// every version of this program that writes the rule in the same words.
    pub fn mark(&self) -> SmolStr {
        format_smolstr!("{:016x}", self.key())
    }

    /// The number that the mark is.
    pub(crate) fn key(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(crate::text::rule(self));
        if let Some(origin) = &self.origin {
            hash.update(format!(" {origin}"));
        }
        let bytes = hash.finalize();
        bytes.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
    }

    /// Whether [`Verdict::Reject`] is a TCP reset here: whether the rule is of TCP only.
    pub fn rejects_by_reset(&self) -> bool {
        self.matches.contains(&Match::Protocol { not: false, number: 6 })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.direction)?;
        match self.rule {
            Some(rule) => write!(f, " rule {rule}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Policy(id) => id.fmt(f),
            Subject::Profile(name) => write!(f, "profile {name}"),
            Subject::Tier(name) => write!(f, "end of tier {name}"),
            Subject::NoProfile => f.write_str("end of profiles"),
            Subject::Fixed(name) => f.write_str(name),
        }
    }
}
