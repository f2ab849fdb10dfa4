//! Policies of a size, as files: always the same for the same numbers.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

/// How much policy a workload has.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub policies: usize,
    pub rules: usize,
    pub sets: usize,
    pub members: usize,
}

pub const SHAPES: &[Shape] = &[
    Shape { name: "one rule", policies: 1, rules: 1, sets: 0, members: 0 },
    Shape { name: "10,000 rules", policies: 100, rules: 100, sets: 0, members: 0 },
    Shape { name: "19,992 rules", policies: 294, rules: 68, sets: 3_708, members: 256_000 },
];

impl Shape {
    /// Writes the resources as JSON documents, a file each kind. The last rule of the last policy
    /// allows [`super::wire::check`] from `10.65.0.2`; no other rule matches it.
    pub fn write(&self, folder: &Path) {
        let documents = (0..self.policies).map(|n| self.policy(n));
        write(&folder.join("policies.yaml"), documents);
        write(&folder.join("sets.yaml"), (0..self.sets).map(|n| self.set(n)));
        write(&folder.join("pods.yaml"), [("database", 3), ("summary", 2), ("attack", 5)].map(pod));
    }

    fn policy(&self, n: usize) -> Value {
        let mut rules: Vec<_> = (0..self.rules).map(|rule| self.rule(n, rule)).collect();
        if n + 1 == self.policies
            && let Some(last) = rules.last_mut()
        {
            *last = json!({
                "action": "Allow", "protocol": "TCP",
                "source": {"serviceAccounts": {"names": ["summary"]}},
                "destination": {"ports": [2379]},
                "http": {"methods": ["GET"], "paths": [{"prefix": "/v2/keys"}]},
            });
        }
        json!({
            "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
            "metadata": {"name": format!("policy-{n}")},
            "spec": {
                "order": n, "selector": "app == 'database'", "types": ["Ingress"],
                "ingress": rules,
            },
        })
    }

    /// A quarter of the rules use a set, where there are any; of the others most are for nets and
    /// ports, and some for an account and requests.
    fn rule(&self, n: usize, rule: usize) -> Value {
        let number = n * self.rules + rule;
        match number % 4 {
            0 if self.sets > 0 => json!({
                "action": "Allow", "protocol": "TCP",
                "source": {"selector": format!("set == 's{}'", number / 4 % self.sets)},
                "destination": {"ports": [2379]},
            }),
            1 => json!({
                "action": "Allow", "protocol": "TCP",
                "source": {"serviceAccounts": {"names": [format!("account-{number}")]}},
                "destination": {"ports": [2379]},
                "http": {"methods": ["GET"], "paths": [{"prefix": format!("/v2/keys/{number}")}]},
            }),
            _ => json!({
                "action": "Allow", "protocol": "TCP",
                "source": {"nets": [format!("172.{}.{}.0/24", 16 + number / 256 % 16, number % 256)]},
                "destination": {"ports": [1 + number % 60_000]},
            }),
        }
    }

    /// One large set, and many small ones.
    fn set(&self, n: usize) -> Value {
        let first = self.members / 5;
        let each = (self.members - first) / (self.sets - 1).max(1);
        let (start, count) = if n == 0 { (0, first) } else { (first + (n - 1) * each, each) };
        let net = |m: usize| format!("100.{}.{}.{}/32", 64 + (m >> 16), m >> 8 & 255, m & 255);
        let nets: Vec<_> = (start..start + count).map(net).collect();
        json!({
            "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": format!("set-{n}"), "labels": {"set": format!("s{n}")}},
            "spec": {"nets": nets},
        })
    }
}

fn pod((name, last): (&str, u8)) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"serviceAccountName": name, "containers": []},
        "status": {"podIP": format!("10.65.0.{last}")},
    })
}

fn write(path: &Path, documents: impl IntoIterator<Item = Value>) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for document in documents {
        writeln!(file, "---\n{document}").unwrap();
    }
    file.flush().unwrap();
}
