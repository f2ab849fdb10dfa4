//! On whose behalf something is written: asked, and written down, before anything is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::access::{Access, namespace};
use super::caller::Caller;
use super::grants;
use super::rbac::Deed;
use super::tiers::InTier;
use crate::api::Api;
use crate::audit::{self, Audit};
use crate::defaults;
use crate::environment::Environment;
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::path::Target;
use crate::status::Status;

/// The user that the server itself is in the audit log.
const OWN: &str = "system:tortie-controller";

/// On whose behalf something is written. Nobody may write anything.
#[derive(Clone, Default)]
pub(crate) struct Author(Option<Arc<Act>>);

impl std::fmt::Debug for Author {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Author").field(&self.0.as_ref().map(|act| &act.caller.user)).finish()
    }
}

/// One request, as roles and the audit log see it.
pub(crate) struct Act {
    pub(crate) caller: Caller,
    /// In the words of roles.
    pub(crate) verb: &'static str,
    /// Absent for the server itself, which is not asked.
    access: Option<Arc<Access>>,
    audit: Option<Arc<Audit>>,
    environment: Environment,
    id: String,
    /// Whether something was written down that wants to know how it ended.
    intended: AtomicBool,
}

/// What is about to be done to an object.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) kind: &'a Kind,
    /// Absent if it is created.
    pub(crate) old: Option<&'a Value>,
    /// Absent if it is deleted.
    pub(crate) new: Option<&'a Value>,
    /// Whether it is only asked what would happen.
    pub(crate) dry_run: bool,
}

impl Api {
    /// A request of somebody.
    pub(crate) fn act(&self, caller: Caller, verb: &'static str) -> Arc<Act> {
        self.new_act(caller, verb, Some(self.access.clone()))
    }

    /// What the server does by itself, such as deleting what nothing is left of.
    pub(crate) fn own_act(&self, verb: &'static str) -> Arc<Act> {
        self.new_act(Caller::known(OWN, []), verb, None)
    }

    fn new_act(&self, caller: Caller, verb: &'static str, access: Option<Arc<Access>>) -> Arc<Act> {
        Arc::new(Act {
            caller,
            verb,
            access,
            audit: self.audit.clone(),
            environment: self.environment.clone(),
            id: self.environment.uid(),
            intended: AtomicBool::new(false),
        })
    }

    /// Writes to the store what the server does by itself: said before, and how it ended.
    ///
    /// # Errors
    /// If it is not done, or cannot be written down; then it is not done either.
    pub(crate) async fn own_write<T>(
        &self,
        verb: &'static str,
        change: &Change<'_>,
        write: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let act = self.own_act(verb);
        Author::from(act.clone()).before(change).await?;
        let written = write.await;
        let refusal = written.as_ref().err();
        let code = refusal.map_or(StatusCode::OK, Status::code);
        act.write_end(&about(change), code.as_u16(), refusal);
        written
    }
}

impl From<Arc<Act>> for Author {
    fn from(act: Arc<Act>) -> Author {
        Author(Some(act))
    }
}

impl Author {
    fn act(&self) -> Result<&Act, Status> {
        self.0.as_deref().ok_or_else(|| Status::internal("a write on nobody's behalf"))
    }

    /// Asks whether a change may be made, and writes down that it will be.
    ///
    /// # Errors
    /// If it may not, or cannot be written down.
    pub(crate) async fn before(&self, change: &Change<'_>) -> Result<(), Status> {
        let act = self.act()?;
        if let Some(access) = &act.access {
            act.check_tiers(access, change)?;
            grants::check(&act.caller, access, change)?;
        }
        if change.dry_run { Ok(()) } else { act.intend(change).await }
    }

    /// Whether what is to be changed may be made, as it is not there.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn may_create(&self, target: &Target) -> Result<(), Status> {
        let act = self.act()?;
        match &act.access {
            // The tier decides, once it is known.
            Some(access) if !defaults::is_tiered(&target.kind) => {
                let deed = Deed {
                    verb: "create",
                    name: "",
                    ..deed(target, "create", &target.kind.plural)
                };
                access.permit(&act.caller, &deed)
            }
            _ => Ok(()),
        }
    }

    /// Whether an object that was asked for may be shown.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn may_see(&self, kind: &Kind, document: &Value) -> Result<(), Status> {
        let act = self.act()?;
        let change = Change { kind, old: Some(document), new: None, dry_run: true };
        act.access.as_ref().map_or(Ok(()), |access| act.check_tiers(access, &change))
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> Result<&Caller, Status> {
        Ok(&self.act()?.caller)
    }
}

/// What a request to a target is, in the words of roles.
pub(crate) fn deed<'a>(target: &'a Target, verb: &'a str, resource: &'a str) -> Deed<'a> {
    // A namespace is an object of itself.
    let own = target.kind.is("", "Namespace");
    let name = target.name.as_deref().unwrap_or_default();
    let namespace = if own { target.name.as_deref() } else { target.namespace.as_deref() };
    Deed { verb, group: &target.kind.group, resource, namespace, name }
}

/// The resource of a target with its part, as roles name it.
pub(crate) fn resource(target: &Target) -> String {
    match &target.subresource {
        Some(part) => format!("{}/{part}", target.kind.plural),
        None => target.kind.plural.to_string(),
    }
}

/// What somebody wants to do to a policy, as it is stored.
pub(crate) fn of_policy<'a>(kind: &'a Kind, policy: &'a Value, verb: &'a str) -> InTier<'a> {
    InTier {
        verb,
        plural: &kind.plural,
        namespace: namespace(policy),
        tier: defaults::tier_of(policy),
        policy: object::name(policy),
    }
}

impl Act {
    /// The tier that a policy is in, and the one that it comes from, must both allow it.
    fn check_tiers(&self, access: &Access, change: &Change<'_>) -> Result<(), Status> {
        if !defaults::is_tiered(change.kind) {
            return Ok(());
        }
        // Who applies what is not there creates it.
        let verb = if change.old.is_none() { "create" } else { self.verb };
        for document in [change.old, change.new].into_iter().flatten() {
            access.permit_tier(&self.caller, &of_policy(change.kind, document, verb))?;
        }
        Ok(())
    }

    /// Who does what, as each line of the log says it.
    fn event(&self, stage: &str, on: &Value) -> Value {
        let mut event = json!({
            "time": audit::stamp(&self.environment), "id": self.id, "stage": stage,
            "user": self.caller.user, "groups": self.caller.groups, "verb": self.verb,
        });
        let fields = object::map(&mut event);
        if let Some(impersonator) = &self.caller.impersonator {
            fields.insert("impersonator".into(), impersonator.as_str().into());
        }
        fields.extend(on.as_object().cloned().unwrap_or_default());
        event
    }

    /// Writes down a line; gives its number.
    fn write_down(&self, event: &Value) -> Result<u64, Status> {
        let Some(audit) = &self.audit else { return Ok(0) };
        let line = audit.append(event).map_err(|error| unwritten(&error))?;
        self.intended.store(true, Ordering::Relaxed);
        Ok(line)
    }

    /// Writes down what is to be done once this is.
    async fn write_first(&self, event: &Value) -> Result<(), Status> {
        let line = self.write_down(event)?;
        let Some(audit) = &self.audit else { return Ok(()) };
        audit.settle(line).await.map_err(|error| unwritten(&error))
    }

    /// Writes down a change that is about to be made.
    async fn intend(&self, change: &Change<'_>) -> Result<(), Status> {
        if self.audit.is_none() {
            return Ok(());
        }
        let Change { kind, old, new, .. } = *change;
        let mut on = about(change);
        object::map(&mut on).insert("changes".into(), audit::changes(kind, old, new));
        self.write_first(&self.event("intent", &on)).await
    }

    /// Writes down that something is about to be done to a target that changes no object.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub(crate) async fn intend_on(&self, target: &Target) -> Result<(), Status> {
        self.write_first(&self.event("intent", &on(target))).await
    }

    /// Writes down how it ended: if it was written down that it began, or was denied.
    pub(crate) fn ended(&self, target: &Target, code: u16, refusal: Option<&Status>) {
        let denied = code == 403 && !["get", "list", "watch"].contains(&self.verb);
        if self.intended.load(Ordering::Relaxed) || denied {
            // What is wrong with a Secret may be said with what is in it.
            let telling = target.kind.is("", "Secret") && [400, 422].contains(&code);
            self.write_end(&on(target), code, refusal.filter(|_| !telling));
        }
    }

    fn write_end(&self, on: &Value, code: u16, refusal: Option<&Status>) {
        let mut event = self.event("outcome", on);
        let fields = object::map(&mut event);
        fields.insert("code".into(), code.into());
        if let Some(status) = refusal {
            fields.insert("message".into(), text(&status.document(), "/message").into());
        }
        // It was said that it would be tried; the next one is refused if this goes on.
        let _ = self.write_down(&event);
    }
}

fn unwritten(error: &std::io::Error) -> Status {
    tracing::error!(%error, "the audit log cannot be written");
    Status::halted(format!("the audit log cannot be written, so nothing is changed: {error}"))
}

fn on(target: &Target) -> Value {
    json!({
        "group": target.kind.group, "resource": resource(target), "namespace": target.namespace,
        "name": target.name,
    })
}

/// Which object a change is of.
fn about(change: &Change<'_>) -> Value {
    let Change { kind, old, new, .. } = *change;
    let object = new.or(old).unwrap_or(&Value::Null);
    json!({
        "group": kind.group, "resource": kind.plural, "namespace": namespace(object),
        "name": object::name(object), "uid": object::uid(object),
    })
}
