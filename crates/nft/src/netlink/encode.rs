//! Bytes of netlink messages: a buffer that messages and attributes are appended to.

use netlink_packet_core::{NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST};

/// Where in a message's header the flags stand.
const FLAGS: usize = 6;

/// Messages, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where the last message begins.
    last: usize,
}

/// What a message begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: u16,
    /// Flags beside `NLM_F_REQUEST`.
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) family: u8,
    /// `res_id` of nfnetlink.
    pub(super) resource: u16,
}

impl Messages {
    /// Room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), last: 0 }
    }

    /// All there is.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much there is.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a message with what `fill` writes.
    pub(super) fn message(&mut self, header: Header, fill: impl FnOnce(&mut Self)) {
        let begin = self.bytes.len();
        self.last = begin;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&header.kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(header.flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&header.sequence.to_ne_bytes());
        // Port 0: the kernel knows who sends.
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[header.family, 0]);
        self.bytes.extend_from_slice(&header.resource.to_be_bytes());
        fill(self);
        let length = u32::try_from(self.bytes.len() - begin).unwrap_or(u32::MAX);
        self.put(begin, &length.to_ne_bytes());
    }

    /// Asks that the last message be acknowledged.
    pub(super) fn acknowledge_last(&mut self) {
        let at = self.last + FLAGS;
        let mut flags = [0; 2];
        if let Some(bytes) = self.bytes.get(at..at + 2) {
            flags.copy_from_slice(bytes);
        }
        self.put(at, &(u16::from_ne_bytes(flags) | NLM_F_ACK).to_ne_bytes());
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Appends an attribute.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.open(kind, |inside| inside.bytes.extend_from_slice(value));
    }

    /// Appends an attribute that holds a text with the zero byte at its end.
    pub(super) fn text(&mut self, kind: u16, text: &str) {
        self.open(kind, |inside| {
            inside.bytes.extend_from_slice(text.as_bytes());
            inside.bytes.push(0);
        });
    }

    /// Appends an attribute that holds a number, high byte first.
    pub(super) fn u16(&mut self, kind: u16, value: u16) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends an attribute that holds a number, high byte first.
    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends an attribute that holds a number, high byte first.
    pub(super) fn u64(&mut self, kind: u16, value: u64) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends an attribute that holds the attributes `fill` writes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.open(kind | NLA_F_NESTED, fill);
    }

    /// An attribute that is too long for its 16 bits of length gets a wrong one, and the kernel
    /// refuses the message: what may get long is split before.
    fn open(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - begin).unwrap_or(u16::MAX);
        self.put(begin, &length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
