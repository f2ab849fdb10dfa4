//! Questions that a scenario of the corpus cannot ask, and questions without an answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use tortie_policy::{
    Cluster, Explanation, Party, PortName, Protocol, Query, QueryError, Trust, explain,
};
use tortie_testkit::cluster;

fn ask(cluster: &Cluster, from: &str, to: &str) -> Result<Explanation, QueryError> {
    let party = |text: &str| text.parse::<Party>().unwrap();
    let query = Query {
        from: party(from),
        to: party(to),
        protocol: Protocol::TCP,
        port: None,
        icmp: None,
        http: None,
        from_identity: None,
    };
    explain(cluster, &Trust::default(), &query)
}

#[test]
fn an_address_of_several_pods_is_nobodys_in_particular() {
    let cluster = cluster(
        "{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.1}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: b}, status: {podIP: 10.0.0.1}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: c}, status: {podIP: 10.0.0.2}}\n---\n\
         {apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: p}}",
    )
    .unwrap();
    for (from, to) in [("default/c", "10.0.0.1"), ("::ffff:10.0.0.1", "default/c")] {
        let error = ask(&cluster, from, to).unwrap_err().to_string();
        assert_eq!(error, "`10.0.0.1` is the address of several pods: default/a, default/b");
    }
    assert!(ask(&cluster, "default/c", "default/a").is_ok());
}

#[test]
fn parties_and_ports_are_read_strictly() {
    for text in ["default/a", "10.0.0.1", "::1", "a/b.c"] {
        assert_eq!(text.parse::<Party>().unwrap().to_string(), text);
    }
    for text in ["", "a", "/a", "a/", "a/b/c", "10.0.0"] {
        assert!(text.parse::<Party>().is_err(), "{text}");
    }
    for (text, want) in [("80", PortName::Number(80)), ("http-2", PortName::Name("http-2".into()))]
    {
        assert_eq!(text.parse(), Ok(want));
    }
    for text in ["", "0", "65536", "+80", "-1", "80:90", " 80"] {
        assert!(text.parse::<PortName>().is_err(), "{text}");
    }
}

#[test]
fn questions_without_an_answer() {
    let cluster = cluster(
        "{apiVersion: v1, kind: Pod, metadata: {name: web-0}, status: {podIP: 10.0.0.1}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: six}, status: {podIP: 'fd00::1'}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: done}, status: {phase: Failed}}\n---\n\
         {apiVersion: v1, kind: Pod, metadata: {name: proxy}, spec: {hostNetwork: true}}\n",
    )
    .unwrap();
    for (to, want) in [
        ("default/web", "there is no pod `default/web`, did you mean `default/web-0`?"),
        ("other/web-0", "there is no pod `other/web-0`, did you mean `default/web-0`?"),
        ("other/x", "there is no pod `other/x`"),
        ("default/done", "pod `default/done` has finished and has no address"),
        ("default/six", "`default/web-0` and `default/six` have no address family in common"),
        ("fd00::9", "`default/web-0` and `fd00::9` have no address family in common"),
    ] {
        assert_eq!(ask(&cluster, "default/web-0", to).unwrap_err().to_string(), want);
    }
    assert!(ask(&cluster, "default/web-0", "default/proxy").is_err(), "host network");
}
