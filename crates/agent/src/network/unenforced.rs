//! Workloads that policy cannot be enforced for: nothing of this is done without a word.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tortie_policy::EndpointId;

use super::places::Beyond;

/// Whether what bridges forward comes by the packet filter, of each family; absent where bridges
/// cannot do that.
const FILTERED: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

/// For so long a workload may seem to be on the host's own network: its interface may be yet to come,
/// or have gone before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether what bridges forward comes by the packet filter of this network namespace.
pub(super) fn filtered() -> bool {
    let is_on = |name: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys/net/bridge").join(name));
        text.is_ok_and(|text| text.trim() == "1")
    };
    FILTERED.into_iter().all(is_on)
}

/// Workloads that policy cannot be enforced for.
#[derive(Debug, Default)]
pub(super) struct Unenforced {
    /// Since when and why, and whether it has been said.
    known: BTreeMap<EndpointId, Known>,
}

#[derive(Debug)]
struct Known {
    why: Beyond,
    counts_from: Instant,
    told: bool,
}

impl Unenforced {
    /// Takes in which there are now.
    pub(super) fn update(&mut self, beyond: BTreeMap<EndpointId, Beyond>, now: Instant) {
        let mut before = std::mem::take(&mut self.known);
        for (id, why) in beyond {
            let known = before.remove(&id).filter(|known| known.why == why);
            let counts_from = match why {
                Beyond::Bridge(_) => now,
                Beyond::Network(_) => now + PATIENCE,
            };
            let known = known.unwrap_or(Known { why, counts_from, told: false });
            self.known.insert(id, known);
        }
    }

    /// When there will be more of them, if nothing changes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.known.values().filter(|known| !known.told).map(|known| known.counts_from).min()
    }

    /// How many there are; each is named in the log once.
    pub(super) fn tell(&mut self, now: Instant) -> usize {
        for (workload, known) in &mut self.known {
            if !known.told && known.counts_from <= now {
                known.told = true;
                let why = known.why.to_string();
                tracing::error!(%workload, why, hint = known.why.hint(), "policy is not enforced");
            }
        }
        self.known.values().filter(|known| known.told).count()
    }

    /// One of them, in words.
    pub(super) fn example(&self) -> String {
        let mut told = self.known.iter().filter(|(_, known)| known.told);
        told.next().map(|(id, known)| format!("`{id}`: {}", known.why)).unwrap_or_default()
    }
}

impl std::fmt::Display for Beyond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Beyond::Bridge(name) => {
                write!(f, "what it exchanges with others on the bridge `{name}` is not filtered")
            }
            Beyond::Network(name) => {
                write!(f, "it is on the network of the host's own interface `{name}`")
            }
        }
    }
}

impl Beyond {
    fn hint(&self) -> &'static str {
        match self {
            Beyond::Bridge(_) => {
                "load br_netfilter, and set net.bridge.bridge-nf-call-iptables and \
                 net.bridge.bridge-nf-call-ip6tables to 1; or choose --accept-unenforced"
            }
            Beyond::Network(_) => {
                "use a network plugin with an interface for each pod; or choose --accept-unenforced"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_be_on_his_way_is_given_time_and_others_are_not() {
        let id = |name: &str| EndpointId { namespace: "a".into(), name: name.into() };
        let bridge = || (id("b"), Beyond::Bridge("br0".into()));
        let network = || (id("n"), Beyond::Network("eth0".into()));
        let start = Instant::now();
        let later = start + PATIENCE;
        let mut unenforced = Unenforced::default();
        unenforced.update([bridge(), network()].into(), start);
        assert_eq!(unenforced.due(), Some(start));
        assert_eq!(unenforced.tell(start), 1);
        assert!(unenforced.example().contains("bridge `br0`"));
        unenforced.update([bridge(), network()].into(), later);
        assert_eq!((unenforced.due(), unenforced.tell(later)), (Some(later), 2));
        assert_eq!(unenforced.due(), None);
        unenforced.update([network()].into(), later);
        assert_eq!(unenforced.tell(later), 1);
        unenforced.update(BTreeMap::new(), later);
        assert_eq!((unenforced.tell(later), unenforced.example()), (0, String::new()));
    }
}
