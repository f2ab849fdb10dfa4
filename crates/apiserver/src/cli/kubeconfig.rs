//! Kubeconfigs, as JSON, which is YAML.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::tls::Identity;

/// What a client shows.
#[derive(Debug, Clone)]
pub enum Proof {
    /// Nothing: who connects is enough.
    None,
    /// A bearer token.
    Token(String),
    /// A certificate.
    Certificate(Identity),
}

/// How a client comes to a server, and as whom.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    /// The server's address.
    cluster: Value,
}

impl Kubeconfig {
    /// For a server at a URL. `root` is the authority to trust, as PEM; without it, the client's own
    /// authorities are. `name` is what the server's certificate calls it, if that is not the URL's host.
    pub fn new(url: &str, root: Option<&str>, name: Option<&str>) -> Kubeconfig {
        let mut cluster = json!({"server": url});
        if let Some(root) = root {
            crate::object::map(&mut cluster)
                .insert("certificate-authority-data".into(), STANDARD.encode(root).into());
        }
        if let Some(name) = name {
            crate::object::map(&mut cluster).insert("tls-server-name".into(), name.into());
        }
        Kubeconfig { cluster }
    }

    /// The server that another kubeconfig, which we wrote, leads to.
    pub fn like(text: &str) -> Option<Kubeconfig> {
        let config: Value = serde_json::from_str(text).ok()?;
        Some(Kubeconfig { cluster: config.pointer("/clusters/0/cluster")?.clone() })
    }

    /// The file for one user.
    pub fn of(&self, user: &str, proof: &Proof) -> String {
        let shown = match proof {
            Proof::None => json!({}),
            Proof::Token(token) => json!({"token": token}),
            Proof::Certificate(Identity { certificate, key }) => json!({
                "client-certificate-data": STANDARD.encode(certificate),
                "client-key-data": STANDARD.encode(key),
            }),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tortie",
            "clusters": [{"name": "tortie", "cluster": self.cluster}],
            "contexts": [{"name": "tortie", "context": {"cluster": "tortie", "user": user}}],
            "users": [{"name": user, "user": shown}],
        });
        format!("{config:#}\n")
    }
}
