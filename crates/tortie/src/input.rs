//! `-f`: resources from files, and the cluster they describe.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tortie_calc::compiled::Snapshot;
use tortie_calc::{Calculation, Key, Update, batch};
use tortie_client::files::{self, FileError, Loaded};
use tortie_client::server::Place;
use tortie_policy::{Cluster, Compat, Engine, Invalid, Trust};

use crate::output::{Failure, warn};
use crate::remote::live;

/// Where resources come from.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Files {
    /// File or folder with resources, `-` for standard input; may be given several times
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    recursive: bool,

    #[command(flatten)]
    chosen: Chosen,
}

/// Which behaviour is chosen, besides what the resources choose.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Chosen {
    /// Points in which Calico's behaviour is chosen, or `calico` for all: see docs/compat.md
    #[arg(long, value_name = "NAME,…")]
    compat: Option<Compat>,
}

impl Chosen {
    /// The cluster that files describe; warnings go to standard error, and what is wrong with
    /// policies that are chosen to vanish.
    pub(crate) fn cluster(
        self,
        paths: &[PathBuf],
        recursive: bool,
    ) -> Result<(Loaded, Cluster), Failure> {
        let (loaded, cluster) = self.read(paths, recursive)?;
        warn(&loaded.warnings);
        warn(&vanished(&loaded, &cluster));
        Ok((loaded, cluster))
    }

    /// The points chosen.
    pub(crate) fn compat(self) -> Compat {
        self.compat.unwrap_or_default()
    }

    fn read(self, paths: &[PathBuf], recursive: bool) -> Result<(Loaded, Cluster), Vec<FileError>> {
        let loaded = files::load(paths, recursive)?;
        let cluster = chosen(&loaded, self.compat())?;
        Ok((loaded, cluster))
    }
}

/// The cluster that resources describe with Calico's behaviour in some points.
pub(crate) fn chosen(loaded: &Loaded, compat: Compat) -> Result<Cluster, Vec<FileError>> {
    let built = Cluster::build_with(&loaded.resources, compat);
    built.map_err(|invalid| errors(loaded, &invalid))
}

fn errors(loaded: &Loaded, invalid: &[Invalid]) -> Vec<FileError> {
    invalid.iter().map(|i| loaded.error(i.resource, i.error.clone())).collect()
}

/// What is wrong with resources that count as absent.
fn vanished(loaded: &Loaded, cluster: &Cluster) -> Vec<FileError> {
    errors(loaded, cluster.invalid())
}

/// Files, or else the state of a server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Source {
    /// File or folder with resources, `-` for standard input; may be given several times. Without
    /// any, the live state of the server is asked
    #[arg(
        short,
        long = "file",
        value_name = "PATH",
        conflicts_with_all = ["server", "kubeconfig", "context"]
    )]
    files: Vec<PathBuf>,

    /// Read folders with everything below them
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,

    #[command(flatten)]
    chosen: Chosen,

    #[command(flatten)]
    place: Place,
}

impl Source {
    /// The cluster as it is enforced, or as it would be with staged policies enforced; warnings go
    /// to standard error.
    pub(crate) fn view(&self, staged: bool) -> Result<Cluster, Failure> {
        let cluster = if self.files.is_empty() {
            live::read(&self.place)?.cluster(self.chosen.compat())
        } else {
            self.chosen.cluster(&self.files, self.recursive)?.1
        };
        Ok(if staged { cluster.pending() } else { cluster })
    }
}

impl Files {
    /// The cluster the files describe; warnings go to standard error.
    pub(crate) fn cluster(&self) -> Result<(Loaded, Cluster), Failure> {
        self.chosen.cluster(&self.files, self.recursive)
    }

    /// The points chosen on the command line.
    pub(crate) fn compat(&self) -> Compat {
        self.chosen.compat()
    }

    /// What the agent of a node is told of the files; of all nodes together, if none is named.
    pub(crate) fn updates(&self, node: Option<&str>) -> Result<Vec<Update>, Failure> {
        let (loaded, cluster) = self.cluster()?;
        let calculation = Calculation::new(node.map(Into::into));
        let mut calculation = calculation.assigning_addresses().with_compat(cluster.compat());
        for resource in &loaded.resources {
            calculation.apply(&Key::of(resource), Some(resource));
        }
        calculation.in_sync();
        let mut updates = Vec::new();
        calculation.flush(&mut updates);
        Ok(updates)
    }

    /// The cluster the files describe, with the errors as data: those of policies that are chosen to
    /// vanish, too.
    pub(crate) fn check(&self) -> Result<(Loaded, Cluster), Vec<FileError>> {
        let (loaded, cluster) = self.chosen.read(&self.files, self.recursive)?;
        match vanished(&loaded, &cluster) {
            errors if errors.is_empty() => Ok((loaded, cluster)),
            errors => Err(errors),
        }
    }
}

/// What is wrong with one document.
pub(crate) fn errors_of(document: Value) -> Vec<String> {
    match tortie_model::decode(document) {
        Err(bad) => bad.iter().flat_map(|bad| &bad.errors).map(ToString::to_string).collect(),
        Ok(resources) => {
            let invalid = Cluster::build(&resources).err().unwrap_or_default();
            invalid.iter().map(|invalid| invalid.error.to_string()).collect()
        }
    }
}

/// Which engine gives verdicts; they are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum EngineName {
    /// That of authorizers: fast
    #[default]
    Compiled,
    /// The definition of policy: slow, and obviously right
    Reference,
}

impl EngineName {
    /// The engine for a cluster, which believes some trust domains.
    pub(crate) fn of(self, cluster: &Cluster, trust: &Trust) -> Box<dyn Engine> {
        if self == EngineName::Reference {
            return Box::new(cluster.clone());
        }
        let mut state = batch(cluster, None);
        if let Some(settings) = &mut state.settings {
            Arc::make_mut(settings).trust = trust.clone();
        }
        Box::new(Snapshot::new(&state))
    }
}
