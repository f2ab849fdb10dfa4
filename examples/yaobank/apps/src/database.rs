//! `database`: a real etcd with its v2 keys API, holding the five accounts.
//!
//! The tutorial's image is an etcd whose data directory is already filled. Here an etcd that only
//! loopback can reach fills the directory first, so that the one clients find is never empty.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::account::{SEEDS, Seed};
use crate::http::{BaseUrl, HttpClient, chain};
use crate::serve::{StopSignal, stop_signal};

/// How long etcd may take until it answers.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long etcd may take to end after SIGTERM, before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How often a starting etcd is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// How to run etcd.
#[derive(Debug, Clone)]
pub struct Options {
    /// The etcd program, a path or a name to find in `PATH`.
    pub etcd: OsString,
    /// Where the data lives; with `None` in a temporary directory, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// The port clients use.
    pub port: u16,
    /// Further arguments for etcd; they win over those given here.
    pub arguments: Vec<OsString>,
}

/// Runs etcd and loads the accounts; returns when a SIGTERM or SIGINT has stopped etcd.
///
/// # Errors
/// When etcd cannot be started, does not get ready, refuses an account, or ends by itself.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut stopping = stop_signal()?;
    let temporary;
    let data_dir = match &options.data_dir {
        Some(given) => given,
        None => {
            temporary = temporary_dir().context("no temporary directory for etcd's data")?;
            temporary.path()
        }
    };
    let mut filler = fill(options, data_dir)?;
    let loaded = until(load(filler.port), &mut filler.etcd, &mut stopping).await?;
    stop(&mut filler.etcd).await?;
    if loaded.is_none() {
        return Ok(());
    }
    let listen = format!("http://0.0.0.0:{}", options.port);
    let mut etcd = spawn(options, data_dir, &listen, &options.arguments)?;
    if until(healthy(options.port), &mut etcd, &mut stopping).await?.is_none() {
        return stop(&mut etcd).await;
    }
    println!("yaobank-database: {} accounts loaded", SEEDS.len());
    supervise(etcd, stopping).await
}

/// Waits for some work with an etcd that must not end meanwhile; nothing if asked to stop.
async fn until(
    work: impl Future<Output = anyhow::Result<()>>,
    etcd: &mut Child,
    stopping: &mut StopSignal,
) -> anyhow::Result<Option<()>> {
    tokio::select! {
        done = work => match done {
            Ok(()) => Ok(Some(())),
            Err(error) => {
                stop(etcd).await?;
                Err(error)
            }
        },
        ended = etcd.wait() => bail!("etcd ended before it was ready: {}", ended?),
        () = stopping.received() => Ok(None),
    }
}

/// An etcd that fills the data directory.
struct Filler {
    etcd: Child,
    port: u16,
}

fn fill(options: &Options, data_dir: &Path) -> anyhow::Result<Filler> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    let port = free.local_addr().context("no free port")?.port();
    drop(free);
    let listen = format!("http://127.0.0.1:{port}");
    Ok(Filler { etcd: spawn(options, data_dir, &listen, &[])?, port })
}

async fn supervise(mut etcd: Child, mut stopping: StopSignal) -> anyhow::Result<()> {
    tokio::select! {
        ended = etcd.wait() => bail!("etcd ended: {}", ended?),
        () = stopping.received() => stop(&mut etcd).await,
    }
}

/// A directory for this process alone, as etcd wants it.
fn temporary_dir() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("yaobank-database-").permissions(Permissions::from_mode(0o700)).tempdir()
}

fn spawn(
    options: &Options,
    data_dir: &Path,
    listen: &str,
    arguments: &[OsString],
) -> anyhow::Result<Child> {
    let port = options.port;
    let mut command = Command::new(&options.etcd);
    command
        .arg("--enable-v2")
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--logger", "zap", "--log-level", "warn"])
        .args(["--advertise-client-urls", &format!("http://database:{port}")])
        .args(["--listen-client-urls", listen])
        // A cluster of one has no peers: any free port will do.
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .args(arguments)
        .kill_on_drop(true);
    if cfg!(target_arch = "aarch64") {
        // etcd 3.4 refuses to start there otherwise.
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
    }
    command.spawn().with_context(|| {
        let program = options.etcd.display();
        format!("cannot run `{program}`: install etcd 3.4 or 3.5, or name it in $ETCD")
    })
}

/// Passes the request to stop on to etcd and waits for its end.
async fn stop(etcd: &mut Child) -> anyhow::Result<()> {
    let pid = etcd.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in between, which is what was wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
    match timeout(STOP_DEADLINE, etcd.wait()).await {
        Ok(ended) => ended.map(drop).context("cannot wait for etcd"),
        Err(_) => etcd.kill().await.context("cannot kill etcd"),
    }
}

async fn load(port: u16) -> anyhow::Result<()> {
    let http = HttpClient::new(CALL_DEADLINE);
    let base: BaseUrl = format!("http://127.0.0.1:{port}").parse()?;
    until_healthy(&http, &base).await?;
    for seed in SEEDS {
        store(&http, &base, seed).await?;
    }
    Ok(())
}

async fn healthy(port: u16) -> anyhow::Result<()> {
    let base: BaseUrl = format!("http://127.0.0.1:{port}").parse()?;
    until_healthy(&HttpClient::new(CALL_DEADLINE), &base).await
}

async fn until_healthy(http: &HttpClient, base: &BaseUrl) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let answer = http.get(base, "/health").await;
        let reason = match answer {
            Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
            Ok(answer) => format!("it answers {}", answer.status),
            Err(error) => chain(&error),
        };
        if Instant::now() > deadline {
            bail!("etcd at {base} is not ready after {} s: {reason}", START_DEADLINE.as_secs());
        }
        sleep(POLL).await;
    }
}

/// Creates both keys of an account. A key that exists keeps its value: a database restarted on
/// its old data has the balances it had.
async fn store(http: &HttpClient, base: &BaseUrl, seed: Seed) -> anyhow::Result<()> {
    for (key, value) in [("name", seed.name), ("balance", seed.balance)] {
        let path = format!("/v2/keys/accounts/{}/{key}?prevExist=false", seed.id);
        let form = format!("value={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let answer = http.put_form(base, &path, form).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::PRECONDITION_FAILED => {}
            StatusCode::NOT_FOUND => {
                bail!("etcd at {base} has no v2 keys: it must be 3.4 or 3.5 with --enable-v2")
            }
            status => bail!("etcd refused account {}: {status}", seed.id),
        }
    }
    Ok(())
}
