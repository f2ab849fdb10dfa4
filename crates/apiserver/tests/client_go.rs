//! Clients that share nothing with this code: Go's client-go with its informers, and the typed
//! client that Calico publishes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Cluster;

/// Compiles the client; nothing where there is no Go, unless tests must not be skipped.
fn compile(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/go/client");
    let program = folder.join("client");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(source);
    match build.output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped: no Go here: {error}");
            None
        }
        Err(error) => panic!("no Go here: {error}"),
    }
}

#[test]
fn informers_and_typed_clients_work() {
    let cluster = Cluster::start();
    let Some(program) = compile(cluster.folder()) else { return };
    for protobuf in ["-protobuf=false", "-protobuf=true"] {
        let mut client = Command::new(&program);
        client.arg("-server").arg(format!("http://{}", cluster.address)).arg(protobuf);
        let output = client.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{protobuf}: {said}");
    }
}
