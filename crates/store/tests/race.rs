//! Those who write and watch at the same time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{all, key, resource, value};
use tokio::sync::mpsc;
use tortie_store::{Engine, Error, List, Local, Options, Retention, Revision, Store, When};

const ROUNDS: usize = 1_000;

/// Two writers who know the same revision: in each round exactly one of them writes, and the other
/// is told what.
async fn race(one: Arc<Engine>, two: Arc<Engine>) {
    let key = key(&resource("race"), "default", "x");
    let mut known = one.put(&key, value("start"), When::Absent).await.unwrap();
    let mut wins = [0; 2];
    for round in 0..ROUNDS {
        let when = When::At(known.modified);
        let writes = [&one, &two].into_iter().enumerate().map(|(who, store)| {
            let (store, key) = (store.clone(), key.clone());
            let text = value(&format!("{round} {who}"));
            tokio::spawn(async move { store.put(&key, text, when).await })
        });
        let [first, second] = writes.collect::<Vec<_>>().try_into().unwrap();
        let (winner, loser) = match (first.await.unwrap(), second.await.unwrap()) {
            (Ok(object), Err(error)) => ((0, object), error),
            (Err(error), Ok(object)) => ((1, object), error),
            other => panic!("round {round}: {other:?}"),
        };
        assert!(matches!(loser, Error::Conflict { current, .. } if current == winner.1));
        wins[winner.0] += 1;
        known = winner.1;
    }
    println!("{} to {}", wins[0], wins[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_wins_in_memory() {
    let kit = common::memory().await;
    race(kit.store.clone(), kit.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_wins_in_a_file() {
    let kit = common::file().await;
    race(kit.store.clone(), kit.store).await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_stores_wins_in_etcd() {
    let Some(kit) = common::in_etcd().await else { return };
    let second = Arc::new(Engine::Etcd(kit.server.as_ref().unwrap().store().await));
    race(kit.store.clone(), second).await;
}

/// Writers who rest on an object, and one who marks it: the mark is after all that they wrote.
async fn mark(one: Arc<Engine>, two: Arc<Engine>) {
    let parent = key(&resource("parent"), "default", "x");
    for round in 0..20 {
        let children = resource(&format!("children-{round}"));
        let open = one.put(&parent, value("open"), When::Always).await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let writers = [&one, &two, &one, &two].into_iter().enumerate().map(|(writer, store)| {
            let (store, tell) = (store.clone(), tell.clone());
            let (children, rest) = (children.clone(), [(parent.clone(), open.modified)]);
            tokio::spawn(async move {
                for number in 0.. {
                    let child = key(&children, "default", &format!("{writer}-{number}"));
                    match store.put(&child, value("x"), When::Absent.with(rest.clone())).await {
                        Ok(object) => drop(tell.send(object)),
                        Err(Error::Changed(key)) => return assert_eq!(key, rest[0].0),
                        other => panic!("{other:?}"),
                    }
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        drop(tell);
        let mut last = Revision::ZERO;
        for _ in 0..10 {
            last = last.max(common::soon(told.recv()).await.unwrap().modified);
        }
        let marked = one.put(&parent, value("marked"), When::At(open.modified)).await.unwrap();
        let found = two.list(&List::latest(all(&children))).await.unwrap().objects;
        for writer in writers {
            common::soon(writer).await.unwrap();
        }
        let mut written = 10;
        while let Ok(object) = told.try_recv() {
            (last, written) = (last.max(object.modified), written + 1);
        }
        assert_eq!(found.len(), written, "round {round}: what was written and what was found");
        assert!(last < marked.modified);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_after_a_mark_in_memory() {
    let kit = common::memory().await;
    mark(kit.store.clone(), kit.store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_after_a_mark_in_a_file() {
    let kit = common::file().await;
    mark(kit.store.clone(), kit.store).await;
}

#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_after_a_mark_in_etcd() {
    let Some(kit) = common::in_etcd().await else { return };
    let second = Arc::new(Engine::Etcd(kit.server.as_ref().unwrap().store().await));
    mark(kit.store.clone(), second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_batch_see_each_other() {
    let kit = common::file().await;
    let key = key(&resource("batch"), "default", "x");
    let writers: Vec<_> = (0..200)
        .map(|number| {
            let (store, key) = (kit.store.clone(), key.clone());
            tokio::spawn(
                async move { store.put(&key, value(&number.to_string()), When::Absent).await },
            )
        })
        .collect();
    let mut made = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(object) => made += usize::from(object.modified == Revision::new(1)),
            Err(Error::Exists(object)) => assert_eq!(object.modified, Revision::new(1)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_are_told_everything() {
    let kit = common::memory().await;
    let resource = resource("many");
    let mut watchers = vec![];
    for _ in 0..1_000 {
        let mut watch = kit.store.watch(&all(&resource), Revision::ZERO).await.unwrap();
        watchers.push(tokio::spawn(async move {
            for revision in 1..=100 {
                let event = common::next(&mut watch).await;
                assert_eq!(event.revision().get(), revision);
            }
            watch.position()
        }));
    }
    for number in 0..100 {
        let key = key(&resource, "default", &(number % 7).to_string());
        kit.store.put(&key, value("x"), When::Always).await.unwrap();
    }
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), Revision::new(100));
    }
}

#[tokio::test]
async fn a_slow_watch_is_told_so_and_holds_up_nobody() {
    let retention = Retention { events: 100, bytes: 1 << 20, age: Duration::from_secs(600) };
    let options = Options { retention, ..Options::default() };
    let store = Local::in_memory(options).await.unwrap();
    let (busy, quiet) = (resource("busy"), resource("quiet"));
    let mut slow = store.watch(&all(&busy), Revision::ZERO).await.unwrap();
    let mut quick = store.watch(&all(&busy), Revision::ZERO).await.unwrap();
    let mut idle = store.watch(&all(&quiet), Revision::ZERO).await.unwrap();
    let name = key(&busy, "default", "x");
    for revision in 1..=1_000 {
        store.put(&name, value("x"), When::Always).await.unwrap();
        assert_eq!(common::next(&mut quick).await.revision().get(), revision);
    }
    assert!(matches!(common::soon(slow.next()).await, Err(Error::Compacted(Revision::ZERO))));
    assert!(matches!(slow.next().await, Err(Error::Compacted(_))), "it stays so");
    // Whoever watches what does not change has missed nothing, and can say so.
    assert_eq!(idle.try_next().unwrap(), None);
    store.put(&key(&quiet, "default", "x"), value("y"), When::Absent).await.unwrap();
    assert_eq!(common::next(&mut idle).await.revision().get(), 1_001);
    let resumed = store.watch(&all(&quiet), Revision::new(500)).await;
    assert!(resumed.is_ok(), "nothing of it is gone");
}

/// Whether a watch gives what was written and then says that the store is closed.
async fn end(kit: common::Kit) {
    let resource = resource("end");
    let start = kit.store.list(&List::latest(all(&resource))).await.unwrap().revision;
    let mut watches = vec![];
    for _ in 0..3 {
        watches.push(kit.store.watch(&all(&resource), start).await.unwrap());
    }
    let name = key(&resource, "default", "x");
    let put = kit.store.put(&name, value("x"), When::Absent).await.unwrap();
    assert_eq!(common::next(&mut watches[0]).await.revision(), put.modified);
    let waiting = tokio::spawn(async move {
        let told = watches[0].next().await;
        (told, watches)
    });
    Arc::try_unwrap(kit.store).unwrap().close().await;
    let (told, mut watches) = common::soon(waiting).await.unwrap();
    assert!(matches!(told, Err(Error::Closed)), "{told:?}");
    assert_eq!(common::next(&mut watches[1]).await.revision(), put.modified);
    assert!(matches!(common::soon(watches[1].next()).await, Err(Error::Closed)));
}

#[tokio::test]
async fn watches_end_with_the_store_after_all_is_told() {
    end(common::memory().await).await;
    end(common::file().await).await;
    #[cfg(feature = "etcd")]
    if let Some(kit) = common::in_etcd().await {
        end(kit).await;
    }
}
