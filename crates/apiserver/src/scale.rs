//! The `scale` of workloads: their number of replicas, as a resource of its own.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::Api;
use crate::object::{self, fields};
use crate::path::Target;
use crate::query::Query;
use crate::status::Status;

fn scale_of(workload: &Value) -> Value {
    let metadata = |field: &str| workload.pointer(&format!("/metadata/{field}")).cloned();
    let kept = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata: serde_json::Map<String, Value> =
        kept.iter().filter_map(|field| Some(((*field).to_owned(), metadata(field)?))).collect();
    let number = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", object::shown(value)))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"), "selector": labels.join(",")},
    })
}

fn whole(target: &Target) -> Target {
    Target { subresource: None, ..target.clone() }
}

impl Api {
    /// The scale of a workload.
    pub(crate) async fn scale(&self, target: &Target) -> Result<Value, Status> {
        Ok(scale_of(&self.get(&whole(target)).await?))
    }

    /// Changes the scale of a workload.
    pub(crate) async fn rescale(
        self: &Arc<Self>,
        target: &Target,
        query: &Query,
        change: impl Fn(&Value) -> Result<Value, Status> + Send + Sync,
    ) -> Result<Value, Status> {
        if !target.kind.scale {
            return Err(Status::no_such_path());
        }
        let change = |old: &Value| {
            let wanted = change(&scale_of(old))?;
            let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0);
            let mut new = old.clone();
            let revision = object::text(&wanted, "/metadata/resourceVersion");
            if !revision.is_empty() {
                fields(&mut new, "metadata").insert("resourceVersion".into(), revision.into());
            }
            fields(&mut new, "spec").insert("replicas".into(), replicas.into());
            Ok(new)
        };
        Ok(scale_of(&self.change(&whole(target), query, change).await?))
    }
}
