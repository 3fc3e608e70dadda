//! A register: a string, or one field of a hash.

use swytch::effects::{Action, BitAddition, Overflow};
use swytch::keyspace::{hyperloglog, integer, long_double};

/// A register's value: its writes, one after the other.
pub fn fold<'a>(writes: impl Iterator<Item = &'a Action<'a>>) -> Vec<u8> {
    let mut value: Option<Vec<u8>> = None;
    for write in writes {
        match *write {
            Action::StringSet { value: new, .. } | Action::FieldSet { value: new, .. } => value = Some(new.to_vec()),
            Action::StringAdd { increment } | Action::FieldAdd { increment, .. } => {
                if let Some(current) = value.as_deref().map_or(Some(0), integer::parse) {
                    value = Some(current.saturating_add(increment).to_string().into_bytes());
                } else if let Ok(sum) =
                    long_double::add(value.as_deref().unwrap_or(b"0"), increment.to_string().as_bytes())
                {
                    value = Some(sum);
                }
            }
            Action::StringAddFloat { increment } | Action::FieldAddFloat { increment, .. } => {
                if let Ok(sum) = long_double::add(value.as_deref().unwrap_or(b"0"), increment) {
                    value = Some(sum);
                }
            }
            Action::StringAppend { bytes } => value.get_or_insert_default().extend_from_slice(bytes),
            Action::StringSetRange { offset, bytes } => {
                let text = value.get_or_insert_default();
                let end = offset as usize + bytes.len();
                text.resize(text.len().max(end), 0);
                text[offset as usize..end].copy_from_slice(bytes);
            }
            Action::StringSetBits { offset, width, value: new } => {
                let digits = (0..u64::from(width)).map(|at| new >> (u64::from(width) - 1 - at) & 1 == 1).collect();
                set_bits(value.get_or_insert_default(), offset, digits);
            }
            Action::StringAddBits(addition) => add_bits(value.get_or_insert_default(), &addition),
            Action::StringRaiseRegisters(registers) => {
                // How registers become bytes is a matter of its own, held against redis-server. Here it matters which
                // writes there are, and in what order.
                let text = value.get_or_insert_with(hyperloglog::empty);
                let _ = hyperloglog::raise(text, &registers);
            }
            _ => {}
        }
    }
    value.unwrap_or_default()
}

/// Bit by bit: the first is the highest of the first byte.
fn set_bits(text: &mut Vec<u8>, offset: u64, digits: Vec<bool>) {
    let end = (offset as usize + digits.len()).div_ceil(8);
    text.resize(text.len().max(end), 0);
    for (at, digit) in (offset as usize..).zip(digits) {
        let bit = 0x80 >> (at % 8);
        text[at / 8] = if digit { text[at / 8] | bit } else { text[at / 8] & !bit };
    }
}

fn add_bits(text: &mut Vec<u8>, addition: &BitAddition) {
    let BitAddition { offset, width, signed, overflow, increment } = *addition;
    let digit = |at: u64| text.get(at as usize / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
    let size = 1i128 << width;
    let old = (offset..offset + u64::from(width)).fold(0i128, |sum, at| 2 * sum + i128::from(digit(at)));
    let half = if signed { size / 2 } else { size };
    let old = if old >= half { old - size } else { old };
    let sum = old + i128::from(increment);
    let fitting = match overflow {
        Overflow::Wrap => sum,
        Overflow::Saturate => sum.clamp(half - size, half - 1),
        Overflow::Fail if (half - size..half).contains(&sum) => sum,
        Overflow::Fail => old,
    };
    let fitting = fitting.rem_euclid(size);
    let digits = (0..i128::from(width)).rev().map(|power| fitting >> power & 1 == 1).collect();
    set_bits(text, offset, digits);
}
