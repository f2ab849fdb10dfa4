//! The real kubectl against the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "test code"
)]

mod common;

use common::{Cluster, skipped};
use tortie_apiserver::Options;
use tortie_store::{Engine, Key, Local, Resource, Store as _, When};

const POLICY: &str = "apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  order: 5
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: app == 'front'}
    destination: {ports: [80]}
";

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: main, image: web:1, ports: [{containerPort: 80}]}]}
";

#[test]
fn objects_are_created_shown_and_deleted() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    assert!(cluster.says(&["version"]).contains("Server Version: v1.32"));
    let shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    assert_eq!(cluster.says_to(&["create", "-f", "-"], shop), "namespace/shop created\n");
    assert!(cluster.refuses(&["create", "-f", "-"], shop).contains("\"shop\" already exists"));
    let label = "-o=jsonpath={.metadata.labels}";
    let labels = cluster.says(&["get", "ns", "shop", label]);
    assert_eq!(labels, r#"{"kubernetes.io/metadata.name":"shop"}"#);
    assert!(cluster.says(&["get", "sa", "-n", "shop"]).contains("default"));

    let apply =
        |text: &str, more: &[&str]| cluster.says_to(&[&["apply", "-f", "-"], more].concat(), text);
    assert!(apply(POLICY, &[]).ends_with("/web created\n"));
    assert!(apply(POLICY, &[]).ends_with("/web unchanged\n"));
    let changed = POLICY.replace("order: 5", "order: 6");
    assert!(apply(&changed, &[]).ends_with("/web configured\n"));
    let shown = cluster.says(&["get", "gnp"]);
    let cells: Vec<Vec<&str>> = shown.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["NAME", "TIER", "ORDER", "ACCEPTED", "AGE"]);
    assert_eq!(cells[1][..4], ["web", "default", "6", "True"]);
    let of =
        |field: &str| cluster.says(&["get", "gnp", "web", &format!("-o=jsonpath={{{field}}}")]);
    assert_eq!(of(".metadata.generation"), "2");
    assert_eq!(of(".spec.types"), r#"["Ingress"]"#);
    assert_eq!(of(".metadata.labels.projectcalico\\.org/tier"), "default");

    assert_eq!(apply(POD, &["-n", "shop"]), "pod/web created\n");
    let wide = cluster.says(&["get", "pods", "-A", "-o", "wide", "-l", "app=web"]);
    assert!(wide.starts_with("NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE"), "{wide}");
    assert!(wide.contains("0/1     Pending"), "{wide}");
    assert_eq!(cluster.says(&["get", "po", "-n", "shop", "-o", "name"]), "pod/web\n");
    assert_eq!(cluster.says(&["get", "po", "-n", "shop", "-l", "app=db", "-o", "name"]), "");
    let selected = ["get", "po", "-A", "-o", "name", "--field-selector", "metadata.name=web"];
    assert_eq!(cluster.says(&selected), "pod/web\n");
    assert!(cluster.says(&["get", "po", "-n", "shop", "web", "-o", "yaml"]).contains("uid: "));
    let missing = cluster.refuses(&["get", "pod", "web"], "");
    assert!(missing.contains(r#"pods "web" not found"#), "{missing}");

    let dry = ["delete", "pod", "web", "-n", "shop", "--dry-run=server"];
    assert!(cluster.says(&dry).contains("(server dry run)"));
    // Later versions add from which namespace.
    let deleted = cluster.says(&["delete", "pod", "web", "-n", "shop"]);
    assert!(deleted.starts_with("pod \"web\" deleted"), "{deleted}");
    assert!(apply(POD, &["-n", "shop"]).contains("created"));
    assert!(cluster.says(&["delete", "ns", "shop"]).contains("\"shop\" deleted"));
    assert_eq!(cluster.says(&["get", "pods", "-A", "-o", "name"]), "");
    let nowhere = cluster.refuses(&["apply", "-n", "shop", "-f", "-"], POD);
    assert!(nowhere.contains("namespaces \"shop\" not found"), "{nowhere}");
}

#[test]
fn what_cannot_be_enforced_is_refused() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let cases = [
        (POLICY.replace("app == 'web'", "app = web"), "spec.selector"),
        (POLICY.replace("order", "ordre"), "spec.ordre"),
        (POLICY.replace("[80]", "[0]"), "spec.ingress[0].destination.ports[0]"),
        (POLICY.replace("name: web", "name: Web"), "metadata.name"),
    ];
    for (document, field) in cases {
        let said = cluster.refuses(&["create", "-f", "-"], &document);
        assert!(said.contains("is invalid") && said.contains(field), "{said}");
    }
    let tier = |args: &[&str]| cluster.refuses(args, "");
    assert!(tier(&["delete", "tier", "default"]).contains("built in"));
    let order = ["patch", "tier", "default", "--type=merge", "-p", r#"{"spec":{"order":1}}"#];
    let said = tier(&order);
    assert!(said.contains("is built in"), "{said}");

    let own = "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: own}\n";
    cluster.says_to(&["create", "-f", "-"], own);
    assert!(cluster.says(&["get", "tiers"]).contains("True"));
    let said = cluster.refuses(&["create", "-f", "-"], &POLICY.replace("order: 5", "tier: none"));
    assert!(said.contains("tiers.projectcalico.org \"none\" not found"), "{said}");
    let policy = POLICY.replace("order: 5", "tier: own");
    cluster.says_to(&["create", "-f", "-"], &policy);
    assert!(tier(&["delete", "tier", "own"]).contains("GlobalNetworkPolicy `web`"));
    cluster.says(&["delete", "gnp", "web"]);
    cluster.says(&["delete", "tier", "own"]);
}

#[test]
fn objects_are_changed_in_every_way() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    cluster.says_to(&["apply", "-f", "-"], POD);
    cluster.says_to(&["apply", "-f", "-"], POLICY);
    let of = |object: &str, field: &str| {
        cluster.says(&["get", object, &format!("-o=jsonpath={{{field}}}")])
    };
    cluster.says(&["label", "pod", "web", "tier=front"]);
    cluster.says(&["annotate", "pod", "web", "note=yes"]);
    assert_eq!(of("pod/web", ".metadata.labels.tier"), "front");
    assert_eq!(of("pod/web", ".metadata.annotations.note"), "yes");
    let strategic = r#"{"spec":{"containers":[{"name":"main","image":"web:2"}]}}"#;
    cluster.says(&["patch", "pod", "web", "-p", strategic]);
    assert_eq!(of("pod/web", ".spec.containers[*].ports[0].containerPort"), "80");
    assert_eq!(of("pod/web", ".spec.containers[*].image"), "web:2");
    let operations = r#"[{"op":"test","path":"/spec/order","value":5},
                         {"op":"replace","path":"/spec/order","value":7}]"#;
    cluster.says(&["patch", "gnp", "web", "--type=json", "-p", operations]);
    assert!(
        cluster
            .refuses(&["patch", "gnp", "web", "--type=json", "-p", operations], "")
            .contains("test")
    );
    cluster.says(&["patch", "gnp", "web", "--type=merge", "-p", r#"{"spec":{"order":null}}"#]);
    assert_eq!(of("gnp/web", ".spec.order"), "");
    let subresource = ["patch", "pod", "web", "--subresource=status", "--type=merge", "-p"];
    cluster
        .says(&[&subresource[..], &[r#"{"status":{"phase":"Running"},"spec":{"x":1}}"#]].concat());
    assert!(cluster.says(&["get", "pod"]).contains("Running"));
    assert_eq!(of("pod/web", ".spec.x"), "");

    let differ = cluster.kubectl(&["diff", "-f", "-"], &POLICY.replace("TCP", "UDP"));
    assert!(differ.out.contains("+    protocol: UDP"), "{}{}", differ.out, differ.err);
    let old = cluster.says(&["get", "gnp", "web", "-o", "json"]);
    cluster.says(&["label", "gnp", "web", "x=y"]);
    let stale = cluster.refuses(&["replace", "-f", "-"], &old);
    assert!(stale.contains("the object has been modified"), "{stale}");

    let server_side = ["apply", "--server-side", "-f", "-"];
    let account =
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x, labels: {a: '1', b: '2'}}\n";
    cluster.says_to(&server_side, account);
    cluster.says_to(&server_side, &account.replace(", b: '2'", ""));
    assert_eq!(of("sa/x", ".metadata.labels"), r#"{"a":"1"}"#);
    let other = [&server_side[..], &["--field-manager=other"]].concat();
    let conflict = cluster.refuses(&other, &account.replace("'1'", "'3'"));
    let said =
        "Apply failed with 1 conflict: conflict with \"kubectl\": .metadata.labels.a\nPlease";
    assert!(conflict.contains(said), "{conflict}");
    cluster.says_to(&[&other[..], &["--force-conflicts"]].concat(), &account.replace("'1'", "'3'"));
    assert_eq!(of("sa/x", ".metadata.labels.a"), "3");
}

#[test]
fn kubectl_finds_its_way() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let resources = cluster.says(&["api-resources"]);
    for line in ["globalnetworkpolicies", "pods", "tiers", "customresourcedefinitions"] {
        assert!(resources.contains(line), "{resources}");
    }
    assert!(cluster.says(&["api-versions"]).contains("projectcalico.org/v3"));
    let explained = cluster.says(&["explain", "gnp.spec.ingress.source"]);
    assert!(explained.contains("notSelector"), "{explained}");
    assert!(cluster.says(&["explain", "pod"]).contains("metadata"));
    assert!(cluster.says(&["explain", "pod.spec.containers.livenessProbe"]).contains("httpGet"));
    assert!(cluster.says(&["explain", "deployment.spec.template.spec"]).contains("<[]Container>"));
    cluster.says_to(&["apply", "-f", "-"], POD);
    cluster.says_to(&["apply", "-f", "-"], POLICY);
    for object in ["pod/web", "gnp/web", "ns/default", "tier/default", "sa/default"] {
        let name = object.rsplit('/').next().unwrap();
        let described = cluster.says(&["describe", object]);
        assert!(described.contains(name), "{described}");
    }
    assert!(cluster.says(&["get", "all"]).contains("pod/web"));
    assert!(cluster.says(&["get", "--raw", "/readyz?verbose"]).contains("[+]store ok"));
    cluster.says_to(&["create", "-f", "-"], "apiVersion: v1\nkind: Node\nmetadata: {name: one}\n");
    cluster.says(&["cordon", "one"]);
    assert!(cluster.says(&["get", "nodes"]).contains("Unknown,SchedulingDisabled"));
    cluster.says(&["create", "job", "j", "--image=x"]);
    assert!(cluster.says(&["get", "jobs"]).contains("Running   0/1"));
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n";
    cluster.says_to(&["create", "-f", "-"], deployment);
    cluster.says(&["scale", "deployment", "d", "--replicas=3"]);
    assert!(cluster.says(&["get", "deploy"]).contains("0/3"));
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n";
    cluster.says_to(&["create", "-f", "-"], secret);
    assert!(cluster.says(&["describe", "secret", "s"]).contains("1 bytes"));
}

#[test]
fn typed_clients_write_protobuf() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let created = |arguments: &[&str]| {
        let said = cluster.says(&[&["create"], arguments].concat());
        assert!(said.contains("created"), "{said}");
    };
    created(&["namespace", "shop"]);
    created(&["deployment", "web", "--image=web:1", "--replicas=2", "--port=80"]);
    created(&["configmap", "settings", "--from-literal=a=b"]);
    created(&["secret", "generic", "key", "--from-literal=a=b"]);
    created(&["serviceaccount", "robot"]);
    created(&["service", "clusterip", "web", "--tcp=80:8080"]);
    created(&["role", "reader", "--verb=get", "--resource=pods"]);
    created(&["rolebinding", "reads", "--role=reader", "--serviceaccount=default:robot"]);
    created(&["ingress", "front", "--rule=x.example/a=web:80"]);
    assert_eq!(cluster.says(&["auth", "can-i", "create", "pods"]), "yes\n");
    let of = |object: &str, field: &str| {
        cluster.says(&["get", object, &format!("-o=jsonpath={{{field}}}")])
    };
    let ports = ".spec.template.spec.containers[0].ports[0].containerPort";
    assert_eq!(of("deploy/web", ports), "80");
    assert_eq!(of("deploy/web", ".spec.replicas"), "2");
    assert_eq!(of("service/web", ".spec.ports[0].targetPort"), "8080");
    assert_eq!(of("secret/key", ".data.a"), "Yg==");
    assert_eq!(of("rolebinding/reads", ".subjects[0].name"), "robot");
    let said = cluster.says(&["run", "web", "--image=web:1", "--labels=app=web"]);
    assert_eq!(said, "pod/web created\n");
    assert!(cluster.says(&["expose", "deployment", "web", "--name=web2"]).contains("exposed"));
    assert!(cluster.says(&["set", "image", "deploy/web", "web=web:2"]).contains("updated"));
    assert_eq!(of("deploy/web", ".spec.template.spec.containers[0].image"), "web:2");
}

#[test]
fn fields_are_checked() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let unknown = POD.replace("containers", "contaners");
    let said = cluster.refuses(&["create", "-f", "-"], &unknown);
    assert!(said.contains("unknown field \"spec.contaners\""), "{said}");
    let said = cluster.refuses(&["apply", "-f", "-"], &unknown);
    assert!(said.contains("unknown field \"spec.contaners\""), "{said}");
    let warned = cluster.kubectl(&["create", "--validate=warn", "-f", "-"], &unknown);
    assert!(warned.ok && warned.err.contains("Warning: unknown field"), "{}", warned.err);
    cluster.says_to(&["create", "-f", "-"], &POD.replace("web,", "w3,"));
    let patch = ["patch", "pod", "w3", "--type=merge", "-p", r#"{"spec":{"contaners":1}}"#];
    let warned = cluster.kubectl(&patch, "");
    assert!(warned.ok && warned.err.contains("Warning: unknown field"), "{}", warned.err);
    // What was there before is no news.
    assert_eq!(cluster.kubectl(&["label", "pod", "w3", "x=y"], "").err, "");
    let mistyped = POD.replace("containerPort: 80", "containerPort: '80'").replace("web,", "w2,");
    let said = cluster.refuses(&["create", "-f", "-"], &mistyped);
    assert!(said.contains("spec.containers[0].ports[0].containerPort"), "{said}");
}

#[test]
fn kinds_that_are_not_there_are_named() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n";
    for validate in ["strict", "warn", "ignore"] {
        for verb in ["create", "apply"] {
            let validate = format!("--validate={validate}");
            let said = cluster.refuses(&[verb, "-f", "-", &validate], widget);
            let named =
                said.contains("no matches for kind \"Widget\" in version \"example.com/v1\"");
            assert!(named && said.contains("ensure CRDs are installed first"), "{said}");
        }
    }
    // What kubectl makes of the document: fields of Kubernetes' kinds, and of those that are defined.
    let explained = |field: &str| cluster.says(&["explain", field, "--output=plaintext-openapiv2"]);
    assert!(explained("pod.spec.containers").contains("livenessProbe\t<Object>"));
    assert!(explained("deployment.spec.template.metadata.labels").contains("map[string]string"));
    assert!(explained("gnp.spec.ingress.source").contains("notSelector"));
    let raw = cluster.says(&["get", "--raw", "/openapi/v2"]);
    let document: serde_json::Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(document["swagger"], "2.0");
}

#[test]
fn policies_of_others_say_why_they_are_not_enforced() {
    if skipped() {
        return;
    }
    let foreign =
        r#"{"kind":"GlobalNetworkPolicy","metadata":{"name":"odd"},"spec":{"selector":"a ="}}"#;
    let cluster = Cluster::start_on(Options::default(), async move {
        let store = Local::in_memory(tortie_store::Options::default()).await.unwrap();
        let resource = Resource::new("projectcalico.org", "globalnetworkpolicies").unwrap();
        let key = Key::new(resource, None, "odd").unwrap();
        store.put(&key, foreign.into(), When::Absent).await.unwrap();
        Engine::Local(store)
    });
    cluster.says_to(&["apply", "-f", "-"], POLICY);
    let shown = cluster.says(&["get", "gnp"]);
    let cells: Vec<Vec<&str>> = shown.lines().map(|l| l.split_whitespace().collect()).collect();
    assert!(cells[1][0] == "odd" && cells[1].contains(&"False"), "{shown}");
    let yaml = cluster.says(&["get", "gnp", "odd", "-o", "yaml"]);
    assert!(yaml.contains("type: Accepted") && yaml.contains("spec.selector"), "{yaml}");
    cluster.says(&["wait", "--for=condition=Accepted", "gnp/web", "--timeout=30s"]);
    let condition = "-o=jsonpath={.items[*].status.conditions[?(@.type==\"Accepted\")].status}";
    assert_eq!(cluster.says(&["get", "gnp", condition]), "False True");
    // What is shown can be sent back, and is no change.
    let yaml = cluster.says(&["get", "gnp", "web", "-o", "yaml"]);
    assert!(cluster.says_to(&["replace", "-f", "-"], &yaml).contains("replaced"));
    assert_eq!(cluster.says(&["get", "gnp", "web", "-o=jsonpath={.metadata.generation}"]), "1");
    cluster.says(&[
        "patch",
        "gnp",
        "odd",
        "--type=merge",
        "-p",
        r#"{"spec":{"selector":"all()"}}"#,
    ]);
    assert_eq!(cluster.says(&["get", "gnp", condition]), "True True");
}

#[test]
fn kubectl_waits_and_tries() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    cluster.says(&["create", "deployment", "web", "--image=web:1"]);
    let status = |generation: &str| {
        let status = format!(
            r#"{{"status":{{"observedGeneration":{generation},"replicas":1,"updatedReplicas":1,
                "readyReplicas":1,"availableReplicas":1,
                "conditions":[{{"type":"Available","status":"True"}}]}}}}"#
        );
        let patch =
            ["patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", &status];
        cluster.says(&patch);
    };
    status("1");
    let rolled = cluster.says(&["rollout", "status", "deploy/web", "--timeout=30s"]);
    assert!(rolled.contains("successfully rolled out"), "{rolled}");
    cluster.says(&["wait", "--for=condition=Available", "deploy/web", "--timeout=30s"]);
    cluster.says(&["rollout", "restart", "deploy/web"]);
    let generation = cluster.says(&["get", "deploy", "web", "-o=jsonpath={.metadata.generation}"]);
    assert_eq!(generation, "2");
    for dry in ["client", "server"] {
        let dry = format!("--dry-run={dry}");
        cluster.says(&["create", "namespace", "ghost", &dry]);
        cluster.says_to(&["apply", &dry, "-f", "-"], POD);
    }
    assert!(cluster.refuses(&["get", "ns", "ghost"], "").contains("not found"));
    assert_eq!(cluster.says(&["get", "pods", "-o", "name"]), "");
    let template = "-o=go-template={{range .items}}{{.metadata.name}} {{end}}";
    assert_eq!(cluster.says(&["get", "deploy", template]), "web ");
    let columns =
        "-o=custom-columns=NAME:.metadata.name,IMAGE:.spec.template.spec.containers[0].image";
    assert!(cluster.says(&["get", "deploy", columns]).contains("web:1"));
    assert!(cluster.says(&["get", "deploy", "-A", "--sort-by=.metadata.name"]).contains("web"));
    cluster.says_to(&["apply", "-f", "-"], POD);
    cluster.says(&["wait", "--for=jsonpath={.status.phase}=Pending", "pod/web", "--timeout=30s"]);
    let described = cluster.says(&["describe", "deploy", "web"]);
    assert!(described.contains("1 updated"), "{described}");
    cluster.says(&["delete", "pod", "-l", "app=web"]);
    assert_eq!(cluster.says(&["get", "pods", "-o", "name"]), "");
}

#[test]
fn kinds_can_be_defined() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let definition = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gateways.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: Gateway, plural: gateways, shortNames: [gw]}
  versions:
  - {name: v1beta1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
";
    let gateway = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {servers: [{port: {number: 80}}]}
";
    cluster.says_to(&["apply", "-f", "-"], definition);
    cluster.says(&[
        "wait",
        "--for=condition=established",
        "crd/gateways.networking.istio.io",
        "--timeout=20s",
    ]);
    cluster.says_to(&["apply", "-f", "-"], gateway);
    let version = "-o=jsonpath={.apiVersion} {.spec.servers[0].port.number}";
    assert_eq!(cluster.says(&["get", "gw", "g", version]), "networking.istio.io/v1 80");
    let other = cluster.says(&["get", "gateways.v1beta1.networking.istio.io", "g", version]);
    assert_eq!(other, "networking.istio.io/v1beta1 80");
    let built_in = definition
        .replace("gateways", "networkpolicies")
        .replace("networking.istio.io", "projectcalico.org");
    assert!(cluster.refuses(&["create", "-f", "-"], &built_in).contains("is built in"));
    let bad = definition.replace("name: gateways.", "name: gates.");
    assert!(cluster.refuses(&["create", "-f", "-"], &bad).contains("metadata.name"));
    // What was written in one version is shown in the one that is left.
    let unserved = definition.replace("name: v1, served: true", "name: v1, served: false");
    cluster.says_to(&["apply", "-f", "-"], &unserved);
    let left = cluster.says(&["get", "gateways.v1beta1.networking.istio.io", "g", version]);
    assert_eq!(left, other);
    let without = definition.replace("name: v1,", "name: v2,");
    assert!(cluster.refuses(&["apply", "-f", "-"], &without).contains("`v1` must stay"));
    cluster.says(&["delete", "crd", "gateways.networking.istio.io"]);
    assert!(
        cluster
            .refuses(&["get", "--raw", "/apis/networking.istio.io/v1/gateways"], "")
            .contains("could not find")
    );
}

#[test]
fn what_is_owned_goes_with_its_owner() {
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    let set = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: r}\nspec: {replicas: 1}\n";
    cluster.says_to(&["create", "-f", "-"], set);
    let uid = cluster.says(&["get", "rs", "r", "-o=jsonpath={.metadata.uid}"]);
    let owner = format!(
        "metadata: {{ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: {uid}}}], "
    );
    cluster.says_to(&["create", "-f", "-"], &POD.replace("metadata: {", &owner));
    let orphan =
        POD.replace("metadata: {", &owner.replace(&uid, "gone")).replace("name: web", "name: o");
    cluster.says_to(&["create", "-f", "-"], &orphan);
    cluster.says(&["wait", "--for=delete", "pod/o", "--timeout=30s"]);
    assert_eq!(cluster.says(&["get", "pods", "-o", "name"]), "pod/web\n");
    cluster.says(&["delete", "rs", "r"]);
    cluster.says(&["wait", "--for=delete", "pod/web", "--timeout=30s"]);
}

#[test]
fn changes_are_watched() {
    use std::io::{BufRead, BufReader};
    if skipped() {
        return;
    }
    let cluster = Cluster::start();
    cluster.says_to(&["apply", "-f", "-"], POD);
    let mut child = cluster.spawn(&["get", "pods", "-w", "-o", "name"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "pod/web");
    cluster.says(&["label", "pod", "web", "a=b"]);
    assert_eq!(lines.next().unwrap().unwrap(), "pod/web");
    cluster.says_to(&["apply", "-f", "-"], &POD.replace("name: web", "name: two"));
    assert_eq!(lines.next().unwrap().unwrap(), "pod/two");
    child.kill().unwrap();
    child.wait().unwrap();
}
