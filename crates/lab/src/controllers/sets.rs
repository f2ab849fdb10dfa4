//! The other kinds that stand for pods: StatefulSets, DaemonSets and Jobs.

use serde_json::{Value, json};

use super::deployment::template_hash;
use super::replicas::{active, delete, is_ready, pod, scale, wanted as replicas};
use super::{Action, Facts, conditions, status};
use crate::world::{Kind, World, is_terminating, number, text};

/// The label that tells the pods of one template from those of another.
const HASH: &str = "controller-revision-hash";
/// How many pods of a Job may fail if nothing is said.
const FAILURES: u64 = 6;

pub(super) fn actions(world: &World, facts: &Facts) -> Vec<Action> {
    let all = |kind| world.documents(kind).filter(|set| !is_terminating(set));
    let stateful = all(Kind::StatefulSet).flat_map(|set| stateful_set(world, set));
    let daemons = all(Kind::DaemonSet).flat_map(|set| daemon_set(world, set));
    let jobs = all(Kind::Job).flat_map(|one| job(world, one, facts));
    stateful.chain(daemons).chain(jobs).collect()
}

fn has_hash(pod: &Value, hash: &str) -> bool {
    pod.pointer("/metadata/labels").and_then(|labels| labels.get(HASH)) == Some(&Value::from(hash))
}

/// Pods `<name>-0` and so on. One whose template has changed is replaced when all others are ready.
fn stateful_set(world: &World, set: &Value) -> Vec<Action> {
    let (hash, wanted) = (template_hash(set), replicas(set));
    let uid = text(set, "/metadata/uid");
    let pods = active(world, uid);
    let name = |index: u64| format!("{}-{index}", text(set, "/metadata/name"));
    let namespace = text(set, "/metadata/namespace");
    let mut actions: Vec<Action> = (0..wanted)
        .map(name)
        .filter(|name| world.get(Kind::Pod, namespace, name).is_none())
        .map(|name| {
            let document =
                pod(Kind::StatefulSet, set, json!({ "name": name }), Some((HASH, &hash)));
            Action::Create(Kind::Pod, document)
        })
        .collect();
    let names: Vec<String> = (0..wanted).map(name).collect();
    let is_wanted = |pod: &Value| names.iter().any(|name| name == text(pod, "/metadata/name"));
    actions.extend(pods.iter().filter(|pod| !is_wanted(pod)).map(|pod| delete(pod)));
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let outdated = pods.iter().filter(|pod| is_wanted(pod) && !has_hash(pod, &hash));
    if let Some(old) = outdated.max_by_key(|pod| (!is_ready(pod), text(pod, "/metadata/name")))
        && (ready == pods.len() || !is_ready(old))
    {
        actions.push(delete(old));
    }
    let updated = pods.iter().filter(|pod| has_hash(pod, &hash)).count();
    let found = json!({
        "observedGeneration": number(set, "/metadata/generation"), "replicas": pods.len(),
        "readyReplicas": ready, "availableReplicas": ready, "currentReplicas": updated,
        "updatedReplicas": updated, "currentRevision": hash, "updateRevision": hash,
    });
    actions.extend(status(Kind::StatefulSet, set, found));
    actions
}

/// One pod, for there is one node.
fn daemon_set(world: &World, set: &Value) -> Vec<Action> {
    let hash = template_hash(set);
    let pods = active(world, text(set, "/metadata/uid"));
    let (current, outdated): (Vec<&Value>, Vec<&Value>) =
        pods.into_iter().partition(|pod| has_hash(pod, &hash));
    let mut actions: Vec<Action> = outdated.into_iter().map(delete).collect();
    actions.extend(scale(Kind::DaemonSet, set, &current, 1, Some((HASH, &hash))));
    let (have, ready) = (current.len(), current.iter().filter(|pod| is_ready(pod)).count());
    let found = json!({
        "observedGeneration": number(set, "/metadata/generation"), "desiredNumberScheduled": 1,
        "currentNumberScheduled": have, "updatedNumberScheduled": have, "numberMisscheduled": 0,
        "numberReady": ready, "numberAvailable": ready, "numberUnavailable": 1_usize.saturating_sub(ready),
    });
    actions.extend(status(Kind::DaemonSet, set, found));
    actions
}

/// Pods until enough of them have succeeded, or too many have failed.
fn job(world: &World, job: &Value, facts: &Facts) -> Vec<Action> {
    let uid = text(job, "/metadata/uid");
    let ended = |phase: &str| {
        world.owned(Kind::Pod, uid).filter(|pod| text(pod, "/status/phase") == phase).count() as u64
    };
    let given = |field: &str| job.pointer(&format!("/spec/{field}")).and_then(Value::as_u64);
    let pods = active(world, uid);
    let (succeeded, failed) = (ended("Succeeded"), ended("Failed"));
    let parallel = given("parallelism").unwrap_or(1);
    let completions = given("completions").unwrap_or(parallel);
    let done = succeeded >= completions;
    let hopeless = !done && failed > given("backoffLimit").unwrap_or(FAILURES);
    let wanted = if done || hopeless { 0 } else { parallel.min(completions - succeeded) };
    let label = Some(("job-name", text(job, "/metadata/name")));
    let mut actions = match done || hopeless {
        true => pods.iter().map(|pod| delete(pod)).collect(),
        false => scale(Kind::Job, job, &pods, wanted.max(pods.len() as u64), label),
    };
    let ends = [("Complete", done, "", ""), ("Failed", hopeless, "BackoffLimitExceeded", "")];
    let ends: Vec<_> = ends.into_iter().filter(|(_, holds, ..)| *holds).collect();
    let found = json!({
        "active": pods.len(), "succeeded": succeeded, "failed": failed,
        "conditions": conditions(job, &ends, &facts.now),
    });
    actions.extend(status(Kind::Job, job, found));
    actions
}
