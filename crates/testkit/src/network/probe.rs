//! First packets of flows, and whether they arrive.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use super::Packet;

/// Where a packet enters, or should leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The node itself.
    Host,
    /// Beyond an interface of the node.
    Beyond(SmolStr),
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where it enters.
    pub from: Place,
    /// Where it arrives unless it is dropped.
    pub to: Place,
    /// The packet.
    pub packet: Packet,
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it arrived.
    pub arrived: bool,
    /// Whether an answer came back; nothing if none was sent.
    pub answered: Option<bool>,
}

/// Probes sent at once: no more than sockets have room for.
const ROUND: usize = 64;

/// Positions of probes in rounds in which connection tracking can tell each from all others.
pub(super) fn rounds(probes: &[Probe]) -> Vec<Vec<usize>> {
    let mut rounds: Vec<(HashSet<_>, Vec<usize>)> = Vec::new();
    let mut first_with_room: HashMap<_, usize> = HashMap::new();
    for (position, probe) in probes.iter().enumerate() {
        let key = probe.packet.key();
        let icmp = matches!(probe.packet.protocol, 1 | 58);
        let from = first_with_room.get(&key).copied().unwrap_or_default();
        let fits = |(keys, members): &(HashSet<_>, Vec<_>)| {
            members.len() < ROUND && (icmp || !keys.contains(&key))
        };
        let place = rounds.iter().skip(from).position(fits).map_or(rounds.len(), |at| at + from);
        if place == rounds.len() {
            rounds.push(Default::default());
        }
        if let Some((keys, members)) = rounds.get_mut(place) {
            keys.insert(key);
            members.push(position);
        }
        if !icmp {
            first_with_room.insert(key, place + 1);
        }
    }
    rounds.into_iter().map(|(_, members)| members).collect()
}
