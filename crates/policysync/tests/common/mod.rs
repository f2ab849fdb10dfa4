//! Policy to send, and clients that watch what comes of it.
#![allow(dead_code, reason = "not every test uses everything")]
#![allow(unreachable_pub, reason = "a part of each test")]

pub mod script;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tortie_calc::{
    ActivePolicy, ActiveProfile, EndpointTier, LocalEndpoint, Member, RuleSets, SetId, SetKind,
    Settings, SideSets, State, Update,
};
use tortie_policy::{
    Account, Accounts, Action, DefaultAction, EndpointId, Labels, Order, Peers, Policy, PolicyId,
    PolicyKind, Profile, Rule, Scope, Stage,
};
use tortie_policysync::client::{self, Config, Status};
use tortie_policysync::server::layout::{self, Credentials};
use tortie_policysync::server::{self, Anybody, PeerCheck, Server};
use tortie_selector::Selector;

/// Ten times what anything here should take.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn endpoint_id(name: &str) -> EndpointId {
    EndpointId { namespace: "shop".into(), name: name.into() }
}

pub fn policy_id(name: &str) -> PolicyId {
    let (kind, namespace) = (PolicyKind::NetworkPolicy, Some("shop".into()));
    PolicyId { kind, namespace, name: name.into() }
}

pub fn set_id(name: &str) -> SetId {
    SetId(name.into())
}

pub fn account(name: &str) -> Account {
    Account { namespace: "shop".into(), name: name.into() }
}

pub fn labels(pairs: &[(&str, &str)]) -> Arc<Labels> {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
}

pub fn net(n: u32) -> Member {
    Member::Net(IpAddr::from(n.to_be_bytes()).into())
}

pub fn nets(range: std::ops::Range<u32>) -> Vec<Member> {
    range.map(net).collect()
}

pub fn set(name: &str, members: Vec<Member>) -> Update {
    Update::IpSet { id: set_id(name), kind: SetKind::Net, members }
}

/// A rule that allows what comes from a set.
pub fn from_set(name: &str) -> (Rule, RuleSets) {
    let source = SideSets { included: vec![set_id(name)], ..SideSets::default() };
    (Rule::any(Action::Allow), RuleSets { source, ..RuleSets::default() })
}

/// A rule that allows service accounts by a label, in namespaces by another.
pub fn from_accounts(account_label: &str, namespace_label: &str) -> (Rule, RuleSets) {
    let selector = |label: &str| Selector::has(label).unwrap();
    let mut rule = Rule::any(Action::Allow);
    rule.source.peers = Some(Peers {
        included: None,
        excluded: None,
        scope: Some(Scope::Selected(selector(namespace_label))),
        accounts: Some(Accounts { names: Vec::new(), selector: Some(selector(account_label)) }),
        text: "some".to_owned(),
    });
    (rule, RuleSets::default())
}

pub fn policy(name: &str, rules: Vec<(Rule, RuleSets)>) -> Update {
    let (ingress, sets) = rules.into_iter().unzip();
    let policy = Policy {
        id: policy_id(name),
        tier: "default".into(),
        order: Order::LAST,
        subject: Selector::all(),
        governs_ingress: true,
        governs_egress: true,
        ingress,
        egress: Vec::new(),
        stage: Stage::Normal,
        staged: None,
    };
    Update::Policy(Arc::new(ActivePolicy {
        policy: Arc::new(policy),
        ingress: sets,
        egress: vec![],
    }))
}

pub fn profile(name: &str) -> Update {
    let rule = Rule::any(Action::Allow);
    let (ingress, egress) = (vec![rule.clone()], vec![rule]);
    let profile = Profile { name: name.into(), labels: Labels::new(), ingress, egress };
    let sets = || vec![RuleSets::default()];
    Update::Profile(Arc::new(ActiveProfile {
        profile: Arc::new(profile),
        ingress: sets(),
        egress: sets(),
    }))
}

pub fn endpoint(name: &str, policies: &[&str], profiles: &[&str]) -> Update {
    let ingress: Vec<_> = policies.iter().map(|name| policy_id(name)).collect();
    let tier = EndpointTier {
        name: "default".into(),
        default_action: DefaultAction::Deny,
        ingress,
        egress: Vec::new(),
    };
    Update::Endpoint(Arc::new(LocalEndpoint {
        id: endpoint_id(name),
        interface: "cali1".into(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        account: Some(account("default")),
        tiers: Arc::new([tier]),
        profiles: profiles.iter().map(|name| SmolStr::from(*name)).collect(),
        ports: Vec::new(),
        application_enforced: true,
        spoofed_sources: Vec::new(),
    }))
}

pub fn settings(addresses: bool) -> Update {
    Update::Settings(Arc::new(Settings { addresses, ..Settings::default() }))
}

/// A server below a folder of its own, with sockets as credentials ask for.
pub struct Agent {
    pub server: Server,
    pub folder: tempfile::TempDir,
}

pub fn fast() -> server::Config {
    server::Config { poll: Duration::from_millis(10), ..server::Config::default() }
}

impl Agent {
    pub fn new() -> Agent {
        Agent::with(fast(), Anybody)
    }

    pub fn with(config: server::Config, peers: impl PeerCheck) -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::new(config, peers);
        server.set_prefix(Some(folder.path().to_owned()));
        Agent { server, folder }
    }

    /// Ends the server, and starts another in its place.
    pub fn restart(&mut self) {
        let server = Server::new(fast(), Anybody);
        drop(std::mem::replace(&mut self.server, server));
        self.server.set_prefix(Some(self.folder.path().to_owned()));
    }

    /// The socket of a workload, once it is there.
    pub async fn socket(&self, name: &str) -> PathBuf {
        let credentials = Credentials {
            workload: name.to_owned(),
            namespace: "shop".to_owned(),
            ..Credentials::default()
        };
        layout::announce(self.folder.path(), name, &credentials).unwrap();
        let path = layout::socket_path(self.folder.path(), name);
        eventually("a socket", || path.exists()).await;
        path
    }
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client and what it was told.
pub struct Sidecar {
    pub state: watch::Receiver<Option<Arc<State>>>,
    pub status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn impatient(socket: &Path) -> Config {
    Config {
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
        patience: DEADLINE,
        gather: Duration::from_millis(20),
        ..Config::new(socket)
    }
}

impl Sidecar {
    pub fn connect(socket: &Path) -> Sidecar {
        Sidecar::with(impatient(socket))
    }

    pub fn with(config: Config) -> Sidecar {
        let (mut states, state) = watch::channel(None);
        let (statuses, status) = watch::channel(Status::new(Instant::now()));
        let task = tokio::spawn(async move { client::run(config, &mut states, statuses).await });
        Sidecar { state, status, task }
    }

    /// Waits for a state that is as wanted.
    pub async fn sees(&mut self, what: &str, wanted: impl Fn(&State) -> bool) -> Arc<State> {
        let found = self.state.wait_for(|state| state.as_deref().is_some_and(&wanted));
        match timeout(DEADLINE, found).await {
            Ok(state) => state.unwrap().clone().unwrap(),
            Err(_) => panic!("never: {what}; {:?}", self.status.borrow()),
        }
    }

    /// Waits for a status that is as wanted.
    pub async fn is(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let found = self.status.wait_for(|status| wanted(status));
        match timeout(DEADLINE, found).await {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("never: {what}"),
        }
    }

    pub fn now(&self) -> Arc<State> {
        self.state.borrow().clone().unwrap()
    }
}

/// A workload with a policy that asks for a set, and a profile.
pub fn start() -> Vec<Update> {
    vec![
        set("s:1", nets(1..5)),
        set("s:other", nets(1..3)),
        policy("p", vec![from_set("s:1")]),
        policy("other", vec![from_set("s:other")]),
        profile("kns.shop"),
        endpoint("a", &["p"], &["kns.shop"]),
        endpoint("b", &["other"], &["kns.shop"]),
        Update::InSync,
    ]
}
