//! What the kernel does with flows, held against what the reference evaluator says of them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::ensure;
use tortie_nft::Netlink;
use tortie_nft::program::Programmer;
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{Delta, Ruleset};
use tortie_testkit::network::{Asked, Network, Scene, Unfit};

/// What was found so far.
#[derive(Default)]
pub(crate) struct Tally {
    /// Flows tried, and how many of them were to pass.
    pub(crate) probes: usize,
    pub(crate) allowed: usize,
    /// Flows that were answered.
    pub(crate) answered: usize,
    /// By protocol number.
    protocols: BTreeMap<u8, usize>,
    /// Flows that could not be tried.
    pub(crate) unfit: BTreeMap<String, usize>,
    pub(crate) wrongly_allowed: Vec<String>,
    pub(crate) wrongly_denied: Vec<String>,
    /// Flows that passed, whose answers did not.
    pub(crate) unanswered: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { probes, allowed, answered, protocols, unfit, .. } = self;
        let (more, fewer) = (self.wrongly_allowed.len(), self.wrongly_denied.len());
        let lost = self.unanswered.len();
        write!(
            f,
            "{probes} probes, {allowed} to be allowed, {answered} answered; wrongly allowed: {more}, \
             wrongly denied: {fewer}, unanswered: {lost}\nby protocol: {protocols:?}\nnot tried: {unfit:?}"
        )
    }
}

impl Tally {
    /// Notes that a flow cannot be tried.
    pub(crate) fn pass_over(&mut self, why: &Unfit) {
        *self.unfit.entry(format!("{why:?}")).or_default() += 1;
    }

    /// Adds what another found.
    pub(crate) fn add(&mut self, other: Tally) {
        self.probes += other.probes;
        self.allowed += other.allowed;
        self.answered += other.answered;
        for (protocol, count) in other.protocols {
            *self.protocols.entry(protocol).or_default() += count;
        }
        for (why, count) in other.unfit {
            *self.unfit.entry(why).or_default() += count;
        }
        self.wrongly_allowed.extend(other.wrongly_allowed);
        self.wrongly_denied.extend(other.wrongly_denied);
        self.unanswered.extend(other.unanswered);
    }

    /// Every disagreement, in words.
    pub(crate) fn wrong(&self) -> String {
        let all = [&self.wrongly_allowed, &self.wrongly_denied, &self.unanswered];
        let names = ["wrongly allowed", "wrongly denied", "unanswered"];
        let told = names
            .into_iter()
            .zip(all)
            .flat_map(|(name, list)| list.iter().map(move |flow| format!("{name}: {flow}\n")));
        told.collect()
    }
}

/// The ruleset of a scene's node.
pub(crate) fn ruleset(scene: &Scene<'_>) -> Ruleset {
    let mut renderer = Renderer::new(Options::default());
    let uplink = (scene.layout.uplink.clone(), scene.layout.host.iter().copied().collect());
    let interfaces =
        Interfaces { hosts: [uplink].into(), nodes: scene.nodes.clone(), ..Interfaces::default() };
    let mut delta = Delta::default();
    renderer.interfaces(interfaces, &mut delta);
    renderer.update(&scene.updates, &mut delta);
    renderer.ruleset().clone()
}

/// Makes a node's table that of a ruleset by netlink, from whatever it was.
pub(crate) fn program(network: &Network, ruleset: &Ruleset) -> anyhow::Result<()> {
    let mut programmer = Programmer::new(network.node().within(|| Ok(Netlink::new()?))?);
    let report = programmer.update(ruleset, Delta::default())?;
    ensure!(report.refused.is_none() && !report.rewritten, "{report:?}");
    Ok(())
}

/// Has the kernel enforce a scene and tries flows in it.
pub(crate) fn judge(
    network: &mut Network,
    scene: &Scene<'_>,
    flows: &[(String, Asked)],
    tally: &mut Tally,
) -> anyhow::Result<()> {
    program(network, &ruleset(scene))?;
    try_out(network, scene, flows, tally)
}

/// Tries flows in a scene that the kernel enforces.
pub(crate) fn try_out(
    network: &mut Network,
    scene: &Scene<'_>,
    flows: &[(String, Asked)],
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let (mut probes, mut expected) = (Vec::new(), Vec::new());
    for (name, asked) in flows {
        match scene.probe(asked) {
            Ok((probe, allowed)) => {
                probes.push(probe);
                expected.push((name, asked, allowed));
            }
            Err(why) => tally.pass_over(&why),
        }
    }
    if probes.is_empty() {
        return Ok(());
    }
    network.arrange(scene.layout.clone())?;
    let outcomes = network.probe(&probes, scene.tracks_all())?;
    for ((name, asked, allowed), outcome) in expected.into_iter().zip(outcomes) {
        tally.probes += 1;
        tally.allowed += usize::from(allowed);
        *tally.protocols.entry(asked.packet.protocol).or_default() += 1;
        let told = || format!("{name}: {:?}", asked.packet);
        match (allowed, outcome.arrived, outcome.answered) {
            (false, true, _) => tally.wrongly_allowed.push(told()),
            (true, false, _) => tally.wrongly_denied.push(told()),
            (_, _, Some(false)) => tally.unanswered.push(told()),
            (_, _, answered) => tally.answered += usize::from(answered == Some(true)),
        }
    }
    Ok(())
}
