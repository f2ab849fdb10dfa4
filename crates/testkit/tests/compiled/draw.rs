//! What random worlds lack: network sets, services, host endpoints, shared addresses, staged
//! policies; and traffic of which not everything is known.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use tortie_policy::{
    Address, Compat, CompatPlace, CompatPoint, HttpAtNetwork, HttpRequest, Principal, Protocol,
};

/// Documents of which some are added to a world.
fn menu() -> Vec<Value> {
    let policy = |kind: &str, name: &str, namespace: Option<&str>, spec: Value| {
        let metadata = json!({"name": name, "namespace": namespace});
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec})
    };
    let global = |name: &str, spec: Value| policy("GlobalNetworkPolicy", name, None, spec);
    let set = |namespace: Option<&str>, name: &str, labels: Value, nets: Value| {
        let kind = if namespace.is_some() { "NetworkSet" } else { "GlobalNetworkSet" };
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata,
               "spec": {"nets": nets}})
    };
    let pod = |name: &str, labels: Value, account: &str, ip: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": name, "namespace": "one", "labels": labels},
               "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i",
                   "ports": [{"name": "web", "containerPort": 80}]}]},
               "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
    };
    vec![
        set(None, "wide", json!({"app": "a"}), json!(["192.0.2.0/24", "10.0.0.2/32"])),
        set(None, "all", json!({"app": "b"}), json!(["0.0.0.0/1", "2001:db8::/32"])),
        set(Some("one"), "own", json!({"role": "x"}), json!(["10.0.0.0/30", "192.0.2.200/32"])),
        pod("twin", json!({"app": "a"}), "default", "10.0.0.1"),
        pod("other", json!({"role": "xy"}), "robot", "10.0.0.2"),
        json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
               "metadata": {"name": "eth", "labels": {"app": "a", "host": "yes"}},
               "spec": {"node": "n", "interfaceName": "eth0",
                        "expectedIPs": ["192.0.2.1", "10.0.0.3"],
                        "ports": [{"name": "web", "protocol": "TCP", "port": 8080}]}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "one"},
               "spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "protocol": "TCP"}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
               "metadata": {"name": "t-1", "namespace": "one",
                            "labels": {"kubernetes.io/service-name": "t"}},
               "addressType": "IPv4", "ports": [{"port": 53, "protocol": "UDP"}],
               "endpoints": [{"addresses": ["192.0.2.1"]}, {"addresses": ["10.0.0.2"]}]}),
        global(
            "to-service",
            json!({"order": 5, "types": ["Egress"], "egress": [
            {"action": "Deny", "destination": {"services": {"name": "t", "namespace": "one"}}},
            {"action": "Allow", "destination": {"services": {"name": "s", "namespace": "one"}}},
            {"action": "Pass"}]}),
        ),
        global(
            "from-service",
            json!({"order": 6, "ingress": [
            {"action": "Allow", "source": {"services": {"name": "t", "namespace": "one"}}},
            {"action": "Deny", "source": {"services": {"name": "s", "namespace": "one"}}}]}),
        ),
        global(
            "icmp",
            json!({"order": 1, "types": ["Ingress", "Egress"], "ingress": [
            {"action": "Allow", "protocol": "ICMP", "icmp": {"type": 8}},
            {"action": "Deny", "protocol": "ICMP", "icmp": {"type": 3, "code": 4}}],
            "egress": [{"action": "Log"}, {"action": "Pass", "protocol": "ICMP", "notICMP": {"type": 8}},
            {"action": "Allow", "protocol": "TCP", "destination": {"ports": ["web", "81:8080"]}}]}),
        ),
        global(
            "names",
            json!({"order": 2, "ingress": [
            {"action": "Deny", "protocol": "TCP", "destination": {"notPorts": ["web"], "nets": ["10.0.0.1/32"]}},
            {"action": "Allow", "protocol": "TCP", "source": {"notSelector": "app == 'a'"},
             "destination": {"ports": ["web", "1:79"]}}]}),
        ),
        global(
            "doubt",
            json!({"order": 3, "tier": "default", "ingress": [
            {"action": "Pass", "source": {"selector": "role == 'x'"}},
            {"action": "Deny", "source": {"serviceAccounts": {"names": ["spare"]}}}]}),
        ),
        global(
            "requests",
            json!({"order": 4, "ingress": [
            {"action": "Allow", "http": {"methods": ["GET"], "paths": [{"exact": "/public"}]}},
            {"action": "Allow", "source": {"selector": "has(app)"},
             "http": {"paths": [{"prefix": "/public/x"}, {"prefix": "/admin"}]}}]}),
        ),
        global(
            "forwarded",
            json!({"selector": "host == 'yes'", "applyOnForward": true,
            "types": ["Ingress", "Egress"],
            "ingress": [{"action": "Allow", "source": {"selector": "app == 'b'"}}]}),
        ),
        global(
            "before-nat",
            json!({"selector": "host == 'yes'", "applyOnForward": true,
            "preDNAT": true, "types": ["Ingress"],
            "ingress": [{"action": "Deny", "protocol": "UDP"}]}),
        ),
        global(
            "untracked",
            json!({"selector": "host == 'yes'", "applyOnForward": true,
            "doNotTrack": true, "types": ["Ingress"],
            "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}]}),
        ),
        policy(
            "StagedGlobalNetworkPolicy",
            "doubt",
            None,
            json!({"order": 3, "ingress": [
            {"action": "Allow", "source": {"selector": "role == 'x'"}}]}),
        ),
        policy(
            "NetworkPolicy",
            "own",
            Some("one"),
            json!({"order": 0, "ingress": [
            {"action": "Allow", "source": {"notSelector": "app == 'b'",
                "serviceAccounts": {"selector": "kind == 'web'"}}},
            {"action": "Deny", "source": {"notNets": ["10.0.0.0/8"]}}]}),
        ),
    ]
}

/// Some of the documents, in their order.
pub(crate) fn extras() -> impl Strategy<Value = Vec<Value>> {
    let menu = menu();
    let all = menu.len();
    subsequence(menu, 0..=all)
}

/// Points of compatibility that bear on verdicts: none of them, some, or all points.
pub(crate) fn compat() -> impl Strategy<Value = Compat> {
    let points = CompatPoint::ALL.iter().copied();
    let points: Vec<_> = points.filter(|point| point.place() == CompatPlace::Verdicts).collect();
    let some = subsequence(points, 0..4).prop_map(|points| points.into_iter().collect());
    prop_oneof![Just(Compat::STRICT), some, Just(Compat::calico())]
}

/// A piece of traffic, to be asked about anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) source: (Address, &'static str),
    pub(crate) destination: (Address, &'static str),
    pub(crate) protocol: Protocol,
    pub(crate) icmp: Option<(u8, Option<u8>)>,
    pub(crate) http_at_network: HttpAtNetwork,
    pub(crate) http: Option<(&'static str, &'static str)>,
}

impl Drawn {
    pub(crate) fn principals(&self) -> [(Address, Principal); 2] {
        [self.source, self.destination].map(|(address, text)| (address, Principal::parse(text)))
    }

    pub(crate) fn http(&self) -> Option<HttpRequest<'static>> {
        self.http.map(|(method, path)| HttpRequest::new(method, path))
    }
}

const V4: [&str; 9] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "192.0.2.1",
    "192.0.2.200",
    "203.0.113.9",
    "::ffff:10.0.0.2",
];
const V6: [&str; 4] = ["fd00::1", "fd00::2", "fd00::3", "2001:db8::1"];
const PRINCIPALS: [&str; 10] = [
    "",
    "",
    "",
    "spiffe://cluster.local/ns/one/sa/default",
    "spiffe://cluster.local/ns/one/sa/robot",
    "spiffe://cluster.local/ns/two/sa/spare",
    "spiffe://cluster.local/ns/nowhere/sa/nobody",
    "spiffe://elsewhere.example/ns/one/sa/default",
    "DNS:web.example",
    "spiffe://cluster.local/workload/x",
];
const METHODS: [&str; 3] = ["GET", "PUT", "get"];
const PATHS: [&str; 9] = [
    "/",
    "/public",
    "/public/",
    "/public/x/y?z",
    "/publicity",
    "/public/../admin",
    "/%70ublic",
    "/public/%252e",
    "public",
];

fn address(texts: &'static [&'static str]) -> impl Strategy<Value = Address> {
    let ip = option::weighted(0.93, select(texts)).prop_map(|t| t.and_then(|t| t.parse().ok()));
    let port = option::weighted(0.93, select(&[53, 80, 81, 8080, 40000][..]));
    (ip, port).prop_map(|(ip, port)| Address { ip, port })
}

/// A piece of traffic.
pub(crate) fn traffic() -> impl Strategy<Value = Drawn> {
    let ends = prop_oneof![
        4 => (address(&V4), address(&V4)),
        2 => (address(&V6), address(&V6)),
        1 => (address(&V4), address(&V6)),
    ];
    let protocol = select(&[6, 6, 6, 6, 17, 1, 58, 132, 99][..])
        .prop_filter_map("a protocol", |n: u8| Protocol::parse(&n.to_string()));
    let icmp = option::of((select(&[3, 8][..]), option::of(select(&[0, 4][..]))));
    let at_network = select(&[HttpAtNetwork::Deferred, HttpAtNetwork::Unenforced][..]);
    let http = option::weighted(0.7, (select(&METHODS[..]), select(&PATHS[..])));
    let principals = (select(&PRINCIPALS[..]), select(&PRINCIPALS[..5]));
    (ends, principals, protocol, icmp, at_network, http).prop_map(
        |((source, destination), principals, protocol, icmp, http_at_network, http)| Drawn {
            source: (source, principals.0),
            destination: (destination, principals.1),
            protocol,
            icmp,
            http_at_network,
            http,
        },
    )
}

/// What is wrong with a state, to be read against any.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// Whether the map of addresses is there.
    pub(crate) addresses: bool,
    /// Positions of sets that are missing, among all of them twice as many.
    pub(crate) missing_sets: Vec<usize>,
    /// Positions of sets that are incomplete.
    pub(crate) incomplete: Vec<usize>,
    pub(crate) missing_policy: Option<usize>,
    pub(crate) missing_labels: bool,
}

/// Damage to a state: often little.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let positions = || proptest::collection::vec(0_usize..40, 0..6);
    (any::<bool>(), positions(), positions(), option::weighted(0.2, 0_usize..12), any::<bool>())
        .prop_map(|(addresses, missing_sets, incomplete, missing_policy, missing_labels)| Damage {
            addresses,
            missing_sets,
            incomplete,
            missing_policy,
            missing_labels,
        })
}
