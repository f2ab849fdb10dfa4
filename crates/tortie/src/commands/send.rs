//! `tortie create`, `apply` and `replace`: what files say, on a server.

use crate::output::{Failure, YES};
use crate::remote::change::{Done, Manner, Verb, each, refused};
use crate::remote::manifest::Manifests;
use crate::remote::{Whereabouts, block_on};

/// Examples of `tortie create`.
pub(crate) const CREATE: &str = "Examples:
  tortie create -f policy.yaml
  tortie create -f policies/ -R -n shop
  cat policy.yaml | tortie create -f - --dry-run

Exit status: 0 created; 1 refused, or there already; 2 bad usage or input; 3 unreachable";

/// Examples of `tortie apply`.
pub(crate) const APPLY: &str = "Examples:
  tortie apply -f policy.yaml
  tortie apply -f policies/ -R --dry-run

What others have written into an object stays, unless the file says otherwise; what an earlier
`tortie apply` wrote and the file no longer says goes.

Exit status: 0 done; 1 refused; 2 bad usage or input; 3 unreachable";

/// Examples of `tortie replace`.
pub(crate) const REPLACE: &str = "Examples:
  tortie replace -f policy.yaml
  tortie get gnp web -o yaml | sed s/8080/8081/ | tortie replace -f -

A file with a resourceVersion replaces that version only.

Exit status: 0 replaced; 1 refused, not there, or changed meanwhile; 2 bad usage or input; 3 unreachable";

/// Arguments of `tortie create`, `apply` and `replace`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifests: Manifests,

    #[command(flatten)]
    manner: Manner,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Does it with every object of the files.
pub(crate) fn run(verb: Verb, args: &Args) -> Result<u8, Failure> {
    let items = args.manifests.read()?;
    block_on(async {
        let session = args.whereabouts.open().await?;
        each(items, async |item| {
            item.check_name(verb == Verb::Create)?;
            let served = session.placed(item)?;
            let done = if args.manner.trial.is_sent() {
                let sent = session.send(verb, served, item, args.manner.trial.is_dry()).await;
                sent.map_err(|error| refused(verb.name(), item, &error))?
            } else {
                Done { word: verb.done(), object: item.document.clone() }
            };
            args.manner.tell(served, &done)
        })
        .await
    })?;
    Ok(YES)
}
