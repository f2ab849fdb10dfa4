//! The command itself, as a process, with the real kubectl as its client.

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

use std::os::unix::fs::PermissionsExt;

use common::process::Process;
use common::{etcd, skipped};

#[test]
fn the_command_serves_kubectl_over_tls() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    assert!(server.says(&["get", "tiers"]).contains("kube-baseline"));
    for (file, mode) in [("kubeconfig", 0o600), ("pki", 0o700), ("api.sock", 0o600)] {
        let found = std::fs::metadata(data.path().join(file)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
    let config = std::fs::read_to_string(data.path().join("kubeconfig")).unwrap();
    assert!(config.contains("client-certificate-data"));
    server.stop();
    assert!(!data.path().join("api.sock").exists());

    // Who trusted the server once trusts it again, and what was stored is there.
    let server = Process::start(data.path(), &["--tls-san", "policy.example.com"]);
    let old = data.path().join("old");
    std::fs::write(&old, config.replace(&port(&config), &port(&server.url))).unwrap();
    let said = server.kubectl(&old, &["get", "ns", "default"], "");
    assert!(said.ok, "{}", said.err);
    server.stop();
}

fn port(text: &str) -> String {
    let after = text.split("https://127.0.0.1:").nth(1).unwrap();
    format!(":{}", after.chars().take_while(char::is_ascii_digit).collect::<String>())
}

#[test]
fn nobody_is_let_in_without_a_credential() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.get(path, ""), (200, "ok".to_owned()), "{path}");
    }
    assert!(server.get("/version", "").1.contains("gitVersion"));
    for path in ["/", "/api", "/apis", "/openapi/v3", "/api/v1/pods", "/nowhere"] {
        let (code, body) = server.get(path, "");
        assert!(
            code == 401 && body.contains(r#""reason":"Unauthorized""#),
            "{path}: {code} {body}"
        );
    }
    // Whoever shows something that does not count is not nobody.
    assert_eq!(server.get("/version", "Authorization: Bearer tortie-guess\r\n").0, 401);
    assert_eq!(server.get("/version", "Authorization: Basic YTpi\r\n").0, 401);
    let guess = server.config("guess", r#"{"token": "tortie-guess"}"#);
    let said = server.kubectl(&guess, &["get", "ns"], "");
    assert!(said.err.contains("must be logged in"), "{}", said.err);

    // A certificate of another authority is refused, not passed over.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Process::start(elsewhere.path(), &[]);
    let foreign = std::fs::read_to_string(elsewhere.path().join("kubeconfig")).unwrap();
    let foreign: serde_json::Value = serde_json::from_str(&foreign).unwrap();
    let foreign = server.config("foreign", &foreign["users"][0]["user"].to_string());
    assert!(!server.kubectl(&foreign, &["get", "ns"], "").ok);
    other.stop();
    server.stop();
}

#[test]
fn bad_usage_is_refused_at_once() {
    let data = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["--insecure-http", "--listen", "0.0.0.0:0"], "can be reached from elsewhere"),
        (&["--tls-cert-file", "x"], "--tls-private-key-file"),
        (&["--tls-san", "a b"], "neither a DNS name nor an address"),
        (&["--tls-cert-file", "/none", "--tls-private-key-file", "/none"], "`/none`"),
    ];
    for (arguments, expected) in cases {
        let said = Process::fails(data.path(), arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_have_users() {
    if !etcd::available() || skipped() {
        return;
    }
    let etcd = etcd::Server::start();
    etcd.store().await;
    etcd.add_users("first");
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong, two) =
        (file("right", "first\n"), file("wrong", "guess\n"), file("two", "a\nb\n"));
    let url = etcd.url();
    let user = |file| ["--etcd", &url, "--etcd-user", "ada", "--etcd-password-file", file];
    let cases: [(&[&str], &str); 5] = [
        (&["--etcd", &url], "give --etcd-user and --etcd-password-file"),
        (&["--etcd", &url, "--etcd-user", "ada"], "--etcd-password-file"),
        (&user(&wrong), "invalid user ID or password"),
        (&user(&two), "is not one line with a password"),
        (&user("/none"), "--etcd-password-file: `/none`"),
    ];
    for (arguments, expected) in cases {
        let said = Process::fails(data.path(), arguments);
        assert!(said.contains(expected) && !said.contains("guess"), "{arguments:?}: {said}");
    }
    let server = Process::start(data.path(), &user(&right));
    assert!(server.says(&["get", "tiers"]).contains("kube-baseline"));
    server.stop();
}
