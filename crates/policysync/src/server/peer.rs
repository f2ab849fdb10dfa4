//! Whether the process at the other end of a socket is of the workload whose socket it is.
//!
//! A process may end, and another get its number, between connecting and the check; it takes a
//! process of the right pod to connect in the first place where the socket's permissions keep others
//! away, so this is a second lock, not the only one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::layout::Credentials;

/// Who connected, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Number of the process; none if it is not visible from here.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Decides whether a process may have the policy of a workload.
pub trait PeerCheck: Send + Sync + 'static {
    /// Nothing, or the reason why it may not.
    ///
    /// # Errors
    /// The reason, in words.
    fn check(&self, credentials: &Credentials, peer: &Peer) -> Result<(), String>;
}

/// Anybody may who can open the socket, as in Calico.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

impl PeerCheck for Anybody {
    fn check(&self, _: &Credentials, _: &Peer) -> Result<(), String> {
        Ok(())
    }
}

/// The process must be in the workload's network namespace if the credentials name it, and else in a
/// control group of its pod.
#[derive(Debug, Clone, Copy)]
pub struct OwnPod;

impl PeerCheck for OwnPod {
    fn check(&self, credentials: &Credentials, peer: &Peer) -> Result<(), String> {
        let pid = peer.pid.filter(|pid| *pid > 0);
        let pid = pid.ok_or("its process cannot be seen from here")?;
        if !credentials.network_namespace.is_empty() {
            return same_namespace(pid, Path::new(&credentials.network_namespace));
        }
        if credentials.uid.is_empty() {
            return Err("nobody said what the pod's processes have in common".to_owned());
        }
        let path = format!("/proc/{pid}/cgroup");
        let groups = fs::read_to_string(&path).map_err(|error| format!("`{path}`: {error}"))?;
        if is_of_pod(&groups, &credentials.uid) {
            Ok(())
        } else {
            Err(format!("process {pid} is in no control group of pod `{}`", credentials.uid))
        }
    }
}

fn same_namespace(pid: i32, namespace: &Path) -> Result<(), String> {
    let identity = |path: &Path| {
        let found = fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok::<_, String>((found.dev(), found.ino()))
    };
    let theirs = identity(Path::new(&format!("/proc/{pid}/ns/net")))?;
    if theirs == identity(namespace)? {
        Ok(())
    } else {
        Err(format!("process {pid} is in another network namespace"))
    }
}

/// Whether one of a process's control groups is a pod's: `pod<uid>` as a part of its path, of which
/// systemd writes `-` as `_` and appends `.slice`.
fn is_of_pod(groups: &str, uid: &str) -> bool {
    let escaped = uid.replace('-', "_");
    let is = |part: &str| {
        let part = part.strip_suffix(".slice").unwrap_or(part);
        let name = part.rsplit('-').next().unwrap_or(part);
        part == format!("pod{uid}") || name == format!("pod{escaped}")
    };
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.split('/').any(is))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_pods() {
        const UID: &str = "0a1b-2c";
        for (groups, expected) in [
            ("0::/kubepods/besteffort/pod0a1b-2c/abc\n", true),
            (
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b_2c.slice/x",
                true,
            ),
            ("5:cpu:/a\n1:name=systemd:/kubepods/pod0a1b-2c/c", true),
            ("0::/kubepods/pod0a1b-2cd/abc", false),
            ("0::/kubepods/xpod0a1b-2c/abc", false),
            ("0::/user.slice/pod0a1b-2c.scope", false),
            ("0::/", false),
            ("", false),
        ] {
            assert_eq!(is_of_pod(groups, UID), expected, "{groups}");
        }
    }

    #[test]
    fn our_own_namespace() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let peer = |pid| Peer { pid, uid: 0, gid: 0 };
        let own =
            Credentials { network_namespace: "/proc/self/ns/net".into(), ..Default::default() };
        assert_eq!(OwnPod.check(&own, &peer(Some(pid))), Ok(()));
        let other = Credentials { network_namespace: "/proc/self/ns/mnt".into(), ..own.clone() };
        assert!(OwnPod.check(&other, &peer(Some(pid))).is_err());
        for pid in [None, Some(0), Some(-1)] {
            assert!(OwnPod.check(&own, &peer(pid)).is_err());
        }
        assert!(OwnPod.check(&Credentials::default(), &peer(Some(pid))).is_err());
        let uid = Credentials { uid: "no-such-pod".into(), ..Default::default() };
        assert!(OwnPod.check(&uid, &peer(Some(pid))).is_err());
    }
}
