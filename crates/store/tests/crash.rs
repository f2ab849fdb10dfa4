//! A process that writes is killed, again and again: what it was told is written is there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use common::{all, key, resource};
use tortie_store::{Event, List, Local, Object, Options, Revision, Store, When};

/// Which file the child writes; it writes only if there is one.
const FILE: &str = "TORTIE_TEST_STORE";
/// The last number each of its writers has written.
const NUMBERS: &str = "TORTIE_TEST_NUMBERS";
const WRITERS: usize = 8;

/// How often it is killed; `make soak` says more often.
fn kills() -> usize {
    std::env::var("TORTIE_KILLS").map_or(30, |number| number.parse().unwrap())
}

/// What a writer writes as a number: up to a few pages, all of which follow from the number. Every
/// seventh time it deletes instead.
fn written(writer: usize, number: u64) -> Option<Bytes> {
    let word = format!("{writer}:{number};");
    let times = 1 + usize::try_from(number * 37 % 2_000).unwrap();
    (!number.is_multiple_of(7)).then(|| word.repeat(times).into())
}

/// The child: writers that say what is written once they know.
#[test]
#[ignore = "run by the other test"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let numbers = std::env::var(NUMBERS).unwrap();
    let numbers: Vec<u64> = numbers.split(' ').map(|text| text.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Local::open(PathBuf::from(path), Options::default()).await.unwrap();
        let store = Arc::new(store);
        println!("open");
        let writers = numbers.into_iter().enumerate();
        let writers: Vec<_> = writers
            .map(|(writer, from)| tokio::spawn(write(store.clone(), writer, from)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(store: Arc<Local>, writer: usize, from: u64) {
    let key = key(&resource("crash"), "default", &writer.to_string());
    for number in from + 1.. {
        let revision = match written(writer, number) {
            Some(value) => store.put(&key, value, When::Always).await.unwrap().modified,
            None => store.delete(&key, When::Always).await.unwrap().revision(),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "wrote {writer} {number} {revision}").unwrap();
    }
}

struct Writing {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

fn start(path: &Path, numbers: &[u64]) -> Writing {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FILE, path)
        .env(NUMBERS, numbers.join(" "))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    Writing { child, lines }
}

/// What the child has said.
#[derive(Default)]
struct Heard {
    numbers: Vec<u64>,
    revision: Revision,
}

impl Heard {
    fn line(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        // The harness writes on the same stream.
        let ["wrote", writer, number, revision] = words[..] else { return false };
        let writer: usize = writer.parse().unwrap();
        self.numbers[writer] = number.parse().unwrap();
        self.revision = self.revision.max(revision.parse().unwrap());
        true
    }
}

/// Lets a child write so many times, kills it, and hears it out.
fn run(path: &Path, heard: &mut Heard, writes: usize) {
    let mut writing = start(path, &heard.numbers);
    let mut seen = 0;
    while seen < writes {
        let line = writing.lines.next().expect("the child ended by itself").unwrap();
        seen += usize::from(heard.line(&line));
    }
    writing.child.kill().unwrap();
    for line in writing.lines {
        // The last line may be cut off.
        let line = line.unwrap();
        if line.split(' ').count() == 4 && line.ends_with(|c: char| c.is_ascii_digit()) {
            whole(heard, &line);
        }
    }
    writing.child.wait().unwrap();
}

/// Hears a line that may have lost its end: only the number of the writer can be trusted then.
fn whole(heard: &mut Heard, line: &str) {
    let (numbers, revision) = (heard.numbers.clone(), heard.revision);
    heard.line(line);
    if heard.revision < revision {
        (heard.numbers, heard.revision) = (numbers, revision);
    }
}

/// Checks the store against what was heard, and notes what else was written.
async fn check(path: &Path, heard: &mut Heard) {
    let store = Local::open(path, Options::default()).await.unwrap();
    assert!(store.revision() >= heard.revision, "an acknowledged revision is gone");
    for (writer, number) in heard.numbers.iter_mut().enumerate() {
        let key = key(&resource("crash"), "default", &writer.to_string());
        let found = store.get(&key).await.unwrap().map(|object| object.value.clone());
        if found != written(writer, *number) {
            // One more may have been written without anybody having been told.
            *number += 1;
            assert!(found == written(writer, *number), "writer {writer}: {number} or one less");
        }
    }
    history_leads_here(&store).await;
    heard.revision = store.revision();
    store.close().await;
}

/// The history that was kept, from its beginning, leads to what is there.
async fn history_leads_here(store: &Local) {
    let scope = all(&resource("crash"));
    let mut objects = std::collections::BTreeMap::<String, Arc<Object>>::new();
    let mut watch = store.watch(&scope, Revision::ZERO).await.unwrap();
    let mut last = Revision::ZERO;
    while let Some(event) = watch.try_next().unwrap() {
        assert_eq!(event.revision().get(), last.get() + 1, "none is missing");
        last = event.revision();
        let path = event.key().to_string();
        assert_eq!(event.previous(), objects.get(&path));
        match &*event {
            Event::Put { object, .. } => objects.insert(path, object.clone()),
            Event::Delete { .. } => objects.remove(&path),
        };
    }
    assert_eq!(last, store.revision());
    let listed = store.list(&List::latest(scope)).await.unwrap().objects;
    assert_eq!(objects.into_values().collect::<Vec<_>>(), listed);
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = Heard { numbers: vec![0; WRITERS], ..Heard::default() };
    let kills = kills();
    for kill in 0..kills {
        // A new file now and then: it may be killed while it is made, and history stays whole.
        let path = folder.path().join(format!("store{}", kill / 30));
        if kill % 30 == 0 {
            heard = Heard { numbers: vec![0; WRITERS], ..Heard::default() };
        }
        run(&path, &mut heard, [0, 1, 7, 60, 150][kill % 5]);
        check(&path, &mut heard).await;
    }
    println!("{kills} kills, {} writes in the last file", heard.revision);
}
