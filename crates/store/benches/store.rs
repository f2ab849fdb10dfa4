//! What a store costs, each figure beside what it is measured against.
//!
//! Sizes grow with `TORTIE_BENCH_OBJECTS` (20,000 by default; 100,000 to record).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "benchmark code"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tortie_store::{Engine, Key, List, Local, Options, Resource, Scope, Store, When};

/// About what a policy has.
const VALUE: usize = 1_024;

fn policies() -> Resource {
    Resource::new("projectcalico.org", "networkpolicies").unwrap()
}

fn key(number: usize) -> Key {
    let namespace = format!("namespace-{}", number % 100);
    Key::new(policies(), Some(&namespace), &format!("policy-{number}")).unwrap()
}

fn value(number: usize) -> Bytes {
    let mut bytes = number.to_string().into_bytes();
    bytes.resize(VALUE, b' ');
    bytes.into()
}

fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// So many times a second.
fn rate(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64()
}

/// What the disk takes for a page that is written and made durable.
fn disk(folder: &Path) {
    let mut file = fs::File::create(folder.join("probe")).unwrap();
    let mut took: Vec<_> = (0..300)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    let sum: Duration = took.iter().sum();
    println!("disk: append 4 KiB and fdatasync: median {:?}, {:.0}/s", took[150], rate(300, sum));
}

/// Durable writes by so many writers at once.
async fn writes(store: &Arc<Local>, writers: usize, each: usize) {
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    let key = key(writer * each + number);
                    store.put(&key, value(number), When::Always).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!(
        "file: {writers} writers: {:.0} durable writes/s",
        rate(writers * each, start.elapsed())
    );
}

async fn fill(store: &Arc<Local>, count: usize) {
    let writers = 200;
    let tasks = (0..writers).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (writer..count).step_by(writers) {
                store.put(&key(number), value(number), When::Always).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

async fn many(folder: &Path, count: usize) {
    let path = folder.join("many");
    let store = Arc::new(Local::open(&path, Options::default()).await.unwrap());
    let start = Instant::now();
    fill(&store, count).await;
    println!("file: {count} objects of {VALUE} bytes written in {:?}", start.elapsed());
    for limit in [10_000, 500] {
        let list = List {
            limit: std::num::NonZeroUsize::new(limit),
            ..List::latest(Scope::all(policies()))
        };
        let start = Instant::now();
        let page = store.list(&list).await.unwrap();
        println!("list: {} objects in {:?}", page.objects.len(), start.elapsed());
    }
    Arc::try_unwrap(store).unwrap().close().await;
    let before = resident();
    let start = Instant::now();
    let store = Local::open(&path, Options::default()).await.unwrap();
    let took = start.elapsed();
    let each = resident().saturating_sub(before) / count;
    println!(
        "file: opened, all of it checked, in {took:?}; {} MiB",
        fs::metadata(&path).unwrap().len() >> 20
    );
    println!(
        "memory: {each} bytes an object, of which {VALUE} are its own (history of 64 MiB included)"
    );
    store.close().await;
}

/// A list of 10,000 objects in etcd.
async fn in_etcd(store: &Arc<Engine>) {
    let tasks = (0..100).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (writer..10_000).step_by(100) {
                store.put(&key(number), value(number), When::Always).await.unwrap();
            }
        })
    });
    let start = Instant::now();
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    println!("etcd: 100 writers: {:.0} writes/s", rate(10_000, start.elapsed()));
    let start = Instant::now();
    let page = store.list(&List::latest(Scope::all(policies()))).await.unwrap();
    println!("etcd: list of {} objects in {:?}", page.objects.len(), start.elapsed());
}

/// From a write's begin to the last of so many watchers being told, at so many writes a second.
async fn fan_out(store: Arc<Engine>, watchers: usize, each_second: u32, seconds: u32) {
    let start = store.list(&List::latest(Scope::all(policies()))).await.unwrap().revision;
    let began = Instant::now();
    let tasks: Vec<_> = (0..watchers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut watch = store.watch(&Scope::all(policies()), start).await.unwrap();
                let mut took = vec![];
                for _ in 0..each_second * seconds {
                    let event = watch.next().await.unwrap();
                    let text = std::str::from_utf8(&event.object().value).unwrap();
                    let sent = Duration::from_nanos(text.trim().parse().unwrap());
                    took.push(began.elapsed().saturating_sub(sent));
                }
                took
            })
        })
        .collect();
    let mut ticks = interval(Duration::from_secs(1) / each_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..each_second * seconds {
        ticks.tick().await;
        let sent = usize::try_from(began.elapsed().as_nanos()).unwrap();
        store.put(&key(number as usize % 50), value(sent), When::Always).await.unwrap();
    }
    let mut took = vec![];
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1_000];
    println!(
        "watch: {watchers} watchers, {each_second} changes/s: median {:?}, p99 {:?}, worst {:?}",
        at(500),
        at(990),
        at(1_000)
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir_in(".").unwrap();
    let count = std::env::var("TORTIE_BENCH_OBJECTS").map_or(20_000, |text| text.parse().unwrap());
    runtime.block_on(async {
        disk(folder.path());
        let path = folder.path().join("writes");
        let store = Arc::new(Local::open(path, Options::default()).await.unwrap());
        writes(&store, 1, 500).await;
        writes(&store, 8, 250).await;
        writes(&store, 64, 100).await;
        drop(store);
        many(folder.path(), count).await;
        for (watchers, each_second) in [(1_000, 20), (100, 200)] {
            fan_out(common::memory().await.store, watchers, each_second, 5).await;
        }
        if let Some(kit) = common::in_etcd().await {
            in_etcd(&kit.store).await;
            fan_out(kit.store.clone(), 1_000, 20, 5).await;
        }
    });
}
