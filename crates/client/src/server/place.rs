//! Which server: what was said, or what can be found.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Error;

/// The server in the environment.
const SERVER: &str = "TORTIE_SERVER";
/// Kubeconfig files in the environment, separated as in `PATH`.
const KUBECONFIG: &str = "KUBECONFIG";

/// Which server to speak to, as told by flags. Without any: the environment's `TORTIE_SERVER`, then
/// `KUBECONFIG`, then the server that `tortie up` runs on this machine, then that of the cluster we
/// run in.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Place {
    /// The API server: https://…, http://… or unix:///path [env: TORTIE_SERVER]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// The file with the API server and the credentials for it [env: KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// What is known of a server before it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// An address alone.
    Url(String),
    /// Files with an address and credentials; `server` is used instead of their address.
    Kubeconfig { files: Vec<PathBuf>, context: Option<String>, server: Option<String> },
    /// The API server of the cluster around us.
    InCluster,
}

impl Place {
    /// Whether it says anything.
    pub fn is_said(&self) -> bool {
        self.server.is_some() || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Flags win over the environment, and that over what lies about.
    pub(super) fn find(&self, var: impl Fn(&str) -> Option<OsString>) -> Result<Found, Error> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let context = self.context.clone();
        let kubeconfig =
            |files| Found::Kubeconfig { files, context: context.clone(), server: None };
        if let Some(file) = &self.kubeconfig {
            let (files, server) = (vec![file.clone()], self.server.clone());
            return Ok(Found::Kubeconfig { files, context, server });
        }
        if let Some(url) = &self.server {
            return Ok(Found::Url(url.clone()));
        }
        if let Some(url) = var(SERVER) {
            let url = url.into_string().map_err(|url| {
                Error::Place(format!("{SERVER}: `{}` is not UTF-8", url.to_string_lossy()))
            })?;
            return Ok(Found::Url(url));
        }
        if let Some(list) = var(KUBECONFIG) {
            let files = std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty());
            return Ok(kubeconfig(files.collect()));
        }
        let root = rustix::process::geteuid().is_root();
        if let Some(file) = kubeconfig_left(root, var).filter(|file| file.exists()) {
            return Ok(kubeconfig(vec![file]));
        }
        if var("KUBERNETES_SERVICE_HOST").is_some() {
            return Ok(Found::InCluster);
        }
        Err(Error::Place(format!(
            "no API server is named\nhint: start one with `tortie up`, or say --server, --kubeconfig, \
             {SERVER} or {KUBECONFIG}"
        )))
    }
}

/// Where `tortie up` leaves the kubeconfig of the server it runs, unless told otherwise.
pub fn kubeconfig_left(root: bool, var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let directory = if root {
        PathBuf::from("/var/lib")
    } else {
        let home = || var("HOME").map(|home| Path::new(&home).join(".local/state"));
        var("XDG_STATE_HOME").map(PathBuf::from).or_else(home)?
    };
    Some(directory.join("tortie/kubeconfig"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(place: &Place, environment: &[(&str, &str)]) -> Result<Found, Error> {
        place.find(|name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn place(server: &str, kubeconfig: &str) -> Place {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Place {
            server: said(server),
            kubeconfig: said(kubeconfig).map(PathBuf::from),
            context: None,
        }
    }

    fn files(files: &[&str], server: Option<&str>) -> Found {
        let files = files.iter().map(PathBuf::from).collect();
        Found::Kubeconfig { files, context: None, server: server.map(str::to_owned) }
    }

    #[test]
    fn flags_win_over_the_environment() {
        let url = |url: &str| Found::Url(url.to_owned());
        let both = [("TORTIE_SERVER", "http://e"), ("KUBECONFIG", "/a:/b:")];
        let cases = [
            (place("http://f", ""), url("http://f")),
            (place("", "/f"), files(&["/f"], None)),
            (place("http://f", "/f"), files(&["/f"], Some("http://f"))),
            (place("", ""), url("http://e")),
        ];
        for (place, want) in cases {
            assert_eq!(found(&place, &both).unwrap(), want, "{place:?}");
        }
        let found = found(&place("", ""), &[("TORTIE_SERVER", ""), ("KUBECONFIG", "/a:/b:")]);
        assert_eq!(found.unwrap(), files(&["/a", "/b"], None));
    }

    #[test]
    fn the_local_server_is_found_by_its_kubeconfig() {
        let var = |name: &str| (name == "HOME").then(|| OsString::from("/home/x"));
        let left = |root, var: &dyn Fn(&str) -> Option<OsString>| kubeconfig_left(root, var);
        assert_eq!(left(true, &var), Some("/var/lib/tortie/kubeconfig".into()));
        assert_eq!(left(false, &var), Some("/home/x/.local/state/tortie/kubeconfig".into()));
        let var = |name: &str| (name == "XDG_STATE_HOME").then(|| OsString::from("/state"));
        assert_eq!(left(false, &var), Some("/state/tortie/kubeconfig".into()));
        assert_eq!(left(false, &|_: &str| None), None);
    }
}
