//! Strings: one register of its own for each key.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::text;
use crate::effects::{Action, Dot, Frontier, Stamp};
use crate::keyspace::Millis;
use crate::keyspace::causality::{Life, Mark, Seen};
use crate::keyspace::edit::Edit;
use crate::keyspace::entry::Entry;
use crate::keyspace::register::{self, Change, Register};
use crate::keyspace::slot::KeySlot;

/// What is not stable about a string.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StringCauses {
    register: Option<Register>,
}

impl StringCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, current: Option<&Entry>, mark: &Mark<'_>) {
        if let Action::StringSet { deadline, .. } = *action {
            self.register = Some(Register::set(mark, deadline));
            return;
        }
        let current = current.and_then(Entry::text);
        let change = change(action);
        let register = self.register.get_or_insert_with(|| Register::resting(current, &change));
        register.note(current, change, mark);
    }

    /// Merges an action in any order. Returns the value after it.
    pub fn merge(&mut self, current: Option<Vec<u8>>, action: &Action<'_>, mark: &Mark<'_>) -> Option<Vec<u8>> {
        let change = change(action);
        let register = self.register.get_or_insert_with(|| Register::resting(current.as_deref(), &change));
        register.merge(current, change, mark)
    }

    /// Observed-remove. Returns what is left.
    pub fn remove(&mut self, value: Vec<u8>, seen: &Seen<'_>) -> Option<Vec<u8>> {
        let Some(register) = &mut self.register else { return (!seen.stable).then_some(value) };
        let left = register.remove(Some(&value), seen);
        if register.is_resting() {
            self.register = None;
        }
        left
    }

    /// Drops what is stable. The life of a key follows the SET that decides its value.
    pub fn fold(&mut self, stable: &Frontier, life: &mut Life) {
        let Some(register) = &mut self.register else { return };
        let may_fold = |set: Dot| life.may_forget(set, stable);
        if let Some((set, deadline)) = register.fold(stable, may_fold) {
            life.rest_on(set, deadline, register.winner());
        }
        if register.is_resting() {
            self.register = None;
        }
    }

    /// The SET that decides the value, and the deadline that it brought.
    pub fn winner(&self) -> Option<(Dot, Option<Millis>)> {
        self.register.as_ref().and_then(Register::winner)
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Option<Stamp> {
        self.register.as_ref().map(Register::stamp)
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.register.as_ref().map_or(0, Register::memory)
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.register.is_none()
    }
}

fn change(action: &Action<'_>) -> Change {
    match *action {
        Action::StringSet { value, deadline } => Change::Set { value: value.into(), deadline },
        Action::StringAdd { increment } => Change::Add(increment),
        Action::StringAddFloat { increment } => Change::AddFloat(increment.into()),
        _ => Change::Edit(edit(action).into_owned()),
    }
}

/// Applies an action as a single node would. True when it made the key.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>, result: Option<&[u8]>) -> bool {
    match *action {
        Action::StringSet { value, deadline } => slot.set_string(value, deadline),
        Action::StringAdd { increment } => add(slot, result, |current| register::add_integer(current, increment)),
        Action::StringAddFloat { increment } => add(slot, result, |current| register::add_float(current, increment)),
        _ => slot.edit_text(&edit(action), result),
    }
}

fn edit<'a>(action: &Action<'a>) -> Edit<&'a [u8]> {
    Edit::of(action).unwrap_or_else(|| unreachable!("not an action on a string"))
}

fn add(slot: KeySlot<'_>, result: Option<&[u8]>, sum: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>) -> bool {
    let deadline = slot.entry().and_then(Entry::deadline);
    match result {
        Some(value) => slot.set_string(value, deadline),
        // What is no number stays as it is.
        None => sum(slot.entry().and_then(Entry::text)).is_some_and(|value| slot.set_string(&value, deadline)),
    }
}

/// A string in a snapshot.
pub type Image = ByteBuf;

/// A string, for a snapshot.
pub fn image(value: &[u8]) -> Image {
    ByteBuf::from(value)
}

/// A string as `dump` prints it.
pub fn describe(value: &[u8]) -> String {
    text(value)
}
