//! `-f`: objects to send to a server, as they are written.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;
use tortie_client::files::{self, Origin};

use crate::output::Failure;

/// Which files.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Manifests {
    /// File or folder with objects, `-` for standard input; may be given several times
    #[arg(short = 'f', long = "filename", visible_alias = "file", value_name = "PATH")]
    pub(crate) files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

/// One object of a file.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where it is written.
    pub(crate) origin: Origin,
    /// The object.
    pub(crate) document: Value,
}

/// `FILE: document N (KIND NAME)`, as messages about files have it.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |pointer: &str| self.document.pointer(pointer).and_then(Value::as_str);
        let Origin { file, document } = &self.origin;
        write!(f, "{file}: document {}", document + 1)?;
        let Some(kind) = text("/kind") else { return Ok(()) };
        let name = text("/metadata/name").or(text("/metadata/generateName")).unwrap_or_default();
        match text("/metadata/namespace") {
            _ if name.is_empty() => write!(f, " ({kind})"),
            Some(namespace) => write!(f, " ({kind} {namespace}/{name})"),
            None => write!(f, " ({kind} {name})"),
        }
    }
}

impl Item {
    /// Checks that the object has a name. A new one may leave it to the server.
    pub(crate) fn check_name(&self, new: bool) -> Result<(), Failure> {
        let field = |field: &str| self.document.get("metadata").and_then(|m| m.get(field));
        match (field("name"), field("generateName")) {
            (Some(Value::String(name)), _) if !name.is_empty() => Ok(()),
            (Some(Value::String(_) | Value::Null) | None, Some(Value::String(_))) if new => Ok(()),
            (Some(Value::String(_) | Value::Null) | None, made) => {
                let failure = Failure::invalid("metadata.name: is required").at(self);
                Err(match made {
                    Some(_) => failure.hint("only `tortie create` makes a name of generateName"),
                    None => failure,
                })
            }
            (Some(_), _) => {
                let failure = Failure::invalid("metadata.name: is not text").at(self);
                Err(failure.hint("put it in quotes: without them, YAML reads it otherwise"))
            }
        }
    }
}

impl Manifests {
    /// Whether any is given.
    pub(crate) fn is_given(&self) -> bool {
        !self.files.is_empty()
    }

    /// The objects, in the order of files and documents; there must be one.
    pub(crate) fn read(&self) -> Result<Vec<Item>, Failure> {
        if self.files.is_empty() {
            let failure = Failure::invalid("no file is named");
            return Err(failure.hint("say -f FILE, -f FOLDER, or -f - for standard input"));
        }
        let objects = files::objects(&self.files, self.recursive)?;
        if objects.is_empty() {
            let files: Vec<String> = self.files.iter().map(|f| f.display().to_string()).collect();
            return Err(Failure::invalid(format!("{}: there are no objects", files.join(", "))));
        }
        let item = |(origin, document)| Item { origin, document };
        Ok(objects.into_iter().map(item).collect())
    }
}
