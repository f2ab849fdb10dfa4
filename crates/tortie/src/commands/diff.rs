//! `tortie diff`: changed verdicts between workloads, not changed text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tortie_client::files;
use tortie_client::server::Place;
use tortie_policy::{Cell, Cluster, Matrix, PortMatch, PortSpec, Protocol, TraceEntry, Word};

use super::explain::entry_text;
use crate::input::Chosen;
use crate::output::{Failure, Format, NO, Progress, YES, json, text, warn};
use crate::remote::live;

/// Arguments of `tortie diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tortie diff --old policies/ --new proposal/ -o json
  tortie diff --new proposal.yaml                    what would applying it change on the live server?
  tortie diff --staged                               what would enforcing all staged policies change?

Without --old, the state before is that of the live server, and the state after is the same with the
resources of --new put over it: what --new does not name stays.

Exit status: 0 nothing changes; 1 verdicts change; 2 bad usage or input; 3 unreachable")]
pub(crate) struct Args {
    /// Files or folders with the state before; may be given several times
    #[arg(
        long,
        value_name = "PATH",
        requires = "new",
        conflicts_with_all = ["server", "kubeconfig", "context"]
    )]
    old: Vec<PathBuf>,

    /// Files or folders with the state after; may be given several times
    #[arg(long, value_name = "PATH", required_unless_present = "staged")]
    new: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,

    #[command(flatten)]
    chosen: Chosen,

    /// Destination ports [default: those that policies and pods name, and one that none names]
    #[arg(long, value_name = "PROTOCOL/PORT", value_delimiter = ',')]
    ports: Vec<PortSpec>,

    /// Take staged policies as enforced in the state after
    #[arg(long)]
    staged: bool,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,

    #[command(flatten)]
    place: Place,
}

/// One flow whose verdict changes. A workload that exists on one side only has no verdict on the
/// other.
#[derive(Debug, Serialize)]
struct Change {
    from: String,
    to: String,
    port: String,
    old: Option<Side>,
    new: Option<Side>,
}

/// A verdict with what decided.
#[derive(Debug, Serialize)]
struct Side {
    verdict: Word,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conditional: bool,
    #[serde(rename = "decidedBy")]
    decided_by: Option<TraceEntry>,
}

/// Compares. Exit status 1 if a verdict changes.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let (old, new) = args.states()?;
    let new = if args.staged { new.pending() } else { new };
    let ports = match args.ports.as_slice() {
        [] => named_ports([&old, &new]),
        given => given.to_vec(),
    };
    let changes = changes(&Matrix::new(&old), &Matrix::new(&new), &ports);
    match args.output {
        Format::Json => json(&changes)?,
        Format::Table => text(table(&changes))?,
    }
    Ok(if changes.is_empty() { YES } else { NO })
}

impl Args {
    /// The states before and after.
    fn states(&self) -> Result<(Cluster, Cluster), Failure> {
        if !self.old.is_empty() {
            let load = |paths: &[PathBuf]| self.chosen.cluster(paths, self.recursive);
            return Ok((load(&self.old)?.1, load(&self.new)?.1));
        }
        let state = live::read(&self.place)?;
        let old = state.cluster(self.chosen.compat());
        if self.new.is_empty() {
            return Ok((old.clone(), old));
        }
        let changes = files::load(&self.new, self.recursive)?;
        warn(&changes.warnings);
        Ok((old, state.changed(changes, self.chosen.compat())?))
    }
}

/// The ports at which verdicts can differ: the ends of every range that a rule names, the ports
/// pods declare, and for each protocol one that is named nowhere.
fn named_ports(clusters: [&Cluster; 2]) -> Vec<PortSpec> {
    let mut ports = BTreeSet::new();
    let protocols = [Protocol::TCP, Protocol::UDP];
    for cluster in clusters {
        for rule in cluster.policies().flat_map(|p| p.ingress.iter().chain(&p.egress)) {
            let entities = [&rule.source, &rule.destination];
            let lists = entities.iter().flat_map(|e| e.ports.iter().chain(&e.not_ports));
            for port in lists {
                if let PortMatch::Range(first, last) = port {
                    let of_rule = rule.protocol.filter(|p| p.has_ports());
                    let all = of_rule.map_or(protocols.to_vec(), |p| vec![p]);
                    ports.extend(all.iter().flat_map(|protocol| {
                        [first, last].map(|port| PortSpec { protocol: *protocol, port: *port })
                    }));
                }
            }
        }
        for port in cluster.endpoints().flat_map(|e| &e.ports) {
            ports.insert(PortSpec { protocol: port.protocol, port: port.port });
        }
    }
    for protocol in protocols {
        let free = (1..=u16::MAX).rev().map(|port| PortSpec { protocol, port });
        ports.extend(free.into_iter().find(|spec| !ports.contains(spec)));
    }
    ports.into_iter().collect()
}

/// A matrix with the positions of its workloads by name.
struct View<'m> {
    matrix: &'m Matrix<'m>,
    positions: BTreeMap<String, usize>,
}

impl<'m> View<'m> {
    fn new(matrix: &'m Matrix<'m>) -> View<'m> {
        let names = matrix.endpoints().map(|e| e.id.to_string());
        View { matrix, positions: names.zip(0..).collect() }
    }

    /// From a workload to every one; empty if there is no such workload.
    fn row(&self, from: &str, port: PortSpec) -> Vec<Cell<'_>> {
        let position = self.positions.get(from);
        position.map(|p| self.matrix.row(*p, port)).unwrap_or_default()
    }

    fn side(&self, row: &[Cell<'_>], to: &str) -> Option<Side> {
        self.positions.get(to).and_then(|p| row.get(*p)).map(side)
    }
}

fn changes(old: &Matrix<'_>, new: &Matrix<'_>, ports: &[PortSpec]) -> Vec<Change> {
    let (old, new) = (View::new(old), View::new(new));
    let names: BTreeSet<&String> = old.positions.keys().chain(new.positions.keys()).collect();
    let mut progress = Progress::new("rows", names.len() * ports.len());
    let mut changes = Vec::new();
    for from in &names {
        for port in ports {
            let (was, is) = (old.row(from, *port), new.row(from, *port));
            for to in &names {
                let (was, is) = (old.side(&was, to), new.side(&is, to));
                if differ(was.as_ref(), is.as_ref()) {
                    let (from, to) = ((*from).clone(), (*to).clone());
                    changes.push(Change { from, to, port: port.to_string(), old: was, new: is });
                }
            }
            progress.step();
        }
    }
    changes
}

fn side(cell: &Cell<'_>) -> Side {
    Side {
        verdict: cell.allowed.into(),
        conditional: cell.conditional,
        decided_by: cell.decided_by.map(TraceEntry::from),
    }
}

fn differ(old: Option<&Side>, new: Option<&Side>) -> bool {
    let view = |side: Option<&Side>| side.map(|s| (s.verdict, s.conditional));
    view(old) != view(new)
}

fn table(changes: &[Change]) -> String {
    let mut table = String::new();
    for change in changes {
        let _ = writeln!(table, "{} -> {} {}", change.from, change.to, change.port);
        for (name, side) in [("old", &change.old), ("new", &change.new)] {
            match side {
                None => drop(writeln!(table, "  {name}: no such workload")),
                Some(side) => {
                    let by = side.decided_by.as_ref().map(|by| format!(", {}", entry_text(by)));
                    let by = by.unwrap_or_default();
                    let note = if side.conditional { " (HTTP has the last word)" } else { "" };
                    let _ = writeln!(table, "  {name}: {}{note}{by}", side.verdict);
                }
            }
        }
    }
    let _ = match changes.len() {
        1 => writeln!(table, "1 verdict changes"),
        several => writeln!(table, "{several} verdicts change"),
    };
    table
}
