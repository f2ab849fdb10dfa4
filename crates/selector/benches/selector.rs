//! Parse, match, compose and analyse, each beside the least work that could do it, in the same run:
//! one pass over the bytes for a parse, one lookup per label for a match, one copy of the text for
//! a composition.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tortie_selector::{Node, Selector};

/// A policy's selector, one of many terms, and one as long as the CRD allows (1024 bytes).
fn texts() -> [(&'static str, String); 3] {
    let many = "app == 'summary' && tier in {'backend', 'middle'} && !has(canary) \
                || role contains 'db' && version != 'v1'";
    let mut long = String::from("app == 'summary'");
    while long.len() < 980 {
        long += " && projectcalico.org/zone not in {'a', 'b'}";
    }
    [("one term", "app == 'summary'".into()), ("five terms", many.into()), ("1 KiB", long)]
}

/// The labels of a pod, as the conversion from Kubernetes gives them.
fn pod() -> BTreeMap<String, String> {
    let pairs = [
        ("app", "summary"),
        ("pod-template-hash", "5f6c7d8b9c"),
        ("projectcalico.org/namespace", "yaobank"),
        ("projectcalico.org/orchestrator", "k8s"),
        ("projectcalico.org/serviceaccount", "summary"),
        ("projectcalico.org/zone", "c"),
        ("tier", "backend"),
        ("version", "v2"),
    ];
    pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).into()
}

fn selectors() -> impl Iterator<Item = (&'static str, String, Selector)> {
    texts().into_iter().filter_map(|(name, text)| {
        let selector = Selector::parse(&text).ok()?;
        Some((name, text, selector))
    })
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, text, _) in selectors() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_with_input(BenchmarkId::new("tortie", name), &text, |b, text| {
            b.iter(|| Selector::parse(black_box(text)));
        });
        group.bench_with_input(
            BenchmarkId::new("baseline: count quotes", name),
            &text,
            |b, text| {
                b.iter(|| black_box(text).bytes().filter(|&byte| byte == b'\'').count());
            },
        );
    }
    group.finish();
}

fn matching(c: &mut Criterion) {
    let ordered = pod();
    let hashed: HashMap<String, String> = ordered.clone().into_iter().collect();
    let mut group = c.benchmark_group("match");
    for (name, _, selector) in selectors() {
        group.bench_with_input(BenchmarkId::new("BTreeMap", name), &selector, |b, selector| {
            b.iter(|| black_box(selector).matches(black_box(&ordered)));
        });
        group.bench_with_input(BenchmarkId::new("HashMap", name), &selector, |b, selector| {
            b.iter(|| black_box(selector).matches(black_box(&hashed)));
        });
        let labels = labels(&selector);
        group.bench_with_input(
            BenchmarkId::new("baseline: BTreeMap lookups", name),
            &labels,
            |b, l| {
                b.iter(|| {
                    l.iter().filter(|&&label| black_box(&ordered).contains_key(label)).count()
                });
            },
        );
    }
    group.finish();
}

/// The labels a selector asks for, once per term.
fn labels(selector: &Selector) -> Vec<&str> {
    let mut labels = Vec::new();
    selector.node().for_each_leaf(&mut |leaf: &Node| labels.extend(leaf.label()));
    labels
}

fn compose(c: &mut Criterion) {
    let Ok(namespace) = Selector::equals("projectcalico.org/namespace", "yaobank") else { return };
    let mut group = c.benchmark_group("compose");
    for (name, _, selector) in selectors() {
        group.bench_with_input(
            BenchmarkId::new("and namespace", name),
            &selector,
            |b, selector| {
                b.iter(|| Selector::and([black_box(selector).clone(), namespace.clone()]));
            },
        );
        group.bench_with_input(BenchmarkId::new("prefix", name), &selector, |b, selector| {
            b.iter(|| black_box(selector).with_prefix("pcns."));
        });
        group.bench_with_input(
            BenchmarkId::new("baseline: format", name),
            &selector,
            |b, selector| {
                b.iter(|| {
                    format!("({} && {})", black_box(selector).canonical(), namespace.canonical())
                });
            },
        );
    }
    group.finish();
}

fn analyse(c: &mut Criterion) {
    let mut group = c.benchmark_group("analyse");
    for (name, text, selector) in selectors() {
        group.bench_with_input(BenchmarkId::new("restrictions", name), &selector, |b, selector| {
            b.iter(|| black_box(black_box(selector).restrictions()));
        });
        group.bench_with_input(BenchmarkId::new("parse and id", name), &text, |b, text| {
            b.iter(|| Selector::parse(black_box(text)).map(|selector| selector.id().len()));
        });
    }
    group.finish();
}

criterion_group!(benches, parse, matching, compose, analyse);
criterion_main!(benches);
