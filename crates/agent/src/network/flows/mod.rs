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

mod roads;
mod table;
mod wire;

use std::fs;
use std::io;

use tortie_nft::interpret::{Packet, walk, walk_translated};
use tortie_nft::{ConnectionState, Ruleset};

use super::facts::Facts;
use roads::Roads;
use table::Table;
use wire::Entry;

/// Whether tracking takes up TCP connections in the middle.
const LOOSE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";

/// Cuts connections.
#[derive(Debug, Default)]
pub(super) struct Flows {
    table: Option<Table>,
    /// What [`LOOSE`] was before it was switched off.
    loose: Option<String>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Entries that were asked about.
    pub(super) asked: u64,
    /// Those that were denied and deleted.
    pub(super) cut: u64,
}

impl Flows {
    /// From now on connections are cut, or not any more.
    ///
    /// # Errors
    /// If the kernel's parameter cannot be read or written.
    pub(super) fn strict(&mut self, strict: bool) -> io::Result<()> {
        if strict && self.loose.is_none() {
            let before = fs::read_to_string(LOOSE)?;
            fs::write(LOOSE, "0")?;
            self.loose = Some(before);
        } else if let Some(before) = self.loose.take_if(|_| !strict) {
            fs::write(LOOSE, before)?;
        }
        Ok(())
    }

    /// Deletes the entries of connections that the ruleset denies, and no others.
    ///
    /// # Errors
    /// If the tracking table cannot be read, or an entry not deleted.
    pub(super) fn cut(&mut self, ruleset: &Ruleset, facts: &Facts) -> io::Result<Cut> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(Table::open()?),
        };
        let roads = Roads::new(ruleset, facts);
        let (mut asked, mut denied) = (0, Vec::new());
        table.each(|entry| {
            asked += 1;
            if is_denied(ruleset, &roads, &entry) {
                denied.push(entry);
            }
        })?;
        let mut cut = 0;
        for entry in denied {
            cut += u64::from(table.delete(&entry)?);
        }
        Ok(Cut { asked, cut })
    }
}

/// Whether the ruleset denies the first packet of a connection. What cannot be walked is left alone.
fn is_denied(ruleset: &Ruleset, roads: &Roads<'_>, entry: &Entry) -> bool {
    let walked = |destination, port| packet(roads, entry, destination, port);
    let own_port = entry.original.ports.map(|(_, to)| to);
    // Once its address is translated, a packet goes to whom the answers come from.
    let last_port = entry.reply.ports.map(|(from, _)| from);
    let before = walked(entry.original.destination, own_port);
    let after = walked(entry.reply.source, last_port);
    let outcome = match (&before, &after) {
        (_, None) => return false,
        (None, Some(after)) => walk(ruleset, after),
        (Some(before), Some(after)) => walk_translated(ruleset, before, after),
    };
    outcome.is_ok_and(|outcome| !outcome.passes)
}

/// The first packet of a connection; nothing for one of the host with itself.
fn packet(
    roads: &Roads<'_>,
    entry: &Entry,
    destination: std::net::IpAddr,
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
