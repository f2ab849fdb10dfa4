//! The kinds that policy is calculated from.

use super::{ApiKind, Select, Wanted};

/// Calico's group, and where a cluster without Calico's API server has its resources.
const CALICO: (&str, &str) = ("projectcalico.org", "v3");
const INTERNAL: (&str, &str) = ("crd.projectcalico.org", "v1");

/// A kind that policy is calculated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Where it is on a server.
    pub api: ApiKind,
    /// Whether people write it to say what is allowed, unlike what the cluster writes all the time.
    pub written: bool,
    /// Whether Calico stores it.
    stored: bool,
}

impl Followed {
    /// What to ask a server for. Calico's resources are also taken from where Calico stores them, if
    /// the server has no `projectcalico.org/v3`: same kinds and same contents, and the names that
    /// they are stored under, which nothing else has.
    pub fn wanted(&self) -> Wanted {
        let kind = self.api.clone();
        let instead = self.stored.then(|| {
            let (group, version) = INTERNAL;
            ApiKind { group: group.to_owned(), version: version.to_owned(), ..kind.clone() }
        });
        Wanted { kind, namespace: None, select: Select::default(), instead }
    }
}

/// The kinds that policy is calculated from, but for kinds that stand for pods, which a cluster has
/// itself. Agents follow all of them.
pub fn followed() -> Vec<Followed> {
    let stored = |name, plural, namespaced| Followed {
        stored: true,
        ..written(CALICO, name, plural, namespaced)
    };
    let core = |name, plural, namespaced| written(("", "v1"), name, plural, namespaced);
    let cluster = |followed| Followed { written: false, ..followed };
    vec![
        stored("Tier", "tiers", false),
        stored("GlobalNetworkPolicy", "globalnetworkpolicies", false),
        stored("NetworkPolicy", "networkpolicies", true),
        stored("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", false),
        stored("StagedNetworkPolicy", "stagednetworkpolicies", true),
        stored("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", true),
        stored("GlobalNetworkSet", "globalnetworksets", false),
        stored("NetworkSet", "networksets", true),
        stored("HostEndpoint", "hostendpoints", false),
        // Made of namespaces and service accounts where Calico stores them, and never stored.
        written(CALICO, "Profile", "profiles", false),
        stored("FelixConfiguration", "felixconfigurations", false),
        stored("KubeControllersConfiguration", "kubecontrollersconfigurations", false),
        written(("networking.k8s.io", "v1"), "NetworkPolicy", "networkpolicies", true),
        written(
            ("policy.networking.k8s.io", "v1alpha2"),
            "ClusterNetworkPolicy",
            "clusternetworkpolicies",
            false,
        ),
        written(("tortie.dev", "v1"), "TortieConfiguration", "tortieconfigurations", false),
        core("Namespace", "namespaces", false),
        core("ServiceAccount", "serviceaccounts", true),
        cluster(core("Pod", "pods", true)),
        cluster(core("Node", "nodes", false)),
        cluster(core("Service", "services", true)),
        cluster(written(("discovery.k8s.io", "v1"), "EndpointSlice", "endpointslices", true)),
    ]
}

fn written((group, version): (&str, &str), kind: &str, plural: &str, namespaced: bool) -> Followed {
    let api = ApiKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
    };
    Followed { api, written: true, stored: false }
}
