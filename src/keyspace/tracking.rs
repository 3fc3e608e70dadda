//! Which clients keep copies of which keys: client-side caching (CLIENT TRACKING).
//!
//! A reader is noted at the key that it is about to read, in the key's shard. Whatever changes the key, a command of this node or an
//! effect of a peer, finds it there, takes it away, and notes that its copy is stale. When the transaction ends, and before it gives
//! its locks back, the listener is told all that has become stale, in the order in which it happened. A shard at which nobody
//! is noted is not slowed down.
//!
//! A reader is noted before it reads. What changes in between makes it learn that its copy is stale right after it got it: one
//! message too many, and never one too few.
//!
//! Readers are numbers here, and keys are names: as in Redis one name is one key, whatever its database. Who is behind a number, whether
//! it still is there and what it wants to hear is the listener's business.
//!
//! # Bounds
//!
//! As many keys as [`Keyspace::set_tracking_limit`] says; others go, picked at random, and their readers are told that these are stale.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::{Key, Keyspace, Millis, Transaction, is_system_key};

/// Those who have read a key, by number, in no order.
pub type Readers = SmallVec<[u64; 2]>;

/// How many keys are kept in mind, unless configured otherwise: Redis's default.
const DEFAULT_LIMIT: usize = 1_000_000;

/// So many keys are forgotten at once, when there are too many.
const FORGOTTEN_AT_ONCE: usize = 100;

/// What readers must not rely on any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// What they have read of one key.
    Key {
        /// Its name.
        name: Box<[u8]>,
        /// Who has read it.
        readers: Readers,
        /// It was changed; otherwise it is only kept in mind no longer.
        changed: bool,
    },
    /// All that they have read.
    Everything,
}

#[derive(Debug)]
struct Noted {
    turn: u64,
    stale: Stale,
}

/// On cache lines of its own: every write looks at it, and it hardly ever changes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Broadcasts(AtomicUsize);

/// What is counted over all shards.
#[derive(Debug, Default)]
pub struct TrackingBooks {
    keys: AtomicUsize,
    items: AtomicUsize,
    /// Readers of any kind.
    readers: AtomicUsize,
    /// Those among them who want to know of every key that changes, read or not.
    broadcasts: Broadcasts,
    /// Orders what becomes stale in different shards.
    turns: AtomicU64,
}

/// The readers of the keys of one shard.
#[derive(Debug)]
pub struct Tracking {
    books: Arc<TrackingBooks>,
    keys: BTreeMap<Box<[u8]>, Readers>,
    noted: Vec<Noted>,
}

impl Tracking {
    /// Nobody reads yet.
    pub fn new(books: Arc<TrackingBooks>) -> Tracking {
        Tracking { books, keys: BTreeMap::new(), noted: Vec::new() }
    }

    /// Does nobody want to know of anything?
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.keys.is_empty() && !self.broadcasts()
    }

    #[inline]
    fn broadcasts(&self) -> bool {
        self.books.broadcasts.0.load(Relaxed) > 0
    }

    /// Has anything become stale that was not told yet?
    #[inline]
    pub fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }

    /// A reader is going to read a key.
    fn add(&mut self, key: &[u8], reader: u64) {
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => {
                self.books.keys.fetch_add(1, Relaxed);
                self.keys.entry(key.into()).or_default()
            }
        };
        if !readers.contains(&reader) {
            readers.push(reader);
            self.books.items.fetch_add(1, Relaxed);
        }
    }

    fn take(&mut self, key: &[u8]) -> Option<(Box<[u8]>, Readers)> {
        let taken = self.keys.remove_entry(key)?;
        self.books.keys.fetch_sub(1, Relaxed);
        self.books.items.fetch_sub(taken.1.len(), Relaxed);
        Some(taken)
    }

    fn note(&mut self, stale: Stale) {
        let turn = self.books.turns.fetch_add(1, Relaxed);
        self.noted.push(Noted { turn, stale });
    }

    /// A key was changed.
    pub fn touch(&mut self, key: &[u8]) {
        if let Some((name, readers)) = self.take(key) {
            self.note(Stale::Key { name, readers, changed: true });
            return;
        }
        // What the system keeps for itself is nobody's business, unless somebody has asked for it.
        if !self.broadcasts() || is_system_key(key) {
            return;
        }
        // A command often changes one key many times.
        let is_same = |noted: &Noted| matches!(&noted.stale, Stale::Key { name, .. } if **name == *key);
        if !self.noted.last().is_some_and(is_same) {
            self.note(Stale::Key { name: key.into(), readers: Readers::new(), changed: true });
        }
    }

    /// Everything is about to go. Returns what [`Tracking::end_flush`] wants.
    pub fn begin_flush(&mut self) -> usize {
        let items = self.keys.values().map(SmallVec::len).sum();
        self.books.keys.fetch_sub(self.keys.len(), Relaxed);
        self.books.items.fetch_sub(items, Relaxed);
        self.keys.clear();
        self.noted.len()
    }

    /// Everything has gone: that is told at once, and not for each key.
    pub fn end_flush(&mut self, begun: usize) {
        self.noted.truncate(begun);
    }

    /// Forgets a key, the one at this place of all.
    fn forget(&mut self, place: usize) {
        let name = self.keys.keys().nth(place).cloned();
        if let Some((name, readers)) = name.and_then(|name| self.take(&name)) {
            self.note(Stale::Key { name, readers, changed: false });
        }
    }
}

/// Who hears what has become stale: that, who caused it, and when.
pub type StaleListener = Box<dyn Fn(&[Stale], Option<u64>, Millis) + Send + Sync>;

/// What a keyspace knows of its readers beside the shards.
pub struct Tracked {
    pub(super) books: Arc<TrackingBooks>,
    /// Most keys; 0: any number.
    limit: AtomicUsize,
    listener: OnceLock<StaleListener>,
}

impl Default for Tracked {
    fn default() -> Tracked {
        Tracked { books: Arc::default(), limit: AtomicUsize::new(DEFAULT_LIMIT), listener: OnceLock::new() }
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tracked").field("books", &self.books).finish_non_exhaustive()
    }
}

impl Keyspace {
    /// Calls `listener` with all that a transaction has made stale, under its locks. It must be quick and take no locks of the keyspace.
    pub fn on_stale(&self, listener: StaleListener) {
        assert!(self.tracked.listener.set(listener).is_ok(), "the listener is set once");
    }

    /// How many keys are kept in mind at most; 0: any number.
    pub fn tracking_limit(&self) -> usize {
        self.tracked.limit.load(Relaxed)
    }

    /// Changes how many keys are kept in mind. The rest goes bit by bit.
    pub fn set_tracking_limit(&self, keys: usize) {
        self.tracked.limit.store(keys, Relaxed);
    }

    /// How many keys are kept in mind, and for how many readers in all.
    pub fn tracked(&self) -> (usize, usize) {
        let books = &self.tracked.books;
        (books.keys.load(Relaxed), books.items.load(Relaxed))
    }

    /// There is one reader more. As long as there is one who `broadcasts`, the listener hears of every key that changes, and not only of
    /// those that were read.
    pub fn add_reader(&self, broadcasts: bool) {
        self.tracked.books.readers.fetch_add(1, SeqCst);
        self.tracked.books.broadcasts.0.fetch_add(usize::from(broadcasts), SeqCst);
    }

    /// There is one reader less.
    pub fn remove_reader(&self, broadcasts: bool) {
        self.tracked.books.readers.fetch_sub(1, SeqCst);
        self.tracked.books.broadcasts.0.fetch_sub(usize::from(broadcasts), SeqCst);
    }

    /// Are there more keys in mind than there may be?
    #[inline]
    pub fn has_too_many_tracked(&self) -> bool {
        let limit = self.tracking_limit();
        limit > 0 && self.tracked().0 > limit
    }

    /// Forgets some keys, if there are too many. Not within a transaction.
    pub fn bound_tracked(&self, now: Millis) {
        let start = self.random.lock().usize(..Self::SHARDS);
        for shard in (0..FORGOTTEN_AT_ONCE + Self::SHARDS).map(|step| (start + step) % Self::SHARDS) {
            if !self.has_too_many_tracked() {
                return;
            }
            let mut guard = self.lock_shard(shard);
            let keys = guard.tracking.keys.len();
            if keys > 0 {
                guard.tracking.forget(self.random.lock().usize(..keys));
                let noted = std::mem::take(&mut guard.tracking.noted);
                self.tell_stale(noted, None, now);
            }
        }
    }

    #[cold]
    fn tell_stale(&self, mut noted: Vec<Noted>, writer: Option<u64>, now: Millis) {
        noted.sort_unstable_by_key(|noted| noted.turn);
        if let Some(listener) = self.tracked.listener.get() {
            let mut stale: Vec<Stale> = noted.into_iter().map(|noted| noted.stale).collect();
            // SWAPDB in a cluster empties two databases.
            stale.dedup_by(|next, one| (&*next, &*one) == (&Stale::Everything, &Stale::Everything));
            listener(&stale, writer, now);
        }
    }
}

impl Transaction<'_> {
    /// A client of this number is going to read a key, and wants to know when it changes.
    pub fn track(&mut self, key: Key<'_>, reader: u64) {
        self.shard_mut(key).tracking.add(key.bytes, reader);
    }

    /// From now on what changes is written by the client of this number.
    pub fn set_writer(&mut self, writer: u64) {
        self.writer = Some(writer);
    }

    /// Everything that was read may be stale. Only with everything locked.
    pub(super) fn note_everything_stale(&mut self) {
        if self.keyspace().tracked.books.readers.load(Relaxed) == 0 {
            return;
        }
        for (number, shard) in self.shards_mut() {
            shard.tracking.begin_flush();
            if number == 0 {
                shard.tracking.note(Stale::Everything);
            }
        }
    }

    /// Tells what has become stale, under the locks of the keys.
    #[cold]
    pub(super) fn tell_stale(&mut self) {
        let (now, writer, keyspace) = (self.now(), self.writer, self.keyspace());
        let noted = self.shards_unchanged().flat_map(|(_, shard)| std::mem::take(&mut shard.tracking.noted)).collect();
        keyspace.tell_stale(noted, writer, now);
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::effects::NodeId;
    use crate::keyspace::{KeyspaceOptions, Life};

    type Heard = Arc<Mutex<Vec<String>>>;

    /// A keyspace, and what its listener hears: `key:readers`, with the writer in front if there is one.
    fn listened(node: Option<NodeId>) -> (Keyspace, Heard) {
        let keyspace = Keyspace::new(KeyspaceOptions { node, ..KeyspaceOptions::default() });
        let heard = Heard::default();
        let listener = Arc::clone(&heard);
        keyspace.on_stale(Box::new(move |all, writer, _| {
            let mut heard = listener.lock();
            for stale in all {
                let text = match stale {
                    Stale::Everything => "everything".to_string(),
                    Stale::Key { name, readers, changed } => {
                        let changed = if *changed { "" } else { " forgotten" };
                        format!("{}:{:?}{changed}", String::from_utf8_lossy(name), readers.as_slice())
                    }
                };
                heard.push(writer.map_or(text.clone(), |writer| format!("{writer} {text}")));
            }
        }));
        (keyspace, heard)
    }

    fn track(keyspace: &Keyspace, keys: &[&str], reader: u64) {
        for name in keys {
            let key = keyspace.key(name.as_bytes());
            keyspace.lock_one(1, 0, key).track(key, reader);
        }
    }

    fn set(keyspace: &Keyspace, keys: &[&str], writer: u64) {
        let keys: Vec<Key<'_>> = keys.iter().map(|name| keyspace.key(name.as_bytes())).collect();
        let mut transaction = keyspace.lock_keys(1, 0, keys.iter().copied());
        transaction.set_writer(writer);
        keys.iter().for_each(|key| transaction.string_set(*key, b"v", Life::Forever));
    }

    fn take(heard: &Heard) -> Vec<String> {
        std::mem::take(&mut heard.lock())
    }

    #[test]
    fn a_change_is_told_once_in_the_order_of_the_command() {
        for node in [None, Some(NodeId(7))] {
            let (keyspace, heard) = listened(node);
            keyspace.add_reader(false);
            track(&keyspace, &["c", "a", "b"], 1);
            track(&keyspace, &["a"], 2);
            track(&keyspace, &["a"], 1);
            assert_eq!(keyspace.tracked(), (3, 4));
            set(&keyspace, &["b", "x", "a", "c", "b"], 9);
            assert_eq!(take(&heard), ["9 b:[1]", "9 a:[1, 2]", "9 c:[1]"]);
            set(&keyspace, &["a"], 9);
            assert!(take(&heard).is_empty());
            assert_eq!(keyspace.tracked(), (0, 0));
        }
    }

    #[test]
    fn everything_is_told_when_a_database_is_emptied() {
        for node in [None, Some(NodeId(7))] {
            let (keyspace, heard) = listened(node);
            keyspace.lock_all(1, 0).flush(None);
            assert!(take(&heard).is_empty(), "nobody reads");
            keyspace.add_reader(true);
            set(&keyspace, &["a", "b"], 9);
            take(&heard);
            track(&keyspace, &["a"], 1);
            keyspace.lock_all(1, 0).flush(Some(3));
            assert_eq!((take(&heard), keyspace.tracked()), (vec!["everything".to_string()], (0, 0)));
        }
    }

    #[test]
    fn whoever_wants_to_hear_of_every_key_does() {
        let (keyspace, heard) = listened(None);
        set(&keyspace, &["a"], 9);
        keyspace.add_reader(true);
        track(&keyspace, &["b"], 1);
        set(&keyspace, &["a", "a", "b", "__swytch:x"], 9);
        keyspace.remove_reader(true);
        set(&keyspace, &["a"], 9);
        assert_eq!(take(&heard), ["9 a:[]", "9 b:[1]"]);
    }

    #[test]
    fn too_many_keys_are_forgotten() {
        let (keyspace, heard) = listened(None);
        let names: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
        track(&keyspace, &names.iter().map(String::as_str).collect::<Vec<_>>(), 1);
        keyspace.bound_tracked(1);
        assert!(take(&heard).is_empty());
        keyspace.set_tracking_limit(10);
        keyspace.bound_tracked(1);
        let forgotten = take(&heard);
        assert_eq!((forgotten.len(), keyspace.tracked()), (40, (10, 10)));
        assert!(forgotten.iter().all(|text| text.ends_with(":[1] forgotten")));
        keyspace.set_tracking_limit(0);
        keyspace.bound_tracked(1);
        assert!(take(&heard).is_empty());
    }

    #[test]
    fn what_is_over_is_stale_when_it_goes() {
        let (keyspace, heard) = listened(None);
        let key = keyspace.key(b"k");
        keyspace.lock_one(1, 0, key).string_set(key, b"v", Life::Until(10));
        track(&keyspace, &["k"], 1);
        keyspace.upkeep(11, Keyspace::SHARDS);
        assert_eq!(take(&heard), ["k:[1]"]);
    }
}
