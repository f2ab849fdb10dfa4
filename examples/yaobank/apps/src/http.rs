//! A small HTTP/1.1 client: one request, one bounded answer, one deadline.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Largest answer read, in bytes. An account is a few hundred.
const MAX_ANSWER: usize = 64 * 1024;

/// Where a service answers: `http://host[:port]`, nothing after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

/// Why a text is not a [`BaseUrl`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not of the form http://host[:port]")]
pub struct InvalidBaseUrl(String);

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBaseUrl(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
        match uri.authority() {
            Some(authority) if plain => Ok(Self(format!("http://{authority}"))),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status, of any class.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// Why no answer came back.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL and body do not make a request.
    #[error("request is not valid")]
    Request(#[source] hyper::http::Error),
    /// No connection, or it broke before the answer's head.
    #[error("no connection to the service")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// The answer's body broke off.
    #[error("answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer's body is larger than this client reads.
    #[error("answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    /// The deadline passed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: Client<HttpConnector, Full<Bytes>>,
    deadline: Duration,
}

impl HttpClient {
    /// A client whose calls, from name lookup to the last byte, take at most `deadline`.
    pub fn new(deadline: Duration) -> Self {
        // No idle connections are kept: a call is rare, and a kept connection may have been
        // closed by the other side at the moment of its reuse.
        let inner = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(HttpConnector::new());
        Self { inner, deadline }
    }

    /// Sends `GET path` to `base`; `path` begins with a slash.
    ///
    /// # Errors
    /// When no complete answer arrives; a status such as 404 is an answer.
    pub async fn get(&self, base: &BaseUrl, path: &str) -> Result<Answer, CallError> {
        let request = Request::builder().uri(format!("{base}{path}")).body(Full::default());
        self.call(request).await
    }

    /// Sends `PUT path` with an already encoded form as its body.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn put_form(
        &self,
        base: &BaseUrl,
        path: &str,
        form: String,
    ) -> Result<Answer, CallError> {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{base}{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form));
        self.call(request).await
    }

    async fn call(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, CallError> {
        let request = request.map_err(CallError::Request)?;
        tokio::time::timeout(self.deadline, self.exchange(request))
            .await
            .unwrap_or(Err(CallError::Timeout(self.deadline)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let response = self.inner.request(request).await.map_err(CallError::Unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        match body.collect().await {
            Ok(collected) => Ok(Answer { status, body: collected.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge),
            Err(error) => Err(CallError::Broken(error)),
        }
    }
}

/// Writes an error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_plain_http_origins() {
        for (text, canonical) in [
            ("http://summary", "http://summary"),
            ("http://summary/", "http://summary"),
            ("http://database:2379", "http://database:2379"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(text.parse::<BaseUrl>().unwrap().to_string(), canonical);
        }
        for bad in ["", "summary", "https://summary", "http://", "http://a/b", "http://a/?q", "/"] {
            assert!(bad.parse::<BaseUrl>().is_err(), "{bad:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_closed_port_is_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: BaseUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let answer = HttpClient::new(Duration::from_secs(10)).get(&base, "/").await;
        assert!(matches!(answer, Err(CallError::Unreachable(_))), "{answer:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_silent_server_is_a_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: BaseUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answer = HttpClient::new(Duration::from_millis(50)).get(&base, "/").await;
        assert!(matches!(answer, Err(CallError::Timeout(_))), "{answer:?}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_endless_answer_is_refused() {
        let app = axum::Router::new().fallback(async || vec![b'x'; MAX_ANSWER + 1]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: BaseUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async { axum::serve(listener, app).await });
        let answer = HttpClient::new(Duration::from_secs(10)).get(&base, "/").await;
        assert!(matches!(answer, Err(CallError::TooLarge)), "{answer:?}");
    }
}
