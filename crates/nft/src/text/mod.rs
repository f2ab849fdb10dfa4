//! Rulesets, batches and rules as `nft -f` reads them: for people, and for comparing what the kernel
//! has with what was meant.
//!
//! The text says everything explicitly (families, protocols, numbers for names that nft takes from
//! the machine's files) and in one order, so equal rulesets have equal texts.

mod rule;
mod set;

use std::fmt;

use smol_str::SmolStr;

use crate::{Chain, Counter, Element, Hook, HookPoint, Op, Place, Rule, Ruleset};

use rule::Words;
use set::{Elements, Head};

/// The table everything stands in.
const TABLE: &str = "inet tortie";

/// Bytes of a rule's comment or a log's prefix that both nft and the kernel take.
const LONGEST: usize = 127;

/// A ruleset. Loading it adds to what is in the table already.
pub fn ruleset(ruleset: &Ruleset) -> String {
    Table(ruleset).to_string()
}

/// A batch, one command a step.
pub fn batch(batch: &[Op]) -> String {
    batch.iter().map(|op| format!("{}\n", Command(op))).collect()
}

/// What a rule does, in one line; without its comment.
pub fn rule(rule: &Rule) -> String {
    Words { rule, counter: Counter::default() }.to_string()
}

/// One step of a batch in a line of bounded length.
pub(crate) fn step(op: &Op) -> String {
    /// Characters of a line.
    const LONG: usize = 300;
    /// Elements that are named.
    const SOME: usize = 3;
    let several = |name, verb, elements: &[Element]| {
        let some = Elements::sorted(elements.iter().take(SOME).cloned()).lines(", ");
        let dots = if elements.len() > SOME { ", …" } else { "" };
        format!("{verb} {} elements of {name}: {some}{dots}", elements.len())
    };
    match op {
        Op::AddElements(name, _, elements) => several(name, "add", elements),
        Op::DeleteElements(name, _, elements) => several(name, "delete", elements),
        op => Command(op).to_string().chars().take(LONG).collect(),
    }
}

/// One element of a set.
pub(crate) fn element(element: &Element) -> String {
    Elements::sorted([element.clone()]).lines("")
}

/// The comment a rule has in the kernel: its mark and its origin in words, in the characters and the
/// length that nft prints.
pub(crate) fn comment(rule: &Rule) -> String {
    match &rule.origin {
        Some(origin) => quotable(&format!("{} {origin}", rule.mark())),
        None => rule.mark().to_string(),
    }
}

/// What of a text can stand between nft's quotes, which know no escapes.
pub(crate) fn quotable(text: &str) -> String {
    let mut quotable: String = text.chars().map(printable).collect();
    let longest = (0..=LONGEST).rev().find(|end| quotable.is_char_boundary(*end));
    quotable.truncate(longest.unwrap_or_default());
    quotable
}

fn printable(character: char) -> char {
    match character {
        '"' => '\'',
        control if control.is_control() => '?',
        other => other,
    }
}

/// A whole ruleset.
struct Table<'a>(&'a Ruleset);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {TABLE} {{")?;
        let mut sets: Vec<_> = self.0.sets.iter().collect();
        sets.sort_unstable_by_key(|(name, _)| *name);
        for (name, set) in sets {
            let head = Head(set.kind);
            writeln!(f, "\t{} {name} {{\n\t\t{}", head.keyword(), head.lines("\n\t\t"))?;
            if !set.elements.is_empty() {
                let elements = Elements::sorted(set.elements.iter());
                writeln!(f, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.lines(",\n\t\t\t"))?;
            }
            writeln!(f, "\t}}\n")?;
        }
        for (name, chain) in &self.0.chains {
            write_chain(f, name, chain)?;
        }
        writeln!(f, "}}")
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, name: &SmolStr, chain: &Chain) -> fmt::Result {
    writeln!(f, "\tchain {name} {{")?;
    if let Some(hook) = chain.hook {
        writeln!(f, "\t\t{}", BaseChain(hook))?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{}", Line { rule, counter: Counter::default() })?;
    }
    writeln!(f, "\t}}\n")
}

/// What makes a chain a base chain.
struct BaseChain(Hook);

impl fmt::Display for BaseChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = match self.0.point {
            HookPoint::Prerouting => "prerouting",
            HookPoint::Input => "input",
            HookPoint::Forward => "forward",
            HookPoint::Output => "output",
        };
        write!(f, "type filter hook {point} priority {}; policy accept;", self.0.priority)
    }
}

/// A rule with its comment.
struct Line<'a> {
    rule: &'a Rule,
    counter: Counter,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Words { rule: self.rule, counter: self.counter };
        write!(f, "{words} comment \"{}\"", comment(self.rule))
    }
}

/// One step of a batch.
struct Command<'a>(&'a Op);

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::AddTable => write!(f, "add table {TABLE}"),
            Op::DeleteTable => write!(f, "delete table {TABLE}"),
            Op::AddChain(name, None) => write!(f, "add chain {TABLE} {name}"),
            Op::AddChain(name, Some(hook)) => {
                write!(f, "add chain {TABLE} {name} {{ {} }}", BaseChain(*hook))
            }
            Op::DeleteChain(name) => write!(f, "delete chain {TABLE} {name}"),
            Op::FlushChain(name) => write!(f, "flush chain {TABLE} {name}"),
            Op::AddRule { chain, place, rule, counter } => {
                let line = Line { rule, counter: *counter };
                match place {
                    Place::Last => write!(f, "add rule {TABLE} {chain} {line}"),
                    Place::Before(at) => {
                        write!(f, "insert rule {TABLE} {chain} position {at} {line}")
                    }
                    Place::After(at) => write!(f, "add rule {TABLE} {chain} position {at} {line}"),
                }
            }
            Op::DeleteRule { chain, handle } => {
                write!(f, "delete rule {TABLE} {chain} handle {handle}")
            }
            Op::AddSet(name, kind) => {
                let head = Head(*kind);
                write!(f, "add {} {TABLE} {name} {{ {} }}", head.keyword(), head.lines("; "))
            }
            Op::DeleteSet(name) => write!(f, "delete set {TABLE} {name}"),
            Op::AddElements(name, _, elements) => write_elements(f, "add", name, elements),
            Op::DeleteElements(name, _, elements) => write_elements(f, "delete", name, elements),
            Op::FlushSet(name) => write!(f, "flush set {TABLE} {name}"),
        }
    }
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    name: &SmolStr,
    elements: &[Element],
) -> fmt::Result {
    let elements = Elements::sorted(elements.iter().cloned());
    write!(f, "{verb} element {TABLE} {name} {{ {} }}", elements.lines(", "))
}
