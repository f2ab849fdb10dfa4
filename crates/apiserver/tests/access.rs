//! What a second user may do, and what is written down of it: the command as a process, with the
//! real kubectl.

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

use std::time::SystemTime;

use common::process::{Process, User, https};
use common::{Said, skipped};
use serde_json::{Value, json};
use tortie_apiserver::Register;

/// A server, and what second users are known by.
struct World {
    server: Process,
}

impl World {
    fn start() -> World {
        World { server: Process::alone() }
    }

    fn register(&self) -> Register {
        self.server.register()
    }

    fn user(&self, name: &str, groups: &[&str], token: bool) -> User {
        self.server.user(name, groups, token)
    }

    fn kubectl(&self, user: &User, arguments: &[&str], input: &str) -> Said {
        self.server.kubectl(&user.config, arguments, input)
    }

    fn says(&self, user: &User, arguments: &[&str], input: &str) -> String {
        let said = self.kubectl(user, arguments, input);
        assert!(said.ok, "kubectl {arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    fn refuses(&self, user: &User, arguments: &[&str], input: &str) -> String {
        let said = self.kubectl(user, arguments, input);
        assert!(!said.ok, "kubectl {arguments:?} should fail: {}", said.out);
        said.err
    }

    /// Whether a user may do something, as the server answers it.
    fn may(&self, user: &User, attributes: &Value) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        });
        let ask = ["create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.allowed}"];
        self.says(user, &ask, &review.to_string()) == "true"
    }

    /// A cluster role with some rules, bound to a user everywhere or in a namespace.
    fn grant(&self, user: &str, name: &str, namespace: Option<&str>, rules: &Value) {
        let api = "rbac.authorization.k8s.io/v1";
        self.server.apply(&json!({
            "apiVersion": api, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
        }));
        let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
        self.server.apply(&json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }));
    }

    /// The lines of the audit log that are about something.
    fn audited(&self, about: impl Fn(&Value) -> bool) -> Vec<Value> {
        let text = std::fs::read_to_string(self.server.data().join("audit.log")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(about).collect()
    }
}

fn policy(name: &str, tier: &str) -> String {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"tier": tier, "selector": "all()", "ingress": [{"action": "Allow"}]},
    })
    .to_string()
}

fn shop(world: &World) {
    world
        .server
        .apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
}

#[test]
fn a_second_user_may_do_what_roles_say() {
    if skipped() {
        return;
    }
    let world = World::start();
    shop(&world);
    let ada = world.user("ada", &["dev", "ops"], false);
    let said = world.refuses(&ada, &["get", "pods", "-n", "shop"], "");
    for part in ["User \"ada\"", "missing grant: verb \"list\"", "\"pods\"", "\"shop\""] {
        assert!(said.contains(part), "{said}");
    }
    // Everybody who is known may look around, and ask who they are.
    assert!(world.says(&ada, &["api-resources"], "").contains("globalnetworkpolicies"));
    let me = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let ask = ["create", "--validate=false", "-f", "-", "-o", "json"];
    let me = world.says(&ada, &ask, &me.to_string());
    let me: Value = serde_json::from_str(&me).unwrap();
    let expected = json!({"username": "ada", "groups": ["dev", "ops", "system:authenticated"]});
    assert_eq!(me["status"]["userInfo"], expected);

    let list = json!({"verb": "list", "resource": "pods", "namespace": "shop"});
    assert!(!world.may(&ada, &list));
    world.server.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "viewers", "namespace": "shop"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "ops"}],
    }));
    // What was granted counts as soon as it is said to be.
    assert!(world.may(&ada, &list));
    assert!(world.kubectl(&ada, &["get", "pods", "-n", "shop"], "").ok);
    assert!(!world.kubectl(&ada, &["get", "pods", "-A"], "").ok);
    let can = |question: &[&str]| world.kubectl(&ada, &[&["auth", "can-i"], question].concat(), "");
    assert_eq!(can(&["list", "pods", "-n", "shop"]).out.trim(), "yes");
    let no = can(&["delete", "pods", "-n", "shop"]).out;
    assert!(no.starts_with("no - ") && no.contains("missing grant: verb \"delete\""), "{no}");
    let all = can(&["--list", "-n", "shop"]).out;
    assert!(
        all.contains("tier.networkpolicies.projectcalico.org") && all.contains("/apis/*"),
        "{all}"
    );
    let one = json!([{"apiGroups": [""], "resources": ["nodes"], "resourceNames": ["n"], "verbs": ["list"]}]);
    world.grant("ada", "one-node", None, &one);
    let nodes = |more: &[&str]| world.kubectl(&ada, &[&["get", "nodes"], more].concat(), "").ok;
    assert!(nodes(&["--field-selector=metadata.name=n"]) && !nodes(&[]));
    assert!(!world.kubectl(&ada, &["get", "secrets", "-n", "shop"], "").ok);
    assert!(!world.kubectl(&ada, &["delete", "sa", "default", "-n", "shop"], "").ok);
    assert!(!world.may(
        &ada,
        &json!({"verb": "create", "resource": "pods",
        "subresource": "exec", "namespace": "shop"})
    ));
    world.server.says(&["delete", "rolebinding", "viewers", "-n", "shop"]);
    assert!(!world.kubectl(&ada, &["get", "pods", "-n", "shop"], "").ok);

    // Somebody else only by leave.
    let as_root = ["get", "ns", "--as=root", "--as-group=system:masters"];
    assert!(world.refuses(&ada, &as_root, "").contains("\"impersonate\""));
    assert!(world.server.says(&as_root).contains("shop"));
    let as_ada = ["get", "ns", "--as=ada"];
    let root = User { config: world.server.data().join("kubeconfig"), token: None };
    assert!(world.refuses(&root, &as_ada, "").contains("User \"ada\""));
    let user_info = |uid: &str| world.kubectl(&root, &["get", "ns", "--as=ada", uid], "");
    assert!(user_info("--as-uid=1").err.contains("not supported"));
}

#[test]
fn tokens_and_certificates_can_be_taken_away() {
    if skipped() {
        return;
    }
    let world = World::start();
    for (name, token) in [("bob", true), ("cy", false)] {
        let user = world.user(name, &["system:masters"], token);
        assert!(world.kubectl(&user, &["get", "ns"], "").ok);
        assert_eq!(world.register().remove(name, SystemTime::now()).unwrap(), 1);
        let said = world.refuses(&user, &["get", "ns"], "");
        assert!(said.contains("must be logged in"), "{said}");
        // One that is given anew counts.
        let again = world.user(name, &["system:masters"], token);
        assert!(world.kubectl(&again, &["get", "ns"], "").ok);
    }
}

#[test]
fn tiers_decide_over_policies() {
    if skipped() {
        return;
    }
    let world = World::start();
    shop(&world);
    let tier = json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
        "metadata": {"name": "own"}, "spec": {"order": 7}});
    world.server.apply(&tier);
    let ada = world.user("ada", &[], false);
    let group = json!(["projectcalico.org"]);
    let create = ["create", "-f", "-"];
    let verb = json!({"apiGroups": group, "resources": ["tier.networkpolicies"],
        "resourceNames": ["own.*"], "verbs": ["*"]});
    world.grant("ada", "own-policies", Some("shop"), &json!([verb]));
    let said = world.refuses(&ada, &create, &policy("web", "own"));
    assert!(said.contains("resource \"tiers\" resourceName \"own\""), "{said}");
    assert!(!said.contains("tier.networkpolicies"), "{said}");
    let get = json!({"apiGroups": group, "resources": ["tiers"], "resourceNames": ["own", "default"],
        "verbs": ["get"]});
    world.grant("ada", "see-own", None, &json!([get]));
    world.says(&ada, &create, &policy("web", "own"));
    let said = world.refuses(&ada, &create, &policy("db", "default"));
    assert!(said.contains("resourceName \"default.*\" or \"default.db\""), "{said}");
    // Out of a tier and into another one, both must allow it.
    world.server.says_to(&create, &policy("db", "default"));
    assert!(!world.kubectl(&ada, &["replace", "-f", "-"], &policy("db", "own")).ok);
    assert!(!world.kubectl(&ada, &["apply", "-f", "-"], &policy("web", "default")).ok);
    world.says(&ada, &["apply", "-f", "-"], &policy("web", "own"));

    let names = ["-n", "shop", "-o", "name"];
    let kind = "networkpolicies.projectcalico.org";
    let list =
        |more: &[&str]| world.kubectl(&ada, &[&["get", kind], &names[..], more].concat(), "");
    assert_eq!(list(&[]).out.trim().rsplit('/').next(), Some("web"));
    assert!(!list(&[]).out.contains("db"), "{}", list(&[]).out);
    assert!(list(&["--field-selector=spec.tier=own"]).ok);
    assert!(list(&["-l", "projectcalico.org/tier=default"]).err.contains("tier \"default\""));
    assert!(!world.kubectl(&ada, &["get", kind, "-A"], "").ok);
    assert!(world.kubectl(&ada, &["get", kind, "web", "-n", "shop"], "").ok);
    assert!(!world.kubectl(&ada, &["get", kind, "db", "-n", "shop"], "").ok);
    let asked = |verb: &str, name: &str| {
        world.may(
            &ada,
            &json!({"verb": verb, "resource": "networkpolicies", "name": name,
            "group": "projectcalico.org", "namespace": "shop"}),
        )
    };
    assert!(asked("create", "") && asked("delete", "web") && !asked("delete", "db"));
    world.says(&ada, &["delete", kind, "--all", "-n", "shop"], "");
    assert!(world.server.says(&[&["get", kind][..], &names].concat()).contains("db"));
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    if skipped() {
        return;
    }
    let world = World::start();
    shop(&world);
    let ada = world.user("ada", &[], false);
    let rbac = "rbac.authorization.k8s.io";
    world.grant("ada", "manager", None, &json!([
        {"apiGroups": [rbac], "resources": ["*"], "verbs": ["get", "list", "create", "patch", "update"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    ]));
    let role = |name: &str, verb: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role",
            "metadata": {"name": name, "namespace": "shop"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
        .to_string()
    };
    let apply = ["apply", "-f", "-"];
    world.says(&ada, &apply, &role("reader", "get"));
    let said = world.refuses(&ada, &apply, &role("reader", "delete"));
    assert!(said.contains("not currently held") && said.contains("\"delete\""), "{said}");
    let binding = |role: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": "mine"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "ada"}]})
        .to_string()
    };
    for role in ["cluster-admin", "not-there-yet"] {
        assert!(!world.kubectl(&ada, &apply, &binding(role)).ok, "{role}");
    }
    world.says(&ada, &apply, &binding("manager"));
    world.grant("ada", "binder", None, &json!([
        {"apiGroups": [rbac], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]},
    ]));
    assert!(!world.kubectl(&ada, &apply, &binding("edit")).ok);
    let view = binding("view").replace("mine", "viewing");
    world.says(&ada, &apply, &view);
}

#[test]
fn what_is_changed_is_written_down_first() {
    if skipped() {
        return;
    }
    let world = World::start();
    shop(&world);
    let root = world.user("root", &["system:masters"], true);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\n\
                  stringData: {password: hunter2}\n";
    world.says(&root, &["apply", "-f", "-"], secret);
    world.says(&root, &["create", "-f", "-"], &policy("web", "default"));
    let order = r#"{"spec": {"order": 9}}"#;
    let kind = "networkpolicies.projectcalico.org";
    world.says(&root, &["patch", kind, "web", "-n", "shop", "--type=merge", "-p", order], "");
    world.says(&root, &["delete", kind, "web", "-n", "shop"], "");
    world.says(&root, &["get", "ns"], "");
    let ada = world.user("ada", &[], true);
    assert!(!world.kubectl(&ada, &["delete", "ns", "shop"], "").ok);

    let log = world.server.data().join("audit.log");
    let text = std::fs::read_to_string(&log).unwrap();
    for hidden in ["hunter2", "aHVudGVyMg", root.token.as_deref().unwrap()] {
        assert!(!text.contains(hidden), "{hidden}");
    }
    assert!(world.audited(|line| line["verb"] == "list" || line["verb"] == "get").is_empty());
    let web = world.audited(|line| line["name"] == "web" && line["stage"] == "intent");
    let verbs: Vec<&str> = web.iter().map(|line| line["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["create", "patch", "delete"]);
    let added = json!({"op": "add", "path": "/spec/order", "value": 9});
    assert!(web[1]["changes"].as_array().unwrap().contains(&added), "{}", web[1]);
    for line in &web {
        assert_eq!(
            (line["user"].as_str(), line["namespace"].as_str()),
            (Some("root"), Some("shop"))
        );
        let id = &line["id"];
        let ended = world.audited(|line| line["id"] == *id && line["stage"] == "outcome");
        assert!(ended.len() == 1 && ended[0]["code"].as_u64() < Some(300), "{ended:?}");
    }
    let denied = world.audited(|line| line["user"] == "ada");
    assert_eq!((denied.len(), denied[0]["code"].as_u64()), (1, Some(403)));
    assert!(denied[0]["message"].as_str().unwrap().contains("missing grant"));

    // What cannot be written down is not done, and it is said why; reading goes on.
    std::fs::rename(&log, world.server.data().join("moved")).unwrap();
    std::fs::create_dir(&log).unwrap();
    let url = &world.server.url;
    let bearer = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        root.token.as_deref().unwrap()
    );
    let ca = world.server.data().join("pki/ca.crt");
    let namespace = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}}"#;
    let create = || https(url, &ca, "POST /api/v1/namespaces", &bearer, namespace);
    let (code, body) = create();
    assert!(code == 503 && body.contains("the audit log cannot be written"), "{code} {body}");
    assert_eq!(https(url, &ca, "GET /api/v1/namespaces/late", &bearer, "").0, 404);
    assert_eq!(https(url, &ca, "GET /api/v1/namespaces/shop", &bearer, "").0, 200);
    std::fs::remove_dir(&log).unwrap();
    assert_eq!(create().0, 201);
}
