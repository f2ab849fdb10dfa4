//! Resources from files: several files and directories, multi-document YAML or JSON.
//!
//! A set of files loads all or nothing: one wrong field anywhere and no resource is returned, so
//! that a policy which cannot be understood never silently disappears (house rule 7).

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use tortie_model::{FieldError, Object, Resource};

use crate::yaml;

/// Files larger than this are refused, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Kinds of other groups that parts of Tortie read; others are passed over with a warning.
const USED: [(&str, &str); 2] =
    [("networking.istio.io", "Gateway"), ("networking.istio.io", "VirtualService")];

/// The group of Tortie's own kinds.
const OWN_GROUP: &str = "tortie.dev";

/// Where a resource was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as named or found, `-` for standard input.
    pub file: String,
    /// Position of the document in the file, from 0.
    pub document: usize,
}

/// What a set of files holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The resources, in the order of files and documents.
    pub resources: Vec<Resource>,
    /// Where each resource was written, in the same order.
    pub origins: Vec<Origin>,
    /// What was passed over.
    pub warnings: Vec<FileError>,
}

impl Loaded {
    /// An error about one of the resources, by its position.
    pub fn error(&self, resource: usize, error: FieldError) -> FileError {
        let mut found = match self.origins.get(resource) {
            Some(origin) => FileError::at(origin, error),
            None => FileError::of_file(String::new(), error),
        };
        if let Some(resource) = self.resources.get(resource) {
            found.kind = Some(resource.kind.clone());
            found.namespace.clone_from(&resource.metadata().namespace);
            found.name = Some(resource.metadata().name.clone());
        }
        found
    }
}

/// An error, or a warning, about one field of one document of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file.
    pub file: String,
    /// Position of the document in the file, from 0; absent if it concerns the file as a whole.
    pub document: Option<usize>,
    /// Kind, as far as known.
    pub kind: Option<String>,
    /// Namespace, as far as known.
    pub namespace: Option<String>,
    /// Name, as far as known.
    pub name: Option<String>,
    /// Path of the field in the document.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to try next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Line in the file, from 1, where the text itself cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column in the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

impl FileError {
    fn of_file(file: String, error: FieldError) -> FileError {
        FileError {
            file,
            document: None,
            kind: None,
            namespace: None,
            name: None,
            field: error.field,
            reason: error.reason,
            hint: error.hint,
            line: None,
            column: None,
        }
    }

    fn at(origin: &Origin, error: FieldError) -> FileError {
        FileError {
            document: Some(origin.document),
            ..FileError::of_file(origin.file.clone(), error)
        }
    }
}

/// `FILE:LINE:COLUMN: …` or `FILE: document N (KIND NAME): FIELD: …`, without the hint.
impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(document) = self.document {
            write!(f, ": document {}", document + 1)?;
        }
        if let (Some(kind), Some(name)) = (&self.kind, &self.name) {
            let namespace = self.namespace.as_ref().map(|n| format!("{n}/")).unwrap_or_default();
            write!(f, " ({kind} {namespace}{name})")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Reads files and directories, `-` being standard input. Of a directory the `*.yaml`, `*.yml` and
/// `*.json` files are read in the order of their names, and with `recurse` those of its folders.
///
/// # Errors
/// Everything wrong in any of the files; nothing is returned then.
pub fn load(paths: &[PathBuf], recurse: bool) -> Result<Loaded, Vec<FileError>> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    for path in paths {
        match expand(path, recurse) {
            Ok(files) => files.iter().for_each(|f| load_file(f, &mut loaded, &mut errors)),
            Err(error) => errors.push(*error),
        }
    }
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// Reads documents that are already in memory, under a name for messages.
///
/// # Errors
/// Everything wrong in the text; nothing is returned then.
pub fn load_text(name: &str, text: &[u8]) -> Result<Loaded, Vec<FileError>> {
    let mut loaded = Loaded::default();
    let mut errors = Vec::new();
    load_bytes(name, text, &mut loaded, &mut errors);
    if errors.is_empty() { Ok(loaded) } else { Err(errors) }
}

/// Reads objects as they are, to be sent to a server: of lists the items, and nothing of empty documents.
///
/// # Errors
/// Everything in any of the files that is not an object with `apiVersion` and `kind`; nothing is
/// returned then.
pub fn objects(paths: &[PathBuf], recurse: bool) -> Result<Vec<(Origin, Value)>, Vec<FileError>> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match expand(path, recurse) {
            Ok(files) => files.iter().for_each(|f| objects_of(f, &mut objects, &mut errors)),
            Err(error) => errors.push(*error),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

fn objects_of(path: &Path, objects: &mut Vec<(Origin, Value)>, errors: &mut Vec<FileError>) {
    let documents = match documents(path) {
        Ok(documents) => documents,
        Err(error) => return errors.push(*error),
    };
    for (document, value) in documents.into_iter().enumerate() {
        let origin = Origin { file: path.display().to_string(), document };
        for object in tortie_model::items(value) {
            match ["apiVersion", "kind"]
                .into_iter()
                .find(|field| object.get(field).is_none_or(|text| !text.is_string()))
            {
                None => objects.push((origin.clone(), object)),
                Some(field) => {
                    let error = FieldError::new(field, "is required");
                    errors.push(FileError::at(&origin, error));
                }
            }
        }
    }
}

/// The documents of one file as they are, for formats that are not resources.
///
/// # Errors
/// If the file cannot be read, or its text is neither YAML nor JSON.
pub fn documents(path: &Path) -> Result<Vec<Value>, Box<FileError>> {
    let name = path.display().to_string();
    let bytes = read(path)?;
    yaml::documents(&name, &bytes).map_err(|problem| Box::new(syntax_error(&name, problem)))
}

/// The files a path stands for.
fn expand(path: &Path, recurse: bool) -> Result<Vec<PathBuf>, Box<FileError>> {
    if path.as_os_str() == "-" || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    list(path, recurse, &mut Vec::new())
}

/// The files of a directory, below others that are named as they really are: a link leads into none of
/// these again, which would never end.
fn list(
    path: &Path,
    recurse: bool,
    above: &mut Vec<PathBuf>,
) -> Result<Vec<PathBuf>, Box<FileError>> {
    let failed =
        |error: std::io::Error| Box::new(io_error(path, "cannot list the directory", &error));
    let real = path.canonicalize().map_err(failed)?;
    if above.contains(&real) {
        let error = FieldError::new("", "is a link to a directory that it is in");
        return Err(Box::new(FileError::of_file(path.display().to_string(), error)));
    }
    above.push(real);
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        match entry.extension().and_then(|e| e.to_str()) {
            _ if hidden => {}
            _ if entry.is_dir() && recurse => files.extend(list(&entry, recurse, above)?),
            Some("yaml" | "yml" | "json") if !entry.is_dir() => files.push(entry),
            _ => {}
        }
    }
    above.pop();
    Ok(files)
}

fn load_file(path: &Path, loaded: &mut Loaded, errors: &mut Vec<FileError>) {
    match read(path) {
        Ok(bytes) => load_bytes(&path.display().to_string(), &bytes, loaded, errors),
        Err(error) => errors.push(*error),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Box<FileError>> {
    let mut bytes = Vec::new();
    let result = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    result.map_err(|error| Box::new(io_error(path, "cannot read the file", &error)))?;
    if bytes.len() as u64 > MAX_FILE {
        let reason = format!("is larger than {} MiB", MAX_FILE >> 20);
        let error = FieldError::new("", reason);
        return Err(Box::new(FileError::of_file(path.display().to_string(), error)));
    }
    Ok(bytes)
}

fn io_error(path: &Path, what: &str, error: &std::io::Error) -> FileError {
    let found = FieldError::new("", format!("{what}: {error}"));
    let found = match error.kind() {
        std::io::ErrorKind::NotFound => found.hint("check the spelling of the path"),
        _ => found,
    };
    FileError::of_file(path.display().to_string(), found)
}

fn load_bytes(name: &str, bytes: &[u8], loaded: &mut Loaded, errors: &mut Vec<FileError>) {
    let documents = match yaml::documents(name, bytes) {
        Ok(documents) => documents,
        Err(problem) => return errors.push(syntax_error(name, problem)),
    };
    for (document, value) in documents.into_iter().enumerate() {
        let origin = Origin { file: name.to_owned(), document };
        match tortie_model::decode(value) {
            Ok(resources) => {
                for resource in resources {
                    loaded.warnings.extend(unused(&resource, &origin));
                    loaded.resources.push(resource);
                    loaded.origins.push(origin.clone());
                }
            }
            Err(found) => errors.extend(found.into_iter().flat_map(|bad| {
                let origin = origin.clone();
                let named = (bad.kind, bad.namespace, bad.name);
                bad.errors.into_iter().map(move |error| {
                    let some = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
                    FileError {
                        kind: some(&named.0),
                        namespace: named.1.clone(),
                        name: some(&named.2),
                        ..FileError::at(&origin, error)
                    }
                })
            })),
        }
    }
}

fn syntax_error(name: &str, problem: yaml::Problem) -> FileError {
    let mut field = FieldError::new("", problem.reason);
    field.hint = problem.hint;
    FileError {
        line: problem.line,
        column: problem.column,
        ..FileError::of_file(name.to_owned(), field)
    }
}

/// A warning for a resource that nothing reads.
fn unused(resource: &Resource, origin: &Origin) -> Option<FileError> {
    let group = resource.group();
    let known = !matches!(resource.object, Object::Foreign(_))
        || group == OWN_GROUP
        || USED.contains(&(group, &resource.kind));
    (!known).then(|| FileError {
        kind: Some(resource.kind.clone()),
        namespace: resource.metadata().namespace.clone(),
        name: Some(resource.metadata().name.clone()),
        ..FileError::at(origin, FieldError::new("kind", "has no meaning for policy, passed over"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                          metadata: {name: p}\nspec: {selector: all()}\n";

    #[test]
    fn directories_are_read_in_order_and_all_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.yaml", POLICY);
        write("a.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}"#);
        write("notes.txt", "not: [read");
        write(".hidden.yaml", "not: [read");
        std::fs::create_dir(dir.path().join("more")).unwrap();
        write("more/c.yml", POLICY);
        let kinds = |recurse| {
            let loaded = load(&[dir.path().to_owned()], recurse).unwrap();
            loaded.resources.iter().map(|r| r.kind.clone()).collect::<Vec<_>>()
        };
        assert_eq!(kinds(false), ["Pod", "GlobalNetworkPolicy"]);
        assert_eq!(kinds(true), ["Pod", "GlobalNetworkPolicy", "GlobalNetworkPolicy"]);
        write("c.yaml", "apiVersion: projectcalico.org/v3\nkind: Tierr\nmetadata: {name: t}\n");
        let errors = load(&[dir.path().to_owned()], false).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].hint.as_deref(), Some("did you mean `Tier`?"));
    }

    #[test]
    fn links_lead_into_no_circle() {
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(dir.path().join(to), dir.path().join(name)).unwrap();
        };
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/p.yaml"), POLICY).unwrap();
        link("a/b", "a/same");
        let read = || load(&[dir.path().to_owned()], true);
        assert_eq!(read().unwrap().resources.len(), 2);
        link("a", "a/b/up");
        link(".", "a/b/again");
        let errors = read().unwrap_err();
        assert!(errors[0].to_string().ends_with("/again: is a link to a directory that it is in"));
    }

    #[test]
    fn errors_name_file_document_and_field() {
        let text = format!("{POLICY}---\n{}", POLICY.replace("selector", "selectr"));
        let errors = load_text("p.yaml", text.as_bytes()).unwrap_err();
        let text = errors[0].to_string();
        let want = "p.yaml: document 2 (GlobalNetworkPolicy p): spec.selectr: unknown field";
        assert_eq!(text, want);
    }

    #[test]
    fn foreign_kinds_are_passed_over_with_a_warning() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n\
                    apiVersion: tortie.dev/v1\nkind: ImageMap\nmetadata: {name: i}\n";
        let loaded = load_text("c.yaml", text.as_bytes()).unwrap();
        assert_eq!(loaded.resources.len(), 2);
        assert_eq!(loaded.warnings.len(), 1);
    }

    #[test]
    fn objects_are_left_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {nam: x}}\n";
        std::fs::write(&path, format!("---\n---\n{list}---\n{POLICY}")).unwrap();
        let read = objects(std::slice::from_ref(&path), false).unwrap();
        let kinds: Vec<_> = read.iter().map(|(origin, o)| (origin.document, &o["kind"])).collect();
        assert_eq!(kinds, [(0, &"Pod".into()), (1, &"GlobalNetworkPolicy".into())]);
        std::fs::write(&path, "kind: Pod\n---\n- 1\n").unwrap();
        let errors = objects(&[path], false).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert_eq!(errors[0].field, "apiVersion");
    }

    #[test]
    fn missing_files_are_named() {
        let errors = load(&["/nonexistent/x.yaml".into()], false).unwrap_err();
        assert!(errors[0].to_string().starts_with("/nonexistent/x.yaml: cannot read the file"));
    }
}
