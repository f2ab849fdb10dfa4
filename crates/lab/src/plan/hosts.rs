//! Names inside a pod: a hosts file instead of a DNS server.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::PodId;
use super::service::ServicePlan;

/// The hosts file of a pod: itself, and every Service by each of its names. The shortest name
/// belongs to the pod's own namespace alone.
pub(crate) fn hosts(id: &PodId, addresses: &[IpAddr], services: &[ServicePlan]) -> String {
    let PodId { namespace, name: pod } = id;
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    for address in addresses {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address} {pod}");
    }
    for service in services {
        let ServicePlan { namespace: home, name, .. } = service;
        let long = format!("{name}.{home} {name}.{home}.svc {name}.{home}.svc.cluster.local");
        let names = if home == namespace { format!("{name} {long}") } else { long };
        for address in service.resolved() {
            let _ = writeln!(text, "{address} {names}");
        }
    }
    text
}

/// The resolver configuration of a pod: the cluster's search list, and no server.
pub(crate) fn resolv_conf(namespace: &str) -> String {
    format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_belong_to_the_own_namespace() {
        let service = |namespace: &str, name: &str, address: &str| ServicePlan {
            namespace: namespace.into(),
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
            ports: vec![],
            pods: vec![],
        };
        let services = [service("a", "x", "10.96.0.1"), service("b", "x", "fd00:96::2")];
        let id: PodId = "a/p-0".parse().unwrap();
        let text = hosts(&id, &["10.65.0.2".parse().unwrap()], &services);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "10.65.0.2 p-0",
                "10.96.0.1 x x.a x.a.svc x.a.svc.cluster.local",
                "fd00:96::2 x.b x.b.svc x.b.svc.cluster.local",
            ]
        );
    }
}
