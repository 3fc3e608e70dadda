//! One shard: the keys whose hash falls into it, of every database, and what is not yet stable about them.
//!
//! Every change goes through [`Shard::apply`], whether a client of this node or a peer caused it.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::access::Access;
use super::causality::{KeyCausality, Mark};
use super::conflicts::Conflicts;
use super::database::{Database, hash_key};
use super::entry::Entry;
use super::merge::KeyState;
use super::slot::KeySlot;
use super::tracking::{Tracking, TrackingBooks};
use super::types::{self, Causes, is_always_merged, replaces_key};
use super::waiting::{Waiter, Waiting};
use super::watching::Watching;
use super::{Kind, Millis};
use crate::effects::{Action, Frontier};

/// See the module's text.
#[derive(Debug)]
pub struct Shard {
    pub databases: Vec<Database>,
    /// Clients that wait for keys.
    pub waiting: Waiting,
    /// Clients that watch keys.
    pub watching: Watching,
    /// Clients that keep copies of keys.
    pub tracking: Tracking,
    /// Databases that were flushed before a cut had handed them out.
    pub detached: Vec<Database>,
    /// How often a key or an element was changed.
    pub changes: u64,
    /// What the keyspace's counter was last told about `memory()`.
    pub reported_memory: usize,
    /// And about `metadata()`.
    pub reported_metadata: usize,
    /// What is changed now, nobody learns of who watches keys or keeps copies of them.
    pub unnoticed: bool,
    conflicts: Arc<Conflicts>,
    random: fastrand::Rng,
}

/// A key, and how to find it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub database: u32,
    pub key: &'a [u8],
    pub hash: u64,
}

/// A key, and where its entry is now, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    pub place: &'a Place<'a>,
    pub found: Option<usize>,
}

/// Tells of the name of a key whether a flush passes over it.
pub type Spared<'a> = dyn Fn(&[u8]) -> bool + 'a;

impl Shard {
    /// An empty shard.
    pub fn new(seed: u64, books: Arc<TrackingBooks>, conflicts: Arc<Conflicts>) -> Shard {
        Shard {
            databases: Vec::new(),
            waiting: Waiting::default(),
            watching: Watching::default(),
            tracking: Tracking::new(books),
            detached: Vec::new(),
            changes: 0,
            reported_memory: 0,
            reported_metadata: 0,
            unnoticed: false,
            conflicts,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.detached.extend(self.databases.drain(..).filter(Database::is_in_cut));
        self.watching.touch_all();
    }

    /// Holds these keys in the place of those that it held, which are returned but for what a cut still has to hand out.
    pub fn replace(&mut self, databases: Vec<Database>) -> Vec<Database> {
        let former = std::mem::replace(&mut self.databases, databases);
        let (in_cut, former): (Vec<_>, Vec<_>) = former.into_iter().partition(Database::is_in_cut);
        self.detached.extend(in_cut);
        self.changes += 1;
        self.watching.touch_all();
        self.waiting.note_all();
        former
    }

    /// Bytes of memory of the keys, about.
    pub fn memory(&self) -> usize {
        self.databases.iter().map(Database::memory).sum()
    }

    /// Whom to wake because of what changed.
    pub fn take_woken(&mut self, hasher: &FixedState, now: Millis) -> Vec<Arc<Waiter>> {
        let Shard { waiting, databases, .. } = self;
        waiting.take_woken(|number, key| {
            let database = databases.get(number as usize)?;
            let entry = database.at(database.find(hash_key(hasher, key), key)?);
            entry.is_live(now).then(|| entry.kind())
        })
    }

    /// Bytes of memory of what is not stable, about.
    pub fn metadata(&self) -> usize {
        self.databases.iter().flat_map(|database| database.unstable.values()).map(KeyCausality::memory).sum()
    }

    /// The entry of a key.
    pub fn entry(&self, place: &Place<'_>) -> Option<&Entry> {
        let database = self.databases.get(place.database as usize)?;
        Some(database.at(database.find(place.hash, place.key)?))
    }

    /// The entry of a key that is read, and where it is. Counts as a use, unless that is to be passed over.
    pub fn used_entry(&mut self, place: &Place<'_>, now: Millis, quiet: bool) -> Option<(usize, &Entry)> {
        let database = self.databases.get_mut(place.database as usize)?;
        let at = database.find(place.hash, place.key)?;
        let entry = database.entry_mut(at);
        if quiet {
            return Some((at, entry));
        }
        let access = entry.access();
        let touched = access.touched(now, self.random.u32(..));
        if touched != access {
            entry.set_access(touched);
        }
        Some((at, entry))
    }

    /// Does the key hold values of several types, created concurrently?
    pub fn has_hidden(&self, place: &Place<'_>) -> bool {
        let database = self.databases.get(place.database as usize);
        let causality = database.and_then(|database| database.unstable.get(place.key));
        causality.is_some_and(|causality| !causality.hidden.is_empty())
    }

    /// The database of that number, made when it is used for the first time.
    pub fn database_mut(&mut self, number: u32) -> &mut Database {
        let at = number as usize;
        if self.databases.len() <= at {
            self.databases.resize_with(at + 1, Database::default);
        }
        &mut self.databases[at]
    }

    /// Applies an action to a key. `result` is the new value of an addition, where the caller has computed it already.
    /// True when the action created or removed the key, the field or the member.
    pub fn apply(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        place: &Place<'_>,
        action: &Action<'_>,
        result: Option<&[u8]>,
        mark: Option<&Mark<'_>>,
    ) -> bool {
        let found = self.database_mut(place.database).find(place.hash, place.key);
        self.apply_at(hasher, now, Spot { place, found }, action, result, mark)
    }

    /// [`Shard::apply`], when it is known where the key's entry is.
    pub fn apply_at(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        Spot { place, found }: Spot<'_>,
        action: &Action<'_>,
        result: Option<&[u8]>,
        mark: Option<&Mark<'_>>,
    ) -> bool {
        let kind = Kind::of(action);
        self.changes += 1;
        if !self.waiting.is_empty() {
            self.waiting.note(place.database, place.key);
        }
        let database = self.database_mut(place.database);
        debug_assert_eq!(found, database.find(place.hash, place.key), "the entry has not moved since it was found");
        if let Some(mark) = mark {
            // Metadata without a value is what a concurrent removal left of the key's life, for the value to inherit; a
            // value of another type lost an election at the effect's origin. Both are for the general case.
            let shown = found.map(|at| database.at(at).kind());
            let fits = match kind {
                Some(kind) => shown == Some(kind) || replaces_key(action),
                None => shown.is_some(),
            };
            // Nor does a life without an element to live find what it changes.
            let finds = types::finds_element(found.map(|at| database.at(at)), action);
            let within = match database.unstable.get(place.key) {
                Some(causality) => fits && finds && causality.is_within(&mark.seen),
                None => (fits || shown.is_none()) && finds && mark.seen.stable,
            };
            if !within || is_always_merged(action) {
                let met = || database.unstable.get(place.key).is_some_and(|known| known.has_unseen(&mark.seen));
                if !within && met() && !super::is_system_key(place.key) {
                    self.conflicts.note(kind.or(shown));
                }
                let changed = self.merge(hasher, now, place, action, mark);
                self.tell_changed(now, place);
                return changed;
            }
            note(database, found, place, action, mark);
        }
        let slot = KeySlot { database, hasher, place, found, now };
        let changed = match kind {
            Some(kind) => types::apply(kind, slot, action, result),
            None => match *action {
                Action::Remove => slot.remove(),
                Action::Deadline { at } => slot.set_deadline(at),
                _ => unreachable!("not an action on any type"),
            },
        };
        if let Some(mark) = mark
            && self.entry(place).is_none()
            && let Some(causality) = self.database_mut(place.database).unstable.get_mut(place.key)
        {
            // The removal of the last element took the value and left the key's life.
            causality.mourn(mark.applied);
        }
        if changed || !shows_by_result(action) {
            self.tell_changed(now, place);
        }
        changed
    }

    /// A key was changed: whoever watches it or keeps a copy of it learns of it.
    pub fn tell_changed(&mut self, now: Millis, place: &Place<'_>) {
        if self.unnoticed {
            return;
        }
        if !self.watching.is_empty() {
            let there = self.entry(place).is_some_and(|entry| entry.is_live(now));
            self.watching.touch(place.database, place.key, there);
        }
        if !self.tracking.is_idle() {
            self.tracking.touch(place.key);
        }
    }

    /// Exchanges two databases, but for the keys of the system, which stay. Only without a cluster.
    pub fn swap(&mut self, hasher: &FixedState, now: Millis, one: u32, other: u32) {
        self.database_mut(one.max(other));
        self.watching.touch_swapped(one, other, |database, key| {
            let entry = self.entry(&Place { database, key, hash: hash_key(hasher, key) });
            entry.is_some_and(|entry| entry.is_live(now))
        });
        self.databases.swap(one as usize, other as usize);
        let mut stay = Vec::new();
        for (came_from, number) in [(one, other), (other, one)] {
            let database = &self.databases[number as usize];
            if database.visible() < database.len() {
                let of_system = database.entries().iter().filter(|entry| super::is_system_key(entry.key()));
                stay.extend(of_system.map(|entry| (came_from, number, entry.clone())));
            }
        }
        for (came_from, number, entry) in stay {
            let key = entry.key().to_vec();
            let hash = hash_key(hasher, &key);
            self.take(hasher, &Place { database: number, key: &key, hash });
            self.put(hasher, now, &Place { database: came_from, key: &key, hash }, entry);
        }
        self.changes += 1;
        self.waiting.note_all();
    }

    /// Puts an entry in the place of whatever its key held. Only without a cluster: this is no part of any effect.
    pub fn put(&mut self, hasher: &FixedState, now: Millis, place: &Place<'_>, entry: Entry) {
        self.waiting.note(place.database, place.key);
        self.changes += 1;
        let database = self.database_mut(place.database);
        match database.find(place.hash, place.key) {
            Some(at) => database.update(at, |current| *current = entry),
            None => drop(database.insert(hasher, place.hash, entry)),
        }
        self.tell_changed(now, place);
    }

    /// Takes a key's entry out. Only without a cluster.
    pub fn take(&mut self, hasher: &FixedState, place: &Place<'_>) -> Option<Entry> {
        self.watching.touch(place.database, place.key, false);
        if !self.tracking.is_idle() {
            self.tracking.touch(place.key);
        }
        self.changes += 1;
        let database = self.databases.get_mut(place.database as usize)?;
        database.find(place.hash, place.key).map(|at| database.remove(hasher, at))
    }

    /// Merges an action that has not seen everything there is about the key.
    fn merge(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        place: &Place<'_>,
        action: &Action<'_>,
        mark: &Mark<'_>,
    ) -> bool {
        let database = self.database_mut(place.database);
        let found = database.find(place.hash, place.key);
        // The entry stays where it is, or a scan that is under way would miss the key.
        let without_value = || Entry::string(place.key, b"", None, Access::new(now));
        let entry = found.map(|at| database.update(at, |entry| std::mem::replace(entry, without_value())));
        let access = entry.as_ref().map_or(Access::new(now), Entry::access);
        let deadline = entry.as_ref().and_then(Entry::deadline);
        let existed = entry.is_some();
        let causality = database.unstable.remove(place.key).unwrap_or_else(|| KeyCausality::resting(deadline));
        let mut state = KeyState { shown: entry.map(Entry::into_value), deadline, causality };
        state.merge(action, mark);
        let exists = state.shown.is_some();
        let entry = state.shown.map(|value| Entry::new(place.key, value, state.deadline, access));
        match (found, entry) {
            (Some(at), Some(entry)) => database.update(at, |current| *current = entry),
            (Some(at), None) => drop(database.remove(hasher, at)),
            (None, Some(entry)) => drop(database.insert(hasher, place.hash, entry)),
            (None, None) => {}
        }
        if !exists || state.causality.causes.has_ghosts() {
            state.causality.mourn(mark.applied);
        }
        if !state.causality.is_settled(exists) {
            database.unstable.insert(place.key.into(), state.causality);
        }
        existed != exists
    }

    /// Flushes one database, or all, but for keys that are to be spared.
    pub fn flush_databases(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        number: Option<u32>,
        mark: Option<&Mark<'_>>,
        spared: Option<&Spared<'_>>,
    ) -> usize {
        let all = 0..self.databases.len() as u32;
        let chosen = all.filter(|database| number.is_none_or(|number| number == *database));
        let begun = self.tracking.begin_flush();
        let removed = chosen.map(|database| self.flush(hasher, now, database, mark, spared)).sum();
        self.tracking.end_flush(begun);
        removed
    }

    /// Removes what the flush of a database has seen; keys of the system stay. Returns how many keys went.
    fn flush(
        &mut self,
        hasher: &FixedState,
        now: Millis,
        number: u32,
        mark: Option<&Mark<'_>>,
        spared: Option<&Spared<'_>>,
    ) -> usize {
        if self.databases.len() <= number as usize {
            return 0;
        }
        let database = self.database_mut(number);
        let before = database.len();
        let all_seen = mark.is_none_or(|mark| mark.seen.stable) && database.unstable.is_empty();
        if all_seen && spared.is_none() && database.visible() == before {
            let outlasting = mark.map(|mark| removal_of_all(database, mark)).unwrap_or_default();
            let flushed = std::mem::take(database);
            database.unstable = outlasting;
            if flushed.is_in_cut() {
                self.detached.push(flushed);
            }
            self.changes += before as u64;
            self.watching.touch_flushed(number);
            return before;
        }
        let mut keys: Vec<Box<[u8]>> = database.entries().iter().map(|entry| entry.key().into()).collect();
        // Keys without a value may have metadata that the flush has seen.
        keys.extend(database.unstable.keys().cloned());
        let stays = |key: &[u8]| super::is_system_key(key) || spared.is_some_and(|spared| spared(key));
        for key in keys.iter().filter(|key| !stays(key)) {
            let place = Place { database: number, key, hash: hash_key(hasher, key) };
            self.apply(hasher, now, &place, &Action::Remove, None, mark);
        }
        before - self.databases[number as usize].len()
    }

    /// Drops the metadata of what is stable.
    pub fn fold(&mut self, hasher: &FixedState, stable: &Frontier) {
        for database in &mut self.databases {
            let mut unstable = std::mem::take(&mut database.unstable);
            unstable.retain(|key, causality| {
                causality.fold(stable);
                let has_value = database.find(hash_key(hasher, key), key).is_some();
                !(causality.is_settled(has_value) || causality.is_stable(stable))
            });
            database.unstable = unstable;
        }
    }
}

/// Does what [`types::apply`] returns tell whether the action changed anything? What adds or removes an element does nothing
/// to one that is there, or that is not.
fn shows_by_result(action: &Action<'_>) -> bool {
    matches!(
        action,
        Action::Remove
            | Action::MemberAdd { .. }
            | Action::MemberRemove { .. }
            | Action::FieldRemove { .. }
            | Action::ScoreRemove { .. }
    )
}

/// What outlasts the removal of all keys of a database where everything is stable: concurrent effects may count elements of
/// its lists.
fn removal_of_all(database: &Database, mark: &Mark<'_>) -> BTreeMap<Box<[u8]>, KeyCausality> {
    let outlasting = |entry: &Entry| {
        let mut causes = Causes::default();
        causes.note_removal(Some(entry), mark);
        (!causes.is_empty()).then(|| {
            let mut causality = KeyCausality::beginning(causes);
            causality.summarize(mark.dot);
            (entry.key().into(), causality)
        })
    };
    database.entries().iter().filter_map(outlasting).collect()
}

/// Notes an action that has seen everything there is about the key, before it is applied.
fn note(database: &mut Database, found: Option<usize>, place: &Place<'_>, action: &Action<'_>, mark: &Mark<'_>) {
    let (entry, unstable) = database.with_unstable(found);
    if matches!(action, Action::Remove) {
        let mut causes = unstable.remove(place.key).map(|causality| causality.causes).unwrap_or_default();
        causes.note_removal(entry, mark);
        if !causes.is_empty() {
            let mut causality = KeyCausality::beginning(causes);
            causality.summarize(mark.dot);
            unstable.insert(place.key.into(), causality);
        }
        return;
    }
    let resting = || KeyCausality::resting(entry.and_then(Entry::deadline));
    let causality = unstable.entry(place.key.into()).or_insert_with(resting);
    if replaces_key(action) {
        let mut causes = std::mem::take(&mut causality.causes);
        causes.note_removal(entry, mark);
        *causality = KeyCausality::beginning(causes);
    }
    causality.summarize(mark.dot);
    match Kind::of(action) {
        Some(kind) => causality.causes.note(kind, action, entry, mark),
        None => match *action {
            Action::Deadline { at } => causality.life.change(at, mark),
            _ => unreachable!("not an action on any type"),
        },
    }
}
