//! Yao Bank: a compromised customer pod and an attacker with stolen keys, before and after policy.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tortie_lab::{Lab, LabName, Options, Output};

use super::Script;

/// The manifests, so that the demo needs no checkout.
const FILES: [(&str, &str); 4] = [
    ("10-yaobank.yaml", include_str!("../../../../examples/yaobank/10-yaobank.yaml")),
    ("20-attack-pod.yaml", include_str!("../../../../examples/yaobank/20-attack-pod.yaml")),
    ("30-policy.yaml", include_str!("../../../../examples/yaobank/30-policy.yaml")),
    ("images.yaml", include_str!("../../../../examples/yaobank/images.yaml")),
];

/// Programs of the example that must be beside this one.
const PROGRAMS: [&str; 3] = ["yaobank-customer", "yaobank-summary", "yaobank-database"];

const CUSTOMER: &str = "default/customer-0";
const SUMMARY: &str = "default/summary-0";
const DATABASE: &str = "default/database-0";
const ATTACK: &str = "default/attack";

/// How long a command in a pod may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The balance the tutorial's account starts with.
const BALANCE: &str = "2389.45";
/// What the attacker writes before there is policy, and in the control.
const STOLEN: &str = "10000.00";
/// What the attacker tries to write against policy.
const REFUSED: &str = "99999.99";

/// Plays the tutorial; true if every step went as expected.
pub(crate) fn play(name: LabName, keep: bool) -> anyhow::Result<bool> {
    let files = Files::write()?;
    let options = Options {
        name,
        manifests: vec![files.path(0), files.path(1), files.path(3)],
        ..Options::new()?
    };
    programs_exist(&options)?;
    let start = Instant::now();
    let mut lab = Lab::up(&options, |step| eprintln!("{step}"))?;
    let up = start.elapsed();
    let bank = Bank { lab: &lab, gateway: lab.gateway_url()?.context("the lab has no gateway")? };
    let mut script = Script::begin("Yao Bank, defended by Envoy and Tortie");
    bank.look_around(&mut script, up);
    bank.attack_before_policy(&mut script);
    bank.apply_policy(&mut script, &files.path(2));
    bank.use_under_policy(&mut script);
    bank.attack_under_policy(&mut script);
    bank.control(&mut script, &files.path(2));
    let as_expected = script.end();
    if keep {
        bank.restore_policy(&files.path(2));
        println!("{}", bank.next_steps());
        lab.detach()?;
    } else {
        lab.down()?;
    }
    Ok(as_expected)
}

fn programs_exist(options: &Options) -> anyhow::Result<()> {
    for program in PROGRAMS {
        let path = options.executable.with_file_name(program);
        if !path.exists() {
            bail!("`{program}` is not beside `tortie`: build it with `cargo build -p yaobank`");
        }
    }
    Ok(())
}

/// The example's manifests in a directory of their own.
struct Files(TempDir);

impl Files {
    fn write() -> anyhow::Result<Files> {
        let dir = TempDir::with_prefix("tortie-demo-").context("cannot write the manifests")?;
        for (name, text) in FILES {
            std::fs::write(dir.path().join(name), text).context("cannot write the manifests")?;
        }
        Ok(Files(dir))
    }

    fn path(&self, index: usize) -> PathBuf {
        self.0.path().join(FILES.get(index).map_or("", |(name, _)| name))
    }
}

/// The running bank.
struct Bank<'a> {
    lab: &'a Lab,
    gateway: String,
}

impl Bank<'_> {
    fn look_around(&self, script: &mut Script, up: Duration) {
        script.chapter("The bank opens");
        script.step("four pods and a gateway, each with its own identity", "5 ready", || {
            let status = self.lab.status()?;
            let ready = status.pods.iter().filter(|pod| pod.ready).count();
            for pod in status.pods.iter().filter(|pod| !pod.ready) {
                eprintln!("{}: {}", pod.id(), pod.problem().unwrap_or_default());
            }
            Ok(format!("{ready} ready"))
        });
        script.step("service accounts of the bank", "customer database summary", || {
            let status = self.lab.status()?;
            let accounts = status.service_accounts.iter().filter(|a| a.namespace == "default");
            let names = accounts.map(|a| a.name.as_str()).filter(|name| *name != "default");
            Ok(names.collect::<Vec<_>>().join(" "))
        });
        script.step("their keys are Secrets", "3 istio.io/key-and-cert", || {
            let secrets = self.lab.status()?.secrets;
            let names = ["istio.customer", "istio.database", "istio.summary"];
            let keys = secrets.iter().filter(|s| s.type_ == "istio.io/key-and-cert");
            let keys = keys.filter(|s| names.contains(&s.name.as_str())).count();
            Ok(format!("{keys} istio.io/key-and-cert"))
        });
        self.page_shows(script, "the customer page shows account 519940", BALANCE);
        script.chapter(&format!("(the lab took {:.1} s to start)", up.as_secs_f64()));
    }

    fn attack_before_policy(&self, script: &mut Script) {
        script.chapter("Before policy: whoever gets in, gets everything");
        script.step("a compromised customer pod lists the database", "5 accounts", || {
            self.list_accounts()
        });
        script.step("stolen keys of summary: set the balance", "200", || self.steal(STOLEN));
        self.page_shows(script, "the customer page shows the attacker's number", STOLEN);
    }

    fn apply_policy(&self, script: &mut Script, policy: &Path) {
        script.chapter("Three policies are applied");
        script.step("apply 30-policy.yaml", "applied", || {
            self.lab.apply(&[policy.to_owned()], false)?;
            Ok("applied".to_owned())
        });
    }

    fn use_under_policy(&self, script: &mut Script) {
        self.page_shows(script, "the customer page still works", STOLEN);
        script.step("summary still reads the database", "200", || {
            let url = "http://database:2379/v2/keys/accounts/519940?recursive=true";
            self.status_in(SUMMARY, &[url])
        });
    }

    fn attack_under_policy(&self, script: &mut Script) {
        script.step("POST to the customer page", "403", || {
            curl(&["-X", "POST", "-d", "x=1", &self.gateway])
        });
        self.reason(script, CUSTOMER);
        script.step("the customer pod asks the database", "403 Forbidden", || {
            let url = "http://database:2379/v2/keys?recursive=true";
            let output = self.run_in(CUSTOMER, &["curl", "-sS", "-i", url])?;
            let status = output.lines().next().unwrap_or_default();
            let (_, status) = status.split_once(' ').context("no HTTP answer")?;
            Ok(status.trim().to_owned())
        });
        self.reason(script, DATABASE);
        script.step("stolen keys of summary: set the balance", "403", || self.steal(REFUSED));
        self.reason(script, DATABASE);
        self.page_shows(script, "the balance is unchanged", STOLEN);
    }

    /// Prints why a pod's authorizer refused what it refused last.
    fn reason(&self, script: &Script, pod: &str) {
        match self.lab.denials(pod).map(|mut denials| denials.pop()) {
            Ok(Some(denial)) => script.reason(&denial.reason),
            Ok(None) => script.reason("Tortie has refused nothing there"),
            Err(error) => script.reason(&format!("unknown: {error}")),
        }
    }

    fn control(&self, script: &mut Script, policy: &Path) {
        script.chapter("Control: without the policies the attack works again");
        script.step("delete 30-policy.yaml", "deleted", || {
            self.lab.delete(&[policy.to_owned()], false)?;
            Ok("deleted".to_owned())
        });
        script.step("stolen keys of summary: set the balance", "200", || self.steal(REFUSED));
        self.page_shows(script, "the customer page shows the attacker's number", REFUSED);
    }

    /// The lab is left as one wants to find it: policy in force.
    fn restore_policy(&self, policy: &Path) {
        if let Err(error) = self.lab.apply(&[policy.to_owned()], false) {
            eprintln!("error: the policies are not in force again: {error}");
        }
    }

    fn next_steps(&self) -> String {
        let name = self.lab.name();
        format!(
            "The lab `{name}` keeps running, with the policies in force. Try:\n  \
             curl {}\n  \
             tortie lab --name {name} exec {CUSTOMER} -- curl -i http://database:2379/v2/keys\n  \
             tortie lab --name {name} status\n  \
             tortie lab --name {name} down",
            self.gateway
        )
    }

    fn page_shows(&self, script: &mut Script, what: &str, balance: &str) {
        script.step(what, balance, || {
            let page =
                command(Command::new("curl").args(["-sS", "--max-time", "10", &self.gateway]))?;
            Ok(balance_on(&page).unwrap_or_else(|| format!("no balance: {}", brief(&page))))
        });
    }

    /// The attack of the tutorial: status of the answer.
    fn steal(&self, balance: &str) -> anyhow::Result<String> {
        let url = "https://database:2379/v2/keys/accounts/519940/balance";
        let value = format!("value={balance}");
        let keys = ["--key", "/etc/certs/key.pem", "--cert", "/etc/certs/cert-chain.pem"];
        let request = ["-k", url, "-d", &value, "-XPUT"];
        self.status_in(ATTACK, &[&request[..], &keys[..]].concat())
    }

    fn list_accounts(&self) -> anyhow::Result<String> {
        let url = "http://database:2379/v2/keys?recursive=true";
        let json = self.run_in(CUSTOMER, &["curl", "-sS", url])?;
        let json: serde_json::Value = serde_json::from_str(&json)
            .with_context(|| format!("not an answer of etcd: {}", brief(&json)))?;
        let accounts = json.pointer("/node/nodes/0/nodes").and_then(|nodes| nodes.as_array());
        Ok(format!("{} accounts", accounts.map_or(0, Vec::len)))
    }

    /// The HTTP status that `curl` gets in a pod. It counts also if `curl` then complains that the
    /// answer came before it had sent everything, as an early refusal does over HTTP/2.
    fn status_in(&self, pod: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"];
        let output = self.exec(pod, &[&curl, arguments].concat())?;
        match output.stdout.as_str() {
            "" | "000" => {
                bail!("exit status {} in {pod}: {}", output.status, brief(&output.stderr))
            }
            status => Ok(status.to_owned()),
        }
    }

    fn exec(&self, pod: &str, argv: &[&str]) -> anyhow::Result<Output> {
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        Ok(self.lab.exec(pod, None, &argv, LIMIT)?)
    }

    fn run_in(&self, pod: &str, argv: &[&str]) -> anyhow::Result<String> {
        let output = self.exec(pod, argv)?;
        if output.status != 0 {
            bail!("exit status {} in {pod}: {}", output.status, brief(&output.stderr));
        }
        Ok(output.stdout)
    }
}

/// The HTTP status that `curl` gets on this machine.
fn curl(arguments: &[&str]) -> anyhow::Result<String> {
    let curl = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"];
    command(Command::new("curl").args(curl).args(arguments))
}

fn command(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot run `curl`")?;
    if !output.status.success() {
        bail!("curl: {}", brief(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The amount in the page's element `balance`.
fn balance_on(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("id=\"balance\"")?;
    let number: String = rest
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    Some(number).filter(|n| !n.is_empty())
}

/// The first line, shortened.
fn brief(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}
