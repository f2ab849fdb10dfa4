//! AdmissionReviews: what is asked, and what is answered.

use serde_json::{Value, json};
use tortie_policy::Compat;

use crate::admission;
use crate::kinds::Registry;
use crate::object::{self, text};
use crate::status::Status;

/// The version of the question that is understood.
const VERSION: (&str, &str) = ("admission.k8s.io/v1", "AdmissionReview");

/// The answer to a review.
///
/// # Errors
/// If it is no review of a version that is understood.
pub(super) fn answer(registry: &Registry, review: &Value, compat: Compat) -> Result<Value, Status> {
    let (version, kind) = VERSION;
    let request = review.get("request").filter(|request| request.is_object());
    let fits = text(review, "/apiVersion") == version && text(review, "/kind") == kind;
    let (Some(request), true) = (request, fits) else {
        return Err(Status::bad_request(format!(
            "the body is no {kind} of {version} with a request"
        )));
    };
    let uid = text(request, "/uid");
    if uid.is_empty() {
        return Err(Status::bad_request("request.uid: is required"));
    }
    let mut response = json!({"uid": uid, "allowed": true});
    if let Err(status) = judge(registry, request, compat) {
        let fields = object::map(&mut response);
        fields.insert("allowed".into(), false.into());
        fields.insert("status".into(), status.document());
    }
    Ok(json!({"apiVersion": version, "kind": kind, "response": response}))
}

fn judge(registry: &Registry, request: &Value, compat: Compat) -> Result<(), Status> {
    if !["CREATE", "UPDATE"].contains(&text(request, "/operation")) {
        return Ok(()); // what goes needs no meaning
    }
    let object = request.get("object").filter(|object| object.is_object());
    let object = object.ok_or_else(|| Status::bad_request("request.object: is required"))?;
    // Whatever is wrong with it, nothing must keep it from going.
    if object::is_terminating(object) {
        return Ok(());
    }
    let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let Some(kind) = registry.of_object(version, kind) else {
        let message =
            format!("`{kind}` of `{version}` is not known here: nothing can be said of it");
        return Err(Status::bad_request(message));
    };
    // The name comes after admission if the server makes it up.
    let mut object = object.clone();
    if object::name(&object).is_empty() {
        let metadata = object::fields(&mut object, "metadata");
        metadata.insert("name".into(), "generated".into());
    }
    let errors = admission::wrong_with(&object, compat);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind, object::name(&object), &errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: &str, object: &Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": operation, "object": object},
        })
    }

    fn policy(selector: &str) -> Value {
        json!({
            "apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
            "metadata": {"name": "web"}, "spec": {"selector": selector},
        })
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let registry = Registry::built_in();
        let mut going = policy("app = x");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut unnamed = policy("all()");
        unnamed["metadata"] = json!({"generateName": "web-"});
        let pass = "allowed";
        let cases = [
            ("CREATE", policy("app == 'x'"), pass),
            ("UPDATE", policy("app == 'x'"), pass),
            ("CREATE", unnamed, pass),
            ("CREATE", policy("app = x"), "spec.selector"),
            ("UPDATE", policy("app = x"), "spec.selector"),
            ("UPDATE", going, pass),
            ("DELETE", Value::Null, pass),
            ("CREATE", Value::Null, "request.object"),
            ("CREATE", json!({"apiVersion": "x/v1", "kind": "Y"}), "not known here"),
        ];
        for (operation, object, expected) in cases {
            let answer = answer(&registry, &asked(operation, &object), Compat::STRICT).unwrap();
            assert_eq!(answer["response"]["uid"], "u");
            let allowed = answer["response"]["allowed"] == true;
            let message = text(&answer, "/response/status/message");
            let said = if allowed { pass } else { message };
            assert!(said.contains(expected), "{operation} {object}: {said}");
        }
        for wrong in [
            json!({}),
            json!([]),
            json!({"request": {}}),
            asked("CREATE", &Value::Null)["request"].clone(),
        ] {
            assert!(answer(&registry, &wrong, Compat::STRICT).is_err(), "{wrong}");
        }
    }
}
