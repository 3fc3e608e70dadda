//! Loading a file into a keyspace.
//!
//! In a cluster what a file holds are writes of this node, several keys to an effect.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::convert::from_rdb;
use super::read::{FileKey, FileReader, PassedOver, ReadError};
use crate::keyspace::{Contents, Keyspace, Millis, is_system_key};
use crate::scripting::library_header;

/// So many keys are written at once.
const KEYS_AT_ONCE: usize = 64;
/// Or so many bytes in the file.
const BYTES_AT_ONCE: u64 = 256 << 10;

/// Why a file was not loaded. Displayed as one line that names it and says what to do.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot load {path}: {problem}, at byte {position}; put an intact copy in its place, or move it away to start \
     without its data"
)]
pub struct LoadError {
    path: PathBuf,
    problem: Problem,
    position: u64,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it has keys of database {number}, and --databases is {databases}")]
    NoSuchDatabase { number: u64, databases: u32 },
    #[error("it is damaged: the key '{0}' is in it twice")]
    Twice(String),
    #[error("the process was asked to end")]
    Cancelled,
    #[error("the value of the key '{0}' is larger than what nodes can send to each other at once (600 MB)")]
    TooLarge(String),
}

/// What became of the keys of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Are there now.
    pub keys: u64,
    /// Their time is over.
    pub expired: u64,
    /// Were here already: in a cluster, others may have written them meanwhile.
    pub kept: u64,
    /// Went because there was no room.
    pub evicted: u64,
    /// Belong to the system, and are no data of clients.
    pub of_system: u64,
    /// What was passed over.
    pub passed_over: PassedOver,
}

/// Loads a file. `now` is asked for the time; `progress` hears how far it is, and says whether to go on.
///
/// # Errors
/// It cannot be read or is damaged. What was read before stays in the keyspace.
pub fn load_file(
    keyspace: &Keyspace,
    path: &Path,
    now: &dyn Fn() -> Millis,
    progress: &mut dyn FnMut(&Loaded) -> bool,
) -> Result<Loaded, LoadError> {
    let failed = |problem, position| LoadError { path: path.to_owned(), problem, position };
    let file = File::open(path).map_err(|error| failed(ReadError::from(error).into(), 0))?;
    load(keyspace, file, now, progress).map_err(|(problem, position)| failed(problem, position))
}

fn load(
    keyspace: &Keyspace,
    source: impl Read,
    now: &dyn Fn() -> Millis,
    progress: &mut dyn FnMut(&Loaded) -> bool,
) -> Result<Loaded, (Problem, u64)> {
    let mut reader = FileReader::open(source).map_err(|error| (error.into(), 0))?;
    let evicted = keyspace.evicted();
    let mut loader = Loader { keyspace, batch: Vec::new(), loaded: Loaded::default() };
    let mut begun = 0;
    loop {
        let key = reader.next_key().map_err(|error| (error.into(), reader.position()))?;
        let position = reader.position();
        let is_last = key.is_none();
        if let Some(key) = key {
            loader.take(key).map_err(|problem| (problem, position))?;
        }
        if is_last || loader.batch.len() >= KEYS_AT_ONCE || position - begun >= BYTES_AT_ONCE {
            begun = position;
            loader.write(now()).map_err(|problem| (problem, position))?;
            loader.loaded.evicted = keyspace.evicted() - evicted;
            loader.loaded.passed_over = reader.passed_over;
            if !progress(&loader.loaded) {
                return Err((Problem::Cancelled, position));
            }
        }
        if is_last {
            loader.keep_libraries(&reader.libraries, now());
            return Ok(loader.loaded);
        }
    }
}

struct Loader<'k> {
    keyspace: &'k Keyspace,
    batch: Vec<FileKey>,
    loaded: Loaded,
}

impl Loader<'_> {
    fn take(&mut self, key: FileKey) -> Result<(), Problem> {
        let databases = self.keyspace.databases();
        if key.database >= u64::from(databases) {
            return Err(Problem::NoSuchDatabase { number: key.database, databases });
        }
        if is_system_key(&key.name) {
            self.loaded.of_system += 1;
        } else {
            self.batch.push(key);
        }
        Ok(())
    }

    /// Keeps libraries of functions. Those that others have loaded meanwhile stay. What their code says is looked at when it
    /// is used.
    fn keep_libraries(&mut self, codes: &[Vec<u8>], now: Millis) {
        let unwatched = Arc::default();
        let present = self.keyspace.libraries(now, &unwatched);
        self.keyspace.forget_watcher(&unwatched);
        let named = codes.iter().filter_map(|code| Some((library_header(code).ok()?.name, code)));
        let named: Vec<_> = named.collect();
        self.loaded.passed_over.libraries = (codes.len() - named.len()) as u64;
        let new = named.iter().filter(|(name, _)| !present.contains_key(name));
        self.keyspace.change_libraries(now, std::iter::empty(), new.map(|(name, code)| (&**name, &***code)));
    }

    /// Writes what is in the batch: one effect for each database in it.
    fn write(&mut self, now: Millis) -> Result<(), Problem> {
        let batch = std::mem::take(&mut self.batch);
        let mut rest = batch.into_iter().peekable();
        while let Some(first) = rest.next() {
            let database = first.database;
            let mut same = vec![first];
            while let Some(next) = rest.next_if(|next| next.database == database) {
                same.push(next);
            }
            self.write_database(database as u32, same, now)?;
        }
        if self.keyspace.memory_limit() > 0 {
            self.keyspace.make_room(now);
        }
        Ok(())
    }

    fn write_database(&mut self, database: u32, keys: Vec<FileKey>, now: Millis) -> Result<(), Problem> {
        let keyspace = self.keyspace;
        let names = keys.iter().map(|key| keyspace.key(&key.name));
        let mut transaction = keyspace.lock_keys(now, database, names);
        for FileKey { name, value, deadline, idle, frequency, .. } in keys {
            let shown = || String::from_utf8_lossy(&name[..name.len().min(100)]).into_owned();
            let key = keyspace.key(&name);
            if transaction.kind(key).is_some() {
                if keyspace.is_in_cluster() {
                    self.loaded.kept += 1;
                    continue;
                }
                return Err(Problem::Twice(shown()));
            }
            let value = from_rdb(value);
            if deadline.is_some_and(|deadline| deadline <= now) || value.is_over(now) {
                self.loaded.expired += 1;
                continue;
            }
            let mut contents = Contents::new(value, deadline, now);
            if let Some(seconds) = idle {
                contents = contents.idle_for(seconds, now);
            }
            if let Some(frequency) = frequency {
                contents = contents.with_frequency(frequency);
            }
            transaction.put(key, contents).map_err(|_| Problem::TooLarge(shown()))?;
            self.loaded.keys += 1;
        }
        transaction.commit();
        Ok(())
    }
}

#[cfg(test)]
pub fn load_bytes(keyspace: &Keyspace, bytes: &[u8], now: Millis) -> Result<Loaded, String> {
    load(keyspace, bytes, &|| now, &mut |_| true).map_err(|(problem, position)| format!("{problem} at {position}"))
}
