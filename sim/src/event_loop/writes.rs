//! What clients write to the keys of each type.

use swytch::effects::{Elements, End, Ranges, RangesWriter, Score};
use swytch::keyspace::{Key, Life, ListValue, Transaction};

/// What the names of keys begin with that are written in every way their type allows; `x`: as any of these types.
pub const TYPES: [char; 5] = ['s', 'h', 'm', 'z', 'l'];

/// Writes to a key in one of the ways that fit its name. What a client would get an error for changes nothing.
pub fn write(transaction: &mut Transaction<'_>, key: Key<'_>, value: &str, wall: u64, random: &mut fastrand::Rng) {
    let element = [b'a' + random.u8(..4)];
    let deadline = wall + random.u64(100..20_000);
    let family = match key.bytes.first() {
        Some(b'x') | None => random.choice(TYPES).unwrap_or('s'),
        Some(&family) => char::from(family),
    };
    match random.u8(..12) {
        0 => ignore(transaction.remove(key)),
        1 => ignore(transaction.set_deadline(key, random.bool().then_some(deadline))),
        choice => match family {
            's' => write_string(transaction, key, choice, value.as_bytes(), deadline, random),
            'h' => write_hash(transaction, key, choice, &element, value.as_bytes(), deadline, random),
            'm' => write_set(transaction, key, choice, &element),
            'l' => write_list(transaction, key, choice, value.as_bytes(), random),
            _ => write_sorted_set(transaction, key, choice, &element, random),
        },
    }
}

/// `choice` is from 2 to 11, here and below.
fn write_string(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    choice: u8,
    value: &[u8],
    deadline: u64,
    random: &mut fastrand::Rng,
) {
    match choice {
        ..5 => transaction.string_set(key, value, Life::Forever),
        5 => transaction.string_set(key, value, Life::Until(deadline)),
        6 => transaction.string_set(key, value, Life::Keep),
        7..9 => ignore(transaction.string_add(key, random.i64(-5..100))),
        9 => ignore(transaction.string_add_float(key, b"0.5")),
        10 => ignore(transaction.string_set_range(key, random.usize(..6), value)),
        _ => ignore(transaction.string_append(key, value)),
    }
}

fn write_hash(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    choice: u8,
    field: &[u8],
    value: &[u8],
    deadline: u64,
    random: &mut fastrand::Rng,
) {
    match choice {
        ..4 => ignore(transaction.hash_set(key, field, value)),
        4 => ignore(transaction.hash_set_with_life(key, field, value, Life::Until(deadline))),
        5 => ignore(transaction.hash_set_with_life(key, field, value, Life::Keep)),
        6 | 7 => ignore(transaction.hash_add(key, field, random.i64(-5..100))),
        8 => {
            let forever = random.i64(-5..100) < 40;
            ignore(transaction.hash_set_deadline(key, field, (!forever).then_some(deadline + 5_000)));
        }
        9 => ignore(transaction.hash_set_deadline(key, field, Some(deadline))),
        _ => ignore(transaction.hash_remove(key, field)),
    }
}

fn write_set(transaction: &mut Transaction<'_>, key: Key<'_>, choice: u8, member: &[u8]) {
    match choice {
        ..8 => ignore(transaction.set_add(key, member)),
        _ => ignore(transaction.set_remove(key, member)),
    }
}

fn write_sorted_set(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    choice: u8,
    member: &[u8],
    random: &mut fastrand::Rng,
) {
    let score = Score::try_from(f64::from(random.i32(-50..100)) / 10.0).unwrap_or(Score::ZERO);
    match choice {
        ..5 => ignore(transaction.score_set(key, member, score)),
        5..8 => ignore(transaction.score_add(key, member, score)),
        8 => ignore(transaction.score_raise(key, member, score)),
        9 => ignore(transaction.score_lower(key, member, score)),
        _ => ignore(transaction.score_remove(key, member)),
    }
}

fn write_list(transaction: &mut Transaction<'_>, key: Key<'_>, choice: u8, value: &[u8], random: &mut fastrand::Rng) {
    let end = if random.bool() { End::Left } else { End::Right };
    let length = transaction.list(key).ok().flatten().map_or(0, ListValue::len);
    match choice {
        ..6 => {
            // The value in one to three pieces.
            let pieces = value.len().min(random.usize(1..4));
            let length = value.len() / pieces;
            let parts: Vec<_> = (0..pieces).map(|at| (at * length) as u32..((at + 1) * length) as u32).collect();
            ignore(transaction.list_push(key, end, Elements::parts(value, &parts)));
        }
        6 => ignore(transaction.list_insert(key, random.usize(..=length), value)),
        _ if length == 0 => ignore(transaction.list_push(key, end, Elements::one(value))),
        7 => ignore(transaction.list_set(key, end, random.usize(..length), value)),
        8 | 9 => ignore(transaction.list_remove(key, end, Ranges::first(random.u64(1..=3.min(length as u64))))),
        10 => {
            // Some elements here and there.
            let mut ranges = RangesWriter::default();
            let sure = random.usize(..length);
            let chosen = (0..length).filter(|at| *at == sure || random.u8(..4) == 0);
            chosen.for_each(|position| ranges.push(position as u64));
            ignore(transaction.list_remove(key, end, ranges.ranges()));
        }
        _ => ignore(transaction.list_remove(key, end, Ranges::first(length as u64))),
    }
}

/// A reply that no client reads.
fn ignore<T>(_reply: T) {}
