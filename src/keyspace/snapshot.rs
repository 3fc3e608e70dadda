//! Snapshots: the keyspace as bytes, shard by shard, while everybody keeps writing.
//!
//! Each shard is exported under its own lock, at its own moment, together with the frontier of that moment. The receiver
//! then applies the effects since the export began, and each shard passes over what it has already. When everything up to
//! the end of the export is applied, all shards are at one frontier again.
//!
//! Format of a shard: version byte, then a [`ShardImage`] in postcard 1.x.

use std::sync::atomic::Ordering::{Acquire, Release};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::access::Access;
use super::causality::KeyCausality;
use super::database::hash_key;
use super::entry::Entry;
use super::remote::MAX_DATABASES;
use super::types::{self, ValueImage};
use super::{Keyspace, Millis};
use crate::effects::{CodecError, Effect, Frontier, NodeId, Origin};

const VERSION: u8 = 4;

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
                let causality = database.unstable.get(key);
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
        let image = ShardImage { shard: shard as u32, frontier, keys };
        postcard::to_extend(&image, vec![VERSION]).expect("a shard in memory can be encoded")
    }

    /// Is a snapshot being imported? Then commands find nothing and change nothing.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Acquire)
    }

    /// Empties everything and starts over as `node`, to be filled from a snapshot. Returns the effects of the former
    /// identity that nobody had collected.
    pub fn begin_import(&self, node: NodeId) -> Vec<Effect> {
        let mut transaction = self.lock_all(0, 0);
        self.loading.store(true, Release);
        transaction.note_everything_stale();
        // Who waits is woken to be told that nothing is here now.
        let mut waiters = Vec::new();
        for (_, shard) in transaction.shards_mut() {
            shard.clear();
            shard.imported = None;
            waiters.append(&mut shard.waiting.take_all());
        }
        let origin = transaction.origin();
        let left = origin.drain();
        *origin = Origin::new(node);
        drop(transaction);
        waiters.iter().for_each(|waiter| waiter.wake());
        left
    }

    /// Takes in one shard, which replaces what it has.
    pub fn import_shard(&self, bytes: &[u8]) -> Result<(), CodecError> {
        let malformed = CodecError::Invalid("a malformed shard");
        let (&version, body) = bytes.split_first().ok_or(CodecError::Truncated)?;
        if version != VERSION {
            return Err(CodecError::Invalid("a snapshot of another version"));
        }
        let image: ShardImage = postcard::from_bytes(body).map_err(|_| malformed)?;
        let number = image.shard as usize;
        if number >= Self::SHARDS || !image.frontier.is_canonical() {
            return Err(malformed);
        }
        let mut guard = self.lock_shard(number);
        guard.clear();
        for key in image.keys {
            let hash = hash_key(&self.hasher, &key.key);
            if key.database >= MAX_DATABASES || Self::shard_of(hash) != number {
                return Err(CodecError::Invalid("a key in the wrong shard: does every node use the same passphrase?"));
            }
            let database = guard.database_mut(key.database);
            let value = key.value.map(|value| value.into_value());
            if let Some(mut causality) = key.causality {
                causality.hidden = key.hidden.into_iter().map(|value| value.into_value()).collect();
                if !causality.causes.fits(value.iter().chain(&causality.hidden)) {
                    return Err(malformed);
                }
                database.unstable.insert(key.key.clone().into(), causality);
            }
            if let Some(value) = value {
                if database.find(hash, &key.key).is_some() {
                    return Err(malformed);
                }
                database.insert(&self.hasher, hash, Entry::new(&key.key, value, key.deadline, Access::new(0)));
            }
        }
        guard.imported = Some(image.frontier);
        self.report_memory(number, &mut guard);
        Ok(())
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
        for shard in 0..Self::SHARDS {
            self.lock_shard(shard).imported = None;
        }
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
        node(2).import_shard(&shard).expect("a snapshot of our own");
        let mut image: ShardImage = postcard::from_bytes(&shard[1..]).expect("a shard");
        let Some(ValueImage::List(list)) = &mut image.keys[0].value else { panic!("a list") };
        list.pop();
        let shorter = postcard::to_extend(&image, vec![VERSION]).expect("a shard can be encoded");
        assert!(node(2).import_shard(&shorter).is_err());
        image.keys[0].value = None;
        let without = postcard::to_extend(&image, vec![VERSION]).expect("a shard can be encoded");
        assert!(node(2).import_shard(&without).is_err());
    }
}
