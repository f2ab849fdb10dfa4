//! The status of a lab as text.

use crate::status::{PodStatus, State, Status};

const HEADER: [&str; 7] =
    ["NAMESPACE", "POD", "READY", "STATUS", "RESTARTS", "SIDECAR", "ADDRESSES"];

/// A line per pod, then why pods are not ready, then the way in.
pub(super) fn text(status: &Status) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(status.pods.iter().map(row));
    let mut text = table(&rows);
    for pod in &status.pods {
        if let Some(problem) = pod.problem() {
            text.push_str(&format!("\n{}: {problem}", pod.id()));
        }
    }
    text.push_str(&format!("\nKUBECONFIG={}", status.kubeconfig.display()));
    if let Some(url) = &status.gateway_url {
        text.push_str(&format!("\nGATEWAY_URL={url}"));
    }
    text
}

fn row(pod: &PodStatus) -> [String; 7] {
    let ready = pod.containers.iter().filter(|container| container.ready).count();
    let restarts: u32 = pod.containers.iter().map(|container| container.restarts).sum();
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    [
        pod.namespace.clone(),
        pod.name.clone(),
        format!("{ready}/{}", pod.containers.len()),
        state(pod).to_owned(),
        restarts.to_string(),
        if pod.sidecar { "yes" } else { "no" }.to_owned(),
        addresses.join(","),
    ]
}

/// The state of the container that keeps the pod from being ready; of its own last one otherwise.
fn state(pod: &PodStatus) -> &'static str {
    let troubled = pod.containers.iter().find(|container| !container.ready);
    let shown = troubled.or(pod.containers.last());
    shown.map_or(State::Waiting, |container| container.state).as_str()
}

/// Columns as wide as their widest cell, without trailing blanks.
fn table(rows: &[[String; 7]]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default()
    };
    let line = |row: &[String; 7]| {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("{cell:<w$}", w = width(i)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ContainerStatus, Phase, Role};

    #[test]
    fn a_pod_in_trouble() {
        let container = ContainerStatus {
            state: State::CrashLoopBackOff,
            restarts: 3,
            message: Some("no such file".into()),
            ..ContainerStatus::waiting("app", Role::Application, "image", "/log".into())
        };
        let status = Status {
            name: "lab".into(),
            phase: Phase::Running,
            kubeconfig: "/k".into(),
            gateway_url: Some("http://127.0.0.1:1".into()),
            pods: vec![PodStatus::of(vec![container])],
            services: vec![],
            service_accounts: vec![],
            secrets: vec![],
        };
        let want = "\
NAMESPACE  POD  READY  STATUS            RESTARTS  SIDECAR  ADDRESSES
default    p-0  0/1    CrashLoopBackOff  3         no       10.65.0.2
default/p-0: container `app`: CrashLoopBackOff: no such file
KUBECONFIG=/k
GATEWAY_URL=http://127.0.0.1:1";
        assert_eq!(text(&status), want);
    }
}
