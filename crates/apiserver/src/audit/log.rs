//! The log's file: appended to, rotated by size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Whether what a line tells of is done only once the line is on the disk.
    on_disk_first: bool,
    current: Mutex<Current>,
    /// How many lines are on the disk, as far as it was waited for.
    on_disk: tokio::sync::Mutex<u64>,
}

/// What is written to now.
#[derive(Debug)]
struct Current {
    open: Option<Open>,
    /// How many lines were appended.
    lines: u64,
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
        let current = Mutex::new(Current { open: Some(open(path)?), lines: 0 });
        let (path, on_disk) = (path.to_owned(), tokio::sync::Mutex::new(0));
        Ok(Audit { path, rotation, on_disk_first: false, current, on_disk })
    }

    /// The same, with changes waiting until what is said of them is on the disk.
    pub fn on_disk_first(self) -> Audit {
        Audit { on_disk_first: true, ..self }
    }

    /// Appends an event as one line. Gives how many lines were appended by now.
    ///
    /// # Errors
    /// If it cannot be written whole. The next one begins a line of its own all the same.
    pub fn append(&self, event: &Value) -> io::Result<u64> {
        let mut guard = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = match guard.open.take() {
            Some(current) if self.is_current(&current) => current,
            // It was moved or deleted by somebody, or could not be opened before.
            gone => {
                self.leave(gone)?;
                open(&self.path)?
            }
        };
        if current.size >= self.rotation.size {
            self.leave(Some(current))?;
            self.rotate()?;
            current = open(&self.path)?;
        }
        let written = current.append(event);
        guard.open = Some(current);
        guard.lines += u64::from(written.is_ok());
        written.map(|()| guard.lines)
    }

    /// Leaves a file that is no longer written to.
    fn leave(&self, open: Option<Open>) -> io::Result<()> {
        match open {
            Some(open) if self.on_disk_first => open.file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Waits until so many lines are on the disk, if changes are to wait for that. Of many that wait,
    /// one makes it so for all that were appended by then.
    ///
    /// # Errors
    /// If the system says so.
    pub(crate) async fn settle(self: &Arc<Self>, lines: u64) -> io::Result<()> {
        if !self.on_disk_first {
            return Ok(());
        }
        let mut on_disk = self.on_disk.lock().await;
        if *on_disk < lines {
            let own = self.clone();
            let synced = tokio::task::spawn_blocking(move || own.sync()).await;
            *on_disk = synced.map_err(io::Error::other)??;
        }
        Ok(())
    }

    /// Brings all lines to the disk; gives how many.
    fn sync(&self) -> io::Result<u64> {
        let (file, lines) = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let file = current.open.as_ref().map(|open| open.file.try_clone());
            (file.transpose()?, current.lines)
        };
        file.ok_or_else(|| io::Error::other("it is not open"))?.sync_data()?;
        Ok(lines)
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
    let is_new = !path.exists();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    if let (true, Some(folder)) = (is_new, path.parent().filter(|one| one.is_dir())) {
        // Its name is on the disk as soon as its lines are.
        File::open(folder)?.sync_all()?;
    }
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

    #[tokio::test]
    async fn lines_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let audit = Audit::open(&path, Rotation { size: 100, keep: 2 }).unwrap();
        let audit = Arc::new(audit.on_disk_first());
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let audit = audit.clone();
                tokio::spawn(async move {
                    let lines = audit.append(&json!({"number": number})).unwrap();
                    audit.settle(lines).await.unwrap();
                    assert!(*audit.on_disk.lock().await >= lines);
                })
            })
            .collect();
        for one in waiting {
            one.await.unwrap();
        }
        let lines = audit.append(&json!({})).unwrap();
        assert_eq!(lines, 21);
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
