//! What goes on with a node's file: whether it is being written or loaded, and how that ended the last time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::form::{FileForm, UseHint};
use super::load::{LoadError, Loaded, load_file};
use super::save::{About, SaveError, write_file};
use super::save_points::SavePoints;
use crate::keyspace::{Cut, Keyspace, Millis};

/// What an operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceOptions {
    /// Where the file is.
    pub directory: PathBuf,
    /// How it is called.
    pub file_name: String,
    /// When the node saves by itself.
    pub save_points: SavePoints,
    /// The version of Redis that this server is like, for those who read the file.
    pub redis_version: &'static str,
}

impl Default for PersistenceOptions {
    fn default() -> Self {
        PersistenceOptions {
            directory: PathBuf::from("."),
            file_name: "dump.rdb".to_owned(),
            save_points: SavePoints::default(),
            redis_version: "",
        }
    }
}

/// Why no save begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is one already.
    Busy,
    /// The data is being loaded or replaced.
    Loading,
}

/// The outcome of a save, for who waits for it.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// How many saves have ended.
    pub ended: u64,
    /// What went wrong with the last one.
    pub error: Option<Arc<str>>,
}

/// What INFO tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A file is being loaded.
    pub loading: bool,
    /// A file is being written, for so many seconds.
    pub running_seconds: Option<u64>,
    /// So many keys are in it by now.
    pub keys_done: u64,
    /// And so many will be.
    pub keys_in_all: u64,
    /// When the last save ended well, or the node started; milliseconds since the epoch.
    pub last_save: Millis,
    /// [`Keyspace::changes`] at that save.
    pub changes_saved: u64,
    /// Did the last save end well?
    pub last_ok: bool,
    /// How long it took, in seconds.
    pub last_seconds: Option<u64>,
    /// How many have ended well.
    pub saves: u64,
    /// What became of the keys of the file that was loaded.
    pub loaded: Loaded,
}

#[derive(Debug)]
struct State {
    running: Option<Instant>,
    thread: Option<JoinHandle<()>>,
    keys_in_all: u64,
    last_save: Millis,
    changes_saved: u64,
    last_failure: Option<Millis>,
    last_ok: bool,
    last_seconds: Option<u64>,
    saves: u64,
    loaded: Loaded,
    /// What the process does with the data when it ends, where somebody said so.
    at_end: Option<bool>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Persistence {
    options: PersistenceOptions,
    save_points: RwLock<SavePoints>,
    state: Mutex<State>,
    ended: watch::Sender<Saved>,
    keys_done: AtomicU64,
    loading: AtomicBool,
    /// A save is to begin as soon as that is possible.
    wanted: AtomicBool,
    cancelled: AtomicBool,
}

impl Persistence {
    /// Nothing is saved or loaded yet.
    pub fn new(options: PersistenceOptions, now: Millis) -> Persistence {
        let save_points = RwLock::new(options.save_points.clone());
        Persistence {
            options,
            save_points,
            state: Mutex::new(State {
                running: None,
                thread: None,
                keys_in_all: 0,
                last_save: now,
                changes_saved: 0,
                last_failure: None,
                last_ok: true,
                last_seconds: None,
                saves: 0,
                loaded: Loaded::default(),
                at_end: None,
            }),
            ended: watch::Sender::default(),
            keys_done: AtomicU64::new(0),
            loading: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Where the file is.
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// How the file is called.
    pub fn file_name(&self) -> &str {
        &self.options.file_name
    }

    /// The file with its directory.
    pub fn path(&self) -> PathBuf {
        self.options.directory.join(&self.options.file_name)
    }

    /// When the node saves by itself.
    pub fn save_points(&self) -> SavePoints {
        self.save_points.read().clone()
    }

    /// Changes when the node saves by itself.
    pub fn set_save_points(&self, points: SavePoints) {
        *self.save_points.write() = points;
    }

    /// Is a file being loaded?
    pub fn is_loading(&self) -> bool {
        self.loading.load(Relaxed)
    }

    /// What INFO tells.
    pub fn report(&self) -> Report {
        let state = self.state.lock();
        Report {
            loading: self.is_loading(),
            running_seconds: state.running.map(|since| since.elapsed().as_secs()),
            keys_done: self.keys_done.load(Relaxed),
            keys_in_all: state.keys_in_all,
            last_save: state.last_save,
            changes_saved: state.changes_saved,
            last_ok: state.last_ok,
            last_seconds: state.last_seconds,
            saves: state.saves,
            loaded: state.loaded,
        }
    }

    /// Hears when a save has ended.
    pub fn ended(&self) -> watch::Receiver<Saved> {
        self.ended.subscribe()
    }

    /// Begins a save of the data as it is now, on a thread of its own. Not within a transaction. Returns how many saves had
    /// ended by then: this one has ended when [`Persistence::ended`] tells of more.
    ///
    /// # Errors
    /// See [`Refused`]. What goes wrong later is told by [`Persistence::ended`] and the log.
    pub fn begin(self: &Arc<Self>, keyspace: &Arc<Keyspace>, now: Millis, hint: UseHint) -> Result<u64, Refused> {
        if self.is_loading() {
            return Err(Refused::Loading);
        }
        let ended = {
            let mut state = self.state.lock();
            if state.running.is_some() {
                return Err(Refused::Busy);
            }
            state.running = Some(Instant::now());
            // The end of a save is told under the lock.
            self.ended.borrow().ended
        };
        // Without the lock: who has locked the keyspace may ask for a report.
        let changes = keyspace.changes();
        let begun = Instant::now();
        let cut = Cut::begin(keyspace, now, Arc::new(FileForm { hint, now }));
        let pause = begun.elapsed();
        let mut state = self.state.lock();
        let Some(cut) = cut else {
            state.running = None;
            return Err(Refused::Loading);
        };
        self.keys_done.store(0, Relaxed);
        self.cancelled.store(false, Relaxed);
        state.keys_in_all = cut.sizes().iter().map(|size| size.keys as u64).sum();
        let (this, memory) = (Arc::clone(self), keyspace.memory());
        let work = move || this.run(cut, memory, changes, pause);
        match thread::Builder::new().name("save".to_owned()).spawn(work) {
            Ok(thread) => state.thread = Some(thread),
            Err(error) => self.note_end(&mut state, now, changes, Err(format!("cannot start a thread: {error}"))),
        }
        Ok(ended)
    }

    /// Begins a save as soon as that is possible: at the next [`Persistence::keep_up`].
    pub fn begin_soon(&self) {
        self.wanted.store(true, Relaxed);
    }

    /// Begins a save when one is wanted or due. To be called now and then.
    pub fn keep_up(self: &Arc<Self>, keyspace: &Arc<Keyspace>, now: Millis, hint: UseHint) {
        let wanted = self.wanted.load(Relaxed);
        if wanted || self.is_due(keyspace, now) {
            // Should one be running, the wish is kept.
            if self.begin(keyspace, now, hint).is_ok() && wanted {
                self.wanted.store(false, Relaxed);
            }
        }
    }

    fn is_due(&self, keyspace: &Keyspace, now: Millis) -> bool {
        let points = self.save_points.read();
        if points.is_empty() {
            return false;
        }
        let (since_save, since_failure, changes_saved) = {
            let state = self.state.lock();
            if state.running.is_some() {
                return false;
            }
            let since = |moment: Millis| now.saturating_sub(moment) / 1000;
            (since(state.last_save), state.last_failure.map(since), state.changes_saved)
        };
        // Changes are counted only when the time has come: that locks every shard once.
        points.is_due(since_save, since_failure, u64::MAX)
            && points.is_due(since_save, since_failure, keyspace.changes().saturating_sub(changes_saved))
    }

    /// Writes a cut, which held everything up for so long, and notes how that ended.
    fn run(&self, mut cut: Cut, memory: usize, changes: u64, pause: Duration) {
        let (started, begun) = (cut.now(), Instant::now());
        let path = self.path();
        let about = About { created: started / 1000, memory, redis_version: self.options.redis_version };
        let outcome = write_file(&mut cut, &about, &path, &mut |keys| {
            self.keys_done.store(keys, Relaxed);
            !self.cancelled.load(Relaxed)
        });
        let keys = cut.keys();
        drop(cut);
        let elapsed = begun.elapsed();
        match &outcome {
            Ok(bytes) => {
                let (millis, pause_micros) = (elapsed.as_millis() as u64, pause.as_micros() as u64);
                tracing::info!(path = %path.display(), keys, bytes, millis, pause_micros, "saved");
            }
            Err(SaveError::Cancelled { .. }) => tracing::info!(path = %path.display(), "a save was given up"),
            Err(error) => tracing::error!("{error}"),
        }
        let now = started.saturating_add(elapsed.as_millis() as u64);
        self.note_end(&mut self.state.lock(), now, changes, outcome.map(drop).map_err(|error| error.to_string()));
    }

    fn note_end(&self, state: &mut State, now: Millis, changes: u64, outcome: Result<(), String>) {
        let elapsed = state.running.take().map_or(Duration::ZERO, |since| since.elapsed());
        state.last_seconds = Some(elapsed.as_secs());
        state.last_ok = outcome.is_ok();
        if outcome.is_ok() {
            (state.last_save, state.changes_saved, state.last_failure) = (now, changes, None);
            state.saves += 1;
        } else {
            state.last_failure = Some(now);
        }
        self.ended.send_modify(|saved| {
            saved.ended += 1;
            saved.error = outcome.err().map(Arc::from);
        });
    }

    /// Gives up what is being saved or loaded, and waits until that has ended. Blocks.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.wait();
    }

    /// Waits until the save that goes on has ended. Blocks.
    pub fn wait(&self) {
        let thread = self.state.lock().thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a save failed; please report this");
        }
    }

    /// Says whether the data is saved when the process ends, whatever the save points are.
    pub fn decide_end(&self, save: bool) {
        self.state.lock().at_end = Some(save);
    }

    /// The process ends, and nobody writes any more: what is being saved is given up, and the data is saved once more if
    /// there are save points, or as [`Persistence::decide_end`] said. Blocks. The error is one line.
    ///
    /// # Errors
    /// The data was to be saved and was not.
    pub fn end(self: &Arc<Self>, keyspace: &Arc<Keyspace>, now: Millis, hint: UseHint) -> Result<(), String> {
        self.cancel();
        let is_wanted = self.state.lock().at_end.unwrap_or(!self.save_points.read().is_empty());
        if !is_wanted || self.is_loading() {
            return Ok(());
        }
        match self.begin(keyspace, now, hint) {
            Ok(_) => {}
            Err(Refused::Busy) => return Err("cannot save: another save began at the same moment".to_owned()),
            Err(Refused::Loading) => return Err("cannot save: the data is being loaded".to_owned()),
        }
        self.wait();
        self.ended.borrow().error.as_ref().map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// Is it certain that there is no file to load?
    pub fn has_no_file(&self) -> bool {
        matches!(self.path().try_exists(), Ok(false))
    }

    /// Loads the file, if there is one, while commands about data are answered with LOADING. Blocks. `now` is asked for the
    /// time.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self, keyspace: &Keyspace, now: &dyn Fn() -> Millis) -> Result<(), LoadError> {
        if self.has_no_file() {
            return Ok(());
        }
        let path = self.path();
        self.loading.store(true, Relaxed);
        let begun = Instant::now();
        // Should it end too early, this stays as if it went on: nobody may save, or be served, a part of the data.
        let loaded = load_file(keyspace, &path, now, &mut |loaded| {
            self.state.lock().loaded = *loaded;
            !self.cancelled.load(Relaxed)
        })?;
        self.loading.store(false, Relaxed);
        self.state.lock().changes_saved = keyspace.changes();
        let Loaded { keys, expired, kept, evicted, of_system, passed_over } = loaded;
        let millis = begun.elapsed().as_millis() as u64;
        tracing::info!(path = %path.display(), keys, expired, millis, "loaded");
        let warn = |count: u64, what: &str| {
            if count > 0 {
                tracing::warn!(path = %path.display(), count, "{what}");
            }
        };
        warn(kept, "keys were passed over: others had written them meanwhile");
        warn(evicted, "keys were evicted while the file was loaded: it holds more than --maxmemory");
        warn(of_system, "keys were passed over: their names begin with '__swytch:', which belongs to the system");
        warn(passed_over.libraries, "libraries of functions were passed over: their code does not say their names");
        warn(passed_over.module_data, "data of Redis modules was passed over");
        Ok(())
    }
}
