//! Who watches a key for changes: WATCH.
//!
//! A watcher is noted at its keys, in their shards. Whatever changes such a key, a command of this node or an effect of a
//! peer, finds it there and marks it as touched; a shard without watchers is not slowed down. No key carries a version.
//!
//! What counts is what a client can see: a key that was not there (or whose time was over) at WATCH is touched when
//! it comes into being, and not when its remains are removed.
//!
//! # Bounds
//!
//! A place here for each key that a connection watches; the connection limits how much that may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

/// One who watches keys: a connection.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Changed and read under the locks of the keys' shards.
    touched: AtomicBool,
    /// Where it watches, for who has to take it away.
    keys: Mutex<Vec<Watched>>,
}

/// A watched key.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The number of its database.
    pub database: u32,
    /// Its name.
    pub key: Box<[u8]>,
    /// It was not there at WATCH, or its time was over.
    pub absent: bool,
}

impl Watcher {
    /// Has a watched key changed?
    pub fn is_touched(&self) -> bool {
        self.touched.load(Relaxed)
    }

    fn touch(&self) {
        self.touched.store(true, Relaxed);
    }

    /// How many keys it watches.
    pub fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// Does it watch nothing?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The watched keys.
    pub fn keys(&self) -> Vec<Watched> {
        self.keys.lock().clone()
    }

    pub(super) fn take_keys(&self) -> Vec<Watched> {
        std::mem::take(&mut self.keys.lock())
    }
}

#[derive(Debug)]
struct Place {
    database: u32,
    absent: bool,
    watcher: Arc<Watcher>,
}

/// Those who watch keys of one shard.
#[derive(Debug, Default)]
pub struct Watching {
    places: BTreeMap<Box<[u8]>, Vec<Place>>,
}

impl Watching {
    /// Does nobody watch?
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Notes a watcher at a key, unless it is there already.
    pub fn add(&mut self, watched: Watched, watcher: &Arc<Watcher>) {
        let places = self.places.entry(watched.key.clone()).or_default();
        if !places.iter().any(|place| place.database == watched.database && Arc::ptr_eq(&place.watcher, watcher)) {
            places.push(Place { database: watched.database, absent: watched.absent, watcher: Arc::clone(watcher) });
            watcher.keys.lock().push(watched);
        }
    }

    /// Takes a watcher away from a key, in all databases.
    pub fn remove(&mut self, key: &[u8], watcher: &Arc<Watcher>) {
        if let Some(places) = self.places.get_mut(key) {
            places.retain(|place| !Arc::ptr_eq(&place.watcher, watcher));
            if places.is_empty() {
                self.places.remove(key);
            }
        }
    }

    /// A key was changed. `there`: a client can see it now.
    pub fn touch(&self, database: u32, key: &[u8], there: bool) {
        let here = self.places.get(key).into_iter().flatten().filter(|place| place.database == database);
        here.filter(|place| there || !place.absent).for_each(|place| place.watcher.touch());
    }

    /// A database was emptied.
    pub fn touch_flushed(&self, database: u32) {
        let here = self.places.values().flatten().filter(|place| place.database == database);
        here.filter(|place| !place.absent).for_each(|place| place.watcher.touch());
    }

    /// Two databases are about to be exchanged. `is_there`: can a client see that key?
    pub fn touch_swapped(&self, one: u32, other: u32, is_there: impl Fn(u32, &[u8]) -> bool) {
        for (key, places) in &self.places {
            for place in places {
                let from = match place.database {
                    number if number == one => other,
                    number if number == other => one,
                    _ => continue,
                };
                if !place.absent || is_there(from, key) {
                    place.watcher.touch();
                }
            }
        }
    }

    /// Everything may have changed.
    pub fn touch_all(&self) {
        self.places.values().flatten().for_each(|place| place.watcher.touch());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(watching: &mut Watching, database: u32, key: &[u8], absent: bool) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::default());
        watching.add(Watched { database, key: key.into(), absent }, &watcher);
        watcher
    }

    #[test]
    fn a_change_touches_who_watches_that_key_in_that_database() {
        let mut watching = Watching::default();
        let here = watch(&mut watching, 0, b"k", false);
        let elsewhere = watch(&mut watching, 1, b"k", false);
        let other = watch(&mut watching, 0, b"l", false);
        let absent = watch(&mut watching, 0, b"k", true);
        watching.touch(0, b"k", false);
        let touched = [&here, &elsewhere, &other, &absent].map(|watcher| watcher.is_touched());
        assert_eq!(touched, [true, false, false, false], "what was not there is not gone");
        watching.touch(0, b"k", true);
        assert!(absent.is_touched());
        watching.touch_flushed(1);
        assert!(elsewhere.is_touched() && !other.is_touched());
        watching.touch_all();
        assert!(other.is_touched());
    }

    #[test]
    fn a_key_is_watched_once_and_forgotten_at_once() {
        let mut watching = Watching::default();
        let watcher = watch(&mut watching, 0, b"k", true);
        watching.add(Watched { database: 0, key: b"k"[..].into(), absent: false }, &watcher);
        watching.add(Watched { database: 1, key: b"k"[..].into(), absent: false }, &watcher);
        assert_eq!(watcher.len(), 2);
        watching.remove(b"k", &watcher);
        watching.touch_all();
        assert!(watching.is_empty() && !watcher.is_touched());
    }

    #[test]
    fn an_exchange_of_databases_touches_what_changes() {
        let mut watching = Watching::default();
        let left = watch(&mut watching, 0, b"k", false);
        let came = watch(&mut watching, 1, b"l", true);
        let nothing = watch(&mut watching, 1, b"m", true);
        let third = watch(&mut watching, 2, b"k", false);
        watching.touch_swapped(0, 1, |database, key| (database, key) == (0, b"l"));
        let touched = [left, came, nothing, third].map(|watcher| watcher.is_touched());
        assert_eq!(touched, [true, true, false, false]);
    }
}
