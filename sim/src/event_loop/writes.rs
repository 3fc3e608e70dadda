//! What clients write to the keys of each type.

use swytch::effects::{
    BitAddition, Elements, End, Overflow, Ranges, RangesWriter, Registers, Score, StreamClaim, StreamId,
};
use swytch::keyspace::{
    Group, GroupOf, Key, Life, ListValue, StreamValue, Transaction, Trim, TrimTo, bits, hyperloglog,
};

/// What the names of keys begin with that are written in every way their type allows; `x`: as any of these types.
pub const TYPES: [char; 6] = ['s', 'h', 'm', 'z', 'l', 'r'];

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
            'r' => write_stream(transaction, key, choice, value.as_bytes(), wall, random),
            'b' => write_bits(transaction, key, choice, value.as_bytes(), random),
            'p' => write_elements(transaction, key, choice, value.as_bytes(), random),
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

fn write_bits(transaction: &mut Transaction<'_>, key: Key<'_>, choice: u8, value: &[u8], random: &mut fastrand::Rng) {
    let (offset, width) = (random.u64(..40), random.u8(1..64));
    match choice {
        2 => transaction.string_set(key, value, Life::Forever),
        3 => ignore(transaction.string_append(key, value)),
        4..7 => ignore(transaction.string_set_bits(key, offset, 1, u64::from(random.bool()))),
        7 => ignore(transaction.string_set_bits(key, offset, width, random.u64(..))),
        _ => {
            let overflow = [Overflow::Wrap, Overflow::Saturate, Overflow::Fail][random.usize(..3)];
            let (signed, increment) = (random.bool(), random.i64(-100..200));
            let addition = BitAddition { offset, width, signed, overflow, increment };
            if let Ok(text) = transaction.string(key)
                && bits::sum(text.unwrap_or_default(), &addition).is_some()
            {
                ignore(transaction.string_add_bits(key, addition));
            }
        }
    }
}

fn write_elements(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    choice: u8,
    value: &[u8],
    random: &mut fastrand::Rng,
) {
    match choice {
        2 => transaction.string_set(key, value, Life::Forever),
        3 => ignore(transaction.string_append(key, value)),
        _ => {
            let packed: Vec<u8> = (0..random.usize(..4))
                .flat_map(|_| hyperloglog::register_of(&[b'a' + random.u8(..16)]).packed())
                .collect();
            let (dense, recount) = (random.u8(..12) == 0, random.bool());
            ignore(transaction.raise_registers(key, Registers { packed: &packed[..], dense, recount }));
        }
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

fn write_stream(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    choice: u8,
    value: &[u8],
    wall: u64,
    random: &mut fastrand::Rng,
) {
    let of = GroupOf { key, group: b"g" };
    let consumer = [b'a' + random.u8(..3)];
    match choice {
        ..5 => return ignore(add_entry(transaction, key, value, wall)),
        5 | 6 => return ignore(read_group(transaction, of, &consumer, random.usize(1..5), random.u8(..5) > 0)),
        _ => {}
    }
    let Ok(Some(stream)) = transaction.stream(key) else { return };
    let ids: Vec<StreamId> = stream.iter().map(|entry| entry.id).collect();
    let group = stream.group(of.group);
    let pending: Vec<_> = group.into_iter().flat_map(|group| group.pending().iter()).collect();
    match choice {
        7 => {
            let chosen: Vec<StreamId> = ids.into_iter().filter(|_| random.u8(..4) == 0).collect();
            transaction.stream_remove(key, &chosen);
        }
        8 => {
            let trim = Trim { to: TrimTo::Length(random.usize(2..8)), approximate: random.bool(), limit: None };
            if let Some((below, _)) = stream.trim_point(&trim) {
                transaction.stream_trim(key, below);
            }
        }
        9 => {
            let chosen: Vec<StreamId> =
                pending.into_iter().map(|(id, _)| *id).filter(|_| random.u8(..2) == 0).collect();
            transaction.group_acknowledge(of, &chosen);
        }
        10 => {
            let chosen = pending.into_iter().filter(|_| random.u8(..2) == 0);
            let claim = |(id, pending): (&StreamId, &swytch::keyspace::Pending)| StreamClaim {
                id: *id,
                delivered_at: wall,
                deliveries: pending.deliveries.saturating_add(1),
            };
            let claims: Vec<StreamClaim> = chosen.map(claim).collect();
            transaction.group_claim(of, &consumer, &claims, None);
        }
        _ => match (group.is_some(), random.u8(..6)) {
            (false, choice) => {
                let start = if choice < 3 { StreamId::MIN } else { stream.last_id };
                transaction.group_create(of, start, None);
            }
            (true, 0) => transaction.group_destroy(of),
            (true, 1) => {
                let start = ids.get(random.usize(..9)).copied().unwrap_or_default();
                transaction.group_set_position(of, start, None);
            }
            (true, 2) => transaction.consumer_remove(of, &consumer),
            (true, 3) => {
                let last = stream.last_id;
                transaction.stream_set_id(key, last, random.bool().then_some(random.u64(..100)), None);
            }
            (true, _) => ignore(transaction.consumer_seen(of, &consumer)),
        },
    }
}

/// XADD with an id of the node's choice. Returns it.
pub fn add_entry(transaction: &mut Transaction<'_>, key: Key<'_>, value: &[u8], wall: u64) -> Option<StreamId> {
    let writer = transaction.stream_writer();
    let last = transaction.stream(key).ok()?.map(|stream| stream.last_id).unwrap_or_default();
    let id = StreamId::after(last, wall, writer)?;
    let entry = [b"f", value].concat();
    transaction.stream_add(key, id, Elements::parts(&entry, &[0..1, 1..entry.len() as u32]));
    Some(id)
}

/// XREADGROUP of what is new. Returns what the consumer gets.
pub fn read_group(
    transaction: &mut Transaction<'_>,
    of: GroupOf<'_>,
    consumer: &[u8],
    count: usize,
    pending: bool,
) -> Vec<StreamId> {
    let stream = transaction.stream(of.key).ok().flatten();
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(of.group)?))) else {
        return Vec::new();
    };
    let ids: Vec<StreamId> = still_to_come(stream, group).take(count).collect();
    let read = group.entries_read.map(|read| read.saturating_add(ids.len() as u64));
    if !ids.is_empty() {
        transaction.group_deliver(of, consumer, &ids, pending, read);
    }
    ids
}

/// What a group is still to deliver, in that order.
pub fn still_to_come(stream: &StreamValue, group: &Group) -> impl Iterator<Item = StreamId> {
    let above = group.last_delivered.next().map(|first| stream.range(first, StreamId::MAX));
    group.late().iter().copied().chain(above.into_iter().flatten().map(|entry| entry.id))
}

/// A reply that no client reads.
fn ignore<T>(_reply: T) {}
