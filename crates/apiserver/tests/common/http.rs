//! A client that knows nothing but HTTP: what it sends may be anything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Ten times longer than anything here should take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a server answered.
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    /// The document, if it is a success.
    pub fn ok(self) -> Value {
        assert!(self.code < 300, "{} {}", self.code, self.body);
        self.json()
    }

    fn read(mut stream: impl Read) -> Answer {
        let mut bytes = Vec::new();
        // Whoever is refused early may find the connection reset after the answer.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { code, head: head.to_lowercase(), body: body.to_owned() }
    }
}

/// A server to ask.
#[derive(Clone, Copy)]
pub struct Api(pub SocketAddr);

impl Api {
    pub fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes, and reads what comes until the end.
    pub fn raw(self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        Answer::read(stream)
    }

    /// A request of HTTP 1.0: its answer ends with the connection and is not in chunks.
    pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head + &format!("Content-Length: {length}\r\n\r\n")
    }

    pub fn ask(self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let head = Api::head(method, path, headers, body.len());
        self.raw(&[head.as_bytes(), body].concat())
    }

    fn send(self, method: &str, path: &str, media: &str, body: &Value) -> Answer {
        self.ask(method, path, &[("Content-Type", media)], body.to_string().as_bytes())
    }

    /// The code of the answer; nothing if the server goes away before there is one.
    pub fn try_ask(self, method: &str, path: &str, body: Option<&Value>) -> Option<u16> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = Api::head(method, path, &[("Content-Type", "application/json")], body.len());
        let mut stream = TcpStream::connect(self.0).ok()?;
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
        Some(Answer::read(stream).code).filter(|code| *code > 0)
    }

    pub fn get(self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn delete(self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], b"")
    }

    pub fn post(self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", body)
    }

    pub fn put(self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", body)
    }

    pub fn merge(self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", body)
    }

    pub fn watch(self, path: &str) -> Watch {
        let stream = self.connect();
        self.watch_on(stream, path)
    }

    /// A watch on a connection; its head has been read.
    pub fn watch_on(self, mut stream: TcpStream, path: &str) -> Watch {
        stream.write_all(Api::head("GET", path, &[], 0).as_bytes()).unwrap();
        Watch::read(Box::new(stream))
    }

    /// A watch with headers of its own.
    pub fn watch_with(self, path: &str, headers: &[(&str, &str)]) -> Watch {
        let mut stream = self.connect();
        stream.write_all(Api::head("GET", path, headers, 0).as_bytes()).unwrap();
        Watch::read(Box::new(stream))
    }
}

/// A watch that is being read.
pub struct Watch {
    lines: BufReader<Box<dyn Read>>,
}

impl Watch {
    /// Reads the head of an answer that is a watch.
    pub fn read(stream: Box<dyn Read>) -> Watch {
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line.trim_end() != "" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        Watch { lines }
    }

    /// The next event, with its type; nothing at the end.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        // Some connections end without saying goodbye.
        let read = self.lines.read_line(&mut line);
        assert!(read.is_ok() || line.is_empty(), "{read:?} {line}");
        if let Err(error) = read {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
        }
        let mut event: Value = serde_json::from_str(&line).ok()?;
        Some((event["type"].as_str()?.to_owned(), event["object"].take()))
    }

    /// The next event as its type and the object's name.
    pub fn word(&mut self) -> String {
        let (word, object) = self.next().unwrap();
        format!("{word} {}", object["metadata"]["name"].as_str().unwrap_or_default())
    }
}
