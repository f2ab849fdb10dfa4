//! Pauses between attempts to reach somebody.

use std::time::Duration;

/// Pauses that double up to a limit, each shortened at random by up to a half.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    /// `seed` decides about chance: those that must not act together need different ones.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Backoff {
        // Spreads small seeds over all bits; zero would stay zero.
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Backoff { first, longest, next: first, random }
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        full.mul_f64(1.0 - self.fraction() / 2.0)
    }

    /// A random duration below the limit.
    pub fn chance(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.fraction())
    }

    /// A random number from 0 to 1. They have to be different, not good: xorshift.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_differ() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000), 7);
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause()).collect();
        let full = [100, 200, 400, 800, 1000, 1000, 1000, 1000];
        for (pause, full) in pauses.iter().zip(full) {
            assert!((ms(full / 2)..=ms(full)).contains(pause), "{pauses:?}");
        }
        assert_ne!(pauses[5], pauses[6]);
        backoff.reset();
        assert!(backoff.pause() <= ms(100));
        assert_ne!(Backoff::new(ms(100), ms(1000), 8).pause(), pauses[0]);
    }
}
