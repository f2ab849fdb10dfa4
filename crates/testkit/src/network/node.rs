//! The node: its links, its table, and packets through it.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context;
use smol_str::SmolStr;

use super::conntrack::Conntrack;
use super::ears::{Ears, Mouth};
use super::marker::Marker;
use super::namespace::Namespace;
use super::probe::rounds;
use super::{Layout, Outcome, Place, Probe};

/// All links have this hardware address at both ends, and resolve nothing: there is nothing to wait
/// for before a packet is sent.
const MAC: &str = "02:00:00:00:00:01";

/// Something with a link to the node.
#[derive(Debug)]
struct Peer {
    mouth: Mouth,
    ears: Ears,
    namespace: Namespace,
}

/// A node with workloads and an outside.
#[derive(Debug)]
pub struct Network {
    node: Namespace,
    mouth: Mouth,
    ears: Ears,
    peers: BTreeMap<SmolStr, Peer>,
    layout: Layout,
    conntrack: Conntrack,
    marker: Marker,
    last: u32,
}

impl Network {
    /// A node without links. The calling thread must be the only one to use it, and stays on its
    /// processor from now on.
    ///
    /// # Errors
    /// If namespaces cannot be made here.
    pub fn new() -> anyhow::Result<Network> {
        let marker = Marker::new()?;
        let node = bare()?;
        node.set(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
        // Connections are tracked as soon as a rule asks, which must not first be one of policy.
        let base = "add table inet base\n\
                    add chain inet base forward { type filter hook forward priority 0; }\n\
                    add rule inet base forward ct state established accept\n";
        node.run("nft", &["-f", "-"], base)?;
        // Linux holds the checksum of UDP-Lite against what that of UDP would be.
        node.set(&[("netfilter/nf_conntrack_checksum", "0")])?;
        let (mouth, ears, conntrack) =
            node.within(|| Ok((Mouth::here()?, Ears::default(), Conntrack::here()?)))?;
        let (peers, layout) = (BTreeMap::new(), Layout::default());
        Ok(Network { node, mouth, ears, peers, layout, conntrack, marker, last: 0 })
    }

    /// The node's namespace.
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// The namespace beyond an interface.
    pub fn beyond(&self, interface: &str) -> Option<&Namespace> {
        self.peers.get(interface).map(|peer| &peer.namespace)
    }

    /// Puts addresses where a layout has them. Links that were there stay, without routes.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn arrange(&mut self, layout: Layout) -> anyhow::Result<()> {
        for interface in layout.interfaces() {
            if !self.peers.contains_key(interface) {
                let peer = self.link(interface).with_context(|| interface.to_string())?;
                self.peers.insert(interface.clone(), peer);
            }
        }
        let batch = layout.since(&self.layout);
        if !batch.is_empty() {
            self.node.run("ip", &["-batch", "-"], &batch)?;
        }
        self.layout = layout;
        Ok(())
    }

    fn link(&self, interface: &str) -> anyhow::Result<Peer> {
        let namespace = bare()?;
        let path = namespace.path();
        let near = format!(
            "link add name {interface} address {MAC} type veth \
             peer name eth0 address {MAC} netns {path}\n\
             link set dev {interface} arp off up\n\
             address add 169.254.77.1/32 dev {interface}\n"
        );
        // Without any address an interface would lose its routes.
        self.node.run("ip", &["-batch", "-"], &near)?;
        let far = "link set dev eth0 arp off up\n\
                   route add 0.0.0.0/0 dev eth0\nroute add ::/0 dev eth0\n";
        namespace.run("ip", &["-batch", "-"], far)?;
        let (mouth, ears) = namespace.within(|| Ok((Mouth::here()?, Ears::on_interfaces()?)))?;
        Ok(Peer { mouth, ears, namespace })
    }

    /// Replaces the node's table by that of a text for `nft -f`, in one step.
    ///
    /// # Errors
    /// If the kernel or `nft` refuses it.
    pub fn enforce(&self, ruleset: &str) -> anyhow::Result<()> {
        let table = "table inet tortie";
        let text = format!("{table}\ndelete {table}\n{ruleset}");
        self.node.run("nft", &["-f", "-"], &text).map(drop).with_context(|| text)
    }

    /// Sends first packets of flows, each as if there had been none before, and looks which arrive.
    /// With `answer`, those that do are answered.
    ///
    /// # Errors
    /// If a packet cannot be sent, or sockets fail.
    pub fn probe(&mut self, probes: &[Probe], answer: bool) -> anyhow::Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::default(); probes.len()];
        self.listen(probes)?;
        for round in rounds(probes) {
            let pairs = round.iter().filter_map(|at| Some((*at, probes.get(*at)?)));
            self.round(&pairs.collect::<Vec<_>>(), answer, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    /// Opens ears for what is to arrive at the node itself.
    fn listen(&mut self, probes: &[Probe]) -> anyhow::Result<()> {
        let ends = probes.iter().filter(|p| p.to == Place::Host || p.from == Place::Host);
        let kinds = ends.map(|p| (p.packet.source.is_ipv6(), p.packet.protocol));
        let ears = &mut self.ears;
        let missing = kinds.filter(|(six, protocol)| !ears.listens(*six, *protocol));
        let missing: HashSet<_> = missing.collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.node.within(|| missing.iter().try_for_each(|(six, number)| ears.listen(*six, *number)))
    }

    fn round(
        &mut self,
        round: &[(usize, &Probe)],
        answer: bool,
        outcomes: &mut [Outcome],
    ) -> anyhow::Result<()> {
        self.conntrack.flush()?;
        let mut sent = Vec::new();
        for (position, probe) in round {
            let number = self.number();
            self.mouth(&probe.from)?.send(probe.packet.destination, &probe.packet.first(number))?;
            sent.push((*position, *probe, number));
        }
        let heard = self.heard()?;
        let mut answers = Vec::new();
        for (position, probe, number) in sent {
            let arrived = has(&heard, &probe.to, number);
            if let Some(outcome) = outcomes.get_mut(position) {
                outcome.arrived = arrived;
            }
            if arrived && answer && probe.to != Place::Host && probe.packet.has_answer() {
                answers.push((position, probe, number));
            }
        }
        self.answer(&answers, outcomes)
    }

    fn answer(
        &mut self,
        answers: &[(usize, &Probe, u32)],
        outcomes: &mut [Outcome],
    ) -> anyhow::Result<()> {
        let mut sent = Vec::new();
        for (position, probe, to) in answers {
            let number = self.number();
            let answer = probe.packet.answer(*to, number);
            self.mouth(&probe.to)?.send(probe.packet.source, &answer)?;
            sent.push((*position, &probe.from, number));
        }
        if sent.is_empty() {
            return Ok(());
        }
        let heard = self.heard()?;
        for (position, from, number) in sent {
            if let Some(outcome) = outcomes.get_mut(position) {
                outcome.answered = Some(has(&heard, from, number));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.last
    }

    fn mouth(&self, place: &Place) -> anyhow::Result<&Mouth> {
        match place {
            Place::Host => Ok(&self.mouth),
            Place::Beyond(interface) => {
                let peer = self.peers.get(interface);
                peer.map(|peer| &peer.mouth).with_context(|| format!("no interface {interface}"))
            }
        }
    }

    /// Waits until all packets have got as far as they will, and says which have been heard where.
    fn heard(&self) -> anyhow::Result<Heard> {
        self.marker.settle()?;
        let beyond =
            |(name, peer): (&SmolStr, &Peer)| Ok((Place::Beyond(name.clone()), peer.ears.heard()?));
        let mut heard = self.peers.iter().map(beyond).collect::<anyhow::Result<Heard>>()?;
        heard.insert(Place::Host, self.ears.heard()?);
        Ok(heard)
    }
}

/// The numbers of packets that were heard, by place.
type Heard = BTreeMap<Place, HashSet<u32>>;

fn has(heard: &Heard, place: &Place, number: u32) -> bool {
    heard.get(place).is_some_and(|numbers| numbers.contains(&number))
}

/// A namespace whose interfaces to come discover nothing.
fn bare() -> anyhow::Result<Namespace> {
    let namespace = Namespace::new()?;
    namespace.set(&[
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ])?;
    namespace.run(
        "ip",
        &["-batch", "-"],
        "link set dev lo up\naddress add fd77::1/128 dev lo nodad\n",
    )?;
    Ok(namespace)
}
