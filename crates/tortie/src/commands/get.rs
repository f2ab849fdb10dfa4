//! `tortie get`: objects of a server.

use std::collections::BTreeMap;

use serde_json::Value;
use tortie_client::server::{ApiKind, Event, Select, Served, Wanted as Follow};

use crate::output::{Failure, YES, json, remark, text};
use crate::remote::change::both;
use crate::remote::manifest::Manifests;
use crate::remote::words::Wanted;
use crate::remote::{Session, Whereabouts, block_on, failure, name, reference};
use crate::show::table::{Choice, Grid};
use crate::show::{self, Shape, yaml};

const EXAMPLES: &str = "Examples:
  tortie get gnp
  tortie get pods -A -o wide -l app=web
  tortie get networkpolicies.projectcalico.org,networksets -n shop
  tortie get gnp/web -o yaml
  tortie get svc web -o jsonpath='{.spec.clusterIP}'
  tortie get pods -w

Exit status: 0 shown; 1 refused, or not there; 2 bad usage; 3 unreachable";

/// Arguments of `tortie get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The objects: KIND, KIND NAME …, KIND,KIND or KIND/NAME …
    #[arg(value_name = "KIND NAME", required_unless_present = "files", conflicts_with = "files")]
    objects: Vec<String>,

    #[command(flatten)]
    manifests: Manifests,

    /// Shape of the answer: table, wide, name, yaml, json, jsonpath=… or custom-columns=…
    #[arg(short, long, value_name = "SHAPE", default_value = "table")]
    output: Shape,

    /// Those of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// Only those with these labels
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,

    /// Only those with these fields, such as `metadata.name=web`
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    field_selector: String,

    /// Go on showing what changes
    #[arg(short, long)]
    watch: bool,

    /// Show what changes from now on
    #[arg(long)]
    watch_only: bool,

    /// Labels as the last column
    #[arg(long)]
    show_labels: bool,

    /// No line of headings
    #[arg(long)]
    no_headers: bool,

    /// What is not there is no error
    #[arg(long)]
    ignore_not_found: bool,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Shows objects. Exit status 1 if one is not there.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    block_on(async {
        let session = args.whereabouts.open().await?;
        let asked = args.asked(&session)?;
        if args.watch || args.watch_only {
            return match asked.as_slice() {
                [one] if one.names.len() < 2 => watch(args, &session, one).await,
                _ => Err(Failure::invalid("--watch: one kind, and at most one name")),
            };
        }
        match &args.output {
            Shape::Table { wide } => tables(args, &session, &asked, *wide).await,
            shape => documents(args, &session, &asked, shape).await,
        }
    })?;
    Ok(YES)
}

/// A kind, where, and which of its objects.
struct Asked<'s> {
    served: &'s Served,
    namespace: Option<String>,
    names: Vec<String>,
}

impl Asked<'_> {
    fn kind(&self) -> &ApiKind {
        &self.served.kind
    }
}

impl Args {
    fn asked<'s>(&self, session: &'s Session) -> Result<Vec<Asked<'s>>, Failure> {
        if self.manifests.is_given() {
            let one = |item: crate::remote::manifest::Item| {
                let served = session.checked(&item)?;
                let namespace = session.namespace_of(&served.kind, &item.document)?;
                Ok(Asked { served, namespace, names: vec![name(&item.document).to_owned()] })
            };
            return self.manifests.read()?.into_iter().map(one).collect();
        }
        let wanted = session.wanted(&self.objects)?;
        if self.all_namespaces && wanted.iter().any(|wanted| !wanted.names.is_empty()) {
            let failure = Failure::invalid("--all-namespaces: an object is in one namespace");
            return Err(failure.hint("say which by -n, or leave out the names"));
        }
        let place = |Wanted { served, names }: Wanted<'s>| {
            let namespace = session.scope(&served.kind, self.all_namespaces).map(str::to_owned);
            Asked { served, namespace, names }
        };
        Ok(wanted.into_iter().map(place).collect())
    }

    fn select(&self) -> Select {
        Select { labels: self.selector.clone(), fields: self.field_selector.clone() }
    }

    fn choice<'p>(&self, asked: &Asked<'_>, wide: bool, prefix: &'p str) -> Choice<'p> {
        let namespace = self.all_namespaces && asked.kind().namespaced;
        Choice { wide, namespace, labels: self.show_labels, prefix }
    }

    /// What is not there is nothing, if that is what is wanted.
    fn there(
        &self,
        asked: &Asked<'_>,
        result: Result<Value, tortie_client::server::Error>,
    ) -> Result<Option<Value>, Failure> {
        match result {
            Err(error) if self.ignore_not_found && error.is_not_found() => Ok(None),
            result => result.map(Some).map_err(|error| refused(asked, &error)),
        }
    }
}

fn refused(asked: &Asked<'_>, error: &tortie_client::server::Error) -> Failure {
    failure(format_args!("get: {}", asked.kind().plural), error)
}

async fn tables(
    args: &Args,
    session: &Session,
    asked: &[Asked<'_>],
    wide: bool,
) -> Result<(), Failure> {
    let (several, select) = (asked.len() > 1, args.select());
    let mut grids: Vec<Grid> = Vec::new();
    let mut failed = Ok(());
    for one in asked {
        let prefix = if several { reference(one.served, "") } else { String::new() };
        let choice = args.choice(one, wide, &prefix);
        let names: Vec<Option<&str>> = match one.names.as_slice() {
            [] => vec![None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        for name in names {
            let table = session.server.table(one.kind(), one.namespace.as_deref(), name, &select);
            match args.there(one, table.await) {
                Ok(Some(table)) => join(&mut grids, Grid::of(&table, choice)),
                Ok(None) => {}
                Err(failure) => failed = both(failed, Err(failure)),
            }
        }
    }
    grids.retain(|grid| !grid.rows.is_empty());
    let shown: Vec<String> = grids.iter().map(|grid| grid.text(!args.no_headers)).collect();
    text(shown.join("\n"))?;
    if grids.is_empty() && failed.is_ok() && !args.ignore_not_found {
        let namespaced = asked.iter().any(|one| one.kind().namespaced);
        session.tell_nothing(namespaced && !args.all_namespaces);
    }
    failed
}

/// One table for what has the same columns.
fn join(grids: &mut Vec<Grid>, grid: Grid) {
    match grids.last_mut() {
        Some(last) if last.headings == grid.headings => last.rows.extend(grid.rows),
        _ => grids.push(grid),
    }
}

async fn documents(
    args: &Args,
    session: &Session,
    asked: &[Asked<'_>],
    shape: &Shape,
) -> Result<(), Failure> {
    let mut objects = Vec::new();
    let mut failed = Ok(());
    for one in asked {
        let (found, result) = fetched(args, session, one).await;
        objects.extend(found.into_iter().map(|object| (one.served, object)));
        failed = both(failed, result);
    }
    if objects.is_empty() && failed.is_err() {
        return failed;
    }
    let single = matches!(asked, [one] if one.names.len() == 1);
    if single && objects.is_empty() {
        return failed;
    }
    shown(shape, objects, single, args.no_headers)?;
    failed
}

/// The objects that are there, and what is to be said of the others.
async fn fetched(
    args: &Args,
    session: &Session,
    one: &Asked<'_>,
) -> (Vec<Value>, Result<(), Failure>) {
    let namespace = one.namespace.as_deref();
    if one.names.is_empty() {
        return match session.server.list(one.kind(), namespace, &args.select()).await {
            Ok(list) => (list.items, Ok(())),
            Err(error) => (Vec::new(), Err(refused(one, &error))),
        };
    }
    let (mut objects, mut failed) = (Vec::new(), Ok(()));
    for name in &one.names {
        let found = session.server.get(one.kind(), namespace, name).await;
        match args.there(one, found) {
            Ok(found) => objects.extend(found),
            Err(failure) => failed = both(failed, Err(failure)),
        }
    }
    (objects, failed)
}

fn shown(
    shape: &Shape,
    objects: Vec<(&Served, Value)>,
    single: bool,
    no_headers: bool,
) -> Result<(), Failure> {
    if matches!(shape, Shape::Name) {
        let line = |(served, object): &(&Served, Value)| reference(served, name(object)) + "\n";
        return text(objects.iter().map(line).collect::<String>());
    }
    let objects: Vec<Value> = objects.into_iter().map(|(_, object)| trimmed(object)).collect();
    match shape {
        Shape::Columns(columns) => text(show::columns(columns, &objects).text(!no_headers)),
        Shape::JsonPath(template) => text(template.render(&show::one_document(objects, single))),
        Shape::Json => json(&show::one_document(objects, single)),
        _ => text(yaml::document(&show::one_document(objects, single))),
    }
}

/// Without what is of use to servers only.
fn trimmed(mut object: Value) -> Value {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    object
}

/// Shows what is there, and then what changes, until it is interrupted.
async fn watch(args: &Args, session: &Session, asked: &Asked<'_>) -> Result<(), Failure> {
    let mut select = args.select();
    if let Some(name) = asked.names.first() {
        let comma = if select.fields.is_empty() { "" } else { "," };
        select.fields = format!("{}{comma}metadata.name={name}", select.fields);
    }
    let (kind, namespace) = (asked.kind().clone(), asked.namespace.clone());
    let followed = Follow { kind, namespace, select, instead: None };
    let mut follow = session.server.follow([followed]);
    let mut view = View { args, session, asked, headings: !args.no_headers, widths: Vec::new() };
    // What is there comes in no order, and is shown in one.
    let mut there = Some(BTreeMap::new());
    loop {
        match (follow.next().await, &mut there) {
            (Event::Put { object, .. }, Some(there)) => {
                there.insert(place(&object), object);
            }
            (Event::Put { object, .. }, None) => view.show(object).await?,
            (Event::InSync, _) => {
                let known = there.take().unwrap_or_default();
                for object in known.into_values().filter(|_| !args.watch_only) {
                    view.show(object).await?;
                }
            }
            (Event::Gone { object, .. }, Some(there)) => drop(there.remove(&place(&object))),
            (Event::Gone { object, .. }, None) => view.gone(&object),
            (Event::Away { reason }, _) => remark(format_args!("warning: {reason}")),
            (Event::Missing { kind }, _) => {
                return Err(Failure::refused(format!("the server has no {}", kind.plural)));
            }
            _ => {}
        }
    }
}

fn place(object: &Value) -> (String, String) {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    (namespace.unwrap_or_default().to_owned(), name(object).to_owned())
}

/// What is shown line by line.
struct View<'a> {
    args: &'a Args,
    session: &'a Session,
    asked: &'a Asked<'a>,
    /// Headings are still to be shown.
    headings: bool,
    widths: Vec<usize>,
}

impl View<'_> {
    async fn show(&mut self, object: Value) -> Result<(), Failure> {
        let Shape::Table { wide } = self.args.output else {
            let separate = if self.args.output == Shape::Yaml { "---\n" } else { "" };
            text(separate)?;
            return shown(
                &self.args.output,
                vec![(self.asked.served, object)],
                true,
                !self.heading(),
            );
        };
        let (namespace, object) = place(&object);
        let namespace = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let (kind, all) = (self.asked.kind(), Select::default());
        let table = self.session.server.table(kind, namespace, Some(&object), &all);
        match table.await {
            Ok(table) => {
                let grid = Grid::of(&table, self.args.choice(self.asked, wide, ""));
                let heading = self.heading();
                text(grid.text_with(heading, &mut self.widths))
            }
            // It is gone meanwhile.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(refused(self.asked, &error)),
        }
    }

    /// Its last state need not be known, so it has no line of its own among the others.
    fn gone(&self, object: &Value) {
        let gone = reference(self.asked.served, name(object));
        remark(format_args!("note: {gone} is gone"));
    }

    /// Whether to write headings: once.
    fn heading(&mut self) -> bool {
        std::mem::take(&mut self.headings)
    }
}
