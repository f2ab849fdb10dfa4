//! The way to an API server, with trouble on it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of requests on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They come to a server.
    Open(SocketAddr),
    /// Connections end as soon as they are made.
    Cut,
    /// Connections are taken, and nothing comes back.
    Silent,
    /// Those whose path begins like this are refused; others come to a server.
    Refuses(SocketAddr, &'static str, u16),
    /// They come to a server; watches end in the middle of the next event.
    Tears(SocketAddr),
    /// They come to a server; watches tell of numbers instead of objects.
    Mangles(SocketAddr),
    /// They come to a server; nothing has a name in lists whose path begins like this.
    Garbles(SocketAddr, &'static str),
}

/// The way to a server; each change of its mood ends every connection.
pub(crate) struct Way {
    pub(crate) url: String,
    mood: watch::Sender<Mood>,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mood, now) = watch::channel(Mood::Open(server));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut now = now.clone();
                let mood = *now.borrow_and_update();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = carry(stream, mood) => {}
                        _ = now.changed() => {}
                    }
                });
            }
        });
        Way { url, mood }
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    pub(crate) fn cut(&self) {
        self.is(Mood::Cut);
    }

    pub(crate) fn open(&self, server: SocketAddr) {
        self.is(Mood::Open(server));
    }
}

/// Carries one request and its answer.
async fn carry(mut stream: TcpStream, mood: Mood) -> Option<()> {
    let server = match mood {
        Mood::Cut => return None,
        Mood::Silent => return std::future::pending().await,
        Mood::Open(server)
        | Mood::Refuses(server, ..)
        | Mood::Tears(server)
        | Mood::Mangles(server)
        | Mood::Garbles(server, _) => server,
    };
    let head = head(&mut stream).await?;
    let path = head.split(' ').nth(1)?;
    if let Mood::Refuses(_, prefix, code) = mood
        && path.starts_with(prefix)
    {
        return refuse(&mut stream, code).await;
    }
    let mut server = TcpStream::connect(server).await.ok()?;
    let (first, rest) = head.split_once("\r\n")?;
    let alone = format!("{first}\r\nConnection: close\r\n{rest}");
    server.write_all(alone.as_bytes()).await.ok()?;
    let path = path.to_owned();
    let mut answer = vec![0; 1 << 16];
    loop {
        let read = match server.read(&mut answer).await.ok()? {
            0 => return stream.shutdown().await.ok(),
            read => answer.get_mut(..read)?,
        };
        let event = find(read, b"\"object\":").filter(|_| path.contains("watch=1"));
        match (mood, event) {
            (Mood::Tears(_), Some(at)) => {
                stream.write_all(read.get(..at + 40)?).await.ok()?;
                return stream.shutdown().await.ok();
            }
            (Mood::Mangles(_), Some(at)) => mangle(read.get_mut(at..)?)?,
            (Mood::Garbles(_, prefix), None) if path.starts_with(prefix) => garble(read),
            _ => {}
        }
        stream.write_all(read).await.ok()?;
    }
}

/// The head of a request; a client that only reads sends nothing else.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn refuse(stream: &mut TcpStream, code: u16) -> Option<()> {
    let body = match code {
        500 => "something is wrong here".to_owned(),
        _ => format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","code":{code},"reason":"R","message":"refused on the way"}}"#
        ),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {code} No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Puts a number in place of an event's object, and blanks for what is left of it, so that lengths
/// stay what they were said to be.
fn mangle(event: &mut [u8]) -> Option<()> {
    let start = b"\"object\":".len();
    let end = find(event, b"}\n")?;
    let object = event.get_mut(start..end)?;
    object.fill(b' ');
    object.get_mut(..1)?.copy_from_slice(b"7");
    Some(())
}

/// Calls names otherwise.
fn garble(list: &mut [u8]) {
    while let Some(at) = find(list, b"\"name\":") {
        list[at + 1] = b'N';
    }
}
