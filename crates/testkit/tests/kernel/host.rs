//! `examples/host`, as its README says: a machine that is open for ssh and its API, and stays open to
//! its administrators whatever policy says.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use tortie_client::files;
use tortie_model::{Object, Resource};
use tortie_nft::text;
use tortie_policy::{Case, Cluster, Compat, Word};
use tortie_testkit::network::{Asked, Namespace, Network, Scene, may_run};
use tortie_testkit::workspace;

use crate::judge::{Tally, judge, ruleset};

/// What must work has long to do so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is dropped is given up soon. Were it slow and not dropped, it would be found by the probes.
const BRIEFLY: Duration = Duration::from_millis(300);

const SSH: &str = "203.0.113.10:22";
const API: &str = "203.0.113.10:6443";
const OTHER: &str = "203.0.113.10:8080";
const ADMINISTRATOR: &str = "198.51.100.7";
const ANYBODY: &str = "192.0.2.7";

fn example(paths: &[&str]) -> (Vec<Resource>, Vec<Case>) {
    let folder = workspace::root().join("examples/host");
    let paths: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
    let loaded = files::load(&paths, false).unwrap();
    let (tests, resources): (Vec<_>, Vec<_>) =
        loaded.resources.into_iter().partition(|r| matches!(r.object, Object::PolicyTest(_)));
    let cases = tests.iter().flat_map(|resource| match &resource.object {
        Object::PolicyTest(test) => test.cases.iter().map(|c| c.try_into().unwrap()).collect(),
        _ => Vec::new(),
    });
    (resources, cases.collect())
}

/// The example's machine with somebody outside, who has the addresses of several.
fn machine() -> Network {
    let mut network = Network::new().unwrap();
    enforce(&mut network, &["."]);
    let outside = network.beyond("eth0").unwrap();
    let addresses = [ADMINISTRATOR, ANYBODY].map(|a| format!("address add {a}/32 dev lo\n"));
    outside.run("ip", &["-batch", "-"], &addresses.concat()).unwrap();
    network
}

fn enforce(network: &mut Network, paths: &[&str]) {
    let (resources, _) = example(paths);
    let cluster = Cluster::build(&resources).unwrap();
    let scene = Scene::new(&cluster, &resources, Compat::STRICT, Some("server")).unwrap();
    network.arrange(scene.layout.clone()).unwrap();
    // As `tortie nft` would have `nft` do it.
    network.enforce(&text::ruleset(&ruleset(&scene))).unwrap();
}

fn listen(machine: &Namespace, address: &str) -> TcpListener {
    machine.within(|| Ok(TcpListener::bind(address)?)).unwrap()
}

/// Connects from an address of the outside.
fn connect(network: &Network, from: &str, to: &str, limit: Duration) -> std::io::Result<TcpStream> {
    let (from, to): (IpAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let outside = network.beyond("eth0").unwrap();
    // Made there, it stays there: binding and connecting can be done from here.
    let socket = outside
        .within(|| Ok(rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?))
        .unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Send,
        Some(limit),
    )?;
    rustix::net::connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

fn is_dropped(network: &Network, from: &str, to: &str) -> bool {
    let late = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    match connect(network, from, to, BRIEFLY) {
        Ok(_) => false,
        Err(error) => late.contains(&error.kind()) || error.raw_os_error() == Some(in_progress),
    }
}

/// The expectations of the example hold in the kernel, packet by packet.
#[test]
fn the_example_does_what_its_tests_say() {
    if !may_run() {
        return;
    }
    let (resources, cases) = example(&["."]);
    let cluster = Cluster::build(&resources).unwrap();
    let scene = Scene::new(&cluster, &resources, Compat::STRICT, Some("server")).unwrap();
    let mut flows = Vec::new();
    for case in &cases {
        let asked = Asked::new(&cluster, &case.query, None).unwrap();
        let (_, allowed) = scene.probe(&asked).unwrap();
        assert_eq!(allowed, case.expect == Word::Allow, "{}", case.name);
        flows.push((case.name.clone(), asked));
    }
    let (mut network, mut tally) = (Network::new().unwrap(), Tally::default());
    judge(&mut network, &scene, &flows, &mut tally).unwrap();
    assert!(tally.wrong().is_empty(), "{}", tally.wrong());
    assert_eq!(tally.probes, cases.len());
}

#[test]
fn ssh_and_the_api_are_open_and_a_mistake_locks_no_administrator_out() {
    if !may_run() {
        return;
    }
    let mut network = machine();
    let [ssh, api, other] = [SSH, API, OTHER].map(|address| listen(network.node(), address));
    for (listener, to) in [(&ssh, SSH), (&api, API)] {
        for from in [ANYBODY, ADMINISTRATOR] {
            let client = connect(&network, from, to, PATIENCE).unwrap();
            assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        }
    }
    assert!(is_dropped(&network, ANYBODY, OTHER));
    let mut before = connect(&network, ANYBODY, API, PATIENCE).unwrap();
    let mut served = api.accept().unwrap().0;

    enforce(&mut network, &[".", "mistake"]);
    for to in [SSH, API] {
        assert!(is_dropped(&network, ANYBODY, to), "{to}");
    }
    assert!(is_dropped(&network, ADMINISTRATOR, API));
    let administrator = connect(&network, ADMINISTRATOR, SSH, PATIENCE).unwrap();
    assert_eq!(ssh.accept().unwrap().1, administrator.local_addr().unwrap());
    // What was connected stays connected.
    before.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    served.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");

    enforce(&mut network, &["."]);
    connect(&network, ANYBODY, API, PATIENCE).unwrap();
    drop(other);
}
