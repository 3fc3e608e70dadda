//! Writes of strings as rows of bits, and as HyperLogLogs.

use proptest::prelude::*;
use swytch::effects::{BitAddition, Overflow};

use super::{Group, StringWrite, Write};

/// Any write of bits.
pub(super) fn any_write() -> impl Strategy<Value = StringWrite> + Clone {
    prop_oneof![
        (0..40u64, 1..=64u8, any::<u64>()).prop_map(|(at, width, value)| StringWrite::SetBits(at, width, value)),
        addition().prop_map(StringWrite::AddBits),
    ]
}

fn addition() -> impl Strategy<Value = BitAddition> + Clone {
    let overflow = prop_oneof![Just(Overflow::Wrap), Just(Overflow::Saturate), Just(Overflow::Fail)];
    (0..20u64, 1..64u8, any::<bool>(), overflow, prop_oneof![-5i64..9, any::<i64>()]).prop_map(
        |(offset, width, signed, overflow, increment)| BitAddition { offset, width, signed, overflow, increment },
    )
}

/// Any write of a HyperLogLog: mostly few elements, sparse.
pub(super) fn any_elements() -> impl Strategy<Value = StringWrite> + Clone {
    let elements = proptest::collection::vec(b'a'..b'h', 0..4);
    (elements, 0..12u8, any::<bool>()).prop_map(|(elements, dense, recount)| StringWrite::AddElements {
        elements,
        dense: dense == 0,
        recount,
    })
}

fn add_to_byte(overflow: Overflow, increment: i64) -> StringWrite {
    StringWrite::AddBits(BitAddition { offset: 0, width: 8, signed: false, overflow, increment })
}

fn elements(elements: &str, recount: bool) -> StringWrite {
    StringWrite::AddElements { elements: elements.into(), dense: false, recount }
}

pub(super) fn groups() -> [Group; 2] {
    let row = |text, write| (text, Write::String(0, write));
    let set = |text: &str| StringWrite::Set(text.into(), None);
    let bits = Group {
        title: "Bits",
        start: vec![row("SET k A", set("A"))],
        writes: vec![
            row("SET k z", set("z")),
            row("SETBIT k 6 1", StringWrite::SetBits(6, 1, 1)),
            row("SETBIT k 6 0", StringWrite::SetBits(6, 1, 0)),
            row("SETBIT k 9 1", StringWrite::SetBits(9, 1, 1)),
            row("BITFIELD k SET u4 #1 5", StringWrite::SetBits(4, 4, 5)),
            row("BITFIELD k INCRBY u8 0 1", add_to_byte(Overflow::Wrap, 1)),
            row("BITFIELD k OVERFLOW SAT INCRBY u8 0 -100", add_to_byte(Overflow::Saturate, -100)),
            row("BITFIELD k OVERFLOW FAIL INCRBY u8 0 190", add_to_byte(Overflow::Fail, 190)),
            row("SETRANGE k 1 99", StringWrite::SetRange(1, "99".into())),
            row("APPEND k 0", StringWrite::Append("0".into())),
        ],
        creations: vec![],
    };
    let sketches = Group {
        title: "A HyperLogLog; `l` has `b` and `c`",
        start: vec![row("PFADD k a", elements("a", false))],
        writes: vec![
            row("PFADD k a", elements("a", false)),
            row("PFADD k b", elements("b", false)),
            row("PFMERGE k l", elements("bc", true)),
            row("SET k 7", set("7")),
        ],
        creations: vec![],
    };
    [bits, sketches]
}
