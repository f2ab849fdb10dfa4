//! The ingress gateway at work: a real Envoy between a client outside and pods inside.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::net::SocketAddr;

use support::bank::Bank;
use support::client::{self, App, Reply};
use support::net::Pod;
use support::proxy::RunningEnvoy;
use tempfile::TempDir;
use tortie_mesh::envoy::{
    Destination, Gateway, GatewayListener, MutualTls, PathMatch, Route, VirtualHost,
};
use tortie_mesh::sds;

const GATEWAY: &str = "spiffe://cluster.local/ns/default/sa/istio-ingressgateway";

/// A gateway pod in front of the bank.
struct Ingress {
    bank: Bank,
    pod: Pod,
    client: Pod,
    _envoy: RunningEnvoy,
    _dir: TempDir,
}

impl Ingress {
    fn new() -> Option<Self> {
        let mut bank = Bank::new(MutualTls::Strict)?;
        let (pod, client) = (bank.node.pod(), bank.node.pod());
        let dir = TempDir::new().unwrap();
        let issued = support::issue(&bank.authority, "istio-ingressgateway");
        sds::publish(&dir.path().join("sds"), &issued).unwrap();
        let proxy = support::proxy("gateway", &pod.addresses(), dir.path());
        let listeners = vec![GatewayListener { port: 80, virtual_hosts: virtual_hosts(&bank) }];
        let bootstrap = Gateway { proxy, listeners }.bootstrap().unwrap();
        let envoy = support::envoy()?;
        let envoy = RunningEnvoy::start(&envoy, &pod.namespace, &bootstrap, dir.path());
        Some(Self { bank, pod, client, _envoy: envoy, _dir: dir })
    }

    fn ask(&self, to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut stream = self.client.namespace.connect(to).unwrap();
        client::request(&mut stream, "GET", target, headers).unwrap()
    }
}

/// `bank.example` is the meshed database but for `/plain…`, which is the pod without a sidecar.
fn virtual_hosts(bank: &Bank) -> Vec<VirtualHost> {
    let host = |hosts: &[&str], paths: &[PathMatch], address, meshed| VirtualHost {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        routes: vec![Route { paths: paths.to_vec(), destination: Destination { address, meshed } }],
    };
    let plain = [PathMatch::Prefix("/plain".to_owned()), PathMatch::Exact("/exactly".to_owned())];
    let [v4, v6] = bank.database.pod.at(8080);
    vec![
        host(&["bank.example"], &plain, bank.attack.at(8080)[1], false),
        host(&["bank.example", "*.bank.example"], &[], v4, true),
        host(&["six.example"], &[PathMatch::Regex("/v[0-9]+/.*".to_owned())], v6, true),
    ]
}

#[test]
fn requests_are_routed_by_host_and_path() {
    let Some(ingress) = Ingress::new() else { return };
    let bank = &ingress.bank;
    let authorizer = bank.authorizer();
    let _database = App::http(bank.database.pod.namespace.listen(8080));
    let _plain = App::http(bank.attack.namespace.listen(8080));
    // A meshed destination proves itself by the check that precedes it.
    for (host, target, status, meshed) in [
        ("bank.example", "/", 200, true),
        ("bank.example:8080", "/x?y", 200, true),
        ("www.bank.example", "/plain", 200, true),
        ("bank.example", "/plain", 200, false),
        ("bank.example", "/plainly?x", 200, false),
        ("bank.example", "/exactly?x", 200, false),
        ("bank.example", "/exactly/not", 200, true),
        ("bank.example", "/x/../plain", 200, false),
        ("six.example", "/v2/keys", 200, true),
        ("six.example", "/w/v2/keys", 404, false),
        ("other.example", "/", 404, false),
        ("example", "/", 404, false),
        ("bank.example", "/a%2Fb", 400, false),
    ] {
        for to in ingress.pod.at(80) {
            let reply = ingress.ask(to, target, &[("host", host)]);
            assert_eq!(reply.status, status, "{host}{target}");
            let asked = authorizer.take();
            assert_eq!(!asked.is_empty(), meshed, "{host}{target}");
            for asked in asked {
                assert_eq!(asked.principal, GATEWAY);
                assert!(ingress.pod.addresses().contains(&asked.source), "{asked:?}");
            }
        }
    }
}

#[test]
fn what_the_mesh_refuses_the_gateway_refuses() {
    let Some(ingress) = Ingress::new() else { return };
    let authorizer = ingress.bank.authorizer();
    let _database = App::http(ingress.bank.database.pod.namespace.listen(8080));
    authorizer.allow(false);
    let reply = ingress.ask(ingress.pod.at(80)[0], "/", &[("host", "bank.example")]);
    assert_eq!((reply.status, reply.body.as_str()), (403, ""));
}

#[test]
fn a_client_outside_cannot_pretend() {
    let Some(ingress) = Ingress::new() else { return };
    let _authorizer = ingress.bank.authorizer();
    let _database = App::http(ingress.bank.database.pod.namespace.listen(8080));
    let sent = [
        ("host", "bank.example"),
        ("x-tortie-verdict", "allow"),
        ("x-envoy-internal", "true"),
        ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/default/sa/root"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
    ];
    let seen = ingress.ask(ingress.pod.at(80)[0], "/", &sent).described();
    let headers = seen["headers"].as_object().unwrap();
    for dropped in ["x-tortie-", "x-envoy-", "x-forwarded-client-cert"] {
        assert!(!headers.keys().any(|name| name.starts_with(dropped)), "{headers:?}");
    }
    assert_eq!(headers["x-forwarded-proto"], "http");
    let client = ingress.client.v4.to_string();
    assert_eq!(headers["x-forwarded-for"], format!("192.0.2.1,{client}"));
}
