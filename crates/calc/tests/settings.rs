//! Settings that are wrong are named, and do not count.
#![allow(clippy::unwrap_used, reason = "test code")]

use serde_json::json;
use tortie_calc::{Calculation, Key, Update};
use tortie_model::Resource;

fn felix(spec: &serde_json::Value) -> Resource {
    let document = json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
        "metadata": {"name": "default"}, "spec": spec});
    tortie_model::decode(document).unwrap().remove(0)
}

#[test]
fn what_must_not_be_is_named_and_the_rest_counts() {
    let mut calculation = Calculation::new(Some("a".into()));
    calculation.in_sync();
    let mut told = |spec: serde_json::Value| {
        let resource = felix(&spec);
        // As a source that lists everything again does.
        for _ in 0..2 {
            calculation.apply(&Key::of(&resource), Some(&resource));
        }
        let mut updates = Vec::new();
        calculation.flush(&mut updates);
        let settings = updates.into_iter().find_map(|update| match update {
            Update::Settings(settings) => Some(settings.host.clone()),
            _ => None,
        });
        let errors = calculation.invalid().flat_map(|(_, errors)| errors);
        (settings, errors.map(|error| error.field.clone()).collect::<Vec<_>>())
    };
    let (settings, errors) =
        told(json!({"dropActionOverride": "Accept", "disableConntrackInvalidCheck": true}));
    assert_eq!(errors, ["spec.dropActionOverride"]);
    assert!(!settings.unwrap().drop_invalid);
    assert_eq!(told(json!({"disableConntrackInvalidCheck": true})).1, [""; 0]);
}
