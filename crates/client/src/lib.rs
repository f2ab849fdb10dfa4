//! Where resources come from: files, and the Kubernetes API.

pub mod files;
#[cfg(feature = "server")]
pub mod server;
mod watch;
mod yaml;

pub use watch::Watch;

/// One document of JSON or YAML from elsewhere, such as the body of a request, read within the limits
/// that hold for files.
///
/// # Errors
/// If it cannot be read, or there are none or several: the reason, with the line if it is known.
pub fn document(text: &[u8]) -> Result<serde_json::Value, String> {
    let mut documents =
        yaml::documents("body.yaml", text).map_err(|problem| match problem.line {
            Some(line) => format!("line {line}: {}", problem.reason),
            None => problem.reason,
        })?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        (None, _) => Err("no document".to_owned()),
        (Some(_), false) => Err("more than one document".to_owned()),
    }
}
