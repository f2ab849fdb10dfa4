//! Service accounts as callers, with the real kubectl: tokens, and reviews of them.

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

use std::path::PathBuf;

use common::process::{Process, https};
use common::skipped;
use serde_json::{Value, json};

struct World {
    server: Process,
}

impl World {
    /// A server with a namespace and a service account in it.
    fn start() -> World {
        let server = Process::alone();
        server.says(&["create", "namespace", "shop"]);
        server.says(&["create", "serviceaccount", "robot", "-n", "shop"]);
        World { server }
    }

    fn token(&self, more: &[&str]) -> String {
        let create = ["create", "token", "robot", "-n", "shop"];
        self.server.says(&[&create[..], more].concat()).trim().to_owned()
    }

    fn config(&self, token: &str) -> PathBuf {
        self.server.config("robot", &json!({ "token": token }).to_string())
    }

    /// What kubectl says with a token: whether it succeeds, and all that it says.
    fn with(&self, token: &str, arguments: &[&str]) -> (bool, String) {
        let said = self.server.kubectl(&self.config(token), arguments, "");
        (said.ok, format!("{}{}", said.out, said.err))
    }

    fn review(&self, token: &str, audiences: &[&str]) -> Value {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}});
        let ask = ["create", "--validate=false", "-f", "-", "-o", "json"];
        let answer = self.server.says_to(&ask, &review.to_string());
        assert!(token.is_empty() || !answer.contains(token));
        serde_json::from_str::<Value>(&answer).unwrap()["status"].take()
    }

    fn request(&self, body: &Value, bearer: &str) -> (u16, Value) {
        let headers = format!("{bearer}Content-Type: application/json\r\n");
        let path = "POST /api/v1/namespaces/shop/serviceaccounts/robot/token";
        let root = self.server.data().join("pki/ca.crt");
        let (code, body) = https(&self.server.url, &root, path, &headers, &body.to_string());
        (code, serde_json::from_str(&body).unwrap())
    }
}

#[test]
fn accounts_call_by_tokens_of_their_own() {
    if skipped() {
        return;
    }
    let world = World::start();
    let token = world.token(&[]);
    let (_, me) = world.with(&token, &["auth", "whoami", "-o", "json"]);
    let me: Value = serde_json::from_str(&me).unwrap();
    let user = &me["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:shop:robot");
    let groups = ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"];
    assert_eq!(user["groups"], json!(groups));
    let get = ["get", "sa", "robot", "-n", "shop", "-o", "jsonpath={.metadata.uid}"];
    assert_eq!(user["uid"], world.server.says(&get));

    let pods = ["get", "pods", "-n", "shop"];
    assert!(world.with(&token, &pods).1.contains("User \"system:serviceaccount:shop:robot\""));
    let bind = ["create", "rolebinding", "v", "-n", "shop", "--clusterrole=view"];
    world.server.says(&[&bind[..], &["--serviceaccount=shop:robot"]].concat());
    assert!(world.with(&token, &pods).0);
    let as_it = ["--as=system:serviceaccount:shop:robot"];
    let me = world.server.says(&[&["auth", "whoami", "-o", "json"], &as_it[..]].concat());
    assert!(me.contains("system:serviceaccounts:shop"), "{me}");

    // Guesses, and what was made for others.
    let (said, _) = token.rsplit_once('.').unwrap();
    for wrong in [format!("{said}.AAAA"), world.token(&["--audience=elsewhere"])] {
        let (ok, said) = world.with(&wrong, &pods);
        assert!(!ok && said.contains("must be logged in"), "{said}");
    }
    // The key stays: tokens outlive the server.
    let world = World { server: world.server.again() };
    assert!(world.with(&token, &pods).0);

    // The account of another uid is another one; what lasts ends with it.
    let headers = format!("Authorization: Bearer {token}\r\n");
    let mut watch = world.server.watch("/api/v1/namespaces/shop/pods?watch=1", &headers);
    world.server.says(&["delete", "sa", "robot", "-n", "shop"]);
    let (word, status) = watch.next().unwrap();
    assert_eq!((word.as_str(), &status["code"]), ("ERROR", &json!(401)));
    world.server.says(&["create", "sa", "robot", "-n", "shop"]);
    assert!(world.with(&token, &pods).1.contains("must be logged in"));
    assert!(world.with(&world.token(&[]), &pods).0);

    let log = std::fs::read_to_string(world.server.data().join("audit.log")).unwrap();
    assert!(!log.contains(&token) && log.contains(r#""resource":"serviceaccounts/token""#));
}

#[test]
fn tokens_are_for_whom_and_as_long_as_was_asked() {
    if skipped() {
        return;
    }
    let world = World::start();
    world.server.says(&["create", "secret", "generic", "s", "-n", "shop"]);
    let refused = |arguments: &[&str]| {
        let create = ["create", "token", "robot", "-n", "shop"];
        let config = world.server.own_config();
        world.server.kubectl(&config, &[&create[..], arguments].concat(), "").err
    };
    assert!(refused(&["--duration=5m"]).contains("10 minutes"));
    let bound = ["--bound-object-kind=Secret", "--bound-object-name=s"];
    assert!(refused(&["--bound-object-kind=Secret", "--bound-object-name=x"]).contains("no such"));
    assert!(refused(&[&bound[..], &["--bound-object-uid=other"]].concat()).contains("no such"));
    let ask = |spec: &Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let root = world.server.user("root", &["system:masters"], true).bearer();
    let (code, made) = world.request(&ask(&json!({"expirationSeconds": 1200})), &root);
    assert_eq!((code, &made["spec"]["expirationSeconds"]), (201, &json!(1200)), "{made}");
    assert!(made["status"]["expirationTimestamp"].as_str().unwrap().ends_with('Z'), "{made}");
    let (code, made) = world.request(&ask(&json!({"expirationSeconds": 10_u64.pow(10)})), &root);
    assert_eq!((code, &made["spec"]["expirationSeconds"]), (201, &json!(365 * 86400)), "{made}");
    for wrong in [
        json!({}),
        ask(&json!([])),
        ask(&json!({"audiences": "x"})),
        ask(&json!({"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": "n"}})),
        ask(&json!({"expirationSeconds": -1})),
    ] {
        assert_eq!(world.request(&wrong, &root).0, 400, "{wrong}");
    }
    // Whoever may not is told what is missing.
    let ada = world.server.user("ada", &[], true).bearer();
    let (code, said) = world.request(&ask(&json!({})), &ada);
    assert!(code == 403 && said.to_string().contains("serviceaccounts/token"), "{said}");

    let ours = world.token(&[]);
    let theirs = world.token(&["--audience=x", "--audience=y"]);
    let review = world.review(&ours, &[]);
    assert_eq!(review["user"]["username"], "system:serviceaccount:shop:robot");
    let authenticated =
        |token: &str, audiences: &[&str]| world.review(token, audiences)["authenticated"] == true;
    assert!(authenticated(&ours, &[]) && !authenticated(&ours, &["x"]));
    assert!(!authenticated(&theirs, &[]));
    assert_eq!(world.review(&theirs, &["y", "z"])["audiences"], json!(["y"]));
    assert!(!authenticated("eyJ", &[]) && !authenticated("", &[]));
    let root = world.server.user("root2", &["g"], true).token.unwrap();
    assert_eq!(world.review(&root, &[])["user"]["groups"], json!(["g", "system:authenticated"]));

    let bound = world.token(&bound);
    assert!(authenticated(&bound, &[]));
    world.server.says(&["delete", "secret", "s", "-n", "shop"]);
    assert!(!authenticated(&bound, &[]));
}
