//! Clusters of a size, for benchmarks: always the same for the same numbers.
//!
//! Ten namespaces at least, of five applications each; half the policies are Kubernetes' own, of the
//! rest most are of one namespace, and some are global, in a tier of their own or the default one.

use serde_json::{Value, json};

const APPS: [&str; 5] = ["web", "api", "worker", "cache", "database"];
const TEAMS: [&str; 4] = ["blue", "green", "red", "gold"];

/// The resources of a cluster of that many pods and policies.
pub fn documents(pods: usize, policies: usize) -> Vec<Value> {
    let namespaces = (pods / 20).max(10);
    let mut documents: Vec<Value> = (0..namespaces).map(namespace).collect();
    documents.extend((0..pods).map(|n| pod(n, namespaces)));
    documents.extend((0..5).map(set));
    documents.push(
        json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "security"},
        "spec": {"order": 100, "defaultAction": "Pass"}}),
    );
    documents.extend((0..policies).map(|n| policy(n, namespaces)));
    documents
}

fn pick<'a>(list: &[&'a str], n: usize) -> &'a str {
    list.iter().cycle().nth(n % list.len().max(1)).copied().unwrap_or_default()
}

fn namespace(n: usize) -> Value {
    let env = pick(&["production", "staging"], n);
    let labels = json!({"team": pick(&TEAMS, n), "env": env});
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("space-{n}"), "labels": labels}})
}

fn pod(n: usize, namespaces: usize) -> Value {
    let app = pick(&APPS, n / namespaces);
    let layer = if matches!(app, "cache" | "database") { "storage" } else { "compute" };
    let labels = json!({"app": app, "layer": layer, "version": format!("v{}", n % 3)});
    let address = format!("10.{}.{}.{}", 65 + n / 62_500, n / 250 % 250, n % 250 + 1);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{app}-{n}"), "namespace": format!("space-{}", n % namespaces),
            "labels": labels},
        "spec": {"serviceAccountName": app, "nodeName": format!("node-{}", n % 10),
            "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"podIP": address}})
}

fn set(n: usize) -> Value {
    let nets: Vec<String> = (0..20).map(|i| format!("198.51.{}.0/24", n * 20 + i)).collect();
    json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
        "metadata": {"name": format!("partner-{n}"), "labels": {"role": "partner"}},
        "spec": {"nets": nets}})
}

fn policy(n: usize, namespaces: usize) -> Value {
    match n % 10 {
        0..=4 => kubernetes_policy(n, namespaces),
        5..=8 => namespaced_policy(n, namespaces),
        _ => global_policy(n),
    }
}

fn kubernetes_policy(n: usize, namespaces: usize) -> Value {
    let (app, client) = (pick(&APPS, n / 10), pick(&APPS, n / 7));
    let peers = json!([
        {"podSelector": {"matchLabels": {"app": client}}},
        {"namespaceSelector": {"matchLabels": {"team": pick(&TEAMS, n)}},
         "podSelector": {"matchExpressions": [
             {"key": "app", "operator": "In", "values": ["web", "api"]}]}},
        {"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.64/26"]}}]);
    let mut spec = json!({
        "podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"],
        "ingress": [
            {"from": peers, "ports": [{"port": 80}, {"port": "http"}, {"port": 8000, "endPort": 8100}]},
            {"from": [{"podSelector": {}}], "ports": [{"port": 9090, "protocol": "TCP"}]}]});
    if let (true, Value::Object(spec)) = (n.is_multiple_of(3), &mut spec) {
        spec.insert("policyTypes".into(), json!(["Ingress", "Egress"]));
        let egress = json!([
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
            {"to": [{"namespaceSelector": {"matchLabels": {"env": "production"}}}]}]);
        spec.insert("egress".into(), egress);
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec,
        "metadata": {"name": format!("k8s-{n}"), "namespace": format!("space-{}", n % namespaces)}})
}

fn namespaced_policy(n: usize, namespaces: usize) -> Value {
    let (app, client) = (pick(&APPS, n / 10), pick(&APPS, n / 7));
    let ingress = json!([
        {"action": "Deny", "source": {"selector": "version == 'v0' && layer == 'storage'"}},
        {"action": "Allow", "protocol": "TCP",
         "source": {"selector": format!("app in {{'{client}', 'web'}}")},
         "destination": {"ports": [80, "8000:8100", "http"]}},
        {"action": "Allow", "protocol": "TCP",
         "source": {"namespaceSelector": format!("team == '{}'", pick(&TEAMS, n)),
                    "serviceAccounts": {"names": ["api", "worker"]}},
         "destination": {"ports": [443, 9090]}},
        {"action": "Allow", "source": {"nets": ["192.0.2.0/24", "203.0.113.0/24"]}}]);
    let egress = json!([
        {"action": "Allow", "protocol": "UDP", "destination": {"ports": [53]}},
        {"action": "Allow", "destination": {"selector": "layer == 'compute'"}},
        {"action": "Pass", "destination": {"selector": "role == 'partner'", "namespaceSelector": "global()"}}]);
    let types = if n.is_multiple_of(2) { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": format!("p-{n}"), "namespace": format!("space-{}", n % namespaces)},
        "spec": {"selector": format!("app == '{app}' && version != 'v9'"), "order": n % 5,
            "types": types, "ingress": ingress, "egress": egress}})
}

fn global_policy(n: usize) -> Value {
    let security = n % 20 == 9;
    let rules = |other: &str| {
        json!([
            {"action": "Deny", (other): {"nets": ["100.64.0.0/10"]}},
            {"action": "Pass", (other): {"selector": "has(app)", "notPorts": []}},
            {"action": if security { "Pass" } else { "Allow" },
             (other): {"notSelector": "layer == 'storage'", "namespaceSelector": "has(team)"}}])
    };
    let team = pick(&TEAMS, n / 10);
    json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": format!("g-{n}")},
        "spec": {"tier": if security { "security" } else { "default" },
            "selector": "has(app)", "namespaceSelector": format!("team == '{team}'"),
            "order": 500, "types": ["Ingress", "Egress"],
            "ingress": rules("source"), "egress": rules("destination")}})
}
