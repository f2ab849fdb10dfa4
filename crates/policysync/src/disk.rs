//! The last good state on disk, so that a sidecar that restarts while the agent is away has policy.
//!
//! A file holds the messages that lead to the state, behind a line that says what it is, when it
//! was written, and a checksum. It lies in a folder that nobody else can write to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use sha2::{Digest, Sha256};
use tortie_calc::State;
use tortie_policy::Compat;
use tortie_proto::felix::ToDataplane;

use crate::wire::{Decoder, WireError, encode_all};

/// What the first line begins with, the version of the format included.
const MAGIC: &str = "tortie-policy 1";
/// Name of the file in its folder.
const NAME: &str = "last-good";

/// Why no state was written or read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be replaced.
    #[error(transparent)]
    Replace(#[from] tortie_daemon::file::ReplaceError),
    /// Others could put policy into the folder.
    #[error("`{}`: {reason}; it must belong to this user, and nobody else may enter it", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file is damaged, or of another version.
    #[error("`{}`: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A message in the file cannot be understood.
    #[error("`{}`: {source}", path.display())]
    Wire {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WireError,
    },
}

/// A state that was read from disk.
#[derive(Debug)]
pub struct Saved {
    /// The state.
    pub state: State,
    /// When it was written.
    pub at: SystemTime,
}

/// Writes a state into a folder, which is made if it is not there.
///
/// # Errors
/// If the folder is not private, or writing fails; what was there before is still there then.
pub fn save(folder: &Path, state: &State, now: SystemTime) -> Result<(), DiskError> {
    make_private(folder)?;
    let mut body = Vec::new();
    for message in encode_all(state) {
        // Cannot fail: a vector grows as needed.
        let _ = message.encode_length_delimited(&mut body);
    }
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut content = format!("{MAGIC} {seconds} {}\n", checksum(seconds, &body)).into_bytes();
    content.extend(body);
    Ok(tortie_daemon::file::replace(&folder.join(NAME), &content, 0o600)?)
}

/// Reads the state in a folder; nothing if there is none, or if it is older than `limit`.
///
/// # Errors
/// If the folder is not private, or the file cannot be trusted or understood.
pub fn load(
    folder: &Path,
    now: SystemTime,
    limit: Duration,
    compat: Compat,
) -> Result<Option<Saved>, DiskError> {
    if !folder.exists() {
        return Ok(None);
    }
    check_private(folder)?;
    let path = folder.join(NAME);
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DiskError::Io { path, source }),
    };
    let saved = parse(&path, &content, compat)?;
    // A clock that was set back makes a file from the future: its age is not known.
    let young = now.duration_since(saved.at).is_ok_and(|age| age <= limit);
    Ok(young.then_some(saved))
}

/// Reads the content of a file. `path` is for messages.
///
/// # Errors
/// If it cannot be trusted or understood.
pub fn parse(path: &Path, content: &[u8], compat: Compat) -> Result<Saved, DiskError> {
    let damaged = |reason| DiskError::Damaged { path: path.to_owned(), reason };
    let (seconds, sum, mut body) =
        split(content).ok_or_else(|| damaged("is not a saved policy"))?;
    if checksum(seconds, body) != sum {
        return Err(damaged("is damaged: its checksum differs"));
    }
    let wire = |source| DiskError::Wire { path: path.to_owned(), source };
    let mut decoder = Decoder::new(compat);
    let mut state = State::default();
    while !body.is_empty() {
        let message = ToDataplane::decode_length_delimited(&mut body)
            .map_err(|error| wire(WireError::Garbage(error.to_string())))?;
        for update in decoder.decode(message).map_err(wire)?.updates {
            // What is missing was missing when it was saved, too.
            let _ = state.apply(update);
        }
    }
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Ok(Saved { state, at: at.ok_or_else(|| damaged("has an impossible time"))? })
}

/// Time, checksum and messages.
fn split(content: &[u8]) -> Option<(u64, &str, &[u8])> {
    let end = content.iter().take(256).position(|byte| *byte == b'\n')?;
    let (line, body) = content.split_at_checked(end)?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix(MAGIC)?.strip_prefix(' ')?;
    let (seconds, sum) = rest.split_once(' ')?;
    Some((seconds.parse().ok()?, sum, body.get(1..)?))
}

fn checksum(seconds: u64, body: &[u8]) -> String {
    let sum = Sha256::new().chain_update(seconds.to_be_bytes()).chain_update(body).finalize();
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_private(folder: &Path) -> Result<(), DiskError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Ok(()) => check_private(folder),
        Err(source) => Err(DiskError::Io { path: folder.to_owned(), source }),
    }
}

fn check_private(folder: &Path) -> Result<(), DiskError> {
    let path = || folder.to_owned();
    let found = fs::symlink_metadata(folder);
    let found = found.map_err(|source| DiskError::Io { path: path(), source })?;
    let refuse = |reason| Err(DiskError::NotPrivate { path: path(), reason });
    if !found.is_dir() {
        return refuse("is not a folder");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if found.mode() & 0o077 != 0 {
        return refuse("is open to others");
    }
    Ok(())
}
