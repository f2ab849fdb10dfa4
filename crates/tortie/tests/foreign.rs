//! An etcd that belongs to others: what lies there, who may look, and what is no policy.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::process::Command;

use common::{Etcd, Run, Server, repository, run};
use serde_json::{Value, json};

const SET: &str = "apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: feed, namespace: shop}
spec: {nets: [192.0.2.0/24]}
";

const POLICIES: &str = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies";

#[test]
fn etcd_holds_what_calico_holds() {
    let Some(etcd) = Etcd::start() else { return };
    let policy = repository("examples/yaobank/30-policy.yaml");
    let said = etcd.calicoctl(&["create", "-f", &policy], "").ended(0);
    assert_eq!(said.out, "Successfully created 3 'GlobalNetworkPolicy' resource(s)\n");
    // A namespace is Kubernetes' business, and need not be in etcd.
    etcd.calicoctl(&["apply", "-f", "-"], SET).ended(0);
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
    let key = format!("{POLICIES}/summary");
    let stored: Value =
        serde_json::from_str(&etcd.ctl(&["get", "--print-value-only", &key], "").out).unwrap();
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

/// Where etcd's history is.
fn revision(etcd: &Etcd) -> i64 {
    let status = etcd.ctl(&["endpoint", "status", "-w", "json"], "").ended(0).json();
    status[0]["Status"]["header"]["revision"].as_i64().unwrap()
}

#[test]
fn who_only_reads_leaves_no_trace() {
    let Some(etcd) = Etcd::start() else { return };
    let policy = json!({
        "kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "theirs"}, "spec": {"selector": "all()", "types": ["Ingress"]},
    });
    for filled in [false, true] {
        if filled {
            let key = format!("{POLICIES}/theirs");
            etcd.ctl(&["put", &key, &policy.to_string()], "").ended(0);
        }
        let before = revision(&etcd);
        let theirs = i32::from(!filled);
        for (status, arguments) in [
            (0, vec!["get", "gnp"]),
            (0, vec!["get", "gnp", "-o", "yaml"]),
            (0, vec!["get", "np", "-A", "-o", "wide"]),
            (0, vec!["get", "wep", "-a"]),
            (0, vec!["get", "nodes"]),
            (0, vec!["get", "profiles", "-o", "name"]),
            (0, vec!["get", "tiers", "-o", "json"]),
            (theirs, vec!["get", "gnp", "theirs", "-o", "wide"]),
            (1, vec!["get", "felixconfiguration", "default"]),
            (0, vec!["version", "--client"]),
            (1, vec!["version"]),
        ] {
            let said = etcd.calicoctl(&arguments, "");
            assert_eq!(said.status, status, "{arguments:?}: {said:?}");
        }
        assert_eq!(revision(&etcd), before, "filled: {filled}");
    }
}

#[test]
fn an_etcd_with_users_asks_who_it_is() {
    let Some(etcd) = Etcd::start() else { return };
    etcd.calicoctl(&["apply", "-f", "-"], SET).ended(0);
    for words in [
        "user add root:secret",
        "user grant-role root root",
        "user add ada:hunter2",
        "role add calico",
        "user grant-role ada calico",
        "role grant-permission calico --prefix=true readwrite /calico/",
        "role grant-permission calico --prefix=true readwrite /tortie/",
        "auth enable",
    ] {
        // The role of root is made by the first who is given it, or by hand.
        let said = etcd.ctl(&words.split(' ').collect::<Vec<_>>(), "");
        if words == "user grant-role root root" && said.status != 0 {
            etcd.ctl(&["role", "add", "root"], "").ended(0);
            etcd.ctl(&["user", "grant-role", "root", "root"], "").ended(0);
            continue;
        }
        said.ended(0);
    }
    let as_user = |user: &[(&str, &str)], arguments: &[&str]| -> Run {
        let mut command: Command = etcd.home.calicoctl();
        command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &etcd.url);
        command.envs(user.iter().copied()).args(arguments);
        run(&mut command, SET)
    };
    let ada = [("ETCD_USERNAME", "ada"), ("ETCD_PASSWORD", "hunter2")];
    let list = ["get", "netsets", "-A", "-o", "name"];
    assert_eq!(as_user(&ada, &list).ended(0).out, "NetworkSet/feed\n");
    as_user(&ada, &["replace", "-f", "-"]).ended(0);
    as_user(&ada, &["label", "netsets", "feed", "-n", "shop", "a=b"]).ended(0);
    let prefixed = [("CALICO_ETCD_USERNAME", "ada"), ("CALICO_ETCD_PASSWORD", "hunter2")];
    as_user(&prefixed, &list).ended(0);
    let file = etcd.home.path().join("cfg");
    let config = json!({
        "apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig",
        "spec": {"datastoreType": "etcdv3", "etcdEndpoints": etcd.url, "etcdUsername": "ada",
            "etcdPassword": "hunter2"},
    });
    std::fs::write(&file, config.to_string()).unwrap();
    as_user(&[], &[&list[..], &["-c", file.to_str().unwrap()]].concat()).ended(0);

    let wrong = [("ETCD_USERNAME", "ada"), ("ETCD_PASSWORD", "guess")];
    for (user, want) in [
        (&[][..], "hint: it has users: set ETCD_USERNAME and ETCD_PASSWORD"),
        (&wrong[..], "authentication failed, invalid user ID or password"),
        (&ada[..1], "a user's name and its password belong together"),
    ] {
        let refused = as_user(user, &list).ended(1);
        assert!(refused.err.contains(want), "{refused:?}");
        assert!(!refused.err.contains("guess") && refused.out.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_policy_that_nobody_understands_is_shown_and_named() {
    let Some(etcd) = Etcd::start() else { return };
    let server = Server::with(&["--etcd", &etcd.url]);
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    server.says(&["create", "-f", "-"], namespace);
    for pod in ["web", "front"] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": "shop"},
            "spec": {"containers": [{"name": "main", "image": "x"}]},
        })
        .to_string();
        server.says(&["create", "-f", "-"], &pod);
    }
    let ask = ["explain", "--from", "shop/front", "--to", "shop/web", "--port", "80"];
    server.tortie(&ask, "").ended(0);
    let spec = |spec: Value| {
        json!({"kind": "GlobalNetworkPolicy", "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": "theirs"}, "spec": spec})
    };
    let wrong_selector = spec(json!({"selector": "a ==", "types": ["Ingress"]}));
    let unknown_field = spec(json!({"selectors": "all()", "types": ["Ingress"]}));
    let wrong_type = spec(json!({"order": "first", "types": ["Ingress"]}));
    let key = format!("{POLICIES}/theirs");
    for (policy, field) in [
        (wrong_selector, "spec.selector"),
        (unknown_field, "spec.selectors"),
        (wrong_type, "spec.order"),
    ] {
        etcd.ctl(&["put", &key, &policy.to_string()], "").ended(0);
        let table = server.says(&["get", "gnp"], "");
        assert!(table.contains("theirs") && table.contains("False"), "{field}: {table}");
        let yaml = server.says(&["get", "gnp", "theirs", "-o", "yaml"], "");
        assert!(yaml.contains("type: Accepted") && yaml.contains(field), "{field}: {yaml}");
        let described = server.says(&["describe", "gnp", "theirs"], "");
        assert!(described.contains(field), "{field}: {described}");
        assert!(server.calicoctl(&["get", "gnp"], "").ended(0).out.contains("theirs"), "{field}");

        // It denies, and standard error tells why.
        let told = format!("warning: GlobalNetworkPolicy theirs: {field}: ");
        let explained = server.tortie(&ask, "").ended(1);
        assert!(explained.out.contains("GlobalNetworkPolicy theirs"), "{explained:?}");
        let matrix = ["connectivity", "--ports", "tcp/80"];
        let diff = ["diff", "--new", "-", "--ports", "tcp/80"];
        for (said, status) in
            [(server.tortie(&matrix, ""), 0), (server.tortie(&diff, SET), 0), (explained, 1)]
        {
            assert!(said.status == status && said.err.contains(&told), "{field}: {said:?}");
        }
        // What would mend it changes verdicts; what is wrong with that is refused.
        let mended =
            spec(json!({"order": 1, "types": ["Ingress"], "ingress": [{"action": "Allow"}]}));
        assert!(server.tortie(&diff, &mended.to_string()).ended(1).out.contains("shop/web tcp/80"));
        let worse = server.tortie(&diff, &spec(json!({"selector": "b =="})).to_string()).ended(2);
        assert!(worse.err.contains("error: invalid input: -: document 1"), "{worse:?}");
    }
    // Mended, it is a policy like any other.
    let patch = r#"[{"op": "replace", "path": "/spec", "value": {"order": 1}}]"#;
    server.says(&["patch", "gnp", "theirs", "--type", "json", "-p", patch], "");
    assert!(server.says(&["get", "gnp"], "").contains("True"));
}
