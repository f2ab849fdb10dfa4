//! Questions that a scenario of the corpus cannot ask, and questions without an answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use tortie_policy::{Cluster, Explanation, Party, Protocol, Query, QueryError, Trust, explain};
use tortie_testkit::cluster;

fn ask(cluster: &Cluster, from: &str, to: &str) -> Result<Explanation, QueryError> {
    let party = |text: &str| text.parse::<Party>().unwrap();
    let query = Query {
        from: party(from),
        to: party(to),
        protocol: Protocol::TCP,
        port: None,
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
