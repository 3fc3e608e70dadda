//! How far a group is: begun by an XGROUP CREATE or SETID, moved by deliveries.
//!
//! For a position, an entry is *ahead* (above everything delivered), *passed* or *late*. It is passed when a delivery that has
//! seen it names it; when it had been seen by what began the position, at or below the id named there; or when its XADD
//! had seen what moved the position to or beyond its id: then it goes where Redis would not deliver it either. All others
//! at or below the highest id delivered are late: they arrived behind the back of the group, and are still to be delivered.
//! Ahead becomes late or passed, late becomes passed, and nothing else happens; so the order of arrival does not matter.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::entries::{Entries, Key};
use crate::effects::{Dot, Frontier, StreamId, StreamIds};
use crate::keyspace::causality::{Mark, Seen};
use crate::keyspace::value::Group;

/// See the module's text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Position {
    /// What began it; `None`: it is stable.
    dot: Option<Dot>,
    /// How far it was moved by what is stable.
    stable: Option<StreamId>,
    /// How far by what is not.
    moves: Vec<(Dot, StreamId)>,
    late: BTreeSet<Key>,
    /// How many entries were read, as the stable one of the latest deliveries has it.
    stable_count: Option<Option<u64>>,
    /// And the others of the latest deliveries, none of which has seen another.
    counts: Vec<(Dot, Option<u64>)>,
}

impl Position {
    /// That of a group of which all is stable.
    pub fn resting(group: &Group) -> Position {
        Position {
            dot: None,
            stable: Some(group.last_delivered),
            moves: Vec::new(),
            late: group.late().iter().map(|id| (*id, None)).collect(),
            stable_count: Some(group.entries_read),
            counts: Vec::new(),
        }
    }

    /// A new one. `late`: what it has seen and is to deliver all the same.
    pub fn begin(
        delivered: StreamId,
        entries_read: Option<u64>,
        late: StreamIds<'_>,
        entries: Entries<'_>,
        mark: &Mark<'_>,
    ) -> Position {
        let kept: BTreeSet<StreamId> = late.iter().collect();
        let mut late: BTreeSet<Key> = entries
            .known(StreamId::MIN, delivered)
            .filter(|(id, dot)| !includes(&mark.seen, *dot) || kept.contains(id))
            .collect();
        if mark.seen.stable {
            late.extend(kept.iter().flat_map(|id| entries.stable(*id, *id)).map(|id| (id, None)));
        } else {
            late.extend(entries.stable(StreamId::MIN, delivered).map(|id| (id, None)));
        }
        Position {
            dot: Some(mark.dot),
            stable: None,
            moves: vec![(mark.dot, delivered)],
            late,
            stable_count: None,
            counts: vec![(mark.dot, entries_read)],
        }
    }

    /// Had the effect seen it begin?
    pub fn is_seen(&self, seen: &Seen<'_>) -> bool {
        includes(seen, self.dot)
    }

    /// The highest id delivered.
    pub fn delivered(&self) -> StreamId {
        self.moves.iter().map(|(_, id)| *id).max().max(self.stable).unwrap_or_default()
    }

    /// Does the addition need no delivery any more?
    pub fn has_passed(&self, key: Key, delivered: StreamId) -> bool {
        key.0 <= delivered && !self.late.contains(&key)
    }

    /// What is late.
    pub fn late(&self) -> &BTreeSet<Key> {
        &self.late
    }

    /// The numbers of entries read that none has replaced, with the deliveries that they are from.
    pub fn counts(&self) -> impl Iterator<Item = (Option<Dot>, Option<u64>)> {
        let others = self.counts.iter().map(|(dot, count)| (Some(*dot), *count));
        self.stable_count.iter().map(|count| (None, *count)).chain(others)
    }

    /// A delivery of these, which ascend.
    pub fn deliver(&mut self, ids: &[StreamId], count: Option<u64>, entries: Entries<'_>, mark: &Mark<'_>) {
        for id in ids {
            let of_this = self.late.range((*id, None)..).take_while(|key| key.0 == *id);
            let passed: Vec<Key> = of_this.filter(|key| includes(&mark.seen, key.1)).copied().collect();
            passed.iter().for_each(|key| {
                self.late.remove(key);
            });
        }
        let highest = ids.last().copied().unwrap_or_default();
        self.pass(highest, entries, |(id, dot)| includes(&mark.seen, *dot) && ids.binary_search(id).is_ok());
        self.note_move(highest, mark);
        self.counts.retain(|(dot, _)| !mark.seen.includes(*dot));
        self.stable_count = self.stable_count.filter(|_| !mark.seen.stable);
        self.counts.push((mark.dot, count));
    }

    /// All that the effect has seen up to here counts as delivered, what is late as well.
    pub fn skip(&mut self, to: StreamId, entries: Entries<'_>, mark: &Mark<'_>) {
        self.late.retain(|(id, dot)| *id > to || !includes(&mark.seen, *dot));
        self.pass(to, entries, |(_, dot)| includes(&mark.seen, *dot));
        self.note_move(to, mark);
    }

    /// What was ahead and is not any more is late, but for what passes.
    fn pass(&mut self, to: StreamId, entries: Entries<'_>, passes: impl Fn(&Key) -> bool) {
        if let Some(first) = self.delivered().next() {
            self.late.extend(entries.all(first, to).filter(|key| !passes(key)));
        }
    }

    /// How far it is for an effect that has seen this.
    fn moved_for(&self, seen: &Seen<'_>) -> Option<StreamId> {
        let moves = self.moves.iter().filter(|(dot, _)| seen.includes(*dot)).map(|(_, id)| *id);
        moves.max().max(self.stable.filter(|_| seen.stable))
    }

    /// A move counts also where the position is farther by now: for the additions that have seen this one alone.
    fn note_move(&mut self, to: StreamId, mark: &Mark<'_>) {
        if self.moved_for(&mark.seen) < Some(to) {
            match self.moves.iter_mut().find(|(dot, _)| *dot == mark.dot) {
                Some((_, id)) => *id = to,
                None => self.moves.push((mark.dot, to)),
            }
        }
    }

    /// An entry arrives. True when it is late.
    pub fn arrive(&mut self, id: StreamId, mark: &Mark<'_>) -> bool {
        let is_late = id <= self.delivered() && self.moved_for(&mark.seen) < Some(id);
        if is_late {
            self.late.insert((id, Some(mark.dot)));
        }
        is_late
    }

    /// Entries are gone.
    pub fn depart(&mut self, gone: &[Key]) {
        gone.iter().for_each(|key| {
            self.late.remove(key);
        });
    }

    /// Only these are there still.
    pub fn keep(&mut self, entries: Entries<'_>) {
        self.late.retain(|key| entries.has(*key));
    }

    /// Additions are stable now.
    pub fn settle(&mut self, settled: &[(StreamId, Dot)]) {
        for &(id, dot) in settled {
            if self.late.remove(&(id, Some(dot))) {
                self.late.insert((id, None));
            }
        }
    }

    /// Drops what is stable.
    fn fold(&mut self, stable: &Frontier) {
        self.dot = self.dot.filter(|dot| !stable.includes(*dot));
        let rest = &mut self.stable;
        self.moves.retain(|(dot, id)| {
            let folds = stable.includes(*dot);
            *rest = (*rest).max(folds.then_some(*id));
            !folds
        });
        let rest = &mut self.stable_count;
        self.counts.retain(|(dot, count)| {
            let folds = stable.includes(*dot);
            if folds {
                // Two that have not seen each other do not make a number.
                *rest = Some(if rest.is_some() { None } else { *count });
            }
            !folds
        });
    }

    /// Two stable positions become one: what has passed for one has passed.
    fn unite(&mut self, other: Position) {
        let delivered = (self.delivered(), other.delivered());
        let (higher, lower, below) =
            if delivered.0 >= delivered.1 { (&*self, &other, delivered.1) } else { (&other, &*self, delivered.0) };
        let late = higher.late.iter().filter(|key| !lower.has_passed(**key, below)).copied().collect();
        self.late = late;
        self.stable = self.stable.max(other.stable);
        for (dot, id) in other.moves {
            match self.moves.iter_mut().find(|(mine, _)| *mine == dot) {
                Some((_, mine)) => *mine = id.max(*mine),
                None => self.moves.push((dot, id)),
            }
        }
        self.stable_count = match (self.stable_count, other.stable_count) {
            (Some(_), Some(_)) => Some(None),
            (one, another) => one.or(another),
        };
        for (dot, count) in other.counts {
            if self.counts.iter().all(|(mine, _)| *mine != dot) {
                self.counts.push((dot, count));
            }
        }
    }

    /// Is all of it stable?
    pub fn is_resting(&self) -> bool {
        let only_stable = self.dot.is_none() && self.moves.is_empty() && self.counts.is_empty();
        only_stable && self.late.iter().all(|key| key.1.is_none())
    }

    /// How much is kept.
    pub fn len(&self) -> usize {
        self.moves.len() + self.late.len() + self.counts.len()
    }
}

/// Drops what is stable of the positions of one base. No two of them began with the same effect.
pub fn fold(positions: &mut Vec<Position>, stable: &Frontier) {
    let mut united: Option<Position> = None;
    for mut position in std::mem::take(positions) {
        if position.dot.is_none_or(|dot| stable.includes(dot)) {
            position.dot = None;
            match &mut united {
                Some(united) => united.unite(position),
                None => united = Some(position),
            }
        } else {
            positions.push(position);
        }
    }
    positions.extend(united);
    positions.iter_mut().for_each(|position| position.fold(stable));
}

/// Leaves one of those that began with the same effect: they are alike.
pub fn dedup(positions: &mut Vec<Position>) {
    let mut begun = Vec::new();
    positions.retain(|position| {
        let is_new = position.dot.is_none() || !begun.contains(&position.dot);
        begun.push(position.dot);
        is_new
    });
}

fn includes(seen: &Seen<'_>, dot: Option<Dot>) -> bool {
    dot.map_or(seen.stable, |dot| seen.includes(dot))
}
