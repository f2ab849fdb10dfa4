//! The chains that are jumped to: each is there while somebody uses it, and written anew when
//! something it was written from changes.

use std::collections::{BTreeSet, HashMap, HashSet};

use smol_str::SmolStr;

use super::content::Content;
use super::output::Output;
use super::write::{Input, Written};
use crate::Chain;

/// Chains by name, with who uses them and what they were written from.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: HashMap<SmolStr, Node>,
    by_input: HashMap<Input, HashSet<SmolStr>>,
    /// Chains to be written.
    dirty: BTreeSet<SmolStr>,
    /// Chains that may have lost their last user.
    released: BTreeSet<SmolStr>,
}

#[derive(Debug)]
struct Node {
    content: Content,
    users: usize,
    targets: Vec<SmolStr>,
    inputs: Vec<Input>,
}

impl Graph {
    /// One more user of a chain. Returns its name.
    pub(super) fn acquire(&mut self, content: Content) -> SmolStr {
        let name = content.name();
        // All users share one copy of the name.
        let name = self.nodes.get_key_value(&name).map_or(name, |(known, _)| known.clone());
        match self.nodes.get_mut(&name) {
            Some(node) => node.users += 1,
            None => {
                let node = Node { content, users: 1, targets: Vec::new(), inputs: Vec::new() };
                self.nodes.insert(name.clone(), node);
                self.dirty.insert(name.clone());
            }
        }
        name
    }

    /// One user less.
    pub(super) fn release(&mut self, name: &SmolStr) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.users = node.users.saturating_sub(1);
        if node.users == 0 {
            self.released.insert(name.clone());
        }
    }

    /// Something has changed from which chains were written.
    pub(super) fn touch(&mut self, input: &Input) {
        let written = self.by_input.get(input).into_iter().flatten();
        self.dirty.extend(written.cloned());
    }

    /// Everything has changed.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.nodes.keys().cloned());
    }

    /// Facts have changed from which chains of host endpoints were written.
    pub(super) fn touch_hosts(&mut self) {
        let hosts = self.nodes.iter().filter(|(_, node)| node.content.is_host());
        self.dirty.extend(hosts.map(|(name, _)| name.clone()));
    }

    /// Writes what has to be written, and removes what nobody uses.
    pub(super) fn settle(&mut self, write: impl Fn(&Content) -> Written, output: &mut Output) {
        while let Some(name) = self.dirty.pop_first() {
            let Some(node) = self.nodes.get(&name).filter(|node| node.users > 0) else { continue };
            let Written { rules, targets, inputs } = write(&node.content);
            output.put_chain(&name, Chain { hook: None, rules });
            self.rewire(&name, targets, inputs);
        }
        while let Some(name) = self.released.pop_first() {
            if self.nodes.get(&name).is_some_and(|node| node.users == 0) {
                self.rewire(&name, Vec::new(), Vec::new());
                self.nodes.remove(&name);
                output.drop_chain(&name);
            }
        }
    }

    /// Notes what a chain jumps to and what it was written from.
    fn rewire(&mut self, name: &SmolStr, targets: Vec<Content>, mut inputs: Vec<Input>) {
        let targets: Vec<SmolStr> =
            targets.into_iter().map(|target| self.acquire(target)).collect();
        let mut seen = HashSet::new();
        inputs.retain(|input| seen.insert(input.clone()));
        let Some(node) = self.nodes.get_mut(name) else { return };
        let old_targets = std::mem::replace(&mut node.targets, targets);
        let old_inputs = std::mem::replace(&mut node.inputs, inputs.clone());
        old_targets.iter().for_each(|target| self.release(target));
        for input in old_inputs.iter().filter(|input| !seen.contains(*input)) {
            let Some(written) = self.by_input.get_mut(input) else { continue };
            written.remove(name);
            if written.is_empty() {
                self.by_input.remove(input);
            }
        }
        for input in inputs {
            self.by_input.entry(input).or_default().insert(name.clone());
        }
    }
}
