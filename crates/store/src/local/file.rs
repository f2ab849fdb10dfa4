//! A local store's file: objects and recent changes in redb, one durable transaction a batch.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redb::{
    Builder, CommitError, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::log::{Batch, Kept, Log};
use crate::{Error, Event, Key, Object, Revision};

/// An object without its key: created, modified, value.
type Stored<'a> = (u64, u64, &'a [u8]);
/// A change: milliseconds since 1970, path, the object as it is since, as it was before.
type Change<'a> = (u64, &'a str, Option<Stored<'a>>, Option<Stored<'a>>);

const OBJECTS: TableDefinition<'_, &str, Stored<'_>> = TableDefinition::new("objects");
const HISTORY: TableDefinition<'_, u64, Change<'_>> = TableDefinition::new("history");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The layout of the tables.
const FORMAT: u64 = 1;
/// The database's own cache: everything that is read is in memory already.
const CACHE: usize = 32 << 20;

/// A file that holds a store.
pub(super) struct File {
    path: PathBuf,
    /// Closed after an error: the next use opens it again.
    database: Option<Database>,
}

impl File {
    /// Opens a file, or makes it, and reads all of it.
    pub(super) fn open(path: PathBuf) -> Result<(File, Kept), Error> {
        let there = path.try_exists().map_err(|e| io_error(&path, &e))?;
        if !there {
            create(&path)?;
        }
        // Every checksum is verified: what cannot be trusted is not served.
        let database = Builder::new()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .open(&path)
            .map_err(|error| of(&path, error))?;
        let kept = load(&database).map_err(|fault| fault.at(&path))?;
        Ok((File { path, database: Some(database) }, kept))
    }

    fn database(&mut self) -> Result<&Database, Error> {
        if self.database.is_none() {
            let opened = Builder::new().set_cache_size(CACHE).open(&self.path);
            self.database = Some(opened.map_err(|error| of(&self.path, error))?);
        }
        self.database.as_ref().ok_or(Error::Closed)
    }
}

impl Log for File {
    fn append(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        let path = self.path.clone();
        let written = write(self.database()?, batch);
        written.map_err(|fault| {
            // After an error the database must be opened anew; closing it fails as well.
            drop(self.database.take());
            fault.at(&path)
        })
    }

    fn settle(&mut self) -> Result<Revision, Error> {
        let path = self.path.clone();
        let number = number(self.database()?, "revision").map_err(|fault| fault.at(&path))?;
        Ok(Revision::new(number))
    }
}

/// What redb reports, before the file's name is put to it.
enum Fault {
    Redb(StorageError),
    Content(String),
}

impl Fault {
    fn at(self, path: &Path) -> Error {
        match self {
            Fault::Redb(error) => of(path, DatabaseError::Storage(error)),
            Fault::Content(reason) => Error::Damaged { path: path.into(), reason },
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Fault {
        Fault::Redb(error)
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Fault {
        match error {
            TransactionError::Storage(error) => Fault::Redb(error),
            error => Fault::Content(error.to_string()),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Fault {
        match error {
            CommitError::Storage(error) => Fault::Redb(error),
            error => Fault::Content(error.to_string()),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        match error {
            TableError::Storage(error) => Fault::Redb(error),
            error => Fault::Content(error.to_string()),
        }
    }
}

fn of(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::InUse(path.into()),
        DatabaseError::Storage(StorageError::Io(error)) => io_error(path, &error),
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            Error::Damaged { path: path.into(), reason }
        }
        error => Error::Unavailable(format!("`{}`: {error}", path.display())),
    }
}

fn io_error(path: &Path, error: &io::Error) -> Error {
    let text = format!("`{}`: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::Full(text)
        }
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::Damaged { path: path.into(), reason: error.to_string() }
        }
        _ => Error::Unavailable(text),
    }
}

/// Makes an empty store beside the place and moves it there, whole: a file in place that is not a
/// store was never made by this, whenever the process ends.
fn create(path: &Path) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let made = make(&new).and_then(|()| {
        // Unlike a rename, a link replaces nothing that has appeared meanwhile.
        match fs::hard_link(&new, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error(path, &error))
            }
            _ => sync_folder(path).map_err(|error| io_error(path, &error)),
        }
    });
    let _ = fs::remove_file(&new);
    made
}

fn make(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(path, &error));
        }
        _ => {}
    }
    // There will be secrets in it.
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    drop(file.map_err(|error| io_error(path, &error))?);
    let database = Builder::new().create(path).map_err(|error| of(path, error))?;
    begin(&database).map_err(|fault| fault.at(path))?;
    database.close().map_err(|error| of(path, error))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn begin(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    transaction.open_table(OBJECTS)?;
    transaction.open_table(HISTORY)?;
    let mut numbers = transaction.open_table(NUMBERS)?;
    for (name, number) in [("format", FORMAT), ("revision", 0), ("floor", 0)] {
        numbers.insert(name, number)?;
    }
    drop(numbers);
    Ok(transaction.commit()?)
}

fn write(database: &Database, batch: &Batch<'_>) -> Result<(), Fault> {
    // Redb's default: durable when the commit returns, with one sync.
    let transaction = database.begin_write()?;
    write_objects(&transaction, batch)?;
    write_history(&transaction, batch)?;
    let mut numbers = transaction.open_table(NUMBERS)?;
    numbers.insert("revision", batch.revision.get())?;
    if let Some(floor) = batch.floor {
        numbers.insert("floor", floor.get())?;
    }
    drop(numbers);
    Ok(transaction.commit()?)
}

fn write_objects(transaction: &WriteTransaction, batch: &Batch<'_>) -> Result<(), Fault> {
    let mut objects = transaction.open_table(OBJECTS)?;
    for event in batch.events {
        let path = event.key().path();
        match event.current() {
            Some(object) => objects.insert(path.as_str(), stored(object))?,
            None => objects.remove(path.as_str())?,
        };
    }
    Ok(())
}

fn write_history(transaction: &WriteTransaction, batch: &Batch<'_>) -> Result<(), Fault> {
    let since = batch.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut history = transaction.open_table(HISTORY)?;
    for event in batch.events {
        let path = event.key().path();
        let current = event.current().map(|object| stored(object));
        let previous = event.previous().map(|object| stored(object));
        history.insert(event.revision().get(), (at, path.as_str(), current, previous))?;
    }
    if let Some(floor) = batch.floor {
        history.retain_in(..=floor.get(), |_, _| false)?;
    }
    Ok(())
}

fn stored(object: &Object) -> Stored<'_> {
    (object.created.get(), object.modified.get(), &object.value)
}

fn number(database: &Database, name: &str) -> Result<u64, Fault> {
    let numbers = database.begin_read()?.open_table(NUMBERS)?;
    let number = numbers.get(name)?;
    let number = number.ok_or_else(|| Fault::Content(format!("it has no `{name}`")))?;
    Ok(number.value())
}

fn load(database: &Database) -> Result<Kept, Fault> {
    let format = number(database, "format")?;
    if format != FORMAT {
        return Err(Fault::Content(format!("its format is {format}, not {FORMAT}")));
    }
    let mut kept = Kept {
        floor: Revision::new(number(database, "floor")?),
        revision: Revision::new(number(database, "revision")?),
        ..Kept::default()
    };
    let transaction = database.begin_read()?;
    for entry in transaction.open_table(OBJECTS)?.iter()? {
        let (path, value) = entry?;
        kept.objects.push(object(&key(path.value())?, value.value()));
    }
    for entry in transaction.open_table(HISTORY)?.iter()? {
        let (revision, change) = entry?;
        kept.history.push(change_of(Revision::new(revision.value()), change.value())?);
    }
    Ok(kept)
}

fn key(path: &str) -> Result<Key, Fault> {
    Key::from_path(path).ok_or_else(|| Fault::Content(format!("`{path}` is not a key")))
}

fn object(key: &Key, (created, modified, value): Stored<'_>) -> Arc<Object> {
    Arc::new(Object {
        key: key.clone(),
        value: Bytes::copy_from_slice(value),
        created: Revision::new(created),
        modified: Revision::new(modified),
    })
}

fn change_of(
    revision: Revision,
    (at, path, current, previous): Change<'_>,
) -> Result<(Arc<Event>, SystemTime), Fault> {
    let key = key(path)?;
    let previous = previous.map(|stored| object(&key, stored));
    let event = match (current, previous) {
        (Some(current), previous) => Event::Put { object: object(&key, current), previous },
        (None, Some(last)) => Event::Delete { revision, last },
        (None, None) => return Err(Fault::Content(format!("revision {revision} says nothing"))),
    };
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at)).unwrap_or(UNIX_EPOCH);
    Ok((Arc::new(event), at))
}
