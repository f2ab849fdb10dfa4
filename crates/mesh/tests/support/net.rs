//! A node and pods as network namespaces, and code of the test that runs inside them.
//!
//! A thread that enters a namespace makes its sockets there, and a socket stays where it was made;
//! so servers and clients are plain Rust in the test's own process.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Ten times what anything here should take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Whether namespaces can be made; in CI they must be.
pub fn possible() -> bool {
    super::required(geteuid().is_root().then_some(()), "root, for network namespaces").is_some()
}

/// A network namespace, gone with this value.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A namespace of its own, with the loopback interface up.
    pub fn new() -> Self {
        let mut unshare = Command::new("unshare");
        let holder = unshare.args(["--net", "sleep", "infinity"]).spawn().unwrap();
        let namespace = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("a namespace", || {
            std::fs::read_link(namespace.path()).is_ok_and(|other| other != own).then_some(())
        });
        // Nobody else is here: an address need not wait until it is sure of that.
        namespace.run("sysctl -qw net.ipv6.conf.default.accept_dad=0");
        namespace.run("ip link set lo up");
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A program inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg("--").arg(program);
        command
    }

    /// Runs a command line inside; it must succeed.
    pub fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let output = self.command(words.next().unwrap()).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
    }

    /// Loads a ruleset.
    pub fn load(&self, ruleset: &str) {
        let mut nft = self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{ruleset}");
    }

    /// Runs code inside; the sockets it makes stay there.
    pub fn enter<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        let inside = File::open(self.path()).unwrap();
        let run = || {
            move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            code()
        };
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    /// A connection from inside.
    pub fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&to, DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A listener inside, in both families.
    pub fn listen(&self, port: u16) -> TcpListener {
        self.enter(|| TcpListener::bind(("::", port))).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A router between pods.
pub struct Node {
    /// Its namespace.
    pub namespace: Namespace,
    pods: u8,
}

/// A pod: one interface, `eth0`, with an address of each family.
pub struct Pod {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
}

impl Node {
    /// A node without pods.
    pub fn new() -> Self {
        let namespace = Namespace::new();
        namespace.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        Self { namespace, pods: 0 }
    }

    /// One more pod, routed to all the others.
    pub fn pod(&mut self) -> Pod {
        self.pods += 1;
        let (n, node, pod) = (self.pods, &self.namespace, Namespace::new());
        node.run(&format!(
            "ip link add name p{n} type veth peer name eth0 netns {}",
            pod.holder.id()
        ));
        for (end, name, last) in [(node, format!("p{n}"), 1), (&pod, "eth0".to_owned(), 2)] {
            end.run(&format!("ip address add 10.1.{n}.{last}/24 dev {name}"));
            end.run(&format!("ip address add fd00:{n}::{last}/64 dev {name} nodad"));
            end.run(&format!("ip link set {name} up"));
        }
        pod.run(&format!("ip route add default via 10.1.{n}.1"));
        pod.run(&format!("ip route add default via fd00:{n}::1"));
        let [v4, v6] =
            [format!("10.1.{n}.2"), format!("fd00:{n}::2")].map(|ip| ip.parse().unwrap());
        Pod { namespace: pod, v4, v6 }
    }
}

impl Pod {
    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// A port at both addresses.
    pub fn at(&self, port: u16) -> [SocketAddr; 2] {
        self.addresses().map(|ip| SocketAddr::new(ip, port))
    }
}

/// Waits until `look` finds something, at most [`DEADLINE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "no {what} within {DEADLINE:?}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
