//! The three programs run for real, over loopback, on a real etcd.
//!
//! Without an etcd the tests that need it fail under `CI=true` and are skipped elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use yaobank::http::{Answer, BaseUrl, HttpClient};

/// Ten times and more what any step takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A program of the bank that has said it is ready.
struct Program {
    child: Child,
    url: BaseUrl,
}

impl Program {
    /// Starts `command` and waits for its first line on standard output, which must contain
    /// `ready`. Fails with the program's standard error.
    async fn start(command: &mut Command, ready: &str) -> Result<(Child, String), String> {
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.expect("ready in time").unwrap();
        match line {
            Some(line) if line.contains(ready) => {
                // Nobody reads these pipes any more: keep them from filling up.
                let mut rest = child.stderr.take().unwrap();
                tokio::spawn(
                    async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await },
                );
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                Ok((child, line))
            }
            Some(line) => panic!("unexpected first line {line:?}"),
            None => {
                let mut complaint = String::new();
                child.stderr.take().unwrap().read_to_string(&mut complaint).await.unwrap();
                Err(complaint)
            }
        }
    }

    async fn web(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["--port", "0"]).args(arguments);
        let (child, line) = Self::start(&mut command, "listening on").await.unwrap();
        let port = line.rsplit(':').next().unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}").parse().unwrap() }
    }

    async fn customer(summary: &BaseUrl) -> Self {
        let summary = summary.to_string();
        Self::web(env!("CARGO_BIN_EXE_yaobank-customer"), &["--summary", &summary]).await
    }

    async fn summary(database: &BaseUrl) -> Self {
        let database = database.to_string();
        Self::web(env!("CARGO_BIN_EXE_yaobank-summary"), &["--database", &database]).await
    }

    /// Starts the database on a free port. Another process may take the port between finding it
    /// and etcd's use of it, so a lost race is tried again.
    async fn database(data: &Path) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let url = format!("http://127.0.0.1:{port}");
            let mut command = Command::new(env!("CARGO_BIN_EXE_yaobank-database"));
            command.args(["--listen-client-urls", &url]).env("PORT", port.to_string());
            command.env("YAOBANK_DATA_DIR", data);
            match Self::start(&mut command, "5 accounts loaded").await {
                Ok((child, _)) => return Self { child, url: url.parse().unwrap() },
                Err(complaint) if complaint.contains("address already in use") => {}
                Err(complaint) => panic!("no database: {complaint}"),
            }
        }
        panic!("five ports in a row were taken");
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = HttpClient::new(DEADLINE).get(&self.url, path).await.unwrap();
        (answer.status, text(&answer))
    }

    async fn put(&self, path: &str, form: &str) -> StatusCode {
        let http = HttpClient::new(DEADLINE);
        http.put_form(&self.url, path, form.to_owned()).await.unwrap().status
    }

    async fn terminate(mut self) -> ExitStatus {
        send(Signal::TERM, self.child.id().unwrap());
        timeout(DEADLINE, self.child.wait()).await.expect("ends in time").unwrap()
    }
}

impl Drop for Program {
    /// A failed test leaves nothing running: the database passes the signal on to its etcd.
    fn drop(&mut self) {
        if let Some(process) = self.child.id() {
            send(Signal::TERM, process);
        }
    }
}

fn send(signal: Signal, process: u32) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn etcd_is_here() -> bool {
    let program = std::env::var_os("ETCD").unwrap_or_else(|| "etcd".into());
    let here = std::process::Command::new(program).arg("--version").output().is_ok();
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(here || !ci, "etcd is missing: install etcd-server, or name the program in $ETCD");
    if !here {
        eprintln!("skipped: etcd is missing");
    }
    here
}

/// Sends a request without a body by hand, for methods that the programs' own client lacks.
async fn status_of(url: &BaseUrl, method: &Method) -> StatusCode {
    use hyper_util::client::legacy::Client;
    let client = Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Empty<hyper::body::Bytes>>();
    let request = hyper::Request::builder().method(method).uri(format!("{url}/"));
    let response = client.request(request.body(http_body_util::Empty::new()).unwrap());
    timeout(DEADLINE, response).await.expect("answers in time").unwrap().status()
}

#[tokio::test(flavor = "current_thread")]
async fn the_page_shows_what_the_database_holds() {
    if !etcd_is_here() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let database = Program::database(data.path()).await;
    let summary = Program::summary(&database.url).await;
    let customer = Program::customer(&summary.url).await;

    for (path, status, body) in [
        ("/519940", 200, r#"{"name":"Spike Curtis","balance":"2389.45"}"#),
        ("/036273", 200, r#"{"name":"Sally Yates","balance":"3597.89"}"#),
        ("/000000", 404, "no such account\n"),
        ("/abc", 400, "account number must be 1 to 20 digits\n"),
        ("/..%2f..", 400, "account number must be 1 to 20 digits\n"),
        ("/519940%3Fx", 400, "account number must be 1 to 20 digits\n"),
    ] {
        let expected = (StatusCode::from_u16(status).unwrap(), body.to_owned());
        assert_eq!(summary.get(path).await, expected, "{path}");
    }

    let (status, page) = customer.get("/").await;
    assert_eq!(status, StatusCode::OK);
    for part in ["Spike Curtis", "519940", "2389.45"] {
        assert!(page.contains(part), "{part} not in {page}");
    }

    let path = "/v2/keys/accounts/519940/balance";
    assert_eq!(database.put(path, "value=10000.00").await, StatusCode::OK);
    assert!(customer.get("/").await.1.contains("$10000.00"));

    for (method, status) in [(Method::POST, 200), (Method::HEAD, 200), (Method::DELETE, 405)] {
        assert_eq!(status_of(&customer.url, &method).await.as_u16(), status, "{method}");
    }

    assert!(database.terminate().await.success());
    let (status, page) = customer.get("/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.contains("The account summary service failed: it answered 503"), "{page}");
    assert!(summary.terminate().await.success());
    assert!(customer.terminate().await.success());
}

#[tokio::test(flavor = "current_thread")]
async fn a_restarted_database_keeps_its_balances() {
    if !etcd_is_here() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let path = "/v2/keys/accounts/407221/balance";
    let first = Program::database(data.path()).await;
    assert_eq!(first.put(path, "value=1.00").await, StatusCode::OK);
    assert!(first.terminate().await.success());

    let second = Program::database(data.path()).await;
    let (status, body) = second.get(path).await;
    assert!(status == StatusCode::OK && body.contains(r#""value":"1.00""#), "{status} {body}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_database_ends_with_etcd() {
    if !etcd_is_here() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut database = Program::database(data.path()).await;
    let id = database.child.id().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let etcd: u32 = children.trim().parse().unwrap();
    send(Signal::KILL, etcd);
    let ended = timeout(DEADLINE, database.child.wait()).await.expect("ends in time").unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[tokio::test(flavor = "current_thread")]
async fn a_missing_etcd_is_said_to_be_missing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yaobank-database"));
    command.env("ETCD", "/nonexistent/etcd");
    let complaint = Program::start(&mut command, "").await.unwrap_err();
    assert!(complaint.contains("cannot run `/nonexistent/etcd`: install etcd"), "{complaint}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_page_tells_of_a_failing_summary() {
    let router = axum::Router::new()
        .route("/1", get(async || (StatusCode::FORBIDDEN, "")))
        .route("/2", get(async || "not JSON"))
        .route("/3", get(async || StatusCode::SERVICE_UNAVAILABLE));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stub = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let closed = format!("http://127.0.0.1:{}", free_port());

    for (summary, account, status, reason) in [
        (&stub, "1", StatusCode::BAD_GATEWAY, "it answered 403 Forbidden"),
        (&stub, "2", StatusCode::BAD_GATEWAY, "its answer is not an account"),
        (&stub, "3", StatusCode::SERVICE_UNAVAILABLE, "it answered 503 Service Unavailable"),
        (&closed, "1", StatusCode::SERVICE_UNAVAILABLE, "no connection to the service"),
    ] {
        let arguments = ["--summary", summary, "--account", account];
        let customer = Program::web(env!("CARGO_BIN_EXE_yaobank-customer"), &arguments).await;
        let (got, page) = customer.get("/").await;
        assert_eq!(got, status, "{page}");
        assert!(page.contains(reason), "{reason:?} not in {page}");
    }
}
