//! What merging needs to know about a key beside its value, for as long as it is not stable.
//!
//! A key whose writes are all stable has no entry here. Everything without metadata counts as stable: every member has
//! it, so every effect that is still to come has seen it. That is why an effect whose `seen` lacks something stable must
//! never be applied (the replication core refuses it, and its origin rebases).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::types::Causes;
use super::value::Value;
use super::{Kind, Millis};
use crate::effects::{Dot, Frontier, Stamp};
use crate::planted::{Bug, planted};

/// What an effect had seen, as far as one key is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub frontier: &'a Frontier,
    /// The effect itself: its later operations have seen its earlier ones.
    pub own: Dot,
    /// Does it reach what has no metadata? Only an effect that was made again after a rebase may not.
    pub stable: bool,
}

impl Seen<'_> {
    /// Had the effect seen this one?
    pub fn includes(&self, dot: Dot) -> bool {
        dot == self.own || self.frontier.includes(dot)
    }

    /// Does a removal take what this effect wrote?
    pub fn removes(&self, dot: Dot) -> bool {
        self.includes(dot) || planted(Bug::RemoveUnseen)
    }

    /// Had the effect seen all of `summary`?
    fn covers(&self, summary: &Frontier) -> bool {
        self.stable
            && summary
                .iter()
                .all(|(node, seq)| seq <= self.frontier.get(node) || (node == self.own.node && seq <= self.own.seq))
    }
}

/// An effect, as far as one key is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Mark<'a> {
    pub dot: Dot,
    pub stamp: Stamp,
    pub seen: Seen<'a>,
    /// Everything that its origin had applied: more than `seen` says when the effect was made again after a rebase.
    pub known: &'a Frontier,
    /// Everything that this node had applied before it.
    pub applied: &'a Frontier,
}

/// A change of the time to live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LifeChange {
    dot: Dot,
    /// `Millis::MAX`: for ever.
    deadline: Millis,
    /// It applies to the SETs that it had seen, and to no other.
    seen: Arc<Frontier>,
}

impl LifeChange {
    fn applies_to(&self, set: Dot) -> bool {
        self.dot == set || self.seen.includes(set)
    }
}

/// The time to live of a key, or of a field of a hash: the longest of the concurrent changes (EXPIRE ‖ EXPIRE,
/// EXPIRE ‖ PERSIST).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    base: Option<Millis>,
    changes: Vec<LifeChange>,
}

impl Life {
    /// The life of what is stable, before its first change that is not.
    pub fn resting(deadline: Option<Millis>) -> Life {
        Life { base: deadline, changes: Vec::new() }
    }

    /// Does nothing say when it ends?
    pub fn is_plain(&self) -> bool {
        self.base.is_none() && self.changes.is_empty()
    }

    /// Are all changes forgotten?
    pub fn is_resting(&self) -> bool {
        self.changes.is_empty()
    }

    /// Bytes of memory beside the struct itself, about; what the changes had seen is shared by few of them.
    pub fn memory(&self) -> usize {
        self.changes.len() * (size_of::<LifeChange>() + 64)
    }

    /// What the key lives by, given the SET that decides its value.
    pub fn deadline(&self, winner: Option<(Dot, Option<Millis>)>) -> Option<Millis> {
        let applies = |change: &&LifeChange| winner.is_none_or(|(set, _)| change.applies_to(set));
        let deadlines = self.changes.iter().filter(applies).map(|change| change.deadline);
        let longest = if planted(Bug::ShorterLifeWins) { deadlines.min() } else { deadlines.max() };
        match (longest, winner) {
            (Some(Millis::MAX), _) => None,
            (Some(deadline), _) => Some(deadline),
            (None, Some((_, deadline))) => deadline,
            (None, None) => self.base,
        }
    }

    /// EXPIRE or PERSIST. One that was made again after a rebase is made on top of all that its node knew: what that was
    /// may be stable and without metadata at one node, and not at the next.
    pub fn change(&mut self, deadline: Option<Millis>, mark: &Mark<'_>) {
        let frontier = if mark.seen.stable { mark.seen.frontier } else { mark.known };
        self.forget(&Seen { frontier, stable: true, ..mark.seen });
        self.changes.push(LifeChange {
            dot: mark.dot,
            deadline: deadline.unwrap_or(Millis::MAX),
            seen: Arc::new(frontier.clone()),
        });
    }

    /// May a SET be forgotten that is stable? It stays known as long as some change is not stable and does not apply to it.
    pub fn may_forget(&self, set: Dot, stable: &Frontier) -> bool {
        self.changes.iter().all(|change| change.applies_to(set) || stable.includes(change.dot))
    }

    /// A SET is stable, with the deadline that it brought. Another one may still be above it, which decides.
    pub fn rest_on(&mut self, set: Dot, deadline: Option<Millis>, winner: Option<(Dot, Option<Millis>)>) {
        let sets = [Some(set), winner.map(|(winner, _)| winner)];
        self.changes.retain(|change| sets.iter().flatten().any(|&set| change.applies_to(set)));
        self.base = deadline;
    }

    /// Where no SET decides any more: forgets the changes when all of them are stable.
    pub fn fold(&mut self, stable: &Frontier) {
        if self.changes.iter().all(|change| stable.includes(change.dot)) {
            self.base = self.deadline(None);
            self.changes.clear();
        }
    }

    /// A SET or a removal: what it had seen no longer counts.
    pub fn forget(&mut self, seen: &Seen<'_>) {
        self.changes.retain(|change| !seen.includes(change.dot));
        if seen.stable {
            self.base = None;
        }
    }
}

/// What is not stable about one key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeyCausality {
    /// About its values.
    pub causes: Causes,
    pub life: Life,
    /// No effect beyond this has left metadata here.
    summary: Frontier,
    /// Values of other types that were created concurrently and have the lower stamp.
    #[serde(skip)]
    pub hidden: Vec<Value>,
}

impl KeyCausality {
    /// The metadata of a key that was stable, before its first write that is not.
    pub fn resting(deadline: Option<Millis>) -> KeyCausality {
        KeyCausality { life: Life::resting(deadline), ..KeyCausality::default() }
    }

    /// The metadata of a key that begins a new life, with what outlasts the former one.
    pub fn beginning(causes: Causes) -> KeyCausality {
        KeyCausality { causes, ..KeyCausality::default() }
    }

    /// Notes that an effect has left metadata here.
    pub fn summarize(&mut self, dot: Dot) {
        self.summary.raise(dot.node, dot.seq);
    }

    /// Notes that the key has no value. The removals that took it left no metadata, but they are among what is applied:
    /// until they are stable, a write may arrive that has not seen them, and that inherits the key's life.
    pub fn mourn(&mut self, applied: &Frontier) {
        self.summary.join(applied);
    }

    /// Had an effect with this `seen` seen all that is here? Then it applies as it would on a single node.
    pub fn is_within(&self, seen: &Seen<'_>) -> bool {
        self.hidden.is_empty() && seen.covers(&self.summary)
    }

    /// Is there something that an effect with this `seen` had not seen? Then the two are concurrent, or the effect was made
    /// again after a rebase and may not reach it.
    pub fn has_unseen(&self, seen: &Seen<'_>) -> bool {
        !Seen { stable: true, ..*seen }.covers(&self.summary)
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        size_of::<KeyCausality>() + 64 + self.causes.memory()
    }

    /// Is there nothing left to know? A key without a value may still have a TTL that a concurrent write is to inherit.
    pub fn is_settled(&self, has_value: bool) -> bool {
        self.causes.is_empty()
            && self.hidden.is_empty()
            && self.life.changes.is_empty()
            && (has_value || self.life.base.is_none())
    }

    /// Is everything that left metadata here within `stable`?
    pub fn is_stable(&self, stable: &Frontier) -> bool {
        self.summary.within(stable)
    }

    /// Drops what is within `stable`. Nothing that a client can see changes.
    pub fn fold(&mut self, stable: &Frontier) {
        if !self.hidden.is_empty() {
            // Which type is shown depends on stamps: they stay until every write of the key is stable.
            if self.summary.within(stable) {
                *self = KeyCausality::default();
            }
            return;
        }
        self.causes.fold(stable, &mut self.life);
        if !Kind::ALL.iter().any(|kind| self.causes.winner(*kind).is_some()) {
            self.life.fold(stable);
        }
    }
}
