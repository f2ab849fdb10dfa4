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

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::At;
use crate::files::{create_private_dir, read_json, replace_json};
use crate::plan::PodId;
use crate::process::{ProcessId, boot_id};
use crate::{Error, LabName};

/// How long a killed lab may take to vanish.
const DEATH: Duration = Duration::from_secs(30);

/// The directory that holds the directories of all labs of this user.
#[derive(Debug, Clone)]
pub struct StateRoot {
    path: PathBuf,
    /// Whether it is the lab's own, to be removed when empty.
    own: bool,
}

/// The directory of one lab.
#[derive(Debug, Clone)]
pub(crate) struct LabDir {
    name: LabName,
    path: PathBuf,
}

/// The directory of one pod.
#[derive(Debug, Clone)]
pub(crate) struct PodDir(PathBuf);

/// The processes that hold a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Boot during which it was written.
    boot: String,
    /// The command that starts the lab.
    owner: ProcessId,
    /// The process whose end ends the lab, and pid 1 of the lab; absent until they run.
    pub(crate) holder: Option<Holder>,
}

/// The two outermost processes of a running lab, by their pids outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The launcher, which waits for pid 1.
    pub(crate) launcher: ProcessId,
    /// Pid 1 of the lab.
    pub(crate) init: ProcessId,
}

/// What a lab's directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// There is none.
    Absent,
    /// It is being started.
    Starting,
    /// It runs.
    Running(Holder),
    /// Its processes are gone.
    Stale,
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
        LabDir { name: name.clone(), path: self.path.join(name.as_str()) }
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
        create_private_dir(&dir.path)?;
        let owner = ProcessId::of(std::process::id()).at("read", "/proc/self/stat")?;
        let reserved = dir.write_record(&Record { boot: boot_id(), owner, holder: None });
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

impl LabDir {
    /// The directory of a lab, as a process inside the lab is given it.
    pub(crate) fn from_path(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
        Ok(Self { name, path: path.to_owned() })
    }

    /// The lab's name.
    pub(crate) fn name(&self) -> &LabName {
        &self.name
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The supervisor's own log.
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// What holds for the whole lab.
    pub(crate) fn settings(&self) -> PathBuf {
        self.path.join("settings.json")
    }

    /// The API server's data.
    pub(crate) fn api(&self) -> PathBuf {
        self.path.join("api")
    }

    /// The API server's log.
    pub(crate) fn api_log(&self) -> PathBuf {
        self.path.join("apiserver.log")
    }

    /// Where the API server is, for this user's processes in whatever network.
    pub(crate) fn api_url(&self) -> String {
        format!("unix://{}", self.api().join("api.sock").display())
    }

    /// What kubectl needs to reach the API server.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.api().join("kubeconfig")
    }

    /// The kubelet's socket.
    pub(crate) fn kubelet_socket(&self) -> PathBuf {
        self.path.join("kubelet.sock")
    }

    /// The status.
    pub(crate) fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// The agent's log.
    pub(crate) fn agent_log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// The agent's admin socket.
    pub(crate) fn agent_admin(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// Where the agent serves sidecars.
    pub(crate) fn policy_sync(&self) -> PathBuf {
        self.path.join("sync")
    }

    /// The log of a container.
    pub(crate) fn log(&self, pod: &PodId, container: &str) -> PathBuf {
        self.path.join("logs").join(format!("{}_{}", pod.namespace, pod.name)).join(container)
    }

    /// An empty directory, for a container to build its root on.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("root")
    }

    /// The files of a pod, by the name of its link: a short one, for the sake of socket paths.
    pub(crate) fn pod(&self, interface: &str) -> PodDir {
        PodDir(self.path.join("pods").join(interface))
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("record.json")
    }

    /// Says who holds the lab.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), Error> {
        replace_json(&self.record_path(), record)
    }

    /// Adds the processes that hold the lab to its record.
    pub(crate) fn record_holder(&self, holder: Holder) -> Result<(), Error> {
        let record: Record = read_json(&self.record_path())?;
        self.write_record(&Record { holder: Some(holder), ..record })
    }

    /// Whether the lab runs. A directory without a readable record is what a crash left behind.
    pub(crate) fn liveness(&self) -> Liveness {
        if !self.path.exists() {
            return Liveness::Absent;
        }
        match read_json::<Record>(&self.record_path()) {
            Ok(record) if record.boot != boot_id() => Liveness::Stale,
            Ok(Record { holder: Some(holder), .. }) if holder.init.alive() => {
                Liveness::Running(holder)
            }
            Ok(Record { holder: None, owner, .. }) if owner.alive() => Liveness::Starting,
            _ => Liveness::Stale,
        }
    }

    fn holder(&self) -> Option<Holder> {
        match self.liveness() {
            Liveness::Running(holder) => Some(holder),
            _ => None,
        }
    }

    /// Removes it with all it holds.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.at("remove", &self.path),
        }
    }
}

impl PodDir {
    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A volume.
    pub(crate) fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }

    /// The authorizer's socket.
    pub(crate) fn authorizer_socket(&self) -> PathBuf {
        self.run().join("authz.sock")
    }

    /// Envoy's admin socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    /// Sockets of the sidecar.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The pod as it was planned, for whoever runs commands in it.
    pub(crate) fn plan(&self) -> PathBuf {
        self.0.join("pod.json")
    }

    /// The hosts file's folder, which containers see.
    pub(crate) fn names(&self) -> PathBuf {
        self.0.join("names")
    }

    /// Listeners and clusters; watched by Envoy.
    pub(crate) fn xds(&self) -> PathBuf {
        self.0.join("xds")
    }

    /// The sidecar's certificate; watched by Envoy.
    pub(crate) fn sds(&self) -> PathBuf {
        self.0.join("sds")
    }

    /// Envoy's bootstrap.
    pub(crate) fn bootstrap(&self) -> PathBuf {
        self.0.join("bootstrap.json")
    }
}

impl Holder {
    /// Kills pid 1 of the lab, and with it every process, namespace, link and mount of the lab;
    /// returns when they are gone.
    pub(crate) fn kill(self) -> Result<(), Error> {
        for id in [self.init, self.launcher] {
            let Some(process) = id.open() else { continue };
            process.kill().at("kill", format!("/proc/{}", id.pid()))?;
            if !process.wait(DEATH).at("wait for", format!("/proc/{}", id.pid()))? {
                let what = format!("end of process {}", id.pid());
                return Err(Error::Timeout { what, seconds: DEATH.as_secs() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
