//! What sets are, as the kernel and nft describe them.

use crate::{Family, SetKind};

use super::constants::{LIST_ELEMENT, datatype, set};
use super::encode::Messages;
use super::key::INTERFACE;

/// One field of a key: its type and its bytes.
type Field = (u32, usize);

/// Types and flags of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) flags: u32,
    pub(super) fields: Vec<Field>,
}

fn address(family: Family) -> Field {
    match family {
        Family::V4 => (datatype::IPV4, 4),
        Family::V6 => (datatype::IPV6, 16),
    }
}

impl Shape {
    /// The shape of a named set.
    pub(super) fn of(kind: SetKind) -> Self {
        let interface = (datatype::INTERFACE, INTERFACE);
        let (flags, fields) = match kind {
            SetKind::Address(family) => (0, vec![address(family)]),
            SetKind::Net(family) => (set::INTERVAL, vec![address(family)]),
            SetKind::AddressPort(family) => {
                (0, vec![address(family), (datatype::PROTOCOL, 1), (datatype::SERVICE, 2)])
            }
            SetKind::InterfaceAddress(family) => (0, vec![interface, address(family)]),
            SetKind::InterfaceNet(family) => {
                (set::INTERVAL | set::CONCATENATION, vec![interface, address(family)])
            }
            SetKind::Dispatch => (set::MAP, vec![interface]),
        };
        Self { flags, fields }
    }

    /// An anonymous set of nets.
    pub(super) fn nets(family: Family) -> Self {
        Self::anonymous(set::INTERVAL, vec![address(family)])
    }

    /// An anonymous set of ports.
    pub(super) fn ports() -> Self {
        Self::anonymous(set::INTERVAL, vec![(datatype::SERVICE, 2)])
    }

    /// An anonymous set of pairs of type and code.
    pub(super) fn icmp(family: Family) -> Self {
        let (kind, code) = match family {
            Family::V4 => (datatype::ICMP_TYPE, datatype::ICMP_CODE),
            Family::V6 => (datatype::ICMPV6_TYPE, datatype::ICMPV6_CODE),
        };
        Self::anonymous(0, vec![(kind, 1), (code, 1)])
    }

    fn anonymous(flags: u32, fields: Vec<Field>) -> Self {
        Self { flags: flags | set::ANONYMOUS | set::CONSTANT, fields }
    }

    /// The same for single keys.
    pub(super) fn without_intervals(self) -> Self {
        Self { flags: self.flags & !set::INTERVAL, ..self }
    }

    /// The kind of named set that has these types and flags.
    pub(super) fn kind(flags: u32, key_type: u32, verdicts: bool) -> Option<SetKind> {
        let families = Family::BOTH.into_iter().flat_map(|family| {
            [
                SetKind::Address(family),
                SetKind::Net(family),
                SetKind::AddressPort(family),
                SetKind::InterfaceAddress(family),
                SetKind::InterfaceNet(family),
            ]
        });
        families.chain([SetKind::Dispatch]).find(|kind| {
            let shape = Self::of(*kind);
            shape.flags == flags
                && shape.key_type() == key_type
                && verdicts == (*kind == SetKind::Dispatch)
        })
    }

    /// The types of all fields in one number.
    fn key_type(&self) -> u32 {
        self.fields.iter().fold(0, |number, (datatype, _)| number << 6 | datatype)
    }

    fn key_length(&self) -> usize {
        match self.fields.as_slice() {
            [(_, length)] => *length,
            fields => fields.iter().map(|(_, length)| length.next_multiple_of(4)).sum(),
        }
    }

    /// Writes all of it but the set's name and number. `size` is the number of elements of a set
    /// that will not change.
    pub(super) fn write(&self, messages: &mut Messages, size: Option<usize>) {
        messages.u32(set::FLAGS, self.flags);
        messages.u32(set::KEY_TYPE, self.key_type());
        messages.u32(set::KEY_LENGTH, number(self.key_length()));
        if self.flags & set::MAP != 0 {
            messages.u32(set::DATA_TYPE, set::VERDICT);
            messages.u32(set::DATA_LENGTH, 0);
        }
        let concatenation = self.flags & set::CONCATENATION != 0;
        if size.is_some() || concatenation {
            messages.nest(set::DESCRIPTION, |description| {
                if let Some(size) = size {
                    description.u32(set::DESCRIPTION_SIZE, number(size));
                }
                if concatenation {
                    self.write_fields(description);
                }
            });
        }
        messages.attribute(set::USERDATA, &self.userdata());
    }

    fn write_fields(&self, description: &mut Messages) {
        description.nest(set::DESCRIPTION_FIELDS, |fields| {
            for (_, length) in &self.fields {
                let length = number(*length);
                fields.nest(LIST_ELEMENT, |field| field.u32(set::FIELD_LENGTH, length));
            }
        });
    }

    /// What nft keeps with a set to be able to print it: in which order the bytes of keys stand (0
    /// if in none, 1 for the machine's, 2 for the network's), and the same of a map's values.
    fn userdata(&self) -> Vec<u8> {
        let order: u32 = match self.fields.as_slice() {
            [(datatype::INTERFACE, _)] => 1,
            [_] => 2,
            _ => 0,
        };
        let mut userdata = [&[0, 4][..], &order.to_ne_bytes()].concat();
        if self.flags & set::MAP != 0 {
            // Values: no order, no intervals.
            userdata.extend_from_slice(&[1, 4, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0]);
        }
        userdata
    }
}

/// A length or a number of elements as the kernel has it.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
