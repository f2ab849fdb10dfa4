//! The kinds that are there without being defined: Kubernetes' own, and those of Calico that
//! `tortie-model` passes over.

use smol_str::SmolStr;
use tortie_store::Resource;

use super::cells::{self, Compute};
use super::{Cell, Column, Kind, Verbs};

/// How a cell of the table is found.
#[derive(Clone, Copy)]
enum Found {
    Path(&'static str),
    Of(Compute),
}

use Found::{Of, Path};

/// Name, type and cell of a column. A name that begins with `+` is shown by `-o wide` only.
type Col = (&'static str, &'static str, Found);

const AGE: Col = ("Age", "date", Path(".metadata.creationTimestamp"));

/// One row of the table of kinds.
struct Row {
    api: (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    /// Whether `kubectl get all` shows it.
    all: bool,
    status: bool,
    scale: bool,
    verbs: Verbs,
    columns: &'static [Col],
    selectable: &'static [&'static str],
}

const fn row(
    api: (&'static str, &'static str),
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Row {
    Row {
        api,
        kind,
        plural,
        short,
        namespaced: true,
        all: false,
        status: false,
        scale: false,
        verbs: Verbs::All,
        columns: &[AGE],
        selectable: &[],
    }
}

impl Row {
    const fn cluster(self) -> Row {
        Row { namespaced: false, ..self }
    }

    const fn all(self) -> Row {
        Row { all: true, ..self }
    }

    const fn status(self) -> Row {
        Row { status: true, ..self }
    }

    const fn scale(self) -> Row {
        Row { scale: true, ..self }
    }

    const fn columns(self, columns: &'static [Col]) -> Row {
        Row { columns, ..self }
    }

    const fn selectable(self, selectable: &'static [&'static str]) -> Row {
        Row { selectable, ..self }
    }

    const fn question(self) -> Row {
        Row { verbs: Verbs::Create, columns: &[], ..self }
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const NETWORKING: (&str, &str) = ("networking.k8s.io", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");
const AUTHORIZATION: (&str, &str) = ("authorization.k8s.io", "v1");
const CALICO: (&str, &str) = ("projectcalico.org", "v3");

const POD: &[Col] = &[
    ("Ready", "string", Of(cells::pod_ready)),
    ("Status", "string", Of(cells::pod_status)),
    ("Restarts", "string", Of(cells::pod_restarts)),
    AGE,
    ("+IP", "string", Path(".status.podIP")),
    ("+Node", "string", Path(".spec.nodeName")),
    ("+Nominated Node", "string", Path(".status.nominatedNodeName")),
    ("+Readiness Gates", "string", Path(".spec.readinessGates")),
];
const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const SERVICE: &[Col] = &[
    ("Type", "string", Path(".spec.type")),
    ("Cluster-IP", "string", Path(".spec.clusterIP")),
    ("External-IP", "string", Of(cells::service_external)),
    ("Port(s)", "string", Of(cells::service_ports)),
    AGE,
    ("+Selector", "string", Of(cells::service_selector)),
];
const NODE: &[Col] = &[
    ("Status", "string", Of(cells::node_status)),
    ("Roles", "string", Of(cells::node_roles)),
    AGE,
    ("Version", "string", Path(".status.nodeInfo.kubeletVersion")),
    ("+Internal-IP", "string", Path(".status.addresses[?(@.type==\"InternalIP\")].address")),
    ("+OS-Image", "string", Path(".status.nodeInfo.osImage")),
    ("+Kernel-Version", "string", Path(".status.nodeInfo.kernelVersion")),
];
const DEPLOYMENT: &[Col] = &[
    ("Ready", "string", Of(cells::replicas_ready)),
    ("Up-to-date", "integer", Of(cells::updated)),
    ("Available", "integer", Of(cells::available)),
    AGE,
    ("+Containers", "string", Of(cells::template_containers)),
    ("+Images", "string", Of(cells::template_images)),
    ("+Selector", "string", Of(cells::workload_selector)),
];
const REPLICA_SET: &[Col] = &[
    ("Desired", "integer", Path(".spec.replicas")),
    ("Current", "integer", Of(cells::current)),
    ("Ready", "integer", Of(cells::ready)),
    AGE,
    ("+Containers", "string", Of(cells::template_containers)),
    ("+Images", "string", Of(cells::template_images)),
    ("+Selector", "string", Of(cells::workload_selector)),
];
const DAEMON_SET: &[Col] = &[
    ("Desired", "integer", Of(cells::scheduled)),
    ("Current", "integer", Of(cells::placed)),
    ("Ready", "integer", Of(cells::ready_of_nodes)),
    AGE,
    ("+Containers", "string", Of(cells::template_containers)),
    ("+Images", "string", Of(cells::template_images)),
    ("+Selector", "string", Of(cells::workload_selector)),
];
const JOB: &[Col] = &[
    ("Status", "string", Of(cells::job_status)),
    ("Completions", "string", Of(cells::job_completions)),
    AGE,
    ("+Containers", "string", Of(cells::template_containers)),
    ("+Images", "string", Of(cells::template_images)),
];
const CRON_JOB: &[Col] = &[
    ("Schedule", "string", Path(".spec.schedule")),
    ("Suspend", "boolean", Path(".spec.suspend")),
    AGE,
];
const INGRESS: &[Col] = &[
    ("Class", "string", Path(".spec.ingressClassName")),
    ("Hosts", "string", Of(cells::ingress_hosts)),
    AGE,
];
const EVENT: &[Col] = &[
    ("Last Seen", "string", Of(cells::event_seen)),
    ("Type", "string", Path(".type")),
    ("Reason", "string", Path(".reason")),
    ("Object", "string", Of(cells::event_object)),
    ("Message", "string", Path(".message")),
];
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const SLICE: &[Col] = &[
    ("AddressType", "string", Path(".addressType")),
    ("Ports", "string", Of(cells::slice_ports)),
    ("Endpoints", "string", Of(cells::slice_endpoints)),
    AGE,
];
const ROLE_BINDING: &[Col] = &[
    ("Role", "string", Of(cells::role_ref)),
    AGE,
    ("+Users", "string", Of(cells::bound_users)),
    ("+Groups", "string", Of(cells::bound_groups)),
    ("+ServiceAccounts", "string", Of(cells::bound_accounts)),
];
const CREATED: &[Col] = &[("Created At", "date", Of(cells::created_at))];

/// The table of kinds.
const ROWS: &[Row] = &[
    row(CORE, "Namespace", "namespaces", &["ns"])
        .cluster()
        .status()
        .columns(&[("Status", "string", Path(".status.phase")), AGE])
        .selectable(&["status.phase"]),
    row(CORE, "Node", "nodes", &["no"])
        .cluster()
        .status()
        .columns(NODE)
        .selectable(&["spec.unschedulable"]),
    row(CORE, "Pod", "pods", &["po"]).all().status().columns(POD).selectable(POD_FIELDS),
    row(CORE, "Service", "services", &["svc"])
        .all()
        .status()
        .columns(SERVICE)
        .selectable(&["spec.clusterIP", "spec.type"]),
    row(CORE, "ServiceAccount", "serviceaccounts", &["sa"])
        .columns(&[("Secrets", "string", Of(cells::account_secrets)), AGE]),
    row(CORE, "Secret", "secrets", &[])
        .columns(&[
            ("Type", "string", Path(".type")),
            ("Data", "string", Of(cells::data_count)),
            AGE,
        ])
        .selectable(&["type"]),
    row(CORE, "ConfigMap", "configmaps", &["cm"])
        .columns(&[("Data", "string", Of(cells::data_count)), AGE]),
    row(CORE, "Endpoints", "endpoints", &["ep"])
        .columns(&[("Endpoints", "string", Of(cells::endpoints)), AGE]),
    row(CORE, "Event", "events", &["ev"]).columns(EVENT).selectable(EVENT_FIELDS),
    row(CORE, "LimitRange", "limitranges", &["limits"]),
    row(CORE, "ResourceQuota", "resourcequotas", &["quota"]).status(),
    row(CORE, "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"]).status(),
    row(CORE, "PersistentVolume", "persistentvolumes", &["pv"]).cluster().status(),
    row(APPS, "Deployment", "deployments", &["deploy"]).all().status().scale().columns(DEPLOYMENT),
    row(APPS, "ReplicaSet", "replicasets", &["rs"]).all().status().scale().columns(REPLICA_SET),
    row(APPS, "StatefulSet", "statefulsets", &["sts"])
        .all()
        .status()
        .scale()
        .columns(&[("Ready", "string", Of(cells::replicas_ready)), AGE]),
    row(APPS, "DaemonSet", "daemonsets", &["ds"]).all().status().columns(DAEMON_SET),
    row(BATCH, "Job", "jobs", &[]).all().status().columns(JOB),
    row(BATCH, "CronJob", "cronjobs", &["cj"]).all().status().columns(CRON_JOB),
    row(("discovery.k8s.io", "v1"), "EndpointSlice", "endpointslices", &[]).columns(SLICE),
    row(("coordination.k8s.io", "v1"), "Lease", "leases", &[])
        .columns(&[("Holder", "string", Path(".spec.holderIdentity")), AGE]),
    row(NETWORKING, "NetworkPolicy", "networkpolicies", &["netpol"])
        .columns(&[("Pod-Selector", "string", Of(cells::pod_selector)), AGE]),
    row(NETWORKING, "Ingress", "ingresses", &["ing"]).status().columns(INGRESS),
    row(NETWORKING, "IngressClass", "ingressclasses", &[]).cluster(),
    row(RBAC, "Role", "roles", &[]).columns(CREATED),
    row(RBAC, "RoleBinding", "rolebindings", &[]).columns(ROLE_BINDING),
    row(RBAC, "ClusterRole", "clusterroles", &[]).cluster().columns(CREATED),
    row(RBAC, "ClusterRoleBinding", "clusterrolebindings", &[]).cluster().columns(ROLE_BINDING),
    row(
        ("apiextensions.k8s.io", "v1"),
        "CustomResourceDefinition",
        "customresourcedefinitions",
        &["crd", "crds"],
    )
    .cluster()
    .status()
    .columns(CREATED),
    row(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[])
        .cluster()
        .question(),
    row(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews", &[])
        .cluster()
        .question(),
    row(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews", &[]).cluster().question(),
    row(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", &[]).question(),
    row(("authentication.k8s.io", "v1"), "SelfSubjectReview", "selfsubjectreviews", &[])
        .cluster()
        .question(),
    row(("authentication.k8s.io", "v1"), "TokenReview", "tokenreviews", &[]).cluster().question(),
    row(CALICO, "BGPConfiguration", "bgpconfigurations", &[]).cluster(),
    row(CALICO, "BGPFilter", "bgpfilters", &[]).cluster(),
    row(CALICO, "BGPPeer", "bgppeers", &[]).cluster(),
    row(CALICO, "BlockAffinity", "blockaffinities", &[]).cluster(),
    row(CALICO, "CalicoNodeStatus", "caliconodestatuses", &[]).cluster(),
    row(CALICO, "IPAMConfiguration", "ipamconfigurations", &[]).cluster(),
    row(CALICO, "IPPool", "ippools", &[])
        .cluster()
        .columns(&[("CIDR", "string", Path(".spec.cidr")), AGE]),
    row(CALICO, "IPReservation", "ipreservations", &[]).cluster(),
    row(CALICO, "KubeControllersConfiguration", "kubecontrollersconfigurations", &[])
        .cluster()
        .status(),
];

fn column((name, kind, cell): &Col) -> Column {
    let (name, priority) = name.strip_prefix('+').map_or((*name, 0), |name| (name, 1));
    let cell = match cell {
        Path(path) => Cell::Path(SmolStr::new_static(path)),
        Of(compute) => Cell::Of(*compute),
    };
    Column {
        name: name.into(),
        kind: SmolStr::new_static(kind),
        description: SmolStr::default(),
        priority,
        cell,
    }
}

impl Row {
    fn kind(&self) -> Option<Kind> {
        let words = |words: &[&'static str]| words.iter().copied().map(SmolStr::from).collect();
        let (group, version) = self.api;
        Some(Kind {
            group: group.into(),
            version: version.into(),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase().into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind).into(),
            short: words(self.short),
            categories: if self.all { vec!["all".into()] } else { Vec::new() },
            namespaced: self.namespaced,
            verbs: self.verbs,
            status: self.status,
            scale: self.scale,
            columns: self.columns.iter().map(column).collect(),
            selectable: words(self.selectable),
            schema: None,
            built_in: group != CALICO.0,
            many_versions: false,
            resource: Resource::new(group, self.plural).ok()?,
        })
    }
}

/// The kinds of the table.
pub(super) fn all() -> impl Iterator<Item = Kind> {
    ROWS.iter().filter_map(Row::kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_kind() {
        assert_eq!(all().count(), ROWS.len());
    }
}
