//! The difference of two documents, like a JSON patch: each operation also has what was there.

use serde_json::{Map, Value, json};

/// What leads from one document to another; an absent one is not there yet, or no more.
pub(super) fn diff(old: Option<&Value>, new: Option<&Value>) -> Value {
    let mut operations = Vec::new();
    compare(&mut String::new(), old, new, &mut operations);
    Value::Array(operations)
}

fn compare(path: &mut String, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Value>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => fields(path, old, new, out),
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                below(path, &index.to_string(), |path| compare(path, Some(old), Some(new), out));
            }
        }
        (Some(old), Some(new)) => {
            out.push(json!({"op": "replace", "path": path, "value": new, "old": old}));
        }
        (None, Some(new)) => out.push(json!({"op": "add", "path": path, "value": new})),
        (Some(old), None) => out.push(json!({"op": "remove", "path": path, "old": old})),
        (None, None) => {}
    }
}

fn fields(
    path: &mut String,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    out: &mut Vec<Value>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        below(path, &escaped, |path| compare(path, old.get(key), new.get(key), out));
    }
}

fn below(path: &mut String, part: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(part);
    then(path);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_operations() {
        let cases = [
            (json!({"a": 1}), json!({"a": 1}), json!([])),
            (
                json!({"a": 1, "b": {"c/d": 2}}),
                json!({"a": 3, "b": {}, "e": [1]}),
                json!([
                    {"op": "replace", "path": "/a", "value": 3, "old": 1},
                    {"op": "remove", "path": "/b/c~1d", "old": 2},
                    {"op": "add", "path": "/e", "value": [1]},
                ]),
            ),
            (
                json!({"l": [1, 2]}),
                json!({"l": [1, 3]}),
                json!([{"op": "replace", "path": "/l/1", "value": 3, "old": 2}]),
            ),
            (
                json!({"l": [1, 2]}),
                json!({"l": [2]}),
                json!([{"op": "replace", "path": "/l", "value": [2], "old": [1, 2]}]),
            ),
        ];
        for (old, new, expected) in cases {
            assert_eq!(diff(Some(&old), Some(&new)), expected);
        }
        let whole = json!({"a": 1});
        assert_eq!(diff(None, Some(&whole))[0]["op"], "add");
        assert_eq!(diff(Some(&whole), None)[0]["old"], whole);
    }
}
