//! The datastore, opened; Calico's kinds in it, and what its refusals are called.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;

use serde_json::{Map, Value};
use tortie_client::server::{ApiKind, Delete, Error, Patch, Place, Served, Server, Write};

use super::args::{Cli, Where};
use super::config::{self, Datastore, Kubernetes};
use super::etcd::Local;
use crate::output::Failure;
use crate::remote::{self, Session, name};

/// Calico's API group.
const GROUP: &str = "projectcalico.org";

/// How often a replacement is tried with what is there by then.
const TRIES: usize = 5;

/// The datastore that was chosen.
pub(super) struct Store {
    pub(super) session: Session,
    /// The namespace of the command line.
    pub(super) namespace: Option<String>,
    /// The kind of workload endpoints, which servers need not have.
    pub(super) endpoints: Served,
    /// What the connection needs as long as it is used.
    _needs: Needs,
}

enum Needs {
    Nothing,
    Kubeconfig(#[expect(dead_code, reason = "held for its drop")] File),
    Server(#[expect(dead_code, reason = "held for its drop")] Local),
}

/// Why something was not done, in calicoctl's words.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is there already.
    Exists(String),
    /// It is not there.
    Missing(String, String),
    /// It is no longer what it was.
    Conflict(String),
    /// Everything else.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Exists(what) => write!(f, "resource already exists: {what}"),
            Refusal::Missing(what, why) => {
                write!(f, "resource does not exist: {what} with error: {why}")
            }
            Refusal::Conflict(what) => write!(f, "update conflict: {what}"),
            Refusal::Other(why) => f.write_str(why),
        }
    }
}

/// One resource of the command.
pub(super) struct Target<'s> {
    pub(super) served: &'s Served,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { served, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{}({namespace}/{name})", served.kind.kind),
            None => write!(f, "{}({name})", served.kind.kind),
        }
    }
}

impl Target<'_> {
    /// The server's refusal, about this.
    pub(super) fn refusal(&self, error: &Error) -> Refusal {
        let what = self.to_string();
        match error.code() {
            Some(404) => Refusal::Missing(what, error.to_string()),
            _ if error.is_already_there() => Refusal::Exists(what),
            _ if error.is_conflict() => Refusal::Conflict(what),
            Some(401 | 403) => Refusal::Other(format!("connection is unauthorized: {error}")),
            _ => Refusal::Other(said(error)),
        }
    }
}

/// Every cause that the server gives, or else what it says.
fn said(error: &Error) -> String {
    let causes = error.status().map(|status| status.causes.as_slice()).unwrap_or_default();
    let causes: Vec<String> =
        causes.iter().map(|c| format!("error with field {}: {}", c.field, c.message)).collect();
    if causes.is_empty() { error.to_string() } else { causes.join("; ") }
}

impl Store {
    /// Finds the datastore and connects to it, to write.
    pub(super) async fn open(cli: &Cli, place: &Where) -> Result<Store, Failure> {
        Store::connected(cli, place, true).await
    }

    /// The same for who only reads.
    pub(super) async fn look(cli: &Cli, place: &Where) -> Result<Store, Failure> {
        Store::connected(cli, place, false).await
    }

    async fn connected(cli: &Cli, place: &Where, writes: bool) -> Result<Store, Failure> {
        let variable = |name: &str| std::env::var(name).ok();
        let (server, needs) =
            match config::datastore(&place.config, cli.context.as_deref(), &variable)? {
                Datastore::Kubernetes(kubernetes) => connect(kubernetes).await?,
                Datastore::Etcd(etcd) => {
                    let local = Local::start(&etcd, writes).await?;
                    (local.server().await?, Needs::Server(local))
                }
            };
        let namespace = place.namespace.clone();
        let session =
            Session::with(server, Some(namespace.as_deref().unwrap_or("default"))).await?;
        Ok(Store { session, namespace, endpoints: endpoints(), _needs: needs })
    }

    /// A kind of Calico by what people call it.
    pub(super) fn kind(&self, word: &str) -> Result<&Served, Failure> {
        let served = self.session.calico_kind(word).ok();
        served
            .filter(|served| served.kind.group == GROUP)
            .ok_or_else(|| Failure::refused(format!("resource type '{word}' is not supported")))
    }

    /// What a document is, and where it belongs.
    pub(super) fn target(&self, document: &Value) -> Result<Target<'_>, Refusal> {
        let text =
            |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let served = self.session.kinds.of(document).filter(|served| served.kind.group == GROUP);
        let Some(served) = served else {
            let (kind, version) = (text("/kind"), text("/apiVersion"));
            let why = format!("Unknown resource type ({kind}) and/or version ({version})");
            return Err(Refusal::Other(why));
        };
        self.place(served, named(document)?, text("/metadata/namespace"))
    }

    /// A resource of a kind and name. `own` is the namespace that its document says, or empty.
    pub(super) fn place<'s>(
        &'s self,
        served: &'s Served,
        name: &str,
        own: &str,
    ) -> Result<Target<'s>, Refusal> {
        let (kind, name) = (&served.kind.kind, name.to_owned());
        let asked = self.namespace.as_deref().unwrap_or_default();
        let wrong = |why: String| Err(Refusal::Other(why));
        let namespace = match (served.kind.namespaced, own, asked) {
            (false, "", "") => None,
            (false, "", _) => return wrong(format!("{kind} is not namespaced")),
            (false, ..) => {
                return wrong(format!(
                    "namespace should not be specified for a non-namespaced resource. {kind} is not a \
                     namespaced resource"
                ));
            }
            (true, "", "") => Some("default".to_owned()),
            (true, "", asked) => Some(asked.to_owned()),
            (true, own, "") => Some(own.to_owned()),
            (true, own, asked) if own == asked => Some(own.to_owned()),
            (true, own, asked) => {
                return wrong(format!(
                    "resource namespace does not match client namespace. {own} != {asked}"
                ));
            }
        };
        Ok(Target { served, namespace, name })
    }

    /// A resource.
    pub(super) async fn get(&self, target: &Target<'_>) -> Result<Value, Refusal> {
        let got = self.session.server.get(&target.served.kind, target.namespace(), &target.name);
        got.await.map_err(|error| target.refusal(&error))
    }

    /// Creates a resource. A version of it has no meaning yet.
    pub(super) async fn create(
        &self,
        target: &Target<'_>,
        document: &Value,
    ) -> Result<(), Refusal> {
        let mut document = document.clone();
        metadata(&mut document, |metadata| {
            metadata.remove("resourceVersion");
            metadata.remove("uid");
        });
        let (kind, write) = (&target.served.kind, write());
        let created = self.session.server.create(kind, target.namespace(), &document, &write);
        created.await.map(drop).map_err(|error| target.refusal(&error))
    }

    /// Creates a resource, or replaces it.
    pub(super) async fn apply(&self, target: &Target<'_>, document: &Value) -> Result<(), Refusal> {
        if target.served.kind.kind == "ClusterInformation" {
            let why =
                "operation apply is not supported on ClusterInformation: resource is readonly";
            return Err(Refusal::Other(why.into()));
        }
        match self.create(target, document).await {
            Err(Refusal::Exists(_)) => self.replace(target, document).await,
            created => created,
        }
    }

    /// Replaces a resource. Of its metadata, only labels and annotations are those of the document.
    pub(super) async fn replace(
        &self,
        target: &Target<'_>,
        document: &Value,
    ) -> Result<(), Refusal> {
        let given = revision(document);
        for _ in 0..TRIES {
            let current = self.get(target).await?;
            if let (Some(given), Some(latest)) = (given, revision(&current))
                && given != latest
            {
                return Err(Refusal::Other(format!(
                    "update conflict: {target}: Resource version '{given}' is out of date (latest: \
                     {latest}). Update the resource YAML/JSON in order to make changes."
                )));
            }
            let mut document = document.clone();
            keep_metadata(&mut document, &current);
            let (kind, server) = (&target.served.kind, &self.session.server);
            let replaced =
                server.replace(kind, target.namespace(), &target.name, &document, &write()).await;
            match replaced {
                Err(error) if error.is_conflict() => {}
                replaced => return replaced.map(drop).map_err(|error| target.refusal(&error)),
            }
        }
        Err(Refusal::Conflict(target.to_string()))
    }

    /// Deletes a resource; if a version is named, only that.
    pub(super) async fn delete(
        &self,
        target: &Target<'_>,
        revision: Option<&str>,
    ) -> Result<(), Refusal> {
        let delete = Delete { revision: revision.map(str::to_owned), ..Delete::default() };
        let (kind, server) = (&target.served.kind, &self.session.server);
        let deleted = server.delete(kind, target.namespace(), &target.name, &delete).await;
        deleted.map(drop).map_err(|error| target.refusal(&error))
    }

    /// Changes fields of a resource.
    pub(super) async fn patch(&self, target: &Target<'_>, patch: &Patch) -> Result<Value, Error> {
        let (kind, server) = (&target.served.kind, &self.session.server);
        server.patch(kind, target.namespace(), &target.name, patch, &write()).await
    }
}

impl Target<'_> {
    /// Its namespace, if it has one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

fn endpoints() -> Served {
    let kind = ApiKind {
        group: GROUP.to_owned(),
        version: "v3".to_owned(),
        kind: "WorkloadEndpoint".to_owned(),
        plural: "workloadendpoints".to_owned(),
        namespaced: true,
    };
    Served {
        kind,
        singular: "workloadendpoint".to_owned(),
        short_names: Vec::new(),
        categories: Vec::new(),
        verbs: Vec::new(),
        parts: Vec::new(),
    }
}

fn write() -> Write {
    remote::write(false)
}

/// The name of a document, which must have one.
pub(super) fn named(document: &Value) -> Result<&str, Refusal> {
    let why = match document.pointer("/metadata/name") {
        Some(Value::String(name)) if !name.is_empty() => return Ok(name),
        None | Some(Value::Null | Value::String(_)) => "is required",
        Some(_) => "is not text: put it in quotes",
    };
    Err(Refusal::Other(format!("error with field metadata.name: {why}")))
}

/// The version of a document.
pub(super) fn revision(document: &Value) -> Option<&str> {
    let revision = document.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    revision.filter(|revision| !revision.is_empty())
}

fn metadata(document: &mut Value, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        change(metadata);
    }
}

/// Gives a document the metadata of what it replaces, but for labels and annotations.
fn keep_metadata(document: &mut Value, current: &Value) {
    let mut kept = current.get("metadata").cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let own = document.get("metadata").and_then(|metadata| metadata.get(field)).cloned();
        if let Value::Object(kept) = &mut kept {
            kept.remove(field);
            kept.extend(own.map(|own| (field.to_owned(), own)));
        }
    }
    if let Value::Object(fields) = document {
        fields.insert("metadata".into(), kept);
    }
    debug_assert_eq!(name(document), name(current));
}

async fn connect(kubernetes: Kubernetes) -> Result<(Server, Needs), Failure> {
    let Kubernetes { mut kubeconfig, inline, context } = kubernetes;
    let mut needs = Needs::Nothing;
    if let Some(text) = inline {
        // Without a name: however this ends, no credentials are left behind.
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        kubeconfig = Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
        needs = Needs::Kubeconfig(file);
    }
    let place = Place { server: None, kubeconfig, context };
    let server = Server::connect(&place).await;
    Ok((server.map_err(|error| remote::failure("datastore", &error))?, needs))
}
