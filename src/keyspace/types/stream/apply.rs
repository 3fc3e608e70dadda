//! What an action does to a stream as a single node would do it. What is not there is passed over.

use std::collections::BTreeSet;

use crate::effects::{Action, StreamId};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Group, StreamValue};

/// True when it created or removed the key, an entry, a group or a consumer.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>) -> bool {
    match *action {
        Action::StreamAdd { .. } | Action::StreamSetId { .. } | Action::GroupCreate { .. } => {
            slot.edit(|stream: &mut StreamValue| change(stream, action))
        }
        _ => slot.remove_from(|stream: &mut StreamValue| change(stream, action)),
    }
}

fn change(stream: &mut StreamValue, action: &Action<'_>) -> bool {
    match *action {
        Action::StreamAdd { id, entry } => {
            // An entry of that id that is there was seen, and replaced.
            let replaced = id <= stream.last_id && stream.remove(id);
            stream.add(id, entry.iter());
            !replaced
        }
        Action::StreamRemove { ids } => {
            let before = stream.len();
            for id in ids.iter() {
                if stream.remove(id) {
                    stream.max_deleted_id = stream.max_deleted_id.max(id);
                }
            }
            stream.len() < before
        }
        Action::StreamTrim { below } => stream.remove_below(below) > 0,
        Action::StreamSetId { last, added, max_deleted } => {
            stream.last_id = last;
            stream.entries_added = added.unwrap_or(stream.entries_added);
            stream.max_deleted_id = max_deleted.unwrap_or(stream.max_deleted_id);
            false
        }
        Action::GroupCreate { group, delivered, entries_read, late } => {
            let mut created = Group::new(delivered, entries_read);
            created.set_late(late.iter().collect());
            stream.put_group(group, created);
            true
        }
        Action::GroupDestroy { group } => stream.remove_group(group).is_some(),
        Action::GroupSetPosition { group, .. }
        | Action::GroupDeliver { group, .. }
        | Action::GroupClaim { group, .. }
        | Action::GroupAcknowledge { group, .. }
        | Action::ConsumerCreate { group, .. }
        | Action::ConsumerRemove { group, .. } => {
            stream.edit_group(group, |group| change_group(group, action)).unwrap_or(false)
        }
        _ => unreachable!("not an action on a stream"),
    }
}

fn change_group(group: &mut Group, action: &Action<'_>) -> bool {
    match *action {
        Action::GroupSetPosition { delivered, entries_read, late, .. } => {
            (group.last_delivered, group.entries_read) = (delivered, entries_read);
            group.set_late(late.iter().collect::<BTreeSet<StreamId>>());
            false
        }
        Action::GroupDeliver { consumer, ids, at, pending, entries_read, .. } => {
            let is_new = group.create_consumer(consumer, at);
            for id in ids.iter() {
                group.remove_late(id);
                group.last_delivered = group.last_delivered.max(id);
                if pending {
                    group.give(id, consumer, at, 1);
                }
            }
            group.note_active(consumer, at);
            group.entries_read = entries_read;
            is_new
        }
        Action::GroupClaim { consumer, claims, at, last, .. } => {
            let is_new = group.consumer(consumer).is_none();
            for claim in claims.iter() {
                group.give(claim.id, consumer, claim.delivered_at, claim.deliveries);
            }
            group.create_consumer(consumer, 0);
            if let Some(at) = at {
                group.note_active(consumer, at);
            }
            group.last_delivered = group.last_delivered.max(last.unwrap_or_default());
            is_new
        }
        Action::GroupAcknowledge { ids, .. } => ids.iter().filter(|id| group.acknowledge(*id)).count() > 0,
        Action::ConsumerCreate { consumer, at, .. } => group.create_consumer(consumer, at),
        Action::ConsumerRemove { consumer, .. } => group.remove_consumer(consumer).is_some(),
        _ => unreachable!("not an action on a group"),
    }
}
