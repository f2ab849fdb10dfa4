//! One place where policy is enforced, and what it says of traffic.

use std::net::IpAddr;

use tortie_policy::{Criterion, Direction, Policy, Side, TraceEntry, Tri, Verdict, Witness};

use super::decision::{Code, Decision};
use super::program::Program;
use super::seen::{Binding, Seen};
use super::snapshot::Snapshot;
use super::traffic::{Traffic, Workload};
use super::world::World;

/// What decides at an endpoint in one direction.
#[derive(Debug, Clone, Copy)]
pub struct Place<'s> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) world: &'s World,
    pub(super) program: &'s Program,
}

/// A decision with the way to it, in words and as data. Slow: for those who ask why.
#[derive(Debug, Clone)]
pub struct Explained {
    /// How it is answered.
    pub code: Code,
    /// What was asked; the last entry decided.
    pub trace: Vec<TraceEntry>,
    /// The same in one sentence. Holds no header, query or body.
    pub reason: String,
}

impl<'s> Place<'s> {
    /// What comes of traffic.
    pub fn decide(&self, traffic: &Traffic<'_>) -> Decision<'s> {
        self.program.decide(&Seen::new(self.world, traffic))
    }

    /// What comes of traffic, and why.
    pub fn explain(&self, traffic: &Traffic<'_>) -> Explained {
        let seen = Seen::new(self.world, traffic);
        let decision = self.program.decide(&seen);
        let verdict = self.program.walk(&seen);
        let reason = match decision.missing {
            Some(policy) => format!("denied, {policy} applies but is not there"),
            None => verdict.reason_by(&Asked { place: self, seen: &seen }),
        };
        let trace = verdict.trace.iter().map(TraceEntry::from).collect();
        Explained { code: decision.code, trace, reason }
    }

    /// The verdict with the whole way to it.
    pub fn verdict(&self, traffic: &Traffic<'_>) -> Verdict<'s> {
        self.program.walk(&Seen::new(self.world, traffic))
    }

    /// Whether no policy applies.
    pub fn is_open(&self) -> bool {
        self.program.is_open()
    }
}

/// Traffic at a place, in answers for a reason.
struct Asked<'a> {
    place: &'a Place<'a>,
    seen: &'a Seen<'a>,
}

impl Witness for Asked<'_> {
    fn direction(&self) -> Direction {
        self.place.program.plan.direction
    }

    fn holds(&self, policy: &Policy, index: usize, criterion: Criterion) -> Tri {
        self.place.program.holds(policy, index, criterion, self.seen)
    }

    fn describe(&self, side: Side) -> String {
        let end = self.seen.end(side);
        let who = match end.ip {
            None => "an unknown address".to_owned(),
            Some(ip) => self.place.holder(ip),
        };
        let holder = |w: &Workload<'_>| format!("{}/{}", w.namespace, w.name);
        match &end.binding {
            Binding::Address => who,
            Binding::Both(workload) | Binding::Unplaced(workload) => {
                format!("{who} with the certificate of {}", holder(workload))
            }
            Binding::Stolen(workload) => {
                let holder = holder(workload);
                format!("{who} with the certificate of {holder}, which is not its own")
            }
            Binding::Foreign => format!("{who} with a certificate that names no workload"),
            Binding::Untrusted(workload) => {
                let domain = workload.domain;
                format!("{who} with a certificate of the foreign trust domain `{domain}`")
            }
        }
    }

    fn describe_traffic(&self) -> String {
        self.seen.traffic.to_string()
    }
}

impl Place<'_> {
    /// Who uses an address, as far as the snapshot knows.
    fn holder(&self, ip: IpAddr) -> String {
        if let Some(local) = self.snapshot.endpoint_at(ip) {
            return match &local.account {
                Some(account) => format!("{} (service account `{}`, {ip})", local.id, account.name),
                None => format!("{} ({ip})", local.id),
            };
        }
        match (&self.world.addresses, self.world.claims(ip)) {
            (None, _) => ip.to_string(),
            (Some(_), []) => format!("{ip}, the address of no known workload"),
            (Some(_), [account]) => format!("{ip}, of service account {account}"),
            (Some(_), _) => format!("{ip}, which several workloads claim"),
        }
    }
}
