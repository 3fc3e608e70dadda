//! A run: neighbouring items of which the same is known.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Place;
use crate::effects::{Dot, Stamp};
use crate::keyspace::causality::Seen;
use crate::planted::{Bug, planted};

/// The name of an item, valid within one sequence only.
pub(super) type Name = u64;

/// What an effect has in view.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub seen: Seen<'a>,
    /// Everything that is here.
    pub all: bool,
}

impl View<'_> {
    /// Is what this effect did in view?
    pub fn has(&self, dot: Dot) -> bool {
        self.all || self.seen.includes(dot)
    }

    /// Are all effects of that node in view up to this one?
    pub fn has_up_to(&self, dot: Dot) -> bool {
        self.all || (self.seen.stable && self.seen.includes(dot))
    }

    /// Are no effects of that node in view from this one on?
    pub fn has_none_from(&self, dot: Dot) -> bool {
        !self.all && dot.node != self.seen.own.node && !self.seen.includes(dot)
    }
}

/// One or more items, side by side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// How many items; never zero.
    pub count: usize,
    /// `None`: anchors.
    pub named: Option<Named>,
    /// Who removed the items. None of these removals had seen another.
    pub removals: Vec<Dot>,
    /// The set that decides the value, until it is stable. Only ever of a single item.
    pub set: Option<Box<SetBy>>,
}

/// Items whose insertion is not stable: one, and those that follow it, each the right child of the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Named {
    /// The name of the first item; the others count on.
    pub first: Name,
    pub dot: Dot,
    /// Orders the first item among its siblings.
    pub rank: Rank,
    /// The place of the first item in the tree.
    pub branch: Branch,
}

/// A set of one element.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SetBy {
    pub dot: Dot,
    pub stamp: Stamp,
}

/// Where an item hangs in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Branch {
    /// The right child of a named item, which is also its left origin.
    RightOf(Name),
    /// The left child of a named item.
    LeftOf { parent: Name, origin: Origin },
    /// Its parent is not named.
    Root(Zone),
}

/// A left origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The anchor, or the start, at the left of the gap.
    Boundary,
    /// A named item of the gap.
    Item(Name),
    /// Nothing that an effect still to come could insert beside it and after.
    Gone,
}

/// Where a root lies in its gap, seen from the group that an insertion between the gap's two boundaries joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Zone {
    Before,
    Group,
    After,
}

impl Branch {
    /// The left origin, as far as it matters.
    pub fn origin(self) -> Origin {
        match self {
            Branch::RightOf(name) => Origin::Item(name),
            Branch::LeftOf { origin, .. } => origin,
            Branch::Root(Zone::Before | Zone::Group) => Origin::Boundary,
            Branch::Root(Zone::After) => Origin::Gone,
        }
    }
}

/// The order of siblings: by the kind of place, then by stamp. Pushes to the left end go the latest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rank {
    class: Class,
    stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Class {
    LeftEnd,
    Position,
    RightEnd,
}

impl Rank {
    pub fn new(at: Place, stamp: Stamp) -> Rank {
        let class = match at {
            Place::LeftEnd => Class::LeftEnd,
            Place::Position(_) => Class::Position,
            Place::RightEnd => Class::RightEnd,
        };
        Rank { class, stamp }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.class.cmp(&other.class).then_with(|| match self.class {
            _ if planted(Bug::PushInOrderOfArrival) => Ordering::Equal,
            Class::LeftEnd => other.stamp.cmp(&self.stamp),
            Class::Position | Class::RightEnd => self.stamp.cmp(&other.stamp),
        })
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Named {
    /// The name of the last item of a run of so many.
    pub fn last(&self, count: usize) -> Name {
        self.first + count as u64 - 1
    }
}

impl Run {
    /// Anchors.
    pub fn anchors(count: usize) -> Run {
        Run { count, named: None, removals: Vec::new(), set: None }
    }

    /// Items that were inserted just now.
    pub fn named(count: usize, named: Named) -> Run {
        Run { count, named: Some(named), removals: Vec::new(), set: None }
    }

    /// Are the items part of the list here?
    pub fn is_visible(&self) -> bool {
        self.removals.is_empty()
    }

    /// Are the items part of what an effect knew, removed or not?
    pub fn is_in(&self, view: &View<'_>) -> bool {
        match &self.named {
            Some(named) => view.has(named.dot),
            None => view.seen.stable,
        }
    }

    /// Are the items part of the list that an effect saw?
    pub fn is_visible_in(&self, view: &View<'_>) -> bool {
        self.is_in(view) && !self.removals.iter().any(|removal| view.has(*removal))
    }

    /// Is everything about these items stable?
    pub fn is_settled(&self) -> bool {
        self.named.is_none() && self.removals.is_empty() && self.set.is_none()
    }

    /// The effects that are not stable, as far as they matter here.
    pub fn dots(&self) -> impl Iterator<Item = Dot> {
        let named = self.named.as_ref().map(|named| named.dot);
        let set = self.set.as_ref().map(|set| set.dot);
        named.into_iter().chain(set).chain(self.removals.iter().copied())
    }

    /// The highest stamp that is not stable, of the insertion or the set.
    pub fn stamp(&self) -> Option<Stamp> {
        let named = self.named.as_ref().map(|named| named.rank.stamp);
        named.max(self.set.as_ref().map(|set| set.stamp))
    }

    /// Cuts the run after so many items; returns the rest.
    pub fn split_off(&mut self, count: usize) -> Run {
        assert!(0 < count && count < self.count, "a run is cut inside");
        let mut rest = self.clone();
        if let Some(named) = &mut rest.named {
            named.first += count as u64;
            named.branch = Branch::RightOf(named.first - 1);
        }
        rest.count -= count;
        self.count = count;
        rest
    }
}
