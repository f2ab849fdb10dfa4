//! CPU time of the server per check: the authorizer with Yao Bank's policies against a server that
//! always answers OK, in the same process, over the same transport, with the same message.
//!
//! Each server has a thread and a Unix socket of its own; the clock is the CPU time of that thread.
//! The two take turns, and the ratio of each pair of turns is what counts.
//!
//! `cargo bench -p tortie-authz --bench cpu_per_check`
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use arc_swap::ArcSwap;
use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tortie_authz::answer::Detail;
use tortie_authz::health::Health;
use tortie_authz::service::Authorizer;
use tortie_authz::snapshot::Snapshot;
use tortie_authz::source::Source;
use tortie_authz::transport::{Routes, serve};
use tortie_daemon::readiness::Readiness;
use tortie_daemon::{shutdown, socket};
use tortie_policy::Trust;
use tortie_proto::ext_authz::authorization_server::Authorization;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse, rpc};

/// Requests in flight, all on one connection, as Envoy has them.
const IN_FLIGHT: usize = 64;
/// Requests of each task in one turn.
const EACH: usize = 200;
/// Pairs of turns.
const ROUNDS: usize = 41;

/// The reference: the cheapest honest answer.
#[derive(Debug)]
struct AlwaysOk;

#[tonic::async_trait]
impl Authorization for AlwaysOk {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let status = Some(rpc::Status { code: 0, message: String::new() });
        Ok(Response::new(CheckResponse { status, ..Default::default() }))
    }
}

/// A server on a thread of its own, and the thread's number.
struct Server {
    socket: PathBuf,
    thread: i32,
}

impl Server {
    fn start<A: Authorization>(socket: PathBuf, authorization: A) -> Server {
        let (tell, told) = mpsc::channel();
        let path = socket.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (listener, _file) = socket::bind(&path, 0o600).unwrap();
                let (_trigger, drain) = shutdown::drain();
                let (readiness, _guard) = Readiness::new("bench", "nothing");
                let routes = Routes::new(authorization, Health::new(readiness));
                tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
                serve(listener, routes, drain).await.unwrap();
            });
        });
        Server { socket, thread: told.recv().unwrap() }
    }

    /// CPU time of the server so far, in nanoseconds.
    fn cpu(&self) -> u64 {
        let path = format!("/proc/self/task/{}/schedstat", self.thread);
        let text = std::fs::read_to_string(path).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }

    async fn channel(&self) -> Channel {
        let address = format!("unix:{}", self.socket.display());
        Endpoint::from_shared(address).unwrap().connect().await.unwrap()
    }
}

fn authorizer() -> Authorizer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let source = Source { paths: vec![fixtures], recursive: false };
    let loaded = source.load().unwrap();
    let snapshot = Snapshot::new(loaded.cluster, "default/database".parse().unwrap());
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
    Authorizer::new(snapshot, Trust::default(), Detail::None)
}

/// One turn: nanoseconds of server CPU per check.
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
    (server.cpu() - before) as f64 / (IN_FLIGHT * EACH) as f64
}

fn summary(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 4];
    let (low, first, median, third, high) = (at(0), at(1), at(2), at(3), at(4));
    println!(
        "{name:<12} median {median:.3}{unit}, half of them {first:.3} .. {third:.3}, \
         all {low:.3} .. {high:.3}"
    );
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let reference = Server::start(folder.path().join("ok.sock"), AlwaysOk);
    let subject = Server::start(folder.path().join("authz.sock"), authorizer());
    let message = wire::check("10.65.0.2", "summary");
    println!("message {} bytes, {IN_FLIGHT} in flight, {ROUNDS} pairs", message.encoded_len());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut ok, mut authz, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    runtime.block_on(async {
        let (to_reference, to_subject) = (reference.channel().await, subject.channel().await);
        for round in 0..=ROUNDS {
            let a = turn(&reference, &to_reference, &message).await;
            let b = turn(&subject, &to_subject, &message).await;
            if round > 0 {
                // The first pair warms up.
                ok.push(a / 1_000.0);
                authz.push(b / 1_000.0);
                ratios.push(b / a);
            }
        }
    });
    summary("always OK", " us", ok);
    summary("authorizer", " us", authz);
    summary("ratio", "", ratios);
}
