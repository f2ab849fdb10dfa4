//! A node in network namespaces, whose kernel is programmed as the agent does it.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::time::Duration;

use serde_json::{Value, json};
use smol_str::SmolStr;
use tortie_calc::{Calculation, Key, Update, interface_name};
use tortie_model::{Resource, decode};
use tortie_nft::program::{Programmer, Report};
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{Delta, Netlink};
use tortie_policy::EndpointId;
use tortie_testkit::network::Namespace;

/// The node that is calculated for: every tenth pod of [`tortie_testkit::scale`] is on it.
pub(crate) const NODE: &str = "node-0";

/// The namespace of the pods that are tried, which only their own policies select.
pub(crate) const PROBED: &str = "probed";

/// Both ends of all links have this hardware address, and resolve nothing.
const MAC: &str = "02:00:00:00:00:01";

/// From resources to the kernel of a namespace.
pub(crate) struct Dataplane {
    pub(crate) calculation: Calculation,
    pub(crate) renderer: Renderer,
    pub(crate) programmer: Programmer<Netlink>,
}

impl Dataplane {
    /// Brings resources into force; what that took to tell comes with it.
    pub(crate) fn new(router: &Namespace, documents: Vec<Value>) -> (Dataplane, Vec<Update>) {
        let netlink = router.within(|| Ok(Netlink::new()?)).unwrap();
        let mut dataplane = Dataplane {
            calculation: calculation(documents),
            renderer: Renderer::new(Options::default()),
            programmer: Programmer::new(netlink),
        };
        let updates = dataplane.flush();
        (dataplane, updates)
    }

    /// Brings what has changed into force, at once.
    pub(crate) fn flush(&mut self) -> Vec<Update> {
        let mut updates = Vec::new();
        self.calculation.flush(&mut updates);
        self.enforce(&updates);
        updates
    }

    /// Brings updates into force.
    pub(crate) fn enforce(&mut self, updates: &[Update]) -> Report {
        let mut delta = Delta::default();
        self.renderer.update(updates, &mut delta);
        let report = self.programmer.update(self.renderer.ruleset(), delta).unwrap();
        assert!(report.refused.is_none() && !report.rewritten, "{report:?}");
        report
    }
}

/// A calculation to which everything has been told, and which has told nothing yet.
pub(crate) fn calculation(documents: Vec<Value>) -> Calculation {
    let mut calculation = Calculation::new(Some(NODE.into())).assigning_addresses();
    for resource in documents.into_iter().flat_map(resources) {
        calculation.apply(&Key::of(&resource), Some(&resource));
    }
    calculation.in_sync();
    calculation
}

/// The resources of a document.
pub(crate) fn resources(document: Value) -> Vec<Resource> {
    decode(document).unwrap()
}

/// A pod of the namespace that is tried.
pub(crate) fn pod(name: &str, app: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": PROBED, "labels": {"app": app}},
        "spec": {"nodeName": NODE}, "status": {"podIP": address}})
}

/// The namespace that is tried; no policy of others selects it.
pub(crate) fn probed() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROBED}})
}

/// A policy of the namespace that is tried.
pub(crate) fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "spec": spec,
        "metadata": {"name": name, "namespace": PROBED}})
}

/// The interface of a pod of the namespace that is tried.
pub(crate) fn interface(name: &str) -> SmolStr {
    interface_name(&EndpointId { namespace: PROBED.into(), name: name.into() })
}

/// A namespace that forwards, and looks at nothing else.
pub(crate) fn router() -> Namespace {
    let router = Namespace::new().unwrap();
    router
        .set(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
        ])
        .unwrap();
    router.run("ip", &["link", "set", "dev", "lo", "up"], "").unwrap();
    router
}

/// A namespace with an address behind an interface of a router.
pub(crate) fn connect(router: &Namespace, interface: &str, address: &str) -> Namespace {
    let namespace = Namespace::new().unwrap();
    let near = format!(
        "link add name {interface} address {MAC} type veth \
         peer name eth0 address {MAC} netns {}\n\
         link set dev {interface} arp off up\n\
         address add 169.254.77.1/32 dev {interface}\n\
         route add {address} dev {interface}\n",
        namespace.path()
    );
    let far = format!(
        "link set dev lo up\nlink set dev eth0 arp off up\n\
         address add {address}/32 dev eth0\nroute add 0.0.0.0/0 dev eth0\n"
    );
    router.run("ip", &["-batch", "-"], &near).unwrap();
    namespace.run("ip", &["-batch", "-"], &far).unwrap();
    namespace
}

/// What a share of measurements does not exceed.
pub(crate) fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position")]
    let at = ((times.len() - 1) as f64 * share).round() as usize;
    times[at]
}

/// The median of ratios, and their range, in words.
pub(crate) fn told(mut ratios: Vec<f64>) -> String {
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    format!("{:.3} [{least:.2}-{most:.2}]", ratios[ratios.len() / 2])
}
