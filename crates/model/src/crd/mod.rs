//! CustomResourceDefinitions, made from the types of this crate: what a Kubernetes API server needs
//! to serve the kinds that have no server of their own.
//!
//! The schema of a kind is that of its type, refined by what a server can check without knowing
//! what policy means: sizes, words, and rules in CEL. They refuse nothing that `tortie-policy`
//! accepts. It refuses more (a selector that does not parse, a CIDR with bits beyond its prefix),
//! so a cluster that must not take those in needs Tortie's admission beside the definitions.
//!
//! `deploy/crds/` holds them as files; a test compares them with these.

mod kubernetes;
mod policy;
mod schema;
mod settings;

use serde_json::{Value, json};

use crate::{
    ClusterInformation, ClusterNetworkPolicy, FelixConfiguration, GlobalNetworkPolicy,
    GlobalNetworkSet, HostEndpoint, NetworkPolicy, NetworkSet, Profile, StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier, TortieConfiguration,
};
use schema::Schema;

const CALICO: (&str, &str) = ("projectcalico.org", "v3");
const OWN: (&str, &str) = ("tortie.dev", "v1");
const KUBERNETES: (&str, &str) = ("policy.networking.k8s.io", "v1alpha2");

/// Groups below `k8s.io` are Kubernetes' own, and their definitions must say who approved them.
const APPROVAL: &str = "https://github.com/kubernetes-sigs/network-policy-api/pull/347";

/// How a column of `kubectl get` is called, its type, and where it is found.
type Column = (&'static str, &'static str, &'static str);

const TIER: Column = ("Tier", "string", ".spec.tier");
const ORDER: Column = ("Order", "number", ".spec.order");
const ACTION: Column = ("Staged", "string", ".spec.stagedAction");
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");

/// One kind, but for its schema.
struct Kind {
    api: (&'static str, &'static str),
    name: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    columns: &'static [Column],
    /// Fields by which lists may be asked for.
    selectable: &'static [&'static str],
}

impl Kind {
    const fn of(
        api: (&'static str, &'static str),
        name: &'static str,
        plural: &'static str,
    ) -> Self {
        Kind { api, name, plural, short: &[], namespaced: false, columns: &[AGE], selectable: &[] }
    }

    const fn calico(name: &'static str, plural: &'static str) -> Self {
        Kind::of(CALICO, name, plural)
    }

    const fn short(self, short: &'static [&'static str]) -> Self {
        Kind { short, ..self }
    }

    const fn namespaced(self) -> Self {
        Kind { namespaced: true, ..self }
    }

    const fn columns(self, columns: &'static [Column]) -> Self {
        Kind { columns, ..self }
    }

    const fn tiered(self) -> Self {
        Kind { selectable: &[".spec.tier"], ..self }
    }

    /// The definition, with a schema that `refine` has added constraints to.
    fn define<T: schemars::JsonSchema>(self, refine: fn(&mut Schema<'_>)) -> Value {
        let mut schema = schema::of::<T>();
        refine(&mut Schema::new(&mut schema));
        let status = schema.pointer("/properties/status").is_some();
        let (group, version) = self.api;
        let mut definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{group}", self.plural)},
            "spec": {
                "group": group,
                "names": {
                    "kind": self.name,
                    "listKind": format!("{}List", self.name),
                    "plural": self.plural,
                    "singular": self.name.to_lowercase(),
                },
                "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "versions": [{
                    "name": version,
                    "served": true,
                    "storage": true,
                    "additionalPrinterColumns": self.column_list(),
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        let mut put = |pointer: &str, key: &str, value: Value| {
            if let Some(Value::Object(place)) = definition.pointer_mut(pointer) {
                place.insert(key.to_owned(), value);
            }
        };
        if !self.short.is_empty() {
            put("/spec/names", "shortNames", json!(self.short));
        }
        if !self.selectable.is_empty() {
            let paths: Vec<Value> =
                self.selectable.iter().map(|p| json!({"jsonPath": p})).collect();
            put("/spec/versions/0", "selectableFields", paths.into());
        }
        if status {
            put("/spec/versions/0", "subresources", json!({"status": {}}));
        }
        if group.ends_with(".k8s.io") {
            put("/metadata", "annotations", json!({"api-approved.kubernetes.io": APPROVAL}));
        }
        definition
    }

    fn column_list(&self) -> Vec<Value> {
        let columns = self.columns.iter();
        columns
            .map(|(name, kind, path)| json!({"name": name, "type": kind, "jsonPath": path}))
            .collect()
    }
}

/// The definitions of all kinds, in the order of their names within each group.
///
/// WorkloadEndpoint has none: it is made from pods, and never written by people.
pub fn all() -> Vec<Value> {
    let mut all = policies();
    all.extend(others());
    all
}

/// The definitions of policies.
fn policies() -> Vec<Value> {
    const POLICY: &[Column] = &[TIER, ORDER, AGE];
    const STAGED: &[Column] = &[TIER, ORDER, ACTION, AGE];
    vec![
        Kind::calico("GlobalNetworkPolicy", "globalnetworkpolicies")
            .short(&["gnp", "cgnp"])
            .columns(POLICY)
            .tiered()
            .define::<GlobalNetworkPolicy>(policy::global),
        Kind::calico("NetworkPolicy", "networkpolicies")
            .short(&["cnp", "caliconetworkpolicy"])
            .namespaced()
            .columns(POLICY)
            .tiered()
            .define::<NetworkPolicy>(policy::namespaced),
        Kind::calico("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies")
            .short(&["sgnp"])
            .columns(STAGED)
            .tiered()
            .define::<StagedGlobalNetworkPolicy>(policy::staged_global),
        Kind::calico("StagedNetworkPolicy", "stagednetworkpolicies")
            .short(&["scnp", "snp"])
            .namespaced()
            .columns(STAGED)
            .tiered()
            .define::<StagedNetworkPolicy>(policy::staged_namespaced),
        Kind::calico("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies")
            .short(&["sknp"])
            .namespaced()
            .columns(&[ACTION, AGE])
            .define::<StagedKubernetesNetworkPolicy>(kubernetes::staged),
        Kind::of(KUBERNETES, "ClusterNetworkPolicy", "clusternetworkpolicies")
            .short(&["cnp"])
            .columns(&[TIER, ("Priority", "integer", ".spec.priority"), AGE])
            .define::<ClusterNetworkPolicy>(kubernetes::cluster),
    ]
}

/// The definitions of all else.
fn others() -> Vec<Value> {
    vec![
        Kind::calico("ClusterInformation", "clusterinformations")
            .columns(&[("Version", "string", ".spec.calicoVersion"), AGE])
            .define::<ClusterInformation>(settings::untouched),
        Kind::calico("FelixConfiguration", "felixconfigurations")
            .define::<FelixConfiguration>(settings::felix),
        Kind::calico("GlobalNetworkSet", "globalnetworksets")
            .define::<GlobalNetworkSet>(settings::network_set),
        Kind::calico("HostEndpoint", "hostendpoints")
            .short(&["hep", "heps"])
            .columns(&[
                ("Node", "string", ".spec.node"),
                ("Interface", "string", ".spec.interfaceName"),
                AGE,
            ])
            .define::<HostEndpoint>(settings::host_endpoint),
        Kind::calico("NetworkSet", "networksets")
            .namespaced()
            .define::<NetworkSet>(settings::network_set),
        Kind::calico("Profile", "profiles").define::<Profile>(policy::profile),
        Kind::calico("Tier", "tiers")
            .columns(&[
                ORDER,
                ("Default", "string", ".spec.defaultAction"),
                ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
                AGE,
            ])
            .define::<Tier>(settings::tier),
        Kind::of(OWN, "TortieConfiguration", "tortieconfigurations")
            .define::<TortieConfiguration>(settings::tortie),
    ]
}
