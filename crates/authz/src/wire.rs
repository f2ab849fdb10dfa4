//! Reading Envoy's message where it lies: only what a decision needs, nothing copied.
//!
//! The rules are those of protocol buffers: unknown fields are skipped, of a field that comes twice
//! the last counts, and messages that come twice are merged. Groups, which nobody has sent since
//! protocol buffers 2, are refused.

use std::str;

use crate::answer::OWN_PREFIX;
use crate::call::{Call, End, Http, Place};

/// A message that is not what its type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be read")]
pub struct Malformed;

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of 32 or 64 bits; nothing we read is.
    Fixed,
}

impl<'a> Value<'a> {
    fn number(self) -> Result<u64, Malformed> {
        if let Value::Number(number) = self { Ok(number) } else { Err(Malformed) }
    }

    fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }

    fn text(self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    fn fields(self) -> Result<Fields<'a>, Malformed> {
        self.bytes().map(Fields)
    }
}

/// The fields of a message, in the order in which they were written.
#[derive(Debug, Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next_field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = key >> 3;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// An address while it is read: a socket's or a pipe's, whichever came last.
#[derive(Debug, Clone, Copy, Default)]
enum RawAddress<'a> {
    #[default]
    Absent,
    Pipe,
    Socket(RawSocket<'a>),
}

#[derive(Debug, Clone, Copy, Default)]
struct RawSocket<'a> {
    protocol: u64,
    address: &'a str,
    /// None if not given, or given by name.
    port: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct RawPeer<'a> {
    address: RawAddress<'a>,
    principal: &'a str,
}

#[derive(Debug, Default)]
struct Raw<'a> {
    source: RawPeer<'a>,
    destination: RawPeer<'a>,
    http: Option<Http<'a>>,
}

/// Reads a `CheckRequest`.
///
/// # Errors
/// If the bytes are no such message, or a text that a decision rests on is not UTF-8.
pub fn read(message: &[u8]) -> Result<Call<'_>, Malformed> {
    let mut raw = Raw::default();
    for field in Fields(message) {
        if let (1, attributes) = field? {
            raw.attributes(attributes.fields()?)?;
        }
    }
    Ok(Call {
        source: raw.source.end(),
        destination: raw.destination.end(),
        protocol: raw.destination.address.protocol(),
        http: raw.http,
        message,
    })
}

impl<'a> Raw<'a> {
    fn attributes(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            match field? {
                (1, value) => self.source.read(value.fields()?)?,
                (2, value) => self.destination.read(value.fields()?)?,
                (4, value) => self.request(value.fields()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn request(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            if let (2, value) = field? {
                self.http.get_or_insert_default().read(value.fields()?)?;
            }
        }
        Ok(())
    }
}

impl<'a> Http<'a> {
    fn read(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            match field? {
                (1, value) => self.id = value.text()?,
                (2, value) => self.method = value.text()?,
                (3, Value::Bytes(header)) => self.ours |= may_be_ours(header),
                (4, value) => self.path = value.text()?,
                // Headers in the form that keeps their bytes.
                (13, _) => self.ours = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether the name of a header may start with [`OWN_PREFIX`]: a look at where it is in what Envoy
/// writes, so that nearly all requests need no other.
fn may_be_ours(header: &[u8]) -> bool {
    match header {
        [0x0a, 0..0x80, name @ ..] => name.starts_with(OWN_PREFIX.as_bytes()),
        _ => true,
    }
}

impl<'a> RawPeer<'a> {
    fn read(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            match field? {
                (1, value) => self.address.read(value.fields()?)?,
                (4, value) => self.principal = value.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&self) -> End<'a> {
        End { place: self.address.place(), principal: self.principal }
    }
}

impl<'a> RawAddress<'a> {
    fn read(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            match field? {
                (1, value) => {
                    let mut socket = if let Self::Socket(socket) = *self {
                        socket
                    } else {
                        RawSocket::default()
                    };
                    socket.read(value.fields()?)?;
                    *self = Self::Socket(socket);
                }
                (2, value) => {
                    value.bytes()?;
                    *self = Self::Pipe;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn place(&self) -> Place<'a> {
        match self {
            Self::Absent => Place::Absent,
            Self::Pipe => Place::Pipe,
            Self::Socket(socket) => Place::socket(socket.address, socket.port),
        }
    }

    /// Absent, it is TCP, which is what Envoy's filters stand on.
    fn protocol(&self) -> Option<tortie_policy::Protocol> {
        let number = if let Self::Socket(socket) = self { socket.protocol } else { 0 };
        match number & u64::from(u32::MAX) {
            0 => Some(tortie_policy::Protocol::TCP),
            1 => Some(tortie_policy::Protocol::UDP),
            _ => None,
        }
    }
}

impl<'a> RawSocket<'a> {
    fn read(&mut self, fields: Fields<'a>) -> Result<(), Malformed> {
        for field in fields {
            match field? {
                (1, value) => self.protocol = value.number()?,
                (2, value) => self.address = value.text()?,
                (3, value) => self.port = Some(value.number()? & u64::from(u32::MAX)),
                (4, value) => {
                    value.text()?;
                    self.port = None;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Calls `entry` with every field of a number, on a path of messages below the outermost one. What
/// cannot be read ends the search: these are lookups besides the decision, in a message that was read
/// once already.
fn each<'a>(fields: Fields<'a>, path: &[u32], entry: &mut impl FnMut(Fields<'a>)) {
    let Some((wanted, below)) = path.split_first() else { return entry(fields) };
    for (number, value) in fields.map_while(Result::ok) {
        if number == *wanted
            && let Ok(fields) = value.fields()
        {
            each(fields, below, entry);
        }
    }
}

/// A field of text in an entry of a map or in a small message; the last counts.
fn text(fields: Fields<'_>, wanted: u32) -> Option<&str> {
    let found = fields.map_while(Result::ok).filter(|(number, _)| *number == wanted);
    found.last().and_then(|(_, value)| value.text().ok())
}

/// The context extension of a name: what the listener's configuration says of itself.
pub(crate) fn extension<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let mut found = None;
    each(Fields(message), &[1, 10], &mut |entry| {
        // An empty text need not be written.
        if text(entry, 1).unwrap_or_default() == name {
            found = Some(text(entry, 2).unwrap_or_default());
        }
    });
    found
}

/// Calls `name` with the name of every header that starts with `prefix`, in both forms in which Envoy
/// sends headers. Names are all that is ever read of a header.
pub(crate) fn header_names<'a>(message: &'a [u8], prefix: &str, mut name: impl FnMut(&'a str)) {
    let mut consider = |entry| match text(entry, 1) {
        Some(key) if key.starts_with(prefix) => name(key),
        _ => {}
    };
    each(Fields(message), &[1, 4, 2, 3], &mut consider);
    each(Fields(message), &[1, 4, 2, 13, 1], &mut consider);
}
