//! Which processes hold a lab, and whether they still do.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LabDir;
use crate::Error;
use crate::error::At;
use crate::files::{read_json, replace_json};
use crate::process::{ProcessId, boot_id};

/// How long a killed lab may take to vanish.
const DEATH: Duration = Duration::from_secs(30);

/// The processes that hold a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Boot during which it was written.
    pub(super) boot: String,
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

impl Record {
    /// That of a lab which this process is about to start.
    pub(super) fn starting() -> Result<Self, Error> {
        let owner = ProcessId::of(std::process::id()).at("read", "/proc/self/stat")?;
        Ok(Self { boot: boot_id(), owner, holder: None })
    }
}

impl LabDir {
    pub(super) fn record_path(&self) -> PathBuf {
        self.path().join("record.json")
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
        if !self.path().exists() {
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

    pub(super) fn holder(&self) -> Option<Holder> {
        match self.liveness() {
            Liveness::Running(holder) => Some(holder),
            _ => None,
        }
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
