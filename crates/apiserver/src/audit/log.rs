//! The log's file: appended to, rotated by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// When a log is put aside, and how many that were are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Size from which it is, in bytes.
    pub size: u64,
    /// How many are kept beside the one that is written.
    pub keep: u32,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { size: 100 << 20, keep: 10 }
    }
}

/// An audit log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    rotation: Rotation,
    file: Mutex<Option<Open>>,
}

/// The file as it is open.
#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Whether its last line was written only in part.
    torn: bool,
}

impl Audit {
    /// The log in a file, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Audit> {
        let file = Mutex::new(Some(open(path)?));
        Ok(Audit { path: path.to_owned(), rotation, file })
    }

    /// Appends an event as one line.
    ///
    /// # Errors
    /// If it cannot be written whole. The next one begins a line of its own all the same.
    pub fn append(&self, event: &Value) -> io::Result<()> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = match guard.take() {
            Some(current) if self.is_current(&current) => current,
            // It was moved or deleted by somebody, or could not be opened before.
            _ => open(&self.path)?,
        };
        if current.size >= self.rotation.size {
            drop(current);
            self.rotate()?;
            current = open(&self.path)?;
        }
        let written = current.append(event);
        *guard = Some(current);
        written
    }

    fn is_current(&self, open: &Open) -> bool {
        let (Ok(named), Ok(own)) = (fs::metadata(&self.path), open.file.metadata()) else {
            return false;
        };
        (named.dev(), named.ino()) == (own.dev(), own.ino())
    }

    /// `audit.log` becomes `audit.log.1`, that `audit.log.2` and so on; the last one goes.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.rotation.keep).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    // Whoever was killed while it wrote left a part of a line.
    Ok(Open { torn: size > 0 && !ends_with_line(path)?, file, size })
}

fn ends_with_line(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Open {
    fn append(&mut self, event: &Value) -> io::Result<()> {
        let torn = if self.torn { "\n" } else { "" };
        let line = format!("{torn}{event}\n");
        // In one piece, so that lines of two processes do not mix.
        let written = self.file.write_all(line.as_bytes());
        self.torn = written.is_err();
        self.size += line.len() as u64;
        written
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    #[test]
    fn it_is_appended_to_and_put_aside_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::open(&path, Rotation { size: 30, keep: 2 }).unwrap();
        for number in 0..7 {
            audit.append(&json!({"number": number})).unwrap();
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Fifteen bytes a line: two or three in each, and what is older is gone.
        let aside = |number: u32| lines(&folder.path().join(format!("audit.log.{number}")));
        let mut all = aside(2);
        all.extend(aside(1));
        all.extend(lines(&path));
        let numbers: Vec<i64> = all.iter().map(|line| line["number"].as_i64().unwrap()).collect();
        assert_eq!(numbers, (7 - numbers.len() as i64..7).collect::<Vec<_>>());
        assert!(!folder.path().join("audit.log.3").exists());
    }

    #[test]
    fn it_goes_on_after_what_happens_to_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, "{\"half").unwrap();
        let audit = Audit::open(&path, Rotation::default()).unwrap();
        audit.append(&json!({"number": 1})).unwrap();
        assert_eq!(lines(&path), [Value::Null, json!({"number": 1})]);
        fs::rename(&path, folder.path().join("moved")).unwrap();
        audit.append(&json!({"number": 2})).unwrap();
        assert_eq!(lines(&path), [json!({"number": 2})]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(audit.append(&json!({"number": 3})).is_err());
        fs::remove_dir(&path).unwrap();
        audit.append(&json!({"number": 4})).unwrap();
        assert_eq!(lines(&path), [json!({"number": 4})]);
    }
}
