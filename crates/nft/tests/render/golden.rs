//! What becomes of each construct, as text. `TORTIE_REGENERATE=1 cargo test -p tortie-nft --test render`
//! writes the files under `golden/`.

use std::path::PathBuf;
use std::sync::Arc;

use tortie_calc::{LocalEndpoint, Update, interface_name, updates};
use tortie_nft::render::{Interfaces, Options, Renderer};
use tortie_nft::{Delta, Ruleset, text};

/// Two pods, a set with nets, a service, and settings.
const WORLD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}, annotations: {sidecar.istio.io/status: '{}'}}
spec: {nodeName: n1, serviceAccountName: web, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n1, serviceAccountName: db, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: partner, labels: {role: partner}}
spec: {nets: [198.51.100.0/24, 198.51.100.128/25, 203.0.113.7/32]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{port: 5432, protocol: TCP}]}
---
";

/// Rules of a policy for everybody, under the name of the file.
const RULES: [(&str, &str); 12] = [
    ("everything", "ingress: [{action: Allow}]"),
    (
        "nets",
        "ingress: [{action: Deny, source: {nets: [10.0.0.0/8, 10.1.0.0/16, 192.0.2.1/32], notNets: [10.2.0.0/16]}}]",
    ),
    (
        "ports",
        "ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, '8080:8090', http], notPorts: [8085]}}]",
    ),
    (
        "named-port-of-any-protocol",
        "egress: [{action: Deny, destination: {notPorts: [http]}}]\n  types: [Egress]",
    ),
    (
        "selector",
        "ingress: [{action: Allow, source: {selector: app == 'web'}}, {action: Deny, source: {selector: role == 'partner'}}]",
    ),
    ("not-selector", "ingress: [{action: Allow, source: {notSelector: role == 'partner'}}]"),
    (
        "service",
        "types: [Egress]\n  egress: [{action: Allow, destination: {services: {name: db, namespace: shop}}}]",
    ),
    (
        "icmp",
        "ingress: [{action: Allow, protocol: ICMP, icmp: {type: 8}}, {action: Deny, protocol: ICMPv6, notICMP: {type: 128, code: 0}}]",
    ),
    (
        "protocols",
        "ingress: [{action: Allow, protocol: SCTP, destination: {ports: [9]}}, {action: Deny, notProtocol: UDPLite}, {action: Deny, protocol: 99, ipVersion: 6}]",
    ),
    ("http", "ingress: [{action: Allow, http: {methods: [GET]}}]"),
    ("pass", "ingress: [{action: Pass, source: {nets: [10.0.0.0/8]}}, {action: Deny}]"),
    ("log", "ingress: [{action: Log, protocol: UDP}, {action: Allow}]"),
];

/// Policies and settings besides those.
const MORE: [(&str, &str); 3] = [
    ("reject", "
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {nftablesFilterDenyAction: Reject, logPrefix: '%t %k %p', logActionRateLimit: 10/minute}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {ingress: [{action: Log}, {action: Deny, protocol: TCP}]}
"),
    ("disputed", "
apiVersion: v1
kind: Pod
metadata: {name: twin, namespace: shop, labels: {app: twin}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: doubt}
spec:
  ingress:
    - {action: Allow, source: {selector: app == 'db'}}
    - {action: Deny, source: {notSelector: app == 'web'}}
    - {action: Pass, source: {selector: app == 'web'}}
"),
    ("host", "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n1, labels: {host: 'yes'}}
spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: others, labels: {host: other}}
spec: {node: n1, interfaceName: '*'}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec:
  vxlanEnabled: true
  failsafeInboundHostPorts: [{protocol: TCP, port: 22}, {protocol: UDP, port: 68, net: 192.0.2.0/24}]
  failsafeOutboundHostPorts: [{protocol: UDP, port: 53}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: raw}
spec: {selector: host == 'yes', doNotTrack: true, applyOnForward: true, ingress: [{action: Allow, protocol: UDP}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: early}
spec: {selector: has(host), preDNAT: true, applyOnForward: true, types: [Ingress], ingress: [{action: Deny, protocol: TCP}, {action: Allow, protocol: UDP}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: forward}
spec: {selector: host == 'other', applyOnForward: true, types: [Ingress, Egress], ingress: [{action: Allow}], egress: [{action: Allow}]}
"),
];

fn rendered(yaml: &str, records: bool) -> Ruleset {
    let cluster = tortie_testkit::cluster(&format!("{WORLD}{yaml}")).unwrap();
    let updates: Vec<Update> = updates(&cluster, Some("n1")).into_iter().map(wired).collect();
    let mut renderer = Renderer::new(Options { records, ..Options::default() });
    let mut delta = Delta::default();
    let nodes = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
    renderer.interfaces(Interfaces { nodes: nodes.into(), ..Interfaces::default() }, &mut delta);
    renderer.update(&updates, &mut delta);
    renderer.ruleset().clone()
}

fn wired(update: Update) -> Update {
    match update {
        Update::Endpoint(e) => {
            let interface = interface_name(&e.id);
            Update::Endpoint(Arc::new(LocalEndpoint { interface, ..LocalEndpoint::clone(&e) }))
        }
        update => update,
    }
}

/// The chains of policies and tiers, and the sets they ask.
fn of_policies(mut ruleset: Ruleset) -> Ruleset {
    ruleset.chains.retain(|name, _| name.starts_with("policy-") || name.starts_with("tier-"));
    let text = format!("{:?}", ruleset.chains);
    ruleset.sets.retain(|name, _| text.contains(&format!("\"{name}\"")));
    ruleset
}

#[test]
fn constructs_become_what_the_files_say() {
    let policy = |rules: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: p}}\n\
             spec:\n  {rules}\n"
        )
    };
    let check = |name: &str, ruleset: &Ruleset| {
        crate::whole::check(ruleset).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    let mut texts = Vec::new();
    for (name, rules) in RULES {
        let ruleset = rendered(&policy(rules), false);
        check(name, &ruleset);
        texts.push((name, text::ruleset(&of_policies(ruleset))));
    }
    for (name, yaml) in MORE {
        let ruleset = rendered(yaml, false);
        check(name, &ruleset);
        let shown = if name == "host" { ruleset } else { of_policies(ruleset) };
        texts.push((name, text::ruleset(&shown)));
    }
    texts.push(("records", text::ruleset(&rendered(&policy(RULES[4].1), true))));
    let mut wrong = Vec::new();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/render/golden");
    for (name, text) in texts {
        let path = folder.join(format!("{name}.nft"));
        if std::env::var_os("TORTIE_REGENERATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{name}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
