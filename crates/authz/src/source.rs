//! Policy from files: read once before listening, and again whenever they change.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tortie_client::Watch;
use tortie_client::files::{self, FileError};
use tortie_daemon::readiness::Guard;
use tortie_policy::{Cluster, EndpointId};

use crate::health::{Config, Health};
use crate::snapshot::Snapshot;

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
        let loaded = files::load(&self.paths, self.recursive)?;
        let cluster = Cluster::build(&loaded.resources).map_err(|invalid| {
            let errors = invalid.into_iter().map(|i| loaded.error(i.resource, i.error));
            errors.collect::<Vec<_>>()
        })?;
        let mut hasher = DefaultHasher::new();
        loaded.resources.iter().for_each(|resource| resource.raw.hash(&mut hasher));
        Ok(Loaded { cluster, warnings: loaded.warnings, fingerprint: hasher.finish() })
    }
}

impl Loaded {
    /// Which set of files this is: equal for equal contents, within one build of the program.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// The one writer of the snapshot: reloads changed files, and keeps the last good set when they
/// are broken.
pub struct Reloader {
    source: Source,
    endpoint: EndpointId,
    snapshot: Arc<ArcSwap<Snapshot>>,
    health: Health,
    guard: Guard,
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
    /// Puts the first good set in force.
    #[must_use]
    pub fn start(
        source: Source,
        endpoint: EndpointId,
        loaded: Loaded,
        health: Health,
        guard: Guard,
    ) -> Self {
        let last = Outcome::Good(loaded.fingerprint);
        let first = Arc::new(Snapshot::new(loaded.cluster, endpoint.clone()));
        let snapshot = Arc::new(ArcSwap::new(Arc::clone(&first)));
        health.set_fingerprint(loaded.fingerprint);
        let mut reloader = Self { source, endpoint, snapshot, health, guard, last };
        warn(&loaded.warnings);
        reloader.announce(&first, "policy loaded");
        reloader
    }

    /// What checks are answered by, now and after every reload.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Follows the files until it is dropped.
    pub async fn run(mut self, mut watch: Watch) {
        loop {
            watch.changed().await;
            let source = self.source.clone();
            // Off the thread that answers: a large set takes longer to read than a check may wait.
            match tokio::task::spawn_blocking(move || source.load()).await {
                Ok(Ok(loaded)) => self.good(loaded),
                Ok(Err(errors)) => self.broken(errors),
                Err(error) => tracing::error!(%error, "reading the files was interrupted"),
            }
        }
    }

    fn good(&mut self, loaded: Loaded) {
        self.health.set_config(Config::Current);
        let fingerprint = loaded.fingerprint;
        let outcome = Outcome::Good(fingerprint);
        if outcome == self.last {
            return;
        }
        self.last = outcome;
        warn(&loaded.warnings);
        let snapshot = Arc::new(Snapshot::new(loaded.cluster, self.endpoint.clone()));
        self.snapshot.store(Arc::clone(&snapshot));
        self.health.set_fingerprint(fingerprint);
        self.announce(&snapshot, "policy reloaded");
    }

    fn announce(&mut self, snapshot: &Snapshot, what: &str) {
        let applicable = snapshot.applicable.iter();
        let policies: usize = applicable.flat_map(|a| &a.tiers).map(|t| t.policies.len()).sum();
        tracing::info!(endpoint = %snapshot.endpoint, policies, "{what}");
        match snapshot.problem() {
            None => self.guard.ready(),
            Some(problem) => {
                tracing::error!(%problem, "every request is refused: check the files and `--endpoint`");
                self.guard.wait(problem);
            }
        }
    }

    fn broken(&mut self, errors: Vec<FileError>) {
        let error = errors.first().map(ToString::to_string).unwrap_or_default();
        self.health.set_config(Config::Stale { error });
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
