//! Making the kernel's table what a ruleset says, by the least changes.
//!
//! [`Programmer`] knows which chains, rules and sets stand in the table, but not the members of the
//! sets: those are the ruleset's. Changes go in as one batch each, which holds entirely or not at
//! all. Rules that stay keep their handles and counters.
//!
//! What goes wrong is answered in steps, from the least to the most: what passes by itself is tried
//! again; what else the kernel refuses means that the table is not what it is taken for, so it is
//! read back and the differences are written; and where those are refused, too, everything is
//! written anew in one batch, in which base chains stay. The table is never removed under traffic.

mod align;
mod batch;
mod edit;
mod pending;
mod table;
mod tally;

use std::collections::BTreeMap;
use std::io;

use crate::{ApplyError, Counter, Delta, Kernel, Op, Origin, Ruleset};

use self::batch::Plan;
use self::edit::{Edit, edits};
use self::pending::Pending;
use self::table::Table;
use self::tally::Tally;

/// How often in a row a batch that was refused for something that passes is only tried again. From
/// then on the table is read back: what refuses may be a rule of somebody else that refers to ours.
const PATIENCE: u32 = 3;

/// Keeps one table of the kernel equal to a ruleset.
#[derive(Debug)]
pub struct Programmer<K> {
    kernel: K,
    table: Table,
    tally: Tally,
    /// What has been asked for and is not in the kernel yet.
    pending: Pending,
    /// The generation after our own last batch, if nobody else's came in between.
    generation: Option<u32>,
    /// Whether the table is what `table` says, as far as we know.
    known: bool,
    /// Refusals in a row that were answered by asking to try again.
    refusals: u32,
}

/// What was done to the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Batches that came into force.
    pub batches: u64,
    /// Chains and sets that were made.
    pub made: u64,
    /// Chains and sets that were removed.
    pub removed: u64,
    /// Rules that were added.
    pub rules_added: u64,
    /// Rules that were removed.
    pub rules_removed: u64,
    /// Elements that were added to sets and maps.
    pub elements_added: u64,
    /// Elements that were removed from sets and maps that stay.
    pub elements_removed: u64,
    /// Whether the table was read back.
    pub read: bool,
    /// Whether everything was written anew.
    pub rewritten: bool,
    /// What the kernel refused before it took this, in words.
    pub refused: Option<String>,
}

impl Report {
    /// Whether anything was changed.
    pub fn changed(&self) -> bool {
        self.batches > 0
    }
}

/// Why the table is not yet what the ruleset says. It is what it was before, entirely; the changes
/// are kept, and [`Programmer::update`] with an empty [`Delta`] tries again.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Something that passes by itself (EBUSY, ENOBUFS, EINTR, ENOSPC and the like).
    #[error("the kernel cannot take the changes now: {0}")]
    Busy(ApplyError),
    /// The table could not be read back.
    #[error("the table cannot be read: {0}")]
    Read(io::Error),
    /// Not even writing everything anew helped.
    #[error(transparent)]
    Refused(ApplyError),
}

impl<K: Kernel> Programmer<K> {
    /// Nothing is known of the table yet: the first update reads it, and takes over what is there.
    pub fn new(kernel: K) -> Programmer<K> {
        Programmer {
            kernel,
            table: Table::default(),
            tally: Tally::default(),
            pending: Pending::default(),
            generation: None,
            known: false,
            refusals: 0,
        }
    }

    /// Takes in that the ruleset is now this, and what changed of it since the last call, and brings
    /// it into force.
    ///
    /// # Errors
    /// If it is not in force; see [`ProgramError`].
    pub fn update(&mut self, ruleset: &Ruleset, delta: Delta) -> Result<Report, ProgramError> {
        self.pending.add(delta);
        if !self.known {
            return self.take_over(ruleset);
        }
        if self.pending.is_empty() {
            return Ok(Report::default());
        }
        let Some(plan) = self.plan(ruleset).map_err(ProgramError::Read)? else {
            return self.take_over(ruleset);
        };
        match self.apply(plan) {
            Ok(report) => Ok(report),
            Err(error) if self.is_patient(&error) => Err(ProgramError::Busy(error)),
            Err(error) => {
                let report = self.take_over(ruleset)?;
                Ok(Report { refused: Some(error.to_string()), ..report })
            }
        }
    }

    /// Makes the table equal to the ruleset, whatever has happened to it; reads it back only if
    /// anybody has changed anything since our own last batch.
    ///
    /// # Errors
    /// If it is not equal; see [`ProgramError`].
    pub fn resync(&mut self, ruleset: &Ruleset) -> Result<Report, ProgramError> {
        if self.known && self.pending.is_empty() && self.generation.is_some() {
            let generation = self.kernel.generation().map_err(ProgramError::Read)?;
            if self.generation == Some(generation) {
                return Ok(Report::default());
            }
        }
        self.take_over(ruleset)
    }

    /// Packets and bytes by what the rules that counted them stand for. They never get less: what
    /// rules had counted that are gone is in them, as far back as this programmer knows.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub fn counters(&mut self) -> io::Result<BTreeMap<Origin, Counter>> {
        let counters = self.kernel.counters()?;
        self.table.observe(&counters, &mut self.tally);
        Ok(self.tally.sums(&self.table))
    }

    /// Removes the table with everything in it. Says whether there was one.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self) -> Result<bool, ApplyError> {
        self.known = false;
        let there = self.kernel.read()?.is_some();
        if there {
            self.kernel.apply(&[Op::DeleteTable])?;
        }
        Ok(there)
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    // === steps ===

    /// The batch for what is pending; nothing if the table must be read back for it.
    fn plan(&mut self, ruleset: &Ruleset) -> io::Result<Option<Plan>> {
        if !self.pending.fits(&self.table, ruleset) {
            return Ok(None);
        }
        let edits = edits(&self.table, ruleset, &self.pending);
        for (name, edit) in &edits {
            if self.table.chains.get(name).is_some_and(|chain| edit.loses_counts(chain)) {
                let counters = self.kernel.chain_counters(name)?;
                self.table.observe_chain(name, &counters, &mut self.tally);
            }
        }
        Ok(Some(Plan::new(&self.table, ruleset, &self.pending, &edits)))
    }

    /// Brings a batch into force and takes in what follows from it.
    fn apply(&mut self, mut plan: Plan) -> Result<Report, ApplyError> {
        let mut handles = Vec::new();
        let ops = std::mem::take(&mut plan.ops);
        if !ops.is_empty() {
            handles = self.kernel.apply(&ops)?;
            // Ours has made it one more; anything else is somebody's besides.
            let ours = self.generation.map(|before| before.wrapping_add(1).max(1));
            self.generation = self.kernel.generation().ok().filter(|now| Some(*now) == ours);
        }
        let report = plan.commit(&mut self.table, &mut self.tally, handles);
        self.pending = Pending::default();
        self.known = true;
        self.refusals = 0;
        Ok(report)
    }

    /// Whether an error is answered by asking the caller to try again.
    fn is_patient(&mut self, error: &ApplyError) -> bool {
        if matches!(error, ApplyError::Io(_)) {
            // Whether the batch holds is not known.
            self.known = false;
            return true;
        }
        self.refusals = if passes(error) { self.refusals + 1 } else { 0 };
        (1..=PATIENCE).contains(&self.refusals)
    }

    /// Reads the table and writes the differences; failing that, everything.
    fn take_over(&mut self, ruleset: &Ruleset) -> Result<Report, ProgramError> {
        // Until the differences are in force, only reading back tells what is to be done.
        self.known = false;
        let pending = self.read(ruleset).map_err(ProgramError::Read)?;
        let mut refused = None;
        if pending.fits(&self.table, ruleset) {
            let edits = edits(&self.table, ruleset, &pending);
            match self.apply(Plan::new(&self.table, ruleset, &pending, &edits)) {
                Ok(report) => return Ok(Report { read: true, ..report }),
                Err(error) if self.is_patient(&error) => return Err(ProgramError::Busy(error)),
                Err(error) => refused = Some(error.to_string()),
            }
        }
        let report = self.rewrite(ruleset)?;
        Ok(Report { read: true, rewritten: true, refused, ..report })
    }

    /// Takes in what is in the table, and says what is different.
    fn read(&mut self, ruleset: &Ruleset) -> io::Result<Pending> {
        let found = self.kernel.read()?;
        self.generation = match &found {
            Some(found) => Some(found.generation),
            None => Some(self.kernel.generation()?),
        };
        let pending = Pending::differences(found.as_ref(), ruleset);
        self.table.replace(found, &mut self.tally);
        Ok(pending)
    }

    /// Writes everything anew, in one batch. The table has just been read.
    fn rewrite(&mut self, ruleset: &Ruleset) -> Result<Report, ProgramError> {
        let pending = Pending::everything(&self.table, ruleset);
        let edits = edits(&self.table, ruleset, &pending).into_iter();
        let edits = edits.map(|(name, edit)| (name, Edit::anew(edit))).collect();
        let plan = Plan::new(&self.table, ruleset, &pending, &edits);
        self.apply(plan).map_err(|error| match self.is_patient(&error) {
            true => ProgramError::Busy(error),
            false => ProgramError::Refused(error),
        })
    }
}

/// Whether an error is one that passes by itself.
fn passes(error: &ApplyError) -> bool {
    let (ApplyError::Refused { error, .. } | ApplyError::Io(error)) = error;
    // EINTR, EAGAIN, ENOMEM, EBUSY, ENOSPC, ERESTART, ENOBUFS
    matches!(error.raw_os_error(), Some(4 | 11 | 12 | 16 | 28 | 85 | 105))
}
