//! Where an insertion goes: the rule of the tree, carried out on runs.
//!
//! Everything between L and R is out of view, hence named and concurrent to the insertion. The group of siblings that it joins
//! is searched from the side where it begins or ends, and as far as it reaches only.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use super::Place;
use super::run::{Branch, Name, Named, Origin, Rank, View, Zone};
use super::runs::{Cursor, Item, Runs};
use crate::keyspace::causality::Mark;

/// Names are looked up, never walked through.
type Names = HashSet<Name, FixedState>;

/// Finds the place of a new item after `left` (`None`: at the start), and cuts the run that it goes into. Returns the gap where
/// it goes, and what is to be known of it.
pub(super) fn prepare(
    runs: &mut Runs,
    view: &View<'_>,
    left: Option<Item>,
    at: Place,
    name: Name,
    mark: &Mark<'_>,
) -> (Cursor, Named) {
    let rank = Rank::new(at, mark.stamp);
    let (origin, after) = match left {
        None => (Origin::Boundary, runs.start()),
        Some(Item { mut cursor, offset }) => {
            if offset + 1 < runs.get(cursor).count {
                let rest = runs.split(cursor, offset + 1);
                cursor = runs.preceding(rest).expect("what was cut is before the rest");
            }
            let run = runs.get(cursor);
            let origin = match &run.named {
                None => Origin::Boundary,
                Some(named) => Origin::Item(named.last(run.count)),
            };
            (origin, cursor.next())
        }
    };
    let right = runs.following_in(after, view);
    let right_named = right.and_then(|cursor| Some((cursor, runs.get(cursor).named.as_ref()?)));
    let (gap, branch) = match right_named {
        Some((cursor, named)) if named.branch.origin() == origin => {
            let parent = named.first;
            (before_siblings(runs, after, cursor, parent, rank), Branch::LeftOf { parent, origin })
        }
        _ => {
            let branch = match origin {
                Origin::Item(name) => Branch::RightOf(name),
                Origin::Boundary | Origin::Gone => Branch::Root(Zone::Group),
            };
            (after_siblings(runs, after, right, origin, rank), branch)
        }
    };
    (gap, Named { first: name, dot: mark.dot, rank, branch })
}

/// Among the left children of R: before those that rank higher, after everything else.
fn before_siblings(runs: &Runs, after: Cursor, right: Cursor, parent: Name, rank: Rank) -> Cursor {
    let mut place = right;
    // First items of runs from `place` on.
    let mut behind = Names::default();
    // And before it: in the right subtree of something that comes, which will tell where they belong.
    let mut pending = Names::default();
    let mut gap = right;
    while let Some(cursor) = runs.preceding(gap) {
        if cursor.next() == after {
            break;
        }
        let Some(named) = &runs.get(cursor).named else { break };
        let belongs = match named.branch {
            Branch::LeftOf { parent: other, .. } if other == parent => {
                if named.rank < rank {
                    break;
                }
                true
            }
            Branch::LeftOf { parent: other, .. } if behind.contains(&other) => true,
            Branch::LeftOf { parent: other, .. } if pending.contains(&other) => false,
            Branch::RightOf(_) => false,
            // The parent is beyond R, or no longer named: not of R's subtree.
            Branch::LeftOf { .. } | Branch::Root(_) => break,
        };
        if belongs {
            place = cursor;
            behind.insert(named.first);
            pending.clear();
        } else {
            pending.insert(named.first);
        }
        gap = cursor;
    }
    place
}

/// Among the right children of the left origin, or in the group of its gap: after those that rank lower, before everything
/// else.
fn after_siblings(runs: &Runs, after: Cursor, right: Option<Cursor>, origin: Origin, rank: Rank) -> Cursor {
    let mut place = after;
    // Last items of runs before `place`.
    let mut behind = Names::default();
    // And after it: in the left subtree of something that comes.
    let mut pending = Names::default();
    let mut gap = after;
    while let Some(cursor) = runs.following(gap) {
        if Some(cursor) == right {
            break;
        }
        let run = runs.get(cursor);
        let Some(named) = &run.named else { break };
        let is_sibling = match named.branch {
            Branch::RightOf(name) => origin == Origin::Item(name),
            Branch::Root(_) => origin == Origin::Boundary,
            Branch::LeftOf { .. } => false,
        };
        let last = named.last(run.count);
        gap = cursor.next();
        if is_sibling {
            let stays_behind = match named.branch {
                Branch::Root(Zone::Before) => true,
                Branch::Root(Zone::After) => false,
                _ => named.rank < rank,
            };
            if !stays_behind {
                break;
            }
            place = gap;
            behind.insert(last);
            continue;
        }
        match named.branch.origin() {
            Origin::Item(name) if behind.contains(&name) => {
                place = gap;
                behind.insert(last);
            }
            other if other == origin => {
                pending.insert(last);
            }
            Origin::Item(name) if pending.contains(&name) => {
                pending.insert(last);
            }
            // Not of the subtree that the group is part of.
            _ => break,
        }
    }
    place
}
