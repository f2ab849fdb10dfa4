//! API servers, and what is written to them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tortie_apiserver::{Door, Options};
use tortie_calc::State;
use tortie_client::server::{ApiKind, Delete, Error, Kinds, Patch, Place, Server, Write};
use tortie_daemon::shutdown::{self, Trigger};
use tortie_store::{Engine, Local};

/// Ten times what anything here should take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until something is so.
pub(crate) async fn soon<T>(what: &str, is: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = is().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A document: kind with its group, namespace (empty for none), name, and what it has besides.
pub(crate) type Document = (&'static str, &'static str, &'static str, fn() -> Value);

pub(crate) fn allow(selector: &str, source: &str, port: u32) -> Value {
    let source = json!({"selector": source});
    let rule = json!({
        "action": "Allow", "protocol": "TCP", "source": source, "destination": {"ports": [port]},
    });
    json!({"spec": {"selector": selector, "types": ["Ingress"], "ingress": [rule]}})
}

pub(crate) fn pod(app: &str, address: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"nodeName": "here", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}

const CALICO: &str = "networkpolicy.projectcalico.org";

pub(crate) const FIRST: &[Document] = &[
    ("pod", "default", "server", || pod("server", "10.65.0.2")),
    ("pod", "default", "client", || pod("client", "10.65.0.3")),
    ("pod", "default", "gone", || pod("client", "10.65.0.4")),
    (
        "globalnetworkset",
        "",
        "outside",
        || json!({"metadata": {"labels": {"net": "outside"}}, "spec": {"nets": ["192.0.2.0/24"]}}),
    ),
    (CALICO, "default", "admits", || allow("app == 'server'", "app == 'client'", 80)),
    ("globalnetworkpolicy", "", "outside", || allow("all()", "net == 'outside'", 443)),
    ("tier", "", "security", || json!({"spec": {"order": 100, "defaultAction": "Pass"}})),
    ("globalnetworkpolicy", "", "strict", || {
        let mut policy = allow("app == 'server'", "net == 'outside'", 22);
        policy["spec"]["tier"] = "security".into();
        policy
    }),
];

/// Shares hardly anything with the first, but for the pod that is looked at.
pub(crate) const SECOND: &[Document] = &[
    ("pod", "default", "server", || pod("server", "10.65.0.9")),
    ("pod", "default", "other", || pod("client", "10.65.0.4")),
    (
        "globalnetworkset",
        "",
        "inside",
        || json!({"metadata": {"labels": {"net": "inside"}}, "spec": {"nets": ["198.51.100.0/24"]}}),
    ),
    ("networkpolicy.networking.k8s.io", "default", "admits", || {
        let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
        json!({"spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": from, "ports": [{"protocol": "TCP", "port": 81}]}],
        }})
    }),
    ("globalnetworkpolicy", "", "inside", || allow("all()", "net == 'inside'", 8443)),
];

/// A policy for the server, on a port.
pub(crate) fn policy(name: &str, port: u32) -> Value {
    let mut document = allow("app == 'server'", "app == 'client'", port);
    document["apiVersion"] = "projectcalico.org/v3".into();
    document["kind"] = "NetworkPolicy".into();
    document["metadata"] = json!({"namespace": "default", "name": name});
    document
}

/// Who writes to an API server.
pub(crate) struct Client {
    pub(crate) server: Server,
    kinds: Kinds,
}

impl Client {
    /// Nothing if the server cannot be reached.
    pub(crate) async fn connect(url: &str) -> Option<Client> {
        let place = Place { server: Some(url.to_owned()), ..Place::default() };
        let server = Server::connect(&place).await.unwrap();
        let kinds = server.kinds().await.ok()?;
        Some(Client { server, kinds })
    }

    /// Whether the server had a kind when this was connected.
    pub(crate) fn find(&self, name: &str) -> bool {
        self.kinds.find(name).is_some()
    }

    fn kind(&self, name: &str) -> ApiKind {
        self.kinds.find(name).unwrap_or_else(|| panic!("no {name}")).kind.clone()
    }

    /// Removes what there was, in favour of something else.
    pub(crate) async fn replace(&self, old: &[Document], new: &[Document]) {
        for (kind, namespace, name, _) in old.iter().rev() {
            self.delete(kind, namespace, name).await;
        }
        for document in new {
            self.apply(&self.whole(document)).await;
        }
    }

    /// As it is written.
    pub(crate) fn whole(&self, (kind, namespace, name, rest): &Document) -> Value {
        let kind = self.kind(kind);
        let mut document = rest();
        document["apiVersion"] = kind.api_version().into();
        document["kind"] = kind.kind.clone().into();
        document["metadata"]["name"] = (*name).into();
        if kind.namespaced {
            document["metadata"]["namespace"] = (*namespace).into();
        }
        document
    }

    pub(crate) async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let kind = self.kind(kind);
        let done = self.server.delete(&kind, Some(namespace), name, &Delete::default()).await;
        done.unwrap();
    }

    pub(crate) async fn apply(&self, document: &Value) {
        self.try_apply(document).await.unwrap();
    }

    pub(crate) async fn try_apply(&self, document: &Value) -> Result<(), Error> {
        let kind = self.kinds.of(document).unwrap().kind.clone();
        let metadata = &document["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
        let write = Write { manager: Some("test".to_owned()), ..Write::default() };
        let patch = Patch::Apply { document: document.clone(), force: true };
        self.server.patch(&kind, namespace, name.unwrap(), &patch, &write).await?;
        if let Some(status) = document.get("status") {
            let write = Write { part: Some("status".to_owned()), ..Write::default() };
            let patch = Patch::Merge(json!({"status": status}));
            self.server.patch(&kind, namespace, name.unwrap(), &patch, &write).await?;
        }
        Ok(())
    }
}

/// An API server, with an empty store in memory.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    client: Client,
    _trigger: Trigger,
}

impl Api {
    pub(crate) async fn new(documents: &[Document]) -> Api {
        let store = Local::in_memory(tortie_store::Options::default()).await.unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (trigger, drain) = shutdown::drain();
        let doors = [Door::Open(any)];
        let api = tortie_apiserver::Server::start(doors, Engine::Local(store), Options::default());
        let api = api.await.unwrap();
        let address = api.address().unwrap();
        tokio::spawn(api.serve(drain));
        let client = Client::connect(&format!("http://{address}")).await.unwrap();
        client.replace(&[], documents).await;
        Api { address, client, _trigger: trigger }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Deref for Api {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A state as text: equal for equal states. The revision is left out, which is when, not what.
pub(crate) fn digest(state: &State) -> String {
    let mut lines = Vec::new();
    for (id, set) in &state.sets {
        let mut members: Vec<_> = set.members.iter().collect();
        members.sort_unstable();
        lines.push(format!("set {id:?} {:?} {members:?} {}", set.kind, set.incomplete));
    }
    lines.extend(state.policies.iter().map(|(id, policy)| format!("policy {id:?} {policy:?}")));
    lines.extend(state.profiles.iter().map(|(id, profile)| format!("profile {id} {profile:?}")));
    lines.extend(
        state.endpoints.iter().map(|(id, endpoint)| format!("endpoint {id:?} {endpoint:?}")),
    );
    lines.extend(state.accounts.iter().map(|(id, labels)| format!("account {id:?} {labels:?}")));
    lines.extend(state.namespaces.iter().map(|(id, labels)| format!("namespace {id} {labels:?}")));
    lines.sort_unstable();
    lines.join("\n")
}
