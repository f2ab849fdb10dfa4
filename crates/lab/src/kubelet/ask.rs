//! What is asked for, read from the query.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Exec {
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Whether there is input.
    pub(super) input: bool,
    /// Whether it is to have a terminal.
    pub(super) terminal: bool,
}

/// A log to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Logs {
    /// Whether to go on with what is printed from now on.
    pub(super) follow: bool,
    /// Whether it is that of the run before.
    pub(super) previous: bool,
    /// How many of its last lines; all without.
    pub(super) lines: Option<usize>,
    /// How many bytes at most.
    pub(super) bytes: Option<u64>,
    /// Whether each line is to begin with its time.
    pub(super) times: bool,
    /// The time before which nothing is wanted.
    pub(super) since: Option<OffsetDateTime>,
}

/// The parameters of a query, decoded.
fn parameters(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.replace('+', " ");
        (name, percent_decode_str(&value).decode_utf8_lossy().into_owned())
    })
}

fn is_true(value: &str) -> bool {
    matches!(value, "1" | "true")
}

/// So many seconds earlier, or as early as any log can be.
fn before(now: OffsetDateTime, seconds: u64) -> OffsetDateTime {
    let seconds = Duration::from_secs(seconds).try_into().ok();
    let time = seconds.and_then(|seconds| now.checked_sub(seconds));
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl Exec {
    /// Reads it.
    ///
    /// # Errors
    /// If there is no command.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut ask = Self::default();
        for (name, value) in parameters(query) {
            match name {
                "command" => ask.command.push(value),
                "input" | "stdin" => ask.input = is_true(&value),
                "tty" => ask.terminal = is_true(&value),
                _ => {}
            }
        }
        if ask.command.is_empty() { Err("command: is required".to_owned()) } else { Ok(ask) }
    }
}

impl Logs {
    /// Reads it.
    ///
    /// # Errors
    /// For what is no number or no time.
    pub(super) fn read(query: &str, now: OffsetDateTime) -> Result<Self, String> {
        let mut ask = Self::default();
        for (name, value) in parameters(query) {
            let number =
                || value.parse::<u64>().map_err(|_| format!("{name}: `{value}`: no number"));
            let time = || {
                let time = OffsetDateTime::parse(&value, &Rfc3339);
                time.map_err(|_| format!("{name}: `{value}`: no time as in RFC 3339"))
            };
            match name {
                "follow" => ask.follow = is_true(&value),
                "previous" => ask.previous = is_true(&value),
                "tailLines" => ask.lines = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
                "limitBytes" => ask.bytes = Some(number()?),
                "timestamps" => ask.times = is_true(&value),
                "sinceSeconds" => ask.since = Some(before(now, number()?)),
                "sinceTime" => ask.since = Some(time()?),
                _ => {}
            }
        }
        Ok(ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_words() {
        let ask = Exec::read("command=sh&command=-c&command=echo+%22a+b%22%2B1&input=1&tty=true");
        let ask = ask.unwrap();
        assert_eq!(ask.command, ["sh", "-c", "echo \"a b\"+1"]);
        assert!(ask.input && ask.terminal);
        assert!(Exec::read("input=1").is_err());
    }

    #[test]
    fn logs() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(100);
        let read = |query: &str| Logs::read(query, now);
        let ask = read("follow=true&tailLines=3&previous=false&timestamps=true").unwrap();
        let want = Logs { follow: true, lines: Some(3), times: true, ..Logs::default() };
        assert_eq!(ask, want);
        let since = |query: &str| read(query).unwrap().since.unwrap().unix_timestamp();
        assert_eq!(since("sinceSeconds=3"), 97);
        assert_eq!(since("sinceTime=1970-01-01T00%3A01%3A00Z"), 60);
        for wrong in ["tailLines=x", "sinceSeconds=-1", "sinceTime=yesterday"] {
            let (name, _) = wrong.split_once('=').unwrap();
            assert!(read(wrong).unwrap_err().starts_with(&format!("{name}: ")), "{wrong}");
        }
        assert_eq!(since("sinceSeconds=18446744073709551615"), 0);
    }
}
