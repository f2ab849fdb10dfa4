//! A table that changes under traffic: changes of resources, told through the whole way to the kernel.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tortie_calc::{Calculation, Key, Update, interface_name};
use tortie_model::Resource;
use tortie_nft::program::{Programmer, Report};
use tortie_nft::render::{Options, Renderer};
use tortie_nft::{Delta, Netlink};
use tortie_policy::{Compat, EndpointId};
use tortie_testkit::network::{Layout, Namespace, Network, Packet, Place, Probe, may_run};
use tortie_testkit::resources;

/// Updates under traffic; `TORTIE_KERNEL_UPDATES` asks for another number.
const UPDATES: usize = 300;

/// Clients that connect all the time.
const CLIENTS: usize = 8;

/// What must happen has long to do so.
const PATIENCE: Duration = Duration::from_secs(10);

/// From resources to the kernel, change by change.
pub(crate) struct Live {
    calculation: Calculation,
    renderer: Renderer,
    programmer: Programmer<Netlink>,
}

impl Live {
    /// What has a node's kernel follow resources, of which there are none yet.
    pub(crate) fn start(network: &Network, compat: Compat) -> Live {
        let netlink = network.node().within(|| Ok(Netlink::new()?)).unwrap();
        let calculation = Calculation::new(None).assigning_addresses().with_compat(compat);
        let mut live = Live {
            calculation,
            renderer: Renderer::new(Options::default()),
            programmer: Programmer::new(netlink),
        };
        live.calculation.in_sync();
        live.flush();
        live
    }

    fn new(network: &Network, yaml: &str) -> Live {
        let mut live = Live::start(network, Compat::STRICT);
        live.put(yaml);
        live.flush();
        live
    }

    /// Takes in that a resource is now like this, or is not there.
    pub(crate) fn apply(&mut self, key: &Key, resource: Option<&Resource>) {
        self.calculation.apply(key, resource);
    }

    fn put(&mut self, yaml: &str) {
        for resource in resources(yaml).unwrap() {
            self.calculation.apply(&Key::of(&resource), Some(&resource));
        }
    }

    fn remove(&mut self, yaml: &str) {
        for resource in resources(yaml).unwrap() {
            self.calculation.apply(&Key::of(&resource), None);
        }
    }

    /// Brings what has changed into force, at once.
    pub(crate) fn flush(&mut self) -> Report {
        let (mut updates, mut delta) = (Vec::new(), Delta::default());
        self.calculation.flush(&mut updates);
        // All workloads are here, wherever they are said to be; hosts are not.
        updates.retain(|update| !matches!(update, Update::Host(_) | Update::HostRemove(_)));
        self.renderer.update(&updates, &mut delta);
        let report = self.programmer.update(self.renderer.ruleset(), delta).unwrap();
        assert!(report.refused.is_none(), "{report:?}");
        report
    }

    /// Whether the kernel's table is what it should be, as somebody finds it who knows nothing of it.
    pub(crate) fn is_whole(&self, network: &Network) -> bool {
        let netlink = network.node().within(|| Ok(Netlink::new()?)).unwrap();
        let report = Programmer::new(netlink).update(self.renderer.ruleset(), Delta::default());
        !report.unwrap().changed()
    }
}

fn interface(name: &str) -> smol_str::SmolStr {
    interface_name(&EndpointId { namespace: "default".into(), name: name.into() })
}

fn pod(name: &str, label: &str, address: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: {label}}}}}, \
         status: {{podIP: {address}}}}}\n---\n"
    )
}

/// A server that its clients reach on port 80 by TCP, and nothing else.
fn bank() -> String {
    let policy = "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: server, namespace: default}
spec:
  selector: app == 'server'
  ingress: [{action: Allow, protocol: TCP, source: {selector: app == 'client'},
             destination: {ports: [80]}}]
---
";
    [pod("server", "server", "10.0.0.2"), pod("client", "client", "10.0.0.1"), policy.into()]
        .concat()
}

/// A network with the bank's pods and their neighbours.
fn network(more: &[(&str, &str)]) -> Network {
    let pods = [("client", "10.0.0.1"), ("server", "10.0.0.2")];
    let workloads = pods.iter().chain(more);
    let workloads =
        workloads.map(|(name, address)| (interface(name), vec![address.parse().unwrap()]));
    let layout = Layout { uplink: "eth0".into(), workloads: workloads.collect(), host: vec![] };
    let mut network = Network::new().unwrap();
    network.arrange(layout).unwrap();
    network
}

fn probe(from: &str, source: &str, port: u16) -> Probe {
    let destination = "10.0.0.2".parse().unwrap();
    let source = source.parse().unwrap();
    let packet = Packet { source, destination, protocol: 6, ports: (40_000, port), icmp: (0, 0) };
    let (from, to) = (Place::Beyond(interface(from)), Place::Beyond(interface("server")));
    Probe { from, to, packet }
}

fn arrives(network: &mut Network, probe: &Probe) -> bool {
    network.probe(std::slice::from_ref(probe), false).unwrap()[0].arrived
}

// === updates under traffic ===

/// What clients found.
#[derive(Default)]
struct Found {
    done: AtomicBool,
    /// Whether all clients have ended.
    left: AtomicBool,
    connections: AtomicUsize,
    longest: AtomicUsize,
}

/// Connects until all is done, and after each connection sends what is never allowed.
fn keep_connecting(found: &Found) -> anyhow::Result<()> {
    let udp = UdpSocket::bind("10.0.0.1:0")?;
    while !found.done.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let mut connection = TcpStream::connect("10.0.0.2:80")?;
        let took = usize::try_from(begin.elapsed().as_micros())?;
        found.longest.fetch_max(took, Ordering::Relaxed);
        found.connections.fetch_add(1, Ordering::Relaxed);
        // The server hangs up when it has taken the call.
        connection.set_read_timeout(Some(PATIENCE))?;
        anyhow::ensure!(connection.read(&mut [0])? == 0);
        udp.send_to(b"let me in", "10.0.0.2:80")?;
    }
    Ok(())
}

/// First packets of TCP that had to be sent again in a namespace: they, or their answers, were lost.
fn repeated(namespace: &Namespace) -> u64 {
    let read = || Ok(std::fs::read_to_string("/proc/thread-self/net/netstat")?);
    let text = namespace.within(read).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(name, _)| *name == "TCPSynRetrans").unwrap().1.parse().unwrap()
}

/// Takes calls and hangs up, until all clients have ended.
fn keep_accepting(listener: &TcpListener, found: &Found) -> anyhow::Result<()> {
    while !found.left.load(Ordering::Relaxed) {
        drop(listener.accept()?);
    }
    Ok(())
}

/// One of many changes, none of which bears on the bank's flows, there and back.
fn change(live: &mut Live, number: usize) {
    let neighbour = pod("neighbour", "client", "10.0.0.9");
    let first = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, \
                 metadata: {name: first}, spec: {order: 1, selector: all(), \
                 ingress: [{action: Deny, protocol: UDP}, {action: Pass, protocol: SCTP}]}}";
    match number % 6 {
        0 => live.put(&neighbour),
        1 => live.put(first),
        2 => live.put(&bank().replace("ports: [80]", "ports: [80, 443, '8000:8100']")),
        3 => live.remove(&neighbour),
        4 => live.put(&bank()),
        _ => live.remove(first),
    }
    live.flush();
}

#[test]
fn updates_under_traffic_lose_nothing_and_let_nothing_in() {
    if !may_run() {
        return;
    }
    let network = network(&[]);
    let (client, server) = (
        network.beyond(&interface("client")).unwrap(),
        network.beyond(&interface("server")).unwrap(),
    );
    client.run("ip", &["address", "add", "10.0.0.1/32", "dev", "eth0"], "").unwrap();
    server.run("ip", &["address", "add", "10.0.0.2/32", "dev", "eth0"], "").unwrap();
    let mut live = Live::new(&network, &bank());
    let listener = server.within(|| Ok(TcpListener::bind("10.0.0.2:80")?)).unwrap();
    let secret = server.within(|| Ok(UdpSocket::bind("10.0.0.2:80")?)).unwrap();
    let updates = std::env::var("TORTIE_KERNEL_UPDATES").ok().map(|n| n.parse().unwrap());
    let (updates, found) = (updates.unwrap_or(UPDATES), Found::default());
    let begin = Instant::now();
    thread::scope(|scope| {
        let server = scope.spawn(|| keep_accepting(&listener, &found));
        let work = || client.within(|| keep_connecting(&found));
        let works: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        (0..updates).for_each(|number| change(&mut live, number));
        found.done.store(true, Ordering::Relaxed);
        works.into_iter().for_each(|work| work.join().unwrap().unwrap());
        found.left.store(true, Ordering::Relaxed);
        // The server waits for one more.
        client.within(|| Ok(TcpStream::connect("10.0.0.2:80")?)).unwrap();
        server.join().unwrap().unwrap();
    });
    let longest = Duration::from_micros(found.longest.into_inner() as u64);
    let (connections, repeated) = (found.connections.into_inner(), repeated(client));
    println!(
        "{updates} updates in {:?}: {connections} connections, the longest {longest:?}, \
         {repeated} first packets repeated",
        begin.elapsed()
    );
    assert!(connections > CLIENTS && repeated == 0);
    secret.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let leaked = secret.recv(&mut [0; 16]);
    assert_eq!(leaked.map_err(|e| e.kind()), Err(ErrorKind::WouldBlock), "something leaked");
    assert!(live.is_whole(&network));
}

// === bursts ===

#[test]
fn a_thousand_workloads_come_and_go_at_once() {
    if !may_run() {
        return;
    }
    let mut network = network(&[]);
    let mut live = Live::new(&network, &bank());
    let [allowed, denied] = [80, 81].map(|port| probe("client", "10.0.0.1", port));
    let crowd = |first: usize| -> String {
        let one = |n| pod(&format!("p{n}"), "client", &format!("10.1.{}.{}", n / 250, n % 250 + 1));
        (first..first + 1_000).map(one).collect()
    };
    // Come, are others, go.
    for step in 0..3 {
        match step {
            0 => live.put(&crowd(0)),
            1 => {
                live.remove(&crowd(0));
                live.put(&crowd(500));
            }
            _ => live.remove(&crowd(500)),
        }
        let report = live.flush();
        assert_eq!(report.batches, 1, "{report:?}");
        assert!(live.is_whole(&network), "step {step}");
        assert!(arrives(&mut network, &allowed) && !arrives(&mut network, &denied), "step {step}");
    }
    // Nothing is left of them.
    assert!(!live.renderer.ruleset().sets.values().any(|set| set.elements.len() > 10));
}

// === addresses that change hands ===

#[test]
fn an_address_is_never_taken_for_that_of_the_pod_before() {
    if !may_run() {
        return;
    }
    let mut network = network(&[("old", "10.0.0.5"), ("new", "10.0.0.6")]);
    let (old, new) = (pod("old", "client", "10.0.0.5"), pod("new", "stranger", "10.0.0.5"));
    let mut live = Live::new(&network, &(bank() + &old));
    let [by_old, by_new] = ["old", "new"].map(|name| probe(name, "10.0.0.5", 80));
    for _ in 0..10 {
        assert!(arrives(&mut network, &by_old) && !arrives(&mut network, &by_new));
        live.remove(&old);
        live.put(&new);
        let report = live.flush();
        assert_eq!(report.batches, 1, "{report:?}");
        assert!(!arrives(&mut network, &by_old) && !arrives(&mut network, &by_new));
        live.remove(&new);
        live.put(&old);
        assert_eq!(live.flush().batches, 1);
    }
    assert!(live.is_whole(&network));
}
