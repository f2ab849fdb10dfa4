//! Requests: how they are written, and how their answers are read.

use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::{ApiKind, Error, List, Select, Server, Write};

/// How long an answer may take in all.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stands for itself in paths and queries.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request before it is sent.
pub(super) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    accept: String,
    body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    pub(super) fn new(method: Method, path: String) -> Call {
        Call { method, path, query: Vec::new(), accept: "application/json".into(), body: None }
    }

    pub(super) fn get(path: String) -> Call {
        Call::new(Method::GET, path)
    }

    pub(super) fn accept(self, accept: &str) -> Call {
        Call { accept: accept.to_owned(), ..self }
    }

    /// Adds to the query, unless the value is empty.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Call {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((name, value));
        }
        self
    }

    pub(super) fn select(self, select: &Select) -> Call {
        self.with("labelSelector", select.labels.as_str())
            .with("fieldSelector", select.fields.as_str())
    }

    pub(super) fn body(self, content_type: &'static str, body: &Value) -> Call {
        Call { body: Some((content_type, body.to_string().into_bytes())), ..self }
    }

    pub(super) fn write(self, write: &Write) -> Call {
        self.with("dryRun", if write.dry_run { "All" } else { "" })
            .with("fieldManager", write.manager.clone().unwrap_or_default())
            .with("fieldValidation", write.validation.clone().unwrap_or_default())
    }

    pub(super) fn request(self) -> Result<Request<Vec<u8>>, String> {
        let query = self
            .query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, &PLAIN)));
        let query = query.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() {
            ""
        } else if self.path.contains('?') {
            "&"
        } else {
            "?"
        };
        let request = Request::builder()
            .method(self.method)
            .uri(format!("{}{mark}{query}", self.path))
            .header(ACCEPT, self.accept);
        let request = match self.body {
            Some((content_type, body)) => request.header(CONTENT_TYPE, content_type).body(body),
            None => request.body(Vec::new()),
        };
        request.map_err(|error| error.to_string())
    }
}

impl ApiKind {
    /// Where its group and version are.
    pub(super) fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// Where its objects are: those of a namespace, or all without one.
    pub(super) fn collection(&self, namespace: Option<&str>) -> String {
        let root = self.root();
        match namespace {
            Some(namespace) if self.namespaced => {
                format!("{root}/namespaces/{}/{}", segment(namespace), self.plural)
            }
            _ => format!("{root}/{}", self.plural),
        }
    }

    /// Where one of them is. What names none would mean all of them, or something else: to delete an
    /// object without a name is to delete every object.
    pub(super) fn object(
        &self,
        namespace: Option<&str>,
        name: &str,
        part: Option<&str>,
    ) -> Result<String, Error> {
        if matches!(name, "" | "." | "..") {
            return Err(Error::Name(name.to_owned()));
        }
        let object = format!("{}/{}", self.collection(namespace), segment(name));
        Ok(match part {
            Some(part) => format!("{object}/{}", segment(part)),
            None => object,
        })
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, &PLAIN).to_string()
}

/// Part of a list.
pub(super) struct Page {
    pub(super) list: List,
    /// What to ask on with; empty at the end.
    pub(super) next: String,
}

impl Server {
    /// A page of at most `limit` objects; no limit if 0.
    pub(super) async fn page(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        select: &Select,
        limit: usize,
        from: &str,
    ) -> Result<Page, Error> {
        let limit = if limit == 0 { String::new() } else { limit.to_string() };
        let call = Call::get(kind.collection(namespace)).select(select);
        let mut answer = self.call(call.with("limit", limit).with("continue", from)).await?;
        let text = |pointer: &str| {
            answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (revision, next) = (text("/metadata/resourceVersion"), text("/metadata/continue"));
        let mut items = match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            // Go writes an empty list so.
            Some(Value::Null) => Vec::new(),
            _ => return Err(self.not_understood("a list without items".to_owned())),
        };
        items.iter_mut().for_each(|item| type_meta(item, kind));
        Ok(Page { list: List { revision, items }, next })
    }

    /// A watch of what follows a revision; it ends itself after `lifetime`.
    pub(super) fn watch(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        select: &Select,
        revision: &str,
        lifetime: Duration,
    ) -> Call {
        Call::get(kind.collection(namespace))
            .select(select)
            .with("watch", "1")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", revision)
            .with("timeoutSeconds", lifetime.as_secs().to_string())
    }

    pub(super) async fn call(&self, call: Call) -> Result<Value, Error> {
        let request = call.request().map_err(|reason| self.not_understood(reason))?;
        match timeout(PATIENCE, self.0.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| Error::from_kube(self.url(), error)),
            Err(_) => Err(self.silent(PATIENCE)),
        }
    }

    pub(super) fn silent(&self, waited: Duration) -> Error {
        let reason = format!("no answer within {} s", waited.as_secs());
        Error::Unreachable { url: self.url().to_owned(), reason }
    }

    pub(super) fn not_understood(&self, reason: String) -> Error {
        Error::Answer { url: self.url().to_owned(), reason }
    }

    pub(super) fn understood<T: DeserializeOwned>(&self, answer: Value) -> Result<T, Error> {
        serde_json::from_value(answer).map_err(|error| self.not_understood(error.to_string()))
    }
}

/// Servers leave out of a list's items what the list's kind says already.
fn type_meta(item: &mut Value, kind: &ApiKind) {
    if let Some(fields) = item.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.kind.clone().into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(group: &str, namespaced: bool) -> ApiKind {
        ApiKind {
            group: group.to_owned(),
            version: "v1".to_owned(),
            kind: "Thing".to_owned(),
            plural: "things".to_owned(),
            namespaced,
        }
    }

    #[test]
    pub(super) fn objects_have_their_paths() {
        let (core, cluster) = (kind("", true), kind("a.b", false));
        assert_eq!(core.collection(None), "/api/v1/things");
        assert_eq!(core.collection(Some("x")), "/api/v1/namespaces/x/things");
        assert_eq!(cluster.collection(Some("x")), "/apis/a.b/v1/things");
        assert_eq!(
            core.object(Some("x"), "a/../b?c", Some("status")).unwrap(),
            "/api/v1/namespaces/x/things/a%2F..%2Fb%3Fc/status"
        );
        for name in ["", ".", ".."] {
            assert!(matches!(core.object(Some("x"), name, None), Err(Error::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn queries_are_encoded_and_empty_ones_left_out() {
        let select = Select { labels: "a in (b, c)".to_owned(), fields: String::new() };
        let call = Call::get("/api/v1/things".to_owned()).select(&select).with("limit", "1");
        let uri = call.request().unwrap().uri().to_string();
        assert_eq!(uri, "/api/v1/things?labelSelector=a%20in%20%28b%2C%20c%29&limit=1");
        let plain = Call::get("/version".to_owned()).request().unwrap();
        assert_eq!(plain.uri(), "/version");
    }

    #[test]
    fn items_of_a_list_know_their_kind() {
        let mut item = json!({"metadata": {"name": "a"}});
        type_meta(&mut item, &kind("a.b", true));
        assert_eq!(item["apiVersion"], "a.b/v1");
        assert_eq!(item["kind"], "Thing");
    }
}
