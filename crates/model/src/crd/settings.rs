//! Constraints on tiers, sets, host endpoints and settings.

use super::schema::Schema;

/// A kind that is served as it is.
pub(super) fn untouched(_: &mut Schema<'_>) {}

/// Order and default action of the tiers that exist without being defined.
const BUILT_IN: [(&str, &str, &str); 3] = [
    ("kube-admin", "1000", "Pass"),
    ("default", "1000000", "Deny"),
    ("kube-baseline", "10000000", "Pass"),
];

pub(super) fn tier(root: &mut Schema<'_>) {
    root.at("spec.order").set("default", 1_000_000);
    root.at("spec.defaultAction").words(&["Deny", "Pass"]).set("default", "Deny");
    root.whole().rule(
        "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
        "the name of a tier is one DNS label: no dots, and at most 63 characters",
    );
    for (name, order, action) in BUILT_IN {
        let rule = format!(
            "self.metadata.name != '{name}' || \
             self.spec.order == {order}.0 && self.spec.defaultAction == '{action}'"
        );
        let message = format!("tier {name} is built in: order {order} and {action} are fixed");
        root.whole().rule(&rule, &message);
    }
    conditions(root);
}

/// Conditions are one for each type.
pub(super) fn conditions(root: &mut Schema<'_>) {
    let list = root.at("status.conditions");
    list.set("x-kubernetes-list-type", "map")
        .set("x-kubernetes-list-map-keys", ["type"].as_slice());
    root.at("status.conditions[]").set("required", ["type", "status"].as_slice());
    root.at("status.conditions[].status").words(&["True", "False", "Unknown"]);
}

pub(super) fn network_set(root: &mut Schema<'_>) {
    root.at("spec.nets").set("x-kubernetes-list-type", "atomic");
}

pub(super) fn host_endpoint(root: &mut Schema<'_>) {
    root.needs_spec();
    root.at("spec").rule("has(self.node) && self.node != ''", "node is required").rule(
        "has(self.interfaceName) && self.interfaceName != '' || \
             has(self.expectedIPs) && self.expectedIPs.size() > 0",
        "must have interfaceName or expectedIPs",
    );
    root.at("spec.interfaceName").set("pattern", r"^(\*|[a-zA-Z0-9_.-]{0,15})$");
    root.at("spec.ports[]").set("required", ["name", "port", "protocol"].as_slice());
    ported(root.at("spec.ports[].protocol"));
    root.at("spec.ports[].name").set("maxLength", 15);
    root.at("spec.ports[].port").between(1, 65_535);
}

pub(super) fn felix(root: &mut Schema<'_>) {
    root.at("spec").set("x-kubernetes-preserve-unknown-fields", true);
    root.at("spec.defaultEndpointToHostAction").set("pattern", "^(?i:drop|return|accept)?$");
    root.at("spec.nftablesFilterDenyAction").set("pattern", "^(?i:drop|reject)?$");
    let rate = "^([1-9][0-9]{0,8}/(second|minute|hour|day))?$";
    root.at("spec.logActionRateLimit").set("pattern", rate);
    root.at("spec.logActionRateLimitBurst").between(0, 9_999);
    root.at("spec.dropActionOverride").set("pattern", "^(?i:drop)?$");
    root.at("spec.flowLogsLocalReporter").set("pattern", "^(?i:enabled|disabled)?$");
    root.at("spec.nftablesMarkMask").between(1, i64::from(u32::MAX));
    root.at("spec.iptablesMarkMask").between(1, i64::from(u32::MAX));
    for list in ["spec.failsafeInboundHostPorts", "spec.failsafeOutboundHostPorts"] {
        root.at(&format!("{list}[]")).set("required", ["port"].as_slice());
        root.at(&format!("{list}[].port")).between(1, 65_535);
        ported(root.at(&format!("{list}[].protocol")));
    }
}

/// A protocol that has ports.
fn ported(protocol: Schema<'_>) {
    protocol.set("pattern", "^(?i:tcp|udp|sctp|6|17|132)$").between(6, 132);
}

pub(super) fn tortie(root: &mut Schema<'_>) {
    root.whole().rule("self.metadata.name == 'default'", "there is one, and its name is `default`");
    root.at("spec.establishedFlows").set("pattern", "^(Continue|Cut)?$");
    root.each(&["spec.compat", "spec.trustDomainAliases"], |list| {
        list.set("x-kubernetes-list-type", "atomic");
    });
}
