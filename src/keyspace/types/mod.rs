//! The types of values: what an action does to a value of its type, alone and among concurrent ones.
//!
//! Each type has a file here with everything that concerns it alone: what merging needs to know beside the value (its
//! causes), how an action is noted, applied and merged, and how a value looks in a snapshot and in `dump`. This file
//! dispatches; the rest of the keyspace names no type. The rules of merging are those of `DESIGN.md`, "Merge table".
//!
//! To add a type:
//! 1. `effects/operation/`: its actions in `Action`, its `Family`, and a file with its tags and its codec.
//! 2. `kind.rs`: a line in `kinds!`, and one in `Kind::of`. `value/`: a file with the plain value, a line in each match
//!    of `value/mod.rs`, and one `collection!`.
//! 3. Here: a file like `set.rs`, a field in [`Causes`], a variant in [`ValueImage`] (both at the end: their order is the
//!    form of snapshots, so `snapshot::VERSION` goes up), and a line in each match. A write that clears what the key held
//!    before, whatever its type, belongs in [`replaces_key`].
//! 4. `transaction/`: a file with its reads and writes.
//! 5. `proptests/src/specification/` (what the data must be) and `proptests/src/writes/` (its writes, how to generate
//!    them, its rows of the merge table): a file each and a line in each match; then `UPDATE_MERGE_TABLE=1` for the table.
//! 6. `sim/`: a line per action in `trace.rs`, its reading in `checker.rs`, its writes in `event_loop/writes.rs`.
//!
//! The compiler finds most of the lines: no match over actions, families, kinds or values has an arm for "the rest", but
//! those that a type's own functions end with.

mod hash;
mod list;
mod list_again;
mod set;
mod sorted_set;
mod stream;
mod string;

pub use list_again::RemovedBefore;
pub use stream::is_always_merged;

use serde::{Deserialize, Serialize};

use super::causality::{Life, Mark};
use super::entry::Entry;
use super::slot::KeySlot;
use super::value::{Collection, HashValue, ListValue, SetValue, SortedSetValue, StreamValue, Value};
use super::{Kind, Millis};
use crate::effects::{Action, Dot, Frontier, Stamp};

/// Does the action begin a new life of the key, whatever it held before? Only such an action meets a value of another
/// type when it has seen everything there is.
#[inline]
pub fn replaces_key(action: &Action<'_>) -> bool {
    matches!(action, Action::StringSet { .. })
}

/// Is the element there that an action changes and cannot make? Only the life of a field is such a change: where the
/// field is gone, what is left is for a concurrent write to inherit.
#[inline]
pub fn finds_element(entry: Option<&Entry>, action: &Action<'_>) -> bool {
    match action {
        Action::FieldDeadline { field, .. } => hash::has_field(entry, field),
        _ => true,
    }
}

/// Applies an action on this type as a single node would. `result` is the new value of an addition, where the caller has
/// computed it already. True when the action created or removed the key or the element.
#[inline]
pub fn apply(kind: Kind, slot: KeySlot<'_>, action: &Action<'_>, result: Option<&[u8]>) -> bool {
    match kind {
        Kind::String => string::apply(slot, action, result),
        Kind::Hash => hash::apply(slot, action, result),
        Kind::Set => set::apply(slot, action),
        Kind::SortedSet => sorted_set::apply(slot, action),
        Kind::List => list::apply(slot, action),
        Kind::Stream => stream::apply(slot, action),
    }
}

/// The actions that let a key hold what this entry holds, and nothing of what it held before.
pub fn rebuild(entry: &Entry, each: &mut dyn FnMut(Action<'_>)) {
    let deadline = entry.deadline();
    let Some(value) = entry.collection().filter(|value| value.kind() != Kind::String) else {
        // A SET replaces whatever the key held, and its life.
        return each(Action::StringSet { value: entry.text().unwrap_or_default(), deadline });
    };
    each(Action::Remove);
    match value {
        Value::Text(_) => unreachable!("strings are set"),
        Value::Hash(hash) => hash::rebuild(hash, each),
        Value::Set(set) => set::rebuild(set, each),
        Value::SortedSet(set) => sorted_set::rebuild(set, each),
        Value::List(list) => list::rebuild(list, each),
        Value::Stream(stream) => stream::rebuild(stream, each),
    }
    if deadline.is_some() {
        each(Action::Deadline { at: deadline });
    }
}

/// What is not stable about the values of one key, one part for each type.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Causes {
    string: string::StringCauses,
    fields: hash::FieldCauses,
    members: set::MemberCauses,
    scores: sorted_set::ScoreCauses,
    list: list::ListCauses,
    stream: stream::StreamCauses,
}

impl Causes {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, kind: Kind, action: &Action<'_>, current: Option<&Entry>, mark: &Mark<'_>) {
        match kind {
            Kind::String => self.string.note(action, current, mark),
            Kind::Hash => self.fields.note(action, current, mark),
            Kind::Set => self.members.note(action, mark),
            Kind::SortedSet => self.scores.note(action, current, mark),
            Kind::List => self.list.note(action, list_of(current), mark),
            Kind::Stream => {
                self.stream.note(action, current.and_then(Entry::collection).and_then(StreamValue::of), mark)
            }
        }
    }

    /// Notes that an action which has seen everything there is about the key removes it all. What effects still to come
    /// may refer to stays.
    pub fn note_removal(&mut self, current: Option<&Entry>, mark: &Mark<'_>) {
        let mut list = std::mem::take(&mut self.list);
        list.note_removal(list_of(current), mark);
        *self = Causes { list, ..Causes::default() };
    }

    /// Merges an action into the value of its type, in any order. Returns the value after it; it may be empty.
    pub fn merge(&mut self, kind: Kind, value: Option<Value>, action: &Action<'_>, mark: &Mark<'_>) -> Option<Value> {
        match kind {
            Kind::String => {
                let text = value.map(|value| match value {
                    Value::Text(text) => *text,
                    _ => unreachable!("an action meets its own type"),
                });
                self.string.merge(text, action, mark).map(Value::text)
            }
            Kind::Hash => edit(value, |hash: &mut HashValue| self.fields.merge(hash, action, mark)),
            Kind::Set => edit(value, |set: &mut SetValue| self.members.merge(set, action, mark)),
            Kind::SortedSet => edit(value, |set: &mut SortedSetValue| self.scores.merge(set, action, mark)),
            Kind::List => edit(value, |list: &mut ListValue| self.list.merge(list, action, mark)),
            Kind::Stream => {
                let stream = value.and_then(StreamValue::from_value);
                self.stream.merge(stream, action, mark).map(StreamValue::into_value)
            }
        }
    }

    /// Observed-remove of the value of a type. Returns what is left; it may be empty.
    pub fn remove(&mut self, kind: Kind, value: Option<Value>, mark: &Mark<'_>) -> Option<Value> {
        let Some(value) = value else {
            match kind {
                Kind::Hash => self.fields.remove_ghosts(mark),
                Kind::List => self.list.remove(None, mark),
                Kind::String | Kind::Set | Kind::SortedSet | Kind::Stream => {}
            }
            return None;
        };
        match value {
            Value::Text(text) => self.string.remove(*text, &mark.seen).map(Value::text),
            Value::Hash(mut hash) => {
                self.fields.remove(&mut hash, mark);
                Some(Value::Hash(hash))
            }
            Value::Set(mut set) => {
                self.members.remove(&mut set, &mark.seen);
                Some(Value::Set(set))
            }
            Value::SortedSet(mut set) => {
                self.scores.remove(&mut set, &mark.seen);
                Some(Value::SortedSet(set))
            }
            Value::List(mut list) => {
                self.list.remove(Some(&mut list), mark);
                Some(Value::List(list))
            }
            Value::Stream(stream) => self.stream.remove(*stream, mark).map(StreamValue::into_value),
        }
    }

    /// Drops what is stable. Nothing that a client can see changes.
    pub fn fold(&mut self, stable: &Frontier, life: &mut Life) {
        self.string.fold(stable, life);
        self.fields.fold(stable);
        self.members.fold(stable);
        self.scores.fold(stable);
        self.list.fold(stable);
        self.stream.fold(stable);
    }

    /// The highest stamp among the surviving writes of one type: the type with the highest is shown.
    pub fn stamp(&self, kind: Kind) -> Option<Stamp> {
        match kind {
            Kind::String => self.string.stamp(),
            Kind::Hash => self.fields.stamp(),
            Kind::Set => self.members.stamp(),
            Kind::SortedSet => self.scores.stamp(),
            Kind::List => self.list.stamp(),
            Kind::Stream => self.stream.stamp(),
        }
    }

    /// The write that decides all of the value, with the deadline that it brought. Only a string has such a write.
    pub fn winner(&self, kind: Kind) -> Option<(Dot, Option<Millis>)> {
        match kind {
            Kind::String => self.string.winner(),
            Kind::Hash | Kind::Set | Kind::SortedSet | Kind::List | Kind::Stream => None,
        }
    }

    /// Does something outlive the elements that it was about?
    pub fn has_ghosts(&self) -> bool {
        self.fields.has_ghosts()
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.string.memory()
            + self.fields.memory()
            + self.members.memory()
            + self.scores.memory()
            + self.list.memory()
            + self.stream.memory()
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.string.is_empty()
            && self.fields.is_empty()
            && self.members.is_empty()
            && self.scores.is_empty()
            && self.list.is_empty()
            && self.stream.is_empty()
    }

    /// Can this be about a key with these values?
    pub fn fits<'a>(&self, values: impl Iterator<Item = &'a Value>) -> bool {
        let len = |value: &Value| ListValue::of(value).map_or(0, ListValue::len);
        self.list.fits(values.map(len).sum())
    }
}

fn list_of(entry: Option<&Entry>) -> Option<&ListValue> {
    entry.and_then(Entry::collection).and_then(ListValue::of)
}

/// Changes a collection that may not be there yet.
fn edit<C: Collection>(value: Option<Value>, edit: impl FnOnce(&mut C)) -> Option<Value> {
    let mut collection = match value {
        Some(value) => C::from_value(value).unwrap_or_else(|| unreachable!("an action meets its own type")),
        None => C::empty(),
    };
    edit(&mut collection);
    Some(collection.into_value())
}

/// A value in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub enum ValueImage {
    Text(string::Image),
    Hash(hash::Image),
    Set(set::Image),
    SortedSet(sorted_set::Image),
    List(list::Image),
    Stream(stream::Image),
}

impl ValueImage {
    /// The value of an entry.
    pub fn of(entry: &Entry) -> ValueImage {
        match entry.collection() {
            None => ValueImage::Text(string::image(entry.text().unwrap_or_default())),
            Some(value) => ValueImage::of_value(value),
        }
    }

    /// A value.
    pub fn of_value(value: &Value) -> ValueImage {
        match value {
            Value::Text(text) => ValueImage::Text(string::image(text)),
            Value::Hash(hash) => ValueImage::Hash(hash::image(hash)),
            Value::Set(set) => ValueImage::Set(set::image(set)),
            Value::SortedSet(set) => ValueImage::SortedSet(sorted_set::image(set)),
            Value::List(list) => ValueImage::List(list::image(list)),
            Value::Stream(stream) => ValueImage::Stream(stream::image(stream)),
        }
    }

    /// The value, out of the snapshot.
    pub fn into_value(self) -> Value {
        match self {
            ValueImage::Text(text) => Value::text(text.into_vec()),
            ValueImage::Hash(image) => Value::Hash(hash::restore(image)),
            ValueImage::Set(image) => Value::Set(set::restore(image)),
            ValueImage::SortedSet(image) => Value::SortedSet(sorted_set::restore(image)),
            ValueImage::List(image) => Value::List(list::restore(image)),
            ValueImage::Stream(image) => stream::restore(image).into_value(),
        }
    }
}

/// A value as `dump` prints it.
pub fn describe(entry: &Entry) -> String {
    match entry.collection() {
        Some(Value::Text(_)) | None => string::describe(entry.text().unwrap_or_default()),
        Some(Value::Hash(hash)) => hash::describe(hash),
        Some(Value::Set(set)) => set::describe(set),
        Some(Value::SortedSet(set)) => sorted_set::describe(set),
        Some(Value::List(list)) => list::describe(list),
        Some(Value::Stream(stream)) => stream.to_string(),
    }
}

/// Bytes as `dump` prints them.
pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
