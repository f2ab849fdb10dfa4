//! What a server has of some kinds, as one stream: everything there is, then every change.

mod known;
mod one;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ApiKind, Select, Server};
use one::{One, Told};

/// How many events may wait to be taken. Who takes them too slowly makes the server end the watch,
/// and gets the differences later.
const QUEUE: usize = 1024;

/// How many reasons are told while a server is away: each kind may have its own.
const REASONS: usize = 8;

/// What happens on the server, or to the way there.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An object is new or different.
    Put {
        /// Its kind.
        kind: Arc<ApiKind>,
        /// The whole object.
        object: Value,
    },
    /// An object is gone.
    Gone {
        /// Its kind.
        kind: Arc<ApiKind>,
        /// Its last state, or at least its `apiVersion`, `kind`, namespace and name.
        object: Value,
    },
    /// Everything there is has been told. It comes once.
    InSync,
    /// What is known may be out of date. It comes again when there is a further reason.
    Away {
        /// Why.
        reason: String,
    },
    /// What is known is up to date again: every difference has been told.
    Back,
    /// The server has no such kind. It is looked for again from time to time.
    Missing {
        /// The kind.
        kind: Arc<ApiKind>,
    },
    /// The server has a kind that it did not have.
    Found {
        /// The kind.
        kind: Arc<ApiKind>,
    },
}

/// What to follow: the objects of a kind, or some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The kind.
    pub kind: ApiKind,
    /// Only those of a namespace.
    pub namespace: Option<String>,
    /// Only those with these labels and fields.
    pub select: Select,
    /// Where its objects are if the server does not have the kind's group and version at all. They
    /// are told as of `kind`, and as they are written there.
    pub instead: Option<ApiKind>,
}

impl From<ApiKind> for Wanted {
    fn from(kind: ApiKind) -> Wanted {
        Wanted { kind, namespace: None, select: Select::default(), instead: None }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first pause after a failure; it doubles from then on.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a watch must last to count as a success.
    pub steady: Duration,
    /// How often a kind that the server does not have is looked for.
    pub missing: Duration,
    /// How long a server has to go on denying that it has a kind, of which objects are known,
    /// before it is believed: one that is just starting may not know yet.
    pub disbelief: Duration,
    /// How long an answer may take, and how long a watch may take to begin, and to end when it is
    /// time.
    pub patience: Duration,
    /// How often the server is asked whether it is there: connections outlive one that hangs.
    pub probe: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            steady: Duration::from_secs(10),
            missing: Duration::from_secs(30),
            disbelief: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            probe: Duration::from_secs(30),
        }
    }
}

/// What those who follow one kind each tell the others.
#[derive(Debug, Clone, Default)]
struct News {
    /// The server has been found again.
    found: Arc<Notify>,
    /// The server does not answer.
    lost: Arc<Notify>,
}

/// Asks whether the server is there, for ever. A refusal is an answer.
async fn probe(server: Server, pace: Pace, news: News) {
    loop {
        sleep(pace.probe).await;
        if timeout(pace.patience, server.ask("GET", "/version", None, None)).await.is_err() {
            news.lost.notify_waiters();
        }
    }
}

impl Server {
    /// Follows some kinds until the [`Follow`] is dropped. Must be called within a tokio runtime.
    pub fn follow<W: Into<Wanted>>(&self, wanted: impl IntoIterator<Item = W>) -> Follow {
        self.follow_at(wanted, Pace::default())
    }

    /// As [`follow`](Server::follow), with other pauses.
    pub fn follow_at<W: Into<Wanted>>(
        &self,
        wanted: impl IntoIterator<Item = W>,
        pace: Pace,
    ) -> Follow {
        let (sender, told) = mpsc::channel(QUEUE);
        let news = News::default();
        let mut tasks = JoinSet::new();
        let mut kinds = Vec::new();
        for (number, wanted) in wanted.into_iter().map(Into::into).enumerate() {
            kinds.push(Arc::new(wanted.kind.clone()));
            let one = One::new(self.clone(), wanted, number, sender.clone(), news.clone(), pace);
            tasks.spawn(one.run());
        }
        tasks.spawn(probe(self.clone(), pace, news));
        Follow { told, whole: Whole::new(kinds), _tasks: tasks }
    }
}

/// A stream of what happens.
///
/// It is one of states: after [`Event::InSync`], and again after each [`Event::Back`], the objects
/// that were put and are not gone are those that the server has. In between, what was told last
/// is what was true when the server was last heard.
#[derive(Debug)]
pub struct Follow {
    told: mpsc::Receiver<(usize, Told)>,
    whole: Whole,
    /// Ended with this.
    _tasks: JoinSet<()>,
}

impl Follow {
    /// The next event. Nothing is lost if this is given up while it waits. It waits for ever if
    /// there is nothing to follow.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.whole.events.pop_front() {
                return event;
            }
            match self.told.recv().await {
                Some((number, told)) => self.whole.take(number, told),
                None => std::future::pending().await,
            }
        }
    }
}

/// What is told of each kind, put together.
#[derive(Debug)]
struct Whole {
    kinds: Vec<Arc<ApiKind>>,
    /// Not all objects have been told.
    unlisted: BTreeSet<usize>,
    /// Not up to date.
    away: BTreeSet<usize>,
    /// Why, as far as it has been told.
    reasons: BTreeSet<String>,
    /// The server has no such kind.
    missing: BTreeSet<usize>,
    /// To be given out.
    events: VecDeque<Event>,
}

impl Whole {
    fn new(kinds: Vec<Arc<ApiKind>>) -> Whole {
        let unlisted = (0..kinds.len()).collect();
        Whole {
            kinds,
            unlisted,
            away: BTreeSet::new(),
            reasons: BTreeSet::new(),
            missing: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    fn take(&mut self, number: usize, told: Told) {
        let Some(kind) = self.kinds.get(number).cloned() else { return };
        match told {
            Told::Put(object) => self.events.push_back(Event::Put { kind, object }),
            Told::Gone(object) => self.events.push_back(Event::Gone { kind, object }),
            Told::Failed(why) => {
                let reason = format!("{}: {why}", kind.name());
                if self.reasons.len() < REASONS && self.reasons.insert(why) {
                    self.events.push_back(Event::Away { reason });
                }
                self.away.insert(number);
            }
            Told::Listed => {
                if self.missing.remove(&number) {
                    self.events.push_back(Event::Found { kind });
                }
                self.current(number);
            }
            Told::Missing => {
                if self.missing.insert(number) {
                    self.events.push_back(Event::Missing { kind });
                }
                self.current(number);
            }
        }
    }

    /// This kind is up to date.
    fn current(&mut self, number: usize) {
        if self.away.remove(&number) && self.away.is_empty() {
            self.reasons.clear();
            self.events.push_back(Event::Back);
        }
        if self.unlisted.remove(&number) && self.unlisted.is_empty() {
            self.events.push_back(Event::InSync);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Arc<ApiKind> {
        let name = || name.to_owned();
        Arc::new(ApiKind {
            group: name(),
            version: name(),
            kind: name(),
            plural: name(),
            namespaced: true,
        })
    }

    #[test]
    fn kinds_are_put_together() {
        let mut whole = Whole::new(vec![kind("a"), kind("b")]);
        let mut take = |number, told| {
            whole.take(number, told);
            whole.events.drain(..).collect::<Vec<_>>()
        };
        let object = Value::from(1);
        let put = Event::Put { kind: kind("a"), object: object.clone() };
        let away = |reason: &str| Event::Away { reason: reason.to_owned() };
        let failed = |why: &str| Told::Failed(why.to_owned());
        assert_eq!(take(0, Told::Put(object)), [put]);
        assert_eq!(take(0, Told::Listed), []);
        assert_eq!(take(1, failed("x")), [away("b.b: x")]);
        assert_eq!(take(0, failed("x")), []);
        assert_eq!(take(0, failed("y")), [away("a.a: y")]);
        assert_eq!(take(1, failed("y")), []);
        assert_eq!(take(0, Told::Listed), []);
        let missing = Event::Missing { kind: kind("b") };
        assert_eq!(take(1, Told::Missing), [missing, Event::Back, Event::InSync]);
        assert_eq!(take(1, Told::Missing), []);
        assert_eq!(take(1, Told::Listed), [Event::Found { kind: kind("b") }]);
        assert_eq!(take(0, failed("x")), [away("a.a: x")]);
        assert_eq!(take(0, Told::Listed), [Event::Back]);
    }
}
