//! The lab as a node of its own API server, through kubectl.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Place, alive, eventually, kill, outsider, pod, text, web};

/// `$KUBECTL`, the one that scripts/ensure.sh fetched, or that of the PATH.
fn kubectl() -> PathBuf {
    if let Some(chosen) = std::env::var_os("KUBECTL").filter(|chosen| !chosen.is_empty()) {
        return chosen.into();
    }
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/kubectl/kubectl");
    if cached.exists() { cached } else { "kubectl".into() }
}

/// A lab, by kubectl.
struct Cluster {
    place: Place,
    kubeconfig: String,
}

impl Cluster {
    /// A lab with the images of these tests and these manifests.
    fn up(manifests: &str) -> Option<Cluster> {
        let mut place = Place::new()?;
        place.up("x", manifests, &[]);
        let kubeconfig = place.ok("x", &["kubeconfig"]).trim().to_owned();
        Some(Cluster { place, kubeconfig })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(kubectl());
        command.env("KUBECONFIG", &self.kubeconfig).args(words);
        command
    }

    /// Exit status, standard output and standard error.
    fn run(&self, words: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(words);
        let piped = Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn ok(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words, "");
        assert_eq!(status, 0, "kubectl {words:?}: {out}{err}");
        out
    }

    fn apply(&self, manifests: &str) {
        let (status, out, err) = self.run(&["apply", "-f", "-"], manifests);
        assert_eq!(status, 0, "{out}{err}");
    }

    /// Names and readiness of the pods in `default`: `web-abc 1/1`.
    fn pods(&self) -> Vec<String> {
        let table = self.ok(&["get", "pods", "--no-headers", "--ignore-not-found"]);
        let cells = table.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
        cells.map(|cells| cells.join(" ")).collect()
    }

    /// Waits until there are so many pods and all are ready.
    fn wait_ready(&self, count: usize, ready: &str) -> Vec<String> {
        let mut pods = Vec::new();
        eventually(&format!("{count} pods {ready}"), || {
            pods = self.pods();
            pods.len() == count && pods.iter().all(|pod| pod.ends_with(&format!(" {ready}")))
        });
        pods
    }
}

fn deployment(replicas: u32, port: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  \
         replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    \
         metadata: {{labels: {{app: web}}}}\n    \
         spec: {{containers: [{{name: main, image: web, env: [{{name: PORT, value: '{port}'}}], \
         ports: [{{containerPort: {port}}}]}}]}}\n---\n"
    )
}

#[test]
fn deployments_scale_heal_and_roll() {
    let Some(mut cluster) = Cluster::up(&outsider("client")) else { return };
    cluster.ok(&["delete", "pod", "client"]);
    cluster.apply(&deployment(1, "80"));
    let first = cluster.wait_ready(1, "1/1");
    cluster.ok(&["scale", "deployment", "web", "--replicas=3"]);
    cluster.wait_ready(3, "1/1");
    cluster.ok(&["scale", "deployment", "web", "--replicas=1"]);
    cluster.wait_ready(1, "1/1");
    cluster.ok(&["delete", "pod", "--all"]);
    let second = cluster.wait_ready(1, "1/1");
    assert_ne!(first, second, "another pod took its place");
    cluster.apply(&deployment(1, "8080"));
    eventually("the new template", || {
        let path = "jsonpath={.items[*].spec.containers[0].ports[0].containerPort}";
        cluster.ok(&["get", "pods", "-o", path]) == "8080"
    });
    cluster.wait_ready(1, "1/1");
    cluster.ok(&["delete", "deployment", "web"]);
    cluster.wait_ready(0, "");
    let gone = || cluster.place.status("x")["pods"].as_array().unwrap().is_empty();
    eventually("the pod's end", gone);
    let links = cluster.place.on_node("x", "ip -o link");
    assert!(!links.contains("cali"), "{links}");
}

#[test]
fn sidecars_come_with_the_label_and_a_new_pod() {
    let Some(cluster) = Cluster::up(&deployment(1, "80")) else { return };
    cluster.wait_ready(1, "1/1");
    cluster.ok(&["label", "namespace", "default", "istio-injection=enabled"]);
    assert_eq!(cluster.wait_ready(1, "1/1").len(), 1, "a pod that runs stays as it is");
    cluster.ok(&["delete", "pod", "--all"]);
    cluster.wait_ready(1, "2/2");
}

#[test]
fn services_follow_pods_that_come_and_go() {
    let service = crate::harness::service("web", "web", "");
    let Some(mut cluster) = Cluster::up(&(service + &outsider("client"))) else { return };
    assert_eq!(cluster.place.curl("x", "client", "http://web"), "failed 7", "nobody is there");
    cluster.apply(&web("web"));
    eventually("the Service's pod", || {
        cluster.place.curl("x", "client", "http://web").starts_with("web ")
    });
    let slices = cluster.ok(&["get", "endpointslices", "-o", "json"]);
    let slices: Value = serde_json::from_str(&slices).unwrap();
    assert_eq!(slices["items"][0]["endpoints"][0]["conditions"]["ready"], true, "{slices}");
    cluster.apply(&crate::harness::service("later", "web", ""));
    eventually("the new Service's name", || {
        cluster.place.curl("x", "client", "http://later").starts_with("web ")
    });
    cluster.ok(&["delete", "pod", "web"]);
    eventually("the Service's end", || {
        cluster.place.curl("x", "client", "http://web") == "failed 7"
    });
}

#[test]
fn what_cannot_run_says_why_and_runs_when_it_can() {
    let Some(cluster) = Cluster::up("") else { return };
    let volume = "  volumes: [{name: v, configMap: {name: later}}]\n---\n";
    let mounting = pod("waits", "idle", ", volumeMounts: [{name: v, mountPath: /etc/v}]");
    let mounting = mounting.replace("}]\n---\n", &format!("}}]\n{volume}"));
    cluster.apply(&(pod("unknown", "nowhere/else:1", "") + &mounting));
    let reason = |name: &str| {
        let path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
        cluster.ok(&["get", "pod", name, "-o", path])
    };
    eventually("the reasons", || {
        reason("unknown") == "ErrImagePull" && reason("waits") == "CreateContainerConfigError"
    });
    let told = cluster.ok(&["describe", "pod", "unknown"]);
    assert!(told.contains("no local command stands for image `nowhere/else:1`"), "{told}");
    cluster.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}\ndata: {color: red}\n---\n",
    );
    eventually("the pod", || cluster.pods().contains(&"waits 1/1".to_owned()));
}

#[test]
fn the_node_lives_and_outlives_its_api_server() {
    let Some(cluster) = Cluster::up(&deployment(1, "80")) else { return };
    cluster.wait_ready(1, "1/1");
    let ready = cluster.ok(&["get", "nodes", "--no-headers"]);
    assert!(ready.starts_with("node ") && ready.contains(" Ready "), "{ready}");
    let renewed = || {
        let path = "jsonpath={.spec.renewTime}";
        cluster.ok(&["-n", "kube-node-lease", "get", "lease", "node", "-o", path])
    };
    let before = renewed();
    assert!(!before.is_empty());
    let program = |place: &Place| crate::harness::tree(place.process("x", "supervise").pid);
    let pods = program(&cluster.place);
    kill("-9", cluster.place.process("x", "apiserver").pid);
    eventually("the API server's return", || cluster.run(&["get", "--raw", "/readyz"], "").0 == 0);
    cluster.ok(&["scale", "deployment", "web", "--replicas=2"]);
    cluster.wait_ready(2, "1/1");
    assert!(pods.into_iter().all(alive), "nothing ended meanwhile");
    eventually("a sign of life", || renewed() != before);
}
