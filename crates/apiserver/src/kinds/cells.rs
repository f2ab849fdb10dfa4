//! Cells of `kubectl get` that have to be worked out, and durations as people read them.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::object::{shown, text};

/// Works out a cell of an object.
pub(super) type Compute = fn(&Value, OffsetDateTime) -> Value;

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn count(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn joined(parts: impl Iterator<Item = String>) -> Value {
    let text = parts.collect::<Vec<_>>().join(",");
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn word(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// How long ago a time was, as `kubectl` says it.
pub(crate) fn age(timestamp: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(timestamp, &Rfc3339) {
        Ok(then) => duration((now - then).whole_seconds()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// The two largest units, the smaller one only while it matters.
fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let both = |large: i64, a: &str, small: i64, b: &str| match seconds % large / small {
        0 => format!("{}{a}", seconds / large),
        rest => format!("{}{a}{rest}{b}", seconds / large),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => both(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => both(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => both(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => both(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

pub(super) fn pod_ready(pod: &Value, _: OffsetDateTime) -> Value {
    let ready = list(pod, "/status/containerStatuses")
        .filter(|one| one.get("ready") == Some(&Value::Bool(true)));
    format!("{}/{}", ready.count(), list(pod, "/spec/containers").count()).into()
}

pub(super) fn pod_status(pod: &Value, _: OffsetDateTime) -> Value {
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return "Terminating".into();
    }
    let waits = list(pod, "/status/containerStatuses")
        .flat_map(|one| [text(one, "/state/waiting/reason"), text(one, "/state/terminated/reason")])
        .find(|reason| !reason.is_empty());
    let said = [waits.unwrap_or_default(), text(pod, "/status/reason"), text(pod, "/status/phase")];
    said.into_iter().find(|one| !one.is_empty()).unwrap_or("Unknown").into()
}

pub(super) fn pod_restarts(pod: &Value, _: OffsetDateTime) -> Value {
    let all = list(pod, "/status/containerStatuses");
    all.map(|one| count(one, "/restartCount")).sum::<i64>().to_string().into()
}

pub(super) fn service_external(service: &Value, _: OffsetDateTime) -> Value {
    let ingress = list(service, "/status/loadBalancer/ingress")
        .flat_map(|one| [text(one, "/ip"), text(one, "/hostname")]);
    let given = list(service, "/spec/externalIPs").filter_map(Value::as_str);
    let all: Vec<String> =
        given.chain(ingress).filter(|one| !one.is_empty()).map(str::to_owned).collect();
    match (all.is_empty(), text(service, "/spec/type")) {
        (true, "LoadBalancer") => "<pending>".into(),
        _ => joined(all.into_iter()),
    }
}

pub(super) fn service_ports(service: &Value, _: OffsetDateTime) -> Value {
    joined(list(service, "/spec/ports").map(|one| {
        let protocol = match text(one, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        match count(one, "/nodePort") {
            0 => format!("{}/{protocol}", count(one, "/port")),
            node => format!("{}:{node}/{protocol}", count(one, "/port")),
        }
    }))
}

fn pairs(labels: Option<&Value>) -> impl Iterator<Item = String> + use<'_> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    labels.map(|(key, value)| format!("{key}={}", shown(value)))
}

/// A label selector as people write it.
fn selector(value: Option<&Value>) -> Value {
    let Some(value) = value else { return "<none>".into() };
    let expressions = list(value, "/matchExpressions").map(|one| {
        let values: Vec<_> = list(one, "/values").map(shown).collect();
        let key = text(one, "/key");
        match text(one, "/operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        }
    });
    joined(pairs(value.get("matchLabels")).chain(expressions))
}

pub(super) fn service_selector(service: &Value, _: OffsetDateTime) -> Value {
    joined(pairs(service.pointer("/spec/selector")))
}

pub(super) fn workload_selector(workload: &Value, _: OffsetDateTime) -> Value {
    selector(workload.pointer("/spec/selector"))
}

pub(super) fn pod_selector(policy: &Value, _: OffsetDateTime) -> Value {
    selector(policy.pointer("/spec/podSelector"))
}

pub(super) fn node_status(node: &Value, _: OffsetDateTime) -> Value {
    let ready = list(node, "/status/conditions").find(|one| text(one, "/type") == "Ready");
    let ready = match ready.map(|one| text(one, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match node.pointer("/spec/unschedulable") {
        Some(Value::Bool(true)) => format!("{ready},SchedulingDisabled").into(),
        _ => ready.into(),
    }
}

pub(super) fn node_roles(node: &Value, _: OffsetDateTime) -> Value {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let roles = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned));
    joined(roles)
}

pub(super) fn replicas_ready(workload: &Value, _: OffsetDateTime) -> Value {
    let wanted = count(workload, "/spec/replicas");
    format!("{}/{wanted}", count(workload, "/status/readyReplicas")).into()
}

pub(super) fn updated(workload: &Value, _: OffsetDateTime) -> Value {
    count(workload, "/status/updatedReplicas").into()
}

pub(super) fn available(workload: &Value, _: OffsetDateTime) -> Value {
    count(workload, "/status/availableReplicas").into()
}

pub(super) fn current(workload: &Value, _: OffsetDateTime) -> Value {
    count(workload, "/status/replicas").into()
}

pub(super) fn ready(workload: &Value, _: OffsetDateTime) -> Value {
    count(workload, "/status/readyReplicas").into()
}

pub(super) fn scheduled(set: &Value, _: OffsetDateTime) -> Value {
    count(set, "/status/desiredNumberScheduled").into()
}

pub(super) fn placed(set: &Value, _: OffsetDateTime) -> Value {
    count(set, "/status/currentNumberScheduled").into()
}

pub(super) fn ready_of_nodes(set: &Value, _: OffsetDateTime) -> Value {
    count(set, "/status/numberReady").into()
}

pub(super) fn job_status(job: &Value, _: OffsetDateTime) -> Value {
    let ended = list(job, "/status/conditions").find(|one| {
        text(one, "/status") == "True" && ["Complete", "Failed"].contains(&text(one, "/type"))
    });
    ended.map_or("Running", |one| text(one, "/type")).into()
}

pub(super) fn job_completions(job: &Value, _: OffsetDateTime) -> Value {
    let wanted = job.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1);
    format!("{}/{wanted}", count(job, "/status/succeeded")).into()
}

pub(super) fn ingress_hosts(ingress: &Value, _: OffsetDateTime) -> Value {
    let hosts = list(ingress, "/spec/rules").map(|rule| text(rule, "/host").to_owned());
    let hosts: Vec<String> = hosts.filter(|host| !host.is_empty()).collect();
    if hosts.is_empty() { "*".into() } else { joined(hosts.into_iter()) }
}

fn containers<'a>(workload: &'a Value, field: &'a str) -> impl Iterator<Item = String> + 'a {
    list(workload, "/spec/template/spec/containers").map(move |one| text(one, field).to_owned())
}

pub(super) fn template_containers(workload: &Value, _: OffsetDateTime) -> Value {
    joined(containers(workload, "/name"))
}

pub(super) fn template_images(workload: &Value, _: OffsetDateTime) -> Value {
    joined(containers(workload, "/image"))
}

pub(super) fn account_secrets(account: &Value, _: OffsetDateTime) -> Value {
    list(account, "/secrets").count().to_string().into()
}

pub(super) fn data_count(object: &Value, _: OffsetDateTime) -> Value {
    let entries =
        |pointer| object.pointer(pointer).and_then(Value::as_object).map_or(0, |o| o.len());
    (entries("/data") + entries("/binaryData")).to_string().into()
}

pub(super) fn endpoints(object: &Value, _: OffsetDateTime) -> Value {
    let subset = |subset: &Value| -> Vec<String> {
        let ports: Vec<i64> = list(subset, "/ports").map(|port| count(port, "/port")).collect();
        let addresses = list(subset, "/addresses").map(|one| text(one, "/ip").to_owned());
        let with_ports = |ip: String| match ports.as_slice() {
            [] => vec![ip],
            ports => ports.iter().map(|port| format!("{ip}:{port}")).collect(),
        };
        addresses.flat_map(with_ports).collect()
    };
    joined(list(object, "/subsets").flat_map(subset))
}

pub(super) fn slice_ports(slice: &Value, _: OffsetDateTime) -> Value {
    joined(list(slice, "/ports").map(|port| count(port, "/port").to_string()))
}

pub(super) fn slice_endpoints(slice: &Value, _: OffsetDateTime) -> Value {
    let addresses = list(slice, "/endpoints").flat_map(|one| list(one, "/addresses"));
    joined(addresses.map(|address| shown(address).into_owned()))
}

pub(super) fn event_seen(event: &Value, now: OffsetDateTime) -> Value {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
    let time = times.into_iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty());
    age(time.unwrap_or_default(), now).into()
}

pub(super) fn event_object(event: &Value, _: OffsetDateTime) -> Value {
    let kind = text(event, "/involvedObject/kind").to_lowercase();
    format!("{kind}/{}", text(event, "/involvedObject/name")).into()
}

pub(super) fn role_ref(binding: &Value, _: OffsetDateTime) -> Value {
    format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name")).into()
}

fn bound(binding: &Value, kind: &str) -> Value {
    let subjects = list(binding, "/subjects").filter(|one| text(one, "/kind") == kind);
    let names = subjects.map(|one| match text(one, "/namespace") {
        "" => text(one, "/name").to_owned(),
        namespace => format!("{namespace}/{}", text(one, "/name")),
    });
    word(&names.collect::<Vec<_>>().join(", "))
}

pub(super) fn bound_users(binding: &Value, _: OffsetDateTime) -> Value {
    bound(binding, "User")
}

pub(super) fn bound_groups(binding: &Value, _: OffsetDateTime) -> Value {
    bound(binding, "Group")
}

pub(super) fn bound_accounts(binding: &Value, _: OffsetDateTime) -> Value {
    bound(binding, "ServiceAccount")
}

pub(super) fn created_at(object: &Value, _: OffsetDateTime) -> Value {
    text(object, "/metadata/creationTimestamp").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_kubectl() {
        let cases = [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (180, "3m"),
            (3600, "60m"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600, "9h"),
            (50 * 3600, "2d2h"),
            (30 * 86_400, "30d"),
            (800 * 86_400, "2y70d"),
            (4000 * 86_400, "10y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
