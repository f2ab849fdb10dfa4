//! Volumes of Secrets and ConfigMaps as the kubelet makes them: a change is seen whole or not at all.
//!
//! The files lie in a directory of their own, to which `..data` points; the names in the volume
//! point through `..data`. A change writes a new directory and turns that one link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sha1::{Digest, Sha1};

use crate::Error;
use crate::error::At;
use crate::plan::Chosen;

/// The link that is turned.
const DATA: &str = "..data";

/// Contents by key.
type Contents = BTreeMap<String, Vec<u8>>;

/// The files of a volume: content and permission bits by relative path.
type Files<'a> = BTreeMap<&'a str, (&'a [u8], u32)>;

/// Makes the volume show contents, unless it does.
pub(crate) fn publish(volume: &Path, chosen: &Chosen, contents: &Contents) -> Result<(), Error> {
    fs::create_dir_all(volume).at("create", volume)?;
    let files = files(chosen, contents);
    let previous = fs::read_link(volume.join(DATA)).ok();
    let version = format!("..{}", stamp(&files));
    if previous.as_deref() == Some(Path::new(&version)) {
        return Ok(());
    }
    write(&volume.join(&version), &files)?;
    turn(&volume.join(DATA), Path::new(&version))?;
    let tops: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for top in tops {
        let link = volume.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link).at("create", &link)?;
        }
    }
    match previous {
        Some(old) => fs::remove_dir_all(volume.join(&old)).at("remove", volume.join(old)),
        None => Ok(()),
    }
}

/// Names a version by what is in it.
fn stamp(files: &Files<'_>) -> String {
    let mut digest = Sha1::new();
    for (path, (content, mode)) in files {
        digest.update(format!("{path} {mode} {}\n", content.len()));
        digest.update(content);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key without a file, or a file without a key, is left out: whether that may be was decided
/// when the plan was made.
fn files<'a>(chosen: &'a Chosen, secret: &'a Contents) -> Files<'a> {
    let Some(items) = &chosen.items else {
        return secret.iter().map(|(k, v)| (k.as_str(), (v.as_slice(), chosen.mode))).collect();
    };
    let file = |item: &'a crate::plan::Item| {
        let content = secret.get(&item.key)?.as_slice();
        Some((item.path.as_str(), (content, item.mode.unwrap_or(chosen.mode))))
    };
    items.iter().filter_map(file).collect()
}

fn write(dir: &Path, files: &Files<'_>) -> Result<(), Error> {
    for (name, (content, mode)) in files {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).at("create", parent)?;
        fs::write(&path, content).at("write", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).at("change", &path)?;
    }
    // A volume without files still has a directory to point to.
    fs::create_dir_all(dir).at("create", dir)
}

fn turn(link: &Path, target: &Path) -> Result<(), Error> {
    let new = link.with_file_name("..data_new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &new)?,
        _ => {}
    }
    symlink(target, &new).at("create", &new)?;
    fs::rename(&new, link).at("write", link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Item;

    fn secret(value: &str) -> BTreeMap<String, Vec<u8>> {
        [("key.pem", value), ("cert.pem", "c")].map(|(k, v)| (k.into(), v.into())).into()
    }

    fn volume(items: Option<Vec<Item>>) -> Chosen {
        Chosen { name: "s".into(), items, mode: 0o400, optional: false }
    }

    #[test]
    fn a_change_turns_one_link() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("v");
        publish(&dir, &volume(None), &secret("1")).unwrap();
        assert_eq!(fs::read(dir.join("key.pem")).unwrap(), b"1");
        let first = fs::read_link(dir.join("..data")).unwrap();
        publish(&dir, &volume(None), &secret("1")).unwrap();
        assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first, "nothing new");
        publish(&dir, &volume(None), &secret("2")).unwrap();
        let second = fs::read_link(dir.join("..data")).unwrap();
        assert_eq!(fs::read(dir.join("key.pem")).unwrap(), b"2");
        assert_eq!(fs::read_link(dir.join("key.pem")).unwrap(), Path::new("..data/key.pem"));
        let mode = fs::metadata(dir.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        let mut names: Vec<_> =
            fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        let version = second.to_str().unwrap();
        assert_eq!(names.len(), 4, "the old version is gone: {names:?}");
        assert!(names.iter().any(|name| name == version));
    }

    #[test]
    fn chosen_keys_get_their_own_paths_and_modes() {
        let tmp = tempfile::tempdir().unwrap();
        let item = Item { key: "key.pem".into(), path: "tls/k".into(), mode: Some(0o440) };
        publish(tmp.path(), &volume(Some(vec![item])), &secret("1")).unwrap();
        assert_eq!(fs::read(tmp.path().join("tls/k")).unwrap(), b"1");
        assert!(!tmp.path().join("cert.pem").exists());
    }
}
