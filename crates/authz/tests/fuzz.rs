//! Random input: the authorizer never panics, and never allows by accident.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use common::{ATTACK, BANK, CUSTOMER, POLICY, SUMMARY, at, authorizer, http, peer, spiffe};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tortie_authz::grpc::Version;
use tortie_authz::service::{Authorizer, Check};
use tortie_authz::wire;
use tortie_proto::ext_authz::attribute_context::{HttpRequest, Request};
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::core::{Pipe, SocketAddress};
use tortie_proto::ext_authz::{AttributeContext, CheckRequest, CheckResponse};

/// The fuzz body: bytes as they come from the socket. True if any version allows them.
fn allows(authorizer: &Authorizer, bytes: &[u8]) -> bool {
    tortie_authz::fuzz::check_request(bytes);
    let codes = Version::ALL.map(|version| {
        let answer = authorizer.check(version, bytes);
        assert!(!answer.is_empty(), "Envoy reads nothing as allow");
        CheckResponse::decode(answer).unwrap().status.unwrap().code
    });
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    codes[0] == 0
}

fn database() -> Authorizer {
    authorizer("default/database", &[BANK, POLICY])
}

fn address() -> impl Strategy<Value = Option<Kinds>> {
    let text = prop_oneof![
        prop::sample::select(vec![SUMMARY, ATTACK, CUSTOMER, "::ffff:10.65.0.2", "10.65.0.2 "])
            .prop_map(str::to_owned),
        any::<String>(),
        any::<std::net::IpAddr>().prop_map(|ip| ip.to_string()),
    ];
    let port = prop_oneof![
        any::<u32>().prop_map(PortSpecifier::PortValue),
        any::<String>().prop_map(PortSpecifier::NamedPort),
    ];
    let socket = (text, prop::option::of(port), prop_oneof![Just(0), Just(1), any::<i32>()])
        .prop_map(|(address, port_specifier, protocol)| {
            Kinds::SocketAddress(SocketAddress { protocol, address, port_specifier })
        });
    prop_oneof![
        8 => socket.prop_map(Some),
        1 => any::<String>().prop_map(|path| Some(Kinds::Pipe(Pipe { path }))),
        1 => Just(None),
    ]
}

fn principal() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["summary", "attack", "customer", "nobody"])
            .prop_map(spiffe),
        1 => Just(String::new()),
        1 => "spiffe://[a-z./]{0,20}",
        1 => any::<String>(),
    ]
}

fn request() -> impl Strategy<Value = Option<Request>> {
    let path = prop_oneof!["[/a-c.%\\\\;?#0-9]{0,16}", any::<String>()];
    let http = ("[A-Z]{0,5}", path).prop_map(|(method, path)| HttpRequest {
        id: "1".into(),
        method,
        path,
    });
    prop::option::of(prop::option::of(http).prop_map(|http| Request { http }))
}

fn check() -> impl Strategy<Value = CheckRequest> {
    let extensions = prop::collection::hash_map("[a-z]{0,3}", any::<String>(), 0..3);
    (address(), principal(), address(), principal(), request(), extensions).prop_map(
        |(from, principal, to, own, request, context_extensions)| CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(peer(from, &principal)),
                destination: Some(peer(to, &own)),
                request,
                context_extensions,
            }),
        },
    )
}

/// The database may be used from one address, by one certificate or none.
fn may(check: &CheckRequest) -> bool {
    let source = check.attributes.as_ref().unwrap().source.as_ref().unwrap();
    let address = match source.address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(Kinds::SocketAddress(socket)) => socket.address.as_str(),
        _ => "",
    };
    let address: Option<std::net::IpAddr> = address.parse().ok();
    let own = address.map(|ip| ip.to_canonical()) == Some(SUMMARY.parse().unwrap());
    own && (source.principal.is_empty() || source.principal == spiffe("summary"))
}

proptest! {
    #[test]
    fn bytes(bytes in vec(any::<u8>(), 0..512)) {
        prop_assert!(!allows(&database(), &bytes));
    }

    #[test]
    fn damaged_messages(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = http(SUMMARY, &spiffe("summary"), "GET", "/v2/keys?x").encode_to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        allows(&database(), &bytes);
    }

    /// Messages one behind the other are one message to whoever decodes them.
    #[test]
    fn messages_merge(parts in vec(check(), 1..4)) {
        let bytes: Vec<u8> = parts.iter().flat_map(Message::encode_to_vec).collect();
        prop_assert!(wire::read(&bytes).is_ok());
        allows(&database(), &bytes);
    }

    #[test]
    fn nobody_else_is_allowed(check in check()) {
        let allowed = allows(&database(), &check.encode_to_vec());
        prop_assert!(!allowed || may(&check), "{check:?}");
    }

    #[test]
    fn methods_need_http(check in check()) {
        let customer = authorizer("default/customer", &[BANK, POLICY]);
        let get = check.attributes.as_ref().and_then(|a| a.request.as_ref())
            .and_then(|r| r.http.as_ref()).is_some_and(|h| h.method == "GET");
        prop_assert!(!allows(&customer, &check.encode_to_vec()) || get, "{check:?}");
    }
}

#[test]
fn the_fuzz_body_can_allow() {
    let check = http(SUMMARY, &spiffe("summary"), "GET", "/");
    assert!(may(&check) && allows(&database(), &check.encode_to_vec()));
    assert!(matches!(at(SUMMARY, 1), Kinds::SocketAddress(_)));
}
