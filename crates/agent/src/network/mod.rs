//! Policy in the kernel, beside Policy Sync: what a flush of the calculation comes to goes to both,
//! and neither waits for the other.
//!
//! [`worker`] renders and programs, on a thread of its own. Whatever comes while a batch is on its way
//! is taken together by the next one. It is told of updates by the calculation, of the node's
//! interfaces by [`facts`], and of changes that others make to the table by the kernel.

mod capability;
mod choices;
mod drops;
pub mod events;
pub mod facts;
mod flows;
mod lock;
mod metrics;
mod places;
mod unenforced;
mod worker;

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use tortie_calc::Update;
use tortie_daemon::metrics::Registry;
use tortie_daemon::readiness::Guard;
use tortie_nft::Kernel;

pub use capability::may_program;
pub use choices::{Choices, STATE};
pub use facts::Facts;
pub use lock::{Lock, LockError};
pub use metrics::Metrics;

use worker::{Input, Worker};

/// The thread that programs the kernel; it ends when this is dropped, and what is in the kernel
/// stays there.
#[derive(Debug)]
pub struct Network {
    inputs: Option<Sender<Input>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Starts the thread. Nothing is programmed before both the first updates, up to
    /// [`Update::InSync`], and the first facts have come. The guard is ready whenever the kernel has
    /// what it shall have.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<K: Kernel + Send + 'static>(
        kernel: K,
        choices: Choices,
        metrics: Metrics,
        guard: Guard,
    ) -> io::Result<Network> {
        let (inputs, receiver) = channel();
        let worker = Worker::new(kernel, choices, metrics, guard);
        let thread = thread::Builder::new().name("network".to_owned());
        let thread = thread.spawn(move || worker.run(&receiver))?;
        Ok(Network { inputs: Some(inputs), thread: Some(thread) })
    }

    /// Who may tell the thread something.
    pub fn teller(&self) -> Teller {
        Teller(self.inputs.clone())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(inputs) = self.inputs.take() {
            // It may have ended already.
            let _ = inputs.send(Input::End);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Tells the thread something; never waits.
#[derive(Debug, Clone)]
pub struct Teller(Option<Sender<Input>>);

impl Teller {
    /// What a flush of the calculation came to.
    pub fn updates(&self, updates: Vec<Update>) {
        self.tell(Input::Updates(updates));
    }

    /// What the node's interfaces are now.
    pub fn facts(&self, facts: Facts) {
        self.tell(Input::Facts(facts));
    }

    /// Somebody else has changed the table, or may have.
    pub fn meddled(&self) {
        self.tell(Input::Meddled);
    }

    fn tell(&self, input: Input) {
        if let Some(inputs) = &self.0 {
            // The thread ends only when the agent does.
            let _ = inputs.send(input);
        }
    }
}

/// Puts back what an agent changed of this network namespace besides the table, whatever became of it.
///
/// # Errors
/// If the kernel refuses.
pub fn restore(choices: &Choices) -> io::Result<()> {
    flows::Flows::new(&choices.state).strict(false)
}

/// Adds the metrics of the network to a registry.
pub fn register(registry: &mut Registry) -> Metrics {
    Metrics::new(registry.sub_registry_with_prefix("network"))
}
