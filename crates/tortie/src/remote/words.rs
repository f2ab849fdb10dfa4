//! Which objects words on a command line mean: `KIND`, `KIND NAME…`, `KIND,KIND`, `KIND/NAME …`.

use serde_json::Value;
use tortie_client::server::{Select, Served};

use super::{Session, failure};
use crate::output::{Failure, remark};

/// A kind, and some of its objects by name; all of them without names.
#[derive(Debug)]
pub(crate) struct Wanted<'s> {
    pub(crate) served: &'s Served,
    pub(crate) names: Vec<String>,
}

/// Which objects of a kind, where none are named.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Selection {
    /// All objects of the kind with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "files")]
    selector: Option<String>,

    /// All objects of the kind in the namespace
    #[arg(long, conflicts_with = "files")]
    all: bool,
}

impl Selection {
    /// All objects of a kind in the namespace.
    pub(crate) fn everything() -> Selection {
        Selection { selector: None, all: true }
    }

    /// Whether anything is said. An empty selector is nothing: it would be everything, where a
    /// script's variable is not set.
    pub(crate) fn is_given(&self) -> bool {
        self.all || self.selector.as_ref().is_some_and(|selector| !selector.trim().is_empty())
    }

    /// The objects that are selected; nothing if they are named instead.
    pub(crate) async fn objects(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Vec<Value>>, Failure> {
        let kind = &wanted.served.kind;
        match (wanted.names.is_empty(), self.is_given()) {
            (false, false) => return Ok(None),
            (false, true) => {
                return Err(Failure::invalid("names exclude --selector and --all"));
            }
            (true, false) => {
                let failure = Failure::invalid(format!("which {}?", kind.plural));
                return Err(failure.hint("give names, --selector or --all"));
            }
            (true, true) => {}
        }
        let labels = self.selector.clone().unwrap_or_default();
        let select = Select { labels, fields: String::new() };
        let list = session.server.list(kind, session.scope(kind, false), &select).await;
        let items = list.map_err(|error| failure(&kind.plural, &error))?.items;
        if items.is_empty() {
            session.tell_nothing(kind.namespaced);
        }
        Ok(Some(items))
    }
}

impl Session {
    /// What words mean.
    pub(crate) fn wanted(&self, words: &[String]) -> Result<Vec<Wanted<'_>>, Failure> {
        let Some((kinds, names)) = words.split_first() else {
            let failure = Failure::invalid("no kind is named");
            return Err(failure.hint("say KIND, KIND NAME or KIND/NAME, such as `gnp/web`"));
        };
        if words.iter().any(|word| word.contains('/')) {
            return words.iter().map(|word| self.pair(word)).collect();
        }
        let mut wanted = Vec::new();
        for kind in kinds.split(',') {
            for served in self.kinds_called(kind)? {
                wanted.push(Wanted { served, names: names.to_vec() });
            }
        }
        Ok(wanted)
    }

    /// One object: `KIND NAME` or `KIND/NAME`.
    pub(crate) fn one<'s>(&'s self, words: &[String]) -> Result<(&'s Served, String), Failure> {
        let wanted = self.wanted(words)?;
        match wanted.as_slice() {
            [Wanted { served, names }] if names.len() == 1 => {
                Ok((served, names.first().cloned().unwrap_or_default()))
            }
            _ => Err(Failure::invalid("one object must be named: KIND NAME or KIND/NAME")),
        }
    }

    /// `KIND/NAME`.
    pub(crate) fn pair(&self, word: &str) -> Result<Wanted<'_>, Failure> {
        match word.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Wanted { served: self.kind(kind)?, names: vec![name.to_owned()] })
            }
            _ => {
                let failure = Failure::invalid(format!("`{word}` is not KIND/NAME"));
                Err(failure.hint("with one KIND/NAME, all have to be; the namespace is said by -n"))
            }
        }
    }

    /// Says on standard error that there is nothing, in the namespace or at all.
    pub(crate) fn tell_nothing(&self, in_namespace: bool) {
        match in_namespace {
            true => remark(format_args!("no resources found in namespace {}", self.namespace)),
            false => remark("no resources found"),
        }
    }

    /// The kind of a name, or those of a category such as `all`.
    fn kinds_called(&self, name: &str) -> Result<Vec<&Served>, Failure> {
        let in_category = |served: &&Served| served.categories.iter().any(|known| known == name);
        let category: Vec<&Served> = self.kinds.iter().filter(in_category).collect();
        if self.kinds.find(name).is_none() && !category.is_empty() {
            return Ok(category);
        }
        Ok(vec![self.kind(name)?])
    }
}
