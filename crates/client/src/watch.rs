//! Says when files or directories have changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tokio::time::timeout;

/// Events that follow each other within this time are one change.
const QUIET: Duration = Duration::from_millis(30);
/// Longest wait for quiet: a log that is written into a watched directory all the time must not put
/// off the news for ever.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to look where the kernel cannot tell.
const POLL: Duration = Duration::from_secs(1);

/// Watches paths for changes, renames into watched directories and replaced symlinks included.
pub struct Watch {
    changes: watch::Receiver<u64>,
    _watcher: Box<dyn Watcher + Send>,
}

/// A path that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch `{path}`: {source}")]
pub struct WatchError {
    path: String,
    source: notify::Error,
}

impl Watch {
    /// Starts watching. What changes from now on is noticed, even before the first
    /// [`Watch::changed`].
    ///
    /// # Errors
    /// If a path's directory does not exist or cannot be watched.
    pub fn new(paths: &[PathBuf], recurse: bool) -> Result<Watch, WatchError> {
        let (sender, changes) = watch::channel(0_u64);
        let notify = move |event: notify::Result<notify::Event>| {
            let relevant = event.map_or(true, |e| !e.kind.is_access());
            if relevant {
                sender.send_modify(|count| *count = count.wrapping_add(1));
            }
        };
        let mut watcher: Box<dyn Watcher + Send> =
            match RecommendedWatcher::new(notify.clone(), Config::default()) {
                Ok(watcher) => Box::new(watcher),
                Err(error) => {
                    tracing::warn!(%error, "no file events from the kernel, looking every second");
                    let config = Config::default().with_poll_interval(POLL);
                    Box::new(
                        PollWatcher::new(notify, config).map_err(|e| failed(Path::new(""), e))?,
                    )
                }
            };
        let mode = if recurse { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        for path in paths {
            let watched = directory(path);
            watcher.watch(&watched, mode).map_err(|e| failed(&watched, e))?;
        }
        Ok(Watch { changes, _watcher: watcher })
    }

    /// Waits for a change, and then until the files are quiet for a moment or a second has passed. A
    /// change that happened
    /// since the last call returns at once.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            return std::future::pending().await;
        }
        let quiet =
            async { while let Ok(Ok(())) = timeout(QUIET, self.changes.changed()).await {} };
        let _ = timeout(PATIENCE, quiet).await;
    }
}

/// What to watch for a path: a file may be replaced by renaming another over it, which only its
/// directory sees.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        _ if path.is_dir() => path.to_owned(),
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    }
}

fn failed(path: &Path, source: notify::Error) -> WatchError {
    WatchError { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn noticed(watch: &mut Watch) {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("a change");
    }

    #[tokio::test]
    async fn writes_renames_and_removals_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&file), false).unwrap();
        std::fs::write(&file, "b").unwrap();
        noticed(&mut watch).await;
        std::fs::write(dir.path().join(".new"), "c").unwrap();
        std::fs::rename(dir.path().join(".new"), &file).unwrap();
        noticed(&mut watch).await;
        std::fs::remove_file(&file).unwrap();
        noticed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_never_quiet_is_still_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&[dir.path().to_owned()], false).unwrap();
        let noise = dir.path().join("log");
        let write = async {
            loop {
                std::fs::write(&noise, "x").unwrap();
                tokio::time::sleep(QUIET / 10).await;
            }
        };
        tokio::select! {
            () = noticed(&mut watch) => {}
            () = write => {}
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Watch::new(&["/nonexistent/dir/file.yaml".into()], false).err().unwrap();
        assert!(error.to_string().starts_with("cannot watch `/nonexistent/dir`"), "{error}");
    }
}
