//! Reads and writes of streams.

use std::sync::Arc;

use super::{Key, Transaction};
use crate::effects::{Action, Elements, NodeId, StreamClaim, StreamClaims, StreamId, StreamIds};
use crate::keyspace::value::Collection;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::{EventClasses, StreamValue, WrongType};

/// What is written about one group of a stream that is there.
#[derive(Clone, Copy, Debug)]
pub struct GroupOf<'a> {
    pub key: Key<'a>,
    pub group: &'a [u8],
}

impl Transaction<'_> {
    /// A stream.
    pub fn stream(&mut self, key: Key<'_>) -> Result<Option<&StreamValue>, WrongType> {
        self.collection(key)
    }

    /// Who chooses ids for entries here: `None` on a node without a cluster, which need not tell its own from others'.
    pub fn stream_writer(&mut self) -> Option<NodeId> {
        self.makes_effects().then(|| self.origin().node())
    }

    /// Adds an entry above all others. Makes the stream.
    pub fn stream_add(&mut self, key: Key<'_>, id: StreamId, entry: Elements<'_>) {
        let is_live = self.live(key).is_some();
        self.prepare(key, is_live);
        self.write(key, Action::StreamAdd { id, entry }, None);
    }

    /// Makes a stream without entries, if there is none.
    pub fn stream_create(&mut self, key: Key<'_>) -> Result<(), WrongType> {
        if self.stream(key)?.is_none() {
            self.prepare(key, false);
            self.write(key, Action::StreamSetId { last: StreamId::MIN, added: None, max_deleted: None }, None);
        }
        Ok(())
    }

    /// Says what a stream has had.
    pub fn stream_set_id(&mut self, key: Key<'_>, last: StreamId, added: Option<u64>, max_deleted: Option<StreamId>) {
        self.write(key, Action::StreamSetId { last, added, max_deleted }, None);
    }

    /// Removes entries, which are there, in ascending order.
    pub fn stream_remove(&mut self, key: Key<'_>, ids: &[StreamId]) {
        if !ids.is_empty() {
            self.write(key, Action::StreamRemove { ids: StreamIds::of(ids) }, None);
        }
    }

    /// Removes all entries below an id.
    pub fn stream_trim(&mut self, key: Key<'_>, below: StreamId) {
        self.write(key, Action::StreamTrim { below }, None);
    }

    /// Makes a group.
    pub fn group_create(&mut self, of: GroupOf<'_>, delivered: StreamId, entries_read: Option<u64>) {
        let late = StreamIds::of(&[]);
        self.write(of.key, Action::GroupCreate { group: of.group, delivered, entries_read, late }, None);
    }

    /// Says how far a group is.
    pub fn group_set_position(&mut self, of: GroupOf<'_>, delivered: StreamId, entries_read: Option<u64>) {
        let late = StreamIds::of(&[]);
        self.write(of.key, Action::GroupSetPosition { group: of.group, delivered, entries_read, late }, None);
    }

    /// Removes a group.
    pub fn group_destroy(&mut self, of: GroupOf<'_>) {
        self.write(of.key, Action::GroupDestroy { group: of.group }, None);
    }

    /// A consumer gets entries that nobody in the group got before, in ascending order; `pending`: until it acknowledges
    /// them.
    pub fn group_deliver(
        &mut self,
        of: GroupOf<'_>,
        consumer: &[u8],
        ids: &[StreamId],
        pending: bool,
        entries_read: Option<u64>,
    ) {
        let (ids, at) = (StreamIds::of(ids), self.now);
        self.write(of.key, Action::GroupDeliver { group: of.group, consumer, ids, at, pending, entries_read }, None);
    }

    /// Pending entries become a consumer's, in ascending order; `last`: up to there all counts as delivered.
    pub fn group_claim(&mut self, of: GroupOf<'_>, consumer: &[u8], claims: &[StreamClaim], last: Option<StreamId>) {
        if !claims.is_empty() || last.is_some() {
            let (at, claims) = ((!claims.is_empty()).then_some(self.now), StreamClaims::of(claims));
            self.write(of.key, Action::GroupClaim { group: of.group, consumer, claims, at, last }, None);
        }
    }

    /// A consumer is shown again what is pending for it, in ascending order: that is not counted as getting something.
    pub fn group_deliver_again(&mut self, of: GroupOf<'_>, consumer: &[u8], claims: &[StreamClaim]) {
        if !claims.is_empty() {
            let claims = StreamClaims::of(claims);
            let action = Action::GroupClaim { group: of.group, consumer, claims, at: None, last: None };
            self.write(of.key, action, None);
        }
    }

    /// Entries are pending no longer; they are, in ascending order.
    pub fn group_acknowledge(&mut self, of: GroupOf<'_>, ids: &[StreamId]) {
        if !ids.is_empty() {
            self.write(of.key, Action::GroupAcknowledge { group: of.group, ids: StreamIds::of(ids) }, None);
        }
    }

    /// A consumer tries something: it is made if there is none of this name. True when it is new. That it was seen is
    /// known to this node alone.
    pub fn consumer_seen(&mut self, of: GroupOf<'_>, consumer: &[u8]) -> bool {
        let group = self.live(of.key).and_then(|entry| entry.collection()).and_then(StreamValue::of);
        let Some(group) = group.and_then(|stream| stream.group(of.group)) else { return false };
        let (at, is_new) = (self.now, group.consumer(consumer).is_none());
        if is_new {
            self.write(of.key, Action::ConsumerCreate { group: of.group, consumer, at }, None);
            self.announce(EventClasses::STREAM, "xgroup-createconsumer", of.key);
        }
        let place = self.place(of.key);
        let database = self.shard_mut(of.key).database_mut(place.database);
        if let Some(found) = database.find(place.hash, place.key)
            && let Some(stream) = database.entry_mut(found).collection_mut().and_then(StreamValue::of_mut)
        {
            stream.edit_group(of.group, |group| group.note_seen(consumer, at));
        }
        is_new
    }

    /// Removes a consumer with what it has pending.
    ///
    /// Its entries are acknowledged besides: where others were given them concurrently, those lost them to it, and must
    /// not get them back just because this node still remembers.
    pub fn consumer_remove(&mut self, of: GroupOf<'_>, consumer: &[u8]) {
        let group = self.live(of.key).and_then(|entry| entry.collection()).and_then(StreamValue::of);
        let found = group.and_then(|stream| stream.group(of.group)).and_then(|group| group.consumer(consumer));
        let pending: Vec<StreamId> = found.iter().flat_map(|found| found.pending()).copied().collect();
        self.group_acknowledge(of, &pending);
        self.write(of.key, Action::ConsumerRemove { group: of.group, consumer }, None);
    }

    /// From now on the waiter is woken when the stream gets an entry; for a consumer of a group in order of arrival, as
    /// others of that group may take it.
    pub fn wait_for_entry(&mut self, key: Key<'_>, group: Option<&[u8]>, waiter: &Arc<Waiter>) {
        let database = self.database;
        self.shard_mut(key).waiting.add_reader(database, key.bytes, group, waiter);
    }

    /// May this client take entries for its group, or does another one of the group wait for them longer?
    pub fn is_first_of_group(&self, of: GroupOf<'_>, waiter: Option<&Arc<Waiter>>) -> bool {
        self.shard(of.key).waiting.is_first_of_group(self.database, of.key.bytes, of.group, waiter)
    }
}
