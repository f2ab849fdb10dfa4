//! Files and directories for the owner alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Creates a directory only its owner may enter; one that exists is narrowed to that.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        }
        other => other,
    }
}

/// Replaces a file whole, readable by its owner alone; on failure says which file.
pub(crate) fn replace_private(path: &Path, contents: &str) -> Result<(), (PathBuf, io::Error)> {
    tortie_daemon::file::replace(path, contents.as_bytes(), 0o600)
        .map_err(|error| (error.path, error.source))
}
