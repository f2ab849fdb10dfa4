//! `tortie stage` and `tortie enforce`: a policy between staged and enforced, in one step.
//!
//! Two objects take each other's place, and there is no transaction. The order is such that the
//! policy holds, as before or as after, at every moment: whoever is interrupted may begin again.

use serde_json::{Map, Value, json};
use tortie_client::server::{Delete, Error, Served};

use crate::output::{Failure, YES, text};
use crate::remote::change::{Trial, both};
use crate::remote::{Session, Whereabouts, block_on, failure, name, reference, write};
use crate::show::describe::COPIES;

/// Examples of `tortie stage`.
pub(crate) const STAGE: &str = "Examples:
  tortie stage gnp/web                     what is denied by it now is allowed again, and told
  tortie stage netpol/web -n shop --dry-run

The staged policy of the same name is made first, and the enforced one then deleted.

Exit status: 0 staged, or staged already; 1 refused, or not there; 2 bad usage; 3 unreachable";

/// Examples of `tortie enforce`.
pub(crate) const ENFORCE: &str = "Examples:
  tortie diff --staged                     what would change?
  tortie enforce gnp/web                   or sgnp/web: the kinds of both are taken
  tortie enforce np/web -n shop

The enforced policy is made, or replaced, first, and the staged one then deleted. A policy staged with
`stagedAction: Delete` deletes the enforced one.

Exit status: 0 enforced, or enforced already; 1 refused, or not there; 2 bad usage; 3 unreachable";

/// Arguments of `tortie stage` and `tortie enforce`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policies
    #[arg(value_name = "KIND/NAME", required = true)]
    policies: Vec<String>,

    /// Replace a staged policy of that name that says something else
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    trial: Trial,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From enforced to staged.
    Stage,
    /// From staged to enforced.
    Enforce,
}

const CALICO: &str = "projectcalico.org";

/// Enforced kinds, by group and plural, and their staged twins in Calico's group.
const TWINS: [(&str, &str, &str); 3] = [
    (CALICO, "globalnetworkpolicies", "stagedglobalnetworkpolicies"),
    (CALICO, "networkpolicies", "stagednetworkpolicies"),
    ("networking.k8s.io", "networkpolicies", "stagedkubernetesnetworkpolicies"),
];

/// Moves every policy.
pub(crate) fn run(way: Way, args: &Args) -> Result<u8, Failure> {
    block_on(async {
        let session = args.whereabouts.open().await?;
        let mut result = Ok(());
        for word in &args.policies {
            result = both(result, move_one(way, args, &session, word).await);
        }
        result
    })?;
    Ok(YES)
}

async fn move_one(way: Way, args: &Args, session: &Session, word: &str) -> Result<(), Failure> {
    let wanted = session.pair(word)?;
    let (enforced, staged) = twins(session, wanted.served)?;
    let policy = Policy {
        session,
        enforced,
        staged,
        namespace: session.scope(&enforced.kind, false),
        name: wanted.names.first().map(String::as_str).unwrap_or_default(),
        trial: args.trial,
    };
    let word = match way {
        Way::Stage => policy.stage(args.overwrite).await?,
        Way::Enforce => policy.enforce().await?,
    };
    text(format_args!("{} {word}{}\n", reference(enforced, policy.name), args.trial.told()))
}

/// The enforced and the staged kind that one of them belongs to.
fn twins<'s>(session: &'s Session, served: &Served) -> Result<(&'s Served, &'s Served), Failure> {
    let kind = &served.kind;
    let pair = TWINS.iter().find(|(group, enforced, staged)| {
        (kind.group == *group && kind.plural == *enforced)
            || (kind.group == CALICO && kind.plural == *staged)
    });
    let Some((group, enforced, staged)) = pair else {
        let failure = Failure::invalid(format!("{} has no staged form", kind.name()));
        return Err(failure.hint("policies have one: gnp, np or netpol"));
    };
    Ok((
        session.kind(&format!("{enforced}.{group}"))?,
        session.kind(&format!("{staged}.{CALICO}"))?,
    ))
}

/// A policy and its twin.
struct Policy<'s> {
    session: &'s Session,
    enforced: &'s Served,
    staged: &'s Served,
    namespace: Option<&'s str>,
    name: &'s str,
    trial: Trial,
}

impl Policy<'_> {
    async fn stage(&self, overwrite: bool) -> Result<&'static str, Failure> {
        let enforced = self.find(self.enforced).await?;
        let staged = self.find(self.staged).await?;
        let Some(enforced) = enforced else {
            return match staged {
                Some(_) => Ok("unchanged"),
                None => Err(self.missing()),
            };
        };
        let wanted = as_staged(&enforced, self.staged);
        match &staged {
            Some(staged) if staged.get("spec") == wanted.get("spec") => {}
            Some(_) if !overwrite => {
                let place = reference(self.staged, self.name);
                let failure =
                    Failure::refused(format!("stage: {place} says something else already"));
                return Err(
                    failure.hint("`tortie diff --staged` shows what; --overwrite replaces it")
                );
            }
            staged => self.put(self.staged, wanted, staged.as_ref()).await?,
        }
        self.remove(self.enforced, &enforced).await?;
        Ok("staged")
    }

    async fn enforce(&self) -> Result<&'static str, Failure> {
        let staged = self.find(self.staged).await?;
        let enforced = self.find(self.enforced).await?;
        let Some(staged) = staged else {
            return match enforced {
                Some(_) => Ok("unchanged"),
                None => Err(self.missing()),
            };
        };
        let action = staged.pointer("/spec/stagedAction").and_then(Value::as_str).unwrap_or("Set");
        let word = match (action, &enforced) {
            ("Delete", None) => "unchanged",
            ("Delete", Some(enforced)) => {
                self.remove(self.enforced, enforced).await?;
                "deleted"
            }
            ("Set", enforced) => {
                let wanted = as_enforced(&staged, self.enforced);
                self.put(self.enforced, wanted, enforced.as_ref()).await?;
                "enforced"
            }
            (other, _) => {
                let place = reference(self.staged, self.name);
                let failure =
                    Failure::refused(format!("enforce: {place}: spec.stagedAction: is `{other}`"));
                return Err(failure.hint("only Set and Delete say what is to be enforced"));
            }
        };
        self.remove(self.staged, &staged).await?;
        Ok(word)
    }

    async fn find(&self, served: &Served) -> Result<Option<Value>, Failure> {
        match self.session.server.get(&served.kind, self.namespace, self.name).await {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some).map_err(|error| self.refused(served, &error)),
        }
    }

    /// Creates an object, or replaces the one that was seen.
    async fn put(
        &self,
        served: &Served,
        mut object: Value,
        seen: Option<&Value>,
    ) -> Result<(), Failure> {
        if !self.trial.is_sent() {
            return Ok(());
        }
        let (server, write) = (&self.session.server, write(self.trial.is_dry()));
        let put = match seen.and_then(|seen| seen.pointer("/metadata/resourceVersion")) {
            None => server.create(&served.kind, self.namespace, &object, &write).await,
            Some(revision) => {
                if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
                    metadata.insert("resourceVersion".into(), revision.clone());
                }
                server.replace(&served.kind, self.namespace, self.name, &object, &write).await
            }
        };
        put.map(drop).map_err(|error| self.refused(served, &error))
    }

    /// Deletes an object, if it is still the one that was seen.
    async fn remove(&self, served: &Served, seen: &Value) -> Result<(), Failure> {
        if !self.trial.is_sent() {
            return Ok(());
        }
        let text = |field: &str| Some(seen.get("metadata")?.get(field)?.as_str()?.to_owned());
        let delete = Delete {
            dry_run: self.trial.is_dry(),
            uid: text("uid"),
            revision: text("resourceVersion"),
            ..Delete::default()
        };
        let deleted = self.session.server.delete(&served.kind, self.namespace, self.name, &delete);
        deleted.await.map(drop).map_err(|error| self.refused(served, &error))
    }

    fn refused(&self, served: &Served, error: &Error) -> Failure {
        failure(reference(served, self.name), error)
    }

    fn missing(&self) -> Failure {
        let (enforced, staged) =
            (reference(self.enforced, self.name), reference(self.staged, self.name));
        Failure::refused(format!("there is neither {enforced} nor {staged}"))
    }
}

fn as_staged(enforced: &Value, staged: &Served) -> Value {
    let mut twin = twin(enforced, staged);
    if let Some(Value::Object(spec)) = twin.get_mut("spec") {
        spec.insert("stagedAction".into(), "Set".into());
    }
    twin
}

fn as_enforced(staged: &Value, enforced: &Served) -> Value {
    let mut twin = twin(staged, enforced);
    if let Some(Value::Object(spec)) = twin.get_mut("spec") {
        spec.remove("stagedAction");
    }
    twin
}

/// An object of another kind with the same name, labels, annotations and spec.
fn twin(object: &Value, served: &Served) -> Value {
    let map = |field: &str| -> Map<String, Value> {
        let map = object.get("metadata").and_then(|metadata| metadata.get(field));
        map.and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let (mut labels, mut annotations) = (map("labels"), map("annotations"));
    // The server sets it, where it belongs.
    labels.remove("projectcalico.org/tier");
    annotations.retain(|key, _| !COPIES.contains(&key.as_str()));
    let mut metadata = Map::new();
    metadata.insert("name".into(), name(object).into());
    metadata.insert("labels".into(), labels.into());
    metadata.insert("annotations".into(), annotations.into());
    if let Some(namespace) = object.pointer("/metadata/namespace") {
        metadata.insert("namespace".into(), namespace.clone());
    }
    json!({
        "apiVersion": served.kind.api_version(), "kind": served.kind.kind, "metadata": metadata,
        "spec": object.get("spec").cloned().unwrap_or_else(|| json!({})),
    })
}

#[cfg(test)]
mod tests {
    use tortie_client::server::ApiKind;

    use super::*;

    #[test]
    fn twins_differ_in_their_kind_only() {
        let served = Served {
            kind: ApiKind {
                group: CALICO.into(),
                version: "v3".into(),
                kind: "StagedNetworkPolicy".into(),
                plural: "stagednetworkpolicies".into(),
                namespaced: true,
            },
            singular: String::new(),
            short_names: vec![],
            categories: vec![],
            verbs: vec![],
            parts: vec![],
        };
        let policy = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
            "metadata": {"name": "a", "namespace": "b", "uid": "1", "resourceVersion": "2",
                "labels": {"projectcalico.org/tier": "default", "x": "y"},
                "annotations": {"tortie.dev/applied": "{}", "note": "z"}},
            "spec": {"selector": "all()"},
        });
        let staged = as_staged(&policy, &served);
        let want = json!({
            "apiVersion": "projectcalico.org/v3", "kind": "StagedNetworkPolicy",
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "y"}, "annotations": {"note": "z"}},
            "spec": {"selector": "all()", "stagedAction": "Set"},
        });
        assert_eq!(staged, want);
        assert_eq!(as_enforced(&staged, &served)["spec"], policy["spec"]);
    }
}
