//! TLS: the server's own certificate authority, the certificates it signs, and connections that
//! know who is at the other end.

mod acceptor;
mod authority;
mod certificate;
mod pki;

pub use acceptor::{Acceptor, Source};
pub(crate) use acceptor::{read_files, read_roots};
pub(crate) use certificate::read_private;
pub use certificate::{Identity, Subject};
pub use pki::Pki;

use std::io;
use std::path::PathBuf;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may read a key.
    #[error("`{}`: mode {mode:04o} lets others read the key in it: take their rights away, or delete it and a new one is made", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("`{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key or certificate could not be made.
    #[error("certificate for `{subject}`: {reason}")]
    Make {
        /// Whose.
        subject: String,
        /// What the library said.
        reason: String,
    },
    /// The parts do not fit together.
    #[error("TLS: {0}")]
    Settings(String),
}

impl From<tortie_daemon::file::ReplaceError> for TlsError {
    fn from(error: tortie_daemon::file::ReplaceError) -> TlsError {
        TlsError::File { path: error.path, source: error.source }
    }
}
