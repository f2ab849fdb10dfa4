//! What a cluster needs to run the webhook: `deploy/webhook/webhook.yaml`, filled in.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use crate::cli::Failure;
use crate::tls::Pki;

/// The manifests, with `NAME`s in double braces where something is to be filled in.
const TEMPLATE: &str = include_str!("../../../../deploy/webhook/webhook.yaml");

/// Writes the manifests to standard output, with an authority and a certificate that were made for
/// them; the authority's key is kept nowhere.
pub(super) fn print(namespace: &str, image: &str) -> Result<(), Failure> {
    let text = filled(namespace, image, OffsetDateTime::now_utc())?;
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|error| Failure::unreachable(format!("output: {error}")))
}

fn filled(namespace: &str, image: &str, now: OffsetDateTime) -> Result<String, Failure> {
    let names = [format!("tortie-webhook.{namespace}.svc")];
    let (root, identity) = Pki::once(&names, now).map_err(Failure::unreachable)?;
    let encoded = |text: &str| STANDARD.encode(text);
    let values = [
        ("namespace", namespace.to_owned()),
        ("image", image.to_owned()),
        ("ca", encoded(&root)),
        ("certificate", encoded(&identity.certificate)),
        ("key", encoded(&identity.key)),
    ];
    let fill = |text: String, (name, value): &(&str, String)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    };
    // What the comment at the top says is about the file.
    let body = TEMPLATE.split_once("---\n").map_or(TEMPLATE, |(_, body)| body);
    Ok(values.iter().fold(body.to_owned(), fill))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_whole() {
        let text = filled("policy", "r.example.com/tortie:1", OffsetDateTime::now_utc()).unwrap();
        assert!(!text.contains("{{"), "{text}");
        let documents: Vec<serde_json::Value> = text
            .split("---\n")
            .map(|document| tortie_client::document(document.as_bytes()).unwrap())
            .collect();
        let kinds: Vec<&str> =
            documents.iter().map(|document| crate::object::text(document, "/kind")).collect();
        let expected = [
            "Namespace",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "Secret",
            "Service",
            "Deployment",
            "ValidatingWebhookConfiguration",
        ];
        assert_eq!(kinds, expected);
        let hook = &documents[7]["webhooks"][0];
        assert_eq!(hook["failurePolicy"], "Fail");
        assert_eq!(hook["clientConfig"]["service"]["namespace"], "policy");
        // Every kind that Tortie gives a meaning is asked about, and exists.
        let registry = crate::kinds::Registry::built_in();
        for rule in hook["rules"].as_array().unwrap() {
            let group = rule["apiGroups"][0].as_str().unwrap();
            let version = rule["apiVersions"][0].as_str().unwrap();
            for resource in rule["resources"].as_array().unwrap() {
                let plural = resource.as_str().unwrap();
                assert!(registry.find(group, version, plural).is_some(), "{group} {plural}");
            }
        }
        let asked = text.clone();
        let definitions = tortie_model::crd::all();
        for definition in &definitions {
            let plural = crate::object::text(definition, "/spec/names/plural");
            assert!(asked.contains(&format!("- {plural}\n")), "{plural}");
        }
    }
}
