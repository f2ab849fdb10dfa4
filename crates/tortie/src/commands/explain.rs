//! `tortie explain`: whether a flow is allowed, and by which rule.

use std::fmt::Write as _;

use tortie_policy::{
    Before, Cluster, Explanation, Leg, Party, PortName, Protocol, Query, TraceEntry, Trust, Word,
    explain_by, parse_icmp, request_line,
};

use crate::input::{EngineName, Source};
use crate::output::{self, Failure, Format, NO, YES, json};

const EXAMPLES: &str = "Examples:
  tortie explain -f . --from default/customer-0 --to default/database-0 --port 2379
  tortie explain -f . --from 10.65.0.7 --to default/summary-0 --port 80 --method GET --path /519940
  tortie explain -f . --from default/attack --to default/database-0 --port 2379 \\
      --from-identity spiffe://cluster.local/ns/default/sa/summary
  tortie explain --from default/customer-0 --to default/database-0 --port 2379      the live server

Exit status: 0 allowed; 1 denied; 2 bad usage or input; 3 unreachable";

/// Arguments of `tortie explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,

    /// Sender: `namespace/pod`, `hostendpoint:NAME` or an address
    #[arg(long, value_name = "X")]
    from: Party,

    /// Receiver: `namespace/pod`, `hostendpoint:NAME` or an address
    #[arg(long, value_name = "Y")]
    to: Party,

    /// Destination port, by number or by the name the container gives it
    #[arg(long, value_name = "N|NAME")]
    port: Option<PortName>,

    /// Protocol, by name or number [default: TCP]
    #[arg(long, value_parser = protocol)]
    protocol: Option<Protocol>,

    /// ICMP type, or type and code; the protocol is ICMP, then, unless another is given
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = parse_icmp)]
    icmp: Option<(u8, Option<u8>)>,

    /// HTTP method; asks the receiver's sidecar, too
    #[arg(long)]
    method: Option<String>,

    /// HTTP path; asks the receiver's sidecar, too
    #[arg(long)]
    path: Option<String>,

    /// SPIFFE ID of the certificate the sender shows; asks the receiver's sidecar, too
    #[arg(long, value_name = "SPIFFE-ID")]
    from_identity: Option<String>,

    /// Trust domain of the receiver [default: as configured, or cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,

    /// Take staged policies as enforced
    #[arg(long)]
    staged: bool,

    /// Which engine gives verdicts
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,

    /// Shape of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text)
        .ok_or_else(|| "not a protocol's name (TCP, UDP, …) or a number 1 to 255".to_owned())
}

impl Args {
    fn to_is_v6(&self) -> bool {
        matches!(self.to, Party::Address(std::net::IpAddr::V6(_)))
    }
}

/// The trust of the cluster's configuration, with the domain replaced if one is given.
pub(crate) fn trust(cluster: &Cluster, domain: Option<&str>) -> Trust {
    let mut trust = cluster.trust().clone();
    if let Some(domain) = domain {
        trust.domain = domain.into();
    }
    trust
}

/// Answers the question. Exit status 1 if the flow is denied.
pub(crate) fn run(args: &Args) -> Result<u8, Failure> {
    let cluster = args.source.view(args.staged)?;
    let trust = trust(&cluster, args.trust_domain.as_deref());
    let query = Query {
        from: args.from.clone(),
        to: args.to.clone(),
        protocol: args.protocol.unwrap_or(match (&args.icmp, args.to_is_v6()) {
            (None, _) => Protocol::TCP,
            (Some(_), false) => Protocol::ICMP,
            (Some(_), true) => Protocol::ICMPV6,
        }),
        port: args.port.clone(),
        icmp: args.icmp,
        http: request_line(args.method.as_deref(), args.path.as_deref()),
        from_identity: args.from_identity.clone(),
    };
    let engine = args.engine.of(&cluster, &trust);
    let explanation = explain_by(&*engine, &cluster, &trust, &query).map_err(Failure::invalid)?;
    match args.output {
        Format::Json => json(&explanation)?,
        Format::Table => output::text(text(&explanation))?,
    }
    Ok(if explanation.verdict == Word::Allow { YES } else { NO })
}

/// An explanation for people.
pub(crate) fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.verdict);
    for (name, leg) in explanation.legs() {
        let Leg { endpoint, verdict, trace, reason, nearest } = leg;
        let _ = writeln!(text, "  {name} of {endpoint}: {verdict}, {reason}");
        for entry in trace {
            let _ = writeln!(text, "    {}", entry_text(entry));
        }
        if let Some(change) = nearest.as_ref().and_then(|nearest| nearest.text.as_ref()) {
            let _ = writeln!(text, "    nearest: {change}");
        }
    }
    if explanation.legs().next().is_none() {
        text.push_str("  no policy is asked: a pod reaches itself, strangers are not ours\n");
    }
    if explanation.verdict == Word::Deny {
        before(&mut text, "Allowed before policy", Word::Allow, &explanation.before);
        before(&mut text, "Dropped before policy", Word::Deny, &explanation.before);
    }
    text
}

/// What comes of some traffic before policy is asked.
fn before(text: &mut String, title: &str, verdict: Word, list: &[Before]) {
    let mut entries = list.iter().filter(|before| before.verdict == verdict).peekable();
    if entries.peek().is_some() {
        let _ = writeln!(text, "{title}");
    }
    for Before { endpoint, direction, text: what, .. } in entries {
        let at = match (direction, endpoint) {
            (Some(direction), Some(endpoint)) => format!("{direction} of {endpoint}: "),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {at}{what}");
    }
}

/// One step of a trace for people.
pub(crate) fn entry_text(entry: &TraceEntry) -> String {
    let namespace = entry.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
    let what = match (&entry.kind, &entry.name) {
        (Some(kind), Some(name)) => format!("{kind} {namespace}{name}"),
        (Some(kind), None) => format!("no {kind}"),
        _ => "default of the tier".to_owned(),
    };
    let tier = entry.tier.as_ref().map(|t| format!("tier {t}: ")).unwrap_or_default();
    let rule = entry.rule.map(|n| format!(" rule {n}")).unwrap_or_default();
    format!("{tier}{what}{rule}: {}", entry.action)
}
