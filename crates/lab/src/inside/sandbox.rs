//! What a container's process runs and sees, as the supervisor hands it over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::privileges::Privileges;

/// A container's process and its view of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sandbox {
    /// An empty directory on which the new root is built. It is covered in the container's own
    /// mount namespace only, so all containers share it.
    pub(crate) scratch: PathBuf,
    /// Files made for this container, by absolute path.
    pub(crate) files: BTreeMap<String, String>,
    /// Symbolic links made for this container: path and target.
    pub(crate) links: BTreeMap<String, String>,
    /// Parts of the machine that are seen.
    pub(crate) binds: Vec<Bind>,
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory.
    pub(crate) directory: String,
    /// Privileges of the process.
    pub(crate) privileges: Privileges,
}

/// A file or directory of the machine that is seen in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bind {
    /// Where it is.
    pub(crate) source: PathBuf,
    /// Where it is seen, as an absolute path.
    pub(crate) target: String,
    /// Whether the container may write to it.
    pub(crate) writable: bool,
}

impl Bind {
    /// A bind that is only read.
    pub(crate) fn read_only(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }

    /// A bind that is written too.
    pub(crate) fn writable(source: impl Into<PathBuf>, target: impl Into<String>) -> Self {
        Self { writable: true, ..Self::read_only(source, target) }
    }
}
