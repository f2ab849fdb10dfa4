//! API servers as processes that are killed and started again: the server itself is away, not only
//! the way to it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::world::{Client, FIRST, policy, soon};
use crate::{etcd, program};

/// An API server, killed when dropped.
struct Process {
    dir: TempDir,
    more: Vec<String>,
    child: Option<Child>,
}

impl Process {
    async fn start(more: &[&str]) -> (Process, Client) {
        let more = more.iter().map(|&more| more.to_owned()).collect();
        let mut process = Process { dir: tempfile::tempdir().unwrap(), more, child: None };
        let client = process.run().await;
        client.replace(&[], FIRST).await;
        (process, client)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn url(&self) -> String {
        format!("unix://{}", self.data().join("api.sock").display())
    }

    /// Runs it again, on what it had, until it answers.
    async fn run(&mut self) -> Client {
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        let mut command = program::apiserver(&self.data(), &more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let url = self.url();
        soon("the API server answers", async || Client::connect(&url).await).await
    }

    /// Ends it, as a crash would.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn started_again_over_its_file() {
    started_again(&[]).await;
}

#[tokio::test]
async fn started_again_over_etcd() {
    if etcd::available() {
        let etcd = etcd::Server::start();
        drop(etcd.store().await);
        started_again(&["--etcd", &etcd.url()]).await;
    }
}

/// Nothing is different, so nothing is told; and what is written from then on is.
async fn started_again(more: &[&str]) {
    let (mut process, _) = Process::start(more).await;
    let agent = Agent::start(&process.url());
    agent.ready().await;
    let before = agent.converges(&process.url()).await;
    agent.forget();
    let flushes = || agent.metric("tortie_agent_flush_seconds_count");
    let told = flushes();

    process.kill();
    agent.says(false).await;
    assert!(agent.is_ready(), "what is in force is what was known");
    assert!(agent.log().contains("the API server is away"), "{}", agent.log());
    let client = process.run().await;
    agent.says(true).await;
    assert_eq!((agent.forget(), flushes()), (vec![before], told), "nothing is told twice");

    client.apply(&policy("late", 1)).await;
    soon("what is written now", async || agent.now().contains("late").then_some(())).await;
    agent.converges(&process.url()).await;
}

/// Its connections stay as they are.
#[tokio::test]
async fn hanging() {
    let (process, client) = Process::start(&[]).await;
    let agent = Agent::impatient(&process.url());
    agent.ready().await;
    let before = agent.converges(&process.url()).await;
    process.signal(Signal::STOP);
    agent.says(false).await;
    assert!(agent.is_ready() && agent.now() == before, "what is in force is what was known");
    process.signal(Signal::CONT);
    agent.says(true).await;
    client.apply(&policy("late", 1)).await;
    soon("what is written now", async || agent.now().contains("late").then_some(())).await;
}

#[tokio::test]
async fn killed_while_it_is_written_to() {
    let (mut process, mut client) = Process::start(&[]).await;
    let agent = Agent::start(&process.url());
    agent.ready().await;
    for round in 1..=4 {
        let written = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&written);
        let writer = tokio::spawn(async move {
            let mut port = 1000 * round;
            while client.try_apply(&policy(&format!("p-{}", port % 7), port)).await.is_ok() {
                port += 1;
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let enough = async || (written.load(Ordering::SeqCst) >= 10 * round).then_some(());
        soon("it is written to", enough).await;
        process.kill();
        writer.await.unwrap();
        client = process.run().await;
    }
    agent.converges(&process.url()).await;
    let whole = |state: &String| state.is_empty() || state.contains("admits");
    assert!(agent.forget().iter().all(whole), "the first policy was gone for a while");
}

#[tokio::test]
async fn flapping() {
    let (mut process, _) = Process::start(&[]).await;
    let agent = Agent::start(&process.url());
    agent.ready().await;
    agent.converges(&process.url()).await;
    agent.forget();
    for round in 0..10 {
        process.kill();
        sleep(Duration::from_millis(200)).await;
        let client = process.run().await;
        client.apply(&policy("changing", 8000 + round)).await;
        sleep(Duration::from_millis(200)).await;
    }
    agent.converges(&process.url()).await;
    for state in agent.forget() {
        assert!(state.contains("admits"), "the policy was gone for a while: {state}");
    }
}
