//! A Kubernetes API as a source: finding the server, its verbs, and one stream of what changes.
//!
//! [`Server`] is our own API server, or any other that speaks the Kubernetes API. Objects are JSON
//! documents: what they mean is for others to say. docs/design/client.md has the contract.

mod call;
mod error;
mod follow;
mod followed;
mod kinds;
mod place;
mod table;
mod transport;
mod verbs;

use std::sync::Arc;

use kube::Client;

pub use error::{Cause, Error, Status};
pub use follow::{Event, Follow, Pace, Wanted};
pub use followed::{Followed, followed};
pub use kinds::{ApiKind, Kinds, Served, metadata};
pub use place::{Place, kubeconfig_left};
pub use verbs::{Delete, List, Patch, Select, Write};

/// A Kubernetes API and the right to speak to it; clones are the same.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    client: Client,
    url: String,
}

impl Server {
    /// Finds the server and reads what it takes to speak to it. Nothing is sent yet. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// If no server is named anywhere, or its address or credentials cannot be read.
    pub async fn connect(place: &Place) -> Result<Server, Error> {
        let found = place.find(|name| std::env::var_os(name))?;
        let (client, url) = transport::client(found).await?;
        Ok(Server(Arc::new(Inner { client, url })))
    }

    /// The namespace that the kubeconfig's context names, or `default`.
    pub fn namespace(&self) -> &str {
        self.0.client.default_namespace()
    }

    /// Where it is, as for messages: `https://…`, `http://…` or `unix://…`.
    pub fn url(&self) -> &str {
        &self.0.url
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.0.url).finish()
    }
}
