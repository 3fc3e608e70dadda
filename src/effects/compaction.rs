//! What of a history still matters.
//!
//! Who is handed a part of a history as a whole, and applies it at once, needs no write of it that a later one has made void: of
//! a key that was set a thousand times, one SET. This module finds what can go. What is left makes the same of any state, whatever
//! else is applied before or after.
//!
//! # When a write can go
//!
//! A later write has seen it, ends all that it did, and reaches all that it reached: a SET or a removal of the key, or of the field or
//! member that it is about; for a time to live, a later one as well. Whoever removes the later one has, by causality, seen this
//! one too, so nothing that it did can show again; and what has seen this one and not the later one meets the later one
//! as a concurrent write, which it would have done anyhow.
//!
//! That is not enough where it makes a difference *who* has ended something, which is so for lists: an operation on a list counts what was
//! there for its origin, without what a removal had taken that it has seen. So
//! - writes of a key with operations on a list in the history, or on a stream, all stay;
//! - of the others, each key keeps the first writes that have seen all before the history, and end what could be there of
//!   another type: what is in no history any more was ended by one of them, or is seen by all.
//!
//! Effects that were made again after a rebase reach less than they have seen. They stay, and end nothing here.
//!
//! Architecture invariant: this knows what actions end, not what they make.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Effect, Family, Frontier, Operation, OperationsWriter};

/// What is left of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// All of it.
    All,
    /// These operations, encoded.
    Some(Vec<u8>),
    /// Nothing.
    None,
}

/// A key, by database and name.
type Key<'a> = (u32, &'a [u8]);

/// What a write is about. Each kind of thing has its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    Whole,
    Life,
    Field(&'a [u8]),
    FieldLife(&'a [u8]),
    Member(&'a [u8]),
    Score(&'a [u8]),
}

/// Where in the history a write is: the number of its effect, and its place in that.
type Place = (usize, usize);

/// What is left of each effect of a history: effects in a causal order, each with all that its origin had seen. Whoever is handed what
/// is left has everything before the history, which is what `begin` includes.
pub fn compact(history: &[(Effect, Frontier)], begin: &Frontier) -> Vec<Rest> {
    let survey = Survey::of(history, begin);
    let mut enders = Enders { history, of_keys: BTreeMap::new(), flushes: BTreeMap::new() };
    let mut rests = Vec::with_capacity(history.len());
    // From the end: what ends a write comes after it.
    for (at, (effect, _)) in history.iter().enumerate().rev() {
        let operations: Vec<Operation<'_>> = effect.operations().collect();
        let mut stays = vec![true; operations.len()];
        for (index, operation) in operations.iter().enumerate().rev() {
            let place = (at, index);
            stays[index] = !(survey.may_go(operation, place) && enders.end(operation, place));
            if effect.acts_on.is_none() {
                enders.note(operation, place);
            }
        }
        rests.push(rest(&operations, &stays));
    }
    rests.reverse();
    rests
}

fn rest(operations: &[Operation<'_>], stays: &[bool]) -> Rest {
    if stays.iter().all(|stays| *stays) {
        return Rest::All;
    }
    let mut writer = OperationsWriter::default();
    operations.iter().zip(stays).filter(|(_, stays)| **stays).for_each(|(operation, _)| writer.push(*operation));
    if writer.bytes().is_empty() { Rest::None } else { Rest::Some(writer.bytes().to_vec()) }
}

/// Had the write at `later` seen the one at `earlier`?
fn has_seen(history: &[(Effect, Frontier)], later: Place, earlier: Place) -> bool {
    later.0 == earlier.0 && later.1 > earlier.1 || history[later.0].1.includes(history[earlier.0].0.dot)
}

/// What is to be known of all of the history, before anything of it can go.
struct Survey<'a> {
    history: &'a [(Effect, Frontier)],
    /// Keys of which all stays.
    untouchable: BTreeSet<Key<'a>>,
    /// Of each key, the first writes that end everything, or everything of other types: none of them has seen another.
    keepers: BTreeMap<(Key<'a>, Option<Family>), Vec<Place>>,
}

impl<'a> Survey<'a> {
    fn of(history: &'a [(Effect, Frontier)], begin: &Frontier) -> Self {
        let mut survey = Survey { history, untouchable: BTreeSet::new(), keepers: BTreeMap::new() };
        for (at, (effect, seen)) in history.iter().enumerate() {
            let is_keeper = effect.acts_on.is_none() && begin.within(seen);
            for (index, operation) in effect.operations().enumerate() {
                let Operation::Key { database, key, action } = operation else { continue };
                if matches!(action.family(), Family::List | Family::Stream) {
                    survey.untouchable.insert((database, key));
                } else if is_keeper && let Some(ends) = Survey::ends_others(&action) {
                    let keepers = survey.keepers.entry(((database, key), ends)).or_default();
                    let place = (at, index);
                    if !keepers.iter().any(|keeper| has_seen(history, place, *keeper)) {
                        keepers.push(place);
                    }
                }
            }
        }
        survey
    }

    /// Does the action end what there is of other types than its own (of all: `None`)?
    fn ends_others(action: &Action<'_>) -> Option<Option<Family>> {
        match action {
            Action::Deadline { .. } => None,
            Action::Remove | Action::StringSet { .. } => Some(None),
            other => Some(Some(other.family())),
        }
    }

    /// May the operation go if something ends it?
    fn may_go(&self, operation: &Operation<'a>, place: Place) -> bool {
        let Operation::Key { database, key, action } = *operation else { return false };
        let key = (database, key);
        if self.untouchable.contains(&key) || self.history[place.0].0.acts_on.is_some() {
            return false;
        }
        let Some(ends) = Survey::ends_others(&action) else { return true };
        let is_kept = |of: Option<Family>| {
            let mut keepers = self.keepers.get(&(key, of)).into_iter().flatten();
            keepers.any(|keeper| has_seen(self.history, place, *keeper))
        };
        is_kept(None) || (ends.is_some() && is_kept(ends))
    }
}

/// The writes that end others, as far as the history was gone through from its end. Of those that one has seen, only that one
/// is kept: it has seen all that they had.
struct Enders<'a> {
    history: &'a [(Effect, Frontier)],
    of_keys: BTreeMap<Key<'a>, BTreeMap<Subject<'a>, Vec<Place>>>,
    /// By database; `None`: of all.
    flushes: BTreeMap<Option<u32>, Vec<Place>>,
}

impl<'a> Enders<'a> {
    /// Is the operation ended by a later one?
    fn end(&self, operation: &Operation<'a>, place: Place) -> bool {
        let Operation::Key { database, key, action } = *operation else { return false };
        let seen_by_any = |places: Option<&Vec<Place>>| {
            places.is_some_and(|places| places.iter().any(|later| has_seen(self.history, *later, place)))
        };
        // A flush spares the keys of the system.
        let is_flushed = !key.starts_with(b"__swytch:")
            && [None, Some(database)].iter().any(|database| seen_by_any(self.flushes.get(database)));
        let of_key = self.of_keys.get(&(database, key));
        is_flushed
            || of_key.is_some_and(|enders| {
                ended_by(&action).into_iter().flatten().any(|subject| seen_by_any(enders.get(&subject)))
            })
    }

    fn note(&mut self, operation: &Operation<'a>, place: Place) {
        let history = self.history;
        let places = match *operation {
            Operation::Flush { database } => self.flushes.entry(database).or_default(),
            Operation::Key { database, key, action } => {
                let Some(subject) = ends(&action) else { return };
                self.of_keys.entry((database, key)).or_default().entry(subject).or_default()
            }
        };
        if !places.iter().any(|later| has_seen(history, *later, place)) {
            places.push(place);
        }
    }
}

/// What an action ends, of what had been written before.
fn ends<'a>(action: &Action<'a>) -> Option<Subject<'a>> {
    match *action {
        Action::Remove | Action::StringSet { .. } => Some(Subject::Whole),
        Action::Deadline { .. } => Some(Subject::Life),
        Action::FieldSet { field, .. } | Action::FieldRemove { field } => Some(Subject::Field(field)),
        Action::FieldDeadline { field, .. } => Some(Subject::FieldLife(field)),
        Action::MemberAdd { member } | Action::MemberRemove { member } => Some(Subject::Member(member)),
        Action::ScoreSet { member, .. } | Action::ScoreRemove { member } => Some(Subject::Score(member)),
        _ => None,
    }
}

/// What would have to be ended for nothing of this action to be left.
fn ended_by<'a>(action: &Action<'a>) -> [Option<Subject<'a>>; 3] {
    let whole = Some(Subject::Whole);
    match *action {
        Action::Deadline { .. } => [whole, Some(Subject::Life), None],
        Action::FieldSet { field, .. }
        | Action::FieldAdd { field, .. }
        | Action::FieldAddFloat { field, .. }
        | Action::FieldRemove { field } => [whole, Some(Subject::Field(field)), None],
        Action::FieldDeadline { field, .. } => [whole, Some(Subject::Field(field)), Some(Subject::FieldLife(field))],
        Action::MemberAdd { member } | Action::MemberRemove { member } => [whole, Some(Subject::Member(member)), None],
        Action::ScoreSet { member, .. }
        | Action::ScoreAdd { member, .. }
        | Action::ScoreMax { member, .. }
        | Action::ScoreMin { member, .. }
        | Action::ScoreRemove { member } => [whole, Some(Subject::Score(member)), None],
        // Strings, whose writes are all of one thing, and removals.
        _ => [whole, None, None],
    }
}
