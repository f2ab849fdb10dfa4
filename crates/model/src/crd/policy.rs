//! Constraints on policies.

use super::schema::Schema;

/// Longest selector or path, in characters.
const TEXT: i64 = 1024;
/// Most rules of one direction, without which the cost of a rule in CEL would have no bound.
pub(super) const RULES: i64 = 1024;

/// The direction of a rule, and whether it belongs to one namespace.
#[derive(Clone, Copy)]
struct Place {
    ingress: bool,
    namespaced: bool,
}

pub(super) fn global(root: &mut Schema<'_>) {
    root.at("spec").without(&["stagedAction"]);
    all(root, false);
    planes(root);
}

pub(super) fn staged_global(root: &mut Schema<'_>) {
    all(root, false);
    planes(root);
    staged(root, &["namespaceSelector", "doNotTrack", "preDNAT", "applyOnForward"]);
}

pub(super) fn namespaced(root: &mut Schema<'_>) {
    root.at("spec").without(&["stagedAction"]);
    all(root, true);
}

pub(super) fn staged_namespaced(root: &mut Schema<'_>) {
    all(root, true);
    staged(root, &[]);
}

pub(super) fn profile(root: &mut Schema<'_>) {
    directions(root, false);
}

/// What policies of Calico have in common.
fn all(root: &mut Schema<'_>, namespaced: bool) {
    let generated = if namespaced {
        " || self.metadata.name.startsWith('knp.default.') \
         || self.metadata.name.startsWith('ossg.default.')"
    } else {
        ""
    };
    root.whole().rule(
        &format!(
            "self.metadata.name.indexOf('.') == self.metadata.name.lastIndexOf('.'){generated}"
        ),
        "the name of a policy is one or two DNS labels joined by a dot",
    );
    let mut spec = root.at("spec");
    if namespaced {
        spec.without(&["namespaceSelector", "doNotTrack", "preDNAT", "applyOnForward"]);
    } else {
        selector(spec.at("namespaceSelector"));
    }
    spec.each(&["selector", "serviceAccountSelector"], selector);
    spec.at("tier")
        .set("default", "default")
        .set("maxLength", 63)
        .set("pattern", "^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$");
    spec.at("types").set("maxItems", 2).set("x-kubernetes-list-type", "set");
    spec.at("types[]").words(&["Ingress", "Egress"]);
    spec.at("performanceHints").set("maxItems", 1).set("x-kubernetes-list-type", "set");
    spec.at("performanceHints[]").words(&["AssumeNeededOnEveryNode"]);
    directions(root, namespaced);
}

/// A selector where `global()` has no meaning. It may be part of a value in quotes.
fn selector(field: Schema<'_>) {
    field.set("maxLength", TEXT).rule(
        r#"!self.matches('^([^"\']|"[^"]*"|\'[^\']*\')*global[(]')"#,
        "global() may only be the namespaceSelector of a rule",
    );
}

fn planes(root: &mut Schema<'_>) {
    let on = |flag: &str| format!("has(self.{flag}) && self.{flag}");
    let (dnat, untracked, forward) = (on("preDNAT"), on("doNotTrack"), on("applyOnForward"));
    root.at("spec")
        .rule(
            &format!("!({dnat} && {untracked})"),
            "preDNAT and doNotTrack cannot be combined: write one policy for each",
        )
        .rule(
            &format!("!({dnat}) || !has(self.egress) || self.egress.size() == 0"),
            "there is no egress before destination NAT: remove egress, or preDNAT",
        )
        .rule(
            &format!("!({dnat}) || !has(self.types) || !('Egress' in self.types)"),
            "there is no egress before destination NAT: remove Egress from types, or preDNAT",
        )
        .rule(
            &format!("!({dnat} || {untracked}) || {forward}"),
            "applyOnForward must be true with preDNAT or doNotTrack",
        );
}

/// A staged deletion says nothing but which policy it is about.
fn staged(root: &mut Schema<'_>, more: &[&str]) {
    let absent = ["order", "serviceAccountSelector", "performanceHints"].iter().chain(more);
    let absent = absent.map(|field| format!("!has(self.{field})"));
    let empty = ["selector", "ingress", "egress", "types"];
    let empty = empty.map(|field| format!("(!has(self.{field}) || self.{field}.size() == 0)"));
    let bare = absent.chain(empty).collect::<Vec<_>>().join(" && ");
    deletion(root.at("spec"), &bare, "besides tier and stagedAction");
    action(root);
}

pub(super) fn deletion(spec: Schema<'_>, bare: &str, besides: &str) {
    let rule = format!("!has(self.stagedAction) || self.stagedAction != 'Delete' || {bare}");
    spec.rule(&rule, &format!("a staged deletion has no fields {besides}"));
}

pub(super) fn action(root: &mut Schema<'_>) {
    let action = root.at("spec.stagedAction");
    action.words(&["", "Set", "Delete", "Learn", "Ignore"]).set("default", "Set");
}

fn directions(root: &mut Schema<'_>, namespaced: bool) {
    for (field, ingress) in [("spec.ingress", true), ("spec.egress", false)] {
        root.at(field).set("maxItems", RULES).set("x-kubernetes-list-type", "atomic");
        rule(&mut root.at(&format!("{field}[]")), Place { ingress, namespaced });
    }
}

fn rule(rule: &mut Schema<'_>, place: Place) {
    rule.whole().set("required", ["action"].as_slice());
    rule.at("action").words(&["Allow", "Deny", "Log", "Pass"]);
    rule.at("ipVersion").set("enum", [4, 6].as_slice());
    rule.each(&["protocol", "notProtocol"], |protocol| {
        protocol.between(1, 255).set("pattern", "^(?i:tcp|udp|icmp|icmpv6|sctp|udplite|[0-9]+)$");
    });
    rule.each(&["icmp", "notICMP"], |mut icmp| {
        icmp.at("type").between(0, 254);
        icmp.at("code").between(0, 255);
        icmp.rule("!has(self.code) || has(self.type)", "an ICMP code needs a type");
    });
    rule.each(&["source", "destination"], |end| entity(end, place));
    http(&mut rule.at("http"));
    protocols(rule, place);
    services(rule, place);
}

fn http(http: &mut Schema<'_>) {
    http.at("methods").set("maxItems", 20).set("x-kubernetes-list-type", "set");
    http.at("methods[]").set("maxLength", TEXT);
    http.at("paths").set("maxItems", 20).set("x-kubernetes-list-type", "atomic");
    http.each(&["paths[].exact", "paths[].prefix"], |path| {
        path.set("maxLength", TEXT).set("pattern", r"^/[^?# \t\r\n]*$");
    });
    http.at("paths[]").rule("has(self.exact) != has(self.prefix)", "give either exact or prefix");
}

fn entity(mut end: Schema<'_>, place: Place) {
    end.each(&["nets", "notNets"], |nets| {
        nets.set("maxItems", 256).set("x-kubernetes-list-type", "atomic");
    });
    end.each(&["nets[]", "notNets[]"], |net| {
        net.set("maxLength", 64);
    });
    end.each(&["ports", "notPorts"], |ports| {
        ports.set("maxItems", 50).set("x-kubernetes-list-type", "atomic");
    });
    end.each(&["ports[]", "notPorts[]"], |port| {
        port.between(1, 65_535).set("pattern", "^([0-9]+(:[0-9]+)?|[a-z0-9-]{1,15})$");
    });
    selector(end.at("selector"));
    end.each(&["notSelector", "namespaceSelector"], |text| {
        text.set("maxLength", TEXT);
    });
    end.at("serviceAccounts.names").set("x-kubernetes-list-type", "atomic");
    selector(end.at("serviceAccounts.selector"));
    end.at("services.name").set("minLength", 1);
    let required: &[&str] = if place.namespaced { &["name"] } else { &["name", "namespace"] };
    end.at("services").set("required", required);
    if !place.namespaced {
        end.at("services.namespace").set("minLength", 1);
    }
    let others =
        ["selector", "notSelector", "nets", "notNets", "namespaceSelector", "serviceAccounts"];
    let absent = others.map(|field| format!("!has(self.{field})")).join(" && ");
    end.rule(
        &format!("!has(self.services) || {absent}"),
        "services cannot be combined with selectors, nets or serviceAccounts",
    );
}

/// What a rule's protocol, or the lack of one, excludes. A name is compared as people write it; one
/// in unusual letters is left to Tortie's own admission.
fn protocols(rule: &mut Schema<'_>, place: Place) {
    let is_not = |numbers: &str, others: &str| {
        format!(
            "(type(self.protocol) == int ? self.protocol in [{numbers}] : !(self.protocol in [{others}]))"
        )
    };
    let tcp = is_not("6", "'UDP', 'ICMP', 'ICMPv6', 'SCTP', 'UDPLite'");
    let icmp = is_not("1, 58", "'TCP', 'UDP', 'SCTP', 'UDPLite'");
    let ported = is_not("6, 17, 132", "'ICMP', 'ICMPv6', 'UDPLite'");
    if place.ingress {
        rule.whole()
            .rule(
                "!has(self.http) || self.action == 'Allow'",
                "http is possible in Allow rules only",
            )
            .rule(
                &format!("!has(self.http) || !has(self.protocol) || {tcp}"),
                "http needs protocol TCP, or none",
            );
    } else {
        rule.whole().rule("!has(self.http)", "http is possible in ingress rules only");
    }
    rule.whole().rule(
        &format!("!has(self.icmp) && !has(self.notICMP) || has(self.protocol) && {icmp}"),
        "icmp and notICMP need protocol ICMP or ICMPv6",
    );
    for (name, number, version) in [("ICMP", 1, 4), ("ICMPv6", 58, 6)] {
        for field in ["protocol", "notProtocol"] {
            rule.whole().rule(
                &format!(
                    "!has(self.ipVersion) || self.ipVersion == {version} || !has(self.{field}) || \
                     !(self.{field} == '{name}' || self.{field} == {number})"
                ),
                &format!("{name} is IPv{version} only"),
            );
        }
    }
    for list in ["source.ports", "source.notPorts", "destination.ports", "destination.notPorts"] {
        let end = list.split('.').next().unwrap_or_default();
        rule.whole().rule(
            &format!(
                "!has(self.{end}) || !has(self.{list}) || self.{list}.size() == 0 || \
                 (has(self.protocol) ? {ported} : self.{list}.all(port, type(port) == string))"
            ),
            &format!("{list} needs protocol TCP, UDP or SCTP"),
        );
    }
}

/// A service is the other end of the traffic.
fn services(rule: &mut Schema<'_>, place: Place) {
    let (own, other) =
        if place.ingress { ("destination", "source") } else { ("source", "destination") };
    rule.whole().rule(
        &format!("!has(self.{own}) || !has(self.{own}.services)"),
        &format!("services can only be the {other} here"),
    );
    if !place.ingress {
        rule.whole().rule(
            "!has(self.destination) || !has(self.destination.services) || \
             !has(self.destination.ports) && !has(self.destination.notPorts)",
            "services have ports of their own: remove ports and notPorts",
        );
    }
}
