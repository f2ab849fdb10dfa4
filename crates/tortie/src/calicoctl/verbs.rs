//! The verbs that change resources, and `validate`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tortie_client::files;
use tortie_client::server::Patch;

use super::args::{self, Cli, FileArgs, HowToRead, Which};
use super::store::{Refusal, Store, Target, revision};
use super::virtual_kinds;
use crate::commands::patch::{Sort, either, parse};
use crate::output::{Failure, text};
use crate::remote::block_on;

/// What came of resources, one after the other.
#[derive(Debug, Default)]
struct Results {
    /// How many there are.
    total: usize,
    /// How many of them were handled.
    handled: usize,
    /// The kind, if all are of one.
    single: Option<String>,
    refusals: Vec<Refusal>,
}

impl Results {
    fn new(documents: &[Value]) -> Results {
        let kind =
            |document: &Value| document.get("kind").and_then(Value::as_str).map(str::to_owned);
        let first = documents.first().and_then(kind);
        let single =
            first.filter(|first| documents.iter().all(|d| kind(d).as_ref() == Some(first)));
        Results { total: documents.len(), single, ..Results::default() }
    }

    fn take(&mut self, result: Result<(), Refusal>) {
        match result {
            Ok(()) => self.handled += 1,
            Err(refusal) => self.refusals.push(refusal),
        }
    }

    /// ` 'Kind'`, if all are of one kind.
    fn quoted(&self) -> String {
        self.single.as_ref().map(|kind| format!(" '{kind}'")).unwrap_or_default()
    }

    fn reasons(&self) -> String {
        let reasons: Vec<String> = self.refusals.iter().map(Refusal::to_string).collect();
        reasons.join(" ")
    }

    /// The same of a deletion, where every refusal has a line of its own.
    fn tell_deleted(mut self) -> Result<(), Failure> {
        let refusals = std::mem::take(&mut self.refusals);
        if self.handled > 0 || refusals.is_empty() {
            self.tell("delete", "deleted")?;
        }
        let kind = self.quoted();
        let failed = refusals
            .into_iter()
            .map(|why| Failure::refused(format!("Failed to delete{kind} resource: {why}")));
        failed.reduce(Failure::and).map_or(Ok(()), Err)
    }

    /// Tells it, as calicoctl does.
    fn tell(&self, verb: &str, done: &str) -> Result<(), Failure> {
        let (kind, reasons) = (self.quoted(), self.reasons());
        if self.total == 0 {
            return text("No resources specified\n");
        }
        if self.refusals.is_empty() {
            return text(format_args!("Successfully {done} {}{kind} resource(s)\n", self.handled));
        }
        if self.handled > 0 {
            let (handled, total) = (self.handled, self.total);
            text(format_args!(
                "Partial success: {done} the first {handled} out of {total}{kind} resources:\n"
            ))?;
            return Err(Failure::refused(format!("Hit error: [{reasons}]")));
        }
        let any = if self.total == 1 { "" } else { " any" };
        let plural = if self.total == 1 { "" } else { "s" };
        Err(Failure::refused(format!("Failed to {verb}{any}{kind} resource{plural}: [{reasons}]")))
    }
}

/// The resources of files.
pub(super) fn read(paths: &[PathBuf], how: HowToRead) -> Result<Vec<Value>, Failure> {
    let objects = files::objects(paths, how.recursive).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::refused(format!("Failed to execute command: {}", errors.join("; ")))
    })?;
    if objects.is_empty() && !how.skip_empty {
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::refused(format!("No resources specified in {}", paths.join(", "))));
    }
    Ok(objects.into_iter().map(|(_, document)| document).collect())
}

/// Does something with every resource of files, in order.
async fn each(
    store: &Store,
    documents: &[Value],
    mut action: impl AsyncFnMut(&Target<'_>, &Value) -> Result<(), Refusal>,
) -> Results {
    let mut results = Results::new(documents);
    for document in documents {
        let result = match store.target(document) {
            Ok(target) => action(&target, document).await,
            Err(refusal) => Err(refusal),
        };
        results.take(result);
    }
    results
}

/// `create`.
pub(super) fn create(cli: &Cli, args: &args::Create) -> Result<(), Failure> {
    let documents = read(&args.files.filename, args.files.how)?;
    block_on(async {
        let store = Store::open(cli, &args.files.place).await?;
        let results = each(&store, &documents, async |target, document| {
            match store.create(target, document).await {
                Err(Refusal::Exists(_)) if args.skip_exists => Ok(()),
                created => created,
            }
        });
        results.await.tell("create", "created")
    })
}

/// `apply`.
pub(super) fn apply(cli: &Cli, args: &FileArgs) -> Result<(), Failure> {
    let documents = read(&args.filename, args.how)?;
    block_on(async {
        let store = Store::open(cli, &args.place).await?;
        let apply =
            async |target: &Target<'_>, document: &Value| store.apply(target, document).await;
        each(&store, &documents, apply).await.tell("apply", "applied")
    })
}

/// `replace`.
pub(super) fn replace(cli: &Cli, args: &FileArgs) -> Result<(), Failure> {
    let documents = read(&args.filename, args.how)?;
    block_on(async {
        let store = Store::open(cli, &args.place).await?;
        let replace =
            async |target: &Target<'_>, document: &Value| store.replace(target, document).await;
        each(&store, &documents, replace).await.tell("replace", "replaced")
    })
}

/// The documents that are meant: those of files, or as much of them as names say.
pub(super) fn meant(store: &Store, which: &Which) -> Result<Vec<Value>, Failure> {
    let Some(kind) = &which.kind else {
        return read(&which.filename, which.how);
    };
    let served = store.kind(kind)?;
    let document = |name: &String| {
        json!({
            "apiVersion": served.kind.api_version(), "kind": served.kind.kind,
            "metadata": {"name": name},
        })
    };
    if which.names.iter().any(String::is_empty) {
        return Err(Failure::refused("resource name may not be empty"));
    }
    Ok(which.names.iter().map(document).collect())
}

/// `delete`.
pub(super) fn delete(cli: &Cli, args: &args::Delete) -> Result<(), Failure> {
    block_on(async {
        let store = Store::open(cli, &args.which.place).await?;
        let documents = meant(&store, &args.which)?;
        if documents.is_empty() && args.which.kind.is_some() {
            return Err(Failure::refused("resource name may not be empty"));
        }
        let results = each(&store, &documents, async |target, document| {
            match store.delete(target, revision(document)).await {
                Err(Refusal::Missing(..)) if args.skip_not_exists => Ok(()),
                deleted => deleted,
            }
        });
        results.await.tell_deleted()
    })
}

/// `patch`.
pub(super) fn patch(cli: &Cli, args: &args::Patch) -> Result<(), Failure> {
    let patch = parse(&args.patch)?;
    block_on(async {
        let store = Store::open(cli, &args.place).await?;
        let served = virtual_kinds::changed(&store, &args.kind)?;
        let fail = |refusal: Refusal| {
            let kind = &served.kind.kind;
            Failure::refused(format!("Failed to patch '{kind}' resource: {refusal}"))
        };
        let target = store.place(served, &args.name, "").map_err(fail)?;
        let send = async |sort: Sort| store.patch(&target, &sort.of(patch.clone())).await;
        let patched = match args.sort {
            Sort::Strategic => either(send).await,
            other => send(other).await,
        };
        patched.map_err(|error| fail(target.refusal(&error)))?;
        text(format_args!("Successfully patched 1 '{}' resource\n", served.kind.kind))
    })
}

/// `label`.
pub(super) fn label(cli: &Cli, args: &args::Label) -> Result<(), Failure> {
    let (key, value) = match args.label.split_once('=') {
        _ if args.remove => (args.label.as_str(), None),
        Some((key, value)) => (key, Some(value)),
        None => return Err(Failure::refused(format!("invalid label {}", args.label))),
    };
    let (kind, name) = (&args.kind, &args.name);
    block_on(async {
        let store = Store::open(cli, &args.place).await?;
        let failed =
            |why: Refusal| Failure::refused(format!("failed to get {kind} {name}, error {why}"));
        let target =
            store.place(virtual_kinds::changed(&store, kind)?, name, "").map_err(failed)?;
        let before = store.get(&target).await.map_err(failed)?;
        let labels = before.pointer("/metadata/labels");
        let there = labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        match (there, value) {
            (None, None) => {
                return Err(Failure::refused(format!(
                    "cannot remove label of {kind} {name}, key {key} does not exist"
                )));
            }
            (Some(there), Some(value)) if there != value && !args.overwrite => {
                return Err(Failure::refused(format!(
                    "failed to update label of {kind} {name}, key {key} is already present. please use \
                     '--overwrite' to set a new value."
                )));
            }
            _ => {}
        }
        let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        store.patch(&target, &patch).await.map_err(|error| {
            let why = target.refusal(&error);
            Failure::refused(format!("failed to update {kind} {name}, label not changed: {why}"))
        })?;
        let (did, on) = match (there, value) {
            (_, None) => ("removed", "from"),
            (Some(_), _) => ("updated", "on"),
            (None, _) => ("set", "on"),
        };
        text(format_args!("Successfully {did} label {key} {on} {kind} {name}\n"))
    })
}

/// `validate`: as Tortie does it, without a datastore.
pub(super) fn validate(args: &FileArgs) -> Result<(), Failure> {
    let documents = read(&args.filename, args.how)?;
    let mut results = Results::new(&documents);
    for document in documents {
        let errors = crate::input::errors_of(document);
        results.take(if errors.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Other(errors.join("; ")))
        });
    }
    results.tell("validate", "validated")
}
