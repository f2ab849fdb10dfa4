//! What roles allow, as tables.

use serde_json::json;

use super::*;

fn rule(text: &str) -> Rule {
    // verbs groups resources [names]
    let parts: Vec<&str> = text.split(' ').collect();
    let list = |index: usize| {
        let part = parts.get(index).copied().unwrap_or_default();
        let words = part.split(',').filter(|word| !word.is_empty());
        words.map(|word| SmolStr::new(word.trim_matches('-'))).collect()
    };
    Rule { verbs: list(0), groups: list(1), resources: list(2), names: list(3), urls: Vec::new() }
}

#[test]
fn rules_allow_what_they_name() {
    // Rule, then deed: verb group resource name; `-` is the core group or no name.
    let cases = [
        ("get - pods", "get - pods web", true),
        ("get - pods", "get - pods -", true),
        ("get - pods", "list - pods -", false),
        ("get - pods", "get apps pods web", false),
        ("* * *", "delete projectcalico.org tiers t", true),
        ("* * *", "create - pods/exec web", true),
        ("create - pods", "create - pods/exec web", false),
        ("create - pods/exec", "create - pods/exec web", true),
        ("create - pods/exec", "create - pods -", false),
        ("update apps */scale", "update apps deployments/scale d", true),
        ("update apps */scale", "update apps deployments d", false),
        ("update apps */scale", "update apps deployments/status d", false),
        ("get - secrets a,b", "get - secrets b", true),
        ("get - secrets a,b", "get - secrets c", false),
        ("list - secrets a", "list - secrets -", false),
        ("get,list - pods,services", "list - services -", true),
        ("get * pods", "get any.group pods x", true),
        ("- - pods", "get - pods x", false),
    ];
    for (written, deed, expected) in cases {
        let words: Vec<&str> = deed.split(' ').map(|word| word.trim_matches('-')).collect();
        let [verb, group, resource, name] = words[..] else { panic!("{deed}") };
        let deed = Deed { verb, group, resource, namespace: None, name };
        assert_eq!(rule(written).allows(&deed), expected, "{written}: {deed:?}");
    }
}

#[test]
fn paths_are_whole_or_begin_so() {
    let urls = |urls: &[&str]| Rule::read(&json!({"verbs": ["get"], "nonResourceURLs": urls}));
    let cases: [(&[&str], &str, bool); 6] = [
        (&["/version"], "/version", true),
        (&["/version"], "/version/x", false),
        (&["/apis/*"], "/apis/apps/v1", true),
        (&["/apis/*"], "/apis", false),
        (&["*"], "/anything", true),
        (&[], "/version", false),
    ];
    for (rules, path, expected) in cases {
        assert_eq!(urls(rules).allows_path("get", path), expected, "{rules:?} {path}");
        assert!(!urls(rules).allows_path("post", path));
    }
}

#[test]
fn nobody_hands_out_more_than_they_hold() {
    let cases: [(&[&str], &str, usize); 12] = [
        (&["* * *"], "delete apps deployments", 0),
        (&["get,list - pods"], "get - pods", 0),
        (&["get - pods", "list - pods"], "get,list - pods", 0),
        (&["get - pods"], "get,list,watch - pods", 2),
        (&["get - pods"], "* - pods", 1),
        (&["get * pods"], "get - *", 1),
        (&["get - pods a,b"], "get - pods a", 0),
        (&["get - pods a"], "get - pods a,b", 1),
        (&["get - pods a"], "get - pods", 1),
        (&["get - pods"], "get - pods/log", 1),
        (&["get - */log"], "get - pods/log", 0),
        (&[], "get - pods", 1),
    ];
    for (held, wanted, missing) in cases {
        let held: Vec<Rule> = held.iter().map(|text| rule(text)).collect();
        let held: Vec<&Rule> = held.iter().collect();
        assert_eq!(beyond(&held, [&rule(wanted)]).len(), missing, "{held:?}: {wanted}");
    }
    let urls = |urls: &[&str]| Rule::read(&json!({"verbs": ["get"], "nonResourceURLs": urls}));
    assert!(beyond(&[&urls(&["/a*"])], [&urls(&["/a/b", "/a/*"])]).is_empty());
    assert_eq!(beyond(&[&urls(&["/a/b"])], [&urls(&["/a*"])]).len(), 1);
    // Rights on resources say nothing of paths, and the other way round.
    assert_eq!(beyond(&[&rule("* * *")], [&urls(&["/a"])]).len(), 1);
    let everywhere = Rule::read(&json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    assert_eq!(beyond(&[&everywhere], [&rule("get - pods")]).len(), 1);
}

fn roles(documents: &[Value]) -> Roles {
    let (mut roles, mut bindings) = (HashMap::new(), Vec::new());
    for document in documents {
        let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
        let id = (namespace.map(SmolStr::new), text(document, "/metadata/name").into());
        if document.get("roleRef").is_some() {
            bindings.push(Binding::read(document));
        } else {
            roles.insert(id, Arc::new(Role::read(document)));
        }
    }
    Roles::new(&roles, &bindings)
}

fn role(namespace: Option<&str>, name: &str, verb: &str, resource: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "rules": [{"verbs": [verb], "apiGroups": [""], "resources": [resource]}],
    })
}

fn binding(namespace: Option<&str>, role: (&str, &str), subject: (&str, &str)) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "b"},
        "roleRef": {"kind": role.0, "name": role.1},
        "subjects": [{"kind": subject.0, "name": subject.1}],
    })
}

#[test]
fn bindings_hold_where_they_are_for_whom_they_name() {
    let all = roles(&[
        role(None, "reader", "get", "pods"),
        role(Some("a"), "reader", "get", "secrets"),
        binding(Some("a"), ("ClusterRole", "reader"), ("User", "ada")),
        binding(Some("a"), ("Role", "reader"), ("Group", "dev")),
        binding(None, ("ClusterRole", "reader"), ("Group", "ops")),
        // A cluster binding to a namespace's role is to nothing.
        binding(None, ("Role", "reader"), ("User", "eve")),
        binding(Some("a"), ("ClusterRole", "reader"), ("ServiceAccount", "robot")),
        binding(Some("a"), ("ClusterRole", "missing"), ("User", "eve")),
    ]);
    let cases = [
        ("ada", "", "pods", Some("a"), true),
        ("ada", "", "pods", Some("b"), false),
        ("ada", "", "pods", None, false),
        ("ada", "", "secrets", Some("a"), false),
        ("bob", "dev", "secrets", Some("a"), true),
        ("bob", "dev", "secrets", Some("b"), false),
        ("cy", "ops", "pods", None, true),
        ("cy", "ops", "pods", Some("b"), true),
        ("eve", "", "pods", Some("a"), false),
        ("system:serviceaccount:a:robot", "", "pods", Some("a"), true),
        ("system:serviceaccount:b:robot", "", "pods", Some("a"), false),
        ("x", "system:masters", "anything", None, true),
    ];
    for (user, group, resource, namespace, expected) in cases {
        let caller = Caller::known(user, [SmolStr::new(group)]);
        let deed = Deed { verb: "get", group: "", resource, namespace, name: "" };
        assert_eq!(all.allow(&caller, &deed), expected, "{user} {group} {resource} {namespace:?}");
    }
}

#[test]
fn roles_gather_the_rules_of_others() {
    let labelled = |name: &str, verb: &str, key: &str| {
        let mut role = role(None, name, verb, "pods");
        role["metadata"]["labels"] = json!({key: "true"});
        role
    };
    let mut edit = labelled("edit", "update", "to-admin");
    edit["aggregationRule"] =
        json!({"clusterRoleSelectors": [{"matchLabels": {"to-edit": "true"}}]});
    let admin = json!({
        "metadata": {"name": "admin", "labels": {"to-edit": "true"}},
        "aggregationRule": {"clusterRoleSelectors": [
            {"matchExpressions": [{"key": "to-admin", "operator": "Exists"}]}]},
    });
    let empty = json!({
        "metadata": {"name": "empty"}, "aggregationRule": {"clusterRoleSelectors": [{}]},
    });
    let all = roles(&[labelled("view", "get", "to-edit"), edit, admin, empty]);
    let verbs = |name: &str| {
        let rules = all.of_role(&(None, name.into()));
        let mut verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        verbs.sort_unstable();
        verbs.join(" ")
    };
    // They select each other in a circle, and each rule is there once.
    assert_eq!(verbs("admin"), "get update");
    assert_eq!(verbs("edit"), "get update");
    assert_eq!(verbs("view"), "get");
    assert_eq!(verbs("empty"), "");
}
