//! What is shown: tiers and policies in the order they are asked, and how many pods there are where.
//!
//! Order, selection and what cannot be enforced are all `tortie-policy`'s.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use smol_str::{SmolStr, ToSmolStr};
use tortie_model::{DecodeError, FieldError, Object, Resource};
use tortie_policy::{
    Cluster, Compat, DefaultAction, Order, Policy, PolicyId, Stage, StagedAction, TierPolicies,
};

use crate::documents::Documents;
use crate::select::Endpoints;

/// The condition by which a server says whether a policy is enforced.
const ACCEPTED: &str = "Accepted";

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
    /// What is shown of some documents.
    pub(crate) fn of(documents: &Documents) -> Board {
        let resources: Vec<&Resource> = documents.resources().collect();
        let cluster = Cluster::build_mended(resources.iter().copied(), Compat::STRICT);
        let cluster = cluster.with_undecodable(documents.undecodable());
        let (reasons, problems) = refused(&cluster, &resources, documents);
        let (namespaces, nodes) = places(&cluster, &resources);
        Board { tiers: columns(&cluster, &reasons), problems, nodes, namespaces }
    }
}

fn columns(cluster: &Cluster, reasons: &BTreeMap<PolicyId, String>) -> Vec<Column> {
    // What has finished is no longer policed: it has no address.
    let running = cluster.endpoints().filter(|endpoint| !endpoint.addresses.is_empty());
    let mut selected = Selected {
        pods: Endpoints::new(running.map(|endpoint| &endpoint.labels)),
        hosts: Endpoints::new(cluster.hosts().map(|host| &host.labels)),
        known: HashMap::new(),
    };
    let tiers = cluster.in_order();
    tiers.iter().map(|tier| column(tier, &mut selected, reasons)).collect()
}

fn column<'a>(
    tier: &'a TierPolicies,
    selected: &mut Selected<'a>,
    reasons: &BTreeMap<PolicyId, String>,
) -> Column {
    let card = |policy| card(policy, selected, reasons);
    Column {
        name: tier.tier.name.clone(),
        order: number(tier.tier.order),
        default_action: match tier.default_action {
            DefaultAction::Deny => "Deny",
            DefaultAction::Pass => "Pass",
        },
        defined: tier.tier.defined,
        policies: tier.policies.iter().map(|policy| &**policy).map(card).collect(),
    }
}

fn card<'a>(
    policy: &'a Policy,
    selected: &mut Selected<'a>,
    reasons: &BTreeMap<PolicyId, String>,
) -> Card {
    let (pods, hosts) = selected.by(policy);
    let reason = reasons.get(&policy.id).cloned();
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

/// How many endpoints policies select, each selector asked once.
struct Selected<'a> {
    pods: Endpoints<'a>,
    hosts: Endpoints<'a>,
    known: HashMap<&'a str, (usize, usize)>,
}

impl<'a> Selected<'a> {
    fn by(&mut self, policy: &'a Policy) -> (usize, usize) {
        let selector = &policy.subject;
        let count = || (self.pods.count(selector), self.hosts.count(selector));
        *self.known.entry(selector.canonical()).or_insert_with(count)
    }
}

/// What is not in force as written: policies that have a card, and everything else.
fn refused(
    cluster: &Cluster,
    resources: &[&Resource],
    documents: &Documents,
) -> (BTreeMap<PolicyId, String>, Vec<Problem>) {
    let mut errors: BTreeMap<usize, Vec<FieldError>> = BTreeMap::new();
    for invalid in cluster.invalid() {
        errors.entry(invalid.resource).or_default().push(invalid.error.clone());
    }
    let resources = resources.iter().enumerate().filter_map(|(index, resource)| {
        let said = refused_by_server(&resource.raw).map(str::to_owned);
        let reason = said.or_else(|| errors.get(&index).map(|errors| joined(errors)))?;
        let id = Policy::mended(&resource.object).map(|policy| policy.id);
        Some((id, Identity::of_resource(resource), reason))
    });
    let undecodable = documents.undecodable().map(|error| {
        let id = Policy::undecodable(error).map(|policy| policy.id);
        (id, Identity::of_undecodable(error), joined(&error.errors))
    });
    let shown: HashSet<&PolicyId> = cluster.policies().map(|policy| &policy.id).collect();
    let (mut reasons, mut problems) = (BTreeMap::new(), Vec::new());
    for (policy, id, reason) in resources.chain(undecodable) {
        match policy.filter(|policy| shown.contains(policy)) {
            Some(policy) => drop(reasons.insert(policy, reason)),
            None => problems.push(Problem { id, reason }),
        }
    }
    (reasons, problems)
}

/// What the server says in the condition `Accepted`, if it says no.
fn refused_by_server(document: &Value) -> Option<&str> {
    let conditions = document.pointer("/status/conditions")?.as_array()?;
    let no = |condition: &&Value| condition["type"] == ACCEPTED && condition["status"] == "False";
    let refusal = conditions.iter().find(no)?;
    refusal.get("message").and_then(Value::as_str).or(Some("the server does not say why"))
}

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Namespaces and nodes with their pods, those of the host's network and those that have finished
/// included.
fn places(cluster: &Cluster, resources: &[&Resource]) -> (Vec<Place>, Vec<Place>) {
    let known = cluster.namespaces().map(|(name, _)| (name.clone(), 0));
    let mut namespaces: BTreeMap<SmolStr, usize> = known.collect();
    let mut nodes: BTreeMap<SmolStr, usize> = BTreeMap::new();
    for resource in resources {
        match &resource.object {
            Object::Node(node) => drop(nodes.entry(node.metadata.name.to_smolstr()).or_default()),
            Object::Pod(pod) => {
                let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
                *namespaces.entry(namespace.into()).or_default() += 1;
                let node = pod.spec.node_name.as_deref().filter(|node| !node.is_empty());
                if let Some(node) = node {
                    *nodes.entry(node.into()).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    let list = |map: BTreeMap<SmolStr, usize>| {
        map.into_iter().map(|(name, pods)| Place { name, pods }).collect()
    };
    (list(namespaces), list(nodes))
}

impl Identity {
    fn of(id: &PolicyId) -> Identity {
        let PolicyId { kind, namespace, name } = id.clone();
        Identity { kind: kind.as_str().into(), namespace, name }
    }

    fn of_resource(resource: &Resource) -> Identity {
        let metadata = resource.metadata();
        Identity {
            kind: resource.kind.to_smolstr(),
            namespace: metadata.namespace.as_deref().map(SmolStr::from),
            name: metadata.name.to_smolstr(),
        }
    }

    fn of_undecodable(error: &DecodeError) -> Identity {
        Identity {
            kind: error.kind.to_smolstr(),
            namespace: error.namespace.as_deref().map(SmolStr::from),
            name: error.name.to_smolstr(),
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
