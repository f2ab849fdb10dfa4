//! Deployments: a ReplicaSet for each template they have had, the current one scaled up while the
//! others are scaled down.

use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::replicas::wanted as replicas;
use super::{Action, Facts, conditions, document, merge, owner, status};
use crate::world::{Kind, World, is_terminating, key, number, text};

/// The label that tells the pods of one template from those of another.
const HASH: &str = "pod-template-hash";
/// The annotation that counts templates.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// What hashes are written in: nothing that reads as a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many ReplicaSets without pods are kept if nothing is said.
const HISTORY: u64 = 10;

pub(super) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let all = world.documents(Kind::Deployment).filter(|one| !is_terminating(one));
    all.flat_map(|one| Rollout::new(world, one).actions(facts)).collect()
}

/// A hash of a template, as part of names.
pub(super) fn template_hash(set: &Value) -> String {
    let template = set.pointer("/spec/template").map(Value::to_string).unwrap_or_default();
    let letter = |byte: &u8| ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied();
    Sha1::digest(template).iter().take(10).filter_map(letter).map(char::from).collect()
}

/// A Deployment and its ReplicaSets.
struct Rollout<'a> {
    deployment: &'a Value,
    hash: String,
    current: Option<&'a Value>,
    /// Those of other templates, oldest first.
    others: Vec<&'a Value>,
}

fn revision(set: &Value) -> u64 {
    let text = set.pointer("/metadata/annotations").and_then(|all| all.get(REVISION));
    text.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A number, or a percentage of all.
fn share(value: Option<&Value>, all: u64, round_up: bool) -> u64 {
    match value {
        Some(Value::Number(number)) => number.as_u64().unwrap_or_default(),
        other => {
            let text = other.and_then(Value::as_str).unwrap_or("25%");
            let percent: u64 = text.trim_end_matches('%').parse().unwrap_or(25);
            let product = all.saturating_mul(percent);
            if round_up { product.div_ceil(100) } else { product / 100 }
        }
    }
}

impl<'a> Rollout<'a> {
    fn new(world: &'a World, deployment: &'a Value) -> Self {
        let hash = template_hash(deployment);
        let is_current = |set: &&Value| {
            set.pointer("/metadata/labels").and_then(|l| l.get(HASH)) == Some(&Value::from(&*hash))
        };
        let owned = world.owned(Kind::ReplicaSet, text(deployment, "/metadata/uid"));
        let (current, mut others): (Vec<_>, Vec<_>) = owned.partition(is_current);
        others.sort_by_key(|set| revision(set));
        Self { deployment, current: current.first().copied(), others, hash }
    }

    fn actions(&self, facts: &Facts) -> Vec<Action> {
        let paused = self.deployment.pointer("/spec/paused") == Some(&Value::Bool(true));
        let mut actions = match self.current {
            None if !paused => vec![Action::Create(Kind::ReplicaSet, self.new_set())],
            _ if paused => Vec::new(),
            Some(current) => self.roll(current),
            None => Vec::new(),
        };
        actions.extend(self.forgotten());
        let (name, found) = (self.deployment, self.status(facts));
        actions.extend(status(Kind::Deployment, name, found));
        actions
    }

    fn wanted(&self) -> u64 {
        replicas(self.deployment)
    }

    /// How many pods may be there beyond those wanted, and how many of those may be missing.
    fn slack(&self) -> (u64, u64) {
        let of =
            |name: &str| self.deployment.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
        if text(self.deployment, "/spec/strategy/type") == "Recreate" {
            return (0, self.wanted());
        }
        match (
            share(of("maxSurge"), self.wanted(), true),
            share(of("maxUnavailable"), self.wanted(), false),
        ) {
            (0, 0) => (0, 1),
            slack => slack,
        }
    }

    fn new_set(&self) -> Value {
        let deployment = self.deployment;
        let label = json!({ HASH: self.hash });
        let labelled = |pointer: &str| {
            let mut labels = deployment.pointer(pointer).cloned().unwrap_or(json!({}));
            merge(&mut labels, &label);
            labels
        };
        let mut template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
        merge(&mut template, &json!({"metadata": {"labels": label}}));
        let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or(json!({}));
        merge(&mut selector, &json!({"matchLabels": label}));
        let last = self.others.iter().map(|set| revision(set)).max().unwrap_or_default();
        let metadata = json!({
            "name": format!("{}-{}", text(deployment, "/metadata/name"), self.hash),
            "namespace": text(deployment, "/metadata/namespace"),
            "labels": labelled("/spec/template/metadata/labels"),
            "annotations": {(REVISION): (last + 1).to_string()},
            "ownerReferences": owner(Kind::Deployment, deployment),
        });
        let spec =
            json!({"replicas": self.first_size(), "selector": selector, "template": template});
        document(Kind::ReplicaSet, metadata, json!({ "spec": spec }))
    }

    /// How large the current set may be beside the others.
    fn first_size(&self) -> u64 {
        let (surge, _) = self.slack();
        let others: u64 = self.others.iter().map(|set| self.occupied(set)).sum();
        self.wanted().min((self.wanted() + surge).saturating_sub(others))
    }

    /// The pods of a set that are there or will be; with `Recreate` none may be left.
    fn occupied(&self, set: &Value) -> u64 {
        replicas(set).max(number(set, "/status/replicas"))
    }

    /// One step: the current set grows as far as it may, the others shrink as far as they may.
    fn roll(&self, current: &Value) -> Vec<Action> {
        let last = self.others.iter().map(|set| revision(set)).max().unwrap_or_default();
        let mut actions = Vec::new();
        // A template that is taken up again counts as new.
        let newer = (revision(current) <= last).then_some(last + 1);
        let size = self.first_size();
        // What was there before a change to the other side is not taken away for its sake.
        let size = if size < self.wanted() {
            size.max(replicas(current).min(self.wanted()))
        } else {
            size
        };
        if replicas(current) != size || newer.is_some() {
            let mut set = current.clone();
            merge(&mut set, &json!({"spec": {"replicas": size}}));
            if let Some(newer) = newer {
                let annotations = json!({(REVISION): newer.to_string()});
                merge(&mut set, &json!({"metadata": {"annotations": annotations}}));
            }
            actions.push(Action::Replace(Kind::ReplicaSet, set));
        }
        actions.extend(self.shrink(current));
        actions
    }

    fn shrink(&self, current: &Value) -> Vec<Action> {
        let (_, unavailable) = self.slack();
        let least = self.wanted().saturating_sub(unavailable);
        let available = |set: &Value| number(set, "/status/availableReplicas").min(replicas(set));
        let all = available(current) + self.others.iter().map(|set| available(set)).sum::<u64>();
        let mut may_go = all.saturating_sub(least);
        let mut actions = Vec::new();
        for set in self.others.iter().filter(|set| replicas(set) > 0) {
            // Pods that are not available are no loss.
            let idle = replicas(set) - available(set);
            let going = may_go.min(available(set));
            may_go -= going;
            if idle + going > 0 {
                let mut smaller = (*set).clone();
                let size = replicas(set) - idle - going;
                merge(&mut smaller, &json!({"spec": {"replicas": size}}));
                actions.push(Action::Replace(Kind::ReplicaSet, smaller));
            }
        }
        actions
    }

    /// Empty sets beyond those that are kept, the oldest.
    fn forgotten(&self) -> Vec<Action> {
        let limit = self.deployment.pointer("/spec/revisionHistoryLimit").and_then(Value::as_u64);
        let empty = self.others.iter().filter(|set| self.occupied(set) == 0);
        let empty: Vec<_> = empty.collect();
        let limit = usize::try_from(limit.unwrap_or(HISTORY)).unwrap_or(usize::MAX);
        let many = empty.len().saturating_sub(limit);
        let delete = |set: &&Value| {
            Action::Delete(Kind::ReplicaSet, key(set), text(set, "/metadata/uid").to_owned())
        };
        empty.into_iter().take(many).map(delete).collect()
    }

    fn status(&self, facts: &Facts) -> Value {
        let sets = || self.current.iter().chain(&self.others);
        let sum = |field: &str| -> u64 {
            sets().map(|set| number(set, &format!("/status/{field}"))).sum()
        };
        let (total, available) = (sum("replicas"), sum("availableReplicas"));
        let updated = self.current.map_or(0, |set| number(set, "/status/replicas"));
        let wanted = self.wanted();
        let least = wanted.saturating_sub(self.slack().1);
        let enough = available >= least;
        let done = updated == wanted && total == updated && available == wanted;
        let (reason, message) = match enough {
            true => ("MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => {
                ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
            }
        };
        let progress = if done { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
        let wanted_conditions =
            [("Available", enough, reason, message), ("Progressing", true, progress, "")];
        json!({
            "observedGeneration": number(self.deployment, "/metadata/generation"),
            "replicas": total, "updatedReplicas": updated,
            "readyReplicas": sum("readyReplicas"), "availableReplicas": available,
            "unavailableReplicas": wanted.saturating_sub(available),
            "conditions": conditions(self.deployment, &wanted_conditions, &facts.now),
        })
    }
}
