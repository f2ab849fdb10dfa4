//! What lasts ends with the rights to it: watches, as HTTP and as the real kubectl's.

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

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::http::Watch;
use common::process::{Process, User};
use common::{Cluster, skipped};
use serde_json::json;
use tortie_apiserver::{Entry, Environment, Options, Register, new_token};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps?watch=1";
const POLICIES: &str = "/apis/projectcalico.org/v3/namespaces/shop/networkpolicies?watch=1";

/// A server with a namespace, and a user without any right.
struct World {
    server: Process,
    ada: User,
    bearer: String,
}

impl World {
    fn start() -> World {
        let server = Process::alone();
        server.says(&["create", "namespace", "shop"]);
        let ada = server.user("ada", &[], true);
        let bearer = ada.bearer();
        World { server, ada, bearer }
    }

    fn map(&self, name: &str) {
        self.server.says(&["create", "configmap", name, "-n", "shop"]);
    }

    /// Lets ada see and watch config maps by a binding of this name.
    fn let_watch(&self, binding: &str) {
        let role = ["create", "clusterrole", "maps", "--verb=list,watch", "--resource=configmaps"];
        let _ = self.server.kubectl(&self.server.own_config(), &role, "");
        let bind = ["create", "rolebinding", binding, "-n", "shop", "--clusterrole=maps"];
        self.server.says(&[&bind[..], &["--user=ada"]].concat());
    }

    fn watch(&self, path: &str) -> Watch {
        self.server.watch(path, &self.bearer)
    }
}

/// That a watch ends now, by an error with a code and a reason.
fn ends(watch: &mut Watch, code: u64, reason: &str) {
    let (word, status) = watch.next().unwrap();
    assert_eq!((word.as_str(), &status["kind"]), ("ERROR", &json!("Status")), "{status}");
    assert_eq!((&status["code"], &status["reason"]), (&json!(code), &json!(reason)), "{status}");
    assert!(watch.next().is_none());
}

#[test]
fn watches_end_with_their_rights() {
    if skipped() {
        return;
    }
    let world = World::start();
    world.let_watch("one");
    world.let_watch("two");
    let maps = ["get", "configmaps", "-n", "shop", "-o", "name", "-w"];
    let mut kubectl = world.server.spawn(&world.ada.config, &maps);
    let mut lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
    let mut watch = world.watch(MAPS);
    world.map("a");
    assert_eq!(watch.word(), "ADDED a");
    assert_eq!(lines.next().unwrap().unwrap(), "configmap/a");
    // Whoever is allowed by something else goes on.
    world.server.says(&["delete", "rolebinding", "one", "-n", "shop"]);
    world.map("b");
    assert_eq!(watch.word(), "ADDED b");
    world.server.says(&["delete", "rolebinding", "two", "-n", "shop"]);
    world.map("c");
    ends(&mut watch, 403, "Forbidden");
    let mut said: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(said.remove(0), "configmap/b");
    assert!(!said.contains(&"configmap/c".to_owned()), "{said:?}");
    let mut complaint = String::new();
    kubectl.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    kubectl.wait().unwrap();

    // The same if the role loses a rule.
    world.let_watch("again");
    let mut watch = world.watch(MAPS);
    for name in ["a", "b", "c"] {
        assert_eq!(watch.word(), format!("ADDED {name}"));
    }
    let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]});
    world
        .server
        .apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "maps"}, "rules": [rule]}));
    world.map("d");
    ends(&mut watch, 403, "Forbidden");
}

#[test]
fn watches_end_with_their_user() {
    if skipped() {
        return;
    }
    let world = World::start();
    world.let_watch("one");
    let bob = world.server.user("bob", &["system:masters"], true);
    let mut others = world.server.watch(MAPS, &bob.bearer());
    let mut watch = world.watch(MAPS);
    world.map("a");
    assert_eq!((watch.word(), others.word()), ("ADDED a".into(), "ADDED a".into()));
    assert_eq!(world.server.register().remove("ada", SystemTime::now()).unwrap(), 1);
    ends(&mut watch, 401, "Unauthorized");
    world.map("b");
    assert_eq!(others.word(), "ADDED b");
}

#[test]
fn watches_end_when_other_tiers_are_to_be_seen() {
    if skipped() {
        return;
    }
    let world = World::start();
    let tier = |name: &str| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
            "metadata": {"name": name}, "spec": {"order": 7}})
    };
    let policy = |name: &str, tier: &str| {
        world.server.apply(&json!({
            "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"tier": tier, "selector": "all()"},
        }));
    };
    let may = |names: &[&str]| {
        let group = json!(["projectcalico.org"]);
        let all: Vec<String> = names.iter().map(|name| format!("{name}.*")).collect();
        let policies = json!({"apiGroups": group, "resources": ["tier.networkpolicies"],
            "resourceNames": all, "verbs": ["list", "watch"]});
        let tiers = json!({"apiGroups": group, "resources": ["tiers"], "verbs": ["get"]});
        world
            .server
            .apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "seen"}, "rules": [policies, tiers]}));
    };
    world.server.apply(&tier("own"));
    may(&["own", "late"]);
    world.server.says(&["create", "clusterrolebinding", "s", "--clusterrole=seen", "--user=ada"]);
    let mut watch = world.watch(POLICIES);
    policy("hidden", "default");
    policy("web", "own");
    assert_eq!(watch.word(), "ADDED web");
    // Roles that make no difference make none.
    may(&["late", "own", "never"]);
    policy("db", "own");
    assert_eq!(watch.word(), "ADDED db");
    may(&["own", "default"]);
    ends(&mut watch, 410, "Expired");
    may(&["own", "late"]);
    let mut watch = world.watch(POLICIES);
    let mut seen = [watch.word(), watch.word()];
    seen.sort();
    assert_eq!(seen, ["ADDED db", "ADDED web"]);
    world.server.apply(&tier("late"));
    ends(&mut watch, 410, "Expired");
    // One tier alone is asked for by name, and by name it ends.
    let mut watch = world.watch(&format!("{POLICIES}&fieldSelector=spec.tier%3Down"));
    assert!(watch.word().starts_with("ADDED"));
    assert!(watch.word().starts_with("ADDED"));
    may(&["late"]);
    ends(&mut watch, 403, "Forbidden");
}

/// A clock that stands, and can be set: seconds since 1970.
fn clock(start: u64) -> (Arc<AtomicU64>, Environment) {
    let seconds = Arc::new(AtomicU64::new(start));
    let own = seconds.clone();
    let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(own.load(Ordering::SeqCst)));
    (seconds, Environment { clock, ..Environment::default() })
}

#[test]
fn watches_end_with_what_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let register = Register::new(folder.path());
    let (token, credential) = new_token().unwrap();
    const START: u64 = 1_800_000_000;
    let entry = Entry {
        user: "eve".into(),
        groups: vec!["system:masters".into()],
        credential,
        created: 0,
        expires: i64::try_from(START).unwrap() + 1,
        revoked: false,
    };
    register.add(entry, UNIX_EPOCH + Duration::from_secs(START)).unwrap();
    let (seconds, environment) = clock(START);
    let users = Some(register);
    let cluster = Cluster::start_with(Options { environment, users, ..Options::default() });
    let bearer = format!("Bearer {token}");
    let path = "/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3Ddefault";
    let mut watch = cluster.api().watch_with(path, &[("Authorization", &bearer)]);
    assert_eq!(watch.word(), "ADDED default");
    seconds.fetch_add(1, Ordering::SeqCst);
    ends(&mut watch, 401, "Unauthorized");
}
