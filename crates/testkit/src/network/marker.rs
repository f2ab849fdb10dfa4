//! How it is known that all packets have got as far as they will.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::namespace::Namespace;

/// Round trips: a packet is queued twice on its way, its rejection once more.
const TRIPS: usize = 3;

/// Two namespaces with a link, apart from the network under test.
#[derive(Debug)]
pub(super) struct Marker {
    ends: [(UdpSocket, Namespace); 2],
}

impl Marker {
    /// A marker for packets sent from this thread, which stays on its processor from now on.
    pub(super) fn new() -> anyhow::Result<Marker> {
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).context("sched_setaffinity")?;
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        let path = far.path();
        near.run("ip", &["-batch", "-"], &format!("{}{}", link(&path), end(1)))?;
        far.run("ip", &["-batch", "-"], &end(2))?;
        let near = (socket(&near, 1)?, near);
        let far = (socket(&far, 2)?, far);
        near.0.connect("10.0.0.2:9")?;
        far.0.connect("10.0.0.1:9")?;
        Ok(Marker { ends: [near, far] })
    }

    /// Returns once everything sent before from this thread has arrived or been dropped.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let [(near, _), (far, _)] = &self.ends;
        for _ in 0..TRIPS {
            for (from, to) in [(near, far), (far, near)] {
                let mut buffer = [0; 8];
                from.send(b"marker")?;
                let count = to.recv(&mut buffer).context("the marker got lost")?;
                ensure!(count == 6, "the marker is damaged");
            }
        }
        Ok(())
    }
}

fn socket(namespace: &Namespace, number: u8) -> anyhow::Result<UdpSocket> {
    namespace.within(|| {
        let socket = UdpSocket::bind((format!("10.0.0.{number}"), 9))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(socket)
    })
}

/// Ends of one hardware address, on which nothing needs to be resolved.
fn link(far: &str) -> String {
    let mac = "address 02:00:00:00:00:01";
    format!("link add name eth0 {mac} type veth peer name eth0 {mac} netns {far}\n")
}

fn end(number: u8) -> String {
    format!("link set dev eth0 arp off up\naddress add 10.0.0.{number}/24 dev eth0\n")
}
