//! Random bytes, and real messages with some of their bytes changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use common::{account, from_accounts, from_set, labels, nets, policy, settings, start};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tortie_calc::Update;
use tortie_policysync::fuzz;
use tortie_policysync::wire::encode;

fn seeds() -> Vec<Vec<u8>> {
    let mut updates = start();
    updates.extend([
        Update::IpSetDelta { id: common::set_id("s:1"), added: nets(8..9), removed: nets(1..2) },
        policy("q", vec![from_accounts("a", "b"), from_set("s:1")]),
        Update::ServiceAccount(account("b"), labels(&[("x", "y")])),
        Update::Namespace("shop".into(), labels(&[("x", "y")])),
        Update::Address("10.0.0.2".parse().unwrap(), vec![account("b")]),
        settings(true),
        Update::PolicyRemove(common::policy_id("q")),
        Update::IpSetRemove(common::set_id("s:1")),
        Update::ProfileRemove("kns.shop".into()),
        Update::EndpointRemove(common::endpoint_id("a")),
        Update::NamespaceRemove("shop".into()),
        Update::ServiceAccountRemove(account("b")),
    ]);
    updates.iter().flat_map(encode).map(|message| message.encode_to_vec()).collect()
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0];
    for message in messages {
        bytes.extend(u16::try_from(message.len()).unwrap().to_le_bytes());
        bytes.extend(message);
    }
    bytes
}

#[test]
fn the_seeds_are_messages() {
    let seeds = seeds();
    assert_eq!(fuzz::stream(&framed(&seeds)), seeds.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_messages_are_taken_or_refused(
        picks in vec((any::<prop::sample::Index>(), vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4)), 1..12),
    ) {
        let seeds = seeds();
        let mut messages = Vec::new();
        for (pick, damages) in picks {
            let mut message = pick.get(&seeds).clone();
            for (at, byte, how) in damages {
                let at = at.index(message.len().max(1)).min(message.len());
                match how {
                    0 if at < message.len() => message[at] = byte,
                    1 if at < message.len() => drop(message.remove(at)),
                    _ => message.insert(at, byte),
                }
            }
            messages.push(message);
        }
        fuzz::stream(&framed(&messages));
    }

    #[test]
    fn random_bytes_are_survived(bytes in vec(any::<u8>(), 0..200)) {
        fuzz::stream(&bytes);
        fuzz::others(&bytes);
    }

    #[test]
    fn damaged_files_are_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = br#"{"UID":"u","Workload":"p","Namespace":"n","ServiceAccount":"s"}"#.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fuzz::others(&bytes);
    }
}
