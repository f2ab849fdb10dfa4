//! Who uses an address: many in one message.

use std::net::IpAddr;

use prost::Message;
use tortie_calc::Update;
use tortie_policy::Account;
use tortie_proto::felix::address_update::Entry;
use tortie_proto::felix::to_dataplane::Payload;
use tortie_proto::felix::{AddressUpdate, ToDataplane};

use super::{WireError, labels, message};

/// Bytes of entries after which a message is full.
const FULL: usize = 1 << 20;

/// Addresses with their service accounts as messages, as few as fit.
pub fn batches<'a>(
    addresses: impl IntoIterator<Item = (IpAddr, &'a [Account])>,
) -> Vec<ToDataplane> {
    let mut batches = Vec::new();
    let (mut entries, mut size) = (Vec::new(), 0);
    for (address, accounts) in addresses {
        let accounts = accounts.iter().map(labels::account_id).collect();
        let entry = Entry { address: address.to_string(), accounts };
        size += entry.encoded_len();
        entries.push(entry);
        if size >= FULL {
            batches.push(batch(std::mem::take(&mut entries)));
            size = 0;
        }
    }
    if !entries.is_empty() {
        batches.push(batch(entries));
    }
    batches
}

fn batch(entries: Vec<Entry>) -> ToDataplane {
    message(Payload::AddressUpdate(AddressUpdate { entries }))
}

pub(super) fn read(wire: AddressUpdate) -> Result<Vec<Update>, WireError> {
    wire.entries.into_iter().map(entry).collect()
}

fn entry(wire: Entry) -> Result<Update, WireError> {
    let address: IpAddr = wire.address.parse().map_err(|_| {
        WireError::invalid("AddressUpdate", "address", &wire.address, "which is no address")
    })?;
    let accounts = wire.accounts.into_iter().map(labels::account).collect();
    Ok(Update::Address(address.to_canonical(), accounts))
}
