//! Who waits for a key to get something: the blocking commands.
//!
//! A command that finds nothing leaves a [`Waiter`] at its keys, under their locks, so that nothing can come in between
//! unnoticed. Whoever gives such a key something, a client or a peer, wakes the waiter that came first once its locks are
//! free; that one tries its command again. If something is left then, its own removal wakes the next. A newcomer does
//! not take what others wait for: it goes behind them. (Redis: "clients are served in the order in which they blocked".)
//!
//! Who reads a stream takes nothing from others, so all of them are woken; consumers of one group take turns as above, and are
//! woken as well when the stream is gone, which is an error for them.
//!
//! # Bounds
//!
//! One waiter per connection, at as many keys as its request names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Kind;

/// Why a waiter was woken other than by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As if its time were over.
    TimedOut,
    /// With an error.
    Unblocked,
}

/// Someone who waits. Its wake function must be quick and take no locks of the keyspace.
pub struct Waiter {
    wake: Box<dyn Fn() + Send + Sync>,
    verdict: Mutex<Option<Verdict>>,
    /// Where it waits, for who has to take it away.
    places: Mutex<Vec<Box<[u8]>>>,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Waiter").field("places", &self.places.lock().len()).finish_non_exhaustive()
    }
}

impl Waiter {
    /// A waiter that waits nowhere yet.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Arc<Waiter> {
        Arc::new(Waiter { wake, verdict: Mutex::new(None), places: Mutex::new(Vec::new()) })
    }

    /// Wakes it.
    pub fn wake(&self) {
        (self.wake)();
    }

    /// Ends its waiting.
    pub fn unblock(&self, verdict: Verdict) {
        *self.verdict.lock() = Some(verdict);
        self.wake();
    }

    /// Whether somebody ended its waiting.
    pub fn verdict(&self) -> Option<Verdict> {
        *self.verdict.lock()
    }

    pub(super) fn take_places(&self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.places.lock())
    }
}

/// One who waits at a key, and for which type of value.
#[derive(Debug)]
struct Place {
    database: u32,
    kind: Kind,
    /// Of a stream: in which group. Nobody takes an entry from who reads without a group.
    group: Option<Box<[u8]>>,
    waiter: Arc<Waiter>,
}

/// Those who wait at the keys of one shard, in the order in which they came.
#[derive(Debug, Default)]
pub struct Waiting {
    queues: BTreeMap<Box<[u8]>, VecDeque<Place>>,
    /// Keys at which somebody waits and something changed since the last look.
    changed: Vec<(u32, Box<[u8]>)>,
}

impl Waiting {
    /// Does nobody wait?
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// At how many keys somebody waits.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// Puts a waiter behind the others, unless it waits there already.
    pub fn add(&mut self, database: u32, key: &[u8], kind: Kind, waiter: &Arc<Waiter>) {
        self.put(key, Place { database, kind, group: None, waiter: Arc::clone(waiter) });
    }

    /// Puts one who reads a stream behind the others, unless it waits there already.
    pub fn add_reader(&mut self, database: u32, key: &[u8], group: Option<&[u8]>, waiter: &Arc<Waiter>) {
        let group = group.map(Box::from);
        self.put(key, Place { database, kind: Kind::Stream, group, waiter: Arc::clone(waiter) });
    }

    fn put(&mut self, key: &[u8], new: Place) {
        let queue = self.queues.entry(key.into()).or_default();
        if !queue.iter().any(|place| place.database == new.database && Arc::ptr_eq(&place.waiter, &new.waiter)) {
            new.waiter.places.lock().push(key.into());
            queue.push_back(new);
        }
    }

    /// Takes a waiter away from a key.
    pub fn remove(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        if let Some(queue) = self.queues.get_mut(key) {
            queue.retain(|place| !Arc::ptr_eq(&place.waiter, waiter));
            if queue.is_empty() {
                self.queues.remove(key);
            }
        }
    }

    /// May this one take what is there, or does somebody wait for it longer? `None`: one who does not wait yet.
    pub fn is_first(&self, database: u32, key: &[u8], kind: Kind, waiter: Option<&Arc<Waiter>>) -> bool {
        match (self.first(database, key, kind), waiter) {
            (None, _) => true,
            (Some(first), Some(waiter)) => Arc::ptr_eq(first, waiter),
            (Some(_), None) => false,
        }
    }

    /// May this one take entries for its group, or does somebody of the group wait for them longer?
    pub fn is_first_of_group(&self, database: u32, key: &[u8], group: &[u8], waiter: Option<&Arc<Waiter>>) -> bool {
        let mut queue = self.queues.get(key).into_iter().flatten();
        let first = queue.find(|place| place.database == database && place.group.as_deref() == Some(group));
        match (first, waiter) {
            (None, _) => true,
            (Some(first), Some(waiter)) => Arc::ptr_eq(&first.waiter, waiter),
            (Some(_), None) => false,
        }
    }

    /// Notes that a key changed.
    pub fn note(&mut self, database: u32, key: &[u8]) {
        if self.queues.contains_key(key) {
            self.changed.push((database, key.into()));
        }
    }

    /// Notes that every key may have changed.
    pub fn note_all(&mut self) {
        let places = self.queues.iter().flat_map(|(key, queue)| queue.iter().map(move |place| (place.database, key)));
        self.changed.extend(places.map(|(database, key)| (database, key.clone())));
    }

    /// Whom to wake: for each key that changed, who waits first for what is there now. Of a stream that is everybody who
    /// reads without a group, and the first of each group; these learn as well that the stream is gone.
    pub fn take_woken(&mut self, kind_of: impl Fn(u32, &[u8]) -> Option<Kind>) -> Vec<Arc<Waiter>> {
        let changed = std::mem::take(&mut self.changed);
        let mut woken = Vec::new();
        for (database, key) in &changed {
            let kind = kind_of(*database, key);
            if let Some(kind) = kind.filter(|kind| *kind != Kind::Stream) {
                woken.extend(self.first(*database, key, kind).cloned());
            }
            let mut groups = BTreeSet::new();
            for place in self.queues.get(key).into_iter().flatten() {
                let wakes = match &place.group {
                    _ if place.kind != Kind::Stream || place.database != *database => false,
                    None => kind == Some(Kind::Stream),
                    Some(group) => groups.insert(group),
                };
                if wakes {
                    woken.push(Arc::clone(&place.waiter));
                }
            }
        }
        woken
    }

    /// Everybody who waits here; nobody does any more.
    pub fn take_all(&mut self) -> Vec<Arc<Waiter>> {
        self.changed.clear();
        std::mem::take(&mut self.queues).into_values().flatten().map(|place| place.waiter).collect()
    }

    fn first(&self, database: u32, key: &[u8], kind: Kind) -> Option<&Arc<Waiter>> {
        let mut queue = self.queues.get(key)?.iter();
        queue.find(|place| place.database == database && place.kind == kind).map(|place| &place.waiter)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn waiter() -> Arc<Waiter> {
        Waiter::new(Box::new(|| {}))
    }

    #[test]
    fn the_first_of_a_type_and_database_is_served() {
        let mut waiting = Waiting::default();
        let (first, second, other) = (waiter(), waiter(), waiter());
        waiting.add(0, b"k", Kind::Hash, &other);
        waiting.add(1, b"k", Kind::Set, &other);
        waiting.add(0, b"k", Kind::Set, &first);
        waiting.add(0, b"k", Kind::Set, &second);
        waiting.add(0, b"k", Kind::Set, &first);
        assert!(waiting.is_first(0, b"k", Kind::Set, Some(&first)));
        assert!(!waiting.is_first(0, b"k", Kind::Set, Some(&second)));
        assert!(!waiting.is_first(0, b"k", Kind::Set, None), "a newcomer goes behind");
        assert!(waiting.is_first(0, b"k", Kind::String, None));
        waiting.note(0, b"k");
        waiting.note(0, b"elsewhere");
        let woken = waiting.take_woken(|_, _| Some(Kind::Set));
        assert!(woken.len() == 1 && Arc::ptr_eq(&woken[0], &first));
        waiting.remove(b"k", &first);
        waiting.note(0, b"k");
        let woken = waiting.take_woken(|_, _| Some(Kind::Set));
        assert!(woken.len() == 1 && Arc::ptr_eq(&woken[0], &second));
        waiting.note(0, b"k");
        assert!(waiting.take_woken(|_, _| None).is_empty(), "the key is gone again");
        assert_eq!(waiting.take_all().len(), 3);
        assert!(waiting.is_empty());
    }

    #[test]
    fn every_reader_and_the_first_of_each_group_is_woken() {
        let mut waiting = Waiting::default();
        let all: Vec<_> = (0..6).map(|_| waiter()).collect();
        for (number, group) in [None, Some(b"g"), Some(b"g"), Some(b"h"), None].into_iter().enumerate() {
            waiting.add_reader(0, b"k", group.map(|group| &group[..]), &all[number]);
        }
        waiting.add(0, b"k", Kind::List, &all[5]);
        let mut woken = |kind| {
            waiting.note(0, b"k");
            let woken = waiting.take_woken(|_, _| kind);
            let number = |waiter| all.iter().position(|known| Arc::ptr_eq(known, waiter));
            woken.iter().filter_map(number).collect::<Vec<_>>()
        };
        assert_eq!(woken(Some(Kind::Stream)), [0, 1, 3, 4]);
        assert_eq!(woken(None), [1, 3]);
        assert_eq!(woken(Some(Kind::List)), [5, 1, 3]);
        assert!(waiting.is_first_of_group(0, b"k", b"g", Some(&all[1])));
        assert!(!waiting.is_first_of_group(0, b"k", b"g", Some(&all[2])));
        assert!(!waiting.is_first_of_group(0, b"k", b"g", None));
        assert!(waiting.is_first_of_group(1, b"k", b"g", None));
    }

    #[test]
    fn an_end_from_outside_wakes() {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let waiter = Waiter::new(Box::new(move || {
            counter.fetch_add(1, Relaxed);
        }));
        assert_eq!(waiter.verdict(), None);
        waiter.unblock(Verdict::Unblocked);
        assert_eq!((waiter.verdict(), count.load(Relaxed)), (Some(Verdict::Unblocked), 1));
    }
}
