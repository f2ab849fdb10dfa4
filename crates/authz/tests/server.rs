//! The real program over a real socket: its life, its files, its health, its exit codes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use common::process::{self, Server, arguments, folder, program, run, stderr, write};
use common::{ATTACK, POLICY, SUMMARY, http, spiffe, tcp};
use prost::Message;
use prost_types::Struct;
use prost_types::value::Kind;
use rustix::process::Signal;
use tortie_proto::ext_authz::authorization_client::AuthorizationClient;
use tortie_proto::ext_authz::rpc::Code;
use tortie_proto::ext_authz::{CheckRequest, CheckResponse};
use tortie_proto::health::HealthCheckRequest;
use tortie_proto::health::health_check_response::ServingStatus;
use tortie_proto::health::health_client::HealthClient;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(process::LONG, future).await.unwrap() })
}

async fn code(server: &Server, check: CheckRequest) -> Code {
    let answer = server.client().await.check(check).await.unwrap().into_inner();
    Code::try_from(answer.status.unwrap().code).unwrap()
}

fn stolen() -> CheckRequest {
    http(ATTACK, &spiffe("summary"), "PUT", "/v2/keys")
}

fn honest() -> CheckRequest {
    http(SUMMARY, &spiffe("summary"), "GET", "/v2/keys")
}

#[test]
fn decides_and_ends_cleanly() {
    let folder = folder();
    let mut server = Server::start(folder.path(), "default/database");
    block_on(async {
        assert_eq!(code(&server, honest()).await, Code::Ok);
        assert_eq!(code(&server, stolen()).await, Code::PermissionDenied);
    });
    let line = server.wait_for("denied by");
    assert!(line.contains("certificate of default/summary"), "{line}");
    let mode = std::fs::metadata(server.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(!server.socket().exists());
}

#[test]
fn the_client_command_prints_the_answer() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    let socket = server.socket().display().to_string();
    let ask = |source: &str| {
        run(&["client", "default", "summary", "-d", &socket, "--source", source, "--path", "/x"])
    };
    let (yes, no) = (ask(SUMMARY), ask(ATTACK));
    assert!(yes.status.success() && no.status.success());
    let (yes, no) = (String::from_utf8(yes.stdout).unwrap(), String::from_utf8(no.stdout).unwrap());
    assert!(yes.starts_with("OK \n") && yes.contains("name: database\n"), "{yes}");
    assert!(no.starts_with("PERMISSION_DENIED denied by policy\n"), "{no}");
    assert!(no.contains("reason: denied by the default of tier default"), "{no}");
    drop(server);
    let gone = ask(SUMMARY);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).starts_with("error: cannot connect to `"), "{}", stderr(&gone));
}

#[test]
fn health_has_the_exit_codes_of_dikastes() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    for check in ["liveness", "readiness"] {
        let output = server.health(check);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
    assert_eq!(server.health("readyness").status.code(), Some(1));
    drop(server);
    let socket = folder.path().join("s.sock").display().to_string();
    let output = run(&["health", "readiness", "--dial-path", &socket]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn the_standard_health_service_says_the_same() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    block_on(async {
        let mut client = HealthClient::new(server.channel().await);
        let mut ask = async |service: &str| {
            client.check(HealthCheckRequest { service: service.to_owned() }).await
        };
        let serving = i32::from(ServingStatus::Serving);
        assert_eq!(ask("").await.unwrap().into_inner().status, serving);
        let name = "envoy.service.auth.v3.Authorization";
        assert_eq!(ask(name).await.unwrap().into_inner().status, serving);
        assert_eq!(ask("other").await.unwrap_err().code(), tonic::Code::NotFound);
    });
}

#[test]
fn without_its_workload_it_refuses_until_a_reload_brings_it() {
    let folder = folder();
    let pods = std::fs::read_to_string(folder.path().join("pods.yaml")).unwrap();
    write(folder.path(), "pods.yaml", &pods.replace("name: database", "name: other"));
    let server = Server::start(folder.path(), "default/database");
    block_on(async { assert_eq!(code(&server, honest()).await, Code::Internal) });
    let output = server.health("readiness");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr(&output), "waiting for policy: no workload `default/database` is known\n");
    assert_eq!(server.health("liveness").status.code(), Some(0));

    write(folder.path(), "pods.yaml", &pods);
    server.wait_for("policy reloaded");
    block_on(async { assert_eq!(code(&server, honest()).await, Code::Ok) });
    assert_eq!(server.health("readiness").status.code(), Some(0));
}

#[test]
fn a_broken_file_keeps_the_last_good_set_loudly() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    write(folder.path(), "policy.yaml", &POLICY.replace("selector:", "selectr:"));
    let line = server.wait_for("broken policy file");
    assert!(line.contains("policy.yaml: document 1") && line.contains("spec.selectr"), "{line}");
    server.wait_for("the last good set stays in force");
    block_on(async {
        assert_eq!(code(&server, honest()).await, Code::Ok);
        assert_eq!(code(&server, stolen()).await, Code::PermissionDenied);
    });
    let output = server.health("readiness");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).starts_with("policy is stale: "), "{}", stderr(&output));

    write(folder.path(), "policy.yaml", &POLICY.replace("[summary]", "[attack]"));
    server.wait_for("policy reloaded");
    assert_eq!(stderr(&server.health("readiness")), "");
    block_on(async {
        assert_eq!(code(&server, honest()).await, Code::PermissionDenied);
        let attack = http(ATTACK, &spiffe("attack"), "GET", "/");
        assert_eq!(code(&server, attack).await, Code::Ok);
    });

    std::fs::remove_file(folder.path().join("policy.yaml")).unwrap();
    let line = server.wait_for("broken policy file");
    assert!(line.contains("policy.yaml: cannot read the file"), "{line}");
    block_on(async { assert_eq!(code(&server, honest()).await, Code::PermissionDenied) });
}

#[test]
fn good_again_without_a_change_is_current_again() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    write(folder.path(), "policy.yaml", "kind: [");
    server.wait_for("the last good set stays in force");
    write(folder.path(), "policy.yaml", POLICY);
    server.wait_for("policy reloaded");
    assert_eq!(stderr(&server.health("readiness")), "");
}

/// The name of the policy that decided.
fn decided_by(answer: &CheckResponse) -> String {
    let metadata = Struct::decode(answer.dynamic_metadata.clone()).unwrap();
    match metadata.fields["name"].kind.as_ref().unwrap() {
        Kind::StringValue(name) => name.clone(),
        other => panic!("{other:?}"),
    }
}

/// A policy that allows or denies, and says so by its name.
fn verdict(name: &str, action: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{selector: all(), ingress: [{{action: {action}}}]}}\n"
    )
}

#[test]
fn reloads_under_load_without_a_failed_request() {
    let folder = folder();
    let (yes, no) = (verdict("open", "Allow"), verdict("shut", "Deny"));
    write(folder.path(), "policy.yaml", &yes);
    let server = Server::start(folder.path(), "default/database");
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    let ask =
        async |client: &mut tortie_proto::ext_authz::authorization_client::AuthorizationClient<
            _,
        >| {
            let answer = client.check(tcp(ATTACK, "")).await.unwrap().into_inner();
            let allowed = answer.status.as_ref().unwrap().code == 0;
            let expected = if allowed { "open" } else { "shut" };
            assert_eq!(decided_by(&answer), expected, "neither the old nor the new policy");
            allowed
        };
    let worker = async || {
        let mut client = server.client().await;
        let mut asked = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            ask(&mut client).await;
            asked += 1;
        }
        asked
    };
    let writer = async || {
        let mut client = server.client().await;
        for round in 0..20 {
            let allow = round % 2 == 1;
            write(folder.path(), "policy.yaml", if allow { &yes } else { &no });
            while ask(&mut client).await != allow {}
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (a, b, c, ()) = block_on(async { tokio::join!(worker(), worker(), worker(), writer()) });
    assert!(a > 0 && b > 0 && c > 0, "{a} {b} {c}");
}

#[test]
fn an_idle_server_is_small() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    block_on(async { assert_eq!(code(&server, honest()).await, Code::Ok) });
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    // What is its own: the code of a development build is larger than that of a release.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 6 << 10, "{kib} KiB of its own");
}

#[test]
fn a_request_without_measure_is_refused() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    block_on(async {
        let mut client = server.client().await;
        let large = http(SUMMARY, "", "GET", &format!("/{}", "x".repeat(1 << 20)));
        let error = client.check(large).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::OutOfRange);
        assert_eq!(code(&server, honest()).await, Code::Ok);
    });
}

#[test]
fn a_second_server_does_not_take_the_socket() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    let output = program().args(arguments(folder.path(), "default/database")).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("already in use"), "{}", stderr(&output));
    block_on(async { assert_eq!(code(&server, honest()).await, Code::Ok) });
}

#[test]
fn a_killed_servers_socket_is_no_obstacle() {
    let folder = folder();
    let mut server = Server::start(folder.path(), "default/database");
    server.signal(Signal::KILL);
    assert!(!server.wait().success());
    assert!(server.socket().exists());
    let server = Server::start(folder.path(), "default/database");
    block_on(async { assert_eq!(code(&server, honest()).await, Code::Ok) });
}

#[test]
fn mistakes_end_it_before_it_listens() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (socket, pods, policy) = (path("s.sock"), path("pods.yaml"), path("policy.yaml"));
    write(folder.path(), "bad.yaml", &POLICY.replace("Allow", "Alow").replace("app ==", "app ="));
    let bad = path("bad.yaml");
    let files = ["-f", &pods, "-f", &policy];
    let database = ["--endpoint", "default/database"];
    let cases: &[(&[&str], &[&str])] = &[
        (&database, &["no source of policy", "hint: "]),
        (&files, &["no workload to guard", "hint: "]),
        (&[&files[..], &database, &["-d", "/x"]].concat(), &["both Policy Sync", "hint: use one"]),
        (&[&files[..], &database, &["--node-mode"]].concat(), &["--node-mode", "cannot be used"]),
        (&[&files[..], &database, &["--last-good", "/x"]].concat(), &["`--last-good`"]),
        (
            &[&files[..], &database, &["--compat", "x"]].concat(),
            &["`x` is not the name of a point"],
        ),
        (&[&files[..], &database, &["--deny-body", "{path}"]].concat(), &["must not be told here"]),
        (&[&files[..], &database, &["--deny-status", "200"]].concat(), &["--deny-status"]),
        (&[&files[..], &database, &["--upstream-header", ":path=/"]].concat(), &["`:path`"]),
        (&[&files[..], &database, &["--admin", "9090"]].concat(), &["neither `ADDRESS:PORT`"]),
        (&[&files[..], &["--endpoint", "database"]].concat(), &["--endpoint", "`database`"]),
        (&[&["-f", "-"], &database[..]].concat(), &["`-` cannot be read again"]),
        (&[&["-f", "/nonexistent/x"], &database[..]].concat(), &["error: /nonexistent/x: "]),
        (
            &[&["-f", &bad], &database[..]].concat(),
            &["bad.yaml: document 1", "document 3", "spec.ingress[0].action", "spec.selector"],
        ),
        (&[&files[..], &database, &["--trust-domain", "A b"]].concat(), &["`A b` is not a valid"]),
        (
            &[&files[..], &database, &["--log-format", "xml"]].concat(),
            &["unknown log format `xml`"],
        ),
        (&[&files[..], &database, &["--listen-mode", "999"]].concat(), &["octal"]),
    ];
    for (arguments, parts) in cases {
        let output = run(&[&["server", "-l", &socket], *arguments].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        for part in *parts {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!folder.path().join("s.sock").exists(), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_under_the_log_does_not_matter() {
    let folder = folder();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = program()
        .args(arguments(folder.path(), "default/database"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(full)
        .spawn()
        .unwrap();
    let socket = folder.path().join("s.sock");
    // It cannot tell that it listens, so knock.
    let deadline = std::time::Instant::now() + process::LONG;
    while UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < deadline, "the server does not listen");
        std::thread::yield_now();
    }
    let address = format!("unix:{}", socket.display());
    block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await;
        let channel = channel.unwrap();
        for _ in 0..10 {
            let mut client = AuthorizationClient::new(channel.clone());
            let answer = client.check(stolen()).await.unwrap().into_inner();
            assert_eq!(answer.status.unwrap().code, i32::from(Code::PermissionDenied));
        }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_request_in_flight_is_answered_after_the_signal() {
    let folder = folder();
    let mut server = Server::start(folder.path(), "default/database");
    let answer = block_on(async {
        let channel = server.channel().await;
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        // Envoy has begun to ask: the headers are there, the message is not.
        let (sender, messages) = tokio::sync::mpsc::channel(1);
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        let path = "/envoy.service.auth.v3.Authorization/Check".parse().unwrap();
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let call = client.client_streaming(tonic::Request::new(messages), path, codec);
        let finish = async {
            // Frames keep their order: once this is answered, the headers have arrived.
            AuthorizationClient::new(channel).check(honest()).await.unwrap();
            server.signal(Signal::TERM);
            server.wait_for("draining");
            sender.send(honest()).await.unwrap();
            drop(sender);
        };
        let (answer, ()) = tokio::join!(call, finish);
        answer.unwrap().into_inner()
    });
    assert_eq!(answer.status.unwrap().code, 0);
    assert!(server.wait().success());
}

#[test]
fn its_own_log_in_a_watched_folder_is_no_news() {
    let folder = folder();
    let log = folder.path().join("authz.log");
    let mut child = program()
        .args(arguments(folder.path(), "default/database"))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + process::LONG;
    let count = |word: &str| std::fs::read_to_string(&log).unwrap().matches(word).count();
    let wait_for = |word: &str| {
        while count(word) == 0 {
            assert!(std::time::Instant::now() < deadline, "no `{word}`");
            std::thread::yield_now();
        }
    };
    wait_for("listening");
    write(folder.path(), "policy.yaml", "kind: [");
    wait_for("the last good set stays in force");
    for round in 0..20 {
        write(folder.path(), "unrelated", &round.to_string());
    }
    write(folder.path(), "policy.yaml", &POLICY.replace("[summary]", "[attack]"));
    wait_for("policy reloaded");
    assert_eq!(count("the last good set stays in force"), 1);
    assert_eq!(count("policy reloaded"), 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// One request over HTTP/1.1; the answer as text.
fn ask_http(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    write!(stream, "{request}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn operators_see_metrics_and_change_the_log() {
    let folder = folder();
    let admin = folder.path().join("admin.sock");
    let mut arguments = arguments(folder.path(), "default/database");
    arguments.extend(["--admin".to_owned(), format!("unix:{}", admin.display())]);
    let server = Server::with(folder.path(), &arguments);
    block_on(async {
        assert_eq!(code(&server, honest()).await, Code::Ok);
        assert_eq!(code(&server, honest()).await, Code::Ok);
        assert_eq!(code(&server, stolen()).await, Code::PermissionDenied);
    });
    let ask = |request: &str| ask_http(UnixStream::connect(&admin).unwrap(), request);
    let text = ask("GET /metrics HTTP/1.1\r\nhost: x");
    for part in [
        "tortie_authz_checks_total{api=\"v3\",code=\"OK\"} 2",
        "tortie_authz_checks_total{api=\"v3\",code=\"PERMISSION_DENIED\"} 1",
        "tortie_authz_check_seconds_count 3",
        "name=\"database\",rule=\"0\"} 2",
        "tortie_authz_stale_seconds 0",
        "tortie_authz_endpoints 4",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(ask("GET /ready HTTP/1.1\r\nhost: x").contains("200 OK"));
    let put = "PUT /log HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nerror";
    assert!(ask(put).contains("200 OK"));
    block_on(async { assert_eq!(code(&server, stolen()).await, Code::PermissionDenied) });
    assert!(ask("GET /log HTTP/1.1\r\nhost: x").ends_with("error\n"));
}

/// The program under another name.
fn called(name: &str, arguments: &[&str]) -> std::process::Output {
    use std::os::unix::process::CommandExt;
    program().arg0(name).args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn it_answers_to_the_names_of_calicos_programs() {
    let folder = folder();
    let server = Server::start(folder.path(), "default/database");
    let socket = server.socket().display().to_string();
    let output = called("/usr/bin/dikastes", &["health", "readiness", "--dial-path", &socket]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = called("dikastes", &["client", "-d", &socket, "default", "x", "--method", "GET"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("PERMISSION_DENIED"), "{text}");
    for arguments in [["-dialPath", &socket, "liveness"], ["readiness", "-dialPath", &socket]] {
        let output = called("/healthz", &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(called("healthz", &["readyness"]).status.code(), Some(1));
    drop(server);
    assert_eq!(called("healthz", &["-dialPath", &socket, "liveness"]).status.code(), Some(2));
}

#[test]
fn it_ends_when_told_over_http() {
    let folder = folder();
    // An address that this process has for itself: nobody else takes its ports.
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let address = std::net::SocketAddr::from(([127, b | 0x80, c, d], 10_080));
    let variables = [
        ("DIKASTES_HTTP_BIND_PORT", address.port().to_string()),
        ("DIKASTES_HTTP_BIND_ADDR", address.ip().to_string()),
    ];
    let arguments = arguments(folder.path(), "default/database");
    let mut server = Server::with_env(folder.path(), &arguments, &variables);
    let ask = |path: &str| {
        let stream = std::net::TcpStream::connect(address).unwrap();
        ask_http(stream, &format!("POST {path} HTTP/1.1\r\nhost: x"))
    };
    assert!(ask("/other").contains("404"));
    assert!(ask("/terminate").ends_with("terminating Dikastes\n"));
    assert!(server.wait().success());
}
