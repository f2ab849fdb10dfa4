//! Updates as messages of Policy Sync, and messages as updates.
//!
//! Nothing here panics, whatever the bytes. What cannot be read is an error where it leaves open
//! what the message is about, and a rule or set in doubt where only a part of one is concerned: a
//! doubt never allows.

mod address;
mod endpoint;
mod labels;
mod policy;
mod rule;
mod rule_in;
mod set;
mod settings;
mod snapshot;

use std::collections::HashMap;

use prost::Message;
use tortie_calc::{SetId, Update};
use tortie_policy::Compat;
use tortie_proto::felix::to_dataplane::Payload;
use tortie_proto::felix::{InSync, ToDataplane};

pub use address::batches as address_batches;
pub use set::{MAX_MEMBERS, delta as set_delta, whole as whole_set};
pub use snapshot::{encode_all, updates};

/// Largest message an agent sends, in bytes, except for single policies and endpoints that are
/// larger: what gRPC accepts unless told otherwise.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are no message.
    #[error("not a message of Policy Sync: {0}")]
    Garbage(String),
    /// A message of Calico 3.31 or older, which would be misread.
    #[error("{0}, as Calico up to 3.31 sends it: the node's agent must be of Calico 3.32 or later")]
    OldShape(&'static str),
    /// A message that does not say what it is about.
    #[error("{message}: `{field}` is missing")]
    Missing {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A field with a value that nothing can be made of.
    #[error("{message}: `{field}` is `{value}`, {reason}")]
    Invalid {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl WireError {
    fn missing(message: &'static str, field: &'static str) -> WireError {
        WireError::Missing { message, field }
    }

    fn invalid(
        message: &'static str,
        field: &'static str,
        value: &str,
        reason: &'static str,
    ) -> WireError {
        let value = value.chars().take(64).flat_map(char::escape_debug).collect();
        WireError::Invalid { message, field, value, reason }
    }
}

/// One update as messages: none for what sidecars are not told, several for a large set.
pub fn encode(update: &Update) -> Vec<ToDataplane> {
    let payload = match update {
        Update::InSync => Payload::InSync(InSync {}),
        Update::IpSet { id, kind, members } => return set::whole(id, *kind, false, members),
        Update::IpSetDelta { id, added, removed } => return set::delta(id, added, removed),
        // Said with the set, or not at all: no agent has a set that it could not read.
        Update::IpSetIncomplete(..) => return Vec::new(),
        Update::IpSetRemove(id) => Payload::IpsetRemove(set::remove(id)),
        Update::Policy(policy) => Payload::ActivePolicyUpdate(policy::update(policy)),
        Update::PolicyRemove(id) => Payload::ActivePolicyRemove(policy::remove(id)),
        Update::Profile(profile) => Payload::ActiveProfileUpdate(policy::profile_update(profile)),
        Update::ProfileRemove(name) => Payload::ActiveProfileRemove(policy::profile_remove(name)),
        Update::Endpoint(endpoint) => Payload::WorkloadEndpointUpdate(endpoint::update(endpoint)),
        Update::EndpointRemove(id) => Payload::WorkloadEndpointRemove(endpoint::remove(id)),
        Update::Host(_) | Update::HostRemove(_) => return Vec::new(),
        Update::ServiceAccount(account, labels) => {
            Payload::ServiceAccountUpdate(labels::account_update(account, labels))
        }
        Update::ServiceAccountRemove(account) => {
            Payload::ServiceAccountRemove(labels::account_remove(account))
        }
        Update::Namespace(name, labels) => {
            Payload::NamespaceUpdate(labels::namespace_update(name, labels))
        }
        Update::NamespaceRemove(name) => Payload::NamespaceRemove(labels::namespace_remove(name)),
        Update::Address(address, accounts) => {
            return address::batches([(*address, accounts.as_slice())]);
        }
        Update::Settings(settings) => Payload::SettingsUpdate(settings::update(settings)),
    };
    vec![message(payload)]
}

fn message(payload: Payload) -> ToDataplane {
    ToDataplane { payload: Some(payload), ..Default::default() }
}

/// Reads the messages of one stream, in order: members of a set can only be read by its type, which
/// an earlier message told.
#[derive(Debug, Default)]
pub struct Decoder {
    compat: Compat,
    sets: HashMap<SetId, set::Incoming>,
}

/// What one message says.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// The changes, in order; none for a message that says nothing to us.
    pub updates: Vec<Update>,
    /// Whether the next message belongs to the same change.
    pub more: bool,
}

impl Decoder {
    /// For a new stream.
    pub fn new(compat: Compat) -> Decoder {
        Decoder { compat, sets: HashMap::new() }
    }

    /// Reads one message from bytes.
    ///
    /// # Errors
    /// If the bytes are no message, or say nothing that can be understood.
    pub fn decode_bytes(&mut self, bytes: &[u8]) -> Result<Decoded, WireError> {
        let message =
            ToDataplane::decode(bytes).map_err(|error| endpoint::garbage(bytes, &error))?;
        self.decode(message)
    }

    /// Reads one message.
    ///
    /// # Errors
    /// If it says nothing that can be understood.
    pub fn decode(&mut self, message: ToDataplane) -> Result<Decoded, WireError> {
        let more = message.more;
        let updates = match message.payload {
            Some(payload) => self.payload(payload)?,
            None => Vec::new(), // a message we do not know
        };
        Ok(Decoded { updates, more })
    }

    fn payload(&mut self, payload: Payload) -> Result<Vec<Update>, WireError> {
        let update = match payload {
            Payload::InSync(InSync {}) => Update::InSync,
            Payload::IpsetUpdate(set) => return set::read(&mut self.sets, set),
            Payload::IpsetDeltaUpdate(delta) => return set::read_delta(&mut self.sets, &delta),
            Payload::IpsetRemove(remove) => set::read_remove(&mut self.sets, remove)?,
            Payload::ActivePolicyUpdate(update) => policy::read(update, self.compat)?,
            Payload::ActivePolicyRemove(remove) => policy::read_remove(remove)?,
            Payload::ActiveProfileUpdate(update) => policy::read_profile(update, self.compat)?,
            Payload::ActiveProfileRemove(remove) => policy::read_profile_remove(remove)?,
            Payload::WorkloadEndpointUpdate(update) => endpoint::read(update, self.compat)?,
            Payload::WorkloadEndpointRemove(remove) => endpoint::read_remove(remove)?,
            Payload::ServiceAccountUpdate(update) => labels::read_account(update)?,
            Payload::ServiceAccountRemove(remove) => labels::read_account_remove(remove)?,
            Payload::NamespaceUpdate(update) => labels::read_namespace(update)?,
            Payload::NamespaceRemove(remove) => labels::read_namespace_remove(remove)?,
            Payload::AddressUpdate(update) => return address::read(update),
            Payload::SettingsUpdate(update) => settings::read(update)?,
        };
        Ok(vec![update])
    }
}
