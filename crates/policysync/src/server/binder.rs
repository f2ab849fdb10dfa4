//! Which sockets there are: one for each file of credentials below the prefix, or one for each
//! workload of the node.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::layout::{self, Credentials};
use super::listener::{Listener, listen};
use super::{Shared, Sockets};

/// Keeps the sockets as they should be, until the sender of prefixes is gone.
pub(super) async fn run(shared: Arc<Shared>, mut prefix: watch::Receiver<Option<PathBuf>>) {
    let mut tick = interval(shared.config.poll);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut binder = Binder { shared, prefix: None, bound: HashMap::new(), failed: HashSet::new() };
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            changed = prefix.changed() => if changed.is_err() {
                return;
            },
        }
        let current = prefix.borrow_and_update().clone();
        binder.follow(current);
    }
}

/// What a socket was made for. A file that was replaced stands for another workload.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    File { inode: u64, modified: (i64, i64) },
    Endpoint,
}

struct Binder {
    shared: Arc<Shared>,
    prefix: Option<PathBuf>,
    bound: HashMap<String, (Origin, Listener)>,
    /// Ids that could not be served; they are tried again and again, but only logged once.
    failed: HashSet<String>,
}

impl Binder {
    fn follow(&mut self, prefix: Option<PathBuf>) {
        if self.prefix != prefix {
            self.bound.clear();
            self.failed.clear();
            self.prefix = prefix;
            self.shared.metrics.set_sockets(0);
        }
        let Some(prefix) = self.prefix.clone() else { return };
        let wanted = match self.shared.config.sockets {
            Sockets::Credentials => files(&prefix),
            Sockets::Endpoints => Ok(endpoints(&self.shared)),
        };
        match wanted {
            Ok(wanted) => self.update(&prefix, &wanted),
            Err(error) => self.complain("creds", &error.to_string()),
        }
    }

    fn update(&mut self, prefix: &Path, wanted: &BTreeMap<String, Origin>) {
        self.bound.retain(|id, (origin, _)| wanted.get(id) == Some(origin));
        self.failed.retain(|id| wanted.contains_key(id));
        for (id, origin) in wanted {
            if self.bound.contains_key(id) {
                continue;
            }
            match self.bind(prefix, id, origin) {
                Ok(listener) => {
                    self.failed.remove(id);
                    self.bound.insert(id.clone(), (origin.clone(), listener));
                }
                Err(reason) => self.complain(id, &reason),
            }
        }
        self.shared.metrics.set_sockets(self.bound.len());
    }

    fn bind(&self, prefix: &Path, id: &str, origin: &Origin) -> Result<Listener, String> {
        let credentials = match origin {
            Origin::File { .. } => {
                let path = layout::credentials_folder(prefix).join(format!("{id}.json"));
                let content = fs::read(&path).map_err(|error| error.to_string())?;
                Credentials::parse(&content).map_err(|error| error.to_string())?
            }
            Origin::Endpoint => {
                let (namespace, workload) = id.split_once('.').ok_or("no namespace")?;
                let (namespace, workload) = (namespace.to_owned(), workload.to_owned());
                Credentials { namespace, workload, ..Credentials::default() }
            }
        };
        let path = layout::socket_path(prefix, id);
        listen(&self.shared, &path, credentials).map_err(|error| error.to_string())
    }

    fn complain(&mut self, id: &str, reason: &str) {
        if self.failed.insert(id.to_owned()) {
            tracing::warn!(id, reason, "cannot serve a workload's policy; trying again");
        }
    }
}

/// The files of credentials, made by whoever mounts the sockets into pods.
fn files(prefix: &Path) -> io::Result<BTreeMap<String, Origin>> {
    let folder = layout::credentials_folder(prefix);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        // A file may go at any time.
        let Ok(found) = entry.metadata() else { continue };
        let modified = (found.mtime(), found.mtime_nsec());
        files.insert(id.to_owned(), Origin::File { inode: found.ino(), modified });
    }
    Ok(files)
}

/// The workloads of the node; no namespace has a dot.
fn endpoints(shared: &Shared) -> BTreeMap<String, Origin> {
    let store = shared.read();
    let ids = store.endpoints.keys();
    ids.map(|id| (format!("{}.{}", id.namespace, id.name), Origin::Endpoint)).collect()
}
