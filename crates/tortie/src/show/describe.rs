//! `describe`: an object for people, every field of it, without the punctuation of YAML.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::jsonpath::shown;
use super::table::Grid;
use crate::output::harmless;

/// Fields of the metadata that are shown at the top, or not at all.
const ELSEWHERE: [&str; 5] = ["name", "namespace", "labels", "annotations", "managedFields"];

/// Annotations that hold a copy of the object.
pub(crate) const COPIES: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "tortie.dev/applied"];

/// An object with the events about it.
pub(crate) fn text(object: &Value, events: &[Value]) -> String {
    let mut out = Lines::default();
    let at = |pointer: &str| object.pointer(pointer).map(shown).unwrap_or_default();
    out.pairs(&[("Name", at("/metadata/name")), ("Namespace", at("/metadata/namespace"))]);
    out.map_of("Labels", &pairs(object.pointer("/metadata/labels"), "="));
    out.map_of("Annotations", &pairs(object.pointer("/metadata/annotations"), ": "));
    out.pairs(&[("API Version", at("/apiVersion")), ("Kind", at("/kind"))]);
    let metadata = object.get("metadata").and_then(Value::as_object);
    let rest = metadata.into_iter().flatten().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str()));
    let rest: Map<String, Value> = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
    out.field("Metadata", &Value::Object(rest), 0);
    let fields = object.as_object().into_iter().flatten();
    let secret = at("/apiVersion") == "v1" && at("/kind") == "Secret";
    for (key, value) in
        fields.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        match value {
            Value::Object(data) if secret => out.field(&title(key), &sizes(data), 0),
            _ => out.field(&title(key), value, 0),
        }
    }
    out.0.push_str(&happened(events));
    harmless(&out.0)
}

/// Of the data of a Secret only how much there is, as kubectl does.
fn sizes(data: &Map<String, Value>) -> Value {
    let size = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let bytes = text.trim_end_matches('=').len() * 3 / 4;
        Value::String(format!("{bytes} bytes"))
    };
    data.iter().map(|(key, value)| (key.clone(), size(value))).collect()
}

/// Labels or annotations, a line each, but for copies of the object.
fn pairs(map: Option<&Value>, sign: &str) -> Vec<String> {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    let kept = map.filter(|(key, _)| !COPIES.contains(&key.as_str()));
    kept.map(|(key, value)| format!("{key}{sign}{}", shown(value))).collect()
}

/// The events about an object, the latest last.
fn happened(events: &[Value]) -> String {
    if events.is_empty() {
        return "Events:  <none>\n".to_owned();
    }
    let at = |event: &Value, pointer: &str| event.pointer(pointer).map(shown).unwrap_or_default();
    let row = |event: &Value| {
        ["/type", "/reason", "/lastTimestamp", "/source/component", "/message"]
            .map(|pointer| at(event, pointer))
            .to_vec()
    };
    let headings = ["Type", "Reason", "Last seen", "From", "Message"].map(str::to_owned).to_vec();
    let grid = Grid { headings, rows: events.iter().map(row).collect() };
    let table = grid.text(true);
    table.lines().fold("Events:\n".to_owned(), |text, line| text + "  " + line + "\n")
}

#[derive(Default)]
struct Lines(String);

/// Where the values at the top begin.
const TOP: usize = 14;

impl Lines {
    fn pairs(&mut self, pairs: &[(&str, String)]) {
        for (key, value) in pairs {
            let _ = writeln!(self.0, "{:TOP$}{value}", format!("{key}:"));
        }
    }

    /// Several values of a key, each on a line of its own.
    fn map_of(&mut self, key: &str, values: &[String]) {
        let none = ["<none>".to_owned()];
        let values = if values.is_empty() { &none } else { values };
        for (position, value) in values.iter().enumerate() {
            let key = if position == 0 { format!("{key}:") } else { String::new() };
            let _ = writeln!(self.0, "{key:TOP$}{value}");
        }
    }

    fn field(&mut self, title: &str, value: &Value, indent: usize) {
        let pad = " ".repeat(indent);
        match value {
            Value::Object(map) if map.is_empty() => {
                let _ = writeln!(self.0, "{pad}{title}:");
            }
            Value::Object(map) => {
                let _ = writeln!(self.0, "{pad}{title}:");
                self.fields(map, indent + 2);
            }
            Value::Array(list) => {
                let _ = writeln!(self.0, "{pad}{title}:");
                for item in list {
                    self.item(item, indent + 2);
                }
            }
            plain => {
                let _ = writeln!(self.0, "{pad}{title}:  {}", shown(plain));
            }
        }
    }

    fn fields(&mut self, map: &Map<String, Value>, indent: usize) {
        for (key, value) in map {
            self.field(&title(key), value, indent);
        }
    }

    fn item(&mut self, item: &Value, indent: usize) {
        match item {
            Value::Object(map) => self.fields(map, indent),
            Value::Array(list) => list.iter().for_each(|inner| self.item(inner, indent + 2)),
            plain => {
                let _ = writeln!(self.0, "{}{}", " ".repeat(indent), shown(plain));
            }
        }
    }
}

/// A field's name as words: `serviceAccountName` becomes `Service Account Name`. What is no such name
/// stays as it is.
fn title(key: &str) -> String {
    if !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return key.to_owned();
    }
    let mut words = String::new();
    let mut before = ' ';
    for c in key.chars() {
        if c.is_ascii_uppercase() && !before.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(if words.is_empty() { c.to_ascii_uppercase() } else { c });
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_shown() {
        let object = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "web", "uid": "1", "labels": {"a": "b", "c": "d"},
                "annotations": {"tortie.dev/applied": "{}", "note": "x"}},
            "spec": {"order": 5, "types": ["Ingress"], "ingress": [
                {"action": "Allow", "destination": {"ports": [80]}}], "selector": "app == 'web'"},
        });
        let want = "\
Name:         web
Namespace:    
Labels:       a=b
              c=d
Annotations:  note: x
API Version:  projectcalico.org/v3
Kind:         GlobalNetworkPolicy
Metadata:
  Uid:  1
Spec:
  Ingress:
    Action:  Allow
    Destination:
      Ports:
        80
  Order:  5
  Selector:  app == 'web'
  Types:
    Ingress
Events:  <none>
";
        assert_eq!(text(&object, &[]), want);
        let event = json!({"type": "Normal", "reason": "Started", "message": "m", "source": {"component": "lab"}});
        assert!(text(&object, &[event]).contains("  Normal   Started"));
    }

    #[test]
    fn names_become_words() {
        assert_eq!(title("serviceAccountName"), "Service Account Name");
        assert_eq!(title("hostIPs"), "Host IPs");
        assert_eq!(title("app.kubernetes.io/name"), "app.kubernetes.io/name");
    }
}
