//! Kubernetes Services as the end of a flow: the addresses and ports behind them.
//!
//! As in Calico, readiness does not count: what is terminating or not ready is still behind it.

use std::net::IpAddr;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{EndpointSlice, FieldError, IntOrString, ObjectMeta, Service, ServicePort};

use crate::cluster::Backend;
use crate::{Endpoint, Protocol, ServiceRef, kubernetes};

/// On a slice: the service it belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name of a service, or of a slice.
pub(crate) fn name(metadata: &ObjectMeta) -> ServiceRef {
    ServiceRef { namespace: kubernetes::namespace_of(metadata), name: metadata.name.to_smolstr() }
}

/// The service of a slice and what the slice says is behind it. Slices of host names, and those of
/// no service, say nothing.
pub(crate) fn of_slice(
    slice: &EndpointSlice,
    errors: &mut Vec<FieldError>,
) -> Option<(ServiceRef, Vec<Backend>)> {
    let service = slice.metadata.labels.get(SERVICE_NAME)?;
    if slice.address_type == "FQDN" {
        return None;
    }
    let namespace = kubernetes::namespace_of(&slice.metadata);
    let mut backends = Vec::new();
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        for text in &endpoint.addresses {
            match text.parse::<IpAddr>() {
                Ok(address) => backends.extend(at(address, ports(slice))),
                Err(_) => errors.push(FieldError::new(
                    format!("endpoints[{index}].addresses"),
                    format!("`{text}` is not an address"),
                )),
            }
        }
    }
    Some((ServiceRef { namespace, name: SmolStr::from(service) }, backends))
}

/// An address, with each port it serves on and as such.
fn at(
    address: IpAddr,
    ports: impl Iterator<Item = (Protocol, u16)>,
) -> impl Iterator<Item = Backend> {
    let address = address.to_canonical();
    ports.map(Some).chain([None]).map(move |port| Backend { address, port })
}

/// The ports of a slice that have a number.
fn ports(slice: &EndpointSlice) -> impl Iterator<Item = (Protocol, u16)> + '_ {
    slice.ports.iter().filter_map(|port| {
        let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or("TCP"))?;
        Some((protocol, u16::try_from(port.port?).ok()?))
    })
}

/// The endpoints a service selects, with its target ports: what a cluster would put into slices.
pub(crate) fn selected(
    name: &ServiceRef,
    service: &Service,
    endpoints: &[Endpoint],
    errors: &mut Vec<FieldError>,
) -> Vec<Backend> {
    let selector = &service.spec.selector;
    let chosen = endpoints.iter().filter(|e| {
        let labelled =
            |(k, v): (&String, &String)| e.labels.get(k.as_str()).is_some_and(|l| l == v);
        e.id.namespace == name.namespace && !selector.is_empty() && selector.iter().all(labelled)
    });
    let mut backends = Vec::new();
    for endpoint in chosen {
        let mut ports = Vec::new();
        for (index, port) in service.spec.ports.iter().enumerate() {
            match target(port, endpoint) {
                Ok(found) => ports.extend(found),
                Err(reason) => {
                    errors.push(FieldError::new(format!("spec.ports[{index}]"), reason));
                }
            }
        }
        for address in &endpoint.addresses {
            backends.extend(at(*address, ports.iter().copied()));
        }
    }
    backends.sort();
    backends.dedup();
    backends
}

/// The port of the endpoint that a port of the service leads to, if the endpoint has it.
fn target(port: &ServicePort, endpoint: &Endpoint) -> Result<Option<(Protocol, u16)>, String> {
    let text = port.protocol.as_deref().unwrap_or("TCP");
    let protocol = Protocol::parse(text).ok_or_else(|| format!("`{text}` is not a protocol"))?;
    let number = |n: i64| {
        u16::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| format!("`{n}` is not a port"))
    };
    let found = match &port.target_port {
        None => Some(number(port.port)?),
        Some(IntOrString::Int(n)) => Some(number(*n)?),
        Some(IntOrString::Text(name)) => {
            let named = endpoint.ports.iter().find(|p| p.name == *name && p.protocol == protocol);
            named.map(|p| p.port)
        }
    };
    Ok(found.map(|port| (protocol, port)))
}
