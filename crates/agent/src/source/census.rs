//! Which objects a server has, as one number.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use tortie_client::server::{ApiKind, metadata};

/// Counts objects, each as it was last written.
///
/// Equal sets of objects have the same number, however they came to be known, within one build of the
/// program. So whoever lists what an agent follows knows which number the agent will come to; there is
/// no order among numbers.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// What each object adds to the number, by the hash of its kind, namespace and name.
    objects: HashMap<u64, u64>,
    number: u64,
}

impl Census {
    /// There is such an object, in place of what had its name.
    pub fn put(&mut self, kind: &ApiKind, object: &Value) {
        self.remove(kind, object);
        let place = place(kind, object);
        let share = hash((place, metadata(object, "uid"), metadata(object, "resourceVersion")));
        self.objects.insert(place, share);
        self.number = self.number.wrapping_add(share);
    }

    /// There is no object of this name.
    pub fn remove(&mut self, kind: &ApiKind, object: &Value) {
        let share = self.objects.remove(&place(kind, object)).unwrap_or_default();
        self.number = self.number.wrapping_sub(share);
    }

    /// The number of the objects there are.
    pub fn number(&self) -> u64 {
        self.number
    }
}

fn place(kind: &ApiKind, object: &Value) -> u64 {
    hash((&kind.group, &kind.plural, metadata(object, "namespace"), metadata(object, "name")))
}

/// The same in every process: unlike those of hash maps, this hasher is not seeded.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(plural: &str) -> ApiKind {
        ApiKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Kind".to_owned(),
            plural: plural.to_owned(),
            namespaced: true,
        }
    }

    fn object(name: &str, revision: u64) -> Value {
        json!({"metadata": {
            "namespace": "n", "name": name, "uid": "u", "resourceVersion": revision.to_string(),
        }})
    }

    fn census(objects: &[(&str, &str, u64)]) -> Census {
        let mut census = Census::default();
        for (plural, name, revision) in objects {
            census.put(&kind(plural), &object(name, *revision));
        }
        census
    }

    #[test]
    fn equal_sets_have_the_same_number() {
        let set = census(&[("pods", "a", 1), ("nodes", "a", 2)]);
        assert_eq!(set.number(), census(&[("nodes", "a", 2), ("pods", "a", 1)]).number());
        let mut later = census(&[("pods", "b", 4), ("nodes", "a", 9), ("pods", "a", 1)]);
        later.put(&kind("nodes"), &object("a", 2));
        // Of what is gone after a list nothing is known but the name.
        later.remove(&kind("pods"), &json!({"metadata": {"namespace": "n", "name": "b"}}));
        assert_eq!(later.number(), set.number());
        later.remove(&kind("pods"), &object("b", 4));
        assert_eq!(later.number(), set.number());
    }

    #[test]
    fn other_sets_have_other_numbers() {
        let sets: [&[(&str, &str, u64)]; 6] = [
            &[],
            &[("pods", "a", 1)],
            &[("pods", "a", 2)],
            &[("pods", "b", 1)],
            &[("nodes", "a", 1)],
            &[("pods", "a", 1), ("nodes", "a", 1)],
        ];
        let numbers: std::collections::BTreeSet<u64> =
            sets.into_iter().map(|set| census(set).number()).collect();
        assert_eq!(numbers.len(), sets.len());
    }
}
