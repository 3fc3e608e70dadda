//! Merging one action into one key in any order: the general case, where the effect had not seen all that the key has.
//!
//! The key is taken out of its database, merged, and put back. The rules are those of `DESIGN.md`, section "Merge table".

use super::causality::{KeyCausality, Mark};
use super::types::replaces_key;
use super::value::Value;
use super::{Kind, Millis};
use crate::effects::{Action, Stamp};
use crate::planted::{Bug, planted};

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
    pub fn merge(&mut self, action: &Action<'_>, mark: &Mark<'_>) {
        self.causality.summarize(mark.dot);
        match Kind::of(action) {
            None => match *action {
                Action::Deadline { at } => self.causality.life.change(at, mark),
                Action::Remove if planted(Bug::IgnoreConcurrentRemoval) => {}
                Action::Remove => {
                    self.remove_all(None, mark);
                    self.causality.life.forget(&mark.seen);
                }
                _ => unreachable!("not an action on any type"),
            },
            Some(kind) => {
                // A write clears the values of other types that it has seen (the next write that has seen both).
                self.remove_all(Some(kind), mark);
                if replaces_key(action) {
                    self.causality.life.forget(&mark.seen);
                }
                let value = self.take(kind);
                if let Some(value) = self.causality.causes.merge(kind, value, action, mark) {
                    self.put(value);
                }
            }
        }
        self.elect();
    }

    /// Observed-remove of the values of all types but one.
    fn remove_all(&mut self, except: Option<Kind>, mark: &Mark<'_>) {
        for &kind in Kind::ALL.iter().filter(|kind| Some(**kind) != except) {
            let value = self.take(kind);
            if let Some(left) = self.causality.causes.remove(kind, value, mark) {
                self.put(left);
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
            self.shown = if planted(Bug::ShowLowerType) { Some(values.remove(0)) } else { values.pop() };
            self.causality.hidden = values;
        }
        let winner = self.shown.as_ref().and_then(|shown| self.causality.causes.winner(shown.kind()));
        self.deadline = self.causality.life.deadline(winner);
    }

    fn stamp_of(&self, kind: Kind) -> Stamp {
        self.causality.causes.stamp(kind).unwrap_or_default()
    }
}
