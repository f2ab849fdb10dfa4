//! Engines to test, and small help.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod etcd;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tortie_store::{Engine, Event, Key, Local, Options, Resource, Scope, Watch};

/// Ten times longer than anything here should take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An engine with what it stands on.
pub(crate) struct Kit {
    pub(crate) store: Arc<Engine>,
    pub(crate) folder: Option<TempDir>,
    pub(crate) server: Option<etcd::Server>,
}

/// An empty store in memory.
pub(crate) async fn memory() -> Kit {
    let store = Local::in_memory(Options::default()).await.unwrap();
    Kit { store: Arc::new(Engine::Local(store)), folder: None, server: None }
}

/// An empty store in a file.
pub(crate) async fn file() -> Kit {
    let folder = tempfile::tempdir().unwrap();
    let store = Local::open(folder.path().join("store"), Options::default()).await.unwrap();
    Kit { store: Arc::new(Engine::Local(store)), folder: Some(folder), server: None }
}

/// A resource of this name in a group of the tests.
pub(crate) fn resource(plural: &str) -> Resource {
    Resource::new("test.example", plural).unwrap()
}

/// A key in a namespace.
pub(crate) fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
    Key::new(resource.clone(), Some(namespace), name).unwrap()
}

/// All of a resource.
pub(crate) fn all(resource: &Resource) -> Scope {
    Scope::all(resource.clone())
}

/// A value.
pub(crate) fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it takes too long")
}

/// The next change.
pub(crate) async fn next(watch: &mut Watch) -> Arc<Event> {
    soon(watch.next()).await.unwrap()
}

/// An event in short: `name=value` of what is, `-name=value` of what was.
pub(crate) fn short(event: &Event) -> String {
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let (name, now) = (event.key().name(), text(&event.object().value));
    match event {
        Event::Delete { .. } => format!("-{name}={now}"),
        Event::Put { previous: None, .. } => format!("+{name}={now}"),
        Event::Put { previous: Some(previous), .. } => {
            format!("{name}={}>{now}", text(&previous.value))
        }
    }
}

/// An empty etcd, if there is the program.
pub(crate) async fn in_etcd() -> Option<Kit> {
    if !etcd::available() {
        return None;
    }
    let server = etcd::Server::start();
    let store = Arc::new(Engine::Etcd(server.store().await));
    Some(Kit { store, folder: None, server: Some(server) })
}
