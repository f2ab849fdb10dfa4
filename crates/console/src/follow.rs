//! One task follows the server and makes of what it has what is shown: one immutable state after
//! the other, as long as somebody looks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tortie_client::server::{Event, Follow, Server, Wanted, followed};

use crate::board::Board;
use crate::documents::Documents;

/// How long a change waits for others that belong to it.
const TOGETHER: Duration = Duration::from_millis(50);

/// How much longer than the work for a state the pause after it is.
const REST: u32 = 2;

/// How many may ask for the state at once; others wait.
const ASKERS: usize = 16;

/// Kinds that policy is calculated from and that bear on nothing that is shown.
const NOT_SHOWN: [&str; 5] =
    ["endpointslices", "felixconfigurations", "globalnetworksets", "networksets", "services"];

/// What the time is.
pub(crate) type Clock = fn() -> OffsetDateTime;

/// One state, as browsers get it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// As an event of an event stream.
    pub(crate) event: Bytes,
    /// As a document: the part of the event that it is.
    pub(crate) document: Bytes,
}

/// Where states are seen; clones look by themselves.
#[derive(Debug, Clone)]
pub(crate) struct View {
    shown: watch::Receiver<Arc<Shown>>,
    asks: mpsc::Sender<oneshot::Sender<()>>,
}

impl View {
    /// The state that the server is in now, as far as it is known.
    pub(crate) async fn now(&mut self) -> Arc<Shown> {
        let (ask, answer) = oneshot::channel();
        // Without a follower there is nothing newer.
        if self.asks.send(ask).await.is_ok() {
            let _ = answer.await;
        }
        Arc::clone(&self.shown.borrow_and_update())
    }

    /// The next state; nothing if there will be none.
    pub(crate) async fn next(&mut self) -> Option<Arc<Shown>> {
        self.shown.changed().await.ok()?;
        Some(Arc::clone(&self.shown.borrow_and_update()))
    }
}

/// The document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    /// Counts states since the console was started.
    revision: u64,
    /// The API server.
    server: &'a str,
    /// Whether everything has been read once.
    in_sync: bool,
    /// Whether what is shown may be out of date.
    away: Option<&'a Away>,
    /// Kinds that the server does not have.
    missing: &'a BTreeSet<String>,
    #[serde(flatten)]
    board: &'a Board,
}

/// The server is not reachable.
#[derive(Debug, Serialize)]
struct Away {
    since: String,
    reason: String,
}

/// Makes states of what a server has.
pub(crate) struct Follower {
    url: String,
    clock: Clock,
    documents: Documents,
    board: Board,
    in_sync: bool,
    away: Option<Away>,
    missing: BTreeSet<String>,
    revision: u64,
    /// From when on the documents may be looked at again.
    rested: Instant,
    /// When they have changed since they were.
    changed: Option<Instant>,
    shown: watch::Sender<Arc<Shown>>,
    asks: mpsc::Receiver<oneshot::Sender<()>>,
    /// Who waits for the state of now.
    asking: Vec<oneshot::Sender<()>>,
}

/// The kinds that bear on what is shown.
fn wanted() -> impl Iterator<Item = Wanted> {
    let shown = followed()
        .into_iter()
        .filter(|followed| !NOT_SHOWN.contains(&followed.api.plural.as_str()));
    shown.map(|followed| followed.wanted())
}

impl Follower {
    /// One that knows nothing yet, and a view that nobody looks through: its clones are for that.
    /// Must be called within a tokio runtime.
    pub(crate) fn new(url: &str, clock: Clock) -> (Follower, View) {
        let (shown, receiver) = watch::channel(Arc::new(Shown::new(0, "{}")));
        let (sender, asks) = mpsc::channel(ASKERS);
        let mut follower = Follower {
            url: url.to_owned(),
            clock,
            documents: Documents::default(),
            board: Board::default(),
            in_sync: false,
            away: None,
            missing: BTreeSet::new(),
            revision: 0,
            rested: Instant::now(),
            changed: None,
            shown,
            asks,
            asking: Vec::new(),
        };
        follower.show();
        (follower, View { shown: receiver, asks: sender })
    }

    /// Follows a server for ever.
    ///
    /// # Errors
    /// If a bug ends it.
    pub(crate) async fn run(mut self, server: &Server) -> Result<(), JoinError> {
        let mut follow: Follow = server.follow(wanted());
        loop {
            self.round(follow.next()).await?;
        }
    }

    /// Takes the next event, or does what is due.
    async fn round(&mut self, next: impl Future<Output = Event>) -> Result<(), JoinError> {
        let changed = self.changed.filter(|_| self.in_sync);
        if changed.is_none() {
            for asking in self.asking.drain(..) {
                // Who asked may have gone.
                let _ = asking.send(());
            }
        }
        let looked_at = self.shown.receiver_count() > 1;
        let due = changed.map(|changed| self.rested.max(changed + TOGETHER));
        tokio::select! {
            event = next => self.take(event),
            Some(asking) = self.asks.recv() => self.asking.push(asking),
            () = sleep_until(due.unwrap_or(self.rested)), if looked_at && due.is_some() => {
                self.look().await?;
            }
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Put { kind, object } => {
                if !self.documents.put(&kind, object) {
                    return;
                }
            }
            Event::Gone { kind, object } => self.documents.remove(&kind, &object),
            Event::InSync => {
                self.in_sync = true;
                tracing::info!("everything there is has been read");
            }
            Event::Away { reason } => {
                tracing::warn!(%reason, "the API server is away: what was last known is shown");
                // There may be further reasons.
                let since = self.away.take().map(|away| away.since);
                let now = || (self.clock)().format(&Rfc3339).unwrap_or_default();
                self.away = Some(Away { since: since.unwrap_or_else(now), reason });
                return self.show();
            }
            Event::Back => {
                tracing::info!("the API server is back");
                self.away = None;
                return self.show();
            }
            Event::Missing { kind } => drop(self.missing.insert(kind.name())),
            Event::Found { kind } => drop(self.missing.remove(&kind.name())),
            // Nothing else concerns what is shown.
            _ => return,
        }
        self.changed.get_or_insert_with(Instant::now);
    }

    /// Looks at the documents, beside what else there is to do.
    async fn look(&mut self) -> Result<(), JoinError> {
        let begun = Instant::now();
        self.changed = None;
        let mut documents = std::mem::take(&mut self.documents);
        let work = move || {
            let board = Board::of(&mut documents);
            (documents, board)
        };
        (self.documents, self.board) = tokio::task::spawn_blocking(work).await?;
        self.show();
        self.rested = Instant::now() + begun.elapsed() * REST;
        Ok(())
    }

    fn show(&mut self) {
        self.revision += 1;
        let state = State {
            revision: self.revision,
            server: &self.url,
            in_sync: self.in_sync,
            away: self.away.as_ref(),
            missing: &self.missing,
            board: &self.board,
        };
        match serde_json::to_string(&state) {
            Ok(document) => {
                self.shown.send_replace(Arc::new(Shown::new(self.revision, &document)));
            }
            Err(error) => tracing::error!(%error, "a state cannot be shown"),
        }
    }
}

impl Shown {
    /// A document without line breaks.
    fn new(revision: u64, document: &str) -> Shown {
        let head = format!("event: board\nid: {revision}\ndata: ");
        let event = Bytes::from(format!("{head}{document}\n\n"));
        let document = event.slice(head.len()..head.len() + document.len());
        Shown { event, document }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::timeout;
    use tortie_client::server::ApiKind;

    use super::*;

    impl Follower {
        /// Does what is due while something else goes on.
        pub(crate) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
            let rounds = async {
                loop {
                    self.round(std::future::pending()).await.unwrap();
                }
            };
            tokio::select! {
                done = work => done,
                () = rounds => unreachable!("it goes on for ever"),
            }
        }
    }

    fn document(view: &View) -> Value {
        serde_json::from_slice(&view.shown.borrow().document).unwrap()
    }

    fn follower() -> (Follower, View) {
        Follower::new("https://server", || OffsetDateTime::UNIX_EPOCH)
    }

    fn node() -> (Arc<ApiKind>, Value) {
        let kind = wanted().map(|wanted| wanted.kind).find(|kind| kind.plural == "nodes");
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}});
        (Arc::new(kind.unwrap()), object)
    }

    /// Ten times longer than anything here should take.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn nothing_is_made_that_nobody_looks_at() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut follower, view) = follower();
            let (kind, object) = node();
            follower.take(Event::Put { kind, object });
            follower.take(Event::InSync);
            follower.beside(tokio::time::sleep(TOGETHER * 4)).await;
            assert_eq!(document(&view)["revision"], 1);
            // Who looks is shown what is there now, and then what changes.
            let mut looking = view.clone();
            let now = follower.beside(timeout(DEADLINE, looking.now())).await.unwrap();
            let now: Value = serde_json::from_slice(&now.document).unwrap();
            assert_eq!((&now["nodes"][0]["name"], &now["revision"]), (&"one".into(), &2.into()));
            let (kind, object) = node();
            follower.take(Event::Gone { kind, object });
            let next = follower.beside(timeout(DEADLINE, looking.next())).await.unwrap().unwrap();
            let next: Value = serde_json::from_slice(&next.document).unwrap();
            assert_eq!(next["nodes"], json!([]));
        });
    }

    #[test]
    fn states_follow_events() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut follower, shown) = follower();
            assert_eq!(document(&shown)["inSync"], false);
            let (kind, object) = node();
            follower.take(Event::Put { kind: Arc::clone(&kind), object: object.clone() });
            follower.take(Event::InSync);
            follower.look().await.unwrap();
            let state = document(&shown);
            assert_eq!((&state["inSync"], &state["away"]), (&true.into(), &Value::Null));
            assert_eq!(state["nodes"], json!([{"name": "one", "pods": 0}]));
            // What was known stays while the server is away.
            follower.take(Event::Away { reason: "gone".into() });
            let state = document(&shown);
            let away = json!({"since": "1970-01-01T00:00:00Z", "reason": "gone"});
            assert_eq!((&state["away"], state["nodes"].as_array().unwrap().len()), (&away, 1));
            follower.take(Event::Gone { kind: Arc::clone(&kind), object });
            follower.take(Event::Missing { kind });
            follower.take(Event::Back);
            follower.look().await.unwrap();
            let state = document(&shown);
            assert_eq!((&state["away"], &state["nodes"]), (&Value::Null, &json!([])));
            assert_eq!((&state["missing"], &state["revision"]), (&json!(["Node"]), &5.into()));
        });
    }

    #[test]
    fn an_event_is_one_of_an_event_stream() {
        let shown = Shown::new(7, "{\"a\":1}");
        assert_eq!(&shown.event[..], b"event: board\nid: 7\ndata: {\"a\":1}\n\n");
        assert_eq!(&shown.document[..], b"{\"a\":1}");
    }
}
