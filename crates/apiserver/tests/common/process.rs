//! The command as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;
use tortie_apiserver::cli::{Kubeconfig, Proof};
use tortie_apiserver::tls::Pki;
use tortie_apiserver::{Credential, Entry, Register, new_token};

use super::http::{DEADLINE, Watch};
use super::{Said, run_kubectl, spawn_kubectl};

/// A running `tortie-apiserver`; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
    data: PathBuf,
    /// Where the data are, if they are its own.
    own: Option<TempDir>,
}

/// A user with a kubeconfig.
pub struct User {
    pub config: PathBuf,
    pub token: Option<String>,
}

impl User {
    /// The header by which somebody with a token says who they are.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token.as_deref().unwrap())
    }
}

/// The program of the crate that is tested.
fn program() -> Command {
    let alone = option_env!("CARGO_BIN_EXE_tortie-apiserver").map(Command::new);
    let whole = option_env!("CARGO_BIN_EXE_tortie").map(|tortie| {
        let mut command = Command::new(tortie);
        command.arg("apiserver");
        command
    });
    alone.or(whole).unwrap()
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("--data").arg(data);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

impl Process {
    pub fn start(data: &Path, arguments: &[&str]) -> Process {
        let mut child = command(data, arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http"), "the command said {line:?}");
        Process { child, url, data: data.to_owned(), own: None }
    }

    /// One with data of its own, which end with it.
    pub fn alone() -> Process {
        let own = tempfile::tempdir().unwrap();
        let mut process = Process::start(own.path(), &[]);
        process.own = Some(own);
        process
    }

    /// Ends it, and starts it on what it had.
    pub fn again(mut self) -> Process {
        let (own, data) = (self.own.take(), self.data.clone());
        self.stop();
        let mut process = Process::start(&data, &[]);
        process.own = own;
        process
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it says when it does not start.
    pub fn fails(data: &Path, arguments: &[&str]) -> String {
        let mut child = command(data, arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code().map(|code| code > 1), Some(true), "{said}");
        said
    }

    /// A kubeconfig for this server with another user in it.
    pub fn config(&self, name: &str, user: &str) -> PathBuf {
        let own = std::fs::read_to_string(self.data.join("kubeconfig")).unwrap();
        let mut config: Value = serde_json::from_str(&own).unwrap();
        config["users"][0]["user"] = serde_json::from_str(user).unwrap();
        let path = self.data.join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// The kubeconfig of whoever started the server.
    pub fn own_config(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    pub fn register(&self) -> Register {
        Register::new(&self.data.join("pki"))
    }

    /// Adds a user by a token or a certificate, as `tortie user add` does.
    pub fn user(&self, name: &str, groups: &[&str], token: bool) -> User {
        let now = SystemTime::now();
        let (proof, credential, token) = if token {
            let (token, kept) = new_token().unwrap();
            (Proof::Token(token.clone()), kept, Some(token))
        } else {
            let pki = Pki::open(&self.data.join("pki"), now.into()).unwrap();
            let day = time::Duration::days(1);
            let identity = pki.issue(name, groups.first().copied(), day, now.into()).unwrap();
            let serial = identity.subject().unwrap().serial;
            (Proof::Certificate(identity), Credential::Certificate(serial), None)
        };
        let entry = Entry {
            user: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            credential,
            created: 0,
            expires: i64::MAX,
            revoked: false,
        };
        self.register().add(entry, now).unwrap();
        let own = std::fs::read_to_string(self.own_config()).unwrap();
        let config = self.data.join(format!("{name}.kubeconfig"));
        std::fs::write(&config, Kubeconfig::like(&own).unwrap().of(name, &proof)).unwrap();
        User { config, token }
    }

    /// Runs kubectl with a kubeconfig.
    pub fn kubectl(&self, config: &Path, arguments: &[&str], input: &str) -> Said {
        let config = format!("--kubeconfig={}", config.display());
        let cache = format!("--cache-dir={}", self.data.join("cache").display());
        run_kubectl(&self.data, &[&[config.as_str(), cache.as_str()], arguments].concat(), input)
    }

    /// Starts kubectl with a kubeconfig, for what has no end.
    pub fn spawn(&self, config: &Path, arguments: &[&str]) -> Child {
        let config = format!("--kubeconfig={}", config.display());
        let cache = format!("--cache-dir={}", self.data.join("cache").display());
        spawn_kubectl(&self.data, &[&[config.as_str(), cache.as_str()], arguments].concat())
    }

    /// Gets a path without any credential but what is in `headers`: status and body.
    pub fn get(&self, path: &str, headers: &str) -> (u16, String) {
        https(&self.url, &self.data.join("pki/ca.crt"), &format!("GET {path}"), headers, "")
    }

    /// Watches a path with some headers.
    pub fn watch(&self, path: &str, headers: &str) -> Watch {
        let host = self.url.strip_prefix("https://").unwrap().rsplit_once(':').unwrap().0;
        let mut stream = connect(&self.url, host, &self.data.join("pki/ca.crt"));
        // HTTP 1.0: the answer is not in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n").unwrap();
        Watch::read(Box::new(stream))
    }

    /// What kubectl says to whoever started the server.
    pub fn says(&self, arguments: &[&str]) -> String {
        self.says_to(arguments, "")
    }

    /// What kubectl says to an input to whoever started the server.
    pub fn says_to(&self, arguments: &[&str], input: &str) -> String {
        let said = self.kubectl(&self.data.join("kubeconfig"), arguments, input);
        assert!(said.ok, "kubectl {arguments:?}: {}{}", said.out, said.err);
        said.out
    }

    /// Applies a document as whoever started the server.
    pub fn apply(&self, document: &Value) {
        self.says_to(&["apply", "-f", "-"], &document.to_string());
    }

    /// Tells it to end, and waits for that.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a server once, trusting one authority: status and body.
pub fn https(url: &str, root: &Path, request: &str, headers: &str, body: &str) -> (u16, String) {
    let host = url.strip_prefix("https://").unwrap().rsplit_once(':').unwrap().0;
    https_as(url, host, root, request, headers, body)
}

/// The same, of a server whose certificate must have a name.
pub fn https_as(
    url: &str,
    name: &str,
    root: &Path,
    request: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let authority = url.strip_prefix("https://").unwrap();
    let mut stream = connect(url, name, root);
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    // Some servers end without saying goodbye.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A connection to a server whose certificate must have a name.
fn connect(url: &str, name: &str, root: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let authority = url.strip_prefix("https://").unwrap();
    let name = name.to_owned().try_into().unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    StreamOwned::new(client, stream)
}
