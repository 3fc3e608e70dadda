//! A stream in a snapshot, as text, and as the actions that make it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::entries::insert;
use crate::effects::{Action, Elements, StreamClaim, StreamClaims, StreamId, StreamIds};
use crate::keyspace::Millis;
use crate::keyspace::value::{Group, StreamValue};

/// A stream in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Image {
    last_id: StreamId,
    entries_added: u64,
    max_deleted_id: StreamId,
    /// Fields and values take turns.
    entries: Vec<(StreamId, Vec<ByteBuf>)>,
    groups: Vec<GroupImage>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupImage {
    name: ByteBuf,
    last_delivered: StreamId,
    entries_read: Option<u64>,
    late: Vec<StreamId>,
    consumers: Vec<ConsumerImage>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ConsumerImage {
    name: ByteBuf,
    active_at: Option<Millis>,
    /// Which entries it has, when they were delivered, and how often.
    pending: Vec<(StreamId, Millis, u64)>,
}

/// A stream, for a snapshot.
pub fn image(stream: &StreamValue) -> Image {
    let content = |fields: crate::keyspace::value::Fields<'_>| fields.map(|element| ByteBuf::from(&*element)).collect();
    Image {
        last_id: stream.last_id,
        entries_added: stream.entries_added,
        max_deleted_id: stream.max_deleted_id,
        entries: stream.iter().map(|entry| (entry.id, content(entry.fields))).collect(),
        groups: stream.groups().iter().map(|(name, group)| group_image(name, group)).collect(),
    }
}

fn group_image(name: &[u8], group: &Group) -> GroupImage {
    let consumers = group.consumers().iter().map(|(name, consumer)| ConsumerImage {
        name: ByteBuf::from(&**name),
        active_at: consumer.active_at,
        pending: claims_of(group, name).iter().map(|claim| (claim.id, claim.delivered_at, claim.deliveries)).collect(),
    });
    GroupImage {
        name: ByteBuf::from(name),
        last_delivered: group.last_delivered,
        entries_read: group.entries_read,
        late: group.late().iter().copied().collect(),
        consumers: consumers.collect(),
    }
}

/// What is pending for a consumer.
fn claims_of(group: &Group, consumer: &[u8]) -> Vec<StreamClaim> {
    let ids = group.consumer(consumer).into_iter().flat_map(|consumer| consumer.pending());
    let claim = |id: &StreamId| {
        let pending = group.pending().get(id)?;
        Some(StreamClaim { id: *id, delivered_at: pending.delivered_at, deliveries: pending.deliveries })
    };
    ids.filter_map(claim).collect()
}

/// A stream, out of a snapshot.
pub fn restore(image: Image) -> StreamValue {
    let mut stream = StreamValue::new();
    for (id, content) in image.entries {
        insert(&mut stream, id, &content);
    }
    stream.last_id = image.last_id;
    stream.entries_added = image.entries_added;
    stream.max_deleted_id = image.max_deleted_id;
    for image in image.groups {
        let mut group = Group::new(image.last_delivered, image.entries_read);
        group.set_late(image.late.into_iter().collect());
        for consumer in image.consumers {
            group.create_consumer(&consumer.name, consumer.active_at.unwrap_or_default());
            group.set_active(&consumer.name, consumer.active_at);
            for (id, delivered_at, deliveries) in consumer.pending {
                group.give(id, &consumer.name, delivered_at, deliveries);
            }
        }
        stream.put_group(&image.name, group);
    }
    stream
}

/// The actions that make an absent key this stream.
pub fn rebuild(stream: &StreamValue, each: &mut dyn FnMut(Action<'_>)) {
    let (mut buffer, mut parts) = (Vec::new(), Vec::new());
    for entry in stream.iter() {
        buffer.clear();
        parts.clear();
        for element in entry.fields {
            let start = buffer.len();
            buffer.extend_from_slice(&element);
            parts.push(start as u32..buffer.len() as u32);
        }
        each(Action::StreamAdd { id: entry.id, entry: Elements::parts(&buffer, &parts) });
    }
    // Last: it takes the place of what the entries counted.
    let (added, max_deleted) = (Some(stream.entries_added), Some(stream.max_deleted_id));
    each(Action::StreamSetId { last: stream.last_id, added, max_deleted });
    for (name, group) in stream.groups() {
        let late: Vec<StreamId> = group.late().iter().copied().filter(|id| *id <= group.last_delivered).collect();
        let (delivered, entries_read, late) = (group.last_delivered, group.entries_read, StreamIds::of(&late));
        each(Action::GroupCreate { group: name, delivered, entries_read, late });
        let claims: BTreeMap<_, _> = group.consumers().keys().map(|name| (name, claims_of(group, name))).collect();
        for (consumer, claims) in claims {
            let at = group.consumer(consumer).and_then(|consumer| consumer.active_at);
            each(Action::ConsumerCreate { group: name, consumer, at: at.unwrap_or_default() });
            if at.is_some() || !claims.is_empty() {
                let claims = StreamClaims::of(&claims);
                each(Action::GroupClaim { group: name, consumer, claims, at, last: None });
            }
        }
    }
}
