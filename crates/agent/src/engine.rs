//! The one writer of the calculation (house rule 5), on a thread of its own.
//!
//! Changes are worked out at once while nothing else is going on. Those that come during a flush are
//! taken together by the next one: nobody waits for a tick, and a flood is not told piece by piece.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tortie_calc::{Calculation, Key, Update};
use tortie_model::FieldError;

use crate::metrics::Metrics;
use crate::source::{Change, Now};

/// Changes that belong together: none of them is told without the others.
#[derive(Debug, Default)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
    /// The number of the set of resources they lead to.
    pub revision: u64,
}

/// Hands changes to the calculation; it ends when this is dropped.
#[derive(Debug)]
pub struct Engine {
    batches: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread. The first batch is what was there at the start; `tell` is called on the
    /// thread with what each flush came to.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        calculation: Calculation,
        metrics: Arc<Metrics>,
        tell: impl FnMut(Vec<Update>) + Send + 'static,
    ) -> std::io::Result<Engine> {
        let (batches, receiver) = channel();
        let thread = thread::Builder::new()
            .name("calculation".to_owned())
            .spawn(move || run(calculation, &receiver, &metrics, tell))?;
        Ok(Engine { batches: Some(batches), thread: Some(thread) })
    }

    /// Takes in changes; they are told soon.
    pub fn apply(&self, batch: Batch) {
        if let Some(batches) = &self.batches {
            // The thread ends only with this sender.
            let _ = batches.send(batch);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    mut calculation: Calculation,
    batches: &Receiver<Batch>,
    metrics: &Metrics,
    mut tell: impl FnMut(Vec<Update>),
) {
    let mut said = Complaints::new();
    while let Ok(first) = batches.recv() {
        let start = Instant::now();
        take(&mut calculation, first);
        while let Ok(next) = batches.try_recv() {
            take(&mut calculation, next);
        }
        calculation.in_sync();
        let mut updates = Vec::new();
        calculation.flush(&mut updates);
        metrics.flushed(updates.len(), start.elapsed());
        said = complain(&calculation, &said);
        metrics.invalid(said.len());
        tell(updates);
    }
}

/// What is wrong with which resources.
type Complaints = BTreeMap<Key, Vec<FieldError>>;

/// Says what is wrong, unless it was said before.
fn complain(calculation: &Calculation, said: &Complaints) -> Complaints {
    let now: Complaints = calculation.invalid().map(|(k, e)| (k.clone(), e.to_vec())).collect();
    for (key, errors) in now.iter().filter(|(key, errors)| said.get(*key) != Some(*errors)) {
        for error in errors {
            tracing::error!(resource = %key, %error, "a resource cannot be enforced as written");
        }
    }
    now
}

fn take(calculation: &mut Calculation, batch: Batch) {
    for change in &batch.changes {
        match &change.now {
            Now::Is(resource) => calculation.apply(&change.key, Some(resource)),
            Now::Broken(error) => calculation.apply_undecodable(&change.key, error),
            Now::Gone => calculation.apply(&change.key, None),
        }
    }
    calculation.set_revision(batch.revision);
}
