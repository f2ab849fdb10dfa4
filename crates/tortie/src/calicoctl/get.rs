//! `get`: resources as calicoctl shows them.

use serde_json::{Map, Value, json};
use tortie_client::server::{Select, Served};

use super::args::{self, Cli};
use super::kinds::{self, Known};
use super::store::{Refusal, Store, Target};
use super::verbs::meant;
use super::virtual_kinds;
use crate::output::{Failure, text};
use crate::remote::{block_on, name};
use crate::show::table::Grid;
use crate::show::yaml;

/// What `-o` chooses.
enum Shape {
    Yaml,
    Json,
    Name,
    Table { wide: bool },
    Columns(Vec<String>),
}

impl Shape {
    fn parse(text: &str) -> Result<Shape, Failure> {
        match text.split_once('=').map_or((text, ""), |(shape, rest)| (shape, rest)) {
            ("yaml" | "yml", "") => Ok(Shape::Yaml),
            ("json", "") => Ok(Shape::Json),
            ("name", "") => Ok(Shape::Name),
            ("ps", "") => Ok(Shape::Table { wide: false }),
            ("wide", "") => Ok(Shape::Table { wide: true }),
            ("custom-columns", "") => Err(Failure::refused("need to specify at least one column")),
            ("custom-columns", columns) => {
                Ok(Shape::Columns(columns.split(',').map(str::to_owned).collect()))
            }
            ("go-template" | "go-template-file", _) => {
                let failure = Failure::refused("templates of Go are not part of Tortie");
                Err(failure.hint("`tortie get -o jsonpath=…` has templates of its own"))
            }
            _ => Err(Failure::refused(format!("unrecognized output format '{text}'"))),
        }
    }
}

/// What was asked for by one name, or by none.
enum Found<'s> {
    One(&'s Served, Value),
    List(&'s Served, Vec<Value>),
}

/// `get`.
pub(super) fn run(cli: &Cli, args: &args::Get) -> Result<(), Failure> {
    let shape = Shape::parse(&args.output)?;
    if args.all_namespaces && args.which.place.namespace.is_some() {
        let why = "cannot use both --namespace and --all-namespaces flags at the same time";
        return Err(Failure::refused(why));
    }
    block_on(async {
        let store = Store::look(cli, &args.which.place).await?;
        let (found, refusals) = find(&store, args).await?;
        if !found.is_empty() || refusals.is_empty() {
            show(&shape, args, found)?;
        }
        let failed = refusals.iter().map(|refusal| Failure::refused(refusal.to_string()));
        failed.reduce(Failure::and).map_or(Ok(()), Err)
    })
}

async fn find<'s>(
    store: &'s Store,
    args: &args::Get,
) -> Result<(Vec<Found<'s>>, Vec<Refusal>), Failure> {
    if let (Some(kinds), []) = (&args.which.kind, args.which.names.as_slice()) {
        let mut found = Vec::new();
        for kind in kinds.split(',') {
            found.push(all(store, args, virtual_kinds::kind(store, kind)?).await?);
        }
        return Ok((found, Vec::new()));
    }
    if args.all_namespaces {
        let why = "cannot use --all-namespace flag for getting a single resource";
        return Err(Failure::refused(why));
    }
    let (mut found, mut refusals) = (Vec::new(), Vec::new());
    for document in documents(store, args)? {
        match one(store, &document).await {
            Ok((served, object)) => found.push(Found::One(served, exported(object, args))),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Ok((found, refusals))
}

/// All of a kind.
async fn all<'s>(
    store: &'s Store,
    args: &args::Get,
    served: &'s Served,
) -> Result<Found<'s>, Failure> {
    let failed = |why: Refusal| Failure::refused(format!("Failed to get resources: {why}"));
    let target = if args.all_namespaces && served.kind.namespaced {
        Target { served, namespace: None, name: String::new() }
    } else {
        store.place(served, "", "").map_err(failed)?
    };
    Ok(Found::List(served, list(store, &target).await.map_err(failed)?))
}

fn documents(store: &Store, args: &args::Get) -> Result<Vec<Value>, Failure> {
    let Some(kinds) = &args.which.kind else { return meant(store, &args.which) };
    let mut documents = Vec::new();
    for kind in kinds.split(',') {
        let served = virtual_kinds::kind(store, kind)?;
        documents.extend(args.which.names.iter().map(|name| {
            json!({
                "apiVersion": served.kind.api_version(), "kind": served.kind.kind,
                "metadata": {"name": name},
            })
        }));
    }
    Ok(documents)
}

async fn one<'s>(store: &'s Store, document: &Value) -> Result<(&'s Served, Value), Refusal> {
    let target = virtual_kinds::target(store, document)?;
    let made = virtual_kinds::list(store, &target).await?;
    let made = made.into_iter().flatten().find(|object| name(object) == target.name);
    match made {
        Some(object) => Ok((target.served, object)),
        None if virtual_kinds::is_stored(store, target.served) => {
            Ok((target.served, store.get(&target).await?))
        }
        None => Err(Refusal::Missing(target.to_string(), "there is none".to_owned())),
    }
}

async fn list(store: &Store, target: &Target<'_>) -> Result<Vec<Value>, Refusal> {
    let made = virtual_kinds::list(store, target).await?;
    let mut objects = Vec::new();
    if virtual_kinds::is_stored(store, target.served) {
        let (kind, select) = (&target.served.kind, Select::default());
        let list = store.session.server.list(kind, target.namespace(), &select).await;
        objects = list.map_err(|error| target.refusal(&error))?.items;
    }
    objects.extend(made.into_iter().flatten());
    if target.served.kind.kind == "Tier" {
        let order = |tier: &Value| tier.pointer("/spec/order").and_then(Value::as_f64);
        let key = |tier: &Value| order(tier).unwrap_or(f64::INFINITY);
        objects.sort_by(|a, b| key(a).total_cmp(&key(b)));
    }
    Ok(objects)
}

/// Without what belongs to this cluster, if that is wanted.
fn exported(mut object: Value, args: &args::Get) -> Value {
    const OURS: [&str; 8] = [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "namespace",
        "resourceVersion",
        "uid",
    ];
    if let (true, Some(Value::Object(metadata))) = (args.export, object.get_mut("metadata")) {
        metadata.retain(|field, _| !OURS.contains(&field.as_str()));
    }
    object
}

fn show(shape: &Shape, args: &args::Get, found: Vec<Found<'_>>) -> Result<(), Failure> {
    match shape {
        Shape::Yaml => text(yaml::document(&document(found))),
        Shape::Json => {
            let document =
                serde_json::to_string_pretty(&document(found)).map_err(Failure::refused)?;
            text(document + "\n")
        }
        Shape::Name => {
            let line = |(served, object): (&Served, Value)| {
                format!("{}/{}\n", served.kind.kind, name(&object))
            };
            text(found.into_iter().flat_map(Found::each).map(line).collect::<String>())
        }
        Shape::Table { wide } => found.into_iter().try_for_each(|one| {
            let headings = |known: &Known| known.headings(*wide);
            table(args, one, headings)
        }),
        Shape::Columns(columns) => {
            found.into_iter().try_for_each(|one| table(args, one, |_| columns.clone()))
        }
    }
}

impl<'s> Found<'s> {
    fn each(self) -> Vec<(&'s Served, Value)> {
        match self {
            Found::One(served, object) => vec![(served, object)],
            Found::List(served, objects) => objects.into_iter().map(|o| (served, o)).collect(),
        }
    }
}

/// A resource by itself if one was asked for, several as a list, and what was asked for by kind as
/// the API's list of it.
fn document(mut found: Vec<Found<'_>>) -> Value {
    let single = found.len() == 1;
    let mut documents = found.drain(..).map(|one| match one {
        Found::One(_, object) => object,
        Found::List(served, items) => {
            let kind = format!("{}List", served.kind.kind);
            json!({
                "apiVersion": "projectcalico.org/v3", "kind": kind, "items": items,
                "metadata": Map::new(),
            })
        }
    });
    match single {
        true => documents.next().unwrap_or_default(),
        false => documents.collect(),
    }
}

fn table(
    args: &args::Get,
    found: Found<'_>,
    headings: impl FnOnce(&Known) -> Vec<String>,
) -> Result<(), Failure> {
    let served = match &found {
        Found::One(served, _) | Found::List(served, _) => *served,
    };
    let Some(known) = kinds::find(&served.kind.kind) else {
        return Err(Failure::refused(format!("there is no table for {}", served.kind.kind)));
    };
    let mut headings = headings(known);
    if let Some(unknown) = known.unknown_heading(&headings) {
        let kind = known.kind;
        return Err(Failure::refused(format!("Unknown heading {unknown} for {kind}")));
    }
    let namespaces = args.all_namespaces || args.which.place.namespace.is_some();
    if known.namespaced && namespaces && !headings.iter().any(|heading| heading == "NAMESPACE") {
        headings.insert(0, "NAMESPACE".to_owned());
    }
    let objects: Vec<Value> = found.each().into_iter().map(|(_, object)| object).collect();
    let grid: Grid = known.grid(headings, &objects);
    text(grid.text(true) + "\n")
}
