//! Kubernetes objects as policy sees them: pods become endpoints, namespaces and service accounts
//! become labels and profiles, workload kinds become pods.
//!
//! The conversions are those of Calico's Kubernetes datastore driver.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use smol_str::{SmolStr, format_smolstr};
use tortie_model::{FieldError, Namespace, ObjectMeta, Pod, Workload};

use crate::labels::{self, METADATA_NAME, NAME, NAMESPACE, ORCHESTRATOR, SERVICE_ACCOUNT};
use crate::name::{self, is_dns_subdomain};
use crate::{Account, Action, Endpoint, EndpointId, Labels, NamedPort, Profile, Protocol, Rule};

/// Most pods one workload may stand for.
const MAX_REPLICAS: u32 = 10_000;

/// The pods a workload stands for, named `<name>-0` and so on.
///
/// # Errors
/// If it asks for more pods than a cluster has room for.
pub fn expand_workload(kind: &str, workload: &Workload) -> Result<Vec<Pod>, FieldError> {
    let (field, count) = match kind {
        "Job" => ("spec.parallelism", workload.spec.parallelism.unwrap_or(1)),
        "DaemonSet" => ("spec.replicas", 1),
        _ => ("spec.replicas", workload.spec.replicas.unwrap_or(1)),
    };
    if count > MAX_REPLICAS {
        let error = FieldError::new(field, format!("{count} pods are more than {MAX_REPLICAS}"));
        return Err(
            error.hint("a few pods show the same verdicts: they differ in their addresses only")
        );
    }
    Ok((0..count).map(|index| replica(workload, index)).collect())
}

fn replica(workload: &Workload, index: u32) -> Pod {
    let mut pod = workload.spec.template.clone();
    pod.metadata.name = format!("{}-{index}", workload.metadata.name);
    pod.metadata.namespace.clone_from(&workload.metadata.namespace);
    pod
}

/// Everything wrong with a pod but its name.
pub(crate) fn check_pod(pod: &Pod, errors: &mut Vec<FieldError>) {
    endpoint(pod, false, errors);
    check_account(pod, errors);
}

/// Refuses a service account's name that no API server would have.
pub(crate) fn check_account(pod: &Pod, errors: &mut Vec<FieldError>) {
    let account = service_account(pod);
    if !is_dns_subdomain(account) {
        let reason = format!("`{account}` is not the name of a service account");
        let error = FieldError::new("spec.serviceAccountName", reason);
        errors.push(error.hint("write the name alone: the account is of the pod's namespace"));
    }
}

/// Everything wrong with the pod a workload stands for.
pub(crate) fn check_template(workload: &Workload, errors: &mut Vec<FieldError>) {
    let mut found = Vec::new();
    let pod = replica(workload, 0);
    check_pod(&pod, &mut found);
    name::check_texts(&pod.metadata, &mut found);
    errors.extend(found.into_iter().map(|mut error| {
        error.field = format!("spec.template.{}", error.field);
        error
    }));
}

/// The labels of a namespace, with the one the API server fills in.
pub(crate) fn namespace_labels(namespace: &Namespace, errors: &mut Vec<FieldError>) -> Labels {
    let name = &namespace.metadata.name;
    let mut own = labels_but(&namespace.metadata, &[(NAME, name)], errors);
    own.insert(METADATA_NAME.into(), name.into());
    own
}

/// The labels of a namespace that nobody described.
pub(crate) fn bare_namespace_labels(name: &str) -> Labels {
    Labels::from([(METADATA_NAME.into(), name.into())])
}

/// The labels of a service account.
pub(crate) fn account_labels(metadata: &ObjectMeta, errors: &mut Vec<FieldError>) -> Labels {
    labels_but(metadata, &[(NAME, &metadata.name)], errors)
}

/// The labels as written, but for those that state what would be generated anyway.
fn labels_but(
    metadata: &ObjectMeta,
    generated: &[(&str, &str)],
    errors: &mut Vec<FieldError>,
) -> Labels {
    let same = |k: &str, v: &str| generated.iter().any(|(key, value)| *key == k && *value == v);
    labels::from_wire(metadata.labels.iter().filter(|(k, v)| !same(k, v)), errors)
}

/// The profile of a namespace: its labels, and where no policy applies, everything is allowed.
pub(crate) fn namespace_profile(namespace: &str, labels: &Labels) -> Profile {
    let name = format_smolstr!("kns.{namespace}");
    Profile { labels: prefixed("pcns.", labels), ..allow_all(name) }
}

/// The profile of a service account: its labels, and no rules.
pub(crate) fn account_profile(account: &Account, labels: &Labels) -> Profile {
    Profile {
        name: format_smolstr!("ksa.{}.{}", account.namespace, account.name),
        labels: prefixed("pcsa.", labels),
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

/// What stands for a profile that is named and that nobody defined: it denies.
pub(crate) fn missing_profile(name: &SmolStr) -> Profile {
    let rules = vec![Rule::any(Action::Deny)];
    Profile { name: name.clone(), labels: Labels::new(), ingress: rules.clone(), egress: rules }
}

/// The profile by which host endpoints are left open.
pub(crate) fn allow_all_profile() -> Profile {
    allow_all("projectcalico-default-allow".into())
}

fn allow_all(name: SmolStr) -> Profile {
    let rules = vec![Rule::any(Action::Allow)];
    Profile { name, labels: Labels::new(), ingress: rules.clone(), egress: rules }
}

fn prefixed(prefix: &str, labels: &Labels) -> Labels {
    labels.iter().map(|(k, v)| (format_smolstr!("{prefix}{k}"), v.clone())).collect()
}

/// Whether a pod is an endpoint: one that shares its node's network is not.
pub(crate) fn is_endpoint(pod: &Pod) -> bool {
    !pod.spec.host_network
}

/// The namespace of an object that has one; the API server's default otherwise.
pub(crate) fn namespace_of(metadata: &ObjectMeta) -> SmolStr {
    metadata.namespace.as_deref().unwrap_or("default").into()
}

/// The name of a pod's endpoint.
pub(crate) fn endpoint_id(pod: &Pod) -> EndpointId {
    EndpointId { namespace: namespace_of(&pod.metadata), name: pod.metadata.name.as_str().into() }
}

/// The endpoint of a pod, without inherited labels. `injected` says whether its namespace asks
/// for sidecars.
pub(crate) fn endpoint(pod: &Pod, injected: bool, errors: &mut Vec<FieldError>) -> Endpoint {
    let namespace = namespace_of(&pod.metadata);
    let account: SmolStr = service_account(pod).into();
    let generated = [(NAMESPACE, &*namespace), (SERVICE_ACCOUNT, &*account), (ORCHESTRATOR, "k8s")];
    let mut labels = labels_but(&pod.metadata, &generated, errors);
    labels.extend(generated.map(|(key, value)| (key.into(), value.into())));
    Endpoint {
        id: endpoint_id(pod),
        node: pod.spec.node_name.as_deref().filter(|n| !n.is_empty()).map(SmolStr::from),
        addresses: addresses(pod, errors),
        labels,
        ports: named_ports(pod, errors),
        profiles: vec![
            format_smolstr!("kns.{namespace}"),
            format_smolstr!("ksa.{namespace}.{account}"),
        ],
        account: Account { namespace, name: account },
        application_enforced: has_sidecar(pod, injected),
    }
}

/// The pod's service account; the API server's default where none is given.
pub fn service_account(pod: &Pod) -> &str {
    pod.spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
}

/// Whether Istio would inject a sidecar: the namespace asks for it and the pod does not refuse.
pub fn has_sidecar(pod: &Pod, namespace_injected: bool) -> bool {
    const KEY: &str = "sidecar.istio.io/inject";
    let own = pod.metadata.labels.get(KEY).or_else(|| pod.metadata.annotations.get(KEY));
    namespace_injected && own.map(String::as_str) != Some("false") && !pod.spec.host_network
}

/// Whether a namespace's labels ask for sidecars.
pub fn asks_for_sidecars(namespace: &ObjectMeta) -> bool {
    namespace.labels.get("istio-injection").map(String::as_str) == Some("enabled")
}

/// Annotations in which a network plugin notes a pod's address, and that it took it back.
const ADDRESS_ANNOTATIONS: [&str; 2] = ["cni.projectcalico.org/podIP", "vpc.amazonaws.com/pod-ips"];

/// Annotations that hold the addresses of a pod whose status has none yet, in the order in which
/// they are asked.
const ADDRESSES: [&str; 3] =
    ["cni.projectcalico.org/podIPs", "cni.projectcalico.org/podIP", "vpc.amazonaws.com/pod-ips"];

/// Whether a pod will never use its address again, so that it belongs to somebody else: its
/// containers have ended, or it is being deleted and the network plugin has taken the address back.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed" | "Completed"));
    let annotations = &pod.metadata.annotations;
    let taken = |key: &&str| annotations.get(*key).is_some_and(String::is_empty);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    ended || (terminating && ADDRESS_ANNOTATIONS.iter().any(taken))
}

/// The pod's addresses, the first of each family: those of its status, or as long as it has none
/// those its network plugin noted.
fn addresses(pod: &Pod, errors: &mut Vec<FieldError>) -> Vec<IpAddr> {
    if is_finished(pod) {
        return Vec::new();
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for (field, text) in given_addresses(pod) {
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if found.iter().any(|f| f.is_ipv4() == address.is_ipv4()) => {}
            Ok(address) => found.push(address),
            Err(_) => errors.push(
                FieldError::new(field, format!("`{text}` is not an address"))
                    .hint("leave the status out, and the pod is given an address"),
            ),
        }
    }
    found
}

/// The addresses of the first place that has any, with the field they stand in.
fn given_addresses(pod: &Pod) -> Vec<(&'static str, &str)> {
    let filled = |text: &&str| !text.is_empty();
    let listed = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str()).filter(filled);
    let single = pod.status.pod_ip.as_deref().into_iter().filter(filled);
    let mut places: Vec<Vec<_>> = vec![
        listed.map(|ip| ("status.podIPs", ip)).collect(),
        single.map(|ip| ("status.podIP", ip)).collect(),
    ];
    places.extend(ADDRESSES.iter().map(|key| {
        let text = pod.metadata.annotations.get(*key).map(String::as_str).unwrap_or_default();
        let listed = text.split(',').map(str::trim).filter(filled);
        listed.map(|ip| ("metadata.annotations", bare(ip))).collect()
    }));
    places.into_iter().find(|place| !place.is_empty()).unwrap_or_default()
}

/// An address that may be written as a net of one.
fn bare(text: &str) -> &str {
    ["/32", "/128"].iter().find_map(|net| text.strip_suffix(net)).unwrap_or(text)
}

/// Ports of containers, and of init containers, that have a name.
fn named_ports(pod: &Pod, errors: &mut Vec<FieldError>) -> Vec<NamedPort> {
    let mut ports = Vec::new();
    let lists = [
        ("spec.containers", &pod.spec.containers),
        ("spec.initContainers", &pod.spec.init_containers),
    ];
    for (list, containers) in lists {
        for (c, container) in containers.iter().enumerate() {
            for (p, port) in container.ports.iter().enumerate() {
                let field = format!("{list}[{c}].ports[{p}]");
                ports.extend(named_port(&field, port, errors));
            }
        }
    }
    ports
}

fn named_port(
    field: &str,
    port: &tortie_model::ContainerPort,
    errors: &mut Vec<FieldError>,
) -> Option<NamedPort> {
    let number = u16::try_from(port.container_port).ok().filter(|p| *p > 0);
    if number.is_none() {
        let reason = format!("`{}` is not a port between 1 and 65535", port.container_port);
        let error = FieldError::new(format!("{field}.containerPort"), reason);
        errors.push(error.hint("write the number the container listens on"));
    }
    let text = port.protocol.as_deref().unwrap_or("TCP");
    let protocol = Protocol::parse(text).filter(|p| p.has_ports());
    if protocol.is_none() {
        let reason = format!("`{text}` is none of `TCP`, `UDP` and `SCTP`");
        let error = FieldError::new(format!("{field}.protocol"), reason);
        errors.push(error.hint("other protocols have no ports to declare"));
    }
    let name = port.name.as_deref()?.into();
    Some(NamedPort { name, protocol: protocol?, port: number? })
}

/// Addresses for endpoints that have none yet: the lowest free ones from 10.244.0.1 on in the order
/// of the endpoints' names, so that the same files always give the same addresses.
pub(crate) fn assign_addresses<'a>(
    taken: &BTreeSet<IpAddr>,
    without: impl Iterator<Item = &'a mut Endpoint>,
) {
    let mut next = u32::from(Ipv4Addr::new(10, 244, 0, 1));
    for endpoint in without {
        while taken.contains(&IpAddr::from(Ipv4Addr::from(next))) {
            next = next.wrapping_add(1);
        }
        endpoint.addresses.push(Ipv4Addr::from(next).into());
        next = next.wrapping_add(1);
    }
}
