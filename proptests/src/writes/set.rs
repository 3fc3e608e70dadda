//! Writes of sets.

use proptest::prelude::*;
use swytch::keyspace::{Key, Transaction};

use super::{Group, Write, element, ignore};

/// A write of members of a set.
#[derive(Clone, Debug)]
pub enum SetWrite {
    Add(Vec<u8>),
    Remove(u8),
}

impl SetWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        match self {
            SetWrite::Add(members) => members.iter().for_each(|member| ignore(transaction.set_add(key, &[*member]))),
            SetWrite::Remove(member) => ignore(transaction.set_remove(key, &[*member])),
        }
    }
}

pub(super) fn any_write() -> impl Strategy<Value = SetWrite> + Clone {
    prop_oneof![
        proptest::collection::vec(element(), 1..4).prop_map(SetWrite::Add),
        element().prop_map(SetWrite::Remove),
    ]
}

pub(super) fn group() -> Group {
    let row = |text, write| (text, Write::Set(0, write));
    let members = |names: &str| names.as_bytes().to_vec();
    Group {
        title: "A set",
        start: vec![row("SADD k x z", SetWrite::Add(members("xz")))],
        writes: vec![
            row("SADD k x", SetWrite::Add(members("x"))),
            row("SADD k y", SetWrite::Add(members("y"))),
            row("SREM k x", SetWrite::Remove(b'x')),
        ],
        creations: vec![row("SADD k x", SetWrite::Add(members("x")))],
    }
}
