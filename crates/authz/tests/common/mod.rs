//! Requests as Envoy sends them, and authorizers to ask.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod process;
pub mod recorder;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prost::Message;
use tortie_authz::answer::{Answers, Detail};
use tortie_authz::grpc::Version;
use tortie_authz::guarded::Mode;
use tortie_authz::service::{Authorizer, Check, Setup};
use tortie_authz::snapshot::{Snapshot, View};
use tortie_authz::source::Source;
use tortie_client::files::load_text;
use tortie_policy::Cluster;
use tortie_proto::ext_authz::attribute_context::{HttpRequest, Peer, Request};
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::core::{Address, SocketAddress};
use tortie_proto::ext_authz::{AttributeContext, CheckRequest, CheckResponse};

pub const BANK: &str = include_str!("../fixtures/bank.yaml");
pub const POLICY: &str = include_str!("../fixtures/policy.yaml");

pub const CUSTOMER: &str = "10.65.0.1";
pub const SUMMARY: &str = "10.65.0.2";
pub const DATABASE: &str = "10.65.0.3";
pub const ATTACK: &str = "10.65.0.5";

/// The principal of a service account of the namespace `default`.
pub fn spiffe(account: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{account}")
}

pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn source() -> Source {
    Source { paths: vec![fixtures()], recursive: false }
}

/// The snapshot of a workload under the given documents.
pub fn snapshot(endpoint: &str, documents: &[&str]) -> Snapshot {
    view_snapshot(&View::new(Mode::Workload(Some(endpoint.parse().unwrap()))), documents)
}

/// The snapshot of what a view is about.
pub fn view_snapshot(view: &View, documents: &[&str]) -> Snapshot {
    let loaded = load_text("test", documents.join("\n---\n").as_bytes()).unwrap();
    let cluster = Cluster::build(&loaded.resources).unwrap();
    Snapshot::nothing(view).next(&tortie_calc::batch(&cluster, None), view, None)
}

/// One check, through the wire's form.
pub fn judge(authorizer: &Authorizer, check: &CheckRequest) -> CheckResponse {
    judge_as(authorizer, Version::V3, check)
}

pub fn judge_as(authorizer: &Authorizer, version: Version, check: &CheckRequest) -> CheckResponse {
    CheckResponse::decode(authorizer.check(version, &check.encode_to_vec())).unwrap()
}

pub fn authorizer(endpoint: &str, documents: &[&str]) -> Authorizer {
    with_detail(endpoint, documents, Detail::None)
}

pub fn with_detail(endpoint: &str, documents: &[&str], detail: Detail) -> Authorizer {
    let answers = Answers { detail, ..Answers::default() };
    with(snapshot(endpoint, documents), Setup { answers, ..Setup::default() })
}

pub fn with(snapshot: Snapshot, setup: Setup) -> Authorizer {
    Authorizer::new(Arc::new(ArcSwap::from_pointee(snapshot)), setup)
}

/// A socket address.
pub fn at(address: &str, port: u32) -> Kinds {
    Kinds::SocketAddress(SocketAddress {
        protocol: 0,
        address: address.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
    })
}

pub fn peer(address: Option<Kinds>, principal: &str) -> Peer {
    Peer {
        address: address.map(|kinds| Address { address: Some(kinds) }),
        principal: principal.to_owned(),
    }
}

/// A connection from an address with a principal to the database.
pub fn tcp(from: &str, principal: &str) -> CheckRequest {
    let own = if principal.is_empty() { String::new() } else { spiffe("database") };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(Some(at(from, 41_234)), principal)),
            destination: Some(peer(Some(at(DATABASE, 2379)), &own)),
            ..Default::default()
        }),
    }
}

/// The same with a request in it.
pub fn http(from: &str, principal: &str, method: &str, path: &str) -> CheckRequest {
    let mut check = tcp(from, principal);
    let http = HttpRequest { id: "17".into(), method: method.into(), path: path.into() };
    attributes(&mut check).request = Some(Request { http: Some(http) });
    check
}

pub fn attributes(check: &mut CheckRequest) -> &mut AttributeContext {
    check.attributes.get_or_insert_default()
}
