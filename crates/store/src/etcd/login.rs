//! Who we are to an etcd that asks: a name and password, which it takes for a token that every request
//! then shows, and that it forgets now and then.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Status};

use super::EtcdUser;
use super::wire::AuthenticateRequest;

/// A token, sent as it is.
pub(super) type Token = MetadataValue<Ascii>;

/// What came of logging in last.
#[derive(Clone, Default)]
enum Known {
    /// Not tried, or forgotten by etcd.
    #[default]
    Nothing,
    /// Etcd does not ask who we are.
    Needless,
    /// What etcd knows us by.
    Token(Token),
}

/// A user, and the token that etcd gave for it.
#[derive(Clone)]
pub(super) struct Login {
    user: EtcdUser,
    known: Arc<Mutex<Known>>,
}

impl Login {
    /// A user that has not logged in yet.
    pub(super) fn new(user: EtcdUser) -> Login {
        Login { user, known: Arc::default() }
    }

    /// What to send to log in; nothing if that has been done.
    pub(super) fn due(&self) -> Option<AuthenticateRequest> {
        let EtcdUser { name, password } = self.user.clone();
        matches!(*self.known(), Known::Nothing).then_some(AuthenticateRequest { name, password })
    }

    /// Takes the answer.
    pub(super) fn take(&self, answer: Result<String, Status>) -> Result<(), Status> {
        let known = match answer {
            Ok(token) => {
                let token = token.parse::<Token>();
                Known::Token(token.map_err(|_| Status::internal("a token that is not text"))?)
            }
            Err(status) if is_needless(&status) => Known::Needless,
            Err(status) => return Err(status),
        };
        *self.known() = known;
        Ok(())
    }

    /// Shows the token, if there is one.
    pub(super) fn show(&self, metadata: &mut MetadataMap) {
        if let Known::Token(token) = &*self.known() {
            metadata.insert("token", token.clone());
        }
    }

    /// Etcd does not know the token any more.
    pub(super) fn forget(&self) {
        *self.known() = Known::Nothing;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows no secret.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.user).finish()
    }
}

fn is_needless(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message().contains("not enabled")
}

/// Whether etcd refused a request, which it has then not begun, because of its token alone: tokens
/// expire, and changes of users make them old.
pub(super) fn is_stale(status: &Status) -> bool {
    let said = |code, words| status.code() == code && status.message().contains(words);
    said(Code::Unauthenticated, "invalid auth token")
        || said(Code::InvalidArgument, "revision of auth store is old")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::new(EtcdUser { name: "calico".into(), password: "secret".into() })
    }

    #[test]
    fn a_token_is_shown_until_etcd_forgets_it() {
        let login = login();
        let shown = || {
            let mut metadata = MetadataMap::new();
            login.show(&mut metadata);
            metadata.get("token").map(|token| token.to_str().unwrap().to_owned())
        };
        assert_eq!((login.due().is_some(), shown()), (true, None));
        login.take(Ok("abc.1".into())).unwrap();
        assert_eq!((login.due().is_some(), shown()), (false, Some("abc.1".into())));
        login.forget();
        assert_eq!((login.due().is_some(), shown()), (true, None));
        let open = Status::failed_precondition("etcdserver: authentication is not enabled");
        login.take(Err(open)).unwrap();
        assert_eq!((login.due().is_some(), shown()), (false, None));
        login.forget();
        assert!(login.take(Err(Status::invalid_argument("wrong"))).is_err());
        assert!(login.take(Ok("line\nbreak".into())).is_err() && login.due().is_some());
    }

    #[test]
    fn passwords_are_not_shown() {
        assert!(!format!("{:?}", login()).contains("secret"));
    }
}
