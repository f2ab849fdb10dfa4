//! Batches sent and answered.

use std::collections::{BTreeMap, HashMap};
use std::io;

use netlink_packet_core::NLMSG_ERROR;
use rustix::io::Errno;
use smol_str::SmolStr;

use crate::{ApplyError, Op};

use super::batch::Batch;
use super::constants::{message, rule};
use super::decode::{Message, Refusal, messages};
use super::key::Unfit;
use super::read;
use super::socket::{Socket, errno, lost};

/// Bytes that the kernel needs to hold an echo, for each byte of the rule as it was sent.
const ECHO: usize = 4;

/// Sends a batch and says what became of it.
pub(super) fn apply(socket: &mut Socket, batch: &[Op]) -> Result<Vec<u64>, ApplyError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |(step, unfit): (usize, Unfit)| {
        let error = io::Error::new(io::ErrorKind::InvalidInput, unfit);
        refused(batch, Some(step), Refusal { error, words: String::new() })
    };
    let mut encoded = Batch::new(batch, socket.sequence(), true).map_err(refuse)?;
    if encoded.rule_bytes() * ECHO > socket.receive_buffer()? {
        encoded = Batch::new(batch, socket.sequence(), false).map_err(refuse)?;
    }
    socket.send(encoded.bytes(), encoded.next())?;
    let answer = Answer::receive(socket, &encoded)?;
    if let Some((sequence, refusal)) = answer.refusal {
        return Err(refused(batch, encoded.step(sequence), refusal));
    }
    if !answer.done {
        return Err(lost().into());
    }
    let rules = batch.iter().filter(|op| matches!(op, Op::AddRule { .. })).count();
    if answer.handles.len() == rules {
        return Ok(answer.handles.into_values().collect());
    }
    find_handles(socket, batch)
}

/// What came back.
#[derive(Default)]
struct Answer {
    /// The first message that was refused.
    refusal: Option<(u32, Refusal)>,
    /// Whether the last message was acknowledged.
    done: bool,
    /// Handles of rules by position of their messages in the batch.
    handles: BTreeMap<u32, u64>,
}

impl Answer {
    fn receive(socket: &mut Socket, batch: &Batch) -> io::Result<Self> {
        let mut answer = Self::default();
        while !answer.done {
            match socket.receive() {
                Ok(Some(datagram)) => {
                    messages(datagram).for_each(|message| answer.take(&message, batch));
                }
                Ok(None) => break,
                // Answers were lost, but there may be others.
                Err(error) if errno(&error) == Some(Errno::NOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    fn take(&mut self, message: &Message<'_>, batch: &Batch) {
        if !batch.contains(message.sequence) {
            return;
        }
        match message.kind {
            NLMSG_ERROR => {
                if let Err(refusal) = message.result() {
                    self.refusal.get_or_insert((message.sequence, refusal));
                }
                self.done |= message.sequence == batch.last();
            }
            message::NEW_RULE => {
                let handle = message.attributes().u64(rule::HANDLE);
                let position = batch.offset(message.sequence);
                self.handles.extend(handle.map(|handle| (position, handle)));
            }
            _ => {}
        }
    }
}

fn refused(batch: &[Op], step: Option<usize>, refusal: Refusal) -> ApplyError {
    let op = match step.and_then(|step| batch.get(step)) {
        Some(op) => crate::text::step(op),
        None => "all of it".to_owned(),
    };
    let op = if refusal.words.is_empty() { op } else { format!("{op}: {}", refusal.words) };
    ApplyError::Refused { step: step.unwrap_or(0), steps: batch.len(), op, error: refusal.error }
}

/// Finds the handles of rules that a batch added, where echoes would be too many for the socket:
/// later rules have greater handles, so of equal rules in a chain the last ones are the batch's.
fn find_handles(socket: &mut Socket, batch: &[Op]) -> Result<Vec<u64>, ApplyError> {
    let mut found: HashMap<(SmolStr, SmolStr), Vec<u64>> = HashMap::new();
    read::rules(socket, |chain, rule| {
        if let Some(mark) = rule.mark {
            found.entry((chain.into(), mark)).or_default().push(rule.handle);
        }
    })?;
    found.values_mut().for_each(|handles| handles.sort_unstable());
    let added = batch.iter().rev().filter_map(|op| match op {
        Op::AddRule { chain, rule, .. } => Some((chain.clone(), rule.mark())),
        _ => None,
    });
    let take = |key| found.get_mut(&key).and_then(Vec::pop).ok_or_else(lost);
    let mut handles = added.map(take).collect::<io::Result<Vec<u64>>>()?;
    handles.reverse();
    Ok(handles)
}
