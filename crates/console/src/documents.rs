//! What the server has, document by document.

use std::collections::BTreeMap;

use serde_json::Value;
use tortie_client::server::ApiKind;
use tortie_model::{DecodeError, Resource};

/// The documents that are known, each by its kind, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Documents(BTreeMap<Name, Document>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Debug)]
enum Document {
    Read(Box<Resource>),
    Undecodable(DecodeError),
}

impl Documents {
    /// Takes in an object that is new or different.
    pub(crate) fn put(&mut self, kind: &ApiKind, object: Value) {
        let name = Name::of(kind, &object);
        let document = match tortie_model::decode(object) {
            // A document of a kind that is followed is one resource.
            Ok(resources) => resources.into_iter().next().map(|r| Document::Read(Box::new(r))),
            Err(errors) => errors.into_iter().next().map(Document::Undecodable),
        };
        if let Some(document) = document {
            self.0.insert(name, document);
        }
    }

    /// Forgets an object that is gone.
    pub(crate) fn remove(&mut self, kind: &ApiKind, object: &Value) {
        self.0.remove(&Name::of(kind, object));
    }

    /// The resources, always in the same order.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.0.values().filter_map(|document| match document {
            Document::Read(resource) => Some(&**resource),
            Document::Undecodable(_) => None,
        })
    }

    /// What could not even be read as a resource.
    pub(crate) fn undecodable(&self) -> impl Iterator<Item = &DecodeError> {
        self.0.values().filter_map(|document| match document {
            Document::Undecodable(error) => Some(error),
            Document::Read(_) => None,
        })
    }
}

impl Name {
    fn of(kind: &ApiKind, object: &Value) -> Name {
        let text = |field: &str| {
            let found = object.get("metadata").and_then(|metadata| metadata.get(field));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Name { kind: kind.name(), namespace: text("namespace"), name: text("name") }
    }
}
