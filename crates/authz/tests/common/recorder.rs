//! Records checks and changes of policy, and says which verdicts no policy in force explains.
//!
//! A check is right if its verdict is the reference evaluator's under some generation of policy that
//! was in force between its request and its answer.

use std::sync::atomic::{AtomicU64, Ordering};

use tortie_client::files::load_text;
use tortie_policy::{
    Address, Cluster, Direction, EndpointId, HttpRequest, Principal, Protocol, Request, Trust,
    evaluate,
};
use tortie_proto::ext_authz::CheckRequest;

use super::{ATTACK, BANK, CUSTOMER, DATABASE, SUMMARY, http, spiffe, tcp};

/// Orders what several threads do.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A change of policy: some time between the two moments, `variant` came into force.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub variant: usize,
    pub begun: u64,
    pub done: u64,
}

/// A check of one of the flows, and whether it was allowed.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    pub flow: usize,
    pub allowed: bool,
    pub begun: u64,
    pub done: u64,
}

/// Which of the verdicts no policy that may have been in force explains. `changes` are in order, each
/// done before the next began; `expected` is by variant and flow.
pub fn violations(changes: &[Change], checks: &[Checked], expected: &[Vec<bool>]) -> Vec<Checked> {
    let explained = |check: &Checked| {
        // What was replaced before the check began cannot have answered it, nor what came after.
        let replaced = changes.partition_point(|change| change.done < check.begun);
        let begun = changes.partition_point(|change| change.begun < check.done);
        let valid = &changes[replaced.saturating_sub(1)..begun];
        valid.iter().any(|change| expected[change.variant][check.flow] == check.allowed)
    };
    checks.iter().filter(|check| !explained(check)).copied().collect()
}

/// Policies of the database that differ in whom they let do what. Always the same for a seed.
pub fn variants(seed: u64, count: usize) -> Vec<String> {
    let mut state = seed | 1;
    let mut pick = move |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % most
    };
    let mut rule = || {
        let action = ["Allow", "Allow", "Deny"][pick(3)];
        let account = ["summary", "customer", "attack"][pick(3)];
        let peer = format!("source: {{serviceAccounts: {{names: [{account}]}}}}");
        let net = format!("source: {{nets: [10.65.0.{}/32]}}", [1, 2, 5][pick(3)]);
        let what = ["", ", http: {methods: [GET]}", ", http: {paths: [{prefix: /v2}]}"][pick(3)];
        let what = if action == "Allow" { what } else { "" };
        format!("{{action: {action}, {}{what}}}", if pick(2) == 0 { peer } else { net })
    };
    let policy = |rules: Vec<String>| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: p}}\n\
             spec: {{selector: app == 'database', ingress: [{}]}}\n",
            rules.join(", ")
        )
    };
    (0..count).map(|_| policy((0..4).map(|_| rule()).collect())).collect()
}

/// A cluster with one of the variants.
pub fn cluster(variant: &str) -> Cluster {
    let loaded = load_text("test", [BANK, variant].join("\n---\n").as_bytes()).unwrap();
    Cluster::build(&loaded.resources).unwrap()
}

/// A flow as a message and in the words of the reference.
pub struct Flow {
    pub check: CheckRequest,
    from: &'static str,
    account: &'static str,
    http: Option<(&'static str, &'static str)>,
}

/// From three addresses, with three certificates or none, by four requests and a connection.
pub fn flows() -> Vec<Flow> {
    let requests = [
        None,
        Some(("GET", "/v2/keys")),
        Some(("PUT", "/v2/keys")),
        Some(("GET", "/")),
        Some(("GET", "/%")),
    ];
    let mut flows = Vec::new();
    for from in [SUMMARY, CUSTOMER, ATTACK] {
        for account in ["summary", "customer", ""] {
            for http in requests {
                flows.push(Flow::new(from, account, http));
            }
        }
    }
    flows
}

impl Flow {
    fn new(
        from: &'static str,
        account: &'static str,
        request: Option<(&'static str, &'static str)>,
    ) -> Flow {
        let principal = if account.is_empty() { String::new() } else { spiffe(account) };
        let check = match request {
            Some((method, path)) => http(from, &principal, method, path),
            None => tcp(from, &principal),
        };
        Flow { check, from, account, http: request }
    }

    /// What the reference says.
    fn allowed(&self, cluster: &Cluster) -> bool {
        let principal = |account: &str| match account {
            "" => Principal::Plaintext,
            account => Principal::parse(&spiffe(account)),
        };
        let own = if self.account.is_empty() { "" } else { "database" };
        let request = Request::new(
            cluster,
            &Trust::default(),
            (Address::new(self.from.parse().unwrap(), 41_234), principal(self.account)),
            (Address::new(DATABASE.parse().unwrap(), 2379), principal(own)),
            Protocol::TCP,
            self.http.map(|(method, path)| HttpRequest::new(method, path)),
        );
        let id: EndpointId = "default/database".parse().unwrap();
        let endpoint = cluster.endpoint(&id).unwrap();
        evaluate(&cluster.applicable(endpoint, Direction::Ingress), &request).allowed
    }
}

/// What the reference says, by variant and flow.
pub fn expected(clusters: &[Cluster], flows: &[Flow]) -> Vec<Vec<bool>> {
    clusters.iter().map(|c| flows.iter().map(|flow| flow.allowed(c)).collect()).collect()
}
