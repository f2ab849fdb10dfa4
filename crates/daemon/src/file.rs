//! Replacing a file so that readers see the old or the new content, never a part.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Distinguishes concurrent writers within one process; the process id does the rest.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Why a file could not be replaced; the old content, if any, is still there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {source}", path.display())]
pub struct ReplaceError {
    /// The file to be written.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Writes `content` to `path` with permission bits `mode` (less the umask), atomically: a scratch
/// file beside it is written, synchronised and renamed.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), ReplaceError> {
    let fail = |source| ReplaceError { path: path.to_owned(), source };
    let scratch = scratch_name(path).ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
    let result = write_new(&scratch, content, mode).and_then(|()| fs::rename(&scratch, path));
    if result.is_err() {
        // Nothing to add to the first error if this fails too.
        let _ = fs::remove_file(&scratch);
    }
    result.map_err(fail)
}

fn scratch_name(path: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{count}.tmp", std::process::id()));
    Some(path.with_file_name(name))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        replace(&path, b"old", 0o600).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["key.pem"]);
    }

    #[test]
    fn names_the_file_when_it_fails_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        let error = replace(&folder.path().join("taken"), b"x", 0o644).unwrap_err().to_string();
        assert!(error.contains("taken`: "), "{error}");
        assert_eq!(names(folder.path()), ["taken"]);

        let error = replace(Path::new("/"), b"x", 0o644).unwrap_err().to_string();
        assert!(error.starts_with("cannot write `/`: "), "{error}");
    }
}
