//! A check as Envoy really sends it: with the headers and other fields that we do not declare.

use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    #[prost(message, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attributes {
    #[prost(message, tag = "1")]
    source: Option<Peer>,
    #[prost(message, tag = "2")]
    destination: Option<Peer>,
    #[prost(message, tag = "4")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Peer {
    #[prost(message, tag = "1")]
    address: Option<Address>,
    #[prost(string, tag = "4")]
    principal: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    #[prost(message, tag = "1")]
    socket: Option<Socket>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Socket {
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    port: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(message, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Http {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(string, tag = "10")]
    protocol: String,
}

fn peer(address: &str, port: u32, account: &str) -> Option<Peer> {
    let socket = Some(Socket { address: address.to_owned(), port });
    Some(Peer {
        address: Some(Address { socket }),
        principal: format!("spiffe://cluster.local/ns/default/sa/{account}"),
    })
}

/// An account asks for a key of the database, from an address.
pub fn check(address: &str, account: &str) -> CheckRequest {
    let headers = [
        (":authority", "database:2379"),
        (":method", "GET"),
        (":path", "/v2/keys/accounts/519940/balance?quorum=true"),
        (":scheme", "http"),
        ("accept", "*/*"),
        ("user-agent", "summary/1.0"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "5b0c6a0e-9a4f-4d5b-8f3a-1f0c5e7d9b21"),
    ];
    let http = Http {
        id: "12345678901234567890".into(),
        method: "GET".into(),
        headers: headers.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        path: "/v2/keys/accounts/519940/balance?quorum=true".into(),
        host: "database:2379".into(),
        scheme: "http".into(),
        protocol: "HTTP/1.1".into(),
    };
    CheckRequest {
        attributes: Some(Attributes {
            source: peer(address, 41_234, account),
            destination: peer("10.65.0.3", 2379, "database"),
            request: Some(Request { http: Some(http) }),
        }),
    }
}
