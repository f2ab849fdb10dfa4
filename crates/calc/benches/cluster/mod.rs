//! Clusters of the sizes that calculations are measured by, one resource at a time: always the same
//! for the same numbers.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::Value;
use tortie_model::{
    Container, ContainerPort, EntityRule, GlobalNetworkPolicy, GlobalNetworkSet,
    KubernetesIngressRule, KubernetesNetworkPolicy, KubernetesPeer, LabelSelector, Namespace,
    NetworkPolicy, NetworkSetSpec, Object, ObjectMeta, Pod, PodSpec, PodStatus, PolicySpec,
    Resource, Rule,
};

/// The node that is calculated for.
pub(crate) const NODE: &str = "here";

/// The labels that policies of a tag ask for.
const TAGS: usize = 31;

fn resource(kind: &str, object: Object) -> Resource {
    Resource { api_version: String::new(), kind: kind.to_owned(), raw: Value::Null, object }
}

fn metadata(namespace: Option<String>, name: String, labels: &[(&str, String)]) -> ObjectMeta {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    ObjectMeta { name, namespace, labels: labels.collect(), ..ObjectMeta::default() }
}

/// A namespace with a few labels.
pub(crate) fn namespace(n: usize, labels: &[(&str, String)]) -> Resource {
    let metadata = metadata(None, format!("namespace-{n}"), labels);
    resource("Namespace", Object::Namespace(Box::new(Namespace { metadata })))
}

/// A pod with an address of its own, on this node or elsewhere.
pub(crate) fn pod(n: usize, namespace: usize, local: bool, labels: &[(&str, String)]) -> Resource {
    let address = Ipv4Addr::from(0x0a00_0001 + u32::try_from(n).unwrap_or_default());
    let port = ContainerPort {
        name: Some("http".into()),
        container_port: 8080,
        ..ContainerPort::default()
    };
    let container = Container { ports: vec![port], ..Container::default() };
    let pod = Pod {
        metadata: metadata(Some(format!("namespace-{namespace}")), format!("pod-{n}"), labels),
        spec: PodSpec {
            node_name: Some(if local { NODE.to_owned() } else { format!("node-{}", n % 1000) }),
            containers: vec![container],
            ..PodSpec::default()
        },
        status: PodStatus { pod_ip: Some(address.to_string()), ..PodStatus::default() },
    };
    resource("Pod", Object::Pod(Box::new(pod)))
}

/// Labels of which policies ask for one tag, and that otherwise tell little.
pub(crate) fn tagged(n: usize) -> Vec<(&'static str, String)> {
    let mut labels = Vec::new();
    let names = ["one-in-10", "one-in-11", "one-in-20", "one-in-30", "one-in-40"];
    for (name, many) in names.into_iter().zip([10, 11, 20, 30, 40]) {
        labels.push((name, format!("value-{}", n % many)));
    }
    labels.push((TAG_NAMES.get(n % TAGS).copied().unwrap_or("tag"), "true".to_owned()));
    labels
}

const TAG_NAMES: [&str; TAGS] = [
    "tag-00", "tag-01", "tag-02", "tag-03", "tag-04", "tag-05", "tag-06", "tag-07", "tag-08",
    "tag-09", "tag-10", "tag-11", "tag-12", "tag-13", "tag-14", "tag-15", "tag-16", "tag-17",
    "tag-18", "tag-19", "tag-20", "tag-21", "tag-22", "tag-23", "tag-24", "tag-25", "tag-26",
    "tag-27", "tag-28", "tag-29", "tag-30",
];

fn allow_from(selector: String) -> Rule {
    let source = EntityRule { selector: Some(selector), ..EntityRule::default() };
    Rule { action: "Allow".into(), source: Some(source), ..Rule::default() }
}

fn global_policy(name: String, selector: String, ingress: Vec<Rule>) -> Resource {
    let spec = PolicySpec {
        selector: Some(selector),
        ingress: Some(ingress),
        types: Some(vec!["Ingress".into()]),
        ..PolicySpec::default()
    };
    let policy = GlobalNetworkPolicy { metadata: metadata(None, name, &[]), spec };
    resource("GlobalNetworkPolicy", Object::GlobalNetworkPolicy(Box::new(policy)))
}

/// A policy for the pods with a tag that lets in those with one of five tags.
pub(crate) fn tag_policy(n: usize) -> Resource {
    let tag = |n: usize| format!("has({})", TAG_NAMES.get(n % TAGS).unwrap_or(&"tag"));
    let rules = (n..n + 5).map(|n| allow_from(tag(n))).collect();
    global_policy(format!("tag-policy-{n}"), tag(n), rules)
}

/// A network set of some addresses: of ten, four have one, one a hundred and one a thousand.
pub(crate) fn network_set(n: usize) -> Resource {
    const SIZES: [u32; 10] = [1, 1, 1, 1, 2, 3, 4, 5, 100, 1000];
    let size = SIZES.get(n % 10).copied().unwrap_or(1);
    let first = 0x1400_0000 + u32::try_from(n).unwrap_or_default() * 1024;
    let nets = (0..size).map(|i| Ipv4Addr::from(first + i).to_string()).collect();
    let name = format!("network-set-{n}");
    let set = GlobalNetworkSet {
        metadata: metadata(None, name.clone(), &[("network-set-name", name)]),
        spec: NetworkSetSpec { nets },
    };
    resource("GlobalNetworkSet", Object::GlobalNetworkSet(Box::new(set)))
}

/// A policy for everybody that lets in the addresses of one network set.
pub(crate) fn network_set_policy(n: usize) -> Resource {
    let rule = allow_from(format!("network-set-name == 'network-set-{n}'"));
    global_policy(format!("network-set-policy-{n}"), "all()".into(), vec![rule])
}

/// The policy of a namespace that keeps to itself.
pub(crate) fn isolating_policy(n: usize) -> Resource {
    let egress = Rule { action: "Allow".into(), ..Rule::default() };
    let spec = PolicySpec {
        selector: Some("all()".into()),
        types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(vec![allow_from("all()".into())]),
        egress: Some(vec![egress]),
        ..PolicySpec::default()
    };
    let metadata = metadata(Some(format!("namespace-{n}")), "isolate".into(), &[]);
    let policy = NetworkPolicy { metadata, spec };
    resource("NetworkPolicy", Object::NetworkPolicy(Box::new(policy)))
}

fn match_labels(labels: &[(&str, String)]) -> LabelSelector {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let labels: BTreeMap<String, String> = labels.collect();
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

/// A policy of Kubernetes for one application of a namespace, of ten: it lets in another one, and
/// one of another team's namespaces.
pub(crate) fn kubernetes_policy(n: usize, namespaces: usize) -> Resource {
    let (app, other) = (n / namespaces, (n + 3) % 10);
    let here = KubernetesPeer {
        pod_selector: Some(match_labels(&[("app", format!("app-{other}"))])),
        ..KubernetesPeer::default()
    };
    let team = KubernetesPeer {
        pod_selector: Some(match_labels(&[("app", format!("app-{other}"))])),
        namespace_selector: Some(match_labels(&[("team", format!("team-{}", n % 50))])),
        ..KubernetesPeer::default()
    };
    let mut policy = KubernetesNetworkPolicy {
        metadata: metadata(
            Some(format!("namespace-{}", n % namespaces)),
            format!("policy-{app}"),
            &[],
        ),
        ..KubernetesNetworkPolicy::default()
    };
    policy.spec.pod_selector = Some(match_labels(&[("app", format!("app-{app}"))]));
    policy.spec.policy_types = Some(vec!["Ingress".into()]);
    let ingress = KubernetesIngressRule { from: Some(vec![here, team]), ports: None };
    policy.spec.ingress = Some(vec![ingress]);
    resource("NetworkPolicy", Object::KubernetesNetworkPolicy(Box::new(policy)))
}

/// Labels of a pod of one application.
pub(crate) fn of_app(n: usize) -> Vec<(&'static str, String)> {
    vec![
        ("app", format!("app-{}", n % 10)),
        ("pod-template-hash", format!("{:x}", n / 7 * 2_654_435_761 % 0xffff_ffff)),
        ("tier", format!("tier-{}", n % 3)),
        ("version", format!("v{}", n % 5)),
    ]
}
