//! The code that opens the console.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tortie_daemon::file::{self, ReplaceError};

/// Bytes that nobody can guess.
const BYTES: usize = 24;

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeError {
    /// The file cannot be read.
    #[error("--token-file: cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("--token-file: others may read `{}` (mode {mode:03o})\nhint: chmod 600, or delete it to \
             have a new one made", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no code.
    #[error("--token-file: `{}` holds no code of at least {} letters and digits\nhint: delete it to \
             have a new one made", path.display(), 2 * BYTES)]
    Weak {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("--token-file: {0}")]
    Write(#[from] ReplaceError),
    /// The system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// The code: that of the file, which is made if it is not there; or a new one.
pub(crate) fn code(path: Option<&Path>) -> Result<String, CodeError> {
    let Some(path) = path else { return new() };
    match fs::metadata(path) {
        Ok(metadata) => read(path, metadata.permissions().mode() & 0o777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let code = new()?;
            file::replace(path, format!("{code}\n").as_bytes(), 0o600)?;
            Ok(code)
        }
        Err(source) => Err(CodeError::Read { path: path.to_owned(), source }),
    }
}

fn read(path: &Path, mode: u32) -> Result<String, CodeError> {
    let path = || path.to_owned();
    if mode & 0o077 != 0 {
        return Err(CodeError::Exposed { path: path(), mode });
    }
    let text =
        fs::read_to_string(path()).map_err(|source| CodeError::Read { path: path(), source })?;
    let code = text.trim();
    let fine = code.len() >= 2 * BYTES && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fine { Ok(code.to_owned()) } else { Err(CodeError::Weak { path: path() }) }
}

fn new() -> Result<String, CodeError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_kept_in_its_file() {
        assert_ne!(new().unwrap(), new().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = code(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(code(Some(&path)).unwrap(), made);
        for wrong in ["", "short", &format!("{made}; x")] {
            fs::write(&path, wrong).unwrap();
            let error = code(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("holds no code"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = code(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("others may read") && error.contains("640"), "{error}");
        assert!(code(Some(&folder.path().join("none/token"))).is_err());
    }
}
