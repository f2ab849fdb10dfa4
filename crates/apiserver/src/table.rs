//! Objects as rows, the way `kubectl get` asks for them.

use serde_json::{Map, Value, json};

use crate::jsonpath;
use crate::kinds::{Cell, Column, Kind, age};
use crate::object;
use crate::view::{Include, Now, metadata_only};

/// A Table of documents.
pub(crate) fn table(
    kind: &Kind,
    documents: &[Value],
    metadata: Value,
    include: Include<'_>,
    now: Now,
) -> Value {
    let rows: Vec<Value> =
        documents.iter().map(|document| row(kind, document, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions(kind), "rows": rows,
    })
}

fn definitions(kind: &Kind) -> Vec<Value> {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name, unique within kind and namespace.",
    });
    let column = |column: &Column| {
        // A table shows how long ago a date was, which is text.
        let text = if column.kind == "date" { "string" } else { &column.kind };
        json!({
            "name": column.name, "type": text, "format": "", "priority": column.priority,
            "description": column.description,
        })
    };
    std::iter::once(name).chain(kind.columns.iter().map(column)).collect()
}

fn row(kind: &Kind, document: &Value, include: Include<'_>, now: Now) -> Value {
    let name = Value::from(object::name(document));
    let cells = kind.columns.iter().map(|column| cell(kind, column, document, now));
    let mut row = Map::new();
    row.insert("cells".into(), std::iter::once(name).chain(cells).collect());
    match include {
        Some("None") => {}
        Some("Object") => {
            row.insert("object".into(), document.clone());
        }
        _ => {
            row.insert("object".into(), metadata_only(document.clone()));
        }
    }
    row.into()
}

fn cell(kind: &Kind, column: &Column, document: &Value, now: Now) -> Value {
    let path = match &column.cell {
        Cell::Of(compute) => return compute(document, now),
        Cell::Path(path) => path,
    };
    let found = jsonpath::find(document, path);
    match (column.kind.as_str(), found) {
        ("date", Some(Value::String(time))) => age(time, now).into(),
        ("date", _) => "<unknown>".into(),
        (_, None | Some(Value::Null)) if kind.built_in => "<none>".into(),
        (_, None | Some(Value::Null)) => Value::Null,
        ("string", Some(value)) => object::shown(value).into(),
        (_, Some(value)) => value.clone(),
    }
}
