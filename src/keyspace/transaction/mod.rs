//! One command's access to the data: atomic, and one effect.
//!
//! A transaction holds the locks of all shards that its command touches. In a cluster its first write also takes the
//! lock of the [`Origin`], so that the order of effects is the order of execution, and what an effect claims to have
//! seen is exactly what it could see.
//!
//! What is written by who is alone ([`super::Exclusive`]) is one effect, too: its transactions leave the effect open.
//!
//! Here is what concerns any key; the reads and writes of each type are in a file of their own.

mod bits;
mod hash;
mod held;
mod list;
mod remaining;
mod set;
mod sorted_set;
mod stream;
mod string;
mod whole;

use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use thiserror::Error;

pub use held::Held;
pub use sorted_set::Taken;
pub use stream::GroupOf;
pub use whole::{Contents, KeyFacts, Located};

use super::causality::{Mark, Seen};
use super::entry::Entry;
use super::events::Noted;
use super::shard::{Place, Shard, Spot};
use super::snapshot::describe;
use super::types::replaces_key;
use super::value::Collection;
use super::waiting::Waiter;
use super::watching::{Watched, Watcher};
use super::{Inside, Keyspace, Kind, Millis, WrongType, is_system_key};
use crate::effects::{Action, Operation, Origin};

/// A key's name with its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

impl Key<'_> {
    /// Behind which lock the key lies.
    pub fn shard(&self) -> usize {
        Keyspace::shard_of(self.hash)
    }
}

/// What becomes of the time to live when a string is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Forever,
    Keep,
    Until(Millis),
}

/// Why a write is refused. The texts are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR hash value is not an integer")]
    HashValueNotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR hash value is not a float")]
    HashValueNotAFloat,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    #[error("ERR the change is larger than what nodes can send to each other at once (600 MB)")]
    TooLarge,
    #[error("ERR resulting score is not a number (NaN)")]
    ScoreNotANumber,
}

impl From<WrongType> for WriteError {
    fn from(_: WrongType) -> Self {
        WriteError::WrongType
    }
}

/// See the module's text. Dropping it commits.
pub struct Transaction<'k> {
    keyspace: &'k Keyspace,
    now: Millis,
    database: u32,
    guards: SmallVec<[(usize, MutexGuard<'k, Shard>); 1]>,
    origin: Option<MutexGuard<'k, Origin>>,
    wrote: bool,
    /// A snapshot is being imported: nothing is there, and writes do nothing. The caller finds out by
    /// [`Keyspace::is_loading`] and tells its client.
    void: bool,
    /// What is read does not count as used.
    quiet: bool,
    /// Several commands run as one: where the locks go back to.
    home: Option<Held<'k>>,
    /// What is to be told before the locks go.
    noted: Vec<Noted>,
    /// The client that writes, if it is one of this node.
    pub(super) writer: Option<u64>,
    /// The pass to the shards; it goes after their locks.
    inside: Option<Inside<'k>>,
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Transaction").field("database", &self.database).field("shards", &self.guards.len()).finish()
    }
}

impl<'k> Transaction<'k> {
    pub(super) fn new(keyspace: &'k Keyspace, now: Millis, database: u32) -> Self {
        Transaction {
            keyspace,
            now,
            database,
            guards: SmallVec::new(),
            origin: None,
            wrote: false,
            void: false,
            quiet: false,
            home: None,
            noted: Vec::new(),
            writer: None,
            inside: Some(keyspace.gates().enter()),
        }
    }

    /// What is read from now on does not count as used.
    pub fn read_quietly(&mut self) {
        self.quiet = true;
    }

    /// Adds a locked shard, in ascending order.
    pub(super) fn add_guard(&mut self, shard: usize, guard: MutexGuard<'k, Shard>) {
        debug_assert!(self.guards.last().is_none_or(|last| last.0 < shard), "locks are taken in order");
        self.guards.push((shard, guard));
        // Read under the lock of a shard: an import sets it while it holds them all.
        self.void = self.keyspace.loading.load(Acquire);
    }

    /// The time of this command.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The number of the database of the keys.
    pub(super) fn database(&self) -> u32 {
        self.database
    }

    /// At how many keys blocking commands wait. Only with everything locked.
    pub fn waited_for(&self) -> usize {
        self.visible_shards().iter().map(|(_, shard)| shard.waiting.keys()).sum()
    }

    pub(super) fn keyspace(&self) -> &'k Keyspace {
        self.keyspace
    }

    pub(super) fn noted(&mut self) -> &mut Vec<Noted> {
        &mut self.noted
    }

    /// Is a snapshot being imported? Then nothing is there.
    pub(super) fn is_void(&self) -> bool {
        self.void
    }

    /// The locked shards, for what does not change their keys.
    pub(super) fn shards_unchanged(&mut self) -> impl Iterator<Item = (usize, &mut Shard)> {
        self.guards.iter_mut().map(|(shard, guard)| (*shard, &mut **guard))
    }

    /// [`Keyspace::changes`], within a transaction. Only with everything locked.
    pub fn changes(&self) -> u64 {
        assert_eq!(self.guards.len(), Keyspace::SHARDS, "only with everything locked");
        self.guards.iter().map(|guard| guard.1.changes).sum()
    }

    /// All shards, or none while a snapshot is being imported. Only with everything locked.
    pub(super) fn visible_shards(&self) -> &[(usize, MutexGuard<'k, Shard>)] {
        assert_eq!(self.guards.len(), Keyspace::SHARDS, "only with everything locked");
        if self.void { &[] } else { &self.guards }
    }

    pub(super) fn shard(&self, key: Key<'_>) -> &Shard {
        &self.guards[self.guard_of(key)].1
    }

    pub(super) fn shard_mut(&mut self, key: Key<'_>) -> &mut Shard {
        let at = self.guard_of(key);
        &mut self.guards[at].1
    }

    fn guard_of(&self, key: Key<'_>) -> usize {
        if self.guards.len() == 1 {
            debug_assert_eq!(self.guards[0].0, Keyspace::shard_of(key.hash));
            return 0;
        }
        let shard = Keyspace::shard_of(key.hash);
        self.guards.binary_search_by_key(&shard, |guard| guard.0).expect("a command locks every key that it touches")
    }

    fn place<'a>(&self, key: Key<'a>) -> Place<'a> {
        Place { database: self.database, key: key.bytes, hash: key.hash }
    }

    /// The entry, unless its time is over.
    fn live(&self, key: Key<'_>) -> Option<&Entry> {
        let entry = self.shard(key).entry(&self.place(key))?;
        (entry.is_live(self.now) && !self.void).then_some(entry)
    }

    /// The entry, unless its time is over; counts as a use.
    fn used(&mut self, key: Key<'_>) -> Option<&Entry> {
        self.used_at(key).map(|(_, entry)| entry)
    }

    /// [`Transaction::used`], with where the entry is until the next change.
    fn used_at(&mut self, key: Key<'_>) -> Option<(usize, &Entry)> {
        let (place, now, void, quiet) = (self.place(key), self.now, self.void, self.quiet);
        let (at, entry) = self.shard_mut(key).used_entry(&place, now, quiet)?;
        (entry.is_live(now) && !void).then_some((at, entry))
    }

    /// The type; `None` when the key is absent or expired. Does not count as a use.
    pub fn kind(&self, key: Key<'_>) -> Option<Kind> {
        self.live(key).map(Entry::kind)
    }

    /// A collection of one type; counts as a use.
    fn collection<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<&C>, WrongType> {
        Ok(self.collection_at(key)?.map(|(_, collection)| collection))
    }

    /// [`Transaction::collection`], with where the key's entry is until the next change.
    fn collection_at<C: Collection>(&mut self, key: Key<'_>) -> Result<Option<(usize, &C)>, WrongType> {
        let Some((at, entry)) = self.used_at(key) else { return Ok(None) };
        entry.collection().and_then(C::of).map(|collection| Some((at, collection))).ok_or(WrongType)
    }

    /// Until when the key lives: `None` without such a key, `Some(None)` for ever.
    pub fn deadline(&self, key: Key<'_>) -> Option<Option<Millis>> {
        self.live(key).map(Entry::deadline)
    }

    /// Counts a use, whatever was said about it. True when the key is there.
    pub fn touch(&mut self, key: Key<'_>) -> bool {
        let quiet = std::mem::take(&mut self.quiet);
        let there = self.used(key).is_some();
        self.quiet = quiet;
        there
    }

    /// All keys of the database that are not expired and not of the system. Only with everything locked.
    pub fn for_each_key(&self, each: &mut dyn FnMut(&[u8], Kind)) {
        for entry in self.all_entries() {
            if entry.is_live(self.now) && !is_system_key(entry.key()) {
                each(entry.key(), entry.kind());
            }
        }
    }

    fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        let database = self.database as usize;
        self.visible_shards()
            .iter()
            .filter_map(move |guard| guard.1.databases.get(database))
            .flat_map(|keys| keys.entries())
    }

    /// Keys of the database, and how many of them have a deadline. Only with everything locked.
    pub fn size(&self) -> (usize, usize) {
        if self.void {
            return (0, 0);
        }
        let databases = self.guards.iter().filter_map(|guard| guard.1.databases.get(self.database as usize));
        databases.fold((0, 0), |sum, keys| (sum.0 + keys.visible(), sum.1 + keys.with_deadline()))
    }

    /// A key picked at random, each with the same chance. Only with everything locked.
    pub fn random_key(&self, random: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let keys = self.guards.iter().filter_map(|guard| guard.1.databases.get(self.database as usize));
        let total: usize = keys.clone().map(|keys| keys.len()).sum();
        // Expired keys and those of the system do not count: a few tries, then the first that does.
        for _ in 0..100 {
            if total == 0 || self.void {
                return None;
            }
            let mut at = random.usize(..total);
            for keys in keys.clone() {
                if at >= keys.len() {
                    at -= keys.len();
                    continue;
                }
                let entry = keys.at(at);
                if entry.is_live(self.now) && !is_system_key(entry.key()) {
                    return Some(entry.key().to_vec());
                }
                break;
            }
        }
        let mut first = None;
        self.for_each_key(&mut |key, _| {
            first.get_or_insert_with(|| key.to_vec());
        });
        first
    }

    /// Applies one action here, and makes it part of this command's effect.
    fn write(&mut self, key: Key<'_>, action: Action<'_>, result: Option<&[u8]>) -> bool {
        self.write_at(key, None, action, result)
    }

    /// [`Transaction::write`]; `at`: where the key's entry is, if that is known.
    fn write_at(&mut self, key: Key<'_>, at: Option<usize>, action: Action<'_>, result: Option<&[u8]>) -> bool {
        if self.void {
            return false;
        }
        let is_new = self.keyspace.events.wants_any() && self.announce_absence(key, matches!(action, Action::Remove));
        let changed = self.write_quietly(key, at, action, result);
        if is_new {
            self.announce_presence(key);
        }
        changed
    }

    fn write_quietly(&mut self, key: Key<'_>, at: Option<usize>, action: Action<'_>, result: Option<&[u8]>) -> bool {
        self.wrote = true;
        let place = self.place(key);
        let guard = self.guard_of(key);
        let Transaction { keyspace, now, database, guards, origin, .. } = self;
        let shard = &mut guards[guard].1;
        let Some(lock) = &keyspace.origin else {
            return match at {
                Some(_) => {
                    let spot = Spot { place: &place, found: at };
                    shard.apply_at(&keyspace.hasher, *now, spot, &action, result, None)
                }
                None => shard.apply(&keyspace.hasher, *now, &place, &action, result, None),
            };
        };
        let origin = origin.get_or_insert_with(|| lock.lock());
        let (dot, stamp) = origin.open(*now);
        origin.push(Operation::Key { database: *database, key: key.bytes, action });
        let seen = Seen { frontier: origin.frontier(), own: dot, stable: true };
        let mark = Mark { dot, stamp, seen, known: seen.frontier, applied: seen.frontier };
        let settles = settles_types(&action) && shard.has_hidden(&place);
        let changed = shard.apply(&keyspace.hasher, *now, &place, &action, result, Some(&mark));
        if settles {
            // This write clears the values of other types. Some of the key's life may have come from them: it says anew
            // how long the key lives, since another node may not know any more what came from where.
            let action = Action::Deadline { at: shard.entry(&place).and_then(Entry::deadline) };
            shard.apply(&keyspace.hasher, *now, &place, &action, None, Some(&mark));
            origin.push(Operation::Key { database: *database, key: key.bytes, action });
        }
        changed
    }

    /// Does what is written here become effects that other nodes apply?
    fn makes_effects(&self) -> bool {
        self.keyspace.origin.is_some()
    }

    /// The bytes of a string, to change what is no part of the data: other nodes do not learn of it.
    fn text_mut(&mut self, key: Key<'_>) -> Option<&mut [u8]> {
        let place = self.place(key);
        let database = self.shard_mut(key).database_mut(place.database);
        let at = database.find(place.hash, place.key)?;
        database.entry_mut(at).text_mut()
    }

    /// Before a write that builds on what is there: an expired key goes first. In a cluster a write that makes a new key
    /// says so by removing whatever concurrent changes may have left of its former life (its TTL). `is_live`: the key was
    /// seen to be there.
    fn prepare(&mut self, key: Key<'_>, is_live: bool) {
        if is_live {
            return;
        }
        let is_live = self.shard(key).entry(&self.place(key)).map(|entry| entry.is_live(self.now));
        match is_live {
            Some(false) => {
                self.keyspace.expired.fetch_add(1, Relaxed);
                self.announce_end(key);
                self.write(key, Action::Remove, None);
            }
            Some(true) => {}
            None if self.keyspace.origin.is_some() => {
                self.write(key, Action::Remove, None);
            }
            None => {}
        }
    }

    /// Removes a key. True when it was there.
    pub fn remove(&mut self, key: Key<'_>) -> bool {
        let there = self.live(key).is_some();
        // An expired one goes as well: nobody else may be near to do it.
        if self.has_expired(key) && !self.void {
            self.keyspace.expired.fetch_add(1, Relaxed);
            self.announce_end(key);
        }
        if self.shard(key).entry(&self.place(key)).is_some() {
            self.write(key, Action::Remove, None);
        }
        there
    }

    /// Removes all keys of a database, or of all. Only with everything locked. Returns how many keys went.
    pub fn flush(&mut self, number: Option<u32>) -> usize {
        assert_eq!(self.guards.len(), Keyspace::SHARDS, "only with everything locked");
        if self.void {
            return 0;
        }
        self.note_everything_stale();
        self.wrote = true;
        let Transaction { keyspace, now, guards, origin, .. } = self;
        let mark;
        let mark = match &keyspace.origin {
            None => None,
            Some(lock) => {
                let origin = origin.get_or_insert_with(|| lock.lock());
                let (dot, stamp) = origin.open(*now);
                origin.push(Operation::Flush { database: number });
                let seen = Seen { frontier: origin.frontier(), own: dot, stable: true };
                mark = Mark { dot, stamp, seen, known: seen.frontier, applied: seen.frontier };
                Some(&mark)
            }
        };
        let mut removed = 0;
        for (_, shard) in guards.iter_mut() {
            removed += shard.flush_databases(&keyspace.hasher, *now, number, mark, None);
        }
        removed
    }

    /// Changes until when a key lives; `None`: for ever. False without such a key.
    pub fn set_deadline(&mut self, key: Key<'_>, deadline: Option<Millis>) -> bool {
        let there = self.live(key).is_some();
        if there {
            self.write(key, Action::Deadline { at: deadline }, None);
        }
        there
    }

    /// Applies an action of an effect that is not this node's, or not new.
    pub(super) fn apply(&mut self, key: Key<'_>, database: u32, action: &Action<'_>, mark: &Mark<'_>) {
        self.wrote = true;
        let place = Place { database, key: key.bytes, hash: key.hash };
        let (keyspace, now) = (self.keyspace, self.now);
        self.shard_mut(key).apply(&keyspace.hasher, now, &place, action, None, Some(mark));
    }

    /// Is the key there, and its time over, or that of all its fields?
    pub(super) fn has_expired(&self, key: Key<'_>) -> bool {
        self.shard(key).entry(&self.place(key)).is_some_and(|entry| !entry.is_live(self.now))
    }

    /// Is the key there, and its time not over, but that of all its fields?
    pub(super) fn ended_by_fields(&self, key: Key<'_>) -> bool {
        let entry = self.shard(key).entry(&self.place(key)).filter(|entry| !entry.is_live(self.now));
        entry.is_some_and(|entry| entry.deadline().is_none_or(|deadline| deadline > self.now))
    }

    /// Makes another database the current one: the keys that follow are in it.
    pub fn select(&mut self, database: u32) {
        self.database = database;
    }

    /// All keys of all databases as text. Only with everything locked.
    pub(super) fn dump(&self) -> Vec<String> {
        let databases = self.guards.iter().flat_map(|guard| guard.1.databases.iter().enumerate());
        databases.flat_map(|(number, keys)| keys.entries().iter().map(move |entry| describe(number, entry))).collect()
    }

    /// May this client take what the key has, or does another one wait for it longer? `None`: it does not wait.
    pub fn is_first(&self, key: Key<'_>, kind: Kind, waiter: Option<&Arc<Waiter>>) -> bool {
        self.shard(key).waiting.is_first(self.database, key.bytes, kind, waiter)
    }

    /// From now on the waiter is woken when the key has something of this type. In order of arrival.
    pub fn wait(&mut self, key: Key<'_>, kind: Kind, waiter: &Arc<Waiter>) {
        let database = self.database;
        self.shard_mut(key).waiting.add(database, key.bytes, kind, waiter);
    }

    /// The waiter waits no longer at this key. Who comes next is woken if something is there.
    pub fn stop_waiting(&mut self, key: Key<'_>, waiter: &Arc<Waiter>) {
        let database = self.database;
        let waiting = &mut self.shard_mut(key).waiting;
        waiting.remove(key.bytes, waiter);
        waiting.note(database, key.bytes);
        self.wrote = true;
    }

    /// Whoever watches the key, or keeps a copy of it, is to take it for changed, though it is as before.
    pub fn count_as_changed(&mut self, key: Key<'_>) {
        self.wrote = true;
        let (now, place) = (self.now, self.place(key));
        self.shard_mut(key).tell_changed(now, &place);
    }

    /// Whoever watches the key, or keeps a copy of it, learns of no change by `work`; of the end of its time they do.
    pub fn unnoticed<T>(&mut self, key: Key<'_>, work: impl FnOnce(&mut Self) -> T) -> T {
        if self.has_expired(key) {
            self.prepare(key, false);
        }
        self.shard_mut(key).unnoticed = true;
        let result = work(self);
        self.shard_mut(key).unnoticed = false;
        result
    }

    /// From now on the watcher is touched when the key changes.
    pub fn watch(&mut self, key: Key<'_>, watcher: &Arc<Watcher>) {
        let watched = Watched { database: self.database, key: key.bytes.into(), absent: self.live(key).is_none() };
        self.shard_mut(key).watching.add(watched, watcher);
    }

    /// The watcher watches none of its keys any longer. True if one of them has changed, or its time is over since. The
    /// shards of all of them must be locked.
    pub fn stop_watching(&mut self, watcher: &Arc<Watcher>) -> bool {
        let mut touched = watcher.is_touched();
        for Watched { database, key, absent } in watcher.keys() {
            let key = self.keyspace.key(&key);
            self.database = database;
            touched |= !absent && self.live(key).is_none();
            self.shard_mut(key).watching.remove(key.bytes, watcher);
        }
        touched
    }

    /// Bytes of the effect that is open.
    pub(super) fn effect_bytes(&self) -> usize {
        self.origin.as_ref().map_or(0, |origin| origin.open_bytes())
    }

    /// The locked shards, for what works on whole shards.
    pub(super) fn shards_mut(&mut self) -> impl Iterator<Item = (usize, &mut Shard)> {
        self.wrote = true;
        self.guards.iter_mut().map(|(shard, guard)| (*shard, &mut **guard))
    }

    /// The origin, locked for the rest of the transaction. Only in a cluster.
    pub(super) fn origin(&mut self) -> &mut Origin {
        let lock = self.keyspace.origin.as_ref().expect("only in a cluster");
        self.origin.get_or_insert_with(|| lock.lock())
    }

    /// Ends the command. Returns the seq of its effect, if it is in a cluster and wrote.
    pub fn commit(mut self) -> Option<u64> {
        self.finish()
    }

    fn finish(&mut self) -> Option<u64> {
        if let Some(home) = self.home.take() {
            if !self.noted.is_empty() {
                self.tell_noted();
            }
            home.take_back(self);
            return None;
        }
        // Of who is alone the effect stays open: nobody else can add to it.
        let is_part = self.inside.as_ref().is_some_and(Inside::is_alone);
        let committed = self.origin.take().filter(|_| !is_part).and_then(|mut origin| origin.commit());
        let mut woken = Vec::new();
        let mut has_stale = false;
        if self.wrote {
            for (shard, guard) in &mut self.guards {
                self.keyspace.report_memory(*shard, guard);
                if !guard.waiting.is_empty() {
                    woken.append(&mut guard.take_woken(&self.keyspace.hasher, self.now));
                }
                has_stale |= guard.tracking.has_noted();
            }
            self.wrote = false;
        }
        if !self.noted.is_empty() {
            self.tell_noted();
        }
        if has_stale {
            self.tell_stale();
        }
        self.guards.clear();
        woken.iter().for_each(|waiter| waiter.wake());
        let (seq, outbox_was_empty) = committed?;
        if outbox_was_empty {
            self.keyspace.notify_commit();
        }
        Some(seq)
    }
}

/// Does this write clear values of other types, without beginning a new life of the key?
fn settles_types(action: &Action<'_>) -> bool {
    Kind::of(action).is_some() && !replaces_key(action)
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
