//! A container's root: an empty file system into which only chosen parts of the machine are let.
//!
//! A process in it sees the machine's programs and libraries read-only, and nothing of its
//! configuration, its users' files, other pods, or the lab itself.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount,
};

use super::sandbox::{Bind, Sandbox};
use crate::Error;
use crate::error::At;

/// Top-level directories of programs and libraries; on most machines symlinks into `/usr`.
const SYSTEM: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Parts of `/etc` that programs need and that tell nothing about the machine.
const ETC: [&str; 12] = [
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Small files of `/etc` made anew.
const ETC_FILES: [(&str, &str); 4] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         istio-proxy:x:1337:1337::/:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    // A name in the hosts file may have several addresses, of both families.
    ("host.conf", "multi on\n"),
];

/// Devices a program may expect.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Parts of `/proc` that act on the machine and not on the container.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Parts of `/proc` that tell about the machine.
const PROC_HIDDEN: [&str; 6] =
    ["kcore", "keys", "key-users", "latency_stats", "sched_debug", "timer_list"];

/// Most a container may write into its own root, as mount option.
const LIMIT: &std::ffi::CStr = c"size=256m,mode=0755";

/// Builds the root of a sandbox and moves this process into it. The caller is alone in its mount
/// and pid namespaces.
pub(crate) fn enter(sandbox: &Sandbox) -> Result<(), Error> {
    let root = Root(&sandbox.scratch);
    // Nothing is made outside of the new file system, not even the directory it is mounted on: a
    // lab that ends this very moment has removed that, and it must stay removed.
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", root.0, "tmpfs", flags, LIMIT).at("mount", root.0)?;
    root.system()?;
    root.etc()?;
    root.proc()?;
    root.dev()?;
    for (path, mode) in [
        ("/tmp", 0o1777),
        ("/run", 0o755),
        ("/var/tmp", 0o1777),
        ("/var/lib", 0o755),
        ("/root", 0o700),
    ] {
        root.directory(path, mode)?;
    }
    for (path, content) in &sandbox.files {
        root.file(path, content)?;
    }
    for (path, target) in &sandbox.links {
        root.link(target, path)?;
    }
    for bind in &sandbox.binds {
        root.bind(bind)?;
    }
    root.pivot()
}

/// The new root while it is built.
struct Root<'a>(&'a Path);

impl Root<'_> {
    /// A path of the new root, as seen from the old one.
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn directory(&self, path: &str, mode: u32) -> Result<PathBuf, Error> {
        let path = self.at(path);
        fs::create_dir_all(&path).at("create", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("change", &path)?;
        Ok(path)
    }

    fn parent(&self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().unwrap_or(self.0);
        fs::create_dir_all(parent).at("create", parent)
    }

    fn file(&self, path: &str, content: &str) -> Result<(), Error> {
        let path = self.at(path);
        self.parent(&path)?;
        fs::write(&path, content).at("write", &path)
    }

    fn link(&self, target: impl AsRef<Path>, path: &str) -> Result<(), Error> {
        let path = self.at(path);
        symlink(target, &path).at("create", &path)
    }

    fn mount(
        &self,
        kind: &str,
        path: &str,
        flags: MountFlags,
        options: &std::ffi::CStr,
    ) -> Result<(), Error> {
        let path = self.at(path);
        fs::create_dir_all(&path).at("create", &path)?;
        mount(kind, &path, kind, flags, options).at("mount", &path)
    }

    fn system(&self) -> Result<(), Error> {
        self.bind(&Bind::read_only("/usr", "/usr"))?;
        for name in SYSTEM {
            let own = Path::new("/").join(name);
            match fs::symlink_metadata(&own) {
                Ok(found) if found.is_symlink() => {
                    self.link(fs::read_link(&own).at("read", &own)?, name)?;
                }
                Ok(_) => self.bind(&Bind::read_only(&own, name))?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn etc(&self) -> Result<(), Error> {
        for (name, content) in ETC_FILES {
            self.file(&format!("/etc/{name}"), content)?;
        }
        let mut present =
            ETC.iter().map(|name| format!("/etc/{name}")).filter(|p| Path::new(p).exists());
        present.try_for_each(|path| self.bind(&Bind::read_only(&path, path.clone())))
    }

    fn proc(&self) -> Result<(), Error> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        self.mount("proc", "/proc", flags, c"")?;
        for name in PROC_READ_ONLY {
            let path = self.at(&format!("/proc/{name}"));
            if path.exists() {
                mount_bind(&path, &path).at("mount", &path)?;
                read_only(&path)?;
            }
        }
        let hidden = PROC_HIDDEN.iter().map(|name| self.at(&format!("/proc/{name}")));
        hidden
            .filter(|path| path.exists())
            .try_for_each(|path| mount_bind("/dev/null", &path).at("mount", &path))
    }

    fn dev(&self) -> Result<(), Error> {
        for name in DEVICES {
            let path = format!("/dev/{name}");
            self.bind(&Bind::writable(&path, path.clone()))?;
        }
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount("devpts", "/dev/pts", flags, c"newinstance,ptmxmode=0666,mode=0620")?;
        self.directory("/dev/shm", 0o1777)?;
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.link(target, &format!("/dev/{name}"))?;
        }
        Ok(())
    }

    fn bind(&self, bind: &Bind) -> Result<(), Error> {
        let target = self.at(&bind.target);
        if bind.source.is_dir() {
            fs::create_dir_all(&target).at("create", &target)?;
        } else {
            self.parent(&target)?;
            fs::File::create(&target).at("create", &target)?;
        }
        mount_bind_recursive(&bind.source, &target).at("bind", &bind.source)?;
        if bind.writable { Ok(()) } else { read_only_tree(&target) }
    }

    /// Makes it the root, and lets go of the old one.
    fn pivot(&self) -> Result<(), Error> {
        std::env::set_current_dir(self.0).at("enter", self.0)?;
        // Stacks the old root on the new one, where it is taken away again.
        rustix::process::pivot_root(".", ".").at("enter", self.0)?;
        unmount(".", UnmountFlags::DETACH).at("unmount", "/")?;
        std::env::set_current_dir("/").at("enter", "/")
    }
}

/// Makes a mount read-only, and every mount below it.
fn read_only_tree(path: &Path) -> Result<(), Error> {
    read_only(path)?;
    let text = fs::read_to_string("/proc/self/mountinfo").at("read", "/proc/self/mountinfo")?;
    mount_points(&text)
        .filter(|point| point != path && point.starts_with(path))
        .try_for_each(|point| read_only(&point))
}

/// The mount points of a mountinfo file, which writes odd characters in octal.
fn mount_points(text: &str) -> impl Iterator<Item = PathBuf> {
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| {
        let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        plain.iter().fold(point.to_owned(), |text, (code, c)| text.replace(code, c)).into()
    })
}

/// A mount keeps the restrictions it has: without root they may not be lifted.
fn read_only(path: &Path) -> Result<(), Error> {
    let has = statvfs(path).at("inspect", path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (present, keep) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(present) {
            flags |= keep;
        }
    }
    mount_remount(path, flags, c"").at("protect", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_odd_names() {
        let text =
            "22 1 8:1 / /a\\040b rw - ext4 /dev/sda rw\n23 22 0:5 / /a\\040b/c rw - tmpfs t rw\n";
        let points: Vec<_> = mount_points(text).collect();
        assert_eq!(points, [Path::new("/a b"), Path::new("/a b/c")]);
    }
}
