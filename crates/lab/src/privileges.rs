//! With which privileges a process of the lab runs: none beyond its user id, but for Envoy's mark and
//! what the agent does to the node's network and sees of who connects to it.

use serde::{Deserialize, Serialize};

/// The user a sidecar's processes run as, as in Istio.
pub(crate) const SIDECAR_USER: u32 = 1337;

/// Who a process is and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Privileges {
    /// User and group; the lab's own if absent.
    pub(crate) user: Option<u32>,
    /// Whether it may mark its sockets (which takes all of `CAP_NET_ADMIN`, for the pod's network).
    pub(crate) network: bool,
    /// Whether it may see in which namespaces other users' processes are (`CAP_SYS_PTRACE`), and
    /// packets of the node (`CAP_NET_RAW`).
    #[serde(default)]
    pub(crate) inspection: bool,
}

impl Privileges {
    /// Those of an application.
    pub(crate) const APPLICATION: Self = Self { user: None, network: false, inspection: false };
    /// Those of the node's agent.
    pub(crate) const AGENT: Self = Self { user: None, network: true, inspection: true };

    /// Those of a part of a sidecar. Without root there is no second user id to be had.
    pub(crate) fn sidecar(rootless: bool, network: bool) -> Self {
        Self { user: (!rootless).then_some(SIDECAR_USER), network, inspection: false }
    }

    /// The words before a command that give it these privileges and keep it from gaining more.
    /// `setpriv` is the program's path: the command's own PATH may not lead to it.
    pub(crate) fn words(self, setpriv: &str) -> Vec<String> {
        let mut keep = "-all".to_owned();
        let capabilities =
            [(self.network, ",+net_admin"), (self.inspection, ",+sys_ptrace,+net_raw")];
        capabilities.iter().filter(|(kept, _)| *kept).for_each(|(_, name)| keep.push_str(name));
        let mut words = vec![setpriv.to_owned()];
        if let Some(user) = self.user {
            words.extend([format!("--reuid={user}"), format!("--regid={user}")]);
            words.push("--clear-groups".to_owned());
        }
        for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
            words.push(format!("{set}={keep}"));
        }
        words.extend(["--no-new-privs".to_owned(), "--".to_owned()]);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_as_words() {
        assert_eq!(
            Privileges::APPLICATION.words("setpriv").join(" "),
            "setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs --"
        );
        let envoy = Privileges::sidecar(false, true).words("setpriv").join(" ");
        assert!(envoy.starts_with("setpriv --reuid=1337 --regid=1337 --clear-groups "), "{envoy}");
        assert!(envoy.contains("--ambient-caps=-all,+net_admin"), "{envoy}");
        assert_eq!(Privileges::sidecar(true, false), Privileges::APPLICATION);
    }
}
