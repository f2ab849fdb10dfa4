//! What has been told of a kind: enough to tell each difference once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde_json::{Value, json};

use crate::server::{ApiKind, metadata};

/// Namespace (empty if there is none) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name(String, String);

impl Name {
    fn of(object: &Value) -> Name {
        Name(metadata(object, "namespace").to_owned(), metadata(object, "name").to_owned())
    }
}

/// The objects of a kind as they were told last, each as the hash of its contents: revisions alone
/// say nothing if another store takes the place of the one before.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: HashMap<Name, (u64, u64)>,
    hasher: RandomState,
    /// Which reading an object was last seen in.
    reading: u64,
}

impl Known {
    /// A list begins: what does not come until it ends is gone.
    pub(super) fn begin(&mut self) {
        self.reading += 1;
    }

    /// Whether this is new.
    pub(super) fn put(&mut self, object: &Value) -> bool {
        let now = (self.hasher.hash_one(object), self.reading);
        let before = self.objects.insert(Name::of(object), now);
        before.is_none_or(|(hash, _)| hash != now.0)
    }

    /// Whether it was known.
    pub(super) fn remove(&mut self, object: &Value) -> bool {
        self.objects.remove(&Name::of(object)).is_some()
    }

    /// The list is over: what is gone, each with no more than its name.
    pub(super) fn end(&mut self, kind: &ApiKind) -> Vec<Value> {
        let reading = self.reading;
        let gone = self.objects.extract_if(|_, (_, seen)| *seen != reading);
        gone.map(|(name, _)| tombstone(kind, name)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }
}

fn tombstone(kind: &ApiKind, Name(namespace, name): Name) -> Value {
    let metadata = match namespace.as_str() {
        "" => json!({"name": name}),
        namespace => json!({"namespace": namespace, "name": name}),
    };
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, data: u64) -> Value {
        json!({"metadata": {"namespace": "n", "name": name, "resourceVersion": "1"}, "data": data})
    }

    #[test]
    fn only_differences_are_new() {
        let kind = ApiKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Thing".to_owned(),
            plural: "things".to_owned(),
            namespaced: true,
        };
        let mut known = Known::default();
        known.begin();
        assert!(known.put(&object("a", 1)));
        assert!(known.put(&object("b", 1)));
        assert!(known.end(&kind).is_empty());
        known.begin();
        assert!(!known.put(&object("a", 1)));
        // Of the same revision, as in a store that was restored.
        assert!(known.put(&object("c", 2)));
        let gone = json!({
            "apiVersion": "v1", "kind": "Thing", "metadata": {"namespace": "n", "name": "b"},
        });
        assert_eq!(known.end(&kind), [gone]);
        assert!(known.put(&object("a", 2)));
        assert!(known.remove(&object("a", 3)));
        assert!(!known.remove(&object("a", 3)));
        assert_eq!(known.len(), 1);
    }
}
