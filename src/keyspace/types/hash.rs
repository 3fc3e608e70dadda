//! Hashes: a register for each field. A field that is removed and written again starts anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::text;
use crate::effects::{Action, Frontier, Stamp};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::entry::Entry;
use crate::keyspace::register::{self, Change, Register};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Collection, ElementHasher, HashValue};

/// What is not stable about the fields of a hash.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FieldCauses {
    fields: BTreeMap<Box<[u8]>, Register>,
}

impl FieldCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, current: Option<&Entry>, mark: &Mark<'_>) {
        match *action {
            Action::FieldSet { field, .. } => {
                self.fields.insert(field.into(), Register::set(mark, None));
            }
            Action::FieldRemove { field } => {
                self.fields.remove(field);
            }
            _ => {
                let (field, change) = change(action);
                let current = hash_of(current).and_then(|hash| hash.get(field));
                let current = current.as_deref();
                let register = self.fields.entry(field.into()).or_insert_with(|| Register::resting(current, &change));
                register.note(current, change, mark);
            }
        }
    }

    /// Merges an action in any order.
    pub fn merge(&mut self, hash: &mut HashValue, action: &Action<'_>, mark: &Mark<'_>) {
        if let Action::FieldRemove { field } = *action {
            return self.remove_field(hash, field, &mark.seen);
        }
        let (field, change) = change(action);
        let current = hash.get(field).map(|value| value.to_vec());
        let resting = || Register::resting(current.as_deref(), &change);
        let register = self.fields.entry(field.into()).or_insert_with(resting);
        if let Some(value) = register.merge(current, change, mark) {
            hash.insert(field, &value);
        }
    }

    /// Observed-remove of all fields.
    pub fn remove(&mut self, hash: &mut HashValue, seen: &Seen<'_>) {
        let fields: Vec<Box<[u8]>> = hash.iter().map(|(field, _)| field.into()).collect();
        for field in fields {
            self.remove_field(hash, &field, seen);
        }
    }

    fn remove_field(&mut self, hash: &mut HashValue, field: &[u8], seen: &Seen<'_>) {
        let Some(register) = self.fields.get_mut(field) else {
            if seen.stable {
                hash.remove(field);
            }
            return;
        };
        match register.remove(hash.get(field).as_deref(), seen) {
            Some(value) => {
                hash.insert(field, &value);
            }
            None => {
                hash.remove(field);
            }
        }
        if register.is_resting() {
            self.fields.remove(field);
        }
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        for register in self.fields.values_mut() {
            register.fold(stable, |_| true);
        }
        self.fields.retain(|_, register| !register.is_resting());
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Option<Stamp> {
        self.fields.values().map(Register::stamp).max()
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.fields.len() * 224
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

fn hash_of(entry: Option<&Entry>) -> Option<&HashValue> {
    entry.and_then(Entry::collection).and_then(HashValue::of)
}

fn change<'a>(action: &Action<'a>) -> (&'a [u8], Change) {
    match *action {
        Action::FieldSet { field, value } => (field, Change::Set { value: value.into(), deadline: None }),
        Action::FieldAdd { field, increment } => (field, Change::Add(increment)),
        Action::FieldAddFloat { field, increment } => (field, Change::AddFloat(increment.into())),
        _ => unreachable!("not a write of a field"),
    }
}

/// Applies an action as a single node would. True when it created or removed the key or the field.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>, result: Option<&[u8]>) -> bool {
    match *action {
        Action::FieldSet { field, value } => slot.edit(|hash: &mut HashValue| hash.insert(field, value)),
        Action::FieldAdd { field, increment } => {
            slot.edit(|hash| add(hash, field, result, |current| register::add_integer(current, increment)))
        }
        Action::FieldAddFloat { field, increment } => {
            slot.edit(|hash| add(hash, field, result, |current| register::add_float(current, increment)))
        }
        Action::FieldRemove { field } => slot.remove_from(|hash: &mut HashValue| hash.remove(field)),
        _ => unreachable!("not an action on a hash"),
    }
}

fn add(
    hash: &mut HashValue,
    field: &[u8],
    result: Option<&[u8]>,
    sum: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
) -> bool {
    match result {
        Some(value) => hash.insert(field, value),
        // What is no number stays as it is.
        None => sum(hash.get(field).as_deref()).is_some_and(|value| hash.insert(field, &value)),
    }
}

/// The actions that make an absent key this hash.
pub fn rebuild(hash: &HashValue, each: &mut dyn FnMut(Action<'_>)) {
    for (field, value) in hash.iter() {
        each(Action::FieldSet { field: &field, value: &value });
    }
}

/// A hash in a snapshot.
pub type Image = Vec<(ByteBuf, ByteBuf)>;

/// A hash, for a snapshot.
pub fn image(hash: &HashValue) -> Image {
    hash.iter().map(|(field, value)| (ByteBuf::from(field), ByteBuf::from(value))).collect()
}

/// A hash, out of a snapshot.
pub fn restore(image: Image, hasher: &ElementHasher) -> HashValue {
    let mut hash = HashValue::empty(hasher);
    for (field, value) in image {
        hash.insert(&field, &value);
    }
    hash
}

/// A hash as `dump` prints it. The order of the fields is not part of the data.
pub fn describe(hash: &HashValue) -> String {
    let mut fields: Vec<_> = hash.iter().map(|(field, value)| format!("{}={}", text(&field), text(&value))).collect();
    fields.sort_unstable();
    fields.join(" ")
}
