//! A kernel in memory that checks what the real one checks, and fails when told to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use smol_str::SmolStr;
use tortie_nft::{
    ApplyError, Counter, Element, Found, FoundChain, FoundRule, FoundSet, Hook, Kernel, Match,
    Members, Op, Place, Rule, SetKind, Statement, Verdict,
};

pub(crate) const EINTR: i32 = 4;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const ELOOP: i32 = 40;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const ENOBUFS: i32 = 105;

/// Something that goes wrong, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The batch is refused.
    Refuse(i32),
    /// The batch is in force, but nobody is told.
    LoseAnswer,
    /// The next reading fails.
    FailRead(i32),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) chains: BTreeMap<SmolStr, MemoryChain>,
    pub(crate) sets: HashMap<SmolStr, FoundSet>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MemoryChain {
    pub(crate) hook: Option<Hook>,
    pub(crate) strange: bool,
    pub(crate) rules: Vec<MemoryRule>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemoryRule {
    pub(crate) handle: u64,
    pub(crate) rule: Arc<Rule>,
    /// Whether the rule has no mark.
    pub(crate) foreign: bool,
    pub(crate) counter: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) state: Option<State>,
    pub(crate) generation: u32,
    pub(crate) faults: VecDeque<Fault>,
    /// How often the table was read.
    pub(crate) reads: usize,
    /// All that came into force.
    pub(crate) log: Vec<Op>,
    handles: u64,
}

impl Memory {
    /// Somebody else's change.
    pub(crate) fn meddle(&mut self, change: impl FnOnce(&mut State, &mut u64)) {
        if let Some(state) = &mut self.state {
            change(state, &mut self.handles);
        }
        self.generation += 1;
    }

    /// A packet meets every rule.
    pub(crate) fn count(&mut self) {
        let chains = self.state.iter_mut().flat_map(|state| state.chains.values_mut());
        for rule in chains.flat_map(|chain| &mut chain.rules) {
            if rule.rule.statements.contains(&Statement::Counter) {
                rule.counter.packets += 1;
                rule.counter.bytes += 100;
            }
        }
    }

    fn fault(&mut self, is: fn(&Fault) -> bool) -> Option<Fault> {
        let due = self.faults.front().is_some_and(is);
        if due { self.faults.pop_front() } else { None }
    }
}

impl Kernel for Memory {
    fn generation(&mut self) -> io::Result<u32> {
        Ok(self.generation)
    }

    fn apply(&mut self, batch: &[Op]) -> Result<Vec<u64>, ApplyError> {
        let fault = self.fault(|fault| !matches!(fault, Fault::FailRead(_)));
        let refused = |step, op: &Op, code| ApplyError::Refused {
            step,
            steps: batch.len(),
            op: format!("{op:?}"),
            error: io::Error::from_raw_os_error(code),
        };
        if let Some(Fault::Refuse(code)) = fault {
            return Err(refused(batch.len() / 2, &batch[batch.len() / 2], code));
        }
        let (mut state, mut handles) = (self.state.clone(), self.handles);
        let mut added = Vec::new();
        for (step, op) in batch.iter().enumerate() {
            let handle = take(&mut state, &mut handles, op).map_err(|c| refused(step, op, c))?;
            added.extend(handle);
        }
        if let Some(state) = &state {
            check_loops(state).map_err(|code| refused(batch.len(), &batch[0], code))?;
        }
        (self.state, self.handles) = (state, handles);
        self.generation += 1;
        self.log.extend_from_slice(batch);
        match fault {
            Some(_) => Err(io::Error::from_raw_os_error(ENOBUFS).into()),
            None => Ok(added),
        }
    }

    fn read(&mut self) -> io::Result<Option<Found>> {
        self.reads += 1;
        if let Some(Fault::FailRead(code)) = self.fault(|f| matches!(f, Fault::FailRead(_))) {
            return Err(io::Error::from_raw_os_error(code));
        }
        let Some(state) = &self.state else { return Ok(None) };
        let rule = |rule: &MemoryRule| FoundRule {
            handle: rule.handle,
            mark: (!rule.foreign).then(|| rule.rule.mark()),
            counter: rule.counter,
        };
        let chain = |(name, chain): (&SmolStr, &MemoryChain)| {
            let rules = chain.rules.iter().map(rule).collect();
            (name.clone(), FoundChain { hook: chain.hook, strange: chain.strange, rules })
        };
        Ok(Some(Found {
            generation: self.generation,
            chains: state.chains.iter().map(chain).collect(),
            sets: state.sets.clone(),
        }))
    }

    fn counters(&mut self) -> io::Result<HashMap<(SmolStr, u64), Counter>> {
        let chains = self.state.iter().flat_map(|state| &state.chains);
        let rules = chains.flat_map(|(name, c)| c.rules.iter().map(move |rule| (name, rule)));
        Ok(rules.map(|(name, rule)| ((name.clone(), rule.handle), rule.counter)).collect())
    }
}

/// One step, or why not; the handle of a new rule.
fn take(state: &mut Option<State>, handles: &mut u64, op: &Op) -> Result<Option<u64>, i32> {
    match op {
        Op::AddTable => drop(state.get_or_insert_default()),
        Op::DeleteTable => drop(state.take().ok_or(ENOENT)?),
        op => return state.as_mut().ok_or(ENOENT)?.take(handles, op),
    }
    Ok(None)
}

impl State {
    fn take(&mut self, handles: &mut u64, op: &Op) -> Result<Option<u64>, i32> {
        match op {
            Op::AddTable | Op::DeleteTable => {}
            Op::AddChain(name, hook) => match self.chains.get(name) {
                Some(there) if there.hook != *hook => return Err(EEXIST),
                Some(_) => {}
                None => {
                    let chain = MemoryChain { hook: *hook, ..MemoryChain::default() };
                    self.chains.insert(name.clone(), chain);
                }
            },
            Op::DeleteChain(name) => {
                let empty = self.chain(name)?.rules.is_empty();
                if !empty || self.leads_to(name) {
                    return Err(EBUSY);
                }
                self.chains.remove(name);
            }
            Op::FlushChain(name) => self.chain(name)?.rules.clear(),
            Op::AddRule { chain, place, rule, counter } => {
                self.check(rule)?;
                *handles += 1;
                let counter = *counter;
                let rule = MemoryRule {
                    handle: *handles,
                    rule: Arc::clone(rule),
                    foreign: false,
                    counter,
                };
                let rules = &mut self.chain(chain)?.rules;
                let at = |handle: &u64| rules.iter().position(|r| r.handle == *handle);
                let index = match place {
                    Place::Last => rules.len(),
                    Place::Before(handle) => at(handle).ok_or(ENOENT)?,
                    Place::After(handle) => at(handle).ok_or(ENOENT)? + 1,
                };
                rules.insert(index, rule);
                return Ok(Some(*handles));
            }
            Op::DeleteRule { chain, handle } => {
                let rules = &mut self.chain(chain)?.rules;
                let index = rules.iter().position(|r| r.handle == *handle).ok_or(ENOENT)?;
                rules.remove(index);
            }
            Op::AddSet(name, kind) => match self.sets.get(name) {
                Some(there) if there.kind != Some(*kind) => return Err(EEXIST),
                Some(_) => {}
                None => {
                    let set = FoundSet { kind: Some(*kind), ..FoundSet::default() };
                    self.sets.insert(name.clone(), set);
                }
            },
            Op::DeleteSet(name) => {
                let used = self.rules().any(|rule| names(&rule.rule).any(|(n, _)| n == name));
                if used {
                    return Err(EBUSY);
                }
                self.sets.remove(name).ok_or(ENOENT)?;
            }
            Op::AddElements(name, kind, elements) => self.add_elements(name, *kind, elements)?,
            Op::DeleteElements(name, kind, elements) => {
                let set = self.set(name, *kind)?;
                for element in elements {
                    set.elements.remove(element).then_some(()).ok_or(ENOENT)?;
                }
            }
            Op::FlushSet(name) => flush(self.sets.get_mut(name).ok_or(ENOENT)?),
        }
        Ok(None)
    }

    fn add_elements(&mut self, name: &str, kind: SetKind, new: &[Element]) -> Result<(), i32> {
        let known = |element: &Element| match element {
            Element::Dispatch(_, chain) => self.chains.contains_key(chain),
            _ => true,
        };
        if !new.iter().all(known) {
            return Err(ENOENT);
        }
        let set = self.set(name, kind)?;
        for element in new {
            if !kind_fits(kind, element) {
                return Err(EINVAL);
            }
            if set.elements.iter().any(|e| e != *element && overlaps(&e, element)) {
                return Err(EEXIST);
            }
            set.elements.insert(element.clone());
        }
        Ok(())
    }

    fn chain(&mut self, name: &str) -> Result<&mut MemoryChain, i32> {
        self.chains.get_mut(name).ok_or(ENOENT)
    }

    fn set(&mut self, name: &str, kind: SetKind) -> Result<&mut FoundSet, i32> {
        let set = self.sets.get_mut(name).ok_or(ENOENT)?;
        if set.kind == Some(kind) { Ok(set) } else { Err(EINVAL) }
    }

    fn rules(&self) -> impl Iterator<Item = &MemoryRule> {
        self.chains.values().flat_map(|chain| &chain.rules)
    }

    /// Whether a rule or a map leads to a chain.
    fn leads_to(&self, name: &str) -> bool {
        let leads = |element: &Element| matches!(element, Element::Dispatch(_, to) if to == name);
        self.rules().any(|rule| target(&rule.rule).is_some_and(|to| to == name))
            || self.sets.values().flat_map(|set| set.elements.iter()).any(|element| leads(&element))
    }

    fn check(&self, rule: &Rule) -> Result<(), i32> {
        if let Some(to) = target(rule) {
            let chain = self.chains.get(to).ok_or(ENOENT)?;
            if chain.hook.is_some() {
                return Err(EINVAL);
            }
        }
        for (name, map) in names(rule) {
            let kind = self.sets.get(name).ok_or(ENOENT)?.kind;
            if map != (kind == Some(SetKind::Dispatch)) {
                return Err(EINVAL);
            }
        }
        Ok(())
    }
}

fn flush(set: &mut FoundSet) {
    set.elements = Members::default();
    set.strange = false;
}

/// The chain that a rule jumps to.
fn target(rule: &Rule) -> Option<&SmolStr> {
    match &rule.verdict {
        Some(Verdict::Jump(to) | Verdict::Goto(to)) => Some(to),
        _ => None,
    }
}

/// The sets that a rule names, and whether it wants a map.
fn names(rule: &Rule) -> impl Iterator<Item = (&SmolStr, bool)> {
    let sets = rule.matches.iter().filter_map(|m| match m {
        Match::AddressSet { set, .. }
        | Match::AddressPortSet { set, .. }
        | Match::InterfaceSourceSet { set, .. } => Some((set, false)),
        _ => None,
    });
    let map = match &rule.verdict {
        Some(Verdict::Dispatch { map, .. }) => Some((map, true)),
        _ => None,
    };
    sets.chain(map)
}

fn kind_fits(kind: SetKind, element: &Element) -> bool {
    match (kind, element) {
        (SetKind::Address(_), Element::Net(net)) => net.prefix_len() == net.max_prefix_len(),
        (SetKind::Net(_), Element::Net(_))
        | (SetKind::AddressPort(_), Element::AddressPort(..))
        | (SetKind::InterfaceAddress(_) | SetKind::InterfaceNet(_), Element::InterfaceNet(..))
        | (SetKind::Dispatch, Element::Dispatch(..)) => true,
        _ => false,
    }
}

fn overlaps(a: &Element, b: &Element) -> bool {
    match (a, b) {
        (Element::Net(a), Element::Net(b)) => a.contains(b) || b.contains(a),
        (Element::InterfaceNet(i, a), Element::InterfaceNet(j, b)) => {
            i == j && (a.contains(b) || b.contains(a))
        }
        (Element::Dispatch(a, _), Element::Dispatch(b, _)) => a == b,
        _ => a == b,
    }
}

fn check_loops(state: &State) -> Result<(), i32> {
    fn visit(state: &State, name: &SmolStr, path: &mut Vec<SmolStr>) -> Result<(), i32> {
        if path.contains(name) {
            return Err(ELOOP);
        }
        path.push(name.clone());
        for rule in state.chains.get(name).into_iter().flat_map(|chain| &chain.rules) {
            if let Some(to) = target(&rule.rule) {
                visit(state, to, path)?;
            }
            if let Some(Verdict::Dispatch { map, .. }) = &rule.rule.verdict {
                for element in state.sets.get(map).into_iter().flat_map(|set| set.elements.iter()) {
                    if let Element::Dispatch(_, to) = element {
                        visit(state, &to, path)?;
                    }
                }
            }
        }
        path.pop();
        Ok(())
    }
    state.chains.keys().try_for_each(|name| visit(state, name, &mut Vec::new()))
}
