//! The table read back.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use smol_str::SmolStr;

use crate::{Counter, Found, FoundChain, FoundRule, FoundSet, Hook, HookPoint};

use super::TABLE;
use super::constants::{INET, TABLE_NAME, chain, element, generation, message, rule, set};
use super::decode::{Attributes, Message};
use super::found::{Raw, elements};
use super::set::Shape;
use super::socket::{Socket, errno};

/// How often the table is read anew because it changed meanwhile.
const TRIES: usize = 64;

/// Milliseconds the kernel is given to come to rest before a set is read again.
const PAUSES: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// Digits of a mark.
const MARK: usize = 16;

/// The kernel's generation.
pub(super) fn generation(socket: &mut Socket) -> io::Result<u32> {
    let mut found = None;
    socket.get(
        message::GET_GENERATION,
        |_| {},
        |message| {
            found = message.attributes().u32(generation::ID);
        },
    )?;
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no generation in the answer"))
}

/// All of the table, of one generation.
pub(super) fn read(socket: &mut Socket) -> io::Result<Option<Found>> {
    steady(|| {
        let generation = generation(socket)?;
        let found = read_once(socket, generation)?;
        let same = self::generation(socket)? == generation;
        if same { Ok(found) } else { Err(Errno::INTR.into()) }
    })
}

/// Reads again while something changes meanwhile.
fn steady<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
    read()
}

fn read_once(socket: &mut Socket, generation: u32) -> io::Result<Option<Found>> {
    match socket.get(message::GET_TABLE, |_| {}, |_| {}) {
        Err(error) if errno(&error) == Some(Errno::NOENT) => return Ok(None),
        result => result?,
    }
    let mut chains = chains(socket)?;
    rules(socket, |name, rule| {
        if let Some(chain) = chains.get_mut(name) {
            chain.rules.push(rule);
        }
    })?;
    let mut sets = sets(socket)?;
    for (name, set) in &mut sets {
        read_elements(socket, name, set)?;
    }
    Ok(Some(Found { generation, chains, sets }))
}

/// Whether a message is about our table: chains come of all tables.
pub(super) fn is_ours(message: &Message<'_>) -> bool {
    message.family() == Some(INET) && message.attributes().text(TABLE_NAME) == Some(TABLE)
}

/// Takes a message for anything that it may be.
pub(super) fn anything(message: &Message<'_>) {
    let attributes = message.attributes();
    let _ = (found_chain(attributes), found_rule(attributes), found_set(attributes));
    let _ = (message.result(), is_ours(message));
}

fn chains(socket: &mut Socket) -> io::Result<BTreeMap<SmolStr, FoundChain>> {
    let mut chains = BTreeMap::new();
    socket.dump(
        message::GET_CHAIN,
        |_| {},
        |message| {
            if message.kind == message::NEW_CHAIN && is_ours(message) {
                chains.extend(found_chain(message.attributes()));
            }
        },
    )?;
    Ok(chains)
}

/// A chain without its rules.
fn found_chain(attributes: Attributes<'_>) -> Option<(SmolStr, FoundChain)> {
    let name = attributes.text(chain::NAME)?;
    let hook = attributes.bytes(chain::HOOK).and_then(|_| found_hook(attributes));
    let strange = attributes.bytes(chain::HOOK).is_some() && hook.is_none();
    Some((name.into(), FoundChain { hook, strange, rules: Vec::new() }))
}

fn found_hook(attributes: Attributes<'_>) -> Option<Hook> {
    /// `NF_ACCEPT`.
    const ACCEPT: u32 = 1;
    let plain = attributes.text(chain::TYPE) == Some("filter")
        && attributes.u32(chain::POLICY) == Some(ACCEPT);
    let hook = attributes.nested(chain::HOOK);
    let point = match hook.u32(chain::HOOK_NUMBER)? {
        0 => HookPoint::Prerouting,
        1 => HookPoint::Input,
        2 => HookPoint::Forward,
        3 => HookPoint::Output,
        _ => return None,
    };
    plain.then_some(Hook { point, priority: hook.i32(chain::HOOK_PRIORITY)? })
}

/// All rules of the table, with the chains they stand in, in order.
pub(super) fn rules(socket: &mut Socket, each: impl FnMut(&str, FoundRule)) -> io::Result<()> {
    rules_of(socket, None, each)
}

/// The rules of one chain, or of all.
fn rules_of(
    socket: &mut Socket,
    chain: Option<&str>,
    mut each: impl FnMut(&str, FoundRule),
) -> io::Result<()> {
    socket.dump(
        message::GET_RULE,
        |body| chain.into_iter().for_each(|chain| body.text(rule::CHAIN, chain)),
        |message| {
            if message.kind == message::NEW_RULE && is_ours(message) {
                let attributes = message.attributes();
                let found = attributes.text(rule::CHAIN).zip(found_rule(attributes));
                found.into_iter().for_each(|(chain, rule)| each(chain, rule));
            }
        },
    )
}

fn found_rule(attributes: Attributes<'_>) -> Option<FoundRule> {
    let handle = attributes.u64(rule::HANDLE)?;
    let mark = attributes.bytes(rule::USERDATA).and_then(mark);
    Some(FoundRule { handle, mark, counter: counter(attributes).unwrap_or_default() })
}

/// The mark at the beginning of a rule's comment.
fn mark(mut userdata: &[u8]) -> Option<SmolStr> {
    while let Some(([kind, length], rest)) = userdata.split_first_chunk() {
        let (value, behind) = rest.split_at_checked(usize::from(*length))?;
        if *kind == rule::USERDATA_COMMENT {
            let mark = std::str::from_utf8(value.get(..MARK)?).ok()?;
            let digits = mark.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            return digits.then(|| mark.into());
        }
        userdata = behind;
    }
    None
}

/// What the rule's counter says, if it has one.
fn counter(attributes: Attributes<'_>) -> Option<Counter> {
    let mut expressions = attributes.nested(rule::EXPRESSIONS).map(|(_, body)| Attributes(body));
    let counter = expressions.find(|body| body.text(rule::EXPRESSION_NAME) == Some("counter"))?;
    let values = counter.nested(rule::EXPRESSION_DATA);
    Some(Counter { bytes: values.u64(1)?, packets: values.u64(2)? })
}

fn sets(socket: &mut Socket) -> io::Result<HashMap<SmolStr, FoundSet>> {
    let mut sets = HashMap::new();
    socket.dump(
        message::GET_SET,
        |_| {},
        |message| {
            if message.kind == message::NEW_SET && is_ours(message) {
                sets.extend(found_set(message.attributes()));
            }
        },
    )?;
    Ok(sets)
}

/// A named set without its elements.
fn found_set(attributes: Attributes<'_>) -> Option<(SmolStr, FoundSet)> {
    let name = attributes.text(set::NAME)?;
    let flags = attributes.u32(set::FLAGS).unwrap_or_default();
    if flags & set::ANONYMOUS != 0 {
        return None;
    }
    let verdicts = attributes.u32(set::DATA_TYPE) == Some(set::VERDICT);
    let kind = Shape::kind(flags, attributes.u32(set::KEY_TYPE)?, verdicts);
    Some((name.into(), FoundSet { kind, ..FoundSet::default() }))
}

#[allow(clippy::disallowed_methods, reason = "the kernel does not tell when it has come to rest")]
fn read_elements(socket: &mut Socket, name: &str, found: &mut FoundSet) -> io::Result<()> {
    let Some(kind) = found.kind else { return Ok(()) };
    for pause in PAUSES {
        let raw = read_list(socket, name)?;
        if !repeated(&raw) {
            (found.elements, found.strange) = elements(kind, raw);
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(pause));
    }
    Err(Errno::INTR.into())
}

/// All elements of a set, sorted.
fn read_list(socket: &mut Socket, name: &str) -> io::Result<Vec<Raw>> {
    let mut raw = Vec::new();
    let ask = |body: &mut super::encode::Messages| body.text(element::SET_NAME, name);
    socket.dump(message::GET_ELEMENT, ask, |message| {
        let list = message.attributes().nested(element::LIST);
        raw.extend(list.map(|(_, body)| Raw::read(Attributes(body))));
    })?;
    raw.sort_unstable();
    Ok(raw)
}

/// Whether an element was read twice. The kernel enlarges hash sets behind one's back for a while
/// after they have grown; for each element that is missed meanwhile another one is told again.
fn repeated(sorted: &[Raw]) -> bool {
    sorted.iter().zip(sorted.iter().skip(1)).any(|(one, next)| one == next)
}

/// The counters of the rules of one chain. The kernel tells of no other.
pub(super) fn chain_counters(
    socket: &mut Socket,
    chain: &str,
) -> io::Result<HashMap<u64, Counter>> {
    steady(|| {
        let mut counters = HashMap::new();
        rules_of(socket, Some(chain), |of, rule| {
            if of == chain {
                counters.insert(rule.handle, rule.counter);
            }
        })?;
        Ok(counters)
    })
}

/// The counters of all rules that have one.
pub(super) fn counters(socket: &mut Socket) -> io::Result<HashMap<(SmolStr, u64), Counter>> {
    steady(|| {
        let mut counters = HashMap::new();
        rules(socket, |chain, rule| {
            counters.insert((chain.into(), rule.handle), rule.counter);
        })?;
        Ok(counters)
    })
}
