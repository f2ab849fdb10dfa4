//! The users that were added: hashes of their tokens, serial numbers of their certificates, and
//! the certificates that no longer count.
//!
//! A file that is replaced as a whole. A running server reads it again whenever it has been
//! replaced, so what is removed is refused from the next request on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {reason}", path.display())]
pub struct RegisterError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What somebody proves to be a user by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credential {
    /// The SHA-256 of a token, in hexadecimal.
    Token(String),
    /// The serial number of a certificate, in hexadecimal.
    Certificate(String),
}

/// One credential of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// The user's name.
    pub user: String,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What it is.
    pub credential: Credential,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it ends, in seconds since 1970.
    pub expires: i64,
    /// Whether it no longer counts. Tokens that do not are forgotten; certificates have to be
    /// remembered until they end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl Entry {
    /// When it ends.
    pub(super) fn end(&self) -> SystemTime {
        let seconds = u64::try_from(self.expires).unwrap_or_default();
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        end.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether it counts.
    pub fn counts(&self, now: SystemTime) -> bool {
        !self.revoked && seconds(now) < self.expires
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Contents {
    users: Vec<Entry>,
}

/// The file as it was read, by what callers show.
#[derive(Debug, Default)]
struct Read {
    stamp: Option<Stamp>,
    by_credential: HashMap<String, Entry>,
}

/// What tells one state of the file from another: a replaced file is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// The file of users. Clones share what was read.
#[derive(Debug, Clone)]
pub struct Register {
    path: PathBuf,
    read: Arc<ArcSwapOption<Read>>,
}

/// A token that nobody can guess, and what is kept of it.
///
/// # Errors
/// If the system gives no random bytes.
pub fn new_token() -> Result<(String, Credential), getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let token = format!("tortie-{}", URL_SAFE_NO_PAD.encode(bytes));
    let kept = Credential::Token(hash(&token));
    Ok((token, kept))
}

fn hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Register {
    /// The file in a folder; it need not be there.
    pub fn new(folder: &Path) -> Register {
        Register { path: folder.join("users.json"), read: Arc::default() }
    }

    /// The entry of a token, if there is one. Tokens are found by their hash: how long that takes says
    /// nothing of how much of a guess was right.
    pub(crate) fn token(&self, token: &str) -> Result<Option<Entry>, RegisterError> {
        Ok(self.current()?.by_credential.get(&hash(token)).cloned())
    }

    /// The entry of a certificate, if there is one.
    pub(crate) fn certificate(&self, serial: &str) -> Result<Option<Entry>, RegisterError> {
        Ok(self.current()?.by_credential.get(serial).cloned())
    }

    /// All entries.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, RegisterError> {
        Ok(self.load()?.users)
    }

    /// Adds a credential.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn add(&self, entry: Entry, now: SystemTime) -> Result<(), RegisterError> {
        self.update(now, |users| users.push(entry))
    }

    /// Lets no credential of a user count any more. Gives how many did.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn remove(&self, user: &str, now: SystemTime) -> Result<usize, RegisterError> {
        let mut removed = 0;
        self.update(now, |users| {
            let of_user = users.iter_mut().filter(|entry| entry.user == user);
            for entry in of_user.filter(|entry| entry.counts(now)) {
                entry.revoked = true;
                removed += 1;
            }
        })?;
        Ok(removed)
    }

    fn update(
        &self,
        now: SystemTime,
        change: impl FnOnce(&mut Vec<Entry>),
    ) -> Result<(), RegisterError> {
        // Of two that change it at once, the second sees what the first wrote.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let lock = File::open(folder).map_err(|error| self.wrong(&error))?;
        lock.lock().map_err(|error| self.wrong(&error))?;
        let mut contents = self.load()?;
        change(&mut contents.users);
        contents.users.retain(|entry| match entry.credential {
            Credential::Token(_) => entry.counts(now),
            Credential::Certificate(_) => seconds(now) < entry.expires,
        });
        let text = serde_json::to_vec_pretty(&contents).map_err(|error| self.wrong(&error))?;
        tortie_daemon::file::replace(&self.path, &text, 0o600).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> RegisterError {
        RegisterError { path: self.path.clone(), reason: error.to_string() }
    }

    /// Which state of the file there is, if any.
    pub(crate) fn stamp(&self) -> Result<Option<Stamp>, RegisterError> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.wrong(&error)),
            Ok(found) => Ok(Some(Stamp {
                inode: found.ino(),
                size: found.size(),
                changed: (found.ctime(), found.ctime_nsec()),
            })),
        }
    }

    fn load(&self) -> Result<Contents, RegisterError> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Contents::default()),
            Err(error) => Err(self.wrong(&error)),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.wrong(&error)),
        }
    }

    /// What the file says now.
    fn current(&self) -> Result<Arc<Read>, RegisterError> {
        let stamp = self.stamp()?;
        if let Some(read) = self.read.load_full().filter(|read| read.stamp == stamp) {
            return Ok(read);
        }
        let users = self.load()?.users.into_iter();
        let by_credential = users.map(|entry| {
            let (Credential::Token(key) | Credential::Certificate(key)) = &entry.credential;
            (key.clone(), entry)
        });
        let read = Arc::new(Read { stamp, by_credential: by_credential.collect() });
        self.read.store(Some(read.clone()));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_does_not_count_from_the_next_look_on() {
        let folder = tempfile::tempdir().unwrap();
        let (now, server) = (SystemTime::now(), Register::new(folder.path()));
        let other = Register::new(folder.path());
        let (token, kept) = new_token().unwrap();
        assert!(server.token(&token).unwrap().is_none());
        let entry = |credential| Entry {
            user: "ada".into(),
            groups: vec!["dev".into()],
            credential,
            created: 0,
            expires: seconds(now) + 60,
            revoked: false,
        };
        other.add(entry(kept), now).unwrap();
        other.add(entry(Credential::Certificate("2a".into())), now).unwrap();
        assert_eq!(server.token(&token).unwrap().unwrap().user, "ada");
        assert!(server.token("tortie-guess").unwrap().is_none());
        assert!(server.certificate("2a").unwrap().unwrap().counts(now));
        let text = fs::read_to_string(folder.path().join("users.json")).unwrap();
        assert!(!text.contains(&token));

        assert_eq!(other.remove("ada", now).unwrap(), 2);
        assert!(server.token(&token).unwrap().is_none());
        assert!(!server.certificate("2a").unwrap().unwrap().counts(now));
        assert_eq!(other.remove("ada", now).unwrap(), 0);
        // Once it has ended by itself, nobody needs to remember it.
        other.remove("nobody", now + Duration::from_secs(61)).unwrap();
        assert!(other.entries().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("users.json"), "{\"users\": [").unwrap();
        let register = Register::new(folder.path());
        assert!(register.token("x").unwrap_err().to_string().contains("users.json`: "));
        assert!(register.certificate("x").is_err());
        assert!(register.remove("x", SystemTime::now()).is_err());
    }
}
