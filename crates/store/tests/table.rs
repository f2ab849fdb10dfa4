//! What every engine does, as one table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use common::{Kit, all, key, next, resource, short, value};
use tortie_store::{
    At, Continue, Engine, Error, Event, Key, List, MAX_VALUE, Object, Page, Resource, Revision,
    Scope, Store, When,
};

type Case<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! table {
    ($($case:ident)*) => {
        &[$((stringify!($case), |store, resource| Box::pin($case(store, resource)))),*]
    };
}

#[allow(clippy::type_complexity, reason = "only here")]
const TABLE: &[(&str, for<'a> fn(&'a Engine, &'a Resource) -> Case<'a>)] = table! {
    create_makes_it_once
    update_compares_and_swaps
    unconditional_writes_replace
    delete_compares_and_gives_the_last
    writes_rest_on_other_objects
    values_are_opaque
    too_large_values_are_refused
    lists_are_in_the_order_of_paths
    lists_keep_to_their_scope
    pages_show_one_state
    continuing_cannot_leave_the_scope
    lists_show_past_states
    the_future_is_refused
    watches_tell_each_change_once_in_order
    watches_keep_to_their_scope
    watches_resume_anywhere
    watchers_share_events
    positions_can_be_resumed
    keys_of_the_cluster_and_of_namespaces
    compaction_forgets
};

async fn run(kit: Kit) {
    for (name, case) in TABLE {
        println!("{name}");
        let plural = name.replace('_', "-");
        common::soon(case(&kit.store, &resource(&plural))).await;
    }
}

#[tokio::test]
async fn memory() {
    run(common::memory().await).await;
}

#[tokio::test]
async fn file() {
    run(common::file().await).await;
}

#[tokio::test]
async fn etcd() {
    if let Some(kit) = common::in_etcd().await {
        run(kit).await;
    }
}

async fn create(store: &Engine, resource: &Resource, name: &str, text: &str) -> Arc<Object> {
    let key = key(resource, "default", name);
    store.put(&key, value(text), When::Absent).await.unwrap()
}

async fn update(store: &Engine, resource: &Resource, name: &str, text: &str) -> Arc<Object> {
    let key = key(resource, "default", name);
    store.put(&key, value(text), When::Always).await.unwrap()
}

async fn delete(store: &Engine, resource: &Resource, name: &str) -> Arc<Event> {
    store.delete(&key(resource, "default", name), When::Always).await.unwrap()
}

async fn latest(store: &Engine, resource: &Resource) -> Page {
    store.list(&List::latest(all(resource))).await.unwrap()
}

fn names(page: &Page) -> Vec<String> {
    let text = |object: &Arc<Object>| {
        format!("{}={}", object.key.name(), String::from_utf8_lossy(&object.value))
    };
    page.objects.iter().map(text).collect()
}

async fn create_makes_it_once(store: &Engine, resource: &Resource) {
    let key = key(resource, "default", "a");
    assert_eq!(store.get(&key).await.unwrap(), None);
    let made = create(store, resource, "a", "1").await;
    assert_eq!((&made.key, &made.value[..], made.created), (&key, &b"1"[..], made.modified));
    assert_eq!(store.get(&key).await.unwrap().unwrap(), made);
    match store.put(&key, value("2"), When::Absent).await {
        Err(Error::Exists(current)) => assert_eq!(current, made),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.get(&key).await.unwrap().unwrap(), made);
}

async fn update_compares_and_swaps(store: &Engine, resource: &Resource) {
    let key = key(resource, "default", "a");
    let missing = store.put(&key, value("0"), When::At(Revision::new(1))).await;
    assert!(matches!(missing, Err(Error::NotFound(name)) if name == key));
    let made = create(store, resource, "a", "1").await;
    let second = store.put(&key, value("2"), When::At(made.modified)).await.unwrap();
    assert_eq!((second.created, &second.value[..]), (made.created, &b"2"[..]));
    assert!(second.modified > made.modified);
    for stale in [made.modified, Revision::ZERO, Revision::new(second.modified.get() + 1)] {
        match store.put(&key, value("3"), When::At(stale)).await {
            Err(Error::Conflict { expected, current }) => {
                assert_eq!((expected, current), (stale, second.clone()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.get(&key).await.unwrap().unwrap(), second);
}

async fn unconditional_writes_replace(store: &Engine, resource: &Resource) {
    let first = update(store, resource, "a", "1").await;
    let second = update(store, resource, "a", "1").await;
    assert_eq!((first.created, second.created), (first.modified, first.modified));
    assert!(second.modified > first.modified, "the same value is a change too");
}

async fn delete_compares_and_gives_the_last(store: &Engine, resource: &Resource) {
    let key = key(resource, "default", "a");
    for when in [When::Always, When::Absent, When::At(Revision::new(1))] {
        let missing = store.delete(&key, when).await;
        assert!(matches!(missing, Err(Error::NotFound(_))), "{when:?} {missing:?}");
    }
    let made = create(store, resource, "a", "1").await;
    let stale = When::At(Revision::new(made.modified.get() - 1));
    assert!(matches!(store.delete(&key, stale).await, Err(Error::Conflict { .. })));
    assert!(matches!(store.delete(&key, When::Absent).await, Err(Error::Exists(_))));
    let event = store.delete(&key, When::At(made.modified)).await.unwrap();
    assert!(matches!(&*event, Event::Delete { last, .. } if *last == made));
    assert!(event.revision() > made.modified);
    assert_eq!(store.get(&key).await.unwrap(), None);
    let again = create(store, resource, "a", "2").await;
    assert!(again.created > event.revision(), "a new life");
    assert_eq!(again.created, again.modified);
}

async fn writes_rest_on_other_objects(store: &Engine, resource: &Resource) {
    let (one, two) =
        (create(store, resource, "one", "1").await, create(store, resource, "two", "1").await);
    let at = |object: &Arc<Object>| (object.key.clone(), object.modified);
    let name = key(resource, "default", "a");
    let both = When::Absent.with([at(&one), at(&two)]);
    let made = store.put(&name, value("1"), both.clone()).await.unwrap();
    assert!(matches!(store.put(&name, value("2"), both).await, Err(Error::Exists(_))));
    let newer = update(store, resource, "two", "2").await;
    let nobody = (key(resource, "default", "nobody"), made.modified);
    let never = (nobody.0.clone(), Revision::ZERO);
    let not = |other: &(Key, Revision)| [at(&one), other.clone()];
    for (when, other) in [
        (When::Absent, at(&two)),
        (When::Always, at(&two)),
        (When::At(made.modified), at(&two)),
        (When::At(made.modified), (newer.key.clone(), Revision::new(newer.modified.get() + 1))),
        (When::At(made.modified), nobody.clone()),
        (When::At(made.modified), never),
        // What it rests on is looked at first.
        (When::At(newer.modified), nobody),
    ] {
        let put = store.put(&name, value("3"), when.with(not(&other))).await;
        assert!(matches!(&put, Err(Error::Changed(key)) if *key == other.0), "{when:?} {put:?}");
        let delete = store.delete(&name, when.with(not(&other))).await;
        assert!(matches!(&delete, Err(Error::Changed(key)) if *key == other.0), "{delete:?}");
    }
    assert_eq!(store.get(&name).await.unwrap().unwrap(), made);
    let again = When::At(made.modified).with([at(&newer), at(&made)]);
    let again = store.put(&name, value("4"), again).await.unwrap();
    store.delete(&name, When::Always.with([at(&newer), at(&again)])).await.unwrap();
    assert_eq!(store.get(&name).await.unwrap(), None);
}

async fn values_are_opaque(store: &Engine, resource: &Resource) {
    for bytes in [&b""[..], b"{\"not json", b"\xff\x00\xfe", &[b'x'; 100_000]] {
        let key = key(resource, "default", "a");
        let put = store.put(&key, Bytes::from(bytes.to_vec()), When::Always).await.unwrap();
        assert_eq!(put.value, bytes);
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, bytes);
    }
}

async fn too_large_values_are_refused(store: &Engine, resource: &Resource) {
    let key = key(resource, "default", "a");
    let most = Bytes::from(vec![b'x'; MAX_VALUE]);
    assert_eq!(store.put(&key, most, When::Always).await.unwrap().value.len(), MAX_VALUE);
    let more = Bytes::from(vec![b'x'; MAX_VALUE + 1]);
    let refused = store.put(&key, more, When::Always).await;
    assert!(matches!(refused, Err(Error::TooLarge { bytes, .. }) if bytes == MAX_VALUE + 1));
    store.delete(&key, When::Always).await.unwrap();
}

async fn lists_are_in_the_order_of_paths(store: &Engine, resource: &Resource) {
    for (namespace, name) in [("b", "x"), ("a-b", "x"), ("a", "z"), ("a", "b.c"), ("a.b", "x")] {
        store.put(&key(resource, namespace, name), value("1"), When::Absent).await.unwrap();
    }
    let page = latest(store, resource).await;
    let paths: Vec<_> = page.objects.iter().map(|o| o.key.to_string()).collect();
    let tail = |path: &String| path.rsplitn(3, '/').take(2).collect::<Vec<_>>().join("<");
    let tails: Vec<_> = paths.iter().map(tail).collect();
    assert_eq!(tails, ["x<a-b", "x<a.b", "b.c<a", "z<a", "x<b"]);
    assert_eq!(page.more, None);
}

async fn lists_keep_to_their_scope(store: &Engine, resource: &Resource) {
    let longer = common::resource(&format!("{}x", resource.plural()));
    for (resource, namespace) in [(resource, "a"), (resource, "ab"), (&longer, "a")] {
        store.put(&key(resource, namespace, "n"), value("1"), When::Absent).await.unwrap();
    }
    for (scope, count) in [
        (all(resource), 2),
        (Scope::namespaced(resource.clone(), "a").unwrap(), 1),
        (Scope::namespaced(resource.clone(), "b").unwrap(), 0),
        (all(&longer), 1),
        (all(&common::resource("none")), 0),
    ] {
        let page = store.list(&List::latest(scope.clone())).await.unwrap();
        assert_eq!(page.objects.len(), count, "{scope:?}");
        assert!(page.objects.iter().all(|object| scope.contains(&object.key)));
    }
}

async fn pages_show_one_state(store: &Engine, resource: &Resource) {
    for name in ["a", "b", "c", "d", "e"] {
        create(store, resource, name, "1").await;
    }
    let mut list = List { limit: NonZeroUsize::new(2), ..List::latest(all(resource)) };
    let first = store.list(&list).await.unwrap();
    assert_eq!(names(&first), ["a=1", "b=1"]);
    delete(store, resource, "c").await;
    update(store, resource, "d", "2").await;
    create(store, resource, "bb", "2").await;
    delete(store, resource, "d").await;
    list.at = At::Continue(first.more.clone().unwrap());
    let second = store.list(&list).await.unwrap();
    assert_eq!(
        (names(&second), second.revision),
        (vec!["c=1".into(), "d=1".into()], first.revision)
    );
    list.at = At::Continue(second.more.clone().unwrap());
    let third = store.list(&list).await.unwrap();
    assert_eq!((names(&third), &third.more), (vec!["e=1".to_owned()], &None));
    assert_eq!(names(&latest(store, resource).await), ["a=1", "b=1", "bb=2", "e=1"]);
}

async fn continuing_cannot_leave_the_scope(store: &Engine, resource: &Resource) {
    create(store, resource, "a", "1").await;
    let revision = latest(store, resource).await.revision;
    for after in ["", "../", "\u{10ffff}", "/", "default/", "zzz/zzz", "default/a"] {
        let at = At::Continue(Continue { revision, after: after.into() });
        let scope = Scope::namespaced(resource.clone(), "none").unwrap();
        let page = store.list(&List { scope, at, limit: None }).await.unwrap();
        assert!(page.objects.is_empty(), "{after}");
    }
}

async fn lists_show_past_states(store: &Engine, resource: &Resource) {
    let mut states = vec![(latest(store, resource).await.revision, vec![])];
    let mut note = |revision, names: &[&str]| {
        states.push((revision, names.iter().map(|n| (*n).to_owned()).collect()));
    };
    note(create(store, resource, "b", "1").await.modified, &["b=1"]);
    note(create(store, resource, "a", "1").await.modified, &["a=1", "b=1"]);
    note(update(store, resource, "b", "2").await.modified, &["a=1", "b=2"]);
    note(delete(store, resource, "b").await.revision(), &["a=1"]);
    note(create(store, resource, "b", "3").await.modified, &["a=1", "b=3"]);
    note(delete(store, resource, "a").await.revision(), &["b=3"]);
    for (revision, expected) in states {
        let list = List { at: At::Revision(revision), ..List::latest(all(resource)) };
        let page = store.list(&list).await.unwrap();
        assert_eq!((names(&page), page.revision), (expected, revision));
    }
}

async fn the_future_is_refused(store: &Engine, resource: &Resource) {
    let made = create(store, resource, "a", "1").await;
    let later = Revision::new(made.modified.get() + 1_000);
    let list = List { at: At::Revision(later), ..List::latest(all(resource)) };
    for refused in [
        store.list(&list).await.map(drop),
        store.watch(&all(resource), later).await.map(drop),
        store.compact(later).await,
    ] {
        match refused {
            Err(Error::Future { asked, current }) => {
                assert!(asked == later && current >= made.modified && current < later);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn watches_tell_each_change_once_in_order(store: &Engine, resource: &Resource) {
    let start = latest(store, resource).await.revision;
    let mut watch = store.watch(&all(resource), start).await.unwrap();
    let mut revisions = vec![create(store, resource, "a", "1").await.modified];
    revisions.push(update(store, resource, "a", "2").await.modified);
    revisions.push(delete(store, resource, "a").await.revision());
    revisions.push(create(store, resource, "a", "3").await.modified);
    let expected = ["+a=1", "a=1>2", "-a=2", "+a=3"];
    for (expected, revision) in expected.into_iter().zip(revisions) {
        let event = next(&mut watch).await;
        assert_eq!((short(&event).as_str(), event.revision()), (expected, revision));
    }
    assert_eq!(watch.try_next().unwrap(), None);
}

async fn watches_keep_to_their_scope(store: &Engine, resource: &Resource) {
    let other = common::resource(&format!("{}x", resource.plural()));
    let start = latest(store, resource).await.revision;
    let scope = Scope::namespaced(resource.clone(), "in").unwrap();
    let mut watch = store.watch(&scope, start).await.unwrap();
    for (resource, namespace, name) in
        [(resource, "out", "a"), (&other, "in", "b"), (resource, "in", "c"), (resource, "inn", "d")]
    {
        store.put(&key(resource, namespace, name), value("1"), When::Absent).await.unwrap();
    }
    store.put(&key(resource, "in", "e"), value("1"), When::Absent).await.unwrap();
    assert_eq!(short(&*next(&mut watch).await), "+c=1");
    assert_eq!(short(&*next(&mut watch).await), "+e=1");
}

async fn watches_resume_anywhere(store: &Engine, resource: &Resource) {
    let start = latest(store, resource).await.revision;
    let mut told = vec![];
    for number in 0..200 {
        let name = format!("n{}", number % 7);
        let object = update(store, resource, &name, &number.to_string()).await;
        told.push((object.modified, format!("{name}={number}")));
    }
    for from in [0, 1, 63, 64, 65, 128, 199, 200] {
        let after = if from == 0 { start } else { told[from - 1].0 };
        let mut watch = store.watch(&all(resource), after).await.unwrap();
        for (revision, text) in &told[from..] {
            let event = next(&mut watch).await;
            let object = event.object();
            let now = format!("{}={}", object.key.name(), String::from_utf8_lossy(&object.value));
            assert_eq!((event.revision(), &now), (*revision, text));
        }
        assert_eq!(watch.try_next().unwrap(), None);
    }
}

async fn watchers_share_events(store: &Engine, resource: &Resource) {
    let start = latest(store, resource).await.revision;
    let mut one = store.watch(&all(resource), start).await.unwrap();
    let scope = Scope::namespaced(resource.clone(), "default").unwrap();
    let mut two = store.watch(&scope, start).await.unwrap();
    create(store, resource, "a", "1").await;
    assert!(Arc::ptr_eq(&next(&mut one).await, &next(&mut two).await));
}

async fn positions_can_be_resumed(store: &Engine, resource: &Resource) {
    let start = latest(store, resource).await.revision;
    let mut watch = store.watch(&all(resource), start).await.unwrap();
    assert!(watch.position() >= start);
    for name in ["a", "b", "c"] {
        let made = create(store, resource, name, "1").await;
        assert!(watch.position() <= made.modified);
        assert_eq!(next(&mut watch).await.revision(), made.modified);
        assert!(watch.position() >= made.modified, "everything has been given");
    }
    let position = watch.position();
    let mut resumed = store.watch(&all(resource), position).await.unwrap();
    create(store, resource, "d", "1").await;
    assert_eq!(short(&*next(&mut resumed).await), "+d=1");
    assert!(Arc::ptr_eq(
        &next(&mut watch).await,
        &next(&mut store.watch(&all(resource), position).await.unwrap()).await
    ));
}

async fn keys_of_the_cluster_and_of_namespaces(store: &Engine, _: &Resource) {
    for group in ["", "projectcalico.org", "apps"] {
        let resource = Resource::new(group, "opportunities").unwrap();
        let start = latest(store, &resource).await.revision;
        let mut watch = store.watch(&all(&resource), start).await.unwrap();
        let keys = [
            Key::new(resource.clone(), None, "x").unwrap(),
            Key::new(resource.clone(), Some("x"), "y").unwrap(),
        ];
        for key in &keys {
            store.put(key, value("1"), When::Absent).await.unwrap();
            assert_eq!(next(&mut watch).await.key(), key);
            assert_eq!(store.get(key).await.unwrap().unwrap().key, *key);
        }
        let listed = latest(store, &resource).await.objects;
        assert_eq!(listed.iter().map(|o| o.key.clone()).collect::<Vec<_>>(), keys);
    }
}

async fn compaction_forgets(store: &Engine, resource: &Resource) {
    let first = create(store, resource, "a", "1").await.modified;
    let mut live = store.watch(&all(resource), first).await.unwrap();
    let second = update(store, resource, "a", "2").await.modified;
    let third = update(store, resource, "a", "3").await.modified;
    assert_eq!(short(&*next(&mut live).await), "a=1>2");
    assert_eq!(short(&*next(&mut live).await), "a=2>3");
    store.compact(third).await.unwrap();
    let list = |at| List { at: At::Revision(at), ..List::latest(all(resource)) };
    let after = Continue { revision: second, after: "".into() };
    let paged = List { at: At::Continue(after), ..List::latest(all(resource)) };
    for refused in [
        store.list(&list(second)).await.map(drop),
        store.list(&paged).await.map(drop),
        store.watch(&all(resource), first).await.map(drop),
        store.compact(first).await,
    ] {
        assert!(matches!(refused, Err(Error::Compacted(asked)) if asked < third), "{refused:?}");
    }
    assert_eq!(names(&store.list(&list(third)).await.unwrap()), ["a=3"]);
    let mut late = store.watch(&all(resource), third).await.unwrap();
    update(store, resource, "a", "4").await;
    assert_eq!(short(&*next(&mut live).await), "a=3>4", "it had missed nothing");
    assert_eq!(short(&*next(&mut late).await), "a=3>4");
}
