//! Requests that store nothing: questions, tokens, and deletions that ask first.

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;

use crate::body;
use crate::handle::{Call, Handler};
use crate::path::Target;
use crate::status::Status;
use crate::strict;
use crate::view::json_response;
use crate::write::Deletion;

impl Handler {
    /// Resources that are questions.
    pub(crate) async fn question(
        &self,
        method: &Method,
        call: Call<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Status> {
        if method != Method::POST || call.target.name.is_some() {
            return Err(Status::method_not_allowed());
        }
        let mut document = body::document(call.headers, &body::read(body, self.patience).await?)?;
        let Target { kind, namespace, .. } = call.target;
        crate::prepare::incoming(kind, namespace.as_deref(), &mut document)?;
        let answer = self.api.review(call.query.author.caller()?, kind, document).await?;
        Ok(json_response(StatusCode::CREATED, answer.to_string()))
    }

    /// A token for a service account.
    pub(crate) async fn token(
        &self,
        call: Call<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Status> {
        let request = body::document(call.headers, &body::read(body, self.patience).await?)?;
        let answer = self.api.request_token(call.target, request).await?;
        Ok(json_response(StatusCode::CREATED, answer.to_string()))
    }

    /// A deletion that asks first; nobody here says no.
    pub(crate) async fn evict(
        &self,
        call: Call<'_>,
        body: Incoming,
    ) -> Result<Response<Body>, Status> {
        let Target { kind, subresource, .. } = call.target;
        if !kind.is("", "Pod") || subresource.as_deref() != Some("eviction") {
            return Err(Status::method_not_allowed());
        }
        let eviction = body::document(call.headers, &body::read(body, self.patience).await?)?;
        let options = eviction.get("deleteOptions").unwrap_or(&Value::Null);
        strict::check_options(options)?;
        let deletion = Deletion::read(&call.query, options)?;
        let pod = Target { subresource: None, ..call.target.clone() };
        let answer = self.api.delete(&pod, &deletion).await?;
        Ok(json_response(StatusCode::CREATED, answer.to_string()))
    }
}
