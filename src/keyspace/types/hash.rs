//! Hashes: a register and a life for each field. A field that is removed and written again starts anew.
//!
//! The life of a field is what that of a key is (`causality`). It can outlive the field as the key's can outlive the value:
//! where an HDEL and a concurrent HEXPIRE meet, the HEXPIRE stays, for a concurrent write to inherit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::text;
use crate::effects::{Action, Frontier, Stamp};
use crate::keyspace::Millis;
use crate::keyspace::causality::{Life, Mark};
use crate::keyspace::entry::Entry;
use crate::keyspace::register::{self, Change, Register};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Collection, Element, HashValue};
use crate::planted::{Bug, planted};

/// What is not stable about the fields of a hash.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FieldCauses {
    fields: BTreeMap<Box<[u8]>, Register>,
    /// The lives of fields that have one beside what the SETs in their registers say. A field with neither here nor a
    /// register rests on the deadline that the hash has for it.
    lives: BTreeMap<Box<[u8]>, Life>,
    /// Of fields without a value.
    ghosts: BTreeMap<Box<[u8]>, Ghost>,
}

/// What removals left of the life of a field: a write that has not seen them, and is still to come, inherits it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ghost {
    life: Life,
    /// When this is stable no such write is left.
    until: Frontier,
}

impl FieldCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, current: Option<&Entry>, mark: &Mark<'_>) {
        let hash = hash_of(current);
        match *action {
            Action::FieldSet { field, deadline, .. } => {
                self.forget(field);
                self.fields.insert(field.into(), Register::set(mark, deadline));
            }
            Action::FieldRemove { field } => self.forget(field),
            Action::FieldDeadline { field, at } => {
                let mut life = self.take_life(hash, field);
                life.change(at, mark);
                self.lives.insert(field.into(), life);
            }
            _ => {
                let (field, change) = change(action);
                let life = self.take_life(hash, field);
                let current = hash.and_then(|hash| hash.get(field));
                let current = current.as_deref();
                let register = self.fields.entry(field.into()).or_insert_with(|| Register::resting(current, &change));
                register.note(current, change, mark);
                self.keep_life(field, life);
            }
        }
    }

    fn forget(&mut self, field: &[u8]) {
        self.fields.remove(field);
        self.lives.remove(field);
        self.ghosts.remove(field);
    }

    /// Merges an action in any order.
    pub fn merge(&mut self, hash: &mut HashValue, action: &Action<'_>, mark: &Mark<'_>) {
        match *action {
            Action::FieldRemove { field } => self.remove_field(hash, field, mark),
            Action::FieldDeadline { field, at } => {
                let mut life = self.take_life(Some(hash), field);
                life.change(at, mark);
                self.settle(hash, field, life, mark);
            }
            _ => {
                let (field, change) = change(action);
                let mut life = self.take_life(Some(hash), field);
                if matches!(change, Change::Set { .. }) {
                    life.forget(&mark.seen);
                }
                let current = hash.get(field).map(|value| value.to_vec());
                let resting = || Register::resting(current.as_deref(), &change);
                let register = self.fields.entry(field.into()).or_insert_with(resting);
                if let Some(value) = register.merge(current, change, mark) {
                    hash.insert(field, &value);
                }
                self.settle(hash, field, life, mark);
            }
        }
    }

    /// Observed-remove of all fields.
    pub fn remove(&mut self, hash: &mut HashValue, mark: &Mark<'_>) {
        let fields: Vec<Box<[u8]>> = hash.iter().map(|(field, _)| field.into()).collect();
        for field in fields {
            self.remove_field(hash, &field, mark);
        }
        self.remove_ghosts(mark);
    }

    /// Observed-remove of what outlived fields.
    pub fn remove_ghosts(&mut self, mark: &Mark<'_>) {
        self.ghosts.retain(|_, ghost| {
            ghost.life.forget(&mark.seen);
            ghost.wait_for(mark);
            !ghost.life.is_plain()
        });
    }

    fn remove_field(&mut self, hash: &mut HashValue, field: &[u8], mark: &Mark<'_>) {
        let mut life = self.take_life(Some(hash), field);
        life.forget(&mark.seen);
        let Some(register) = self.fields.get_mut(field) else {
            if mark.seen.stable {
                hash.remove(field);
            }
            return self.settle(hash, field, life, mark);
        };
        match register.remove(hash.get(field).as_deref(), &mark.seen) {
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
        self.settle(hash, field, life, mark);
    }

    /// The life of a field, out of where it is kept.
    fn take_life(&mut self, hash: Option<&HashValue>, field: &[u8]) -> Life {
        if let Some(life) = self.lives.remove(field) {
            return life;
        }
        if let Some(ghost) = self.ghosts.remove(field) {
            return ghost.life;
        }
        match hash.and_then(|hash| hash.deadline(field)) {
            Some(deadline) if !self.fields.contains_key(field) => Life::resting(Some(deadline)),
            _ => Life::default(),
        }
    }

    /// Keeps the life of a field that is there, unless it is known without.
    fn keep_life(&mut self, field: &[u8], life: Life) {
        if !life.is_resting() || (!life.is_plain() && self.fields.contains_key(field)) {
            self.lives.insert(field.into(), life);
        }
    }

    /// After a merge: lets the field live as long as its life says, and keeps that life.
    fn settle(&mut self, hash: &mut HashValue, field: &[u8], life: Life, mark: &Mark<'_>) {
        if hash.get(field).is_some() {
            let winner = self.fields.get(field).and_then(Register::winner);
            hash.set_deadline(field, life.deadline(winner).filter(|_| !planted(Bug::DropFieldLife)));
            self.keep_life(field, life);
        } else if !life.is_plain() {
            let mut ghost = Ghost { life, until: Frontier::EMPTY };
            ghost.wait_for(mark);
            self.ghosts.insert(field.into(), ghost);
        }
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        let FieldCauses { fields, lives, ghosts } = self;
        for (field, register) in fields.iter_mut() {
            let mut life = lives.remove(field).unwrap_or_default();
            if let Some((set, deadline)) = register.fold(stable, |set| life.may_forget(set, stable)) {
                life.rest_on(set, deadline, register.winner());
            }
            if register.winner().is_none() {
                life.fold(stable);
            }
            if !life.is_resting() || (!life.is_plain() && !register.is_resting()) {
                lives.insert(field.clone(), life);
            }
        }
        fields.retain(|_, register| !register.is_resting());
        lives.retain(|field, life| {
            if !fields.contains_key(field) {
                life.fold(stable);
            }
            !life.is_resting() || fields.contains_key(field)
        });
        ghosts.retain(|_, ghost| !ghost.until.within(stable));
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Option<Stamp> {
        self.fields.values().map(Register::stamp).max()
    }

    /// Does the life of a field outlive its value?
    pub fn has_ghosts(&self) -> bool {
        !self.ghosts.is_empty()
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        let lives = self.lives.values().chain(self.ghosts.values().map(|ghost| &ghost.life));
        self.fields.len() * 224 + lives.map(|life| 128 + life.memory()).sum::<usize>()
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.lives.is_empty() && self.ghosts.is_empty()
    }
}

impl Ghost {
    /// A write may arrive that has seen neither this effect nor anything before it.
    fn wait_for(&mut self, mark: &Mark<'_>) {
        self.until.join(mark.applied);
        self.until.raise(mark.dot.node, mark.dot.seq);
    }
}

/// Does the entry hold a hash with this field?
pub fn has_field(entry: Option<&Entry>, field: &[u8]) -> bool {
    hash_of(entry).is_some_and(|hash| hash.get(field).is_some())
}

fn hash_of(entry: Option<&Entry>) -> Option<&HashValue> {
    entry.and_then(Entry::collection).and_then(HashValue::of)
}

fn change<'a>(action: &Action<'a>) -> (&'a [u8], Change) {
    match *action {
        Action::FieldSet { field, value, deadline } => (field, Change::Set { value: value.into(), deadline }),
        Action::FieldAdd { field, increment } => (field, Change::Add(increment)),
        Action::FieldAddFloat { field, increment } => (field, Change::AddFloat(increment.into())),
        _ => unreachable!("not a write of a field"),
    }
}

/// Applies an action as a single node would. True when it created or removed the key or the field.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>, result: Option<&[u8]>) -> bool {
    match *action {
        Action::FieldSet { field, value, deadline } => slot.edit(|hash: &mut HashValue| {
            let is_new = hash.insert(field, value);
            hash.set_deadline(field, deadline);
            is_new
        }),
        Action::FieldDeadline { field, at } => slot.edit_existing(|hash: &mut HashValue| hash.set_deadline(field, at)),
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
        each(Action::FieldSet { field: &field, value: &value, deadline: hash.deadline(&field) });
    }
}

/// A hash in a snapshot: fields, values and deadlines.
pub type Image = Vec<(ByteBuf, ByteBuf, Option<Millis>)>;

/// A hash, for a snapshot.
pub fn image(hash: &HashValue) -> Image {
    let field = |(field, value): (Element<'_>, Element<'_>)| {
        (ByteBuf::from(&*field), ByteBuf::from(&*value), hash.deadline(&field))
    };
    hash.iter().map(field).collect()
}

/// A hash, out of a snapshot.
pub fn restore(image: Image) -> HashValue {
    let mut hash = HashValue::empty();
    for (field, value, deadline) in image {
        hash.insert(&field, &value);
        hash.set_deadline(&field, deadline);
    }
    hash
}

/// A hash as `dump` prints it. The order of the fields is not part of the data.
pub fn describe(hash: &HashValue) -> String {
    let line = |(field, value): (Element<'_>, Element<'_>)| {
        let deadline = hash.deadline(&field).map_or(String::new(), |deadline| format!(" until {deadline}"));
        format!("{}={}{deadline}", text(&field), text(&value))
    };
    let mut fields: Vec<_> = hash.iter().map(line).collect();
    fields.sort_unstable();
    fields.join(" ")
}
