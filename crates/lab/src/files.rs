//! Small file operations with the guarantees the lab's readers rely on.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::error::At;

/// Creates a directory for the owner alone, with its parents.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).at("create", path)
}

/// Replaces a file as a whole: a reader, or a watcher of its directory, sees the old or the new
/// content and nothing between.
///
/// The name of the temporary file starts with a dot and ends in `.tmp`, so that whoever reads the
/// directory skips it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path).at("write", path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// As [`replace`], for a file that another user is to read and nobody else: it is written as
/// `staged`, which is on the same file system.
pub(crate) fn replace_for(
    owner: Option<u32>,
    staged: &Path,
    path: &Path,
    content: &[u8],
) -> Result<(), Error> {
    write_new(staged, content, 0o600)?;
    chown(staged, owner, owner).at("change", staged)?;
    fs::rename(staged, path).at("write", path)
}

/// Creates a directory for one user alone.
pub(crate) fn create_dir_for(owner: Option<u32>, path: &Path) -> Result<(), Error> {
    create_private_dir(path)?;
    chown(path, owner, owner).at("change", path)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .at("write", path)?;
    // The mode given to open is narrowed by the umask.
    file.set_permissions(Permissions::from_mode(mode)).at("write", path)?;
    file.write_all(content).at("write", path)
}

/// Replaces a file with a value as JSON, for the owner alone.
pub(crate) fn replace_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(value).map_err(std::io::Error::from).at("write", path)?;
    replace(path, &text, 0o600)
}

/// Reads a value written by [`replace_json`].
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).at("read", path)?;
    serde_json::from_slice(&text).map_err(std::io::Error::from).at("read", path)
}

/// Opens a log for appending: a log that is truncated while it is written must not grow a hole.
pub(crate) fn open_log(path: &Path) -> Result<File, Error> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).at("open", path)
}

/// The last lines of a file, at most `count`, of its last 64 KiB; nothing if it cannot be read.
pub(crate) fn tail(path: &Path, count: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const WINDOW: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = Vec::new();
        file.take(WINDOW).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines.iter().skip(from).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        replace(&path, b"1", 0o640).unwrap();
        replace(&path, b"2", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("no/x"), b"", 0o600).is_err());
    }

    #[test]
    fn tail_skips_blank_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "a\nb\n\nc\n\n").unwrap();
        assert_eq!(tail(&path, 2), ["b", "c"]);
        assert_eq!(tail(&path, 9), ["a", "b", "c"]);
        assert!(tail(&dir.path().join("none"), 2).is_empty());
    }
}
