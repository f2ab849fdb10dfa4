//! The engine without a server: objects in memory and, if there is a file, every change in it
//! before it is acknowledged. Reads never touch the disk.

mod file;
mod log;
mod state;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use self::file::File;
use self::log::{Kept, Log, Nothing};
use self::state::Shared;
use self::writer::{Request, Write, Writer};
use crate::{
    Condition, Error, Event, Key, List, MAX_VALUE, Object, Page, Retention, Revision, Scope, Store,
    Watch,
};

/// How many writes may wait for the writer.
const QUEUE: usize = 1024;

/// What time it is; tests have their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How a local store behaves.
#[derive(Clone)]
pub struct Options {
    /// How much history it keeps, in memory and in its file.
    pub retention: Retention,
    /// What time it is, for the age of history.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options { retention: Retention::default(), clock: Arc::new(SystemTime::now) }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("retention", &self.retention).finish_non_exhaustive()
    }
}

/// A store of this process alone.
///
/// One thread makes all writes: those that wait together go to the disk together.
pub struct Local {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    ended: oneshot::Receiver<()>,
}

impl Local {
    /// A store that ends with the process.
    ///
    /// # Errors
    /// When no thread can be started.
    pub async fn in_memory(options: Options) -> Result<Local, Error> {
        Local::start(options, || Ok((Nothing, Kept::default()))).await
    }

    /// A store in a file, which is made if it is not there. Opening checks all of it.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the file is not a whole store: it is left as it is;
    /// [`Error::InUse`]; or when it cannot be read or made.
    pub async fn open(path: impl Into<PathBuf>, options: Options) -> Result<Local, Error> {
        let path = path.into();
        let named = path.clone();
        let opened = Local::start(options, move || File::open(path)).await;
        opened.map_err(|error| match error {
            // The reader of the file is careful, but a file can be damaged in any way.
            Error::Closed => {
                Error::Damaged { path: named, reason: "reading it failed midway".into() }
            }
            error => error,
        })
    }

    /// Starts the writer, which opens its log by itself: reading a file may take a while.
    async fn start<L: Log>(
        options: Options,
        open: impl FnOnce() -> Result<(L, Kept), Error> + Send + 'static,
    ) -> Result<Local, Error> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let run = move || {
            // Dropped, which says so, whatever happens.
            let _end: oneshot::Sender<()> = end;
            let (log, kept) = match open() {
                Ok(open) => open,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let shared = Arc::new(Shared::new(kept, &options.retention, (options.clock)()));
            if opened.send(Ok(shared.clone())).is_ok() {
                Writer::new(shared, log, options).run(queue);
            }
        };
        let thread = std::thread::Builder::new().name("tortie-store".into()).spawn(run);
        thread.map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        let shared = answer.await.map_err(|_| Error::Closed)??;
        Ok(Local { shared, requests, ended })
    }

    /// The latest revision.
    pub fn revision(&self) -> Revision {
        self.shared.revision()
    }

    /// Ends it: what was accepted is finished, watches end, the file is closed.
    pub async fn close(self) {
        drop(self.requests);
        let _ = self.ended.await;
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Uncertain("the writer has ended".into()))?
    }
}

impl Store for Local {
    async fn get(&self, key: &Key) -> Result<Option<Arc<Object>>, Error> {
        Ok(self.shared.get(&key.path()))
    }

    async fn list(&self, list: &List) -> Result<Page, Error> {
        self.shared.list(list)
    }

    async fn put(
        &self,
        key: &Key,
        value: Bytes,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Object>, Error> {
        if value.len() > MAX_VALUE {
            return Err(Error::TooLarge { key: key.clone(), bytes: value.len() });
        }
        let (key, when) = (key.clone(), when.into());
        let written =
            self.ask(|reply| Request::Write(Write { key, value: Some(value), when, reply }));
        Ok(written.await?.object().clone())
    }

    async fn delete(
        &self,
        key: &Key,
        when: impl Into<Condition> + Send,
    ) -> Result<Arc<Event>, Error> {
        let (key, when) = (key.clone(), when.into());
        self.ask(|reply| Request::Write(Write { key, value: None, when, reply })).await
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, Error> {
        self.shared.watch(scope, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Request::Compact { revision, reply }).await
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
