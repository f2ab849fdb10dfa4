//! Sidecars at work: real Envoys in network namespaces, in front of plain applications.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

mod support;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use support::authorizer::Asked;
use support::bank::Bank;
use support::client::{self, App, BANNER};
use support::net::{Namespace, until};
use tempfile::TempDir;
use tortie_mesh::ca::Authority;
use tortie_mesh::envoy::MutualTls;
use tortie_mesh::sds;
use x509_parser::prelude::{FromDer, X509Certificate};

const CUSTOMER: &str = "spiffe://cluster.local/ns/default/sa/customer";
/// The beginning of a TLS handshake, as far as anybody looks at it here.
const TLS_HELLO: &str = "\u{16}\u{3}\u{1}\0\u{4}1234";
const DATABASE: &str = "spiffe://cluster.local/ns/default/sa/database";

#[test]
fn a_meshed_request_arrives_with_its_identity_in_both_families() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(2379));
    for (to, from) in bank.database.pod.at(2379).into_iter().zip(bank.customer.pod.addresses()) {
        let mut stream = bank.customer.pod.namespace.connect(to).unwrap();
        let seen = client::get(&mut stream, "/v2/keys?recursive=true").unwrap().described();
        assert_eq!(seen["target"], "/v2/keys?recursive=true");
        assert_eq!(seen["version"], "HTTP/1.1");
        let http = Some(("GET".to_owned(), "/v2/keys?recursive=true".to_owned()));
        let expected = Asked {
            source: from,
            destination: to,
            principal: CUSTOMER.to_owned(),
            own_principal: DATABASE.to_owned(),
            http,
        };
        assert_eq!(authorizer.take(), [expected]);
    }
}

#[test]
fn the_application_sees_the_path_the_authorizer_judged() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(80));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    for (target, expected) in [
        ("/a/b?c=%2F/../d", Ok("/a/b?c=%2F/../d")),
        ("/public/../admin", Ok("/admin")),
        ("/public/%2e%2e/admin", Ok("/admin")),
        ("/public/.%2E/admin?x", Ok("/admin?x")),
        ("/a/./b", Ok("/a/b")),
        ("//a///b", Ok("/a/b")),
        ("/a\\..\\b", Ok("/b")),
        ("/../../a", Ok("/a")),
        ("/a;x=1/b", Ok("/a;x=1/b")),
        ("/%61dmin", Ok("/admin")),
        ("/a%252f..%252fb", Ok("/a%252f..%252fb")),
        ("/a%2fb", Err(400)),
        ("/a%2Fb", Err(400)),
        ("/public/..%2Fadmin", Err(400)),
        ("/public/..%5cadmin", Err(400)),
        ("/a%00b", Err(400)),
        ("/a#b", Err(400)),
    ] {
        let reply = client::get(&mut stream, target).unwrap();
        let asked = authorizer.take();
        match expected {
            Ok(path) => {
                assert_eq!(reply.described()["target"], path, "{target}");
                assert_eq!(asked[0].http, Some(("GET".to_owned(), path.to_owned())), "{target}");
            }
            Err(status) => {
                assert_eq!((reply.status, asked), (status, vec![]), "{target}");
            }
        }
        if reply.headers.get("connection").is_some_and(|value| value == "close") {
            stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
        }
    }
}

#[test]
fn headers_that_steer_the_mesh_are_dropped() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(80));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    let sent = [
        ("x-tortie-verdict", "allow"),
        ("X-Tortie-Anything", "x"),
        ("x-envoy-original-path", "/elsewhere"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/default/sa/root"),
        ("x-forwarded-for", "192.0.2.1"),
        ("authorization", "Bearer mine"),
    ];
    let reply = client::request(&mut stream, "GET", "/", &sent).unwrap();
    let described = reply.described();
    let arrived: Vec<&String> = described["headers"].as_object().unwrap().keys().collect();
    for dropped in ["x-tortie-", "x-envoy-", "x-forwarded-client-cert"] {
        assert!(!arrived.iter().any(|name| name.starts_with(dropped)), "{arrived:?}");
    }
    assert_eq!(described["headers"]["authorization"], "Bearer mine");
    assert!(!reply.headers.keys().any(|name| name.starts_with("x-envoy-")), "{reply:?}");
    assert_eq!(authorizer.take()[0].source, bank.customer.pod.v4);

    let log = until("access log", || bank.database.envoy.access_log().pop());
    assert_eq!((&log["path"], &log["peer"]), (&"/".into(), &CUSTOMER.into()), "{log}");
    for secret in ["Bearer", "192.0.2.1", "elsewhere"] {
        assert!(!bank.database.envoy.read("access.log").contains(secret), "{log}");
    }
}

#[test]
fn a_denied_request_gets_403_on_a_connection_that_stays() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(80));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    for (allow, status) in [(true, 200), (false, 403), (true, 200)] {
        authorizer.allow(allow);
        let reply = client::get(&mut stream, "/").unwrap();
        assert_eq!(reply.status, status);
        assert!(status != 403 || reply.body.is_empty(), "{reply:?}");
    }
}

#[test]
fn the_access_log_has_the_verdicts_reason() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _web = App::http(bank.database.pod.namespace.listen(80));
    let _mail = App::tcp(bank.database.pod.namespace.listen(25));
    let connect =
        |port| bank.customer.pod.namespace.connect(bank.database.pod.at(port)[0]).unwrap();
    let mut lines = 0;
    let mut next = || {
        lines += 1;
        until("the next line", || bank.database.envoy.access_log().into_iter().nth(lines - 1))
    };
    client::get(&mut connect(80), "/a?secret").unwrap();
    let line = next();
    assert_eq!(line["verdict"]["reason"], "said Ok", "{line}");

    authorizer.allow(false);
    client::get(&mut connect(80), "/a?secret").unwrap();
    let line = next();
    assert_eq!((&line["code"], &line["path"]), (&403.into(), &"/a".into()), "{line}");
    assert_eq!((&line["flags"], &line["details"]), (&"UAEX".into(), &"ext_authz_denied".into()));
    assert_eq!(line["verdict"]["reason"], "said PermissionDenied", "{line}");

    client::exchange(&mut connect(25), "HELO customer\r\n");
    let line = next();
    assert_eq!((&line["flags"], &line["peer"]), (&"UAEX".into(), &CUSTOMER.into()), "{line}");
    assert_eq!(line["verdict"]["reason"], "said PermissionDenied", "{line}");
}

#[test]
fn without_an_authorizer_nothing_passes() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let _web = App::http(bank.database.pod.namespace.listen(80));
    let mail = App::tcp(bank.database.pod.namespace.listen(25));
    for to in bank.database.pod.addresses() {
        let connect =
            |port| bank.customer.pod.namespace.connect(SocketAddr::new(to, port)).unwrap();
        let reply = client::get(&mut connect(80), "/").unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (403, ""));
        assert_eq!(client::exchange(&mut connect(25), "HELO customer\r\n"), "");
    }
    assert_eq!(mail.accepted(), 0, "the application must not even be dialled");
}

#[test]
fn a_denied_client_reads_nothing_from_a_server_that_speaks_first() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let mail = App::tcp(bank.database.pod.namespace.listen(25));
    let to = bank.database.pod.at(25)[0];
    authorizer.allow(false);
    let mut denied = bank.customer.pod.namespace.connect(to).unwrap();
    assert_eq!(client::exchange(&mut denied, "HELO customer\r\n"), "");
    assert_eq!((mail.accepted(), authorizer.take()[0].http.clone()), (0, None));

    authorizer.allow(true);
    let mut allowed = bank.customer.pod.namespace.connect(to).unwrap();
    allowed.write_all(b"HELO customer\r\n").unwrap();
    client::expect(&mut allowed, &format!("{BANNER}HELO customer\r\n"));
    let asked = authorizer.take();
    assert_eq!((asked[0].principal.as_str(), &asked[0].http), (CUSTOMER, &None));

    // A connection is judged once.
    authorizer.allow(false);
    allowed.write_all(b"QUIT\r\n").unwrap();
    client::expect(&mut allowed, "QUIT\r\n");
    assert_eq!(authorizer.take(), []);
}

#[test]
fn the_applications_own_tls_travels_inside_the_meshs() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _echo = App::tcp(bank.database.pod.namespace.listen(443));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(443)[1]).unwrap();
    stream.write_all(TLS_HELLO.as_bytes()).unwrap();
    client::expect(&mut stream, &format!("{BANNER}{TLS_HELLO}"));
    let asked = authorizer.take();
    assert_eq!((asked[0].principal.as_str(), &asked[0].http), (CUSTOMER, &None));
}

#[test]
fn a_client_that_is_silent_too_long_is_judged_without_http() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(80));
    let mut stream = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    let silent = "listener.outbound.downstream_pre_cx_timeout";
    until("the end of patience", || (bank.customer.envoy.counter(silent) == 1).then_some(()));
    client::get(&mut stream, "/").unwrap().described();
    let asked = authorizer.take();
    assert_eq!((asked[0].principal.as_str(), &asked[0].http), (CUSTOMER, &None));
}

#[test]
fn a_pooled_connection_outlives_node_rules_and_a_new_one_gets_503() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _web = App::http(bank.database.pod.namespace.listen(80));
    let _other = App::http(bank.database.pod.namespace.listen(81));
    let node = &bank.node.namespace;
    node.load("table ip t { chain c { type filter hook forward priority 0; ct state established accept; }; }");
    let connect =
        |port| bank.customer.pod.namespace.connect(bank.database.pod.at(port)[0]).unwrap();
    assert_eq!(client::get(&mut connect(80), "/").unwrap().status, 200);
    node.load("add rule ip t c ip daddr 10.1.1.2 drop");
    authorizer.allow(false);
    assert_eq!(client::get(&mut connect(80), "/").unwrap().status, 403);
    assert_eq!(client::get(&mut connect(81), "/").unwrap().status, 503);
}

#[test]
fn a_packet_for_somebody_else_is_not_carried_on() {
    let Some(bank) = Bank::new(MutualTls::Permissive) else { return };
    let authorizer = bank.authorizer();
    let stray = SocketAddr::new("192.0.2.1".parse().unwrap(), 80);
    bank.node.namespace.run(&format!("ip route add 192.0.2.1 via {}", bank.database.pod.v4));
    let mut stream = bank.attack.namespace.connect(stray).unwrap();
    assert_eq!(client::exchange(&mut stream, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"), "");
    assert_eq!(authorizer.take(), []);
}

#[test]
fn strict_serves_no_stranger_and_knows_a_stolen_key_by_its_name() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let authorizer = bank.authorizer();
    let _app = App::http(bank.database.pod.namespace.listen(2379));
    let to = bank.database.pod.at(2379)[0];

    let mut plain = bank.attack.namespace.connect(to).unwrap();
    assert_eq!(client::exchange(&mut plain, "GET / HTTP/1.1\r\nhost: database\r\n\r\n"), "");
    assert!(!curl(&bank.attack.namespace, to, &[]).0, "no certificate");
    let foreign = key_files(&support::authority(), "customer");
    assert!(!curl(&bank.attack.namespace, to, &key_arguments(&foreign)).0, "foreign certificate");
    assert_eq!(authorizer.take(), []);

    let stolen = key_files(&bank.authority, "customer");
    for (protocol, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/1.1")] {
        let mut arguments = key_arguments(&stolen);
        arguments.push(protocol.to_owned());
        let (done, body) = curl(&bank.attack.namespace, to, &arguments);
        assert!(done && body.contains(version), "{body}");
        let asked = authorizer.take();
        assert_eq!((asked[0].source, asked[0].principal.as_str()), (bank.attack.v4, CUSTOMER));
        assert!(asked[0].http.is_some());
    }

    let mut no_protocol = key_arguments(&stolen);
    no_protocol.push("--no-alpn".to_owned());
    let (done, _) = curl(&bank.attack.namespace, to, &no_protocol);
    assert!(done, "bytes pass if the authorizer allows the connection");
    assert_eq!(authorizer.take()[0].http, None);
}

#[test]
fn permissive_serves_strangers_without_identity_and_sidecars_with_theirs() {
    let Some(bank) = Bank::new(MutualTls::Permissive) else { return };
    let authorizer = bank.authorizer();
    let _web = App::http(bank.database.pod.namespace.listen(80));
    let _echo = App::tcp(bank.database.pod.namespace.listen(25));
    for (to, from) in bank.database.pod.addresses().into_iter().zip(bank.attack.addresses()) {
        let connect = |port| bank.attack.namespace.connect(SocketAddr::new(to, port)).unwrap();
        assert_eq!(client::get(&mut connect(80), "/").unwrap().status, 200);
        let asked = authorizer.take();
        assert_eq!((asked[0].source, asked[0].principal.as_str()), (from, ""));
        assert!(asked[0].http.is_some());

        // The application's own TLS is not the sidecar's to end.
        let mut own_tls = connect(25);
        own_tls.write_all(TLS_HELLO.as_bytes()).unwrap();
        client::expect(&mut own_tls, &format!("{BANNER}{TLS_HELLO}"));
        assert_eq!((authorizer.take()[0].principal.as_str()), "");

        authorizer.allow(false);
        assert_eq!(client::get(&mut connect(80), "/").unwrap().status, 403);
        assert_eq!(client::exchange(&mut connect(25), "HELO attack from afar\r\n"), "");
        authorizer.allow(true);
        authorizer.take();
    }
    let mut meshed = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    assert_eq!(client::get(&mut meshed, "/").unwrap().status, 200);
    assert_eq!(authorizer.take()[0].principal, CUSTOMER);
}

#[test]
fn http2_stays_http2_and_is_judged_by_request() {
    for mtls in [MutualTls::Strict, MutualTls::Permissive] {
        let Some(bank) = Bank::new(mtls) else { return };
        let authorizer = bank.authorizer();
        let _app = App::http(bank.database.pod.namespace.listen(80));
        let to = bank.database.pod.at(80)[0];
        let curl = |from: &Namespace| {
            let output = from
                .command("curl")
                .args(["-sS", "--max-time", "20", "--http2-prior-knowledge"])
                .arg(format!("http://{to}/x"))
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(curl(&bank.customer.pod.namespace).contains("HTTP/2.0"));
        let asked = authorizer.take();
        assert_eq!(asked[0].http, Some(("GET".to_owned(), "/x".to_owned())));
        assert_eq!(asked[0].principal, CUSTOMER);
        if mtls == MutualTls::Permissive {
            assert!(curl(&bank.attack.namespace).contains("HTTP/2.0"));
        }
    }
}

#[test]
fn the_sidecars_own_ports_lead_nowhere() {
    let Some(bank) = Bank::new(MutualTls::Permissive) else { return };
    let authorizer = bank.authorizer();
    let hello = "GET / HTTP/1.1\r\nhost: database\r\n\r\n";
    let own = &bank.database.pod;
    for port in [15001, 15006] {
        let loopback = [
            SocketAddr::new("127.0.0.1".parse().unwrap(), port),
            SocketAddr::new("::1".parse().unwrap(), port),
        ];
        for to in own.at(port).into_iter().chain(loopback) {
            let mut stream = own.namespace.connect(to).unwrap();
            assert_eq!(client::exchange(&mut stream, hello), "", "{to} from within");
        }
        for to in own.at(port) {
            let mut stream = bank.customer.pod.namespace.connect(to).unwrap();
            assert_eq!(client::exchange(&mut stream, hello), "", "{to} from a meshed pod");
        }
    }
    for port in [15000, 15001, 15006] {
        for to in own.at(port) {
            let refused = bank
                .attack
                .namespace
                .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{to} from a stranger");
        }
    }
    for envoy in [&bank.database.envoy, &bank.customer.envoy] {
        for cluster in ["application", "mesh-http1", "mesh-tcp", "passthrough"] {
            let dialled = envoy.counter(&format!("cluster.{cluster}.upstream_cx_total"));
            assert_eq!(dialled, 0, "{cluster}");
        }
    }
    assert_eq!(authorizer.take(), []);
}

#[test]
fn certificates_change_under_load_without_a_failure() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let _authorizer = bank.authorizer();
    let _web = App::http(bank.database.pod.namespace.listen(80));
    let _echo = App::tcp(bank.database.pod.namespace.listen(25));
    let mut pooled = bank.customer.pod.namespace.connect(bank.database.pod.at(80)[0]).unwrap();
    for _ in 0..5 {
        for (meshed, name) in [(&bank.database, "database"), (&bank.customer, "customer")] {
            let issued = support::issue(&bank.authority, name);
            sds::publish(&meshed.dir.path().join("sds"), &issued).unwrap();
            let serial = serial(&issued.chain_pem);
            until("the new certificate in Envoy", || {
                // Each connection is a new handshake, as TCP has no pool.
                let mut fresh =
                    bank.customer.pod.namespace.connect(bank.database.pod.at(25)[1]).unwrap();
                fresh.write_all(b"hello there, server\r\n").unwrap();
                client::expect(&mut fresh, BANNER);
                assert_eq!(client::get(&mut pooled, "/").unwrap().status, 200);
                meshed.envoy.admin("/certs")?.contains(&serial).then_some(())
            });
        }
    }
    for envoy in [&bank.database.envoy, &bank.customer.envoy] {
        for counter in
            ["listener.inbound.ssl.fail_verify_san", "listener.inbound.ssl.fail_verify_error"]
        {
            assert_eq!(envoy.counter(counter), 0);
        }
    }
}

#[test]
fn what_is_no_mesh_destination_passes_untouched() {
    let Some(bank) = Bank::new(MutualTls::Strict) else { return };
    let _web = App::http(bank.attack.namespace.listen(80));
    let _mail = App::tcp(bank.attack.namespace.listen(25));
    for to in bank.attack.addresses() {
        let connect =
            |port| bank.customer.pod.namespace.connect(SocketAddr::new(to, port)).unwrap();
        let target = "/a/../b//c%2Fd";
        let reply =
            client::request(&mut connect(80), "GET", target, &[("x-tortie-a", "b")]).unwrap();
        let seen = reply.described();
        assert_eq!(
            (&seen["target"], &seen["headers"]["x-tortie-a"]),
            (&target.into(), &"b".into())
        );
        let reached: IpAddr =
            seen["peer"].as_str().unwrap().parse::<IpAddr>().unwrap().to_canonical();
        assert!(bank.customer.pod.addresses().contains(&reached), "{reached}");
        client::expect(&mut connect(25), BANNER);
    }
}

#[test]
fn an_envoy_that_is_gone_opens_nothing() {
    let Some(mut bank) = Bank::new(MutualTls::Strict) else { return };
    let _app = App::http(bank.database.pod.namespace.listen(80));
    bank.database.envoy.kill();
    for to in bank.database.pod.at(80) {
        assert!(bank.attack.namespace.connect(to).is_err());
    }
}

/// Whether curl succeeded, and the body it got.
fn curl(from: &Namespace, to: SocketAddr, arguments: &[String]) -> (bool, String) {
    let output = from
        .command("curl")
        .args(["-sS", "-k", "--max-time", "20"])
        .args(arguments)
        .arg(format!("https://{to}/v2/keys"))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

/// A certificate and key as files.
fn key_files(authority: &Authority, account: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, contents) in support::issue(authority, account).secret_entries() {
        std::fs::write(dir.path().join(name), contents).unwrap();
    }
    dir
}

fn key_arguments(files: &TempDir) -> Vec<String> {
    let file = |name| files.path().join(name).to_str().unwrap().to_owned();
    vec!["--key".into(), file("key.pem"), "--cert".into(), file("cert-chain.pem")]
}

/// A certificate's serial number, as Envoy writes it.
fn serial(pem: &str) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
    certificate.serial.to_str_radix(16)
}
