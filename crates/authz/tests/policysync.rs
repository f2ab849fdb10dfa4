//! The real program behind Policy Sync: before, with, and after an agent.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::process::{LONG, Server as Program, run, stderr};
use common::recorder::{Change, Checked, Clock, cluster, expected, flows, variants, violations};
use common::{ATTACK, BANK, POLICY, SUMMARY, http, spiffe};
use tempfile::TempDir;
use tortie_authz::client::{HealthCheck, health};
use tortie_calc::{Settings, Update, updates};
use tortie_client::files::load_text;
use tortie_policy::Cluster;
use tortie_policysync::server::{Anybody, Config, Server, Sockets, layout};
use tortie_proto::ext_authz::rpc::Code;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};

/// The agent's part, in this process.
struct Agent {
    folder: TempDir,
    server: Option<Server>,
}

impl Agent {
    fn new() -> Agent {
        Agent { folder: tempfile::tempdir().unwrap(), server: None }
    }

    fn start(&mut self, updates: Vec<Update>) {
        let config = Config { sockets: Sockets::Endpoints, ..Config::default() };
        let server = Server::new(config, Anybody);
        server.update(updates);
        server.set_prefix(Some(self.folder.path().to_owned()));
        self.server = Some(server);
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn socket(&self) -> PathBuf {
        layout::socket_path(self.folder.path(), "default.database")
    }

    /// The sidecar of the database.
    fn sidecar(&self, folder: &Path, more: &[&str]) -> Program {
        let (socket, dial) = (folder.join("s.sock"), self.socket());
        let fixed = ["server", "--log-format", "json", "-l", socket.to_str().unwrap(), "-d"];
        let all = fixed.into_iter().chain([dial.to_str().unwrap()]).chain(more.iter().copied());
        Program::with(folder, &all.map(str::to_owned).collect::<Vec<_>>())
    }
}

fn bank(policy: &str) -> Cluster {
    let loaded = load_text("test", [BANK, policy].join("\n---\n").as_bytes()).unwrap();
    Cluster::build(&loaded.resources).unwrap()
}

/// Everything about a cluster, as of a revision.
fn told(cluster: &Cluster, revision: u64) -> Vec<Update> {
    let with_revision = |update| match update {
        Update::Settings(settings) => {
            Update::Settings(Arc::new(Settings { revision, ..(*settings).clone() }))
        }
        other => other,
    };
    updates(cluster, None).into_iter().map(with_revision).collect()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async { tokio::time::timeout(LONG, future).await.unwrap() })
}

async fn ask(program: &Program, check: CheckRequest) -> CheckResponse {
    program.client().await.check(check).await.unwrap().into_inner()
}

async fn code(program: &Program, check: CheckRequest) -> Code {
    Code::try_from(ask(program, check).await.status.unwrap().code).unwrap()
}

/// Waits until an answer has a code.
async fn becomes(program: &Program, check: &CheckRequest, wanted: Code) {
    while code(program, check.clone()).await != wanted {
        tokio::task::yield_now().await;
    }
}

/// Waits until `health readiness` ends with a code, and gives what it says.
async fn readiness(program: &Program, wanted: i32) -> String {
    loop {
        let socket = program.socket().display().to_string();
        let output = tokio::task::spawn_blocking(move || {
            run(&["health", "readiness", "--dial-path", &socket])
        });
        let output = output.await.unwrap();
        if output.status.code() == Some(wanted) {
            return stderr(&output);
        }
    }
}

fn honest() -> CheckRequest {
    http(SUMMARY, &spiffe("summary"), "GET", "/v2/keys")
}

fn stolen() -> CheckRequest {
    http(ATTACK, &spiffe("summary"), "PUT", "/v2/keys")
}

#[test]
fn policy_comes_stays_and_changes() {
    let mut agent = Agent::new();
    let folder = tempfile::tempdir().unwrap();
    let program = agent.sidecar(folder.path(), &[]);
    block_on(async {
        let answer = ask(&program, honest()).await;
        assert_eq!(answer.status.unwrap().code, i32::from(Code::Internal));
        let said = readiness(&program, 3).await;
        assert!(said.contains("waiting for Policy Sync: no connection to the agent"), "{said}");

        agent.start(told(&bank(POLICY), 5));
        becomes(&program, &honest(), Code::Ok).await;
        assert_eq!(code(&program, stolen()).await, Code::PermissionDenied);
        assert_eq!(readiness(&program, 0).await, "");
        let report = health(program.socket(), HealthCheck::Readiness).await.unwrap();
        assert_eq!(report.fingerprint, Some(5));

        // The agent is gone: what it said stays.
        agent.stop();
        let said = readiness(&program, 3).await;
        assert!(said.contains("policy is stale: no connection to the agent"), "{said}");
        assert_eq!(code(&program, honest()).await, Code::Ok);
        assert_eq!(code(&program, stolen()).await, Code::PermissionDenied);

        // It comes back with other policy, and without what it said before.
        agent.start(told(&bank(&POLICY.replace("[summary]", "[attack]")), 6));
        becomes(&program, &honest(), Code::PermissionDenied).await;
        let attack = http(ATTACK, &spiffe("attack"), "GET", "/");
        assert_eq!(code(&program, attack).await, Code::Ok);
        assert_eq!(readiness(&program, 0).await, "");
    });
}

/// Whether there is a file in a folder, and not just the scratch file it is written to.
fn has_file(folder: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder) else { return false };
    entries.any(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with('.'))
}

#[test]
fn a_start_without_the_agent_uses_what_was_kept() {
    let mut agent = Agent::new();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let more = ["--last-good", kept.to_str().unwrap()];
    block_on(async {
        agent.start(told(&bank(POLICY), 1));
        let program = agent.sidecar(folder.path(), &more);
        becomes(&program, &honest(), Code::Ok).await;
        while !has_file(&kept) {
            tokio::task::yield_now().await;
        }
        drop(program);
        agent.stop();

        let program = agent.sidecar(folder.path(), &more);
        becomes(&program, &honest(), Code::Ok).await;
        assert_eq!(code(&program, stolen()).await, Code::PermissionDenied);
        let said = readiness(&program, 3).await;
        assert!(said.contains("no connection to the agent"), "{said}");
        drop(program);

        // What is too old is not used; nor is everything for ever.
        let program =
            agent.sidecar(folder.path(), &[&more[..], &["--last-good-max-age", "0"]].concat());
        assert_eq!(code(&program, honest()).await, Code::Internal);
        drop(program);
        let program =
            agent.sidecar(folder.path(), &[&more[..], &["--max-staleness", "0"]].concat());
        becomes(&program, &honest(), Code::Internal).await;
    });
}

/// Changes and checks over the real sockets: see `recorder`.
#[test]
fn every_verdict_is_that_of_a_policy_in_force() {
    let clusters: Vec<_> = variants(11, 12).iter().map(|v| cluster(v)).collect();
    let flows = flows();
    let expected = expected(&clusters, &flows);
    let mut agent = Agent::new();
    let folder = tempfile::tempdir().unwrap();
    let program = agent.sidecar(folder.path(), &[]);
    let clock = Clock::default();
    block_on(async {
        let in_force = async |revision: u64| loop {
            let report = health(program.socket(), HealthCheck::Readiness).await.unwrap();
            if report.fingerprint == Some(revision) && report.healthy {
                return;
            }
        };
        agent.start(told(&clusters[0], 1));
        in_force(1).await;
        let first = Change { variant: 0, begun: clock.tick(), done: clock.tick() };
        let done = std::sync::atomic::AtomicBool::new(false);
        let change = async {
            let mut changes = vec![first];
            for variant in (0..clusters.len()).cycle().skip(1).take(50) {
                let revision = changes.len() as u64 + 1;
                let begun = clock.tick();
                agent.server.as_ref().unwrap().update(told(&clusters[variant], revision));
                in_force(revision).await;
                changes.push(Change { variant, begun, done: clock.tick() });
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            changes
        };
        let check = async |number: usize| {
            let mut client = program.client().await;
            let mut records = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let flow = (records.len() * 3 + number) % flows.len();
                let begun = clock.tick();
                let answer = client.check(flows[flow].check.clone()).await.unwrap().into_inner();
                let allowed = answer.status.unwrap().code == 0;
                records.push(Checked { flow, allowed, begun, done: clock.tick() });
            }
            records
        };
        let (changes, a, b, c) = tokio::join!(change, check(0), check(1), check(2));
        let records = [a, b, c].concat();
        let wrong = violations(&changes, &records, &expected);
        println!("{} checks, {} changes", records.len(), changes.len());
        assert!(wrong.is_empty(), "{:?} of {}", &wrong[..wrong.len().min(3)], wrong.len());
        assert!(records.len() > changes.len(), "{}", records.len());
    });
}
