//! What is there from the beginning.

use std::sync::Arc;

use serde_json::json;

use crate::api::Api;
use crate::defaults::CALICO;
use crate::object;
use crate::status::Status;

/// Namespaces that are always there.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The tiers that are there without being defined: name, order, default action.
pub(crate) const TIERS: [(&str, f64, &str); 3] = [
    ("kube-admin", 1_000.0, "Pass"),
    ("default", 1_000_000.0, "Deny"),
    ("kube-baseline", 10_000_000.0, "Pass"),
];

impl Api {
    /// Makes what is missing, and takes up what was left half done.
    pub(crate) async fn boot(self: &Arc<Self>) -> Result<(), Status> {
        self.redefine().await?;
        self.compat().await?;
        if self.only_reads {
            return self.follow_roles().await;
        }
        let namespaces = self.kind("", "v1", "namespaces")?;
        for name in NAMESPACES {
            self.ensure(&namespaces, json!({"metadata": {"name": name}})).await?;
        }
        let tiers = self.kind(CALICO, "v3", "tiers")?;
        for (name, order, action) in TIERS {
            let spec = json!({"order": order, "defaultAction": action});
            self.ensure(&tiers, json!({"metadata": {"name": name}, "spec": spec})).await?;
        }
        for object in self.all(&tiers, None).await?.objects {
            let tier = object::decode(&tiers, &object);
            if object::is_terminating(&tier) {
                // It stays if there are policies in it.
                let _ = self.end_tier(&tiers, &object.key, object::uid(&tier)).await;
            }
        }
        let felix = self.kind(CALICO, "v3", "felixconfigurations")?;
        self.ensure(&felix, json!({"metadata": {"name": "default"}, "spec": {}})).await?;
        let information = self.kind(CALICO, "v3", "clusterinformations")?;
        let spec = json!({
            "clusterGUID": self.environment.uid().replace('-', ""), "clusterType": "tortie",
            "datastoreReady": true,
        });
        let document = json!({"metadata": {"name": "default"}, "spec": spec});
        self.ensure(&information, document).await?;
        self.end_definitions();
        for object in self.all(&namespaces, None).await?.objects {
            let document = object::decode(&namespaces, &object);
            if object::is_terminating(&document) {
                self.purge_if_terminating(object.key.name());
            } else {
                self.ensure_account(object.key.name()).await?;
            }
        }
        self.ensure_roles().await?;
        self.follow_roles().await?;
        self.follow_owners();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tortie_model::Object;
    use tortie_policy::Tier;

    use super::*;

    #[test]
    fn the_tiers_are_those_of_policy() {
        let made = TIERS.iter().map(|(name, order, action)| {
            let document = json!({
                "apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": name},
                "spec": {"order": order, "defaultAction": action},
            });
            let resources = tortie_model::decode(document).unwrap();
            let [resource] = resources.as_slice() else { panic!() };
            let Object::Tier(tier) = &resource.object else { panic!() };
            Tier::try_from(&**tier).unwrap()
        });
        let mut made: Vec<Tier> = made.collect();
        let mut expected: Vec<Tier> = Tier::built_in().collect();
        for tiers in [&mut made, &mut expected] {
            tiers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        assert_eq!(format!("{made:?}"), format!("{expected:?}"));
    }
}
