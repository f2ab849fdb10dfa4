//! Questions about access: reviews, as `kubectl auth can-i` and `whoami` ask them.

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::caller::Caller;
use super::rbac::{Deed, Rule};
use super::tiers::{InTier, Tiers, is_tiered};
use crate::api::{Api, key};
use crate::defaults::{self, CALICO};
use crate::kinds::Kind;
use crate::object::{self, text};
use crate::status::Status;

impl Api {
    /// The answer to a question: the document with its status.
    pub(crate) async fn review(
        &self,
        caller: &Caller,
        kind: &Kind,
        mut document: Value,
    ) -> Result<Value, Status> {
        let status = match kind.kind.as_str() {
            "SelfSubjectAccessReview" => self.access_review(caller, &document).await?,
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                self.access_review(&subject(kind, &document)?, &document).await?
            }
            "SelfSubjectRulesReview" => self.rules_review(caller, &document),
            "SelfSubjectReview" => json!({"userInfo": caller.info()}),
            "TokenReview" => {
                let status = self.token_review(&document).await?;
                // Who asked has it, and nobody else is to see it.
                object::fields(&mut document, "spec").remove("token");
                status
            }
            _ => return Err(Status::no_such_path()),
        };
        object::map(&mut document).insert("status".into(), status);
        Ok(document)
    }

    async fn access_review(&self, caller: &Caller, document: &Value) -> Result<Value, Status> {
        let answer = if let Some(asked) = document.pointer("/spec/nonResourceAttributes") {
            self.access.permit_path(caller, text(asked, "/verb"), text(asked, "/path"))
        } else if let Some(asked) = document.pointer("/spec/resourceAttributes") {
            self.review_resource(caller, asked).await?
        } else {
            let why = "spec: exactly one of resourceAttributes and nonResourceAttributes is needed";
            return Err(Status::bad_request(why));
        };
        Ok(match answer {
            Ok(()) => json!({"allowed": true}),
            Err(status) => {
                json!({"allowed": false, "reason": text(&status.document(), "/message")})
            }
        })
    }

    async fn review_resource(
        &self,
        caller: &Caller,
        asked: &Value,
    ) -> Result<Result<(), Status>, Status> {
        let plural = text(asked, "/resource");
        let part = text(asked, "/subresource");
        let resource = if part.is_empty() { plural.to_owned() } else { format!("{plural}/{part}") };
        let namespace = Some(text(asked, "/namespace")).filter(|namespace| !namespace.is_empty());
        let (verb, group) = (text(asked, "/verb"), text(asked, "/group"));
        let deed = Deed { verb, group, resource: &resource, namespace, name: text(asked, "/name") };
        if is_tiered(group, plural) {
            return self.review_policy(caller, plural, &deed).await;
        }
        Ok(self.access.permit(caller, &deed))
    }

    /// A policy that is there is in a tier; of any other one it is asked whether some tier allows it.
    async fn review_policy(
        &self,
        caller: &Caller,
        plural: &str,
        deed: &Deed<'_>,
    ) -> Result<Result<(), Status>, Status> {
        let kind = self.kind(CALICO, "v3", plural)?;
        let Deed { verb, namespace, name, .. } = *deed;
        let wish = InTier { verb, plural, namespace, tier: "", policy: name };
        if !name.is_empty() {
            let there = self.find(&kind, &key(&kind, namespace, name)?).await;
            if let Ok(found) = there {
                let policy = object::decode(&kind, &found);
                let tier = defaults::tier_of(&policy);
                return Ok(self.access.permit_tier(caller, &InTier { tier, ..wish }));
            }
        }
        let tiers = self.all(&*self.kind(CALICO, "v3", "tiers")?, None).await?;
        let names = tiers.objects.iter().map(|object| SmolStr::new(object.key.name()));
        Ok(self.access.permitted_tiers(caller, &wish, names).map(|_: Tiers| ()))
    }

    fn rules_review(&self, caller: &Caller, document: &Value) -> Value {
        let roles = self.access.roles();
        let held = roles.held(caller, Some(text(document, "/spec/namespace")));
        let everything = [Rule::everything(), Rule::every_path()];
        let rules = if caller.is_master() { everything.iter().collect() } else { held };
        let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
            rules.into_iter().partition(|rule| !rule.urls.is_empty());
        let resource = |rule: &&Rule| {
            json!({
                "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources,
                "resourceNames": rule.names,
            })
        };
        let path = |rule: &&Rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls});
        json!({
            "resourceRules": resources.iter().map(resource).collect::<Vec<_>>(),
            "nonResourceRules": paths.iter().map(path).collect::<Vec<_>>(),
            "incomplete": false,
        })
    }
}

/// Whom a question is about that is not about who asks.
fn subject(kind: &Kind, document: &Value) -> Result<Caller, Status> {
    let user = text(document, "/spec/user");
    let groups = document.pointer("/spec/groups").and_then(Value::as_array).into_iter().flatten();
    let groups: Vec<SmolStr> = groups.filter_map(Value::as_str).map(SmolStr::new).collect();
    if user.is_empty() && groups.is_empty() {
        return Err(Status::bad_request("spec: at least one of user and groups is needed"));
    }
    let (own, asked) = ("/metadata/namespace", "/spec/resourceAttributes/namespace");
    if kind.namespaced && text(document, own) != text(document, asked) {
        let why = "spec.resourceAttributes.namespace: must be that of the review";
        return Err(Status::bad_request(why));
    }
    Ok(Caller { user: user.into(), groups, ..Caller::default() })
}
