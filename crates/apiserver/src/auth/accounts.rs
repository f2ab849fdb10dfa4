//! Service accounts as callers: their tokens are made on request, and count as long as the account
//! that they were made for is there.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Value, json};
use smol_str::SmolStr;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::caller::Caller;
use super::credentials::unknown_token;
use super::tokens::{Account, Claims, ISSUER, Named, seconds};
use crate::api::{Api, key};
use crate::object::{self, text};
use crate::path::Target;
use crate::status::Status;

/// How long a token lasts if it is not said, and least and most, in seconds.
const LIFETIME: (i64, i64, i64) = (3600, 600, 365 * 86400);

/// How often it is seen whether the object that a token ends with is still there, for what lasts.
const LOOK: Duration = Duration::from_secs(10);

/// The group of all service accounts; with a namespace after it, of those of the namespace.
const GROUP: &str = "system:serviceaccounts";

/// What a TokenRequest asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Wanted {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<Bound>,
}

/// The object that a token is to end with.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Bound {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

impl Caller {
    /// A service account of a namespace.
    pub(super) fn account(namespace: &str, name: &str) -> Caller {
        let user = format!("system:serviceaccount:{namespace}:{name}");
        Caller::known(&user, account_groups(namespace))
    }
}

/// The groups that each service account of a namespace is in.
pub(super) fn account_groups(namespace: &str) -> [SmolStr; 2] {
    [GROUP.into(), format!("{GROUP}:{namespace}").into()]
}

impl Api {
    /// Makes a token for the service account that a request is to.
    pub(crate) async fn request_token(
        &self,
        target: &Target,
        mut request: Value,
    ) -> Result<Value, Status> {
        let expected = [("apiVersion", "authentication.k8s.io/v1"), ("kind", "TokenRequest")];
        for (field, expected) in expected {
            let found = request.get(field).and_then(Value::as_str).unwrap_or_default();
            if found != expected {
                let why = format!("{field}: `{found}` is not `{expected}`");
                return Err(Status::bad_request(why));
            }
        }
        let spec = request.get("spec").cloned().filter(|spec| !spec.is_null());
        let spec = spec.unwrap_or_else(|| json!({}));
        if !spec.is_object() {
            return Err(Status::bad_request("spec: is not an object"));
        }
        let wanted: Wanted = serde_json::from_value(spec)
            .map_err(|error| Status::bad_request(format!("spec: {error}")))?;
        let claims = self.claims(target, wanted).await?;
        let until = claims.exp;
        let spec = json!({
            "audiences": claims.aud, "expirationSeconds": claims.exp.saturating_sub(claims.iat),
            "boundObjectRef": request.pointer("/spec/boundObjectRef"),
        });
        let status =
            json!({"token": self.signer.sign(&claims), "expirationTimestamp": date(until)});
        let fields = object::map(&mut request);
        let metadata = json!({
            "name": target.name, "namespace": target.namespace,
            "creationTimestamp": self.environment.timestamp(),
        });
        for (name, value) in [("metadata", metadata), ("spec", spec), ("status", status)] {
            fields.insert(name.into(), value);
        }
        Ok(request)
    }

    async fn claims(&self, target: &Target, wanted: Wanted) -> Result<Claims, Status> {
        let invalid = |field: &str, why: &str| Status::bad_request(format!("spec.{field}: {why}"));
        let (usual, least, most) = LIFETIME;
        let lifetime = wanted.expiration_seconds.unwrap_or(usual);
        if lifetime < least {
            return Err(invalid("expirationSeconds", "may not be less than 10 minutes"));
        }
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let name = target.name.as_deref().unwrap_or_default();
        let uid = self.uid_of("ServiceAccount", namespace, name).await?;
        let uid = uid.ok_or_else(|| Status::not_found(&target.kind, name))?;
        let mut account = Account {
            namespace: namespace.to_owned(),
            serviceaccount: Named { name: name.to_owned(), uid },
            pod: None,
            secret: None,
        };
        if let Some(bound) = wanted.bound_object_ref {
            let object = Named { name: bound.name, uid: bound.uid };
            let place = match (bound.api_version.as_str(), bound.kind.as_str()) {
                ("v1", "Pod") => &mut account.pod,
                ("v1", "Secret") => &mut account.secret,
                _ => return Err(invalid("boundObjectRef", "is no Pod and no Secret of v1")),
            };
            let found = self.uid_of(&bound.kind, namespace, &object.name).await?;
            let found = found.filter(|uid| object.uid.is_empty() || object.uid == *uid);
            let uid = found.ok_or_else(|| invalid("boundObjectRef", "there is no such object"))?;
            *place = Some(Named { uid, ..object });
        }
        let audiences = wanted.audiences.unwrap_or_default();
        let now = seconds((self.environment.clock)());
        Ok(Claims {
            iss: ISSUER.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences },
            exp: now.saturating_add(lifetime.min(most).unsigned_abs()),
            iat: now,
            nbf: now,
            jti: self.environment.uid(),
            account,
        })
    }

    /// Whose a token is, if it is one of a service account that is there, and for whom it is.
    ///
    /// # Errors
    /// If the store cannot be read: then nothing can be said of it.
    pub(super) async fn account(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Option<(Caller, Vec<String>)>, Status> {
        let Some(claims) = self.signer.read(token, now) else { return Ok(None) };
        let Account { namespace, serviceaccount, pod, secret } = &claims.account;
        let own = [Some(serviceaccount), pod.as_ref(), secret.as_ref()];
        for (kind, named) in ["ServiceAccount", "Pod", "Secret"].into_iter().zip(own) {
            let Some(named) = named else { continue };
            if self.uid_of(kind, namespace, &named.name).await? != Some(named.uid.clone()) {
                return Ok(None);
            }
        }
        let mut ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp));
        if pod.is_some() || secret.is_some() {
            // Watches hear of accounts that go, and not of everything else.
            ends = ends.min(now.checked_add(LOOK));
        }
        let caller = Caller::account(namespace, &serviceaccount.name);
        let caller = Caller { ends, uid: serviceaccount.uid.as_str().into(), ..caller };
        Ok(Some((caller, claims.aud)))
    }

    /// The uid of an object that tokens can name, if it is there and stays.
    async fn uid_of(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<String>, Status> {
        let plural = format!("{}s", kind.to_lowercase());
        let kind = self.kind("", "v1", &plural)?;
        let found = match self.find(&kind, &key(&kind, Some(namespace), name)?).await {
            Err(status) if status.code() == 404 => return Ok(None),
            found => object::decode(&kind, &*found?),
        };
        Ok(Some(object::uid(&found).to_owned()).filter(|_| !object::is_terminating(&found)))
    }

    /// Says whose a token is, as a TokenReview asks.
    pub(super) async fn token_review(&self, document: &Value) -> Result<Value, Status> {
        let asked = document.pointer("/spec/audiences").and_then(Value::as_array);
        let asked: Vec<&str> = asked.into_iter().flatten().filter_map(Value::as_str).collect();
        let now = (self.environment.clock)();
        match self.bearer(text(document, "/spec/token"), now).await {
            Ok((caller, audiences)) => {
                let shared = audiences.into_iter().filter(|audience| {
                    asked.contains(&audience.as_str()) || (asked.is_empty() && audience == ISSUER)
                });
                let shared: Vec<String> = shared.collect();
                if shared.is_empty() {
                    let why = "the token is for other audiences";
                    return Ok(json!({"authenticated": false, "error": why}));
                }
                let user = caller.info();
                Ok(json!({"authenticated": true, "user": user, "audiences": shared}))
            }
            Err(status) if status.code() == 401 => {
                let why = status.document();
                Ok(json!({"authenticated": false, "error": text(&why, "/message")}))
            }
            Err(status) => Err(status),
        }
    }
}

impl Api {
    /// Whose a token is, and for which audiences it is.
    ///
    /// # Errors
    /// If it does not count.
    async fn bearer(&self, token: &str, now: SystemTime) -> Result<(Caller, Vec<String>), Status> {
        if !is_of_account(token) {
            let caller = self.credentials.of_token(token, now)?;
            return Ok((caller, vec![ISSUER.to_owned()]));
        }
        self.account(token, now).await?.ok_or_else(unknown_token)
    }

    /// Whose a token of a service account is that is shown to this server.
    ///
    /// # Errors
    /// If it does not count here.
    pub(super) async fn of_account(&self, token: &str, now: SystemTime) -> Result<Caller, Status> {
        let (caller, audiences) = self.bearer(token, now).await?;
        if audiences.iter().any(|audience| audience == ISSUER) {
            return Ok(caller);
        }
        Err(Status::unauthorized("the token is for other audiences"))
    }
}

/// Whether a token may be one of a service account: those of users have another beginning.
pub(super) fn is_of_account(token: &str) -> bool {
    token.starts_with("eyJ")
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().map(OffsetDateTime::from_unix_timestamp);
    time.and_then(Result::ok).and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
