//! What this program is when a test starts it as a process of its own: an API server, or an agent
//! that waits for nothing for long.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use tortie_agent::agent::{self, Config, Source};
use tortie_client::server::{Pace, Place};
use tortie_daemon::log;
use tortie_policysync::server::{self as sidecars, Sockets};

/// Says what to be: a line for each argument.
const ROLE: &str = "TORTIE_TEST_ROLE";

/// The waits of a follower, shorter. An answer may still take longer than it does on a busy machine.
const PACE: Pace = Pace {
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(100),
    steady: Duration::from_millis(100),
    missing: Duration::from_millis(300),
    disbelief: Duration::from_millis(600),
    patience: Duration::from_secs(3),
    probe: Duration::from_millis(300),
};

/// Nothing is tested here unless this program is told to be another one.
#[test]
fn plays_its_part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let arguments: Vec<&str> = role.lines().collect();
    match arguments.as_slice() {
        ["agent", server, prefix, admin] => run_agent(server, prefix, admin),
        ["apiserver", ..] => drop(tortie_apiserver::cli::run(&Program::parse_from(arguments).args)),
        _ => panic!("{role}"),
    }
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: tortie_apiserver::cli::Args,
}

fn command(role: &[&str]) -> Command {
    let mut text = String::new();
    role.iter().for_each(|argument| writeln!(text, "{argument}").unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program::plays_its_part", "--nocapture"]).env(ROLE, text);
    command
}

/// An API server with its data in a folder.
pub(crate) fn apiserver(data: &Path, more: &[&str]) -> Command {
    let own = ["apiserver", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    command(&[own.as_slice(), more].concat())
}

/// An agent that waits for nothing for long.
pub(crate) fn agent(server: &str, prefix: &Path, admin: &Path) -> Command {
    command(&["agent", server, prefix.to_str().unwrap(), admin.to_str().unwrap()])
}

fn run_agent(server: &str, prefix: &str, admin: &str) {
    let config = Config {
        node: "here".into(),
        source: Source::Server {
            place: Place { server: Some(server.to_owned()), ..Place::default() },
            everything: false,
            pace: PACE,
        },
        policy_sync_prefix: Some(prefix.into()),
        policy_sync: sidecars::Config {
            sockets: Sockets::Credentials,
            ..sidecars::Config::default()
        },
        network: None,
        admin: Some(format!("unix:{admin}").parse().unwrap()),
    };
    let log = log::init(log::Format::default(), &log::filter(false, None)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(agent::run(config, Some(log))).unwrap();
}
