//! What clients write in the tests: how to run it, how to generate it, and which of it the merge table shows.
//!
//! Keys, fields and members are few, so that writes meet. Each type has a file of its own.

mod bits;
mod hash;
mod list;
mod set;
mod sorted_set;
mod stream;
mod string;

pub use hash::HashWrite;
pub use list::ListWrite;
pub use set::SetWrite;
pub use sorted_set::SortedSetWrite;
pub use stream::{From, GroupWrite, StreamWrite};
pub use string::StringWrite;

use proptest::prelude::*;
use swytch::keyspace::{Keyspace, Transaction};

/// A write of one client. The first number is the key.
#[derive(Clone, Debug)]
pub enum Write {
    Remove(u8),
    Deadline(u8, Option<u64>),
    String(u8, StringWrite),
    Hash(u8, HashWrite),
    Set(u8, SetWrite),
    SortedSet(u8, SortedSetWrite),
    List(u8, ListWrite),
    Stream(u8, StreamWrite),
    /// Several writes as one effect.
    Together(Vec<Write>),
    Flush(Option<u32>),
    /// Moves a key to another one, in this database or the next: RENAME and MOVE.
    Move(u8, u32, u8),
    /// Copies a key to another one, in this database or the next.
    Copy(u8, u32, u8),
    /// Exchanges the two databases.
    Swap,
}

impl Write {
    /// Runs it as its command would. What a client would get an error for changes nothing.
    pub fn run(&self, keyspace: &Keyspace, transaction: &mut Transaction<'_>) {
        let name = |number: u8| [b'k', b'0' + number];
        match self {
            Write::Remove(key) => ignore(transaction.remove(keyspace.key(&name(*key)))),
            Write::Deadline(key, deadline) => {
                ignore(transaction.set_deadline(keyspace.key(&name(*key)), *deadline));
            }
            Write::String(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::Hash(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::Set(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::SortedSet(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::List(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::Stream(key, write) => write.run(transaction, keyspace.key(&name(*key))),
            Write::Together(writes) => writes.iter().for_each(|write| write.run(keyspace, transaction)),
            Write::Flush(database) => ignore(transaction.flush(*database)),
            Write::Move(key, database, new) if (0, key) != (*database, new) => {
                let (key, new) = (name(*key), name(*new));
                ignore(transaction.move_key((0, keyspace.key(&key)), (*database, keyspace.key(&new))));
            }
            Write::Copy(key, database, new) if (0, key) != (*database, new) => {
                let (key, new) = (name(*key), name(*new));
                ignore(transaction.copy_key((0, keyspace.key(&key)), (*database, keyspace.key(&new))));
            }
            // Onto itself: nothing happens.
            Write::Move(..) | Write::Copy(..) => {}
            Write::Swap => ignore(transaction.swap_databases(0, 1)),
        }
    }
}

/// A reply that no client reads.
fn ignore<T>(_reply: T) {}

/// Any write; now and then several at once.
pub fn any_write() -> impl Strategy<Value = Write> {
    let key = || 0..2u8;
    let simple = prop_oneof![
        // One key has HyperLogLogs alone.
        4 => (0..3u8).prop_map(Write::Remove),
        3 => (key(), deadline()).prop_map(|(key, at)| Write::Deadline(key, at)),
        1 => prop_oneof![Just(None), Just(Some(0)), Just(Some(1))].prop_map(Write::Flush),
        2 => (key(), 0..2u32, key()).prop_map(|(key, database, new)| Write::Move(key, database, new)),
        1 => (key(), 0..2u32, key()).prop_map(|(key, database, new)| Write::Copy(key, database, new)),
        1 => Just(Write::Swap),
        13 => (key(), string::any_write()).prop_map(|(key, write)| Write::String(key, write)),
        4 => (key(), bits::any_write()).prop_map(|(key, write)| Write::String(key, write)),
        4 => (0..3u8, bits::any_elements()).prop_map(|(key, write)| Write::String(key, write)),
        10 => (key(), hash::any_write()).prop_map(|(key, write)| Write::Hash(key, write)),
        6 => (key(), set::any_write()).prop_map(|(key, write)| Write::Set(key, write)),
        9 => (key(), sorted_set::any_write()).prop_map(|(key, write)| Write::SortedSet(key, write)),
        14 => (key(), list::any_write()).prop_map(|(key, write)| Write::List(key, write)),
        24 => (key(), stream::any_write()).prop_map(|(key, write)| Write::Stream(key, write)),
    ];
    prop_oneof![
        25 => simple.clone(),
        // MULTI: mostly short, now and then many on the same few keys.
        4 => proptest::collection::vec(simple.clone(), 2..4).prop_map(Write::Together),
        1 => proptest::collection::vec(simple, 4..9).prop_map(Write::Together),
    ]
}

/// Writes of one hash, and now and then something else that becomes of its key: what fields live by depends on the most.
pub fn hash_write() -> impl Strategy<Value = Write> {
    let simple = prop_oneof![
        30 => hash::any_write().prop_map(|write| Write::Hash(0, write)),
        2 => Just(Write::Remove(0)),
        1 => deadline().prop_map(|at| Write::Deadline(0, at)),
        1 => set::any_write().prop_map(|write| Write::Set(0, write)),
        1 => string::any_write().prop_map(|write| Write::String(0, write)),
        1 => Just(Write::Copy(0, 0, 1)),
        1 => Just(Write::Move(1, 0, 0)),
    ];
    prop_oneof![
        5 => simple.clone(),
        1 => proptest::collection::vec(simple, 2..4).prop_map(Write::Together),
    ]
}

/// Mostly writes of streams, of one key.
pub fn any_stream_write() -> impl Strategy<Value = Write> + Clone {
    let simple = prop_oneof![
        1 => Just(Write::Remove(0)),
        1 => deadline().prop_map(|at| Write::Deadline(0, at)),
        1 => Just(Write::Copy(0, 0, 1)),
        1 => Just(Write::Move(1, 0, 0)),
        40 => stream::any_write().prop_map(|write| Write::Stream(0, write)),
    ];
    prop_oneof![
        8 => simple.clone(),
        1 => proptest::collection::vec(simple, 2..4).prop_map(Write::Together),
    ]
}

/// Any value of a string or a field; many are numbers.
fn value() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        Just(b"7".to_vec()),
        Just(b"text".to_vec()),
        Just(b"0.5".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

/// The increment of a number that need not be whole.
fn float() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![Just("0.1"), Just("-3"), Just("1e3"), Just("0.25")]
}

/// A field or a member.
fn element() -> impl Strategy<Value = u8> + Clone {
    b'a'..b'd'
}

/// The end of a life.
fn deadline() -> impl Strategy<Value = Option<u64>> + Clone {
    prop_oneof![Just(None), (50_000u64..50_004).prop_map(Some)]
}

/// A write with the command that a client would send for it.
pub type Row = (&'static str, Write);

/// The part of the merge table that is about one type, all on key 0.
pub struct Group {
    /// What it is about.
    pub title: &'static str,
    /// What both nodes have seen.
    pub start: Vec<Row>,
    /// What happens concurrently, pair by pair.
    pub writes: Vec<Row>,
    /// Those that create a key, to be paired with those of other types.
    pub creations: Vec<Row>,
}

/// The parts of the merge table.
pub fn groups() -> Vec<Group> {
    let [bits, sketches] = bits::groups();
    let [fields, lives] = hash::groups();
    let [stream, consumers] = stream::groups();
    let mut all =
        vec![string::group(), bits, sketches, fields, lives, set::group(), sorted_set::group(), list::group()];
    all.extend([stream, consumers]);
    all
}
