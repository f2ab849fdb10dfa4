//! Settings of hosts, from FelixConfigurations: `default` is for all hosts, one with a
//! `nodeSelector` for those it selects, and `node.<name>` for one.

use std::collections::BTreeMap;

use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{FelixConfiguration, FelixConfigurationSpec, FieldError, Node};
use tortie_selector::Selector;

use crate::cluster::Invalid;
use crate::convert::{self, Report};
use crate::{HostSettings, Labels, Tunnel, mend};

/// A resource, and its position among those given.
type Given<'a, T> = &'a (usize, T);

/// For whom a FelixConfiguration is.
enum Reach {
    All,
    Node(SmolStr),
    Selected(Selector),
}

/// The settings of all hosts (no name), and of those that have their own.
pub(crate) fn of_hosts<'a>(
    felix: impl Iterator<Item = Given<'a, FelixConfiguration>>,
    nodes: &BTreeMap<SmolStr, (usize, Node)>,
    lenient: bool,
    invalid: &mut Vec<Invalid>,
) -> BTreeMap<Option<SmolStr>, HostSettings> {
    let mut layers = Layers { lenient, invalid, settings: BTreeMap::new() };
    let (mut common, mut selected, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for given in felix {
        match reach(&given.1) {
            Ok(Reach::All) => common.push(given),
            Ok(Reach::Selected(selector)) => selected.push((selector, given)),
            Ok(Reach::Node(node)) => single.push((node, given)),
            Err(errors) => layers.refuse(given.0, errors),
        }
    }
    common.into_iter().for_each(|given| layers.add(None, given));
    // Of several that select a node the first by name wins, so it is laid on last.
    for (selector, given) in selected.iter().rev() {
        layers.check(given);
        for (name, _) in nodes.iter().filter(|(_, (_, node))| selector.matches(&labels(node))) {
            layers.add(Some(name.clone()), given);
        }
    }
    single.into_iter().for_each(|(node, given)| layers.add(Some(node), given));
    layers.settings
}

fn labels(node: &Node) -> Labels {
    node.metadata.labels.iter().map(|(k, v)| (k.to_smolstr(), v.to_smolstr())).collect()
}

fn reach(wire: &FelixConfiguration) -> Result<Reach, Vec<FieldError>> {
    const FIELD: &str = "spec.nodeSelector";
    let name = wire.metadata.name.as_str();
    let selector = wire.spec.node_selector.as_deref();
    let reach = match (name, name.strip_prefix("node.")) {
        ("default", _) => Reach::All,
        (_, Some(node)) => Reach::Node(node.into()),
        _ => {
            let Some(text) = selector else {
                let reason = format!("`{name}` is neither `default` nor `node.<name>`");
                let hint = "rename it, or say by `spec.nodeSelector` which nodes it is for";
                return Err(vec![FieldError::new("metadata.name", reason).hint(hint)]);
            };
            let mut report = Report::default();
            let selector = convert::selector(FIELD, Some(text), &mut report);
            return match (selector, report.finish(())) {
                (Some(selector), Ok(())) => Ok(Reach::Selected(selector)),
                (_, Err(errors)) => Err(errors),
                (None, Ok(())) => Ok(Reach::Selected(Selector::all())),
            };
        }
    };
    match selector {
        None => Ok(reach),
        Some(_) => {
            let reason = format!("`{name}` says already which nodes it is for");
            let hint = "remove the selector, or rename the object";
            Err(vec![FieldError::new(FIELD, reason).hint(hint)])
        }
    }
}

/// Settings laid on each other.
struct Layers<'a> {
    lenient: bool,
    invalid: &'a mut Vec<Invalid>,
    settings: BTreeMap<Option<SmolStr>, HostSettings>,
}

impl Layers<'_> {
    fn refuse(&mut self, resource: usize, errors: Vec<FieldError>) {
        self.invalid.extend(errors.into_iter().map(|error| Invalid { resource, error }));
    }

    /// Notes what is wrong with settings, whether or not they are for any host.
    fn check(&mut self, (resource, wire): Given<'_, FelixConfiguration>) {
        if let Err(errors) = convert(wire, HostSettings::default()) {
            self.refuse(*resource, errors);
        }
    }

    fn add(&mut self, host: Option<SmolStr>, given: Given<'_, FelixConfiguration>) {
        let (resource, wire) = given;
        let common = || self.settings.get(&None).cloned().unwrap_or_default();
        let base = self.settings.get(&host).cloned().unwrap_or_else(common);
        let selected = wire.spec.node_selector.is_some();
        match convert(wire, base.clone()) {
            Ok(settings) => drop(self.settings.insert(host, settings)),
            Err(errors) => {
                if !selected {
                    self.refuse(*resource, errors);
                }
                let mended = self
                    .lenient
                    .then(|| mend::without_errors(wire, |wire| convert(wire, base.clone())));
                self.settings.insert(host, mended.flatten().unwrap_or(base));
            }
        }
    }
}

fn convert(
    wire: &FelixConfiguration,
    settings: HostSettings,
) -> Result<HostSettings, Vec<FieldError>> {
    let (mut settings, mut errors) = match convert::felix(wire, settings.clone()) {
        Ok(settings) => (settings, Vec::new()),
        Err(errors) => (settings, errors),
    };
    tunnels(&wire.spec, &mut settings, &mut errors);
    convert::packets(&wire.spec, &mut settings, &mut errors);
    convert::dataplane(&wire.spec, &mut settings, &mut errors);
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn tunnels(
    spec: &FelixConfigurationSpec,
    settings: &mut HostSettings,
    errors: &mut Vec<FieldError>,
) {
    let mut port = |field: &str, given: Option<i64>, before: u16| {
        let Some(number) = given else { return before };
        u16::try_from(number).ok().filter(|p| *p > 0).unwrap_or_else(|| {
            let reason = format!("`{number}` is not a port between 1 and 65535");
            let hint = "write the number of a UDP port";
            errors.push(FieldError::new(format!("spec.{field}"), reason).hint(hint));
            before
        })
    };
    let allowed = [
        (spec.allow_vxlan_packets_from_workloads, &mut settings.vxlan_from_workloads),
        (spec.allow_ipip_packets_from_workloads, &mut settings.ip_in_ip_from_workloads),
    ];
    for (given, setting) in allowed {
        *setting = given.unwrap_or(*setting);
    }
    settings.vxlan_port = port("vxlanPort", spec.vxlan_port, settings.vxlan_port);
    let wire_guard = port("wireguardListeningPort", spec.wireguard_listening_port, 51820);
    let wire_guard_v6 = port("wireguardListeningPortV6", spec.wireguard_listening_port_v6, 51821);
    let given = [
        (spec.ipip_enabled, Tunnel::IpInIp),
        (spec.vxlan_enabled, Tunnel::Vxlan(settings.vxlan_port)),
        (spec.wireguard_enabled, Tunnel::WireGuard(wire_guard)),
        (spec.wireguard_enabled_v6, Tunnel::WireGuard(wire_guard_v6)),
    ];
    for (enabled, tunnel) in given.into_iter().filter_map(|(e, t)| e.map(|e| (e, t))) {
        settings.tunnels.retain(|known| *known != tunnel);
        settings.tunnels.extend(enabled.then_some(tunnel));
    }
}
