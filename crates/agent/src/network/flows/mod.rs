//! Cutting connections that are open when a change of policy denies them.
//!
//! Policy is asked when a connection begins; further packets are let through by connection tracking.
//! Where that is not enough, each entry of the tracking table is asked about as if its connection
//! began now, by walking the ruleset that is in force, and those that are denied are deleted. The
//! next packet is then one of a new connection, and policy drops it.
//!
//! TCP would undo that: an answer in the middle of a connection may be taken for the beginning of one
//! in the opposite direction, which policy may well allow. So tracking takes up no TCP connections in
//! the middle while connections are cut (`nf_conntrack_tcp_loose`).
//!
//! Entries of an address that a workload has given up are deleted whatever policy says: who has the
//! address next must not inherit them.

mod loose;
mod roads;
mod table;
mod wire;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use tortie_nft::interpret::{Index, Packet};
use tortie_nft::{ConnectionState, Ruleset};

use super::facts::Facts;
use loose::Loose;
use roads::Roads;
use table::Table;
use wire::Entry;

/// Cuts connections.
#[derive(Debug)]
pub(super) struct Flows {
    table: Option<Table>,
    loose: Loose,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Entries that were asked about.
    pub(super) asked: u64,
    /// Those that were deleted.
    pub(super) cut: u64,
}

impl Flows {
    /// Keeps what must outlive it in a folder.
    pub(super) fn new(state: &Path) -> Flows {
        Flows { table: None, loose: Loose::new(state) }
    }

    /// From now on connections are cut, or not any more.
    ///
    /// # Errors
    /// If the kernel's parameter cannot be read or written, or not be put back one day.
    pub(super) fn strict(&self, strict: bool) -> io::Result<()> {
        if strict { self.loose.off() } else { self.loose.restore() }
    }

    /// Deletes the entries of connections that the ruleset denies, and no others.
    ///
    /// # Errors
    /// If the tracking table cannot be read, or an entry not deleted.
    pub(super) fn cut(&mut self, ruleset: &Ruleset, facts: &Facts) -> io::Result<Cut> {
        let (index, roads) = (Index::new(ruleset), Roads::new(ruleset, facts));
        self.delete(|entry| !entry.expected && is_denied(&index, &roads, entry))
    }

    /// Deletes all entries of addresses.
    ///
    /// # Errors
    /// If the tracking table cannot be read, or an entry not deleted.
    pub(super) fn forget(&mut self, addresses: &BTreeSet<IpAddr>) -> io::Result<Cut> {
        self.delete(|entry| {
            let ends = [&entry.original, &entry.reply].into_iter();
            let mut ends = ends.flat_map(|ends| [ends.source, ends.destination]);
            ends.any(|address| addresses.contains(&address))
        })
    }

    fn delete(&mut self, mut unwanted: impl FnMut(&Entry) -> bool) -> io::Result<Cut> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(Table::open()?),
        };
        let (mut asked, mut found) = (0, Vec::new());
        table.each(|entry| {
            asked += 1;
            if unwanted(&entry) {
                found.push(entry);
            }
        })?;
        let mut cut = 0;
        for entry in found {
            cut += u64::from(table.delete(&entry)?);
        }
        Ok(Cut { asked, cut })
    }
}

/// Whether the ruleset denies the first packet of a connection. What cannot be walked is left alone.
fn is_denied(index: &Index<'_>, roads: &Roads<'_>, entry: &Entry) -> bool {
    let walked = |destination, port| packet(roads, entry, destination, port);
    let own_port = entry.original.ports.map(|(_, to)| to);
    // Once its address is translated, a packet goes to whom the answers come from.
    let last_port = entry.reply.ports.map(|(from, _)| from);
    let before = walked(entry.original.destination, own_port);
    let after = walked(entry.reply.source, last_port);
    let outcome = match (&before, &after) {
        (_, None) => return false,
        (None, Some(after)) => index.walk(after, after),
        (Some(before), Some(after)) => index.walk(before, after),
    };
    outcome.is_ok_and(|outcome| !outcome.passes)
}

/// The first packet of a connection; nothing for one of the host with itself.
fn packet(
    roads: &Roads<'_>,
    entry: &Entry,
    destination: IpAddr,
    port: Option<u16>,
) -> Option<Packet> {
    let source = entry.original.source;
    let (from, to) = (roads.over(source), roads.over(destination));
    (from.is_some() || to.is_some()).then(|| Packet {
        from,
        to,
        source,
        destination,
        protocol: entry.protocol,
        ports: entry.original.ports.map(|(from, _)| from).zip(port),
        icmp: entry.icmp,
        state: ConnectionState::New,
        mark: 0,
        routed_back: true,
    })
}
