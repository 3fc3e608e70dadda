//! A consumer group: how far it is, and what its consumers have not acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::allocation;
use crate::effects::StreamId;
use crate::keyspace::Millis;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Who has it.
    pub consumer: Arc<[u8]>,
    /// When it was last delivered.
    pub delivered_at: Millis,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A consumer of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// When this node last saw it try anything. Not part of the data: nodes differ in it.
    pub seen_at: Millis,
    /// When it last got an entry, if ever.
    pub active_at: Option<Millis>,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// The entries that it has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The highest id that was delivered.
    pub last_delivered: StreamId,
    /// How many entries the stream had added up to that one, where it is known.
    pub entries_read: Option<u64>,
    /// Ids up to `last_delivered` that were never delivered: their entries arrived late, from a peer.
    late: BTreeSet<StreamId>,
    pending: BTreeMap<StreamId, Pending>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
    /// Bytes of memory behind the names of the consumers.
    names: usize,
}

/// What a name's allocation has beside the name: its two reference counts.
const COUNTS: usize = 2 * size_of::<usize>();
/// What an element of a B-tree costs, as its nodes are two thirds full: so many thirds of its size.
const fn in_tree(size: usize) -> usize {
    size + size / 2
}

impl Group {
    /// Without consumers.
    pub fn new(last_delivered: StreamId, entries_read: Option<u64>) -> Group {
        Group { last_delivered, entries_read, ..Group::default() }
    }

    /// See the field.
    pub fn late(&self) -> &BTreeSet<StreamId> {
        &self.late
    }

    /// An entry arrived late.
    pub fn add_late(&mut self, id: StreamId) {
        self.late.insert(id);
    }

    /// A late entry is delivered, or gone. False when it was not late.
    pub fn remove_late(&mut self, id: StreamId) -> bool {
        self.late.remove(&id)
    }

    /// Late entries: exactly these.
    pub fn set_late(&mut self, late: BTreeSet<StreamId>) {
        self.late = late;
    }

    /// What was delivered and not acknowledged, by id.
    pub fn pending(&self) -> &BTreeMap<StreamId, Pending> {
        &self.pending
    }

    /// The consumers by name.
    pub fn consumers(&self) -> &BTreeMap<Arc<[u8]>, Consumer> {
        &self.consumers
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    /// Makes a consumer if there is none of this name. True when it is new.
    pub fn create_consumer(&mut self, name: &[u8], at: Millis) -> bool {
        let is_new = !self.consumers.contains_key(name);
        if is_new {
            self.names += allocation(name.len() + COUNTS);
            self.consumers.insert(name.into(), Consumer { seen_at: at, ..Consumer::default() });
        }
        is_new
    }

    /// Removes a consumer and what it had pending. Returns how much that was, if there was such a consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        self.names -= allocation(name.len() + COUNTS);
        consumer.pending.iter().for_each(|id| {
            self.pending.remove(id);
        });
        Some(consumer.pending.len())
    }

    /// A consumer tried something.
    pub fn note_seen(&mut self, name: &[u8], at: Millis) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.seen_at = consumer.seen_at.max(at);
        }
    }

    /// A consumer got something.
    pub fn note_active(&mut self, name: &[u8], at: Millis) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.active_at = consumer.active_at.max(Some(at));
        }
    }

    /// When a consumer last got something, if ever.
    pub fn set_active(&mut self, name: &[u8], at: Option<Millis>) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.active_at = at;
        }
    }

    /// A consumer, which is made if there is none, gets an entry that from now on is pending with nobody else.
    pub fn give(&mut self, id: StreamId, consumer: &[u8], delivered_at: Millis, deliveries: u64) {
        self.create_consumer(consumer, delivered_at);
        let Some((name, receiver)) = self.consumers.get_key_value(consumer) else { return };
        let is_new = !receiver.pending.contains(&id);
        let pending = Pending { consumer: name.clone(), delivered_at, deliveries };
        if let Some(before) = self.pending.insert(id, pending)
            && *before.consumer != *consumer
            && let Some(before) = self.consumers.get_mut(&before.consumer)
        {
            before.pending.remove(&id);
        }
        if is_new && let Some(receiver) = self.consumers.get_mut(consumer) {
            receiver.pending.insert(id);
        }
    }

    /// An entry is pending no longer. False when it was not.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Bytes of memory behind the group, about.
    pub fn memory(&self) -> usize {
        self.names
            + self.consumers.len() * in_tree(size_of::<(Arc<[u8]>, Consumer)>())
            + self.pending.len() * in_tree(size_of::<(StreamId, Pending)>() + size_of::<StreamId>())
            + self.late.len() * in_tree(size_of::<StreamId>())
    }
}
