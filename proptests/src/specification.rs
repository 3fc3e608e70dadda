//! What the data must be after a history, by definition.
//!
//! No state is kept and nothing is merged: for each key, the writes that *survive* are those that no removal and no
//! overwriting write has seen; the value is made from the survivors in the order of their stamps. This is slow, and
//! plainly right. The simulation (`sim`) holds whole clusters against it, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use swytch::effects::{Action, BitAddition, Dot, Effect, Frontier, Operation, Overflow, Stamp};
use swytch::keyspace::{hyperloglog, integer, is_system_key, long_double};

use crate::replicas::Made;

/// Effects, and which keys they touch: all that is needed to say what the data must be where some of them are applied.
#[derive(Default)]
pub struct History {
    made: Vec<(Effect, Frontier)>,
    keys: BTreeMap<(u32, Vec<u8>), Vec<usize>>,
    flushes: Vec<usize>,
}

/// What a key must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// As `Keyspace::dump` prints it, but for the deadline.
    pub text: String,
    /// When its life ends.
    pub deadline: Option<u64>,
}

impl History {
    /// Adds an effect; `seen` is all that its origin had seen. An effect that was made again after a rebase acts on less.
    pub fn add(&mut self, effect: Effect, seen: Frontier) {
        let at = self.made.len();
        for operation in effect.operations() {
            let touching = match operation {
                Operation::Flush { .. } => &mut self.flushes,
                Operation::Key { database, key, .. } => self.keys.entry((database, key.to_vec())).or_default(),
            };
            if touching.last() != Some(&at) {
                touching.push(at);
            }
        }
        let reach = effect.acts_on.clone().unwrap_or(seen);
        self.made.push((effect, reach));
    }

    /// The lines that `Keyspace::dump` must print on every node that has applied exactly the effects within `applied`.
    pub fn dump(&self, applied: &Frontier) -> Vec<String> {
        let lines = self.keys.keys().filter_map(|(database, key)| {
            let Expected { text, deadline } = self.expected(*database, key, applied)?;
            Some(text + &deadline.map_or(String::new(), |deadline| format!(" until {deadline}")))
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort_unstable();
        lines
    }

    /// What one key must hold where exactly the effects within `applied` are.
    pub fn expected(&self, database: u32, key: &[u8], applied: &Frontier) -> Option<Expected> {
        let touching = self.keys.get(&(database, key.to_vec()))?.iter().chain(&self.flushes);
        let within = touching.map(|&at| &self.made[at]).filter(|(effect, _)| applied.includes(effect.dot));
        let mut events = Vec::new();
        for (effect, seen) in within {
            for (place, operation) in effect.operations().enumerate() {
                if let Some(action) = action_on(operation, database, key) {
                    events.push((Event { dot: effect.dot, place, stamp: effect.stamp(), seen }, action));
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
}

impl Event<'_> {
    fn has_seen(&self, other: &Event<'_>) -> bool {
        self.seen.includes(other.dot) || (self.dot == other.dot && other.place < self.place)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    String,
    Hash,
    Set,
}

fn kind(action: &Action<'_>) -> Option<Kind> {
    match action {
        Action::Remove | Action::Deadline { .. } => None,
        Action::FieldSet { .. } | Action::FieldAdd { .. } | Action::FieldAddFloat { .. } => Some(Kind::Hash),
        Action::FieldRemove { .. } => Some(Kind::Hash),
        Action::MemberAdd { .. } | Action::MemberRemove { .. } => Some(Kind::Set),
        _ => Some(Kind::String),
    }
}

fn element<'a>(action: &Action<'a>) -> Option<&'a [u8]> {
    match *action {
        Action::FieldSet { field, .. }
        | Action::FieldAdd { field, .. }
        | Action::FieldAddFloat { field, .. }
        | Action::FieldRemove { field } => Some(field),
        Action::MemberAdd { member } | Action::MemberRemove { member } => Some(member),
        _ => None,
    }
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
        _ if kind(later) != kind(write) => true,
        (Action::FieldSet { .. } | Action::FieldRemove { .. }, _) => element(later) == element(write),
        (Action::MemberAdd { .. } | Action::MemberRemove { .. }, _) => element(later) == element(write),
        _ => false,
    }
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

fn describe(mine: &[(Event<'_>, Action<'_>)], database: u32, key: &[u8]) -> Option<Expected> {
    // Who has seen a write has a later stamp: one pass in the order of the stamps finds all that ends it.
    let mut survivors: Vec<&(Event<'_>, Action<'_>)> = Vec::new();
    for event @ (later, by) in mine {
        survivors.retain(|(earlier, action)| !(ends(by, action) && later.has_seen(earlier)));
        if !matches!(by, Action::Remove | Action::FieldRemove { .. } | Action::MemberRemove { .. }) {
            survivors.push(event);
        }
    }
    let shown = survivors.iter().filter_map(|(event, action)| Some((event.stamp, event.place, kind(action)?))).max()?.2;
    let writes: Vec<_> = survivors.iter().filter(|(_, action)| kind(action) == Some(shown)).collect();
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let elements: BTreeMap<_, _> = writes
        .iter()
        .filter_map(|(_, action)| {
            let name = element(action)?;
            let same = writes.iter().map(|(_, action)| action).filter(|action| element(action) == Some(name));
            Some((name, fold(same)))
        })
        .collect();
    let (type_name, value) = match shown {
        Kind::String => ("string", text(&fold(writes.iter().map(|(_, action)| action)))),
        Kind::Hash => {
            let mut fields: Vec<_> =
                elements.iter().map(|(field, value)| format!("{}={}", text(field), text(value))).collect();
            fields.sort_unstable();
            ("hash", fields.join(" "))
        }
        Kind::Set => {
            let mut members: Vec<_> = elements.keys().map(|member| text(member)).collect();
            members.sort_unstable();
            ("set", members.join(" "))
        }
    };
    let winner = writes.iter().rev().find_map(|(event, action)| match action {
        Action::StringSet { deadline, .. } => Some((event, deadline)),
        _ => None,
    });
    let lives = survivors.iter().filter_map(|(event, action)| match action {
        Action::Deadline { at } if winner.is_none_or(|(set, _)| event.has_seen(set)) => Some(at.unwrap_or(u64::MAX)),
        _ => None,
    });
    let deadline = match lives.max() {
        Some(u64::MAX) => None,
        Some(deadline) => Some(deadline),
        None => winner.and_then(|(_, deadline)| *deadline),
    };
    Some(Expected { text: format!("{database} {} {type_name} [{value}]", text(key)), deadline })
}

/// A register's value: its writes, one after the other.
fn fold<'a>(writes: impl Iterator<Item = &'a Action<'a>>) -> Vec<u8> {
    let mut value: Option<Vec<u8>> = None;
    for write in writes {
        match *write {
            Action::StringSet { value: new, .. } | Action::FieldSet { value: new, .. } => value = Some(new.to_vec()),
            Action::StringAdd { increment } | Action::FieldAdd { increment, .. } => {
                if let Some(current) = value.as_deref().map_or(Some(0), integer::parse) {
                    value = Some(current.saturating_add(increment).to_string().into_bytes());
                } else if let Ok(sum) =
                    long_double::add(value.as_deref().unwrap_or(b"0"), increment.to_string().as_bytes())
                {
                    value = Some(sum);
                }
            }
            Action::StringAddFloat { increment } | Action::FieldAddFloat { increment, .. } => {
                if let Ok(sum) = long_double::add(value.as_deref().unwrap_or(b"0"), increment) {
                    value = Some(sum);
                }
            }
            Action::StringAppend { bytes } => value.get_or_insert_default().extend_from_slice(bytes),
            Action::StringSetRange { offset, bytes } => {
                let text = value.get_or_insert_default();
                let end = offset as usize + bytes.len();
                text.resize(text.len().max(end), 0);
                text[offset as usize..end].copy_from_slice(bytes);
            }
            Action::StringSetBits { offset, width, value: new } => {
                let digits = (0..u64::from(width)).map(|at| new >> (u64::from(width) - 1 - at) & 1 == 1).collect();
                set_bits(value.get_or_insert_default(), offset, digits);
            }
            Action::StringAddBits(addition) => add_bits(value.get_or_insert_default(), &addition),
            Action::StringRaiseRegisters(registers) => {
                // How registers become bytes is a matter of its own, held against redis-server. Here it matters which
                // writes there are, and in what order.
                let text = value.get_or_insert_with(hyperloglog::empty);
                let _ = hyperloglog::raise(text, &registers);
            }
            _ => {}
        }
    }
    value.unwrap_or_default()
}

/// Bit by bit: the first is the highest of the first byte.
fn set_bits(text: &mut Vec<u8>, offset: u64, digits: Vec<bool>) {
    let end = (offset as usize + digits.len()).div_ceil(8);
    text.resize(text.len().max(end), 0);
    for (at, digit) in (offset as usize..).zip(digits) {
        let bit = 0x80 >> (at % 8);
        text[at / 8] = if digit { text[at / 8] | bit } else { text[at / 8] & !bit };
    }
}

fn add_bits(text: &mut Vec<u8>, addition: &BitAddition) {
    let BitAddition { offset, width, signed, overflow, increment } = *addition;
    let digit = |at: u64| text.get(at as usize / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
    let size = 1i128 << width;
    let old = (offset..offset + u64::from(width)).fold(0i128, |sum, at| 2 * sum + i128::from(digit(at)));
    let half = if signed { size / 2 } else { size };
    let old = if old >= half { old - size } else { old };
    let sum = old + i128::from(increment);
    let fitting = match overflow {
        Overflow::Wrap => sum,
        Overflow::Saturate => sum.clamp(half - size, half - 1),
        Overflow::Fail if (half - size..half).contains(&sum) => sum,
        Overflow::Fail => old,
    };
    let fitting = fitting.rem_euclid(size);
    let digits = (0..i128::from(width)).rev().map(|power| fitting >> power & 1 == 1).collect();
    set_bits(text, offset, digits);
}
