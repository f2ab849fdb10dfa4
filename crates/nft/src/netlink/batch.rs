//! Batches as bytes: what is sent at once, and holds entirely or not at all.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_ECHO};

use crate::{Counter, Element, Family, Hook, HookPoint, Match, Op, Place, Rule, SetKind};

use super::anonymous::Anonymous;
use super::constants::{INET, SUBSYSTEM, TABLE_NAME, chain, element, message, rule, set};
use super::encode::{Header, Messages};
use super::entry::{Entry, entries};
use super::expression::Expressions;
use super::key::Unfit;
use super::set::Shape;

/// The name that the kernel replaces by one of its own.
pub(super) const ANONYMOUS: &str = "__set%d";

/// Bytes of elements in one message: an attribute's length has 16 bits, and the last element must
/// still fit.
const ELEMENTS: usize = 60_000;

/// `NF_ACCEPT`, the policy of base chains.
const POLICY_ACCEPT: u32 = 1;

/// A batch that can be sent.
#[derive(Debug)]
pub(super) struct Batch {
    messages: Messages,
    /// Sequence number of the first message, which opens the batch.
    first: u32,
    /// Sequence number of the last message before the one that closes it.
    last: u32,
    /// For each step the sequence number of its first message.
    steps: Vec<u32>,
    /// Bytes of messages that add rules, which come back if echoed.
    rule_bytes: usize,
}

impl Batch {
    /// Encodes a batch. `echo` asks for each rule as the kernel has it.
    ///
    /// # Errors
    /// The position of a step that cannot be said, and why.
    pub(super) fn new(batch: &[Op], first: u32, echo: bool) -> Result<Self, (usize, Unfit)> {
        let mut writer = Writer::new(first, echo, 128 * (batch.len() + 2));
        let mut steps = Vec::with_capacity(batch.len());
        for (position, op) in batch.iter().enumerate() {
            steps.push(writer.sequence);
            writer.op(op).map_err(|unfit| (position, unfit))?;
        }
        writer.messages.acknowledge_last();
        let last = writer.sequence.wrapping_sub(1);
        writer.frame(message::BATCH_END);
        let Writer { messages, rule_bytes, .. } = writer;
        Ok(Self { messages, first, last, steps, rule_bytes })
    }

    /// What is sent.
    pub(super) fn bytes(&self) -> &[u8] {
        self.messages.bytes()
    }

    /// Sequence number of the last step's last message, which is acknowledged when all is done.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// The sequence number behind the batch.
    pub(super) fn next(&self) -> u32 {
        self.last.wrapping_add(2)
    }

    /// Bytes of messages that add rules.
    pub(super) fn rule_bytes(&self) -> usize {
        self.rule_bytes
    }

    /// Whether a message of the batch has the number.
    pub(super) fn contains(&self, sequence: u32) -> bool {
        self.offset(sequence) <= self.offset(self.last)
    }

    /// The step that a message belongs to; none for the one that opens the batch.
    pub(super) fn step(&self, sequence: u32) -> Option<usize> {
        let offset = self.offset(sequence);
        self.steps.partition_point(|begin| self.offset(*begin) <= offset).checked_sub(1)
    }

    /// Position in the batch: numbers may wrap around within it.
    pub(super) fn offset(&self, sequence: u32) -> u32 {
        sequence.wrapping_sub(self.first)
    }
}

struct Writer {
    messages: Messages,
    /// The next number.
    sequence: u32,
    echo: bool,
    /// How many anonymous sets there are.
    sets: u32,
    rule_bytes: usize,
}

impl Writer {
    fn new(first: u32, echo: bool, capacity: usize) -> Self {
        let messages = Messages::with_capacity(capacity);
        let mut writer = Self { messages, sequence: first, echo, sets: 0, rule_bytes: 0 };
        writer.frame(message::BATCH_BEGIN);
        writer
    }

    fn number(&mut self) -> u32 {
        let number = self.sequence;
        self.sequence = number.wrapping_add(1);
        number
    }

    /// Opens or closes the batch.
    fn frame(&mut self, kind: u16) {
        let sequence = self.number();
        let header = Header { kind, flags: 0, sequence, family: 0, resource: SUBSYSTEM };
        self.messages.message(header, |_| {});
    }

    /// A message about something in the table.
    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Messages)) {
        let header = Header { kind, flags, sequence: self.number(), family: INET, resource: 0 };
        self.messages.message(header, |body| {
            body.text(TABLE_NAME, super::TABLE);
            fill(body);
        });
    }

    fn op(&mut self, op: &Op) -> Result<(), Unfit> {
        match op {
            Op::AddTable => self.message(message::NEW_TABLE, NLM_F_CREATE, |_| {}),
            Op::DeleteTable => self.message(message::DELETE_TABLE, 0, |_| {}),
            Op::AddChain(name, hook) => self.chain(name, *hook),
            Op::DeleteChain(name) => {
                self.message(message::DELETE_CHAIN, 0, |body| body.text(chain::NAME, name));
            }
            Op::FlushChain(name) => {
                self.message(message::DELETE_RULE, 0, |body| body.text(rule::CHAIN, name));
            }
            Op::AddRule { chain, place, rule, counter } => {
                self.rule(chain, *place, rule, *counter)?;
            }
            Op::DeleteRule { chain, handle } => self.message(message::DELETE_RULE, 0, |body| {
                body.text(rule::CHAIN, chain);
                body.u64(rule::HANDLE, *handle);
            }),
            Op::AddSet(name, kind) => self.set(name, *kind),
            Op::DeleteSet(name) => {
                self.message(message::DELETE_SET, 0, |body| body.text(set::NAME, name));
            }
            Op::AddElements(name, kind, elements) => {
                self.named_elements(message::NEW_ELEMENT, NLM_F_CREATE, name, *kind, elements)?;
            }
            Op::DeleteElements(name, kind, elements) => {
                self.named_elements(message::DELETE_ELEMENT, 0, name, *kind, elements)?;
            }
            Op::FlushSet(name) => {
                self.message(message::DELETE_ELEMENT, 0, |body| body.text(element::SET_NAME, name));
            }
        }
        Ok(())
    }

    fn chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message(message::NEW_CHAIN, NLM_F_CREATE, |body| {
            body.text(chain::NAME, name);
            let Some(hook) = hook else { return };
            body.text(chain::TYPE, "filter");
            body.u32(chain::POLICY, POLICY_ACCEPT);
            body.nest(chain::HOOK, |inside| {
                inside.u32(chain::HOOK_NUMBER, hook_number(hook.point));
                inside.attribute(chain::HOOK_PRIORITY, &hook.priority.to_be_bytes());
            });
        });
    }

    fn set(&mut self, name: &str, kind: SetKind) {
        let id = self.set_number();
        self.message(message::NEW_SET, NLM_F_CREATE, |body| {
            body.text(set::NAME, name);
            body.u32(set::ID, id);
            Shape::of(kind).write(body, None);
        });
    }

    fn set_number(&mut self) -> u32 {
        self.sets += 1;
        self.sets
    }

    fn named_elements(
        &mut self,
        message: u16,
        flags: u16,
        name: &str,
        kind: SetKind,
        elements: &[Element],
    ) -> Result<(), Unfit> {
        let entries = entries(kind, elements)?;
        self.elements(message, flags, &entries, |body| body.text(element::SET_NAME, name));
        Ok(())
    }

    /// As many messages as the elements need.
    fn elements(
        &mut self,
        message: u16,
        flags: u16,
        entries: &[Entry],
        set: impl Fn(&mut Messages),
    ) {
        let mut left = entries.iter().peekable();
        while left.peek().is_some() {
            self.message(message, flags, |body| {
                set(body);
                let full = body.len() + ELEMENTS;
                body.nest(element::LIST, |list| {
                    while let Some(entry) = left.next_if(|_| list.len() < full) {
                        entry.write(list);
                    }
                });
            });
        }
    }

    fn rule(
        &mut self,
        chain: &str,
        place: Place,
        rule: &Rule,
        counter: Counter,
    ) -> Result<(), Unfit> {
        let anonymous = self.anonymous_sets(rule)?;
        let (append, position) = match place {
            Place::Last => (NLM_F_APPEND, None),
            Place::Before(handle) => (0, Some(handle)),
            Place::After(handle) => (NLM_F_APPEND, Some(handle)),
        };
        let echo = if self.echo { NLM_F_ECHO } else { 0 };
        let (begin, mut result) = (self.messages.len(), Ok(()));
        self.message(message::NEW_RULE, NLM_F_CREATE | append | echo, |body| {
            body.text(rule::CHAIN, chain);
            if let Some(position) = position {
                body.u64(rule::POSITION, position);
            }
            body.nest(rule::EXPRESSIONS, |list| {
                result = Expressions::new(list, anonymous).rule(rule, counter);
            });
            body.attribute(rule::USERDATA, &userdata(rule));
        });
        self.rule_bytes += self.messages.len() - begin;
        result
    }

    /// The sets come before the rule that looks into them. Returns their numbers.
    fn anonymous_sets(&mut self, rule: &Rule) -> Result<Vec<u32>, Unfit> {
        let icmp = match rule.matches.contains(&Match::Protocol { not: false, number: 58 }) {
            true => Family::V6,
            false => Family::V4,
        };
        let mut numbers = Vec::new();
        for criterion in &rule.matches {
            let Some(Anonymous { shape, entries }) = Anonymous::of(criterion, icmp)? else {
                continue;
            };
            let id = self.set_number();
            self.message(message::NEW_SET, NLM_F_CREATE, |body| {
                body.text(set::NAME, ANONYMOUS);
                body.u32(set::ID, id);
                shape.write(body, Some(entries.len()));
            });
            self.elements(message::NEW_ELEMENT, NLM_F_CREATE, &entries, |body| {
                body.text(element::SET_NAME, ANONYMOUS);
                body.u32(element::SET_ID, id);
            });
            numbers.push(id);
        }
        Ok(numbers)
    }
}

/// The comment, in the form in which nft keeps it.
fn userdata(rule: &Rule) -> Vec<u8> {
    let comment = crate::text::comment(rule);
    // At most 127 bytes and a zero byte.
    let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
    [&[rule::USERDATA_COMMENT, length], comment.as_bytes(), &[0]].concat()
}

/// `enum nf_inet_hooks`.
fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Prerouting => 0,
        HookPoint::Input => 1,
        HookPoint::Forward => 2,
        HookPoint::Output => 3,
    }
}
