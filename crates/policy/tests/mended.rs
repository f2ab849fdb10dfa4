//! What holds of policies that cannot be enforced as written, and of points of compatibility.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tortie_model::{DecodeError, FieldError, Resource};
use tortie_policy::{Cluster, Compat, CompatPlace, CompatPoint, Direction, Policy, evaluate};
use tortie_testkit::Property;
use tortie_testkit::world::{Traffic, World, strategy};

fn resources(documents: &[Value]) -> Vec<Resource> {
    documents.iter().flat_map(|d| tortie_model::decode(d.clone()).unwrap()).collect()
}

fn verdicts(cluster: &Cluster, world: &World, traffic: &[Traffic]) -> Vec<bool> {
    traffic.iter().flat_map(|t| world.legs(cluster, t)).map(|leg| leg.allowed()).collect()
}

/// The texts and numbers below a value, as pointers.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found));
        }
        Value::Array(entries) => {
            let entries = entries.iter().enumerate();
            entries.for_each(|(index, value)| leaves(value, &format!("{path}/{index}"), found));
        }
        Value::String(_) | Value::Number(_) => found.push(path.to_owned()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The documents with one leaf of the spec of one policy made unreadable, if there is one.
fn damaged(world: &World, which: Index) -> Option<Vec<Value>> {
    let mut documents = world.documents();
    let mut places = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        if document["kind"].as_str().unwrap().ends_with("Policy") {
            let mut found = Vec::new();
            leaves(&document["spec"], "/spec", &mut found);
            places.extend(found.into_iter().map(|pointer| (index, pointer)));
        }
    }
    if places.is_empty() {
        return None;
    }
    let (index, pointer) = which.get(&places);
    let leaf = documents[*index].pointer_mut(pointer).unwrap();
    *leaf = if leaf.is_string() { json!("%%") } else { json!(-7) };
    Some(documents)
}

#[test]
fn damage_to_a_policy_never_turns_a_denial_into_an_allow() {
    let values = (strategy::world(), vec(strategy::traffic(), 8), any::<Index>());
    let property = Property::new("damage never turns a denial into an allow", 600);
    let (damage, kept) = (Cell::new(0), Cell::new(0));
    property.check(&values, |(world, traffic, which)| {
        let Some(documents) = damaged(&world, which) else { return Ok(()) };
        let resources = resources(&documents);
        if Cluster::build(&resources).is_ok() {
            return Ok(()); // another policy, but a sound one
        }
        let mended = Cluster::build_mended(&resources, Compat::STRICT);
        prop_assert!(!mended.invalid().is_empty());
        let whole = world.cluster().map_err(TestCaseError::fail)?;
        let before = verdicts(&whole, &world, &traffic);
        let after = verdicts(&mended, &world, &traffic);
        for (leg, (before, after)) in before.iter().zip(&after).enumerate() {
            prop_assert!(*before || !after, "leg {leg} after {:?}", mended.invalid());
            kept.set(kept.get() + i32::from(*after));
        }
        damage.set(damage.get() + 1);
        Ok(())
    });
    assert!(damage.get() > 200 && kept.get() > 200, "{damage:?} {kept:?}");
}

#[test]
fn points_of_others_change_no_verdict() {
    let others = CompatPoint::ALL.iter().copied();
    let others: Vec<_> = others
        .filter(|p| matches!(p.place(), CompatPlace::Authorizer | CompatPlace::Preview))
        .collect();
    let chosen = proptest::sample::subsequence(others.clone(), 0..=others.len());
    let values = (strategy::world(), vec(strategy::traffic(), 8), chosen);
    Property::new("points of others change no verdict", 200).check(
        &values,
        |(world, traffic, chosen)| {
            let strict = world.cluster().map_err(TestCaseError::fail)?;
            let compat: Compat = chosen.into_iter().collect();
            let resources = resources(&world.documents());
            let other = Cluster::build_with(&resources, compat).unwrap();
            prop_assert_eq!(other.compat(), compat);
            let want = verdicts(&strict, &world, &traffic);
            prop_assert_eq!(verdicts(&other, &world, &traffic), want);
            Ok(())
        },
    );
}

#[test]
fn sound_resources_need_no_mending() {
    let values = (strategy::world(), vec(strategy::traffic(), 8));
    Property::new("sound resources need no mending", 200).check(&values, |(world, traffic)| {
        let strict = world.cluster().map_err(TestCaseError::fail)?;
        let mended = Cluster::build_mended(&resources(&world.documents()), Compat::STRICT);
        prop_assert!(mended.invalid().is_empty());
        let want = verdicts(&strict, &world, &traffic);
        prop_assert_eq!(verdicts(&mended, &world, &traffic), want);
        Ok(())
    });
}

#[test]
fn a_policy_that_cannot_even_be_decoded_denies_its_namespace() {
    let error = |kind: &str, namespace: Option<&str>| DecodeError {
        kind: kind.into(),
        namespace: namespace.map(str::to_owned),
        name: "p".into(),
        errors: vec![FieldError::new("spec.selectr", "is not a known field")],
    };
    let policy = Policy::undecodable(&error("NetworkPolicy", Some("a"))).unwrap();
    let labels = |namespace: &str| {
        [("projectcalico.org/namespace".into(), namespace.into())].into_iter().collect()
    };
    let selects = |policy: &Policy, labels: &tortie_policy::Labels| policy.subject.matches(labels);
    assert!(selects(&policy, &labels("a")) && !selects(&policy, &labels("b")));
    assert!(policy.governs(Direction::Ingress) && policy.governs(Direction::Egress));
    let global = Policy::undecodable(&error("GlobalNetworkPolicy", None)).unwrap();
    assert!(selects(&global, &labels("a")) && !selects(&global, &labels("kube-system")));
    assert!(!selects(&global, &tortie_policy::Labels::new()), "a host endpoint");
    assert!(Policy::undecodable(&error("StagedNetworkPolicy", Some("a"))).is_none());
    let errors = [error("NetworkPolicy", Some("a")), error("Pod", Some("a"))];
    let cluster = Cluster::build_mended(&[], Compat::STRICT).with_undecodable(&errors);
    let first = &cluster.in_order()[0];
    assert_eq!((first.tier.name.as_str(), first.policies.len()), ("(unreadable)", 1));
    assert!(Policy::undecodable(&error("Pod", Some("a"))).is_none());
}

#[test]
fn unknown_points_are_refused_by_name() {
    let document = json!({"apiVersion": "tortie.dev/v1", "kind": "TortieConfiguration",
        "metadata": {"name": "default"}, "spec": {"compat": ["profile-pass", "profile-pas"]}});
    let invalid = Cluster::build(&resources(&[document])).map(drop).unwrap_err();
    assert_eq!(invalid[0].error.field, "spec.compat[1]");
    assert_eq!(invalid[0].error.hint.as_deref(), Some("did you mean `profile-pass`?"));
}

#[test]
fn configurations_say_whom_they_are_for() {
    let felix = |name: &str, selector: Option<&str>| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": name}, "spec": {"nodeSelector": selector}})
    };
    for (name, selector, field) in [
        ("default", None, None),
        ("node.a", None, None),
        ("edge", Some("role == 'edge'"), None),
        ("edge", None, Some("metadata.name")),
        ("edge", Some("role =="), Some("spec.nodeSelector")),
        ("default", Some("all()"), Some("spec.nodeSelector")),
        ("node.a", Some("all()"), Some("spec.nodeSelector")),
    ] {
        let built = Cluster::build(&resources(&[felix(name, selector)])).map(drop);
        let found = built.err().map(|invalid| invalid[0].error.field.clone());
        assert_eq!(found.as_deref(), field, "{name} {selector:?}");
    }
}

/// What a node's kernel shall do; and what is refused, by name.
#[test]
fn configurations_say_how_the_kernel_enforces_policy() {
    let felix = |name: &str, spec: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": name}, "spec": spec})
    };
    let common = felix(
        "default",
        json!({"interfacePrefix": "tap, cali",
        "interfaceExclude": "kube-ipvs0,docker0", "disableConntrackInvalidCheck": true,
        "iptablesMarkMask": 0xff00, "flowLogsGoldmaneServer": "goldmane:7443",
        "dropActionOverride": "Drop"}),
    );
    let own = felix("node.a", json!({"flowLogsGoldmaneServer": "", "nftablesMarkMask": 0xf0}));
    let cluster = Cluster::build(&resources(&[common, own])).map_err(drop).unwrap();
    let [all, own] = ["b", "a"].map(|node| cluster.settings(&node.into()));
    assert_eq!(all.interface_prefixes, ["tap", "cali"]);
    assert_eq!(own.interface_exclude, ["kube-ipvs0", "docker0"]);
    assert_eq!((all.mark_mask, own.mark_mask), (Some(0xff00), Some(0xf0)));
    assert_eq!((all.flow_readers.any(), own.flow_readers.any()), (true, false));
    assert!(!all.drop_invalid && !own.drop_invalid);
    for (field, value) in [
        ("interfacePrefix", json!("cali,")),
        ("interfacePrefix", json!("cali/")),
        ("interfacePrefix", json!("fifteenletters_")),
        ("interfaceExclude", json!("/^kube.*/")),
        ("nftablesMarkMask", json!(0)),
        ("iptablesMarkMask", json!(0x1_0000_0000_i64)),
        ("flowLogsLocalReporter", json!("yes")),
        ("dropActionOverride", json!("Accept")),
        ("dropActionOverride", json!("LogAndAccept")),
        ("dropActionOverride", json!("LogAndDrop")),
    ] {
        let refused = Cluster::build(&resources(&[felix("default", json!({field: value}))]));
        let invalid = refused.map(drop).unwrap_err();
        assert_eq!(invalid[0].error.field, format!("spec.{field}"), "{value}");
        assert!(invalid[0].error.hint.is_some());
    }
}

/// The step that decides is still the rule its author numbered.
#[test]
fn mended_rules_keep_their_numbers() {
    let policy = json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
    "metadata": {"name": "p"}, "spec": {"ingress": [
        {"action": "Allow", "source": {"nets": ["bad"]}},
        {"action": "Deny", "protocol": "bad"},
    ]}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    let cluster = Cluster::build_mended(&resources(&[policy, pod]), Compat::STRICT);
    let endpoint = cluster.endpoints().next().unwrap();
    let applicable = cluster.applicable(endpoint, Direction::Ingress);
    let rules = &applicable.tiers[0].policies[0].ingress;
    assert_eq!(rules.iter().map(|r| r.origin).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(cluster.invalid().len(), 2);
    let flow = tortie_policy::Flow {
        cluster: &cluster,
        source: tortie_policy::Address::default(),
        destination: tortie_policy::Address::default(),
        protocol: tortie_policy::Protocol::TCP,
        icmp: None,
        http: tortie_policy::HttpAtNetwork::Unenforced,
    };
    assert!(!evaluate(&applicable, &flow).allowed);
}
