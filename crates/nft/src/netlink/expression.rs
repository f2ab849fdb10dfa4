//! Expressions of rules: the kernel's small instructions that load into registers and compare.

use ipnet::IpNet;
use tortie_policy::Side;

use crate::{
    ConnectionState, Counter, Family, InterfaceMatch, Limit, Match, Rule, Statement, Verdict, Way,
};

use super::constants::{LIST_ELEMENT, data, rule};
use super::encode::Messages;
use super::entry::write_verdict;
use super::key::{INTERFACE, Key, Unfit};

/// `NFT_REG_VERDICT` and `NFT_REG_1`.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;

/// `enum nft_payload_bases`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// `enum nft_cmp_ops`.
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;

/// `enum nft_meta_keys`.
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;

/// `NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT`.
const FIB_SOURCE_BY_INTERFACE_EXISTS: u32 = 0x29;

/// Writes the expressions of one rule.
pub(super) struct Expressions<'a> {
    messages: &'a mut Messages,
    /// Numbers of the anonymous sets, in the order of the criteria that need them.
    anonymous: std::vec::IntoIter<u32>,
}

/// A set to look into.
enum Look<'a> {
    Named(&'a str),
    Anonymous(u32),
}

impl<'a> Expressions<'a> {
    /// Appends to a list of expressions.
    pub(super) fn new(messages: &'a mut Messages, anonymous: Vec<u32>) -> Self {
        Self { messages, anonymous: anonymous.into_iter() }
    }

    /// All of a rule.
    pub(super) fn rule(&mut self, rule: &Rule, counter: Counter) -> Result<(), Unfit> {
        for criterion in &rule.matches {
            self.criterion(criterion)?;
        }
        for statement in &rule.statements {
            self.statement(statement, counter);
        }
        match &rule.verdict {
            Some(Verdict::Reject) => self.reject(rule.rejects_by_reset()),
            Some(Verdict::Dispatch { way, map }) => self.dispatch(*way, map),
            Some(Verdict::Accept) => self.verdict(data::ACCEPT, None),
            Some(Verdict::Drop) => self.verdict(data::DROP, None),
            Some(Verdict::Return) => self.verdict(data::RETURN, None),
            Some(Verdict::Jump(chain)) => self.verdict(data::JUMP, Some(chain)),
            Some(Verdict::Goto(chain)) => self.verdict(data::GOTO, Some(chain)),
            None => {}
        }
        Ok(())
    }

    fn criterion(&mut self, criterion: &Match) -> Result<(), Unfit> {
        match criterion {
            Match::Family(family) => {
                let number = match family {
                    Family::V4 => 2,
                    Family::V6 => 10,
                };
                self.meta(META_NFPROTO, FIRST);
                self.compare(EQUAL, &[number]);
            }
            Match::Interface { way, not, name } => self.interface(*way, *not, name)?,
            Match::Protocol { not, number } => {
                self.meta(META_L4PROTO, FIRST);
                self.compare(equal(*not), &[*number]);
            }
            Match::Nets { side, not, nets } => self.nets(*side, *not, nets)?,
            Match::AddressSet { side, not, set, family } => {
                self.address(*side, *family, FIRST);
                self.look_up(&Look::Named(set), *not);
            }
            Match::AddressPortSet { side, not, set, family } => {
                let words = address_length(*family) / 4;
                self.address(*side, *family, FIRST);
                self.meta(META_L4PROTO, register(words));
                self.payload(TRANSPORT, port_offset(*side), 2, register(words + 1));
                self.look_up(&Look::Named(set), *not);
            }
            Match::InterfaceSourceSet { not, set, family, nets: _ } => {
                self.meta(META_IIFNAME, FIRST);
                self.address(Side::Source, *family, register(4));
                self.look_up(&Look::Named(set), *not);
            }
            Match::Ports { side, not, ranges } => self.ports(*side, *not, ranges)?,
            Match::Icmp { not, kind, code } => self.icmp(*not, *kind, *code)?,
            Match::Connection(states) => self.connection(states),
            Match::Mark(bits) => {
                self.meta(META_MARK, FIRST);
                self.mask(&bits.to_ne_bytes());
                self.compare(EQUAL, &bits.to_ne_bytes());
            }
            Match::ReversePath { not } => self.reverse_path(*not),
            Match::Limit(limit) => self.limit(limit),
        }
        Ok(())
    }

    fn interface(&mut self, way: Way, not: bool, name: &InterfaceMatch) -> Result<(), Unfit> {
        self.meta(interface_name(way), FIRST);
        match name {
            InterfaceMatch::Exact(name) => {
                let key = Key::interface(name)?;
                self.compare(equal(not), key.bytes());
            }
            InterfaceMatch::Prefix(name) if name.is_empty() || name.len() >= INTERFACE => {
                return Err(Unfit::Interface(name.to_string()));
            }
            InterfaceMatch::Prefix(name) => self.compare(equal(not), name.as_bytes()),
        }
        Ok(())
    }

    fn nets(&mut self, side: Side, not: bool, nets: &[IpNet]) -> Result<(), Unfit> {
        let first = nets.first().ok_or(Unfit::Empty)?;
        let family = Family::of(first.addr());
        match nets {
            [net] => self.net(side, family, not, net),
            _ => {
                self.address(side, family, FIRST);
                self.look_up_anonymous(not)?;
            }
        }
        Ok(())
    }

    /// As nft does it: of whole bytes only these are loaded; other nets are masked.
    fn net(&mut self, side: Side, family: Family, not: bool, net: &IpNet) {
        let (key, bits) = (Key::address(net.network()), usize::from(net.prefix_len()));
        if bits > 0 && bits.is_multiple_of(8) {
            let bytes = bits / 8;
            self.payload(NETWORK, address_offset(side, family), bytes, FIRST);
            self.compare(equal(not), key.bytes().get(..bytes).unwrap_or_default());
            return;
        }
        self.address(side, family, FIRST);
        self.mask(Key::address(net.netmask()).bytes());
        self.compare(equal(not), key.bytes());
    }

    fn ports(&mut self, side: Side, not: bool, ranges: &[(u16, u16)]) -> Result<(), Unfit> {
        self.payload(TRANSPORT, port_offset(side), 2, FIRST);
        match ranges {
            [] => return Err(Unfit::Empty),
            [(first, last)] if first == last => self.compare(equal(not), &first.to_be_bytes()),
            [(first, last)] if not => self.outside(&first.to_be_bytes(), &last.to_be_bytes()),
            [(first, last)] => {
                self.compare(AT_LEAST, &first.to_be_bytes());
                self.compare(AT_MOST, &last.to_be_bytes());
            }
            _ => self.look_up_anonymous(not)?,
        }
        Ok(())
    }

    /// Not a certain pair: a set, because nft prints a comparison of two bytes as if each of them
    /// had to be another.
    fn icmp(&mut self, not: bool, kind: u8, code: Option<u8>) -> Result<(), Unfit> {
        match code {
            None => {
                self.payload(TRANSPORT, 0, 1, FIRST);
                self.compare(equal(not), &[kind]);
            }
            Some(code) if !not => {
                self.payload(TRANSPORT, 0, 2, FIRST);
                self.compare(EQUAL, &[kind, code]);
            }
            Some(_) => {
                self.payload(TRANSPORT, 0, 1, FIRST);
                self.payload(TRANSPORT, 1, 1, register(1));
                self.look_up_anonymous(not)?;
            }
        }
        Ok(())
    }

    fn connection(&mut self, states: &[ConnectionState]) {
        let mask = states.iter().fold(0_u32, |mask, state| mask | state_bit(*state));
        self.expression("ct", |ct| {
            ct.u32(1, FIRST);
            // `NFT_CT_STATE`.
            ct.u32(2, 0);
        });
        self.mask(&mask.to_ne_bytes());
        self.compare(NOT_EQUAL, &[0; 4]);
    }

    fn reverse_path(&mut self, not: bool) {
        self.expression("fib", |fib| {
            fib.u32(1, FIRST);
            // `NFT_FIB_RESULT_OIF`.
            fib.u32(2, 1);
            fib.u32(3, FIB_SOURCE_BY_INTERFACE_EXISTS);
        });
        self.compare(EQUAL, &u32::from(!not).to_ne_bytes());
    }

    fn limit(&mut self, limit: &Limit) {
        self.expression("limit", |body| {
            body.u64(1, limit.packets);
            body.u64(2, limit.seconds);
            body.u32(3, limit.burst);
            // Of packets, no flags.
            body.u32(4, 0);
            body.u32(5, 0);
        });
    }

    fn statement(&mut self, statement: &Statement, counter: Counter) {
        match statement {
            Statement::Counter => self.expression("counter", |body| {
                body.u64(1, counter.bytes);
                body.u64(2, counter.packets);
            }),
            Statement::Log { prefix, level } => self.expression("log", |body| {
                body.text(2, &crate::text::quotable(prefix));
                body.u32(5, u32::from(*level));
            }),
            Statement::Nflog { group, prefix, length } => self.expression("log", |body| {
                body.u16(1, *group);
                body.text(2, &crate::text::quotable(prefix));
                if *length > 0 {
                    body.u32(3, *length);
                }
            }),
            Statement::NoTrack => self.expression("notrack", |_| {}),
            Statement::SetMark(bits) => self.change_mark(!bits, *bits),
            Statement::ClearMark(bits) => self.change_mark(!bits, 0),
        }
    }

    /// Keeps some bits of the packet's mark and flips others.
    fn change_mark(&mut self, keep: u32, flip: u32) {
        self.meta(META_MARK, FIRST);
        self.bitwise(&keep.to_ne_bytes(), &flip.to_ne_bytes());
        self.expression("meta", |body| {
            body.u32(2, META_MARK);
            // `NFTA_META_SREG`.
            body.u32(3, FIRST);
        });
    }

    fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |body| {
            body.u32(1, VERDICT);
            body.nest(2, |verdict| write_verdict(verdict, code, chain));
        });
    }

    /// `NFT_REJECT_TCP_RST`, or `NFT_REJECT_ICMPX_UNREACH` of `NFT_REJECT_ICMPX_PORT_UNREACH`.
    fn reject(&mut self, reset: bool) {
        self.expression("reject", |body| {
            body.u32(1, if reset { 1 } else { 2 });
            if !reset {
                body.attribute(2, &[1]);
            }
        });
    }

    fn dispatch(&mut self, way: Way, map: &str) {
        self.meta(interface_name(way), FIRST);
        self.expression("lookup", |body| {
            body.text(1, map);
            body.u32(2, FIRST);
            body.u32(3, VERDICT);
        });
    }

    fn meta(&mut self, key: u32, register: u32) {
        self.expression("meta", |body| {
            body.u32(1, register);
            body.u32(2, key);
        });
    }

    fn address(&mut self, side: Side, family: Family, register: u32) {
        self.payload(NETWORK, address_offset(side, family), address_length(family), register);
    }

    fn payload(&mut self, base: u32, offset: u32, length: usize, register: u32) {
        self.expression("payload", |body| {
            body.u32(1, register);
            body.u32(2, base);
            body.u32(3, offset);
            body.u32(4, u32::try_from(length).unwrap_or(u32::MAX));
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        self.bitwise(mask, &vec![0; mask.len()]);
    }

    fn bitwise(&mut self, mask: &[u8], flip: &[u8]) {
        self.expression("bitwise", |body| {
            body.u32(1, FIRST);
            body.u32(2, FIRST);
            body.u32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
            body.nest(4, |value| value.attribute(data::VALUE, mask));
            body.nest(5, |value| value.attribute(data::VALUE, flip));
        });
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        self.expression("cmp", |body| {
            body.u32(1, FIRST);
            body.u32(2, operation);
            body.nest(3, |field| field.attribute(data::VALUE, value));
        });
    }

    fn outside(&mut self, first: &[u8], last: &[u8]) {
        self.expression("range", |body| {
            body.u32(1, FIRST);
            body.u32(2, NOT_EQUAL);
            body.nest(3, |from| from.attribute(data::VALUE, first));
            body.nest(4, |to| to.attribute(data::VALUE, last));
        });
    }

    fn look_up_anonymous(&mut self, not: bool) -> Result<(), Unfit> {
        let id = self.anonymous.next().ok_or(Unfit::Empty)?;
        self.look_up(&Look::Anonymous(id), not);
        Ok(())
    }

    fn look_up(&mut self, set: &Look<'_>, not: bool) {
        self.expression("lookup", |body| {
            match set {
                Look::Named(name) => body.text(1, name),
                Look::Anonymous(id) => {
                    body.text(1, super::batch::ANONYMOUS);
                    body.u32(4, *id);
                }
            }
            body.u32(2, FIRST);
            if not {
                // `NFT_LOOKUP_F_INV`.
                body.u32(5, 1);
            }
        });
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Messages)) {
        self.messages.nest(LIST_ELEMENT, |expression| {
            expression.text(rule::EXPRESSION_NAME, name);
            expression.nest(rule::EXPRESSION_DATA, fill);
        });
    }
}

fn equal(not: bool) -> u32 {
    if not { NOT_EQUAL } else { EQUAL }
}

fn interface_name(way: Way) -> u32 {
    match way {
        Way::In => META_IIFNAME,
        Way::Out => META_OIFNAME,
    }
}

fn address_length(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

fn address_offset(side: Side, family: Family) -> u32 {
    match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    }
}

fn port_offset(side: Side) -> u32 {
    match side {
        Side::Source => 0,
        Side::Destination => 2,
    }
}

/// The register so many words behind the first one: of four bytes, or of 16 where one begins.
fn register(words: usize) -> u32 {
    let words = u32::try_from(words).unwrap_or(u32::MAX);
    if words.is_multiple_of(4) { FIRST + words / 4 } else { 8 + words }
}

/// `NF_CT_STATE_BIT` of a state.
fn state_bit(state: ConnectionState) -> u32 {
    match state {
        ConnectionState::Invalid => 1,
        ConnectionState::Established => 2,
        ConnectionState::Related => 4,
        ConnectionState::New => 8,
        ConnectionState::Untracked => 64,
    }
}
