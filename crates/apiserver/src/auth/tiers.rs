//! Tiered policies: what counts for them is a grant to get the tier, and one of the verb on the
//! pseudo-resource `tier.KIND` under the name `TIER.*` or `TIER.POLICY`, as in Calico.

use std::collections::BTreeSet;

use smol_str::SmolStr;

use super::access::Access;
use super::caller::Caller;
use super::rbac::{Deed, Roles};
use crate::defaults::{CALICO, TIERED};
use crate::status::Status;

/// What somebody wants to do to policies of a tier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InTier<'a> {
    pub(crate) verb: &'a str,
    /// The plural name of the kind.
    pub(crate) plural: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) tier: &'a str,
    /// Empty for all policies.
    pub(crate) policy: &'a str,
}

/// The tiers whose policies somebody may see or change together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tiers {
    All,
    /// These, and at least one.
    Only(BTreeSet<SmolStr>),
}

impl InTier<'_> {
    fn get_tier(&self) -> Deed<'_> {
        let Self { tier, .. } = *self;
        Deed { verb: "get", group: CALICO, resource: "tiers", namespace: None, name: tier }
    }

    /// The names under which the verb may be granted.
    fn names(&self) -> Vec<String> {
        let Self { tier, policy, .. } = *self;
        let mut names = vec![format!("{tier}.*")];
        if !policy.is_empty() {
            // Names from before policies had a tier of their own begin with it.
            let prefixed = policy.strip_prefix(tier).is_some_and(|rest| rest.starts_with('.'));
            names.push(if prefixed { policy.to_owned() } else { format!("{tier}.{policy}") });
        }
        names
    }

    fn allowed(&self, roles: &Roles, caller: &Caller) -> (bool, bool) {
        let Self { verb, namespace, .. } = *self;
        let resource = format!("tier.{}", self.plural);
        let verb = self.names().iter().any(|name| {
            roles.allow(caller, &Deed { verb, group: CALICO, resource: &resource, namespace, name })
        });
        (roles.allow(caller, &self.get_tier()), verb)
    }

    /// Whether somebody may do it.
    pub(crate) fn is_allowed(&self, roles: &Roles, caller: &Caller) -> bool {
        self.allowed(roles, caller) == (true, true)
    }

    fn refusal(&self, caller: &Caller, missing: &str) -> Status {
        let Self { verb, plural, tier, policy, namespace } = *self;
        let named = if policy.is_empty() { String::new() } else { format!(" {policy:?}") };
        let place = place(namespace);
        Status::denied(format!(
            "{plural}.{CALICO}{named} is forbidden: User {:?} cannot {verb} {plural}.{CALICO} in tier \
             {tier:?}{place}: missing {missing}",
            caller.user
        ))
        .of(CALICO, plural, policy)
    }
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| format!(" in the namespace {namespace:?}"))
}

impl Access {
    /// Whether somebody may do something to a policy of a tier.
    ///
    /// # Errors
    /// If not: which of the two grants is missing, or that both are.
    pub(crate) fn permit_tier(&self, caller: &Caller, wish: &InTier<'_>) -> Result<(), Status> {
        let (get, verb) = wish.allowed(&self.roles(), caller);
        if get && verb {
            return Ok(());
        }
        let mut missing = Vec::new();
        if !get {
            let tier = wish.tier;
            missing.push(format!(
                "grant: verb \"get\" apiGroup {CALICO:?} resource \"tiers\" resourceName {tier:?}"
            ));
        }
        if !verb {
            let names: Vec<String> = wish.names().iter().map(|name| format!("{name:?}")).collect();
            let (verb, plural) = (wish.verb, wish.plural);
            missing.push(format!(
                "grant: verb {verb:?} apiGroup {CALICO:?} resource \"tier.{plural}\" resourceName {}{}",
                names.join(" or "),
                place(wish.namespace)
            ));
        }
        Err(wish.refusal(caller, &missing.join("; ")))
    }

    /// The tiers, of all that there are, in which somebody may do something to all policies.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn permitted_tiers(
        &self,
        caller: &Caller,
        wish: &InTier<'_>,
        all: impl IntoIterator<Item = SmolStr>,
    ) -> Result<Tiers, Status> {
        let roles = self.roles();
        // An unnamed deed is allowed by rules without names alone.
        let (get, resource) = (InTier { tier: "", ..*wish }, format!("tier.{}", wish.plural));
        let InTier { verb, namespace, .. } = *wish;
        let any = Deed { verb, group: CALICO, resource: &resource, namespace, name: "" };
        if roles.allow(caller, &get.get_tier()) && roles.allow(caller, &any) {
            return Ok(Tiers::All);
        }
        let may = |tier: &SmolStr| InTier { tier, policy: "", ..*wish }.is_allowed(&roles, caller);
        let tiers: BTreeSet<SmolStr> = all.into_iter().filter(may).collect();
        if tiers.is_empty() {
            let missing = format!(
                "grants: verb \"get\" on resource \"tiers\", and verb {verb:?} on resource \
                 {resource:?} resourceName \"TIER.*\"{}, in apiGroup {CALICO:?}, for some tier",
                place(namespace)
            );
            return Err(InTier { tier: "*", policy: "", ..*wish }.refusal(caller, &missing));
        }
        Ok(Tiers::Only(tiers))
    }
}

/// The kind whose policies a pseudo-resource is about.
pub(crate) fn is_tiered(group: &str, plural: &str) -> bool {
    group == CALICO && TIERED.contains(&plural)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::super::rbac::{Binding, Role};
    use super::*;
    use crate::object::text;

    /// Verb, resource, names and the namespace, or nothing.
    type Given<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

    /// Rules bound to a user everywhere, or in a namespace.
    fn access(rules: &[Given<'_>]) -> Access {
        let (mut roles, mut bindings) = (HashMap::new(), Vec::new());
        for (index, (verb, resource, names, namespace)) in rules.iter().enumerate() {
            let role = json!({"rules": [{
                "verbs": [verb], "apiGroups": [CALICO], "resources": [resource],
                "resourceNames": names,
            }]});
            let name = SmolStr::new(format!("r{index}"));
            roles.insert((None, name.clone()), Arc::new(Role::read(&role)));
            bindings.push(Binding::read(&json!({
                "metadata": {"namespace": namespace},
                "roleRef": {"kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "User", "name": "ada"}],
            })));
        }
        Access::of(Roles::new(&roles, &bindings))
    }

    #[test]
    fn both_grants_are_needed_and_the_missing_one_is_named() {
        let get: Given<'_> = ("get", "tiers", &["own"], "");
        let np = "tier.networkpolicies";
        let cases: [(&[Given<'_>], &str); 11] = [
            (&[get, ("create", np, &["own.*"], "")], ""),
            (&[get, ("create", np, &["own.*"], "shop")], ""),
            (&[get, ("create", np, &["own.web"], "")], ""),
            (&[get, ("*", np, &[], "")], ""),
            (&[get, ("create", np, &["own.*"], "other")], "tier.networkpolicies"),
            (&[get, ("create", np, &["default.*"], "")], "tier.networkpolicies"),
            (&[get, ("create", np, &["web", "own.db"], "")], "tier.networkpolicies"),
            (&[get, ("get", np, &["own.*"], "")], "tier.networkpolicies"),
            // The kind itself is not what counts.
            (&[get, ("*", "networkpolicies", &[], "")], "tier.networkpolicies"),
            (&[("create", np, &["own.*"], "")], "\"tiers\""),
            (&[("get", "tiers", &["own"], "shop"), ("create", np, &["own.*"], "")], "\"tiers\""),
        ];
        let caller = Caller::known("ada", []);
        let wish = InTier {
            verb: "create",
            plural: "networkpolicies",
            namespace: Some("shop"),
            tier: "own",
            policy: "web",
        };
        for (rules, missing) in cases {
            let said = access(rules).permit_tier(&caller, &wish).err();
            let said: Value = said.map(|status| status.document()).unwrap_or_default();
            let said = text(&said, "/message");
            assert_eq!(said.is_empty(), missing.is_empty(), "{rules:?}: {said}");
            assert!(said.contains(missing) && said.matches("grant:").count() < 2, "{said}");
        }
        let prefixed = InTier { policy: "own.web", ..wish };
        assert!(
            access(&[get, ("create", np, &["own.web"], "")])
                .permit_tier(&caller, &prefixed)
                .is_ok()
        );
        let nothing = access(&[]).permit_tier(&caller, &wish).unwrap_err().document();
        assert_eq!(text(&nothing, "/message").matches("grant:").count(), 2);
    }

    #[test]
    fn lists_are_of_the_tiers_that_may_be_listed() {
        let np = "tier.networkpolicies";
        let (caller, all) = (Caller::known("ada", []), ["a", "b", "c"].map(SmolStr::new));
        let wish = InTier {
            verb: "list",
            plural: "networkpolicies",
            namespace: None,
            tier: "",
            policy: "",
        };
        let tiers =
            |rules: &[Given<'_>]| access(rules).permitted_tiers(&caller, &wish, all.clone()).ok();
        let only =
            |names: &[&str]| Some(Tiers::Only(names.iter().copied().map(SmolStr::new).collect()));
        let every: Given<'_> = ("get", "tiers", &[], "");
        assert_eq!(tiers(&[every, ("list", np, &[], "")]), Some(Tiers::All));
        assert_eq!(tiers(&[every, ("list", np, &["a.*", "c.*"], "")]), only(&["a", "c"]));
        assert_eq!(tiers(&[("get", "tiers", &["a"], ""), ("list", np, &[], "")]), only(&["a"]));
        assert_eq!(tiers(&[every, ("list", np, &["a.web"], "")]), None);
        assert_eq!(tiers(&[("list", np, &[], "")]), None);
        assert_eq!(tiers(&[every, ("list", np, &[], "shop")]), None);
    }
}
