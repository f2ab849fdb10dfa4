//! `kubectl logs` on the lab's pods.

use std::io::{BufRead, BufReader, Read};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cluster::{Cluster, deployment};
use crate::harness::{eventually, outsider, pod};

/// A pod whose containers have each said their name; `talker` goes on when it is told to.
const TALKERS: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: talkers, labels: {app: t}}\n\
    spec:\n  restartPolicy: Never\n  initContainers:\n  \
    - {name: before, image: sh, args: ['echo before']}\n  containers:\n  \
    - {name: talker, image: sh, args: ['mkfifo /tmp/go; seq 5; echo err >&2; read x < /tmp/go; echo $x']}\n  \
    - {name: other, image: sh, args: ['echo other; sleep 1000']}\n---\n";

#[test]
fn logs_of_pods_and_containers() {
    let Some(cluster) = Cluster::up(&(TALKERS.to_owned() + &deployment(2, "80"))) else { return };
    let logs = |words: &[&str]| cluster.ok(&[&["logs"], words].concat());
    let talker = "1\n2\n3\n4\n5\nerr\n";
    eventually("the first words", || logs(&["talkers", "-c", "talker"]) == talker);
    eventually("the other's", || logs(&["talkers", "-c", "other"]) == "other\n");
    assert_eq!(logs(&["talkers", "-c", "before"]), "before\n");
    // kubectl asks them in any order.
    let all = logs(&["talkers", "--all-containers"]);
    let parts = ["before\n", talker, "other\n"];
    assert_eq!(all.len(), parts.concat().len(), "{all}");
    assert!(parts.iter().all(|part| all.contains(part)), "{all}");
    assert_eq!(logs(&["talkers", "-c", "talker", "--tail=2"]), "5\nerr\n");
    assert_eq!(logs(&["talkers", "-c", "talker", "--tail=0"]), "");
    assert_eq!(logs(&["talkers", "-c", "talker", "--limit-bytes=5"]), "1\n2\n3");
    let prefixed = logs(&["-l", "app=t", "--prefix", "-c", "other"]);
    assert_eq!(prefixed, "[pod/talkers/other] other\n");
    eventually("those of both", || {
        logs(&["-l", "app=web", "--prefix"]).matches("/main] listening on 80\n").count() == 2
    });
    assert_eq!(logs(&["deploy/web"]), "listening on 80\n");

    let mut follower = cluster.start(&["logs", "-f", "talkers", "-c", "talker", "--tail=1"]);
    let mut out = follower.stdout.take().unwrap();
    let mut first = [0; 4];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"err\n");
    cluster.tell("talkers", "talker", "last");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last\n", "it ends with the container");
    assert!(follower.wait().unwrap().success());

    for (words, why) in [
        (&["logs", "talkers", "-c", "none"][..], "container none is not valid"),
        (&["logs", "talkers", "-c", "other", "--previous"], "`other` has not run before"),
        (&["logs", "nobody"], "pods \"nobody\" not found"),
    ] {
        let err = cluster.refused(words);
        assert!(err.contains(why), "kubectl {words:?}: {err}");
    }
}

#[test]
fn logs_of_the_run_before() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let crash = pod("crash", "sh", ", args: ['echo ran $(cat /run/x); exit 3']");
    cluster.apply(&(crash + &pod("unknown", "no/where:1", "")));
    let previous = ["logs", "crash", "--previous"];
    eventually("a second run", || cluster.run(&previous, "").0 == 0);
    assert!(cluster.ok(&previous).ends_with("ran\n"));
    eventually("the reason", || {
        cluster.refused(&["logs", "unknown"]).contains("`main` has not started: ErrImagePull")
    });
}

#[test]
fn a_pods_last_words_are_heard() {
    let last =
        pod("p", "sh", ", args: ['trap \"echo bye; exit\" TERM; echo up; sleep 1000 & wait']");
    let Some(cluster) = Cluster::up(&last) else { return };
    let mut follower = cluster.start(&["logs", "-f", "p"]);
    let mut out = follower.stdout.take().unwrap();
    let mut first = [0; 3];
    out.read_exact(&mut first).unwrap();
    cluster.ok(&["delete", "pod", "p", "--wait=false"]);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "bye\n");
    assert!(follower.wait().unwrap().success());
}

/// The times and the words of a log with times.
fn times(log: &str) -> Vec<(OffsetDateTime, &str)> {
    let line = |line: &'_ str| -> (OffsetDateTime, usize) {
        let (time, _) = line.split_once(' ').unwrap();
        (OffsetDateTime::parse(time, &Rfc3339).unwrap(), time.len() + 1)
    };
    log.lines().map(|text| (line(text).0, &text[line(text).1..])).collect()
}

#[test]
fn logs_know_when() {
    // It holds the FIFO open: of two words, the second is not lost with the end of who wrote the first.
    let steps = ", args: ['mkfifo /tmp/go; exec 3<>/tmp/go; echo one; echo two; read x <&3; echo $x; \
                 read x <&3; echo $x; exit 1']";
    let start = OffsetDateTime::now_utc();
    let Some(cluster) = Cluster::up(&pod("p", "sh", steps)) else { return };
    let logs = |words: &[&str]| cluster.ok(&[&["logs", "p"], words].concat());
    eventually("the first words", || logs(&[]) == "one\ntwo\n");
    let first = logs(&["--timestamps"]);
    let [(one, "one"), (two, "two")] = times(&first)[..] else { panic!("{first}") };
    assert!(start <= one && one <= two && two <= OffsetDateTime::now_utc(), "{first}");
    assert_eq!(logs(&["--timestamps"]), first, "times do not change");
    let (_, stamp) = first.split_once('.').unwrap();
    assert_eq!(stamp.find("Z one"), Some(9), "nanoseconds, as any kubelet");

    // kubectl sends whole seconds.
    eventually("the next second", || {
        OffsetDateTime::now_utc().unix_timestamp() > two.unix_timestamp()
    });
    let next = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    let since = format!("--since-time={next}");
    assert_eq!(logs(&[&since]), "");
    cluster.tell("p", "main", "three");
    eventually("the next word", || logs(&[&since]) == "three\n");
    let mut follower = cluster.start(&["logs", "-f", "p", "--timestamps", &since]);
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut followed = String::new();
    // Only now is it certain that it follows this run, and not the next.
    out.read_line(&mut followed).unwrap();
    cluster.tell("p", "main", "four");
    out.read_to_string(&mut followed).unwrap();
    assert!(follower.wait().unwrap().success());
    let [(three, "three"), (four, "four")] = times(&followed)[..] else { panic!("{followed}") };
    assert!(three > two && four >= three && four <= OffsetDateTime::now_utc(), "{followed}");

    eventually("the next run", || cluster.run(&["logs", "p", "--previous"], "").0 == 0);
    let previous = logs(&["--previous", "--timestamps"]);
    assert_eq!(previous, first + &followed);
    assert_eq!(logs(&["--previous", &since]), "three\nfour\n");
    assert_eq!(logs(&["--previous", "--since=1h", "--tail=2"]), "three\nfour\n");
    assert_eq!(logs(&["--previous", "--timestamps", "--limit-bytes=10"]), previous[..10]);
}
