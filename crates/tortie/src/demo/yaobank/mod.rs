//! Yao Bank: a compromised customer pod and an attacker with stolen keys, before and after policy,
//! played with the tutorial's own commands.

mod attack;
mod files;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tortie_lab::{Lab, LabName, Options};

use self::files::{ATTACKER, BANK, Files, IMAGES, POLICY};
use super::Script;
use super::script::print;
use super::tools::Tools;
use crate::output::remark;

/// Programs of the example that must be beside this one.
const PROGRAMS: [&str; 3] = ["yaobank-customer", "yaobank-summary", "yaobank-database"];

/// What turns on the sockets by which sidecars are told their policy.
const SYNC: &str = r#"{"spec": {"policySyncPathPrefix": "/var/run/nodeagent"}}"#;

/// How long it may take until something is as it should be.
const LIMIT: Duration = Duration::from_secs(60);

/// The balance the tutorial's account starts with.
const BALANCE: &str = "2389.45";

/// Plays the tutorial; true if every step went as expected.
pub(crate) fn play(name: LabName, keep: bool) -> anyhow::Result<bool> {
    let files = Files::write()?;
    let options = Options { name, manifests: vec![files.path(IMAGES)], ..Options::new()? };
    programs_exist(&options)?;
    let start = Instant::now();
    let mut lab = Lab::up(&options, |step| remark(step))?;
    let up = start.elapsed();
    let tools = Tools::new(files.folder(), lab.kubeconfig())?;
    let mut script = Script::begin("Yao Bank, defended by Envoy, the kernel, and Tortie");
    script.chapter(&format!("(the lab took {:.1} s to start)", up.as_secs_f64()));
    let mut bank = Bank { lab: &lab, tools: &tools, files: &files, gateway: String::new() };
    bank.open(&mut script);
    bank.join_the_mesh(&mut script);
    bank.attack_before_policy(&mut script);
    bank.apply_policy(&mut script);
    bank.use_under_policy(&mut script);
    bank.attack_under_policy(&mut script);
    bank.control(&mut script);
    let as_expected = script.end();
    if keep {
        bank.restore_policy();
        print(bank.next_steps());
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

/// The running bank.
struct Bank<'a> {
    lab: &'a Lab,
    tools: &'a Tools,
    files: &'a Files,
    gateway: String,
}

impl Bank<'_> {
    fn open(&self, script: &mut Script) {
        script.chapter("The bank opens");
        script.step("kubectl apply -f 10-yaobank.yaml", "11 created", || {
            let said = self.tools.kubectl_ok(&["apply", "-f", &self.files.text(BANK)])?;
            let created = said.lines().filter(|line| line.ends_with(" created")).count();
            Ok(format!("{created} created"))
        });
        script.step("kubectl get pods", "3 pods 1/1 Running", || self.pods("1/1"));
        script.step("kubectl get serviceaccount", "customer database summary", || {
            let names = self.tools.kubectl_ok(&["get", "serviceaccount", "-o", "name"])?;
            let names = names.lines().filter_map(|line| line.split('/').nth(1));
            Ok(names.filter(|name| *name != "default").collect::<Vec<_>>().join(" "))
        });
        script.step("kubectl get secret", "3 istio.io/key-and-cert", || {
            let secrets = self.tools.kubectl_ok(&["get", "secret", "--no-headers"])?;
            let names = ["istio.customer", "istio.database", "istio.summary"];
            let is_key = |line: &&str| {
                line.contains(" istio.io/key-and-cert ")
                    && names.contains(&line.split(' ').next().unwrap_or_default())
            };
            Ok(format!("{} istio.io/key-and-cert", secrets.lines().filter(is_key).count()))
        });
    }

    fn join_the_mesh(&mut self, script: &mut Script) {
        script.chapter("Every pod gets a sidecar");
        script.step("kubectl label namespace default istio-injection=enabled", "labeled", || {
            let words = ["label", "namespace", "default", "istio-injection=enabled"];
            let said = self.tools.kubectl_ok(&words)?;
            Ok(said.rsplit(' ').next().unwrap_or_default().to_owned())
        });
        script.step(
            "kubectl delete pod --all: new ones, with sidecars",
            "3 pods 2/2 Running",
            || {
                self.tools.kubectl_ok(&["delete", "pod", "--all"])?;
                self.pods("2/2")
            },
        );
        script.step("calicoctl patch FelixConfiguration default", "/var/run/nodeagent", || {
            let patch = ["patch", "FelixConfiguration", "default", "--patch", SYNC];
            self.tools.calicoctl_ok(&patch)?;
            let path = "jsonpath={.spec.policySyncPathPrefix}";
            self.tools.kubectl_ok(&["get", "felixconfiguration", "default", "-o", path])
        });
        let (lab, tools) = (self.lab, self.tools);
        script.step("the gateway's address, as its Service has it", "reachable", || {
            let of = |path: &str| {
                let output = format!("jsonpath={path}");
                let service = ["-n", "istio-system", "get", "service", "istio-ingressgateway"];
                tools.kubectl_ok(&[&service[..], &["-o", &output]].concat())
            };
            let host = of("{.status.loadBalancer.ingress[0].ip}")?;
            let port = of(r#"{.spec.ports[?(@.name=="http2")].port}"#)?;
            self.gateway = format!("http://{host}:{port}");
            let same = lab.gateway_url()?.as_deref() == Some(&*self.gateway);
            Ok(if same { "reachable".to_owned() } else { self.gateway.clone() })
        });
        script.step("kubectl apply -f 20-attack-pod.yaml", "ready", || {
            tools.kubectl_ok(&["apply", "-f", &self.files.text(ATTACKER)])?;
            tools.kubectl_ok(&["wait", "--for=condition=Ready", "pod/attack", "--timeout=60s"])?;
            Ok("ready".to_owned())
        });
        script.step("four pods and a gateway, each with its own identity", "5 ready", || {
            let status = self.lab.status()?;
            let ready = status.pods.iter().filter(|pod| pod.ready).count();
            for pod in status.pods.iter().filter(|pod| !pod.ready) {
                let problem = pod.problem().unwrap_or_default();
                remark(format_args!("{}: {problem}", pod.id()));
            }
            Ok(format!("{ready} ready"))
        });
        self.page_shows(script, "the customer page shows account 519940", BALANCE);
    }

    /// Waits until `kubectl get pods` shows all pods of the bank like this, and the gateway's: kubectl
    /// can wait for what is there already alone.
    fn pods(&self, ready: &str) -> anyhow::Result<String> {
        let counts = || {
            let pods = self.tools.kubectl_ok(&["get", "pods", "-A", "--no-headers"])?;
            let fits = |namespace: &str, ready: &str| {
                let fits = |line: &&str| {
                    let columns: Vec<&str> = line.split_whitespace().collect();
                    matches!(*columns, [n, _, r, "Running", ..] if (n, r) == (namespace, ready))
                };
                pods.lines().filter(fits).count()
            };
            Ok((fits("default", ready), fits("istio-system", "1/1"), pods.lines().count()))
        };
        let (bank, ..) = in_time(counts, |counts| *counts == (3, 1, 4))?;
        Ok(format!("{bank} pods {ready} Running"))
    }

    fn apply_policy(&self, script: &mut Script) {
        script.chapter("Three policies are applied");
        script.step("calicoctl create -f 30-policy.yaml", "in force", || {
            self.tools.calicoctl_ok(&["create", "-f", &self.files.text(POLICY)])?;
            self.lab.wait_in_force()?;
            Ok("in force".to_owned())
        });
    }

    /// The lab is left as one wants to find it: policy in force.
    fn restore_policy(&self) {
        if let Err(error) = self.lab.apply(&[self.files.path(POLICY)], false) {
            remark(format_args!("error: the policies are not in force again: {error}"));
        }
    }

    fn next_steps(&self) -> String {
        let name = self.lab.name();
        format!(
            "The lab `{name}` keeps running, with the policies in force. Try:\n  \
             export KUBECONFIG={}\n  \
             kubectl get pods -A\n  \
             kubectl exec deploy/customer -c customer -- curl -si http://database:2379/v2/keys\n  \
             curl {}\n  \
             tortie lab --name {name} down",
            self.lab.kubeconfig().display(),
            self.gateway
        )
    }

    /// Waits until the customer page shows a balance: nobody says when every Envoy has heard of pods
    /// that are new.
    fn page_shows(&self, script: &mut Script, what: &str, balance: &str) {
        let shown = || {
            let page =
                command(Command::new("curl").args(["-sS", "--max-time", "30", &self.gateway]))?;
            Ok(balance_on(&page).unwrap_or_else(|| format!("no balance: {}", brief(&page))))
        };
        script.step(what, balance, || in_time(shown, |shown| shown == balance));
    }
}

/// What a look gives as soon as it is as wanted, or else when the time is over.
#[expect(clippy::disallowed_methods, reason = "nobody tells when what is looked at has changed")]
fn in_time<T>(
    look: impl Fn() -> anyhow::Result<T>,
    is_wanted: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let seen = look();
        if seen.as_ref().is_ok_and(&is_wanted) || start.elapsed() > LIMIT {
            return seen;
        }
        thread::sleep(Duration::from_millis(50));
    }
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
