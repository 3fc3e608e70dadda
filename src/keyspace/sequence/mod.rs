//! What merging needs to know about a list beside its elements: a sequence CRDT that forgets what is stable.
//!
//! The elements of a list lie elsewhere, plain and without names. Operations say where they act by *position*: a number of
//! elements in the list that their origin could see. A [`Sequence`] translates such positions into positions of the list
//! here, and finds the place where every node puts the same insertion. It holds no element, and knows no key.
//!
//! # The order
//!
//! It is the tree of Fugue (Weidner and Kleppmann, "The Art of the Fugue: Minimizing Interleaving in Collaborative Text
//! Editing", 2023). Every element that was ever inserted is an *item* of an ordered tree, and the list is the items in
//! order, without the removed ones. An effect *has in view* what its `seen` includes, and the earlier operations of its own.
//! An insertion at a position has a *left origin* L, the visible item of its view just before the position (or the start), and
//! R, the next item after L in its view, removed ones included (or the end). It becomes a left child of R if R descends
//! from L, else a right child of L. Several elements make a chain: each is the right child of the one before.
//!
//! Siblings on one side never had each other in view. All nodes sort them alike: pushes to the left end, the latest stamp
//! first; then insertions at a position and then pushes to the right end, the earliest stamp first. So concurrent pushes to one
//! end come out as if they were executed in the order of their stamps, and two pushes to both ends of an empty list at their own
//! ends. What one node inserts, each element beside the one before, is one subtree: no concurrent insertion gets into it.
//!
//! Three facts are used below. Let L be visible and R the next item in the view of some effect.
//!
//! 1. *R descends from L if and only if L is R's left origin.* A left origin is an ancestor, by the rule. Conversely, if R descends
//!    from L, then R's origin had L in view, visible, as removals in its view are in the later view as well. A left origin
//!    before L would have put R before L. One after L would stand between L and R in the later view.
//! 2. *Let y come after m, with no item between them that y's left origin could be but the descendants of m. Then y descends from m
//!    if and only if y's left origin is m or one of those descendants.* By the same argument.
//! 3. *The items of a subtree are adjacent in the order*, as in every tree.
//!
//! # Forgetting
//!
//! A stable item, that is one whose insertion is stable, becomes an **anchor**: a counted position without a name. Its removal may
//! still not be stable; then the removal's dot stays with it, and once the removal is stable the item is *dropped*. Only items
//! that are not stable, the **named** ones, know their place in the tree. They lie in *gaps*, each between two anchors
//! (or the ends).
//!
//! Every effect that is still to come has all anchors in view, and those whose removal is stable it cannot choose as L. So the question
//! which a gap must answer is only: where does an effect go whose L and R are the two anchors? By the rule, into one group of siblings:
//! the left children of R or the right children of L. Of that group it has seen nothing, or R would be another. So
//! the trees in a gap, each under a *root* whose parent is no longer named, are in this order: those **before** the group, those **of** the
//! group, those **after** it ([`Zone`]). Where the group's parent is does not matter any more. Neither does it matter for
//! fact 1: an R in the gap descends from the anchor L if its root is before or of the group, and not if it is after it.
//!
//! *A root w becomes an anchor* (ancestors of stable items are stable, hence anchors or on their way). The gap (L, R) becomes two:
//! - (L, w): if w was before or in the group, it descends from L, and the new group is the left children of w; all other roots here
//!   are before it. If w was after the group, it does not descend from L: the group stays, and w's left children come after it.
//! - (w, R): R does not descend from w, or w would have been an anchor earlier. The group is the right children of w; all other roots
//!   here are after it.
//!
//! *An anchor c is dropped.* The gaps (L, c) and (c, R) become one. By the rule, an insertion after L that has c in view goes into the group
//! of the gap (L, c), and nothing to come is inserted just after c. So the group of (L, c) is that of the new gap, and all of
//! (c, R) is after it.
//!
//! Both steps keep, for every pair of neighbours in every view to come, the group that a newcomer joins, the order of the group, and
//! what is before and after it. So the place of an insertion is the same at a node that has forgotten as at one that keeps all for
//! ever, whatever each has forgotten, and nothing has to be kept longer than it is not stable. `fold` does many such steps at once.
//!
//! # The rest
//!
//! A removal marks the items that it saw with its dot. Further removals of the same item are concurrent; all are kept, as an effect may
//! have seen any of them. The value of an element is that of the set with the highest stamp. A set acts on nothing that is
//! removed here.
//!
//! Architecture invariant: the result of an operation depends on what is in its view and on the order of siblings, never on what else
//! has arrived here; the index that it is translated to does, of course.
//!
//! Reading order: this file; `run` (what is kept), `place` (where an insertion goes), `fold`, `runs` (how it lies in memory).

mod fold;
mod place;
mod run;
mod runs;
#[cfg(test)]
mod specification;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde::de::Error;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use self::run::{Run, View};
use self::runs::{Item, Runs};
use super::causality::{Mark, Seen};
use crate::effects::{Dot, Frontier, Stamp};

/// An end of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Left,
    Right,
}

/// Where an operation inserts, in the list that its origin could see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    LeftEnd,
    RightEnd,
    /// Before the element of that number, counted from 0; the right end if there are not so many.
    Position(usize),
}

/// Copies with higher names are not taken: nobody hands out so many.
const MAX_NAME: u64 = 1 << 62;

/// Ranges of the list here, to be removed one after the other: each counts in the list that the ones before it left.
pub type Removed = SmallVec<[Range<usize>; 1]>;

/// See the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    runs: Runs,
    /// Names of items are numbers that this node hands out; they mean nothing elsewhere but in a copy of all of this.
    next_name: u64,
    /// No effect beyond this has left anything here.
    summary: Frontier,
}

impl Sequence {
    /// The metadata of a list of which everything is stable, before its first operation that is not.
    pub fn resting(len: usize) -> Sequence {
        Sequence::from_runs((len > 0).then(|| Run::anchors(len)).into_iter().collect())
    }

    fn from_runs(runs: Vec<Run>) -> Sequence {
        let mut summary = Frontier::EMPTY;
        let mut next_name = 0;
        for run in &runs {
            run.dots().for_each(|dot| summary.raise(dot.node, dot.seq));
            if let Some(named) = &run.named {
                next_name = next_name.max(named.first + run.count as u64);
            }
        }
        Sequence { runs: Runs::new(runs), next_name, summary }
    }

    /// How many elements the list has here.
    pub fn len(&self) -> usize {
        self.runs.visible()
    }

    /// Has the list no elements here?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is nothing left to know? Then this may be dropped.
    pub fn is_settled(&self) -> bool {
        self.runs.iter().all(Run::is_settled)
    }

    /// Into how many runs the items fall: the measure of what this costs.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        size_of::<Sequence>() + self.runs.memory()
    }

    /// The highest stamp of what is not stable about the elements that are here: of their insertions and sets.
    pub fn latest(&self) -> Option<Stamp> {
        self.runs.iter().filter(|run| run.is_visible()).filter_map(Run::stamp).max()
    }

    /// What an effect has in view.
    fn view<'a>(&self, seen: &Seen<'a>) -> View<'a> {
        let all = self.summary.iter().all(|(node, seq)| seen.includes(Dot { node, seq }));
        View { seen: *seen, all: seen.stable && all }
    }

    fn note(&mut self, mark: &Mark<'_>) {
        self.summary.raise(mark.dot.node, mark.dot.seq);
    }

    /// Inserts `count` elements. Returns where in the list here they go: all of them, one after the other. The mark's `seen`
    /// must be all that the origin had seen.
    pub fn insert(&mut self, at: Place, count: usize, mark: &Mark<'_>) -> usize {
        if count == 0 {
            return 0;
        }
        let view = self.view(&mark.seen);
        let last = |runs: &Runs| runs.locate(&view, End::Right, 0).ok();
        let left = match at {
            Place::LeftEnd | Place::Position(0) => None,
            Place::Position(number) => self.runs.locate(&view, End::Left, number - 1).ok().or_else(|| last(&self.runs)),
            Place::RightEnd => last(&self.runs),
        };
        self.note(mark);
        let named = place::prepare(&mut self.runs, &view, left, at, self.next_name, mark);
        self.next_name += count as u64;
        let cursor = self.runs.insert(named.0, Run::named(count, named.1));
        self.runs.visible_before(cursor)
    }

    /// Removes elements: ranges of positions, ascending, counted from an end of the list that the origin could see. Returns
    /// what goes from the list here.
    pub fn remove(
        &mut self,
        from: End,
        ranges: impl IntoIterator<Item = Range<usize>, IntoIter: DoubleEndedIterator>,
        mark: &Mark<'_>,
    ) -> Removed {
        let mut removed = Removed::new();
        let view = self.view(&mark.seen);
        self.note(mark);
        // Far from the end first: positions nearer to it stay what they are.
        for range in ranges.into_iter().rev().filter(|range| range.start < range.end) {
            let (leftmost, wanted) = match from {
                End::Left => (range.start, range.len()),
                End::Right => (range.end - 1, range.len()),
            };
            match self.runs.locate(&view, from, leftmost) {
                Ok(item) => self.remove_from(item, wanted, &view, mark.dot, &mut removed),
                // Fewer elements than that: what there is of the range lies at the left end.
                Err(found) if from == End::Right && found > range.start => {
                    if let Ok(item) = self.runs.locate(&view, End::Left, 0) {
                        self.remove_from(item, found - range.start, &view, mark.dot, &mut removed);
                    }
                }
                Err(_) => {}
            }
        }
        removed
    }

    /// Removes items in view from `item` on.
    fn remove_from(&mut self, item: Item, mut wanted: usize, view: &View<'_>, dot: Dot, removed: &mut Removed) {
        let mut index = self.runs.visible_before(item.cursor);
        let Item { mut cursor, mut offset } = item;
        if self.runs.get(cursor).is_visible() {
            index += offset;
        }
        while wanted > 0 {
            let run = self.runs.get(cursor);
            if run.is_visible_in(view) {
                let count = wanted.min(run.count - offset);
                wanted -= count;
                cursor = self.runs.carve(cursor, offset, count);
                if self.runs.mark_removed(cursor, dot) {
                    push_range(removed, index..index + count);
                }
            } else if run.is_visible() {
                index += run.count;
            }
            offset = 0;
            match self.runs.following(cursor.next()) {
                Some(next) => cursor = next,
                None => break,
            }
        }
    }

    /// Removes what `seen` includes, and nothing else: the whole list, or all of it that an effect knew. Returns what goes
    /// from the list here.
    pub fn remove_all_seen(&mut self, mark: &Mark<'_>) -> Removed {
        let mut removed = Removed::new();
        let mut index = 0;
        let mut gap = self.runs.start();
        self.note(mark);
        while let Some(cursor) = self.runs.following(gap) {
            let run = self.runs.get(cursor);
            let (count, visible) = (run.count, run.is_visible());
            let reached = match &run.named {
                Some(named) => mark.seen.removes(named.dot),
                None => mark.seen.stable,
            };
            if reached && !run.removals.iter().any(|removal| mark.seen.includes(*removal)) {
                if self.runs.mark_removed(cursor, mark.dot) {
                    push_range(&mut removed, index..index + count);
                }
            } else if visible {
                index += count;
            }
            gap = cursor.next();
        }
        removed
    }

    /// Sets one element, at a position counted from an end of the list that the origin could see. Returns the index in the
    /// list here of the element that gets the value; `None` when it is gone, or a concurrent set with a higher stamp decides.
    pub fn set(&mut self, from: End, position: usize, mark: &Mark<'_>) -> Option<usize> {
        let view = self.view(&mark.seen);
        let Item { cursor, offset } = self.runs.locate(&view, from, position).ok()?;
        let run = self.runs.get(cursor);
        if !run.is_visible() || run.set.as_ref().is_some_and(|set| set.stamp > mark.stamp) {
            return None;
        }
        self.note(mark);
        let cursor = self.runs.carve(cursor, offset, 1);
        self.runs.mark_set(cursor, mark.dot, mark.stamp);
        Some(self.runs.visible_before(cursor))
    }

    /// Forgets what is within `stable`. The list does not change.
    pub fn fold(&mut self, stable: &Frontier) {
        if self.runs.iter().any(|run| fold::changes(run, stable)) {
            let runs = std::mem::replace(&mut self.runs, Runs::new(Vec::new())).into_vec();
            *self = Sequence::from_runs(fold::fold(runs, stable));
        }
    }
}

/// Adds a range that is removed after those before it.
fn push_range(removed: &mut Removed, range: Range<usize>) {
    match removed.last_mut() {
        // What followed the last range has moved to its start.
        Some(last) if last.start == range.start => last.end += range.len(),
        _ => removed.push(range),
    }
}

impl Serialize for Sequence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut runs = serializer.serialize_seq(Some(self.runs.len()))?;
        for run in self.runs.iter() {
            runs.serialize_element(run)?;
        }
        runs.end()
    }
}

impl<'de> Deserialize<'de> for Sequence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let runs: Vec<Run> = Vec::deserialize(deserializer)?;
        let mut total = 0usize;
        for run in &runs {
            let end = run.named.as_ref().map_or(Some(0), |named| named.first.checked_add(run.count as u64));
            total = total.checked_add(run.count).ok_or_else(|| D::Error::custom("a list that is too long"))?;
            if run.count == 0 || end.is_none_or(|end| end > MAX_NAME) {
                return Err(D::Error::custom("a run of a list that cannot be"));
            }
        }
        Ok(Sequence::from_runs(runs))
    }
}
