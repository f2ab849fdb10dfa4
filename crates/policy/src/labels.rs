//! Labels that Tortie generates on endpoints, as Calico does.

use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use tortie_model::FieldError;

use crate::Labels;

/// On an endpoint: its namespace.
pub(crate) const NAMESPACE: &str = "projectcalico.org/namespace";
/// On an endpoint: the name of its service account.
pub(crate) const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
/// On an endpoint: what made it; `k8s` for pods.
pub(crate) const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// On a namespace or service account: its own name.
pub(crate) const NAME: &str = "projectcalico.org/name";
/// On a namespace: its own name, filled in by the API server.
pub(crate) const METADATA_NAME: &str = "kubernetes.io/metadata.name";

/// Prefixes that only Tortie may use (house rule 12).
const RESERVED: [&str; 3] = ["pcns.", "pcsa.", "projectcalico.org/"];

/// A namespace's label as its endpoints inherit it.
pub(crate) fn namespace_label(label: &str) -> String {
    format!("pcns.{label}")
}

/// A service account's label as its endpoints inherit it.
pub(crate) fn service_account_label(label: &str) -> String {
    format!("pcsa.{label}")
}

/// Whether a label has a prefix that only Tortie may use.
pub(crate) fn is_reserved(label: &str) -> bool {
    RESERVED.iter().any(|prefix| label.starts_with(prefix))
}

/// Labels from the wire, refusing the reserved prefixes: whoever could set them could pose as
/// another namespace or service account.
pub(crate) fn from_wire<'a>(
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    errors: &mut Vec<FieldError>,
) -> Labels {
    let mut result = Labels::new();
    for (key, value) in labels {
        if let Some(prefix) = RESERVED.iter().find(|prefix| key.starts_with(*prefix)) {
            let reason = format!("label `{key}`: the prefix `{prefix}` is reserved");
            let hint = "give the label another name: labels of that prefix are generated";
            errors.push(FieldError::new("metadata.labels", reason).hint(hint));
            continue;
        }
        result.insert(key.to_smolstr(), value.to_smolstr());
    }
    result
}

/// Adds inherited labels; a label the endpoint already has wins.
pub(crate) fn inherit(own: &mut Labels, prefix: &str, inherited: &Labels) {
    for (key, value) in inherited {
        own.entry(format_smolstr!("{prefix}{key}")).or_insert_with(|| value.clone());
    }
}

/// The labels of a namespace as selectors see them, its name included.
pub(crate) fn with_name(mut labels: Labels, name: &SmolStr) -> Labels {
    labels.insert(NAME.into(), name.clone());
    labels
}
