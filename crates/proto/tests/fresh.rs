//! The committed code is what the `.proto` files generate, byte for byte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILES: &[&str] = &[
    "dikastes/healthz.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "felix/policysync.proto",
    "grpc/health/v1/health.proto",
];

/// Generates every package into a scratch folder and reads the files back.
fn generate(protos: &Path) -> BTreeMap<String, String> {
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(FILES, [protos]).unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .client_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"grpc\")]")
        .bytes(".")
        .btree_map(".felix")
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    read_all(out.path())
}

fn read_all(folder: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (file_name(&path), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn replace(folder: &Path, files: &BTreeMap<String, String>) {
    for name in read_all(folder).keys() {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// What describes the messages of Policy Sync to programs, without comments.
fn descriptor(protos: &Path) -> Vec<u8> {
    let mut descriptors = protox::compile(["felix/policysync.proto"], [protos]).unwrap();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    prost::Message::encode_to_vec(&descriptors)
}

/// What describes Kubernetes' kinds, with our options, which `prost_types` does not know.
fn kinds(protos: &Path) -> Vec<u8> {
    let mut compiler = protox::Compiler::new([protos]).unwrap();
    compiler.include_imports(true).include_source_info(false);
    let mut files = Vec::new();
    proto_files(&protos.join("kubernetes"), &mut files);
    files.sort();
    let opened = compiler.open_files(files).unwrap_or_else(|error| panic!("{error:?}"));
    opened.encode_file_descriptor_set()
}

fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { proto_files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_committed_descriptors_are_fresh() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let protos = here.join("../../proto");
    for (file, fresh) in
        [("src/felix.binpb", descriptor(&protos)), ("src/kubernetes.binpb", kinds(&protos))]
    {
        let path = here.join(file);
        if std::env::var_os("TORTIE_REGENERATE").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let is_fresh = std::fs::read(&path).unwrap() == fresh;
        assert!(is_fresh, "{file} is stale: see the crate's documentation");
    }
}

#[test]
fn committed_code_is_fresh() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let committed = here.join("src/generated");
    let fresh = generate(&here.join("../../proto"));
    if std::env::var_os("TORTIE_REGENERATE").is_some() {
        replace(&committed, &fresh);
    }
    let old = read_all(&committed);
    assert_eq!(old.keys().collect::<Vec<_>>(), fresh.keys().collect::<Vec<_>>());
    for (name, text) in &fresh {
        assert!(old.get(name) == Some(text), "{name} is stale: see the crate's documentation");
    }
}
