//! The lab as a node of its own API server, through kubectl.

use crate::cluster::{Cluster, deployment};
use crate::harness::{Place, alive, eventually, kill, outsider, pod, web};

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
    // The way to it is there before it is told of.
    let path = "jsonpath={.items[*].endpoints[*].conditions.ready}";
    eventually("its slice", || cluster.ok(&["get", "endpointslices", "-o", path]) == "true");
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
    eventually("the Event", || {
        let told = cluster.ok(&["describe", "pod", "unknown"]);
        told.contains("no local command stands for image `nowhere/else:1`")
    });
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
