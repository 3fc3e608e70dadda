//! What a stream must be: said of whole histories, with nothing kept and nothing forgotten.

use std::collections::{BTreeMap, BTreeSet};

use swytch::effects::{Action, Family, StreamId};

use super::{Event, Write, text};

/// Does it only end other writes, or act on a group that another write made?
pub fn is_removal(action: &Action<'_>) -> bool {
    !matches!(action, Action::StreamAdd { .. } | Action::StreamSetId { .. } | Action::GroupCreate { .. })
}

/// Does the key's value, as far as it is a stream, go with it?
fn removes_all(action: &Action<'_>) -> bool {
    match action {
        Action::Deadline { .. } => false,
        other => other.family() != Family::Stream,
    }
}

/// Everything that was written to a key, in the order of the stamps.
struct History<'w, 'a>(&'w [Write<'a>]);

impl<'w, 'a> History<'w, 'a> {
    /// Is there a write that has seen this one and is such a one?
    fn is_ended(&self, write: &Write<'_>, by: impl Fn(&Action<'_>) -> bool) -> bool {
        self.0.iter().any(|(later, action)| later.has_seen(&write.0) && by(action))
    }

    /// What none has removed with the key.
    fn surviving(&self) -> impl Iterator<Item = &'w Write<'a>> {
        self.0.iter().filter(|write| write.1.family() == Family::Stream && !self.is_ended(write, removes_all))
    }

    /// The XADDs whose entries are there.
    fn entries(&self) -> Vec<(StreamId, &'w Write<'a>)> {
        let is_there = |write: &&'w Write<'a>| {
            let Action::StreamAdd { id, .. } = write.1 else { return None };
            let ended = self.is_ended(write, |action| match *action {
                Action::StreamAdd { id: other, .. } => other == id,
                Action::StreamRemove { ids } => ids.iter().any(|other| other == id),
                Action::StreamTrim { below } => id < below,
                _ => false,
            });
            (!ended).then_some((id, *write))
        };
        self.surviving().filter_map(|write| is_there(&write)).collect()
    }

    fn counted(&self) -> (StreamId, u64, StreamId) {
        let (mut last, mut added, mut deleted) = (StreamId::MIN, 0u64, StreamId::MIN);
        for write in self.surviving() {
            let (id, count, own) = match write.1 {
                Action::StreamAdd { id, .. } => (id, 1, StreamId::MIN),
                Action::StreamSetId { last, added, max_deleted } => {
                    (last, added.unwrap_or(0), max_deleted.unwrap_or_default())
                }
                Action::GroupCreate { .. } => (StreamId::MIN, 0, StreamId::MIN),
                _ => continue,
            };
            let sets = |what: fn(Option<u64>, Option<StreamId>) -> bool| {
                self.is_ended(write, |action| match *action {
                    Action::StreamSetId { added, max_deleted, .. } => what(added, max_deleted),
                    _ => false,
                })
            };
            if !sets(|_, _| true) {
                last = last.max(id);
            }
            if !sets(|added, _| added.is_some()) {
                added += count;
            }
            if !sets(|_, deleted| deleted.is_some()) {
                let removed = self.0.iter().filter(|(later, _)| later.has_seen(&write.0));
                let ids = removed.filter_map(|(_, action)| match *action {
                    Action::StreamRemove { ids } => ids.iter().last(),
                    _ => None,
                });
                deleted = ids.chain([own, deleted]).max().unwrap_or_default();
            }
        }
        (last, added, deleted)
    }

    /// The creations of a group that survive.
    fn bases(&self, name: &[u8]) -> Vec<&'w Write<'a>> {
        let ends = |action: &Action<'_>| match *action {
            Action::GroupCreate { group, .. } | Action::GroupDestroy { group } => group == name,
            _ => false,
        };
        let creates = |write: &&Write<'_>| matches!(write.1, Action::GroupCreate { group, .. } if group == name);
        self.surviving().filter(creates).filter(|write| !self.is_ended(write, ends)).collect()
    }

    /// The writes to a group that had seen a write.
    fn after(&self, name: &[u8], start: &'w Write<'a>) -> impl Iterator<Item = &'w Write<'a>> {
        let name = name.to_vec();
        self.0.iter().filter(move |(event, action)| event.has_seen(&start.0) && group_of(action) == Some(&name[..]))
    }

    /// What began the positions of a group that none has replaced.
    fn positions(&self, name: &[u8], bases: &[&'w Write<'a>]) -> Vec<&'w Write<'a>> {
        let mut positions: Vec<&Write<'_>> = Vec::new();
        for base in bases {
            let later = self.after(name, base).filter(|write| matches!(write.1, Action::GroupSetPosition { .. }));
            for start in [*base].into_iter().chain(later) {
                let replaced = self.is_ended(
                    start,
                    |action| matches!(action, Action::GroupSetPosition { group, .. } if *group == name),
                );
                if !replaced && positions.iter().all(|other| !same(&other.0, &start.0)) {
                    positions.push(start);
                }
            }
        }
        positions
    }
}

fn same(one: &Event<'_>, other: &Event<'_>) -> bool {
    one.dot == other.dot && one.place == other.place
}

/// Of the writes to what is in a group, which group that is.
fn group_of<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::GroupSetPosition { group, .. }
        | Action::GroupDeliver { group, .. }
        | Action::GroupClaim { group, .. }
        | Action::GroupAcknowledge { group, .. }
        | Action::ConsumerCreate { group, .. }
        | Action::ConsumerRemove { group, .. } => Some(group),
        _ => None,
    }
}

/// Which entry, when it was delivered, and how often.
type Claim = (StreamId, u64, u64);

/// A position: what began it, and what has moved it.
struct Position<'w, 'a> {
    start: &'w Write<'a>,
    moves: Vec<(&'w Write<'a>, StreamId)>,
}

impl<'w, 'a> Position<'w, 'a> {
    fn of(history: &History<'w, 'a>, name: &[u8], start: &'w Write<'a>) -> Position<'w, 'a> {
        let begin = match start.1 {
            Action::GroupCreate { delivered, .. } | Action::GroupSetPosition { delivered, .. } => delivered,
            _ => unreachable!("nothing else begins a position"),
        };
        let moves = history.after(name, start).filter_map(|write| match write.1 {
            Action::GroupDeliver { ids, .. } => Some((write, ids.iter().last()?)),
            Action::GroupClaim { last, .. } => Some((write, last?)),
            _ => None,
        });
        Position { start, moves: [(start, begin)].into_iter().chain(moves).collect() }
    }

    fn delivered(&self) -> StreamId {
        self.moves.iter().map(|(_, to)| *to).max().expect("it begins somewhere")
    }

    /// Does an addition that is there need no delivery any more?
    fn has_passed(&self, id: StreamId, addition: &Write<'_>) -> bool {
        self.moves.iter().any(|(mover, to)| {
            let knew_better = addition.0.has_seen(&mover.0) && id <= *to;
            let has_seen = mover.0.has_seen(&addition.0) && id <= *to;
            let passes = match mover.1 {
                Action::GroupCreate { late, .. } | Action::GroupSetPosition { late, .. } => {
                    late.iter().all(|late| late != id)
                }
                Action::GroupDeliver { ids, .. } => ids.iter().any(|other| other == id),
                Action::GroupClaim { .. } => true,
                _ => unreachable!("nothing else moves a position"),
            };
            knew_better || (has_seen && passes)
        })
    }

    /// The numbers of entries read that none has replaced.
    fn counts(&self) -> Vec<(&'w Write<'a>, Option<u64>)> {
        let count = |write: &Write<'_>| match write.1 {
            Action::GroupCreate { entries_read, .. }
            | Action::GroupSetPosition { entries_read, .. }
            | Action::GroupDeliver { entries_read, .. } => Some(entries_read),
            _ => None,
        };
        let all: Vec<_> = self.moves.iter().filter_map(|(write, _)| Some((*write, count(write)?))).collect();
        let is_last = |(write, _): &&(&Write<'_>, _)| {
            let replaces = |(later, _): &(&Write<'_>, Option<u64>)| later.0.has_seen(&write.0);
            !all.iter().any(|later| !same(&later.0.0, &self.start.0) && replaces(later))
        };
        all.iter().filter(is_last).copied().collect()
    }
}

/// What the writes to a key make of it, as `Keyspace::dump` prints it.
pub fn value(writes: &[Write<'_>]) -> String {
    let history = History(writes);
    let entries = history.entries();
    let mut parts = Vec::new();
    // In the order of the stamps: the last one of an id is shown.
    let shown: BTreeMap<StreamId, &Write<'_>> = entries.iter().copied().collect();
    for (id, (_, action)) in shown {
        let Action::StreamAdd { entry, .. } = action else { unreachable!("an entry") };
        let elements: Vec<String> = entry.iter().map(text).collect();
        let fields: Vec<String> = elements.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect();
        parts.push(format!("{id} {}", fields.join(" ")));
    }
    let (last, added, deleted) = history.counted();
    let deleted = if deleted == StreamId::MIN { String::new() } else { format!(" deleted {deleted}") };
    parts.push(format!("last {last} added {added}{deleted}"));
    let names: BTreeSet<&[u8]> = writes
        .iter()
        .filter_map(|write| match write.1 {
            Action::GroupCreate { group, .. } => Some(group),
            _ => None,
        })
        .collect();
    names.into_iter().for_each(|name| group(&history, name, &entries, &mut parts));
    parts.join(", ")
}

fn group<'w, 'a>(
    history: &History<'w, 'a>,
    name: &[u8],
    entries: &[(StreamId, &'w Write<'a>)],
    parts: &mut Vec<String>,
) {
    let bases = history.bases(name);
    if bases.is_empty() {
        return;
    }
    let starts = history.positions(name, &bases);
    let positions: Vec<Position<'_, '_>> = starts.into_iter().map(|start| Position::of(history, name, start)).collect();
    let delivered = positions.iter().map(Position::delivered).max().expect("a base has a position");
    let mut counts: Vec<(&Write<'_>, Option<u64>)> = Vec::new();
    for (write, count) in positions.iter().flat_map(Position::counts) {
        if counts.iter().all(|(other, _)| !same(&other.0, &write.0)) {
            counts.push((write, count));
        }
    }
    let read = match &counts[..] {
        [(_, Some(count))] => count.to_string(),
        _ => "?".to_owned(),
    };
    parts.push(format!("group {} at {delivered} read {read}", text(name)));
    let is_late = |(id, addition): &&(StreamId, &Write<'_>)| {
        *id <= delivered && positions.iter().all(|position| !position.has_passed(*id, addition))
    };
    let late: BTreeSet<StreamId> = entries.iter().filter(is_late).map(|(id, _)| *id).collect();
    parts.extend(late.iter().map(|id| format!("late {id}")));

    // For each consumer, when it got something; for each entry, who had it last.
    let mut consumers: BTreeMap<&[u8], Option<u64>> = BTreeMap::new();
    let mut pending: BTreeMap<StreamId, (&Event<'_>, &[u8], u64, u64)> = BTreeMap::new();
    for write in bases.iter().flat_map(|base| history.after(name, base)) {
        let (consumer, active, claims): (&[u8], _, Vec<Claim>) = match write.1 {
            Action::GroupDeliver { consumer, ids, at, pending, .. } => {
                (consumer, Some(at), ids.iter().filter(|_| pending).map(|id| (id, at, 1)).collect())
            }
            Action::GroupClaim { consumer, claims, at, .. } => {
                let claims = claims.iter().map(|claim| (claim.id, claim.delivered_at, claim.deliveries));
                (consumer, at, claims.collect())
            }
            Action::ConsumerCreate { consumer, .. } => (consumer, None, Vec::new()),
            _ => continue,
        };
        let is_gone = history.is_ended(
            write,
            |action| matches!(action, Action::ConsumerRemove { group, consumer: other } if *group == name && *other == consumer),
        );
        if is_gone {
            continue;
        }
        let latest = consumers.entry(consumer).or_default();
        *latest = active.max(*latest);
        for (id, at, deliveries) in claims {
            let is_ended = history.is_ended(write, |action| match *action {
                Action::GroupDeliver { group, ids, pending, .. } => {
                    pending && group == name && ids.iter().any(|other| other == id)
                }
                Action::GroupClaim { group, claims, .. } => group == name && claims.iter().any(|claim| claim.id == id),
                Action::GroupAcknowledge { group, ids } => group == name && ids.iter().any(|other| other == id),
                _ => false,
            });
            let order = |event: &Event<'_>| (event.stamp, event.place);
            if !is_ended && pending.get(&id).is_none_or(|other| order(other.0) < order(&write.0)) {
                pending.insert(id, (&write.0, consumer, at, deliveries));
            }
        }
    }
    for (consumer, active) in consumers {
        let active = active.map_or(String::new(), |at| format!(" active {at}"));
        let mine = pending.iter().filter(|(_, claim)| claim.1 == consumer);
        let mine: String = mine.map(|(id, (_, _, at, deliveries))| format!(" {id}@{at}x{deliveries}")).collect();
        parts.push(format!("consumer {}{active}{mine}", text(consumer)));
    }
}
