//! Logs: one line per event on standard error, for people or as JSON.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload;

/// The environment variable that sets what is logged, in the syntax of `tracing` filters:
/// `warn`, or `info,tortie_authz=debug`.
pub const ENV: &str = "TORTIE_LOG";

/// What is logged if nobody says what. kube's own word on watches that break off comes once for each
/// of them; whoever follows a server says once that it is away. What else that module says in a
/// warning, its callers are told in an error.
const DEFAULT: &str = "info,kube_client::client=error,kube_client::client::tls=info";

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

/// What to log: the flag `--debug` wins over [`ENV`], whose value the caller passes in; without
/// either it is `info`, less what is noise.
#[must_use]
pub fn filter(debug: bool, env: Option<String>) -> String {
    match env {
        _ if debug => DEBUG.to_owned(),
        Some(filter) if !filter.trim().is_empty() => filter,
        _ => DEFAULT.to_owned(),
    }
}

/// Changes what a running process logs; clones are the same.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    /// As it was set last.
    filter: Mutex<String>,
    set: Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl Handle {
    /// What is logged now, as it was set.
    #[must_use]
    pub fn filter(&self) -> String {
        self.0.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// If the filter does not parse; the old one stays.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = parse(filter)?;
        let fail = |error: reload::Error| LogError::Filter {
            filter: filter.to_owned(),
            reason: error.to_string(),
        };
        let mut current = self.0.filter.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.set)(parsed).map_err(fail)?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.filter()).finish()
    }
}

/// Starts logging to standard error for the whole process. Call it once, from `main`.
pub fn init(format: Format, filter: &str) -> Result<Handle, LogError> {
    let (subscriber, handle) = reloadable(format, filter, io::stderr, io::stderr().is_terminal())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(handle)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })
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
    reloadable(format, filter, writer, colours).map(|(subscriber, _)| subscriber)
}

/// As [`subscriber`], with the handle that changes its filter.
pub fn reloadable<W>(
    format: Format,
    filter: &str,
    writer: W,
    colours: bool,
) -> Result<(Box<dyn Subscriber + Send + Sync>, Handle), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Errors of the writer would be reported with `eprintln!`, which panics if standard error is
    // what failed: a full disk must not reach the request that logs.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(writer)
        .log_internal_errors(false);
    let handle = |set| Handle(Arc::new(Inner { filter: Mutex::new(filter.to_owned()), set }));
    Ok(match format {
        Format::Human => {
            let builder = builder.with_ansi(colours).with_filter_reloading();
            let reload = builder.reload_handle();
            (Box::new(builder.finish()), handle(Box::new(move |filter| reload.reload(filter))))
        }
        Format::Json => {
            let json = builder.json().flatten_event(true);
            let json = json.with_current_span(false).with_span_list(false).with_filter_reloading();
            let reload = json.reload_handle();
            (Box::new(json.finish()), handle(Box::new(move |filter| reload.reload(filter))))
        }
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
    fn the_filter_changes_at_run_time() {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, handle) =
            reloadable(Format::Json, "info", move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("one");
            handle.set("debug").unwrap();
            tracing::debug!("two");
            assert!(handle.set("a=b=c").is_err());
            tracing::debug!("three");
        });
        assert_eq!(handle.filter(), "debug");
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("one") && text.contains("two") && text.contains("three"), "{text}");
    }

    #[test]
    fn human_lines_hold_message_and_fields() {
        let line = logged(Format::Human, "warn", || tracing::warn!(file = "a.yaml", "stale"));
        assert!(line.contains("WARN") && line.ends_with("stale file=\"a.yaml\"\n"), "{line}");
    }

    #[test]
    fn broken_watches_are_noise_unless_somebody_asks() {
        let said = |filter: &str| {
            logged(Format::Human, filter, || {
                tracing::warn!(target: "kube_client::client", "eof in poll");
                tracing::warn!(target: "kube_client::client::tls", "stale roots");
                tracing::info!("others");
            })
        };
        let said_by_default = said(&filter(false, None));
        assert!(!said_by_default.contains("eof"), "{said_by_default}");
        for text in ["stale roots", "others"] {
            assert!(said_by_default.contains(text), "{said_by_default}");
        }
        for filter in [filter(true, None), "info".to_owned(), "warn".to_owned()] {
            assert!(said(&filter).contains("eof in poll"), "{filter}");
        }
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        assert_eq!(filter(false, None), DEFAULT);
        assert_eq!(filter(false, Some(" ".into())), DEFAULT);
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
