//! Requests as Envoy sends them, and authorizers to ask.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod process;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tortie_authz::answer::Detail;
use tortie_authz::service::Authorizer;
use tortie_authz::snapshot::Snapshot;
use tortie_authz::source::Source;
use tortie_client::files::load_text;
use tortie_policy::{Cluster, Trust};
use tortie_proto::ext_authz::attribute_context::{HttpRequest, Peer, Request};
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::core::{Address, SocketAddress};
use tortie_proto::ext_authz::{AttributeContext, CheckRequest};

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
    let loaded = load_text("test", documents.join("\n---\n").as_bytes()).unwrap();
    Snapshot::new(Cluster::build(&loaded.resources).unwrap(), endpoint.parse().unwrap())
}

pub fn authorizer(endpoint: &str, documents: &[&str]) -> Authorizer {
    with_detail(endpoint, documents, Detail::None)
}

pub fn with_detail(endpoint: &str, documents: &[&str], detail: Detail) -> Authorizer {
    let snapshot = Arc::new(ArcSwap::from_pointee(snapshot(endpoint, documents)));
    Authorizer::new(snapshot, Trust::default(), detail)
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
            request: None,
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
