//! Requests and answers.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page; it shows nothing by itself |
//! | `GET /api/enter` | to who shows the code: the cookie, and the path it counts for |
//! | `GET /api/board` | the state, as a document |
//! | `GET /api/events` | the state and each that follows, as an event stream |

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use tokio::sync::Semaphore;

use crate::access::{Access, Refusal};
use crate::follow::View;

/// How many event streams there may be.
const LISTENERS: usize = 16;

/// After how long without news a listener gets a sign of life.
const QUIET: Duration = Duration::from_secs(15);

/// What every answer says to browsers.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer, maybe one that goes on and on.
pub(crate) type Answer = Response<Body>;

/// What answers rest on.
#[derive(Debug)]
pub(crate) struct Console {
    access: Access,
    view: View,
    listeners: Arc<Semaphore>,
}

impl Console {
    /// Shows states to those who may look.
    pub(crate) fn new(access: Access, view: View) -> Console {
        Console { access, view, listeners: Arc::new(Semaphore::new(LISTENERS)) }
    }

    /// The answer to a request; its body is not read.
    pub(crate) async fn answer(&self, head: &Parts) -> Answer {
        let refused = |Refusal(status, why): Refusal| {
            let mut answer = whole(TEXT, format!("{why}\n"));
            *answer.status_mut() = status;
            answer
        };
        let mut answer = self.look(head).await.unwrap_or_else(refused);
        let headers = answer.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        answer
    }

    async fn look(&self, head: &Parts) -> Result<Answer, Refusal> {
        self.access.is_ours(head)?;
        if head.method != Method::GET {
            let mut answer = whole(TEXT, "there is nothing but GET\n");
            *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return Ok(answer);
        }
        match self.access.within(head.uri.path()) {
            "/" => Ok(whole(HTML, include_str!("page/index.html"))),
            "/icon.svg" => Ok(whole("image/svg+xml", include_str!("page/icon.svg"))),
            "/console.css" => {
                Ok(whole("text/css; charset=utf-8", include_str!("page/console.css")))
            }
            "/console.js" => {
                Ok(whole("text/javascript; charset=utf-8", include_str!("page/console.js")))
            }
            "/api/enter" => self.enter(head),
            "/api/board" => {
                self.admit(head)?;
                Ok(whole(JSON, self.view.clone().now().await.document.clone()))
            }
            "/api/events" => self.admit(head).and_then(|()| self.events()),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "there is nothing here")),
        }
    }

    fn admit(&self, head: &Parts) -> Result<(), Refusal> {
        if self.access.may_look(&head.headers) {
            return Ok(());
        }
        Err(Refusal(StatusCode::UNAUTHORIZED, "show the code that the console was started with"))
    }

    /// The code for a cookie. The path is not in a header that leads there: the page goes by itself.
    fn enter(&self, head: &Parts) -> Result<Answer, Refusal> {
        if !self.access.has_code(&head.headers) {
            return Err(Refusal(StatusCode::UNAUTHORIZED, "this is not the code"));
        }
        let mut answer = whole(JSON, serde_json::json!({"path": self.access.path()}).to_string());
        let cookie = HeaderValue::try_from(self.access.set_cookie());
        // It is made of hexadecimal digits.
        answer.headers_mut().extend(cookie.ok().map(|cookie| (SET_COOKIE, cookie)));
        Ok(answer)
    }

    /// The state, and each that follows. Who takes them too slowly gets the newest only.
    fn events(&self) -> Result<Answer, Refusal> {
        let permit = Arc::clone(&self.listeners).try_acquire_owned().map_err(|_| {
            Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many listen already: close a page")
        })?;
        let begin = (self.view.clone(), true, permit);
        let frames = stream::unfold(begin, |(mut view, first, permit)| async move {
            let text = match first {
                true => view.now().await.event.clone(),
                false => match tokio::time::timeout(QUIET, view.next()).await {
                    Ok(state) => state?.event.clone(),
                    Err(_) => Bytes::from_static(b": nothing new\n\n"),
                },
            };
            Some((Ok(Frame::data(text)), (view, false, permit)))
        });
        Ok(with_type("text/event-stream", StreamBody::new(frames).boxed_unsync()))
    }
}

fn whole(kind: &'static str, body: impl Into<Bytes>) -> Answer {
    with_type(kind, Full::new(body.into()).boxed_unsync())
}

fn with_type(kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use time::OffsetDateTime;

    use super::*;
    use crate::follow::Follower;

    fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
        let request = Request::builder().method(method).uri(path).header("host", "[::1]:80");
        let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn text(answer: Answer) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// A console, and how it answers.
    struct World {
        runtime: tokio::runtime::Runtime,
        console: Console,
        follower: Follower,
    }

    impl World {
        fn new() -> World {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let inside = runtime.enter();
            let (follower, view) = Follower::new("https://server", || OffsetDateTime::UNIX_EPOCH);
            drop(inside);
            let access = Access::new("secret", "[::1]:80".parse().unwrap());
            World { runtime, console: Console::new(access, view), follower }
        }

        fn answer(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
            let head = head(method, path, headers);
            self.runtime.block_on(self.follower.beside(self.console.answer(&head)))
        }
    }

    #[test]
    fn answers() {
        let mut world = World::new();
        let code = ("authorization", "Bearer secret");
        let none: &[(&str, &str)] = &[];
        let cases = [
            ("GET", "/", none, 200),
            ("GET", "/console.js?x", &[], 200),
            ("GET", "/console.css", &[], 200),
            ("GET", "/api/board", &[code], 200),
            ("GET", "/api/events", &[code], 200),
            ("GET", "/api/board", &[], 401),
            ("GET", "/api/events", &[], 401),
            ("GET", "/api/enter", &[], 401),
            ("GET", "/api/board", &[code, ("origin", "http://evil.example")], 403),
            ("GET", "/api/../api/board", &[code], 404),
            ("GET", "/favicon.ico", &[], 404),
            ("POST", "/api/board", &[code], 405),
            ("OPTIONS", "/api/board", &[code], 405),
            ("GET", "/api/board", &[code, ("host", "two")], 421),
        ];
        for (method, path, headers, expected) in cases {
            let answer = world.answer(method, path, headers);
            assert_eq!(answer.status().as_u16(), expected, "{method} {path}");
            let headers = answer.headers();
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }

    #[test]
    fn the_code_is_exchanged_for_a_cookie() {
        let mut world = World::new();
        let enter = world.answer("GET", "/api/enter", &[("authorization", "Bearer secret")]);
        let cookie = enter.headers()["set-cookie"].to_str().unwrap().to_owned();
        let cookie = cookie.split(';').next().unwrap();
        let path: serde_json::Value = serde_json::from_str(&text(enter)).unwrap();
        let board = format!("{}api/board", path["path"].as_str().unwrap());
        let answer = world.answer("GET", &board, &[("cookie", cookie)]);
        assert!(text(answer).contains("https://server"));
    }

    #[test]
    fn listeners_are_bounded_and_get_the_newest() {
        let mut world = World::new();
        let listen = |world: &mut World| {
            world.answer("GET", "/api/events", &[("authorization", "Bearer secret")])
        };
        let mut answers: Vec<Answer> = (0..LISTENERS).map(|_| listen(&mut world)).collect();
        assert_eq!(listen(&mut world).status(), 503);
        for reason in ["one", "two", "three"] {
            world.follower.take(tortie_client::server::Event::Away { reason: reason.into() });
        }
        let frame = answers[0].body_mut().frame();
        let first = world.runtime.block_on(world.follower.beside(frame)).unwrap().unwrap();
        let first = String::from_utf8(first.into_data().unwrap().to_vec()).unwrap();
        assert!(first.starts_with("event: board\n") && first.contains("three"), "{first}");
        answers.pop();
        assert_eq!(listen(&mut world).status(), 200);
    }
}
