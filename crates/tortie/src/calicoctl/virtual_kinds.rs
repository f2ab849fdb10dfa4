//! Kinds that Calico makes of what Kubernetes has: workload endpoints of pods, profiles of namespaces
//! and service accounts, nodes of nodes.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use tortie_calc::interface_name;
use tortie_client::server::{Select, Served};
use tortie_policy::{Account, EndpointId, account_profile_name, namespace_profile_name};

use super::store::{Refusal, Store, Target, named};
use crate::output::Failure;
use crate::remote::name;

const API_VERSION: &str = "projectcalico.org/v3";

/// The kind of a word. Nodes are Kubernetes' own.
pub(super) fn kind<'s>(store: &'s Store, word: &str) -> Result<&'s Served, Failure> {
    let made = super::kinds::find(word).and_then(|known| of(store, known.kind));
    made.map_or_else(|| store.kind(word), Ok)
}

/// The kind of a word, for who changes fields: those of workload endpoints are the pods'.
pub(super) fn changed<'s>(store: &'s Store, word: &str) -> Result<&'s Served, Failure> {
    match kind(store, word)? {
        served if std::ptr::eq(served, &store.endpoints) => {
            let kind = &served.kind.kind;
            let failure = Failure::refused(format!("operation update is not supported on {kind}"));
            Err(failure.hint("it is made of a pod: change that, such as by `tortie label pod`"))
        }
        served => Ok(served),
    }
}

/// A kind that is made of others, if no server has it as it is.
fn of<'s>(store: &'s Store, kind: &str) -> Option<&'s Served> {
    match kind {
        "Node" => store.session.kinds.find("nodes.v1"),
        "WorkloadEndpoint" if store.kind(kind).is_err() => Some(&store.endpoints),
        _ => None,
    }
}

/// Whether the server has resources of a kind of Calico, too.
pub(super) fn is_stored(store: &Store, served: &Served) -> bool {
    store.kind(&served.kind.plural).is_ok_and(|stored| stored.kind == served.kind)
}

/// What a document is, and where it belongs.
pub(super) fn target<'s>(store: &'s Store, document: &Value) -> Result<Target<'s>, Refusal> {
    let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
    match of(store, kind) {
        Some(made) => store.place(made, named(document)?, namespace.unwrap_or_default()),
        None => store.target(document),
    }
}

/// The resources of a kind that are made, if it is one of these kinds.
pub(super) async fn list(
    store: &Store,
    target: &Target<'_>,
) -> Result<Option<Vec<Value>>, Refusal> {
    let all = async |plural: &str| -> Result<Vec<Value>, Refusal> {
        let Some(served) = store.session.kinds.find(&format!("{plural}.v1")) else {
            return Ok(Vec::new());
        };
        let list =
            store.session.server.list(&served.kind, target.namespace(), &Select::default()).await;
        list.map(|list| list.items).map_err(|error| target.refusal(&error))
    };
    Ok(Some(match target.served.kind.kind.as_str() {
        "Node" => all("nodes").await?.iter().map(node).collect(),
        "WorkloadEndpoint" => all("pods").await?.iter().filter_map(endpoint).collect(),
        "Profile" => {
            let mut profiles = vec![profile("projectcalico-default-allow", Map::new(), true)];
            profiles.extend(all("namespaces").await?.iter().map(of_namespace));
            profiles.extend(all("serviceaccounts").await?.iter().map(of_account));
            profiles
        }
        _ => return Ok(None),
    }))
}

fn node(node: &Value) -> Value {
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
    let address =
        |address: &Value| json!({"address": address.get("address"), "type": address.get("type")});
    let addresses: Vec<Value> = addresses.into_iter().flatten().map(address).collect();
    json!({
        "apiVersion": API_VERSION, "kind": "Node", "metadata": copied(node, &["labels", "annotations"]),
        "spec": {"addresses": addresses, "orchRefs": [{"nodeName": name(node), "orchestrator": "k8s"}]},
    })
}

/// Name, namespace and other fields of an object's metadata.
fn copied(object: &Value, more: &[&str]) -> Map<String, Value> {
    let fields = ["name", "namespace", "creationTimestamp", "resourceVersion", "uid"];
    let wanted = fields.iter().chain(more).copied();
    let metadata = object.get("metadata");
    wanted.filter_map(|field| Some((field.to_owned(), metadata?.get(field)?.clone()))).collect()
}

/// The endpoint of a pod that has an address of its own; nothing for others, and for those that have
/// ended.
fn endpoint(pod: &Value) -> Option<Value> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (node, namespace, pod_name) =
        (text("/spec/nodeName"), text("/metadata/namespace"), name(pod));
    let hosted = pod.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or(false);
    let ended = matches!(text("/status/phase"), "Succeeded" | "Failed");
    let networks = networks(pod);
    if node.is_empty() || hosted || ended || networks.is_empty() {
        return None;
    }
    let account = match text("/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    let id = EndpointId { namespace: namespace.into(), name: pod_name.into() };
    let mut metadata = copied(pod, &["labels"]);
    metadata.insert("name".into(), endpoint_name(node, pod_name).into());
    if let Value::Object(labels) = metadata.entry("labels").or_insert_with(|| json!({})) {
        labels.insert("projectcalico.org/namespace".into(), namespace.into());
        labels.insert("projectcalico.org/orchestrator".into(), "k8s".into());
        labels.insert("projectcalico.org/serviceaccount".into(), account.into());
    }
    let profiles = [
        namespace_profile_name(namespace),
        account_profile_name(&Account { namespace: namespace.into(), name: account.into() }),
    ];
    Some(json!({
        "apiVersion": API_VERSION, "kind": "WorkloadEndpoint", "metadata": metadata,
        "spec": {
            "endpoint": "eth0", "interfaceName": interface_name(&id), "ipNetworks": networks,
            "node": node, "orchestrator": "k8s", "pod": pod_name, "profiles": profiles,
            "serviceAccountName": account,
        },
    }))
}

fn networks(pod: &Value) -> Vec<String> {
    let several = pod.pointer("/status/podIPs").and_then(Value::as_array);
    let several = several.into_iter().flatten().filter_map(|ip| ip.get("ip")?.as_str());
    let one = pod.pointer("/status/podIP").and_then(Value::as_str);
    let mut networks: Vec<String> = Vec::new();
    for address in several.chain(one).filter_map(|text| text.parse::<IpAddr>().ok()) {
        let network = format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}

/// The parts of such a name are joined by a dash; a dash within one is doubled.
fn endpoint_name(node: &str, pod: &str) -> String {
    let part = |text: &str| text.replace('-', "--");
    format!("{}-k8s-{}-eth0", part(node), part(pod))
}

fn of_namespace(namespace: &Value) -> Value {
    let mut labels = prefixed(namespace, "pcns.");
    labels.insert("pcns.projectcalico.org/name".into(), name(namespace).into());
    profile(&namespace_profile_name(name(namespace)), labels, true)
}

fn of_account(account: &Value) -> Value {
    let namespace = account.pointer("/metadata/namespace").and_then(Value::as_str);
    let id =
        Account { namespace: namespace.unwrap_or_default().into(), name: name(account).into() };
    let mut labels = prefixed(account, "pcsa.");
    labels.insert("pcsa.projectcalico.org/name".into(), name(account).into());
    profile(&account_profile_name(&id), labels, false)
}

fn prefixed(object: &Value, prefix: &str) -> Map<String, Value> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect()
}

fn profile(name: &str, labels: Map<String, Value>, allows: bool) -> Value {
    let rules = json!(if allows { vec![json!({"action": "Allow"})] } else { vec![] });
    let mut spec = Map::new();
    if allows {
        spec.insert("ingress".into(), rules.clone());
        spec.insert("egress".into(), rules);
    }
    if !labels.is_empty() {
        spec.insert("labelsToApply".into(), labels.into());
    }
    json!({"apiVersion": API_VERSION, "kind": "Profile", "metadata": {"name": name}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_make_endpoints() {
        let pod = json!({
            "metadata": {"name": "customer-0", "namespace": "default", "labels": {"app": "customer"}},
            "spec": {"nodeName": "node-1", "serviceAccountName": "customer"},
            "status": {"podIP": "10.65.0.2", "podIPs": [{"ip": "10.65.0.2"}, {"ip": "fd00::2"}]},
        });
        let endpoint = super::endpoint(&pod).unwrap();
        assert_eq!(name(&endpoint), "node--1-k8s-customer--0-eth0");
        assert_eq!(endpoint["spec"]["ipNetworks"], json!(["10.65.0.2/32", "fd00::2/128"]));
        assert_eq!(endpoint["spec"]["interfaceName"], "cali8d2de73b773");
        assert_eq!(endpoint["spec"]["profiles"], json!(["kns.default", "ksa.default.customer"]));
        assert_eq!(endpoint["metadata"]["labels"]["projectcalico.org/namespace"], "default");
        for (pointer, value) in [
            ("/status/phase", json!("Succeeded")),
            ("/spec/hostNetwork", json!(true)),
            ("/spec/nodeName", json!("")),
            ("/status", json!({})),
        ] {
            let mut pod = pod.clone();
            pod["status"]["phase"] = json!("Running");
            pod["spec"]["hostNetwork"] = json!(false);
            *pod.pointer_mut(pointer).unwrap() = value;
            assert_eq!(super::endpoint(&pod), None, "{pointer}");
        }
    }

    #[test]
    fn namespaces_and_accounts_make_profiles() {
        let profile = of_namespace(&json!({"metadata": {"name": "shop", "labels": {"a": "b"}}}));
        assert_eq!(name(&profile), "kns.shop");
        assert_eq!(profile["spec"]["labelsToApply"]["pcns.a"], "b");
        assert_eq!(profile["spec"]["ingress"], json!([{"action": "Allow"}]));
        let profile = of_account(&json!({"metadata": {"name": "web", "namespace": "shop"}}));
        assert_eq!(name(&profile), "ksa.shop.web");
        assert!(profile["spec"].get("ingress").is_none());
    }
}
