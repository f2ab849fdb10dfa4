//! The kernel as the programs see it: batches that hold entirely or not at all, and reading back.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::{Element, Hook, Members, Rule, SetKind};

/// Who keeps the table. A trait, so that faults can be put in.
pub trait Kernel {
    /// Changes with each transaction, whoever makes it.
    ///
    /// # Errors
    /// If the kernel does not answer.
    fn generation(&mut self) -> io::Result<u32>;

    /// Does all of a batch, in order, or nothing. Returns the handles of the rules that were added,
    /// in order.
    ///
    /// # Errors
    /// If the kernel refuses; then nothing has changed.
    fn apply(&mut self, batch: &[Op]) -> Result<Vec<u64>, ApplyError>;

    /// What is in the table; nothing if it is not there. All of one generation.
    ///
    /// # Errors
    /// If the kernel does not answer.
    fn read(&mut self) -> io::Result<Option<Found>>;

    /// The counters of all rules, by chain and handle.
    ///
    /// # Errors
    /// If the kernel does not answer.
    fn counters(&mut self) -> io::Result<HashMap<(SmolStr, u64), Counter>>;

    /// The counters of the rules of one chain, by handle; none if it is not there.
    ///
    /// # Errors
    /// If the kernel does not answer.
    fn chain_counters(&mut self, chain: &SmolStr) -> io::Result<HashMap<u64, Counter>> {
        let all = self.counters()?.into_iter();
        Ok(all.filter(|((of, _), _)| of == chain).map(|((_, rule), c)| (rule, c)).collect())
    }
}

/// One step of a batch. The table is `inet tortie`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Makes the table, if it is not there.
    AddTable,
    /// Removes the table and all in it; an error if it is not there.
    DeleteTable,
    /// Makes a chain, if it is not there.
    AddChain(SmolStr, Option<Hook>),
    /// Removes a chain, which must be empty and which nothing may refer to.
    DeleteChain(SmolStr),
    /// Removes all rules of a chain.
    FlushChain(SmolStr),
    /// Adds a rule to a chain.
    AddRule {
        /// The chain.
        chain: SmolStr,
        /// Where in the chain.
        place: Place,
        /// The rule.
        rule: Arc<Rule>,
        /// What its counter begins with.
        counter: Counter,
    },
    /// Removes a rule.
    DeleteRule {
        /// The chain.
        chain: SmolStr,
        /// The rule's handle.
        handle: u64,
    },
    /// Makes a set without elements, if it is not there.
    AddSet(SmolStr, SetKind),
    /// Removes a set, which nothing may refer to.
    DeleteSet(SmolStr),
    /// Adds elements to a set; an error if one is there with another value or overlaps.
    AddElements(SmolStr, SetKind, Vec<Element>),
    /// Removes elements from a set; an error if one is not there.
    DeleteElements(SmolStr, SetKind, Vec<Element>),
    /// Removes all elements of a set.
    FlushSet(SmolStr),
}

/// Where in a chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the end.
    Last,
    /// Right before the rule of this handle.
    Before(u64),
    /// Right behind the rule of this handle.
    After(u64),
}

/// Packets and bytes that met a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets, IP headers included.
    pub bytes: u64,
}

/// What was found in the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The generation of which all of it is.
    pub generation: u32,
    /// Chains by name.
    pub chains: BTreeMap<SmolStr, FoundChain>,
    /// Sets and maps by name, without anonymous ones.
    pub sets: HashMap<SmolStr, FoundSet>,
}

/// A chain that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundChain {
    /// Where packets enter it.
    pub hook: Option<Hook>,
    /// Whether it enters in a way that [`Hook`] cannot say (another type or policy, a device).
    pub strange: bool,
    /// Its rules, in order.
    pub rules: Vec<FoundRule>,
}

/// A rule that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundRule {
    /// The kernel's name for it.
    pub handle: u64,
    /// The rule's mark, if it has one that can be read: see [`Rule::mark`].
    pub mark: Option<SmolStr>,
    /// What its counter says.
    pub counter: Counter,
}

/// A set that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundSet {
    /// What its elements are; absent for a kind that is none of ours.
    pub kind: Option<SetKind>,
    /// Its elements.
    pub elements: Members,
    /// Whether there are others, which [`Element`] cannot say (a range that is no net, another
    /// verdict, a timeout): [`Op::FlushSet`] removes them too.
    pub strange: bool,
}

/// Why the kernel did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It refused a step.
    #[error("the kernel refused step {step} of {steps} ({op}): {error}")]
    Refused {
        /// Position of the first step it refused, from 0.
        step: usize,
        /// How many there were.
        steps: usize,
        /// The step in words.
        op: String,
        /// What it said.
        error: io::Error,
    },
    /// It did not take or answer the batch; what of it holds is not known, so read it back.
    #[error("netlink: {0}")]
    Io(#[from] io::Error),
}
