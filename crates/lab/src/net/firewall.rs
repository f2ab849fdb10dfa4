//! The node's own rules: connection tracking and Services.
//!
//! They stand in a table of their own, beside the agent's, which enforces policy and sees to it that
//! nobody sends in another's name.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::plan::{Link, NODE_V4, NODE_V6, PodId, SERVICE_RANGE_V4, SERVICE_RANGE_V6, ServicePlan};

/// The node's table.
const TABLE: &str = "inet lab";

/// The rules of a node without pods and Services. Loaded before any pod has a link.
///
/// Connection tracking works in a namespace only once a rule asks for it. If the first such rule
/// came with a policy, connections that are open by then would be unknown, and cut; so one is
/// here from the start.
pub(crate) fn base() -> String {
    let mut text = format!("table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n");
    for (name, kind) in [("self4", "ipv4_addr"), ("self6", "ipv6_addr")] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\tset {name} {{\n\t\ttype {kind} . {kind}\n\t}}");
    }
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        r#"
	chain forward {{
		type filter hook forward priority 0; policy accept;
		ct state established,related accept
	}}
	chain services {{
	}}
	chain services_of_pods {{
		type nat hook prerouting priority -100; policy accept;
		jump services
	}}
	chain services_of_node {{
		type nat hook output priority -100; policy accept;
		jump services
	}}
	chain without_endpoint {{
		type filter hook prerouting priority -90; policy accept;
		ip daddr {SERVICE_RANGE_V4} meta l4proto tcp reject with tcp reset
		ip6 daddr {SERVICE_RANGE_V6} meta l4proto tcp reject with tcp reset
		ip daddr {SERVICE_RANGE_V4} reject with icmp port-unreachable
		ip6 daddr {SERVICE_RANGE_V6} reject with icmpv6 port-unreachable
	}}
	chain hairpin {{
		type nat hook postrouting priority 100; policy accept;
		ip saddr . ip daddr @self4 snat ip to {NODE_V4}
		ip6 saddr . ip6 daddr @self6 snat ip6 to {NODE_V6}
	}}
}}
"#
    );
    text
}

/// Leads the Services' addresses to their pods that are ready; replaces what was there in one
/// step.
pub(crate) fn services(services: &[ServicePlan], ready: &BTreeSet<PodId>) -> String {
    let mut text = format!("flush chain {TABLE} services\n");
    for service in services {
        for (index, port) in service.ports.iter().enumerate() {
            for address in &service.addresses {
                let targets = service.targets(index, *address, ready);
                let family = family(*address);
                if let Some(target) = target(&targets) {
                    let (protocol, number) = (port.protocol.as_str(), port.port);
                    let _ = writeln!(
                        text,
                        "add rule {TABLE} services {family} daddr {address} \
                         {protocol} dport {number} dnat {family} to {target}"
                    );
                }
            }
        }
    }
    text
}

/// Each connection to one of the targets, by lot.
fn target(targets: &[SocketAddr]) -> Option<String> {
    match targets {
        [] => None,
        [only] => Some(only.to_string()),
        several => {
            let numbered = several.iter().enumerate();
            let entries: Vec<_> =
                numbered.map(|(i, t)| format!("{i} : {} . {}", t.ip(), t.port())).collect();
            Some(format!("numgen random mod {} map {{ {} }}", several.len(), entries.join(", ")))
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Lets a pod reach itself through a Service, or takes that back: `verb` is `add` or `delete`.
pub(crate) fn hairpin(verb: &str, link: &Link) -> String {
    let mut text = String::new();
    for address in &link.addresses {
        let set = if address.is_ipv4() { "self4" } else { "self6" };
        let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {address} . {address} }}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Addresses, Backend, PortPlan, Transport};

    fn service(pods: &[&str]) -> ServicePlan {
        let backend = |pod: &&str| Backend {
            pod: format!("default/{pod}").parse().unwrap(),
            addresses: vec![format!("10.65.0.{}", pod.len()).parse().unwrap()],
            ports: vec![Some(8080)],
            meshed: false,
        };
        ServicePlan {
            namespace: "default".into(),
            name: "s".into(),
            addresses: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![PortPlan { port: 80, protocol: Transport::Tcp }],
            pods: pods.iter().map(backend).collect(),
        }
    }

    #[test]
    fn services_lead_to_pods_that_are_ready() {
        for (ready, want) in [
            (vec![], ""),
            (vec!["aa"], "dnat ip to 10.65.0.2:8080"),
            (
                vec!["aa", "bbb"],
                "dnat ip to numgen random mod 2 map { 0 : 10.65.0.2 . 8080, 1 : 10.65.0.3 . 8080 }",
            ),
        ] {
            let ready = ready.iter().map(|pod| format!("default/{pod}").parse().unwrap()).collect();
            let text = services(&[service(&["aa", "bbb"])], &ready);
            let rules: Vec<_> = text.lines().skip(1).collect();
            let lead = "add rule inet lab services ip daddr 10.96.0.1 tcp dport 80 ";
            let want: Vec<_> = Some(want)
                .filter(|w| !w.is_empty())
                .map(|w| format!("{lead}{w}"))
                .into_iter()
                .collect();
            assert_eq!(rules, want);
        }
    }

    #[test]
    fn connections_are_tracked_from_the_start() {
        assert!(base().contains("ct state established,related accept"), "{}", base());
    }

    #[test]
    fn pods_may_reach_themselves() {
        let link = Addresses::new(true).offer("a", "b").unwrap();
        let want = "add element inet lab self4 { 10.65.0.2 . 10.65.0.2 }\n\
                    add element inet lab self6 { fd00:65::2 . fd00:65::2 }\n";
        assert_eq!(hairpin("add", &link), want);
    }
}
