//! So much a second, and no more: for what must not grow with the rate of requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An amount that is there anew every second. Without a lock; threads that race for the last of it
/// may exceed it by what each of them takes.
#[derive(Debug)]
pub struct Budget {
    each_second: u64,
    second: AtomicU64,
    used: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    /// With so much a second.
    #[must_use]
    pub fn new(each_second: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { each_second, second: zero(), used: zero(), refused: zero() }
    }

    /// Takes one; false if there is none left in this second. `now` is the time since some fixed
    /// moment.
    pub fn take(&self, now: Duration) -> bool {
        let some = self.is_left(now);
        match some {
            true => self.used.fetch_add(1, Ordering::Relaxed),
            false => self.refused.fetch_add(1, Ordering::Relaxed),
        };
        some
    }

    /// Whether something is left in this second.
    pub fn is_left(&self, now: Duration) -> bool {
        let second = now.as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.load(Ordering::Relaxed) < self.each_second
    }

    /// Takes so much, whether it is left or not.
    pub fn spend(&self, amount: u64) {
        self.used.fetch_add(amount, Ordering::Relaxed);
    }

    /// How often nothing was left, since this was last asked.
    pub fn take_refused(&self) -> u64 {
        match self.refused.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.refused.swap(0, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_a_second() {
        let budget = Budget::new(2);
        let taken = |ms| budget.take(Duration::from_millis(ms));
        assert_eq!([taken(0), taken(1), taken(2), taken(999)], [true, true, false, false]);
        assert_eq!([taken(1000), taken(1999), taken(1999)], [true, true, false]);
        assert_eq!((budget.take_refused(), budget.take_refused()), (3, 0));
        assert!(!Budget::new(0).take(Duration::ZERO));
    }

    #[test]
    fn spending_may_exceed_it() {
        let budget = Budget::new(100);
        assert!(budget.is_left(Duration::from_secs(1)));
        budget.spend(1_000);
        assert!(!budget.is_left(Duration::from_secs(1)));
        assert!(budget.is_left(Duration::from_secs(2)));
    }
}
