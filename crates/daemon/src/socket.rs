//! Unix sockets that neither steal a living server's name nor leave a file behind.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why a socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A server answers there.
    #[error("cannot listen on `{}`: already in use by a running server", .0.display())]
    InUse(PathBuf),
    /// Something else lies there; it is never removed.
    #[error("cannot listen on `{}`: a file that is not a socket is in the way", .0.display())]
    NotASocket(PathBuf),
    /// The folder is missing.
    #[error("cannot listen on `{}`: its folder does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The system refused.
    #[error("cannot listen on `{}`: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The file of a bound socket; removed on drop, unless another file has taken its name.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    fn is_ours(&self, found: &Metadata) -> bool {
        found.dev() == self.device && found.ino() == self.inode
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is_ours(&found)) {
            // At worst a stale file stays, which the next bind removes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path` with permission bits `mode`. A socket file that nothing answers on is a
/// leftover and is replaced. Must be called within a tokio runtime.
///
/// Two programs that start at once cannot both take the name: the check and the bind happen under
/// an advisory lock on the folder.
pub fn bind(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let fail = |source| BindError::Io { path: path.to_owned(), source };
    let _lock = lock_folder(path)?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(fail)?;
    let file = SocketFile::of(path).map_err(fail)?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(fail)?;
    Ok((listener, file))
}

/// The lock lasts as long as the returned file is open.
fn lock_folder(path: &Path) -> Result<File, BindError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let locked = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => BindError::NoFolder(path.to_owned()),
        _ => BindError::Io { path: path.to_owned(), source },
    })
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let fail = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binding needs a reactor; nothing here ever waits.
    fn in_runtime(test: impl FnOnce(&Path)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let folder = tempfile::tempdir().unwrap();
        test(folder.path());
    }

    #[test]
    fn binds_with_the_mode_and_cleans_up() {
        in_runtime(|folder| {
            let path = folder.join("s.sock");
            let (listener, file) = bind(&path, 0o660).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
            UnixStream::connect(&path).unwrap();
            drop((listener, file));
            assert!(!path.exists());
        });
    }

    #[test]
    fn refuses_a_living_server() {
        in_runtime(|folder| {
            let path = folder.join("s.sock");
            let _first = bind(&path, 0o600).unwrap();
            let error = bind(&path, 0o600).unwrap_err();
            assert!(error.to_string().contains("already in use"), "{error}");
            UnixStream::connect(&path).unwrap();
        });
    }

    #[test]
    fn replaces_a_leftover() {
        in_runtime(|folder| {
            let path = folder.join("s.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            let _bound = bind(&path, 0o600).unwrap();
            UnixStream::connect(&path).unwrap();
        });
    }

    #[test]
    fn never_removes_anything_else() {
        in_runtime(|folder| {
            let file = folder.join("file");
            fs::write(&file, "precious").unwrap();
            let link = folder.join("link");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            for path in [&file, &link, &folder.join("."), &PathBuf::from("/")] {
                let error = bind(path, 0o600).unwrap_err();
                assert!(error.to_string().contains("not a socket"), "{error}");
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        });
    }

    #[test]
    fn leaves_a_successors_file_alone() {
        in_runtime(|folder| {
            let path = folder.join("s.sock");
            let (listener, file) = bind(&path, 0o600).unwrap();
            fs::remove_file(&path).unwrap();
            let _second = bind(&path, 0o600).unwrap();
            drop((listener, file));
            UnixStream::connect(&path).unwrap();
        });
    }

    #[test]
    fn names_the_reason() {
        in_runtime(|folder| {
            let error = bind(&folder.join("missing/s.sock"), 0o600).unwrap_err();
            assert!(error.to_string().contains("its folder does not exist"), "{error}");
            let error = bind(&folder.join("x".repeat(120)), 0o600).unwrap_err();
            assert!(matches!(error, BindError::Io { .. }), "{error}");
        });
    }
}
