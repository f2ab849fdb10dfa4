//! `-f`: resources from files, and the cluster they describe.

use std::path::PathBuf;

use tortie_client::files::{self, FileError, Loaded};
use tortie_policy::Cluster;

use crate::output::{Failure, warn};

/// Where resources come from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Files {
    /// File or folder with resources, `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Files {
    /// The cluster the files describe; warnings go to standard error.
    pub(crate) fn cluster(&self) -> Result<(Loaded, Cluster), Failure> {
        let (loaded, cluster) = self.check()?;
        warn(&loaded.warnings);
        Ok((loaded, cluster))
    }

    /// The cluster as it is enforced, or as it would be with staged policies enforced.
    pub(crate) fn view(&self, staged: bool) -> Result<(Loaded, Cluster), Failure> {
        let (loaded, cluster) = self.cluster()?;
        let cluster = if staged { cluster.pending() } else { cluster };
        Ok((loaded, cluster))
    }

    /// The same, with the errors as data.
    pub(crate) fn check(&self) -> Result<(Loaded, Cluster), Vec<FileError>> {
        check(&self.files, self.recursive)
    }
}

/// The cluster that files describe, or everything wrong with them.
pub(crate) fn check(
    paths: &[PathBuf],
    recursive: bool,
) -> Result<(Loaded, Cluster), Vec<FileError>> {
    let loaded = files::load(paths, recursive)?;
    match Cluster::build(&loaded.resources) {
        Ok(cluster) => Ok((loaded, cluster)),
        Err(invalid) => {
            Err(invalid.into_iter().map(|i| loaded.error(i.resource, i.error)).collect())
        }
    }
}
