//! A world as a user would write it.

use serde_json::{Map, Value, json};
use tortie_policy::Plane;

use super::{
    Account, Action, Direction, Entity, Expr, Http, Labels, Namespace, Pod, Policy, Ports,
    Protocol, Rule, State, Tier, World,
};

impl World {
    /// The resources that describe the world, one JSON document each.
    pub fn documents(&self) -> Vec<Value> {
        let mut documents: Vec<Value> = self.namespaces.iter().map(namespace).collect();
        documents.extend(self.accounts.iter().map(account));
        documents.extend(self.pods.iter().map(pod));
        documents.extend(self.tiers.iter().map(tier));
        documents.extend(self.policies.iter().map(policy));
        documents
    }
}

/// Makes the document of a global policy that of a policy for a plane of host endpoints, without what is
/// not allowed there.
pub fn put_on_plane(policy: &mut Value, plane: Plane) {
    let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if plane != Plane::Normal {
        spec.insert("applyOnForward".to_owned(), true.into());
    }
    if let Plane::PreDnat | Plane::Untracked = plane {
        let field = if plane == Plane::PreDnat { "preDNAT" } else { "doNotTrack" };
        spec.insert(field.to_owned(), true.into());
        for list in ["ingress", "egress"] {
            let rules = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            rules.filter_map(Value::as_object_mut).for_each(|rule| drop(rule.remove("http")));
        }
    }
    if plane == Plane::PreDnat {
        spec.remove("egress");
        spec.insert("types".to_owned(), json!(["Ingress"]));
    }
}

/// A mapping of the entries that are there.
fn mapping<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let present = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(present.collect::<Map<_, _>>())
}

/// A list, absent if it is empty.
fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(value).collect())
}

fn resource(version: &str, kind: &str, metadata: Value, spec: Option<Value>) -> Value {
    mapping([
        ("apiVersion", Some(version.into())),
        ("kind", Some(kind.into())),
        ("metadata", Some(metadata)),
        ("spec", spec),
    ])
}

fn namespace(namespace: &Namespace) -> Value {
    let mut labels: Labels = namespace.labels.clone();
    if namespace.sidecars {
        labels.insert("istio-injection", "enabled");
    }
    resource("v1", "Namespace", json!({"name": namespace.name, "labels": labels}), None)
}

fn account(account: &Account) -> Value {
    let Account { namespace, name, labels } = account;
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    resource("v1", "ServiceAccount", metadata, None)
}

fn pod(pod: &Pod) -> Value {
    let refusal = json!({"sidecar.istio.io/inject": "false"});
    let metadata = mapping([
        ("name", Some(pod.name.as_str().into())),
        ("namespace", Some(pod.namespace.into())),
        ("labels", Some(json!(pod.labels))),
        ("annotations", pod.no_sidecar.then_some(refusal)),
    ]);
    let ports = list(
        &pod.ports,
        |port| json!({"name": port.name, "containerPort": port.number, "protocol": port.protocol.text}),
    );
    let spec = mapping([
        ("serviceAccountName", pod.account.map(Value::from)),
        ("hostNetwork", (pod.state == State::HostNetwork).then_some(true.into())),
        ("containers", Some(json!([mapping([("ports", ports)])]))),
    ]);
    let mut document = resource("v1", "Pod", metadata, Some(spec));
    let phase = if pod.state == State::Finished { "Succeeded" } else { "Running" };
    let addresses = list(&pod.addresses, |ip| json!({"ip": ip.to_string()}));
    let status = mapping([("phase", Some(phase.into())), ("podIPs", addresses)]);
    if let Value::Object(document) = &mut document {
        document.insert("status".into(), status);
    }
    document
}

fn tier(tier: &Tier) -> Value {
    let action = tier.pass.map(|pass| if pass { "Pass" } else { "Deny" });
    let spec = mapping([
        ("order", tier.order.map(Value::from)),
        ("defaultAction", action.map(Value::from)),
    ]);
    resource("projectcalico.org/v3", "Tier", json!({"name": tier.name}), Some(spec))
}

fn selector(expr: &Option<Expr>) -> Option<Value> {
    expr.as_ref().map(|e| e.to_string().into())
}

fn policy(policy: &Policy) -> Value {
    let rules = |rules: &Option<Vec<Rule>>| rules.as_ref().map(|r| r.iter().map(rule).collect());
    let word = |direction: &Direction| match direction {
        Direction::Ingress => "Ingress",
        Direction::Egress => "Egress",
    };
    let types = policy.types.as_ref().map(|types| types.iter().map(word).collect());
    let spec = mapping([
        ("tier", policy.tier.map(Value::from)),
        ("order", policy.order.map(Value::from)),
        ("selector", selector(&policy.selector)),
        ("namespaceSelector", selector(&policy.namespaces)),
        ("serviceAccountSelector", selector(&policy.accounts)),
        ("types", types),
        ("ingress", rules(&policy.ingress)),
        ("egress", rules(&policy.egress)),
    ]);
    let metadata = mapping([
        ("name", Some(policy.name.as_str().into())),
        ("namespace", policy.namespace.map(Value::from)),
    ]);
    let kind = if policy.namespace.is_some() { "NetworkPolicy" } else { "GlobalNetworkPolicy" };
    resource("projectcalico.org/v3", kind, metadata, Some(spec))
}

fn rule(rule: &Rule) -> Value {
    let action = match rule.action {
        Action::Allow => "Allow",
        Action::Deny => "Deny",
        Action::Log => "Log",
        Action::Pass => "Pass",
    };
    let protocol = |p: &Option<Protocol>| p.map(|p| p.text.into());
    let side = |e: &Entity| Some(entity(e)).filter(|e| *e != json!({}));
    mapping([
        ("action", Some(action.into())),
        ("ipVersion", rule.version.map(Value::from)),
        ("protocol", protocol(&rule.protocol)),
        ("notProtocol", protocol(&rule.not_protocol)),
        ("source", side(&rule.source)),
        ("destination", side(&rule.destination)),
        ("http", rule.http.as_ref().map(http)),
    ])
}

fn entity(entity: &Entity) -> Value {
    let words = |list: &[_]| self::list(list, |word: &super::Word| (*word).into());
    let accounts = mapping([
        ("names", words(&entity.account_names)),
        ("selector", selector(&entity.accounts)),
    ]);
    mapping([
        ("nets", words(&entity.nets)),
        ("notNets", words(&entity.not_nets)),
        ("selector", selector(&entity.selector)),
        ("notSelector", selector(&entity.not_selector)),
        ("namespaceSelector", selector(&entity.namespaces)),
        ("serviceAccounts", Some(accounts).filter(|a| *a != json!({}))),
        ("ports", list(&entity.ports, ports)),
        ("notPorts", list(&entity.not_ports, ports)),
    ])
}

fn ports(ports: &Ports) -> Value {
    match ports {
        Ports::Range(first, last) if first == last => (*first).into(),
        Ports::Range(first, last) => format!("{first}:{last}").into(),
        Ports::Named(name) => (*name).into(),
    }
}

fn http(http: &Http) -> Value {
    let path = |(exact, path): &(bool, super::Word)| {
        mapping([(if *exact { "exact" } else { "prefix" }, Some((*path).into()))])
    };
    mapping([
        ("methods", list(&http.methods, |method| (*method).into())),
        ("paths", list(&http.paths, path)),
    ])
}
