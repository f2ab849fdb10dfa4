//! Tables of documents, what is wrong with them, and what they are warned of. See
//! `corpus/validation/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use tortie_client::files::{self, FileError};
use tortie_policy::{Cluster, lint};

use crate::workspace;

/// The line of a template that a case's text takes the place of.
const PLACE: &str = "<here>";

/// One file: cases of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    /// The text around each case's, which takes the place of a line `<here>`, indented like it.
    #[serde(default)]
    template: Option<String>,
    cases: Vec<Case>,
}

/// One text and what is wrong with it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about, with the file's name in front.
    pub name: String,
    /// The documents.
    pub document: String,
    /// Their errors, all of them; none if they must be accepted.
    #[serde(default)]
    pub errors: Vec<Expected>,
    /// Their warnings, all of them, in tables of warnings.
    #[serde(default)]
    pub warnings: Vec<Expected>,
}

/// An error, or a warning, that must be found.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The code of a warning.
    #[serde(default)]
    pub code: Option<String>,
    /// Its field.
    #[serde(default)]
    pub field: String,
    /// A part of its reason.
    pub reason: String,
    /// A part of its hint.
    #[serde(default)]
    pub hint: Option<String>,
}

/// An error, or a warning with its code.
type Finding = (Option<&'static str>, FileError);

impl Expected {
    fn fits(&self, (code, error): &Finding) -> bool {
        let hint = error.hint.as_deref().unwrap_or_default();
        self.code.as_deref() == *code
            && self.field == error.field
            && error.reason.contains(&self.reason)
            && self.hint.as_ref().is_none_or(|wanted| hint.contains(wanted))
    }
}

impl Case {
    /// Compares the errors found with those expected.
    ///
    /// # Errors
    /// Every error that is missing or too many.
    pub fn run(&self) -> anyhow::Result<()> {
        let found = check(&self.document).into_iter().map(|error| (None, error));
        self.compare(&self.errors, found.collect())
    }

    /// Compares the warnings found with those expected.
    ///
    /// # Errors
    /// Every warning that is missing or too many, and everything wrong with the text.
    pub fn warn(&self) -> anyhow::Result<()> {
        let found = warnings(&self.document).with_context(|| self.name.clone())?;
        self.compare(&self.warnings, found)
    }

    fn compare(&self, expected: &[Expected], mut found: Vec<Finding>) -> anyhow::Result<()> {
        let mut missing = Vec::new();
        for expected in expected {
            match found.iter().position(|error| expected.fits(error)) {
                Some(at) => drop(found.remove(at)),
                None => missing.push(expected),
            }
        }
        ensure!(
            missing.is_empty() && found.is_empty(),
            "{}\nmissing: {missing:#?}\ntoo many: {found:#?}",
            self.name
        );
        Ok(())
    }
}

/// Everything wrong with a text, as `tortie validate` would say.
pub fn check(text: &str) -> Vec<FileError> {
    let loaded = match files::load_text("case.yaml", text.as_bytes()) {
        Ok(loaded) => loaded,
        Err(errors) => return errors,
    };
    match Cluster::build(&loaded.resources) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.into_iter().map(|i| loaded.error(i.resource, i.error)).collect(),
    }
}

/// What a text that is accepted is warned of, as `tortie validate` would say.
fn warnings(text: &str) -> anyhow::Result<Vec<Finding>> {
    let loaded = files::load_text("case.yaml", text.as_bytes());
    let loaded = loaded.map_err(|errors| anyhow!("{errors:#?}"))?;
    let cluster = Cluster::build(&loaded.resources).map_err(|invalid| anyhow!("{invalid:#?}"))?;
    let found = lint::lint(&loaded.resources, &cluster).into_iter();
    Ok(found.map(|w| (Some(w.code.as_str()), loaded.error(w.resource, w.text))).collect())
}

/// The folder of the tables.
pub fn folder() -> PathBuf {
    workspace::root().join("corpus/validation")
}

/// Reads the cases of all tables of errors: of every YAML file whose name starts with `table-`.
///
/// # Errors
/// If a table cannot be read or two of its cases have one name.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    tables("table-")
}

/// Reads the cases of all tables of warnings: of every YAML file whose name starts with `warnings-`.
///
/// # Errors
/// If a table cannot be read or two of its cases have one name.
pub fn warning_cases() -> anyhow::Result<Vec<Case>> {
    tables("warnings-")
}

fn tables(prefix: &str) -> anyhow::Result<Vec<Case>> {
    let folder = folder();
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| name(path).starts_with(prefix));
    paths.sort();
    let groups = paths.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(groups.into_iter().flatten().collect())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> anyhow::Result<Vec<Case>> {
    let file = name(path);
    let mut documents = files::documents(path).map_err(|error| anyhow!("{error}"))?;
    ensure!(documents.len() == 1, "{file}: one document expected");
    let group: Group = serde_json::from_value(documents.remove(0)).with_context(|| file.clone())?;
    let mut cases = group.cases;
    for case in &mut cases {
        case.name = format!("{file}: {}", case.name);
        if let Some(template) = &group.template {
            case.document = fill(template, &case.document);
        }
    }
    for (index, case) in cases.iter().enumerate() {
        let again = cases.iter().skip(index + 1).any(|other| other.name == case.name);
        ensure!(!again, "two cases are called `{}`", case.name);
    }
    Ok(cases)
}

/// The template with the text in its place, indented alike.
fn fill(template: &str, text: &str) -> String {
    let mut out = String::new();
    for line in template.lines() {
        match line.strip_suffix(PLACE) {
            Some(indent) => text.lines().for_each(|l| out.push_str(&format!("{indent}{l}\n"))),
            None => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        assert_eq!(fill("a:\n  <here>\nb: 1\n", "c: 1\nd: 2"), "a:\n  c: 1\n  d: 2\nb: 1\n");
    }

    #[test]
    fn errors_must_be_those_expected() {
        let document = "apiVersion: v1\nkind: Pod\n".to_owned();
        let name = || "x".to_owned();
        let case =
            |errors| Case { name: name(), document: document.clone(), errors, warnings: vec![] };
        let expected = |field: &str, reason: &str| Expected {
            code: None,
            field: field.into(),
            reason: reason.into(),
            hint: None,
        };
        let right = expected("metadata.name", "required");
        assert!(case(vec![right.clone()]).run().is_ok());
        assert!(case(vec![]).run().is_err(), "too many");
        assert!(case(vec![right.clone(), right.clone()]).run().is_err(), "missing");
        assert!(case(vec![expected("metadata", "required")]).run().is_err(), "other field");
        assert!(case(vec![expected("metadata.name", "good")]).run().is_err(), "other reason");
    }
}
