//! `version`: of this program, and of the cluster by its ClusterInformation.

use serde_json::Value;

use super::args::{self, Cli};
use super::store::Store;
use crate::output::{Failure, text};
use crate::remote::block_on;

/// `version`.
pub(super) fn run(cli: &Cli, args: &args::Version) -> Result<(), Failure> {
    text(format_args!(
        "Client Version:    v{} (Tortie)\nGit commit:        unknown\n",
        env!("CARGO_PKG_VERSION")
    ))?;
    if args.client {
        return Ok(());
    }
    block_on(async {
        let store = Store::look(cli, &args.place).await?;
        let fail = |why: &str| {
            Failure::refused(format!("Unable to retrieve Cluster Version or Type: {why}"))
        };
        let served = store.kind("clusterinformation")?;
        let target = store.place(served, "default", "").map_err(|why| fail(&why.to_string()))?;
        let found = store.get(&target).await.map_err(|why| fail(&why.to_string()))?;
        let said = |pointer: &str| {
            let text =
                found.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.unwrap_or("unknown").to_owned()
        };
        let (version, kind) = (said("/spec/calicoVersion"), said("/spec/clusterType"));
        text(format_args!("Cluster Version:   {version}\nCluster Type:      {kind}\n"))
    })
}
