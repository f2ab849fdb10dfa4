//! Reading and validating a file of 10,000 policies, beside the bare YAML parse of the same text.
//! Rounds alternate, so that whatever else the machine does touches both alike; the ratio of the
//! medians is printed at the end.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "benchmark")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::Value;
use tortie_client::files;
use tortie_policy::Cluster;

/// Policies in the file.
const POLICIES: usize = 10_000;
/// Measurements of each side.
const ROUNDS: usize = 15;

/// Policies of the shapes that people write, no two alike.
fn manifest() -> String {
    let mut text = String::new();
    for n in 0..POLICIES {
        let write = match n % 4 {
            0 => namespaced,
            1 => global,
            2 => kubernetes,
            _ => http,
        };
        write(&mut text, n);
    }
    text
}

fn namespaced(text: &mut String, n: usize) {
    let (team, app) = (n % 200, n % 37);
    write!(
        text,
        "---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: policy-{n}
  namespace: team-{team}
  labels:
    app.kubernetes.io/part-of: shop
spec:
  order: {n}
  selector: app == 'app-{app}' && tier in {{'web', 'api'}}
  types: [Ingress, Egress]
  ingress:
  - action: Allow
    protocol: TCP
    source:
      selector: app == 'caller-{app}'
      namespaceSelector: kubernetes.io/metadata.name == 'team-{team}'
    destination:
      ports: [80, 443, '8080:8090']
  - action: Deny
    source:
      notSelector: has(trusted)
  egress:
  - action: Allow
    protocol: UDP
    destination:
      selector: k8s-app == 'kube-dns'
      ports: [53]
"
    )
    .unwrap();
}

fn global(text: &mut String, n: usize) {
    let (a, b) = (n / 256 % 256, n % 256);
    write!(
        text,
        "---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: policy-{n}
spec:
  # Only from the offices.
  selector: role == 'db-{b}'
  order: 10.5
  ingress:
  - action: Allow
    protocol: TCP
    source:
      nets:
      - 10.{a}.{b}.0/24
      - 192.168.{b}.0/25
      notNets:
      - 10.{a}.{b}.128/32
    destination:
      ports:
      - 5432
  - action: Log
  - action: Deny
"
    )
    .unwrap();
}

fn kubernetes(text: &mut String, n: usize) {
    let (team, app) = (n % 200, n % 37);
    write!(
        text,
        "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: policy-{n}
  namespace: team-{team}
spec:
  podSelector:
    matchLabels:
      app: app-{app}
  policyTypes:
  - Ingress
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          team: team-{team}
      podSelector:
        matchExpressions:
        - key: app
          operator: In
          values: [web, api]
    - ipBlock:
        cidr: 10.0.0.0/8
        except: [10.{team}.0.0/16]
    ports:
    - protocol: TCP
      port: 8080
"
    )
    .unwrap();
}

fn http(text: &mut String, n: usize) {
    let (team, app) = (n % 200, n % 37);
    write!(
        text,
        "---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: policy-{n}
  namespace: team-{team}
spec:
  selector: app == 'summary-{app}'
  ingress:
  - action: Allow
    source:
      serviceAccounts:
        names: [customer-{app}, admin]
    http:
      methods: [GET, PUT]
      paths:
      - exact: /account/{n}
      - prefix: /public
"
    )
    .unwrap();
}

/// What there is to compare with: the text as values, nothing else looked at.
fn bare(text: &str) -> usize {
    let options = serde_saphyr::options! { budget: None };
    serde_saphyr::from_multiple_with_options::<Value>(text, options).unwrap().len()
}

/// What `tortie validate` does.
fn load(text: &str) -> usize {
    files::load_text("policies.yaml", text.as_bytes()).unwrap().resources.len()
}

fn validate(text: &str) -> usize {
    let loaded = files::load_text("policies.yaml", text.as_bytes()).unwrap();
    let cluster = Cluster::build(&loaded.resources).unwrap();
    black_box(cluster.policies().count())
}

fn timed(work: fn(&str) -> usize, text: &str) -> Duration {
    let start = Instant::now();
    black_box(work(black_box(text)));
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let text = manifest();
    assert_eq!((bare(&text), validate(&text)), (POLICIES, POLICIES));
    let (mut base, mut loads, mut full) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        base.push(timed(bare, &text));
        loads.push(timed(load, &text));
        full.push(timed(validate, &text));
    }
    let (base, loads, full) = (median(base), median(loads), median(full));
    let ratio = |time: Duration| time.as_secs_f64() / base.as_secs_f64();
    println!("{POLICIES} policies, {:.1} MB", text.len() as f64 / 1e6);
    println!("bare YAML parse      {base:>10.1?}");
    println!("load                 {loads:>10.1?}  ratio {:.2}", ratio(loads));
    println!("load and validate    {full:>10.1?}  ratio {:.2}", ratio(full));
}
