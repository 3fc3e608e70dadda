//! Writes of streams.

use proptest::prelude::*;
use swytch::effects::{Elements, StreamClaim, StreamId};
use swytch::keyspace::{Group as StreamGroup, GroupOf, Key, StreamValue, Transaction, Trim, TrimTo};

use super::{Group, Write, ignore};

/// A write of a stream. Entries are told by their number, round and round.
#[derive(Clone, Debug)]
pub enum StreamWrite {
    /// With an id so many milliseconds above the highest: others may choose the same. 0: an id of one's own.
    Add(u8, u8),
    Remove(Vec<u8>),
    /// Leaves so many entries.
    Trim(u8),
    /// So much above the highest entry, if need be; and perhaps how many were added, and which was deleted.
    SetId(u8, Option<u8>, Option<u8>),
    /// On a group. What makes no sense for a group that is not there does nothing.
    Group(u8, GroupWrite),
}

/// A write of a group. Consumers are told by a letter.
#[derive(Clone, Debug)]
pub enum GroupWrite {
    Create(From),
    SetPosition(From),
    Destroy,
    /// To a consumer, so many, and are they pending?
    Deliver(u8, u8, bool),
    /// To a consumer, from the pending entries of these numbers; and perhaps with a new position.
    Claim(u8, Vec<u8>, Option<From>),
    Acknowledge(Vec<u8>),
    CreateConsumer(u8),
    RemoveConsumer(u8),
}

/// A place in a stream, for a group.
#[derive(Clone, Debug)]
pub enum From {
    Start,
    /// The entry of this number.
    Entry(u8),
    End,
    /// Where no entry is yet.
    Beyond,
}

impl From {
    fn id(&self, stream: &StreamValue) -> StreamId {
        let last = stream.last_id;
        match self {
            From::Start => StreamId::MIN,
            From::Entry(number) => chosen(stream.iter().map(|entry| entry.id), &[*number]).pop().unwrap_or(last),
            From::End => last,
            From::Beyond => StreamId::new(last.milliseconds + 2, 0),
        }
    }
}

/// The ids of these numbers, ascending.
fn chosen(ids: impl Iterator<Item = StreamId>, numbers: &[u8]) -> Vec<StreamId> {
    let ids: Vec<StreamId> = ids.collect();
    let at = |number: &u8| usize::from(*number).checked_rem(ids.len());
    let mut chosen: Vec<StreamId> = numbers.iter().filter_map(at).map(|at| ids[at]).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

impl StreamWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        let writer = transaction.stream_writer();
        let Ok(found) = transaction.stream(key) else { return };
        let last = found.map(|stream| stream.last_id).unwrap_or_default();
        if let StreamWrite::Add(above, byte) = self {
            let id = match above {
                0 => StreamId::after(last, last.milliseconds, writer).expect("far from the end of time"),
                above => StreamId::new(last.milliseconds + u64::from(*above), 0),
            };
            return transaction.stream_add(key, id, Elements::parts(&[b'f', *byte], &[0..1, 1..2]));
        }
        let Some(stream) = found else { return };
        match self {
            StreamWrite::Add(..) => unreachable!("done above"),
            StreamWrite::Remove(numbers) => {
                let ids = chosen(stream.iter().map(|entry| entry.id), numbers);
                transaction.stream_remove(key, &ids);
            }
            StreamWrite::Trim(left) => {
                let trim = Trim { to: TrimTo::Length(usize::from(*left)), approximate: false, limit: None };
                if let Some((below, _)) = stream.trim_point(&trim) {
                    transaction.stream_trim(key, below);
                }
            }
            StreamWrite::SetId(above, added, deleted) => {
                let top = stream.iter().last().map(|entry| entry.id).unwrap_or_default();
                let last = StreamId::new(top.milliseconds + u64::from(*above), top.sequence);
                let deleted = deleted.map(|above| StreamId::new(u64::from(above), 0));
                transaction.stream_set_id(key, last, added.map(u64::from), deleted);
            }
            StreamWrite::Group(name, write) => write.run(transaction, GroupOf { key, group: &[*name] }),
        }
    }
}

impl GroupWrite {
    fn run(&self, transaction: &mut Transaction<'_>, of: GroupOf<'_>) {
        let Ok(Some(stream)) = transaction.stream(of.key) else { return };
        let group = stream.group(of.group);
        if let GroupWrite::Create(from) = self {
            if group.is_none() {
                let (delivered, added) = (from.id(stream), stream.entries_added);
                transaction.group_create(of, delivered, matches!(from, From::End).then_some(added));
            }
            return;
        }
        let Some(group) = group else { return };
        let pending = |numbers: &[u8]| chosen(group.pending().keys().copied(), numbers);
        match self {
            GroupWrite::Create(_) => unreachable!("done above"),
            GroupWrite::SetPosition(from) => {
                let delivered = from.id(stream);
                transaction.group_set_position(of, delivered, None);
            }
            GroupWrite::Destroy => transaction.group_destroy(of),
            GroupWrite::Deliver(consumer, count, pending) => {
                let ids = next(stream, group, usize::from(*count));
                let read = group.entries_read.map(|read| read + ids.len() as u64);
                if !ids.is_empty() {
                    transaction.group_deliver(of, &[*consumer], &ids, *pending, read);
                }
            }
            GroupWrite::Claim(consumer, numbers, from) => {
                let claims = pending(numbers).into_iter().filter_map(|id| {
                    let pending = group.pending().get(&id)?;
                    let deliveries = pending.deliveries + 1;
                    Some(StreamClaim { id, delivered_at: pending.delivered_at + 1, deliveries })
                });
                let claims: Vec<StreamClaim> = claims.collect();
                let last = from.as_ref().map(|from| from.id(stream)).filter(|last| *last > group.last_delivered);
                transaction.group_claim(of, &[*consumer], &claims, last);
            }
            GroupWrite::Acknowledge(numbers) => {
                let ids = pending(numbers);
                transaction.group_acknowledge(of, &ids);
            }
            GroupWrite::CreateConsumer(consumer) => ignore(transaction.consumer_seen(of, &[*consumer])),
            GroupWrite::RemoveConsumer(consumer) => {
                if group.consumer(&[*consumer]).is_some() {
                    transaction.consumer_remove(of, &[*consumer]);
                }
            }
        }
    }
}

/// What a group is to deliver next: late entries first.
fn next(stream: &StreamValue, group: &StreamGroup, count: usize) -> Vec<StreamId> {
    let late = group.late().iter().copied();
    let above = stream.iter().map(|entry| entry.id).filter(|id| *id > group.last_delivered);
    late.chain(above).take(count).collect()
}

pub(super) fn any_write() -> impl Strategy<Value = StreamWrite> + Clone {
    let numbers = || proptest::collection::vec(0..9u8, 1..4);
    let option = || proptest::option::of(0..9u8);
    let group = (prop_oneof![3 => Just(b'g'), 1 => Just(b'h')], any_group_write());
    prop_oneof![
        12 => (0..4u8, b'a'..=b'z').prop_map(|(above, byte)| StreamWrite::Add(above, byte)),
        3 => numbers().prop_map(StreamWrite::Remove),
        2 => (0..5u8).prop_map(StreamWrite::Trim),
        1 => (0..4u8, option(), option()).prop_map(|(above, added, deleted)| StreamWrite::SetId(above, added, deleted)),
        18 => group.prop_map(|(name, write)| StreamWrite::Group(name, write)),
    ]
}

fn any_group_write() -> impl Strategy<Value = GroupWrite> + Clone {
    let numbers = || proptest::collection::vec(0..9u8, 1..4);
    let consumer = || b'a'..b'c';
    let from = || {
        prop_oneof![
            4 => Just(From::Start),
            2 => (0..9u8).prop_map(From::Entry),
            2 => Just(From::End),
            1 => Just(From::Beyond),
        ]
    };
    prop_oneof![
        4 => from().prop_map(GroupWrite::Create),
        1 => from().prop_map(GroupWrite::SetPosition),
        1 => Just(GroupWrite::Destroy),
        6 => (consumer(), 1..4u8, prop::bool::weighted(0.8))
            .prop_map(|(consumer, count, pending)| GroupWrite::Deliver(consumer, count, pending)),
        3 => (consumer(), numbers(), proptest::option::weighted(0.2, from()))
            .prop_map(|(consumer, numbers, from)| GroupWrite::Claim(consumer, numbers, from)),
        3 => numbers().prop_map(GroupWrite::Acknowledge),
        1 => consumer().prop_map(GroupWrite::CreateConsumer),
        1 => consumer().prop_map(GroupWrite::RemoveConsumer),
    ]
}

pub(super) fn groups() -> [Group; 2] {
    let row = |text, write| (text, Write::Stream(0, write));
    let of_group = |text, write| (text, Write::Stream(0, StreamWrite::Group(b'g', write)));
    let entries = vec![
        row("XADD k 1 f a", StreamWrite::Add(1, b'a')),
        row("XADD k 2 f b", StreamWrite::Add(1, b'b')),
        row("XADD k 3 f c", StreamWrite::Add(1, b'c')),
    ];
    let mut with_group = entries.clone();
    with_group.push(of_group("XGROUP CREATE k g 0", GroupWrite::Create(From::Start)));
    with_group.push(of_group("XREADGROUP GROUP g a COUNT 1", GroupWrite::Deliver(b'a', 1, true)));
    [
        Group {
            title: "A stream; `k` has 1 to 3",
            start: entries,
            writes: vec![
                row("XADD k 4 f x", StreamWrite::Add(1, b'x')),
                row("XADD k 4 f y", StreamWrite::Add(1, b'y')),
                row("XADD k 5 f z", StreamWrite::Add(2, b'z')),
                row("XDEL k 2", StreamWrite::Remove(vec![1])),
                row("XTRIM k MAXLEN 1", StreamWrite::Trim(1)),
                row("XSETID k 9 ENTRIESADDED 7 MAXDELETEDID 2", StreamWrite::SetId(6, Some(7), Some(2))),
                of_group("XGROUP CREATE k g $", GroupWrite::Create(From::End)),
                of_group("XGROUP CREATE k g 0", GroupWrite::Create(From::Start)),
            ],
            creations: vec![row("XADD k 1 f x", StreamWrite::Add(1, b'x'))],
        },
        Group {
            title: "A group of a stream; `a` has 1, 2 and 3 are to come",
            start: with_group,
            writes: vec![
                row("XADD k 4 f x", StreamWrite::Add(1, b'x')),
                (
                    "XADD k 5 f y; XREADGROUP GROUP g b",
                    Write::Together(vec![
                        Write::Stream(0, StreamWrite::Add(2, b'y')),
                        Write::Stream(0, StreamWrite::Group(b'g', GroupWrite::Deliver(b'b', 9, true))),
                    ]),
                ),
                row("XDEL k 2", StreamWrite::Remove(vec![1])),
                of_group("XREADGROUP GROUP g a COUNT 1", GroupWrite::Deliver(b'a', 1, true)),
                of_group("XREADGROUP GROUP g b COUNT 2 NOACK", GroupWrite::Deliver(b'b', 2, false)),
                of_group("XCLAIM k g b 0 1", GroupWrite::Claim(b'b', vec![0], None)),
                of_group("XACK k g 1", GroupWrite::Acknowledge(vec![0])),
                of_group("XGROUP SETID k g 0", GroupWrite::SetPosition(From::Start)),
                of_group("XGROUP DESTROY k g", GroupWrite::Destroy),
                of_group("XGROUP DELCONSUMER k g a", GroupWrite::RemoveConsumer(b'a')),
            ],
            creations: vec![],
        },
    ]
}
