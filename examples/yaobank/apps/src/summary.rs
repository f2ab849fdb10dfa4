//! `summary`: account summaries as JSON, read from etcd's v2 keys API.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use crate::account::{Account, AccountId, InvalidAccountId};
use crate::http::{Answer, BaseUrl, CallError, HttpClient, chain};

/// How long an answer of the database may take.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Clone)]
struct Summary {
    http: HttpClient,
    database: BaseUrl,
}

/// Why there is no account to answer with.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error(transparent)]
    Number(#[from] InvalidAccountId),
    #[error("no such account")]
    Unknown,
    #[error("database: {}", chain(.0))]
    Call(#[from] CallError),
    #[error("database answered {0}")]
    Status(StatusCode),
    #[error("database answered something else than a directory of keys: {0}")]
    Content(#[from] serde_json::Error),
    #[error("account has no `{0}` in the database")]
    Incomplete(&'static str),
}

/// The routes of `summary`: `GET /<account number>` answers `{"name":…,"balance":…}`, 400 for
/// what is no account number and 404 for an unknown one.
pub fn router(database: BaseUrl) -> Router {
    let summary = Summary { http: HttpClient::new(DEADLINE), database };
    Router::new().route("/{account}", get(show)).with_state(summary)
}

async fn show(State(summary): State<Summary>, Path(number): Path<String>) -> Response {
    match summary.lookup(&number).await {
        Ok(account) => Json(account).into_response(),
        Err(error) => {
            let status = error.status();
            if status.is_server_error() {
                eprintln!("yaobank-summary: {error}");
            }
            (status, format!("{error}\n")).into_response()
        }
    }
}

impl Summary {
    async fn lookup(&self, number: &str) -> Result<Account, LookupError> {
        let id: AccountId = number.parse()?;
        let path = format!("/v2/keys/accounts/{id}?recursive=true");
        decode(&id, &self.http.get(&self.database, &path).await?)
    }
}

/// The part of etcd's v2 answer that is used: a directory and its keys.
#[derive(Deserialize)]
struct KeysAnswer {
    node: Directory,
}

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    nodes: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    /// Absent for a directory.
    value: Option<String>,
}

fn decode(id: &AccountId, answer: &Answer) -> Result<Account, LookupError> {
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(LookupError::Unknown),
        status => return Err(LookupError::Status(status)),
    }
    let KeysAnswer { node } = serde_json::from_slice(&answer.body)?;
    let value = |name: &'static str| {
        let path = format!("/accounts/{id}/{name}");
        let found = node.nodes.iter().find(|key| key.key == path);
        found.and_then(|key| key.value.clone()).ok_or(LookupError::Incomplete(name))
    };
    Ok(Account { name: value("name")?, balance: value("balance")? })
}

impl LookupError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Number(_) => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Call(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Status(_) | Self::Content(_) | Self::Incomplete(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(status: u16, body: &str) -> Result<Account, String> {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, body: body.to_owned().into() };
        decode(&"1".parse().unwrap(), &answer).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_directory_etcd_answers_with() {
        let body = r#"{"action":"get","node":{"key":"/accounts/1","dir":true,"nodes":[
            {"key":"/accounts/1/balance","value":"2.50","modifiedIndex":5,"createdIndex":5},
            {"key":"/accounts/1/name","value":"Ann","modifiedIndex":4,"createdIndex":4}],
            "modifiedIndex":4,"createdIndex":4}}"#;
        assert_eq!(decoded(200, body), Ok(Account { name: "Ann".into(), balance: "2.50".into() }));
    }

    #[test]
    fn says_what_is_wrong_with_an_answer() {
        for (status, body, expected) in [
            (404, r#"{"errorCode":100,"message":"Key not found"}"#, "no such account"),
            (403, "", "database answered 403 Forbidden"),
            (200, r#"{"node":{"key":"/accounts/1","value":"x"}}"#, "account has no `name`"),
            (200, r#"{"node":{"nodes":[{"key":"/accounts/1/name","dir":true}]}}"#, "no `name`"),
            (200, r#"{"node":{"nodes":[{"key":"/accounts/1/name","value":"A"}]}}"#, "no `balance`"),
            (200, "<html>", "database answered something else"),
        ] {
            let reason = decoded(status, body).unwrap_err();
            assert!(reason.contains(expected), "{reason:?} should contain {expected:?}");
        }
    }
}
