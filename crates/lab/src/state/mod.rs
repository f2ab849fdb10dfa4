//! Where a lab keeps its files, and how to tell a running lab from the remains of a dead one.
//!
//! One directory per lab, for its owner alone:
//!
//! | path | content |
//! |---|---|
//! | `record.json` | the processes that hold the lab, written first |
//! | `settings.json` | what holds for the whole lab, and what it starts with |
//! | `status.json` | what runs |
//! | `api/` | the API server's store, kubeconfig and socket |
//! | `kubelet.sock` | exec and logs, for the API server |
//! | `sync/` | Policy Sync: who has which socket, and the sockets |
//! | `agent.log`, `supervisor.log`, `apiserver.log` | what these say |
//! | `logs/` | one file per container; watched by nobody |
//! | `pods/` | sockets, volumes and sidecar files of each pod |

mod dir;
mod record;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub(crate) use self::dir::{LabDir, PodDir};
use self::record::Record;
pub(crate) use self::record::{Holder, Liveness};
use crate::error::At;
use crate::files::create_private_dir;
use crate::{Error, LabName};

/// The directory that holds the directories of all labs of this user.
#[derive(Debug, Clone)]
pub struct StateRoot {
    path: PathBuf,
    /// Whether it is the lab's own, to be removed when empty.
    own: bool,
}

impl StateRoot {
    /// The place for this user: `/run/tortie/labs` for root, else below `XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// [`Error::NoStateRoot`] if there is none.
    pub fn for_user() -> Result<Self, Error> {
        if rustix::process::geteuid().is_root() {
            return Ok(Self { path: "/run/tortie/labs".into(), own: true });
        }
        let base = std::env::var_os("XDG_RUNTIME_DIR").ok_or(Error::NoStateRoot)?;
        Ok(Self { path: Path::new(&base).join("tortie/labs"), own: true })
    }

    /// A place of the caller's choice; it is made absolute, and never removed.
    ///
    /// # Errors
    /// If there is no current directory.
    pub fn at(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: std::path::absolute(path).at("find", path)?, own: false })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a lab, whether or not it exists.
    pub(crate) fn lab(&self, name: &LabName) -> LabDir {
        LabDir::new(name.clone(), self.path.join(name.as_str()))
    }

    /// The names of all labs that run.
    #[must_use]
    pub fn running(&self) -> Vec<LabName> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter_map(|e| e.file_name().to_str()?.parse::<LabName>().ok());
        let mut names: Vec<_> = names.filter(|name| self.lab(name).holder().is_some()).collect();
        names.sort();
        names
    }

    /// The directory of a lab that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; the remains of a dead lab of that name are removed first.
    pub(crate) fn running_lab(&self, name: &LabName) -> Result<(LabDir, Holder), Error> {
        let dir = self.lab(name);
        match dir.liveness() {
            Liveness::Running(holder) => return Ok((dir, holder)),
            Liveness::Stale => self.clean(&dir)?,
            Liveness::Absent | Liveness::Starting => {}
        }
        let running = self.running().iter().map(ToString::to_string).collect();
        Err(Error::NotRunning { name: name.to_string(), running })
    }

    /// Makes the directory of a new lab, owned by this process, in place of a dead one's remains.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] if the lab runs or is being started.
    pub(crate) fn reserve(&self, name: &LabName) -> Result<LabDir, Error> {
        let dir = self.lab(name);
        let _lock = self.lock()?;
        match dir.liveness() {
            Liveness::Absent => {}
            Liveness::Stale => dir.remove()?,
            Liveness::Starting | Liveness::Running(_) => {
                return Err(Error::AlreadyRunning(name.to_string()));
            }
        }
        create_private_dir(dir.path())?;
        let reserved = Record::starting().and_then(|record| dir.write_record(&record));
        if reserved.is_err() {
            let _ = dir.remove();
        }
        reserved.map(|()| dir)
    }

    /// Removes a dead lab's directory, unless another command was faster.
    fn clean(&self, dir: &LabDir) -> Result<(), Error> {
        let _lock = self.lock()?;
        if dir.liveness() == Liveness::Stale { dir.remove() } else { Ok(()) }
    }

    /// Removes a lab's directory, and the root itself when it held the last one.
    pub(crate) fn forget(&self, dir: &LabDir) -> Result<(), Error> {
        let _lock = self.lock()?;
        dir.remove()?;
        if self.own {
            // Both fail, rightly, while anything else is in there.
            let _ = fs::remove_dir(&self.path);
            let _ = self.path.parent().map(fs::remove_dir);
        }
        Ok(())
    }

    /// Takes the lock on which `up` and `down` of all labs agree, for as long as the file lives.
    fn lock(&self) -> Result<File, Error> {
        loop {
            create_private_dir(&self.path)?;
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.at("open", &self.path)?,
            };
            flock(&file, FlockOperation::LockExclusive).at("lock", &self.path)?;
            // Whoever removed the last lab removed this directory too, and its lock is void.
            if same_file(&file, &self.path) {
                return Ok(file);
            }
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_json;

    fn root() -> (tempfile::TempDir, StateRoot) {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot { path: dir.path().join("tortie/labs"), own: true };
        (dir, root)
    }

    #[test]
    fn a_name_is_reserved_once() {
        let (_tmp, root) = root();
        let name = LabName::default();
        let dir = root.reserve(&name).unwrap();
        assert_eq!(dir.liveness(), Liveness::Starting);
        assert!(matches!(root.reserve(&name), Err(Error::AlreadyRunning(_))));
        assert!(root.running().is_empty());
        root.forget(&dir).unwrap();
        assert!(!root.path().exists() && !root.path().parent().unwrap().exists());
    }

    #[test]
    fn remains_are_cleaned() {
        let (_tmp, root) = root();
        let name = LabName::default();
        let dir = root.reserve(&name).unwrap();
        let mut record: Record = read_json(&dir.record_path()).unwrap();
        record.boot = "another boot".into();
        dir.write_record(&record).unwrap();
        assert_eq!(dir.liveness(), Liveness::Stale);
        assert!(matches!(root.running_lab(&name), Err(Error::NotRunning { .. })));
        assert_eq!(dir.liveness(), Liveness::Absent);

        fs::create_dir(dir.path()).unwrap();
        assert_eq!(dir.liveness(), Liveness::Stale, "a crash before the record was written");
        root.reserve(&name).unwrap();
    }

    #[test]
    fn the_root_stays_while_another_lab_is_in_it() {
        let (_tmp, root) = root();
        let a = root.reserve(&"a".parse().unwrap()).unwrap();
        let b = root.reserve(&"b".parse().unwrap()).unwrap();
        root.forget(&a).unwrap();
        assert_eq!(b.liveness(), Liveness::Starting);
    }
}
