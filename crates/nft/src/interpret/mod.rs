//! Walks a ruleset as the kernel would, for one packet.
//!
//! It shares nothing with the renderer but the ruleset's own types, so that each can be held against
//! the other.

mod packet;

use smol_str::SmolStr;
use tortie_policy::Side;

use crate::{
    Chain, ConnectionState, Element, Hook, HookPoint, Origin, Rule, Ruleset, Set, Statement,
    Verdict, Way,
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
    walk_translated(ruleset, packet, packet)
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
    let mut outcome = Outcome { passes: true, ..Outcome::default() };
    let mut so_far = SoFar { state: None, mark: before.mark, untracked: false };
    for base in bases(ruleset, after) {
        let (_, hook, _) = base;
        let packet = if hook.priority < TRANSLATION { before } else { after };
        let leg = leg(ruleset, packet, base, &mut so_far)?;
        outcome.untracked = so_far.untracked;
        outcome.passes = leg.verdict == Verdict::Accept;
        outcome.legs.push(leg);
        if !outcome.passes {
            break;
        }
    }
    Ok(outcome)
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
    leg(ruleset, packet, based, &mut so_far)
}

/// A base chain with its name.
type Based<'r> = (&'r SmolStr, Hook, &'r Chain);

/// What a base chain says, and what it makes of the packet.
fn leg(
    ruleset: &Ruleset,
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
    let mut walker = Walker { ruleset, packet, hook, so_far: *so_far, leg, passed };
    walker.chain(name, chain, 0)?;
    let (verdict, origin) = walker.leg.unwrap_or((Verdict::Accept, None));
    *so_far = walker.so_far;
    Ok(Leg { chain: name.clone(), verdict, origin, passed: walker.passed })
}

/// The base chains on a packet's way, in order.
fn bases<'r>(ruleset: &'r Ruleset, packet: &Packet) -> Vec<Based<'r>> {
    let points: &[HookPoint] = match (&packet.from, &packet.to) {
        (Some(_), Some(_)) => &[HookPoint::Prerouting, HookPoint::Forward],
        (Some(_), None) => &[HookPoint::Prerouting, HookPoint::Input],
        (None, _) => &[HookPoint::Output],
    };
    let mut bases = Vec::new();
    for point in points {
        let here =
            ruleset.chains.iter().filter_map(|(name, chain)| Some((name, chain.hook?, chain)));
        let mut here: Vec<_> = here.filter(|(_, hook, _)| hook.point == *point).collect();
        here.sort_by_key(|(_, hook, _)| hook.priority);
        bases.extend(here);
    }
    bases
}

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
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    hook: Hook,
    so_far: SoFar,
    /// The verdict of the base chain and what it stands for.
    leg: Option<(Verdict, Option<Origin>)>,
    passed: Vec<Origin>,
}

impl Walker<'_> {
    fn chain(&mut self, name: &SmolStr, chain: &Chain, depth: usize) -> Result<Next, Broken> {
        if depth > MAX_DEPTH {
            return Err(Broken::TooDeep(name.clone()));
        }
        for rule in &chain.rules {
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
                    Some(target) => self.enter(&target, depth),
                    None => Ok(Next::Rule),
                }
            }
        }
    }

    fn enter(&mut self, target: &SmolStr, depth: usize) -> Result<Next, Broken> {
        let chain = self.ruleset.chains.get(target);
        let chain = chain.ok_or_else(|| Broken::NoChain(target.clone()))?;
        self.chain(target, chain, depth + 1)
    }

    fn dispatched(
        &self,
        map: &SmolStr,
        interface: Option<&SmolStr>,
    ) -> Result<Option<SmolStr>, Broken> {
        let set = self.set(map)?;
        let found = set.elements.iter().find_map(|element| match element {
            Element::Dispatch(name, chain) if Some(&name) == interface => Some(chain),
            _ => None,
        });
        Ok(found)
    }

    fn set(&self, name: &SmolStr) -> Result<&Set, Broken> {
        self.ruleset.sets.get(name).ok_or_else(|| Broken::NoSet(name.clone()))
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
