//! `tortie up` and `tortie user`, as processes, with the real kubectl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    reason = "test code"
)]

#[path = "../../apiserver/tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Said, etcd, run_kubectl, skipped, until};
use rustix::process::{Pid, Signal, kill_process};

/// A running `tortie up`; killed when dropped.
struct Up {
    child: Child,
    said: String,
}

impl Up {
    /// Starts it by a command line that ends in its program, and waits until it is there.
    fn start(mut command: Command, data: &Path, arguments: &[&str]) -> Up {
        command.args(["up", "--listen", "127.0.0.1:0", "--console-listen", "127.0.0.1:0"]);
        command.arg("--data").arg(data).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            said.push_str(&line.unwrap());
            said.push('\n');
            if said.contains("tortie user add") {
                break;
            }
        }
        assert!(said.contains("serving the Kubernetes API at https://"), "{said}");
        Up { child, said }
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// Its part of a name, once it is there and is not `but`.
    fn part(&self, name: &str, but: Option<i32>) -> i32 {
        let mut found = None;
        until(&format!("{name} runs"), || {
            found = children(self.pid()).into_iter().find(|pid| {
                let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
                let command = command.unwrap_or_default();
                command.split('\0').nth(1) == Some(name) && Some(*pid) != but
            });
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tortie() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tortie"))
}

fn status(pid: i32, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn children(parent: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid, "PPid") == Some(parent.to_string())).collect()
}

/// Whether a process is gone, or only waits for somebody to notice.
fn is_gone(pid: i32) -> bool {
    status(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn kubectl(data: &Path, config: &str, arguments: &[&str]) -> Said {
    let config = format!("--kubeconfig={}", data.join(config).display());
    let cache = format!("--cache-dir={}", data.join("cache").display());
    run_kubectl(data, &[&[config.as_str(), cache.as_str()], arguments].concat(), "")
}

fn user(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tortie();
    command.arg("user").args(arguments).arg("--data").arg(data);
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), text)
}

#[test]
fn parts_are_started_again_and_end_with_it() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let mut up = Up::start(tortie(), data, &["--no-agent"]);
    assert!(up.said.contains("no agent"), "{}", up.said);
    assert!(kubectl(data, "kubeconfig", &["get", "tiers"]).ok);

    let server = up.part("apiserver", None);
    assert_eq!(status(server, "NoNewPrivs").as_deref(), Some("1"));
    kill(server, Signal::KILL);
    let again = up.part("apiserver", Some(server));
    until("it serves again", || kubectl(data, "kubeconfig", &["get", "tiers"]).ok);

    kill(up.pid(), Signal::TERM);
    assert!(up.child.wait().unwrap().success());
    assert!(is_gone(again) && !data.join("api.sock").exists());

    // Whoever kills it leaves nothing behind either.
    let up = Up::start(tortie(), data, &["--no-agent"]);
    let server = up.part("apiserver", None);
    drop(up);
    until("the part ends", || is_gone(server));
}

#[test]
fn what_cannot_start_is_said_and_not_tried_again() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("store.redb"), "no store").unwrap();
    let mut command = tortie();
    command.args(["up", "--no-agent", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("store.redb` cannot be used") && said.contains("does not start"),
        "{said}"
    );
}

#[test]
fn users_are_added_listed_and_removed() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    assert_eq!(user(data, &["list"]).0, Some(3));
    let _up = Up::start(tortie(), data, &["--no-agent"]);
    let (code, config) = user(data, &["add", "ada", "--group", "dev", "--group", "ops"]);
    assert_eq!(code, Some(0), "{config}");
    std::fs::write(data.join("ada"), config).unwrap();
    let robot = data.join("robot");
    let add = ["add", "robot", "--token", "--ttl", "1h", "-o", robot.to_str().unwrap()];
    assert_eq!(user(data, &add).0, Some(0));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&robot).unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["ada", "robot"] {
        let said = kubectl(data, name, &["get", "pods"]);
        assert!(said.err.contains(&format!("User \"{name}\"")), "{}", said.err);
    }
    let (_, listed) = user(data, &["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["groups"], serde_json::json!(["dev", "ops"]));
    assert_eq!((&listed[1]["credential"], &listed[1]["state"]), (&"token".into(), &"valid".into()));
    for name in ["ada", "robot"] {
        assert_eq!(user(data, &["remove", name]).0, Some(0));
        let said = kubectl(data, name, &["get", "pods"]);
        assert!(said.err.contains("must be logged in"), "{}", said.err);
        assert_eq!(user(data, &["remove", name]).0, Some(1));
    }
    let audit = std::fs::read_to_string(data.join("audit.log")).unwrap();
    assert!(audit.contains(r#""resource":"users""#), "{audit}");
    assert_eq!(user(data, &["add", "x", "--ttl", "soon"]).0, Some(2));
}

/// An authority of somebody else, by a program of somebody else.
struct Authority {
    folder: tempfile::TempDir,
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let own = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=somebody", "-days", "2"];
        openssl(folder.path(), &[&["req", "-x509"], &NEW_KEY[..], &own].concat());
        Authority { folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The files of a certificate that it signs, and of its key.
    fn sign(&self, name: &str, subject: &str, extensions: &str) -> (String, String) {
        let folder = self.folder.path();
        std::fs::write(folder.join("extensions"), extensions).unwrap();
        let own = ["-keyout", &format!("{name}.key"), "-out", "request", "-subj", subject];
        openssl(folder, &[&["req", "-new"], &NEW_KEY[..], &own].concat());
        let ca = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        let certificate = format!("{name}.crt");
        let own = ["-in", "request", "-extfile", "extensions", "-out", &certificate];
        openssl(folder, &[&["x509", "-req"], &ca[..], &own].concat());
        (self.file(&certificate), self.file(&format!("{name}.key")))
    }
}

/// A kubeconfig for somebody with a certificate.
fn config_of(data: &Path, name: &str, (certificate, key): &(String, String)) -> PathBuf {
    let own = std::fs::read_to_string(data.join("kubeconfig")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&own).unwrap();
    let user = serde_json::json!({"client-certificate": certificate, "client-key": key});
    config["users"][0]["user"] = user;
    std::fs::write(data.join(name), config.to_string()).unwrap();
    data.join(name)
}

#[test]
fn certificates_of_others_serve() {
    if skipped() {
        return;
    }
    let (servers, clients) = (Authority::new(), Authority::new());
    let names = "subjectAltName=DNS:policy.example.com";
    let (certificate, key) = servers.sign("server", "/CN=policy", names);
    let chain = servers.file("chain.crt");
    let parts = [certificate, servers.file("ca.crt")].map(|f| std::fs::read_to_string(f).unwrap());
    std::fs::write(&chain, parts.concat()).unwrap();
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let root = clients.file("ca.crt");
    let own = ["--tls-cert-file", &chain, "--tls-private-key-file", &key];
    let own = [&["--no-agent"], &own[..], &["--client-ca-file", &root, "--audit-sync"]].concat();
    let _up = Up::start(tortie(), data, &own);
    // Whoever started it trusts what is shown, and by the name that is in it.
    let config = std::fs::read_to_string(data.join("kubeconfig")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    assert_eq!(cluster["tls-server-name"], "policy.example.com");
    let said = kubectl(data, "kubeconfig", &["create", "namespace", "shop"]);
    assert!(said.ok, "{}", said.err);

    let eve = clients.sign("eve", "/O=dev/O=ops/CN=eve", "extendedKeyUsage=clientAuth");
    config_of(data, "eve", &eve);
    let said = kubectl(data, "eve", &["auth", "whoami", "-o", "json"]);
    assert!(said.ok, "{}", said.err);
    let me: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let expected = serde_json::json!({"username": "eve",
        "groups": ["dev", "ops", "system:authenticated"]});
    assert_eq!(me["status"]["userInfo"], expected);
    let pods = ["get", "pods", "-n", "shop"];
    assert!(kubectl(data, "eve", &pods).err.contains("User \"eve\""));
    let bind = ["create", "rolebinding", "v", "-n", "shop", "--clusterrole=view", "--group=ops"];
    assert!(kubectl(data, "kubeconfig", &bind).ok);
    assert!(kubectl(data, "eve", &pods).ok);
    // Whose certificates are for servers is not trusted for clients, nor anybody else's.
    let stranger = servers.sign("mal", "/O=system:masters/CN=mal", "extendedKeyUsage=clientAuth");
    config_of(data, "mal", &stranger);
    let said = kubectl(data, "mal", &pods);
    assert!(said.err.contains("must be logged in"), "{}", said.err);
    // Those of the server's own authority count as well.
    let (code, config) = user(data, &["add", "ada", "--group", "ops"]);
    assert_eq!(code, Some(0), "{config}");
    std::fs::write(data.join("ada"), config).unwrap();
    assert!(kubectl(data, "ada", &pods).ok);
}

#[test]
fn resources_are_in_an_etcd_that_asks_for_certificates() {
    if skipped() || !etcd::available() {
        return;
    }
    let authority = Authority::new();
    let names = "subjectAltName=IP:127.0.0.1";
    let (certificate, key) = authority.sign("server", "/CN=etcd", names);
    let root = authority.file("ca.crt");
    let server = etcd::Server::with("https", |_| {
        vec![
            format!("--cert-file={certificate}"),
            format!("--key-file={key}"),
            format!("--trusted-ca-file={root}"),
            "--client-cert-auth".into(),
        ]
    });
    let url = server.url();
    let address = url.strip_prefix("https://").unwrap();
    until("etcd listens", || TcpStream::connect(address).is_ok());
    let usage = "extendedKeyUsage=clientAuth";
    let (certificate, key) = authority.sign("client", "/CN=tortie", usage);
    let own = ["--etcd", &url, "--etcd-ca-file", &root];
    let proof = ["--etcd-cert-file", &certificate, "--etcd-key-file", &key];
    let all = [&["--no-agent"], &own[..], &proof].concat();
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _first = Up::start(tortie(), one.path(), &all);
    let said = kubectl(one.path(), "kubeconfig", &["create", "namespace", "shop"]);
    assert!(said.ok, "{}", said.err);
    assert!(!one.path().join("store.redb").exists());
    // What one has written the other one reads: it is in etcd.
    let _second = Up::start(tortie(), two.path(), &all);
    let said = kubectl(two.path(), "kubeconfig", &["get", "namespace", "shop"]);
    assert!(said.ok, "{}", said.err);
}

#[test]
fn the_console_may_read_what_it_shows_and_no_more() {
    if skipped() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let up = Up::start(tortie(), data, &["--no-agent"]);
    let said = |line: &str| line.strip_prefix("web console: http://").map(str::to_owned);
    let address = up.said.lines().find_map(said).expect(&up.said);
    let (address, code) = address.split_once("/#code=").unwrap();
    assert_eq!(std::fs::read_to_string(data.join("console.token")).unwrap().trim(), code);
    let console = up.part("console", None);
    assert_eq!(status(console, "NoNewPrivs").as_deref(), Some("1"));
    for file in ["console.token", "console.kubeconfig"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(data.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for (arguments, missing) in [
        (&["get", "tiers"][..], ""),
        (&["get", "globalnetworkpolicies"], ""),
        (&["get", "stagednetworkpolicies"], ""),
        (&["get", "pods"], ""),
        (&["get", "secrets"], "\"secrets\""),
        (&["get", "configmaps"], "\"configmaps\""),
        (&["delete", "tiers", "default"], "cannot delete"),
        (&["create", "namespace", "x"], "cannot create"),
    ] {
        let said = kubectl(data, "console.kubeconfig", arguments);
        assert_eq!(said.ok, missing.is_empty(), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(missing), "{arguments:?}: {}", said.err);
    }
    // It follows the server with these rights.
    let board = || {
        let mut stream = TcpStream::connect(address).ok()?;
        let headers = format!("Host: {address}\r\nAuthorization: Bearer {code}\r\n");
        write!(stream, "GET /api/board HTTP/1.0\r\n{headers}\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let synced = || board().is_some_and(|b| b.contains("\"inSync\":true,\"away\":null"));
    until("the board is there", synced);
}

#[test]
fn roots_agent_has_what_it_needs_and_no_more() {
    let root = rustix::process::geteuid().is_root();
    let may =
        root && Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|s| s.success());
    if skipped() || !may {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "there is no root here");
        eprintln!("skipped: only root may have a network namespace");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut inside = Command::new("unshare");
    let script = "ip link set lo up && exec \"$@\"";
    inside.args(["-n", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_tortie")]);
    let up = Up::start(inside, data.path(), &["--node", "here"]);
    assert!(up.said.contains("node here"), "{}", up.said);
    let (server, agent) = (up.part("apiserver", None), up.part("agent", None));
    let console = up.part("console", None);
    let bounds = |pid| u64::from_str_radix(&status(pid, "CapBnd").unwrap(), 16).unwrap();
    let (net_admin, net_raw) = (1 << 12, 1 << 13);
    assert_eq!((bounds(server), bounds(agent)), (0, net_admin | net_raw));
    assert_eq!((bounds(console), status(console, "CapEff").unwrap().trim_matches('0')), (0, ""));
    let table = || {
        let target = up.pid().to_string();
        let enter = ["-t", &target, "-n", "nft", "list", "table", "inet", "tortie"];
        let listed = Command::new("nsenter").args(enter).output().unwrap();
        listed.status.success()
    };
    until("the agent has made its table", table);
    // It follows the server as somebody who may read what it needs.
    let config = std::fs::read_to_string(data.path().join("agent.kubeconfig")).unwrap();
    assert!(config.contains("system:tortie-agent"), "{config}");

    kill(agent, Signal::KILL);
    let again = up.part("agent", Some(agent));
    kill(up.pid(), Signal::KILL);
    until("the parts end", || is_gone(server) && is_gone(again) && is_gone(console));
}
