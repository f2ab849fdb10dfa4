//! What the tests share: the real Envoy, scratch directories, and inputs of a usual shape.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod authorizer;
pub mod bank;
pub mod client;
pub mod net;
pub mod proxy;

use std::env;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use tortie_mesh::ca::{Authority, WorkloadCertificate};
use tortie_mesh::envoy::{Admin, Authorizer, MutualTls, Proxy, Sidecar};
use tortie_mesh::identity::Workload;
use tortie_mesh::sds;

/// Envoy: `$ENVOY`, the PATH, or the project's cache. In CI it must be there.
pub fn envoy() -> Option<PathBuf> {
    let from_path = || {
        let path = env::var_os("PATH")?;
        env::split_paths(&path).map(|dir| dir.join("envoy")).find(|file| file.is_file())
    };
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/envoy/envoy");
    let found = env::var_os("ENVOY")
        .map(PathBuf::from)
        .or_else(from_path)
        .or_else(|| cached.is_file().then_some(cached));
    required(found, "envoy (set ENVOY or put it on the PATH)")
}

/// Passes `found` on; if it is nothing, fails in CI and says what is skipped elsewhere.
pub fn required<T>(found: Option<T>, what: &str) -> Option<T> {
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "CI needs {what}");
        eprintln!("skipped: needs {what}");
    }
    found
}

/// A fresh authority of `cluster.local`.
pub fn authority() -> Authority {
    let domain = "cluster.local".parse().unwrap();
    Authority::new(domain, OffsetDateTime::now_utc(), Duration::from_secs(3600).try_into().unwrap())
        .unwrap()
}

/// A certificate for a service account of the default namespace.
pub fn issue(authority: &Authority, account: &str) -> WorkloadCertificate {
    let workload = Workload::new("default", account).unwrap();
    let lifetime = Duration::from_secs(600).try_into().unwrap();
    authority.issue(&workload, OffsetDateTime::now_utc(), lifetime).unwrap()
}

/// The part of a configuration that all tests agree on.
pub fn proxy(name: &str, addresses: &[IpAddr], dir: &Path) -> Proxy {
    Proxy {
        name: format!("{name}.default"),
        trust_domain: "cluster.local".parse().unwrap(),
        addresses: addresses.to_vec(),
        sds_dir: dir.join("sds"),
        xds_dir: None,
        admin: Some(Admin::Socket(dir.join("admin.sock"))),
        access_log: dir.join("access.log"),
        connect_timeout: Duration::from_secs(5),
    }
}

/// A sidecar whose mesh is `mesh`. It waits for longer than a lab's: what is slow on a busy machine is
/// neither silent nor gone.
pub fn sidecar(proxy: Proxy, dir: &Path, mtls: MutualTls, mesh: &[&str]) -> Sidecar {
    Sidecar {
        proxy,
        mtls,
        authorizer: Authorizer { socket: dir.join("authz.sock"), timeout: Duration::from_secs(30) },
        mesh: mesh.iter().map(|net| net.parse().unwrap()).collect(),
        mark: tortie_mesh::DEFAULT_MARK,
        detect_timeout: Duration::from_secs(3),
    }
}

/// What Envoy itself says of a configuration whose files are in `home`: it opens its logs even to
/// validate, so they are moved to a scratch directory.
pub fn validate(envoy: &Path, bootstrap: &Value, home: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bootstrap.json");
    let moved = bootstrap.to_string().replace(home, dir.path().to_str().unwrap());
    fs::write(&file, moved).unwrap();
    sds::publish(&dir.path().join("sds"), &issue(&authority(), "database")).unwrap();
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "warning", "--config-path"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !said.contains("[warning]") { Ok(()) } else { Err(said) }
}
