//! Any of the engines, for programs that choose when they start.

use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "etcd")]
use crate::etcd::Etcd;
use crate::{
    Condition, Error, Event, Key, List, Local, Object, Page, Revision, Scope, Store, Watch,
};

/// One of the engines.
#[derive(Debug)]
pub enum Engine {
    /// In memory, with or without a file.
    Local(Local),
    /// In etcd.
    #[cfg(feature = "etcd")]
    Etcd(Etcd),
}

impl Engine {
    /// Ends it: what was accepted is finished, watches end, a file is closed.
    pub async fn close(self) {
        match self {
            Engine::Local(store) => store.close().await,
            #[cfg(feature = "etcd")]
            Engine::Etcd(store) => drop(store),
        }
    }
}

/// Asks whichever engine it is.
macro_rules! ask {
    ($engine:expr, $store:ident => $call:expr) => {
        match $engine {
            Engine::Local($store) => $call,
            #[cfg(feature = "etcd")]
            Engine::Etcd($store) => $call,
        }
    };
}

impl Store for Engine {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        ask!(self, store => store.get(key).await)
    }

    async fn list(&self, list: &List) -> Result<Page, Error> {
        ask!(self, store => store.list(list).await)
    }

    async fn put(
        &self,
        key: &Key,
        value: Bytes,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Object>, Error> {
        ask!(self, store => store.put(key, value, when).await)
    }

    async fn delete(
        &self,
        key: &Key,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Event>, Error> {
        ask!(self, store => store.delete(key, when).await)
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, Error> {
        ask!(self, store => store.watch(scope, after).await)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        ask!(self, store => store.compact(revision).await)
    }
}
