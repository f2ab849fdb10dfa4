//! A lab of an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use crate::cluster::kubectl;
use crate::harness::{PROGRAM, Place, images, outsider, service, text, web};
use crate::terminal::Terminal;

/// Some user without any privilege.
const USER: u32 = 12_345;

/// Runs a program as that user.
fn as_user(place: &Place, words: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}")]);
    command.args(["--clear-groups", "--"]).args(words).current_dir("/");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("XDG_RUNTIME_DIR", place.path());
    command.output().unwrap()
}

#[test]
fn an_ordinary_user_has_labs_too() {
    let Some(place) = Place::new() else { return };
    if !as_user(&place, &["unshare", "--user", "--map-root-user", "true"]).status.success() {
        eprintln!("skipped: this machine lets no ordinary user make namespaces");
        return;
    }
    // Program and scripts may lie where that user cannot look.
    let program = place.path().join("tortie-lab");
    fs::copy(PROGRAM, &program).unwrap();
    let script = place.path().join("web.pl");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs/web.pl"), &script).unwrap();
    for path in [place.path(), &program, &script] {
        chown(path, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs");
    let images = images().replace(&format!("{here}/web.pl"), script.to_str().unwrap());
    let manifests =
        images + &web("server") + &service("server", "server", "") + &outsider("client");
    let file = place.file("m.yaml", &manifests);

    let program = program.to_str().unwrap();
    let lab = |args: &[&str]| as_user(&place, &[&[program, "lab"], args].concat());
    let up = lab(&["up", "-f", &file]);
    assert!(up.status.success(), "{}", text(&up.stderr));
    let answer = lab(&["exec", "client", "--", "curl", "-s", "--max-time", "60", "http://server"]);
    let powers = lab(&["exec", "client", "--", "grep", "CapEff", "/proc/self/status"]);
    let kubeconfig = text(&lab(&["kubeconfig"]).stdout).trim().to_owned();
    let mut exec = Command::new(kubectl());
    exec.env("KUBECONFIG", kubeconfig);
    exec.args(["exec", "-ti", "client", "--", "sh", "-c", "tty; stty size; exit 7"]);
    let (status, shown) = Terminal::start(&exec, 97, 31).end();
    let down = lab(&["down"]);
    assert_eq!(text(&answer.stdout), "server ::ffff:10.65.0.3\n", "{}", text(&answer.stderr));
    assert_eq!(text(&powers.stdout), "CapEff:\t0000000000000000\n");
    assert!(status == 7 && shown.starts_with("/dev/pts/0\r\n31 97\r\n"), "{shown}");
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(!place.path().join("tortie").exists(), "nothing is left");
}
