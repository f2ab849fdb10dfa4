//! Reading and writing single objects, and lists of them.

use hyper::Method;
use serde_json::{Map, Value};

use super::call::Call;
use super::{ApiKind, Error, Server, Wanted};

/// How many objects are asked for at a time.
pub(super) const PAGE: usize = 500;

/// Which objects of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    /// A label selector, as `kubectl -l` takes it; empty for all.
    pub labels: String,
    /// A field selector, such as `metadata.name=x`; empty for all.
    pub fields: String,
}

/// A list of objects.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The revision it shows, as `resourceVersion`.
    pub revision: String,
    /// The objects, each with its `apiVersion` and `kind`.
    pub items: Vec<Value>,
}

/// How to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// Only pretend: the answer is what would be stored.
    pub dry_run: bool,
    /// In whose name fields are written; needed to apply.
    pub manager: Option<String>,
    /// What unknown fields are: `Strict`, `Warn` or `Ignore`.
    pub validation: Option<String>,
    /// The part of the object to write, such as `status`; the whole without.
    pub part: Option<String>,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delete {
    /// Only pretend.
    pub dry_run: bool,
    /// What becomes of objects it owns: `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<String>,
    /// How long the object may take to end, in seconds.
    pub grace_seconds: Option<u64>,
    /// Only if it is still the object with this `uid`.
    pub uid: Option<String>,
    /// Only if it is still of this `resourceVersion`.
    pub revision: Option<String>,
}

impl Delete {
    /// As it is sent: what is not said is left out.
    fn options(&self) -> Value {
        let mut options = Map::from_iter([
            ("apiVersion".to_owned(), Value::from("v1")),
            ("kind".to_owned(), Value::from("DeleteOptions")),
        ]);
        let preconditions =
            [("uid", self.uid.as_deref()), ("resourceVersion", self.revision.as_deref())];
        let preconditions =
            preconditions.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let preconditions: Map<_, _> =
            preconditions.map(|(name, value)| (name.to_owned(), value.into())).collect();
        let said = [
            ("dryRun", self.dry_run.then(|| Value::from(vec!["All"]))),
            ("propagationPolicy", self.propagation.as_deref().map(Value::from)),
            ("gracePeriodSeconds", self.grace_seconds.map(Value::from)),
            ("preconditions", (!preconditions.is_empty()).then(|| preconditions.into())),
        ];
        let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        options.extend(said);
        options.into()
    }
}

/// A change to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// Operations on paths (RFC 6902).
    Json(Value),
    /// Fields replaced, null removes (RFC 7386).
    Merge(Value),
    /// As merge, with lists merged by Kubernetes' rules.
    Strategic(Value),
    /// Server-side apply of a document; `force` takes fields from other managers.
    Apply {
        /// The document, with `apiVersion` and `kind`.
        document: Value,
        /// Whether others lose the fields it names.
        force: bool,
    },
}

impl Patch {
    fn content_type(&self) -> &'static str {
        match self {
            Patch::Json(_) => "application/json-patch+json",
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    fn body(&self) -> &Value {
        match self {
            Patch::Json(body) | Patch::Merge(body) | Patch::Strategic(body) => body,
            Patch::Apply { document, .. } => document,
        }
    }
}

impl Server {
    /// One object. The namespace of kinds that have none is not looked at.
    ///
    /// # Errors
    /// [`Error::is_not_found`], or as for every request: no answer, or a refusal.
    pub async fn get(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Value, Error> {
        self.call(Call::get(kind.object(namespace, name, None)?)).await
    }

    /// The objects of a namespace, or of all without one.
    ///
    /// # Errors
    /// As for every request.
    pub async fn list(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        select: &Select,
    ) -> Result<List, Error> {
        let mut page = self.page(kind, namespace, select, PAGE, "").await?;
        let mut items = std::mem::take(&mut page.list.items);
        while !page.next.is_empty() {
            match self.page(kind, namespace, select, PAGE, &page.next).await {
                Ok(next) => page = next,
                // It took so long that the revision is gone: all at once, then.
                Err(error) if error.is_expired() => {
                    return Ok(self.page(kind, namespace, select, 0, "").await?.list);
                }
                Err(error) => return Err(error),
            }
            items.append(&mut page.list.items);
        }
        Ok(List { revision: page.list.revision, items })
    }

    /// Everything that is wanted, from where the server has it; nothing if it has no such kind.
    ///
    /// # Errors
    /// As for every request.
    pub async fn list_wanted(&self, wanted: &Wanted) -> Result<Option<List>, Error> {
        let Wanted { kind, namespace, select, .. } = wanted;
        let namespace = namespace.as_deref();
        let listed = match self.list(kind, namespace, select).await {
            Err(error) if error.is_not_found() => match self.stand_in(wanted).await? {
                Some(instead) => self.list(instead, namespace, select).await,
                None => Err(error),
            },
            listed => listed,
        };
        match listed {
            Err(error) if error.is_not_found() => Ok(None),
            listed => listed.map(Some),
        }
    }

    /// Where else to look for a kind that the server does not have: nowhere if it has others of its
    /// group and version.
    pub(super) async fn stand_in<'w>(
        &self,
        wanted: &'w Wanted,
    ) -> Result<Option<&'w ApiKind>, Error> {
        match &wanted.instead {
            Some(instead) if !self.serves(&wanted.kind).await? => Ok(Some(instead)),
            _ => Ok(None),
        }
    }

    /// Whether the server has the group and version of a kind.
    pub(super) async fn serves(&self, kind: &ApiKind) -> Result<bool, Error> {
        match self.call(Call::get(kind.root())).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores a new object, and gives it as it was stored.
    ///
    /// # Errors
    /// [`Error::is_already_there`], or as for every request.
    pub async fn create(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        object: &Value,
        write: &Write,
    ) -> Result<Value, Error> {
        let path = kind.collection(namespace);
        self.call(Call::new(Method::POST, path).write(write).body("application/json", object)).await
    }

    /// Replaces an object, and gives it as it was stored.
    ///
    /// # Errors
    /// [`Error::is_conflict`] if it has a `resourceVersion` that is not the current one, or as for
    /// every request.
    pub async fn replace(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        name: &str,
        object: &Value,
        write: &Write,
    ) -> Result<Value, Error> {
        let path = kind.object(namespace, name, write.part.as_deref())?;
        self.call(Call::new(Method::PUT, path).write(write).body("application/json", object)).await
    }

    /// Changes an object, and gives it as it was stored.
    ///
    /// # Errors
    /// As for every request.
    pub async fn patch(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        name: &str,
        patch: &Patch,
        write: &Write,
    ) -> Result<Value, Error> {
        let path = kind.object(namespace, name, write.part.as_deref())?;
        let force = matches!(patch, Patch::Apply { force: true, .. });
        let call = Call::new(Method::PATCH, path)
            .write(write)
            .with("force", if force { "true" } else { "" });
        self.call(call.body(patch.content_type(), patch.body())).await
    }

    /// Deletes an object, and gives what the server says of it: its last state, or a Status.
    ///
    /// # Errors
    /// [`Error::is_not_found`], or as for every request.
    pub async fn delete(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        name: &str,
        delete: &Delete,
    ) -> Result<Value, Error> {
        let call = Call::new(Method::DELETE, kind.object(namespace, name, None)?);
        self.call(call.body("application/json", &delete.options())).await
    }

    /// Any other request: `path` begins with `/` and may have a query; `accept` asks for another
    /// form than JSON documents, such as a Table in JSON.
    ///
    /// # Errors
    /// As for every request, and if the method is none.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        accept: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let method = Method::from_bytes(method.as_bytes());
        let method = method.map_err(|error| self.not_understood(error.to_string()))?;
        let mut call = Call::new(method, path.to_owned());
        if let Some(accept) = accept {
            call = call.accept(accept);
        }
        if let Some(body) = body {
            call = call.body("application/json", body);
        }
        self.call(call).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deleting_says_what_was_said() {
        let plain = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        assert_eq!(Delete::default().options(), plain);
        let delete = Delete {
            dry_run: true,
            propagation: Some("Orphan".to_owned()),
            grace_seconds: Some(0),
            uid: Some("u".to_owned()),
            revision: None,
        };
        let said = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"], "gracePeriodSeconds": 0,
            "propagationPolicy": "Orphan", "preconditions": {"uid": "u"},
        });
        assert_eq!(delete.options(), said);
    }
}
