//! The units for systemd, run as it would run them: their command lines as they stand, with the
//! capabilities they list and no others, on a file system that cannot be written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::net::{Agent, Node, can_run};
use crate::{Bank, SHORT, server};

/// A unit's settings, and the environment that its head asks for.
struct Unit {
    settings: BTreeMap<String, String>,
    variables: Vec<String>,
}

impl Unit {
    fn read(name: &str) -> Unit {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd").join(name);
        let text = fs::read_to_string(path).unwrap();
        let mut unit = Unit { settings: BTreeMap::new(), variables: Vec::new() };
        for line in text.lines() {
            match (line.strip_prefix("#   "), line.split_once('=')) {
                (Some(example), _) => {
                    unit.variables.extend(example.split_once('=').map(|(name, _)| name.to_owned()));
                }
                (None, Some((name, value))) if !line.starts_with('#') => {
                    assert!(unit.settings.insert(name.to_owned(), value.to_owned()).is_none());
                }
                _ => {}
            }
        }
        unit
    }

    fn get(&self, name: &str) -> &str {
        &self.settings[name]
    }

    /// The command line, with what the environment file says.
    fn command_line(&self, environment: &[(&str, &str)]) -> String {
        let mut line = self.get("ExecStart").to_owned();
        let names: Vec<_> = environment.iter().map(|(name, _)| *name).collect();
        assert_eq!(self.variables, names, "the head of the unit names what it needs");
        for (name, value) in environment {
            line = line.replace(&format!("${{{name}}}"), value);
        }
        assert!(!line.contains('$'), "{line}");
        line
    }

    /// What the unit starts, as systemd would.
    fn start(&self, environment: &[(&str, &str)]) -> Command {
        assert_eq!(self.get("NoNewPrivileges"), "yes");
        let capabilities = self.get("CapabilityBoundingSet").to_lowercase();
        let capabilities = capabilities.split(' ').map(|name| name.strip_prefix("cap_").unwrap());
        let bounds: Vec<_> = capabilities.map(|name| format!(",+{name}")).collect();
        // Only the folders that units have of their own can be written. The program is the agent's own,
        // for want of the one that has all commands.
        let script = format!(
            "mount -t tmpfs none /run && mkdir /run/tortie && mount -t tmpfs none /usr/local/bin\n\
             printf '#!/bin/sh\\n[ \"$1\" = agent ] && shift && exec {} \"$@\"\\n' \
             > /usr/local/bin/tortie && chmod +x /usr/local/bin/tortie\n\
             mount -o remount,bind,ro / && mount -o remount,bind,ro /usr/local/bin\n\
             exec setpriv --no-new-privs --bounding-set=-all{} -- {}",
            env!("CARGO_BIN_EXE_tortie-agent"),
            bounds.concat(),
            self.command_line(environment),
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]);
        command
    }
}

/// Runs a unit to its end.
fn run(node: &Node, unit: &Unit) -> String {
    let output = node.net.run(|| unit.start(&[]).output().unwrap());
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_units_do_what_they_say_with_the_capabilities_they_list() {
    if !can_run() {
        return;
    }
    let bank = Bank::new();
    let boot = Unit::read("tortie-boot.service");
    assert!(run(&bank.node, &boot).contains("closed until the agent is ready"));
    assert!(!bank.client.connects(server(), SHORT), "closed from boot on");
    assert!(run(&bank.node, &boot).contains("nothing to do"));

    let unit = Unit::read("tortie-agent.service");
    assert_eq!(unit.get("RuntimeDirectory"), "tortie");
    let files = bank.node.dir.path().join("files");
    let mut command = unit.start(&[("NODE", "here"), ("FILES", files.to_str().unwrap())]);
    let log = fs::File::create(bank.node.dir.path().join("log")).unwrap();
    let child = bank.node.net.run(|| command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let process = Path::new("/proc").join(child.id().to_string());
    let agent = Agent::new(child, process.join("root/run/tortie/admin.sock")).ready();
    let status = fs::read_to_string(process.join("status")).unwrap();
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t0000000000003000")), "{status}");
    }
    bank.check();
    assert!(run(&bank.node, &boot).contains("nothing to do"));
    agent.end();
    bank.check();
}
