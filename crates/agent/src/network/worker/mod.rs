//! The one writer of the kernel's table, on a thread of its own: what it waits for, and what it knows.

mod connections;
mod kernel;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tortie_calc::{Settings, Update};
use tortie_daemon::readiness::Guard;
use tortie_nft::program::Programmer;
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{Delta, Kernel};
use tortie_policy::EstablishedFlows;

use super::choices::Choices;
use super::drops::Drops;
use super::facts::Facts;
use super::flows::Flows;
use super::metrics::Metrics;
use super::places::{Map, Places};
use super::unenforced::{self, Unenforced};

/// How often the table is looked at although nobody says that it has changed.
const CHECK: Duration = Duration::from_secs(60);
/// How often counters are read.
const COUNT: Duration = Duration::from_secs(5);
/// The longest time until something is tried again.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Input {
    /// What a flush of the calculation came to.
    Updates(Vec<Update>),
    /// What the node's interfaces are now.
    Facts(Facts),
    /// Somebody else has changed the table, or may have.
    Meddled,
    /// The agent ends.
    End,
}

/// What is still to be done.
#[derive(Debug, Default)]
struct Tasks {
    updates: Vec<Update>,
    facts: Option<Facts>,
    /// Whether the table has to be compared with what it should be.
    check: bool,
    end: bool,
}

impl Tasks {
    fn add(&mut self, input: Input) {
        match input {
            Input::Updates(updates) => self.updates.extend(updates),
            Input::Facts(facts) => self.facts = Some(facts),
            Input::Meddled => self.check = true,
            Input::End => self.end = true,
        }
    }
}

/// Renders and programs.
pub(super) struct Worker<K> {
    renderer: Renderer,
    choices: Choices,
    /// What they come to with the settings.
    options: Options,
    places: Places,
    unenforced: Unenforced,
    /// How many workloads policy is not enforced for.
    beyond: usize,
    facts: Option<Facts>,
    in_sync: bool,
    /// The number of the resources that the ruleset is of.
    revision: u64,
    programmer: Programmer<K>,
    /// What changed of the ruleset since the programmer was last told.
    delta: Delta,
    /// Whether the table has to be compared with what it should be.
    check: bool,
    failures: u32,
    /// When to try again, after a failure.
    retry: Option<Instant>,
    next_check: Instant,
    next_count: Instant,
    drops: Drops,
    flows: Flows,
    /// Whether connections that policy denies are cut, once it is known.
    cuts: Option<bool>,
    /// Whether policy has changed since such were looked for.
    cut_due: bool,
    /// Addresses that workloads have given up, whose connections are still there.
    gone: BTreeSet<IpAddr>,
    /// When to look at connections, if that is due.
    next_flows: Option<Instant>,
    /// Not before this, lest nothing else be done.
    rest: Instant,
    metrics: Metrics,
    guard: Guard,
}

impl<K: Kernel> Worker<K> {
    pub(super) fn new(kernel: K, choices: Choices, metrics: Metrics, guard: Guard) -> Worker<K> {
        let now = Instant::now();
        let options = choices.options();
        Worker {
            renderer: Renderer::new(options.clone()),
            flows: Flows::new(&choices.state),
            choices,
            options,
            places: Places::default(),
            unenforced: Unenforced::default(),
            beyond: 0,
            facts: None,
            in_sync: false,
            revision: 0,
            programmer: Programmer::new(kernel),
            delta: Delta::default(),
            check: false,
            failures: 0,
            retry: None,
            next_check: now + CHECK,
            next_count: now + COUNT,
            drops: Drops::default(),
            cuts: None,
            cut_due: false,
            gone: BTreeSet::new(),
            next_flows: None,
            rest: now,
            metrics,
            guard,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) {
        while let Some(tasks) = self.wait(inputs) {
            if tasks.end {
                break;
            }
            self.take(tasks);
            if self.knows_enough() {
                self.work();
            }
        }
        if let Err(error) = self.flows.strict(false) {
            tracing::error!(%error, "nf_conntrack_tcp_loose stays as it is");
        }
    }

    /// Whether the ruleset is what it should be, so that it may take the place of what is there.
    fn knows_enough(&self) -> bool {
        self.in_sync && self.facts.is_some()
    }

    /// Waits for something to do; nothing if nobody can say so any more.
    fn wait(&self, inputs: &Receiver<Input>) -> Option<Tasks> {
        let mut tasks = Tasks::default();
        if self.knows_enough() {
            let due = self.next_check.min(self.next_count);
            let others = [self.retry, self.next_flows, self.unenforced.due()];
            let due = others.into_iter().flatten().fold(due, Instant::min);
            match inputs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(input) => tasks.add(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            tasks.add(inputs.recv().ok()?);
        }
        while let Ok(input) = inputs.try_recv() {
            tasks.add(input);
        }
        Some(tasks)
    }

    /// Takes in what has been told.
    fn take(&mut self, tasks: Tasks) {
        let Tasks { updates, facts, check, end: _ } = tasks;
        self.check |= check;
        let moved = self.places.update(&updates);
        if !moved.gone.is_empty() {
            self.gone.extend(moved.gone);
            self.next_flows.get_or_insert(self.rest);
        }
        if !updates.is_empty() {
            let mut settings = None;
            for update in &updates {
                match update {
                    Update::InSync => self.in_sync = true,
                    Update::Settings(new) => settings = Some(Arc::clone(new)),
                    _ => {}
                }
            }
            self.renderer.update(&updates, &mut self.delta);
            settings.into_iter().for_each(|settings| self.settings(&settings));
        }
        let known = facts.is_some();
        self.facts = facts.or(self.facts.take());
        // Whether bridges are filtered nobody tells.
        if known || moved.changed || check {
            self.locate();
        }
    }

    /// Finds out where workloads are.
    fn locate(&mut self) {
        let Some(facts) = &self.facts else { return };
        let filtered = unenforced::filtered();
        let Map { interfaces, beyond } = self.places.map(facts, &self.options.prefixes, filtered);
        self.renderer.interfaces(interfaces, &mut self.delta);
        self.unenforced.update(beyond, Instant::now());
    }

    /// Takes in settings of the node.
    fn settings(&mut self, settings: &Settings) {
        self.revision = settings.revision;
        let options = self.choices.with(&settings.host);
        if options != self.options {
            tracing::info!(?options, "settings of the node");
            self.options = options;
            self.renderer.options(self.options.clone(), &mut self.delta);
        }
        let cuts = settings.established == EstablishedFlows::Cut;
        if self.cuts == Some(cuts) {
            return;
        }
        self.cuts = Some(cuts);
        self.cut_due = cuts;
        if cuts {
            self.next_flows.get_or_insert(self.rest);
        }
        if let Err(error) = self.flows.strict(cuts) {
            tracing::error!(
                %error,
                hint = "make /proc/sys/net and the folder of the agent's state writable for it",
                "nf_conntrack_tcp_loose: TCP connections that are cut may be taken up again from \
                 their other end, or the parameter may stay switched off after the agent"
            );
        }
    }

    /// Does what is due.
    fn work(&mut self) {
        let now = Instant::now();
        if now >= self.next_check {
            self.next_check = now + CHECK;
            self.check = true;
            self.locate();
        }
        let waits = self.retry.is_some_and(|retry| retry > now);
        let due = self.check || !self.delta.is_empty() || self.retry.is_some() || !self.is_ready();
        if due && !waits {
            match self.program() {
                Ok(()) => self.succeeded(),
                Err(error) => self.failed(&error),
            }
        } else if !due {
            // What came last made no difference to the kernel.
            self.metrics.revision(self.revision);
        }
        self.beyond = self.unenforced.tell(now);
        self.say_whether_ready();
        if self.retry.is_none() && self.next_flows.is_some_and(|next| now >= next) {
            self.next_flows = None;
            self.look_at_flows();
        }
        if now >= self.next_count {
            self.next_count = now + COUNT;
            self.count();
        }
    }

    fn is_ready(&self) -> bool {
        self.metrics.is_ready()
    }
}
