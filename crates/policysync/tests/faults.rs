//! Agents and sidecars that go, freeze, and talk nonsense.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::script::{Scripted, bytes, join};
use common::{
    Agent, Sidecar, endpoint, endpoint_id, eventually, fast, from_set, impatient, net, nets,
    policy, policy_id, set, set_id, settings, start,
};
use prost::Message;
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tortie_calc::{State, Update};
use tortie_policy::{Compat, CompatPoint, Rule};
use tortie_policysync::client::{Config, Link};
use tortie_policysync::server::OwnPod;
use tortie_policysync::server::layout::{self, Credentials};
use tortie_policysync::wire::{Decoder, encode};
use tortie_proto::felix::to_dataplane::Payload;
use tortie_proto::felix::{
    ActivePolicyRemove, ActivePolicyUpdate, DataplaneStats, IpSetDeltaUpdate, IpSetRemove,
    PolicyId, ReportResult, ServiceAccountUpdate, TierInfo, ToDataplane, WorkloadEndpoint,
    WorkloadEndpointId, WorkloadEndpointUpdate,
};

fn messages(updates: &[Update]) -> Vec<Bytes> {
    let messages = updates.iter().flat_map(encode);
    messages.map(|message| message.encode_to_vec().into()).collect()
}

// === the agent ===

#[tokio::test]
async fn what_was_told_stays_in_force_until_something_whole_replaces_it() {
    let mut agent = Agent::new();
    agent.server.update(start());
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    sidecar.sees("the start", |state| state.in_sync).await;
    agent.restart();
    let status = sidecar.is("out of date", |s| s.stale_since.is_some()).await;
    assert!(status.ever_synced);
    sidecar.is("connected again", |s| s.connections >= 2).await;
    let mut updates = vec![set("s:2", nets(1..2)), policy("q", vec![from_set("s:2")])];
    agent.server.update(updates.clone());
    assert!(sidecar.now().policies.contains_key(&policy_id("p")), "nothing half-told is in force");
    updates = vec![endpoint("a", &["q"], &[]), Update::InSync];
    agent.server.update(updates);
    let state = sidecar.sees("the new start", |s| s.policies.contains_key(&policy_id("q"))).await;
    assert_eq!((state.policies.len(), state.sets.len(), state.profiles.len()), (1, 1, 0));
    sidecar.is("current", |s| s.stale_since.is_none()).await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut sidecar = Sidecar::connect(&path);
    let status = sidecar.is("down", |s| matches!(s.link, Link::Down(_))).await;
    assert!(!status.ever_synced && status.stale_since.is_some());
    let _server = Scripted::serve(&path, vec![messages(&start())]);
    sidecar.sees("the start", |state| state.in_sync).await;
}

/// Passes bytes on, until it is told to pass nothing on any more, and says nothing of it.
async fn freezable(from: &Path, to: PathBuf) -> tokio::sync::watch::Sender<bool> {
    let listener = UnixListener::bind(from).unwrap();
    let (sender, frozen) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, mut frozen) = (to.clone(), frozen.clone());
            if *frozen.borrow() {
                held.push(near); // accepts, and says nothing
                continue;
            }
            tokio::spawn(async move {
                let mut far = UnixStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = async { drop(frozen.wait_for(|frozen| *frozen).await) } => {
                        std::future::pending().await // keeps both ends open
                    }
                }
            });
        }
    });
    sender
}

#[tokio::test]
async fn both_ends_notice_a_connection_that_is_open_at_one_end_only() {
    let config = tortie_policysync::server::Config {
        keepalive: Duration::from_millis(50),
        patience: Duration::from_millis(500),
        ..fast()
    };
    let agent = Agent::with(config, tortie_policysync::server::Anybody);
    agent.server.update(start());
    let proxy = agent.folder.path().join("proxy");
    let freeze = freezable(&proxy, agent.socket("a").await).await;
    let mut sidecar = Sidecar::with(Config {
        keepalive: Duration::from_millis(50),
        patience: Duration::from_millis(500),
        ..impatient(&proxy)
    });
    sidecar.sees("the start", |state| state.in_sync).await;
    eventually("one connection", || agent.server.numbers().sidecars == 1).await;
    freeze.send_replace(true);
    sidecar.is("out of date", |s| s.stale_since.is_some()).await;
    eventually("the server lets go", || agent.server.numbers().sidecars == 0).await;
    freeze.send_replace(false);
    sidecar.is("current", |s| s.is_synced()).await;
}

#[tokio::test]
async fn bytes_that_are_no_protocol_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut sidecar = Sidecar::connect(&path);
    for round in 0..8_u8 {
        let (mut stream, _) = listener.accept().await.unwrap();
        let garbage: Vec<u8> = (0..2000_u32).map(|n| (n * 31) as u8 ^ round).collect();
        let _ = stream.write_all(&garbage).await;
        let mut buffer = [0; 64];
        let _ = stream.read(&mut buffer).await;
    }
    drop(listener);
    std::fs::remove_file(&path).unwrap();
    let _server = Scripted::serve(&path, vec![messages(&start())]);
    sidecar.sees("the start", |state| state.in_sync).await;
}

/// What ends a connection, and what is said of it.
fn refused() -> Vec<(&'static str, Vec<Bytes>)> {
    let id = |tier: &str, kind: &str| PolicyId {
        old_tier: tier.into(),
        name: "x".into(),
        kind: kind.into(),
        ..Default::default()
    };
    let policy_update = |id| {
        bytes(Payload::ActivePolicyUpdate(ActivePolicyUpdate {
            id,
            policy: Some(Default::default()),
        }))
    };
    let remove = |id| bytes(Payload::ActivePolicyRemove(ActivePolicyRemove { id: Some(id) }));
    let set_remove = || bytes(Payload::IpsetRemove(IpSetRemove { id: "s:1".into() }));
    let delta = IpSetDeltaUpdate { id: "s:none".into(), ..Default::default() };
    vec![
        ("not a message", vec![Bytes::from_static(b"\xff\xff\xff")]),
        ("not a message", vec![Bytes::from_static(b"\x3a\x05abc")]),
        ("`id` is missing", vec![policy_update(None)]),
        ("up to 3.31", vec![policy_update(Some(id("default", "")))]),
        ("up to 3.31", vec![policy_update(Some(id("", "")))]),
        ("no kind of policy", vec![policy_update(Some(id("", "Edict")))]),
        ("up to 3.31", vec![old_tiers()]),
        ("out of order", vec![bytes(Payload::IpsetDeltaUpdate(delta))]),
        ("out of order", vec![remove(id("", "NetworkPolicy"))]),
        ("out of order", vec![set_remove()]),
        ("out of order", vec![set_remove(), set_remove()]),
        (
            "`id` is missing",
            vec![bytes(Payload::ServiceAccountUpdate(ServiceAccountUpdate::default()))],
        ),
    ]
}

/// An endpoint as Calico 3.31 sends it, whose tiers list names.
fn old_tiers() -> Bytes {
    let message = ToDataplane {
        payload: Some(Payload::WorkloadEndpointUpdate(WorkloadEndpointUpdate {
            id: Some(WorkloadEndpointId { workload_id: "shop/a".into(), ..Default::default() }),
            endpoint: Some(WorkloadEndpoint {
                tiers: vec![TierInfo { name: "default".into(), ..Default::default() }],
                ..Default::default()
            }),
        })),
        ..Default::default()
    };
    // `default.pol` in the place of the tier's name, whose field is made that of the policies.
    let mut bytes = message.encode_to_vec();
    let at = bytes.windows(9).position(|w| w == b"\x0a\x07default").unwrap();
    bytes[at] = 0x12;
    bytes.into()
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_leaves_what_is_in_force() {
    for (reason, nonsense) in refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let behind = [messages(&start()), nonsense.clone()].concat();
        // Once when everything is in sync, and again and again before it is.
        let server = Scripted::serve(&path, vec![messages(&start()), behind, nonsense]);
        let mut sidecar = Sidecar::connect(&path);
        let down = |link: &Link| matches!(link, Link::Down(why) if why.contains(reason));
        sidecar.is(reason, |s| down(&s.link) && s.connections >= 3).await;
        let state = sidecar.sees("what was there", |state| state.in_sync).await;
        assert!(state.policies.contains_key(&policy_id("p")), "{reason}");
        assert_eq!(state.sets[&set_id("s:1")].members.len(), 4, "{reason}");
        drop(server);
    }
}

#[tokio::test]
async fn duplicates_that_change_nothing_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let twice = [messages(&start()), messages(&start())].concat();
    let _server = Scripted::serve(&path, vec![twice.clone()]);
    let mut sidecar = Sidecar::connect(&path);
    let count = twice.len() as u64;
    eventually("all of it", || sidecar.status.borrow().messages == count).await;
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    assert_eq!((state.policies.len(), sidecar.status.borrow().connections), (2, 1));
}

#[tokio::test]
async fn what_is_named_but_never_told_is_no_reason_to_do_without_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let updates =
        [policy("p", vec![from_set("s:none")]), endpoint("a", &["p", "none"], &[]), Update::InSync];
    let _server = Scripted::serve(&path, vec![messages(&updates)]);
    let mut sidecar = Sidecar::connect(&path);
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    assert_eq!(state.endpoints[&endpoint_id("a")].tiers[0].ingress.len(), 2);
    assert_eq!(sidecar.is("counted", |s| s.dangling > 0).await.dangling, 2);
}

#[tokio::test]
async fn messages_over_four_mebibytes_are_taken() {
    let agent = Agent::new();
    let mut rule = Rule::any(tortie_policy::Action::Allow);
    rule.source.nets = (0..400_000_u32)
        .map(|n| match net(n) {
            tortie_calc::Member::Net(net) => net,
            _ => panic!(),
        })
        .collect();
    let large = policy("large", vec![(rule, Default::default())]);
    assert!(encode(&large)[0].encoded_len() > 4 << 20);
    agent.server.update([large, endpoint("a", &["large"], &[]), Update::InSync]);
    let mut sidecar = Sidecar::connect(&agent.socket("a").await);
    let state = sidecar.sees("the start", |state| state.in_sync).await;
    let policy = &state.policies[&policy_id("large")].policy;
    assert_eq!(policy.ingress[0].source.nets.len(), 400_000);
}

// === sidecars ===

#[tokio::test]
async fn a_sidecar_that_never_reads_delays_nobody_and_catches_up() {
    let agent = Agent::new();
    // More than fits on the way.
    agent.server.update([
        set("s:1", nets(0..500_000)),
        policy("p", vec![from_set("s:1")]),
        set("s:2", nets(0..1)),
        policy("q", vec![from_set("s:2")]),
        endpoint("stuck", &["p"], &[]),
    ]);
    agent.server.update((0..20).map(|n| endpoint(&format!("n{n}"), &["q"], &[])));
    agent.server.update([Update::InSync]);
    let mut stuck = join(&agent.socket("stuck").await).await;
    eventually("it joins", || agent.server.numbers().sidecars == 1).await;
    let mut others = Vec::new();
    for n in 0..20 {
        others.push(Sidecar::connect(&agent.socket(&format!("n{n}")).await));
    }
    for n in 1..50 {
        let delta = |id: &str| Update::IpSetDelta {
            id: set_id(id),
            added: vec![net(1_000_000 + n)],
            removed: vec![net(n - 1)],
        };
        agent.server.update([delta("s:1"), delta("s:2")]);
    }
    for other in &mut others {
        let last = net(1_000_049);
        other.sees("the last change", |s| s.sets[&set_id("s:2")].members.contains(&last)).await;
    }
    let (mut state, mut decoder) = (State::default(), Decoder::new(Compat::STRICT));
    while !state.in_sync {
        let message = stuck.message().await.unwrap().unwrap();
        for update in decoder.decode_bytes(&message).unwrap().updates {
            state.apply(update).unwrap();
        }
    }
    let members = &state.sets[&set_id("s:1")].members;
    assert_eq!(members.len(), 500_000);
    assert!(members.contains(&net(1_000_049)) && !members.contains(&net(48)));
}

#[tokio::test]
async fn thousands_come_and_go() {
    let agent = Agent::new();
    agent.server.update(start());
    let socket = agent.socket("a").await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for n in 0..3000 {
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        if n % 3 == 0 {
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        }
    }
    for _ in 0..300 {
        // A joined stream is dropped at once, with its connection.
        drop(join(&socket).await);
    }
    eventually("all are gone", || agent.server.numbers().sidecars == 0).await;
    // Other tests of this program have some open, too.
    eventually("nothing stays open", || open() <= before + 200).await;
    let mut sidecar = Sidecar::connect(&socket);
    sidecar.sees("the start", |state| state.in_sync).await;
}

#[tokio::test]
async fn strangers_are_refused_unless_compatibility_lets_them_in() {
    let agent = Agent::with(fast(), OwnPod);
    agent.server.update(start());
    let prefix = agent.folder.path();
    let credentials = |namespace: &str| Credentials {
        workload: "a".into(),
        namespace: "shop".into(),
        network_namespace: namespace.into(),
        ..Credentials::default()
    };
    layout::announce(prefix, "own", &credentials("/proc/self/ns/net")).unwrap();
    layout::announce(prefix, "other", &credentials("/proc/self/ns/mnt")).unwrap();
    let [own, other] = ["own", "other"].map(|id| layout::socket_path(prefix, id));
    eventually("sockets", || own.exists() && other.exists()).await;
    Sidecar::connect(&own).sees("the start", |state| state.in_sync).await;
    let mut stranger = Sidecar::connect(&other);
    eventually("a refusal", || agent.server.numbers().refused > 0).await;
    assert!(!stranger.status.borrow().ever_synced);
    let Update::Settings(mut lenient) = settings(false) else { panic!() };
    std::sync::Arc::make_mut(&mut lenient).compat = CompatPoint::SocketPeer.into();
    agent.server.update([Update::Settings(lenient)]);
    stranger.sees("the start", |state| state.in_sync).await;
}

#[tokio::test]
async fn reports_are_taken() {
    let agent = Agent::new();
    let socket = agent.socket("a").await;
    let endpoint = format!("unix:{}", socket.display());
    let channel =
        tonic::transport::Endpoint::from_shared(endpoint).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let stats = DataplaneStats { src_ip: "10.0.0.1".into(), ..Default::default() }.encode_to_vec();
    let path = "/felix.PolicySync/Report".try_into().unwrap();
    let request = tonic::Request::new(Bytes::from(stats));
    let answer = grpc.unary(request, path, common::script::Raw).await.unwrap().into_inner();
    assert!(ReportResult::decode(answer).unwrap().successful);
    grpc.ready().await.unwrap();
    let path = "/felix.PolicySync/Report".try_into().unwrap();
    let request = tonic::Request::new(Bytes::from_static(b"\xff"));
    let refused = grpc.unary(request, path, common::script::Raw).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert_eq!(agent.server.numbers().reports, 1);
}
