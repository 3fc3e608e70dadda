//! Lists: an order that all nodes agree on, whatever arrives where first. See [`Sequence`].
//!
//! Positions in concurrent effects count elements that are removed here. So what is known of them outlasts the removal
//! of the key, until it is stable.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use smallvec::SmallVec;

use super::text;
use crate::effects::{Action, Elements, End, Frontier, Ranges, Stamp};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::sequence::{Place, Sequence};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Collection, ListValue};

/// What is not stable about the elements of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListCauses {
    sequence: Option<Sequence>,
}

impl ListCauses {
    /// What is known of it, if anything is that is not stable.
    pub fn sequence(&self) -> Option<&Sequence> {
        self.sequence.as_ref()
    }

    fn sequence_of(&mut self, list: Option<&ListValue>) -> &mut Sequence {
        let len = list.map_or(0, ListValue::len);
        let sequence = self.sequence.get_or_insert_with(|| Sequence::resting(len));
        assert_eq!(sequence.len(), len, "a list and what is known of it agree");
        sequence
    }

    /// Notes an action that has seen everything there is about the key, before it is applied: its positions are indices.
    pub fn note(&mut self, action: &Action<'_>, list: Option<&ListValue>, mark: &Mark<'_>) {
        let sequence = self.sequence_of(list);
        match *action {
            Action::ListPush { end, elements } => {
                sequence.insert(place(end), elements.len(), mark);
            }
            Action::ListInsert { position, .. } => {
                sequence.insert(Place::Position(index(position)), 1, mark);
            }
            Action::ListSet { from, position, .. } => {
                sequence.set(from, index(position), mark);
            }
            Action::ListRemove { from, ranges, whole, .. } => {
                sequence.remove(from, indices(ranges), &sight(mark, whole));
            }
            _ => unreachable!("not an action on a list"),
        }
    }

    /// Merges an action in any order.
    pub fn merge(&mut self, list: &mut ListValue, action: &Action<'_>, mark: &Mark<'_>) {
        let sequence = self.sequence_of(Some(list));
        match *action {
            Action::ListPush { end, elements } => {
                let at = sequence.insert(place(end), elements.len(), mark);
                for (number, element) in elements.iter().enumerate() {
                    list.insert(if end == End::Left { at } else { at + number }, element);
                }
            }
            Action::ListInsert { position, element } => {
                let at = sequence.insert(Place::Position(index(position)), 1, mark);
                list.insert(at, element);
            }
            Action::ListSet { from, position, element } => {
                if let Some(at) = sequence.set(from, index(position), mark) {
                    list.set(at, element);
                }
            }
            Action::ListRemove { from, ranges, whole, .. } => {
                for range in sequence.remove(from, indices(ranges), &sight(mark, whole)) {
                    list.remove_range(range.start, range.len());
                }
            }
            _ => unreachable!("not an action on a list"),
        }
    }

    /// Observed-remove of all elements. Needed without a list as well: what one removal took, another has seen, too.
    pub fn remove(&mut self, list: Option<&mut ListValue>, mark: &Mark<'_>) {
        match list {
            Some(list) => {
                for range in self.sequence_of(Some(list)).remove_all_seen(mark) {
                    list.remove_range(range.start, range.len());
                }
            }
            None => self.note_removal(None, mark),
        }
    }

    /// Notes that an action which has seen everything there is about the key removes it all.
    pub fn note_removal(&mut self, list: Option<&ListValue>, mark: &Mark<'_>) {
        if list.is_some() || self.sequence.is_some() {
            self.sequence_of(list).remove_all_seen(mark);
        }
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        if let Some(sequence) = &mut self.sequence {
            sequence.fold(stable);
        }
        if self.is_empty() {
            self.sequence = None;
        }
    }

    /// The highest stamp among the insertions and sets of what is there.
    pub fn stamp(&self) -> Option<Stamp> {
        self.sequence.as_ref().and_then(Sequence::latest)
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.sequence.as_ref().map_or(0, Sequence::memory)
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.sequence.as_ref().is_none_or(Sequence::is_settled)
    }

    /// Can it be about a list of so many elements?
    pub fn fits(&self, len: usize) -> bool {
        self.sequence.as_ref().is_none_or(|sequence| sequence.len() == len)
    }
}

/// What positions count: what the effect reaches, or all that its origin knew.
fn sight<'m>(mark: &Mark<'m>, whole: bool) -> Mark<'m> {
    let seen = Seen { frontier: mark.known, own: mark.dot, stable: true };
    if whole { Mark { seen, ..*mark } } else { *mark }
}

fn place(end: End) -> Place {
    match end {
        End::Left => Place::LeftEnd,
        End::Right => Place::RightEnd,
    }
}

/// A position from the wire; beyond every list when memory could not hold so many.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn indices(ranges: Ranges<'_>) -> SmallVec<[Range<usize>; 4]> {
    ranges.iter().map(|range| index(range.start)..index(range.end)).collect()
}

/// Applies an action as a single node would; what is not there is passed over. True when it created or removed the key
/// or an element.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>) -> bool {
    match *action {
        Action::ListPush { end, elements } => slot.edit(|list: &mut ListValue| {
            for element in elements.iter() {
                match end {
                    End::Left => list.push_front(element),
                    End::Right => list.push_back(element),
                }
            }
            true
        }),
        Action::ListInsert { position, element } => slot.edit(|list: &mut ListValue| {
            list.insert(index(position).min(list.len()), element);
            true
        }),
        Action::ListSet { from, position, element } => slot.remove_from(|list: &mut ListValue| {
            if let Some(at) = from_left(list, from, index(position)) {
                list.set(at, element);
            }
            false
        }),
        Action::ListRemove { from, ranges, .. } => slot.remove_from(|list: &mut ListValue| remove(list, from, ranges)),
        _ => unreachable!("not an action on a list"),
    }
}

fn from_left(list: &ListValue, from: End, position: usize) -> Option<usize> {
    let at = match from {
        End::Left => position,
        End::Right => list.len().checked_sub(position)?.checked_sub(1)?,
    };
    (at < list.len()).then_some(at)
}

fn remove(list: &mut ListValue, from: End, ranges: Ranges<'_>) -> bool {
    let mut removed = 0;
    for range in ranges.iter() {
        // What was removed before lay nearer to that end.
        let start = index(range.start) - removed;
        let count = index(range.end - range.start).min(list.len().saturating_sub(start));
        if count == 0 {
            break;
        }
        let at = if from == End::Left { start } else { list.len() - start - count };
        list.remove_range(at, count);
        removed += count;
    }
    removed > 0
}

/// The action that makes this list out of nothing.
pub fn rebuild(list: &ListValue, each: &mut dyn FnMut(Action<'_>)) {
    let (mut buffer, mut parts) = (Vec::new(), Vec::new());
    for element in list.iter() {
        let start = buffer.len();
        buffer.extend_from_slice(&element);
        parts.push(start as u32..buffer.len() as u32);
    }
    each(Action::ListPush { end: End::Right, elements: Elements::parts(&buffer, &parts) });
}

/// A list in a snapshot.
pub type Image = Vec<ByteBuf>;

/// A list, for a snapshot.
pub fn image(list: &ListValue) -> Image {
    list.iter().map(|element| ByteBuf::from(&*element)).collect()
}

/// A list, out of a snapshot.
pub fn restore(image: Image) -> ListValue {
    let mut list = ListValue::empty();
    image.iter().for_each(|element| list.push_back(element));
    list
}

/// A list as `dump` prints it. The order of the elements is part of the data.
pub fn describe(list: &ListValue) -> String {
    list.iter().map(|element| text(&element)).collect::<Vec<_>>().join(" ")
}
