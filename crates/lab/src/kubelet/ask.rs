//! What is asked for, read from the query.

use percent_encoding::percent_decode_str;

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
    /// For what cannot be had: the log has no times.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut ask = Self::default();
        for (name, value) in parameters(query) {
            let number =
                || value.parse::<u64>().map_err(|_| format!("{name}: `{value}`: no number"));
            match name {
                "follow" => ask.follow = is_true(&value),
                "previous" => ask.previous = is_true(&value),
                "tailLines" => ask.lines = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
                "limitBytes" => ask.bytes = Some(number()?),
                "timestamps" if !is_true(&value) => {}
                "timestamps" | "sinceSeconds" | "sinceTime" => {
                    return Err(format!("{name}: the lab does not note when a line was printed"));
                }
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
        let ask = Logs::read("follow=true&tailLines=3&previous=false&timestamps=false").unwrap();
        assert_eq!(ask, Logs { follow: true, lines: Some(3), ..Logs::default() });
        assert!(Logs::read("tailLines=x").is_err());
        assert!(Logs::read("sinceSeconds=3").unwrap_err().starts_with("sinceSeconds: "));
    }
}
