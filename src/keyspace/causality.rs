//! What merging needs to know about a key beside its value, for as long as it is not stable.
//!
//! A key whose writes are all stable has no entry here. Everything without metadata counts as stable: every member has
//! it, so every effect that is still to come has seen it. That is why an effect whose `seen` lacks something stable must
//! never be applied (the replication core refuses it, and its origin rebases).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Millis;
use super::entry::Value;
use super::register::Register;
use crate::effects::{Dot, Frontier, Stamp};
use crate::planted::{Bug, planted};

/// What an effect had seen, as far as one key is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub frontier: &'a Frontier,
    /// The effect itself: its later operations have seen its earlier ones.
    pub own: Dot,
    /// Has it seen what is stable? Only an effect reissued after a rebase has not.
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
    /// Everything that this node had applied before it.
    pub applied: &'a Frontier,
}

/// Who added a member of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Also by an effect that is stable.
    pub stable: bool,
    /// The concurrent additions that are not stable.
    pub additions: Vec<(Dot, Stamp)>,
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

/// The time to live of a key: the longest of the concurrent changes (EXPIRE ‖ EXPIRE, EXPIRE ‖ PERSIST).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    base: Option<Millis>,
    changes: Vec<LifeChange>,
}

impl Life {
    /// What the key lives by, given the SET that decides its value.
    pub fn deadline(&self, winner: Option<(Dot, Option<Millis>)>) -> Option<Millis> {
        let applies =
            |change: &&LifeChange| winner.is_none_or(|(set, _)| change.dot == set || change.seen.includes(set));
        match (self.changes.iter().filter(applies).map(|change| change.deadline).max(), winner) {
            (Some(Millis::MAX), _) => None,
            (Some(deadline), _) => Some(deadline),
            (None, Some((_, deadline))) => deadline,
            (None, None) => self.base,
        }
    }

    /// EXPIRE or PERSIST.
    pub fn change(&mut self, deadline: Option<Millis>, mark: &Mark<'_>) {
        self.forget(&mark.seen);
        self.changes.push(LifeChange {
            dot: mark.dot,
            deadline: deadline.unwrap_or(Millis::MAX),
            seen: Arc::new(mark.seen.frontier.clone()),
        });
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
    pub string: Option<Register>,
    pub fields: BTreeMap<Box<[u8]>, Register>,
    pub members: BTreeMap<Box<[u8]>, Member>,
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
        KeyCausality { life: Life { base: deadline, changes: Vec::new() }, ..KeyCausality::default() }
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

    /// Is there nothing left to know? A key without a value may still have a TTL that a concurrent write is to inherit.
    pub fn is_settled(&self, has_value: bool) -> bool {
        self.string.is_none()
            && self.fields.is_empty()
            && self.members.is_empty()
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
        for member in self.members.values_mut() {
            let before = member.additions.len();
            member.additions.retain(|(dot, _)| !stable.includes(*dot));
            member.stable |= member.additions.len() < before;
        }
        self.members.retain(|_, member| !member.additions.is_empty());
        for register in self.fields.values_mut() {
            register.fold(stable, |_| true);
        }
        self.fields.retain(|_, register| !register.is_resting());
        self.fold_string(stable);
    }

    fn fold_string(&mut self, stable: &Frontier) {
        let changes = &mut self.life.changes;
        if let Some(register) = &mut self.string {
            let applies = |change: &LifeChange, set: Dot| change.dot == set || change.seen.includes(set);
            // A SET stays known as long as some change of the TTL is not stable and does not apply to it.
            let may_fold = |set: Dot| changes.iter().all(|change| applies(change, set) || stable.includes(change.dot));
            if let Some((set, deadline)) = register.fold(stable, may_fold) {
                changes.retain(|change| applies(change, set));
                self.life.base = deadline;
            }
            if register.is_resting() {
                self.string = None;
            }
        }
        let winner = self.string.as_ref().and_then(Register::winner);
        if winner.is_none() && self.life.changes.iter().all(|change| stable.includes(change.dot)) {
            self.life.base = self.life.deadline(None);
            self.life.changes.clear();
        }
    }
}
