//! Connections that must not go on.

use std::io;
use std::time::Instant;

use tortie_nft::Kernel;

use super::{LONGEST_RETRY, Worker};

/// How many times as long as looking for connections to cut took something else is done.
const REST: u32 = 9;

impl<K: Kernel> Worker<K> {
    /// Deletes connections of addresses that were given up, and those that policy does not allow any
    /// more.
    pub(super) fn look_at_flows(&mut self) {
        let start = Instant::now();
        if let Err(error) = self.forget().and_then(|()| self.cut()) {
            tracing::error!(%error, "connections that must not go on could not be deleted");
            self.next_flows = Some(Instant::now() + LONGEST_RETRY);
        }
        self.rest = Instant::now() + start.elapsed().saturating_mul(REST);
    }

    fn forget(&mut self) -> io::Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        let forgotten = self.flows.forget(&self.gone)?;
        tracing::debug!(addresses = self.gone.len(), ?forgotten, "connections of workloads gone");
        self.metrics.forgotten(forgotten.cut);
        self.gone.clear();
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        let Some(facts) = self.facts.as_ref().filter(|_| self.cut_due) else { return Ok(()) };
        let start = Instant::now();
        let cut = self.flows.cut(self.renderer.ruleset(), facts)?;
        self.metrics.cut(cut.cut, start.elapsed());
        if cut.cut > 0 {
            tracing::info!(asked = cut.asked, cut = cut.cut, "connections cut");
        }
        self.cut_due = false;
        Ok(())
    }
}
