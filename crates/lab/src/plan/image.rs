//! Which local command stands for a container image.
//!
//! An image map is a document of kind `ImageMap` (`tortie.dev/v1`), in a file of its own or among
//! the manifests:
//!
//! ```yaml
//! apiVersion: tortie.dev/v1
//! kind: ImageMap
//! metadata: {name: yaobank}
//! images:
//! - image: quay.io/coreos/etcd        # with or without a tag; `*` stands for anything
//!   command: [etcd]                   # the image's entry point
//!   args: [--enable-v2]               # and its default arguments
//!   env: [{name: ETCD_NAME, value: database}]
//! ```
//!
//! The first entry that fits an image is taken.

use serde::Deserialize;
use tortie_model::{EnvVar, FieldError, Resource};

/// The word that stands for the directory of Tortie's own executable.
const BIN_DIR: &str = "${TORTIE_BIN_DIR}";

/// What runs in place of an image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Image {
    /// The images it stands for.
    image: String,
    /// Entry point.
    pub(crate) command: Vec<String>,
    /// Default arguments.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Environment, which the container's own overrides.
    #[serde(default)]
    pub(crate) env: Vec<EnvVar>,
}

/// All image maps given, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ImageMap {
    images: Vec<Image>,
}

impl ImageMap {
    /// Whether a resource is an image map.
    pub(crate) fn is_one(resource: &Resource) -> bool {
        resource.group() == "tortie.dev" && resource.kind == "ImageMap"
    }

    /// Adds the entries of a document. `bin_dir` replaces `${TORTIE_BIN_DIR}` in commands.
    pub(crate) fn add(&mut self, map: &Resource, bin_dir: &str) -> Result<(), FieldError> {
        let images = map.raw.get("images").cloned().unwrap_or_default();
        let images: Vec<Image> = serde_json::from_value(images)
            .map_err(|error| FieldError::new("images", error.to_string()))?;
        for (index, mut image) in images.into_iter().enumerate() {
            let field = |name: &str| format!("images[{index}].{name}");
            if image.image.is_empty() {
                return Err(FieldError::new(field("image"), "is required"));
            }
            if image.command.is_empty() {
                return Err(FieldError::new(field("command"), "is required"));
            }
            for word in image.command.iter_mut().chain(&mut image.args) {
                *word = word.replace(BIN_DIR, bin_dir);
            }
            self.images.push(image);
        }
        Ok(())
    }

    /// The entry for an image.
    pub(crate) fn find(&self, image: &str) -> Option<&Image> {
        self.images.iter().find(|entry| fits(&entry.image, image))
    }

    /// The images there are entries for, to show when none fits.
    pub(crate) fn known(&self) -> Vec<&str> {
        self.images.iter().map(|entry| entry.image.as_str()).collect()
    }
}

/// A pattern without a tag or digest fits every one of them.
fn fits(pattern: &str, image: &str) -> bool {
    glob(pattern.as_bytes(), image.as_bytes())
        || (repository(pattern) == pattern
            && glob(pattern.as_bytes(), repository(image).as_bytes()))
}

/// The image without tag and digest. A colon before the last slash belongs to a registry's port.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// `*` stands for any text, slashes included.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => {
            (0..=text.len()).any(|skip| text.get(skip..).is_some_and(|text| glob(rest, text)))
        }
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(b, text)| b == byte && glob(rest, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, image, want) in [
            ("etcd", "etcd", true),
            ("etcd", "etcd:3.4", true),
            ("etcd", "etcd@sha256:00", true),
            ("etcd:3.4", "etcd:3.4", true),
            ("etcd:3.4", "etcd:3.5", false),
            ("etcd:3.*", "etcd:3.5", true),
            ("etcd", "quay.io/coreos/etcd", false),
            ("*/etcd", "quay.io/coreos/etcd:v3", true),
            ("localhost:5000/x", "localhost:5000/x:1", true),
            ("localhost:5000/x", "localhost:5001/x:1", false),
            ("*", "anything/at:all", true),
        ] {
            assert_eq!(fits(pattern, image), want, "{pattern} {image}");
        }
    }

    fn map(text: &str) -> Result<ImageMap, FieldError> {
        let raw = serde_json::from_str(text).unwrap();
        let resource = tortie_model::decode(raw).unwrap().remove(0);
        assert!(ImageMap::is_one(&resource));
        let mut map = ImageMap::default();
        map.add(&resource, "/opt/bin").map(|()| map)
    }

    #[test]
    fn first_entry_wins_and_the_bin_dir_is_filled_in() {
        let map = map(r#"{"apiVersion": "tortie.dev/v1", "kind": "ImageMap",
            "metadata": {"name": "m"}, "images": [
            {"image": "a:1", "command": ["${TORTIE_BIN_DIR}/a"]},
            {"image": "*", "command": ["b"], "args": ["--dir=${TORTIE_BIN_DIR}"]}]}"#)
        .unwrap();
        assert_eq!(map.find("a:1").unwrap().command, ["/opt/bin/a"]);
        assert_eq!(map.find("a:2").unwrap().args, ["--dir=/opt/bin"]);
        assert_eq!(map.known(), ["a:1", "*"]);
    }

    #[test]
    fn mistakes_are_named() {
        let document = |images: &str| {
            format!(
                r#"{{"apiVersion": "tortie.dev/v1", "kind": "ImageMap",
                    "metadata": {{"name": "m"}}, "images": {images}}}"#
            )
        };
        for (images, want) in [
            (r#"[{"image": "a"}]"#, "missing field `command`"),
            (r#"[{"image": "a", "command": []}]"#, "images[0].command"),
            (r#"[{"image": "", "command": ["x"]}]"#, "images[0].image"),
            (r#"[{"image": "a", "comand": ["x"]}]"#, "unknown field `comand`"),
            (r#"{}"#, "expected a sequence"),
        ] {
            let error = map(&document(images)).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
