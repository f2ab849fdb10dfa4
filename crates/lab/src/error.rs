//! What can go wrong with a lab, with the exit status and the hint a user gets.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tortie_client::files::FileError;

/// Why a lab command failed.
///
/// The text follows the command contract (`WHAT: WHERE: WHY`); [`Error::hint`] and
/// [`Error::exit_code`] complete it.
#[derive(Debug, Error)]
pub enum Error {
    /// The lab's name cannot be part of a path.
    #[error(
        "lab name `{0}`: must be 1 to 32 lower-case letters, digits or `-`, \
         with a letter or digit at both ends"
    )]
    Name(String),
    /// Manifests or the image map ask for something the lab cannot give.
    #[error("{0}")]
    Input(#[from] Problems),
    /// No lab of this name.
    #[error("lab `{name}`: is not running")]
    NotRunning {
        /// The lab's name.
        name: String,
        /// Names of the labs that do run.
        running: Vec<String>,
    },
    /// A lab of this name exists already.
    #[error("lab `{0}`: is already running")]
    AlreadyRunning(String),
    /// There is nowhere to keep a lab's state.
    #[error("state directory: neither root nor XDG_RUNTIME_DIR is set")]
    NoStateRoot,
    /// A program the lab needs is not installed.
    #[error("{program}: not found: {needed_for}")]
    MissingProgram {
        /// The program's name.
        program: String,
        /// What needs it.
        needed_for: String,
        /// How to get it.
        hint: String,
    },
    /// The port for the ingress gateway cannot be had.
    #[error("gateway port {port}: {source}")]
    GatewayPort {
        /// The port asked for.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// A program the lab ran failed.
    #[error("{program}: {message}")]
    Program {
        /// The program and what it was to do.
        program: String,
        /// What it said.
        message: String,
    },
    /// A pod or container that does not exist, or does not run.
    #[error("{what}")]
    NoSuchPod {
        /// Which, and why not.
        what: String,
        /// What there is.
        hint: String,
    },
    /// The supervisor ended, or never answered.
    #[error("lab `{name}`: the supervisor {what}")]
    Supervisor {
        /// The lab's name.
        name: String,
        /// What happened, with the end of its log.
        what: String,
    },
    /// The lab's API server refuses something, or does not answer.
    #[error("{0}")]
    Api(#[from] tortie_client::server::Error),
    /// An error a process inside the lab reported.
    #[error("{}", .0.message)]
    Reported(Reported),
    /// Something did not happen in time.
    #[error("{what}: not done within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A file operation failed.
    #[error("{action} `{}`: {source}", .path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What is wrong with manifests or image maps.
#[derive(Debug)]
pub struct Problems(Vec<FileError>);

impl From<Vec<FileError>> for Problems {
    fn from(problems: Vec<FileError>) -> Self {
        Self(problems)
    }
}

impl std::error::Error for Problems {}

/// One problem a line, each with its hint; who prints it writes the first `error:`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let lead = if index == 0 { "" } else { "\nerror: " };
            write!(f, "{lead}{problem}")?;
            if let Some(hint) = &problem.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// An error as it travels from a process inside the lab to the command that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The text of the error.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit status it asks for.
    pub exit_code: u8,
}

impl From<&Error> for Reported {
    fn from(error: &Error) -> Self {
        Self { message: error.to_string(), hint: error.hint(), exit_code: error.exit_code() }
    }
}

impl Error {
    /// A shorthand for [`Error::Program`].
    pub(crate) fn program(program: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::Program { program: program.into(), message: message.to_string() }
    }

    /// The exit status of the command contract: 2 for bad input, 3 for something needed that
    /// could not be reached, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Name(_) | Self::Input(_) => 2,
            Self::Api(error) if matches!(error.code(), Some(400 | 422)) => 2,
            Self::Api(error) if error.code().is_none() => 3,
            Self::NotRunning { .. }
            | Self::MissingProgram { .. }
            | Self::GatewayPort { .. }
            | Self::NoStateRoot
            | Self::NoSuchPod { .. } => 3,
            Self::Reported(reported) => reported.exit_code,
            _ => 1,
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { running, .. } if running.is_empty() => {
                Some("start one with `tortie lab up -f FILE`".to_owned())
            }
            Self::NotRunning { running, .. } => {
                Some(format!("running: {}; choose with `--name`", running.join(", ")))
            }
            Self::AlreadyRunning(name) => Some(format!(
                "stop it with `tortie lab --name {name} down`, or choose another `--name`"
            )),
            Self::NoStateRoot => Some("choose a place with `--state-dir DIR`".to_owned()),
            Self::MissingProgram { hint, .. } | Self::NoSuchPod { hint, .. } => Some(hint.clone()),
            Self::GatewayPort { .. } => {
                Some("choose another with `--gateway-port N`, or leave it out".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or choose another place with `--state-dir DIR`".to_owned())
            }
            Self::Reported(reported) => reported.hint.clone(),
            _ => None,
        }
    }
}

/// Adds the operation and the file to an error of the system.
pub(crate) trait At<T> {
    /// `action` is a verb: "write", "create".
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_contract() {
        let table = [
            (Error::Name("X".into()), 2),
            (Error::Input(Problems(vec![])), 2),
            (Error::NotRunning { name: "x".into(), running: vec![] }, 3),
            (Error::AlreadyRunning("x".into()), 1),
            (Error::program("nft", "no"), 1),
        ];
        for (error, code) in table {
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }

    #[test]
    fn a_reported_error_keeps_text_hint_and_status() {
        let error = Error::MissingProgram {
            program: "nft".into(),
            needed_for: "to set up the node".into(),
            hint: "apt-get install nftables".into(),
        };
        let again = Error::Reported(Reported::from(&error));
        assert_eq!(again.to_string(), error.to_string());
        assert_eq!(again.hint(), error.hint());
        assert_eq!(again.exit_code(), 3);
    }

    #[test]
    fn a_full_disk_has_a_hint() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Err::<(), _>(full).at("write", "/x").unwrap_err();
        assert!(error.to_string().starts_with("write `/x`: "), "{error}");
        assert!(error.hint().is_some());
    }
}
