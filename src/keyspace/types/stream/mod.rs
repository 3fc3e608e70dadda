//! Streams: entries by the additions that made them, and groups by their creations.
//!
//! An entry is there while an addition of it survives. What is counted about a stream (its highest id, how many entries were
//! added) comes from the same additions, which count on when the entry is gone (`entries`). A group is what was done to the
//! creations of it that survive (`group`, `base`), and no group ever passes over an entry that arrives late (`position`).
//!
//! Every action but XADD is merged, also where it has seen everything; an XADD that has is applied as by a single node
//! (`apply`), and only noted here.
//!
//! Architecture invariant: what is shown depends on which effects are here and what they had seen, never on their order nor on
//! what is folded. Metadata that contradicts its value (a snapshot of a peer) makes wrong data, no panic.

mod apply;
mod base;
mod entries;
mod group;
mod image;
mod position;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::entries::{Entries, Key, Record};
use self::group::{GroupCauses, show_anew};
use self::position::Position;
use crate::effects::{Action, Family, Frontier, Stamp, StreamId};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::value::StreamValue;
use crate::planted::{Bug, planted};

pub use apply::apply;
pub use image::{Image, image, rebuild, restore};

/// Is the action merged even where it has seen everything there is?
#[inline]
pub fn is_always_merged(action: &Action<'_>) -> bool {
    action.family() == Family::Stream && !matches!(action, Action::StreamAdd { .. })
}

/// What is not stable about a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamCauses {
    /// `None`: of entries and what is counted all is stable.
    record: Option<Record>,
    /// Those of which something is not stable.
    groups: BTreeMap<Box<[u8]>, GroupCauses>,
}

impl StreamCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, stream: Option<&StreamValue>, mark: &Mark<'_>) {
        match *action {
            // Its entry is late for no group: it has seen how far each of them is.
            Action::StreamAdd { id, .. } => {
                self.record.get_or_insert_with(|| Record::resting(stream)).note_add(id, mark);
            }
            _ => unreachable!("all others are merged"),
        }
    }

    /// Merges an action in any order. Returns the stream after it, if there is one.
    pub fn merge(&mut self, stream: Option<StreamValue>, action: &Action<'_>, mark: &Mark<'_>) -> Option<StreamValue> {
        let creates =
            matches!(action, Action::StreamAdd { .. } | Action::StreamSetId { .. } | Action::GroupCreate { .. });
        if stream.is_none() && !creates {
            return None;
        }
        let record = self.record.get_or_insert_with(|| Record::resting(stream.as_ref()));
        let mut stream = stream.unwrap_or_default();
        match *action {
            Action::StreamAdd { id, entry } => {
                let ended = record.add(&mut stream, id, entry, mark);
                self.depart(&mut stream, &ended);
                if !planted(Bug::SkipLateEntry) {
                    self.arrive(&mut stream, id, mark);
                }
            }
            Action::StreamRemove { ids } => {
                let ended = record.remove(&mut stream, ids.iter(), mark);
                self.depart(&mut stream, &ended);
            }
            Action::StreamTrim { below } => {
                record.trim(&mut stream, below, mark);
                self.keep(&mut stream);
            }
            Action::StreamSetId { last, added, max_deleted } => {
                record.set_id(&mut stream, (last, added, max_deleted), mark);
            }
            Action::GroupCreate { group, delivered, entries_read, late } => {
                record.create(mark);
                let entries = Entries { record: Some(record), stream: &stream };
                let position = Position::begin(delivered, entries_read, late, entries, mark);
                let view = stream.group(group);
                let resting = || view.map(GroupCauses::resting).unwrap_or_default();
                let causes = self.groups.entry(group.into()).or_insert_with(resting);
                causes.create(view, position, mark);
                show_anew(&mut stream, group, causes);
            }
            Action::GroupDestroy { group } => self.destroy(&mut stream, group, &mark.seen),
            Action::GroupSetPosition { group, .. }
            | Action::GroupDeliver { group, .. }
            | Action::GroupClaim { group, .. }
            | Action::GroupAcknowledge { group, .. }
            | Action::ConsumerCreate { group, .. }
            | Action::ConsumerRemove { group, .. } => self.change_group(&mut stream, group, action, mark),
            _ => unreachable!("not an action on a stream"),
        }
        self.record.take_if(|record| record.is_resting());
        Some(stream)
    }

    fn change_group(&mut self, stream: &mut StreamValue, name: &[u8], action: &Action<'_>, mark: &Mark<'_>) {
        let Some(view) = stream.group(name) else { return };
        let causes = self.groups.entry(name.into()).or_insert_with(|| GroupCauses::resting(view));
        let entries = Entries { record: self.record.as_ref(), stream };
        let changed = match *action {
            Action::GroupSetPosition { delivered, entries_read, late, .. } => {
                let position = Position::begin(delivered, entries_read, late, entries, mark);
                causes.set_position(&position, mark);
                None
            }
            _ => Some(causes.change(entries, view, action, mark)),
        };
        stream.edit_group(name, |view| match changed {
            Some(changed) => causes.show(view, &changed),
            None => causes.show_position(view),
        });
        if causes.is_resting() {
            // Nothing that it has seen was there.
            self.groups.remove(name);
        }
    }

    fn destroy(&mut self, stream: &mut StreamValue, name: &[u8], seen: &Seen<'_>) {
        let left = match self.groups.get_mut(name) {
            Some(causes) => causes.destroy(seen).inspect(|changed| {
                if *changed {
                    show_anew(stream, name, causes);
                }
            }),
            None => (!seen.stable).then_some(false),
        };
        if left.is_none() {
            self.groups.remove(name);
            stream.remove_group(name);
        }
    }

    /// An entry has arrived: for some groups it may be late.
    fn arrive(&mut self, stream: &mut StreamValue, id: StreamId, mark: &Mark<'_>) {
        let mut late = Vec::new();
        for (name, view) in stream.groups() {
            if !self.groups.contains_key(name) {
                if mark.seen.stable || id > view.last_delivered {
                    continue;
                }
                self.groups.insert(name.clone(), GroupCauses::resting(view));
            }
            if self.groups.get_mut(name).is_some_and(|causes| causes.arrive(id, mark)) {
                late.push(name.clone());
            }
        }
        for name in late {
            let Some(causes) = self.groups.get(&name) else { continue };
            stream.edit_group(&name, |view| match causes.positions().count() {
                1 => view.add_late(id),
                _ => causes.show_position(view),
            });
        }
    }

    /// Entries are gone, and so late for nobody.
    fn depart(&mut self, stream: &mut StreamValue, gone: &[Key]) {
        if gone.is_empty() {
            return;
        }
        let names: Vec<Box<[u8]>> = stream.groups().keys().cloned().collect();
        for name in names {
            let causes = self.groups.get_mut(&name);
            stream.edit_group(&name, |view| match causes {
                Some(causes) => {
                    if causes.depart(gone) {
                        causes.show_position(view);
                        return;
                    }
                    for (id, _) in gone.iter().filter(|(id, _)| !causes.is_late(*id)) {
                        view.remove_late(*id);
                    }
                }
                None => gone.iter().filter(|key| key.1.is_none()).for_each(|(id, _)| {
                    view.remove_late(*id);
                }),
            });
        }
    }

    /// Many entries are gone.
    fn keep(&mut self, stream: &mut StreamValue) {
        let mut kept = Vec::new();
        for (name, view) in stream.groups() {
            let entries = Entries { record: self.record.as_ref(), stream };
            // What is late for a position may not be late for the group.
            match self.groups.get_mut(name) {
                Some(causes) => {
                    causes.keep(entries);
                    kept.push((name.clone(), None));
                }
                None if view.late().is_empty() => {}
                None => {
                    let late = view.late().iter().copied().filter(|id| entries.has((*id, None))).collect();
                    kept.push((name.clone(), Some(late)));
                }
            }
        }
        for (name, late) in kept {
            let causes = self.groups.get(&name);
            stream.edit_group(&name, |view| match (late, causes) {
                (Some(late), _) => view.set_late(late),
                (None, Some(causes)) => causes.show_position(view),
                (None, None) => {}
            });
        }
    }

    /// Observed-remove of all. Returns what is left.
    pub fn remove(&mut self, mut stream: StreamValue, mark: &Mark<'_>) -> Option<StreamValue> {
        let record = self.record.get_or_insert_with(|| Record::resting(Some(&stream)));
        if !record.remove_all(&mut stream, &mark.seen) {
            *self = StreamCauses::default();
            return None;
        }
        let names: Vec<Box<[u8]>> = stream.groups().keys().cloned().collect();
        for name in names {
            self.destroy(&mut stream, &name, &mark.seen);
        }
        self.keep(&mut stream);
        self.record.take_if(|record| record.is_resting());
        Some(stream)
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        let may_unite = self.groups.values().all(|group| group.positions().count() <= 1);
        let settled = self.record.as_mut().map(|record| record.fold(stable, may_unite)).unwrap_or_default();
        self.record.take_if(|record| record.is_resting());
        self.groups.retain(|_, group| {
            group.fold(stable, &settled);
            !group.is_resting()
        });
    }

    /// The highest stamp among the surviving writes that make the stream.
    pub fn stamp(&self) -> Option<Stamp> {
        self.record.as_ref().and_then(Record::stamp)
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        let groups: usize = self.groups.iter().map(|(name, group)| name.len() + group.memory()).sum();
        self.record.as_ref().map_or(0, Record::memory) + groups
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.record.is_none() && self.groups.is_empty()
    }
}
