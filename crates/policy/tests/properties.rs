//! What holds of every cluster and all traffic.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod hidden;

use std::cell::Cell;

use hidden::Hidden;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tortie_policy::{
    Action, Address, Cluster, Criterion, Direction, Facts, HttpRequest, Principal, Protocol, Query,
    Request, Tri, Trust, Word, evaluate, explain, holds, matches,
};
use tortie_testkit::Property;
use tortie_testkit::world::{self, Entity, Http, Policy, Rule, Traffic, World, build, strategy};

fn cluster(world: &World) -> Result<Cluster, TestCaseError> {
    world.cluster().map_err(TestCaseError::fail)
}

/// The verdict of every leg of every piece of traffic.
fn verdicts(world: &World, traffic: &[Traffic]) -> Result<Vec<bool>, TestCaseError> {
    let cluster = cluster(world)?;
    let legs = traffic.iter().flat_map(|t| world.legs(&cluster, t));
    Ok(legs.map(|leg| leg.allowed()).collect())
}

fn worlds_with_traffic() -> impl Strategy<Value = (World, Vec<Traffic>)> {
    (strategy::world(), vec(strategy::traffic(), 8))
}

/// What explaining a piece of traffic says, in full, between whatever is there.
fn explained(cluster: &Cluster, world: &World, traffic: &Traffic) -> Value {
    let party = |party| match world.pod(party) {
        Some(pod) => format!("{}/{}", pod.namespace, pod.name),
        None => world.addresses(party)[usize::from(traffic.six)].to_string(),
    };
    let query = Query {
        from: party(traffic.from).parse().unwrap(),
        to: party(traffic.to).parse().unwrap(),
        protocol: Protocol::parse(&traffic.protocol.to_string()).unwrap(),
        port: Some(tortie_policy::PortName::Number(traffic.port)),
        icmp: None,
        http: traffic.http.map(|(method, path)| (method.to_owned(), path.to_owned())),
        from_identity: None,
    };
    match explain(cluster, &Trust::default(), &query) {
        Ok(explanation) => serde_json::to_value(explanation).unwrap(),
        Err(error) => error.to_string().into(),
    }
}

#[test]
fn the_order_of_documents_never_changes_a_verdict() {
    let shuffled = worlds_with_traffic().prop_flat_map(|(world, traffic)| {
        let documents = Just(world.documents()).prop_shuffle();
        (Just(world), Just(traffic), documents)
    });
    let property = Property::new("the order of documents never changes a verdict", 300);
    property.check(&shuffled, |(world, traffic, documents)| {
        let (first, second) = (cluster(&world)?, build(documents).map_err(TestCaseError::fail)?);
        for traffic in &traffic {
            let want = explained(&first, &world, traffic);
            prop_assert_eq!(explained(&second, &world, traffic), want, "{:?}", traffic);
        }
        Ok(())
    });
}

/// Documents with something wrong in them.
fn damaged() -> impl Strategy<Value = Vec<Value>> {
    let wrong = json!([
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "A"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "one", "labels": {"pcns.a": "b"}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pod"}, "spec": {"replicas": 3}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "pod"}, "spec": {"replicas": 2}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod-1"}},
        {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "default"}, "spec": {"order": 1}},
        {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "a"}, "spec": {"selector": "("}},
        {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy", "metadata": {"name": "a"},
         "spec": {"types": ["In"], "ingress": [{"action": "Go", "source": {"nets": ["x"]}}]}},
    ]);
    let wrong: Vec<Value> = wrong.as_array().unwrap().clone();
    (strategy::world(), proptest::sample::subsequence(wrong, 1..5), any::<Index>()).prop_map(
        |(world, wrong, again)| {
            let mut documents = world.documents();
            documents.push(again.get(&documents).clone());
            documents.extend(wrong);
            documents
        },
    )
}

/// Every error, with the resource it is about, sorted. Which of two workloads is told that they
/// share a pod is chance.
fn errors(documents: &[Value]) -> Vec<String> {
    let documents = documents.iter().cloned();
    let resources: Vec<_> =
        documents.flat_map(|document| tortie_model::decode(document).unwrap()).collect();
    let invalid = Cluster::build(&resources).map(drop).unwrap_err();
    let kind = |i: usize| resources[i].kind.replace("StatefulSet", "Deployment");
    let mut errors: Vec<_> =
        invalid.iter().map(|i| format!("{}: {}", kind(i.resource), i.error)).collect();
    errors.sort();
    errors
}

#[test]
fn the_order_of_documents_never_changes_the_errors() {
    let shuffled = damaged().prop_flat_map(|documents| {
        let other = Just(documents.clone()).prop_shuffle();
        (Just(documents), other)
    });
    let property = Property::new("the order of documents never changes the errors", 500);
    property.check(&shuffled, |(documents, other)| {
        prop_assert_eq!(errors(&documents), errors(&other));
        Ok(())
    });
}

/// The rule as several, one for each combination of entries of its lists.
fn split(rule: &Rule) -> Vec<Rule> {
    let mut rules = vec![rule.clone()];
    let mut by = |each: &dyn Fn(&Rule) -> Vec<Rule>| {
        rules = rules.iter().flat_map(each).collect();
    };
    by(&|r| sides(&r.source).into_iter().map(|s| Rule { source: s, ..r.clone() }).collect());
    by(&|r| {
        sides(&r.destination).into_iter().map(|d| Rule { destination: d, ..r.clone() }).collect()
    });
    by(&|r| match &r.http {
        None => vec![r.clone()],
        Some(http) => {
            clauses(http).into_iter().map(|h| Rule { http: Some(h), ..r.clone() }).collect()
        }
    });
    rules
}

/// Lists of one entry each; an empty list stays as it is.
fn ones<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    match list {
        [] => vec![Vec::new()],
        list => list.iter().map(|one| vec![one.clone()]).collect(),
    }
}

fn sides(entity: &Entity) -> Vec<Entity> {
    let mut entities = Vec::new();
    for nets in ones(&entity.nets) {
        for ports in ones(&entity.ports) {
            for account_names in ones(&entity.account_names) {
                entities.push(Entity {
                    nets: nets.clone(),
                    ports: ports.clone(),
                    account_names,
                    ..entity.clone()
                });
            }
        }
    }
    entities
}

fn clauses(http: &Http) -> Vec<Http> {
    let paths = |methods: Vec<_>| {
        let paths = ones(&http.paths).into_iter();
        paths.map(move |paths| Http { methods: methods.clone(), paths })
    };
    ones(&http.methods).into_iter().flat_map(paths).collect()
}

#[test]
fn splitting_lists_into_rules_never_changes_a_verdict() {
    let property = Property::new("splitting lists into rules never changes a verdict", 300);
    let grown = Cell::new(0_usize);
    property.check(&worlds_with_traffic(), |(world, traffic)| {
        let mut other = world.clone();
        for policy in &mut other.policies {
            for rules in [&mut policy.ingress, &mut policy.egress].into_iter().flatten() {
                let before = rules.len();
                *rules = rules.iter().flat_map(split).collect();
                grown.set(grown.get() + rules.len() - before);
            }
        }
        prop_assert_eq!(verdicts(&other, &traffic)?, verdicts(&world, &traffic)?);
        Ok(())
    });
    assert!(grown.get() > 100, "{grown:?}");
}

#[test]
fn hiding_facts_never_turns_a_denial_into_an_allow() {
    let values = (worlds_with_traffic(), any::<u64>(), 1_u64..=16);
    let property = Property::new("hiding facts never turns a denial into an allow", 400);
    let (turned, kept) = (Cell::new(0), Cell::new(0));
    property.check(&values, |((world, traffic), seed, share)| {
        let cluster = cluster(&world)?;
        for leg in traffic.iter().flat_map(|t| world.legs(&cluster, t)) {
            let hidden = Hidden { facts: &*leg.facts, seed, share };
            let known = evaluate(&leg.applicable, &*leg.facts).allowed;
            let guessed = evaluate(&leg.applicable, &hidden).allowed;
            prop_assert!(known || !guessed, "{:?} of {}", leg.place, leg.pod.name);
            let seen = if guessed { &kept } else { &turned };
            seen.set(seen.get() + i32::from(known));
            for policy in leg.applicable.tiers.iter().flat_map(|t| &t.policies) {
                for rule in policy.rules(leg.applicable.direction) {
                    less_is_known(rule, &*leg.facts, &hidden)?;
                }
            }
        }
        Ok(())
    });
    assert!(turned.get() > 100 && kept.get() > 100, "{turned:?} {kept:?}");
}

/// Whoever knows less gives the same answer or none.
fn less_is_known(
    rule: &tortie_policy::Rule,
    facts: &dyn Facts,
    hidden: &dyn Facts,
) -> Result<(), TestCaseError> {
    for criterion in Criterion::ALL {
        let (known, guessed) = (holds(rule, criterion, facts), holds(rule, criterion, hidden));
        prop_assert!(guessed == Tri::Unknown || guessed == known, "{:?}", criterion);
    }
    let (known, guessed) = (matches(rule, facts), matches(rule, hidden));
    prop_assert!(guessed == Tri::Unknown || guessed == known);
    Ok(())
}

#[test]
fn withholding_addresses_and_ports_never_helps() {
    let property = Property::new("withholding addresses and ports never helps", 400);
    let values = (worlds_with_traffic(), any::<[bool; 4]>());
    property.check(&values, |((world, traffic), keep)| {
        let cluster = cluster(&world)?;
        for traffic in &traffic {
            let (Some((from, to)), Some(pod)) = (world.ends(traffic), world.pod(traffic.to)) else {
                continue;
            };
            let own =
                world.pod(traffic.from).map_or(("one", "robot"), |p| (p.namespace, p.account()));
            let principal = || match traffic.certificate {
                world::Certificate::None => Principal::Plaintext,
                world::Certificate::Foreign | world::Certificate::Untrusted => Principal::Foreign,
                world::Certificate::Own => spiffe(own),
                world::Certificate::Of(namespace, account) => spiffe((namespace, account)),
            };
            let request = |[a, b, c, d]: [bool; 4]| {
                let end = |ip, port, ip_kept: bool, port_kept: bool| Address {
                    ip: Some(ip).filter(|_| ip_kept),
                    port: Some(port).filter(|_| port_kept),
                };
                Request::new(
                    &cluster,
                    &Trust::default(),
                    (end(from, traffic.source_port, a, b), principal()),
                    (end(to, traffic.port, c, d), Principal::Plaintext),
                    Protocol::TCP,
                    traffic.http.map(|(method, path)| HttpRequest::new(method, path)),
                )
            };
            let id = format!("{}/{}", pod.namespace, pod.name).parse().unwrap();
            let endpoint = cluster.endpoint(&id).unwrap();
            let applicable = cluster.applicable(endpoint, Direction::Ingress);
            let whole = evaluate(&applicable, &request([true; 4])).allowed;
            let part = evaluate(&applicable, &request(keep)).allowed;
            prop_assert!(whole || !part, "{:?} without {:?}", traffic, keep);
        }
        Ok(())
    });
}

fn spiffe((namespace, account): (&str, &str)) -> Principal {
    Principal::parse(&format!("spiffe://cluster.local/ns/{namespace}/sa/{account}"))
}

/// The list of rules of a direction, if the policy has one and governs that direction anyway.
fn governed(policy: &mut Policy, ingress: bool) -> Option<&mut Vec<Rule>> {
    policy.types.as_ref()?;
    if ingress { policy.ingress.as_mut() } else { policy.egress.as_mut() }
}

/// Worlds, and the same with one more rule of an action in one of their policies.
fn with_another_rule(action: world::Action) -> impl Strategy<Value = (World, World, Vec<Traffic>)> {
    let values = (worlds_with_traffic(), any::<bool>(), any::<Index>(), any::<Index>());
    let values = values.prop_flat_map(|(worlds, ingress, policy, place)| {
        (Just(worlds), Just(ingress), strategy::rule(ingress), Just(policy), Just(place))
    });
    values.prop_map(move |((world, traffic), ingress, mut rule, policy, place)| {
        rule.action = action;
        rule.http = rule.http.filter(|_| action == world::Action::Allow);
        let mut other = world.clone();
        if !other.policies.is_empty() {
            let index = policy.index(other.policies.len());
            if let Some(rules) = governed(&mut other.policies[index], ingress) {
                rules.insert(place.index(rules.len() + 1), rule);
            }
        }
        (world, other, traffic)
    })
}

fn one_more_rule(name: &'static str, action: world::Action, worse: fn(bool, bool) -> bool) {
    let changed = Cell::new(0);
    Property::new(name, 600).check(&with_another_rule(action), |(world, other, traffic)| {
        let (before, after) = (verdicts(&world, &traffic)?, verdicts(&other, &traffic)?);
        for (leg, (before, after)) in before.iter().zip(&after).enumerate() {
            prop_assert!(!worse(*before, *after), "leg {}", leg);
            changed.set(changed.get() + i32::from(before != after));
        }
        Ok(())
    });
    assert!(changed.get() > 10, "{changed:?} verdicts changed");
}

#[test]
fn another_allow_never_denies() {
    one_more_rule("another Allow never denies", world::Action::Allow, |before, after| {
        before && !after
    });
}

#[test]
fn another_deny_never_allows() {
    one_more_rule("another Deny never allows", world::Action::Deny, |before, after| {
        !before && after
    });
}

#[test]
fn a_log_never_changes_a_verdict() {
    let values = with_another_rule(world::Action::Log);
    Property::new("a Log never changes a verdict", 200).check(
        &values,
        |(world, other, traffic)| {
            prop_assert_eq!(verdicts(&world, &traffic)?, verdicts(&other, &traffic)?);
            Ok(())
        },
    );
}

#[test]
fn a_policy_without_rules_denies() {
    let property = Property::new("a policy without rules denies", 200);
    property.check(&worlds_with_traffic(), |(mut world, traffic)| {
        world.policies = vec![Policy {
            namespace: None,
            name: "closed".to_owned(),
            tier: None,
            order: None,
            selector: None,
            namespaces: None,
            accounts: None,
            types: Some(vec![world::Direction::Ingress, world::Direction::Egress]),
            ingress: None,
            egress: None,
        }];
        prop_assert!(verdicts(&world, &traffic)?.iter().all(|allowed| !allowed));
        Ok(())
    });
}

#[test]
fn a_pod_reaches_itself() {
    let property = Property::new("a pod reaches itself", 200);
    property.check(&worlds_with_traffic(), |(world, traffic)| {
        let cluster = cluster(&world)?;
        for mut traffic in traffic {
            traffic.to = traffic.from;
            let running = world.pod(traffic.from).is_some() && world.ends(&traffic).is_some();
            let explained = explained(&cluster, &world, &traffic);
            prop_assert!(!running || explained["verdict"] == "allow", "{}", explained);
        }
        Ok(())
    });
}

#[test]
fn a_verdict_is_allow_only_if_every_leg_allows() {
    let property = Property::new("a verdict is allow only if every leg allows", 200);
    property.check(&worlds_with_traffic(), |(world, traffic)| {
        let cluster = cluster(&world)?;
        for traffic in &traffic {
            let explained = explained(&cluster, &world, traffic);
            let Some(legs) = explained.as_object() else { continue };
            let denied = legs.values().any(|leg| leg["verdict"] == json!(Word::Deny));
            prop_assert_eq!(explained["verdict"] == "deny", denied, "{}", explained);
        }
        Ok(())
    });
}

/// Workloads, and the pods they stand for written out.
#[test]
fn a_workload_is_as_good_as_its_pods() {
    let kinds =
        proptest::sample::select(&["Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"][..]);
    let values = (worlds_with_traffic(), kinds, 0_u32..4, any::<Index>());
    let property = Property::new("a workload is as good as its pods", 200);
    property.check(&values, |((world, traffic), kind, replicas, model)| {
        let model = model.get(&world.pods);
        let labels = json!(model.labels);
        let account = model.account();
        let spec = json!({"serviceAccountName": account, "containers": [
            {"ports": [{"name": "http", "containerPort": 8080}]}]});
        let template = json!({"metadata": {"labels": labels}, "spec": spec});
        let metadata = |name: String| json!({"name": name, "namespace": model.namespace});
        let workload = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata("w".into()),
            "spec": {"replicas": replicas, "template": template}});
        let count = if kind == "DaemonSet" { 1 } else { replicas };
        let pods = (0..count).map(|index| {
            let mut metadata = metadata(format!("w-{index}"));
            metadata["labels"] = labels.clone();
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        });
        let with = |more: Vec<Value>| {
            build(world.documents().into_iter().chain(more)).map_err(TestCaseError::fail)
        };
        let (first, second) = (with(vec![workload])?, with(pods.collect())?);
        let shown = |c: &Cluster| format!("{:?}", c.endpoints().collect::<Vec<_>>());
        prop_assert_eq!(shown(&first), shown(&second));
        for traffic in &traffic {
            let want = explained(&first, &world, traffic);
            prop_assert_eq!(explained(&second, &world, traffic), want);
        }
        Ok(())
    });
}

/// `Pass` and `Deny` differ for what they surely match, and in doubt both deny.
#[test]
fn in_doubt_a_pass_denies_like_a_deny() {
    let property = Property::new("in doubt a Pass denies like a Deny", 200);
    property.check(&(worlds_with_traffic(), any::<u64>()), |((world, traffic), seed)| {
        let cluster = cluster(&world)?;
        for leg in traffic.iter().flat_map(|t| world.legs(&cluster, t)) {
            let hidden = Hidden { facts: &*leg.facts, seed, share: 8 };
            let verdict = evaluate(&leg.applicable, &hidden);
            for step in &verdict.trace {
                if let tortie_policy::Step::Rule { action, certainty, .. } = step {
                    let doubtful = *certainty != Tri::True;
                    prop_assert!(!doubtful || *action == Action::Deny);
                }
            }
        }
        Ok(())
    });
}
