//! The declared field numbers are Envoy's: bytes written by hand from the public protocol decode to
//! the expected values, and fields we do not declare are skipped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::unreachable, reason = "test code")]

use prost::Message;
use tortie_proto::ext_authz::core::address::Address;
use tortie_proto::ext_authz::core::socket_address::PortSpecifier;
use tortie_proto::ext_authz::rpc::{Code, Status};
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};

/// A length-delimited field of a number below 16 and a length below 128.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
    out.extend_from_slice(body);
    out
}

fn varint(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3];
    out.extend_from_slice(value);
    out
}

fn peer(address: &str, port: &[u8], principal: &str) -> Vec<u8> {
    let socket = [field(2, address.as_bytes()), varint(3, port)].concat();
    let address = field(1, &field(1, &socket));
    let labels = field(3, &[field(1, b"app"), field(2, b"x")].concat());
    [address, labels, field(4, principal.as_bytes()), field(5, b"a certificate")].concat()
}

#[test]
fn decodes_a_request_and_skips_the_rest() {
    let header = field(3, &[field(1, b"authorization"), field(2, b"secret")].concat());
    let http = [
        field(1, b"17"),
        field(2, b"GET"),
        header,
        field(4, b"/v2/keys?x=1"),
        field(5, b"database:2379"),
        field(11, b"body"),
    ]
    .concat();
    let attributes = [
        field(1, &peer("10.0.0.5", &[0xd2, 0x09], "spiffe://td/ns/a/sa/b")),
        field(2, &peer("10.0.0.6", &[80], "")),
        field(4, &field(2, &http)),
    ]
    .concat();
    let mut bytes = vec![1 << 3 | 2];
    prost::encoding::encode_varint(attributes.len() as u64, &mut bytes);
    bytes.extend(attributes);

    let request = CheckRequest::decode(&bytes[..]).unwrap();
    assert!(!format!("{request:?}").contains("secret"));
    let attributes = request.attributes.unwrap();
    let source = attributes.source.unwrap();
    assert_eq!(source.principal, "spiffe://td/ns/a/sa/b");
    let Some(Address::SocketAddress(socket)) = source.address.unwrap().address else {
        unreachable!("not a socket address")
    };
    assert_eq!(socket.address, "10.0.0.5");
    assert_eq!(socket.port_specifier, Some(PortSpecifier::PortValue(1234)));
    let http = attributes.request.unwrap().http.unwrap();
    assert_eq!(
        (http.id.as_str(), http.method.as_str(), http.path.as_str()),
        ("17", "GET", "/v2/keys?x=1")
    );
}

#[test]
fn encodes_a_verdict() {
    let status = Status { code: Code::PermissionDenied.into(), message: String::new() };
    let response = CheckResponse { status: Some(status), ..Default::default() };
    assert_eq!(response.encode_to_vec(), [0x0a, 2, 0x08, 7]);
}

#[test]
fn an_explicit_ok_is_not_the_empty_message() {
    let status = Status { code: Code::Ok.into(), message: String::new() };
    let response = CheckResponse { status: Some(status), ..Default::default() };
    assert_eq!(response.encode_to_vec(), [0x0a, 0]);
}

#[test]
fn metadata_is_a_struct_on_the_wire() {
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1.0)) };
    let metadata = prost_types::Struct { fields: [("rule".to_owned(), value)].into() };
    let response =
        CheckResponse { dynamic_metadata: metadata.encode_to_vec().into(), ..Default::default() };
    // What Envoy would read: field 4 of a message type.
    #[derive(Clone, PartialEq, Message)]
    struct AsEnvoyDeclaresIt {
        #[prost(message, tag = "4")]
        dynamic_metadata: Option<prost_types::Struct>,
    }
    let read = AsEnvoyDeclaresIt::decode(&response.encode_to_vec()[..]).unwrap();
    assert_eq!(read.dynamic_metadata, Some(metadata));
}
