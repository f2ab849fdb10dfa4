//! Calico's kinds as calicoctl knows them: what they may be called, and the columns of their tables.

use serde_json::Value;

use crate::show::jsonpath::shown;
use crate::show::table::Grid;

/// One kind.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its name.
    pub(crate) kind: &'static str,
    /// What it may be called, in lower case; the first is the plural of the API.
    pub(crate) names: &'static [&'static str],
    /// Whether it belongs to a namespace.
    pub(crate) namespaced: bool,
    /// Headings, and of `-o wide`.
    normal: &'static [&'static str],
    wide: &'static [&'static str],
    /// Where the values of headings are, besides those that every kind has.
    cells: &'static [(&'static str, &'static str)],
}

const POLICY_CELLS: &[(&str, &str)] =
    &[("TIER", "/spec/tier"), ("ORDER", "/spec/order"), ("SELECTOR", "/spec/selector")];
const POLICY: &[&str] = &["NAME", "TIER"];
const POLICY_WIDE: &[&str] = &["NAME", "TIER", "ORDER", "SELECTOR"];
const NAME: &[&str] = &["NAME"];

const fn simple(kind: &'static str, names: &'static [&'static str]) -> Known {
    Known { kind, names, namespaced: false, normal: NAME, wide: NAME, cells: &[] }
}

const fn policy(kind: &'static str, names: &'static [&'static str], namespaced: bool) -> Known {
    Known { kind, names, namespaced, normal: POLICY, wide: POLICY_WIDE, cells: POLICY_CELLS }
}

/// The kinds.
pub(crate) const KNOWN: &[Known] = &[
    policy("GlobalNetworkPolicy", &["globalnetworkpolicies", "gnp", "gnps"], false),
    policy("NetworkPolicy", &["networkpolicies", "policy", "np", "policies", "pol", "pols"], true),
    policy("StagedGlobalNetworkPolicy", &["stagedglobalnetworkpolicies", "sgnp", "sgnps"], false),
    policy(
        "StagedNetworkPolicy",
        &[
            "stagednetworkpolicies",
            "stagedpolicy",
            "snp",
            "snps",
            "stagedpolicies",
            "spol",
            "spols",
        ],
        true,
    ),
    Known {
        wide: &["NAME", "PODSELECTOR"],
        cells: &[("PODSELECTOR", "/spec/podSelector")],
        namespaced: true,
        ..simple(
            "StagedKubernetesNetworkPolicy",
            &[
                "stagedkubernetesnetworkpolicies",
                "stagedkubernetespolicy",
                "sknp",
                "stagedkubernetespolicies",
                "skpol",
                "skpols",
            ],
        )
    },
    Known {
        normal: &["NAME", "ORDER"],
        wide: &["NAME", "ORDER"],
        cells: POLICY_CELLS,
        ..simple("Tier", &["tiers"])
    },
    Known {
        wide: &["NAME", "NETS"],
        cells: &[("NETS", "/spec/nets")],
        ..simple("GlobalNetworkSet", &["globalnetworksets", "gnetsets"])
    },
    Known {
        wide: &["NAME", "NETS"],
        cells: &[("NETS", "/spec/nets")],
        namespaced: true,
        ..simple("NetworkSet", &["networksets", "netsets"])
    },
    Known {
        normal: &["NAME", "NODE"],
        wide: &["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"],
        cells: &[
            ("NODE", "/spec/node"),
            ("INTERFACE", "/spec/interfaceName"),
            ("IPS", "/spec/expectedIPs"),
            ("PROFILES", "/spec/profiles"),
        ],
        ..simple("HostEndpoint", &["hostendpoints", "hep", "heps"])
    },
    Known {
        normal: &["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
        wide: &["NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"],
        cells: &[
            ("WORKLOAD", "/spec/workload"),
            ("WORKLOAD", "/spec/pod"),
            ("NODE", "/spec/node"),
            ("NETWORKS", "/spec/ipNetworks"),
            ("INTERFACE", "/spec/interfaceName"),
            ("PROFILES", "/spec/profiles"),
            ("NATS", "/spec/ipNATs"),
            ("ORCHESTRATOR", "/spec/orchestrator"),
        ],
        namespaced: true,
        ..simple("WorkloadEndpoint", &["workloadendpoints", "wep", "weps"])
    },
    Known {
        wide: &["NAME", "LABELS"],
        cells: &[("LABELS", "/spec/labelsToApply")],
        ..simple("Profile", &["profiles", "pro", "pros"])
    },
    simple("FelixConfiguration", &["felixconfigurations", "felixconfig", "felixconfigs"]),
    simple("ClusterInformation", &["clusterinformations", "clusterinfo", "clusterinfos"]),
    simple(
        "KubeControllersConfiguration",
        &["kubecontrollersconfigurations", "kubecontrollersconfig", "kcc"],
    ),
    simple("Node", &["nodes", "no", "nos"]),
    simple("BGPConfiguration", &["bgpconfigurations", "bgpconfig", "bgpconfigs"]),
    simple("BGPFilter", &["bgpfilters"]),
    simple("BGPPeer", &["bgppeers", "bgpp", "bgpps", "bp", "bps"]),
    simple("CalicoNodeStatus", &["caliconodestatuses"]),
    simple("IPAMConfiguration", &["ipamconfigurations", "ipamconfig", "ipamconfigs"]),
    Known {
        normal: &["NAME", "CIDR", "SELECTOR"],
        wide: &["NAME", "CIDR", "NAT", "IPIPMODE", "VXLANMODE", "DISABLED", "SELECTOR"],
        cells: &[
            ("CIDR", "/spec/cidr"),
            ("NAT", "/spec/natOutgoing"),
            ("IPIPMODE", "/spec/ipipMode"),
            ("VXLANMODE", "/spec/vxlanMode"),
            ("DISABLED", "/spec/disabled"),
            ("SELECTOR", "/spec/nodeSelector"),
        ],
        ..simple("IPPool", &["ippools", "ipp", "ipps", "pool", "pools"])
    },
    simple("IPReservation", &["ipreservations", "ipres"]),
];

/// The kind of a name: its own, its plural or a short one, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Known> {
    let same = |known: &&str| known.eq_ignore_ascii_case(name);
    KNOWN.iter().find(|known| same(&known.kind) || known.names.iter().any(same))
}

/// The most characters of a cell that shows a list of nets.
const LONGEST: usize = 80;

impl Known {
    /// The plural that the API knows.
    pub(crate) fn plural(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The headings of a table, before the namespace.
    pub(crate) fn headings(&self, wide: bool) -> Vec<String> {
        let headings = if wide { self.wide } else { self.normal };
        headings.iter().copied().map(str::to_owned).collect()
    }

    /// The first heading that this kind does not have, if any.
    pub(crate) fn unknown_heading<'h>(&self, headings: &'h [String]) -> Option<&'h String> {
        let known = |heading: &String| {
            matches!(heading.as_str(), "NAME" | "NAMESPACE")
                || self.cells.iter().any(|(known, _)| known == heading)
        };
        headings.iter().find(|heading| !known(heading))
    }

    /// A table of objects.
    pub(crate) fn grid(&self, headings: Vec<String>, objects: &[Value]) -> Grid {
        let row = |object| headings.iter().map(|heading| self.cell(heading, object)).collect();
        let rows = objects.iter().map(row).collect();
        Grid { headings, rows }
    }

    fn cell(&self, heading: &str, object: &Value) -> String {
        let at =
            |pointer: &str| object.pointer(pointer).map(joined).filter(|text| !text.is_empty());
        match heading {
            "NAME" => at("/metadata/name").unwrap_or_default(),
            "NAMESPACE" => at("/metadata/namespace").unwrap_or_default(),
            "ORDER" => at("/spec/order").unwrap_or_else(|| "<nil>".into()),
            // That of a policy which names none.
            "TIER" => at("/spec/tier").unwrap_or_else(|| "default".into()),
            heading => {
                let cells = self.cells.iter().filter(|(known, _)| *known == heading);
                let text = cells.filter_map(|(_, pointer)| at(pointer)).next().unwrap_or_default();
                if heading == "NETS" { shortened(&text) } else { text }
            }
        }
    }
}

/// A value in one cell: the elements of a list, or the pairs of a map, with commas.
fn joined(value: &Value) -> String {
    let parts: Vec<String> = match value {
        Value::Array(list) => list.iter().map(shown).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| format!("{k}={}", shown(v))).collect(),
        plain => return shown(plain),
    };
    parts.join(",")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_of_one_kind_each() {
        let mut seen = BTreeSet::new();
        for known in KNOWN {
            for name in known.names.iter().copied().chain([&*known.kind.to_lowercase()]) {
                assert!(seen.insert(name.to_owned()), "{name}");
                assert_eq!(find(&name.to_uppercase()).map(|k| k.kind), Some(known.kind));
            }
            for wide in [false, true] {
                assert_eq!(known.unknown_heading(&known.headings(wide)), None, "{}", known.kind);
            }
        }
        assert_eq!(find("networkPolicy").map(Known::plural), Some("networkpolicies"));
        assert!(find("pod").is_none());
    }

    #[test]
    fn tables_have_calicos_columns() {
        let policy =
            json!({"metadata": {"name": "a"}, "spec": {"tier": "default", "selector": "all()"}});
        let known = find("gnp").unwrap();
        let grid = known.grid(known.headings(true), &[policy]);
        assert_eq!(grid.rows, [["a", "default", "<nil>", "all()"]]);
        let nets: Vec<String> = (0..9).map(|n| format!("192.0.2.{n}/32")).collect();
        let set = json!({"metadata": {"name": "s"}, "spec": {"nets": nets}});
        let known = find("gnetsets").unwrap();
        let grid = known.grid(known.headings(true), &[set]);
        assert!(grid.rows[0][1].len() == 80 && grid.rows[0][1].ends_with("..."), "{grid:?}");
        assert_eq!(
            known.unknown_heading(&["NAME".into(), "TIER".into()]),
            Some(&"TIER".to_owned())
        );
    }
}
