//! What is shown: tiers and policies in the order they are asked, and how many pods there are where.
//!
//! Order, selection and what cannot be enforced are all `tortie-policy`'s.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use smol_str::SmolStr;
use tortie_policy::{DefaultAction, Order, Policy, PolicyId, Stage, StagedAction, TierPolicies};

use crate::documents::{Documents, Trouble};

/// Everything that is shown of a cluster.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Board {
    /// In the order they are asked.
    tiers: Vec<Column>,
    /// What is not in force as written and has no card.
    problems: Vec<Problem>,
    nodes: Vec<Place>,
    namespaces: Vec<Place>,
}

/// A tier.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Column {
    name: SmolStr,
    order: Option<f64>,
    default_action: &'static str,
    /// False if policies name it and nobody defined it.
    defined: bool,
    /// In the order they are asked; a staged one where it will be.
    policies: Vec<Card>,
}

/// A policy.
#[derive(Debug, Serialize)]
struct Card {
    #[serde(flatten)]
    id: Identity,
    order: Option<f64>,
    /// What it would do, if it is staged.
    staged: Option<&'static str>,
    /// Where in a packet's way it is asked.
    stage: &'static str,
    types: Vec<&'static str>,
    /// How many pods it selects.
    pods: usize,
    /// How many host endpoints it selects.
    hosts: usize,
    /// Whether it is in force as written.
    accepted: bool,
    /// Why not.
    reason: Option<String>,
}

/// Something that is not in force as written.
#[derive(Debug, Serialize)]
struct Problem {
    #[serde(flatten)]
    id: Identity,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Identity {
    kind: SmolStr,
    namespace: Option<SmolStr>,
    name: SmolStr,
}

/// A node or namespace, and how many pods are there.
#[derive(Debug, Serialize)]
struct Place {
    name: SmolStr,
    pods: usize,
}

impl Board {
    /// What is shown of some documents as they are now.
    pub(crate) fn of(documents: &mut Documents) -> Board {
        documents.read();
        let tiers = documents.in_order();
        let (reasons, problems) = troubles(documents, &tiers);
        let (namespaces, nodes) = places(documents);
        let columns = tiers.iter().map(|tier| column(tier, documents, &reasons)).collect();
        Board { tiers: columns, problems, nodes, namespaces }
    }
}

/// Why policies are not in force as written.
type Reasons<'a> = HashMap<&'a PolicyId, &'a str>;

fn column(tier: &TierPolicies, documents: &Documents, reasons: &Reasons<'_>) -> Column {
    Column {
        name: tier.tier.name.clone(),
        order: number(tier.tier.order),
        default_action: match tier.default_action {
            DefaultAction::Deny => "Deny",
            DefaultAction::Pass => "Pass",
        },
        defined: tier.tier.defined,
        policies: tier.policies.iter().map(|policy| card(policy, documents, reasons)).collect(),
    }
}

fn card(policy: &Policy, documents: &Documents, reasons: &Reasons<'_>) -> Card {
    let (pods, hosts) = documents.selected(&policy.subject);
    let reason = reasons.get(&policy.id).map(|reason| (*reason).to_owned());
    let types = [("Ingress", policy.governs_ingress), ("Egress", policy.governs_egress)];
    Card {
        id: Identity::of(&policy.id),
        order: number(policy.order),
        staged: policy.staged.map(|action| match action {
            StagedAction::Set => "Set",
            StagedAction::Delete => "Delete",
            StagedAction::Learn => "Learn",
            StagedAction::Ignore => "Ignore",
        }),
        stage: match policy.stage {
            Stage::Normal => "normal",
            Stage::NormalAndForward => "normal and forward",
            Stage::PreDnat => "preDNAT",
            Stage::Untracked => "untracked",
        },
        types: types.into_iter().filter_map(|(name, governs)| governs.then_some(name)).collect(),
        pods,
        hosts,
        accepted: reason.is_none(),
        reason,
    }
}

/// As written; the order that comes before all others is nobody's writing.
fn number(order: Order) -> Option<f64> {
    order.number().filter(|number| *number > f64::MIN)
}

/// What is not in force as written: policies that have a card, and everything else.
fn troubles<'a>(documents: &'a Documents, tiers: &[TierPolicies]) -> (Reasons<'a>, Vec<Problem>) {
    let shown: HashSet<&PolicyId> =
        tiers.iter().flat_map(|tier| &tier.policies).map(|policy| &policy.id).collect();
    let (mut reasons, mut problems) = (Reasons::new(), Vec::new());
    for trouble in documents.troubles() {
        match trouble.policy.filter(|policy| shown.contains(&policy.id)) {
            Some(policy) => drop(reasons.insert(&policy.id, trouble.reason)),
            None => problems.push(Problem::of(&trouble)),
        }
    }
    (reasons, problems)
}

/// Namespaces and nodes with their pods, those of the host's network and those that have finished
/// included.
fn places(documents: &Documents) -> (Vec<Place>, Vec<Place>) {
    let mut namespaces: BTreeMap<&str, usize> =
        documents.namespaces().map(|name| (name.as_str(), 0)).collect();
    let mut nodes: BTreeMap<&str, usize> = documents.nodes().map(|name| (name, 0)).collect();
    for pod in documents.pods() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        *namespaces.entry(namespace).or_default() += 1;
        if let Some(node) = pod.spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            *nodes.entry(node).or_default() += 1;
        }
    }
    let list = |map: BTreeMap<&str, usize>| {
        map.into_iter().map(|(name, pods)| Place { name: name.into(), pods }).collect()
    };
    (list(namespaces), list(nodes))
}

impl Problem {
    fn of(trouble: &Trouble<'_>) -> Problem {
        let id = Identity {
            kind: trouble.kind.into(),
            namespace: trouble.namespace.map(SmolStr::from),
            name: trouble.name.into(),
        };
        Problem { id, reason: trouble.reason.to_owned() }
    }
}

impl Identity {
    fn of(id: &PolicyId) -> Identity {
        let PolicyId { kind, namespace, name } = id.clone();
        Identity { kind: kind.as_str().into(), namespace, name }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
