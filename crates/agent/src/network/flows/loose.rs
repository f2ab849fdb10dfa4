//! Whether tracking takes up TCP connections in the middle.
//!
//! While connections are cut it must not. What the operator had chosen is kept in a file, named after
//! the network namespace it is about, so that it can be put back whoever ends the agent, and however.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The kernel's parameter, of the network namespace of who reads it.
const LOOSE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";
/// The network namespace of who reads it.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The parameter, and what it was before.
#[derive(Debug)]
pub(super) struct Loose {
    folder: PathBuf,
}

impl Loose {
    pub(super) fn new(folder: &Path) -> Loose {
        Loose { folder: folder.to_owned() }
    }

    /// Where the former value is kept.
    fn kept(&self) -> io::Result<PathBuf> {
        let number = fs::metadata(NAMESPACE)?.ino();
        Ok(self.folder.join(format!("nf_conntrack_tcp_loose.{number}")))
    }

    /// Switches it off.
    ///
    /// # Errors
    /// If the parameter cannot be read or written; or if it is off now, but its former value could not
    /// be kept.
    pub(super) fn off(&self) -> io::Result<()> {
        let before = fs::read_to_string(LOOSE)?;
        let kept = match before.trim() {
            // Off already: by us, who kept what was before, or by the operator.
            "0" => return Ok(()),
            _ => self.keep(&before),
        };
        fs::write(LOOSE, "0")?;
        kept
    }

    fn keep(&self, value: &str) -> io::Result<()> {
        let path = self.kept()?;
        fs::create_dir_all(&self.folder)?;
        let new = path.with_extension("new");
        fs::write(&new, value)?;
        fs::rename(new, path)
    }

    /// Puts back what was there before it was switched off; nothing if it was not.
    ///
    /// # Errors
    /// If the parameter cannot be written.
    pub(super) fn restore(&self) -> io::Result<()> {
        let path = self.kept()?;
        let before = match fs::read_to_string(&path) {
            Ok(before) => before,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        fs::write(LOOSE, before)?;
        fs::remove_file(path)
    }
}
