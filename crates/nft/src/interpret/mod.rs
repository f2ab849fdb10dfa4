//! Walks a ruleset as the kernel would, for one packet.
//!
//! It shares nothing with the renderer but the ruleset's own types, so that each can be held against
//! the other.

mod packet;

use std::collections::{BTreeMap, HashMap};

use smol_str::SmolStr;
use tortie_policy::Side;

use crate::{
    Chain, ConnectionState, Element, Hook, HookPoint, Origin, Rule, Ruleset, Set, SetKind,
    Statement, Verdict, Way,
};

pub use packet::Packet;
use packet::SoFar;

/// Priority of connection tracking: what comes before it knows of no connections.
const TRACKING: i32 = -200;

/// Priority of translation of destinations.
const TRANSLATION: i32 = -100;

/// Deepest nesting of chains that the kernel takes.
const MAX_DEPTH: usize = 16;

/// What becomes of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether no base chain drops or refuses it.
    pub passes: bool,
    /// What each base chain it comes to says, in order; the last one is the one that drops it.
    pub legs: Vec<Leg>,
    /// Whether it is exempt from connection tracking.
    pub untracked: bool,
    /// How many rules were looked at.
    pub asked: usize,
}

/// What one base chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The base chain.
    pub chain: SmolStr,
    /// What becomes of the packet here: accept, drop or reject.
    pub verdict: Verdict,
    /// What the deciding rule stands for; absent if none decided, or one that stands for nothing.
    pub origin: Option<Origin>,
    /// Rules that were met on the way and let the packet go on, if they stand for something.
    pub passed: Vec<Origin>,
    /// How many rules were looked at.
    pub asked: usize,
}

/// A ruleset that cannot be walked: it refers to something that is not there, or goes in circles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A rule goes to a chain that is not there.
    #[error("there is no chain `{0}`")]
    NoChain(SmolStr),
    /// A rule asks a set that is not there.
    #[error("there is no set `{0}`")]
    NoSet(SmolStr),
    /// Chains go to each other deeper than the kernel allows.
    #[error("chain `{0}` is nested too deep")]
    TooDeep(SmolStr),
    /// A rule looks at something before it is known to be there, or has a verdict where it cannot.
    #[error("a rule of `{0}` {1}")]
    Misplaced(SmolStr, &'static str),
}

/// Walks a packet through all base chains on its way.
///
/// # Errors
/// If the ruleset is broken on the packet's way.
pub fn walk(ruleset: &Ruleset, packet: &Packet) -> Result<Outcome, Broken> {
    Index::new(ruleset).walk(packet, packet)
}

/// Walks a packet whose destination is translated on the way, as it is before that and after.
///
/// # Errors
/// If the ruleset is broken on the packet's way.
pub fn walk_translated(
    ruleset: &Ruleset,
    before: &Packet,
    after: &Packet,
) -> Result<Outcome, Broken> {
    Index::new(ruleset).walk(before, after)
}

/// Asks one base chain about a packet, as if it had come there without any exemption from tracking.
///
/// # Errors
/// If the ruleset is broken on the packet's way.
pub fn ask(ruleset: &Ruleset, base: &str, packet: &Packet) -> Result<Leg, Broken> {
    let found = ruleset.chains.get_key_value(base);
    let based = found.and_then(|(name, chain)| Some((name, chain.hook?, chain)));
    let based = based.ok_or_else(|| Broken::NoChain(base.into()))?;
    let mut so_far = SoFar { state: None, mark: packet.mark, untracked: false };
    Index::new(ruleset).leg(packet, based, &mut so_far)
}

/// A ruleset made ready for many packets: each costs what the rules cost that are about it, however
/// many workloads there are.
#[derive(Debug)]
pub struct Index<'r> {
    ruleset: &'r Ruleset,
    /// Base chains of a point, in order.
    bases: BTreeMap<HookPoint, Vec<Based<'r>>>,
    /// The chains that dispatch maps name, by map and interface.
    dispatch: HashMap<&'r str, HashMap<SmolStr, SmolStr>>,
}

impl<'r> Index<'r> {
    /// Looks at all base chains and dispatch maps once.
    pub fn new(ruleset: &'r Ruleset) -> Index<'r> {
        let mut bases: BTreeMap<_, Vec<Based<'r>>> = BTreeMap::new();
        for (name, chain) in &ruleset.chains {
            if let Some(hook) = chain.hook {
                bases.entry(hook.point).or_default().push((name, hook, chain));
            }
        }
        bases.values_mut().for_each(|here| here.sort_by_key(|(_, hook, _)| hook.priority));
        let maps = ruleset.sets.iter().filter(|(_, set)| set.kind == SetKind::Dispatch);
        let dispatch = maps.map(|(name, set)| (name.as_str(), dispatched(set))).collect();
        Index { ruleset, bases, dispatch }
    }

    /// Walks a packet through all base chains on its way: as it is before its destination is
    /// translated, and after.
    ///
    /// # Errors
    /// If the ruleset is broken on the packet's way.
    pub fn walk(&self, before: &Packet, after: &Packet) -> Result<Outcome, Broken> {
        let mut outcome = Outcome { passes: true, ..Outcome::default() };
        let mut so_far = SoFar { state: None, mark: before.mark, untracked: false };
        for base in self.bases(after) {
            let (_, hook, _) = *base;
            let packet = if hook.priority < TRANSLATION { before } else { after };
            let leg = self.leg(packet, *base, &mut so_far)?;
            outcome.untracked = so_far.untracked;
            outcome.passes = leg.verdict == Verdict::Accept;
            outcome.asked += leg.asked;
            outcome.legs.push(leg);
            if !outcome.passes {
                break;
            }
        }
        Ok(outcome)
    }

    /// The base chains on a packet's way, in order.
    fn bases(&self, packet: &Packet) -> impl Iterator<Item = &Based<'r>> {
        let points: &[HookPoint] = match (&packet.from, &packet.to) {
            (Some(_), Some(_)) => &[HookPoint::Prerouting, HookPoint::Forward],
            (Some(_), None) => &[HookPoint::Prerouting, HookPoint::Input],
            (None, _) => &[HookPoint::Output],
        };
        points.iter().filter_map(|point| self.bases.get(point)).flatten()
    }

    /// What a base chain says, and what it makes of the packet.
    fn leg(
        &self,
        packet: &Packet,
        (name, hook, chain): Based<'_>,
        so_far: &mut SoFar,
    ) -> Result<Leg, Broken> {
        so_far.state = match (hook.priority > TRACKING, so_far.untracked) {
            (false, _) => None,
            (true, true) => Some(ConnectionState::Untracked),
            (true, false) => Some(packet.state),
        };
        let (passed, leg) = (Vec::new(), None);
        let mut walker =
            Walker { index: self, packet, hook, so_far: *so_far, leg, passed, asked: 0 };
        walker.chain(name, chain, 0)?;
        let (verdict, origin) = walker.leg.unwrap_or((Verdict::Accept, None));
        *so_far = walker.so_far;
        let Walker { passed, asked, .. } = walker;
        Ok(Leg { chain: name.clone(), verdict, origin, passed, asked })
    }
}

/// The chains that a dispatch map names, by interface.
fn dispatched(set: &Set) -> HashMap<SmolStr, SmolStr> {
    let named = set.elements.iter().filter_map(|element| match element {
        Element::Dispatch(interface, chain) => Some((interface, chain)),
        _ => None,
    });
    named.collect()
}

/// A base chain with its name.
type Based<'r> = (&'r SmolStr, Hook, &'r Chain);

/// Where the walk goes on.
enum Next {
    /// With the next rule.
    Rule,
    /// With the rule behind the last jump.
    Back,
    /// Nowhere: the base chain is done.
    Done,
}

struct Walker<'a> {
    index: &'a Index<'a>,
    packet: &'a Packet,
    hook: Hook,
    so_far: SoFar,
    /// The verdict of the base chain and what it stands for.
    leg: Option<(Verdict, Option<Origin>)>,
    passed: Vec<Origin>,
    asked: usize,
}

impl<'a> Walker<'a> {
    fn chain(&mut self, name: &SmolStr, chain: &Chain, depth: usize) -> Result<Next, Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken::TooDeep(name.clone()));
        }
        for rule in &chain.rules {
            self.asked += 1;
            self.check(name, rule)?;
            if !self.matches(rule)? {
                continue;
            }
            match self.rule(rule, depth)? {
                Next::Rule => {}
                Next::Back => return Ok(Next::Back),
                Next::Done => return Ok(Next::Done),
            }
        }
        Ok(Next::Back)
    }

    fn rule(&mut self, rule: &Rule, depth: usize) -> Result<Next, Broken> {
        for statement in &rule.statements {
            match statement {
                Statement::NoTrack => self.so_far.untracked = true,
                Statement::SetMark(bits) => self.so_far.mark |= bits,
                Statement::ClearMark(bits) => self.so_far.mark &= !bits,
                Statement::Counter | Statement::Log { .. } | Statement::Nflog { .. } => {}
            }
        }
        let decided = |walker: &mut Self, verdict| {
            walker.leg = Some((verdict, rule.origin.as_deref().cloned()));
            Ok(Next::Done)
        };
        match &rule.verdict {
            None => {
                self.passed.extend(rule.origin.as_deref().cloned());
                Ok(Next::Rule)
            }
            Some(verdict @ (Verdict::Accept | Verdict::Drop | Verdict::Reject)) => {
                decided(self, verdict.clone())
            }
            Some(Verdict::Return) => {
                self.passed.extend(rule.origin.as_deref().cloned());
                match depth {
                    0 => decided(self, Verdict::Accept),
                    _ => Ok(Next::Back),
                }
            }
            Some(Verdict::Jump(target)) => match self.enter(target, depth)? {
                Next::Done => Ok(Next::Done),
                Next::Rule | Next::Back => Ok(Next::Rule),
            },
            Some(Verdict::Goto(target)) => self.enter(target, depth),
            Some(Verdict::Dispatch { way, map }) => {
                let interface = match way {
                    Way::In => &self.packet.from,
                    Way::Out => &self.packet.to,
                };
                match self.dispatched(map, interface.as_ref())? {
                    Some(target) => self.enter(target, depth),
                    None => Ok(Next::Rule),
                }
            }
        }
    }

    fn enter(&mut self, target: &SmolStr, depth: usize) -> Result<Next, Broken> {
        let chain = self.index.ruleset.chains.get(target);
        let chain = chain.ok_or_else(|| Broken::NoChain(target.clone()))?;
        self.chain(target, chain, depth + 1)
    }

    fn dispatched(
        &self,
        map: &SmolStr,
        interface: Option<&SmolStr>,
    ) -> Result<Option<&'a SmolStr>, Broken> {
        let map =
            self.index.dispatch.get(map.as_str()).ok_or_else(|| Broken::NoSet(map.clone()))?;
        Ok(interface.and_then(|interface| map.get(interface)))
    }

    fn set(&self, name: &SmolStr) -> Result<&'a Set, Broken> {
        self.index.ruleset.sets.get(name).ok_or_else(|| Broken::NoSet(name.clone()))
    }

    /// What the kernel would not take, or would read differently.
    fn check(&self, chain: &SmolStr, rule: &Rule) -> Result<(), Broken> {
        let misplaced = |what| Err(Broken::Misplaced(chain.clone(), what));
        let early = self.hook.point == HookPoint::Prerouting;
        if early && rule.verdict == Some(Verdict::Reject) {
            return misplaced("refuses packets too early");
        }
        if self.hook.priority > TRACKING && rule.statements.contains(&Statement::NoTrack) {
            return misplaced("exempts packets from tracking too late");
        }
        let (mut protocol, mut family) = (None, None);
        for matched in &rule.matches {
            match packet::needs(matched) {
                packet::Needs::Ports if protocol.is_none() => {
                    return misplaced("looks at ports before the protocol");
                }
                packet::Needs::Icmp if !matches!(protocol, Some(1 | 58)) => {
                    return misplaced("looks at ICMP before the protocol");
                }
                packet::Needs::Family(wanted) if family != Some(wanted) => {
                    return misplaced("looks at addresses before their family");
                }
                packet::Needs::Tracking if self.so_far.state.is_none() => {
                    return misplaced("asks about connections too early");
                }
                packet::Needs::Nothing(p, f) => {
                    protocol = p.or(protocol);
                    family = f.or(family);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn matches(&self, rule: &Rule) -> Result<bool, Broken> {
        for matched in &rule.matches {
            let set = packet::set_of(matched).map(|name| self.set(name)).transpose()?;
            if !self.packet.meets(matched, set, self.so_far) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The end of a packet that a side is.
fn address(packet: &Packet, side: Side) -> std::net::IpAddr {
    match side {
        Side::Source => packet.source,
        Side::Destination => packet.destination,
    }
}
