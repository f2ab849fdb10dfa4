//! Starting, finding and ending labs: the library behind the commands.

use std::path::PathBuf;
use std::process::Stdio;

use crate::launch::{Launch, Started};
use crate::state::{LabDir, Liveness, StateRoot};
use crate::{Error, LabName};

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's name.
    pub name: LabName,
    /// Where labs keep their state.
    pub state: StateRoot,
    /// The executable that runs the lab's own processes: it must answer to `lab` and to `authz`.
    pub executable: PathBuf,
}

impl Options {
    /// The default lab of this user, with this process's executable.
    ///
    /// # Errors
    /// If there is nowhere to keep state, or the executable's path is unknown.
    pub fn new() -> Result<Self, Error> {
        use crate::error::At;
        let executable = std::env::current_exe().at("find", "/proc/self/exe")?;
        Ok(Self { name: LabName::default(), state: StateRoot::for_user()?, executable })
    }
}

/// A running lab.
///
/// A lab from [`Lab::up`] ends with this value, or with the process, unless it is
/// [detached](Lab::detach).
#[derive(Debug)]
pub struct Lab {
    state: StateRoot,
    dir: LabDir,
    started: Option<Started>,
}

impl Lab {
    /// Starts a lab and waits until it is up, passing each step's text to `progress`.
    ///
    /// # Errors
    /// For bad input, before anything is started; for anything that fails later, after everything
    /// started has been ended again.
    pub fn up(options: &Options, progress: impl FnMut(&str)) -> Result<Self, Error> {
        let dir = options.state.reserve(&options.name)?;
        let launch = Launch {
            executable: &options.executable,
            stdin: Stdio::null(),
            rootless: !rustix::process::geteuid().is_root(),
        };
        let mut started = launch.start(&options.state, &dir)?;
        started.wait_ready(progress)?;
        Ok(Self { state: options.state.clone(), dir, started: Some(started) })
    }

    /// The running lab of this name.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn open(state: &StateRoot, name: &LabName) -> Result<Self, Error> {
        let (dir, _) = state.running_lab(name)?;
        Ok(Self { state: state.clone(), dir, started: None })
    }

    /// Lets the lab live on when this value, or this process, ends.
    ///
    /// # Errors
    /// If the supervisor is gone.
    pub fn detach(mut self) -> Result<(), Error> {
        self.started.as_mut().map_or(Ok(()), Started::detach)
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &LabName {
        self.dir.name()
    }

    /// Ends the lab and removes every process, namespace, link, mount and file of it.
    ///
    /// # Errors
    /// If a process does not end, or a file cannot be removed.
    pub fn down(mut self) -> Result<(), Error> {
        match &mut self.started {
            Some(started) => started.end(),
            None => down(&self.state, self.dir.name()),
        }
    }
}

/// Ends a lab by name and removes everything of it; the remains of one that died count.
///
/// # Errors
/// [`Error::NotRunning`] if there is none.
pub fn down(state: &StateRoot, name: &LabName) -> Result<(), Error> {
    let dir = state.lab(name);
    match dir.liveness() {
        Liveness::Running(holder) => holder.kill()?,
        Liveness::Stale => {}
        Liveness::Absent | Liveness::Starting => return state.running_lab(name).map(drop),
    }
    state.forget(&dir)
}
