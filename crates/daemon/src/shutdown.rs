//! The end of a program: signals, and draining what is still at work.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::watch;

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What supervisors send.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// SIGINT and SIGTERM, caught from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    interrupt: Stream,
    terminate: Stream,
}

impl Signals {
    /// Starts catching. Must be called within a tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// A pair: the trigger starts the drain, every piece of work holds a clone of the watch.
#[must_use]
pub fn drain() -> (Trigger, Watch) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Watch(receiver))
}

/// Starts the drain and waits for its end.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Tells every [`Watch`] to finish and waits until all of them are dropped. False if some are
    /// still there after `limit`.
    pub async fn drain(self, limit: Duration) -> bool {
        self.0.send_replace(true);
        tokio::time::timeout(limit, self.0.closed()).await.is_ok()
    }
}

/// Held by a piece of work: tells it when to finish, and by its drop that it did.
#[derive(Debug, Clone)]
pub struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Waits for the drain to begin; also returns if the trigger is gone. The watch is dropped
    /// with whatever holds it, so keep it until the work is done.
    pub async fn started(&mut self) {
        // An error means that the trigger was dropped: nobody will ever tell us.
        let _ = self.0.wait_for(|started| *started).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn waits_for_work_in_progress() {
        block_on(async {
            let (trigger, watch) = drain();
            let (tell, told) = tokio::sync::oneshot::channel();
            let mut working = watch.clone();
            let work = tokio::spawn(async move {
                working.started().await;
                told.await.unwrap();
            });
            drop(watch);
            let drained = tokio::spawn(trigger.drain(LONG));
            assert!(!drained.is_finished());
            tell.send(()).unwrap();
            assert!(drained.await.unwrap());
            work.await.unwrap();
        });
    }

    #[test]
    fn gives_up_after_the_limit() {
        block_on(async {
            let (trigger, _watch) = drain();
            assert!(!trigger.drain(Duration::from_millis(1)).await);
        });
    }

    #[test]
    fn a_lost_trigger_ends_the_work() {
        block_on(async {
            let (trigger, mut watch) = drain();
            drop(trigger);
            watch.started().await;
        });
    }
}
