//! The pods that run, are being stopped, or cannot be run.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tortie_model::{FieldError, Object, Pod, Resource};

use super::{Environment, pod};
use crate::plan::{Addresses, Link, PodId, PodPlan, images};
use crate::status::{ContainerStatus, PodStatus, Role, Status};
use crate::world::{key, list, text};

/// A pod that has a place on the node.
struct Running {
    plan: Arc<PodPlan>,
    stop: watch::Sender<bool>,
    /// Absent until it was started.
    task: Option<JoinHandle<()>>,
}

/// The pods of the node, by uid.
pub(super) struct Pods {
    env: Arc<Environment>,
    addresses: Addresses,
    running: BTreeMap<String, Running>,
    refused: BTreeMap<String, FieldError>,
}

impl Pods {
    /// None yet.
    pub(super) fn new(env: Arc<Environment>) -> Self {
        let addresses = Addresses::new(env.v6);
        Self { env, addresses, running: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Those that are to run, as planned.
    pub(super) fn plans(&self) -> Vec<&PodPlan> {
        let stays = self.running.values().filter(|running| !*running.stop.borrow());
        stays.map(|running| &*running.plan).collect()
    }

    /// Those that cannot be run, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&String, &FieldError)> {
        self.refused.iter()
    }

    /// Forgets pods that have ended after they were stopped. Only now are their addresses free.
    pub(super) fn collect(&mut self) {
        let done = |running: &Running| match &running.task {
            Some(task) => task.is_finished(),
            None => *running.stop.borrow(),
        };
        self.running.retain(|uid, running| {
            let done = done(running);
            if done {
                self.addresses.release(&running.plan.link);
                self.env.status.send_modify(|status| status.pods.retain(|pod| pod.uid != *uid));
            }
            !done
        });
    }

    /// Begins to stop every pod but these.
    pub(super) fn stop_all_but(&mut self, wanted: &BTreeMap<String, Arc<Resource>>) {
        for (uid, running) in &self.running {
            if !wanted.contains_key(uid) && !running.stop.send_replace(true) {
                self.env.status.send_modify(|status| {
                    status.update_pod(uid, |pod| pod.ending = true);
                });
            }
        }
        let gone: Vec<String> =
            self.refused.keys().filter(|uid| !wanted.contains_key(*uid)).cloned().collect();
        for uid in gone {
            self.refused.remove(&uid);
            self.env.status.send_modify(|status| status.pods.retain(|pod| pod.uid != uid));
        }
    }

    /// Plans the pods that are not here yet. What keeps one from running is noted, and looked at again
    /// the next time.
    pub(super) fn plan_new(
        &mut self,
        wanted: &BTreeMap<String, Arc<Resource>>,
        plan: impl Fn(&Pod, &Value, Link) -> Result<PodPlan, FieldError>,
    ) {
        let mut missing: Vec<&Arc<Resource>> = wanted
            .iter()
            .filter(|(uid, pod)| !self.running.contains_key(*uid) && !self.is_taken(&pod.raw))
            .map(|(_, pod)| pod)
            .collect();
        missing.sort_by_key(|pod| text(&pod.raw, "/metadata/resourceVersion").parse::<u64>().ok());
        for resource in missing {
            let Object::Pod(pod) = &resource.object else { continue };
            let (namespace, name) = key(&resource.raw);
            let Some(link) = self.addresses.offer(&namespace, &name) else {
                tracing::error!(namespace, name, "the lab has no address left");
                continue;
            };
            match plan(pod, &resource.raw, link) {
                Ok(plan) => self.place(&resource.raw, plan),
                Err(error) => self.refuse(&resource.raw, error),
            }
        }
    }

    /// Whether another pod of the same name still is where this one would be.
    fn is_taken(&self, pod: &Value) -> bool {
        let (namespace, name) = key(pod);
        let id = PodId { namespace, name };
        self.running.values().any(|running| running.plan.id == id)
    }

    fn place(&mut self, document: &Value, plan: PodPlan) {
        self.addresses.take(&plan.link);
        let uid = plan.uid.clone();
        self.refused.remove(&uid);
        let mut status = self.first_status(document, &uid);
        status.addresses.clone_from(&plan.link.addresses);
        status.interface.clone_from(&plan.link.interface);
        status.sidecar = plan.has_sidecar();
        status.containers = pod::waiting(&self.env.dir, &plan);
        self.set(status);
        let (stop, _) = watch::channel(false);
        let running = Running { plan: Arc::new(plan), stop, task: None };
        self.running.insert(uid, running);
    }

    fn refuse(&mut self, document: &Value, error: FieldError) {
        let uid = text(document, "/metadata/uid").to_owned();
        if self.refused.get(&uid) == Some(&error) {
            return;
        }
        let mut status = self.first_status(document, &uid);
        status.containers = refused_containers(document, &error);
        self.set(status);
        self.refused.insert(uid, error);
    }

    fn first_status(&self, document: &Value, uid: &str) -> PodStatus {
        let (namespace, name) = key(document);
        PodStatus {
            workload: workload(document),
            namespace,
            name,
            uid: uid.to_owned(),
            started_at: self.env.now(),
            ending: false,
            addresses: Vec::new(),
            service_account: text(document, "/spec/serviceAccountName").to_owned(),
            interface: String::new(),
            sidecar: false,
            ready: false,
            containers: Vec::new(),
        }
    }

    fn set(&self, pod: PodStatus) {
        self.env.status.send_modify(|status: &mut Status| {
            status.pods.retain(|other| other.uid != pod.uid);
            status.pods.push(pod);
        });
    }

    /// Whether a pod was started, so that its files are there.
    pub(super) fn is_started(&self, uid: &str) -> bool {
        self.running.get(uid).is_some_and(|running| running.task.is_some())
    }

    /// Starts those that were not yet. Their files are there by now.
    pub(super) fn start(&mut self) {
        let waits = |r: &&mut Running| r.task.is_none() && !*r.stop.borrow();
        for running in self.running.values_mut().filter(waits) {
            let (env, plan) = (Arc::clone(&self.env), Arc::clone(&running.plan));
            let stopping = running.stop.subscribe();
            running.task = Some(tokio::spawn(async move {
                pod::run(Arc::clone(&env), plan, stopping).await;
                // Whoever waits for the place, or for the end, is told.
                env.status.send_modify(|_| {});
            }));
        }
    }
}

/// The containers of a pod that cannot be run, each with the reason.
fn refused_containers(document: &Value, error: &FieldError) -> Vec<ContainerStatus> {
    let image = error.field.ends_with(".image");
    let reason = if image { "ErrImagePull" } else { "CreateContainerConfigError" };
    let mut message = error.to_string();
    if let Some(hint) = &error.hint {
        message.push_str(&format!(" ({hint})"));
    }
    let of = |pointer: &'static str, role: Role| {
        list(document, pointer).map(move |one| (one, role)).collect::<Vec<_>>()
    };
    let all = [of("/spec/initContainers", Role::Init), of("/spec/containers", Role::Application)];
    let waiting = |(one, role): (&Value, Role)| {
        let image = text(one, "/image");
        let ours = [images::SIDECAR, images::AUTHORIZER, images::GATEWAY].contains(&image);
        let role = if ours { Role::Sidecar } else { role };
        ContainerStatus {
            reason: Some(reason.to_owned()),
            message: Some(message.clone()),
            ..ContainerStatus::waiting(text(one, "/name"), role, image, Default::default())
        }
    };
    all.concat().into_iter().map(waiting).collect()
}

/// The name of what a pod is of: for one of a ReplicaSet, that of its Deployment.
fn workload(document: &Value) -> Option<String> {
    let owner = list(document, "/metadata/ownerReferences").next()?;
    let name = text(owner, "/name");
    let hash = document.pointer("/metadata/labels/pod-template-hash").and_then(Value::as_str);
    let of_deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    Some(of_deployment.unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_workload_of_a_pod() {
        let pod = |owner: &str, hash: &str| {
            json!({"metadata": {"ownerReferences": [{"name": owner}],
                "labels": {"pod-template-hash": hash}}})
        };
        assert_eq!(workload(&pod("web-abc", "abc")).as_deref(), Some("web"));
        assert_eq!(workload(&pod("web-abc", "x")).as_deref(), Some("web-abc"));
        assert_eq!(workload(&json!({})), None);
    }
}
