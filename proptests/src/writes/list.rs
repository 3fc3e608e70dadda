//! Writes of lists.

use proptest::prelude::*;
use swytch::effects::{Elements, End, Ranges, RangesWriter};
use swytch::keyspace::{Key, ListValue, Transaction};

use super::{Group, Write, ignore};

/// A write of elements of a list. Positions beyond it count round and round.
#[derive(Clone, Debug)]
pub enum ListWrite {
    Push(End, Vec<u8>),
    Pop(End, u8),
    Insert(u8, u8),
    Set(End, u8, u8),
    /// All elements of these bytes: more than LREM can do at once.
    Remove(End, Vec<u8>),
    Trim(u8, u8),
}

impl ListWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        if let ListWrite::Push(end, bytes) = self {
            let parts: Vec<_> = (0..bytes.len() as u32).map(|at| at..at + 1).collect();
            return ignore(transaction.list_push(key, *end, Elements::parts(bytes, &parts)));
        }
        let Ok(Some(list)) = transaction.list(key) else { return };
        let len = list.len();
        match self {
            ListWrite::Push(..) => unreachable!("done above"),
            ListWrite::Pop(end, count) => {
                ignore(transaction.list_remove(key, *end, Ranges::first(u64::from(*count).clamp(1, len as u64))));
            }
            ListWrite::Insert(position, byte) => {
                ignore(transaction.list_insert(key, usize::from(*position) % (len + 1), &[*byte]));
            }
            ListWrite::Set(from, position, byte) => {
                ignore(transaction.list_set(key, *from, usize::from(*position) % len, &[*byte]));
            }
            ListWrite::Remove(from, bytes) => {
                let mut ranges = RangesWriter::default();
                let found = positions(list, *from, bytes);
                found.iter().for_each(|position| ranges.push(*position as u64));
                if !found.is_empty() {
                    ignore(transaction.list_remove(key, *from, ranges.ranges()));
                }
            }
            ListWrite::Trim(left, right) => {
                let left = usize::from(*left) % (len + 1);
                let right = usize::from(*right) % (len - left + 1);
                for (end, count) in [(End::Left, left), (End::Right, right)] {
                    if count > 0 {
                        ignore(transaction.list_remove(key, end, Ranges::first(count as u64)));
                    }
                }
            }
        }
    }
}

fn positions(list: &ListValue, from: End, bytes: &[u8]) -> Vec<usize> {
    let mut elements: Vec<_> = list.iter().collect();
    if from == End::Right {
        elements.reverse();
    }
    let is_one = |(at, element): (usize, _)| -> Option<usize> {
        let element: swytch::keyspace::Element<'_> = element;
        bytes.contains(element.first()?).then_some(at)
    };
    elements.into_iter().enumerate().filter_map(is_one).collect()
}

pub(super) fn any_write() -> impl Strategy<Value = ListWrite> + Clone {
    let end = || prop_oneof![Just(End::Left), Just(End::Right)];
    let byte = || b'a'..=b'z';
    prop_oneof![
        6 => (end(), proptest::collection::vec(byte(), 1..4)).prop_map(|(end, bytes)| ListWrite::Push(end, bytes)),
        3 => (end(), 1..4u8).prop_map(|(end, count)| ListWrite::Pop(end, count)),
        3 => (0..9u8, byte()).prop_map(|(position, byte)| ListWrite::Insert(position, byte)),
        2 => (end(), 0..9u8, byte()).prop_map(|(end, position, byte)| ListWrite::Set(end, position, byte)),
        2 => (end(), proptest::collection::vec(byte(), 8)).prop_map(|(end, bytes)| ListWrite::Remove(end, bytes)),
        1 => (0..4u8, 0..4u8).prop_map(|(left, right)| ListWrite::Trim(left, right)),
    ]
}

pub(super) fn group() -> Group {
    let row = |text, write| (text, Write::List(0, write));
    let bytes = |names: &str| names.as_bytes().to_vec();
    let (left, right) = (End::Left, End::Right);
    Group {
        title: "A list",
        start: vec![row("RPUSH k a b c", ListWrite::Push(right, bytes("abc")))],
        writes: vec![
            row("LPUSH k v w", ListWrite::Push(left, bytes("vw"))),
            row("RPUSH k x y", ListWrite::Push(right, bytes("xy"))),
            row("LINSERT k BEFORE b i", ListWrite::Insert(1, b'i')),
            row("LINSERT k AFTER a j", ListWrite::Insert(1, b'j')),
            row("LSET k 0 s", ListWrite::Set(left, 0, b's')),
            row("LSET k -3 t", ListWrite::Set(right, 2, b't')),
            row("LPOP k", ListWrite::Pop(left, 1)),
            row("RPOP k 2", ListWrite::Pop(right, 2)),
            row("LREM k 0 b", ListWrite::Remove(left, bytes("b"))),
            row("LTRIM k 1 1", ListWrite::Trim(1, 1)),
        ],
        creations: vec![row("RPUSH k x", ListWrite::Push(right, bytes("x")))],
    }
}
