//! The configurations as golden files, each also accepted by the real Envoy without a warning.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use tortie_mesh::envoy::{
    Admin, ConfigError, DEFAULT_AUTHORIZER_TIMEOUT, DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_DETECT_TIMEOUT, Destination, Gateway, GatewayListener, MutualTls, PathMatch, Proxy,
    Route, Sidecar, VirtualHost,
};

const HOME: &str = "/run/tortie/pod";
const MESH: &[&str] = &["10.1.0.2/32", "10.96.0.10/32", "fd00:1::2/128", "fd00:96::a/128"];

fn proxy(addresses: &[&str]) -> Proxy {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let proxy = support::proxy("database", &addresses, Path::new(HOME));
    Proxy { connect_timeout: DEFAULT_CONNECT_TIMEOUT, ..proxy }
}

fn sidecar(mtls: MutualTls, addresses: &[&str], mesh: &[&str]) -> Sidecar {
    let mut sidecar = support::sidecar(proxy(addresses), Path::new(HOME), mtls, mesh);
    sidecar.authorizer.timeout = DEFAULT_AUTHORIZER_TIMEOUT;
    sidecar.detect_timeout = DEFAULT_DETECT_TIMEOUT;
    sidecar
}

fn destination(address: &str, meshed: bool) -> Destination {
    Destination { address: address.parse().unwrap(), meshed }
}

fn host(hosts: &[&str], routes: Vec<Route>) -> VirtualHost {
    VirtualHost { hosts: hosts.iter().map(ToString::to_string).collect(), routes }
}

fn gateway(virtual_hosts: Vec<VirtualHost>) -> Gateway {
    let listeners = vec![GatewayListener { port: 80, virtual_hosts }];
    Gateway { proxy: proxy(&["10.1.0.9", "fd00:1::9"]), listeners }
}

fn usual_gateway() -> Gateway {
    let customer = destination("10.96.0.10:80", true);
    let plain = destination("[fd00:96::b]:8080", false);
    let api = [
        PathMatch::Exact("/api".to_owned()),
        PathMatch::Prefix("/api/".to_owned()),
        PathMatch::Regex("/v[0-9]+/.*".to_owned()),
    ];
    gateway(vec![
        host(&["*"], vec![Route { paths: Vec::new(), destination: customer.clone() }]),
        host(
            &["bank.example", "*.bank.example"],
            vec![Route { paths: api.into(), destination: plain }],
        ),
        host(&["bank.example"], vec![Route { paths: Vec::new(), destination: customer }]),
    ])
}

/// Compares with the golden file and asks Envoy.
fn check(name: &str, bootstrap: &Value) {
    insta::with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, serde_json::to_string_pretty(bootstrap).unwrap());
    });
    if let Some(envoy) = support::envoy() {
        support::validate(&envoy, bootstrap, HOME).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
}

#[test]
fn strict_sidecar() {
    let sidecar = sidecar(MutualTls::Strict, &["10.1.0.7", "fd00:1::7"], MESH);
    check("sidecar-strict", &sidecar.bootstrap().unwrap());
}

#[test]
fn permissive_sidecar() {
    let sidecar = sidecar(MutualTls::Permissive, &["10.1.0.7", "fd00:1::7"], MESH);
    check("sidecar-permissive", &sidecar.bootstrap().unwrap());
}

#[test]
fn sidecar_with_little() {
    let mut sidecar = sidecar(MutualTls::Strict, &["10.1.0.7"], &[]);
    sidecar.proxy.admin = Some(Admin::Loopback(15000));
    check("sidecar-v4-only-without-mesh", &sidecar.bootstrap().unwrap());
}

#[test]
fn ingress_gateway() {
    check("gateway", &usual_gateway().bootstrap().unwrap());
}

#[test]
fn gateway_without_routes() {
    let mut gateway = gateway(Vec::new());
    gateway.proxy.addresses = vec!["fd00:1::9".parse().unwrap()];
    gateway.proxy.admin = None;
    check("gateway-v6-only-without-routes", &gateway.bootstrap().unwrap());
}

#[test]
fn sidecar_refuses_paths_that_would_harm() {
    let good = || sidecar(MutualTls::Strict, &["10.1.0.7"], MESH);
    type Damage = fn(&mut Sidecar);
    let cases: [(&str, Damage, &str); 8] = [
        (
            "a log in the watched directory",
            |it| it.proxy.access_log = "/run/tortie/pod/sds/access.log".into(),
            "access log `/run/tortie/pod/sds/access.log`: lies in the watched directory \
             `/run/tortie/pod/sds`, which must hold nothing but secrets",
        ),
        (
            "the same, spelled differently",
            |it| it.proxy.access_log = "/run/tortie//pod/./sds/x".into(),
            "access log `/run/tortie//pod/./sds/x`: lies in the watched directory \
             `/run/tortie/pod/sds`, which must hold nothing but secrets",
        ),
        (
            "the same, through a parent",
            |it| it.proxy.access_log = "/run/tortie/pod/x/../sds/y".into(),
            "access log `/run/tortie/pod/x/../sds/y`: must be an absolute path without `..`",
        ),
        (
            "an admin socket in it",
            |it| it.proxy.admin = Some(Admin::Socket("/run/tortie/pod/sds/a".into())),
            "admin socket `/run/tortie/pod/sds/a`: lies in the watched directory \
             `/run/tortie/pod/sds`, which must hold nothing but secrets",
        ),
        (
            "an authorizer in it",
            |it| it.authorizer.socket = "/run/tortie/pod/sds/a".into(),
            "authorizer socket `/run/tortie/pod/sds/a`: lies in the watched directory \
             `/run/tortie/pod/sds`, which must hold nothing but secrets",
        ),
        (
            "a relative directory",
            |it| it.proxy.sds_dir = "sds".into(),
            "sds directory `sds`: must be an absolute path without `..`",
        ),
        (
            "a relative log",
            |it| it.proxy.access_log = "access.log".into(),
            "access log `access.log`: must be an absolute path without `..`",
        ),
        (
            "no address",
            |it| it.proxy.addresses.clear(),
            "addresses: a proxy needs at least one address of its pod",
        ),
    ];
    for (what, break_it, expected) in cases {
        let mut sidecar = good();
        break_it(&mut sidecar);
        assert_eq!(sidecar.bootstrap().unwrap_err().to_string(), expected, "{what}");
    }
}

#[test]
fn sidecar_refuses_a_socket_path_the_kernel_would() {
    let mut sidecar = sidecar(MutualTls::Strict, &["10.1.0.7"], MESH);
    sidecar.authorizer.socket = format!("/{}", "a".repeat(106)).into();
    assert!(sidecar.bootstrap().is_ok());
    sidecar.authorizer.socket = format!("/{}", "a".repeat(107)).into();
    let error = sidecar.bootstrap().unwrap_err();
    assert!(matches!(error, ConfigError::SocketTooLong { .. }), "{error}");
}

#[test]
fn gateway_refuses_what_can_never_match() {
    let to = || destination("10.96.0.10:80", true);
    let everything = || vec![Route { paths: Vec::new(), destination: to() }];
    let path = |path| vec![Route { paths: vec![path], destination: to() }];
    for (virtual_host, expected) in [
        (host(&["bank.example:80"], everything()), "host `bank.example:80`: "),
        (host(&[""], everything()), "host ``: "),
        (host(&["*."], everything()), "host `*.`: "),
        (host(&["a.*"], everything()), "host `a.*`: "),
        (host(&["*"], path(PathMatch::Prefix("api".to_owned()))), "path `api`: "),
        (host(&["*"], path(PathMatch::Exact(String::new()))), "path ``: "),
    ] {
        let error = gateway(vec![virtual_host]).bootstrap().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let mut twice = usual_gateway();
    twice.listeners.extend(twice.listeners.clone());
    let error = twice.bootstrap().unwrap_err().to_string();
    assert_eq!(error, "listeners: port 80 is given twice; give its hosts to one listener");
}

#[test]
fn what_depends_on_other_pods_comes_from_files() {
    let names = |listeners: &Value| -> Vec<String> {
        let all = listeners.as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut fixed = sidecar(MutualTls::Strict, &["10.1.0.2"], &[]);
    fixed.proxy.xds_dir = Some("/run/tortie/xds".into());
    let bootstrap = fixed.bootstrap().unwrap();
    assert_eq!(names(&bootstrap["static_resources"]["listeners"]), ["inbound"]);
    let clusters = names(&bootstrap["static_resources"]["clusters"]);
    assert!(clusters.iter().any(|name| name == "mesh-http1"), "there may be a mesh later");
    let source = &bootstrap["dynamic_resources"]["lds_config"]["path_config_source"]["path"];
    let files = fixed.discovery().unwrap();
    let [(name, content)] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(source.as_str().unwrap(), format!("/run/tortie/xds/{name}"));
    assert_eq!(names(&content["resources"]), ["outbound"]);

    let mut ingress = usual_gateway();
    ingress.proxy.xds_dir = Some("/run/tortie/xds".into());
    let files: Vec<_> = ingress.discovery().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(files, ["clusters.json", "listeners.json"], "in the order to be written");
    let bootstrap = ingress.bootstrap().unwrap();
    assert!(names(&bootstrap["static_resources"]["listeners"]).is_empty());
}
