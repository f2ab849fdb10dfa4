//! The tables of `corpus/sequences`: what is told after each change, in order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod common;

use std::fmt::Display;
use std::fs;

use common::Heard;
use serde::Deserialize;
use tortie_calc::{EndpointTier, Key, Update};
use tortie_policy::Direction;
use tortie_testkit::{resources, workspace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    name: String,
    node: Option<String>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Step {
    #[serde(default)]
    apply: String,
    #[serde(default)]
    delete: Vec<String>,
    #[serde(default)]
    in_sync: bool,
    tells: Vec<String>,
}

fn list<T: Display>(items: impl IntoIterator<Item = T>, between: &str) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(between))
}

fn quoted(sign: &str, member: &impl Display) -> String {
    let text = format!("{sign}{member}");
    if text.contains(',') { format!("\"{text}\"") } else { text }
}

fn policies(tiers: &[EndpointTier]) -> String {
    let of = |direction| list(tiers.iter().flat_map(|tier| tier.policies(direction)), ", ");
    format!("{} {}", of(Direction::Ingress), of(Direction::Egress))
}

fn line(update: &Update) -> String {
    match update {
        Update::InSync => "in sync".into(),
        Update::IpSet { members, .. } => {
            format!("set {}", list(members.iter().map(|m| quoted("", m)), " "))
        }
        Update::IpSetDelta { added, removed, .. } => {
            let added = added.iter().map(|m| quoted("+", m));
            format!("delta {}", list(added.chain(removed.iter().map(|m| quoted("-", m))), " "))
        }
        Update::IpSetIncomplete(_, incomplete) => format!("set incomplete {incomplete}"),
        Update::IpSetRemove(_) => "set gone".into(),
        Update::Policy(policy) => format!("policy {}", policy.policy.id),
        Update::PolicyRemove(id) => format!("policy gone {id}"),
        Update::Profile(profile) => format!("profile {}", profile.profile.name),
        Update::ProfileRemove(name) => format!("profile gone {name}"),
        Update::Endpoint(e) => format!("endpoint {} {}", e.id, policies(&e.tiers)),
        Update::EndpointRemove(id) => format!("endpoint gone {id}"),
        Update::Host(host) => format!("host {}", host.name),
        Update::HostRemove(name) => format!("host gone {name}"),
        Update::ServiceAccount(account, _) => format!("account {account}"),
        Update::ServiceAccountRemove(account) => format!("account gone {account}"),
        Update::Namespace(name, _) => format!("namespace {name}"),
        Update::NamespaceRemove(name) => format!("namespace gone {name}"),
        Update::Address(address, accounts) => format!("address {address} {}", list(accounts, " ")),
        Update::Settings(_) => "settings".into(),
    }
}

fn run(sequence: &Sequence) -> Result<(), String> {
    let mut heard = Heard::new(sequence.node.as_deref());
    for (number, step) in sequence.steps.iter().enumerate() {
        if !step.apply.is_empty() {
            for resource in resources(&step.apply).map_err(|error| error.to_string())? {
                heard.apply(&Key::of(&resource), Some(&resource));
            }
        }
        for key in &step.delete {
            let known = heard.resources.keys().find(|known| known.to_string() == *key).cloned();
            heard.apply(&known.unwrap_or_else(|| unknown(key)), None);
        }
        if step.in_sync {
            heard.in_sync();
        }
        let told: Vec<String> = heard.flush()?.iter().map(line).collect();
        if told != step.tells {
            let (want, have) = (step.tells.join("\n    "), told.join("\n    "));
            return Err(format!("step {number}\n  want\n    {want}\n  have\n    {have}"));
        }
        heard.check()?;
    }
    Ok(())
}

/// The key of something that never was.
fn unknown(text: &str) -> Key {
    let (kind, name) = text.split_once(' ').unwrap();
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.into()), name),
        None => (None, name),
    };
    let kind = match kind {
        "Pod" => tortie_calc::Kind::Pod,
        "GlobalNetworkPolicy" => tortie_calc::Kind::GlobalNetworkPolicy,
        other => panic!("{other}"),
    };
    Key { kind, namespace, name: name.into() }
}

#[test]
fn every_sequence() {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(workspace::root().join("corpus/sequences")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let sequences: Vec<Sequence> = serde_saphyr::from_str(&text).unwrap();
        for sequence in &sequences {
            count += 1;
            let failed = run(sequence).err();
            failures.extend(failed.map(|e| format!("{}: {}: {e}", path.display(), sequence.name)));
        }
    }
    assert!(count >= 6, "only {count} sequences");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
