//! Writes of sorted sets.

use proptest::prelude::*;
use swytch::effects::Score;
use swytch::keyspace::{Key, Transaction};

use super::{Group, Write, element, ignore};

/// A write of a member of a sorted set.
#[derive(Clone, Debug)]
pub enum SortedSetWrite {
    Set(u8, f64),
    Add(u8, f64),
    Raise(u8, f64),
    Lower(u8, f64),
    Remove(u8),
}

impl SortedSetWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        let number = |score: f64| Score::try_from(score).expect("no NaN is generated");
        match *self {
            SortedSetWrite::Set(member, score) => ignore(transaction.score_set(key, &[member], number(score))),
            SortedSetWrite::Add(member, by) => ignore(transaction.score_add(key, &[member], number(by))),
            SortedSetWrite::Raise(member, score) => ignore(transaction.score_raise(key, &[member], number(score))),
            SortedSetWrite::Lower(member, score) => ignore(transaction.score_lower(key, &[member], number(score))),
            SortedSetWrite::Remove(member) => ignore(transaction.score_remove(key, &[member])),
        }
    }
}

/// A score or an increment. Sums of fractions depend on their order; infinities of both signs meet.
fn score() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        6 => (-5i8..9).prop_map(f64::from),
        3 => prop_oneof![Just(0.1), Just(-0.3), Just(1e16)],
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ]
}

pub(super) fn any_write() -> impl Strategy<Value = SortedSetWrite> + Clone {
    prop_oneof![
        3 => (element(), score()).prop_map(|(member, score)| SortedSetWrite::Set(member, score)),
        3 => (element(), score()).prop_map(|(member, by)| SortedSetWrite::Add(member, by)),
        1 => (element(), score()).prop_map(|(member, score)| SortedSetWrite::Raise(member, score)),
        1 => (element(), score()).prop_map(|(member, score)| SortedSetWrite::Lower(member, score)),
        3 => element().prop_map(SortedSetWrite::Remove),
    ]
}

pub(super) fn group() -> Group {
    let row = |text, write| (text, Write::SortedSet(0, write));
    Group {
        title: "A sorted set",
        start: vec![row("ZADD k 5 x", SortedSetWrite::Set(b'x', 5.0))],
        writes: vec![
            row("ZADD k 7 x", SortedSetWrite::Set(b'x', 7.0)),
            row("ZADD k 8 y", SortedSetWrite::Set(b'y', 8.0)),
            row("ZINCRBY k 2.5 x", SortedSetWrite::Add(b'x', 2.5)),
            row("ZADD k GT 9 x", SortedSetWrite::Raise(b'x', 9.0)),
            row("ZADD k LT 3 x", SortedSetWrite::Lower(b'x', 3.0)),
            row("ZINCRBY k inf x", SortedSetWrite::Add(b'x', f64::INFINITY)),
            row("ZINCRBY k -inf x", SortedSetWrite::Add(b'x', f64::NEG_INFINITY)),
            row("ZREM k x", SortedSetWrite::Remove(b'x')),
        ],
        creations: vec![row("ZADD k 7 x", SortedSetWrite::Set(b'x', 7.0))],
    }
}
