//! What a process in a pod can see and do: its own pod, and no more.

use std::process::Command;

use crate::harness::{INJECTED, PROGRAM, Place, images, outsider, text, web};

#[test]
fn a_container_sees_its_own_and_no_more() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &(INJECTED.to_owned() + &web("a") + &outsider("b")), &[]);
    let seen = |place: &mut Place, script: &str| place.sh("x", "a", script);

    let root = seen(&mut place, "ls /");
    assert!(!root.contains("home") && !root.contains("mnt"), "{root}");
    for hidden in ["/boot", "/etc/shadow", "/etc/machine-id", "/etc/ssl/private"] {
        assert_eq!(seen(&mut place, &format!("ls {hidden} || echo none")), "none");
    }
    let state = place.state();
    assert_eq!(seen(&mut place, &format!("ls {} || echo none", state.display())), "none");
    let keys = "find / -xdev -name \"*.json\" -path \"*envoy*\" -o -name authz.sock | head -3";
    assert_eq!(seen(&mut place, keys), "", "neither the sidecar's keys nor its sockets");
    let processes = seen(&mut place, "cat /proc/[0-9]*/comm | sort -u | tr \"\\n\" \" \"");
    assert!(!processes.contains("envoy") && !processes.contains("sleep"), "{processes}");
    let written = seen(&mut place, "touch /usr/x || echo no; touch /tmp/x && echo yes");
    assert_eq!(written, "no\nyes");
}

#[test]
fn a_container_has_no_power_over_its_network() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &(INJECTED.to_owned() + &web("a")), &[]);
    let mark = "perl -MSocket -e \"socket(S, PF_INET, SOCK_STREAM, 0); \
                setsockopt(S, SOL_SOCKET, 36, pack(q(i), 1337)) or die qq(\\$!)\" 2>&1";
    assert!(place.sh("x", "a", mark).contains("Operation not permitted"));
    for script in [
        "nft list ruleset",
        "ip link set eth0 down",
        "ip address add 10.65.0.9/32 dev eth0",
        "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "echo h > /proc/sysrq-trigger",
        "mount -t tmpfs none /tmp",
        "cat /proc/1/environ",
        "unshare --mount true",
    ] {
        let quiet = format!("({script}) > /dev/null 2>&1 && echo done || echo refused");
        assert_eq!(place.sh("x", "a", &quiet), "refused", "{script}");
    }
    let sets = place.sh("x", "a", "grep ^Cap /proc/self/status | tr -d \"[:space:]0\"");
    assert_eq!(sets, "CapInh:CapPrm:CapEff:CapBnd:CapAmb:");
    let init = place.sh("x", "a", "grep ^NoNewPrivs /proc/2/status");
    assert!(init.ends_with('1'), "{init}");
}

#[test]
fn what_its_starter_ignores_is_not_ignored_in_a_container() {
    let Some(mut place) = Place::new() else { return };
    let file = place.file("x.yaml", &(images() + &outsider("p")));
    let up = place.command("x", &["up", "-f", &file]);
    let mut deaf = Command::new("env");
    let status = deaf.arg("--ignore-signal=HUP").arg(up.get_program()).args(up.get_args()).status();
    assert!(status.unwrap().success());
    let ignored = place.sh("x", "p", "sed -n \"s/^SigIgn:\\t//p\" /proc/2/status");
    assert_eq!(u64::from_str_radix(&ignored, 16).unwrap() & 1, 0, "{ignored}");
}

#[test]
fn nothing_open_in_the_callers_shell_reaches_a_container() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &outsider("a"), &[]);
    let script = format!(
        "exec 9</ && exec {PROGRAM} lab --name x --state-dir {} exec a -- ls /proc/self/fd",
        place.state().display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    // The fourth is the directory that `ls` reads.
    assert_eq!(text(&output.stdout), "0\n1\n2\n3\n");
    let fds = place.on_node("x", "ls -l /proc/2/fd /proc/1/fd");
    assert!(!fds.contains("-> /\n"), "{fds}");
}
