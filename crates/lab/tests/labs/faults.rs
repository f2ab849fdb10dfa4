//! What users and machines do wrong.

use std::process::Command;

use crate::harness::{
    INJECTED, PROGRAM, Place, eventually, images, is_empty, outsider, pod, text, web,
};

#[test]
fn exec_and_logs() {
    let Some(mut place) = Place::new() else { return };
    place.up("x", &pod("a", "sh", ", args: ['echo hello; exec sleep 1000']"), &[]);
    for (script, code) in [("exit 7", 7), ("exit 0", 0), ("kill -9 $$", 137)] {
        let status = place.run("x", &["exec", "a", "--", "sh", "-c", script]).status;
        let shell = std::os::unix::process::ExitStatusExt::signal(&status).map(|s| 128 + s);
        assert_eq!(status.code().or(shell), Some(code), "{script}");
    }
    eventually("its word", || place.ok("x", &["logs", "default/a", "-c", "main"]) == "hello\n");
    let error = place.fails("x", &["exec", "b", "--", "true"], 3);
    assert!(error.contains("pod `b`: not in lab `x`\nhint: it has default/a"), "{error}");
    let error = place.fails("x", &["exec", "a", "-c", "y", "--", "true"], 3);
    assert!(error.contains("no container `y`\nhint: it has main"), "{error}");
    let table = place.ok("x", &["status"]);
    assert!(table.contains("default    a    1/1    Running"), "{table}");
}

#[test]
fn a_container_that_ends_at_once_shows_why() {
    let Some(mut place) = Place::new() else { return };
    let text = images()
        + &pod(
            "bad",
            "sh",
            ", args: ['echo no database given >&2; exit 3'], ports: [{containerPort: 9}]",
        )
        + &pod("once", "sh", ", args: ['true']")
            .replace("spec:\n", "spec:\n  restartPolicy: Never\n")
        + &outsider("good");
    let file = place.file("m.yaml", &text);
    let error = place.fails("x", &["up", "-f", &file], 1);
    assert!(error.contains("pod `default/bad`"), "{error}");
    assert!(error.contains("CrashLoopBackOff: no database given"), "{error}");
    let status = place.container("x", "bad", "main");
    assert_eq!(status["exitCode"], 3);
    assert!(status["restarts"].as_u64().unwrap() >= 2);
    eventually("the end of `once`", || {
        place.container("x", "once", "main")["state"] == "Completed"
    });
    assert_eq!(place.container("x", "good", "main")["ready"], true);
    let error = place.fails("x", &["exec", "once", "--", "true"], 3);
    assert!(error.contains("is not running"), "{error}");
}

#[test]
fn bad_input_is_refused_before_anything_starts() {
    let Some(mut place) = Place::new() else { return };
    let good = images() + INJECTED + &web("a");
    for (text, want) in [
        (images() + &pod("a", "unknown:1", ""), "no local command stands for image `unknown:1`"),
        (good.replace("kind: Pod", "kind: Pod\nspecs: ["), "m.yaml:"),
        (good.replace("command: [sleep, infinity]", "comand: [x]"), "images"),
        (
            images()
                + "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\n\
                        spec: {defaultAction: Maybe}\n",
            "Maybe",
        ),
    ] {
        let file = place.file("m.yaml", &text);
        let error = place.fails("x", &["up", "-f", &file], 2);
        assert!(error.starts_with("error: ") && error.contains(want), "{want}: {error}");
        assert!(is_empty(&place.state()));
    }
    let file = place.file("m.yaml", &good);
    let envoy = place.command("x", &["up", "-f", &file]).env("ENVOY", "/none").output().unwrap();
    let error = text(&envoy.stderr);
    assert_eq!(envoy.status.code(), Some(3), "{error}");
    assert!(error.contains("$ENVOY (/none): not found") && error.contains("hint: "), "{error}");
    assert!(place.fails("Bad/Name", &["down"], 2).contains("lab name `Bad/Name`"));
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let file = place.file("m.yaml", &(images() + INJECTED + &web("a") + &web("b")));
    let state = place.state();
    // A mount of this one command's own: the host never sees it.
    for kilobytes in [4, 32, 56] {
        let script = format!(
            "mkdir -p {0} && mount -n -t tmpfs -o size={kilobytes}k none {0} && \
             {PROGRAM} lab --state-dir {0} up -f {file}; echo status $?; ls {0}",
            state.display()
        );
        let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output();
        let output = output.unwrap();
        let (said, error) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(said, "status 1\n", "{kilobytes} KiB: {error}");
        assert!(error.contains("No space left on device"), "{kilobytes} KiB: {error}");
        assert!(error.contains("hint: free some space"), "{kilobytes} KiB: {error}");
    }
}
