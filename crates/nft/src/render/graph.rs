//! The chains that are jumped to: each is there while somebody uses it, and written anew when
//! something it was written from changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::content::{Content, Tier};
use super::output::Output;
use super::pool::Pool;
use super::write::{Input, Written};

/// Chains with who uses them and what they were written from. There are many, of which each jumps to
/// many: so chains have numbers, and what they have in common is there once.
#[derive(Debug, Default)]
pub(super) struct Graph {
    ids: HashMap<SmolStr, ChainId>,
    nodes: HashMap<ChainId, Box<Node>>,
    by_input: HashMap<Arc<Input>, BTreeSet<ChainId>>,
    tiers: Pool<Tier>,
    /// Chains to be written.
    dirty: BTreeSet<ChainId>,
    /// Chains that may have lost their last user.
    released: BTreeSet<ChainId>,
    /// The next number.
    next: u64,
}

/// The number of a chain; no other ever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ChainId(u64);

#[derive(Debug)]
struct Node {
    name: SmolStr,
    content: Content,
    users: usize,
    targets: Box<[ChainId]>,
    inputs: Box<[Arc<Input>]>,
}

impl Graph {
    /// One more user of a chain.
    pub(super) fn acquire(&mut self, content: Content) -> ChainId {
        self.acquire_named(content.name(), content)
    }

    fn acquire_named(&mut self, name: SmolStr, mut content: Content) -> ChainId {
        if let Some(id) = self.ids.get(&name) {
            if let Some(node) = self.nodes.get_mut(id) {
                node.users += 1;
            }
            return *id;
        }
        content.share(&mut self.tiers);
        let id = ChainId(self.next);
        self.next += 1;
        let (targets, inputs) = Default::default();
        let node = Node { name: name.clone(), content, users: 1, targets, inputs };
        self.nodes.insert(id, Box::new(node));
        self.ids.insert(name, id);
        self.dirty.insert(id);
        id
    }

    /// The name of a chain that is used.
    pub(super) fn name(&self, id: ChainId) -> SmolStr {
        self.nodes.get(&id).map(|node| node.name.clone()).unwrap_or_default()
    }

    /// One user less.
    pub(super) fn release(&mut self, id: ChainId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.users = node.users.saturating_sub(1);
        if node.users == 0 {
            self.released.insert(id);
        }
    }

    /// Something has changed from which chains were written.
    pub(super) fn touch(&mut self, input: &Input) {
        self.dirty.extend(self.by_input.get(input).into_iter().flatten());
    }

    /// Everything has changed.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.nodes.keys());
    }

    /// Facts have changed from which chains of host endpoints were written.
    pub(super) fn touch_hosts(&mut self) {
        let hosts = self.nodes.iter().filter(|(_, node)| node.content.is_host());
        self.dirty.extend(hosts.map(|(id, _)| id));
    }

    /// Writes what has to be written, and removes what nobody uses.
    pub(super) fn settle(&mut self, write: impl Fn(&Content) -> Written, output: &mut Output) {
        while let Some(id) = self.dirty.pop_first() {
            let Some(node) = self.nodes.get(&id).filter(|node| node.users > 0) else { continue };
            let Written { rules, targets, inputs } = write(&node.content);
            output.put_chain(&node.name, None, rules);
            self.rewire(id, targets, inputs);
        }
        while let Some(id) = self.released.pop_first() {
            if self.nodes.get(&id).is_some_and(|node| node.users == 0) {
                self.rewire(id, Vec::new(), Vec::new());
                if let Some(node) = self.nodes.remove(&id) {
                    self.ids.remove(&node.name);
                    output.drop_chain(&node.name);
                }
            }
        }
    }

    /// Notes what a chain jumps to and what it was written from.
    fn rewire(&mut self, id: ChainId, targets: Vec<(SmolStr, Content)>, inputs: Vec<Input>) {
        let targets =
            targets.into_iter().map(|(name, target)| self.acquire_named(name, target)).collect();
        let inputs: HashSet<Arc<Input>> =
            inputs.into_iter().map(|input| self.used_by(id, input)).collect();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let old_targets = std::mem::replace(&mut node.targets, targets);
        let old_inputs = std::mem::replace(&mut node.inputs, inputs.iter().cloned().collect());
        old_targets.iter().for_each(|target| self.release(*target));
        for input in old_inputs.iter().filter(|input| !inputs.contains(*input)) {
            let Some(written) = self.by_input.get_mut(input) else { continue };
            written.remove(&id);
            if written.is_empty() {
                self.by_input.remove(input);
            }
        }
    }

    /// Notes that a chain was written from something.
    fn used_by(&mut self, id: ChainId, input: Input) -> Arc<Input> {
        let known = self.by_input.get_key_value(&input).map(|(known, _)| Arc::clone(known));
        let input = known.unwrap_or_else(|| Arc::new(input));
        self.by_input.entry(Arc::clone(&input)).or_default().insert(id);
        input
    }
}
