//! Yao Bank end to end: the demo, and the tutorial's own commands on a lab, with the real Envoy,
//! the real etcd and namespaces of the kernel. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TORTIE: &str = env!("CARGO_BIN_EXE_tortie");

/// False, with a line that says so, where the test cannot run; in CI that is a failure instead.
fn possible() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let root = status.lines().any(|line| line.starts_with("Uid:") && line.contains("\t0\t0\t"));
    assert!(root || std::env::var_os("CI").is_none(), "the lab needs root");
    if !root {
        eprintln!("skipped: the lab needs root");
    }
    root
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/yaobank").join(name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of a lab of this run's own.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// A lab that ends with the test.
struct Lab(String);

impl Lab {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(TORTIE).args(["lab", "--name", &self.0]).args(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "lab {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn up(name: &str) -> Lab {
        let lab = Lab(own(name));
        let files = ["00-namespace.yaml", "10-yaobank.yaml", "20-attack-pod.yaml", "images.yaml"];
        let files = files.map(example);
        let mut words = vec!["up"];
        files.iter().for_each(|file| words.extend(["-f", file.to_str().unwrap()]));
        lab.ok(&words);
        lab
    }

    fn policy(&self, verb: &str) {
        self.ok(&[verb, "-f", example("30-policy.yaml").to_str().unwrap()]);
    }

    /// What a command in a pod prints; its exit status is for the caller to judge.
    fn exec(&self, pod: &str, command: &str) -> String {
        let mut args = vec!["exec", pod, "--"];
        args.extend(command.split(' '));
        text(&self.run(&args).stdout)
    }

    /// The tutorial's attack, in its own words but for how long it tries, in seconds: curl's exit
    /// status, and the balance it leaves.
    fn attack(&self, value: &str, limit: u32) -> (Option<i32>, String) {
        let command = format!(
            "curl --connect-timeout {limit} -k https://database:2379/v2/keys/accounts/519940/balance \
             -d value={value} -XPUT --key /etc/certs/key.pem --cert /etc/certs/cert-chain.pem"
        );
        let mut args = vec!["exec", "attack", "--"];
        args.extend(command.split_whitespace());
        (self.run(&args).status.code(), self.balance())
    }

    /// A pod's first address.
    fn address(&self, pod: &str) -> String {
        let status = self.ok(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let pods = status["pods"].as_array().unwrap();
        let pod = pods.iter().find(|p| p["workload"] == pod).unwrap();
        pod["addresses"][0].as_str().unwrap().to_owned()
    }

    fn balance(&self) -> String {
        let url = "http://summary/519940";
        let answer = self.exec("customer", &format!("curl -sS {url}"));
        let json: serde_json::Value = serde_json::from_str(&answer).expect("an account");
        json["balance"].as_str().unwrap().to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

#[test]
fn the_demo_goes_as_told() {
    if !possible() {
        return;
    }
    let name = own("test-demo");
    let args = ["demo", "yaobank", "--name", &name];
    let output = Command::new(TORTIE).args(args).output().unwrap();
    let table = text(&output.stdout);
    assert!(output.status.success(), "{table}{}", text(&output.stderr));
    assert!(table.contains("26 of 26 steps as expected"), "{table}");
    assert_eq!(table.matches("why:").count(), 4, "{table}");
    for layer in ["ingress of default/database-", "application of default/database-"] {
        assert!(table.contains(layer), "{table}");
    }
    let reason = "with the certificate of default/summary, which is not its own";
    assert!(table.contains(reason), "{table}");
    assert!(!Path::new("/run/tortie/labs").join(name).exists(), "something is left behind");
}

#[test]
fn attacks_succeed_without_policy_and_only_then() {
    if !possible() {
        return;
    }
    let lab = Lab::up("test-bank");
    let list = "curl http://database:2379/v2/keys?recursive=true";
    assert_eq!(lab.exec("customer", list).matches("/balance\"").count(), 5);
    assert_eq!(lab.attack("10000.00", 60), (Some(0), "10000.00".to_owned()));
    lab.policy("apply");
    assert_eq!(lab.attack("99999.99", 3), (Some(28), "10000.00".to_owned()), "no packet arrives");
    assert_eq!(lab.exec("customer", list), "");
    let status = "curl -s -o /dev/null -w %{http_code} http://database:2379/v2/keys?recursive=true";
    assert_eq!(lab.exec("customer", status), "403");
    let anew = status.replace("database", &lab.address("database"));
    assert_eq!(lab.exec("customer", &anew), "503", "a new connection is refused by the kernel");
    assert_eq!(lab.exec("summary", status), "200");
    let log = lab.ok(&["logs", "database", "-c", "tortie-authz"]);
    assert!(log.contains("default/customer") && !log.contains("default/attack"), "{log}");
    lab.policy("delete");
    assert_eq!(lab.attack("99999.99", 60), (Some(0), "99999.99".to_owned()));
}
