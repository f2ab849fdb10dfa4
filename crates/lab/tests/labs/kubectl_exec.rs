//! `kubectl exec`, `cp`, `attach` and `port-forward` on the lab's pods.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{Cluster, deployment, give};
use crate::harness::{INJECTED, alive, eventually, outsider, pod, tree, web};
use crate::terminal::Terminal;

/// A pod of two containers, of which the second is the one that is meant.
const PAIR: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pair\n  \
    annotations: {kubectl.kubernetes.io/default-container: second}\nspec:\n  containers:\n  \
    - {name: first, image: idle, env: [{name: WHO, value: first}]}\n  \
    - {name: second, image: idle, env: [{name: WHO, value: second}]}\n---\n";

/// A pod that has done what it is for.
const DONE: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: done}\nspec:\n  \
    restartPolicy: Never\n  containers: [{name: main, image: sh, args: [echo done]}]\n---\n";

/// Says what becomes of its terminal, until Ctrl-C.
const WATCHER: &str = "perl -e '$| = 1; $SIG{WINCH} = sub { print `stty size` }; \
    $SIG{INT} = sub { print qq(inter) . qq(rupted\\n); exit 3 }; print qq(watch) . qq(ing\\n); \
    sleep 1 while 1'; echo status: $?\r";

#[test]
fn streams_arrive_whole_and_apart() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let run = |words: &[&str], input: &[u8]| {
        give(cluster.command(&[&["exec", "-i", "p", "--"], words].concat()), input)
    };
    let both = run(&["sh", "-c", "echo out; echo err >&2; exit 7"], b"");
    assert_eq!(both.0, 7);
    assert_eq!(both.1, b"out\n");
    assert_eq!(both.2, "err\ncommand terminated with exit code 7\n");

    let megabyte: Vec<u8> = (0..1 << 20).map(|at: u32| (at / 7 % 251) as u8).collect();
    let here = give(Command::new("sha256sum"), &megabyte);
    assert_eq!(run(&["sha256sum"], &megabyte), here, "input arrives whole, and ends");
    let much = megabyte.repeat(8);
    let (status, out, err) = run(&["cat"], &much);
    assert_eq!((status, &*err), (0, ""));
    assert!(out == much, "{} bytes of {} came back", out.len(), much.len());
    let later = run(&["sh", "-c", "exec >&- 2>&-; sha256sum > /tmp/sum"], &megabyte);
    assert_eq!(later, (0, vec![], String::new()), "without outputs too");
    assert_eq!(run(&["cat", "/tmp/sum"], b"").1, here.1);
    let (status, out, _) = run(&["head", "-c", "10"], &much);
    assert_eq!((status, &*out), (0, &much[..10]), "not all input is read");

    for (program, code, why) in [
        ("nowhere", 127, "failed to execute nowhere: No such file or directory"),
        ("/etc/passwd", 126, "failed to execute /etc/passwd: Permission denied"),
    ] {
        let (status, _, err) = run(&[program], b"");
        let ends = format!("{why}\ncommand terminated with exit code {code}\n");
        assert!(status == code && err.ends_with(&ends), "{status} {err}");
    }
    let killed = run(&["sh", "-c", "kill -9 $$"], b"");
    assert_eq!((killed.0, &*killed.2), (137, "command terminated with exit code 137\n"));
}

#[test]
fn older_kubectls_exec_too() {
    let own = Path::new("/usr/bin/kubectl");
    if !own.exists() {
        eprintln!("skipped: there is one kubectl only");
        return;
    }
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let words = ["exec", "-i", "p", "--", "sh", "-c", "cat; echo err >&2; exit 7"];
    let (status, out, err) = give(cluster.command_of(own, &words), b"in");
    assert_eq!((status, &*out), (7, &b"in"[..]));
    assert_eq!(err, "err\ncommand terminated with exit code 7\n");
    let size = ["exec", "-ti", "p", "--", "sh", "-c", "tty; stty size"];
    let (status, shown) = Terminal::start(&cluster.command_of(own, &size), 97, 31).end();
    assert_eq!((status, &*shown), (0, "/dev/pts/0\r\n31 97\r\n"));
}

#[test]
fn the_container_that_is_meant_or_why_there_is_none() {
    let Some(cluster) = Cluster::up(&(PAIR.to_owned() + DONE + &deployment(1, "80"))) else {
        return;
    };
    cluster.apply(&pod("waits", "no/where:1", ""));
    let who = |words: &[&str]| {
        cluster.ok(&[&["exec", "pair"], words, &["--", "printenv", "WHO"]].concat())
    };
    assert_eq!(who(&[]), "second\n");
    assert_eq!(who(&["-c", "first"]), "first\n");
    let name = cluster.ok(&["exec", "deploy/web", "--", "hostname"]);
    assert!(name.starts_with("web-"), "{name}");
    eventually("the end of the pod", || {
        cluster.ok(&["get", "pod", "done", "-o", "jsonpath={.status.phase}"]) == "Succeeded"
    });
    // Before it has a place, that is what is wrong with it.
    eventually("a place for the pod", || {
        cluster.refused(&["exec", "waits", "--", "true"]).contains("pod `default/waits`")
    });
    for (words, why) in [
        (&["exec", "pair", "-c", "third", "--", "true"][..], "container third is not valid"),
        (&["exec", "nobody", "--", "true"], "pods \"nobody\" not found"),
        (&["exec", "done", "--", "true"], "current phase is Succeeded"),
        (&["attach", "pair"], "`attach` is not served: of pods only `log` and `exec` are"),
        (&["port-forward", "pair", "0:80"], "`portforward` is not served"),
    ] {
        let err = cluster.refused(words);
        assert!(err.contains(why), "kubectl {words:?}: {err}");
    }
}

#[test]
fn a_terminal_is_the_containers_own() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let shell = ["exec", "-ti", "p", "--", "bash", "--norc"];
    let mut terminal = Terminal::start(&cluster.command(&shell), 97, 31);
    terminal.type_in("PS1='> '; tty; stty size; ps -o tty= -p $$; set -o | grep monitor\r");
    let shown = terminal.expect("monitor        \ton");
    assert!(shown.contains("/dev/pts/0\r\n31 97\r\npts/0"), "{shown:?}");
    assert!(!shown.contains("cannot set terminal") && !shown.contains("no job"), "{shown:?}");
    terminal.type_in("sleep 1000 & jobs; kill %1; wait; fg\r");
    terminal.expect("Running");
    terminal.expect("no such job");
    terminal.type_in(WATCHER);
    terminal.expect("watching\r\n");
    terminal.resize(101, 40);
    terminal.expect("40 101\r\n");
    terminal.type_in("\x03");
    terminal.expect("interrupted\r\n");
    terminal.expect("status: 3\r\n");

    let second = Terminal::start(&cluster.command(&["exec", "-ti", "p", "--", "tty"]), 80, 24);
    assert_eq!(second.end(), (0, "/dev/pts/1\r\n".to_owned()));
    terminal.type_in("exit 9\r");
    let (status, shown) = terminal.end();
    assert!(status == 9 && shown.ends_with("exit code 9\r\n"), "{status} {shown:?}");
}

#[test]
fn other_users_have_terminals_too() {
    let Some(cluster) = Cluster::up(&(INJECTED.to_owned() + &web("meshed"))) else {
        return;
    };
    let words = ["exec", "-ti", "meshed", "-c", "istio-proxy", "--", "sh", "-c"];
    let script = "id -u; tty; echo opened > $(tty)";
    let shown = Terminal::start(&cluster.command(&[&words[..], &[script]].concat()), 80, 24).end();
    assert_eq!(shown, (0, "1337\r\n/dev/pts/0\r\nopened\r\n".to_owned()));
}

#[test]
fn a_command_ends_with_its_client() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let left =
        |word: &str| eventually(&format!("the end of {word}"), || cluster.process(word).is_none());
    let sleepers = "sleep 1001 & echo started; sleep 1002";
    let mut client = cluster.start(&["exec", "-i", "p", "--", "sh", "-c", sleepers]);
    let mut line = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    eventually("its child", || cluster.process("1001").is_some());
    client.kill().unwrap();
    client.wait().unwrap();
    left("1001");
    left("1002");

    let mut terminal = Terminal::start(
        &cluster.command(&["exec", "-ti", "p", "--", "sh", "-c", sleepers]),
        80,
        24,
    );
    terminal.expect("started");
    eventually("the command", || cluster.process("1002").is_some());
    drop(terminal);
    left("1001");
    left("1002");

    // One that never reads, and a client that has more to say than anybody keeps for it.
    let mut flood = cluster.command(&["exec", "-i", "p", "--", "sleep", "1003"]);
    flood.stdin(fs::File::open("/dev/zero").unwrap()).stdout(Stdio::null());
    let mut flood = flood.spawn().unwrap();
    eventually("the command", || cluster.process("1003").is_some());
    flood.kill().unwrap();
    flood.wait().unwrap();
    left("1003");
}

#[test]
fn what_a_command_leaves_behind_lives_on() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    cluster.ok(&["exec", "p", "--", "sh", "-c", "sleep 1004 > /dev/null 2>&1 &"]);
    eventually("what it left", || cluster.process("1004").is_some());
}

#[test]
fn nobody_else_is_in_a_containers_process_group() {
    let killer = pod("killer", "sh", ", args: ['trap \"\" TERM; sleep 1; kill -9 0']");
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let before = tree(cluster.place.init("x"));
    for words in [&["-i"][..], &[]] {
        let exec = [&["exec"], words, &["p", "--", "sh", "-c", "kill -9 0"]].concat();
        let (status, _, err) = cluster.run(&exec, "");
        assert_eq!(status, 137, "{err}");
    }
    cluster.apply(&killer);
    eventually("the pod's end", || {
        let path = "jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
        cluster.ok(&["get", "pod", "killer", "-o", path]) == "137"
    });
    assert!(before.into_iter().all(alive), "nobody else was killed");
}

#[test]
fn files_are_copied_to_and_fro() {
    let Some(cluster) = Cluster::up(&outsider("p")) else { return };
    let content = "a file\n".repeat(100_000);
    let file = cluster.place.file("file", &content);
    cluster.ok(&["cp", &file, "p:/tmp/copy"]);
    let back = cluster.place.path().join("back");
    cluster.ok(&["cp", "p:/tmp/copy", back.to_str().unwrap()]);
    assert!(fs::read_to_string(back).unwrap() == content);
}
