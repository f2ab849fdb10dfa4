//! A client that shares nothing with this code: Go's gRPC, protobuf and JSON.
#![cfg(feature = "json")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::script::join;
use common::{Agent, account, from_accounts, from_set, labels, nets, policy, set, settings, start};
use prost::Message;
use serde_json::Value;
use tokio::process::Command;
use tortie_calc::Update;
use tortie_policysync::json;
use tortie_proto::felix::ToDataplane;
use tortie_proto::felix::to_dataplane::Payload;

/// Compiles the client; nothing where there is no Go, unless tests must not be skipped.
async fn compile(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/go/policysync");
    let program = folder.join("client");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .output();
    match built.await {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped: no Go here: {error}");
            None
        }
        Err(error) => panic!("no Go here: {error}"),
    }
}

async fn client(program: &Path, folder: &Path, socket: &Path) -> Output {
    let descriptor = folder.join("felix.binpb");
    std::fs::write(&descriptor, tortie_proto::felix::DESCRIPTOR).unwrap();
    let mut command = Command::new(program);
    command.arg("-socket").arg(socket).arg("-descriptor").arg(descriptor).arg("-report");
    command.output().await.unwrap()
}

#[tokio::test]
async fn a_client_of_another_make_is_told_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile(folder.path()).await else { return };
    let agent = Agent::new();
    agent.server.update(start());
    agent.server.update([
        Update::ServiceAccount(account("b"), labels(&[("a", "\"quoted\" <&> é")])),
        Update::Namespace("shop".into(), labels(&[("b", "")])),
        Update::Address("10.0.0.2".parse().unwrap(), vec![account("b")]),
        settings(true),
        set("s:2", nets(7..100_000)),
        policy("p", vec![from_accounts("a", "b"), from_set("s:1"), from_set("s:2")]),
    ]);
    let socket = agent.socket("a").await;
    let output = client(&program, folder.path(), &socket).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut theirs = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(theirs.next().unwrap(), serde_json::json!({"successful": true}));

    let mut stream = join(&socket).await;
    let mut count = 0;
    loop {
        let message = ToDataplane::decode(stream.message().await.unwrap().unwrap()).unwrap();
        let ours: Value = serde_json::from_str(&json::line(&message)).unwrap();
        assert_eq!(theirs.next(), Some(ours));
        count += 1;
        if matches!(message.payload, Some(Payload::InSync(_))) {
            break;
        }
    }
    assert!(theirs.next().is_none() && count > 8, "{count}");
}
