//! Which objects words on a command line mean: `KIND`, `KIND NAME…`, `KIND,KIND`, `KIND/NAME …`.

use tortie_client::server::Served;

use super::Session;
use crate::output::Failure;

/// A kind, and some of its objects by name; all of them without names.
#[derive(Debug)]
pub(crate) struct Wanted<'s> {
    pub(crate) served: &'s Served,
    pub(crate) names: Vec<String>,
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
