//! What users type: `tortie user`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tortie_daemon::file;

use super::kubeconfig::{Kubeconfig, Proof};
use super::{Failure, Places, default_data};
use crate::audit::{Audit, Rotation};
use crate::auth::{Credential, Entry, Register, new_token};
use crate::tls::Pki;

/// Arguments of `tortie user`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  tortie user add ada --group dev > ada.kubeconfig
  kubectl create clusterrolebinding ada --clusterrole=view --user=ada
  KUBECONFIG=ada.kubeconfig kubectl auth can-i --list
  tortie user remove ada";

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Add a user, and write a kubeconfig for them
    Add(Add),
    /// List users and what they are known by
    List(List),
    /// Let nothing that a user is known by count any more
    Remove(Remove),
}

/// Where the server's data are.
#[derive(Debug, Clone, clap::Args)]
struct Data {
    /// The server's data directory [default: that of `tortie up`]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
struct Add {
    /// The user's name
    #[arg(value_parser = named)]
    name: String,

    /// A group of the user; may be given several times
    #[arg(long, value_name = "GROUP", value_parser = named)]
    group: Vec<String>,

    /// Make a bearer token instead of a certificate
    #[arg(long, conflicts_with = "certificate")]
    token: bool,

    /// Make a client certificate; this is the default
    #[arg(long)]
    certificate: bool,

    /// How long it counts: a number and `m`, `h` or `d`
    #[arg(long, value_name = "TIME", default_value = "8760h", value_parser = lifetime)]
    ttl: Duration,

    /// Write the kubeconfig to this file, for its owner alone, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Clone, clap::Args)]
struct List {
    /// Shape of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Clone, clap::Args)]
struct Remove {
    /// The user's name
    name: String,

    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for people
    Table,
    /// One JSON document
    Json,
}

/// A name that certificates and logs can carry.
fn named(text: &str) -> Result<String, String> {
    let fine = !text.is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
    if fine { Ok(text.to_owned()) } else { Err("must have 1 to 64 characters".to_owned()) }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "not a number and `m`, `h` or `d`, such as 24h".to_owned();
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(['m', 'h', 'd']).parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).filter(|seconds| (1..=315_360_000).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "must be between a minute and ten years".to_owned())
}

/// Does what was asked.
pub fn run(args: &Args) -> std::process::ExitCode {
    super::exit(match &args.command {
        Command::Add(add) => add.run(),
        Command::List(list) => list.run(),
        Command::Remove(remove) => remove.run(),
    })
}

impl Data {
    /// The places of a server that has been started there.
    fn places(&self) -> Result<Places, Failure> {
        let data = self.data.clone().or_else(default_data);
        let data = data.ok_or_else(|| Failure::invalid("--data: there is no home directory"))?;
        let places = Places::new(&data);
        if places.kubeconfig().is_file() && places.pki().is_dir() {
            return Ok(places);
        }
        let failure = format!("`{}`: no server has been started here", data.display());
        Err(Failure::unreachable(failure).hint("start it with `tortie up`, or give its --data"))
    }
}

impl Add {
    fn run(&self) -> Result<u8, Failure> {
        let places = self.data.places()?;
        let config = std::fs::read_to_string(places.kubeconfig()).ok();
        let config = config.as_deref().and_then(Kubeconfig::like);
        let config = config.ok_or_else(|| {
            let path = places.kubeconfig();
            Failure::unreachable(format!("`{}`: cannot be read", path.display()))
        })?;
        let now = SystemTime::now();
        let (proof, credential) = self.credential(&places, now)?;
        let entry = Entry {
            user: self.name.clone(),
            groups: self.group.clone(),
            credential,
            created: OffsetDateTime::from(now).unix_timestamp(),
            expires: OffsetDateTime::from(now + self.ttl).unix_timestamp(),
            revoked: false,
        };
        let said = json!({"groups": entry.groups, "credential": kind(&entry), "expires": date(entry.expires)});
        write_down(&places, "create", &self.name, &said)?;
        let register = Register::new(&places.pki());
        register.add(entry, now).map_err(Failure::unreachable)?;
        self.hand_over(&config.of(&self.name, &proof))
    }

    fn credential(&self, places: &Places, now: SystemTime) -> Result<(Proof, Credential), Failure> {
        if self.token {
            let (token, kept) = new_token().map_err(Failure::unreachable)?;
            return Ok((Proof::Token(token), kept));
        }
        let pki = Pki::open(&places.pki(), now.into()).map_err(Failure::unreachable)?;
        let group = self.group.first().map(String::as_str);
        let lifetime = self.ttl.try_into().map_err(Failure::invalid)?;
        let identity = pki.issue(&self.name, group, lifetime, now.into());
        let identity = identity.map_err(Failure::unreachable)?;
        let subject = identity.subject().map_err(Failure::unreachable)?;
        Ok((Proof::Certificate(identity), Credential::Certificate(subject.serial)))
    }

    fn hand_over(&self, config: &str) -> Result<u8, Failure> {
        match &self.output {
            Some(path) => {
                file::replace(path, config.as_bytes(), 0o600).map_err(Failure::unreachable)?;
                print(&format!("kubeconfig of {} written to {}\n", self.name, path.display()))
            }
            None => print(config),
        }
    }
}

fn print(text: &str) -> Result<u8, Failure> {
    let mut output = std::io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map(|()| 0).map_err(|error| Failure::unreachable(format!("output: {error}")))
}

impl List {
    fn run(&self) -> Result<u8, Failure> {
        let entries = Register::new(&self.data.places()?.pki()).entries();
        let entries = entries.map_err(Failure::unreachable)?;
        let now = SystemTime::now();
        if self.output == Format::Json {
            let shown: Vec<Value> = entries.iter().map(|entry| shown(entry, now)).collect();
            return print(&format!("{:#}\n", Value::Array(shown)));
        }
        let mut text =
            format!("{:<24} {:<24} {:<12} {:<21} STATE\n", "USER", "GROUPS", "KNOWN BY", "EXPIRES");
        for entry in &entries {
            let (user, groups) = (&entry.user, entry.groups.join(","));
            let (kind, expires) = (kind(entry), date(entry.expires));
            let state = state(entry, now);
            text.push_str(&format!("{user:<24} {groups:<24} {kind:<12} {expires:<21} {state}\n"));
        }
        print(&text)
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry.credential {
        Credential::Token(_) => "token",
        Credential::Certificate(_) => "certificate",
    }
}

fn state(entry: &Entry, now: SystemTime) -> &'static str {
    match (entry.counts(now), entry.revoked) {
        (true, _) => "valid",
        (false, true) => "removed",
        (false, false) => "ended",
    }
}

fn date(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn shown(entry: &Entry, now: SystemTime) -> Value {
    json!({
        "user": entry.user, "groups": entry.groups, "credential": kind(entry),
        "created": date(entry.created), "expires": date(entry.expires),
        "state": state(entry, now),
    })
}

impl Remove {
    fn run(&self) -> Result<u8, Failure> {
        let places = self.data.places()?;
        write_down(&places, "delete", &self.name, &json!({}))?;
        let register = Register::new(&places.pki());
        let removed =
            register.remove(&self.name, SystemTime::now()).map_err(Failure::unreachable)?;
        if removed == 0 {
            eprintln!("error: user: `{}`: nothing that they are known by counts", self.name);
            return Ok(1);
        }
        print(&format!("user {} removed\n", self.name))
    }
}

/// Users are not resources, but who changes them is written down all the same, and before.
fn write_down(places: &Places, verb: &str, name: &str, said: &Value) -> Result<(), Failure> {
    let path: &Path = &places.audit();
    let uid = rustix::process::getuid().as_raw();
    let event = json!({
        "time": date(OffsetDateTime::now_utc().unix_timestamp()), "stage": "intent",
        "user": format!("uid:{uid}"), "verb": verb, "group": "tortie.dev", "resource": "users",
        "name": name, "changes": said,
    });
    let appended = Audit::open(path, Rotation::default()).and_then(|audit| audit.append(&event));
    appended
        .map(drop)
        .map_err(|error| Failure::unreachable(format!("`{}`: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_or_refused() {
        let seconds = |text| lifetime(text).ok().map(|time| time.as_secs());
        assert_eq!(seconds("8760h"), Some(8760 * 3600));
        assert_eq!(seconds("30d"), Some(30 * 86400));
        assert_eq!(seconds("5m"), Some(300));
        for wrong in ["", "h", "5", "5s", "-1h", "0h", "1.5h", "99999999d", "18446744073709551615d"]
        {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
