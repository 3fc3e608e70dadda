//! Sorted sets: a register of a score for each member. A member that is removed and added again starts anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::text;
use crate::effects::{Action, Frontier, Score, Stamp};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::entry::Entry;
use crate::keyspace::score_register::{ScoreChange, ScoreRegister};
use crate::keyspace::slot::KeySlot;
use crate::keyspace::value::{Collection, SortedSetValue};

/// What is not stable about the members of a sorted set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScoreCauses {
    members: BTreeMap<Box<[u8]>, ScoreRegister>,
}

impl ScoreCauses {
    /// Notes an action that has seen everything there is about the key, before it is applied.
    pub fn note(&mut self, action: &Action<'_>, current: Option<&Entry>, mark: &Mark<'_>) {
        if let Action::ScoreRemove { member } = *action {
            self.members.remove(member);
            return;
        }
        let (member, change) = change(action);
        let set = current.and_then(Entry::collection).and_then(SortedSetValue::of);
        self.register(set, member).note(change, mark);
    }

    /// Merges an action in any order.
    pub fn merge(&mut self, set: &mut SortedSetValue, action: &Action<'_>, mark: &Mark<'_>) {
        if let Action::ScoreRemove { member } = *action {
            return self.remove_member(set, member, &mark.seen);
        }
        let (member, change) = change(action);
        if let Some(score) = self.register(Some(set), member).merge(change, mark) {
            set.insert(member, score.get());
        }
    }

    fn register(&mut self, set: Option<&SortedSetValue>, member: &[u8]) -> &mut ScoreRegister {
        let resting = || ScoreRegister::resting(set.and_then(|set| score_of(set, member)));
        self.members.entry(member.into()).or_insert_with(resting)
    }

    /// Observed-remove of all members.
    pub fn remove(&mut self, set: &mut SortedSetValue, seen: &Seen<'_>) {
        let members: Vec<Box<[u8]>> = set.iter_from(0).map(|(member, _)| (*member).into()).collect();
        for member in members {
            self.remove_member(set, &member, seen);
        }
    }

    fn remove_member(&mut self, set: &mut SortedSetValue, member: &[u8], seen: &Seen<'_>) {
        let Some(register) = self.members.get_mut(member) else {
            if seen.stable {
                set.remove(member);
            }
            return;
        };
        match register.remove(seen) {
            Some(score) => set.insert(member, score.get()),
            None => set.remove(member),
        };
        if register.is_resting() {
            self.members.remove(member);
        }
    }

    /// Drops what is stable.
    pub fn fold(&mut self, stable: &Frontier) {
        self.members.retain(|_, register| {
            register.fold(stable);
            !register.is_resting()
        });
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Option<Stamp> {
        self.members.values().map(ScoreRegister::stamp).max()
    }

    /// Bytes of memory beside the struct itself, about.
    pub fn memory(&self) -> usize {
        self.members.len() * 160
    }

    /// Is all of it stable?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

fn change<'a>(action: &Action<'a>) -> (&'a [u8], ScoreChange) {
    match *action {
        Action::ScoreSet { member, score } => (member, ScoreChange::Set(score)),
        Action::ScoreAdd { member, increment } => (member, ScoreChange::Add(increment)),
        Action::ScoreMax { member, score } => (member, ScoreChange::Max(score)),
        Action::ScoreMin { member, score } => (member, ScoreChange::Min(score)),
        _ => unreachable!("not a write of a score"),
    }
}

fn score_of(set: &SortedSetValue, member: &[u8]) -> Option<Score> {
    set.score(member).map(|score| Score::try_from(score).expect("a sorted set holds no NaN"))
}

/// Applies an action as a single node would. True when it created or removed the key or the member.
#[inline]
pub fn apply(slot: KeySlot<'_>, action: &Action<'_>) -> bool {
    if let Action::ScoreRemove { member } = *action {
        return slot.remove_from(|set: &mut SortedSetValue| set.remove(member).is_some());
    }
    let (member, change) = change(action);
    slot.edit(|set: &mut SortedSetValue| {
        let current = match change {
            ScoreChange::Set(_) => None,
            _ => score_of(set, member),
        };
        set.insert(member, change.apply(current).get()).is_none()
    })
}

/// The actions that make this sorted set out of nothing.
pub fn rebuild(set: &SortedSetValue, each: &mut dyn FnMut(Action<'_>)) {
    for (member, score) in set.iter_from(0) {
        let score = Score::try_from(score).expect("no score in a set is NaN");
        each(Action::ScoreSet { member: &member, score });
    }
}

/// A sorted set in a snapshot, in order.
pub type Image = Vec<(ByteBuf, Score)>;

/// A sorted set, for a snapshot.
pub fn image(set: &SortedSetValue) -> Image {
    let score = |score| Score::try_from(score).expect("a sorted set holds no NaN");
    set.iter_from(0).map(|(member, number)| (ByteBuf::from(&*member), score(number))).collect()
}

/// A sorted set, out of a snapshot.
pub fn restore(image: Image) -> SortedSetValue {
    let mut set = SortedSetValue::empty();
    for (member, score) in image {
        set.insert(&member, score.get());
    }
    set
}

/// A sorted set as `dump` prints it. The order follows from the scores.
pub fn describe(set: &SortedSetValue) -> String {
    let mut members: Vec<_> = set.iter_from(0).map(|(member, score)| format!("{}={score}", text(&member))).collect();
    members.sort_unstable();
    members.join(" ")
}
