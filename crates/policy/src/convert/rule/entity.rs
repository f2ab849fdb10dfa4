//! The criteria of one end that are no identity: nets, ports and Services.

use ipnet::IpNet;
use smol_str::SmolStr;
use tortie_model::{self as model, IntOrString};

use super::RuleReader;
use crate::convert::net;
use crate::name::{LABEL_HINT, is_dns_label, is_dns_subdomain, not_a_label};
use crate::{EntityMatch, PortMatch, Protocol, ServiceRef};

/// Most nets of one list.
const MAX_NETS: usize = 256;
/// Most ports of one list.
const MAX_PORTS: usize = 50;

const PORT_HINT: &str =
    "write a number, a range such as `\"8000:8010\"`, or the name of a container's port";

impl RuleReader<'_> {
    pub(super) fn entity(
        &mut self,
        field: &str,
        wire: &model::EntityRule,
        protocol: Option<Protocol>,
    ) -> EntityMatch {
        EntityMatch {
            peers: self.peers(field, wire),
            nets: self.nets(&format!("{field}.nets"), wire.nets.as_deref(), false),
            not_nets: self.nets(&format!("{field}.notNets"), wire.not_nets.as_deref(), true),
            ports: self.ports(&format!("{field}.ports"), wire.ports.as_deref(), protocol),
            not_ports: self.ports(
                &format!("{field}.notPorts"),
                wire.not_ports.as_deref(),
                protocol,
            ),
            service: self.service(field, wire),
        }
    }

    /// A Service of the destination in egress rules, of the source in ingress rules.
    fn service(&mut self, entity: &str, wire: &model::EntityRule) -> Option<ServiceRef> {
        let service = wire.services.as_ref()?;
        let field = format!("{entity}.services");
        let source = entity.ends_with(".source");
        if source != self.ingress {
            let side =
                if self.ingress { "the source of ingress" } else { "the destination of egress" };
            let hint = "a Service is the other end of the traffic, not the endpoint itself";
            self.report.hint(&field, format!("can only be {side} rules"), hint);
        }
        if service.name.is_empty() {
            let hint = "write the name of a Service";
            self.report.hint(format!("{field}.name"), "is required", hint);
        } else if !is_dns_subdomain(&service.name) {
            let reason = format!("`{}` is not the name of a Service", service.name);
            self.report.hint(format!("{field}.name"), reason, LABEL_HINT);
        }
        self.alone(&field, wire, source);
        let given = service.namespace.as_deref().filter(|n| !n.is_empty()).map(SmolStr::from);
        let namespace = given.or_else(|| self.namespace.cloned());
        match namespace.as_deref() {
            Some(namespace) if !is_dns_label(namespace) => {
                self.report.hint(format!("{field}.namespace"), not_a_label(namespace), LABEL_HINT);
            }
            Some(_) => {}
            None => {
                let hint = "write the Service's namespace";
                let reason = "is required in a global policy";
                self.report.hint(format!("{field}.namespace"), reason, hint);
            }
        }
        Some(ServiceRef { namespace: namespace?, name: service.name.as_str().into() })
    }

    /// A Service stands alone: it says everything about the side it is on.
    fn alone(&mut self, field: &str, wire: &model::EntityRule, source: bool) {
        let others = [
            ("selector", wire.selector.is_some()),
            ("notSelector", wire.not_selector.is_some()),
            ("nets", wire.nets.is_some()),
            ("notNets", wire.not_nets.is_some()),
            ("namespaceSelector", wire.namespace_selector.is_some()),
            ("serviceAccounts", wire.service_accounts.is_some()),
            ("ports", wire.ports.is_some() && !source),
            ("notPorts", wire.not_ports.is_some() && !source),
        ];
        for (other, _) in others.iter().filter(|(_, given)| *given) {
            let reason = format!("cannot be combined with `{other}`");
            self.report.hint(field, reason, "write one rule for each");
        }
    }

    fn nets(&mut self, field: &str, wire: Option<&[String]>, negated: bool) -> Vec<IpNet> {
        let wire = wire.unwrap_or_default();
        self.report.too_many(field, wire.len(), MAX_NETS);
        let mut nets = Vec::new();
        for (index, text) in wire.iter().enumerate() {
            match net::of_rule(text, negated) {
                Ok(net) => nets.push(net),
                Err(mut error) => {
                    error.field = format!("{field}[{index}]");
                    self.report.0.push(error);
                }
            }
        }
        nets
    }

    fn ports(
        &mut self,
        field: &str,
        wire: Option<&[IntOrString]>,
        protocol: Option<Protocol>,
    ) -> Vec<PortMatch> {
        let wire = wire.unwrap_or_default();
        self.report.too_many(field, wire.len(), MAX_PORTS);
        let mut ports = Vec::new();
        for (index, value) in wire.iter().enumerate() {
            let field = format!("{field}[{index}]");
            let port = self.report.keep_or(&field, PortMatch::from_wire(value), PORT_HINT);
            let Some(port) = port else { continue };
            let named = matches!(port, PortMatch::Named(_));
            match protocol {
                Some(p) if p.has_ports() => {}
                Some(p) => {
                    let hint = "remove the ports, or use TCP, UDP or SCTP";
                    self.report.hint(field, format!("{p} has no ports"), hint);
                }
                None if named => {}
                None => self.report.hint(
                    field,
                    format!("port {port} needs a protocol"),
                    "add `protocol: TCP` (or UDP, SCTP) to the rule",
                ),
            }
            ports.push(port);
        }
        ports
    }
}
