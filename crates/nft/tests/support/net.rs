//! Network namespaces with kernels of their own to program.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tortie_nft::{Events, Netlink};

/// Ten times what anything here should take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Whether the kernel can be programmed and asked with nft; in CI it must be possible.
pub fn possible() -> bool {
    let nft = Command::new("nft").arg("--version").stdout(Stdio::null()).status().is_ok();
    super::required((nft && geteuid().is_root()).then_some(()), "root and nft").is_some()
}

/// A network namespace, gone with this value.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A namespace of its own.
    pub fn new() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().unwrap();
        let namespace = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let end = Instant::now() + DEADLINE;
        while std::fs::read_link(namespace.path()).is_ok_and(|other| other == own) {
            assert!(Instant::now() < end, "no namespace within {DEADLINE:?}");
            thread::park_timeout(Duration::from_millis(1));
        }
        namespace
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
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

    /// The kernel inside.
    pub fn kernel(&self) -> Netlink {
        self.enter(|| Netlink::new().unwrap())
    }

    /// What happens inside, but for what one socket does.
    pub fn events(&self, own: &Netlink) -> Events {
        let own = own.port();
        self.enter(|| Events::new(own).unwrap())
    }

    /// Runs nft inside with some input; returns what it prints.
    pub fn nft(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args(["--", "nft"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut nft = command.spawn().unwrap();
        nft.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = nft.wait_with_output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if output.status.success() { Ok(out) } else { Err(err) }
    }

    /// Loads text; it must be right.
    pub fn load(&self, text: &str) {
        if let Err(said) = self.nft(&["-f", "-"], text) {
            panic!("{said}\n{text}");
        }
    }

    /// All there is, as nft prints it.
    pub fn list(&self) -> String {
        self.nft(&["list", "ruleset"], "").unwrap()
    }

    /// All there is, as nft prints it for programs, without the handles.
    pub fn json(&self) -> serde_json::Value {
        let mut json =
            serde_json::from_str(&self.nft(&["-j", "list", "ruleset"], "").unwrap()).unwrap();
        forget_handles(&mut json);
        json
    }
}

fn forget_handles(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Array(items) => items.iter_mut().for_each(forget_handles),
        serde_json::Value::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(forget_handles);
        }
        _ => {}
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
