//! Private files, replaced in one step.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Creates a directory only its owner may enter; one that exists is narrowed to that.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        }
        other => other,
    }
}

/// Writes `contents` beside nothing: to `staged` first, then renamed onto `path`.
///
/// Both must be on one file system. The file is never readable by others, not even for the moment
/// between creation and a change of mode, and a reader of `path` sees the old or the new contents.
pub(crate) fn replace_private(staged: &Path, path: &Path, contents: &str) -> io::Result<()> {
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged)?;
    let written = file.write_all(contents.as_bytes()).and_then(|()| file.sync_all());
    // A full disk must not leave half a key behind.
    written.and_then(|()| fs::rename(staged, path)).inspect_err(|_| {
        let _ = fs::remove_file(staged);
    })
}
