//! What merging needs to know about a list beside its elements: a sequence CRDT that forgets what is stable.
//!
//! The elements of a list lie elsewhere, plain and without names. Operations say where they act by *position*: a number of
//! elements in the list that their origin could see. A [`Sequence`] translates such positions into indices of the list
//! here, and finds the place where every node puts the same insertion. It holds no element, and knows no key. A local
//! operation has seen all that is here: its positions are the indices.
//!
//! # The order
//!
//! It is the tree of Fugue (Weidner and Kleppmann, "The Art of the Fugue: Minimizing Interleaving in Collaborative Text
//! Editing", 2023). Every element that was ever inserted is an *item* of an ordered tree, and the list is the items in
//! order, without the removed ones. An effect *has in view* what its `seen` includes, and its own earlier operations.
//! An insertion at a position has a *left origin* L, the visible item of its view just before the position (or the start), and
//! a *right neighbour* R, the next item after L in its view, removed ones included (or the end). It becomes a left child of R
//! if R descends from L, else a right child of L. Several elements make a chain: each is the right child of the one before.
//!
//! Siblings on one side never had each other in view. All nodes sort them alike: pushes to the left end, the latest stamp
//! first; then insertions at a position, then pushes to the right end, the earliest stamp first. So concurrent pushes to one
//! end come out as if they were executed in the order of their stamps, and those to the two ends of an empty list keep their
//! ends. What one node inserts, each beside the one before, is one subtree: nothing concurrent gets into it.
//!
//! Three facts are used below.
//!
//! 1. *Let L be visible in some view, and R the next item there. R descends from L if and only if L is R's left origin.* A
//!    left origin is an ancestor, by the rule. Conversely, if R descends from L, then R's origin had L in view, and visible: what
//!    it saw removed is removed in the later view as well. So R's left origin is not before L; it is not after it either, for
//!    there it would be between L and R in the later view.
//! 2. *Let m come before y. y descends from m if and only if y's left origin is m, or lies between them and descends from m.*
//!    If y descends from m, it had m in view, and a left origin before m would have put y before m, too. All that lies between
//!    them then descends from m by the third fact. Conversely, y descends from its left origin.
//! 3. *The items of a subtree are adjacent in the order*, as in every ordered tree.
//!
//! # Forgetting
//!
//! An item whose insertion is stable becomes an **anchor**: it is counted, and nothing else. Its removal may not be stable yet;
//! then the removal's dot stays with it, and once that is stable the anchor is *dropped*. Only the other items,
//! the **named** ones, know their place in the tree. They lie in *gaps*, each between two anchors (or the ends).
//!
//! An effect that is still to come has everything stable in view, that is all anchors, and counts those that are dropped as removed. So
//! what a gap must answer is: where does an effect insert whose L and R are the two anchors? By the rule, into one group of
//! siblings: the left children of R or the right children of L. Of that group it has seen nothing, or R would be another. The
//! items of the gap fall into subtrees whose *roots* have parents that are no longer named. In order, there are those
//! **before** the group, those **of** it, and those **after** it (`run::Zone`). What else there was around them in the tree
//! does not matter to the newcomer. And where L is the anchor and R is named, fact 1 needs only this: if R descends from L, then
//! its root is before or of the group, and if not, after it. (Let S be the anchor on the right. If it descends from L, so does
//! all of the gap, and the group is on the left of S, hence last. If it does not, the group is what hangs on the right of L, hence
//! first.)
//!
//! *A root w becomes an anchor.* (Ancestors of stable items are stable: they are anchors, or become so just before.) Its gap (L, S)
//! becomes two.
//! - (L, w): if w was before or of the group, it descends from L, and the new group is the left children of w; all other roots
//!   here are before it. If w was after the group, it does not descend from L: the group stays, and w's left children are after it.
//! - (w, S): S does not descend from w, or w would have been an anchor earlier. The group is the right children of w; all other roots
//!   here are after it.
//!
//! *An anchor c is dropped.* The gaps (L, c) and (c, S) become one. Where c is kept, an insertion after L goes into the group of
//! (L, c), as c is its R, removed or not; and nothing to come has c for its L. So the group of (L, c) is that of the new gap, and all
//! of (c, S) is after it.
//!
//! Both steps keep, for all neighbours L and R in all views to come, the group that a newcomer joins, its order, and what is before
//! and after it. So an insertion finds the same place at a node that has forgotten as at one that keeps all for ever, whatever
//! each of them has forgotten, and nothing is kept for longer than it is not stable. `fold` does many such steps at once.
//!
//! # The rest
//!
//! A removal marks the items that it saw with its dot. Further removals of the same item are concurrent; all are kept, as an effect
//! may have seen any of them. The value of an element is that of the set with the highest stamp; a set of an element that is
//! removed here does nothing.
//!
//! Architecture invariant: where an operation acts depends on its view and on the order of siblings alone, never on what else has
//! arrived here.
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
use crate::effects::{Dot, End, Frontier, Stamp};
use crate::planted::{Bug, planted};

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
#[derive(Clone, Debug)]
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

    /// Is nothing left to know? Then this may be dropped.
    pub fn is_settled(&self) -> bool {
        self.runs.iter().all(Run::is_settled)
    }

    /// Into how many runs the items fall: the measure of what this costs.
    #[cfg(test)]
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
        View { seen: *seen, all: (seen.stable && all) || planted(Bug::PositionsAreIndices) }
    }

    fn note(&mut self, mark: &Mark<'_>) {
        self.summary.raise(mark.dot.node, mark.dot.seq);
    }

    /// Inserts `count` elements. Returns where in the list here they go: all of them, one after the other.
    ///
    /// Here and wherever there are positions, the mark's `seen` must be all that the origin had seen when it counted them. Of an effect
    /// that was made again, positions count only what it reaches. Else its place is found among all that was known to whoever made it again: what
    /// it reaches alone may lack left origins of what it has in view, as others that were made again had more around them.
    pub fn insert(&mut self, at: Place, count: usize, mark: &Mark<'_>) -> usize {
        if count == 0 {
            return 0;
        }
        let around = self.view(&Seen { frontier: mark.known, own: mark.dot, stable: true });
        let last = |view: &View<'_>| self.runs.locate(view, End::Right, 0).ok();
        let left = match at {
            Place::LeftEnd | Place::Position(0) => None,
            Place::Position(number) => {
                let view = self.view(&mark.seen);
                self.runs.locate(&view, End::Left, number - 1).ok().or_else(|| last(&view))
            }
            Place::RightEnd => last(&around),
        };
        self.note(mark);
        let (gap, named) = place::prepare(&mut self.runs, &around, left, at, self.next_name, mark);
        self.next_name += count as u64;
        let cursor = self.runs.insert(gap, Run::named(count, named));
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

    /// Removes what the mark's `seen` includes, and nothing else: what DEL or FLUSH knew of the list. Returns what goes from
    /// the list here.
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

    /// Where the element is here that was at a position, counted from an end, of the list that an effect could see. `None` when it
    /// is gone, or was never there.
    pub fn find(&self, from: End, position: usize, seen: &Seen<'_>) -> Option<usize> {
        let Item { cursor, offset } = self.runs.locate(&self.view(seen), from, position).ok()?;
        self.runs.get(cursor).is_visible().then(|| self.runs.visible_before(cursor) + offset)
    }

    /// The elements of the list here in order: how many of one insertion, and of which, if that is not stable.
    pub fn insertions(&self) -> impl DoubleEndedIterator<Item = (usize, Option<Dot>)> {
        let visible = self.runs.iter().filter(|run| run.is_visible());
        visible.map(|run| (run.count, run.named.as_ref().map(|named| named.dot)))
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
