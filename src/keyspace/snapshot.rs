//! Snapshots: the keyspace as bytes, shard by shard, while everybody keeps writing.
//!
//! Each shard is exported under its own lock, at its own moment, together with the frontier of that moment. The receiver
//! then applies the effects since the export began, which come with the snapshot, and each shard passes over what it has already.
//! When everything up to the end of the export is applied, all shards are at one frontier again. Nobody is shown the data before that.
//!
//! Format of a shard: version byte, then a [`ShardImage`] in postcard 1.x.

use std::sync::atomic::Ordering::{Acquire, Release};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::causality::KeyCausality;
use super::database::{Database, hash_key};
use super::entry::Entry;
use super::imported::Imported;
use super::remote::MAX_DATABASES;
use super::types::{self, ValueImage};
use super::{Keyspace, Millis};
use crate::effects::{CodecError, Effect, Frontier, NodeId, Origin};
use crate::planted::{Bug, planted};

const VERSION: u8 = 5;

const MALFORMED: CodecError = CodecError::Invalid("a malformed shard");

/// A key in a snapshot. Without a value it is only metadata.
#[derive(Debug, Serialize, Deserialize)]
struct KeyImage {
    database: u32,
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    value: Option<ValueImage>,
    deadline: Option<Millis>,
    causality: Option<KeyCausality>,
    hidden: Vec<ValueImage>,
}

/// A shard in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct ShardImage {
    shard: u32,
    /// The seed of the hash by which the sender spreads keys over its shards.
    seed: u64,
    /// What was applied to the shard at that moment.
    frontier: Frontier,
    keys: Vec<KeyImage>,
}

impl Keyspace {
    /// One shard as bytes, with the frontier of this moment.
    pub fn export_shard(&self, shard: usize) -> Vec<u8> {
        let guard = self.lock_shard(shard);
        let frontier = self.frontier();
        let mut keys = Vec::new();
        for (number, database) in guard.databases.iter().enumerate() {
            let image = |key: &[u8], entry: Option<&Entry>| {
                let causality = database.unstable.get(key).filter(|_| !planted(Bug::SnapshotWithoutMetadata));
                KeyImage {
                    database: number as u32,
                    key: key.to_vec(),
                    value: entry.map(ValueImage::of),
                    deadline: entry.and_then(Entry::deadline),
                    hidden: causality.iter().flat_map(|key| &key.hidden).map(ValueImage::of_value).collect(),
                    causality: causality.cloned(),
                }
            };
            keys.extend(database.entries().iter().map(|entry| image(entry.key(), Some(entry))));
            let has_value = |key: &[u8]| database.find(hash_key(&self.hasher, key), key).is_some();
            let ghosts = database.unstable.keys().filter(|key| !has_value(key));
            keys.extend(ghosts.map(|key| image(key, None)));
        }
        drop(guard);
        let image = ShardImage { shard: shard as u32, seed: self.hash_seed, frontier, keys };
        postcard::to_extend(&image, vec![VERSION]).expect("a shard in memory can be encoded")
    }

    /// Is a snapshot being imported? Then commands find nothing and change nothing.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Acquire)
    }

    /// Empties everything and starts over as `node`, to be filled from a snapshot. Returns the effects of the former
    /// identity that nobody had collected.
    pub fn begin_import(&self, node: NodeId) -> Vec<Effect> {
        *self.imported.lock() = None;
        let mut transaction = self.lock_all(0, 0);
        self.loading.store(true, Release);
        transaction.note_everything_stale();
        // Who waits is woken to be told that nothing is here now.
        let mut waiters = Vec::new();
        for (_, shard) in transaction.shards_mut() {
            shard.clear();
            waiters.append(&mut shard.waiting.take_all());
        }
        let origin = transaction.origin();
        let left = origin.drain();
        *origin = Origin::new(node);
        drop(transaction);
        waiters.iter().for_each(|waiter| waiter.wake());
        left
    }

    /// Takes in one shard of a snapshot, into a keyspace that [`Keyspace::begin_import`] has emptied. Its keys go where
    /// the hash of this node puts them: that of the sender may have another seed.
    pub fn import_shard(&self, bytes: &[u8]) -> Result<(), CodecError> {
        let (&version, body) = bytes.split_first().ok_or(CodecError::Truncated)?;
        if version != VERSION {
            return Err(CodecError::Invalid("a snapshot of another version"));
        }
        let image: ShardImage = postcard::from_bytes(body).map_err(|_| MALFORMED)?;
        let number = image.shard as usize;
        if number >= Self::SHARDS || !image.frontier.is_canonical() {
            return Err(MALFORMED);
        }
        let mut imported = self.imported.lock();
        let imported = imported.get_or_insert_with(|| Imported::new(image.seed));
        if imported.seed() != image.seed || !imported.add(number, image.frontier) {
            return Err(CodecError::Invalid("shards that do not belong together"));
        }
        let is_in_place = |key: &KeyImage| key.database < MAX_DATABASES && imported.shard_of(&key.key) == number;
        if !image.keys.iter().all(is_in_place) {
            return Err(CodecError::Invalid("a key in the wrong shard"));
        }
        let mut keys: Vec<(u64, KeyImage)> =
            image.keys.into_iter().map(|key| (hash_key(&self.hasher, &key.key), key)).collect();
        // Where both have the same hash, all of them are in one shard.
        keys.sort_by_key(|(hash, _)| Self::shard_of(*hash));
        let mut keys = keys.into_iter().peekable();
        while let Some((hash, _)) = keys.peek() {
            let shard = Self::shard_of(*hash);
            let mut guard = self.lock_shard(shard);
            while let Some((hash, key)) = keys.next_if(|(hash, _)| Self::shard_of(*hash) == shard) {
                self.import_key(guard.database_mut(key.database), hash, key)?;
            }
            self.report_memory(shard, &mut guard);
        }
        Ok(())
    }

    fn import_key(&self, database: &mut Database, hash: u64, key: KeyImage) -> Result<(), CodecError> {
        let value = key.value.map(|value| value.into_value());
        if let Some(mut causality) = key.causality {
            causality.hidden = key.hidden.into_iter().map(|value| value.into_value()).collect();
            if !causality.causes.fits(value.iter().chain(&causality.hidden)) {
                return Err(MALFORMED);
            }
            database.unstable.insert(key.key.clone().into(), causality);
        }
        if let Some(value) = value {
            if database.find(hash, &key.key).is_some() {
                return Err(MALFORMED);
            }
            database.insert(&self.hasher, hash, Entry::new(&key.key, value, key.deadline, Access::new(0)));
        }
        Ok(())
    }

    /// Are the imported shards what their sender had at moments from `begin` on, and up to `end`?
    pub fn is_imported_between(&self, begin: &Frontier, end: &Frontier) -> bool {
        self.imported.lock().as_ref().is_none_or(|imported| imported.is_between(begin, end))
    }

    /// All shards are in. `frontier` is the sender's at the start of the export, `time` the latest stamp in the snapshot.
    pub fn finish_import(&self, frontier: &Frontier, time: u64) {
        let mut transaction = self.lock_all(0, 0);
        transaction.origin().adopt(frontier, time);
        // Whoever read in between has read nothing.
        transaction.note_everything_stale();
        self.loading.store(false, Release);
    }

    /// Goes on as `node`: everything stays as it is, as if it had come in a snapshot of the former identity. Returns the
    /// effects of that identity that nobody had collected.
    pub fn rename(&self, node: NodeId) -> Vec<Effect> {
        let mut transaction = self.lock_all(0, 0);
        let origin = transaction.origin();
        let left = origin.drain();
        let (frontier, time) = (origin.frontier().clone(), origin.last_time());
        *origin = Origin::new(node);
        origin.adopt(&frontier, time);
        left
    }

    /// Everything up to the end of the export is applied: all shards are at one frontier.
    pub fn end_catch_up(&self) {
        *self.imported.lock() = None;
    }

    /// The latest hybrid time that was handed out or observed here.
    pub fn latest_time(&self) -> u64 {
        self.origin.as_ref().map_or(0, |origin| origin.lock().last_time())
    }

    /// One number for all data: equal digests mean equal keys, types, elements, values and times to live.
    pub fn digest(&self) -> u128 {
        self.dump().iter().fold(0u128, |sum, line| {
            let part = |seed: u64| u128::from(hash_key(&FixedState::with_seed(seed), line.as_bytes()));
            sum.wrapping_add(part(1) << 64 | part(2))
        })
    }

    /// All data as sorted lines of text, for comparing two nodes and seeing where they differ.
    pub fn dump(&self) -> Vec<String> {
        let transaction = self.lock_all(0, 0);
        let mut lines = transaction.dump();
        lines.sort_unstable();
        lines
    }
}

/// A key as one line of text.
pub(super) fn describe(database: usize, entry: &Entry) -> String {
    let (key, kind, value) = (types::text(entry.key()), entry.kind().name(), types::describe(entry));
    let deadline = entry.deadline().map_or(String::new(), |deadline| format!(" until {deadline}"));
    format!("{database} {key} {kind} [{value}]{deadline}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::{Elements, End};
    use crate::keyspace::KeyspaceOptions;

    #[test]
    fn a_list_that_differs_from_what_is_known_of_it_is_refused() {
        let node = |id| Keyspace::new(KeyspaceOptions { node: Some(NodeId(id)), ..KeyspaceOptions::default() });
        let keyspace = node(1);
        let key = keyspace.key(b"k");
        let elements = Elements::parts(b"ab", &[0..1, 1..2]);
        keyspace.lock_one(0, 0, key).list_push(key, End::Left, elements).expect("no key before");
        let shard = keyspace.export_shard(Keyspace::shard_of(key.hash));
        let receiver = node(2);
        receiver.import_shard(&shard).expect("a snapshot of our own");
        assert!(receiver.import_shard(&shard).is_err(), "it is in already");
        let mut image: ShardImage = postcard::from_bytes(&shard[1..]).expect("a shard");
        let Some(ValueImage::List(list)) = &mut image.keys[0].value else { panic!("a list") };
        list.pop();
        let shorter = postcard::to_extend(&image, vec![VERSION]).expect("a shard can be encoded");
        assert!(node(2).import_shard(&shorter).is_err());
        image.keys[0].value = None;
        let without = postcard::to_extend(&image, vec![VERSION]).expect("a shard can be encoded");
        assert!(node(2).import_shard(&without).is_err());
    }

    #[test]
    fn shards_are_those_of_one_hash() {
        let node = |id, hash_seed| {
            Keyspace::new(KeyspaceOptions { node: Some(NodeId(id)), hash_seed, ..KeyspaceOptions::default() })
        };
        let (sender, receiver) = (node(1, 7), node(2, 8));
        let key = sender.key(b"k");
        sender.lock_one(0, 0, key).string_set(key, b"v", crate::keyspace::Life::Forever);
        let number = Keyspace::shard_of(key.hash);
        assert_ne!(number, Keyspace::shard_of(receiver.key(b"k").hash), "the seeds were chosen so");
        let shard = sender.export_shard(number);
        let mut image: ShardImage = postcard::from_bytes(&shard[1..]).expect("a shard");
        image.seed = 8;
        let misplaced = postcard::to_extend(&image, vec![VERSION]).expect("a shard can be encoded");
        assert!(node(3, 8).import_shard(&misplaced).is_err());
        receiver.import_shard(&shard).expect("well formed");
        assert_eq!(receiver.dump(), ["0 k string [v]"]);
        assert!(receiver.import_shard(&node(4, 9).export_shard((number + 1) % Keyspace::SHARDS)).is_err());
        let (before, after) = (Frontier::EMPTY, sender.frontier());
        assert!(receiver.is_imported_between(&before, &after) && receiver.is_imported_between(&after, &after));
        assert!(!receiver.is_imported_between(&before, &before), "it holds more than it is said to");
        let more: Frontier = [(NodeId(1), 2)].into_iter().collect();
        assert!(!receiver.is_imported_between(&more, &more), "it lacks what it is said to hold");
    }
}
