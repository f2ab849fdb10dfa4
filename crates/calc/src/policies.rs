//! All policies, most of them asleep: only what decides where they apply is kept at hand, the rest as
//! packed text until an endpoint of the node needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;
use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{self as model, Object, ObjectMeta};
use tortie_policy::{Compat, Direction, Order, Plane, Policy, PolicyId, PolicyKind, Stage, Tier};
use tortie_selector::Selector;

use crate::index::{Matcher, Store};

/// All policies and tiers.
#[derive(Default)]
pub(crate) struct Policies {
    slots: Slab<Slot>,
    by_id: HashMap<PolicyId, u32>,
    /// Which workloads and interfaces of the node they are about.
    pub(crate) subjects: Matcher,
    /// The policies of each subject.
    by_subject: HashMap<u32, Vec<u32>>,
    /// Policies whose subject is not yet watched.
    unwatched: Vec<(PolicyId, Selector)>,
    tiers: BTreeMap<SmolStr, Tier>,
    /// How many workloads and interfaces of the node a policy applies to, if any.
    applies: HashMap<PolicyId, usize>,
    /// Policies that changed, came, went, or began or ceased to apply.
    touched: BTreeSet<PolicyId>,
}

/// What is at hand of a policy.
pub(crate) struct Slot {
    pub(crate) id: PolicyId,
    pub(crate) tier: SmolStr,
    pub(crate) order: Order,
    governs: [bool; 2],
    stage: Stage,
    /// Whether it is wanted even where it applies to nobody.
    hinted: bool,
    subject: Option<u32>,
    body: Body,
}

/// The rest of a policy.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// The specification as text.
    Packed(Arc<[u8]>),
    /// There is no specification that could be read: what stands for it, which depends on its name
    /// alone.
    Unreadable(Arc<Policy>),
}

/// For policies of one name.
impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        match (self, other) {
            (Body::Packed(one), Body::Packed(other)) => one == other,
            (Body::Unreadable(_), Body::Unreadable(_)) => true,
            _ => false,
        }
    }
}

impl Slot {
    pub(crate) fn governs(&self, direction: Direction) -> bool {
        let [ingress, egress] = self.governs;
        match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        }
    }

    pub(crate) fn applies_in(&self, plane: Plane) -> bool {
        plane.asks(self.stage) && self.governs.contains(&true)
    }
}

impl Policies {
    /// A policy is there, or is not any more. Returns the subjects whose endpoints have to be
    /// looked at again.
    pub(crate) fn put(&mut self, id: &PolicyId, given: Option<(Policy, Body, bool)>) -> Vec<u32> {
        let old = self.by_id.get(id).copied();
        let Some((policy, body, hinted)) = given else {
            return old.map(|old| self.remove(old)).unwrap_or_default();
        };
        if old.and_then(|old| self.slots.get(old as usize)).is_some_and(|slot| slot.body == body) {
            return Vec::new();
        }
        let before = old.map(|old| self.remove(old)).unwrap_or_default();
        let slot = Slot {
            id: id.clone(),
            tier: policy.tier,
            order: policy.order,
            governs: [policy.governs_ingress, policy.governs_egress],
            stage: policy.stage,
            hinted,
            subject: None,
            body,
        };
        let number = u32::try_from(self.slots.insert(slot)).unwrap_or(u32::MAX);
        self.by_id.insert(id.clone(), number);
        self.unwatched.push((id.clone(), policy.subject));
        self.touched.insert(id.clone());
        before
    }

    fn remove(&mut self, number: u32) -> Vec<u32> {
        let Some(slot) = self.slots.try_remove(number as usize) else { return Vec::new() };
        self.by_id.remove(&slot.id);
        self.touched.insert(slot.id);
        let Some(subject) = slot.subject else { return Vec::new() };
        let left = self.by_subject.get_mut(&subject).map(|list| {
            list.retain(|other| *other != number);
            list.len()
        });
        if left == Some(0) {
            self.by_subject.remove(&subject);
            self.subjects.unwatch(subject);
        }
        vec![subject]
    }

    /// Watches the subjects of new policies. Returns each with whether it was watched before.
    pub(crate) fn watch_subjects<T, P>(&mut self, store: &mut Store<T, P>) -> Vec<(u32, bool)> {
        let mut watched = Vec::new();
        for (id, selector) in std::mem::take(&mut self.unwatched) {
            let Some(number) = self.by_id.get(&id).copied() else { continue };
            let Some(slot) = self.slots.get_mut(number as usize) else { continue };
            if slot.subject.is_some() {
                continue;
            }
            let (subject, new) = self.subjects.watch(&selector, store);
            slot.subject = Some(subject);
            self.by_subject.entry(subject).or_default().push(number);
            watched.push((subject, !new));
        }
        watched
    }

    /// The policies with one of some subjects.
    pub(crate) fn with_subjects<'s>(
        &'s self,
        subjects: &'s [u32],
    ) -> impl Iterator<Item = (u32, &'s Slot)> + 's {
        let numbers = subjects.iter().filter_map(|s| self.by_subject.get(s)).flatten();
        numbers.filter_map(|number| Some((*number, self.slots.get(*number as usize)?)))
    }

    /// A policy applies to one endpoint more.
    pub(crate) fn applies(&mut self, id: &PolicyId) {
        let count = self.applies.entry(id.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.touched.insert(id.clone());
        }
    }

    /// A policy applies to one endpoint less.
    pub(crate) fn applies_not(&mut self, id: &PolicyId) {
        let Some(count) = self.applies.get_mut(id) else { return };
        *count -= 1;
        if *count == 0 {
            self.applies.remove(id);
            self.touched.insert(id.clone());
        }
    }

    /// The policies that may have begun, ceased or changed, in order, with what they are now if they
    /// are active.
    pub(crate) fn take_touched(&mut self) -> Vec<(PolicyId, Option<Body>)> {
        let touched = std::mem::take(&mut self.touched);
        let now = |id: PolicyId| {
            let slot = self.by_id.get(&id).and_then(|number| self.slots.get(*number as usize));
            let active = slot.filter(|slot| slot.hinted || self.applies.contains_key(&id));
            let body = active.map(|slot| slot.body.clone());
            (id, body)
        };
        touched.into_iter().map(now).collect()
    }

    // === tiers ===

    /// A tier is defined, or is not any more. Returns whether that changes anything.
    pub(crate) fn put_tier(&mut self, name: &SmolStr, tier: Option<Tier>) -> bool {
        let before = self.tiers.get(name).cloned();
        let same = before == tier;
        match tier {
            Some(tier) => drop(self.tiers.insert(name.clone(), tier)),
            None => drop(self.tiers.remove(name)),
        }
        !same
    }

    /// A tier by name, defined or not.
    pub(crate) fn tier(&self, name: &str) -> Tier {
        let built_in = || Tier::built_in().find(|tier| tier.name == name);
        self.tiers.get(name).cloned().or_else(built_in).unwrap_or_else(|| Tier::undefined(name))
    }
}

/// Defines what packs and unpacks the specification of each kind of policy.
macro_rules! packing {
    ($($variant:ident => $kind:ident,)*) => {
        /// The specification of a policy as text.
        pub(crate) fn pack(object: &Object) -> Option<Body> {
            let text = match object {
                $(Object::$variant(policy) => serde_json::to_vec(&policy.spec),)*
                _ => return None,
            };
            Some(Body::Packed(text.ok()?.into()))
        }

        #[allow(clippy::needless_update, reason = "some kinds have a status besides")]
        fn object(id: &PolicyId, text: &[u8]) -> Option<Object> {
            let metadata = ObjectMeta {
                name: id.name.to_string(),
                namespace: id.namespace.as_ref().map(ToString::to_string),
                ..ObjectMeta::default()
            };
            Some(match id.kind {
                $(PolicyKind::$kind => {
                    let spec = serde_json::from_slice(text).ok()?;
                    Object::$variant(Box::new(model::$variant {
                        metadata,
                        spec,
                        ..Default::default()
                    }))
                })*
            })
        }
    };
}

packing! {
    GlobalNetworkPolicy => GlobalNetworkPolicy,
    NetworkPolicy => NetworkPolicy,
    StagedGlobalNetworkPolicy => StagedGlobalNetworkPolicy,
    StagedNetworkPolicy => StagedNetworkPolicy,
    StagedKubernetesNetworkPolicy => StagedKubernetesNetworkPolicy,
    KubernetesNetworkPolicy => KubernetesNetworkPolicy,
    ClusterNetworkPolicy => KubernetesClusterNetworkPolicy,
}

/// The policy that a packed one is.
pub(crate) fn unpack(id: &PolicyId, body: &Body, compat: Compat) -> Option<Arc<Policy>> {
    let text = match body {
        Body::Unreadable(policy) => return Some(Arc::clone(policy)),
        Body::Packed(text) => text,
    };
    let object = object(id, text)?;
    let policy = Policy::read_with(&object, compat)?.ok().or_else(|| Policy::mended(&object))?;
    Some(Arc::new(policy))
}

/// Whether a policy is wanted on every node, wherever it applies.
pub(crate) fn is_hinted(object: &Object) -> bool {
    let spec = match object {
        Object::GlobalNetworkPolicy(policy) => &policy.spec,
        Object::NetworkPolicy(policy) => &policy.spec,
        Object::StagedGlobalNetworkPolicy(policy) => &policy.spec,
        Object::StagedNetworkPolicy(policy) => &policy.spec,
        _ => return false,
    };
    spec.performance_hints.iter().flatten().any(|hint| hint == "AssumeNeededOnEveryNode")
}

/// The kind of a policy's key as the kind of its identity.
pub(crate) fn identity(key: &crate::Key) -> Option<PolicyId> {
    use crate::Kind;
    let (kind, namespaced) = match key.kind {
        Kind::GlobalNetworkPolicy => (PolicyKind::GlobalNetworkPolicy, false),
        Kind::NetworkPolicy => (PolicyKind::NetworkPolicy, true),
        Kind::StagedGlobalNetworkPolicy => (PolicyKind::StagedGlobalNetworkPolicy, false),
        Kind::StagedNetworkPolicy => (PolicyKind::StagedNetworkPolicy, true),
        Kind::StagedKubernetesNetworkPolicy => (PolicyKind::StagedKubernetesNetworkPolicy, true),
        Kind::KubernetesNetworkPolicy => (PolicyKind::KubernetesNetworkPolicy, true),
        Kind::ClusterNetworkPolicy => (PolicyKind::KubernetesClusterNetworkPolicy, false),
        _ => return None,
    };
    let namespace = namespaced.then(|| key.namespace());
    Some(PolicyId { kind, namespace, name: key.name.to_smolstr() })
}
