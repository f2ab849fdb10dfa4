//! Changing objects on a server, and telling what came of it.

use serde_json::Value;
use tortie_client::server::{Delete, Error, Event, Patch, Select, Served, Wanted};

use super::manifest::Item;
use super::{Session, failure, name, reference, write};
use crate::output::{Failure, json, text};
use crate::show::yaml;

/// How the result of a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Told {
    /// Only `kind/name`
    Name,
    /// The object, as YAML
    Yaml,
    /// The object, as JSON
    Json,
}

/// Whether, and how far, a change is only tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    /// It is made
    #[default]
    None,
    /// Nothing is sent
    Client,
    /// The server does everything but store it
    Server,
}

/// `--dry-run`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Trial {
    /// Try the change without making it
    #[arg(
        long,
        value_enum,
        default_value_t,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "server",
        value_name = "none|client|server"
    )]
    dry_run: DryRun,
}

impl Trial {
    /// Whether the server is asked to store nothing.
    pub(crate) fn is_dry(self) -> bool {
        self.dry_run == DryRun::Server
    }

    /// Whether the server is asked at all.
    pub(crate) fn is_sent(self) -> bool {
        self.dry_run != DryRun::Client
    }

    /// What is told of it behind what was done.
    pub(crate) fn told(self) -> &'static str {
        match self.dry_run {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

/// What changes have in common on the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Manner {
    #[command(flatten)]
    pub(crate) trial: Trial,

    /// How to tell the result
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Told>,
}

/// What came of a change.
#[derive(Debug)]
pub(crate) struct Done {
    /// One word, such as `created`.
    pub(crate) word: &'static str,
    /// The object as it is now.
    pub(crate) object: Value,
}

impl Manner {
    /// Tells what came of a change.
    pub(crate) fn tell(&self, served: &Served, done: &Done) -> Result<(), Failure> {
        let reference = reference(served, name(&done.object));
        match self.output {
            None => text(format_args!("{reference} {}{}\n", done.word, self.trial.told())),
            Some(Told::Name) => text(format_args!("{reference}\n")),
            Some(Told::Yaml) => text(yaml::document(&done.object)),
            Some(Told::Json) => json(&done.object),
        }
    }
}

/// Ways to send an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// It must not be there.
    Create,
    /// What the document says, whether it is there or not.
    Apply,
    /// It must be there.
    Replace,
}

impl Verb {
    /// The verb.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Apply => "apply",
            Verb::Replace => "replace",
        }
    }

    /// What it is when it is done.
    pub(crate) fn done(self) -> &'static str {
        match self {
            Verb::Create => "created",
            Verb::Apply => "configured",
            Verb::Replace => "replaced",
        }
    }
}

/// Does something with every object of a manifest, in order. One that fails does not keep the others
/// from being done.
pub(crate) async fn each(
    items: Vec<Item>,
    mut action: impl AsyncFnMut(&Item) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut result = Ok(());
    for item in items {
        result = both(result, action(&item).await);
    }
    result
}

/// What came of two things that were both tried.
pub(crate) fn both(one: Result<(), Failure>, other: Result<(), Failure>) -> Result<(), Failure> {
    match (one, other) {
        (Err(one), Err(other)) => Err(one.and(other)),
        (one, other) => one.and(other),
    }
}

impl Session {
    /// Sends an object.
    pub(crate) async fn send(
        &self,
        verb: Verb,
        served: &Served,
        item: &Item,
        dry: bool,
    ) -> Result<Done, Error> {
        match verb {
            Verb::Create => self.create(served, item, dry).await,
            Verb::Apply => self.apply(served, item, dry).await,
            Verb::Replace => self.replace(served, item, dry).await,
        }
    }

    /// Creates an object.
    async fn create(&self, served: &Served, item: &Item, dry: bool) -> Result<Done, Error> {
        let namespace = self.namespace_or_own(served, item);
        let kind = &served.kind;
        let object =
            self.server.create(kind, namespace.as_deref(), &item.document, &write(dry)).await?;
        Ok(Done { word: "created", object })
    }

    /// Makes an object what a document says: what is there and not said stays. The server knows what
    /// we said before, and takes back what we no longer say.
    async fn apply(&self, served: &Served, item: &Item, dry: bool) -> Result<Done, Error> {
        let namespace = self.namespace_or_own(served, item);
        let (kind, name) = (&served.kind, name(&item.document));
        let before = match self.server.get(kind, namespace.as_deref(), name).await {
            Err(error) if error.is_not_found() => None,
            before => Some(before?),
        };
        let patch = Patch::Apply { document: item.document.clone(), force: true };
        let object =
            self.server.patch(kind, namespace.as_deref(), name, &patch, &write(dry)).await?;
        let word = match before {
            None => "created",
            Some(before) if revision(&before) == revision(&object) && !dry => "unchanged",
            Some(before) if dry && same(&before, &object) => "unchanged",
            Some(_) => "configured",
        };
        Ok(Done { word, object })
    }

    /// Replaces an object by a document. If the document does not say of which state it is the change,
    /// it is one of the state at hand.
    async fn replace(&self, served: &Served, item: &Item, dry: bool) -> Result<Done, Error> {
        let namespace = self.namespace_or_own(served, item);
        let (kind, name) = (&served.kind, name(&item.document));
        let mut document = item.document.clone();
        if revision(&document).is_none() {
            let current = self.server.get(kind, namespace.as_deref(), name).await?;
            if let (Some(revision), Some(Value::Object(metadata))) =
                (revision(&current), document.get_mut("metadata"))
            {
                metadata.insert("resourceVersion".into(), revision.into());
            }
        }
        let object =
            self.server.replace(kind, namespace.as_deref(), name, &document, &write(dry)).await?;
        Ok(Done { word: "replaced", object })
    }

    /// Deletes an object, and waits until it is gone where that takes longer.
    pub(crate) async fn delete(
        &self,
        served: &Served,
        namespace: Option<&str>,
        name: &str,
        delete: &Delete,
        wait: bool,
    ) -> Result<(), Error> {
        let kind = &served.kind;
        let answer = self.server.delete(kind, namespace, name, delete).await?;
        let lingers = answer.pointer("/metadata/deletionTimestamp").is_some();
        if lingers && wait && !delete.dry_run {
            let uid = answer.pointer("/metadata/uid").cloned();
            self.gone(served, namespace, name, uid).await;
        }
        Ok(())
    }

    /// Waits until an object is no longer there, or is another one of that name.
    async fn gone(&self, served: &Served, namespace: Option<&str>, name: &str, uid: Option<Value>) {
        let fields = format!("metadata.name={name}");
        let mut follow = self.server.follow([Wanted {
            kind: served.kind.clone(),
            namespace: namespace.map(str::to_owned),
            select: Select { labels: String::new(), fields },
            instead: None,
        }]);
        let mut there = false;
        loop {
            match follow.next().await {
                Event::Put { object, .. } => {
                    there = object.pointer("/metadata/uid") == uid.as_ref()
                }
                Event::InSync | Event::Back if !there => return,
                Event::Gone { .. } => return,
                _ => {}
            }
        }
    }

    fn namespace_or_own(&self, served: &Served, item: &Item) -> Option<String> {
        // Disagreement has been found before.
        self.namespace_of(&served.kind, &item.document).ok().flatten()
    }

    /// The kind of an item that is to be there, or to come about, by its name.
    pub(crate) fn checked(&self, item: &Item) -> Result<&Served, Failure> {
        item.check_name(false)?;
        self.placed(item)
    }

    /// The kind of an item, if the item may be sent at all.
    pub(crate) fn placed(&self, item: &Item) -> Result<&Served, Failure> {
        let served = self.kind_of(&item.document).map_err(|failure| failure.at(item))?;
        self.namespace_of(&served.kind, &item.document).map_err(|failure| failure.at(item))?;
        Ok(served)
    }
}

/// The same for a change that the server refused.
pub(crate) fn refused(what: &str, item: &Item, error: &Error) -> Failure {
    failure(format_args!("{what}: {item}"), error)
}

fn revision(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|r| !r.is_empty())
}

/// Whether two states of an object differ in nothing that somebody said.
fn same(before: &Value, after: &Value) -> bool {
    let said = |object: &Value| {
        let mut object = object.clone();
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            let theirs = ["managedFields", "resourceVersion", "generation"];
            metadata.retain(|field, _| !theirs.contains(&field.as_str()));
        }
        object
    };
    said(before) == said(after)
}
