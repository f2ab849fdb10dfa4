//! `customer`: the bank's web page.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::account::{Account, AccountId};
use crate::http::{Answer, BaseUrl, CallError, HttpClient, chain};
use crate::page;

/// How long the page waits for `summary`, which itself waits three seconds for the database.
const DEADLINE: Duration = Duration::from_secs(5);

/// The page never comes from a cache, so that a changed balance shows at once, and loads nothing.
const HEADERS: [(HeaderName, &str); 2] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
];

#[derive(Clone)]
struct Customer {
    http: HttpClient,
    summary: BaseUrl,
    account: AccountId,
}

/// Why the account could not be had from `summary`.
#[derive(Debug, thiserror::Error)]
enum SummaryError {
    #[error("{}", chain(.0))]
    Call(#[from] CallError),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is not an account: {0}")]
    Content(#[from] serde_json::Error),
}

/// The routes of `customer`, showing `account` as told by `summary`.
///
/// `GET /` is the page. `POST /` is answered with 200 and does nothing: it stands for whatever a
/// bank's page might let one do, and lets the policy on methods be seen at work.
pub fn router(summary: BaseUrl, account: AccountId) -> Router {
    let customer = Customer { http: HttpClient::new(DEADLINE), summary, account };
    Router::new().route("/", get(show).post(accept)).with_state(customer)
}

async fn show(State(customer): State<Customer>) -> Response {
    match customer.fetch().await {
        Ok(account) => (HEADERS, Html(page::account(&customer.account, &account))).into_response(),
        Err(error) => {
            eprintln!("yaobank-customer: no summary: {error}");
            (error.status(), HEADERS, Html(page::unavailable(&error.to_string()))).into_response()
        }
    }
}

async fn accept() -> &'static str {
    "Received. This page changes nothing.\n"
}

impl Customer {
    async fn fetch(&self) -> Result<Account, SummaryError> {
        let answer = self.http.get(&self.summary, &format!("/{}", self.account)).await?;
        decode(&answer)
    }
}

fn decode(answer: &Answer) -> Result<Account, SummaryError> {
    match answer.status {
        StatusCode::OK => Ok(serde_json::from_slice(&answer.body)?),
        status => Err(SummaryError::Status(status)),
    }
}

impl SummaryError {
    /// 503 where trying again may help, 502 where `summary` gave an answer of no use.
    fn status(&self) -> StatusCode {
        match self {
            Self::Call(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Status(status) if *status == StatusCode::SERVICE_UNAVAILABLE => *status,
            Self::Status(_) | Self::Content(_) => StatusCode::BAD_GATEWAY,
        }
    }
}
