//! IP sets: members as text, and large sets in several messages.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use tortie_calc::{Member, SetId, SetKind, Update};
use tortie_policy::Protocol;
use tortie_proto::felix::ip_set_update::IpSetType;
use tortie_proto::felix::to_dataplane::Payload;
use tortie_proto::felix::{IpSetDeltaUpdate, IpSetRemove, IpSetUpdate, ToDataplane};

use super::{WireError, message};

/// Most members of one message, as in Calico: the longest are 51 bytes with what is around them,
/// and 82,200 of those stay below 4 MiB.
pub const MAX_MEMBERS: usize = 82_200;
/// Most bytes of members of one message, for those few that are longer still.
const MAX_BYTES: usize = MAX_MEMBERS * 51;

/// A set as messages: the first has as many members as fit, deltas have the rest.
pub fn whole<'a>(
    id: &SetId,
    kind: SetKind,
    incomplete: bool,
    members: impl IntoIterator<Item = &'a Member>,
) -> Vec<ToDataplane> {
    let mut chunks = chunks(members).into_iter();
    let first = IpSetUpdate {
        id: id.to_string(),
        members: chunks.next().unwrap_or_default(),
        r#type: wire_kind(kind).into(),
        incomplete,
    };
    let mut messages = vec![message(Payload::IpsetUpdate(first))];
    messages.extend(chunks.map(|added| delta_message(id, added, Vec::new())));
    messages
}

/// A change of a set as messages: additions first, and removals with the last of them if they fit.
pub fn delta<'a>(
    id: &SetId,
    added: impl IntoIterator<Item = &'a Member>,
    removed: impl IntoIterator<Item = &'a Member>,
) -> Vec<ToDataplane> {
    let mut added = chunks(added);
    let removed = chunks(removed);
    let fits = |a: &Vec<String>, r: &Vec<String>| {
        a.len() + r.len() <= MAX_MEMBERS && bytes(a) + bytes(r) <= MAX_BYTES
    };
    let joint = match (added.last(), removed.first()) {
        (Some(last), Some(first)) if fits(last, first) => added.pop(),
        _ => None,
    };
    let mut messages: Vec<_> =
        added.into_iter().map(|added| delta_message(id, added, Vec::new())).collect();
    let mut joint = joint.unwrap_or_default();
    for removed in removed {
        messages.push(delta_message(id, std::mem::take(&mut joint), removed));
    }
    messages
}

fn bytes(members: &[String]) -> usize {
    members.iter().map(|member| member.len() + 2).sum()
}

pub(super) fn remove(id: &SetId) -> IpSetRemove {
    IpSetRemove { id: id.to_string() }
}

fn delta_message(id: &SetId, added: Vec<String>, removed: Vec<String>) -> ToDataplane {
    let (added_members, removed_members) = (added, removed);
    let delta = IpSetDeltaUpdate { id: id.to_string(), added_members, removed_members };
    message(Payload::IpsetDeltaUpdate(delta))
}

fn chunks<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<Vec<String>> {
    let mut chunks = Vec::new();
    let (mut chunk, mut size) = (Vec::new(), 0);
    for member in members {
        let text = text(member);
        size += text.len() + 2;
        if chunk.len() == MAX_MEMBERS || size > MAX_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            size = text.len() + 2;
        }
        chunk.push(text);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

/// What a member is displayed as. Sets have hundreds of thousands of IPv4 nets, and formatting those the
/// usual way takes most of the time that telling a set takes.
fn text(member: &Member) -> String {
    let Member::Net(IpNet::V4(net)) = member else { return member.to_string() };
    let mut text = String::with_capacity("255.255.255.255/32".len());
    for (octet, end) in net.addr().octets().into_iter().zip(".../".chars()) {
        push_number(&mut text, octet);
        text.push(end);
    }
    push_number(&mut text, net.prefix_len());
    text
}

/// Appends a number in decimal.
fn push_number(text: &mut String, number: u8) {
    for (unit, from) in [(100, 100), (10, 10), (1, 0)] {
        if number >= from {
            text.push(char::from(b'0' + number / unit % 10));
        }
    }
}

fn wire_kind(kind: SetKind) -> IpSetType {
    match kind {
        SetKind::Net => IpSetType::Net,
        SetKind::AddressPort => IpSetType::IpAndPort,
    }
}

/// What is known of a set besides its members.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Nothing for a type we do not know: its members cannot be read.
    kind: Option<IpSetType>,
    /// Members that could not be read.
    unreadable: BTreeSet<String>,
    /// Whether the sender had such members.
    told: bool,
}

impl Incoming {
    /// Whether a set lacks members: of an unknown type, it lacks all of them.
    fn is_incomplete(&self) -> bool {
        self.kind.is_none() || self.told || !self.unreadable.is_empty()
    }

    /// The members that can be read; `note` is told of the others.
    fn read(
        &mut self,
        texts: &[String],
        note: impl Fn(&mut BTreeSet<String>, &String),
    ) -> Vec<Member> {
        let Some(kind) = self.kind else { return Vec::new() };
        let mut members = Vec::with_capacity(texts.len());
        for text in texts {
            match member(kind, text) {
                Some(member) => members.push(member),
                None => note(&mut self.unreadable, text),
            }
        }
        members
    }
}

pub(super) fn read(
    known: &mut HashMap<SetId, Incoming>,
    wire: IpSetUpdate,
) -> Result<Vec<Update>, WireError> {
    let id = set_id("IPSetUpdate", &wire.id)?;
    let kind = IpSetType::try_from(wire.r#type).ok();
    let mut set = Incoming { kind, unreadable: BTreeSet::new(), told: wire.incomplete };
    let members = set.read(&wire.members, |unreadable, text| {
        unreadable.insert(text.clone());
    });
    let kind = match kind {
        Some(IpSetType::IpAndPort) => SetKind::AddressPort,
        _ => SetKind::Net,
    };
    let mut updates = vec![Update::IpSet { id: id.clone(), kind, members }];
    if set.is_incomplete() {
        updates.push(Update::IpSetIncomplete(id.clone(), true));
    }
    known.insert(id, set);
    Ok(updates)
}

pub(super) fn read_delta(
    known: &mut HashMap<SetId, Incoming>,
    wire: &IpSetDeltaUpdate,
) -> Result<Vec<Update>, WireError> {
    let id = set_id("IPSetDeltaUpdate", &wire.id)?;
    let Some(set) = known.get_mut(&id) else {
        // Whoever applies it finds that the set is not there.
        return Ok(vec![Update::IpSetDelta { id, added: Vec::new(), removed: Vec::new() }]);
    };
    let before = set.is_incomplete();
    let added = set.read(&wire.added_members, |unreadable, text| {
        unreadable.insert(text.clone());
    });
    let removed = set.read(&wire.removed_members, |unreadable, text| {
        unreadable.remove(text);
    });
    let now = set.is_incomplete();
    let mut updates = vec![Update::IpSetDelta { id: id.clone(), added, removed }];
    if now != before {
        updates.push(Update::IpSetIncomplete(id, now));
    }
    Ok(updates)
}

pub(super) fn read_remove(
    known: &mut HashMap<SetId, Incoming>,
    wire: IpSetRemove,
) -> Result<Update, WireError> {
    let id = set_id("IPSetRemove", &wire.id)?;
    known.remove(&id);
    Ok(Update::IpSetRemove(id))
}

fn set_id(message: &'static str, id: &str) -> Result<SetId, WireError> {
    if id.is_empty() {
        return Err(WireError::missing(message, "id"));
    }
    Ok(SetId(id.into()))
}

/// A member of a set of that type.
fn member(kind: IpSetType, text: &str) -> Option<Member> {
    match kind {
        IpSetType::Net => net(text).map(Member::Net),
        // Calico compares these as text, so only one with all its bits is an address.
        IpSetType::Ip => {
            net(text).filter(|net| net.prefix_len() == net.max_prefix_len()).map(Member::Net)
        }
        IpSetType::IpAndPort => {
            let (address, rest) = text.split_once(',')?;
            let (protocol, port) = rest.split_once(':')?;
            let address: IpAddr = address.parse().ok()?;
            let port = port.parse().ok()?;
            let protocol = Protocol::parse(protocol)?;
            Some(Member::AddressPort(address.to_canonical(), protocol, port))
        }
    }
}

/// A net, or a single address as the net of its full length, without bits beyond its prefix; IPv4
/// in IPv6 form as the IPv4 it is, for that is how the addresses of traffic are taken.
pub(super) fn net(text: &str) -> Option<IpNet> {
    let net = match text.split_once('/') {
        None => IpNet::from(text.parse::<IpAddr>().ok()?),
        Some((address, prefix)) => {
            let digits = prefix.bytes().all(|b| b.is_ascii_digit());
            IpNet::new(address.parse().ok()?, digits.then(|| prefix.parse().ok())??).ok()?
        }
    };
    Some(canonical(net.trunc()))
}

fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let mapped = mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
    mapped.unwrap_or(net)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_member_is_written_as_it_is_displayed(address: [u8; 4], prefix in 0..=32u8) {
            let net = IpNet::new(address.into(), prefix).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(text(&Member::Net(net)), net.to_string());
        }
    }
}
