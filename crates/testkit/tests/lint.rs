//! What warnings say of rules holds in random clusters, for all traffic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use tortie_model::Resource;
use tortie_policy::lint::{Code, Warning, lint};
use tortie_policy::{Cluster, Direction, Policy, PolicyId, Rule, Step, Tri, evaluate};
use tortie_testkit::Property;
use tortie_testkit::world::{Leg, Party, Place, Traffic, World, strategy};

/// A rule by its policy, direction and position, or all of a policy.
type Claim = (String, Option<(Direction, usize)>);

/// What the warnings about a world claim.
#[derive(Default)]
struct Claims {
    by_code: BTreeMap<Code, BTreeSet<Claim>>,
}

impl Claims {
    fn of(warnings: &[Warning], resources: &[Resource], cluster: &Cluster) -> Claims {
        let mut claims = Claims::default();
        for warning in warnings {
            let metadata = resources[warning.resource].metadata();
            let policy = cluster.policies().find(|p| p.id.name == metadata.name.as_str()).unwrap();
            let claim = (policy.id.to_string(), rule_of(&warning.text.field));
            claims.by_code.entry(warning.code).or_default().insert(claim);
        }
        claims
    }

    /// The code under which a rule that matched was said not to, if any.
    fn against(&self, policy: &PolicyId, direction: Direction, rule: &Rule) -> Option<Code> {
        let whole = (policy.to_string(), None);
        let one = (policy.to_string(), Some((direction, rule.origin)));
        let codes = [
            (Code::RuleNeverMatches, &one),
            (Code::RuleShadowed, &one),
            (Code::SelectsNothing, &one),
            (Code::SelectsNothing, &whole),
        ];
        let claimed =
            |code: &Code, claim| self.by_code.get(code).is_some_and(|c| c.contains(claim));
        codes.into_iter().find(|(code, claim)| claimed(code, *claim)).map(|(code, _)| code)
    }
}

/// The pod that a warning about egress names, by its position in the world.
fn cut_off(world: &World, warning: &Warning) -> Option<usize> {
    let id = warning.text.reason.split('`').nth(1)?;
    world.pods.iter().position(|pod| format!("{}/{}", pod.namespace, pod.name) == id)
}

/// Whether no traffic gets out of a pod to what a warning says it cannot reach.
fn stays_cut_off(
    world: &World,
    cluster: &Cluster,
    traffic: &[Traffic],
    warning: &Warning,
) -> TestCaseResult {
    let (protocol, port) = match warning.code {
        Code::EgressCutsDns => (17, 53),
        Code::EgressCutsControlPlane => (6, 15012),
        _ => return Ok(()),
    };
    let pod = cut_off(world, warning).unwrap();
    for traffic in traffic {
        let from = Party::Pod(pod);
        let traffic = Traffic { from, protocol, port, http: None, ..traffic.clone() };
        let mut legs = world.legs(cluster, &traffic).into_iter();
        let out = legs.find(|leg| leg.place == Place::Egress);
        prop_assert!(!out.is_some_and(|leg| leg.allowed()), "{warning:?}: {traffic:?}");
    }
    Ok(())
}

/// The rule in a field such as `spec.ingress[2].source`.
fn rule_of(field: &str) -> Option<(Direction, usize)> {
    let (list, rest) = field.strip_prefix("spec.")?.split_once('[')?;
    let direction = match list {
        "ingress" => Direction::Ingress,
        "egress" => Direction::Egress,
        _ => return None,
    };
    Some((direction, rest.split_once(']')?.0.parse().unwrap()))
}

fn rules_that_matched<'a>(
    leg: &'a Leg<'_>,
) -> impl Iterator<Item = (&'a Policy, &'a Rule, Tri)> + 'a {
    let trace = evaluate(&leg.applicable, &*leg.facts).trace;
    trace.into_iter().filter_map(|step| match step {
        Step::Rule { policy, rule, certainty, .. } => Some((policy, rule, certainty)),
        _ => None,
    })
}

fn check(
    world: &World,
    traffic: &[Traffic],
    seen: &RefCell<BTreeMap<Code, usize>>,
) -> TestCaseResult {
    let decode = |document| tortie_model::decode(document).unwrap();
    let resources: Vec<Resource> = world.documents().into_iter().flat_map(decode).collect();
    let cluster = Cluster::build(&resources).unwrap();
    let warnings = lint(&resources, &cluster);
    for warning in &warnings {
        stays_cut_off(world, &cluster, traffic, warning)?;
    }
    let claims = Claims::of(&warnings, &resources, &cluster);
    for (code, claims) in &claims.by_code {
        *seen.borrow_mut().entry(*code).or_default() += claims.len();
    }
    for traffic in traffic {
        for leg in world.legs(&cluster, traffic) {
            let direction = match leg.place {
                Place::Egress => Direction::Egress,
                Place::Ingress | Place::Application => Direction::Ingress,
            };
            for (policy, rule, certainty) in rules_that_matched(&leg) {
                // A sidecar may not know who the sender is, and then a Deny rule denies in doubt.
                let counts = leg.place != Place::Application || certainty == Tri::True;
                let claimed = claims.against(&policy.id, direction, rule).filter(|_| counts);
                prop_assert_eq!(claimed, None, "{} of {}: {:?}", rule.origin, policy.id, rule);
            }
        }
    }
    Ok(())
}

#[test]
fn what_warnings_say_is_so() {
    let seen = RefCell::new(BTreeMap::new());
    let property = Property::new("what warnings say is so", 400);
    property.check(&(strategy::world(), vec(strategy::traffic(), 20)), |(world, traffic)| {
        check(&world, &traffic, &seen)
    });
    println!("{seen:?}");
    for (code, least) in [
        (Code::RuleNeverMatches, 50),
        (Code::RuleShadowed, 50),
        (Code::SelectsNothing, 50),
        (Code::EgressCutsDns, 10),
        (Code::EgressCutsControlPlane, 10),
    ] {
        let count = seen.borrow().get(&code).copied().unwrap_or_default();
        assert!(count >= least, "only {count} of {code}");
    }
}
