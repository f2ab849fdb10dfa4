//! The example's manifests, so that the demo needs no checkout.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// Name and text of each.
const FILES: [(&str, &str); 4] = [
    (BANK, include_str!("../../../../../examples/yaobank/10-yaobank.yaml")),
    (ATTACKER, include_str!("../../../../../examples/yaobank/20-attack-pod.yaml")),
    (POLICY, include_str!("../../../../../examples/yaobank/30-policy.yaml")),
    (IMAGES, include_str!("../../../../../examples/yaobank/images.yaml")),
];
/// The bank.
pub(super) const BANK: &str = "10-yaobank.yaml";
/// The attacker's pod.
pub(super) const ATTACKER: &str = "20-attack-pod.yaml";
/// The three policies.
pub(super) const POLICY: &str = "30-policy.yaml";
/// What the lab runs for the images named.
pub(super) const IMAGES: &str = "images.yaml";

/// The manifests in a directory of their own.
pub(super) struct Files(TempDir);

impl Files {
    /// Writes them.
    pub(super) fn write() -> anyhow::Result<Files> {
        let dir = TempDir::with_prefix("tortie-demo-").context("cannot write the manifests")?;
        for (name, text) in FILES {
            std::fs::write(dir.path().join(name), text).context("cannot write the manifests")?;
        }
        Ok(Files(dir))
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Where one is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The same as text.
    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}
