//! The command as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Said, run_kubectl};

/// A running `tortie-apiserver`; killed when dropped.
pub struct Process {
    child: Child,
    pub url: String,
    data: PathBuf,
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
        Process { child, url, data: data.to_owned() }
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
        let mut config: serde_json::Value = serde_json::from_str(&own).unwrap();
        config["users"][0]["user"] = serde_json::from_str(user).unwrap();
        let path = self.data.join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Runs kubectl with a kubeconfig.
    pub fn kubectl(&self, config: &Path, arguments: &[&str], input: &str) -> Said {
        let config = format!("--kubeconfig={}", config.display());
        let cache = format!("--cache-dir={}", self.data.join("cache").display());
        run_kubectl(&self.data, &[&[config.as_str(), cache.as_str()], arguments].concat(), input)
    }

    /// Gets a path without any credential but what is in `headers`: status and body.
    pub fn get(&self, path: &str, headers: &str) -> (u16, String) {
        https(&self.url, &self.data.join("pki/ca.crt"), &format!("GET {path}"), headers, "")
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
    let mut stream = StreamOwned::new(client, TcpStream::connect(authority).unwrap());
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
