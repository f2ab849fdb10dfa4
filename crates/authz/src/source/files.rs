//! Policy from files: read once before listening, and again whenever they change.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use smol_str::SmolStr;
use tortie_client::Watch;
use tortie_client::files::{self, FileError};
use tortie_policy::{Cluster, Compat};

use super::Installer;

/// The files.
#[derive(Debug, Clone)]
pub struct Source {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Whether folders are read with everything below them.
    pub recursive: bool,
}

/// What a good set of files came to.
#[derive(Debug)]
pub struct Loaded {
    /// The cluster they describe.
    pub cluster: Cluster,
    /// What was passed over.
    pub warnings: Vec<FileError>,
    /// Equal for equal contents, so that a touched file is not news.
    fingerprint: u64,
}

impl Source {
    /// Reads the files, all or nothing.
    ///
    /// # Errors
    /// Everything wrong in any of them.
    pub fn load(&self) -> Result<Loaded, Vec<FileError>> {
        self.load_with(Compat::STRICT)
    }

    /// The same, with Calico's behaviour in some points besides those that the files choose.
    ///
    /// # Errors
    /// As for [`Source::load`].
    pub fn load_with(&self, compat: Compat) -> Result<Loaded, Vec<FileError>> {
        let read = files::load(&self.paths, self.recursive)?;
        let cluster = Cluster::build_with(&read.resources, compat).map_err(|invalid| {
            let errors = invalid.into_iter().map(|i| read.error(i.resource, i.error));
            errors.collect::<Vec<_>>()
        })?;
        let mut hasher = DefaultHasher::new();
        read.resources.iter().for_each(|resource| resource.raw.hash(&mut hasher));
        Ok(Loaded { cluster, warnings: read.warnings, fingerprint: hasher.finish() })
    }
}

impl Loaded {
    /// Which set of files this is: equal for equal contents, within one build of the program.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Reloads changed files, and keeps the last good set when they are broken.
pub struct Reloader {
    source: Source,
    compat: Compat,
    node: Option<SmolStr>,
    installer: Installer,
    /// The state last logged. The log may lie in a watched folder: saying the same thing twice
    /// would go on for ever.
    last: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Good(u64),
    Broken(Vec<FileError>),
}

impl Reloader {
    /// Puts the first good set in force. Only the workloads of `node` can be guarded, if it is named.
    #[must_use]
    pub fn start(
        source: Source,
        compat: Compat,
        node: Option<SmolStr>,
        loaded: Loaded,
        installer: Installer,
    ) -> Self {
        let last = Outcome::Good(loaded.fingerprint);
        let mut reloader = Self { source, compat, node, installer, last };
        reloader.install(&loaded, "policy loaded");
        reloader
    }

    /// Follows the files until it is dropped. Reads them on the thread it runs on.
    pub async fn run(mut self, mut watch: Watch) {
        loop {
            watch.changed().await;
            match self.source.load_with(self.compat) {
                Ok(loaded) => self.good(&loaded),
                Err(errors) => self.broken(errors),
            }
        }
    }

    fn good(&mut self, loaded: &Loaded) {
        self.installer.current();
        let outcome = Outcome::Good(loaded.fingerprint);
        if outcome == self.last {
            return;
        }
        self.last = outcome;
        self.install(loaded, "policy reloaded");
    }

    fn install(&mut self, loaded: &Loaded, what: &str) {
        warn(&loaded.warnings);
        let state = tortie_calc::batch(&loaded.cluster, self.node.as_deref());
        self.installer.install(&state, loaded.fingerprint, what);
    }

    fn broken(&mut self, errors: Vec<FileError>) {
        self.installer.stale(errors.first().map(ToString::to_string).unwrap_or_default());
        let outcome = Outcome::Broken(errors);
        if outcome == self.last {
            return;
        }
        if let Outcome::Broken(errors) = &outcome {
            for error in errors {
                tracing::error!(%error, hint = error.hint.as_deref(), "broken policy file");
            }
            let count = errors.len();
            tracing::error!(errors = count, "policy is stale: the last good set stays in force");
        }
        self.last = outcome;
    }
}

fn warn(warnings: &[FileError]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}
