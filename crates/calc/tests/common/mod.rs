//! A calculation with somebody who listens, and who knows what it should have said.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tortie_calc::{Calculation, Key, State, Update, batch};
use tortie_model::Resource;
use tortie_policy::{Cluster, Compat};

/// A calculation, the resources it was given, and what was made of its updates.
pub(crate) struct Heard {
    pub(crate) calculation: Calculation,
    pub(crate) resources: BTreeMap<Key, Resource>,
    pub(crate) state: State,
    node: Option<String>,
    /// Whether whoever listens is told of the start.
    in_sync: bool,
}

impl Heard {
    pub(crate) fn new(node: Option<&str>) -> Heard {
        let calculation = Calculation::new(node.map(Into::into)).assigning_addresses();
        Heard {
            calculation,
            resources: BTreeMap::new(),
            state: State::default(),
            node: node.map(str::to_owned),
            in_sync: false,
        }
    }

    pub(crate) fn apply(&mut self, key: &Key, resource: Option<&Resource>) {
        self.calculation.apply(key, resource);
        match resource {
            Some(resource) => drop(self.resources.insert(key.clone(), resource.clone())),
            None => drop(self.resources.remove(key)),
        }
    }

    pub(crate) fn in_sync(&mut self) {
        self.calculation.in_sync();
        self.in_sync = true;
    }

    /// Flushes, and passes everything on in order.
    pub(crate) fn flush(&mut self) -> Result<Vec<Update>, String> {
        let mut updates = Vec::new();
        self.calculation.flush(&mut updates);
        for update in &updates {
            let applied = self.state.apply(update.clone());
            applied.map_err(|disorder| format!("{disorder} at {update:?}"))?;
        }
        if !self.in_sync && !updates.is_empty() {
            return Err("told something before everything was there".into());
        }
        Ok(updates)
    }

    /// Compares what was heard with what the resources mean, read all at once.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.in_sync {
            return Ok(());
        }
        let cluster = Cluster::build_mended(self.resources.values(), Compat::STRICT);
        let expected = text(&batch(&cluster, self.node.as_deref()), &cluster);
        let heard = text(&self.state, &cluster);
        let differences: Vec<String> = expected
            .iter()
            .filter(|(what, value)| heard.get(*what) != Some(value))
            .map(|(what, value)| format!("{what}:\n  want {value}\n  have {:?}", heard.get(what)))
            .chain(
                heard
                    .iter()
                    .filter(|(what, _)| !expected.contains_key(*what))
                    .map(|(what, value)| format!("{what}:\n  want nothing\n  have {value}")),
            )
            .collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    }

    /// Flushes and compares; a second flush must tell nothing.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        self.flush()?;
        self.check()?;
        let again = self.flush()?;
        if again.is_empty() { Ok(()) } else { Err(format!("told again: {again:?}")) }
    }
}

/// A state by what it is about, in a form that can be compared. Names of interfaces are left out,
/// and so are labels of profiles and profiles that do not exist: who enforces policy has no use for
/// them.
fn text(state: &State, cluster: &Cluster) -> BTreeMap<String, String> {
    let mut text = BTreeMap::new();
    for (id, set) in &state.sets {
        let mut members: Vec<String> = set.members.iter().map(ToString::to_string).collect();
        members.sort();
        let kind = format!("{:?} incomplete={} {members:?}", set.kind, set.incomplete);
        text.insert(format!("set {id}"), kind);
    }
    for (id, policy) in &state.policies {
        text.insert(format!("policy {id}"), format!("{policy:?}"));
    }
    for (name, profile) in &state.profiles {
        let mut rules = String::new();
        let of = &profile.profile;
        let _ = write!(rules, "{:?} {:?}", of.ingress, of.egress);
        let _ = write!(rules, " {:?} {:?}", profile.ingress, profile.egress);
        text.insert(format!("profile {name}"), rules);
    }
    let exists = |name: &str| cluster.profiles().any(|profile| profile.name == name);
    for (id, endpoint) in &state.endpoints {
        let mut endpoint = (**endpoint).clone();
        endpoint.interface = Default::default();
        endpoint.profiles.retain(|name| exists(name));
        text.insert(format!("endpoint {id}"), format!("{endpoint:?}"));
    }
    for (name, host) in &state.hosts {
        let mut host = (**host).clone();
        host.profiles.retain(|name| exists(name));
        text.insert(format!("host {name}"), format!("{host:?}"));
    }
    for (account, labels) in &state.accounts {
        text.insert(format!("account {account}"), format!("{labels:?}"));
    }
    for (name, labels) in &state.namespaces {
        text.insert(format!("namespace {name}"), format!("{labels:?}"));
    }
    for (address, accounts) in state.addresses.iter() {
        text.insert(format!("address {address}"), format!("{accounts:?}"));
    }
    text.insert("settings".into(), format!("{:?}", state.settings));
    text.insert("in sync".into(), format!("{}", state.in_sync));
    text
}

/// The same numbers for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (sides.max(1) as u64)).unwrap()
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.roll(last + 1);
            list.swap(last, other);
        }
    }
}
