//! What can go wrong between us and a server.

use serde::Deserialize;

/// Why a request has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No server is named, or its address or credentials cannot be read.
    #[error("{0}")]
    Place(String),
    /// No object can have this name, so nobody was asked.
    #[error("`{0}` is no name of an object")]
    Name(String),
    /// There was no answer.
    #[error("cannot reach the API server at `{url}`: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The server answered, and refuses.
    #[error("{0}")]
    Refused(Box<Status>),
    /// The answer makes no sense.
    #[error("the API server at `{url}` gave an answer that cannot be read: {reason}")]
    Answer {
        /// Where it is.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// A Kubernetes Status: how a server says no.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// One word, such as `NotFound`; may be empty.
    pub reason: String,
    /// The whole story, for people.
    pub message: String,
    /// Which fields are wrong, if the server says so.
    pub causes: Vec<Cause>,
}

/// One reason among several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The path of the field; may be empty.
    pub field: String,
    /// One word, such as `FieldValueInvalid`; may be empty.
    pub reason: String,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => write!(f, "the API server answered {} {}", self.code, self.reason),
            message => f.write_str(message),
        }
    }
}

impl Error {
    /// What the server said, if it said no.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Refused(status) => Some(status),
            _ => None,
        }
    }

    /// The HTTP status the server refused with.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// There is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// The object has been changed by somebody else meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409) && !self.is_already_there()
    }

    /// An object of this name exists.
    pub fn is_already_there(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// The revision asked for is no longer kept.
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    pub(super) fn from_kube(url: &str, error: kube::Error) -> Error {
        let url = url.to_owned();
        match error {
            kube::Error::Api(status) => Error::Refused(Box::new((*status).into())),
            kube::Error::Service(error) => {
                Error::Unreachable { url, reason: innermost(error.as_ref()) }
            }
            kube::Error::HyperError(error) => Error::Unreachable { url, reason: innermost(&error) },
            kube::Error::ReadEvents(error) => Error::Unreachable { url, reason: innermost(&error) },
            kube::Error::Auth(error) => Error::Place(format!("credentials: {error}")),
            error => Error::Answer { url, reason: innermost(&error) },
        }
    }
}

/// What kube calls the reason if the answer is no Status, but somebody's page on the way, which then
/// is the message.
const NO_STATUS: &str = "Failed to parse error data";

impl From<kube::core::Status> for Status {
    fn from(status: kube::core::Status) -> Status {
        if status.reason == NO_STATUS {
            let meaning = hyper::StatusCode::from_u16(status.code).ok();
            let reason = meaning.and_then(|code| code.canonical_reason()).unwrap_or_default();
            return Status { code: status.code, reason: reason.to_owned(), ..Status::default() };
        }
        let causes = status.details.map(|details| details.causes).unwrap_or_default();
        let cause = |c: kube::core::response::StatusCause| Cause {
            field: c.field,
            reason: c.reason,
            message: c.message,
        };
        Status {
            code: status.code,
            reason: status.reason,
            message: status.message,
            causes: causes.into_iter().map(cause).collect(),
        }
    }
}

/// The innermost error says most: the outer ones are the layers of the client.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
