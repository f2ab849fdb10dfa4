//! What a resource that cannot be enforced as written means all the same, where refusing it is too
//! late: whatever is in doubt denies.
//!
//! Documents are mended by taking out what the conversion refuses, and by converting each rule of a
//! policy on its own, so that what can be enforced is known from the conversion itself.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use smol_str::SmolStr;
use tortie_model::{self as model, DecodeError, FieldError, Object, ObjectMeta};
use tortie_selector::Selector;

use crate::labels::NAMESPACE;
use crate::{
    Action, Direction, Order, Policy, PolicyId, PolicyKind, Profile, Protocol, Rule, Stage,
    StagedAction, kubernetes, labels,
};

/// Most rounds of taking out what is refused.
const MAX_ROUNDS: usize = 16;

/// The tier of policies whose tier or order cannot be read: it comes before all others.
pub(crate) const UNREADABLE_TIER: &str = "(unreadable)";

/// The order before all others.
pub(crate) fn first() -> Order {
    Order::new(Some(f64::MIN)).unwrap_or(Order::LAST)
}

/// The policy that an object which is one stands for, although it cannot be enforced as written.
pub(crate) fn policy(object: &Object) -> Option<Policy> {
    Some(match object {
        Object::GlobalNetworkPolicy(p) => {
            Mender::new(PolicyKind::GlobalNetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::NetworkPolicy(p) => {
            Mender::new(PolicyKind::NetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::StagedGlobalNetworkPolicy(p) => {
            Mender::new(PolicyKind::StagedGlobalNetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::StagedNetworkPolicy(p) => {
            Mender::new(PolicyKind::StagedNetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::StagedKubernetesNetworkPolicy(p) => {
            Mender::new(PolicyKind::StagedKubernetesNetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::KubernetesNetworkPolicy(p) => {
            Mender::new(PolicyKind::KubernetesNetworkPolicy, &p.metadata, &**p).policy()
        }
        Object::ClusterNetworkPolicy(p) => {
            Mender::new(PolicyKind::KubernetesClusterNetworkPolicy, &p.metadata, &**p).policy()
        }
        _ => return None,
    })
}

/// The profile that a document stands for, although it cannot be enforced as written.
pub(crate) fn profile(wire: &model::Profile) -> Profile {
    let rules = model::GlobalNetworkPolicy {
        spec: model::PolicySpec {
            ingress: wire.spec.ingress.clone(),
            egress: wire.spec.egress.clone(),
            ..model::PolicySpec::default()
        },
        ..model::GlobalNetworkPolicy::default()
    };
    let mender = Mender::new(PolicyKind::GlobalNetworkPolicy, &wire.metadata, &rules);
    Profile {
        name: wire.metadata.name.as_str().into(),
        labels: labels::from_wire(&wire.spec.labels_to_apply, &mut Vec::new()),
        ingress: mender.rules(Direction::Ingress),
        egress: mender.rules(Direction::Egress),
    }
}

/// A thing of another kind, without the fields and entries that are refused; nothing if what is
/// left is refused as a whole.
pub(crate) fn without_errors<W, T>(
    wire: &W,
    convert: impl Fn(&W) -> Result<T, Vec<FieldError>>,
) -> Option<T>
where
    W: Serialize + DeserializeOwned,
{
    let mut document = serde_json::to_value(wire).ok()?;
    for _ in 0..MAX_ROUNDS {
        let errors = match convert(&serde_json::from_value(document.clone()).ok()?) {
            Ok(thing) => return Some(thing),
            Err(errors) => errors,
        };
        take_reserved(&mut document);
        // From the last to the first, so that positions in a list stay true.
        errors.iter().rev().for_each(|error| remove(&mut document, &error.field));
    }
    None
}

fn take_reserved(document: &mut Value) {
    if let Some(Value::Object(own)) = document.pointer_mut("/metadata/labels") {
        own.retain(|key, _| !labels::is_reserved(key));
    }
}

impl Policy {
    /// What stands for a policy of which nothing but its name can be read: it denies, in both
    /// directions and before all other policies, every workload of its namespace, or of the whole
    /// cluster outside `kube-system`; never a host endpoint. Nothing for other kinds.
    pub fn undecodable(error: &DecodeError) -> Option<Policy> {
        let kind = match error.kind.as_str() {
            "GlobalNetworkPolicy" => PolicyKind::GlobalNetworkPolicy,
            "NetworkPolicy" => PolicyKind::NetworkPolicy,
            "ClusterNetworkPolicy" => PolicyKind::KubernetesClusterNetworkPolicy,
            _ => return None,
        };
        let namespace = (kind == PolicyKind::NetworkPolicy)
            .then(|| error.namespace.as_deref().unwrap_or("default").into());
        let id = PolicyId { kind, namespace, name: error.name.as_str().into() };
        Some(denying(id))
    }
}

/// A policy that denies everything to and from the workloads it may be about.
fn denying(id: PolicyId) -> Policy {
    Policy {
        tier: UNREADABLE_TIER.into(),
        order: first(),
        subject: all_workloads(id.namespace.as_ref()),
        governs_ingress: true,
        governs_egress: true,
        ingress: vec![Rule::any(Action::Deny)],
        egress: vec![Rule::any(Action::Deny)],
        stage: Stage::Normal,
        staged: None,
        id,
    }
}

/// All workloads of a namespace, or of the cluster outside `kube-system`.
fn all_workloads(namespace: Option<&SmolStr>) -> Selector {
    let selector = match namespace {
        Some(namespace) => Selector::equals(NAMESPACE, namespace),
        None => Selector::equals(NAMESPACE, "kube-system")
            .and_then(|system| Selector::and([has_namespace(), system.not()])),
    };
    selector.unwrap_or_else(|_| has_namespace())
}

/// Workloads and no host endpoints.
fn has_namespace() -> Selector {
    let has = tortie_selector::Node::Has(NAMESPACE.into());
    Selector::from_node(has).unwrap_or_else(|_| Selector::all())
}

/// Mends policies of one kind.
struct Mender<W> {
    id: PolicyId,
    /// Name for conversions: names are never in doubt here.
    metadata: Value,
    spec: Map<String, Value>,
    wire: std::marker::PhantomData<W>,
}

/// What of a policy as a whole cannot be read.
#[derive(Default)]
struct Doubt {
    subject: bool,
    types: bool,
    place: bool,
    staged_action: bool,
    other: bool,
}

impl<W> Mender<W>
where
    W: Serialize + DeserializeOwned,
    for<'w> Policy: TryFrom<&'w W, Error = Vec<FieldError>>,
{
    fn new(kind: PolicyKind, metadata: &ObjectMeta, wire: &W) -> Mender<W> {
        let namespaced = matches!(
            kind.enforced(),
            PolicyKind::NetworkPolicy | PolicyKind::KubernetesNetworkPolicy
        );
        let namespace = namespaced.then(|| kubernetes::namespace_of(metadata));
        let spec = serde_json::to_value(wire).ok().and_then(|mut document| {
            match document.get_mut("spec").map(Value::take) {
                Some(Value::Object(spec)) => Some(spec),
                _ => None,
            }
        });
        let name = json!({"name": "mended", "namespace": namespace});
        let id = PolicyId { kind, namespace, name: metadata.name.as_str().into() };
        Mender { id, metadata: name, spec: spec.unwrap_or_default(), wire: Default::default() }
    }

    fn convert(&self, spec: &Map<String, Value>) -> Result<Policy, Vec<FieldError>> {
        let document = json!({"metadata": self.metadata, "spec": spec});
        let wire: W = serde_json::from_value(document)
            .map_err(|error| vec![FieldError::new("spec", error.to_string())])?;
        Policy::try_from(&wire)
    }

    fn policy(&self) -> Policy {
        let Some((mut policy, doubt)) = self.frame() else {
            // One that is staged is not enforced, whatever it says.
            let staged = self.id.kind.is_staged().then_some(StagedAction::Ignore);
            return Policy { staged, ..denying(self.id.clone()) };
        };
        policy.id = self.id.clone();
        if doubt.staged_action {
            policy.staged = policy.staged.and(Some(StagedAction::Ignore));
        }
        if doubt.subject || doubt.types || doubt.place || doubt.other {
            policy.ingress = vec![Rule::any(Action::Deny)];
            policy.egress = vec![Rule::any(Action::Deny)];
            policy.stage = Stage::Normal;
            policy.subject = match doubt.subject {
                true => all_workloads(self.id.namespace.as_ref()),
                false => Selector::and([policy.subject, has_namespace()])
                    .unwrap_or_else(|_| all_workloads(self.id.namespace.as_ref())),
            };
        } else {
            policy.ingress = self.rules(Direction::Ingress);
            policy.egress = self.rules(Direction::Egress);
        }
        if doubt.types {
            (policy.governs_ingress, policy.governs_egress) = (true, true);
        }
        if doubt.place {
            (policy.tier, policy.order) = (UNREADABLE_TIER.into(), first());
        }
        policy
    }

    /// The policy without its rules, and what of it is in doubt; nothing if all of it is.
    fn frame(&self) -> Option<(Policy, Doubt)> {
        let mut spec = self.spec.clone();
        for direction in [Direction::Ingress, Direction::Egress] {
            if let Some(Value::Array(rules)) = spec.get_mut(list(direction)) {
                // As many, so that types are inferred as ever.
                rules.iter_mut().for_each(|rule| *rule = self.stand_in(direction));
            }
        }
        let mut doubt = Doubt::default();
        for _ in 0..MAX_ROUNDS {
            let errors = match self.convert(&spec) {
                Ok(policy) => return Some((policy, doubt)),
                Err(errors) => errors,
            };
            errors.iter().for_each(|error| self.take_out(&error.field, &mut spec, &mut doubt));
        }
        None
    }

    /// Takes a field of the policy as a whole out, and notes what is in doubt without it.
    fn take_out(&self, field: &str, spec: &mut Map<String, Value>, doubt: &mut Doubt) {
        let field = field.strip_prefix("spec.").unwrap_or_default();
        let field = field.split(['.', '[']).next().unwrap_or_default();
        let is_true = |value: Option<&Value>| value == Some(&Value::Bool(true));
        match field {
            "selector" | "namespaceSelector" | "serviceAccountSelector" | "podSelector" => {
                doubt.subject = true;
            }
            "subject" => {
                doubt.subject = true;
                spec.insert("subject".into(), json!({"namespaces": {}}));
                return;
            }
            "types" | "policyTypes" => doubt.types = true,
            "tier" | "order" => doubt.place = true,
            "priority" => {
                doubt.place = true;
                spec.insert("priority".into(), json!(0));
                return;
            }
            "stagedAction" => doubt.staged_action = true,
            "performanceHints" => {}
            // Without its rules nobody can tell which directions it governs.
            "ingress" | "egress" => (doubt.types, doubt.other) = (true, true),
            // Host endpoints alone have these: what they say is kept, so that a policy of theirs
            // never becomes one of workloads.
            "applyOnForward" if self.id.namespace.is_none() => {
                spec.insert("applyOnForward".into(), json!(true));
                return;
            }
            "preDNAT" if self.id.namespace.is_none() && !is_true(spec.get("doNotTrack")) => {
                spec.remove("egress");
                spec.insert("types".into(), json!(["Ingress"]));
                return;
            }
            _ => doubt.other |= !["applyOnForward", "preDNAT", "doNotTrack"].contains(&field),
        }
        spec.remove(field);
        if field == "tier" && self.id.kind == PolicyKind::KubernetesClusterNetworkPolicy {
            spec.insert("tier".into(), json!("Admin"));
        }
    }

    /// The rules of a direction, each with what can be enforced of it.
    fn rules(&self, direction: Direction) -> Vec<Rule> {
        let Some(Value::Array(wire)) = self.spec.get(list(direction)) else { return Vec::new() };
        let mut rules = Vec::new();
        for (origin, wire) in wire.iter().enumerate() {
            let of_one =
                self.rule(direction, wire).unwrap_or_else(|e| self.mended(direction, wire, e));
            rules.extend(of_one.into_iter().map(|rule| Rule { origin, ..rule }));
        }
        rules
    }

    /// What one rule converts to, on its own.
    fn rule(&self, direction: Direction, wire: &Value) -> Result<Vec<Rule>, Vec<FieldError>> {
        let mut spec = Map::new();
        if self.id.kind == PolicyKind::KubernetesClusterNetworkPolicy {
            spec.insert("tier".into(), json!("Admin"));
            spec.insert("subject".into(), json!({"namespaces": {}}));
        }
        spec.insert(list(direction).into(), json!([wire]));
        let policy = self.convert(&spec)?;
        Ok(match direction {
            Direction::Ingress => policy.ingress,
            Direction::Egress => policy.egress,
        })
    }

    /// What a rule with an unusable part comes to: an Allow matches nothing, everything else denies
    /// what the rest of it matches.
    fn mended(&self, direction: Direction, wire: &Value, mut errors: Vec<FieldError>) -> Vec<Rule> {
        let mut wire = wire.clone();
        match wire.get("action").and_then(Value::as_str) {
            None if self.id.kind.enforced() == PolicyKind::KubernetesNetworkPolicy => {
                return vec![never()];
            }
            Some("Allow" | "Accept" | "Log") => return vec![never()],
            _ => {}
        }
        if let Value::Object(rule) = &mut wire {
            rule.insert("action".into(), json!("Deny"));
        }
        for _ in 0..MAX_ROUNDS {
            for error in &errors {
                remove_criterion(&mut wire, &error.field);
            }
            match self.rule(direction, &wire) {
                Ok(rules) => return rules,
                Err(found) if found == errors => break,
                Err(found) => errors = found,
            }
        }
        vec![Rule::any(Action::Deny)]
    }

    fn stand_in(&self, direction: Direction) -> Value {
        match (self.id.kind.enforced(), direction) {
            (PolicyKind::KubernetesNetworkPolicy, _) => json!({}),
            (PolicyKind::KubernetesClusterNetworkPolicy, Direction::Ingress) => {
                json!({"action": "Deny", "from": [{"namespaces": {}}]})
            }
            (PolicyKind::KubernetesClusterNetworkPolicy, Direction::Egress) => {
                json!({"action": "Deny", "to": [{"namespaces": {}}]})
            }
            _ => json!({"action": "Deny"}),
        }
    }
}

fn list(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// A rule that matches nothing.
fn never() -> Rule {
    Rule {
        protocol: Some(Protocol::TCP),
        not_protocol: Some(Protocol::TCP),
        ..Rule::any(Action::Allow)
    }
}

/// Takes the criterion that a field belongs to out of a rule: `nets` as a whole for one of them.
fn remove_criterion(rule: &mut Value, field: &str) {
    let mut names = field.split('.').skip(2).map(|name| name.split('[').next().unwrap_or(name));
    let Some(first) = names.next().filter(|name| *name != "action") else { return };
    match (names.next(), rule.get_mut(first)) {
        (Some(second), Some(Value::Object(side))) if ["source", "destination"].contains(&first) => {
            side.remove(second);
        }
        _ => {
            if let Value::Object(rule) = rule {
                rule.remove(first);
            }
        }
    }
}

/// Takes what a path such as `spec.nets[1]` leads to out of a document, if it is there.
fn remove(document: &mut Value, path: &str) {
    let pointer: String =
        path.split(['.', '[']).map(|name| format!("/{}", name.trim_end_matches(']'))).collect();
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    match document.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(last)),
        Some(Value::Array(entries)) => {
            if let Some(index) = last.parse().ok().filter(|index| *index < entries.len()) {
                let _: Value = entries.remove(index);
            }
        }
        _ => {}
    }
}
