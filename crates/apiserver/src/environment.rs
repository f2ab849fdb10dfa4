//! Time and chance, from outside.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What time it is, and what is random; tests may have their own.
#[derive(Clone)]
pub struct Environment {
    /// What time it is.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Sixteen bytes that nobody can foretell.
    pub random: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
}

impl Default for Environment {
    fn default() -> Environment {
        Environment { clock: Arc::new(SystemTime::now), random: Arc::new(system_random) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// From the system. A system without randomness cannot make unique names; there is no such Linux.
fn system_random() -> [u8; 16] {
    let mut bytes = [0; 16];
    #[allow(clippy::expect_used, reason = "two objects with one uid would be worse")]
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

impl Environment {
    pub(crate) fn now(&self) -> OffsetDateTime {
        (self.clock)().into()
    }

    /// The time as objects have it: whole seconds, UTC.
    pub(crate) fn timestamp(&self) -> String {
        let now = self.now();
        let now = now.replace_nanosecond(0).unwrap_or(now);
        // Years beyond 9999 cannot be written.
        now.format(&Rfc3339).unwrap_or_default()
    }

    /// A version 4 UUID.
    pub(crate) fn uid(&self) -> String {
        let number = u128::from_be_bytes((self.random)());
        let number = number & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
        let hex = format!("{number:032x}");
        let mut uid = String::with_capacity(36);
        for (position, digit) in hex.chars().enumerate() {
            if [8, 12, 16, 20].contains(&position) {
                uid.push('-');
            }
            uid.push(digit);
        }
        uid
    }

    /// Letters and digits for the end of a name, without those that make words or look alike.
    pub(crate) fn suffix(&self, length: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let bytes = (self.random)();
        let letter = |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).copied();
        bytes.iter().take(length).filter_map(letter).map(char::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_uuids() {
        let fixed = Environment { random: Arc::new(|| [0xff; 16]), ..Environment::default() };
        assert_eq!(fixed.uid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(Environment::default().uid(), Environment::default().uid());
        assert_eq!(fixed.suffix(5).len(), 5);
    }
}
