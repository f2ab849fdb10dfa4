//! `tortie connectivity`: who reaches whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;
use tortie_policy::{Cell, Matrix, PortSpec};

use crate::input::{EngineName, Source};
use crate::output::{Failure, Format, Progress, YES, json, text};

/// Arguments of `tortie connectivity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tortie connectivity -f . --ports tcp/80,udp/53 -o json
  tortie connectivity --ports tcp/80 --staged             the live server, staged policies enforced

Exit status: 0 shown; 2 bad usage or input; 3 unreachable")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,

    /// Destination ports
    #[arg(long, value_name = "PROTOCOL/PORT", value_delimiter = ',', required = true)]
    ports: Vec<PortSpec>,

    /// Take staged policies as enforced
    #[arg(long)]
    staged: bool,

    /// Which engine gives verdicts
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// Who reaches whom; rows are sources, columns destinations.
#[derive(Serialize)]
struct Answer {
    endpoints: Vec<String>,
    matrix: BTreeMap<String, Vec<Vec<bool>>>,
    /// Pairs that are allowed as far as the network can tell: an HTTP rule has the last word.
    conditional: Vec<Conditional>,
}

#[derive(Serialize)]
struct Conditional {
    port: String,
    from: String,
    to: String,
}

/// Asks about every pair.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let cluster = args.source.view(args.staged)?;
    let engine = args.engine.of(&cluster, cluster.trust());
    let answer = answer(&Matrix::by(&*engine, &cluster), &args.ports);
    match args.output {
        Format::Json => json(&answer)?,
        Format::Table => text(table(&answer))?,
    }
    Ok(YES)
}

fn answer(matrix: &Matrix<'_>, ports: &[PortSpec]) -> Answer {
    let endpoints: Vec<String> = matrix.endpoints().map(|e| e.id.to_string()).collect();
    let progress = Mutex::new(Progress::new("rows", ports.len() * matrix.len()));
    let mut answer =
        Answer { endpoints: endpoints.clone(), matrix: BTreeMap::new(), conditional: Vec::new() };
    for port in ports {
        let rows = rows(matrix, *port, &progress);
        for (row, from) in rows.iter().zip(&endpoints) {
            let named =
                row.iter().zip(&endpoints).filter(|(reach, _)| **reach == Reach::Conditional);
            answer.conditional.extend(named.map(|(_, to)| Conditional {
                port: port.to_string(),
                from: from.clone(),
                to: to.clone(),
            }));
        }
        let reached = |row: Vec<Reach>| row.into_iter().map(|reach| reach != Reach::No).collect();
        answer.matrix.insert(port.to_string(), rows.into_iter().map(reached).collect());
    }
    answer
}

/// Whether one workload reaches another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Yes,
    /// As far as the network can tell.
    Conditional,
    No,
}

impl From<&Cell<'_>> for Reach {
    fn from(cell: &Cell<'_>) -> Reach {
        match (cell.allowed, cell.conditional) {
            (false, _) => Reach::No,
            (true, true) => Reach::Conditional,
            (true, false) => Reach::Yes,
        }
    }
}

/// All rows of a port, each processor with a share of them.
fn rows(matrix: &Matrix<'_>, port: PortSpec, progress: &Mutex<Progress>) -> Vec<Vec<Reach>> {
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut rows = vec![Vec::new(); matrix.len()];
    thread::scope(|scope| {
        let share = rows.len().div_ceil(processors).max(1);
        for (number, share_of_rows) in rows.chunks_mut(share).enumerate() {
            scope.spawn(move || {
                for (offset, row) in share_of_rows.iter_mut().enumerate() {
                    let cells = matrix.row(number * share + offset, port);
                    *row = cells.iter().map(Reach::from).collect();
                    progress.lock().unwrap_or_else(PoisonError::into_inner).step();
                }
            });
        }
    });
    rows
}

fn table(answer: &Answer) -> String {
    let conditional: BTreeSet<(&str, &str, &str)> =
        answer.conditional.iter().map(|c| (&*c.port, &*c.from, &*c.to)).collect();
    let mut table = String::new();
    for (port, rows) in &answer.matrix {
        let _ = writeln!(table, "{port}");
        for (from, row) in answer.endpoints.iter().zip(rows) {
            let reached = answer.endpoints.iter().zip(row).filter(|(to, ok)| **ok && *to != from);
            let mark = |to| if conditional.contains(&(port, from, to)) { "*" } else { "" };
            let names: Vec<_> = reached.map(|(to, _)| format!("{to}{}", mark(to))).collect();
            let names = if names.is_empty() { "nobody".into() } else { names.join(", ") };
            let _ = writeln!(table, "  {from} -> {names}");
        }
    }
    if !conditional.is_empty() {
        table.push_str("* as far as the network can tell: an HTTP rule has the last word\n");
    }
    table
}
