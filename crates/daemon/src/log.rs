//! Logs: one line per event on standard error, for people or as JSON.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that sets what is logged, in the syntax of `tracing` filters:
/// `warn`, or `info,tortie_authz=debug`.
pub const ENV: &str = "TORTIE_LOG";

/// Transport internals are noise even to somebody who debugs policy.
const DEBUG: &str = "debug,h2=info,hyper=info,hyper_util=info,tonic=info,tower=info";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, the event's fields at its top level.
    Json,
}

/// A word that names no log format.
#[derive(Debug, thiserror::Error)]
#[error("unknown log format `{0}`: use `human` or `json`")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("log filter `{filter}`: {reason}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process logs already.
    #[error("logging was set up twice")]
    Twice,
}

/// What to log: the flag `--debug` wins over [`ENV`], whose value the caller passes in; `info` is
/// the default.
#[must_use]
pub fn filter(debug: bool, env: Option<String>) -> String {
    match env {
        _ if debug => DEBUG.to_owned(),
        Some(filter) if !filter.trim().is_empty() => filter,
        _ => "info".to_owned(),
    }
}

/// Starts logging to standard error for the whole process. Call it once, from `main`.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    let subscriber = subscriber(format, filter, io::stderr, io::stderr().is_terminal())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// A subscriber that writes to `writer`; what [`init`] installs, open to tests.
pub fn subscriber<W>(
    format: Format,
    filter: &str,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let fail = |reason: String| LogError::Filter { filter: filter.to_owned(), reason };
    let filter = EnvFilter::builder().parse(filter).map_err(|error| fail(error.to_string()))?;
    // Errors of the writer would be reported with `eprintln!`, which panics if standard error is
    // what failed: a full disk must not reach the request that logs.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .log_internal_errors(false);
    Ok(match format {
        Format::Human => Box::new(builder.with_ansi(colours).finish()),
        Format::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .finish(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A writer that keeps what it is given.
    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, event: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(format, filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, event);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_the_fields_at_the_top() {
        let line = logged(Format::Json, "info", || {
            tracing::info!(verdict = "deny", rule = 3, "denied");
            tracing::debug!("not at this level");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["verdict"], "deny");
        assert_eq!(value["rule"], 3);
        assert_eq!(value["message"], "denied");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn human_lines_hold_message_and_fields() {
        let line = logged(Format::Human, "warn", || tracing::warn!(file = "a.yaml", "stale"));
        assert!(line.contains("WARN") && line.ends_with("stale file=\"a.yaml\"\n"), "{line}");
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        assert_eq!(filter(false, None), "info");
        assert_eq!(filter(false, Some(" ".into())), "info");
        assert_eq!(filter(false, Some("warn".into())), "warn");
        assert!(filter(true, Some("warn".into())).starts_with("debug"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = subscriber(Format::Human, "a=b=c", io::sink, false).err().unwrap();
        assert!(error.to_string().starts_with("log filter `a=b=c`: "), "{error}");
        let error = "xml".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "unknown log format `xml`: use `human` or `json`");
        for format in [Format::Human, Format::Json] {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
    }
}
