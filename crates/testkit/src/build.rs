//! From YAML in a test to what it describes.

use anyhow::anyhow;
use tortie_client::files;
use tortie_model::Resource;
use tortie_policy::Cluster;

/// The resources of a text in YAML.
///
/// # Errors
/// Everything wrong with the text.
pub fn resources(yaml: &str) -> anyhow::Result<Vec<Resource>> {
    let loaded = files::load_text("test.yaml", yaml.as_bytes());
    loaded.map(|loaded| loaded.resources).map_err(|errors| anyhow!("{errors:#?}"))
}

/// The cluster that a text in YAML describes.
///
/// # Errors
/// Everything wrong with the text and its resources.
pub fn cluster(yaml: &str) -> anyhow::Result<Cluster> {
    Cluster::build(&resources(yaml)?).map_err(|invalid| anyhow!("{invalid:#?}"))
}
