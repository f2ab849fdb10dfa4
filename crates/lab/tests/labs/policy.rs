//! Policies of a running lab, through the library.

use std::path::PathBuf;
use std::time::Duration;

use tortie_lab::{Lab, Options, Outcome, StateRoot};

use crate::harness::{DEADLINE, INJECTED, PROGRAM, Place, outsider, pod, service, web};

const GET_ONLY: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: get-only}\nspec:\n  selector: app == 'server'\n  \
    ingress: [{action: Allow, http: {methods: [GET]}}]\n";

/// A policy that stands before its tier, as files of a folder may.
const BEFORE_ITS_TIER: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
    metadata: {name: own.x}\nspec: {tier: own, selector: app == 'nobody'}\n---\n\
    apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: own}\n---\n";

fn status_of(lab: &Lab, method: &str) -> String {
    let script = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method];
    let argv: Vec<String> = script.iter().chain(&["http://server"]).map(|w| (*w).into()).collect();
    lab.exec("client", None, &argv, DEADLINE).unwrap().stdout
}

#[test]
fn a_change_is_in_force_when_the_command_is_done() {
    let Some(place) = Place::new() else { return };
    let manifests = crate::harness::images()
        + INJECTED
        + &web("server")
        + &service("server", "server", "")
        + &pod("client", "idle", "")
        + &outsider("stranger")
        + BEFORE_ITS_TIER;
    let options = Options {
        executable: PROGRAM.into(),
        state: StateRoot::at(&place.state()).unwrap(),
        manifests: vec![place.file("m.yaml", &manifests).into()],
        ..Options::new().unwrap()
    };
    let mut steps = Vec::new();
    let lab = Lab::up(&options, |step| steps.push(step.to_owned())).unwrap();
    assert!(steps.iter().any(|step| step == "pods ready: 3 of 3"), "{steps:?}");
    assert_eq!(lab.gateway_url().unwrap(), None);

    let policy: Vec<PathBuf> = vec![place.file("p.yaml", GET_ONLY).into()];
    let outcome = |changes: Vec<tortie_lab::Change>| changes[0].outcome;
    for _ in 0..5 {
        assert_eq!(status_of(&lab, "POST"), "200");
        assert_eq!(outcome(lab.apply(&policy, false).unwrap()), Outcome::Created);
        assert_eq!(status_of(&lab, "POST"), "403");
        assert_eq!(status_of(&lab, "GET"), "200");
        assert_eq!(outcome(lab.delete(&policy, false).unwrap()), Outcome::Deleted);
    }
    assert_eq!(outcome(lab.delete(&policy, false).unwrap()), Outcome::NotFound);
    let denials = lab.denials("server").unwrap();
    assert_eq!(denials.len(), 5);
    let denial = &denials[0];
    assert_eq!((denial.method.as_deref(), denial.tier.as_deref()), (Some("POST"), Some("default")));
    assert!(denial.reason.contains("get-only"), "{denial:?}");

    nothing_is_changed_by_a_broken_policy(&place, &lab, &policy);
    labels_of_a_pod_are_in_force_too(&place, &lab, &policy);
    tiers_come_first_and_go_last(&lab, &place.file("t.yaml", BEFORE_ITS_TIER).into());

    let error = lab.exec("client", None, &["sleep".into(), "99".into()], Duration::from_millis(50));
    assert!(error.unwrap_err().to_string().contains("client"));
    lab.down().unwrap();
    assert!(crate::harness::is_empty(&place.state()));
}

fn labels_of_a_pod_are_in_force_too(place: &Place, lab: &Lab, policy: &[PathBuf]) {
    lab.delete(policy, false).unwrap();
    let by_role = GET_ONLY.replace("app == 'server'", "role == 'closed'");
    lab.apply(&[place.file("r.yaml", &by_role).into()], false).unwrap();
    for _ in 0..3 {
        for (role, status) in [("open", "200"), ("closed", "403")] {
            let pod = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: server, labels: {{role: {role}}}}}\n"
            );
            lab.apply(&[place.file("l.yaml", &pod).into()], false).unwrap();
            assert_eq!(status_of(lab, "POST"), status);
        }
    }
}

fn tiers_come_first_and_go_last(lab: &Lab, file: &PathBuf) {
    let file = std::slice::from_ref(file);
    let deleted = lab.delete(file, false);
    for (changes, outcome) in [
        (deleted, Outcome::Deleted),
        (lab.apply(file, false), Outcome::Created),
        (lab.apply(file, false), Outcome::Unchanged),
    ] {
        let outcomes: Vec<_> = changes.unwrap().iter().map(|change| change.outcome).collect();
        assert_eq!(outcomes, [outcome; 2]);
    }
}

fn nothing_is_changed_by_a_broken_policy(place: &Place, lab: &Lab, policy: &[PathBuf]) {
    lab.apply(policy, false).unwrap();
    assert_eq!(lab.apply(policy, false).unwrap()[0].outcome, Outcome::Unchanged);
    let open = GET_ONLY.replace("[GET]", "['*']");
    for (broken, want) in [
        ("apiVersion: example.org/v1\nkind: Thing\nmetadata: {name: x}\n".to_owned(), "kind"),
        (GET_ONLY.replace("app == 'server'", "app =="), "selector"),
        (GET_ONLY.replace("ingress", "ingres"), "ingres"),
    ] {
        let file = place.file("b.yaml", &format!("{open}---\n{broken}"));
        let error = lab.apply(&[file.into()], false).unwrap_err();
        assert!(error.to_string().contains(want) && error.exit_code() == 2, "{error}");
        assert_eq!(status_of(lab, "POST"), "403", "nothing half applied");
    }
}
