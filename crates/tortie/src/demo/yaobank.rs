//! Yao Bank: a compromised customer pod and an attacker with stolen keys, before and after policy.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tempfile::TempDir;
use tortie_client::files;
use tortie_lab::{Lab, LabName, Options, Output, PodStatus};
use tortie_policy::{Cluster, Protocol, Query, Word, explain_by, request_line};

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

const CUSTOMER: &str = "default/customer";
const SUMMARY: &str = "default/summary";
const DATABASE: &str = "default/database";
const ATTACK: &str = "default/attack";

/// What the node's agent says of packets that policy dropped.
const DROPS: &str = "tortie_network_dropped_packets_total";

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
    let mut script = Script::begin("Yao Bank, defended by Envoy, the kernel, and Tortie");
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
        script.step("customer to database, over its proxy's open connection", "403", || {
            self.status_in(CUSTOMER, &["http://database:2379/v2/keys?recursive=true"])
        });
        self.reason(script, DATABASE);
        // The pod's own address is another destination than the Service's: a new connection.
        script.step("the same over a new connection: its own proxy answers", "503", || {
            let database = self.address(DATABASE)?;
            self.status_in(CUSTOMER, &[&format!("http://{database}:2379/v2/keys?recursive=true")])
        });
        script.step("stolen keys of summary: set the balance", "no answer (curl 28)", || {
            let output = self.exec(ATTACK, &theft(REFUSED))?;
            Ok(match (output.status, output.stdout.as_str()) {
                (28, "" | "000") => "no answer (curl 28)".to_owned(),
                (status, answer) => format!("curl {status}, answer {answer}"),
            })
        });
        self.explain(script);
        script.step("the kernel counted the packets it dropped", "dropped", || {
            let dropped = self.dropped()?;
            Ok(if dropped > 0 { "dropped".to_owned() } else { "none".to_owned() })
        });
        self.page_shows(script, "the balance is unchanged", STOLEN);
    }

    /// Prints what `tortie explain` says of the theft, of each layer.
    fn explain(&self, script: &Script) {
        match self.explanation() {
            Ok(reasons) => reasons.iter().for_each(|reason| script.reason(reason)),
            Err(error) => script.reason(&format!("unknown: {error:#}")),
        }
    }

    fn explanation(&self) -> anyhow::Result<Vec<String>> {
        let loaded = files::load(&[self.lab.resources()], false);
        let loaded = loaded.map_err(|_| anyhow!("the lab's resources cannot be read"))?;
        let cluster = Cluster::build(&loaded.resources);
        let cluster = cluster.map_err(|_| anyhow!("the lab's resources are invalid"))?;
        let query = Query {
            from: ATTACK.parse()?,
            to: self.pod(DATABASE)?.id().parse()?,
            protocol: Protocol::TCP,
            port: Some("2379".parse()?),
            icmp: None,
            http: request_line(Some("PUT"), Some("/v2/keys/accounts/519940/balance")),
            from_identity: Some("spiffe://cluster.local/ns/default/sa/summary".to_owned()),
        };
        let explanation = explain_by(&cluster, &cluster, cluster.trust(), &query)?;
        let denied = explanation.legs().filter(|(_, leg)| leg.verdict == Word::Deny);
        Ok(denied
            .map(|(name, leg)| format!("{name} of {}: {}", leg.endpoint, leg.reason))
            .collect())
    }

    /// How many packets to the database policy has dropped in the kernel, once there is one. The
    /// agent reads its counters every few seconds.
    #[expect(clippy::disallowed_methods, reason = "nobody says when the agent has read them")]
    fn dropped(&self) -> anyhow::Result<u64> {
        let start = Instant::now();
        loop {
            let metrics = self.lab.metrics()?;
            let drops = metrics.lines().filter(|line| line.starts_with(DROPS));
            let sum = drops.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            if sum > 0 || start.elapsed() > LIMIT {
                return Ok(sum);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The pod of a Deployment.
    fn pod(&self, deployment: &str) -> anyhow::Result<PodStatus> {
        let mut pods = self.lab.status()?.pods.into_iter();
        let is_of = |pod: &PodStatus| {
            let name = pod.workload.as_ref().unwrap_or(&pod.name);
            format!("{}/{name}", pod.namespace) == deployment
        };
        pods.find(is_of).context("no such pod")
    }

    fn address(&self, deployment: &str) -> anyhow::Result<IpAddr> {
        self.pod(deployment)?.addresses.first().copied().context("the pod has no address")
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
        self.answered(ATTACK, &theft(balance))
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
        let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"];
        let command: Vec<_> = curl.iter().chain(arguments).map(ToString::to_string).collect();
        self.answered(pod, &command)
    }

    /// The HTTP status that a command prints.
    fn answered(&self, pod: &str, command: &[String]) -> anyhow::Result<String> {
        let output = self.exec(pod, command)?;
        match output.stdout.as_str() {
            "" | "000" => {
                bail!("exit status {} in {pod}: {}", output.status, brief(&output.stderr))
            }
            status => Ok(status.to_owned()),
        }
    }

    fn exec(&self, pod: &str, argv: &[String]) -> anyhow::Result<Output> {
        Ok(self.lab.exec(pod, None, argv, LIMIT)?)
    }

    fn run_in(&self, pod: &str, argv: &[&str]) -> anyhow::Result<String> {
        let argv: Vec<_> = argv.iter().map(ToString::to_string).collect();
        let output = self.exec(pod, &argv)?;
        if output.status != 0 {
            bail!("exit status {} in {pod}: {}", output.status, brief(&output.stderr));
        }
        Ok(output.stdout)
    }
}

/// The attack of the tutorial, which prints the status of the answer.
fn theft(balance: &str) -> Vec<String> {
    let url = "https://database:2379/v2/keys/accounts/519940/balance";
    let value = format!("value={balance}");
    let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--connect-timeout", "3"];
    let request = ["-k", url, "-d", &value, "-XPUT"];
    let keys = ["--key", "/etc/certs/key.pem", "--cert", "/etc/certs/cert-chain.pem"];
    curl.iter().chain(&request).chain(&keys).map(ToString::to_string).collect()
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
