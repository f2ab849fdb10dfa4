//! Names, Services, and who may send as whom.

use std::collections::BTreeSet;

use crate::harness::{Place, eventually, outsider, pod, service, web};

/// Two pods behind one label.
fn twins() -> String {
    let labelled = |name: &str| web(name).replace(&format!("app: {name}"), "app: twin");
    labelled("one") + &labelled("two")
}

#[test]
fn services_by_every_name_and_both_families() {
    let Some(mut place) = Place::new() else { return };
    let by_name = service("named", "twin", "").replace("port: 80", "port: 8080, targetPort: http");
    let manifests = twins()
        + &service("twins", "twin", "")
        + &service("dual", "twin", ", ipFamilyPolicy: RequireDualStack")
        + &service("headless", "twin", ", clusterIP: None")
        + &service("nobody", "none", "")
        + &by_name
        + &outsider("client")
        + &outsider("far").replace("name: far,", "name: far, namespace: other,");
    place.up("x", &manifests, &[]);

    for host in [
        "twins",
        "twins.default",
        "twins.default.svc",
        "twins.default.svc.cluster.local",
        "headless",
    ] {
        let answer = place.curl("x", "client", &format!("http://{host}"));
        assert!(answer.ends_with(" ::ffff:10.65.0.4"), "{host}: {answer}");
    }
    let names: BTreeSet<String> =
        (0..40).map(|_| place.curl("x", "client", "http://twins")[..3].to_owned()).collect();
    assert_eq!(names, BTreeSet::from(["one".to_owned(), "two".to_owned()]), "each gets its share");
    assert!(place.curl("x", "client", "http://named:8080").contains(" ::ffff:10.65.0.4"));
    assert!(place.curl("x", "client", "-6 http://dual").ends_with(" fd00:65::4"));
    let both = place.sh("x", "client", "getent ahosts headless | grep -c STREAM");
    assert_eq!(both, "2", "a headless Service resolves to each of its pods");
    assert!(place.curl("x", "far", "http://twins.default").ends_with(" ::ffff:10.65.0.5"));
    assert_eq!(place.curl("x", "far", "http://twins"), "failed 6", "no such name there");
    assert_eq!(place.curl("x", "client", "http://nobody"), "failed 7", "refused, at once");
    assert_eq!(place.sh("x", "client", "hostname; getent hosts client").lines().count(), 2);
    // A pod may be behind the Service it uses.
    let hairpin = (0..10).map(|_| place.curl("x", "one", "http://twins"));
    assert!(hairpin.into_iter().all(|answer| !answer.starts_with("failed")));
}

#[test]
fn nobody_sends_in_anothers_name() {
    let Some(mut place) = Place::new() else { return };
    let manifests = pod("sink", "datagrams", "") + &outsider("liar") + &outsider("victim");
    place.up("x", &manifests, &[]);
    let send = |from: &str, to: &str, word: &str| {
        format!(
            "perl -MIO::Socket::IP -e \"IO::Socket::IP->new(LocalHost => q({from}), \
             PeerHost => q({to}), PeerPort => 53, Proto => q(udp))->send(q({word})) or die\""
        )
    };
    for (own, stolen, to) in
        [("10.65.0.3", "10.65.0.4", "10.65.0.2"), ("fd00:65::3", "fd00:65::4", "fd00:65::2")]
    {
        let length = if own.contains(':') { "128 nodad" } else { "32" };
        let lie = send(stolen, to, "lie");
        let script = format!("ip address add {stolen}/{length} dev eth0 && {lie}");
        place.in_network("x", "liar", "main", &script);
        let mut log = String::new();
        eventually("the honest datagram", || {
            // Nobody says when the sink begins to listen.
            place.in_network("x", "liar", "main", &send(own, to, "truth"));
            log = place.ok("x", &["logs", "sink"]);
            log.lines().any(|line| line.starts_with("truth from ") && line.ends_with(own))
        });
        assert!(!log.contains("lie"), "{log}");
    }
    let rules = place.on_node("x", "nft list chain inet tortie anti-spoofing");
    let drop = rules.lines().find(|line| line.contains(" drop")).unwrap();
    assert!(!drop.contains("packets 0 "), "{rules}");
}
