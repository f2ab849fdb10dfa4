//! The ingress gateway: what Gateway and VirtualService objects (`networking.istio.io`) ask for.
//!
//! Understood is what sends plain HTTP to one Service by host and path. Anything else in these
//! objects is an error: a route that is silently different from the one written would mislead.

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;
use tortie_mesh::envoy::{Destination, GatewayListener, PathMatch, Route, VirtualHost};
use tortie_model::{FieldError, Resource};

use self::documents::{GatewaySpec, HttpMatch, RouteDestination, Server, Uri, VirtualServiceSpec};
use super::service::ServicePlan;

/// Namespace of the gateway's pod and Service.
pub(crate) const NAMESPACE: &str = "istio-system";
/// Name of its Service, and the beginning of its pod's name.
pub(crate) const NAME: &str = "istio-ingressgateway";
/// Its service account.
pub(crate) const ACCOUNT: &str = "istio-ingressgateway-service-account";
/// The labels of its pod, which Gateway objects select.
pub(crate) const LABELS: [(&str, &str); 2] =
    [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];

/// The Gateway and VirtualService objects of a lab, each with its position among the resources.
#[derive(Debug, Default)]
pub(crate) struct Ingress {
    gateways: Vec<Gateway>,
    virtual_services: Vec<VirtualService>,
}

#[derive(Debug)]
struct Gateway {
    namespace: String,
    name: String,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct VirtualService {
    resource: usize,
    namespace: String,
    spec: VirtualServiceSpec,
}

impl Ingress {
    /// Takes a resource if it is one of the two kinds.
    pub(crate) fn add(&mut self, position: usize, resource: &Resource) -> Result<(), FieldError> {
        if resource.group() != "networking.istio.io" {
            return Ok(());
        }
        let namespace = super::namespace_of(resource.metadata()).to_owned();
        match resource.kind.as_str() {
            "Gateway" => {
                let spec: GatewaySpec = spec(resource)?;
                check_selector(&spec.selector)?;
                check_protocols(&spec.servers)?;
                let name = resource.metadata().name.clone();
                self.gateways.push(Gateway { namespace, name, servers: spec.servers });
            }
            "VirtualService" => {
                let spec = spec(resource)?;
                self.virtual_services.push(VirtualService { resource: position, namespace, spec });
            }
            _ => {}
        }
        Ok(())
    }

    /// The ports the gateway listens on; without any there is no gateway.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.gateways.iter().flat_map(|g| &g.servers).map(|server| server.port.number).collect()
    }

    /// What the gateway serves, and what is wrong with which resource, by its position: such a one is
    /// left out as a whole.
    pub(crate) fn listeners(
        &self,
        services: &[ServicePlan],
    ) -> (Vec<GatewayListener>, Vec<(usize, FieldError)>) {
        let mut errors = Vec::new();
        let mut listeners: BTreeMap<u16, Vec<VirtualHost>> =
            self.ports().into_iter().map(|port| (port, Vec::new())).collect();
        for virtual_service in &self.virtual_services {
            let routes = match virtual_service.routes(services) {
                Ok(routes) => routes,
                Err(error) => {
                    errors.push((virtual_service.resource, error));
                    continue;
                }
            };
            for gateway in self.gateways.iter().filter(|g| virtual_service.uses(g)) {
                for server in &gateway.servers {
                    let hosts = common_hosts(server, &virtual_service.spec.hosts);
                    let host = VirtualHost { hosts, routes: routes.clone() };
                    listeners.entry(server.port.number).or_default().push(host);
                }
            }
        }
        let listener = |(port, virtual_hosts)| GatewayListener { port, virtual_hosts };
        (listeners.into_iter().map(listener).collect(), errors)
    }
}

fn spec<T: for<'de> Deserialize<'de>>(resource: &Resource) -> Result<T, FieldError> {
    let spec = resource.raw.get("spec").cloned().unwrap_or(Value::Null);
    serde_json::from_value(spec).map_err(|error| {
        FieldError::new("spec", format!("the lab's ingress gateway cannot do this: {error}"))
    })
}

fn check_selector(selector: &BTreeMap<String, String>) -> Result<(), FieldError> {
    let ours = |(key, value): (&String, &String)| LABELS.contains(&(key.as_str(), value.as_str()));
    if selector.iter().all(ours) {
        return Ok(());
    }
    let reason = "selects no gateway of the lab, which has one, labelled `istio: ingressgateway`";
    Err(FieldError::new("spec.selector", reason))
}

fn check_protocols(servers: &[Server]) -> Result<(), FieldError> {
    match servers.iter().position(|s| !matches!(s.port.protocol.as_str(), "HTTP" | "HTTP2")) {
        None => Ok(()),
        Some(index) => {
            let field = format!("spec.servers[{index}].port.protocol");
            Err(FieldError::new(field, "the lab's ingress gateway serves plain HTTP only"))
        }
    }
}

/// The hosts of a VirtualService that a server admits. The server's may carry a namespace.
fn common_hosts(server: &Server, hosts: &[String]) -> Vec<String> {
    let admitted: Vec<&str> =
        server.hosts.iter().map(|host| host.rsplit('/').next().unwrap_or_default()).collect();
    let narrower = |a: &str, b: &str| match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (_, Some(suffix)) if a.ends_with(suffix) => Some(a.to_owned()),
        (Some(suffix), _) if b.ends_with(suffix) => Some(b.to_owned()),
        _ => (a == b).then(|| a.to_owned()),
    };
    let pairs = hosts.iter().flat_map(|host| admitted.iter().map(move |other| (host, other)));
    pairs.filter_map(|(host, other)| narrower(host, other)).collect()
}

impl VirtualService {
    fn uses(&self, gateway: &Gateway) -> bool {
        self.spec.gateways.iter().any(|reference| match reference.split_once('/') {
            Some((namespace, name)) => namespace == gateway.namespace && name == gateway.name,
            None => self.namespace == gateway.namespace && *reference == gateway.name,
        })
    }

    fn routes(&self, services: &[ServicePlan]) -> Result<Vec<Route>, FieldError> {
        let routes = self.spec.http.iter().enumerate().map(|(index, route)| {
            let fail = |what: &str, reason: String| {
                FieldError::new(format!("spec.http[{index}].{what}"), reason)
            };
            let [target] = route.route.as_slice() else {
                return Err(fail("route", "must have one destination".to_owned()));
            };
            let destination = self
                .destination(&target.destination, services)
                .map_err(|reason| fail("route[0].destination", reason))?;
            Ok(Route { paths: paths(&route.matches), destination })
        });
        routes.collect()
    }

    fn destination(
        &self,
        destination: &RouteDestination,
        services: &[ServicePlan],
    ) -> Result<Destination, String> {
        let host = &destination.host;
        let service = services
            .iter()
            .find(|service| self.names(host, service))
            .ok_or_else(|| format!("no Service `{host}`"))?;
        let port = match (&destination.port, service.ports.as_slice()) {
            (Some(port), ports) if ports.iter().any(|p| p.port == port.number) => port.number,
            (None, [only]) => only.port,
            (Some(port), _) => return Err(format!("`{host}` has no port {}", port.number)),
            (None, _) => return Err(format!("`{host}` has several ports: choose one")),
        };
        let address = service.addresses.first().ok_or_else(|| {
            format!("`{host}` is headless: the lab's ingress gateway needs a cluster address")
        })?;
        Ok(Destination { address: SocketAddr::new(*address, port), meshed: service.meshed() })
    }

    /// Whether a host of this object means a Service: a short name is one of the own namespace.
    fn names(&self, host: &str, service: &ServicePlan) -> bool {
        let ServicePlan { namespace, name, .. } = service;
        match host.strip_prefix(name.as_str()) {
            Some("") => *namespace == self.namespace,
            Some(rest) => {
                let short = format!(".{namespace}");
                ["", ".svc", ".svc.cluster.local"].iter().any(|end| rest == format!("{short}{end}"))
            }
            None => false,
        }
    }
}

/// A match without a path takes every path, and so does a route without a match.
fn paths(matches: &[HttpMatch]) -> Vec<PathMatch> {
    if matches.iter().any(|m| m.uri.is_none()) {
        return Vec::new();
    }
    let path = |uri: &Uri| match uri {
        Uri::Exact(path) => PathMatch::Exact(path.clone()),
        Uri::Prefix(path) => PathMatch::Prefix(path.clone()),
        Uri::Regex(regex) => PathMatch::Regex(regex.clone()),
    };
    matches.iter().filter_map(|m| m.uri.as_ref()).map(path).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::service::{PortPlan, Transport};

    fn customer() -> ServicePlan {
        ServicePlan {
            namespace: "default".into(),
            name: "customer".into(),
            addresses: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![PortPlan { port: 80, protocol: Transport::Tcp }],
            pods: vec![],
        }
    }

    fn object(kind: &str, spec: &Value) -> Resource {
        let raw = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": kind,
            "metadata": {"name": "bank", "namespace": "default"}, "spec": spec});
        tortie_model::decode(raw).unwrap().remove(0)
    }

    fn gateway() -> Value {
        json!({"selector": {"istio": "ingressgateway"}, "servers": [
            {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]})
    }

    fn virtual_service(http: &Value) -> Value {
        json!({"hosts": ["*"], "gateways": ["bank"], "http": http})
    }

    fn serve(virtual_service: &Value) -> Result<Vec<GatewayListener>, FieldError> {
        let mut ingress = Ingress::default();
        ingress.add(0, &object("Gateway", &gateway()))?;
        ingress.add(1, &object("VirtualService", virtual_service))?;
        let (listeners, mut errors) = ingress.listeners(&[customer()]);
        match errors.pop() {
            None => Ok(listeners),
            Some((position, error)) => {
                assert_eq!(position, 1);
                Err(error)
            }
        }
    }

    #[test]
    fn the_tutorials_objects() {
        let http = json!([{"match": [{"uri": {"prefix": "/"}}],
            "route": [{"destination": {"host": "customer", "port": {"number": 80}}}]}]);
        let listeners = serve(&virtual_service(&http)).unwrap();
        let [listener] = listeners.as_slice() else { panic!("{listeners:?}") };
        assert_eq!(listener.port, 80);
        let host = &listener.virtual_hosts[0];
        assert_eq!(host.hosts, ["*"]);
        assert_eq!(host.routes[0].paths, [PathMatch::Prefix("/".into())]);
        assert_eq!(host.routes[0].destination.address.to_string(), "10.96.0.1:80");
    }

    #[test]
    fn names_of_a_service() {
        for (host, found) in [
            ("customer", true),
            ("customer.default", true),
            ("customer.default.svc.cluster.local", true),
            ("customer.other", false),
            ("customers", false),
            ("custom", false),
        ] {
            let http = json!([{"route": [{"destination": {"host": host}}]}]);
            assert_eq!(serve(&virtual_service(&http)).is_ok(), found, "{host}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let to = json!([{"destination": {"host": "customer"}}]);
        for (http, want) in [
            (json!([{"route": to, "rewrite": {"uri": "/"}}]), "rewrite"),
            (json!([{"route": to, "match": [{"headers": {}}]}]), "headers"),
            (json!([{"route": []}]), "one destination"),
            (json!([{"route": [{"destination": {"host": "x"}}]}]), "no Service `x`"),
            (
                json!([{"route": [{"destination": {"host": "customer", "port": {"number": 1}}}]}]),
                "no port 1",
            ),
        ] {
            let error = serve(&virtual_service(&http)).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let mut ingress = Ingress::default();
        for (from, to) in [("HTTP", "HTTPS"), ("ingressgateway", "other")] {
            let text = gateway().to_string().replace(&format!("\"{from}\""), &format!("\"{to}\""));
            let spec = serde_json::from_str(&text).unwrap();
            assert!(ingress.add(0, &object("Gateway", &spec)).is_err(), "{to}");
        }
    }

    #[test]
    fn hosts_both_sides_agree_on() {
        for (server, hosts, want) in [
            ("*", vec!["bank.example"], vec!["bank.example"]),
            ("bank.example", vec!["*"], vec!["bank.example"]),
            ("default/*.example", vec!["a.example", "b.test"], vec!["a.example"]),
            ("a.test", vec!["b.test"], vec![]),
        ] {
            let server: Server = serde_json::from_value(json!({
                "port": {"number": 80, "protocol": "HTTP"}, "hosts": [server]}))
            .unwrap();
            let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
            assert_eq!(common_hosts(&server, &hosts), want);
        }
    }
}
