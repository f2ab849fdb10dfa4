//! Every engine against a model that is obviously right: a map, and the list of all changes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use common::{Kit, all, key, resource};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tortie_store::{
    At, Engine, Error, Event, Key, List, Local, Object, Options, Resource, Revision, Scope, Store,
    Watch, When,
};
use tortie_testkit::Property;

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u8, Hope, Rest),
    Delete(usize, Hope, Rest),
    /// Watch a namespace, or all, from a state so many changes ago.
    Watch(Option<usize>, usize),
    /// Begin a list in pages.
    Pages(Option<usize>, usize),
    /// End the process and begin again, where there is something to begin from.
    Reopen,
}

/// The condition of a write, by what the writer knows.
#[derive(Debug, Clone, Copy)]
enum Hope {
    Absent,
    Latest,
    Stale,
    Always,
}

/// Another object on which a write rests, and whether the writer knows how it is.
type Rest = Option<(usize, bool)>;

const NAMESPACES: [&str; 2] = ["a", "a-b"];

fn hope() -> impl Strategy<Value = Hope> {
    prop_oneof![Just(Hope::Absent), Just(Hope::Latest), Just(Hope::Stale), Just(Hope::Always)]
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = || proptest::option::of(0..NAMESPACES.len());
    let rest = || proptest::option::weighted(0.3, (0..6_usize, any::<bool>()));
    prop_oneof![
        6 => (0..6_usize, any::<u8>(), hope(), rest())
            .prop_map(|(k, v, h, r)| Step::Put(k, v, h, r)),
        3 => (0..6_usize, hope(), rest()).prop_map(|(k, h, r)| Step::Delete(k, h, r)),
        1 => (namespace(), 0..20_usize).prop_map(|(n, back)| Step::Watch(n, back)),
        1 => (namespace(), 1..4_usize).prop_map(|(n, limit)| Step::Pages(n, limit)),
        1 => Just(Step::Reopen),
    ]
}

/// What there is by path, and all that happened, with the revision before it.
struct Model {
    resource: Resource,
    start: Revision,
    objects: BTreeMap<String, Arc<Object>>,
    changes: Vec<Event>,
}

impl Model {
    fn key(&self, number: usize) -> Key {
        key(&self.resource, NAMESPACES[number % 2], ["x", "x.y", "z"][number / 2])
    }

    fn scope(&self, namespace: Option<usize>) -> Scope {
        match namespace {
            None => all(&self.resource),
            Some(n) => Scope::namespaced(self.resource.clone(), NAMESPACES[n]).unwrap(),
        }
    }

    fn when(&self, key: &Key, hope: Hope) -> When {
        let modified = self.objects.get(&key.to_string()).map(|object| object.modified);
        match (hope, modified) {
            (Hope::Absent, _) => When::Absent,
            (Hope::Always, _) => When::Always,
            (Hope::Latest, Some(modified)) => When::At(modified),
            (Hope::Stale, Some(modified)) => When::At(Revision::new(modified.get() - 1)),
            (_, None) => When::At(self.start),
        }
    }

    /// Another object as a writer believes it to be, and whether it is so.
    fn rest(&self, (number, known): (usize, bool)) -> ((Key, Revision), bool) {
        let key = self.key(number);
        match self.objects.get(&key.to_string()) {
            Some(object) if known => ((key, object.modified), true),
            Some(object) => ((key, Revision::new(object.modified.get() - 1)), false),
            None => ((key, self.start), false),
        }
    }

    /// The objects of a scope after so many changes.
    fn after(&self, changes: usize, scope: &Scope) -> Vec<Arc<Object>> {
        let mut objects = BTreeMap::new();
        for change in &self.changes[..changes] {
            match change {
                Event::Put { object, .. } => objects.insert(object.key.to_string(), object.clone()),
                Event::Delete { last, .. } => objects.remove(&last.key.to_string()),
            };
        }
        objects.into_values().filter(|object| scope.contains(&object.key)).collect()
    }

    fn revision(&self, changes: usize) -> Revision {
        changes.checked_sub(1).map_or(self.start, |last| self.changes[last].revision())
    }

    /// Notes what a write did, or checks that it was refused for the right reason.
    fn wrote(&mut self, key: &Key, when: When, delete: bool, got: Result<Event, Error>) {
        let current = self.objects.get(&key.to_string()).cloned();
        match (got, current) {
            (Ok(event), current) => {
                let allowed = match (when, &current) {
                    (When::Absent, None) => !delete,
                    (When::Always, current) => current.is_some() || !delete,
                    (When::At(at), Some(current)) => current.modified == at,
                    _ => false,
                };
                assert!(allowed, "{when:?} {delete} {current:?}");
                assert!(event.revision() > self.revision(self.changes.len()));
                assert_eq!(event.previous().cloned(), current);
                self.note(event);
            }
            (Err(Error::Exists(found)), Some(current)) => {
                assert_eq!((when, found), (When::Absent, current));
            }
            (Err(Error::Conflict { expected, current: found }), Some(current)) => {
                assert!(when == When::At(expected) && expected != current.modified);
                assert_eq!(found, current);
            }
            (Err(Error::NotFound(name)), None) => {
                assert!(name == *key && (delete || matches!(when, When::At(_))));
            }
            (got, current) => panic!("{when:?} {delete} {got:?} {current:?}"),
        }
    }

    fn note(&mut self, event: Event) {
        let path = event.key().to_string();
        match &event {
            Event::Put { object, .. } => self.objects.insert(path, object.clone()),
            Event::Delete { .. } => self.objects.remove(&path),
        };
        self.changes.push(event);
    }
}

/// A watch, and how many changes had been made where it began.
struct Watching {
    scope: Scope,
    watch: Watch,
    from: usize,
    told: Vec<Event>,
}

impl Watching {
    /// Takes what it is to be told by now.
    async fn catch_up(&mut self, model: &Model) {
        let changes = model.changes[self.from..].iter();
        let expected: Vec<_> = changes.filter(|event| self.scope.contains(event.key())).collect();
        while self.told.len() < expected.len() {
            self.told.push((*common::next(&mut self.watch).await).clone());
        }
        assert_eq!(self.told.iter().collect::<Vec<_>>(), expected);
        assert_eq!(self.watch.try_next().unwrap(), None);
    }
}

async fn write(
    model: &mut Model,
    store: &Engine,
    number: usize,
    value: Option<u8>,
    hope: Hope,
    rest: Rest,
) {
    let key = model.key(number);
    let when = model.when(&key, hope);
    let rest = rest.map(|rest| model.rest(rest));
    let condition = when.with(rest.iter().map(|(rest, _)| rest.clone()));
    let previous = model.objects.get(&key.to_string()).cloned();
    let got = match value {
        None => store.delete(&key, condition).await.map(|event| (*event).clone()),
        Some(value) => {
            let value = Bytes::from(vec![value]);
            let put = store.put(&key, value.clone(), condition).await;
            if let Ok(object) = &put {
                let created = previous.as_ref().map_or(object.modified, |object| object.created);
                assert_eq!((&object.value, object.created), (&value, created));
            }
            put.map(|object| Event::Put { object, previous })
        }
    };
    match rest {
        Some((other, false)) => assert!(matches!(got, Err(Error::Changed(key)) if key == other.0)),
        _ => model.wrote(&key, when, value.is_none(), got),
    }
    assert_eq!(store.get(&key).await.unwrap(), model.objects.get(&key.to_string()).cloned());
}

async fn reopen(kit: &mut Kit) {
    let Some(folder) = &kit.folder else { return };
    let memory = Arc::new(Engine::Local(Local::in_memory(Options::default()).await.unwrap()));
    let store = std::mem::replace(&mut kit.store, memory);
    Arc::try_unwrap(store).unwrap().close().await;
    let local = Local::open(folder.path().join("store"), Options::default()).await.unwrap();
    kit.store = Arc::new(Engine::Local(local));
}

async fn check(kit: &mut Kit, resource: Resource, steps: &[Step]) {
    let start = kit.store.list(&List::latest(all(&resource))).await.unwrap().revision;
    let mut model = Model { resource, start, objects: BTreeMap::new(), changes: vec![] };
    let mut watching: Vec<Watching> = vec![];
    let mut lists: Vec<(List, usize, Vec<Arc<Object>>)> = vec![];
    for step in steps {
        match *step {
            Step::Put(key, value, hope, rest) => {
                write(&mut model, &kit.store, key, Some(value), hope, rest).await;
            }
            Step::Delete(key, hope, rest) => {
                write(&mut model, &kit.store, key, None, hope, rest).await;
            }
            Step::Watch(namespace, back) => {
                let from = model.changes.len().saturating_sub(back);
                let scope = model.scope(namespace);
                let watch = kit.store.watch(&scope, model.revision(from)).await.unwrap();
                watching.push(Watching { scope, watch, from, told: vec![] });
            }
            Step::Pages(namespace, limit) => {
                let scope = model.scope(namespace);
                let list = List { limit: NonZeroUsize::new(limit), ..List::latest(scope) };
                lists.push((list, model.changes.len(), vec![]));
            }
            Step::Reopen => {
                reopen(kit).await;
                for watching in &mut watching {
                    let position = watching.watch.position();
                    watching.watch = kit.store.watch(&watching.scope, position).await.unwrap();
                }
            }
        }
        for (list, _, found) in &mut lists {
            one_page(&kit.store, list, found).await;
        }
    }
    for (mut list, changes, mut found) in lists {
        while list.limit.is_some() {
            one_page(&kit.store, &mut list, &mut found).await;
        }
        assert_eq!(found, model.after(changes, &list.scope), "a list in pages");
    }
    for watching in &mut watching {
        watching.catch_up(&model).await;
    }
    let scope = model.scope(None);
    for changes in 0..=model.changes.len() {
        let at = At::Revision(model.revision(changes));
        let page = kit.store.list(&List { scope: scope.clone(), at, limit: None }).await.unwrap();
        assert_eq!(page.objects, model.after(changes, &scope), "after {changes} changes");
    }
}

/// Reads one more page; a list that is done has no limit any more.
async fn one_page(store: &Engine, list: &mut List, found: &mut Vec<Arc<Object>>) {
    let Some(limit) = list.limit else { return };
    let page = store.list(list).await.unwrap();
    assert!(page.objects.len() <= limit.get());
    assert!(page.more.is_none() || page.objects.len() == limit.get());
    found.extend(page.objects);
    match page.more {
        Some(more) => list.at = At::Continue(more),
        None => list.limit = None,
    }
}

fn behaves(name: &'static str, cases: u32, kit: impl Fn(&Runtime) -> Kit, keep: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (kept, number) = (RefCell::new(None), Cell::new(0));
    Property::new(name, cases).check(&vec(step(), 1..60), |steps| {
        number.set(number.get() + 1);
        let mut kit = kept.borrow_mut().take().unwrap_or_else(|| kit(&runtime));
        let resource = resource(&format!("case-{}", number.get()));
        runtime.block_on(check(&mut kit, resource, &steps));
        if keep {
            *kept.borrow_mut() = Some(kit);
        }
        Ok(())
    });
}

#[test]
fn memory_behaves_as_the_model() {
    behaves("memory", 300, |runtime| runtime.block_on(common::memory()), false);
}

#[test]
fn a_file_behaves_as_the_model() {
    behaves("file", 25, |runtime| runtime.block_on(common::file()), false);
}

#[test]
fn etcd_behaves_as_the_model() {
    if common::etcd::available() {
        behaves("etcd", 25, |runtime| runtime.block_on(common::in_etcd()).unwrap(), true);
    }
}
