//! Readiness as a set of guards: a program is ready when no guard is waiting.
//!
//! Every part that must be up before the program is of use holds a [`Guard`]. A guard starts out
//! waiting, says when it is ready, and may go back to waiting. A guard that is dropped while it
//! waits (its task ended or panicked) waits for ever: an accident never makes a program ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is being waited for, by number of the guard.
type Waiting = BTreeMap<u64, Pending>;

/// Something that keeps the program from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The part that waits.
    pub part: &'static str,
    /// What it waits for, in words.
    pub reason: String,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: Waiting,
}

/// The readiness of a program; clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<State>>);

impl Readiness {
    /// Begins not ready, with the first guard: a program is never ready merely because it forgot
    /// to say what it waits for.
    pub fn new(part: &'static str, reason: impl Into<String>) -> (Self, Guard) {
        let readiness = Self(Arc::default());
        let guard = readiness.guard(part, reason);
        (readiness, guard)
    }

    /// One more part to wait for.
    pub fn guard(&self, part: &'static str, reason: impl Into<String>) -> Guard {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.waiting.insert(id, Pending { part, reason: reason.into() });
        drop(state);
        Guard { readiness: self.clone(), id, part, settled: false }
    }

    /// Whether nothing is being waited for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// What is being waited for, oldest guard first.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        self.lock().waiting.values().cloned().collect()
    }

    /// The map is consistent after every statement, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part's say in readiness.
#[derive(Debug)]
#[must_use = "a guard dropped while waiting keeps the program not ready for ever"]
pub struct Guard {
    readiness: Readiness,
    id: u64,
    part: &'static str,
    settled: bool,
}

impl Guard {
    /// This part is ready. Dropping the guard afterwards leaves it so.
    pub fn ready(&mut self) {
        self.settled = true;
        self.readiness.lock().waiting.remove(&self.id);
    }

    /// This part waits (again), for the reason given.
    pub fn wait(&mut self, reason: impl Into<String>) {
        self.settled = false;
        let pending = Pending { part: self.part, reason: reason.into() };
        self.readiness.lock().waiting.insert(self.id, pending);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.settled {
            self.wait("it ended before it was ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(readiness: &Readiness) -> Vec<String> {
        let pending = readiness.pending().into_iter();
        pending.map(|Pending { part, reason }| format!("{part}: {reason}")).collect()
    }

    #[test]
    fn ready_when_every_guard_is() {
        let (readiness, mut policy) = Readiness::new("policy", "the first load");
        let mut socket = readiness.guard("socket", "the bind");
        assert_eq!(reasons(&readiness), ["policy: the first load", "socket: the bind"]);
        policy.ready();
        assert!(!readiness.is_ready());
        socket.ready();
        assert!(readiness.is_ready());
        drop((policy, socket));
        assert!(readiness.is_ready());
    }

    #[test]
    fn may_go_back_to_waiting() {
        let (readiness, mut endpoint) = Readiness::new("endpoint", "the first load");
        endpoint.ready();
        endpoint.wait("`bank/web` is gone");
        assert_eq!(reasons(&readiness), ["endpoint: `bank/web` is gone"]);
        endpoint.ready();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_guard_dropped_while_waiting_waits_for_ever() {
        let (readiness, guard) = Readiness::new("policy", "the first load");
        drop(guard);
        assert_eq!(reasons(&readiness), ["policy: it ended before it was ready"]);

        let (readiness, mut guard) = Readiness::new("policy", "the first load");
        guard.ready();
        guard.wait("a reload");
        drop(guard);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_panicking_task_does_not_make_ready() {
        let (readiness, mut guard) = Readiness::new("policy", "the first load");
        let other = readiness.clone();
        let joined = std::thread::spawn(move || {
            let _held = other.guard("other", "a panic");
            let _locked = other.0.lock();
            panic!("while holding the lock");
        })
        .join();
        assert!(joined.is_err());
        guard.ready();
        assert!(!readiness.is_ready());
    }
}
