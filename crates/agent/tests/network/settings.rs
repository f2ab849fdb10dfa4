//! What FelixConfiguration says of a node's kernel, as it changes.

use crate::net::{Node, can_run, until};
use crate::{Bank, CLIENTS, LONG, SHORT, policy, server};

fn felix(spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {{name: default}}\n\
         spec: {{{spec}}}\n---\n"
    )
}

/// A host endpoint that asks policy in all planes, a policy that logs, and two nodes.
const HOST: &str = "
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: here, labels: {host: here}}
spec: {node: here, interfaceName: eth9, profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: early}
spec:
  selector: host == 'here'
  preDNAT: true
  applyOnForward: true
  ingress: [{action: Log}, {action: Deny, protocol: TCP, destination: {ports: [7]}}]
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: normal}
spec: {selector: host == 'here', ingress: [{action: Allow}], egress: [{action: Allow}]}
---
apiVersion: v1
kind: Node
metadata: {name: here}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: here}]}
---
apiVersion: v1
kind: Node
metadata: {name: there, annotations: {projectcalico.org/IPv4Address: 192.0.2.2/24}}
status: {addresses: [{type: InternalIP, address: 198.51.100.2}]}
---
";

/// A setting, and what the table has while it is in force, and at no other time.
const SETTINGS: &[(&str, &str)] = &[
    ("failsafeInboundHostPorts: [{protocol: tcp, port: 2222}]", "tcp dport 2222"),
    ("failsafeOutboundHostPorts: [{protocol: udp, port: 3333}]", "udp dport 3333"),
    ("logPrefix: tried", "log prefix \"tried"),
    ("logActionRateLimit: 7/minute", "limit rate 7/minute"),
    ("nftablesFilterDenyAction: Reject", " reject"),
    ("interfacePrefix: 'cali,tap'", "\"tap*\""),
    ("nftablesMarkMask: 15728640", "0x00100000"),
    ("iptablesMarkMask: 15728640", "0x00100000"),
    ("flowLogsGoldmaneServer: 'goldmane:7443'", "group 1"),
    ("flowLogsLocalReporter: Enabled", "group 2"),
    ("flowLogsFileEnabled: true", "group 1"),
    ("vxlanEnabled: true, vxlanPort: 4790", "192.0.2.2"),
    ("ipipEnabled: true", "198.51.100.2"),
    ("wireguardEnabled: true", "udp dport 51820"),
];

#[test]
fn settings_come_into_force_as_they_change() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    bank.node.write("host.yaml", HOST);
    let agent = bank.node.agent().ready();
    let table = || bank.node.net.table().unwrap();
    let has = |word: &str| table().contains(word);
    for (setting, word) in SETTINGS {
        assert!(!has(word), "{word} without {setting}");
        bank.node.write("felix.yaml", &felix(setting));
        until(setting, || has(word).then_some(()));
        bank.check();
        bank.node.write("felix.yaml", "");
        until("it is as before", || (!has(word)).then_some(()));
    }
    // Those that take something away.
    let settings = [
        ("disableConntrackInvalidCheck: true", "ct state invalid"),
        ("allowVXLANPacketsFromWorkloads: true", "udp dport 4789"),
        ("allowIPIPPacketsFromWorkloads: true", "allowIPIP"),
    ];
    for (setting, word) in settings {
        assert!(has(word), "{word}: {}", table());
        bank.node.write("felix.yaml", &felix(setting));
        until(setting, || (!has(word)).then_some(()));
        bank.node.write("felix.yaml", "");
        until("it is as before", || has(word).then_some(()));
    }
    agent.end();
}

#[test]
fn interfaces_are_workloads_as_settings_say_and_flags_say_more() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let node = &bank.node;
    let unknown = node.pod_on("tap7", "10.65.0.7".parse().unwrap());
    let outside = node.beyond("eth0", "203.0.113.1", "203.0.113.2");
    outside.ip("route add 10.65.0.0/24 via 203.0.113.1");
    let listener = outside.listen("203.0.113.2:81".parse().unwrap());
    let out = listener.local_addr().unwrap();
    let agent = node.agent().ready();
    assert!(unknown.connects(out, LONG), "it is no workload");
    node.write("felix.yaml", &felix("interfacePrefix: 'tap,cali'"));
    until("it is closed", || unknown.is_kept_out(out).then_some(()));
    bank.check();
    agent.end();
    let flag = ["--workload-interface-prefix", "cali", "--records"];
    let agent = node.agent_with(&[], &flag).ready();
    assert!(unknown.connects(out, LONG), "the flag says which are workloads'");
    assert!(node.net.table().unwrap().contains("group 1"));
    bank.check();
    agent.end();
}

#[test]
fn policy_cannot_be_switched_off_by_a_setting() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let agent = bank.node.agent().ready();
    for setting in ["dropActionOverride: Accept", "dropActionOverride: LogAndAccept"] {
        bank.node.write("felix.yaml", &felix(setting));
        until("it is refused", || (agent.metric("tortie_agent_source_stale") == 1.0).then_some(()));
        bank.check();
        bank.node.write("felix.yaml", "");
        until("it is gone", || (agent.metric("tortie_agent_source_stale") == 0.0).then_some(()));
    }
    assert!(bank.node.log().contains("spec.dropActionOverride"), "{}", bank.node.log());
}

/// A machine whose tap is named by its WorkloadEndpoint, and leads nowhere by itself.
#[test]
fn the_interface_of_a_virtual_machine_is_the_one_it_names() {
    if !can_run() {
        return;
    }
    let node = Node::new();
    let address = "10.65.0.8";
    let client = node.pod("client", crate::CLIENT.parse().unwrap());
    let other = node.pod("other", crate::OTHER.parse().unwrap());
    let machine = node.pod_on("tap8", address.parse().unwrap());
    // By the route alone it would not be found.
    node.net.ip(&format!("route replace {address}/31 dev tap8"));
    node.net.ip(&format!("route delete {address}/32 dev tap8"));
    let listener = machine.listen(format!("{address}:80").parse().unwrap());
    let at = listener.local_addr().unwrap();
    node.write("pods.yaml", &crate::pods());
    node.write("policy.yaml", &policy(CLIENTS, "80").replace("app == 'server'", "app == 'vm'"));
    node.write(
        "machine.yaml",
        &format!(
            "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\n\
             metadata: {{name: here-k8s-vm-eth0, namespace: default, labels: {{app: vm}}}}\n\
             spec: {{orchestrator: k8s, node: here, pod: vm, endpoint: eth0, interfaceName: tap8, \
             ipNetworks: [{address}/32], profiles: [kns.default]}}\n"
        ),
    );
    let _agent = node.agent().ready();
    assert!(client.connects(at, LONG), "{}", node.log());
    assert!(!other.connects(at, SHORT) && server() != at);
}
