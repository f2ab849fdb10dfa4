//! What calicoctl is told on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use super::config::DEFAULT_FILE;
use crate::commands::patch::Sort;
use crate::output::Failure;

/// Manages Calico's resources.
#[derive(Debug, clap::Parser)]
#[command(name = "calicoctl", version, propagate_version = true)]
pub(crate) struct Calicoctl {
    #[command(flatten)]
    pub(crate) cli: Cli,
}

const EXAMPLES: &str = "Examples:
  calicoctl create -f policy.yaml
  calicoctl get globalnetworkpolicies -o yaml
  calicoctl patch felixconfiguration default --patch '{\"spec\": {\"policySyncPathPrefix\": \"/var/run/nodeagent\"}}'
  DATASTORE_TYPE=etcdv3 ETCD_ENDPOINTS=http://127.0.0.1:2379 calicoctl get tiers

Which datastore is meant is said by the file of --config or else by the environment: DATASTORE_TYPE,
KUBECONFIG, ETCD_ENDPOINTS, ETCD_KEY_FILE, ETCD_CERT_FILE, ETCD_CA_CERT_FILE, ETCD_USERNAME, ETCD_PASSWORD.

Exit status: 0 done; 1 not; 2 not part of Tortie";

/// The commands of calicoctl.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Taken for calicoctl's sake: versions are not compared
    #[arg(long, global = true)]
    pub(crate) allow_version_mismatch: bool,

    /// Taken for calicoctl's sake: there is no log
    #[arg(short, long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// One command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create resources that are not there
    Create(Create),
    /// Create resources, or replace those that are there
    Apply(FileArgs),
    /// Replace resources that are there
    Replace(FileArgs),
    /// Delete resources, by name or file
    Delete(Delete),
    /// Show resources
    Get(Get),
    /// Change fields of a resource
    Patch(Patch),
    /// Set or remove a label of a resource
    Label(Label),
    /// Check files without storing anything
    Validate(FileArgs),
    /// Show the versions of this program and of the cluster
    Version(Version),
    #[command(flatten)]
    Absent(Absent),
}

/// Verbs of Calico's that Tortie does not have.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Absent {
    /// Not part of Tortie
    #[command(disable_help_flag = true)]
    Ipam(Rest),
    /// Not part of Tortie
    #[command(disable_help_flag = true)]
    Node(Rest),
    /// Not part of Tortie
    #[command(disable_help_flag = true)]
    Datastore(Rest),
    /// Not part of Tortie
    #[command(disable_help_flag = true)]
    Cluster(Rest),
    /// Not part of Tortie
    #[command(disable_help_flag = true)]
    Convert(Rest),
}

impl Absent {
    /// The verb, and what there is instead.
    fn instead(&self) -> (&'static str, &'static str) {
        match self {
            Absent::Ipam(_) => (
                "ipam",
                "Tortie assigns no addresses: whoever makes a pod does; `get wep` shows them",
            ),
            Absent::Node(_) => (
                "node",
                "a node's part is `tortie agent`; `tortie nft` prints what it has a kernel enforce",
            ),
            Absent::Datastore(_) => (
                "datastore",
                "`get KIND -A -o yaml` of one and `apply -f -` to the other move resources",
            ),
            Absent::Cluster(_) => (
                "cluster",
                "`tortie get` and `tortie explain` show how things are, agents have metrics",
            ),
            Absent::Convert(_) => (
                "convert",
                "resources of projectcalico.org/v3 are read as they are: see `tortie validate`",
            ),
        }
    }

    /// The refusal.
    pub(crate) fn refused(&self) -> Failure {
        let (verb, instead) = self.instead();
        Failure::invalid(format!("`calicoctl {verb}` is not part of Tortie")).hint(instead)
    }
}

/// Whatever comes after.
#[derive(Debug, clap::Args)]
pub(crate) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

/// Which datastore and namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct Where {
    /// File that says where the datastore is, as YAML or JSON
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(crate) config: PathBuf,

    /// Namespace, of resources that have one [default: default]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// Resources in files.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// File or folder with resources, `-` for standard input; may be given several times
    #[arg(short, long, value_name = "PATH", required = true)]
    pub(crate) filename: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) how: HowToRead,

    #[command(flatten)]
    pub(crate) place: Where,
}

/// How files are read.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct HowToRead {
    /// Read folders with everything below them
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,

    /// Files without resources are no error
    #[arg(long)]
    pub(crate) skip_empty: bool,
}

/// Arguments of `create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) files: FileArgs,

    /// Resources that are there already count as created
    #[arg(long)]
    pub(crate) skip_exists: bool,
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Resources that are not there count as deleted
    #[arg(short, long)]
    pub(crate) skip_not_exists: bool,
}

/// Resources by name, or in files.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Kind
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    pub(crate) kind: Option<String>,

    /// Names
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// File or folder with resources, `-` for standard input; may be given several times
    #[arg(short, long, value_name = "PATH")]
    pub(crate) filename: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) how: HowToRead,

    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    #[command(flatten)]
    pub(crate) which: Which,

    /// yaml, json, ps, wide, name or custom-columns=…
    #[arg(short, long, value_name = "SHAPE", default_value = "ps")]
    pub(crate) output: String,

    /// Those of all namespaces
    #[arg(short = 'A', short_alias = 'a', long)]
    pub(crate) all_namespaces: bool,

    /// Without what belongs to this cluster, if names are given
    #[arg(long)]
    pub(crate) export: bool,
}

/// Arguments of `patch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Patch {
    /// Kind
    pub(crate) kind: String,

    /// Name
    pub(crate) name: String,

    /// The patch, as JSON or YAML
    #[arg(short, long)]
    pub(crate) patch: String,

    /// What sort of patch it is
    #[arg(short = 't', long = "type", value_enum, default_value = "strategic")]
    pub(crate) sort: Sort,

    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Label {
    /// Kind
    pub(crate) kind: String,

    /// Name
    pub(crate) name: String,

    /// KEY=VALUE, or KEY with --remove
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) label: String,

    /// Replace another value
    #[arg(long, conflicts_with = "remove")]
    pub(crate) overwrite: bool,

    /// Remove the label
    #[arg(long)]
    pub(crate) remove: bool,

    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Print only this program's version
    #[arg(long)]
    pub(crate) client: bool,

    #[command(flatten)]
    pub(crate) place: Where,
}
