//! Files that are damaged, in use, or on a full disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{all, key, resource};
use proptest::prelude::*;
use tortie_store::{Error, List, Local, Options, Retention, Revision, Store, When};
use tortie_testkit::Property;

async fn open(path: &Path) -> Result<Local, Error> {
    Local::open(path, Options::default()).await
}

fn value(number: usize) -> Bytes {
    format!("{number};").repeat(number % 500 + 1).into()
}

/// A closed store with so many objects.
async fn filled(path: &Path, count: usize) {
    let store = open(path).await.unwrap();
    for number in 0..count {
        let key = key(&resource("disk"), "default", &number.to_string());
        store.put(&key, value(number), When::Absent).await.unwrap();
    }
    store.close().await;
}

/// Whether all of them are there.
async fn intact(store: &Local, count: usize) {
    for number in 0..count {
        let key = key(&resource("disk"), "default", &number.to_string());
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, value(number));
    }
    let listed = store.list(&List::latest(all(&resource("disk")))).await.unwrap();
    assert_eq!(listed.objects.len(), count);
}

#[tokio::test]
async fn damage_is_said_and_nothing_is_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    filled(&good, 100).await;
    let whole = fs::read(&good).unwrap();
    let cut = |length: usize| whole[..length].to_vec();
    let mut zeros = whole.clone();
    zeros[4096..].fill(0);
    let cases = [
        ("empty", vec![]),
        ("one byte", cut(1)),
        ("the first page", cut(4096)),
        ("half", cut(whole.len() / 2)),
        ("almost all", cut(whole.len() - 4096)),
        ("zeros after the first page", zeros),
        ("text", b"not a store\n".repeat(5_000)),
    ];
    for (what, bytes) in cases {
        let path = folder.path().join("bad");
        fs::write(&path, &bytes).unwrap();
        match open(&path).await {
            Err(Error::Damaged { path: named, .. }) => assert_eq!(named, path, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
    }
    let said = open(&folder.path().join("bad")).await.unwrap_err().to_string();
    assert!(said.contains("/bad` cannot be used: ") && said.contains("from a copy"), "{said}");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    drop(redb::Database::create(&path).unwrap());
    assert!(matches!(open(&path).await, Err(Error::Damaged { .. })), "an empty database");
    assert!(open(folder.path()).await.is_err(), "a folder");
    assert!(open(&folder.path().join("none/store")).await.is_err(), "without its folder");
}

#[test]
fn flipped_bytes_are_noticed_or_harmless() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    runtime.block_on(filled(&good, 60));
    let whole = fs::read(&good).unwrap();
    let flips = proptest::collection::vec((0..whole.len(), 1..=255_u8), 1..4);
    Property::new("flipped bytes", 60).check(&flips, |flips| {
        let path = folder.path().join("flipped");
        let mut bytes = whole.clone();
        flips.iter().for_each(|(at, by)| bytes[*at] ^= by);
        fs::write(&path, &bytes).unwrap();
        runtime.block_on(async {
            match open(&path).await {
                Ok(store) => {
                    intact(&store, 60).await;
                    store.close().await;
                }
                Err(Error::Damaged { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        });
        prop_assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(bytes.len()).unwrap());
        Ok(())
    });
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).await.unwrap();
    assert!(matches!(open(&path).await, Err(Error::InUse(named)) if named == path));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "secrets");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    store.close().await;
    open(&path).await.unwrap().close().await;
}

#[tokio::test]
async fn what_a_killed_start_leaves_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    for left in [&b""[..], b"half a file"] {
        fs::write(folder.path().join("store.new"), left).unwrap();
        open(&path).await.unwrap().close().await;
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn history_is_bounded_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let time = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_000_000)));
    let now = time.clone();
    let retention = Retention { events: 10, bytes: 1 << 20, age: Duration::from_secs(60) };
    let clock = Arc::new(move || -> SystemTime { *now.lock().unwrap() });
    let options = Options { retention, clock };
    let resource = resource("history");
    let mut store = Local::open(&path, options.clone()).await.unwrap();
    let write = async |store: &Local, bytes: usize| {
        let value = Bytes::from(vec![b'x'; bytes]);
        store.put(&key(&resource, "a", "b"), value, When::Always).await.unwrap().modified.get()
    };
    // By number; by bytes, of which an event counts those before and after it; by age.
    for (bytes, wait, writes, kept) in [(1, 0, 15, 10), (300_000, 0, 5, 1), (1, 61, 3, 1)] {
        let mut last = 0;
        for _ in 0..writes {
            *time.lock().unwrap() += Duration::from_secs(wait);
            last = write(&store, bytes).await;
        }
        for round in ["running", "opened again"] {
            let oldest = last - kept;
            let watch = store.watch(&all(&resource), Revision::new(oldest)).await;
            let mut watch = watch.unwrap_or_else(|error| panic!("{round} {bytes}: {error}"));
            for revision in oldest + 1..=last {
                assert_eq!(common::next(&mut watch).await.revision().get(), revision);
            }
            let gone = store.watch(&all(&resource), Revision::new(oldest - 1)).await;
            assert!(matches!(gone, Err(Error::Compacted(_))), "{round} {bytes}");
            // What is dropped last is dropped from the file with the next write; here, by hand.
            store.compact(Revision::new(oldest)).await.unwrap();
            store.close().await;
            store = Local::open(&path, options.clone()).await.unwrap();
        }
    }
}

/// Where the child fills the disk, and how it is to get room again, if at all.
const FOLDER: &str = "TORTIE_TEST_FULL";

/// Fills the disk, and checks what then still works.
#[test]
#[ignore = "run by other tests"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ballast = folder.join("ballast");
        if ballast.exists() {
            fs::File::create(&ballast).unwrap().write_all_at(&[1; 1 << 20], 0).unwrap();
        }
        let store = open(&folder.join("store")).await.unwrap();
        let start = store.revision();
        let mut watch = store.watch(&all(&resource("disk")), start).await.unwrap();
        let count = fill(&store).await;
        for _ in 0..3 {
            let again = put(&store, count).await;
            assert!(matches!(again, Err(Error::Full(_))), "{again:?}");
            intact(&store, count).await;
        }
        assert_eq!(store.revision().get() - start.get(), u64::try_from(count).unwrap());
        for _ in 0..count {
            common::next(&mut watch).await;
        }
        assert_eq!(watch.try_next().unwrap(), None, "what was refused is not told");
        if ballast.exists() {
            fs::remove_file(&ballast).unwrap();
            put(&store, count).await.unwrap();
            assert_eq!(common::next(&mut watch).await.key().name(), count.to_string());
        }
        store.close().await;
    });
}

async fn put(store: &Local, number: usize) -> Result<(), Error> {
    let key = key(&resource("disk"), "default", &number.to_string());
    store.put(&key, value(number), When::Absent).await.map(drop)
}

/// Writes until there is no room, and says how often that went well.
async fn fill(store: &Local) -> usize {
    for number in 0.. {
        match put(store, number).await {
            Ok(()) => {}
            Err(Error::Full(reason)) => {
                println!("after {number} writes: {reason}");
                return number;
            }
            Err(other) => panic!("{number}: {other:?}"),
        }
    }
    0
}

/// Runs the child by a shell, and looks at what it left.
async fn run_full(folder: &Path, program: &[&str], script: &str) {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["sh", "-ec", script]).env(FOLDER, folder);
    command.env("CHILD", std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

#[tokio::test]
async fn a_file_that_may_not_grow_refuses_writes_and_serves_reads() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 4096; \
                  exec \"$CHILD\" --exact child --ignored --nocapture";
    run_full(folder.path(), &["env"], script).await;
    let store = open(&folder.path().join("store")).await.unwrap();
    let count = usize::try_from(store.revision().get()).unwrap();
    intact(&store, count).await;
    put(&store, count).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var("CI").is_err(), "CI needs root, to mount a small file system");
        println!("skipped: mounting a small file system needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=6m none \"$TORTIE_TEST_FULL\"; \
                  touch \"$TORTIE_TEST_FULL/ballast\"; \
                  exec \"$CHILD\" --exact child --ignored --nocapture";
    run_full(folder.path(), &["unshare", "--mount"], script).await;
}
