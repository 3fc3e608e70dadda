//! What the data must be after a history, by definition.
//!
//! No state is kept and nothing is merged: for each key, the writes that *survive* are those that no removal and no
//! overwriting write has seen; the value is made from the survivors in the order of their stamps. This is slow, and
//! plainly right. The simulation (`sim`) holds whole clusters against it, too. What is to be said of one type alone is in
//! that type's file.

mod hash;
mod list;
mod register;
mod set;
mod sorted_set;
mod stream;
mod string;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use swytch::effects::{
    Action, Dot, Effect, Family, Frontier, NodeId, Operation, OperationsWriter, Rest, Stamp, compact,
};
use swytch::keyspace::is_system_key;

use self::list::List;
use crate::replicas::Made;

/// Effects, and which keys they touch: all that is needed to say what the data must be where some of them are applied.
#[derive(Default)]
pub struct History {
    made: Vec<Past>,
    keys: BTreeMap<Place, Touching>,
    flushes: Touching,
    /// What was found out last of each key. It depends on nothing but which effects that touch the key are applied.
    found: RefCell<BTreeMap<Place, VecDeque<Found>>>,
}

/// Effects that touch the same key, or flush: of each origin by ascending seq, as numbers in the history.
#[derive(Default)]
struct Touching(BTreeMap<NodeId, Vec<(u64, usize)>>);

impl Touching {
    fn add(&mut self, dot: Dot, at: usize) {
        let effects = self.0.entry(dot.node).or_default();
        let place = effects.partition_point(|(seq, _)| *seq < dot.seq);
        // Several operations of one effect may touch the key.
        if effects.get(place).is_none_or(|(seq, _)| *seq != dot.seq) {
            effects.insert(place, (dot.seq, at));
        }
    }

    /// Of each origin, how many are applied.
    fn count(&self, applied: &Frontier, counts: &mut Vec<usize>) {
        let count = |(node, effects): (&NodeId, &Vec<(u64, usize)>)| {
            let upto = applied.get(*node);
            effects.partition_point(|(seq, _)| *seq <= upto)
        };
        counts.extend(self.0.iter().map(count));
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Those that were counted.
    fn counted<'a>(&'a self, counts: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.0.values().zip(counts).flat_map(|(effects, count)| effects[..*count].iter().map(|(_, at)| *at))
    }
}

/// The number of a database, and a key.
type Place = (u32, Vec<u8>);

/// How many effects of each origin touch a key and are applied, and what they make of it.
type Found = (Vec<usize>, Option<Expected>);

/// So many answers are remembered of each key: about one for each node.
const REMEMBERED: usize = 6;

/// An effect, and what came before it.
struct Past {
    effect: Effect,
    /// What it removes and overwrites lies within this.
    reach: Frontier,
    /// All that its origin had seen, where the effect does not reach what is stable: it was made again by a node that had
    /// never met this cluster.
    known: Option<Frontier>,
    /// All that its origin had seen, of an effect that was made again.
    seen: Option<Frontier>,
}

/// What a key must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// As `Keyspace::dump` prints it, but for the deadline.
    pub text: String,
    /// When its life ends.
    pub deadline: Option<u64>,
    /// Of a hash: its fields as text, each with the end of its life.
    fields: Vec<(String, Option<u64>)>,
    /// How the text begins: up to the value.
    head: String,
}

impl Expected {
    /// What clients see at this time, and when its life ends: nothing whose life is over.
    pub fn visible(self, now: u64) -> Option<(String, Option<u64>)> {
        let is_live = |deadline: Option<u64>| deadline.is_none_or(|deadline| deadline > now);
        let Expected { text, deadline, mut fields, head } = self;
        if !is_live(deadline) {
            return None;
        }
        if fields.is_empty() {
            return Some((text, deadline));
        }
        fields.retain(|field| is_live(field.1));
        fields.iter_mut().for_each(|field| field.1 = None);
        (!fields.is_empty()).then(|| (format!("{head} [{}]", hash::value(&fields)), deadline))
    }
}

impl History {
    /// The effects of which later ones have left nothing that could matter to anybody, or which do nothing. What somebody does to lists and streams never is: but who has
    /// dropped another write of the same key may not have known of it.
    pub fn void(&self) -> BTreeSet<Dot> {
        let all: Vec<_> = self.made.iter().map(|past| (without_counting(&past.effect), past.reach.clone())).collect();
        // Who knows only some of these effects, from some moment on, finds no more of them void.
        let rests = compact(&all, &Frontier::EMPTY);
        let of_whole = self.made.iter().zip(&all).zip(rests).filter(|((past, (rest, _)), _)| *rest == past.effect);
        let is_void = |past: &Past, rest: Rest| rest == Rest::None || past.effect.body().is_empty();
        of_whole.filter_map(|((past, _), rest)| is_void(past, rest).then_some(past.effect.dot)).collect()
    }

    /// Adds an effect; `seen` is all that its origin had seen. An effect that was made again after a rebase acts on less.
    pub fn add(&mut self, effect: Effect, seen: Frontier) {
        let at = self.made.len();
        for operation in effect.operations() {
            let touching = match operation {
                Operation::Flush { .. } => &mut self.flushes,
                Operation::Key { database, key, .. } => self.keys.entry((database, key.to_vec())).or_default(),
            };
            touching.add(effect.dot, at);
        }
        let (reach, known, seen) = match &effect.acts_on {
            None => (seen, None, None),
            Some(reach) => (reach.frontier.clone(), (!reach.stable).then(|| seen.clone()), Some(seen)),
        };
        self.made.push(Past { effect, reach, known, seen });
    }

    /// The lines that `Keyspace::dump` must print on every node that has applied exactly the effects within `applied`.
    pub fn dump(&self, applied: &Frontier) -> Vec<String> {
        let lines = self.keys.keys().filter_map(|(database, key)| {
            let Expected { text, deadline, .. } = self.expected(*database, key, applied)?;
            Some(text + &deadline.map_or(String::new(), |deadline| format!(" until {deadline}")))
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort_unstable();
        lines
    }

    /// How many effects touch a key, flushes left out.
    pub fn effects_on(&self, database: u32, key: &[u8]) -> usize {
        self.keys.get(&(database, key.to_vec())).map_or(0, Touching::len)
    }

    /// What one key must hold where exactly the effects within `applied` are.
    pub fn expected(&self, database: u32, key: &[u8], applied: &Frontier) -> Option<Expected> {
        let name = (database, key.to_vec());
        let touching = self.keys.get(&name)?;
        let mut counts = Vec::new();
        touching.count(applied, &mut counts);
        let own = counts.len();
        self.flushes.count(applied, &mut counts);
        let mut found = self.found.borrow_mut();
        let found = found.entry(name).or_default();
        // Origins are only ever added, so as many counts are about the same origins.
        if let Some((_, expected)) = found.iter().find(|(before, _)| *before == counts) {
            return expected.clone();
        }
        let within: Vec<usize> = touching.counted(&counts[..own]).chain(self.flushes.counted(&counts[own..])).collect();
        let expected = self.make(database, key, &within);
        found.truncate(REMEMBERED - 1);
        found.push_front((counts, expected.clone()));
        expected
    }

    /// What these effects make of a key.
    fn make(&self, database: u32, key: &[u8], within: &[usize]) -> Option<Expected> {
        let within = within.iter().map(|&at| &self.made[at]);
        let mut events = Vec::new();
        for Past { effect, reach, known, seen } in within {
            for (place, operation) in effect.operations().enumerate() {
                if let Some(action) = action_on(operation, database, key) {
                    let known = known.as_ref().unwrap_or(reach);
                    let all = seen.as_ref().unwrap_or(reach);
                    let event = Event { dot: effect.dot, place, stamp: effect.stamp(), seen: reach, known, all };
                    events.push((event, action));
                }
            }
        }
        // An effect that both flushes and touches the key was found twice.
        events.sort_by_key(|(event, _)| (event.stamp, event.place));
        events.dedup_by_key(|(event, _)| (event.stamp, event.place));
        describe(&events, database, key)
    }
}

struct Event<'a> {
    dot: Dot,
    /// The place among the operations of its effect.
    place: usize,
    stamp: Stamp,
    seen: &'a Frontier,
    known: &'a Frontier,
    /// All that its origin had seen.
    all: &'a Frontier,
}

impl Event<'_> {
    fn has_seen(&self, other: &Event<'_>) -> bool {
        self.seen.includes(other.dot) || (self.dot == other.dot && other.place < self.place)
    }

    /// As [`Event::has_seen`], for changes of a life: one that was made again after a rebase is made on top of all that its
    /// node knew.
    fn lives_after(&self, other: &Event<'_>) -> bool {
        self.known.includes(other.dot) || self.has_seen(other)
    }

    /// Had whoever made this applied it? The effect's own operations come one after the other.
    fn had_seen(&self, dot: Dot) -> bool {
        dot == self.dot || self.all.includes(dot)
    }
}

/// A write that is still there, or one in question.
type Write<'a> = (Event<'a>, Action<'a>);

/// What an effect does but for lists and streams, where each operation counts those before it.
fn without_counting(effect: &Effect) -> Effect {
    let counts = |operation: &Operation<'_>| match operation {
        Operation::Key { action, .. } => matches!(action.family(), Family::List | Family::Stream),
        Operation::Flush { .. } => false,
    };
    let mut writer = OperationsWriter::default();
    effect.operations().filter(|operation| !counts(operation)).for_each(|operation| writer.push(operation));
    effect.with_operations(writer.bytes())
}

/// The lines that `Keyspace::dump` must print on every node that has all of this history.
pub fn dump(history: &[Arc<Made>]) -> Vec<String> {
    let mut all = History::default();
    let mut frontier = Frontier::EMPTY;
    for made in history {
        frontier.raise(made.effect.dot.node, made.effect.dot.seq);
        all.add(made.effect.clone(), made.seen.clone());
    }
    all.dump(&frontier)
}

/// Does `later` end `write`, if it has seen it?
fn ends(later: &Action<'_>, write: &Action<'_>) -> bool {
    match (later, write) {
        (Action::Remove, _) => true,
        (Action::Deadline { .. }, Action::Deadline { .. }) => true,
        (Action::Deadline { .. }, _) => false,
        (Action::StringSet { .. }, _) => true,
        (_, Action::Deadline { .. }) => false,
        _ if later.family() != write.family() => true,
        _ => match later.family() {
            Family::Key => unreachable!("decided above"),
            Family::String => string::ends(later),
            Family::Hash => hash::ends(later, write),
            Family::Set => set::ends(later, write),
            Family::SortedSet => sorted_set::ends(later, write),
            Family::List => false,
            // What ends what within a stream is not said write by write.
            Family::Stream => false,
        },
    }
}

/// Does it say how long something lives, and nothing else?
fn is_life(action: &Action<'_>) -> bool {
    matches!(action, Action::Deadline { .. } | Action::FieldDeadline { .. })
}

/// Does it only end other writes, and leave nothing itself?
fn is_removal(action: &Action<'_>) -> bool {
    match action.family() {
        Family::Key => matches!(action, Action::Remove),
        Family::String => false,
        Family::Hash => hash::is_removal(action),
        Family::Set => set::is_removal(action),
        Family::SortedSet => sorted_set::is_removal(action),
        // Whether a write of a list is still there is found out from its elements.
        Family::List => false,
        Family::Stream => stream::is_removal(action),
    }
}

/// The name of a type, and a value as `Keyspace::dump` prints it: from the surviving writes, in the order of their stamps.
fn value(family: Family, writes: &[&Write<'_>], list: &List<'_>, all: &[Write<'_>]) -> (&'static str, String) {
    match family {
        Family::Key => unreachable!("no value is of any type"),
        Family::String => ("string", string::value(writes)),
        Family::Hash => ("hash", hash::value(&hash::fields(writes))),
        Family::Set => ("set", set::value(writes)),
        Family::SortedSet => ("zset", sorted_set::value(writes)),
        Family::List => ("list", list.value()),
        Family::Stream => ("stream", stream::value(all)),
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What an operation does to one key.
fn action_on<'a>(operation: Operation<'a>, database: u32, key: &[u8]) -> Option<Action<'a>> {
    match operation {
        Operation::Flush { .. } if is_system_key(key) => None,
        Operation::Flush { database: None } => Some(Action::Remove),
        Operation::Flush { database: Some(number) } => (number == database).then_some(Action::Remove),
        Operation::Key { database: number, key: name, action } => (number == database && name == key).then_some(action),
    }
}

fn describe(mine: &[Write<'_>], database: u32, key: &[u8]) -> Option<Expected> {
    // Who has seen a write has a later stamp: one pass in the order of the stamps finds all that ends it.
    let mut survivors: Vec<&Write<'_>> = Vec::new();
    for event @ (later, by) in mine {
        let sees = |earlier: &Event<'_>, action: &Action<'_>| match is_life(by) && is_life(action) {
            true => later.lives_after(earlier),
            false => later.has_seen(earlier),
        };
        survivors.retain(|(earlier, action)| !(ends(by, action) && sees(earlier, action)));
        if !is_removal(by) {
            survivors.push(event);
        }
    }
    let list = List::of(mine);
    let in_list = list.survivors();
    survivors.retain(|(event, action)| action.family() != Family::List || in_list.contains(&event.dot));
    let makes_value = |(_, action): &&&Write<'_>| action.family() != Family::Key && hash::makes_value(action);
    let latest = survivors.iter().filter(makes_value).max_by_key(|(event, _)| (event.stamp, event.place))?;
    let shown = latest.1.family();
    let writes: Vec<&Write<'_>> = survivors.iter().filter(|(_, action)| action.family() == shown).copied().collect();
    let (type_name, value) = value(shown, &writes, &list, mine);
    let winner = writes.iter().rev().find_map(|(event, action)| match action {
        Action::StringSet { deadline, .. } => Some((event, deadline)),
        _ => None,
    });
    let lives = survivors.iter().filter_map(|(event, action)| match action {
        Action::Deadline { at } if winner.is_none_or(|(set, _)| event.lives_after(set)) => Some(at.unwrap_or(u64::MAX)),
        _ => None,
    });
    let deadline = match lives.max() {
        Some(u64::MAX) => None,
        Some(deadline) => Some(deadline),
        None => winner.and_then(|(_, deadline)| *deadline),
    };
    let fields = if shown == Family::Hash { hash::fields(&writes) } else { Vec::new() };
    let head = format!("{database} {} {type_name}", text(key));
    Some(Expected { text: format!("{head} [{value}]"), deadline, fields, head })
}
