//! Bytes of netlink messages, read. Whatever the bytes are, reading ends: what is malformed is the
//! end of its list.

use std::io;

use netlink_packet_core::{NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NetlinkBuffer};

/// Bytes of nfnetlink's own header.
const FAMILY_HEADER: usize = 4;

/// One message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// The port of whoever asked for it.
    pub(super) port: u32,
    /// All behind the header.
    pub(super) payload: &'a [u8],
}

/// All messages of a datagram.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let buffer = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = usize::try_from(buffer.length()).ok()?.next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
        Some(Message {
            kind: buffer.message_type(),
            flags: buffer.flags(),
            sequence: buffer.sequence_number(),
            port: buffer.port_number(),
            payload: buffer.payload(),
        })
    })
}

impl<'a> Message<'a> {
    /// The family of a message of nfnetlink.
    pub(super) fn family(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// The attributes of a message of nfnetlink.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(FAMILY_HEADER..).unwrap_or_default())
    }

    /// What an acknowledgement or the end of a dump says: the error, and the kernel's own words if it
    /// has any.
    pub(super) fn result(&self) -> Result<(), Refusal> {
        let code = self.payload.first_chunk().map_or(-5, |code| i32::from_ne_bytes(*code));
        if code >= 0 {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(code.saturating_neg());
        Err(Refusal { error, words: self.words().unwrap_or_default() })
    }

    /// `NLMSGERR_ATTR_MSG`, behind the error and the message it is about.
    fn words(&self) -> Option<String> {
        /// Bytes of the error, and of the header of the message it is about.
        const ERROR: usize = 4;
        const HEADER: usize = 16;
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let about = if self.flags & NLM_F_CAPPED == 0 {
            let length = self.payload.get(ERROR..)?.first_chunk()?;
            usize::try_from(u32::from_ne_bytes(*length)).ok()?.next_multiple_of(4)
        } else {
            HEADER
        };
        let attributes = Attributes(self.payload.get(ERROR.checked_add(about)?..)?);
        attributes.text(1).map(str::to_owned)
    }
}

/// What the kernel refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: io::Error,
    /// Its own words; mostly it has none.
    pub(super) words: String,
}

/// A list of attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (kind, _) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & NLA_TYPE_MASK, value))
    }
}

impl<'a> Attributes<'a> {
    /// The value of an attribute.
    pub(super) fn bytes(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(other, _)| *other == kind).map(|(_, value)| value)
    }

    /// The attributes within an attribute; none if it is not there.
    pub(super) fn nested(self, kind: u16) -> Attributes<'a> {
        Attributes(self.bytes(kind).unwrap_or_default())
    }

    /// An attribute as text, up to its first zero byte.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        text(self.bytes(kind)?)
    }

    /// An attribute as a number, high byte first.
    pub(super) fn u32(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?.try_into().map(u32::from_be_bytes).ok()
    }

    /// An attribute as a number, high byte first.
    pub(super) fn i32(self, kind: u16) -> Option<i32> {
        self.bytes(kind)?.try_into().map(i32::from_be_bytes).ok()
    }

    /// An attribute as a number, high byte first.
    pub(super) fn u64(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.try_into().map(u64::from_be_bytes).ok()
    }
}

/// Bytes as text, up to the first zero byte.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}
