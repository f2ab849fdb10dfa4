//! Network namespaces of a test's own, and what runs in them.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tortie_calc::interface_name;
use tortie_policy::EndpointId;

use crate::admin::Admin;

/// Ten times what anything here should take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Whether these tests can run. In CI they must.
pub(crate) fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    let ok = root && Command::new("nft").arg("--version").output().is_ok();
    assert!(ok || std::env::var_os("CI").is_none(), "needs root, and the programs nft and ip");
    if !ok {
        println!("skipped: needs root, and the programs nft and ip");
    }
    ok
}

/// Waits until something is so.
pub(crate) fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = is() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        #[allow(clippy::disallowed_methods, reason = "nothing tells when others are done")]
        thread::sleep(Duration::from_millis(2));
    }
}

/// A network namespace; it goes with the last who holds it.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> Namespace {
        let made = || {
            let mut holder = Command::new("unshare")
                .args(["--net", "sleep", "infinity"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let own = fs::read_link("/proc/self/ns/net").unwrap();
            let path = format!("/proc/{}/ns/net", holder.id());
            until("a new namespace", || fs::read_link(&path).ok().filter(|other| *other != own));
            let file = File::open(path).unwrap();
            holder.kill().unwrap();
            holder.wait().unwrap();
            Namespace(file)
        };
        let namespace = made();
        namespace.ip("link set lo up");
        namespace
    }

    /// Does something in it, on a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let run = || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.0.as_fd(), kind).unwrap();
                work()
            };
            scope.spawn(run).join().unwrap()
        })
    }

    /// Where others find it.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    pub(crate) fn ip(&self, words: &str) {
        self.command("ip", &words.split(' ').collect::<Vec<_>>());
    }

    /// Lines for `ip -batch`.
    pub(crate) fn ip_batch(&self, lines: &str) {
        self.with_input("ip", &["-batch", "-"], lines);
    }

    /// What nft says.
    pub(crate) fn nft(&self, words: &str) -> String {
        self.command("nft", &words.split(' ').collect::<Vec<_>>())
    }

    fn command(&self, program: &str, words: &[&str]) -> String {
        let output = self.run(|| Command::new(program).args(words).output().unwrap());
        text(program, words, &output)
    }

    fn with_input(&self, program: &str, words: &[&str], input: &str) {
        let output = self.run(|| {
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        text(program, words, &output);
    }

    /// The table, without counters; nothing if it is not there.
    pub(crate) fn table(&self) -> Option<String> {
        let list = ["-s", "list", "table", "inet", "tortie"];
        let output = self.run(|| Command::new("nft").args(list).output().unwrap());
        output.status.success().then(|| sorted(&String::from_utf8(output.stdout).unwrap()))
    }

    pub(crate) fn set(&self, parameter: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(parameter);
        self.run(|| fs::write(&path, value).unwrap());
    }

    pub(crate) fn get(&self, parameter: &str) -> String {
        let path = Path::new("/proc/sys/net").join(parameter);
        self.run(|| fs::read_to_string(&path).unwrap())
    }

    pub(crate) fn listen(&self, address: SocketAddr) -> TcpListener {
        self.run(|| TcpListener::bind(address).unwrap())
    }

    /// Whether a connection comes about in time.
    pub(crate) fn connects(&self, to: SocketAddr, patience: Duration) -> bool {
        self.connect(to, patience).is_some()
    }

    /// Whether none comes about. What is merely slow is waited for.
    pub(crate) fn is_kept_out(&self, to: SocketAddr) -> bool {
        let patience = [Duration::from_millis(150), Duration::from_secs(1)];
        patience.into_iter().all(|patience| !self.connects(to, patience))
    }

    pub(crate) fn connect(&self, to: SocketAddr, patience: Duration) -> Option<TcpStream> {
        self.run(|| TcpStream::connect_timeout(&to, patience).ok())
    }
}

fn text(program: &str, words: &[&str], output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Sets are printed in no order, and over several lines.
fn sorted(table: &str) -> String {
    let joined = table.replace(",\n", ", ");
    let line = |line: &str| match line.split_once("elements = {") {
        Some((_, elements)) => {
            let mut elements: Vec<_> =
                elements.trim_end_matches('}').split(',').map(str::trim).collect();
            elements.sort_unstable();
            format!("elements {}", elements.join(", "))
        }
        None => line.to_owned(),
    };
    let blocks = joined.split("\n\n").map(|block| {
        let lines: Vec<_> = block.lines().map(line).collect();
        lines.join("\n")
    });
    let mut blocks: Vec<_> = blocks.collect();
    blocks.sort_unstable();
    blocks.join("\n\n")
}

/// A node with pods.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) net: Namespace,
    pub(crate) dir: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Node {
        let net = Namespace::new();
        net.set("ipv4/ip_forward", "1");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        Node { net, dir }
    }

    /// A pod's namespace, on an interface of the name that Calico gives it.
    pub(crate) fn pod(&self, name: &str, address: IpAddr) -> Namespace {
        let id = EndpointId { namespace: "default".into(), name: name.into() };
        self.pod_on(&interface_name(&id), address)
    }

    pub(crate) fn pod_on(&self, interface: &str, address: IpAddr) -> Namespace {
        let pod = Namespace::new();
        let path = pod.path();
        self.net.ip_batch(&format!(
            "link add name {interface} address 02:00:00:00:00:01 type veth peer name eth0 \
             address 02:00:00:00:00:02 netns {path}\nlink set dev {interface} up\n\
             neighbour add {address} lladdr 02:00:00:00:00:02 dev {interface} nud permanent\n\
             route add {address} dev {interface}\n",
            path = path.display(),
        ));
        pod.ip_batch(&format!(
            "link set dev eth0 up\naddress add {address}/32 dev eth0\n\
             neighbour add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent\n\
             route add 169.254.1.1 dev eth0 scope link\nroute add default via 169.254.1.1 dev eth0\n"
        ));
        pod
    }

    /// A bridge for pods, with the host's own address on it.
    pub(crate) fn bridge(&self, name: &str, own: &str) {
        self.net.ip_batch(&format!(
            "link add name {name} type bridge\naddress add {own} dev {name}\n\
             link set dev {name} up\n"
        ));
    }

    /// A pod's namespace behind a bridge.
    pub(crate) fn pod_behind(&self, bridge: &str, address: &str, gateway: &str) -> Namespace {
        let pod = Namespace::new();
        let last = address.rsplit('.').next().unwrap();
        self.net.ip_batch(&format!(
            "link add name veth{last} type veth peer name eth0 netns {}\n\
             link set dev veth{last} master {bridge} up\n",
            pod.path().display()
        ));
        pod.ip_batch(&format!(
            "address add {address}/24 dev eth0\nlink set dev eth0 up\n\
             route add default via {gateway}\n"
        ));
        pod
    }

    /// Somebody beyond an interface of the node's own.
    pub(crate) fn beyond(&self, interface: &str, own: &str, other: &str) -> Namespace {
        let outside = Namespace::new();
        self.net.ip_batch(&format!(
            "link add name {interface} type veth peer name eth0 netns {}\n\
             address add {own}/24 dev {interface}\nlink set dev {interface} up\n\
             route add default via {other} dev {interface}\n",
            outside.path().display()
        ));
        outside.ip_batch(&format!("address add {other}/24 dev eth0\nlink set dev eth0 up\n"));
        outside
    }

    /// Puts a file in place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.dir.path().join(name);
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.path().join("files").join(name)).unwrap();
    }

    /// An agent that has begun.
    pub(crate) fn agent(&self) -> Agent {
        self.agent_by(&[])
    }

    /// An agent behind another program.
    pub(crate) fn agent_by(&self, words: &[&str]) -> Agent {
        self.agent_with(words, &[])
    }

    /// Where the agent keeps what must outlive it.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// An agent behind another program, with more arguments.
    pub(crate) fn agent_with(&self, words: &[&str], arguments: &[&str]) -> Agent {
        let admin = self.dir.path().join("admin");
        // Left behind by one that was killed.
        let _ = fs::remove_file(&admin);
        let mut command = self.command(words);
        command.args(["--node", "here", "--admin"]).arg(format!("unix:{}", admin.display()));
        command.arg("--file").arg(self.dir.path().join("files"));
        command.arg("--state-dir").arg(self.state()).args(arguments);
        let log = self.dir.path().join("log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stderr(log);
        Agent::new(self.net.run(|| command.spawn().unwrap()), admin)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_tortie-agent");
        match words.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }

    /// What an agent says that ends by itself.
    pub(crate) fn says(&self, words: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(words);
        command.args(arguments);
        let output = self.net.run(|| command.output().unwrap());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// A running agent; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    admin: Admin,
}

impl Agent {
    /// One that serves its admin interface at a path.
    pub(crate) fn new(child: Child, admin: PathBuf) -> Agent {
        Agent { child, admin: Admin(admin) }
    }

    pub(crate) fn ready(self) -> Agent {
        until("the agent is ready", || self.is_ready().then_some(()));
        self
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Ends it, politely.
    pub(crate) fn end(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }

    /// Kills it.
    pub(crate) fn kill(self) {}
}

impl Deref for Agent {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
