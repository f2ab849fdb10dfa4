//! Applications and their clients: HTTP that is sent exactly as the test wrote it, and raw TCP.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, copy};
use tokio::runtime::Runtime;

/// What an application that speaks first says.
pub const BANNER: &str = "220 secret\r\n";

/// An application; it ends with this value.
pub struct App {
    accepted: Arc<AtomicUsize>,
    // Dropping the runtime ends the server.
    _runtime: Runtime,
}

impl App {
    /// An HTTP server, versions 1 and 2, that describes each request it got.
    pub fn http(listener: TcpListener) -> Self {
        let app =
            Router::new().fallback(describe).into_make_service_with_connect_info::<SocketAddr>();
        Self::start(listener, |listener, _| async move {
            axum::serve(listener, app).await.unwrap();
        })
    }

    /// A TCP server that speaks first and then sends everything back.
    pub fn tcp(listener: TcpListener) -> Self {
        Self::start(listener, |listener, accepted| async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    stream.write_all(BANNER.as_bytes()).await?;
                    let (mut from, mut to) = stream.split();
                    copy(&mut from, &mut to).await
                });
            }
        })
    }

    /// How many connections a TCP application has seen.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn start<F>(
        listener: TcpListener,
        serve: impl FnOnce(tokio::net::TcpListener, Arc<AtomicUsize>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        listener.set_nonblocking(true).unwrap();
        let guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        runtime.spawn(serve(listener, accepted.clone()));
        drop(guard);
        Self { accepted, _runtime: runtime }
    }
}

async fn describe(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> String {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let headers: BTreeMap<&str, String> =
        request.headers().iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let described = json!({
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().map(ToString::to_string),
        "version": format!("{:?}", request.version()),
        "peer": peer.ip(),
        "headers": headers,
    });
    described.to_string()
}

/// An HTTP response.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// What the application described.
    pub fn described(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One request on an open connection, its target and headers untouched.
pub fn request(
    stream: &mut TcpStream,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> io::Result<Reply> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: database\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    read_reply(&mut BufReader::new(stream))
}

/// A GET without more headers.
pub fn get(stream: &mut TcpStream, target: &str) -> io::Result<Reply> {
    request(stream, "GET", target, &[])
}

fn read_reply(from: &mut impl BufRead) -> io::Result<Reply> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Reply { status, headers, body: String::from_utf8(body).unwrap() })
}

/// Sends some bytes and reads what comes until the other end closes; nothing if it resets.
pub fn exchange(stream: &mut TcpStream, send: &str) -> String {
    let mut answer = Vec::new();
    let _ = stream.write_all(send.as_bytes());
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Reads exactly `expected`, or shows what came instead.
pub fn expect(stream: &mut TcpStream, expected: &str) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
    assert_eq!(String::from_utf8(answer).unwrap(), expected);
}
