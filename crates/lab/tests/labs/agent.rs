//! The node's agent as a user of its API server.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cluster::Cluster;
use crate::harness::{eventually, outsider};

/// What gives the agent its rights.
const BINDING: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n\
    metadata: {name: 'system:tortie-agent'}\n\
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:tortie-agent'}\n\
    subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:tortie-agent'}]\n";

const POLICY: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: quiet}\nspec: {selector: app == 'p', types: [Ingress]}\n";

#[test]
fn the_agent_may_read_what_it_needs_and_no_more() {
    let Some(mut cluster) = Cluster::up(&outsider("p")) else { return };
    let folder = cluster.place.state().join("x");
    let config = folder.join("agent.kubeconfig");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let config = format!("--kubeconfig={}", config.display());
    for (words, may) in [
        (&["get", "pods"][..], true),
        (&["get", "globalnetworkpolicies"], true),
        (&["get", "secrets"], false),
        (&["get", "configmaps"], false),
        (&["delete", "pod", "p"], false),
        (&["create", "namespace", "x"], false),
    ] {
        let (status, _, err) = cluster.run(&[words, &[&config]].concat(), "");
        assert_eq!(status == 0, may, "{words:?}: {err}");
        assert!(may || err.contains("User \"system:tortie-agent\" cannot"), "{words:?}: {err}");
    }

    // It is this user: without the user's rights it knows nothing, and with them it goes on.
    cluster.ok(&["delete", "clusterrolebinding", "system:tortie-agent"]);
    eventually("the end of its rights", || {
        fs::read_to_string(folder.join("agent.log")).unwrap().contains("system:tortie-agent")
    });
    cluster.apply(BINDING);
    let policy = cluster.place.file("policy.yaml", POLICY);
    cluster.place.ok("x", &["apply", "-f", &policy]);
}
