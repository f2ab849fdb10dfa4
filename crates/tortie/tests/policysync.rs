//! `tortie policysync watch` as scripts call it, and where the agent serves what it watches.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tortie_calc::Update;
use tortie_policysync::server::layout::{self, Credentials};
use tortie_policysync::server::{Anybody, Config, Server};

fn watch(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
    command.args(["policysync", "watch", "-o", "json"]).arg(socket);
    command
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let output = watch(&folder.path().join("none")).output().await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("cannot connect") && told.contains("hint: "), "{told}");
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn messages_are_lines_until_the_stream_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Config::default(), Anybody);
    server.set_prefix(Some(folder.path().to_owned()));
    server.update([Update::Namespace("shop".into(), Default::default()), Update::InSync]);
    let credentials = Credentials {
        workload: "a".to_owned(),
        namespace: "shop".to_owned(),
        ..Credentials::default()
    };
    layout::announce(folder.path(), "a", &credentials).unwrap();
    let socket = layout::socket_path(folder.path(), "a");
    while server.numbers().sockets == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut child = watch(&socket).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("{\"inSync\":{}}"));
    server.set_prefix(None);
    assert_eq!(lines.next_line().await.unwrap(), None);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

/// Ten times what anything here should take.
const DEADLINE: Duration = Duration::from_secs(60);

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn sockets_are_where_the_configuration_says_now() {
    let folder = tempfile::tempdir().unwrap();
    let [files, one, two] = ["files", "one", "two"].map(|name| folder.path().join(name));
    std::fs::create_dir(&files).unwrap();
    let configure = |spec: serde_json::Value| {
        let resource = serde_json::json!({"apiVersion": "projectcalico.org/v3",
            "kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": spec});
        std::fs::write(folder.path().join("new"), resource.to_string()).unwrap();
        std::fs::rename(folder.path().join("new"), files.join("felix.yaml")).unwrap();
    };
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, \
               spec: {nodeName: here}}";
    std::fs::write(files.join("pod.yaml"), pod).unwrap();
    configure(serde_json::json!({"policySyncPathPrefix": one}));
    let mut agent = Command::new(env!("CARGO_BIN_EXE_tortie"));
    agent.args(["agent", "--node", "here", "--dataplane", "none", "--policy-sync-for-all", "-f"]);
    let mut agent = agent.arg(&files).kill_on_drop(true).spawn().unwrap();
    let served = |prefix: &Path| layout::socket_path(prefix, "shop.a").exists();
    eventually("a socket", || served(&one)).await;
    configure(serde_json::json!({"policySyncPathPrefix": two}));
    eventually("it moves", || served(&two) && !served(&one)).await;
    configure(serde_json::json!({}));
    eventually("it goes", || !served(&two)).await;
    assert!(!served(&one));
    agent.kill().await.unwrap();
}
