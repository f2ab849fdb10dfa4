//! Before a request is looked at: as whom it is made, what it is in the words of roles, and whether
//! it may be made at all.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, Method};
use smol_str::SmolStr;

use super::access::Access;
use super::accounts::{account_groups, is_of_account};
use super::author::{deed, resource};
use super::caller::{Caller, Peer};
use super::credentials::only_bearer;
use super::rbac::Deed;
use super::tiers::{InTier, Tiers};
use crate::api::Api;
use crate::defaults::{self, CALICO};
use crate::path::Target;
use crate::query::Query;
use crate::status::Status;

/// What a request does, in the words of roles.
pub(crate) fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    match (method.as_str(), &target.name) {
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        (_, None) if query.watch => "watch",
        (_, None) => "list",
        (_, Some(_)) => "get",
    }
}

/// Whether a target is one that connections are made to.
pub(crate) fn connects(target: &Target) -> bool {
    let parts = ["exec", "attach", "portforward", "proxy"];
    target.subresource.as_deref().is_some_and(|part| parts.contains(&part))
}

/// Whether a target is where tokens of a service account are made.
pub(crate) fn makes_tokens(target: &Target) -> bool {
    target.kind.is("", "ServiceAccount") && target.subresource.as_deref() == Some("token")
}

impl Access {
    /// Whether somebody may do something to a target. Of policies only their tiers can say, which
    /// are not known yet.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn permit_target(
        &self,
        caller: &Caller,
        verb: &str,
        target: &Target,
        query: &Query,
    ) -> Result<(), Status> {
        if defaults::is_tiered(&target.kind) {
            return Ok(());
        }
        let resource = resource(target);
        let mut wish = deed(target, verb, &resource);
        // Of many, those of one name are one.
        if target.name.is_none() && verb != "create" {
            wish.name = query.fields.wanted("metadata.name").unwrap_or_default();
        }
        self.permit(caller, &wish)?;
        if connects(target) && verb != "create" {
            // Whoever may only look must not run anything by asking with GET.
            self.permit(caller, &deed(target, "create", &resource))?;
        }
        Ok(())
    }

    /// As whom a request is made: who may act as somebody else is that one.
    ///
    /// # Errors
    /// If they may not.
    pub(crate) fn impersonate(
        &self,
        caller: Caller,
        headers: &HeaderMap,
    ) -> Result<Caller, Status> {
        let asks = headers.keys().any(|name| name.as_str().starts_with("impersonate-"));
        if !asks {
            return Ok(caller);
        }
        for name in headers.keys().map(|name| name.as_str()) {
            if name.starts_with("impersonate-")
                && !["impersonate-user", "impersonate-group"].contains(&name)
            {
                return Err(Status::denied(format!("impersonation by `{name}` is not supported")));
            }
        }
        let values = |name: &str| -> Vec<SmolStr> {
            let all = headers.get_all(name).iter();
            all.map(|value| value.to_str().unwrap_or_default().into()).collect()
        };
        let (users, groups) = (values("impersonate-user"), values("impersonate-group"));
        let [user] = users.as_slice() else {
            return Err(Status::bad_request("impersonation needs exactly one user"));
        };
        self.permit(&caller, &as_user(user))?;
        for group in &groups {
            self.permit(
                &caller,
                &Deed { verb: "impersonate", resource: "groups", name: group, ..Deed::default() },
            )?;
        }
        let (impersonator, ends) = (Some(caller.user), caller.ends);
        let own = service_account(user).filter(|_| groups.is_empty());
        let own = own.map(|(namespace, _)| account_groups(namespace));
        let groups = groups.into_iter().chain(own.into_iter().flatten());
        Ok(Caller { impersonator, ends, ..Caller::known(user, groups) })
    }
}

/// Namespace and name of a service account.
fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'))
}

/// To act as a user; service accounts are objects.
fn as_user(user: &str) -> Deed<'_> {
    let (resource, namespace, name) = match service_account(user) {
        Some((namespace, name)) => ("serviceaccounts", Some(namespace), name),
        None => ("users", None, user),
    };
    Deed { verb: "impersonate", group: "", resource, namespace, name }
}

impl Api {
    /// Who makes a request.
    ///
    /// # Errors
    /// If what is shown does not count, or they may not be whom they want to be.
    pub(crate) async fn caller(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Status> {
        let now = (self.environment.clock)();
        let token = only_bearer(headers).filter(|token| is_of_account(token));
        let caller = match token {
            Some(token) => self.of_account(token, now).await?,
            None => self.credentials.caller(peer, headers, now)?,
        };
        self.access.impersonate(caller, headers)
    }

    /// The tiers whose policies somebody may use, if a query is for many policies and they may not
    /// use all.
    ///
    /// # Errors
    /// If there are none, or they ask for another one.
    pub(crate) async fn visible_tiers(
        &self,
        caller: &Caller,
        verb: &str,
        target: &Target,
        query: &Query,
    ) -> Result<Option<BTreeSet<SmolStr>>, Status> {
        let many = ["list", "watch", "deletecollection"].contains(&verb);
        if !many || !defaults::is_tiered(&target.kind) || caller.is_master() {
            return Ok(None);
        }
        let (plural, namespace) = (target.kind.plural.as_str(), target.namespace.as_deref());
        let wish = InTier { verb, plural, namespace, tier: "", policy: "" };
        if let Some(tier) = query.wanted_tier().map(SmolStr::new) {
            self.access.permit_tier(caller, &InTier { tier: &tier, ..wish })?;
            // The label may be wrong on what others wrote.
            return Ok(Some([tier].into()));
        }
        let tiers = self.kind(CALICO, "v3", "tiers")?;
        let all = self.all(&tiers, None).await?;
        let names = all.objects.iter().map(|object| SmolStr::new(object.key.name()));
        match self.access.permitted_tiers(caller, &wish, names)? {
            Tiers::All => Ok(None),
            Tiers::Only(only) => Ok(Some(only)),
        }
    }
}
