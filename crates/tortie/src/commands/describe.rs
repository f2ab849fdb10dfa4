//! `tortie describe`: everything about objects, for people.

use serde_json::Value;
use tortie_client::server::{Select, Served};

use crate::output::{Failure, YES, text};
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
        let mut shown = Vec::new();
        for wanted in session.wanted(&args.objects)? {
            for object in objects(args, &session, wanted.served, &wanted.names).await? {
                shown.push(describe::text(&object, &events(&session, &object).await));
            }
        }
        text(shown.join("\n\n"))
    })?;
    Ok(YES)
}

async fn objects(
    args: &Args,
    session: &Session,
    served: &Served,
    names: &[String],
) -> Result<Vec<Value>, Failure> {
    let kind = &served.kind;
    let fail = |error| failure(format_args!("describe: {}", kind.plural), &error);
    let namespace = session.scope(kind, args.all_namespaces);
    if names.is_empty() {
        let select = Select { labels: args.selector.clone(), fields: String::new() };
        return Ok(session.server.list(kind, namespace, &select).await.map_err(fail)?.items);
    }
    let mut objects = Vec::new();
    for name in names {
        objects.push(session.server.get(kind, namespace, name).await.map_err(fail)?);
    }
    Ok(objects)
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
