//! The flags of `server`, and what they mean.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tortie_daemon::http::Place;
use tortie_policy::{Compat, CompatPoint, Direction, EndpointId};

use crate::answer::{Answers, Detail, Header, Metadata};
use crate::decision_log;
use crate::guarded::Mode;
use crate::server::{Config, From};
use crate::snapshot::View;
use crate::source::LastGood;
use crate::template::Template;
use crate::terminate;

#[derive(Debug, Args)]
pub(super) struct Server {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    guarded: Guarded,
    #[command(flatten)]
    answers: AnswerFlags,
    #[command(flatten)]
    log: LogFlags,

    /// Permission bits of the socket, in octal
    #[arg(long, value_name = "MODE", default_value = "666", value_parser = octal)]
    listen_mode: u32,

    /// Serve metrics, readiness and the log's filter at this `ADDRESS:PORT` or `unix:PATH`
    #[arg(long, value_name = "WHERE")]
    admin: Option<Place>,
}

/// Where policy comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
struct Source {
    /// File or folder with resources; may be given several times
    #[arg(short, long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,

    /// Points in which Calico's behaviour is chosen, besides those that policy itself names
    #[arg(long, value_name = "NAME,…|calico", default_value = "", hide_default_value = true)]
    compat: Compat,

    /// Keep what Policy Sync told in this folder, for a start without the agent
    #[arg(long, value_name = "FOLDER")]
    last_good: Option<PathBuf>,

    /// How old that may be
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    last_good_max_age: Duration,

    /// Refuse everything when policy has not been what its source says for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_staleness: Option<Duration>,
}

/// Whom the server guards.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to guard")]
struct Guarded {
    /// The workload to guard; with Policy Sync, only if it is not the one that the socket is for
    #[arg(long, value_name = "NAMESPACE/POD", conflicts_with = "node_mode")]
    endpoint: Option<EndpointId>,

    /// Guard every workload of a node, found by its address
    #[arg(long)]
    node_mode: bool,

    /// Name of the node; without it, all workloads are taken for workloads of the node
    #[arg(long, value_name = "NAME", requires = "node_mode")]
    node: Option<String>,

    /// Believe listeners that name the workload or the direction in this context extension, as
    /// `NAMESPACE/POD`, `egress` or `egress:NAMESPACE/POD`
    #[arg(long, value_name = "KEY", requires = "node_mode")]
    trust_context_extension: Option<String>,

    /// Which policies are asked where no listener says it: those on what reaches the workload, or on
    /// what leaves it
    #[arg(long, value_enum, default_value_t = Way::Ingress)]
    direction: Way,

    /// Trust domain of peers, where the workload's own certificate does not tell [default: that of
    /// the cluster's configuration, or cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,

    /// Trust domain to accept beside the workload's own; may be given several times
    #[arg(long = "trust-domain-alias", value_name = "DOMAIN")]
    trust_domain_aliases: Vec<String>,
}

/// As [`Direction`], in the words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// What reaches the workload
    Ingress,
    /// What leaves it
    Egress,
}

/// How decisions are told.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Answers; values may have {policy}, {rule}, {tier}, {reason} and more"
)]
struct AnswerFlags {
    /// What a refused client is told beside the status
    #[arg(long, value_enum, default_value_t = DenyDetail::None)]
    deny_detail: DenyDetail,

    /// HTTP status of a refusal
    #[arg(long, value_name = "CODE", default_value_t = 403, value_parser = clap::value_parser!(u16).range(400..600))]
    deny_status: u16,

    /// Body of a refusal, in place of `--deny-detail`
    #[arg(long, value_name = "TEXT", value_parser = of_decision)]
    deny_body: Option<Template>,

    /// Header of a refusal; may be given several times
    #[arg(long = "deny-header", value_name = "NAME=VALUE")]
    deny_headers: Vec<Header>,

    /// Header of an allowed request as the upstream gets it; may be given several times
    #[arg(long = "upstream-header", value_name = "NAME=VALUE")]
    upstream_headers: Vec<Header>,

    /// Header of the answer to an allowed request as the client gets it; may be given several times
    #[arg(long = "downstream-header", value_name = "NAME=VALUE")]
    downstream_headers: Vec<Header>,

    /// What Envoy's dynamic metadata say
    #[arg(long, value_enum, default_value_t = MetadataFlag::Full)]
    metadata: MetadataFlag,
}

/// As [`Detail`], in the words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DenyDetail {
    /// Nothing
    None,
    /// Which policy refused
    Brief,
    /// Which policy refused, and why
    Full,
}

/// As [`Metadata`], in the words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum MetadataFlag {
    /// Nothing
    None,
    /// What decided
    Brief,
    /// What decided, and why
    Full,
}

/// What is logged of decisions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Decision log")]
struct LogFlags {
    /// Most decisions logged a second; what is above is counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    decision_log_rate: u64,

    /// Log one denial in so many; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    decision_log_denied: u64,

    /// Log one allowance in so many; 0 for none
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    decision_log_allowed: u64,

    /// Log this text in place of fields, such as `{verdict} {source} {method} {path}: {reason}`
    #[arg(long, value_name = "TEXT")]
    decision_log_format: Option<Template>,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not an octal number up to 777".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| "not a number of seconds".to_owned())
}

fn of_decision(text: &str) -> Result<Template, String> {
    let template = Template::from_str(text).and_then(Template::of_decision);
    template.map_err(|error| error.to_string())
}

impl Server {
    /// From what was typed to what was meant; `env` is the environment.
    pub(super) fn config(
        self,
        listen: PathBuf,
        dial: Option<PathBuf>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, String> {
        let (port, address) = (env(terminate::PORT), env(terminate::ADDRESS));
        let everywhere = self.source.compat.has(CompatPoint::UnauthenticatedControl);
        let terminate = terminate::place(port.as_deref(), address.as_deref(), everywhere)?;
        let (compat, max_staleness) = (self.source.compat, self.source.max_staleness);
        let from = self.source.from(dial)?;
        Ok(Config {
            listen,
            listen_mode: self.listen_mode,
            view: self.guarded.view(&from, compat)?,
            from,
            max_staleness,
            answers: self.answers.into(),
            log: self.log.into(),
            admin: self.admin,
            terminate,
        })
    }
}

impl Source {
    fn from(self, dial: Option<PathBuf>) -> Result<From, String> {
        let max_age = self.last_good_max_age;
        let last_good = self.last_good.map(|folder| LastGood { folder, max_age });
        match dial {
            Some(_) if !self.files.is_empty() => {
                Err("policy from both Policy Sync (`-d`) and files (`-f`)\nhint: use one"
                    .to_owned())
            }
            None if last_good.is_some() => {
                Err("`--last-good` keeps what Policy Sync tells\nhint: use it with `-d`".to_owned())
            }
            Some(socket) => Ok(From::PolicySync { socket, last_good }),
            None if self.files.is_empty() => Err("no source of policy\nhint: give the socket of \
                                                  Policy Sync with `-d`, or resources as files \
                                                  with `-f`"
                .to_owned()),
            None => Ok(From::Files { paths: self.files, recursive: self.recursive }),
        }
    }
}

impl Guarded {
    fn view(self, from: &From, compat: Compat) -> Result<View, String> {
        Ok(View {
            direction: self.direction.into(),
            trust_domain: self.trust_domain.clone(),
            trust_domain_aliases: self.trust_domain_aliases.clone(),
            compat,
            mode: self.mode(from)?,
        })
    }

    fn mode(self, from: &From) -> Result<Mode, String> {
        if self.node_mode {
            let node = self.node.map(Into::into);
            return Ok(Mode::Node { node, trusted: self.trust_context_extension });
        }
        if self.endpoint.is_none() && matches!(from, From::Files { .. }) {
            return Err("no workload to guard\nhint: name it with `--endpoint NAMESPACE/POD`, or \
                        guard all of a node with `--node-mode`"
                .to_owned());
        }
        Ok(Mode::Workload(self.endpoint))
    }
}

impl std::convert::From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Ingress => Self::Ingress,
            Way::Egress => Self::Egress,
        }
    }
}

impl std::convert::From<AnswerFlags> for Answers {
    fn from(flags: AnswerFlags) -> Self {
        Self {
            detail: match flags.deny_detail {
                DenyDetail::None => Detail::None,
                DenyDetail::Brief => Detail::Brief,
                DenyDetail::Full => Detail::Full,
            },
            status: flags.deny_status,
            body: flags.deny_body,
            denied_headers: flags.deny_headers,
            upstream_headers: flags.upstream_headers,
            downstream_headers: flags.downstream_headers,
            metadata: match flags.metadata {
                MetadataFlag::None => Metadata::None,
                MetadataFlag::Brief => Metadata::Brief,
                MetadataFlag::Full => Metadata::Full,
            },
        }
    }
}

impl std::convert::From<LogFlags> for decision_log::Config {
    fn from(flags: LogFlags) -> Self {
        Self {
            each_second: flags.decision_log_rate,
            denied_sample: flags.decision_log_denied,
            allowed_sample: flags.decision_log_allowed,
            format: flags.decision_log_format,
        }
    }
}
