//! Values of the keyspace as values of the RDB format, and back.

use std::collections::BTreeMap;

use crate::effects::StreamId;
use crate::keyspace::{
    Group as ConsumerGroup, HashValue, ListValue, Millis, SetValue, SortedSetValue, StreamEntry, StreamValue, Value,
};
use crate::rdb::{self, HashField, RdbValue};

/// A value in the form that is encoded, without the fields whose time is over.
pub fn to_rdb(value: &Value, now: Millis) -> RdbValue {
    match value {
        Value::Text(text) => RdbValue::String((**text).clone()),
        Value::Hash(hash) => RdbValue::Hash(
            hash.at_time(now)
                .iter_with_deadlines()
                .map(|(field, value, expires_at)| HashField {
                    field: field.to_vec(),
                    value: value.to_vec(),
                    expires_at,
                })
                .collect(),
        ),
        Value::Set(set) => RdbValue::Set(set.iter().map(|member| member.to_vec()).collect()),
        Value::List(list) => RdbValue::List(list.iter().map(|element| element.to_vec()).collect()),
        Value::Stream(stream) => RdbValue::Stream(stream_to_rdb(stream)),
        Value::SortedSet(set) => {
            RdbValue::SortedSet(set.iter_from(0).map(|(member, score)| (member.to_vec(), score)).collect())
        }
    }
}

/// A value out of the form that is encoded.
pub fn from_rdb(value: RdbValue) -> Value {
    match value {
        RdbValue::String(text) => Value::text(text),
        RdbValue::Hash(fields) => {
            let mut hash = HashValue::new();
            for HashField { field, value, expires_at } in fields {
                hash.insert(&field, &value);
                hash.set_deadline(&field, expires_at);
            }
            Value::Hash(hash)
        }
        RdbValue::List(elements) => {
            let mut list = ListValue::new();
            elements.iter().for_each(|element| list.push_back(element));
            Value::List(list)
        }
        RdbValue::SortedSet(members) => {
            let mut set = SortedSetValue::new();
            for (member, score) in members {
                set.insert(&member, score);
            }
            Value::SortedSet(set)
        }
        RdbValue::Set(members) => {
            let mut set = SetValue::new();
            members.iter().for_each(|member| {
                set.insert(member);
            });
            Value::Set(set)
        }
        RdbValue::Stream(stream) => Value::Stream(Box::new(stream_from_rdb(stream))),
    }
}

pub(super) fn stream_to_rdb(stream: &StreamValue) -> rdb::Stream {
    let entry = |entry: StreamEntry<'_>| {
        let mut fields = Vec::with_capacity(entry.fields.len() / 2);
        let mut elements = entry.fields;
        while let (Some(field), Some(value)) = (elements.next(), elements.next()) {
            fields.push((field.to_vec(), value.to_vec()));
        }
        rdb::StreamEntry { id: id_to_rdb(entry.id), fields }
    };
    let group = |name: &[u8], group: &ConsumerGroup| rdb::StreamGroup {
        name: name.to_vec(),
        last_id: id_to_rdb(group.last_delivered),
        entries_read: group.entries_read,
        pending: group
            .pending()
            .iter()
            .map(|(id, pending)| rdb::PendingEntry {
                id: id_to_rdb(*id),
                delivered_at: pending.delivered_at,
                deliveries: pending.deliveries,
            })
            .collect(),
        consumers: group
            .consumers()
            .iter()
            .map(|(name, consumer)| rdb::StreamConsumer {
                name: name.to_vec(),
                seen_at: consumer.seen_at,
                active_at: consumer.active_at,
                pending: consumer.pending().iter().map(|id| id_to_rdb(*id)).collect(),
            })
            .collect(),
    };
    rdb::Stream {
        entries: stream.iter().map(entry).collect(),
        last_id: id_to_rdb(stream.last_id),
        max_deleted_id: id_to_rdb(stream.max_deleted_id),
        entries_added: stream.entries_added,
        groups: stream.groups().iter().map(|(name, of)| group(name, of)).collect(),
    }
}

fn stream_from_rdb(from: rdb::Stream) -> StreamValue {
    let mut stream = StreamValue::new();
    for entry in &from.entries {
        let elements = entry.fields.iter().flat_map(|(field, value)| [field.as_slice(), value.as_slice()]);
        stream.insert(id_from_rdb(entry.id), elements);
    }
    stream.last_id = id_from_rdb(from.last_id);
    stream.max_deleted_id = id_from_rdb(from.max_deleted_id);
    stream.entries_added = from.entries_added;
    for read in from.groups {
        let mut group = ConsumerGroup::new(id_from_rdb(read.last_id), read.entries_read);
        let pending: BTreeMap<_, _> = read.pending.iter().map(|entry| (entry.id, entry)).collect();
        for consumer in &read.consumers {
            group.create_consumer(&consumer.name, consumer.seen_at);
            for id in &consumer.pending {
                if let Some(entry) = pending.get(id) {
                    group.give(id_from_rdb(*id), &consumer.name, entry.delivered_at, entry.deliveries);
                }
            }
            if let Some(at) = consumer.active_at {
                group.note_active(&consumer.name, at);
            }
        }
        stream.put_group(&read.name, group);
    }
    stream
}

fn id_to_rdb(id: StreamId) -> rdb::StreamId {
    rdb::StreamId { ms: id.milliseconds, seq: id.sequence }
}

fn id_from_rdb(id: rdb::StreamId) -> StreamId {
    StreamId::new(id.ms, id.seq)
}
