//! Reads and writes of sorted sets.
//!
//! In a cluster also a write that changes no score is made: that is what lets a member survive a concurrent removal.

use std::ops::Range;

use smallvec::SmallVec;

use super::{Key, Transaction, WriteError};
use crate::effects::{Action, Score};
use crate::keyspace::{SortedSetValue, WrongType};

/// Members with their scores, apart from where they came from. Mostly it is one.
pub type Taken = SmallVec<[(Box<[u8]>, f64); 1]>;

/// A member, as a write of its score finds it.
struct Found {
    /// Where the key's entry is, until the next change.
    at: Option<usize>,
    score: Option<f64>,
}

impl Transaction<'_> {
    /// A sorted set.
    pub fn sorted_set(&mut self, key: Key<'_>) -> Result<Option<&SortedSetValue>, WrongType> {
        self.collection(key)
    }

    /// A member's score.
    pub fn score(&mut self, key: Key<'_>, member: &[u8]) -> Result<Option<f64>, WrongType> {
        Ok(self.scored(key, member)?.score)
    }

    fn scored(&mut self, key: Key<'_>, member: &[u8]) -> Result<Found, WrongType> {
        let found = self.collection_at(key)?.map(|(at, set): (_, &SortedSetValue)| (at, set.score(member)));
        let (at, score) = found.unzip();
        Ok(Found { at, score: score.flatten() })
    }

    /// Sets a member's score. Returns the former one.
    pub fn score_set(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let found = self.scored(key, member)?;
        let changes = found.score != Some(score.get());
        self.write_score(key, found.at, Action::ScoreSet { member, score }, changes);
        Ok(found.score)
    }

    /// Raises a member's score to at least this one, or adds the member. Returns the former score.
    pub fn score_raise(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let found = self.scored(key, member)?;
        let changes = found.score.is_none_or(|former| score.get() > former);
        self.write_score(key, found.at, Action::ScoreMax { member, score }, changes);
        Ok(found.score)
    }

    /// Lowers a member's score to at most this one, or adds the member. Returns the former score.
    pub fn score_lower(&mut self, key: Key<'_>, member: &[u8], score: Score) -> Result<Option<f64>, WrongType> {
        let found = self.scored(key, member)?;
        let changes = found.score.is_none_or(|former| score.get() < former);
        self.write_score(key, found.at, Action::ScoreMin { member, score }, changes);
        Ok(found.score)
    }

    /// Adds to a member's score; a member that is not there gets the increment. Returns the new score.
    pub fn score_add(&mut self, key: Key<'_>, member: &[u8], increment: Score) -> Result<f64, WriteError> {
        let found = self.scored(key, member)?;
        let sum = found.score.map_or(increment.get(), |former| former + increment.get());
        if sum.is_nan() {
            return Err(WriteError::ScoreNotANumber);
        }
        self.write_score(key, found.at, Action::ScoreAdd { member, increment }, found.score != Some(sum));
        Ok(sum)
    }

    fn write_score(&mut self, key: Key<'_>, at: Option<usize>, action: Action<'_>, changes: bool) {
        if changes || self.keyspace.origin.is_some() {
            self.prepare(key, at.is_some());
            self.write_at(key, at, action, None);
        }
    }

    /// Removes a member. True when it was there. A sorted set without members goes.
    pub fn score_remove(&mut self, key: Key<'_>, member: &[u8]) -> Result<bool, WrongType> {
        let Some((at, set)) = self.collection_at::<SortedSetValue>(key)? else { return Ok(false) };
        let (there, last) = (set.score(member).is_some(), set.len() == 1);
        if there {
            self.write_at(key, Some(at), if last { Action::Remove } else { Action::ScoreRemove { member } }, None);
        }
        Ok(there)
    }

    /// Removes the members of the ranks that `choose` names, given the set; returns them in order. A sorted set without
    /// members goes.
    pub fn score_take(
        &mut self,
        key: Key<'_>,
        choose: impl FnOnce(&SortedSetValue) -> Range<usize>,
    ) -> Result<Taken, WrongType> {
        let Some((at, set)) = self.collection_at::<SortedSetValue>(key)? else { return Ok(Taken::new()) };
        let ranks = choose(set);
        let takes_all = ranks.len() == set.len();
        let taken: Taken = set.range(ranks).map(|(member, score)| ((*member).into(), score)).collect();
        if takes_all {
            self.write_at(key, Some(at), Action::Remove, None);
        } else {
            for (member, _) in &taken {
                self.write_at(key, Some(at), Action::ScoreRemove { member }, None);
            }
        }
        Ok(taken)
    }
}
