//! Forgetting: stable items become anchors, and anchors whose removal is stable are dropped. See the argument in `super`.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use super::run::{Branch, Name, Origin, Run, Zone};
use crate::effects::Frontier;

/// Is there something about this run that can be forgotten?
pub(super) fn changes(run: &Run, stable: &Frontier) -> bool {
    run.dots().any(|dot| stable.includes(dot))
}

/// An end of a gap.
#[derive(Clone, Copy)]
enum Boundary {
    /// It was one before, or it is the start or the end.
    Old,
    /// It becomes one now. The name of its item that is next to the gap; its left origin.
    New(Name, Origin),
}

/// Does the right end of a gap descend from the left one? It does not, if it was an anchor before.
fn descends(right: Boundary, left: Boundary) -> bool {
    match (left, right) {
        (_, Boundary::Old) => false,
        (Boundary::Old, Boundary::New(_, origin)) => origin == Origin::Boundary,
        (Boundary::New(name, _), Boundary::New(_, origin)) => origin == Origin::Item(name),
    }
}

/// Forgets what is within `stable`.
pub(super) fn fold(mut runs: Vec<Run>, stable: &Frontier) -> Vec<Run> {
    for run in &mut runs {
        run.set.take_if(|set| stable.includes(set.dot));
    }
    let becomes_anchor = |run: &Run| run.named.as_ref().is_some_and(|named| stable.includes(named.dot));
    // Their names, at both ends of each run.
    let mut forgotten: HashSet<Name, FixedState> = HashSet::default();
    // From right to left: where the gap that a run is in will end.
    let mut right_ends = vec![Boundary::Old; runs.len()];
    let mut right = Boundary::Old;
    for (at, run) in runs.iter().enumerate().rev() {
        right_ends[at] = right;
        match &run.named {
            None => right = Boundary::Old,
            Some(named) if becomes_anchor(run) => {
                forgotten.extend([named.first, named.last(run.count)]);
                right = Boundary::New(named.first, named.branch.origin());
            }
            Some(_) => {}
        }
    }
    let mut folded: Vec<Run> = Vec::with_capacity(runs.len());
    let mut left = Boundary::Old;
    // Since the last anchor that stays, was one dropped?
    let mut dropped = false;
    for (mut run, right) in runs.into_iter().zip(right_ends) {
        match &mut run.named {
            Some(named) if !stable.includes(named.dot) => {
                named.branch = rehang(named.branch, left, right, |name| forgotten.contains(&name));
                if dropped {
                    named.branch = behind(named.branch);
                }
                folded.push(run);
            }
            named => {
                left = match named {
                    Some(named) => Boundary::New(named.last(run.count), Origin::Gone),
                    None => Boundary::Old,
                };
                run.named = None;
                if run.removals.iter().any(|removal| stable.includes(*removal)) {
                    dropped = true;
                } else {
                    dropped = false;
                    append(&mut folded, run);
                }
            }
        }
    }
    folded
}

/// The place of an item in the tree when items have become anchors: it is now in the gap between `left` and `right`.
fn rehang(branch: Branch, left: Boundary, right: Boundary, forgotten: impl Fn(Name) -> bool) -> Branch {
    let descends = descends(right, left);
    let is_left = |name: Name| matches!(left, Boundary::New(other, _) if other == name);
    let is_right = |name: Name| matches!(right, Boundary::New(other, _) if other == name);
    match branch {
        Branch::RightOf(name) if is_left(name) => Branch::Root(if descends { Zone::Before } else { Zone::Group }),
        Branch::RightOf(name) if forgotten(name) => Branch::Root(Zone::After),
        Branch::LeftOf { parent, .. } if is_right(parent) => {
            Branch::Root(if descends { Zone::Group } else { Zone::After })
        }
        Branch::LeftOf { parent, .. } if forgotten(parent) => {
            Branch::Root(if descends { Zone::Before } else { Zone::After })
        }
        Branch::LeftOf { parent, origin } => {
            let origin = match (origin, left) {
                (Origin::Boundary, Boundary::New(..)) => Origin::Gone,
                (Origin::Item(name), _) if is_left(name) => Origin::Boundary,
                (Origin::Item(name), _) if forgotten(name) => Origin::Gone,
                _ => origin,
            };
            Branch::LeftOf { parent, origin }
        }
        Branch::Root(_) if matches!(left, Boundary::New(..)) => Branch::Root(Zone::After),
        Branch::Root(Zone::Group) if descends => Branch::Root(Zone::Before),
        Branch::RightOf(_) | Branch::Root(_) => branch,
    }
}

/// The place of an item in the tree when the anchor before it was dropped.
fn behind(branch: Branch) -> Branch {
    match branch {
        Branch::Root(_) => Branch::Root(Zone::After),
        Branch::LeftOf { parent, origin: Origin::Boundary } => Branch::LeftOf { parent, origin: Origin::Gone },
        _ => branch,
    }
}

/// Adds anchors, to the last run if the same is known of them.
fn append(folded: &mut Vec<Run>, run: Run) {
    match folded.last_mut() {
        Some(last)
            if last.named.is_none() && last.set.is_none() && run.set.is_none() && last.removals == run.removals =>
        {
            last.count += run.count;
        }
        _ => folded.push(run),
    }
}
