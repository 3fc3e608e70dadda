//! What a node knows of scripts and functions: texts by name, libraries, the script that takes too long, limits.
//!
//! Each thread has an [`Engine`] of its own for each node that it serves (one, but in simulations), made when it runs its first
//! script. What is compiled in it follows the texts and libraries of the node by version numbers.
//!
//! # Bounds
//!
//! Scripts that EVAL brings are kept up to [`MOST_FROM_EVAL`], as in Redis 7.4; the oldest goes, and whoever calls it by its name is
//! told that it is not there. Those of SCRIPT LOAD stay until SCRIPT FLUSH.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::context::Context;
use super::script_host::LoadingHost;
use super::spec::Flags;
use super::{Entry, Refusal, ServerState, Session};
use crate::keyspace::{Libraries, Millis, Watcher};
use crate::scripting::{Digest, Engine, FunctionFacts};

/// Scripts of EVAL that are kept for EVALSHA.
const MOST_FROM_EVAL: usize = 500;
/// What a kept script takes beside its text, in bytes, about.
const TEXT_BYTES: usize = 96;
/// After so many milliseconds a script is overdue, unless configured.
const DEFAULT_THRESHOLD: u64 = 5000;
/// No thread.
const NONE: usize = usize::MAX;

/// What runs under a name: a script or a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The name of the function, if it is one.
    pub function: Option<Vec<u8>>,
    /// The request.
    pub command: Vec<Vec<u8>>,
    /// When it began, by the stopwatch, in nanoseconds.
    pub begun: u64,
}

#[derive(Debug)]
struct Text {
    source: Arc<[u8]>,
    /// It came by SCRIPT LOAD.
    loaded: bool,
}

#[derive(Debug, Default)]
struct Texts {
    by_digest: HashMap<Digest, Text>,
    /// Those of EVAL, the oldest first.
    from_eval: VecDeque<Digest>,
    bytes: usize,
}

/// A library in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    pub name: Vec<u8>,
    pub code: Vec<u8>,
    pub functions: Vec<FunctionFacts>,
}

#[derive(Debug, Default)]
struct LibraryList {
    /// Touched when the data changes.
    watcher: Option<Arc<Watcher>>,
    data: Libraries,
    list: Arc<Vec<Library>>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Scripting {
    /// Names this node in what threads keep.
    identity: Arc<()>,
    texts: RwLock<Texts>,
    /// Counts SCRIPT FLUSH.
    texts_version: AtomicU64,
    libraries: Mutex<LibraryList>,
    libraries_version: AtomicU64,
    /// The script that takes too long.
    running: Mutex<Option<Running>>,
    /// It has written.
    pub(super) wrote: AtomicBool,
    /// It is to end.
    killed: AtomicBool,
    /// The thread whose clients wait because a script runs on it, not only just begun.
    held_up: AtomicUsize,
    /// The thread that scripts run on; `NONE`: any.
    place: AtomicUsize,
    /// `busy-reply-threshold`, in milliseconds; 0: none is overdue.
    threshold: AtomicU64,
    /// Bytes of all engines.
    engines: AtomicIsize,
}

impl Default for Scripting {
    fn default() -> Scripting {
        Scripting {
            identity: Arc::default(),
            texts: RwLock::default(),
            texts_version: AtomicU64::new(1),
            libraries: Mutex::default(),
            libraries_version: AtomicU64::new(1),
            running: Mutex::default(),
            wrote: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            held_up: AtomicUsize::new(NONE),
            place: AtomicUsize::new(NONE),
            threshold: AtomicU64::new(DEFAULT_THRESHOLD),
            engines: AtomicIsize::new(0),
        }
    }
}

/// An engine of this thread.
struct Mine {
    node: Weak<()>,
    engine: Engine,
    /// Its part of [`Scripting::engines`].
    reported: usize,
}

thread_local! {
    static ENGINES: RefCell<Vec<Mine>> = const { RefCell::new(Vec::new()) };
}

/// The part of an engine's memory that others learn of is right up to so many bytes.
const REPORTED_STEP: usize = 16 << 10;

/// What SCRIPT KILL says of a script that has written.
pub const UNKILLABLE: Refusal = Refusal::Fixed(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
     termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// May this command run while the data cannot be got at?
pub fn runs_while_busy(session: &Session, entry: &Entry) -> bool {
    let needs_data = !entry.command.keys.is_empty()
        || session.is_noted_at_keys() && matches!(&*entry.full_name, "discard" | "unwatch" | "reset" | "quit");
    entry.command.flags.has(Flags::ALLOW_BUSY) && !needs_data
}

impl Scripting {
    /// The refusal of everybody else while a script takes too long.
    pub fn busy(&self) -> Refusal {
        let is_function = self.running.lock().as_ref().is_some_and(|running| running.function.is_some());
        Refusal::Fixed(if is_function {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        } else {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        })
    }

    /// The script that takes too long.
    pub fn running(&self) -> Option<Running> {
        self.running.lock().clone()
    }

    /// A script takes too long. For who runs it.
    pub(super) fn note_overdue(&self, running: Running) {
        *self.running.lock() = Some(running);
    }

    /// Which thread's clients wait for a script.
    pub fn held_up(&self) -> Option<usize> {
        Some(self.held_up.load(Relaxed)).filter(|thread| *thread != NONE)
    }

    /// From now on scripts run on this thread; none: on any.
    pub fn set_place(&self, thread: Option<usize>) {
        self.place.store(thread.unwrap_or(NONE), Relaxed);
    }

    /// The thread that scripts are to run on instead of this one, if they are.
    pub(super) fn elsewhere(&self, thread: usize) -> Option<usize> {
        Some(self.place.load(Relaxed)).filter(|place| ![NONE, thread].contains(place))
    }

    pub(super) fn note_held_up(&self, thread: usize) {
        self.held_up.store(thread, Relaxed);
    }

    /// The script has ended. `noted`: something was noted about it.
    pub(super) fn note_end(&self, noted: bool) {
        if noted {
            *self.running.lock() = None;
            self.held_up.store(NONE, Relaxed);
            self.killed.store(false, Relaxed);
            self.wrote.store(false, Relaxed);
        }
    }

    /// Is the script that takes too long to end?
    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Ends the script, or function, that takes too long.
    pub fn kill(&self, functions: bool) -> Result<(), Refusal> {
        let running = self.running.lock();
        let Some(script) = &*running else {
            return Err(Refusal::Fixed("NOTBUSY No scripts in execution right now."));
        };
        if self.wrote.load(Relaxed) {
            return Err(UNKILLABLE);
        }
        if script.function.is_some() != functions {
            drop(running);
            return Err(self.busy());
        }
        self.killed.store(true, Relaxed);
        Ok(())
    }

    /// `busy-reply-threshold`, in milliseconds.
    pub fn threshold(&self) -> u64 {
        self.threshold.load(Relaxed)
    }

    /// Changes it.
    pub fn set_threshold(&self, milliseconds: u64) {
        self.threshold.store(milliseconds, Relaxed);
    }

    /// The text of a script that was seen before.
    pub fn text(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.texts.read().by_digest.get(digest).map(|text| Arc::clone(&text.source))
    }

    /// Is it there?
    pub fn has_text(&self, digest: &Digest) -> bool {
        self.texts.read().by_digest.contains_key(digest)
    }

    /// Keeps the text of a script that was compiled.
    pub fn keep_text(&self, digest: Digest, source: &[u8], loaded: bool) {
        let texts = &mut *self.texts.write();
        if let Some(text) = texts.by_digest.get_mut(&digest) {
            if loaded && !std::mem::replace(&mut text.loaded, true) {
                texts.from_eval.retain(|other| *other != digest);
            }
            return;
        }
        if !loaded {
            if texts.from_eval.len() == MOST_FROM_EVAL
                && let Some(oldest) = texts.from_eval.pop_front()
                && let Some(text) = texts.by_digest.remove(&oldest)
            {
                texts.bytes -= text.source.len() + TEXT_BYTES;
            }
            texts.from_eval.push_back(digest);
        }
        texts.bytes += source.len() + TEXT_BYTES;
        texts.by_digest.insert(digest, Text { source: source.into(), loaded });
    }

    /// SCRIPT FLUSH.
    pub fn forget_texts(&self) {
        *self.texts.write() = Texts::default();
        self.texts_version.fetch_add(1, Relaxed);
    }

    /// How many texts are kept, and their bytes.
    pub fn texts(&self) -> (usize, usize) {
        let texts = self.texts.read();
        (texts.by_digest.len(), texts.bytes)
    }

    /// Is there any library, or was there when somebody last looked?
    fn has_data(&self, context: &Context<'_>) -> bool {
        if !self.libraries.lock().data.is_empty() {
            return true;
        }
        let unwatched = Arc::default();
        let data = context.state.keyspace.libraries(context.now, &unwatched);
        context.state.keyspace.forget_watcher(&unwatched);
        !data.is_empty()
    }

    /// Bytes of all Lua states, about.
    pub fn memory(&self) -> usize {
        usize::try_from(self.engines.load(Relaxed)).unwrap_or(0)
    }

    /// How many libraries and functions there are, and the bytes of their code, as they were when somebody last looked.
    fn library_counts(&self) -> (usize, usize, usize) {
        let list = Arc::clone(&self.libraries.lock().list);
        let functions = list.iter().map(|library| library.functions.len()).sum();
        (list.len(), functions, list.iter().map(|library| library.code.len() + TEXT_BYTES).sum())
    }
}

/// Uses the engine of this thread, which it makes if there is none.
pub fn with_engine<T>(state: &ServerState, work: impl FnOnce(&mut Engine) -> T) -> Result<T, Refusal> {
    let scripting = &state.scripting;
    // Taken out while it is in use: should something panic, it does not come back.
    let found = ENGINES.with_borrow_mut(|all| {
        let at = all.iter().position(|mine| mine.node.as_ptr() == Arc::as_ptr(&scripting.identity))?;
        Some(all.swap_remove(at))
    });
    let mut mine = match found {
        Some(mine) => mine,
        None => {
            ENGINES.with_borrow_mut(|all| all.retain(|mine| mine.node.strong_count() > 0));
            let engine = Engine::new().map_err(|error| Refusal::built(format!("ERR cannot start Lua: {error}")))?;
            Mine { node: Arc::downgrade(&scripting.identity), engine, reported: 0 }
        }
    };
    let version = scripting.texts_version.load(Relaxed);
    if mine.engine.versions.0 != version {
        mine.engine.forget_scripts();
        mine.engine.versions.0 = version;
    }
    let outcome = work(&mut mine.engine);
    let memory = mine.engine.memory();
    if memory.abs_diff(mine.reported) >= REPORTED_STEP {
        scripting.engines.fetch_add(memory as isize - mine.reported as isize, Relaxed);
        mine.reported = memory;
    }
    ENGINES.with_borrow_mut(|all| all.push(mine));
    Ok(outcome)
}

/// The libraries, with what this thread's engine has of them brought up to date.
pub fn libraries(state: &ServerState, engine: &mut Engine, now: Millis) -> Arc<Vec<Library>> {
    let scripting = &state.scripting;
    let mut libraries = scripting.libraries.lock();
    if libraries.watcher.as_ref().is_none_or(|watcher| watcher.is_touched()) {
        if let Some(former) = libraries.watcher.take() {
            state.keyspace.forget_watcher(&former);
        }
        let watcher = Arc::default();
        let data = state.keyspace.libraries(now, &watcher);
        libraries.watcher = Some(watcher);
        if data != libraries.data {
            libraries.list = Arc::new(load_all(state, engine, &data));
            libraries.data = data;
            let version = scripting.libraries_version.fetch_add(1, Relaxed) + 1;
            engine.versions.1 = version;
        }
    }
    let version = scripting.libraries_version.load(Relaxed);
    let list = Arc::clone(&libraries.list);
    drop(libraries);
    if engine.versions.1 != version {
        engine.forget_libraries();
        for library in list.iter() {
            let loaded = engine.load(&library.code, &mut LoadingHost::new(state));
            if let Err(error) = loaded.and_then(|loaded| engine.keep(&loaded)) {
                note_unloadable(&library.name, &error);
            }
        }
        engine.versions.1 = version;
    }
    list
}

/// How many libraries and functions there are, and the bytes of their code. Where nothing may be locked, as they were when somebody
/// last looked.
pub fn library_counts(context: &Context<'_>) -> (usize, usize, usize) {
    let state = context.state;
    if context.held.is_none() && !context.session.turned_away && state.is_serving() && state.scripting.has_data(context)
    {
        // Should Lua not start, there are none in use.
        let _ = with_engine(state, |engine| libraries(state, engine, context.now));
    }
    state.scripting.library_counts()
}

/// Loads libraries in the order of their names. What does not load, or has a function that another one has, is passed over: at
/// every node alike.
fn load_all(state: &ServerState, engine: &mut Engine, data: &Libraries) -> Vec<Library> {
    engine.forget_libraries();
    let mut list: Vec<Library> = Vec::new();
    for (name, code) in data {
        let loaded = match engine.load(code, &mut LoadingHost::new(state)) {
            Ok(loaded) => loaded,
            Err(error) => {
                note_unloadable(name, &error);
                continue;
            }
        };
        let functions = loaded.functions.clone();
        if loaded.name != *name {
            note_unloadable(name, b"its code names it otherwise");
        } else if let Some(taken) = taken(&list, &functions) {
            note_unloadable(name, &[b"another library has the function ", &*taken].concat());
        } else if let Err(error) = engine.keep(&loaded) {
            note_unloadable(name, &error);
        } else {
            list.push(Library { name: name.clone(), code: code.clone(), functions });
        }
    }
    list
}

/// A function of these that a library has already, by any case of its name.
pub fn taken(libraries: &[Library], functions: &[FunctionFacts]) -> Option<Vec<u8>> {
    let has = |name: &[u8]| {
        let all = libraries.iter().flat_map(|library| &library.functions);
        all.into_iter().any(|function| function.name.eq_ignore_ascii_case(name))
    };
    functions.iter().find(|function| has(&function.name)).map(|function| function.name.clone())
}

fn note_unloadable(name: &[u8], why: &[u8]) {
    let (name, why) = (String::from_utf8_lossy(name), String::from_utf8_lossy(why));
    tracing::warn!(%name, %why, "a library of functions is not used");
}
