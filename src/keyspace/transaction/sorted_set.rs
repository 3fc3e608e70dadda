//! Reads and writes of sorted sets.
//!
//! In a cluster also a write that changes no score is made: that is what lets a member survive a concurrent removal.

use super::{Key, Transaction, WriteError};
use crate::effects::{Action, Score};
use crate::keyspace::{SortedSetValue, WrongType};

impl Transaction<'_> {
    /// A sorted set.
    pub fn sorted_set(&mut self, key: Key<'_>) -> Result<Option<&SortedSetValue>, WrongType> {
        self.collection(key)
    }

    /// A member's score.
    pub fn score(&mut self, key: Key<'_>, member: &[u8]) -> Result<Option<f64>, WrongType> {
        Ok(self.sorted_set(key)?.and_then(|set| set.score(member)))
    }

    /// Sets a member's score. Returns the former one.
    pub fn score_set(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let former = self.score(key, member)?;
        self.write_score(key, Action::ScoreSet { member, score }, former != Some(score.get()));
        Ok(former)
    }

    /// Raises a member's score to at least this one, or adds the member. Returns the former score.
    pub fn score_raise(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let former = self.score(key, member)?;
        let changes = former.is_none_or(|former| score.get() > former);
        self.write_score(key, Action::ScoreMax { member, score }, changes);
        Ok(former)
    }

    /// Lowers a member's score to at most this one, or adds the member. Returns the former score.
    pub fn score_lower(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let former = self.score(key, member)?;
        let changes = former.is_none_or(|former| score.get() < former);
        self.write_score(key, Action::ScoreMin { member, score }, changes);
        Ok(former)
    }

    /// Adds to a member's score; a member that is not there gets the increment. Returns the new score.
    pub fn score_add(&mut self, key: Key<'_>, member: &[u8], increment: Score) -> Result<f64, WriteError> {
        let former = self.score(key, member)?;
        let sum = former.map_or(increment.get(), |former| former + increment.get());
        if sum.is_nan() {
            return Err(WriteError::ScoreNotANumber);
        }
        self.write_score(key, Action::ScoreAdd { member, increment }, former != Some(sum));
        Ok(sum)
    }

    fn write_score(&mut self, key: Key<'_>, action: Action<'_>, changes: bool) {
        if changes || self.keyspace.origin.is_some() {
            let is_live = self.live(key).is_some();
            self.prepare(key, is_live);
            self.write(key, action, None);
        }
    }

    /// Removes a member. True when it was there. A sorted set without members goes.
    pub fn score_remove(&mut self, key: Key<'_>, member: &[u8]) -> Result<bool, WrongType> {
        let Some(set) = self.sorted_set(key)? else { return Ok(false) };
        let (there, last) = (set.score(member).is_some(), set.len() == 1);
        if there {
            self.write(key, if last { Action::Remove } else { Action::ScoreRemove { member } }, None);
        }
        Ok(there)
    }
}
