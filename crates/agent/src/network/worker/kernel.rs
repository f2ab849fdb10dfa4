//! Bringing policy into force, and saying whether it is.

use std::time::{Duration, Instant};

use tortie_nft::Kernel;
use tortie_nft::program::{ProgramError, Report};

use super::{LONGEST_RETRY, Worker};

/// After the first failure, until it is tried again; twice as long after each further one.
const RETRY: Duration = Duration::from_millis(5);

impl<K: Kernel> Worker<K> {
    /// Brings what is pending into force, and repairs what has to be.
    pub(super) fn program(&mut self) -> Result<(), ProgramError> {
        let start = Instant::now();
        let ruleset = self.renderer.ruleset();
        let delta = std::mem::take(&mut self.delta);
        let report = self.programmer.update(ruleset, delta)?;
        self.metrics.applied(&report, start.elapsed());
        log(&report);
        if self.cuts == Some(true) && report.changed() {
            self.cut_due = true;
            self.next_flows.get_or_insert(self.rest);
        }
        if self.check {
            let start = Instant::now();
            let repair = self.programmer.resync(ruleset)?;
            if repair.changed() {
                tracing::warn!(
                    rules_added = repair.rules_added,
                    rules_removed = repair.rules_removed,
                    elements_added = repair.elements_added,
                    elements_removed = repair.elements_removed,
                    "somebody else had changed the table `inet tortie`: it is repaired"
                );
            }
            self.metrics.repaired(&repair, start.elapsed());
            log(&repair);
            self.check = false;
        }
        Ok(())
    }

    pub(super) fn succeeded(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the kernel has the policy again");
        }
        self.failures = 0;
        self.retry = None;
        if !self.is_ready() {
            tracing::info!(chains = self.renderer.ruleset().chains.len(), "policy is in force");
            // At once, so that there is something to see from the start.
            self.next_count = Instant::now();
        }
        self.metrics.revision(self.revision);
        self.metrics.ready(true);
    }

    /// Ready is who has everything in force, for all workloads.
    pub(super) fn say_whether_ready(&mut self) {
        self.metrics.unenforced(self.beyond);
        if !self.is_ready() {
            return;
        }
        if self.beyond == 0 || self.choices.accept_unenforced {
            self.guard.ready();
        } else {
            let example = self.unenforced.example();
            let count = self.beyond;
            self.guard.wait(format!("policy is not enforced for {count} workloads: {example}"));
        }
    }

    /// What is in force stays; it is tried again soon.
    pub(super) fn failed(&mut self, error: &ProgramError) {
        let pause = RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures += 1;
        self.retry = Some(Instant::now() + pause);
        self.metrics.failed();
        match error {
            ProgramError::Busy(_) if self.failures == 1 => {
                tracing::debug!(%error, "trying again");
            }
            _ => {
                tracing::error!(%error, failures = self.failures, "the last policy stays in force");
                self.metrics.ready(false);
                self.guard.wait(error.to_string());
            }
        }
    }

    pub(super) fn count(&mut self) {
        let ruleset = self.renderer.ruleset();
        self.metrics.sizes(ruleset);
        match self.programmer.counters() {
            Ok(counters) => self.metrics.drops(self.drops.of(ruleset, &counters)),
            Err(error) => tracing::debug!(%error, "counters cannot be read"),
        }
    }
}

fn log(report: &Report) {
    if let Some(refused) = &report.refused {
        tracing::warn!(%refused, rewritten = report.rewritten, "the table was not as expected");
    }
    if report.changed() {
        tracing::debug!(?report, "programmed");
    }
}
