//! How a pod is, in the words of the Kubernetes API.

use serde_json::{Value, json};

use crate::controllers::{conditions, merge};
use crate::plan::NODE_V4;
use crate::status::{ContainerStatus, PodStatus, Role, State};
use crate::world::{list, text};

/// The status of a pod's document.
pub(super) fn status(pod: &Value, found: &PodStatus, now: &str) -> Value {
    let phase = phase(found);
    let initialized = found.containers.iter().filter(|c| c.role == Role::Init).all(is_done);
    let ended = matches!(phase, "Succeeded" | "Failed");
    let waits = found.containers.iter().filter(|c| c.role != Role::Init && !c.ready);
    let names: Vec<&str> = waits.map(|c| c.name.as_str()).collect();
    let (reason, message) = match (found.ready, ended) {
        (true, _) => ("", String::new()),
        (false, true) => ("PodCompleted", String::new()),
        (false, false) => {
            ("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" ")))
        }
    };
    let wanted = [
        ("PodScheduled", true, "", ""),
        ("Initialized", initialized, "", ""),
        ("ContainersReady", found.ready, reason, &*message),
        ("Ready", found.ready, reason, &*message),
    ];
    let mut status = json!({
        "phase": phase, "hostIP": NODE_V4, "hostIPs": [{"ip": NODE_V4}],
        "conditions": conditions(pod, &wanted, now), "startTime": found.started_at,
        "containerStatuses": of_spec(pod, "/spec/containers", found),
        "initContainerStatuses": of_spec(pod, "/spec/initContainers", found),
    });
    if let Some(first) = found.addresses.first() {
        let all: Vec<Value> = found.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        merge(&mut status, &json!({"podIP": first, "podIPs": all}));
    }
    status
}

fn is_done(container: &ContainerStatus) -> bool {
    container.state == State::Completed
}

/// How far a pod is, by the containers it is for.
fn phase(found: &PodStatus) -> &'static str {
    let own = |c: &&ContainerStatus| c.role == Role::Application;
    // The ingress gateway has no others than Envoy.
    let all: Vec<&ContainerStatus> = match found.containers.iter().any(|c| own(&c)) {
        true => found.containers.iter().filter(own).collect(),
        false => found.containers.iter().collect(),
    };
    let ended = |c: &&ContainerStatus| matches!(c.state, State::Completed | State::Error);
    let init_failed =
        found.containers.iter().any(|c| c.role == Role::Init && c.state == State::Error);
    if init_failed {
        "Failed"
    } else if all.iter().any(|c| c.state == State::Waiting) {
        "Pending"
    } else if !all.iter().all(ended) {
        "Running"
    } else if all.iter().all(|c| is_done(c)) {
        "Succeeded"
    } else {
        "Failed"
    }
}

/// The statuses of the containers that a list of the document names.
fn of_spec(pod: &Value, pointer: &str, found: &PodStatus) -> Vec<Value> {
    let named = |name: &str| found.containers.iter().find(|c| c.name == name);
    list(pod, pointer).filter_map(|one| Some(container(one, named(text(one, "/name"))?))).collect()
}

fn container(given: &Value, found: &ContainerStatus) -> Value {
    let ready = found.ready || (found.role == Role::Init && is_done(found));
    let mut status = json!({
        "name": found.name, "image": text(given, "/image"), "imageID": "", "ready": ready,
        "restartCount": found.restarts, "started": found.pid.is_some(), "state": state(found),
    });
    if let Some(pid) = found.pid {
        merge(&mut status, &json!({"containerID": format!("tortie-lab://{pid}")}));
    }
    let again = matches!(found.state, State::Running | State::CrashLoopBackOff);
    if again && found.finished_at.is_some() {
        merge(&mut status, &json!({"lastState": {"terminated": ended(found)}}));
    }
    status
}

fn state(found: &ContainerStatus) -> Value {
    let message = found.message.as_deref().unwrap_or_default();
    match found.state {
        State::Waiting => {
            let reason = found.reason.as_deref().unwrap_or("ContainerCreating");
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running => json!({"running": {"startedAt": found.started_at}}),
        State::CrashLoopBackOff => {
            json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}})
        }
        State::Completed | State::Error => json!({ "terminated": ended(found) }),
    }
}

fn ended(found: &ContainerStatus) -> Value {
    let code = found.exit_code.unwrap_or(128);
    json!({
        "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "message": found.message.as_deref().unwrap_or_default(),
        "startedAt": found.started_at, "finishedAt": found.finished_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(states: &[(State, Role)]) -> PodStatus {
        let containers = states.iter().enumerate().map(|(index, (state, role))| ContainerStatus {
            state: *state,
            ..ContainerStatus::waiting(&format!("c{index}"), *role, "i", "/log".into())
        });
        PodStatus::of(containers.collect())
    }

    #[test]
    fn phases() {
        use Role::{Application, Init, Sidecar};
        use State::{Completed, CrashLoopBackOff, Error, Running, Waiting};
        for (states, want) in [
            (vec![(Running, Application)], "Running"),
            (vec![(Waiting, Application)], "Pending"),
            (vec![(CrashLoopBackOff, Application)], "Running"),
            (vec![(Completed, Application), (Running, Sidecar)], "Succeeded"),
            (vec![(Completed, Application), (Error, Application)], "Failed"),
            (vec![(Completed, Application), (Running, Application)], "Running"),
            (vec![(Error, Init), (Waiting, Application)], "Failed"),
            (vec![(Running, Sidecar)], "Running"),
        ] {
            assert_eq!(phase(&found(&states)), want, "{states:?}");
        }
    }

    #[test]
    fn an_unknown_image_is_a_reason_to_wait() {
        let mut pod_status = found(&[(State::Waiting, Role::Application)]);
        pod_status.containers[0].reason = Some("ErrImagePull".into());
        pod_status.containers[0].message = Some("no local command".into());
        let pod = json!({"spec": {"containers": [{"name": "c0", "image": "x:1"}]}});
        let status = status(&pod, &pod_status, "now");
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        assert_eq!(
            (&waiting["reason"], &waiting["message"]),
            (&"ErrImagePull".into(), &"no local command".into())
        );
        assert_eq!(status["podIP"], "10.65.0.2");
        assert_eq!(status["conditions"][3]["status"], "False");
    }
}
