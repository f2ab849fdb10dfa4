//! What is answered to which request, without the transport.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "test code"
)]

mod common;

use common::{
    ATTACK, BANK, CUSTOMER, DATABASE, POLICY, SUMMARY, at, attributes, authorizer, http, judge,
    peer, spiffe, tcp, with_detail,
};
use prost::Message;
use prost_types::Struct;
use prost_types::value::Kind;
use tortie_authz::answer::Detail;
use tortie_authz::service::Authorizer;
use tortie_proto::ext_authz::check_response::HttpResponse;
use tortie_proto::ext_authz::core::Pipe;
use tortie_proto::ext_authz::core::address::Address as Kinds;
use tortie_proto::ext_authz::rpc::Code::{
    self, Internal, InvalidArgument, Ok as Allowed, PermissionDenied as Denied,
};
use tortie_proto::ext_authz::{AttributeContext, CheckRequest, CheckResponse};

/// A field of the dynamic metadata, as text.
fn said(response: &CheckResponse, key: &str) -> Option<String> {
    let metadata = Struct::decode(response.dynamic_metadata.clone()).unwrap();
    match metadata.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        Kind::NumberValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// Asks, and checks what must hold of every answer.
fn ask(authorizer: &Authorizer, check: &CheckRequest) -> (Code, String, CheckResponse) {
    let response = judge(authorizer, check);
    let status = response.status.clone().expect("a status");
    let code = Code::try_from(status.code).unwrap();
    let verdict = if code == Allowed { "allow" } else { "deny" };
    assert_eq!(said(&response, "verdict").as_deref(), Some(verdict));
    match &response.http_response {
        None => assert_eq!(code, Allowed),
        Some(HttpResponse::DeniedResponse(denied)) => {
            assert_ne!(code, Allowed);
            assert_eq!(denied.status.map(|s| s.code), Some(403));
        }
        Some(HttpResponse::OkResponse(_)) => panic!("nothing to change in a request"),
    }
    assert_ne!(response.encode_to_vec(), [0_u8; 0], "an empty message means allow");
    let reason = said(&response, "reason").expect("a reason");
    (code, reason, response)
}

/// Asks about each named request and compares code and a part of the reason.
fn table(authorizer: &Authorizer, cases: &[(&str, CheckRequest, Code, &str)]) {
    for (name, check, code, part) in cases {
        let (got, reason, _) = ask(authorizer, check);
        assert_eq!(got, *code, "{name}: {reason}");
        assert!(reason.contains(part), "{name}: {reason}");
    }
}

fn from(place: Option<Kinds>, principal: &str) -> CheckRequest {
    let mut check = tcp(SUMMARY, principal);
    attributes(&mut check).source = Some(peer(place, principal));
    check
}

#[test]
fn identities() {
    let database = authorizer("default/database", &[BANK, POLICY]);
    let summary = spiffe("summary");
    let foreign = "spiffe://cluster.local/workload/summary";
    let other_domain = "spiffe://elsewhere.org/ns/default/sa/summary";
    let get = |from: &str, principal: &str| http(from, principal, "GET", "/v2/keys");
    table(
        &database,
        &[
            (
                "own certificate, own address",
                get(SUMMARY, &summary),
                Allowed,
                "GlobalNetworkPolicy database",
            ),
            ("the same over TCP", tcp(SUMMARY, &summary), Allowed, "rule 0"),
            ("plaintext, right address", get(SUMMARY, ""), Allowed, "rule 0"),
            ("plaintext, wrong address", get(ATTACK, ""), Denied, "default/attack"),
            ("plaintext, stranger", get("192.0.2.7", ""), Denied, "no known workload"),
            ("stolen certificate", get(ATTACK, &summary), Denied, "certificate of default/summary"),
            ("stolen certificate, TCP", tcp(ATTACK, &summary), Denied, "default/attack"),
            ("stolen certificate, stranger", get("192.0.2.7", &summary), Denied, "192.0.2.7"),
            ("another workload", get(CUSTOMER, &spiffe("customer")), Denied, "default/customer"),
            ("its address, another certificate", get(SUMMARY, &spiffe("customer")), Denied, ""),
            ("no such workload", get(SUMMARY, &spiffe("nobody")), Denied, "default/nobody"),
            ("DNS name", get(SUMMARY, "summary.default.svc"), Denied, "names no workload"),
            ("subject", get(SUMMARY, "CN=summary,O=bank"), Denied, "names no workload"),
            ("foreign layout", get(SUMMARY, foreign), Denied, "names no workload"),
            ("trailing slash", get(SUMMARY, &format!("{summary}/")), Denied, "names no workload"),
            ("line break", get(SUMMARY, &format!("{summary}\nx")), Denied, "names no workload"),
            ("wrong trust domain", get(SUMMARY, other_domain), Denied, "elsewhere.org"),
            ("huge principal", get(SUMMARY, &"x".repeat(1 << 20)), Denied, "names no workload"),
        ],
    );
}

#[test]
fn addresses() {
    let database = authorizer("default/database", &[BANK, POLICY]);
    let summary = spiffe("summary");
    let pipe = || Kinds::Pipe(Pipe { path: "/run/x".into() });
    let mapped = format!("::ffff:{SUMMARY}");
    let mut no_destination = tcp(SUMMARY, "");
    attributes(&mut no_destination).destination = None;
    let mut only_source = tcp(SUMMARY, &summary);
    attributes(&mut only_source).destination = None;
    let mut odd = tcp(SUMMARY, &summary);
    let quic = Kinds::SocketAddress(tortie_proto::ext_authz::core::SocketAddress {
        protocol: 99,
        ..Default::default()
    });
    attributes(&mut odd).destination = Some(peer(Some(quic), ""));
    let empty = CheckRequest { attributes: Some(AttributeContext::default()) };
    table(
        &database,
        &[
            ("no address", from(None, &summary), Denied, "unknown address"),
            ("no address, no certificate", from(None, ""), Denied, "unknown address"),
            ("pipe", from(Some(pipe()), &summary), Denied, "unknown address"),
            ("garbage", from(Some(at("10.65.0.2.", 1)), &summary), Denied, "unknown address"),
            ("name", from(Some(at("summary", 1)), &summary), Denied, "unknown address"),
            ("empty", from(Some(at("", 1)), &summary), Denied, "unknown address"),
            ("IPv4 in IPv6", from(Some(at(&mapped, 1)), &summary), Allowed, "rule 0"),
            ("absurd port", from(Some(at(SUMMARY, 70_000)), &summary), Allowed, "rule 0"),
            ("no destination", no_destination, Allowed, "rule 0"),
            ("no destination, certificate", only_source, Allowed, "rule 0"),
            ("unknown protocol", odd, InvalidArgument, "protocol"),
            ("no attributes", CheckRequest::default(), Denied, "unknown address"),
            ("empty attributes", empty, Denied, "unknown address"),
        ],
    );
}

#[test]
fn methods_and_connections_without_http() {
    let customer = authorizer("default/customer", &[BANK, POLICY]);
    let of = |method: &str| http(ATTACK, "", method, "/");
    let mut empty_http = of("");
    attributes(&mut empty_http).request.as_mut().unwrap().http = Some(Default::default());
    table(
        &customer,
        &[
            ("allowed method", of("GET"), Allowed, "GlobalNetworkPolicy customer"),
            ("another method", of("POST"), Denied, "method GET"),
            ("another case", of("get"), Denied, "method GET"),
            ("hostile method", of("GET\u{1b}[2J\n"), Denied, r"\u{1b}"),
            ("no HTTP in it", tcp(ATTACK, ""), Denied, "without HTTP"),
            ("HTTP without contents", empty_http, Denied, "method GET"),
        ],
    );
}

/// A rule for one folder, and nothing else.
const PATHS: &str = r#"
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: paths}
spec:
  selector: app == "database"
  ingress:
  - action: Allow
    http: {paths: [{prefix: /public}, {exact: "/a%20b"}]}
"#;

#[test]
fn paths() {
    let database = authorizer("default/database", &[BANK, PATHS]);
    let cases = [
        ("/public", Allowed),
        ("/public/x?y=/../..", Allowed),
        ("/public/", Allowed),
        ("//public//x", Allowed),
        ("/%70ublic", Allowed),
        ("/x/../public", Allowed),
        ("/a%20b", Allowed),
        ("/public;v=1/x", Allowed),
        ("/publicity", Denied),
        ("/public/../secret", Denied),
        ("/public/%2e%2e/secret", Denied),
        ("/public\\..\\secret", Denied),
        ("/public/..;/secret", Denied),
        ("/PUBLIC", Denied),
        ("/", Denied),
        ("/secret#/public", Denied),
        ("/secret?/public", Denied),
        ("/public/%", InvalidArgument),
        ("/public/%zz", InvalidArgument),
        ("/public/%252e%252e/secret", InvalidArgument),
        ("/public/%252fsecret", InvalidArgument),
        ("/public/%00", InvalidArgument),
        ("public", InvalidArgument),
        ("\\public", InvalidArgument),
        ("", InvalidArgument),
        ("*", InvalidArgument),
        ("http://database/public", InvalidArgument),
    ];
    for (path, code) in cases {
        let (got, reason, _) = ask(&database, &http(SUMMARY, "", "GET", path));
        assert_eq!(got, code, "{path}: {reason}");
    }
    let (got, reason, _) = ask(&database, &tcp(SUMMARY, ""));
    assert_eq!(got, Denied, "{reason}");
}

#[test]
fn no_workload_is_an_internal_error_to_every_request() {
    let nobody = authorizer("default/nobody", &[BANK, POLICY]);
    for check in [tcp(SUMMARY, &spiffe("summary")), CheckRequest::default()] {
        let (code, reason, response) = ask(&nobody, &check);
        assert_eq!(code, Internal);
        assert_eq!(reason, "denied, no workload `default/nobody` is known");
        assert_eq!(said(&response, "tier"), None);
    }
}

#[test]
fn metadata_names_what_decided() {
    let of = |check: &CheckRequest, policy: &str| {
        let (_, _, response) = ask(&authorizer("default/database", &[BANK, policy]), check);
        ["tier", "kind", "namespace", "name", "action", "rule"]
            .map(|key| said(&response, key).unwrap_or_default())
    };
    let plain = tcp(SUMMARY, "");
    assert_eq!(
        of(&plain, POLICY),
        ["default", "GlobalNetworkPolicy", "", "database", "allow", "0"]
    );
    assert_eq!(of(&tcp(ATTACK, ""), POLICY), ["default", "", "", "", "tier-default", ""]);
    let deny = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                metadata: {name: refuse, namespace: default}\n\
                spec: {selector: all(), ingress: [{action: Log}, {action: Deny}]}\n";
    assert_eq!(of(&plain, deny), ["default", "NetworkPolicy", "default", "refuse", "deny", "1"]);
    assert_eq!(of(&plain, ""), ["", "Profile", "", "kns.default", "profile", "0"]);
}

/// The metadata of an Allow rule is made once, so it must not depend on the request.
#[test]
fn metadata_of_what_is_allowed_says_nothing_of_the_request() {
    let metadata = |checks: &[CheckRequest]| {
        let database = authorizer("default/database", &[BANK, POLICY]);
        let answers: Vec<_> = checks.iter().map(|check| ask(&database, check).2).collect();
        answers.last().unwrap().dynamic_metadata.clone()
    };
    let first = metadata(&[tcp(SUMMARY, "")]);
    let others = [
        tcp(SUMMARY, &spiffe("summary")),
        http(SUMMARY, "", "GET", "/a"),
        http(SUMMARY, &spiffe("summary"), "POST", "/b?c"),
    ];
    for other in others {
        assert_eq!(metadata(std::slice::from_ref(&other)), first);
        let again = metadata(&[tcp(SUMMARY, ""), tcp(ATTACK, ""), other]);
        assert_eq!(again, first);
    }
}

#[test]
fn the_client_learns_what_is_configured() {
    let deny = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                metadata: {name: refuse, namespace: default}\n\
                spec: {selector: all(), ingress: [{action: Deny}]}\n";
    let body = |policy: &str, detail| {
        let database = with_detail("default/database", &[BANK, policy], detail);
        let (_, _, response) = ask(&database, &http(ATTACK, "", "GET", "/?secret"));
        let message = response.status.unwrap().message;
        assert_eq!(message, "denied by policy");
        match response.http_response.unwrap() {
            HttpResponse::DeniedResponse(denied) => denied.body,
            HttpResponse::OkResponse(_) => panic!("allowed"),
        }
    };
    assert_eq!(body(POLICY, Detail::None), "");
    assert_eq!(body(POLICY, Detail::Brief), "denied by the default of tier default\n");
    assert_eq!(body(deny, Detail::Brief), "denied by NetworkPolicy default/refuse\n");
    let full = body(POLICY, Detail::Full);
    assert!(full.contains("default/attack") && !full.contains("secret"), "{full}");
    assert_eq!(DATABASE, "10.65.0.3");
}
