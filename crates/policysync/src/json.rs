//! Messages as JSON, in protobuf's own mapping: names in lower camel case, enums by name, 64-bit
//! numbers as strings, and nothing for what has its default value.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use tortie_proto::felix::{DESCRIPTOR, ToDataplane};

/// What describes the message. It is compiled in, and a test uses it.
static TO_DATAPLANE: LazyLock<Option<MessageDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(DESCRIPTOR).ok()?;
    pool.get_message_by_name("felix.ToDataplane")
});

/// One message as one line, without its end.
pub fn line(message: &ToDataplane) -> String {
    value(message).unwrap_or_default().to_string()
}

/// One message as a value; `null` if the descriptor that is compiled in were damaged.
fn value(message: &ToDataplane) -> Option<serde_json::Value> {
    let descriptor = TO_DATAPLANE.clone()?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()?;
    serde_json::to_value(&dynamic).ok()
}

#[cfg(test)]
mod tests {
    use tortie_proto::felix::ip_set_update::IpSetType;
    use tortie_proto::felix::protocol::NumberOrName;
    use tortie_proto::felix::to_dataplane::Payload;
    use tortie_proto::felix::{
        ActivePolicyUpdate, InSync, IpSetUpdate, IpVersion, Policy, PolicyId, Protocol, Rule,
    };

    use super::*;

    fn message(payload: Payload) -> ToDataplane {
        ToDataplane { payload: Some(payload), ..Default::default() }
    }

    #[test]
    fn lines() {
        let rule = Rule {
            action: "allow".into(),
            ip_version: IpVersion::Ipv6.into(),
            protocol: Some(Protocol { number_or_name: Some(NumberOrName::Number(99)) }),
            src_ip_set_ids: vec!["s:\"1".into()],
            ..Default::default()
        };
        let id = PolicyId { name: "p".into(), kind: "NetworkPolicy".into(), ..Default::default() };
        let policy = Policy { inbound_rules: vec![rule], ..Default::default() };
        let policy = ActivePolicyUpdate { id: Some(id), policy: Some(policy) };
        let set = IpSetUpdate {
            id: "s".into(),
            members: vec!["10.0.0.0/8".into()],
            r#type: IpSetType::Net.into(),
            incomplete: false,
        };
        let numbered = ToDataplane { sequence_number: u64::MAX, more: true, ..Default::default() };
        for (message, line) in [
            (message(Payload::InSync(InSync {})), r#"{"inSync":{}}"#),
            (ToDataplane::default(), "{}"),
            (numbered, r#"{"more":true,"sequenceNumber":"18446744073709551615"}"#),
            (
                message(Payload::IpsetUpdate(set)),
                r#"{"ipsetUpdate":{"id":"s","members":["10.0.0.0/8"],"type":"NET"}}"#,
            ),
            (
                message(Payload::ActivePolicyUpdate(policy)),
                r#"{"activePolicyUpdate":{"id":{"kind":"NetworkPolicy","name":"p"},"policy":{"inboundRules":[{"action":"allow","ipVersion":"IPV6","protocol":{"number":99},"srcIpSetIds":["s:\"1"]}]}}}"#,
            ),
        ] {
            let (line, expected): (serde_json::Value, serde_json::Value) = (
                serde_json::from_str(&super::line(&message)).unwrap(),
                serde_json::from_str(line).unwrap(),
            );
            assert_eq!(line, expected);
        }
    }
}
