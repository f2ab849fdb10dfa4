//! `tortie label` and `tortie annotate`: pairs of words in the metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tortie_client::server::{Patch, Served};

use crate::output::{Failure, YES, harmless, text};
use crate::remote::change::{Done, Manner, both};
use crate::remote::manifest::Manifests;
use crate::remote::words::Selection;
use crate::remote::{Session, Whereabouts, block_on, failure, name, reference, write};
use crate::show::jsonpath::shown;

/// Examples of `tortie label`.
pub(crate) const LABEL: &str = "Examples:
  tortie label ns default istio-injection=enabled
  tortie label pods -l app=web tier=front --overwrite
  tortie label gnp/web owner-                          take a label away
  tortie label gnp/web --list

Exit status: 0 done; 1 refused, not there, or another value is there; 2 bad usage; 3 unreachable";

/// Examples of `tortie annotate`.
pub(crate) const ANNOTATE: &str = "Examples:
  tortie annotate gnp/web ticket=NET-17
  tortie annotate gnp web ticket=NET-18 --overwrite
  tortie annotate gnp/web ticket-                      take an annotation away

Exit status: 0 done; 1 refused, not there, or another value is there; 2 bad usage; 3 unreachable";

/// Which pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// What selectors match.
    Labels,
    /// What programs and people note.
    Annotations,
}

impl Pairs {
    fn field(self) -> &'static str {
        match self {
            Pairs::Labels => "labels",
            Pairs::Annotations => "annotations",
        }
    }

    /// What an object is after a change.
    fn done(self, before: &Value, after: &Value) -> &'static str {
        let count = |object: &Value| self.of(object).map_or(0, Map::len);
        match self {
            _ if self.of(before).unwrap_or(&Map::new())
                == self.of(after).unwrap_or(&Map::new()) =>
            {
                match self {
                    Pairs::Labels => "not labeled",
                    Pairs::Annotations => "not annotated",
                }
            }
            Pairs::Labels if count(after) < count(before) => "unlabeled",
            Pairs::Labels => "labeled",
            Pairs::Annotations => "annotated",
        }
    }

    /// The pairs of an object.
    pub(crate) fn of(self, object: &Value) -> Option<&Map<String, Value>> {
        object.get("metadata")?.get(self.field())?.as_object()
    }
}

/// Arguments of `tortie label` and `tortie annotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The objects, as KIND NAME … or KIND/NAME …, and then KEY=VALUE or KEY- to take it away
    #[arg(value_name = "KIND NAME KEY=VALUE", required_unless_present = "files")]
    words: Vec<String>,

    #[command(flatten)]
    manifests: Manifests,

    #[command(flatten)]
    selection: Selection,

    /// Replace other values
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    overwrite: bool,

    /// Show what there is
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    manner: Manner,

    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Values to be there, or nothing to be there.
type Changes = BTreeMap<String, Option<String>>;

/// Splits words into those that name objects and those that change pairs.
fn split(words: &[String]) -> Result<(Vec<String>, Changes), Failure> {
    let is_change = |word: &&String| word.contains('=') || word.ends_with('-');
    // A name does not end with a dash, and a kind has no equals sign.
    let at = words.iter().position(|word| is_change(&word)).unwrap_or(words.len());
    let (objects, changes) = words.split_at(at);
    let mut all = Changes::new();
    for word in changes {
        let (key, value) = match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => (key, Some(value.to_owned())),
            (None, Some(key)) => (key, None),
            (None, None) => {
                return Err(Failure::invalid(format!("`{word}` is neither KEY=VALUE nor KEY-")));
            }
        };
        if key.is_empty() || all.insert(key.to_owned(), value).is_some() {
            return Err(Failure::invalid(format!("`{word}`: a key must be there, and only once")));
        }
    }
    Ok((objects.to_vec(), all))
}

/// Changes the pairs. Exit status 1 if another value is there.
pub(crate) fn run(pairs: Pairs, args: &Args) -> Result<u8, Failure> {
    let (objects, changes) = split(&args.words)?;
    if changes.is_empty() && !args.list {
        let failure = Failure::invalid(format!("no {} are given", pairs.field()));
        return Err(failure.hint("say KEY=VALUE, KEY- or --list"));
    }
    block_on(async {
        let session = args.whereabouts.open().await?;
        let mut result = Ok(());
        for (served, object) in args.objects(&session, &objects).await? {
            let done = one(pairs, args, &session, served, &object, &changes).await;
            result = both(result, done);
        }
        result
    })?;
    Ok(YES)
}

impl Args {
    /// The objects that are meant, as they are.
    async fn objects<'s>(
        &self,
        session: &'s Session,
        words: &[String],
    ) -> Result<Vec<(&'s Served, Value)>, Failure> {
        let mut objects = Vec::new();
        if self.manifests.is_given() {
            for item in self.manifests.read()? {
                let served = session.checked(&item)?;
                let namespace = session.namespace_of(&served.kind, &item.document)?;
                let object =
                    session.server.get(&served.kind, namespace.as_deref(), name(&item.document));
                let object = object.await.map_err(|error| failure(&item, &error))?;
                objects.push((served, object));
            }
            return Ok(objects);
        }
        // A list is of everything, unless something is chosen.
        let everything = Selection::everything();
        for wanted in session.wanted(words)? {
            let all = self.list && wanted.names.is_empty() && !self.selection.is_given();
            let selection = if all { &everything } else { &self.selection };
            let kind = &wanted.served.kind;
            let selected = selection.objects(session, &wanted).await?;
            objects.extend(selected.into_iter().flatten().map(|object| (wanted.served, object)));
            let namespace = session.scope(kind, false);
            let fail = |error| failure(&kind.plural, &error);
            for name in &wanted.names {
                let object = session.server.get(kind, namespace, name).await.map_err(fail)?;
                objects.push((wanted.served, object));
            }
        }
        Ok(objects)
    }
}

async fn one(
    pairs: Pairs,
    args: &Args,
    session: &Session,
    served: &Served,
    object: &Value,
    changes: &Changes,
) -> Result<(), Failure> {
    let place = reference(served, name(object));
    if args.list {
        return list(pairs, &place, object);
    }
    for (key, value) in changes {
        let there = pairs.of(object).and_then(|pairs| pairs.get(key)).map(shown);
        if let (Some(there), Some(value), false) = (there, value, args.overwrite)
            && there != *value
        {
            let failure = Failure::refused(format!("{place}: `{key}` is `{there}` already"));
            return Err(failure.hint("use --overwrite to change it"));
        }
    }
    let after = match args.manner.trial.is_sent() {
        false => object.clone(),
        true => {
            let changed =
                change(pairs, session, served, object, changes, args.manner.trial.is_dry()).await;
            changed.map_err(|error| failure(&place, &error))?
        }
    };
    args.manner.tell(served, &Done { word: pairs.done(object, &after), object: after })
}

/// Sends a change of pairs.
pub(crate) async fn change(
    pairs: Pairs,
    session: &Session,
    served: &Served,
    object: &Value,
    changes: &Changes,
    dry: bool,
) -> Result<Value, tortie_client::server::Error> {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    let patch = Patch::Merge(json!({"metadata": {pairs.field(): changes}}));
    session.server.patch(&served.kind, namespace, name(object), &patch, &write(dry)).await
}

fn list(pairs: Pairs, place: &str, object: &Value) -> Result<(), Failure> {
    let lines = pairs.of(object).into_iter().flatten();
    let lines: String = lines.map(|(key, value)| format!("{key}={}\n", shown(value))).collect();
    text(harmless(&format!("# {place}\n{lines}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_objects_and_changes() {
        let words = |text: &str| split(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let (objects, changes) = words("gnp web a=b c- d=").unwrap();
        assert_eq!(objects, ["gnp", "web"]);
        let want = [("a", Some("b")), ("c", None), ("d", Some(""))];
        let want = want.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(changes, Changes::from(want));
        for wrong in ["gnp web a=b c", "gnp web =b", "gnp web a=b a-", "gnp web -"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }
}
