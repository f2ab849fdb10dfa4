//! What may be stored: what can be enforced, by policy's own conversion.

use serde_json::Value;
use tortie_model::{FieldError, Object, Resource};
use tortie_policy::{Compat, Single};

use crate::api::Api;
use crate::defaults::CALICO;
use crate::kinds::{Kind, from_definition};
use crate::object;
use crate::places::is_definition;
use crate::standards;
use crate::status::Status;

/// Kinds whose names need not be DNS names.
const FREELY_NAMED: &str = "rbac.authorization.k8s.io";

impl Api {
    /// Whether an object can be what it says.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) async fn admit(&self, kind: &Kind, document: &Value) -> Result<(), Status> {
        let name = object::name(document);
        let mut errors = Vec::new();
        check_name(kind, name, &mut errors);
        if is_definition(kind) {
            if let Err(wrong) = from_definition(document) {
                errors.push(FieldError::new(wrong.field, wrong.reason));
            }
            errors.extend(self.taken(document));
        } else {
            let compat = self.compat().await?;
            errors.extend(wrong_with(document, compat));
        }
        if !errors.iter().any(|error| error.field.starts_with("metadata")) {
            errors.extend(standards::check(document));
        }
        errors.extend(standards::of_kind(kind, document));
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(kind, name, &errors)) }
    }

    /// Whether a definition is of a kind that is there without it, in a version that is not: its
    /// objects would be the same ones, and nothing would check them.
    fn taken(&self, definition: &Value) -> Option<FieldError> {
        let of = |pointer: &str| object::text(definition, pointer);
        let (group, plural) = (of("/spec/group"), of("/spec/names/plural"));
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        let mut names =
            versions.into_iter().flatten().map(|version| object::text(version, "/name"));
        let known = |version: &str| self.kind(group, version, plural).is_ok();
        let resource = self.is_built_in(group, plural);
        let other = names.find(|version| resource && !known(version))?;
        let why = format!("`{plural}.{group}` is built in, and not in version `{other}`");
        Some(FieldError::new("spec.versions", why))
    }

    /// The points in which the cluster has chosen Calico's behaviour.
    pub(crate) async fn compat(&self) -> Result<Compat, Status> {
        let kind = self.kind("tortie.dev", "v1", "tortieconfigurations")?;
        let page = self.all(&kind, None).await?;
        let documents = page.objects.iter().map(|object| object::decode(&kind, object));
        let chosen = documents.map(|document| chosen_by(&document));
        let chosen = chosen.fold(Compat::STRICT, Compat::union);
        self.standing.choose(chosen);
        Ok(chosen)
    }
}

/// The points of compatibility that a TortieConfiguration chooses.
pub(crate) fn chosen_by(configuration: &Value) -> Compat {
    let names = configuration.pointer("/spec/compat").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.filter_map(|name| Compat::parse([name]).ok()).fold(Compat::STRICT, Compat::union)
}

/// What `tortie validate` would say of one document.
pub(crate) fn wrong_with(document: &Value, compat: Compat) -> Vec<FieldError> {
    match tortie_model::decode(document.clone()) {
        Err(errors) => errors.into_iter().flat_map(|error| error.errors).collect(),
        Ok(resources) => {
            resources.iter().flat_map(|resource| meaningless(resource, compat)).collect()
        }
    }
}

fn meaningless(resource: &Resource, compat: Compat) -> Vec<FieldError> {
    if let Object::TortieConfiguration(configuration) = &resource.object {
        let names = configuration.spec.compat.iter().enumerate();
        let wrong = names.filter_map(|(index, name)| {
            let error = Compat::parse([name.as_str()]).err()?;
            Some(FieldError::new(format!("spec.compat[{index}]"), error.to_string()))
        });
        return wrong.collect();
    }
    Single::read_with(resource, compat).1
}

/// One label of a DNS name.
fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.starts_with('-') && !text.ends_with('-') && !text.is_empty() && text.chars().all(inner)
}

fn check_name(kind: &Kind, name: &str, errors: &mut Vec<FieldError>) {
    let fine = match kind.group.as_str() {
        FREELY_NAMED => {
            !name.is_empty() && !name.contains(['/', '%']) && ![".", ".."].contains(&name)
        }
        "" if kind.kind == "Service" => name.len() <= 63 && is_label(name),
        _ => name.len() <= 253 && name.split('.').all(is_label),
    };
    // The conversion says it better where it knows the kind.
    if !fine && kind.group != CALICO {
        errors.push(
            FieldError::new("metadata.name", format!("`{name}` is not a valid name")).hint(
                "use lower-case letters, digits, `-` and `.`, with a letter or digit at each end",
            ),
        );
    }
}
