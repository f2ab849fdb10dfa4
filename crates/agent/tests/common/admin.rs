//! What an agent says of itself, asked over its admin socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The admin interface of an agent.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) PathBuf);

impl Admin {
    /// The whole answer; nothing if there is none.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.0).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.get("/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let answer = self.get("/metrics").unwrap();
        let line = answer.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {answer}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}
