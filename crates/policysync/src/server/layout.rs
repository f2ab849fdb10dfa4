//! Where the sockets are: the layout of Calico's node agent and of the driver that mounts them into
//! pods.
//!
//! Below the prefix, `creds/<id>.json` says whose socket `mount/<id>/socket` is.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tortie_policy::EndpointId;

/// Whose socket it is: the content of a file in `creds`. Unknown fields are skipped, and the case of
/// letters in names does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Credentials {
    /// Unique id of the pod.
    #[serde(rename = "UID")]
    pub uid: String,
    /// Name of the pod.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// A file that is the pod's network namespace, such as those in `/run/netns`: our own addition,
    /// for pods that have no control group of their own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_namespace: String,
}

/// Why credentials were refused.
#[derive(Debug, thiserror::Error)]
pub enum BadCredentials {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not what it should be.
    #[error("is not a JSON object of names: {0}")]
    Json(#[from] serde_json::Error),
    /// It does not say which pod.
    #[error("names no workload and namespace")]
    Nobody,
}

impl Credentials {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// If it does not say which pod the socket belongs to.
    pub fn parse(content: &[u8]) -> Result<Credentials, BadCredentials> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(content)?;
        let mut credentials = Credentials::default();
        for (key, value) in object {
            let field = match key.to_ascii_lowercase().as_str() {
                "uid" => &mut credentials.uid,
                "workload" => &mut credentials.workload,
                "namespace" => &mut credentials.namespace,
                "serviceaccount" => &mut credentials.service_account,
                "networknamespace" => &mut credentials.network_namespace,
                _ => continue,
            };
            *field = serde_json::from_value(value)?;
        }
        if credentials.workload.is_empty() || credentials.namespace.is_empty() {
            return Err(BadCredentials::Nobody);
        }
        Ok(credentials)
    }

    /// The endpoint whose policy the socket serves.
    pub fn endpoint(&self) -> EndpointId {
        let (namespace, name) = (self.namespace.as_str().into(), self.workload.as_str().into());
        EndpointId { namespace, name }
    }
}

/// The folder of credentials below a prefix.
pub fn credentials_folder(prefix: &Path) -> PathBuf {
    prefix.join("creds")
}

/// The socket of an id below a prefix.
pub fn socket_path(prefix: &Path, id: &str) -> PathBuf {
    prefix.join("mount").join(id).join("socket")
}

/// Tells the agent of a workload, as the driver does that mounts its socket; the socket appears soon
/// after.
///
/// # Errors
/// If a folder or file cannot be written.
pub fn announce(prefix: &Path, id: &str, credentials: &Credentials) -> io::Result<()> {
    let folder = credentials_folder(prefix);
    std::fs::create_dir_all(&folder)?;
    std::fs::create_dir_all(prefix.join("mount").join(id))?;
    let content = serde_json::to_vec(credentials)?;
    let replaced =
        tortie_daemon::file::replace(&folder.join(format!("{id}.json")), &content, 0o600);
    replaced.map_err(|error| error.source)
}

/// Takes that back; the socket goes soon after.
///
/// # Errors
/// If the file is there and cannot be removed.
pub fn withdraw(prefix: &Path, id: &str) -> io::Result<()> {
    match std::fs::remove_file(credentials_folder(prefix).join(format!("{id}.json"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        let text = br#"{"uid":"u","Workload":"p","nameSpace":"n","serviceaccount":"s","x":1}"#;
        let read = Credentials::parse(text).unwrap();
        assert_eq!((read.uid.as_str(), read.service_account.as_str()), ("u", "s"));
        assert_eq!(read.endpoint().to_string(), "n/p");
        let again = Credentials::parse(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }

    #[test]
    fn nobody_is_refused() {
        for text in ["", "[]", "{}", r#"{"Workload":"p"}"#, r#"{"Workload":1,"Namespace":"n"}"#] {
            assert!(Credentials::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
