//! The format against a real server's payloads, against payloads made by hand from the documented layouts, and against
//! bytes that are no values at all.

mod handmade;
mod hostile;
mod recorded;
mod recordings;
mod round_trips;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{HashField, RdbValue, StreamId, load_payload};

/// A recorded payload.
fn recorded(name: &str) -> Vec<u8> {
    let (_, text) = recorded::RECORDED.iter().find(|entry| entry.0 == name).expect("it was recorded");
    BASE64_STANDARD.decode(text).expect("base64")
}

/// The value of a payload, with whatever has no order in ascending order.
fn load(payload: &[u8]) -> RdbValue {
    in_order(load_payload(payload).expect("well formed"))
}

fn in_order(mut value: RdbValue) -> RdbValue {
    match &mut value {
        RdbValue::Set(members) => members.sort(),
        RdbValue::SortedSet(members) => members.sort_by(|a, b| a.0.cmp(&b.0)),
        RdbValue::Hash(fields) => fields.sort_by(|a, b| a.field.cmp(&b.field)),
        RdbValue::Stream(stream) => {
            stream.groups.sort_by(|a, b| a.name.cmp(&b.name));
            stream.groups.iter_mut().for_each(|group| group.consumers.sort_by(|a, b| a.name.cmp(&b.name)));
        }
        RdbValue::String(_) | RdbValue::List(_) => {}
    }
    value
}

fn bytes(items: impl IntoIterator<Item = impl ToString>) -> Vec<Vec<u8>> {
    items.into_iter().map(|item| item.to_string().into_bytes()).collect()
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> RdbValue {
    RdbValue::List(bytes(items))
}

fn set(items: impl IntoIterator<Item = impl ToString>) -> RdbValue {
    in_order(RdbValue::Set(bytes(items)))
}

fn sorted_set(members: impl IntoIterator<Item = (impl ToString, f64)>) -> RdbValue {
    let members = members.into_iter().map(|(member, score)| (member.to_string().into_bytes(), score));
    in_order(RdbValue::SortedSet(members.collect()))
}

fn hash(fields: impl IntoIterator<Item = (impl ToString, impl ToString)>) -> RdbValue {
    expiring_hash(fields.into_iter().map(|(field, value)| (field, value, None)))
}

fn expiring_hash(fields: impl IntoIterator<Item = (impl ToString, impl ToString, Option<u64>)>) -> RdbValue {
    let fields = fields.into_iter().map(|(field, value, expires_at)| HashField {
        field: field.to_string().into_bytes(),
        value: value.to_string().into_bytes(),
        expires_at,
    });
    in_order(RdbValue::Hash(fields.collect()))
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}
