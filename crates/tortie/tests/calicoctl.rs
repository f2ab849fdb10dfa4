//! The program under the name calicoctl, against a server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use common::{Home, Server, no_kubectl, repository, run};
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
    for (name, why) in
        [("{}", "is required"), ("{name: ''}", "is required"), ("{name: 5}", "is not text")]
    {
        let nameless = SET.replace("{name: feed, namespace: default, labels: {a: b}}", name);
        for verb in ["create", "apply", "replace", "delete", "get"] {
            let refused = fails(&[verb, "-f", "-"], &nameless);
            let field = "error with field metadata.name: ";
            assert!(refused.contains(&format!("{field}{why}")), "{verb}: {refused}");
        }
    }
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

    for (verb, instead) in [
        ("ipam", "whoever makes a pod does"),
        ("node", "tortie agent"),
        ("datastore", "apply -f -"),
        ("cluster", "tortie explain"),
        ("convert", "tortie validate"),
    ] {
        let absent = server.calicoctl(&[verb, "show", "--all"], "").ended(2).err;
        let start = format!("`calicoctl {verb}` is not part of Tortie\nhint: ");
        assert!(absent.starts_with(&start) && absent.contains(instead), "{absent}");
    }
    for flags in [["--allow-version-mismatch", "--log-level=debug"], ["-l", "info"]] {
        ok(&[&["get", "tiers"], &flags[..]].concat(), "");
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
    server
        .calicoctl(
            &["replace", "-f", "-"],
            &ok(&["get", "gnp", "customer", "summary", "-o", "yaml"]),
        )
        .ended(0);
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
    let both = ok(&["get", "gnp,netsets", "-o", "name"]);
    assert!(both.starts_with("GlobalNetworkPolicy/customer\n"), "{both}");
    assert!(both.ends_with("NetworkSet/feed\n"), "{both}");
    let missing = server.calicoctl(&["get", "gnp", "none", "-o", "yaml"], "").ended(1);
    assert_eq!(missing.out, "");
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

#[test]
fn workload_endpoints_are_made_of_pods() {
    if no_kubectl() {
        return;
    }
    let server = Server::start();
    let nodes = "apiVersion: v1\nkind: Node\nmetadata: {name: n-1}\n";
    server.says(&["create", "-f", "-"], nodes);
    for (name, address) in [("web", "10.65.0.2"), ("ended", "10.65.0.3"), ("new", "")] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n\
             spec: {{nodeName: n-1, containers: [{{name: m, image: x}}]}}\n"
        );
        server.says(&["create", "-f", "-"], &pod);
        let phase = if name == "ended" { "Succeeded" } else { "Running" };
        let status = json!({"status": {"phase": phase, "podIP": address}}).to_string();
        server.kubectl(&["patch", "pod", name, "--subresource=status", "-p", &status], "");
    }
    let ok = |arguments: &[&str]| server.calicoctl(arguments, "").ended(0).out;
    let table = ok(&["get", "wep"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"]);
    assert_eq!(lines[1][..3], ["web", "n-1", "10.65.0.2/32"]);
    assert!(lines[1][3].starts_with("cali") && lines.len() == 3, "{table}");
    let wide = ok(&["get", "workloadEndpoints", "-A", "-o", "wide"]);
    assert!(wide.contains("n--1-k8s-web-eth0") && wide.contains("kns.default,ksa.default.default"));
    let name = ok(&["get", "weps", "-o", "name"]);
    assert_eq!(name, "WorkloadEndpoint/n--1-k8s-web-eth0\n");
    let one: Value =
        serde_json::from_str(&ok(&["get", "wep", "n--1-k8s-web-eth0", "-o", "json"])).unwrap();
    assert_eq!(one["metadata"]["labels"]["projectcalico.org/serviceaccount"], "default");
    assert_eq!(one["spec"]["ipNetworks"], json!(["10.65.0.2/32"]));
    let fails = |arguments: &[&str]| server.calicoctl(arguments, "").ended(1).err;
    assert!(fails(&["get", "wep", "none"]).starts_with("resource does not exist: "));
    let labelled = fails(&["label", "wep", "n--1-k8s-web-eth0", "a=b"]);
    assert!(
        labelled.contains("not supported on WorkloadEndpoint\nhint: it is made of a pod"),
        "{labelled}"
    );
    // Nodes are Kubernetes' own, and may be changed.
    let set = ok(&["label", "nodes", "n-1", "cluster=frontend"]);
    assert_eq!(set, "Successfully set label cluster on nodes n-1\n");
    assert!(ok(&["get", "node", "n-1", "-o", "yaml"]).contains("cluster: frontend"));
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    let server = Server::start();
    let stranger = server.stranger();
    let policy = repository("examples/yaobank/30-policy.yaml");
    let missing = "missing grants: verb \"get\" on resource \"tiers\", and verb \"list\" on";
    let said = server.tortie(&["get", "gnp", "--kubeconfig", &stranger], "").ended(1).err;
    assert!(said.starts_with("error: get: globalnetworkpolicies: "), "{said}");
    assert!(said.contains("User \"ada\" cannot list") && said.contains(missing), "{said}");
    let calicoctl = |arguments: &[&str]| {
        let mut command = server.home.calicoctl();
        run(command.args(arguments).env("KUBECONFIG", &stranger), "").ended(1).err
    };
    let said = calicoctl(&["get", "gnp"]);
    assert!(said.starts_with("Failed to get resources: connection is unauthorized: "), "{said}");
    assert!(said.contains(missing), "{said}");
    let said = calicoctl(&["create", "-f", &policy]);
    assert!(said.starts_with("Failed to create any 'GlobalNetworkPolicy' resources: ["), "{said}");
    assert!(said.contains("connection is unauthorized: ") && said.contains("\"create\""), "{said}");
    server.calicoctl(&["create", "-f", &policy], "").ended(0);
    for arguments in [
        ["explain", "--from", "a/b", "--to", "a/c"].as_slice(),
        &["connectivity", "--ports", "tcp/80"],
        &["diff", "--staged"],
        &["stage", "gnp/customer"],
        &["describe", "gnp", "customer"],
        &["delete", "gnp", "customer"],
        &["label", "gnp", "customer", "a=b"],
        &["patch", "gnp", "customer", "-p", "{}"],
        &["apply", "-f", &policy],
    ] {
        let mut command = server.home.tortie();
        let run = run(command.args(arguments).env("KUBECONFIG", &stranger), "");
        let refused = run.status == 1 && run.err.contains("missing grant");
        assert!(refused && run.out.is_empty(), "{arguments:?}: {run:?}");
    }
}
