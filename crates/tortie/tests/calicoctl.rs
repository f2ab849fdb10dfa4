//! The program under the name calicoctl, against a server and against a real etcd.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::{Home, Run, Server, no_kubectl, repository, run};
use serde_json::{Value, json};

const SET: &str = "apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: feed, namespace: default, labels: {a: b}}
spec: {nets: [192.0.2.0/24]}
";

#[test]
fn the_tutorials_own_commands_work() {
    if no_kubectl() {
        return;
    }
    let server = Server::start();
    let policy = repository("examples/yaobank/30-policy.yaml");
    let said = server.calicoctl(&["create", "-f", &policy], "").ended(0);
    assert_eq!(said.out, "Successfully created 3 'GlobalNetworkPolicy' resource(s)\n");
    let patch = [
        "patch",
        "FelixConfiguration",
        "default",
        "--patch",
        r#"{"spec": {"policySyncPathPrefix": "/var/run/nodeagent"}}"#,
    ];
    let said = server.calicoctl(&patch, "").ended(0);
    assert_eq!(said.out, "Successfully patched 1 'FelixConfiguration' resource\n");
    let field = "jsonpath={.spec.policySyncPathPrefix}";
    let found = server.kubectl(&["get", "felixconfiguration", "default", "-o", field], "");
    assert_eq!(found, "/var/run/nodeagent");
    assert_eq!(server.kubectl(&["get", "gnp", "-o", "name"], "").lines().count(), 3);
}

#[test]
fn verbs_say_what_scripts_look_for() {
    let server = Server::start();
    let policy = repository("examples/yaobank/30-policy.yaml");
    let ok = |arguments: &[&str], input: &str| server.calicoctl(arguments, input).ended(0).out;
    let fails = |arguments: &[&str], input: &str| server.calicoctl(arguments, input).ended(1).err;
    ok(&["create", "-f", &policy], "");
    let again = fails(&["create", "-f", &policy], "");
    let start = "Failed to create any 'GlobalNetworkPolicy' resources: [resource already exists: \
                 GlobalNetworkPolicy(customer) ";
    assert!(again.starts_with(start), "{again}");
    let skipped = ok(&["create", "--skip-exists", "-f", &policy], "");
    assert_eq!(skipped, "Successfully created 3 'GlobalNetworkPolicy' resource(s)\n");
    let applied = ok(&["apply", "-f", &policy], "");
    assert_eq!(applied, "Successfully applied 3 'GlobalNetworkPolicy' resource(s)\n");
    let replaced = ok(&["replace", "--filename", &policy], "");
    assert_eq!(replaced, "Successfully replaced 3 'GlobalNetworkPolicy' resource(s)\n");
    let created = ok(&["create", "-f", "-"], SET);
    assert_eq!(created, "Successfully created 1 'NetworkSet' resource(s)\n");
    let both = format!("{SET}---\n{}", SET.replace("name: feed", "name: more"));
    let partial = server.calicoctl(&["create", "-f", "-"], &both).ended(1);
    assert_eq!(
        partial.out,
        "Partial success: created the first 1 out of 2 'NetworkSet' resources:\n"
    );
    assert_eq!(partial.err, "Hit error: [resource already exists: NetworkSet(default/feed)]\n");

    let labels = [
        (vec!["label", "netsets", "feed", "x=y"], "Successfully set label x on netsets feed\n"),
        (
            vec!["label", "netsets", "feed", "x=z", "--overwrite"],
            "Successfully updated label x on netsets feed\n",
        ),
        (
            vec!["label", "netsets", "feed", "x", "--remove"],
            "Successfully removed label x from netsets feed\n",
        ),
    ];
    for (arguments, said) in labels {
        assert_eq!(ok(&arguments, ""), said);
    }
    let there = fails(&["label", "networksets", "feed", "a=c"], "");
    assert!(there.contains("key a is already present. please use '--overwrite'"), "{there}");
    assert!(
        fails(&["label", "netsets", "feed", "q", "--remove"], "").contains("key q does not exist")
    );

    let invalid = SET.replace("192.0.2.0/24", "192.0.2.0/240");
    let refused = fails(&["apply", "-f", "-"], &invalid);
    assert!(
        refused
            .starts_with("Failed to apply 'NetworkSet' resource: [error with field spec.nets[0]: "),
        "{refused}"
    );
    let refused = fails(&["validate", "-f", "-"], &invalid);
    assert!(
        refused.starts_with("Failed to validate 'NetworkSet' resource: [spec.nets[0]: "),
        "{refused}"
    );
    assert_eq!(
        ok(&["validate", "-f", "-"], SET),
        "Successfully validated 1 'NetworkSet' resource(s)\n"
    );

    let elsewhere = fails(&["apply", "-n", "kube-system", "-f", "-"], SET);
    assert!(
        elsewhere
            .contains("resource namespace does not match client namespace. default != kube-system"),
        "{elsewhere}"
    );
    assert!(
        fails(&["get", "gnp", "-n", "default"], "")
            .contains("GlobalNetworkPolicy is not namespaced")
    );
    assert!(fails(&["get", "pods"], "").contains("resource type 'pods' is not supported"));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n";
    assert!(
        fails(&["create", "-f", "-"], pod)
            .contains("Unknown resource type (Pod) and/or version (v1)")
    );
    assert!(fails(&["create", "-f", "-"], "a: [").starts_with("Failed to execute command: -:"));
    assert!(fails(&["create", "-f", "-"], "").starts_with("No resources specified"));
    assert_eq!(ok(&["create", "--skip-empty", "-f", "-"], ""), "No resources specified\n");
    assert!(fails(&["create"], "").contains("--filename"));
    assert!(fails(&["patch", "gnp", "none", "-p", "{}"], "").starts_with("Failed to patch 'GlobalNetworkPolicy' resource: resource does not exist: GlobalNetworkPolicy(none) with error: "));

    assert_eq!(
        ok(&["delete", "netsets", "feed", "more"], ""),
        "Successfully deleted 2 'NetworkSet' resource(s)\n"
    );
    let gone = fails(&["delete", "netsets", "feed"], "");
    assert!(gone.starts_with("Failed to delete 'NetworkSet' resource: resource does not exist: NetworkSet(default/feed)"), "{gone}");
    ok(&["delete", "-s", "netsets", "feed"], "");
    assert_eq!(
        ok(&["delete", "-f", &policy], ""),
        "Successfully deleted 3 'GlobalNetworkPolicy' resource(s)\n"
    );

    for command in ["ipam", "node", "datastore", "cluster", "convert"] {
        let absent = fails(&[command, "show", "--all"], "");
        assert!(
            absent.starts_with(&format!("`calicoctl {command}` is not part of Tortie\n")),
            "{absent}"
        );
    }
    let version = ok(&["version"], "");
    assert!(
        version.contains("Client Version:    v") && version.contains("Cluster Type:      tortie"),
        "{version}"
    );
    assert!(ok(&["--help"], "").contains("ETCD_ENDPOINTS"));
    assert!(server.says(&["calicoctl", "get", "tiers"], "").contains("kube-baseline"));
}

#[test]
fn get_shows_what_there_is() {
    let server = Server::start();
    let ok = |arguments: &[&str]| server.calicoctl(arguments, "").ended(0).out;
    let policy = repository("examples/yaobank/30-policy.yaml");
    server.calicoctl(&["create", "-f", &policy], "").ended(0);
    server.calicoctl(&["create", "-f", "-"], SET).ended(0);
    assert!(ok(&["get", "gnp"]).starts_with("NAME       TIER\ncustomer   default\n"));
    let wide = ok(&["get", "globalNetworkPolicy", "customer", "-o", "wide"]);
    assert!(wide.contains("customer   default   <nil>   app == 'customer'"), "{wide}");
    assert_eq!(
        ok(&["get", "gnp", "-o", "name"]).lines().next(),
        Some("GlobalNetworkPolicy/customer")
    );
    let columns = ok(&["get", "netsets", "-a", "-o", "custom-columns=NAME,NETS"]);
    assert_eq!(columns, "NAMESPACE   NAME   NETS\ndefault     feed   192.0.2.0/24\n\n");
    let tiers = ok(&["get", "tier"]);
    let order: Vec<&str> =
        tiers.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(order, ["kube-admin", "default", "kube-baseline", ""]);

    let list = ok(&["get", "gnp", "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list["kind"], list["items"].as_array().unwrap().len()),
        (&json!("GlobalNetworkPolicyList"), 3)
    );
    let two: Value =
        serde_json::from_str(&ok(&["get", "gnp", "customer", "summary", "-o", "json"])).unwrap();
    assert_eq!(two.as_array().unwrap().len(), 2);
    // What is shown can be put back.
    let yaml = ok(&["get", "gnp", "customer", "-o", "yaml"]);
    assert!(
        yaml.starts_with("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n"),
        "{yaml}"
    );
    server.calicoctl(&["replace", "-f", "-"], &yaml).ended(0);
    server.calicoctl(&["patch", "gnp", "customer", "-p", r#"{"spec": {"order": 1}}"#], "").ended(0);
    let stale = server.calicoctl(&["replace", "-f", "-"], &yaml).ended(1).err;
    assert!(stale.contains("is out of date"), "{stale}");
    let exported = ok(&["get", "netsets", "feed", "-o", "yaml", "--export"]);
    assert!(!exported.contains("uid") && !exported.contains("resourceVersion"), "{exported}");
    let missing = server.calicoctl(&["get", "gnp", "none"], "").ended(1).err;
    assert!(
        missing.starts_with("resource does not exist: GlobalNetworkPolicy(none) with error: "),
        "{missing}"
    );
    assert!(
        server
            .calicoctl(&["get", "gnp", "-o", "xml"], "")
            .ended(1)
            .err
            .contains("unrecognized output format 'xml'")
    );
    assert!(
        server
            .calicoctl(&["get", "gnp", "-o", "custom-columns=NETS"], "")
            .ended(1)
            .err
            .contains("NETS")
    );

    // What Calico makes of Kubernetes' own.
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n-1}\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default}\n\
               spec: {nodeName: n-1, containers: [{name: m, image: x}]}\n";
    server.says(&["create", "-f", "-"], node);
    server.says(&["create", "-f", "-"], pod);
    assert!(ok(&["get", "nodes"]).contains("n-1"));
    assert!(ok(&["get", "profiles"]).contains("ksa.default.default"));
    let profile = ok(&["get", "profile", "kns.default", "-o", "yaml"]);
    assert!(profile.contains("pcns.projectcalico.org/name: default"), "{profile}");
    assert!(ok(&["get", "wep"]).starts_with("WORKLOAD"));
}

#[test]
fn a_configuration_file_counts_before_the_environment() {
    let server = Server::start();
    let file = server.home.path().join("calicoctl.cfg");
    let config = |spec: &str| {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n{spec}"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = server.home.calicoctl();
        command.args(["get", "tiers", "--config"]).arg(&file).env("KUBECONFIG", "/nonexistent");
        run(&mut command, "")
    };
    let kubeconfig = server.kubeconfig();
    config(&format!("  datastoreType: kubernetes\n  kubeconfig: {}\n", kubeconfig.display()))
        .ended(0);
    let inline = std::fs::read_to_string(&kubeconfig).unwrap();
    config(&format!("  kubeconfigInline: {}\n", json!(inline))).ended(0);
    let wrong = config("  datastoreType: files\n").ended(1).err;
    assert!(wrong.contains("unknown datastore type: `files`"), "{wrong}");
    let missing =
        run(server.home.calicoctl().args(["get", "tiers", "-c", "/nonexistent"]), "").ended(1).err;
    assert!(missing.starts_with("cannot read config file: /nonexistent"), "{missing}");
    // The usual place of a kubeconfig is looked into.
    let home = Home::new();
    std::fs::create_dir(home.path().join(".kube")).unwrap();
    std::fs::copy(&kubeconfig, home.path().join(".kube/config")).unwrap();
    run(home.calicoctl().args(["get", "tiers"]), "").ended(0);
}

/// A real etcd; killed when dropped.
struct Etcd {
    child: Child,
    home: Home,
    url: String,
}

impl Etcd {
    fn start() -> Option<Etcd> {
        let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(std::env::var("CI").is_err(), "CI needs the program `etcd`");
            eprintln!("skipped: there is no program `etcd`");
            return None;
        }
        let home = Home::new();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (url, peer) = (format!("http://{}", free()), format!("http://{}", free()));
        let child = home
            .command("etcd")
            .arg("--data-dir")
            .arg(home.path().join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Etcd { child, home, url };
        // It answers once it has elected itself.
        let ready = (0..60).any(|_| etcd.ctl(&["endpoint", "health"], "").status == 0);
        assert!(ready, "etcd does not answer");
        Some(etcd)
    }

    fn ctl(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.home.command("etcdctl");
        run(command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url]).args(arguments), input)
    }

    fn calicoctl(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.home.calicoctl();
        command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &self.url);
        run(command.args(arguments), input)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn etcd_holds_what_calico_holds() {
    let Some(etcd) = Etcd::start() else { return };
    let policy = repository("examples/yaobank/30-policy.yaml");
    let said = etcd.calicoctl(&["create", "-f", &policy], "").ended(0);
    assert_eq!(said.out, "Successfully created 3 'GlobalNetworkPolicy' resource(s)\n");
    // A namespace is Kubernetes' business, and need not be in etcd.
    etcd.calicoctl(&["apply", "-f", "-"], &SET.replace("namespace: default", "namespace: shop"))
        .ended(0);
    let keys = etcd
        .ctl(&["get", "--prefix", "--keys-only", "/calico/resources/v3/projectcalico.org/"], "");
    let keys: Vec<&str> = keys.out.lines().filter(|line| !line.is_empty()).collect();
    for key in [
        "globalnetworkpolicies/customer",
        "networksets/shop/feed",
        "tiers/default",
        "felixconfigurations/default",
    ] {
        assert!(
            keys.contains(&format!("/calico/resources/v3/projectcalico.org/{key}").as_str()),
            "{key}: {keys:?}"
        );
    }
    let key = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/summary";
    let stored: Value =
        serde_json::from_str(&etcd.ctl(&["get", "--print-value-only", key], "").out).unwrap();
    assert_eq!(stored["kind"], "GlobalNetworkPolicy");
    assert_eq!(stored["apiVersion"], "projectcalico.org/v3");
    assert_eq!(stored["metadata"]["name"], "summary");
    assert!(
        stored["metadata"]["creationTimestamp"].is_string()
            && stored["metadata"]["uid"].is_string()
    );
    assert_eq!(stored["spec"]["selector"], "app == 'summary'");

    // What others write is there.
    let foreign = json!({
        "kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "foreign", "uid": "9f4c", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"order": 7, "selector": "all()", "types": ["Ingress"]},
    });
    let key = key.replace("summary", "foreign");
    etcd.ctl(&["put", &key, &foreign.to_string()], "").ended(0);
    let wide = etcd.calicoctl(&["get", "gnp", "-o", "wide"], "").ended(0).out;
    assert!(wide.contains("foreign    default   7       all()"), "{wide}");
    let patched =
        etcd.calicoctl(&["patch", "gnp", "foreign", "-p", r#"{"spec": {"order": 8}}"#], "");
    assert_eq!(patched.ended(0).out, "Successfully patched 1 'GlobalNetworkPolicy' resource\n");
    let stored: Value =
        serde_json::from_str(&etcd.ctl(&["get", "--print-value-only", &key], "").out).unwrap();
    assert_eq!((&stored["spec"]["order"], &stored["metadata"]["uid"]), (&json!(8), &json!("9f4c")));
    // Admission is that of the server.
    let wrong = std::fs::read_to_string(&policy).unwrap().replace("app ==", "app =");
    let refused = etcd.calicoctl(&["apply", "-f", "-"], &wrong).ended(1).err;
    assert!(refused.contains("error with field spec.selector: "), "{refused}");
    etcd.calicoctl(&["delete", "gnp", "foreign"], "").ended(0);
    assert_eq!(etcd.ctl(&["get", &key], "").out, "");
    let dead = etcd
        .home
        .calicoctl()
        .env("ETCD_ENDPOINTS", "http://127.0.0.1:9")
        .args(["get", "tiers"])
        .output()
        .unwrap();
    assert_eq!(dead.status.code(), Some(1));
}
