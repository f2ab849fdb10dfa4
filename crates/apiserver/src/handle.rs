//! From a request to an answer.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::Api;
use crate::auth::{self, Caller, Lasting, Peer};
use crate::body;
use crate::discovery;
use crate::kinds::Verbs;
use crate::openapi;
use crate::patch::Change;
use crate::path::{Path, Target};
use crate::query::Query;
use crate::status::Status;
use crate::strict;
use crate::view::{Listed, View, accept, json_response, parameter, with_type};
use crate::watch::Asked;
use crate::write::Deletion;

/// How much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// Requests but for watches; more are told to come again.
    pub requests: usize,
    /// Watches, logs and commands; more are told to come again.
    pub watches: usize,
    /// How long a client may take to send a request's head, and its body.
    pub patience: Duration,
    /// How often watchers who want it are told how far they are.
    pub bookmarks: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 8192,
            requests: 400,
            watches: 6000,
            patience: Duration::from_secs(60),
            bookmarks: Duration::from_secs(60),
        }
    }
}

/// Answers requests.
pub(crate) struct Handler {
    pub(crate) api: Arc<Api>,
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    pub(crate) patience: Duration,
    bookmarks: Duration,
}

/// A request to a resource.
pub(crate) struct Call<'a> {
    pub(crate) target: &'a Target,
    pub(crate) query: Query,
    pub(crate) headers: &'a HeaderMap,
    peer: &'a Peer,
}

impl Call<'_> {
    /// What the client is to be warned of in a document.
    fn check_fields(&self, document: &Value) -> Result<Vec<HeaderValue>, Status> {
        strict::check_fields(&self.target.kind, document, self.query.validation)
    }
}

/// An answer with warnings.
fn warned(mut response: Response<Body>, warnings: Vec<HeaderValue>) -> Response<Body> {
    for warning in warnings {
        response.headers_mut().append(header::WARNING, warning);
    }
    response
}

impl Handler {
    pub(crate) fn new(api: Arc<Api>, limits: Limits) -> Handler {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (requests, watches) = (semaphore(limits.requests), semaphore(limits.watches));
        let Limits { patience, bookmarks, .. } = limits;
        Handler { api, requests, watches, patience, bookmarks }
    }

    /// The answer to a request, whatever it is.
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        peer: &Peer,
        address: Option<IpAddr>,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        match self.admitted(&head, body, peer).await {
            Ok(response) => response,
            Err(status) => {
                tracing::debug!(code = status.code().as_u16(), "refused");
                if status.code() == StatusCode::UNAUTHORIZED {
                    self.api.note_unknown(address, &status);
                }
                status.response()
            }
        }
    }

    /// What anybody may see, and the rest for those who are known.
    async fn admitted(
        &self,
        head: &Parts,
        body: Incoming,
        peer: &Peer,
    ) -> Result<Response<Body>, Status> {
        let caller = self.api.caller(peer, &head.headers).await?;
        match head.uri.path() {
            "/healthz" | "/livez" => health(head, &["ping"]),
            "/readyz" => {
                let answer = health(head, &["ping", "store"])?;
                self.api.reach_store().await?;
                Ok(answer)
            }
            "/version" | "/version/" => get_only(head, discovery::version),
            _ if caller.is_anonymous() => {
                Err(Status::unauthorized("show a client certificate or a bearer token"))
            }
            _ => self.answer(head, body, caller, peer).await,
        }
    }

    async fn answer(
        &self,
        head: &Parts,
        body: Incoming,
        caller: Caller,
        peer: &Peer,
    ) -> Result<Response<Body>, Status> {
        let path = head.uri.path();
        let method = head.method.as_str().to_ascii_lowercase();
        if path == "/" {
            self.api.access.permit_path(&caller, &method, path)?;
            let paths =
                json!({"paths": ["/api", "/apis", "/openapi/v2", "/openapi/v3", "/version"]});
            return get_only(head, || paths);
        }
        let registry = self.api.registry();
        if path.starts_with("/openapi/") {
            self.api.access.permit_path(&caller, &method, path)?;
            let permit = try_permit(&self.requests)?;
            let document = openapi::answer(&registry, path, head);
            drop(permit);
            return document;
        }
        let parsed = Path::parse(path, &registry)?;
        if !matches!(parsed, Path::Target(_)) {
            self.api.access.permit_path(&caller, &method, path)?;
        }
        match parsed {
            Path::CoreVersions | Path::Groups if head.method != Method::GET => {
                Err(Status::method_not_allowed())
            }
            Path::CoreVersions => Ok(discover(head, &registry, true)),
            Path::Groups => Ok(discover(head, &registry, false)),
            Path::Group(group) => {
                let document = discovery::group(&registry, &group)?;
                get_only(head, || document)
            }
            Path::Resources(group, version) => {
                let document = discovery::resources(&registry, &group, &version)?;
                get_only(head, || document)
            }
            Path::Target(target) => {
                let query = Query::parse(head.uri.query().unwrap_or_default())?;
                let call = Call { target: &target, query, headers: &head.headers, peer };
                self.permitted(head, call, body, caller).await
            }
        }
    }

    /// A request to a resource, if its caller may make it. What it changes is written down.
    async fn permitted(
        &self,
        head: &Parts,
        mut call: Call<'_>,
        body: Incoming,
        caller: Caller,
    ) -> Result<Response<Body>, Status> {
        let target = call.target;
        let act = self.api.act(caller, auth::verb(&head.method, target, &call.query));
        call.query.author = act.clone().into();
        let answer = async {
            self.api.access.permit_target(&act.caller, act.verb, target, &call.query)?;
            let tiers = self.api.visible_tiers(&act.caller, act.verb, target, &call.query);
            call.query.tiers = tiers.await?;
            if auth::connects(target) || auth::makes_tokens(target) {
                act.intend_on(target).await?;
            }
            self.resource(head, call, body).await
        };
        let answer = answer.await;
        let code = answer.as_ref().map_or_else(Status::code, Response::status);
        act.ended(target, code.as_u16(), answer.as_ref().err());
        answer
    }

    async fn resource(
        &self,
        head: &Parts,
        call: Call<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Status> {
        let method = &head.method;
        // Of one object there is nothing to be watched: lists are, by its name.
        if method == Method::GET && call.query.watch && call.target.name.is_none() {
            return self.watch(call, try_permit(&self.watches)?).await;
        }
        let _permit = try_permit(&self.requests)?;
        if call.target.is_of_node() {
            let permit = try_permit(&self.watches)?;
            return self.api.kubelet(call.target, head, permit).await;
        }
        if call.target.kind.verbs == Verbs::Create {
            return self.question(method, call, body).await;
        }
        match (method, &call.target.name) {
            (&Method::GET, Some(_)) => self.get(call).await,
            (&Method::GET, None) => self.list(call).await,
            (&Method::POST, None) => self.create(call, body).await,
            (&Method::POST, Some(_)) if auth::makes_tokens(call.target) => {
                self.token(call, body).await
            }
            (&Method::POST, Some(_)) => self.evict(call, body).await,
            (&Method::PUT, Some(_)) => self.update(call, body).await,
            (&Method::PATCH, Some(_)) => self.patch(call, body).await,
            (&Method::DELETE, _) => self.delete(call, body).await,
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn show(
        &self,
        call: &Call<'_>,
        code: StatusCode,
        mut document: Value,
    ) -> Result<Response<Body>, Status> {
        self.api.standing.complete(&call.target.kind, &mut document);
        let (include, now) = (call.query.include_object.as_deref(), self.api.environment.now());
        let shown = View::choose(call.headers)?.of(&call.target.kind, document, include, now);
        Ok(json_response(code, shown.to_string()))
    }

    /// Shows what was written, with warnings.
    fn written(
        &self,
        call: &Call<'_>,
        code: StatusCode,
        document: Value,
        warnings: Vec<HeaderValue>,
    ) -> Result<Response<Body>, Status> {
        Ok(warned(self.show(call, code, document)?, warnings))
    }

    async fn get(&self, call: Call<'_>) -> Result<Response<Body>, Status> {
        match call.target.subresource.as_deref() {
            None | Some("status") => {
                let document = self.api.get(call.target).await?;
                call.query.author.may_see(&call.target.kind, &document)?;
                self.show(&call, StatusCode::OK, document)
            }
            Some("scale") if call.target.kind.scale => {
                let document = self.api.scale(call.target).await?;
                Ok(json_response(StatusCode::OK, document.to_string()))
            }
            Some(_) => Err(Status::no_such_path()),
        }
    }

    async fn list(&self, call: Call<'_>) -> Result<Response<Body>, Status> {
        let view = View::choose(call.headers)?;
        let found = self.api.list(call.target, &call.query).await?;
        self.api.standing.prepare(&call.target.kind, &found.objects).await;
        let list = Listed {
            kind: &call.target.kind,
            standing: &self.api.standing,
            objects: &found.objects,
            revision: found.revision,
            more: found.more,
        };
        let (include, now) = (call.query.include_object.as_deref(), self.api.environment.now());
        Ok(json_response(StatusCode::OK, view.list(&list, include, now)))
    }

    async fn watch(
        &self,
        call: Call<'_>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Status> {
        if call.target.kind.verbs != Verbs::All {
            return Err(Status::method_not_allowed());
        }
        let view = View::choose(call.headers)?;
        let lasting = Lasting::new(call.peer, call.headers, &self.api);
        let asked = Asked { target: call.target.clone(), query: call.query, view };
        self.api.watch(asked, self.bookmarks, permit, lasting)
    }

    async fn create(&self, call: Call<'_>, body: Incoming) -> Result<Response<Body>, Status> {
        View::choose(call.headers)?;
        let document = body::document(call.headers, &body::read(body, self.patience).await?)?;
        if call.target.kind.namespaced && call.target.namespace.is_none() {
            return Err(Status::method_not_allowed());
        }
        let warnings = call.check_fields(&document)?;
        let created = self.api.create(call.target, &call.query, document).await?;
        self.written(&call, StatusCode::CREATED, created, warnings)
    }

    async fn update(&self, call: Call<'_>, body: Incoming) -> Result<Response<Body>, Status> {
        let document = body::document(call.headers, &body::read(body, self.patience).await?)?;
        if call.target.subresource.as_deref() == Some("scale") {
            let scale =
                self.api.rescale(call.target, &call.query, |_| Ok(document.clone())).await?;
            return Ok(json_response(StatusCode::OK, scale.to_string()));
        }
        let warnings = call.check_fields(&document)?;
        let updated = self.api.change(call.target, &call.query, |_| Ok(document.clone())).await?;
        self.written(&call, StatusCode::OK, updated, warnings)
    }

    async fn patch(&self, call: Call<'_>, body: Incoming) -> Result<Response<Body>, Status> {
        let kind = &call.target.kind;
        let patch = Change::read(kind, call.headers, &body::read(body, self.patience).await?)?;
        if call.target.subresource.as_deref() == Some("scale") {
            let apply = |old: &Value| patch.apply(kind, old);
            let scale = self.api.rescale(call.target, &call.query, apply).await?;
            return Ok(json_response(StatusCode::OK, scale.to_string()));
        }
        if let Change::Apply(wanted) = &patch {
            let warnings = call.check_fields(wanted)?;
            let (code, applied) = self.api.apply(call.target, &call.query, wanted).await?;
            return self.written(&call, code, applied, warnings);
        }
        let warnings = Mutex::new(Vec::new());
        let apply = |old: &Value| {
            let new = patch.apply(kind, old)?;
            let found = strict::check_new_fields(kind, old, &new, call.query.validation)?;
            *warnings.lock().unwrap_or_else(PoisonError::into_inner) = found;
            Ok(new)
        };
        let patched = self.api.change(call.target, &call.query, apply).await?;
        let warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.written(&call, StatusCode::OK, patched, warnings)
    }

    async fn delete(&self, call: Call<'_>, body: Incoming) -> Result<Response<Body>, Status> {
        let Target { kind, name, subresource, .. } = call.target;
        if subresource.is_some()
            || (name.is_none() && !kind.verbs().any(|v| v == "deletecollection"))
        {
            return Err(Status::method_not_allowed());
        }
        let body = body::read(body, self.patience).await?;
        let options =
            if body.is_empty() { Value::Null } else { body::document(call.headers, &body)? };
        strict::check_options(&options)?;
        let deletion = Deletion::read(&call.query, &options)?;
        let answer = if call.target.name.is_some() {
            self.api.delete(call.target, &deletion).await?
        } else {
            self.api.delete_all(call.target, &call.query, &deletion).await?
        };
        Ok(json_response(StatusCode::OK, answer.to_string()))
    }
}

fn try_permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    semaphore.clone().try_acquire_owned().map_err(|_| Status::too_many())
}

/// That all is well; with `?verbose`, what was looked at.
fn health(head: &Parts, looked_at: &[&str]) -> Result<Response<Body>, Status> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let verbose = head.uri.query().unwrap_or_default().split('&');
    let text = if verbose.into_iter().any(|one| one.split('=').next() == Some("verbose")) {
        let lines: String = looked_at.iter().map(|one| format!("[+]{one} ok\n")).collect();
        format!("{lines}{} check passed\n", head.uri.path().trim_matches('/'))
    } else {
        "ok".to_owned()
    };
    Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", text))
}

fn get_only(head: &Parts, document: impl FnOnce() -> Value) -> Result<Response<Body>, Status> {
    if head.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    Ok(json_response(StatusCode::OK, document().to_string()))
}

/// `/api` and `/apis`, all at once for clients that ask for it.
fn discover(head: &Parts, registry: &crate::kinds::Registry, core: bool) -> Response<Body> {
    let version = accept(&head.headers).find_map(|(media, parameters)| {
        let fits = media == "application/json"
            && parameter(&parameters, "as") == "APIGroupDiscoveryList"
            && parameter(&parameters, "g") == "apidiscovery.k8s.io";
        match parameter(&parameters, "v") {
            "v2" if fits => Some("v2"),
            "v2beta1" if fits => Some("v2beta1"),
            _ => None,
        }
    });
    let (media, document) = match version {
        Some("v2") => (
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            discovery::aggregated(registry, "v2", core),
        ),
        Some(version) => (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            discovery::aggregated(registry, version, core),
        ),
        None if core => ("application/json", discovery::core_versions()),
        None => ("application/json", discovery::groups(registry)),
    };
    with_type(StatusCode::OK, media, document.to_string())
}
