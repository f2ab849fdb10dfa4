//! Versions of the service, whole nodes, egress, and what answers carry.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::time::Duration;

use common::{
    ATTACK, BANK, CUSTOMER, POLICY, SUMMARY, at, attributes, http, judge, judge_as, peer, snapshot,
    spiffe, tcp, view_snapshot, with,
};
use prost::Message;
use tortie_authz::answer::Answers;
use tortie_authz::grpc::Version;
use tortie_authz::guarded::Mode;
use tortie_authz::metrics::Metrics;
use tortie_authz::service::{Authorizer, Check, Setup};
use tortie_authz::snapshot::View;
use tortie_policy::{Compat, CompatPoint, Direction};
use tortie_proto::ext_authz::check_response::HttpResponse;
use tortie_proto::ext_authz::rpc::Code;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};

fn code(response: &CheckResponse) -> Code {
    Code::try_from(response.status.as_ref().unwrap().code).unwrap()
}

fn customer(setup: Setup) -> Authorizer {
    with(snapshot("default/customer", &[BANK, POLICY]), setup)
}

#[test]
fn every_version_gives_the_same_answer() {
    let database = with(snapshot("default/database", &[BANK, POLICY]), Setup::default());
    let checks = [
        http(SUMMARY, &spiffe("summary"), "GET", "/v2"),
        http(ATTACK, &spiffe("summary"), "GET", "/v2"),
        tcp(SUMMARY, ""),
        CheckRequest::default(),
        CheckRequest { attributes: Some(Default::default()) },
    ];
    for check in checks {
        let [a, b, c] = Version::ALL.map(|version| judge_as(&database, version, &check));
        assert!(a == b && b == c, "{a:?} {b:?} {c:?}");
    }
}

/// Calico turns a connection of version 2 into a request with nothing in it.
#[test]
fn version_2_without_http() {
    let paths = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                 metadata: {name: p}\nspec: {selector: app == 'customer', ingress: [{action: Allow, \
                 http: {paths: [{prefix: /}]}}]}\n";
    let of = |policy: &str, compat: bool, version| {
        let setup = Setup { empty_http_in_v2: compat, ..Setup::default() };
        let customer = with(snapshot("default/customer", &[BANK, policy]), setup);
        code(&judge_as(&customer, version, &tcp(SUMMARY, "")))
    };
    for version in Version::ALL {
        assert_eq!(of(paths, false, version), Code::PermissionDenied, "{version:?}");
        assert_eq!(of(POLICY, true, version), Code::PermissionDenied, "{version:?}");
    }
    assert_eq!(of(paths, true, Version::V2), Code::InvalidArgument);
    assert_eq!(of(paths, true, Version::V2Alpha), Code::InvalidArgument);
    assert_eq!(of(paths, true, Version::V3), Code::PermissionDenied);
}

#[test]
fn what_cannot_be_read_is_refused_in_an_answer() {
    let customer = customer(Setup::default());
    let good = http(SUMMARY, "", "GET", "/").encode_to_vec();
    let mut not_utf8 = good.clone();
    let at = not_utf8.windows(3).position(|w| w == b"GET").unwrap();
    not_utf8[at] = 0xff;
    for bytes in [&[0xff][..], &[0x0a, 0x05], &good[..good.len() - 1], &not_utf8, &[0x0b]] {
        let answer = CheckResponse::decode(customer.check(Version::V3, bytes)).unwrap();
        assert_eq!(code(&answer), Code::InvalidArgument, "{bytes:?}");
    }
}

/// A check of the customer's own request to the summary.
fn leaving(method: &str) -> CheckRequest {
    let mut check = http(CUSTOMER, "", method, "/");
    attributes(&mut check).destination = Some(peer(Some(at(SUMMARY, 80)), ""));
    check
}

#[test]
fn one_process_guards_a_node() {
    let view = |trusted: Option<&str>, direction| {
        let mode = Mode::Node { node: None, trusted: trusted.map(str::to_owned) };
        View { direction, ..View::new(mode) }
    };
    let ask = |view: &View, check: &CheckRequest| {
        let authorizer = with(view_snapshot(view, &[BANK, POLICY]), Setup::default());
        code(&judge(&authorizer, check))
    };
    let node = view(None, Direction::Ingress);
    let to_customer = |method: &str| {
        let mut check = http(ATTACK, "", method, "/");
        attributes(&mut check).destination = Some(peer(Some(at(CUSTOMER, 80)), ""));
        check
    };
    assert_eq!(ask(&node, &tcp(SUMMARY, &spiffe("summary"))), Code::Ok);
    assert_eq!(ask(&node, &tcp(ATTACK, &spiffe("summary"))), Code::PermissionDenied);
    assert_eq!(ask(&node, &to_customer("GET")), Code::Ok);
    assert_eq!(ask(&node, &to_customer("POST")), Code::PermissionDenied);

    // Nobody's address, unless the listener names the workload and is believed.
    let named = |who: &str| {
        let mut check = to_customer("GET");
        attributes(&mut check).destination = Some(peer(Some(at("192.0.2.1", 80)), ""));
        attributes(&mut check).context_extensions.insert("workload".into(), who.into());
        check
    };
    assert_eq!(ask(&node, &named("default/customer")), Code::Internal);
    let trusting = view(Some("workload"), Direction::Ingress);
    assert_eq!(ask(&trusting, &named("default/customer")), Code::Ok);
    assert_eq!(ask(&trusting, &named("default/summary")), Code::PermissionDenied);
    assert_eq!(ask(&trusting, &named("default/nobody")), Code::Internal);
    assert_eq!(ask(&trusting, &named("")), Code::Internal);

    // What leaves is judged by the policies of the sender.
    let closed = POLICY.replacen("egress:\n  - action: Allow", "egress:\n  - action: Deny", 1);
    let egress = view(None, Direction::Egress);
    let authorizer = with(view_snapshot(&egress, &[BANK, &closed]), Setup::default());
    assert_eq!(code(&judge(&authorizer, &leaving("GET"))), Code::PermissionDenied);
    assert_eq!(ask(&egress, &leaving("GET")), Code::Ok);
}

#[test]
fn headers_of_ours_do_not_get_through() {
    let setup = || Setup {
        answers: Answers {
            upstream_headers: vec!["x-tortie-policy={policy}".parse().unwrap()],
            ..Answers::default()
        },
        ..Setup::default()
    };
    // Headers are not declared, so they are written by hand: attributes.request.http.headers.
    let header = |name: &str| {
        let field = |number: u8, body: &[u8]| {
            let mut out = vec![number << 3 | 2];
            prost::encoding::encode_varint(body.len() as u64, &mut out);
            out.extend_from_slice(body);
            out
        };
        let entry = [field(1, name.as_bytes()), field(2, b"forged")].concat();
        field(1, &field(4, &field(2, &field(3, &entry))))
    };
    let plain = http(SUMMARY, "", "GET", "/").encode_to_vec();
    let sent = ["x-tortie-policy", "x-tortie-a", "x-tortiea", "host"].map(header).concat();
    let check = [plain.clone(), sent].concat();
    let answer = CheckResponse::decode(customer(setup()).check(Version::V3, &check)).unwrap();
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("{answer:?}") };
    assert_eq!(ok.headers_to_remove, ["x-tortie-a"]);
    assert_eq!(ok.headers[0].header.as_ref().unwrap().value, "GlobalNetworkPolicy customer");
    let answer = customer(setup()).check(Version::V3, &plain);
    let answer = CheckResponse::decode(answer).unwrap();
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else { panic!("{answer:?}") };
    assert!(ok.headers_to_remove.is_empty());
}

#[test]
fn compatibility_is_heeded() {
    let mode = || Mode::Workload(Some("default/customer".parse().unwrap()));
    let ask = |compat| {
        let view = View { compat, ..View::new(mode()) };
        let authorizer = with(view_snapshot(&view, &[BANK, POLICY]), Setup::default());
        code(&judge(&authorizer, &tcp(SUMMARY, "")))
    };
    assert_eq!(ask(Compat::STRICT), Code::PermissionDenied);
    assert_eq!(ask(CompatPoint::RawTcpMeetsHttp.into()), Code::Ok);
}

#[test]
fn policy_that_is_too_old_refuses_if_configured() {
    let metrics = Metrics::default();
    let limit = Some(Duration::from_secs(60));
    let setup = Setup { max_staleness: limit, metrics: metrics.clone(), ..Setup::default() };
    let customer = customer(setup);
    let check = http(SUMMARY, "", "GET", "/");
    assert_eq!(code(&judge(&customer, &check)), Code::Ok);
    metrics.stale(Duration::from_secs(30));
    assert_eq!(code(&judge(&customer, &check)), Code::Ok);
    metrics.current();
    metrics.stale(Duration::from_secs(61));
    assert_eq!(code(&judge(&customer, &check)), Code::Internal);
    metrics.current();
    assert_eq!(code(&judge(&customer, &check)), Code::Ok);
}
