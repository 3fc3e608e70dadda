//! The register of one member of a sorted set: its score, with what is not yet stable about it.
//!
//! It is to a float what [`super::register`] is to a text: the surviving writes lie in stamp order above a stable base,
//! and the score is the base with the writes applied in that order. Numbers are small, so unlike there all of it is kept
//! here, and what lies in the keyspace is never asked. A float sum depends on the order of its parts; the order of the
//! stamps is the same at all nodes.

use serde::{Deserialize, Serialize};

use super::causality::{Mark, Seen};
use crate::effects::{Dot, Frontier, Score, Stamp};
use crate::planted::{Bug, planted};

/// One write of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ScoreChange {
    /// ZADD.
    Set(Score),
    /// ZINCRBY.
    Add(Score),
    /// ZADD GT.
    Max(Score),
    /// ZADD LT.
    Min(Score),
}

impl ScoreChange {
    /// The score after it. A member that is not there gets the number itself.
    pub fn apply(self, current: Option<Score>) -> Score {
        match (self, current) {
            (ScoreChange::Set(score), _) => score,
            (ScoreChange::Add(score) | ScoreChange::Max(score) | ScoreChange::Min(score), None) => score,
            (ScoreChange::Add(increment), Some(current)) => current.plus(increment),
            (ScoreChange::Max(score), Some(current)) => current.max(score),
            (ScoreChange::Min(score), Some(current)) => current.min(score),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Write {
    dot: Dot,
    stamp: Stamp,
    change: ScoreChange,
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRegister {
    base: Option<Score>,
    writes: Vec<Write>,
}

impl ScoreRegister {
    /// The register of a stable score (or of none), before its first write that is not stable.
    pub fn resting(current: Option<Score>) -> ScoreRegister {
        ScoreRegister { base: current, writes: Vec::new() }
    }

    /// Notes a write that has seen all others.
    pub fn note(&mut self, change: ScoreChange, mark: &Mark<'_>) {
        if matches!(change, ScoreChange::Set(_)) {
            *self = ScoreRegister::resting(None);
        }
        self.writes.push(Write { dot: mark.dot, stamp: mark.stamp, change });
    }

    /// Merges a write in any order. Returns the score after it.
    pub fn merge(&mut self, change: ScoreChange, mark: &Mark<'_>) -> Option<Score> {
        let change = match change {
            ScoreChange::Max(score) | ScoreChange::Min(score) if planted(Bug::IgnoreScoreBound) => {
                ScoreChange::Set(score)
            }
            change => change,
        };
        if matches!(change, ScoreChange::Set(_)) {
            self.prune(|dot| mark.seen.includes(dot), mark.seen.stable);
        }
        if planted(Bug::LoseIncrement) && matches!(change, ScoreChange::Add(_)) {
            self.writes.retain(|write| !matches!(write.change, ScoreChange::Add(_)) || mark.seen.includes(write.dot));
        }
        let at = match planted(Bug::LastArrivalWins) {
            true => self.writes.len(),
            false => self.writes.partition_point(|write| write.stamp <= mark.stamp),
        };
        self.writes.insert(at, Write { dot: mark.dot, stamp: mark.stamp, change });
        self.score()
    }

    /// Removes what a removal has seen. Returns what is left.
    pub fn remove(&mut self, seen: &Seen<'_>) -> Option<Score> {
        self.prune(|dot| seen.removes(dot), seen.stable);
        self.score()
    }

    fn prune(&mut self, seen: impl Fn(Dot) -> bool, base: bool) {
        self.writes.retain(|write| !seen(write.dot));
        if base {
            self.base = None;
        }
    }

    fn score(&self) -> Option<Score> {
        self.writes.iter().fold(self.base, |score, write| Some(write.change.apply(score)))
    }

    /// Moves stable writes into the base, oldest first.
    pub fn fold(&mut self, stable: &Frontier) {
        let count = self.writes.iter().take_while(|write| stable.includes(write.dot)).count();
        for write in self.writes.drain(..count) {
            self.base = Some(write.change.apply(self.base));
        }
    }

    /// Is nothing left that is not stable?
    pub fn is_resting(&self) -> bool {
        self.writes.is_empty()
    }

    /// The highest stamp among the surviving writes.
    pub fn stamp(&self) -> Stamp {
        self.writes.last().map_or(Stamp::default(), |write| write.stamp)
    }
}
