//! Resources from files as changes: each reading is compared with the one before.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tortie_calc::Key;
use tortie_client::Watch;
use tortie_client::files::{self, FileError};
use tortie_daemon::readiness::Guard;
use tortie_model::Resource;
use tortie_policy::Cluster;

use super::{Change, Now};
use crate::engine::{Batch, Engine};
use crate::metrics::Metrics;

/// What one reading of the files brought.
#[derive(Debug, Default)]
pub struct Reading {
    /// What is different from the reading before.
    pub changes: Vec<Change>,
    /// What was passed over.
    pub warnings: Vec<FileError>,
    /// Equal for equal contents, within one build of the program.
    pub fingerprint: u64,
}

/// Files and directories with resources, and what they held when they were last good.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    recursive: bool,
    known: BTreeMap<Key, Arc<Resource>>,
}

impl Files {
    /// Files and folders; nothing is read yet.
    pub fn new(paths: Vec<PathBuf>, recursive: bool) -> Files {
        Files { paths, recursive, known: BTreeMap::new() }
    }

    /// Files and folders.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Whether folders are read with everything below them.
    pub fn recursive(&self) -> bool {
        self.recursive
    }

    /// Reads everything again, all or nothing (house rule 7).
    ///
    /// # Errors
    /// Everything wrong in any of the files; what is known stays as it was.
    pub fn read(&mut self) -> Result<Reading, Vec<FileError>> {
        let loaded = files::load(&self.paths, self.recursive)?;
        Cluster::build(&loaded.resources).map_err(|invalid| {
            let errors = invalid.into_iter().map(|i| loaded.error(i.resource, i.error));
            errors.collect::<Vec<_>>()
        })?;
        let fingerprint = fingerprint(&loaded.resources);
        let read = loaded.resources.into_iter().map(|r| (Key::of(&r), Arc::new(r))).collect();
        Ok(Reading { changes: self.replace(read), warnings: loaded.warnings, fingerprint })
    }

    /// Takes over what was read, and says what is different.
    fn replace(&mut self, read: BTreeMap<Key, Arc<Resource>>) -> Vec<Change> {
        let before = std::mem::replace(&mut self.known, read);
        let gone = before.keys().filter(|key| !self.known.contains_key(key));
        let gone = gone.map(|key| Change { key: key.clone(), now: Now::Gone });
        let differs = |key: &Key, now: &Resource| before.get(key).is_none_or(|b| b.raw != now.raw);
        let new = self.known.iter().filter(|(key, resource)| differs(key, resource));
        let new = new.map(|(key, r)| Change { key: key.clone(), now: Now::Is(Arc::clone(r)) });
        gone.chain(new).collect()
    }
}

/// Which set of resources this is: equal for equal contents, within one build of the program.
pub fn fingerprint(resources: &[Resource]) -> u64 {
    let mut hasher = DefaultHasher::new();
    resources.iter().for_each(|resource| resource.raw.hash(&mut hasher));
    hasher.finish()
}

/// Follows the files: what is good goes to the engine, what is broken is told and changes nothing.
pub(crate) struct Follower {
    /// Absent while they are being read.
    files: Option<Files>,
    engine: Engine,
    metrics: Arc<Metrics>,
    /// The errors told last. The log may lie in a watched folder: saying the same thing twice would
    /// go on for ever.
    last: Option<Vec<FileError>>,
}

impl Follower {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// Everything wrong in any of them.
    pub(crate) fn start(
        files: Files,
        engine: Engine,
        metrics: Arc<Metrics>,
    ) -> Result<Follower, Vec<FileError>> {
        let mut follower = Follower { files: None, engine, metrics, last: None };
        let mut files = files;
        follower.good(files.read()?);
        follower.files = Some(files);
        Ok(follower)
    }

    /// Reads the files whenever they change; ready once what was read first has been told.
    pub(crate) async fn run(
        mut self,
        mut watch: Watch,
        mut guard: Guard,
        mut first: watch::Receiver<bool>,
    ) {
        if first.wait_for(|told| *told).await.is_ok() {
            guard.ready();
        }
        loop {
            watch.changed().await;
            let Some(mut files) = self.files.take() else { return };
            // Off the thread that serves: a large set takes a while to read.
            let read = tokio::task::spawn_blocking(move || (files.read(), files)).await;
            let Ok((read, files)) = read else { return };
            self.files = Some(files);
            match read {
                Ok(reading) => self.good(reading),
                Err(errors) => self.broken(errors),
            }
        }
    }

    fn good(&mut self, reading: Reading) {
        self.metrics.read(true);
        self.last = None;
        for warning in &reading.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(changes = reading.changes.len(), "files read");
        self.engine.apply(Batch { changes: reading.changes, revision: reading.fingerprint });
    }

    fn broken(&mut self, errors: Vec<FileError>) {
        self.metrics.read(false);
        if self.last.as_ref() == Some(&errors) {
            return;
        }
        for error in &errors {
            tracing::error!(%error, hint = error.hint.as_deref(), "broken file");
        }
        let count = errors.len();
        tracing::error!(errors = count, "resources are stale: the last good set stays in force");
        self.last = Some(errors);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn set(name: &str, net: &str) -> String {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n\
             metadata: {{name: {name}}}\nspec: {{nets: [{net}]}}\n---\n"
        )
    }

    fn changes(reading: Reading) -> Vec<(String, bool)> {
        let text = |c: Change| (c.key.name.to_string(), matches!(c.now, Now::Is(_)));
        reading.changes.into_iter().map(text).collect()
    }

    #[test]
    fn only_what_changed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sets.yaml");
        let mut source = Files::new(vec![dir.path().to_owned()], false);
        fs::write(&file, set("a", "10.0.0.0/8") + &set("b", "10.1.0.0/16")).unwrap();
        let first = source.read().unwrap();
        let print = first.fingerprint;
        assert_eq!(changes(first), [("a".into(), true), ("b".into(), true)]);
        let again = source.read().unwrap();
        assert_eq!((again.changes.len(), again.fingerprint), (0, print));
        fs::write(&file, set("b", "10.2.0.0/16") + &set("c", "10.3.0.0/16")).unwrap();
        let expected = [("a".into(), false), ("b".into(), true), ("c".into(), true)];
        assert_eq!(changes(source.read().unwrap()), expected);
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sets.yaml");
        let mut source = Files::new(vec![dir.path().to_owned()], false);
        fs::write(&file, set("a", "10.0.0.0/8")).unwrap();
        source.read().unwrap();
        fs::write(&file, set("b", "10.0.0.0/8") + &set("c", "nonsense")).unwrap();
        let errors = source.read().unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        fs::write(&file, set("a", "10.0.0.0/8")).unwrap();
        assert!(source.read().unwrap().changes.is_empty());
    }
}
