//! Writes of strings.

use proptest::prelude::*;
use swytch::effects::{BitAddition, Registers};
use swytch::keyspace::{Key, Life, Transaction, bits, hyperloglog};

use super::{Group, Write, deadline, float, ignore, value};

/// A write of a string.
#[derive(Clone, Debug)]
pub enum StringWrite {
    Set(Vec<u8>, Option<u64>),
    SetKeepingLife(Vec<u8>),
    Add(i64),
    AddFloat(&'static str),
    Append(Vec<u8>),
    SetRange(u8, Vec<u8>),
    /// SETBIT, and SET of BITFIELD: the place of the bits, their number, their value.
    SetBits(u64, u8, u64),
    /// INCRBY of BITFIELD.
    AddBits(BitAddition),
    /// PFADD of elements; PFMERGE of a HyperLogLog that has them, if the number of elements is to be found anew.
    AddElements {
        elements: Vec<u8>,
        dense: bool,
        recount: bool,
    },
}

impl StringWrite {
    pub(super) fn run(&self, transaction: &mut Transaction<'_>, key: Key<'_>) {
        match self {
            StringWrite::Set(value, deadline) => {
                transaction.string_set(key, value, deadline.map_or(Life::Forever, Life::Until));
            }
            StringWrite::SetKeepingLife(value) => transaction.string_set(key, value, Life::Keep),
            StringWrite::Add(by) => ignore(transaction.string_add(key, *by)),
            StringWrite::AddFloat(by) => ignore(transaction.string_add_float(key, by.as_bytes())),
            StringWrite::Append(bytes) => ignore(transaction.string_append(key, bytes)),
            StringWrite::SetRange(offset, bytes) => {
                ignore(transaction.string_set_range(key, usize::from(*offset), bytes));
            }
            StringWrite::SetBits(offset, width, value) => {
                ignore(transaction.string_set_bits(key, *offset, *width, *value));
            }
            StringWrite::AddBits(addition) => {
                if let Ok(text) = transaction.string(key)
                    && bits::sum(text.unwrap_or_default(), addition).is_some()
                {
                    ignore(transaction.string_add_bits(key, *addition));
                }
            }
            StringWrite::AddElements { elements, dense, recount } => {
                let packed: Vec<u8> =
                    elements.iter().flat_map(|element| hyperloglog::register_of(&[*element]).packed()).collect();
                let registers = Registers { packed: &packed[..], dense: *dense, recount: *recount };
                ignore(transaction.raise_registers(key, registers));
            }
        }
    }
}

pub(super) fn any_write() -> impl Strategy<Value = StringWrite> + Clone {
    let digits = || proptest::collection::vec(b'0'..=b'9', 1..4);
    prop_oneof![
        3 => (value(), deadline()).prop_map(|(value, at)| StringWrite::Set(value, at)),
        1 => value().prop_map(StringWrite::SetKeepingLife),
        3 => (-5i64..100).prop_map(StringWrite::Add),
        1 => float().prop_map(StringWrite::AddFloat),
        3 => digits().prop_map(StringWrite::Append),
        2 => (0..6u8, digits()).prop_map(|(at, bytes)| StringWrite::SetRange(at, bytes)),
    ]
}

pub(super) fn group() -> Group {
    let row = |text, write| (text, Write::String(0, write));
    let text = |text: &str| text.as_bytes().to_vec();
    Group {
        title: "A string",
        start: vec![row("SET k 5", StringWrite::Set(text("5"), None))],
        writes: vec![
            row("SET k 7", StringWrite::Set(text("7"), None)),
            row("SET k 7 PXAT 60000", StringWrite::Set(text("7"), Some(60_000))),
            row("INCRBY k 2", StringWrite::Add(2)),
            row("INCRBYFLOAT k 0.5", StringWrite::AddFloat("0.5")),
            row("APPEND k 0", StringWrite::Append(text("0"))),
            row("SETRANGE k 1 99", StringWrite::SetRange(1, text("99"))),
        ],
        creations: vec![row("SET k 7", StringWrite::Set(text("7"), None)), row("INCRBY k 2", StringWrite::Add(2))],
    }
}
