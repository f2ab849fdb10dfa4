//! The roles that are there from the beginning, and who is bound to them. What somebody changed or
//! deleted of a running server's stays so until the server is started again, which makes what is
//! missing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::access::RBAC;
use super::caller::{AUTHENTICATED, MASTERS};
use crate::api::Api;
use crate::status::Status;

/// The user that a node's agent is: it may read what it has to enforce.
pub const AGENT: &str = "system:tortie-agent";

/// The user that the web console is: it may read what it shows.
pub const CONSOLE: &str = "system:tortie-console";

/// Groups, resources and verbs, each with commas between.
type Grant = (&'static str, &'static str, &'static str);

const READ: &str = "get,list,watch";
const WRITE: &str = "create,delete,deletecollection,patch,update";
const ALL: &str = "create,delete,deletecollection,get,list,patch,update,watch";

/// What of a namespace is no secret.
const CORE: &str = "configmaps,endpoints,events,limitranges,persistentvolumeclaims,pods,pods/status,\
                    resourcequotas,serviceaccounts,services,services/status";
const APPS: &str = "daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,\
                    replicasets,replicasets/scale,replicasets/status,statefulsets,\
                    statefulsets/scale,statefulsets/status";
const POLICIES: &str = "networksets,stagedkubernetesnetworkpolicies,tier.networkpolicies,\
                        tier.stagednetworkpolicies";
const NETWORKING: &str = "ingresses,networkpolicies";

const VIEW: &[Grant] = &[
    ("", CORE, READ),
    ("", "namespaces,pods/log", READ),
    ("apps", APPS, READ),
    ("batch", "cronjobs,jobs", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    ("networking.k8s.io", NETWORKING, READ),
    ("projectcalico.org", POLICIES, READ),
    ("projectcalico.org", "tiers", "get"),
];

const EDIT: &[Grant] = &[
    ("", CORE, WRITE),
    ("", "secrets", ALL),
    ("", "pods/attach,pods/exec,pods/portforward", "create,get"),
    ("", "pods/eviction", "create"),
    ("apps", APPS, WRITE),
    ("batch", "cronjobs,jobs", WRITE),
    ("networking.k8s.io", NETWORKING, WRITE),
    ("projectcalico.org", POLICIES, WRITE),
];

const ADMIN: &[Grant] = &[
    (RBAC, "rolebindings,roles", ALL),
    ("authorization.k8s.io", "localsubjectaccessreviews", "create"),
];

const AGENTS: &[Grant] = &[
    ("", "endpoints,namespaces,nodes,pods,serviceaccounts,services", READ),
    ("discovery.k8s.io", "endpointslices", READ),
    ("networking.k8s.io", "networkpolicies", READ),
    ("policy.networking.k8s.io", "*", READ),
    ("projectcalico.org", "*", READ),
    ("tortie.dev", "*", READ),
    ("apiextensions.k8s.io", "customresourcedefinitions", READ),
];

/// What it takes to know which policies there are, and whom they select.
const CONSOLES: &[Grant] = &[
    ("", "namespaces,nodes,pods,serviceaccounts", READ),
    ("networking.k8s.io", "networkpolicies", READ),
    ("policy.networking.k8s.io", "clusternetworkpolicies", READ),
    (
        "projectcalico.org",
        "globalnetworkpolicies,hostendpoints,kubecontrollersconfigurations,networkpolicies,profiles,\
         stagedglobalnetworkpolicies,stagedkubernetesnetworkpolicies,stagednetworkpolicies,\
         tier.globalnetworkpolicies,tier.networkpolicies,tier.stagedglobalnetworkpolicies,\
         tier.stagednetworkpolicies,tiers",
        READ,
    ),
    ("tortie.dev", "tortieconfigurations", READ),
];

const ASK: &[Grant] = &[
    ("authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews", "create"),
    ("authentication.k8s.io", "selfsubjectreviews", "create"),
];

/// For servers that have others' tokens and rights judged here.
const DELEGATE: &[Grant] = &[
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
];

const DISCOVERY: &[&str] = &["/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"];

fn words(text: &str) -> Vec<&str> {
    text.split(',').collect()
}

fn role(name: &str, grants: &[Grant], urls: &[&str]) -> Value {
    let grant = |(groups, resources, verbs): &Grant| json!({"apiGroups": words(groups), "resources": words(resources), "verbs": words(verbs)});
    let mut rules: Vec<Value> = grants.iter().map(grant).collect();
    if !urls.is_empty() {
        rules.push(json!({"nonResourceURLs": urls, "verbs": ["get"]}));
    }
    json!({"metadata": {"name": name}, "rules": rules})
}

/// A role that others can add to, by the label `aggregate-to-` and its name. Its own label adds it to
/// the one above.
fn aggregate(name: &str, grants: &[Grant], above: Option<&str>) -> Value {
    let label = |name: &str| format!("{RBAC}/aggregate-to-{name}");
    let mut role = role(name, grants, &[]);
    let fields = crate::object::map(&mut role);
    let selector = json!({"matchLabels": {label(name): "true"}});
    fields.insert("aggregationRule".into(), json!({"clusterRoleSelectors": [selector]}));
    if let Some(above) = above {
        let labels = json!({label(above): "true"});
        crate::object::child(fields, "metadata").insert("labels".into(), labels);
    }
    role
}

fn roles() -> Vec<Value> {
    let mut everything = role("cluster-admin", &[("*", "*", "*")], &[]);
    if let Some(Value::Array(rules)) = everything.get_mut("rules") {
        rules.push(json!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
    }
    vec![
        everything,
        aggregate("view", VIEW, Some("edit")),
        aggregate("edit", EDIT, Some("admin")),
        aggregate("admin", ADMIN, None),
        role("system:basic-user", ASK, &[]),
        role("system:discovery", &[], DISCOVERY),
        role("system:auth-delegator", DELEGATE, &[]),
        role(AGENT, AGENTS, &[]),
        role(CONSOLE, CONSOLES, &[]),
    ]
}

fn binding(name: &str, role: &str, kind: &str, bound: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": kind, "name": bound}],
    })
}

fn bindings() -> Vec<Value> {
    vec![
        binding("cluster-admin", "cluster-admin", "Group", MASTERS),
        binding("system:basic-user", "system:basic-user", "Group", AUTHENTICATED),
        binding("system:discovery", "system:discovery", "Group", AUTHENTICATED),
        binding(AGENT, AGENT, "User", AGENT),
        binding(CONSOLE, CONSOLE, "User", CONSOLE),
    ]
}

impl Api {
    /// Makes the roles and bindings that are missing.
    pub(crate) async fn ensure_roles(self: &Arc<Self>) -> Result<(), Status> {
        for (plural, documents) in [("clusterroles", roles()), ("clusterrolebindings", bindings())]
        {
            let kind = self.kind(RBAC, "v1", plural)?;
            for document in documents {
                self.ensure(&kind, document).await?;
            }
        }
        Ok(())
    }
}
