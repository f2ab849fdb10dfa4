//! `tortie patch`: fields of one object.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tortie_client::server::{Error, Patch};

use crate::output::{Failure, YES};
use crate::remote::change::{Done, Manner};
use crate::remote::{Whereabouts, block_on, failure, name, reference, write};

const EXAMPLES: &str = "Examples:
  tortie patch felixconfiguration default --patch '{\"spec\": {\"policySyncPathPrefix\": \"/var/run/nodeagent\"}}'
  tortie patch gnp/web --type json -p '[{\"op\": \"replace\", \"path\": \"/spec/order\", \"value\": 5}]'

Without --type, a patch is a strategic one for kinds that have such patches (those of Kubernetes itself),
and a merge patch for all others.

Exit status: 0 patched; 1 refused, or not there; 2 bad usage or input; 3 unreachable";

/// Arguments of `tortie patch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The object: KIND NAME or KIND/NAME
    #[arg(value_name = "KIND NAME", required = true, num_args = 1..=2)]
    object: Vec<String>,

    /// The patch, as JSON or YAML
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    patch: Option<String>,

    /// A file with the patch
    #[arg(long, value_name = "FILE", conflicts_with = "patch")]
    patch_file: Option<PathBuf>,

    /// What sort of patch it is
    #[arg(long = "type", value_enum)]
    sort: Option<Sort>,

    #[command(flatten)]
    manner: Manner,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Sorts of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// Lists merge by the key of their elements
    Strategic,
    /// Fields replaced, null removes
    Merge,
    /// A list of operations
    Json,
}

impl Sort {
    /// A patch of this sort.
    pub(crate) fn of(self, patch: Value) -> Patch {
        match self {
            Sort::Strategic => Patch::Strategic(patch),
            Sort::Merge => Patch::Merge(patch),
            Sort::Json => Patch::Json(patch),
        }
    }
}

/// Patches the object. Exit status 1 if there is none.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let patch = args.patch()?;
    block_on(async {
        let session = args.whereabouts.open().await?;
        let (served, object) = session.one(&args.object)?;
        let namespace = session.scope(&served.kind, false);
        let fail = |error| failure(format_args!("patch: {}", reference(served, &object)), &error);
        let before = session.server.get(&served.kind, namespace, &object).await.map_err(fail)?;
        let send = async |sort: Sort| {
            let (kind, write) = (&served.kind, write(args.manner.trial.is_dry()));
            session.server.patch(kind, namespace, &object, &sort.of(patch.clone()), &write).await
        };
        let after = match args.sort {
            _ if !args.manner.trial.is_sent() => Ok(before.clone()),
            Some(sort) => send(sort).await,
            None => either(send).await,
        };
        let after = after.map_err(|error| match error.code() {
            Some(415) => fail(error).hint("only kinds of Kubernetes itself have strategic patches"),
            _ => fail(error),
        })?;
        let revision = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        let changed = !args.manner.trial.is_sent()
            || args.manner.trial.is_dry()
            || revision(&before) != revision(&after);
        let word = if changed { "patched" } else { "patched (no change)" };
        debug_assert_eq!(name(&after), object);
        args.manner.tell(served, &Done { word, object: after })
    })?;
    Ok(YES)
}

/// A strategic patch, or a merge patch if the server has no strategic ones for the kind.
pub(crate) async fn either(
    send: impl AsyncFn(Sort) -> Result<Value, Error>,
) -> Result<Value, Error> {
    match send(Sort::Strategic).await {
        Err(error) if error.code() == Some(415) => send(Sort::Merge).await,
        sent => sent,
    }
}

/// A patch as it is written on a command line.
pub(crate) fn parse(text: &str) -> Result<Value, Failure> {
    tortie_client::document(text.as_bytes())
        .map_err(|reason| Failure::invalid(format!("--patch: {reason}")))
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::invalid(format!("--patch-file: cannot read `{}`: {error}", file.display()))
    })
}

impl Args {
    fn patch(&self) -> Result<Value, Failure> {
        match (&self.patch, &self.patch_file) {
            (Some(text), _) => parse(text),
            (None, Some(file)) => parse(&read(file)?),
            (None, None) => Err(Failure::invalid("--patch: is required")),
        }
    }
}
