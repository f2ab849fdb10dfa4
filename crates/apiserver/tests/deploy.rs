//! The manifests in `deploy/` for others are accepted by our own server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod common;

use std::fs;
use std::path::Path;

use tortie_client::server::{Patch, Place, Server, Write};

use common::Cluster;

#[test]
fn our_server_accepts_what_is_for_others() {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Some(format!("http://{}", cluster.address));
        let server = Server::connect(&Place { server, ..Place::default() }).await.unwrap();
        let kinds = server.kinds().await.unwrap();
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        let mut accepted = 0;
        for folder in ["crds", "kubernetes"] {
            for entry in fs::read_dir(deploy.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_none_or(|extension| extension != "yaml") {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                for text in text.split("\n---\n") {
                    let document = tortie_client::document(text.as_bytes()).unwrap();
                    let kind = kinds.of(&document).unwrap_or_else(|| panic!("{document}"));
                    let text = |pointer| document.pointer(pointer).and_then(|t| t.as_str());
                    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
                    let write = Write {
                        manager: Some("test".to_owned()),
                        validation: Some("Strict".to_owned()),
                        ..Write::default()
                    };
                    let patch = Patch::Apply { document: document.clone(), force: false };
                    let name = name.unwrap();
                    let done = server.patch(&kind.kind, namespace, name, &patch, &write).await;
                    done.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    accepted += 1;
                }
            }
        }
        assert!(accepted > 15, "{accepted} documents");
    });
}
