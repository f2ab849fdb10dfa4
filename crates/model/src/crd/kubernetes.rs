//! Constraints on policies in the words of Kubernetes.

use super::policy::{RULES, action, deletion};
use super::schema::Schema;
use super::settings::conditions;

pub(super) fn staged(root: &mut Schema<'_>) {
    action(root);
    let lists = ["ingress", "egress", "policyTypes"];
    let empty = lists.map(|list| format!("(!has(self.{list}) || self.{list}.size() == 0)"));
    let selector = "(!has(self.podSelector) || \
                    (!has(self.podSelector.matchLabels) || self.podSelector.matchLabels.size() == 0) && \
                    (!has(self.podSelector.matchExpressions) || \
                    self.podSelector.matchExpressions.size() == 0))";
    deletion(
        root.at("spec"),
        &format!("{} && {selector}", empty.join(" && ")),
        "besides stagedAction",
    );
    let mut spec = root.at("spec");
    spec.each(&["ingress", "egress"], |list| {
        list.set("maxItems", RULES).set("x-kubernetes-list-type", "atomic");
    });
    spec.at("policyTypes").set("x-kubernetes-list-type", "atomic");
    spec.at("policyTypes[]").words(&["Ingress", "Egress"]);
    label_selector(&mut spec.at("podSelector"));
    for (peers, ports) in [("ingress[].from", "ingress[].ports"), ("egress[].to", "egress[].ports")]
    {
        spec.each(&[peers, ports], |list| {
            list.set("maxItems", RULES).set("x-kubernetes-list-type", "atomic");
        });
        let mut peer = spec.at(&format!("{peers}[]"));
        label_selector(&mut peer.at("podSelector"));
        label_selector(&mut peer.at("namespaceSelector"));
        peer.at("ipBlock").set("required", ["cidr"].as_slice());
        peer.at("ipBlock.except").set("x-kubernetes-list-type", "atomic");
        peer.rule(
            "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            "must have either ipBlock, or podSelector, namespaceSelector or both",
        );
        let mut port = spec.at(&format!("{ports}[]"));
        port.at("port").between(1, 65_535);
        port.at("endPort").between(1, 65_535);
        port.rule("!has(self.endPort) || has(self.port)", "endPort needs a port to start at");
    }
}

fn label_selector(selector: &mut Schema<'_>) {
    selector.at("matchExpressions").set("x-kubernetes-list-type", "atomic");
    selector.at("matchExpressions[]").set("required", ["key", "operator"].as_slice());
    let operator = selector.at("matchExpressions[].operator");
    operator.words(&["In", "NotIn", "Exists", "DoesNotExist"]);
    selector.at("matchExpressions[].values").set("x-kubernetes-list-type", "atomic");
}

pub(super) fn cluster(root: &mut Schema<'_>) {
    conditions(root);
    root.needs_spec();
    let mut spec = root.at("spec");
    spec.whole().set("required", ["tier", "priority", "subject"].as_slice());
    spec.at("tier").words(&["Admin", "Baseline"]);
    spec.at("priority").between(0, 1000);
    pods(&mut spec.at("subject"));
    spec.at("subject").rule(
        "has(self.namespaces) != has(self.pods)",
        "must have exactly one of namespaces and pods",
    );
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        spec.at(direction).set("maxItems", 25).set("x-kubernetes-list-type", "atomic");
        let mut rule = spec.at(&format!("{direction}[]"));
        rule.whole().set("required", ["action", peers].as_slice());
        rule.at("action").words(&["Accept", "Deny", "Pass"]);
        rule.at("name").set("maxLength", 100);
        rule.at(peers).set("minItems", 1);
        rule.each(&[peers, "protocols"], |list| {
            list.set("maxItems", 25).set("x-kubernetes-list-type", "atomic");
        });
        let mut peer = rule.at(&format!("{peers}[]"));
        pods(&mut peer);
        one_of(&mut peer, direction == "egress");
        protocol(&mut rule.at("protocols[]"));
    }
}

/// A peer is of one kind, and in ingress not of every kind.
fn one_of(peer: &mut Schema<'_>, egress: bool) {
    if !egress {
        peer.without(&["networks", "nodes", "domainNames"]);
        let message = "must have exactly one of namespaces and pods";
        peer.whole().rule("has(self.namespaces) != has(self.pods)", message);
        return;
    }
    peer.at("networks")
        .set("minItems", 1)
        .set("maxItems", 25)
        .set("x-kubernetes-list-type", "atomic");
    peer.at("networks[]").set("maxLength", 64);
    label_selector(&mut peer.at("nodes"));
    peer.at("domainNames").set("maxItems", 25).set("x-kubernetes-list-type", "atomic");
    let kinds = ["namespaces", "pods", "networks", "nodes", "domainNames"];
    let count = kinds.map(|kind| format!("(has(self.{kind}) ? 1 : 0)")).join(" + ");
    peer.whole().rule(&format!("{count} == 1"), "must have exactly one kind of peer");
}

fn pods(holder: &mut Schema<'_>) {
    label_selector(&mut holder.at("namespaces"));
    label_selector(&mut holder.at("pods.namespaceSelector"));
    label_selector(&mut holder.at("pods.podSelector"));
}

fn protocol(protocol: &mut Schema<'_>) {
    let kinds = ["tcp", "udp", "sctp"];
    for kind in kinds {
        for side in ["destinationPort", "sourcePort"] {
            let mut port = protocol.at(&format!("{kind}.{side}"));
            port.each(&["number", "range.start", "range.end"], |n| {
                n.between(1, 65_535);
            });
            port.at("range")
                .set("required", ["start", "end"].as_slice())
                .rule("self.start < self.end", "a range ends after it starts");
            port.rule("has(self.number) != has(self.range)", "must have either number or range");
        }
    }
    protocol.at("destinationNamedPort").set("maxLength", 15);
    let all = kinds.iter().chain(&["destinationNamedPort"]);
    let count: Vec<String> = all.map(|kind| format!("(has(self.{kind}) ? 1 : 0)")).collect();
    protocol.whole().rule(
        &format!("{} == 1", count.join(" + ")),
        "must have exactly one of tcp, udp, sctp and destinationNamedPort",
    );
}
