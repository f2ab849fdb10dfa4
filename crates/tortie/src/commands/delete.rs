//! `tortie delete`: objects, by name, selector or file.

use std::time::Duration;

use serde_json::Value;
use tortie_client::server::{Delete, Error, Served};

use crate::output::{Failure, YES, text};
use crate::remote::change::{Trial, each};
use crate::remote::manifest::Manifests;
use crate::remote::words::{Selection, Wanted};
use crate::remote::{Session, Whereabouts, block_on, failure, name, resource};

const EXAMPLES: &str = "Examples:
  tortie delete gnp web db
  tortie delete gnp/web pod/attack -n default
  tortie delete -f policies/ --ignore-not-found
  tortie delete networksets -l source=feed -n shop

Exit status: 0 deleted; 1 refused, or not there; 2 bad usage; 3 unreachable, or it takes too long";

/// Arguments of `tortie delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The objects: KIND NAME … or KIND/NAME …
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    objects: Vec<String>,

    #[command(flatten)]
    manifests: Manifests,

    #[command(flatten)]
    selection: Selection,

    /// What is not there is done
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    ignore_not_found: bool,

    /// What becomes of the objects that it owns
    #[arg(long, value_enum)]
    cascade: Option<Cascade>,

    /// Seconds the object has to end, such as a pod's processes
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,

    /// Wait until the objects are gone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    wait: bool,

    /// Seconds to wait for an object to be gone; 0 is for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,

    #[command(flatten)]
    trial: Trial,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// What becomes of objects that are owned by a deleted one.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cascade {
    /// Deleted afterwards
    Background,
    /// Deleted before
    Foreground,
    /// Left alone
    Orphan,
}

impl Args {
    fn delete(&self) -> Delete {
        let propagation = self.cascade.map(|cascade| match cascade {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        });
        Delete {
            dry_run: self.trial.is_dry(),
            propagation: propagation.map(str::to_owned),
            grace_seconds: self.grace_period,
            ..Delete::default()
        }
    }

    /// Deletes one object, and tells it.
    async fn one(
        &self,
        session: &Session,
        served: &Served,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), Failure> {
        let fail = |error: &Error| failure(format_args!("delete: {}", resource(served)), error);
        if self.trial.is_sent() {
            let delete = self.delete();
            let gone = session.delete(served, namespace, name, &delete, self.wait);
            let gone = match self.timeout {
                0 => gone.await,
                seconds => tokio::time::timeout(Duration::from_secs(seconds), gone)
                    .await
                    .map_err(|_| late(served, name, seconds))?,
            };
            match gone {
                Err(error) if error.is_not_found() && self.ignore_not_found => return Ok(()),
                gone => gone.map_err(|error| fail(&error))?,
            }
        }
        let (what, dry) = (resource(served), self.trial.told());
        text(format_args!("{what} \"{name}\" deleted{dry}\n"))
    }

    /// The names meant for a kind: those given, or those that exist and are selected.
    async fn names(&self, session: &Session, wanted: Wanted<'_>) -> Result<Vec<String>, Failure> {
        let found = self.selection.objects(session, &wanted).await?;
        let names = |found: Vec<Value>| found.iter().map(|one| name(one).to_owned()).collect();
        Ok(found.map_or(wanted.names, names))
    }
}

fn late(served: &Served, name: &str, seconds: u64) -> Failure {
    let what = resource(served);
    Failure::unreachable(format!("delete: {what} \"{name}\" is still there after {seconds} s"))
        .hint("something has to be done before it can go: look at its metadata.finalizers")
}

/// Deletes. Exit status 1 if something is not there.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    block_on(async {
        let session = args.whereabouts.open().await?;
        if args.manifests.is_given() {
            return each(args.manifests.read()?, async |item| {
                let served = session.checked(item)?;
                let namespace = session.namespace_of(&served.kind, &item.document)?;
                args.one(&session, served, namespace.as_deref(), name(&item.document)).await
            })
            .await;
        }
        let mut failed = Ok(());
        for wanted in session.wanted(&args.objects)? {
            let served = wanted.served;
            let namespace = session.scope(&served.kind, false);
            for name in args.names(&session, wanted).await? {
                let one = args.one(&session, served, namespace, &name).await;
                failed = crate::remote::change::both(failed, one);
            }
        }
        failed
    })?;
    Ok(YES)
}
