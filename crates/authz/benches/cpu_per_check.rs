//! CPU time of `tortie-authz` per check, and its memory, against a server that always answers OK: two
//! processes, the same transport, the same message, in turns. The ratio of each pair of turns counts.
//!
//! `cargo bench -p tortie-authz --bench cpu_per_check [-- ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

mod shape;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use shape::{SHAPES, Shape};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tortie_proto::ext_authz::authorization_server::{Authorization, AuthorizationServer};
use tortie_proto::ext_authz::{CheckRequest, CheckResponse, rpc};

/// Requests in flight, all on one connection, as Envoy has them.
const IN_FLIGHT: usize = 64;
/// Requests of each task in one turn.
const EACH: usize = 200;
/// Pairs of turns, unless told otherwise.
const ROUNDS: usize = 21;
/// The flag by which this program becomes the reference.
const REFERENCE: &str = "--always-ok";

/// The cheapest honest answer.
#[derive(Debug)]
struct AlwaysOk;

#[tonic::async_trait]
impl Authorization for AlwaysOk {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let status = Some(rpc::Status { code: 0, message: String::new() });
        Ok(Response::new(CheckResponse { status, ..Default::default() }))
    }
}

fn serve_reference(socket: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let service = AuthorizationServer::new(AlwaysOk);
        let server = tonic::transport::Server::builder();
        server.serve_with_incoming(service, incoming).await.unwrap();
    });
}

/// A server of its own process; killed on drop.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(command: &mut Command, socket: PathBuf) -> Server {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "no server");
            std::thread::yield_now();
        }
        Server { child, socket }
    }

    fn reference(folder: &Path) -> Server {
        let socket = folder.join("ok.sock");
        let mut command = Command::new(std::env::current_exe().unwrap());
        Server::start(command.arg(REFERENCE).arg(&socket), socket)
    }

    fn authorizer(folder: &Path, files: &Path) -> Server {
        let socket = folder.join("authz.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie-authz"));
        command.args(["server", "--endpoint", "default/database", "-l"]).arg(&socket);
        let command = command.arg("-f").arg(files).env("TORTIE_LOG", "warn");
        Server::start(command, socket)
    }

    /// CPU time of all threads so far, in nanoseconds.
    fn cpu(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let of_task = |path: PathBuf| {
            let text = std::fs::read_to_string(path.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        tasks.map(|task| of_task(task.unwrap().path())).sum()
    }

    /// Resident and highest resident memory, in MiB.
    fn memory(&self) -> (f64, f64) {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    async fn channel(&self) -> Channel {
        let address = format!("unix:{}", self.socket.display());
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One turn: microseconds of server CPU per check.
async fn turn(server: &Server, channel: &Channel, message: &wire::CheckRequest) -> f64 {
    let before = server.cpu();
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let mut client = tonic::client::Grpc::new(channel.clone());
            let message = message.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    client.ready().await.unwrap();
                    let codec = ProstCodec::<wire::CheckRequest, CheckResponse>::default();
                    let path = "/envoy.service.auth.v3.Authorization/Check".parse().unwrap();
                    let answer = client.unary(Request::new(message.clone()), path, codec).await;
                    assert_eq!(answer.unwrap().into_inner().status.unwrap().code, 0);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (server.cpu() - before) as f64 / (IN_FLIGHT * EACH) as f64 / 1_000.0
}

fn summary(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 4];
    let (low, first, median, third, high) = (at(0), at(1), at(2), at(3), at(4));
    println!(
        "  {name:<11} median {median:.3}{unit}, half of them {first:.3} .. {third:.3}, \
         all {low:.3} .. {high:.3}"
    );
}

fn compare(shape: &Shape, rounds: usize) {
    // Apart: a socket in a watched folder would have all files read again.
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    shape.write(files.path());
    let reference = Server::reference(folder.path());
    let subject = Server::authorizer(folder.path(), files.path());
    let message = wire::check("10.65.0.2", "summary");
    let size = message.encoded_len();
    println!("{}: message of {size} bytes, {IN_FLIGHT} in flight, {rounds} pairs", shape.name);
    let idle = subject.memory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut ok, mut authz, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let (to_reference, to_subject) = (reference.channel().await, subject.channel().await);
        for round in 0..=rounds {
            let a = turn(&reference, &to_reference, &message).await;
            let b = turn(&subject, &to_subject, &message).await;
            // The first pair warms up.
            if round > 0 {
                ok.push(a);
                authz.push(b);
                ratios.push(b / a);
            }
        }
    });
    summary("always OK", " us", ok);
    summary("authorizer", " us", authz);
    summary("ratio", "", ratios);
    let (loaded, highest) = subject.memory();
    println!("  memory      idle {:.1} MiB, after {loaded:.1}, highest {highest:.1}", idle.0);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == REFERENCE) {
        return serve_reference(Path::new(&arguments[at + 1]));
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    for shape in SHAPES {
        compare(shape, rounds);
    }
}
