//! Nobody hands out what they do not hold: roles and bindings, before they are stored.

use serde_json::Value;

use super::access::{Access, RBAC, namespace};
use super::author::Change;
use super::caller::Caller;
use super::rbac::{Deed, Id, Roles, Rule, beyond};
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::status::Status;

/// Somebody who writes a role or a binding.
struct Giver<'a> {
    caller: &'a Caller,
    roles: &'a Roles,
    kind: &'a Kind,
    old: Option<&'a Value>,
    new: &'a Value,
}

/// Whether all that a change of roles or bindings grants is held by who makes it, or they may hand
/// out more by the verbs `escalate` and `bind`.
///
/// # Errors
/// If not: what is missing.
pub(super) fn check(caller: &Caller, access: &Access, change: &Change<'_>) -> Result<(), Status> {
    let Change { kind, old, new: Some(new), .. } = *change else { return Ok(()) };
    if kind.group != RBAC || caller.is_master() {
        return Ok(());
    }
    let roles = access.roles();
    let giver = Giver { caller, roles: &roles, kind, old, new };
    if kind.plural.ends_with("bindings") { giver.binds() } else { giver.defines() }
}

impl Giver<'_> {
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let deed = Deed { verb, group: RBAC, resource, namespace: namespace(self.new), name };
        self.roles.allow(self.caller, &deed)
    }

    fn changes(&self, field: &str) -> bool {
        self.old.is_none_or(|old| old.get(field) != self.new.get(field))
    }

    fn binds(&self) -> Result<(), Status> {
        let role = text(self.new, "/roleRef/name");
        let cluster = text(self.new, "/roleRef/kind") == "ClusterRole";
        let resource = if cluster { "clusterroles" } else { "roles" };
        let same = !self.changes("roleRef") && !self.changes("subjects");
        if same || self.may("bind", resource, role) {
            return Ok(());
        }
        let namespace = if cluster { None } else { namespace(self.new).map(Into::into) };
        let id: Id = (namespace, role.into());
        if !self.roles.has(&id) {
            // What it will grant once it is there nobody knows.
            return Err(
                self.refusal(&format!("there is no role {role:?}, and you may not \"bind\" it"))
            );
        }
        self.hold(self.roles.of_role(&id))
    }

    fn defines(&self) -> Result<(), Status> {
        // By its labels it may come to be part of other roles.
        let fields = ["rules", "aggregationRule", "metadata"];
        let same = !fields.iter().any(|field| self.changes(field));
        if same || self.may("escalate", &self.kind.plural, object::name(self.new)) {
            return Ok(());
        }
        let rules = self.new.get("rules").and_then(Value::as_array).into_iter().flatten();
        let mut wanted: Vec<Rule> = rules.map(Rule::read).collect();
        if self.new.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            // It will have the rules of roles that are not there yet.
            wanted.push(Rule::everything());
        }
        self.hold(&wanted)
    }

    fn hold(&self, wanted: &[Rule]) -> Result<(), Status> {
        let held = self.roles.held(self.caller, namespace(self.new));
        let missing = beyond(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut shown: Vec<String> = missing.iter().take(5).map(Rule::to_string).collect();
        if missing.len() > shown.len() {
            shown.push(format!("and {} more", missing.len() - shown.len()));
        }
        Err(self.refusal(&shown.join("; ")))
    }

    fn refusal(&self, missing: &str) -> Status {
        let why = format!(
            "user {:?} is attempting to grant RBAC permissions not currently held: {missing}",
            self.caller.user
        );
        Status::forbidden(self.kind, object::name(self.new), &why)
    }
}
