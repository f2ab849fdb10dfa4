//! `tortie describe`: everything about objects, for people.

use serde_json::Value;
use tortie_client::server::Select;

use crate::output::{Failure, YES, text};
use crate::remote::change::both;
use crate::remote::words::Wanted;
use crate::remote::{Session, Whereabouts, block_on, failure, name};
use crate::show::describe;

/// Arguments of `tortie describe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tortie describe gnp web
  tortie describe pods -n shop -l app=web

Exit status: 0 shown; 1 refused, or not there; 2 bad usage; 3 unreachable")]
pub(crate) struct Args {
    /// The objects: KIND, KIND NAME … or KIND/NAME …
    #[arg(value_name = "KIND NAME", required = true)]
    objects: Vec<String>,

    /// Only those with these labels
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,

    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Describes objects. Exit status 1 if one is not there.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    block_on(async {
        let session = args.whereabouts.open().await?;
        let asked = session.wanted(&args.objects)?;
        let (mut shown, mut failed) = (Vec::new(), Ok(()));
        for wanted in &asked {
            let (objects, result) = args.objects(&session, wanted).await;
            failed = both(failed, result);
            for object in objects {
                shown.push(describe::text(&object, &events(&session, &object).await));
            }
        }
        if shown.is_empty() && failed.is_ok() {
            let namespaced = asked.iter().any(|wanted| wanted.served.kind.namespaced);
            session.tell_nothing(namespaced && !args.all_namespaces);
        }
        text(shown.join("\n\n"))?;
        failed
    })?;
    Ok(YES)
}

impl Args {
    /// The objects that are there, and what is to be said of the others.
    async fn objects(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
    ) -> (Vec<Value>, Result<(), Failure>) {
        let kind = &wanted.served.kind;
        let fail = |error| failure(format_args!("describe: {}", kind.plural), &error);
        let namespace = session.scope(kind, self.all_namespaces);
        if wanted.names.is_empty() {
            let select = Select { labels: self.selector.clone(), fields: String::new() };
            return match session.server.list(kind, namespace, &select).await {
                Ok(list) => (list.items, Ok(())),
                Err(error) => (Vec::new(), Err(fail(error))),
            };
        }
        let (mut objects, mut failed) = (Vec::new(), Ok(()));
        for name in &wanted.names {
            match session.server.get(kind, namespace, name).await {
                Ok(object) => objects.push(object),
                Err(error) => failed = both(failed, Err(fail(error))),
            }
        }
        (objects, failed)
    }
}

/// What happened to an object. Who may not see that sees the object all the same.
async fn events(session: &Session, object: &Value) -> Vec<Value> {
    let Some(events) = session.kinds.find("events.v1") else { return Vec::new() };
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or_default();
    let fields = format!("involvedObject.kind={kind},involvedObject.name={}", name(object));
    let select = Select { labels: String::new(), fields };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    let list = session.server.list(&events.kind, Some(namespace), &select).await;
    list.map(|list| list.items).unwrap_or_default()
}
