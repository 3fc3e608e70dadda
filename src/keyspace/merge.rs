//! Merging one action into one key in any order: the general case, where the effect had not seen all that the key has.
//!
//! The key is taken out of its database, merged, and put back. The rules are those of `DESIGN.md`, section "Merge table".

use foldhash::fast::FixedState;

use super::causality::{KeyCausality, Mark, Seen};
use super::entry::Value;
use super::register::{Change, Register};
use super::value::{HashValue, SetValue};
use super::{Kind, Millis};
use crate::effects::{Action, Stamp};

const KINDS: [Kind; 3] = [Kind::String, Kind::Hash, Kind::Set];

/// The type of value that an action makes; `None` for what acts on any type.
pub fn kind_of(action: &Action<'_>) -> Option<Kind> {
    match action {
        Action::Remove | Action::Deadline { .. } => None,
        Action::StringSet { .. }
        | Action::StringAdd { .. }
        | Action::StringAddFloat { .. }
        | Action::StringAppend { .. }
        | Action::StringSetRange { .. }
        | Action::StringSetBits { .. }
        | Action::StringAddBits(_)
        | Action::StringRaiseRegisters(_) => Some(Kind::String),
        Action::FieldSet { .. }
        | Action::FieldAdd { .. }
        | Action::FieldAddFloat { .. }
        | Action::FieldRemove { .. } => Some(Kind::Hash),
        Action::MemberAdd { .. } | Action::MemberRemove { .. } => Some(Kind::Set),
    }
}

/// One key, taken out of its database.
#[derive(Debug)]
pub struct KeyState {
    /// The value that clients see.
    pub shown: Option<Value>,
    pub deadline: Option<Millis>,
    pub causality: KeyCausality,
}

impl KeyState {
    /// Merges an action.
    pub fn merge(&mut self, action: &Action<'_>, mark: &Mark<'_>, hasher: &FixedState) {
        self.causality.summarize(mark.dot);
        match kind_of(action) {
            None => match *action {
                Action::Deadline { at } => self.causality.life.change(at, mark),
                _ => {
                    for kind in KINDS {
                        self.remove_kind(kind, &mark.seen);
                    }
                    self.causality.life.forget(&mark.seen);
                }
            },
            Some(kind) => {
                // A write clears the values of other types that it has seen (the next write that has seen both).
                for other in KINDS {
                    if other != kind {
                        self.remove_kind(other, &mark.seen);
                    }
                }
                match kind {
                    Kind::String => self.merge_string(action, mark),
                    Kind::Hash => self.merge_field(action, mark, hasher),
                    Kind::Set => self.merge_member(action, mark, hasher),
                }
            }
        }
        self.elect();
    }

    fn merge_string(&mut self, action: &Action<'_>, mark: &Mark<'_>) {
        let Some(change) = Change::of(action) else { return };
        let current = self.take_text();
        if matches!(change, Change::Set { .. }) {
            self.causality.life.forget(&mark.seen);
        }
        let register = self.causality.string.get_or_insert_with(|| Register::resting(current.as_deref(), &change));
        if let Some(value) = register.merge(current, change, mark) {
            self.put(Value::Text(value));
        }
    }

    fn merge_field(&mut self, action: &Action<'_>, mark: &Mark<'_>, hasher: &FixedState) {
        let mut hash = match self.take(Kind::Hash) {
            Some(Value::Hash(hash)) => hash,
            _ => HashValue::new(hasher.clone()),
        };
        match *action {
            Action::FieldRemove { field } => self.remove_field(&mut hash, field, &mark.seen),
            Action::FieldSet { field, .. } | Action::FieldAdd { field, .. } | Action::FieldAddFloat { field, .. } => {
                if let Some(change) = Change::of(action) {
                    let current = hash.get(field);
                    let fields = &mut self.causality.fields;
                    let register = fields.entry(field.into()).or_insert_with(|| Register::resting(current, &change));
                    if let Some(value) = register.merge(current.map(<[u8]>::to_vec), change, mark) {
                        hash.insert(field, &value);
                    }
                }
            }
            _ => unreachable!("not an action on a hash"),
        }
        self.put(Value::Hash(hash));
    }

    fn remove_field(&mut self, hash: &mut HashValue, field: &[u8], seen: &Seen<'_>) {
        let Some(register) = self.causality.fields.get_mut(field) else {
            if seen.stable {
                hash.remove(field);
            }
            return;
        };
        match register.remove(hash.get(field), seen) {
            Some(value) => {
                hash.insert(field, &value);
            }
            None => {
                hash.remove(field);
            }
        }
        if register.is_resting() {
            self.causality.fields.remove(field);
        }
    }

    fn merge_member(&mut self, action: &Action<'_>, mark: &Mark<'_>, hasher: &FixedState) {
        let mut set = match self.take(Kind::Set) {
            Some(Value::Set(set)) => set,
            _ => SetValue::new(hasher.clone()),
        };
        match *action {
            Action::MemberAdd { member } => {
                let stable = set.contains(member) && !self.causality.members.contains_key(member);
                let causes = self.causality.members.entry(member.into()).or_default();
                causes.stable = (causes.stable || stable) && !mark.seen.stable;
                causes.additions.retain(|(dot, _)| !mark.seen.includes(*dot));
                causes.additions.push((mark.dot, mark.stamp));
                set.insert(member);
            }
            Action::MemberRemove { member } => self.remove_member(&mut set, member, &mark.seen),
            _ => unreachable!("not an action on a set"),
        }
        self.put(Value::Set(set));
    }

    fn remove_member(&mut self, set: &mut SetValue, member: &[u8], seen: &Seen<'_>) {
        let Some(causes) = self.causality.members.get_mut(member) else {
            if seen.stable {
                set.remove(member);
            }
            return;
        };
        causes.stable &= !seen.stable;
        causes.additions.retain(|(dot, _)| !seen.removes(*dot));
        let stays = causes.stable || !causes.additions.is_empty();
        if causes.additions.is_empty() {
            self.causality.members.remove(member);
        }
        if !stays {
            set.remove(member);
        }
    }

    /// Observed-remove of the value of one type.
    fn remove_kind(&mut self, kind: Kind, seen: &Seen<'_>) {
        match self.take(kind) {
            None => {}
            Some(Value::Text(text)) => match &mut self.causality.string {
                None if seen.stable => {}
                None => self.put(Value::Text(text)),
                Some(register) => {
                    let left = register.remove(Some(&text), seen);
                    if register.is_resting() {
                        self.causality.string = None;
                    }
                    if let Some(left) = left {
                        self.put(Value::Text(left));
                    }
                }
            },
            Some(Value::Hash(mut hash)) => {
                let fields: Vec<Box<[u8]>> = hash.iter().map(|(field, _)| field.into()).collect();
                for field in fields {
                    self.remove_field(&mut hash, &field, seen);
                }
                self.put(Value::Hash(hash));
            }
            Some(Value::Set(mut set)) => {
                let members: Vec<Box<[u8]>> = set.iter().map(|member| member.into()).collect();
                for member in members {
                    self.remove_member(&mut set, &member, seen);
                }
                self.put(Value::Set(set));
            }
        }
    }

    fn take(&mut self, kind: Kind) -> Option<Value> {
        if self.shown.as_ref().is_some_and(|shown| shown.kind() == kind) {
            return self.shown.take();
        }
        let at = self.causality.hidden.iter().position(|hidden| hidden.kind() == kind)?;
        Some(self.causality.hidden.swap_remove(at))
    }

    fn take_text(&mut self) -> Option<Vec<u8>> {
        match self.take(Kind::String) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn put(&mut self, value: Value) {
        if value.is_empty_collection() {
            return;
        }
        match self.shown {
            None => self.shown = Some(value),
            Some(_) => self.causality.hidden.push(value),
        }
    }

    /// Shows the type with the highest stamp, and settles how long it lives.
    fn elect(&mut self) {
        if !self.causality.hidden.is_empty() {
            let mut values = std::mem::take(&mut self.causality.hidden);
            values.extend(self.shown.take());
            values.sort_by_key(|value| self.stamp_of(value.kind()));
            self.shown = values.pop();
            self.causality.hidden = values;
        }
        let winner = match &self.shown {
            Some(Value::Text(_)) => self.causality.string.as_ref().and_then(Register::winner),
            _ => None,
        };
        self.deadline = self.causality.life.deadline(winner);
    }

    fn stamp_of(&self, kind: Kind) -> Stamp {
        match kind {
            Kind::String => self.causality.string.as_ref().map(Register::stamp),
            Kind::Hash => self.causality.fields.values().map(Register::stamp).max(),
            Kind::Set => {
                let members = self.causality.members.values();
                members.flat_map(|member| member.additions.iter().map(|addition| addition.1)).max()
            }
        }
        .unwrap_or_default()
    }
}
