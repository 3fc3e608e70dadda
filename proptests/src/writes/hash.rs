//! Writes of hashes.

use proptest::prelude::*;
use swytch::keyspace::{Key, Transaction};

use super::{Group, Write, element, float, ignore, value};

/// A write of a field of a hash.
#[derive(Clone, Debug)]
pub enum HashWrite {
    Set(u8, Vec<u8>),
    Add(u8, i64),
    AddFloat(u8, &'static str),
    Remove(u8),
}

impl HashWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        match self {
            HashWrite::Set(field, value) => ignore(transaction.hash_set(key, &[*field], value)),
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
    ]
}

pub(super) fn group() -> Group {
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
