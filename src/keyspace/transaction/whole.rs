//! Whole keys: what moves a value of any type, reads all of it, or writes all of it.
//!
//! A node without a cluster moves the entry itself. In a cluster an effect is a result: the key's former contents are
//! removed and the new ones are written, element by element, with their deadline. The two together are one effect.

use std::borrow::Cow;

use super::{Key, Transaction, WriteError};
use crate::effects::{Action, MAX_EFFECT_BYTES, Operation, OperationsWriter};
use crate::keyspace::access::Access;
use crate::keyspace::entry::Entry;
use crate::keyspace::types::rebuild;
use crate::keyspace::value::Value;
use crate::keyspace::{Keyspace, Millis, integer, is_system_key};

/// The largest body of an effect that rewrites keys; the rest of the effect is far below what is left.
const MAX_BODY_BYTES: usize = if cfg!(test) { 1 << 20 } else { MAX_EFFECT_BYTES - (1 << 20) };

/// No value takes more bytes in an effect than this many times its memory: an integer of one byte is at most three
/// digits with a tag and a length.
const MAX_GROWTH: usize = 8;

/// How much of an effect is written before it is counted.
const COUNTED_AT_ONCE: usize = 64 << 10;

/// Bytes of a key's place in the index of its database, about.
const INDEX_BYTES: usize = 6;

/// All that a key holds: its value, until when it lives, how often and when it was used.
#[derive(Clone, Debug)]
pub struct Contents(Entry);

impl Contents {
    /// A new value.
    pub fn new(value: Value, deadline: Option<Millis>, now: Millis) -> Contents {
        Contents(Entry::new(b"", value, deadline, Access::new(now)))
    }

    /// As if it had not been used for some seconds.
    pub fn idle_for(mut self, seconds: u64, now: Millis) -> Contents {
        self.0.set_access(self.0.access().used_at(now.saturating_sub(seconds.saturating_mul(1000))));
        self
    }

    /// As if it had been used that often, on the logarithmic scale.
    pub fn with_frequency(mut self, counter: u8) -> Contents {
        self.0.set_access(self.0.access().with_counter(counter));
        self
    }
}

/// What is known about a key beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// How the value lies in memory, in Redis's words.
    pub encoding: &'static str,
    /// The number that a string is kept as.
    pub integer: Option<i64>,
    /// How often it is used, on the logarithmic scale of the access counter.
    pub frequency: u8,
    /// For how long it was not used, in steps of a second.
    pub idle: Millis,
    /// Bytes of memory with its place in the table, about.
    pub memory: usize,
}

/// A key with the number of its database.
pub type Located<'a> = (u32, Key<'a>);

/// The writes of several commands that run as one may take up to this part of an effect, so that there is room for the largest
/// value behind them.
const SHARE_OF_SEVERAL: usize = 8;

impl Keyspace {
    /// May several commands that have written so much, in bytes, write more in the same effect?
    pub fn fits_into_effect(&self, written: usize) -> bool {
        self.origin.is_none() || written <= MAX_BODY_BYTES / SHARE_OF_SEVERAL
    }
}

impl Transaction<'_> {
    /// The value, whatever its type; counts as a use.
    pub fn value(&mut self, key: Key<'_>) -> Option<Cow<'_, Value>> {
        self.used(key).map(Entry::value)
    }

    /// What is known about a key beside its data. Does not count as a use.
    pub fn facts(&self, key: Key<'_>) -> Option<KeyFacts> {
        let entry = self.live(key)?;
        let encoding = entry.encoding();
        Some(KeyFacts {
            encoding,
            integer: (encoding == "int").then(|| entry.text().and_then(integer::parse)).flatten(),
            frequency: entry.access().frequency(self.now),
            idle: entry.access().idle(self.now),
            memory: entry.memory() + size_of::<Entry>() + INDEX_BYTES,
        })
    }

    /// Lets a key hold these contents and nothing of what it held before.
    pub fn put(&mut self, key: Key<'_>, contents: Contents) -> Result<(), WriteError> {
        self.check_size(&[(self.database, key.bytes, &contents.0)])?;
        self.put_checked(key, contents);
        Ok(())
    }

    /// Moves what a key holds to another one, in the place of whatever that held. False without such a key.
    /// Both must differ.
    pub fn move_key(&mut self, (from, key): Located<'_>, (to, new): Located<'_>) -> Result<bool, WriteError> {
        let current = std::mem::replace(&mut self.database, from);
        let moved = match self.live(key) {
            None => Ok(false),
            Some(entry) => self.check_size(&[(to, new.bytes, entry)]).map(|()| true),
        };
        if moved == Ok(true)
            && let Some(contents) = self.take(key)
        {
            self.database = to;
            self.put_checked(new, contents);
        }
        self.database = current;
        moved
    }

    /// Copies what a key holds to another one, in the place of whatever that held. False without such a key. Both must
    /// differ.
    pub fn copy_key(&mut self, (from, key): Located<'_>, (to, new): Located<'_>) -> Result<bool, WriteError> {
        let current = std::mem::replace(&mut self.database, from);
        let now = self.now;
        let contents = self.used(key).cloned();
        self.database = to;
        let copied = match contents {
            None => Ok(false),
            Some(mut entry) => {
                entry.set_access(Access::new(now));
                self.put(new, Contents(entry)).map(|()| true)
            }
        };
        self.database = current;
        copied
    }

    /// Is the key there, in that database? Does not count as a use.
    pub fn is_there(&mut self, (database, key): Located<'_>) -> bool {
        let current = std::mem::replace(&mut self.database, database);
        let there = self.live(key).is_some();
        self.database = current;
        there
    }

    /// Exchanges two databases; keys of the system stay. Only with everything locked.
    pub fn swap_databases(&mut self, one: u32, other: u32) -> Result<(), WriteError> {
        assert_eq!(self.guards.len(), Keyspace::SHARDS, "only with everything locked");
        if self.void || one == other {
            return Ok(());
        }
        if self.keyspace.origin.is_none() {
            // A name is one key to those who keep copies, in whatever database.
            self.note_everything_stale();
            self.wrote = true;
            for (_, shard) in &mut self.guards {
                shard.swap(&self.keyspace.hasher, self.now, one, other);
            }
            return Ok(());
        }
        let current = self.database;
        let mut moved: Vec<(u32, Entry)> = Vec::new();
        for (from, to) in [(one, other), (other, one)] {
            self.database = from;
            let is_live = |entry: &&Entry| entry.is_live(self.now);
            let entries = self.all_entries().filter(is_live).filter(|entry| !is_system_key(entry.key()));
            moved.extend(entries.map(|entry| (to, entry.clone())));
        }
        self.database = current;
        let written: Vec<_> = moved.iter().map(|(database, entry)| (*database, entry.key(), entry)).collect();
        self.check_size(&written)?;
        self.flush(Some(one));
        self.flush(Some(other));
        for (to, entry) in moved {
            self.database = to;
            let name = entry.key().to_vec();
            self.put_checked(self.keyspace.key(&name), Contents(entry));
        }
        self.database = current;
        Ok(())
    }

    /// Takes out all that a key holds. The key goes.
    fn take(&mut self, key: Key<'_>) -> Option<Contents> {
        if self.keyspace.origin.is_some() {
            let contents = self.live(key).cloned().map(Contents);
            self.write(key, Action::Remove, None);
            return contents;
        }
        self.live(key)?;
        self.wrote = true;
        let place = self.place(key);
        let hasher = &self.keyspace.hasher;
        let at = self.guard_of(key);
        self.guards[at].1.take(hasher, &place).map(Contents)
    }

    fn put_checked(&mut self, key: Key<'_>, contents: Contents) {
        if self.void {
            return;
        }
        if self.keyspace.events.wants_any() {
            self.announce_absence(key, false);
            self.put_quietly(key, contents);
            self.announce_put(key);
        } else {
            self.put_quietly(key, contents);
        }
    }

    fn put_quietly(&mut self, key: Key<'_>, Contents(entry): Contents) {
        if self.keyspace.origin.is_some() {
            rebuild(&entry, &mut |action| {
                self.write(key, action, None);
            });
            return;
        }
        self.wrote = true;
        let place = self.place(key);
        let hasher = &self.keyspace.hasher;
        let at = self.guard_of(key);
        self.guards[at].1.put(hasher, self.now, &place, entry.renamed(key.bytes));
    }

    /// Refuses what one effect cannot hold. Without a cluster there is no effect.
    fn check_size(&self, written: &[(u32, &[u8], &Entry)]) -> Result<(), WriteError> {
        let memory: usize = written.iter().map(|(_, key, entry)| key.len() + entry.memory()).sum();
        if self.keyspace.origin.is_none() || self.effect_bytes() + memory < MAX_BODY_BYTES / MAX_GROWTH {
            return Ok(());
        }
        let mut writer = OperationsWriter::default();
        let mut counted = self.effect_bytes();
        for &(database, key, entry) in written {
            rebuild(entry, &mut |action| {
                // Written to be counted, and dropped.
                if writer.bytes().len() > COUNTED_AT_ONCE {
                    counted += writer.bytes().len();
                    writer.clear();
                }
                if counted <= MAX_BODY_BYTES {
                    writer.push(Operation::Key { database, key, action });
                }
            });
        }
        if counted + writer.bytes().len() > MAX_BODY_BYTES { Err(WriteError::TooLarge) } else { Ok(()) }
    }
}
