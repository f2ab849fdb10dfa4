//! Commands against a server: the connection, which kind a word means, and what refusals come to.

pub(crate) mod change;
pub(crate) mod live;
pub(crate) mod manifest;
pub(crate) mod words;

use std::fmt::Display;

use serde_json::Value;
use tortie_client::server::{ApiKind, Error, Kinds, Place, Served, Server, Write};

use crate::output::{Failure, remark};

/// In whose name Tortie writes.
pub(crate) const MANAGER: &str = "tortie";

/// Which server and which namespace, as every command against a server is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Whereabouts {
    #[command(flatten)]
    pub(crate) place: Place,

    /// Namespace, instead of that of the kubeconfig's context or `default`
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// A server, and what it can do.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: Server,
    pub(crate) kinds: Kinds,
    /// Where objects are that do not say in which namespace they are.
    pub(crate) namespace: String,
    /// Whether the command line says so.
    pub(crate) insists: bool,
}

/// Runs a command that talks to a server.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime?;
    let result = runtime.block_on(command);
    // Whoever still waits for a server waits in vain.
    runtime.shutdown_background();
    result
}

impl Whereabouts {
    /// Connects, and asks which kinds there are.
    pub(crate) async fn open(&self) -> Result<Session, Failure> {
        Session::open(&self.place, self.namespace.as_deref()).await
    }
}

impl Session {
    /// Connects, and asks which kinds there are.
    pub(crate) async fn open(place: &Place, namespace: Option<&str>) -> Result<Session, Failure> {
        let server = Server::connect(place).await.map_err(|error| failure("server", &error))?;
        Session::with(server, namespace).await
    }

    /// Asks a server which kinds there are.
    pub(crate) async fn with(server: Server, namespace: Option<&str>) -> Result<Session, Failure> {
        let kinds = server.kinds().await.map_err(|error| failure("server", &error))?;
        // An empty one is none, as for kubectl.
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let insists = namespace.is_some();
        let namespace = namespace.unwrap_or(server.namespace()).to_owned();
        Ok(Session { server, kinds, namespace, insists })
    }

    /// The kind that a word means. If several could be meant, standard error tells which one is taken.
    pub(crate) fn kind(&self, word: &str) -> Result<&Served, Failure> {
        if let Some(found) = self.kinds.find(word) {
            self.tell_if_ambiguous(word, found);
            return Ok(found);
        }
        let calico = crate::calicoctl::kinds::find(word);
        let calico = calico.map(|known| format!("{}.projectcalico.org", known.plural()));
        calico.and_then(|name| self.kinds.find(&name)).ok_or_else(|| self.no_kind(word))
    }

    /// The kind that a word means among Calico's, else among all.
    pub(crate) fn calico_kind(&self, word: &str) -> Result<&Served, Failure> {
        let known = crate::calicoctl::kinds::find(word).map_or(word, |known| known.plural());
        self.kinds
            .find(&format!("{known}.projectcalico.org"))
            .or_else(|| self.kinds.find(known))
            .ok_or_else(|| self.no_kind(word))
    }

    /// The kind of a document.
    pub(crate) fn kind_of(&self, document: &Value) -> Result<&Served, Failure> {
        self.kinds.of(document).ok_or_else(|| {
            let text =
                |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
            let (version, kind) = (text("apiVersion"), text("kind"));
            let failure = format!("the server has no kind `{kind}` in `{version}`");
            Failure::invalid(failure).hint("create its CustomResourceDefinition first")
        })
    }

    fn no_kind(&self, word: &str) -> Failure {
        let failure = Failure::invalid(format!("the server has no kind `{word}`"));
        let names: Vec<&str> =
            self.kinds.iter().map(|served| served.kind.plural.as_str()).collect();
        match tortie_model::nearest(&word.to_lowercase(), &names) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("say a kind by its name, plural or short name, such as `gnp`"),
        }
    }

    fn tell_if_ambiguous(&self, word: &str, found: &Served) {
        let word = word.to_lowercase();
        let called = |served: &&Served| {
            let ApiKind { kind, plural, .. } = &served.kind;
            [&kind.to_lowercase(), plural, &served.singular].contains(&&word)
        };
        let others = self.kinds.iter().filter(called).map(|served| &served.kind);
        let mut groups: Vec<&str> =
            others.map(|kind| kind.group.as_str()).filter(|g| *g != found.kind.group).collect();
        groups.dedup();
        if !groups.is_empty() {
            let (group, others) = (&found.kind.group, groups.join(", "));
            let other = groups.first().copied().unwrap_or_default();
            remark(format_args!(
                "note: `{word}` is that of {group}; for that of {others} say `{word}.{other}`"
            ));
        }
    }

    /// The namespace to look into for a kind; none for those of the cluster.
    pub(crate) fn scope<'s>(&'s self, kind: &ApiKind, all: bool) -> Option<&'s str> {
        (kind.namespaced && !all).then_some(self.namespace.as_str())
    }

    /// The namespace of a document. One that the command line names must not be another one.
    pub(crate) fn namespace_of(
        &self,
        kind: &ApiKind,
        document: &Value,
    ) -> Result<Option<String>, Failure> {
        let given = document.pointer("/metadata/namespace").and_then(Value::as_str);
        match given.filter(|given| kind.namespaced && !given.is_empty()) {
            _ if !kind.namespaced => Ok(None),
            Some(given) if self.insists && given != self.namespace => {
                let asked = &self.namespace;
                Err(Failure::invalid(format!(
                    "metadata.namespace: is `{given}`, but the command line says `{asked}`"
                )))
            }
            Some(given) => Ok(Some(given.to_owned())),
            None => Ok(Some(self.namespace.clone())),
        }
    }
}

/// How a change is written.
pub(crate) fn write(dry_run: bool) -> Write {
    Write {
        dry_run,
        manager: Some(MANAGER.to_owned()),
        validation: Some("Strict".to_owned()),
        part: None,
    }
}

/// `globalnetworkpolicy.projectcalico.org/web`, as kubectl names objects.
pub(crate) fn reference(served: &Served, name: &str) -> String {
    format!("{}/{name}", resource(served))
}

/// `globalnetworkpolicy.projectcalico.org`.
pub(crate) fn resource(served: &Served) -> String {
    let singular = match served.singular.as_str() {
        "" => served.kind.kind.to_lowercase(),
        singular => singular.to_owned(),
    };
    match served.kind.group.as_str() {
        "" => singular,
        group => format!("{singular}.{group}"),
    }
}

/// The name of a document.
pub(crate) fn name(document: &Value) -> &str {
    document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// What an error of the server comes to: each cause on a line of its own, with a hint what to do.
pub(crate) fn failure(place: impl Display, error: &Error) -> Failure {
    let Some(status) = error.status() else { return unanswered(error) };
    let exit: fn(String) -> Failure = match status.code {
        400 | 405 | 406 | 413 | 415 | 422 => Failure::invalid,
        401..=499 if status.code != 408 && status.code != 429 => Failure::refused,
        _ => Failure::unreachable,
    };
    let told: Vec<String> = match status.causes.as_slice() {
        [] => vec![status.to_string()],
        causes => causes
            .iter()
            .map(|cause| match cause.field.as_str() {
                "" | "<nil>" => cause.message.clone(),
                field => format!("{field}: {}", cause.message),
            })
            .collect(),
    };
    let failures = told.into_iter().map(|why| exit(format!("{place}: {why}")));
    let failure = failures.reduce(Failure::and).unwrap_or_else(|| exit(place.to_string()));
    match hint(error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// There is no server, or it gave no answer that means anything.
fn unanswered(error: &Error) -> Failure {
    match error {
        Error::Place(_) | Error::Name(_) => Failure::invalid(error),
        Error::Unreachable { reason, .. } if reason.contains("UnknownIssuer") => {
            Failure::unreachable(error).hint(
                "only the server's own kubeconfig says who signed its certificate: name it by \
                 --kubeconfig",
            )
        }
        Error::Unreachable { .. } => Failure::unreachable(error)
            .hint("`tortie up` starts a server; KUBECONFIG says where another is"),
        _ => Failure::unreachable(error),
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    match error.code()? {
        401 => Some("the server does not know you: check the credentials of the kubeconfig"),
        409 if error.is_already_there() => Some("`tortie apply` changes what is there"),
        409 if error.is_conflict() => {
            Some("somebody else has changed it meanwhile: look, and try again")
        }
        429 => Some("the server is busy: try again"),
        _ => None,
    }
}
