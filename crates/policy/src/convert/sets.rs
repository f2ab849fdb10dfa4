//! Network sets, host endpoints, workload endpoints and host settings.

use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::{SmolStr, format_smolstr};
use tortie_model::{self as model, FieldError, IntOrString};

use super::Report;
use super::net::{NET_HINT, canonical, cidr};
use crate::labels::{self, NAMESPACE, ORCHESTRATOR, SERVICE_ACCOUNT};
use crate::name;
use crate::{
    Account, Endpoint, EndpointId, EndpointToHost, Failsafe, HostEndpoint, HostSettings, Interface,
    Labels, NamedPort, NetworkSet, PortMatch, Protocol,
};

const ADDRESS_HINT: &str = "write one address, without a prefix length";
const INTERFACE_HINT: &str = "interfaces are up to 15 letters, digits, `-`, `_` and `.`";
const PROTOCOL_HINT: &str = "only these have ports";

/// Label and value by which the node controller marks the host endpoints it makes.
pub(crate) const CREATED_BY: (&str, &str) =
    ("projectcalico.org/created-by", "calico-kube-controllers");

/// A network set, without inherited labels.
pub(crate) fn network_set(
    metadata: &model::ObjectMeta,
    namespaced: bool,
    spec: &model::NetworkSetSpec,
) -> Result<NetworkSet, Vec<FieldError>> {
    let mut report = Report::default();
    name::check_names(metadata, &mut report.0);
    let namespace: Option<SmolStr> =
        namespaced.then(|| metadata.namespace.as_deref().unwrap_or("default").into());
    let mut labels = labels::from_wire(&metadata.labels, &mut report.0);
    if let Some(namespace) = &namespace {
        labels.insert(NAMESPACE.into(), namespace.clone());
    }
    let mut nets = Vec::new();
    for (index, text) in spec.nets.iter().enumerate() {
        let net = report.keep_or(&format!("spec.nets[{index}]"), net_or_address(text), NET_HINT);
        nets.extend(net);
    }
    report.finish(NetworkSet { namespace, name: metadata.name.as_str().into(), labels, nets })
}

/// A CIDR or an address; bits beyond the prefix do not count, and IPv4 in IPv6 form is IPv4.
fn net_or_address(text: &str) -> Result<IpNet, String> {
    let net = cidr(text).or_else(|| text.parse::<IpAddr>().map(IpNet::from).ok());
    net.map(canonical).ok_or_else(|| format!("`{text}` is neither a CIDR nor an address"))
}

fn addresses(field: &str, wire: &[String], report: &mut Report) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (index, text) in wire.iter().enumerate() {
        let address = text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an address"));
        let address = report.keep_or(&format!("{field}[{index}]"), address, ADDRESS_HINT);
        addresses.extend(address.map(|address| address.to_canonical()));
    }
    addresses
}

/// A host endpoint, without inherited labels.
pub(crate) fn host_endpoint(wire: &model::HostEndpoint) -> Result<HostEndpoint, Vec<FieldError>> {
    let mut report = Report::default();
    let spec = &wire.spec;
    name::check_names(&wire.metadata, &mut report.0);
    if spec.node.is_empty() {
        report.hint("spec.node", "is required", "write the name of the Node");
    }
    let interface = interface(&spec.interface_name, &mut report);
    if interface == Interface::ByAddress && spec.expected_ips.is_empty() {
        let hint = "`interfaceName: \"*\"` stands for all interfaces of the node";
        report.hint("spec", "must have `interfaceName` or `expectedIPs`", hint);
    }
    let labels = host_labels(&wire.metadata, &mut report);
    let addresses = addresses("spec.expectedIPs", &spec.expected_ips, &mut report);
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let named = named_port(&field, &port.name, port.protocol.as_ref(), port.port, &mut report);
        ports.extend(named);
    }
    report.finish(HostEndpoint {
        name: wire.metadata.name.as_str().into(),
        node: spec.node.as_str().into(),
        interface,
        addresses,
        labels,
        ports,
        profiles: spec.profiles.iter().map(SmolStr::from).collect(),
    })
}

/// Labels of a host endpoint. The node controller marks those it makes itself; the mark gives
/// nobody another identity.
fn host_labels(metadata: &model::ObjectMeta, report: &mut Report) -> Labels {
    let (key, value) = CREATED_BY;
    let made = metadata.labels.get(key).is_some_and(|v| v == value);
    let own = metadata.labels.iter().filter(|(k, _)| !(made && k.as_str() == key));
    let mut labels = labels::from_wire(own, &mut report.0);
    labels.extend(made.then(|| (key.into(), value.into())));
    labels
}

fn interface(name: &str, report: &mut Report) -> Interface {
    match name {
        "" => Interface::ByAddress,
        "*" => Interface::All,
        name => {
            if !is_interface(name) {
                let reason = format!("`{name}` is neither `*` nor an interface of 1 to 15 letters");
                report.hint("spec.interfaceName", reason, INTERFACE_HINT);
            }
            Interface::Named(name.into())
        }
    }
}

pub(super) fn is_interface(name: &str) -> bool {
    let charset = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=15).contains(&name.len()) && name.bytes().all(charset)
}

fn named_port(
    field: &str,
    name: &str,
    protocol: Option<&IntOrString>,
    number: i64,
    report: &mut Report,
) -> Option<NamedPort> {
    let port_name = match PortMatch::from_wire(&IntOrString::Text(name.to_owned())) {
        Ok(PortMatch::Named(name)) => Some(name),
        _ => {
            let hint = "use up to 15 lower-case letters, digits and `-`, one letter at least";
            let reason = format!("`{name}` is not a port name");
            report.hint(format!("{field}.name"), reason, hint);
            None
        }
    };
    let (protocol, port) = numbered_port(field, protocol, number, report);
    Some(NamedPort { name: port_name?, protocol: protocol?, port: port? })
}

fn numbered_port(
    field: &str,
    protocol: Option<&IntOrString>,
    number: i64,
    report: &mut Report,
) -> (Option<Protocol>, Option<u16>) {
    let protocol = protocol.and_then(Protocol::from_wire).filter(|p| p.has_ports());
    if protocol.is_none() {
        report.hint(format!("{field}.protocol"), "must be TCP, UDP or SCTP", PROTOCOL_HINT);
    }
    let port = u16::try_from(number).ok().filter(|p| *p > 0);
    if port.is_none() {
        let reason = format!("`{number}` is not a port between 1 and 65535");
        report.hint(format!("{field}.port"), reason, "write the number the workload listens on");
    }
    (protocol, port)
}

/// A workload endpoint, without inherited labels.
pub(crate) fn workload_endpoint(
    wire: &model::WorkloadEndpoint,
) -> Result<Endpoint, Vec<FieldError>> {
    let mut report = Report::default();
    let spec = &wire.spec;
    name::check_names(&wire.metadata, &mut report.0);
    let namespace: SmolStr = wire.metadata.namespace.as_deref().unwrap_or("default").into();
    let mut addresses = Vec::new();
    for (index, text) in spec.ip_networks.iter().enumerate() {
        let net = cidr(text).filter(|net| net.prefix_len() == net.max_prefix_len());
        let reason = format!("`{text}` is not one address as a CIDR (/32 or /128)");
        let field = format!("spec.ipNetworks[{index}]");
        let net = report.keep_or(&field, net.ok_or(reason), "write `10.0.0.1/32`, say");
        addresses.extend(net.map(|net| net.addr().to_canonical()));
    }
    nats(spec, &addresses, &mut report);
    gateways(spec, &mut report);
    wiring(spec, &mut report);
    let mut ports = Vec::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        if port.name.is_empty() && port.host_port.is_some_and(|p| p > 0) {
            numbered_port(&field, port.protocol.as_ref(), port.port, &mut report);
            host_port(&field, port, &mut report);
            continue;
        }
        let named = named_port(&field, &port.name, port.protocol.as_ref(), port.port, &mut report);
        ports.extend(named);
        host_port(&field, port, &mut report);
    }
    let labels = workload_labels(wire, &namespace, &mut report);
    let account: SmolStr = spec.service_account_name.as_str().into();
    let mut profiles: Vec<SmolStr> = spec.profiles.iter().map(SmolStr::from).collect();
    if profiles.is_empty() && spec.orchestrator == "k8s" {
        profiles.push(format_smolstr!("kns.{namespace}"));
        if !account.is_empty() {
            profiles.push(format_smolstr!("ksa.{namespace}.{account}"));
        }
    }
    report.finish(Endpoint {
        id: EndpointId { namespace: namespace.clone(), name: wire.metadata.name.as_str().into() },
        node: Some(spec.node.as_str()).filter(|n| !n.is_empty()).map(SmolStr::from),
        addresses,
        account: Account { namespace, name: account },
        labels,
        ports,
        profiles,
        application_enforced: false,
    })
}

/// The port of the host by which others reach the workload's.
fn host_port(field: &str, wire: &model::WorkloadEndpointPort, report: &mut Report) {
    // 0 is no port, as in a pod's container ports.
    let port = wire.host_port.filter(|port| !(0..=65535).contains(port));
    if let Some(port) = port {
        let reason = format!("`{port}` is not a port between 1 and 65535");
        report.hint(format!("{field}.hostPort"), reason, "leave it out if there is none");
    }
    let address = wire.host_ip.as_deref().filter(|ip| !ip.is_empty());
    if let Some(text) = address.filter(|ip| ip.parse::<IpAddr>().is_err()) {
        let reason = format!("`{text}` is not an address");
        report.hint(format!("{field}.hostIP"), reason, ADDRESS_HINT);
    }
}

fn workload_labels(wire: &model::WorkloadEndpoint, namespace: &str, report: &mut Report) -> Labels {
    let spec = &wire.spec;
    let generated = [
        (NAMESPACE, namespace),
        (ORCHESTRATOR, spec.orchestrator.as_str()),
        (SERVICE_ACCOUNT, spec.service_account_name.as_str()),
    ];
    let own = wire.metadata.labels.iter();
    let own = own.filter(|(k, v)| !generated.contains(&(k.as_str(), v.as_str())));
    let mut labels = labels::from_wire(own, &mut report.0);
    let generated = generated.iter().filter(|(_, value)| !value.is_empty());
    labels.extend(generated.map(|(key, value)| ((*key).into(), (*value).into())));
    labels
}

fn nats(spec: &model::WorkloadEndpointSpec, addresses: &[IpAddr], report: &mut Report) {
    for (index, nat) in spec.ip_nats.iter().enumerate() {
        let field = format!("spec.ipNATs[{index}]");
        let internal = nat.internal_ip.parse::<IpAddr>().ok();
        if !internal.is_some_and(|ip| addresses.contains(&ip.to_canonical())) {
            let reason = format!("`{}` is not an address of the workload", nat.internal_ip);
            let hint = "name one of `ipNetworks`, without its prefix length";
            report.hint(format!("{field}.internalIP"), reason, hint);
        }
        if nat.external_ip.parse::<IpAddr>().is_err() {
            let reason = format!("`{}` is not an address", nat.external_ip);
            report.hint(format!("{field}.externalIP"), reason, ADDRESS_HINT);
        }
    }
}

/// Interface, hardware address, and the sources the workload may use besides its own.
fn wiring(spec: &model::WorkloadEndpointSpec, report: &mut Report) {
    if !spec.interface_name.is_empty() && !is_interface(&spec.interface_name) {
        let reason = format!("`{}` is not an interface of 1 to 15 letters", spec.interface_name);
        report.hint("spec.interfaceName", reason, INTERFACE_HINT);
    }
    let octet = |o: &&str| o.len() == 2 && o.bytes().all(|b| b.is_ascii_hexdigit());
    let octets: Vec<&str> = spec.mac.split([':', '-']).collect();
    if !spec.mac.is_empty() && (octets.len() != 6 || !octets.iter().all(octet)) {
        let reason = format!("`{}` is not a hardware address", spec.mac);
        report.hint("spec.mac", reason, "write six pairs of digits, such as `ee:ee:ee:ee:ee:ee`");
    }
    for (index, text) in spec.allow_spoofed_source_prefixes.iter().enumerate() {
        let field = format!("spec.allowSpoofedSourcePrefixes[{index}]");
        report.keep_or(&field, net_or_address(text), NET_HINT);
    }
}

fn gateways(spec: &model::WorkloadEndpointSpec, report: &mut Report) {
    let gateways =
        [("ipv4Gateway", &spec.ipv4_gateway, true), ("ipv6Gateway", &spec.ipv6_gateway, false)];
    for (field, text, v4) in gateways.into_iter().filter(|(_, text, _)| !text.is_empty()) {
        if !text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == v4) {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let reason = format!("`{text}` is not an {family} address");
            report.hint(format!("spec.{field}"), reason, "leave it out if there is none");
        }
    }
}

/// Host settings of a FelixConfiguration, over those given.
pub(crate) fn felix(
    wire: &model::FelixConfiguration,
    mut settings: HostSettings,
) -> Result<HostSettings, Vec<FieldError>> {
    let mut report = Report::default();
    let spec = &wire.spec;
    name::check_names(&wire.metadata, &mut report.0);
    match spec.default_endpoint_to_host_action.as_deref() {
        None | Some("") => {}
        Some(text) if text.eq_ignore_ascii_case("drop") => {
            settings.endpoint_to_host = EndpointToHost::Drop;
        }
        Some(text) if text.eq_ignore_ascii_case("return") => {
            settings.endpoint_to_host = EndpointToHost::Return;
        }
        Some(text) if text.eq_ignore_ascii_case("accept") => {
            settings.endpoint_to_host = EndpointToHost::Accept;
        }
        Some(other) => report.hint(
            "spec.defaultEndpointToHostAction",
            format!("`{other}` is none of `Drop`, `Return` and `Accept`"),
            "`Drop` is the default",
        ),
    }
    if let Some(ports) = &spec.failsafe_inbound_host_ports {
        settings.failsafe_inbound = failsafes("spec.failsafeInboundHostPorts", ports, &mut report);
    }
    if let Some(ports) = &spec.failsafe_outbound_host_ports {
        settings.failsafe_outbound =
            failsafes("spec.failsafeOutboundHostPorts", ports, &mut report);
    }
    if let Some(prefix) = &spec.policy_sync_path_prefix {
        settings.policy_sync_prefix = Some(prefix.into()).filter(|p: &SmolStr| !p.is_empty());
    }
    report.finish(settings)
}

fn failsafes(field: &str, wire: &[model::ProtoPort], report: &mut Report) -> Vec<Failsafe> {
    let mut failsafes = Vec::new();
    for (index, entry) in wire.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let protocol = entry.protocol.as_ref().map_or(Some(Protocol::TCP), Protocol::from_wire);
        let protocol = protocol.filter(|p| p.has_ports()).ok_or("must be TCP, UDP or SCTP");
        let port = u16::try_from(entry.port).ok().filter(|p| *p > 0);
        let port = port.ok_or_else(|| format!("`{}` is not a port", entry.port));
        let net = entry.net.as_deref().map(net_or_address).transpose();
        let protocol = report.keep_or(&format!("{field}.protocol"), protocol, PROTOCOL_HINT);
        let hint = "ports are 1 to 65535; an empty list turns failsafes off";
        let port = report.keep_or(&format!("{field}.port"), port, hint);
        let net = report.keep_or(&format!("{field}.net"), net, NET_HINT);
        if let (Some(protocol), Some(port), Some(net)) = (protocol, port, net) {
            failsafes.push(Failsafe { protocol, port, net });
        }
    }
    failsafes
}
