//! Checks on the paths given to Envoy, which trusts them blindly.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::{Admin, ConfigError, Proxy};

/// One less than the size of `sun_path`, which ends in a NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Checks the paths every proxy has.
pub(super) fn check_proxy(proxy: &Proxy) -> Result<(), ConfigError> {
    check_absolute("sds directory", &proxy.sds_dir)?;
    check_outside("access log", &proxy.access_log, &proxy.sds_dir)?;
    if let Some(dir) = &proxy.xds_dir {
        check_outside("discovery directory", dir, &proxy.sds_dir)?;
        check_outside("access log", &proxy.access_log, dir)?;
    }
    match &proxy.admin {
        Some(Admin::Socket(path)) => check_socket("admin socket", path, &proxy.sds_dir),
        Some(Admin::Loopback(_)) | None => Ok(()),
    }
}

/// Checks the path of a Unix socket.
pub(super) fn check_socket(
    what: &'static str,
    path: &Path,
    watched: &Path,
) -> Result<(), ConfigError> {
    check_outside(what, path, watched)?;
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
        return Err(ConfigError::SocketTooLong { what, path: path.to_owned() });
    }
    Ok(())
}

fn check_outside(what: &'static str, path: &Path, watched: &Path) -> Result<(), ConfigError> {
    check_absolute(what, path)?;
    if path.starts_with(watched) {
        let (path, watched) = (path.to_owned(), watched.to_owned());
        return Err(ConfigError::Watched { what, path, watched });
    }
    Ok(())
}

fn check_absolute(what: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.is_absolute() && !path.components().any(|part| part == Component::ParentDir) {
        Ok(())
    } else {
        Err(ConfigError::NotAbsolute { what, path: path.to_owned() })
    }
}
