//! What a compromised pod and an attacker with stolen keys try, before and after policy, and what the
//! bank's own use is allowed meanwhile.

use std::process::Command;

use anyhow::{Context, anyhow, bail};
use tortie_client::server::Place;
use tortie_lab::PodStatus;
use tortie_policy::{Compat, Protocol, Query, Word, explain_by, request_line};

use super::files::POLICY;
use super::{Bank, brief, command, in_time};
use crate::demo::Script;
use crate::demo::tools::Said;
use crate::remote::live;

/// Deployments of the bank, and the attacker's pod.
const CUSTOMER: &str = "customer";
const SUMMARY: &str = "summary";
const DATABASE: &str = "database";
const ATTACK: &str = "attack";

/// What the node's agent says of packets that policy dropped.
const DROPS: &str = "tortie_network_dropped_packets_total";

/// For how long the tutorial tries to connect, in seconds: enough to know that nobody answers.
const SILENCE: &str = "3";
/// For how long to try where an answer is expected, which a busy machine may delay.
const ANSWER: &str = "30";

/// What the attacker writes before there is policy, and in the control.
const STOLEN: &str = "10000.00";
/// What the attacker tries to write against policy.
const REFUSED: &str = "99999.99";

impl Bank<'_> {
    pub(super) fn attack_before_policy(&self, script: &mut Script) {
        script.chapter("Before policy: whoever gets in, gets everything");
        script.step("a compromised customer pod lists the database", "5 accounts", || {
            self.list_accounts()
        });
        script.step("stolen keys of summary: set the balance", "200", || self.steal(STOLEN));
        self.page_shows(script, "the customer page shows the attacker's number", STOLEN);
    }

    pub(super) fn use_under_policy(&self, script: &mut Script) {
        self.page_shows(script, "the customer page still works", STOLEN);
        script.step("summary still reads the database", "200", || {
            let url = "http://database:2379/v2/keys/accounts/519940?recursive=true";
            self.status_in(SUMMARY, &[url])
        });
    }

    pub(super) fn attack_under_policy(&self, script: &mut Script) {
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
            let of = "jsonpath={.items[0].status.podIP}";
            let database =
                self.tools.kubectl_ok(&["get", "pod", "-l", "app=database", "-o", of])?;
            self.status_in(CUSTOMER, &[&format!("http://{database}:2379/v2/keys?recursive=true")])
        });
        script.step("stolen keys of summary: set the balance", "no answer (curl 28)", || {
            let said = self.exec(ATTACK, &theft(REFUSED, SILENCE))?;
            Ok(match (said.status, said.out.as_str()) {
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
        let place = Place { kubeconfig: Some(self.lab.kubeconfig()), ..Place::default() };
        let state = live::read(&place).map_err(|_| anyhow!("the lab's state cannot be read"))?;
        let cluster = state.cluster(Compat::STRICT);
        let query = Query {
            from: format!("default/{ATTACK}").parse()?,
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
    fn dropped(&self) -> anyhow::Result<u64> {
        let sum = || {
            let metrics = self.lab.metrics()?;
            let drops = metrics.lines().filter(|line| line.starts_with(DROPS));
            Ok(drops.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
        };
        in_time(sum, |sum| *sum > 0)
    }

    pub(super) fn control(&self, script: &mut Script) {
        script.chapter("Control: without the policies the attack works again");
        script.step("calicoctl delete -f 30-policy.yaml", "deleted", || {
            self.tools.calicoctl_ok(&["delete", "-f", &self.files.text(POLICY)])?;
            self.lab.wait_in_force()?;
            Ok("deleted".to_owned())
        });
        script.step("stolen keys of summary: set the balance", "200", || self.steal(REFUSED));
        self.page_shows(script, "the customer page shows the attacker's number", REFUSED);
    }

    /// The pod of a Deployment, or of its own.
    fn pod(&self, name: &str) -> anyhow::Result<PodStatus> {
        let status = self.lab.status()?;
        let is_it =
            |pod: &PodStatus| !pod.ending && pod.workload.as_ref().unwrap_or(&pod.name) == name;
        status.pods.into_iter().find(is_it).context("no such pod")
    }

    /// Prints why a pod's authorizer refused what it refused last.
    fn reason(&self, script: &Script, name: &str) {
        match self.lab.denials(name).map(|mut denials| denials.pop()) {
            Ok(Some(denial)) => script.reason(&denial.reason),
            Ok(None) => script.reason("Tortie has refused nothing there"),
            Err(error) => script.reason(&format!("unknown: {error}")),
        }
    }

    /// The attack of the tutorial: status of the answer.
    fn steal(&self, balance: &str) -> anyhow::Result<String> {
        self.answered(ATTACK, &theft(balance, ANSWER))
    }

    fn list_accounts(&self) -> anyhow::Result<String> {
        let url = "http://database:2379/v2/keys?recursive=true";
        let words = ["curl", "-sS", url].map(str::to_owned);
        let json = self.exec(CUSTOMER, &words)?.ok("curl in the customer pod")?;
        let json: serde_json::Value = serde_json::from_str(&json)
            .with_context(|| format!("not an answer of etcd: {}", brief(&json)))?;
        let accounts = json.pointer("/node/nodes/0/nodes").and_then(|nodes| nodes.as_array());
        Ok(format!("{} accounts", accounts.map_or(0, Vec::len)))
    }

    /// The HTTP status that `curl` gets in a pod. It counts also if `curl` then complains that the
    /// answer came before it had sent everything, as an early refusal does over HTTP/2.
    fn status_in(&self, deployment: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "60"];
        let command: Vec<_> = curl.iter().chain(arguments).map(ToString::to_string).collect();
        self.answered(deployment, &command)
    }

    /// Runs a command in the container of an app, which has the app's name.
    fn exec(&self, app: &str, argv: &[String]) -> anyhow::Result<Said> {
        let pod = if app == ATTACK { app.to_owned() } else { format!("deploy/{app}") };
        let words = ["exec", &pod, "-c", app, "--"];
        self.tools
            .kubectl(&words.into_iter().chain(argv.iter().map(String::as_str)).collect::<Vec<_>>())
    }

    /// The HTTP status that a command prints.
    fn answered(&self, pod: &str, command: &[String]) -> anyhow::Result<String> {
        let said = self.exec(pod, command)?;
        match said.out.as_str() {
            "" | "000" => bail!("exit status {} in {pod}: {}", said.status, brief(&said.err)),
            status => Ok(status.to_owned()),
        }
    }
}

/// The attack of the tutorial, which prints the status of the answer. It tries for so many seconds.
fn theft(balance: &str, limit: &str) -> Vec<String> {
    let url = "https://database:2379/v2/keys/accounts/519940/balance";
    let value = format!("value={balance}");
    let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--connect-timeout", limit];
    let request = ["-k", url, "-d", &value, "-XPUT"];
    let keys = ["--key", "/etc/certs/key.pem", "--cert", "/etc/certs/cert-chain.pem"];
    curl.iter().chain(&request).chain(&keys).map(ToString::to_string).collect()
}

/// The HTTP status that `curl` gets on this machine.
fn curl(arguments: &[&str]) -> anyhow::Result<String> {
    let curl = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"];
    command(Command::new("curl").args(curl).args(arguments))
}
