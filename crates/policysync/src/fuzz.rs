//! Bodies for fuzzing: properties that must hold for any bytes.

use std::path::Path;

use prost::Message;
use tortie_calc::State;
use tortie_policy::{Compat, CompatPoint};
use tortie_proto::felix::{DataplaneStats, ToDataplane};

use crate::disk;
use crate::server::layout::Credentials;
use crate::wire::{Decoder, encode, encode_all};

/// Reads the bytes as messages, each behind its length in two bytes, as they come over one stream,
/// and takes in what they say. There is an update or an error with a reason for each; and what was
/// taken in can be written and read again, and is the same then. Says how many were messages.
///
/// # Panics
/// If the property does not hold.
pub fn stream(data: &[u8]) -> usize {
    let Some((first, mut rest)) = data.split_first() else { return 0 };
    let lenient = Compat::from(CompatPoint::UnusableRulePart);
    let mut decoder = Decoder::new(if first % 8 == 7 { lenient } else { Compat::STRICT });
    let (mut state, mut read) = (State::default(), 0);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (message, behind) = behind.split_at(length);
        rest = behind;
        match decoder.decode_bytes(message) {
            Ok(decoded) => {
                read += 1;
                for update in decoded.updates {
                    encode(&update);
                    // Bytes of no agent are in no order.
                    let _ = state.apply(update);
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    round_trip(&state);
    read
}

/// Writes a state and reads it again.
///
/// # Panics
/// If something is lost on the way.
pub fn round_trip(state: &State) {
    let mut decoder = Decoder::default();
    let mut again = State::default();
    for message in encode_all(state) {
        let decoded = decoder.decode(message);
        assert!(decoded.is_ok(), "{decoded:?}");
        for update in decoded.unwrap_or_default().updates {
            // What is named but not there was not there before.
            let _ = again.apply(update);
        }
    }
    // What has been read once says all that messages can say.
    let lines = |state: &State| {
        let mut lines: Vec<_> = encode_all(state).map(sorted).map(|m| m.encode_to_vec()).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(state), lines(&again));
}

/// Members of a set, and addresses, are in no order.
fn sorted(mut message: ToDataplane) -> ToDataplane {
    use tortie_proto::felix::to_dataplane::Payload;
    match &mut message.payload {
        Some(Payload::IpsetUpdate(set)) => set.members.sort(),
        Some(Payload::AddressUpdate(update)) => {
            update.entries.sort_by(|a, b| a.address.cmp(&b.address));
        }
        _ => {}
    }
    message
}

/// Reads the bytes as everything else that comes from outside: credentials, a saved state, a report.
///
/// # Panics
/// Never, which is the property.
pub fn others(data: &[u8]) {
    let _ = Credentials::parse(data);
    let _ = DataplaneStats::decode(data);
    let _ = disk::parse(Path::new("fuzz"), data, Compat::STRICT);
}
