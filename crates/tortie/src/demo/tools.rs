//! The tutorial's own tools: kubectl, and tortie by the name of calicoctl.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, bail};

/// Runs them against one API server.
pub(super) struct Tools {
    kubectl: PathBuf,
    calicoctl: PathBuf,
    kubeconfig: PathBuf,
}

/// What a tool, or a command that it ran, said.
pub(super) struct Said {
    /// Its exit status; -1 if a signal ended it.
    pub(super) status: i32,
    /// Standard output, trimmed.
    pub(super) out: String,
    /// Standard error.
    pub(super) err: String,
}

impl Tools {
    /// Finds kubectl, and makes a calicoctl in a folder.
    pub(super) fn new(folder: &Path, kubeconfig: PathBuf) -> anyhow::Result<Tools> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let calicoctl = folder.join("calicoctl");
        symlink(&own, &calicoctl).context("cannot make a `calicoctl`")?;
        Ok(Tools { kubectl: kubectl(&own)?, calicoctl, kubeconfig })
    }

    /// Runs kubectl.
    pub(super) fn kubectl(&self, words: &[&str]) -> anyhow::Result<Said> {
        said(self.command(&self.kubectl).args(words))
    }

    /// What kubectl says when it succeeds.
    pub(super) fn kubectl_ok(&self, words: &[&str]) -> anyhow::Result<String> {
        self.kubectl(words)?.ok(&format!("kubectl {}", words.join(" ")))
    }

    /// What calicoctl says when it succeeds.
    pub(super) fn calicoctl_ok(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(&self.calicoctl);
        said(command.args(words))?.ok(&format!("calicoctl {}", words.join(" ")))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("DATASTORE_TYPE", "kubernetes");
        command
    }
}

impl Said {
    /// Standard output, if it succeeded.
    pub(super) fn ok(self, what: &str) -> anyhow::Result<String> {
        if self.status != 0 {
            let first: Vec<&str> = self.err.lines().take(2).collect();
            bail!("{what}: exit status {}: {}", self.status, first.join("; "));
        }
        Ok(self.out)
    }
}

/// Runs a command to its end.
fn said(command: &mut Command) -> anyhow::Result<Said> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run `{name}`"))?;
    Ok(Said {
        status: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).trim().to_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// `$KUBECTL`, the one that was downloaded beside the sources, or that of the PATH.
fn kubectl(own: &Path) -> anyhow::Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("KUBECTL").filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen.into());
    }
    let current = std::env::current_dir().unwrap_or_default();
    let above = own.ancestors().chain(current.ancestors());
    let cached = above.map(|folder| folder.join(".cache/kubectl/kubectl"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).map(|folder| folder.join("kubectl"));
    let all: Vec<PathBuf> = cached.chain(named).collect();
    all.into_iter().find(|file| file.is_file()).context(
        "there is no kubectl: put one on the PATH, set KUBECTL to one, or run \
         `scripts/ensure.sh kubectl`",
    )
}
