//! Services: their addresses, and which ports of which pods stand behind them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tortie_model::{FieldError, IntOrString, Resource, Service, ServicePort};

use super::{PodId, PodPlan, address};

/// One Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePlan {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// Its own addresses; none if it is headless.
    pub(crate) addresses: Vec<IpAddr>,
    /// Ports.
    pub(crate) ports: Vec<PortPlan>,
    /// Everything behind it, by pod.
    pub(crate) pods: Vec<Backend>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortPlan {
    /// The port clients use.
    pub(crate) port: u16,
    /// Its protocol.
    pub(crate) protocol: Transport,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A pod behind a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Backend {
    /// The pod.
    pub(crate) pod: PodId,
    /// Its addresses, of the Service's families.
    pub(crate) addresses: Vec<IpAddr>,
    /// The pod's port for each of the Service's ports, in their order; none where the pod has no
    /// port of the name asked for.
    pub(crate) ports: Vec<Option<u16>>,
    /// Whether it has a sidecar.
    pub(crate) meshed: bool,
}

impl Transport {
    /// As nft and the manifests' lower-cased name write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl ServicePlan {
    /// Whether clients in the mesh reach it under mutual TLS: all of its pods must have sidecars.
    pub(crate) fn meshed(&self) -> bool {
        !self.pods.is_empty() && self.pods.iter().all(|backend| backend.meshed)
    }

    /// What its names resolve to: its own addresses, or those of its pods if it is headless.
    pub(crate) fn resolved(&self) -> Vec<IpAddr> {
        match self.addresses.as_slice() {
            [] => self.pods.iter().flat_map(|backend| backend.addresses.clone()).collect(),
            own => own.to_vec(),
        }
    }

    /// Where connections to one of its ports go, in the family of `address`: to those of its pods
    /// that are ready.
    pub(crate) fn targets(
        &self,
        port: usize,
        address: IpAddr,
        ready: &BTreeSet<PodId>,
    ) -> Vec<SocketAddr> {
        let pods = self.pods.iter().filter(|backend| ready.contains(&backend.pod));
        let target = |backend: &Backend| {
            let port = (*backend.ports.get(port)?)?;
            let same = backend.addresses.iter().find(|a| a.is_ipv4() == address.is_ipv4())?;
            Some(SocketAddr::new(*same, port))
        };
        pods.filter_map(target).collect()
    }
}

/// Plans a Service with these addresses of its own.
pub(crate) fn plan(
    resource: &Resource,
    service: &Service,
    addresses: Vec<IpAddr>,
    pods: &[&PodPlan],
    v6: bool,
) -> Result<ServicePlan, FieldError> {
    if service.spec.type_.as_deref() == Some("ExternalName") {
        let reason = "`ExternalName`: a lab is closed, nothing outside of it has a name";
        return Err(FieldError::new("spec.type", reason));
    }
    let namespace = super::namespace_of(&service.metadata).to_owned();
    let ports = service.spec.ports.iter().enumerate().map(|(i, port)| plan_port(i, port));
    let families = families(&resource.raw, v6);
    let selected = pods.iter().filter(|pod| pod.id.namespace == namespace && selects(service, pod));
    let backend = |pod: &&PodPlan| Backend {
        pod: pod.id.clone(),
        addresses: of_families(&pod.link.addresses, &families),
        ports: service.spec.ports.iter().map(|port| target(port, pod)).collect(),
        meshed: pod.has_sidecar(),
    };
    Ok(ServicePlan {
        name: service.metadata.name.clone(),
        addresses,
        ports: ports.collect::<Result<_, _>>()?,
        pods: selected.map(backend).collect(),
        namespace,
    })
}

fn of_families(addresses: &[IpAddr], families: &[bool]) -> Vec<IpAddr> {
    addresses.iter().copied().filter(|a| families.contains(&a.is_ipv4())).collect()
}

/// Whether a Service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ip.as_deref() == Some("None")
}

/// The addresses that a Service says it has.
pub(crate) fn given_addresses(service: &Value) -> Result<Vec<IpAddr>, FieldError> {
    let listed = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let single = service.pointer("/spec/clusterIP");
    let texts: Vec<&Value> = match listed {
        Some(listed) if !listed.is_empty() => listed.iter().collect(),
        _ => single.into_iter().collect(),
    };
    let texts = texts.into_iter().filter_map(Value::as_str).filter(|t| !matches!(*t, "" | "None"));
    let addresses = texts.map(|text| match text.parse() {
        Ok(address) if address::is_cluster_address(&address) => Ok(address),
        _ => {
            let reason = format!(
                "`{text}` is not of {} or {}",
                address::SERVICE_RANGE_V4,
                address::SERVICE_RANGE_V6
            );
            Err(FieldError::new("spec.clusterIP", reason))
        }
    });
    addresses.collect()
}

/// A Service without a selector selects nothing.
fn selects(service: &Service, pod: &PodPlan) -> bool {
    let selector = &service.spec.selector;
    !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

fn plan_port(index: usize, port: &ServicePort) -> Result<PortPlan, FieldError> {
    let field = |name: &str| format!("spec.ports[{index}].{name}");
    let number = u16::try_from(port.port).ok().filter(|port| *port != 0).ok_or_else(|| {
        FieldError::new(field("port"), format!("`{}` is not a port from 1 to 65535", port.port))
    })?;
    let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Transport::Tcp,
        "UDP" => Transport::Udp,
        other => {
            let reason = format!("`{other}`: the lab has TCP and UDP only");
            return Err(FieldError::new(field("protocol"), reason));
        }
    };
    Ok(PortPlan { port: number, protocol })
}

fn target(port: &ServicePort, pod: &PodPlan) -> Option<u16> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::Text(name)) => return pod.named_ports.get(name).copied(),
    };
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// The families of a Service, as "is IPv4": IPv4 alone unless it asks for more, as in a dual-stack
/// cluster.
pub(crate) fn families(service: &Value, v6: bool) -> Vec<bool> {
    let policy = service.pointer("/spec/ipFamilyPolicy").and_then(Value::as_str);
    let listed = service.pointer("/spec/ipFamilies").and_then(Value::as_array);
    let listed: Vec<_> = listed.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut families: Vec<bool> = listed.iter().map(|family| *family == "IPv4").collect();
    if families.is_empty() {
        families.push(true);
    }
    if matches!(policy, Some("PreferDualStack" | "RequireDualStack")) {
        families = vec![true, false];
    }
    if !v6 {
        families.retain(|v4| *v4);
    }
    families
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_follow_kubernetes() {
        for (spec, want) in [
            (json!({}), vec![true]),
            (json!({"ipFamilies": ["IPv6"]}), vec![false]),
            (json!({"ipFamilyPolicy": "PreferDualStack"}), vec![true, false]),
            (
                json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}),
                vec![true, false],
            ),
        ] {
            assert_eq!(families(&json!({ "spec": spec }), true), want, "{spec}");
        }
        assert!(families(&json!({"spec": {"ipFamilies": ["IPv6"]}}), false).is_empty());
    }
}
