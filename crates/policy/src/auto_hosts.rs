//! Host endpoints that Calico's node controller makes for nodes, if it is told to.

use std::net::IpAddr;

use ipnet::IpNet;
use smol_str::{SmolStr, format_smolstr};
use tortie_model::{
    AutoHostEndpoints, FieldError, HostEndpointTemplate, KubeControllersConfiguration, Node,
};

use crate::convert::{self, CREATED_BY, Report};
use crate::{HostEndpoint, Interface, Labels, labels};

/// The host endpoints of a configuration, without inherited labels.
///
/// # Errors
/// Everything wrong with it.
pub(crate) fn of_nodes<'a>(
    wire: &KubeControllersConfiguration,
    nodes: impl Iterator<Item = (&'a Node, &'a [IpAddr])> + Clone,
) -> Result<Vec<HostEndpoint>, Vec<FieldError>> {
    const FIELD: &str = "spec.controllers.node.hostEndpoint";
    let node = wire.spec.controllers.node.as_ref();
    let Some(auto) = node.and_then(|node| node.host_endpoint.as_ref()) else {
        return Ok(Vec::new());
    };
    let mut report = Report::default();
    let enabled = switch(&format!("{FIELD}.autoCreate"), &auto.auto_create, false, &mut report);
    let field = format!("{FIELD}.createDefaultHostEndpoint");
    let whole = switch(&field, &auto.create_default_host_endpoint, true, &mut report);
    let mut hosts = Vec::new();
    if whole {
        hosts.extend(nodes.clone().map(|(node, addresses)| for_all_interfaces(node, addresses)));
    }
    for template in templates(FIELD, auto, &mut report) {
        hosts.extend(nodes.clone().filter_map(|(node, addresses)| template.host(node, addresses)));
    }
    report.finish(if enabled { hosts } else { Vec::new() })
}

fn switch(field: &str, text: &Option<String>, default: bool, report: &mut Report) -> bool {
    let words = [("Enabled", true), ("Disabled", false)];
    let text = text.as_deref().filter(|text| !text.is_empty());
    text.map_or(Some(default), |text| report.word(field, text, &words)).unwrap_or(default)
}

fn for_all_interfaces(node: &Node, addresses: &[IpAddr]) -> HostEndpoint {
    let name = format_smolstr!("{}-auto-hep", node.metadata.name);
    host(node, name, Interface::All, addresses.to_vec())
}

fn host(node: &Node, name: SmolStr, interface: Interface, addresses: Vec<IpAddr>) -> HostEndpoint {
    // A reserved label of a node gives its host endpoint no identity.
    let mut labels = labels::from_wire(&node.metadata.labels, &mut Vec::new());
    let (key, value) = CREATED_BY;
    labels.insert(key.into(), value.into());
    HostEndpoint {
        name,
        node: node.metadata.name.as_str().into(),
        interface,
        addresses,
        labels,
        ports: Vec::new(),
        profiles: vec!["projectcalico-default-allow".into()],
    }
}

/// A template that has been read.
struct Template {
    name: String,
    selector: Option<tortie_selector::Selector>,
    blocks: Vec<IpNet>,
    interface: Interface,
    labels: Labels,
}

fn templates(field: &str, auto: &AutoHostEndpoints, report: &mut Report) -> Vec<Template> {
    let wire = auto.templates.iter().enumerate();
    wire.map(|(index, t)| template(&format!("{field}.templates[{index}]"), t, report)).collect()
}

fn template(field: &str, wire: &HostEndpointTemplate, report: &mut Report) -> Template {
    if wire.generate_name.is_empty() {
        let hint = "write the middle part of the host endpoints' names";
        report.hint(format!("{field}.generateName"), "is required", hint);
    }
    let mut blocks = Vec::new();
    for (index, text) in wire.interface_cidrs.iter().enumerate() {
        let block = text.parse::<IpNet>().map_err(|_| format!("`{text}` is not a CIDR"));
        let hint = "write an address and a prefix length, such as `10.0.0.0/8`";
        blocks.extend(report.keep_or(&format!("{field}.interfaceCIDRs[{index}]"), block, hint));
    }
    let mut reserved = Vec::new();
    let labels = labels::from_wire(&wire.labels, &mut reserved);
    report.at(&format!("{field}.labels"), reserved.into_iter().map(Some));
    let selector =
        convert::selector(&format!("{field}.nodeSelector"), wire.node_selector.as_deref(), report);
    let interface = match wire.interface_pattern.as_deref() {
        None | Some("") => Interface::ByAddress,
        // Which interfaces a node has is not in its manifest.
        Some(pattern) => Interface::Named(pattern.into()),
    };
    Template { name: wire.generate_name.clone(), selector, blocks, interface, labels }
}

impl Template {
    /// The host endpoint of a node, if the template is for it.
    fn host(&self, node: &Node, addresses: &[IpAddr]) -> Option<HostEndpoint> {
        let own = labels::from_wire(&node.metadata.labels, &mut Vec::new());
        if self.selector.as_ref().is_some_and(|selector| !selector.matches(&own)) {
            return None;
        }
        let inside = |ip: &IpAddr| {
            self.blocks.is_empty() || self.blocks.iter().any(|block| block.contains(ip))
        };
        let addresses: Vec<_> = addresses.iter().copied().filter(inside).collect();
        if addresses.is_empty() && self.interface == Interface::ByAddress {
            return None;
        }
        let name = format_smolstr!("{}-{}-auto-hep", node.metadata.name, self.name);
        let mut host = host(node, name, self.interface.clone(), addresses);
        host.labels.extend(self.labels.clone());
        Some(host)
    }
}
