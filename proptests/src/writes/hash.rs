//! Writes of hashes.

use proptest::prelude::*;
use swytch::keyspace::{Key, Life, Transaction};

use super::{Group, Write, deadline, element, float, ignore, value};

/// A write of a field of a hash.
#[derive(Clone, Debug)]
pub enum HashWrite {
    Set(u8, Vec<u8>),
    /// With a life: HSETEX.
    SetUntil(u8, Vec<u8>, u64),
    /// With the life that the field has: HSETEX with KEEPTTL.
    SetAndKeep(u8, Vec<u8>),
    Add(u8, i64),
    AddFloat(u8, &'static str),
    Remove(u8),
    Deadline(u8, Option<u64>),
}

impl HashWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        match self {
            HashWrite::Set(field, value) => ignore(transaction.hash_set(key, &[*field], value)),
            HashWrite::SetUntil(field, value, deadline) => {
                ignore(transaction.hash_set_with_life(key, &[*field], value, Life::Until(*deadline)));
            }
            HashWrite::SetAndKeep(field, value) => {
                ignore(transaction.hash_set_with_life(key, &[*field], value, Life::Keep));
            }
            HashWrite::Deadline(field, at) => ignore(transaction.hash_set_deadline(key, &[*field], *at)),
            HashWrite::Add(field, by) => ignore(transaction.hash_add(key, &[*field], *by)),
            HashWrite::AddFloat(field, by) => ignore(transaction.hash_add_float(key, &[*field], by.as_bytes())),
            HashWrite::Remove(field) => ignore(transaction.hash_remove(key, &[*field])),
        }
    }
}

pub(super) fn any_write() -> impl Strategy<Value = HashWrite> + Clone {
    prop_oneof![
        3 => (element(), value()).prop_map(|(field, value)| HashWrite::Set(field, value)),
        3 => (element(), -5i64..9).prop_map(|(field, by)| HashWrite::Add(field, by)),
        1 => (element(), float()).prop_map(|(field, by)| HashWrite::AddFloat(field, by)),
        3 => element().prop_map(HashWrite::Remove),
        3 => (element(), deadline()).prop_map(|(field, at)| HashWrite::Deadline(field, at)),
        1 => (element(), value(), end()).prop_map(|(field, value, at)| HashWrite::SetUntil(field, value, at)),
        1 => (element(), value()).prop_map(|(field, value)| HashWrite::SetAndKeep(field, value)),
        // Ends at once: it is there and hidden, until something removes it.
        1 => (element(), 1u64..3).prop_map(|(field, at)| HashWrite::Deadline(field, Some(at))),
    ]
}

/// The end of a field's life; the first is over before it begins.
fn end() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(1), 50_000u64..50_004]
}

/// Rows about the values of fields, and rows about their lives.
pub(super) fn groups() -> [Group; 2] {
    [values(), lives()]
}

fn lives() -> Group {
    let row = |text, write| (text, Write::Hash(0, write));
    let text = |text: &str| text.as_bytes().to_vec();
    Group {
        title: "Time to live of a field",
        start: vec![row("HSETEX k PXAT 40000 FIELDS 1 f 5", HashWrite::SetUntil(b'f', text("5"), 40_000))],
        writes: vec![
            row("HPEXPIREAT k 50000 FIELDS 1 f", HashWrite::Deadline(b'f', Some(50_000))),
            row("HPEXPIREAT k 70000 FIELDS 1 f", HashWrite::Deadline(b'f', Some(70_000))),
            row("HPERSIST k FIELDS 1 f", HashWrite::Deadline(b'f', None)),
            row("HSET k f 7", HashWrite::Set(b'f', text("7"))),
            row("HSETEX k PXAT 60000 FIELDS 1 f 7", HashWrite::SetUntil(b'f', text("7"), 60_000)),
            row("HINCRBY k f 2", HashWrite::Add(b'f', 2)),
            row("HSET k g 8", HashWrite::Set(b'g', text("8"))),
            row("HDEL k f", HashWrite::Remove(b'f')),
        ],
        creations: vec![],
    }
}

fn values() -> Group {
    let row = |text, write| (text, Write::Hash(0, write));
    let text = |text: &str| text.as_bytes().to_vec();
    Group {
        title: "A hash",
        start: vec![row("HSET k f 5", HashWrite::Set(b'f', text("5")))],
        writes: vec![
            row("HSET k f 7", HashWrite::Set(b'f', text("7"))),
            row("HSET k g 8", HashWrite::Set(b'g', text("8"))),
            row("HINCRBY k f 2", HashWrite::Add(b'f', 2)),
            row("HINCRBYFLOAT k f 0.5", HashWrite::AddFloat(b'f', "0.5")),
            row("HDEL k f", HashWrite::Remove(b'f')),
        ],
        creations: vec![row("HSET k f 7", HashWrite::Set(b'f', text("7")))],
    }
}
