//! Writes that change a part of a string: what each does to the bytes, and how it can be taken back.
//!
//! What a write overwrites is mostly much less than the string. While it is not stable, a register keeps that instead of
//! the whole string as it was before (see `register`).

use serde::{Deserialize, Serialize};

use super::{bits, hyperloglog};
use crate::effects::{Action, BitAddition, Registers};

/// No string grows beyond this (Redis's proto-max-bulk-len), whatever a peer sends. A field of bits may begin at the last
/// bit.
pub const MAX_STRING_BYTES: usize = 512 << 20;

/// A write of a part of a string; `B` holds bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit<B> {
    /// APPEND.
    Append(B),
    /// SETRANGE.
    SetRange(u64, B),
    /// SETBIT, and SET of BITFIELD.
    SetBits { offset: u64, width: u8, value: u64 },
    /// INCRBY of BITFIELD.
    AddBits(BitAddition),
    /// PFADD and PFMERGE.
    RaiseRegisters(Registers<B>),
}

impl<'a> Edit<&'a [u8]> {
    /// The edit that an action makes; `None` for all other actions.
    pub fn of(action: &Action<'a>) -> Option<Self> {
        Some(match *action {
            Action::StringAppend { bytes } => Edit::Append(bytes),
            Action::StringSetRange { offset, bytes } => Edit::SetRange(offset, bytes),
            Action::StringSetBits { offset, width, value } => Edit::SetBits { offset, width, value },
            Action::StringAddBits(addition) => Edit::AddBits(addition),
            Action::StringRaiseRegisters(registers) => Edit::RaiseRegisters(registers),
            _ => return None,
        })
    }

    /// With bytes of its own.
    pub fn into_owned(self) -> Edit<Box<[u8]>> {
        match self {
            Edit::Append(bytes) => Edit::Append(bytes.into()),
            Edit::SetRange(offset, bytes) => Edit::SetRange(offset, bytes.into()),
            Edit::SetBits { offset, width, value } => Edit::SetBits { offset, width, value },
            Edit::AddBits(addition) => Edit::AddBits(addition),
            Edit::RaiseRegisters(Registers { packed, dense, recount }) => {
                Edit::RaiseRegisters(Registers { packed: packed.into(), dense, recount })
            }
        }
    }
}

impl<B: AsRef<[u8]>> Edit<B> {
    /// Changes a string; what makes no sense for its bytes, or would make it too long, changes nothing. `None` stands
    /// for no string yet: any edit makes one.
    pub fn apply(&self, value: &mut Option<Vec<u8>>) {
        let text = value.get_or_insert_with(|| match self {
            Edit::RaiseRegisters(_) => hyperloglog::empty(),
            _ => Vec::new(),
        });
        self.apply_to(text);
    }

    /// Changes a string that is there.
    pub fn apply_to(&self, text: &mut Vec<u8>) {
        match self {
            Edit::Append(bytes) => {
                let bytes = bytes.as_ref();
                if text.len() + bytes.len() <= MAX_STRING_BYTES {
                    text.extend_from_slice(bytes);
                }
            }
            Edit::RaiseRegisters(registers) => {
                // What is no HyperLogLog stays as it is.
                let _ = hyperloglog::raise(text, &borrowed(registers));
            }
            Edit::SetRange(..) | Edit::SetBits { .. } | Edit::AddBits(_) => {
                let Some((_, end)) = self.range() else { return };
                if text.len() < end {
                    text.resize(end, 0);
                }
                self.apply_in_place(text);
            }
        }
    }

    /// Changes a string without changing its length. False, with nothing changed, where that is not possible.
    pub fn apply_in_place(&self, text: &mut [u8]) -> bool {
        match self {
            Edit::Append(_) => false,
            Edit::RaiseRegisters(registers) => hyperloglog::raise_in_place(text, &borrowed(registers)).is_some(),
            Edit::SetRange(..) | Edit::SetBits { .. } | Edit::AddBits(_) => {
                let Some((start, end)) = self.range() else { return true };
                if text.len() < end {
                    return false;
                }
                match self {
                    Edit::SetRange(_, bytes) => text[start..end].copy_from_slice(bytes.as_ref()),
                    Edit::SetBits { offset, width, value } => bits::set(text, *offset, *width, *value),
                    Edit::AddBits(addition) => {
                        if let Some(sum) = bits::sum(text, addition) {
                            bits::set(text, addition.offset, addition.width, sum);
                        }
                    }
                    Edit::Append(_) | Edit::RaiseRegisters(_) => unreachable!("they have no range"),
                }
                true
            }
        }
    }

    /// The bytes that a range or a field of bits takes, and that the string has at least afterwards; `None`: more than any
    /// string has.
    fn range(&self) -> Option<(usize, usize)> {
        match self {
            Edit::SetRange(offset, bytes) => {
                let start = usize::try_from(*offset).ok()?;
                let end = start.checked_add(bytes.as_ref().len()).filter(|&end| end <= MAX_STRING_BYTES + 8)?;
                Some((start, end))
            }
            Edit::SetBits { offset, width, .. } | Edit::AddBits(BitAddition { offset, width, .. }) => {
                Some((usize::try_from(offset / 8).ok()?, bits::bytes_needed(*offset, *width)?))
            }
            Edit::Append(_) | Edit::RaiseRegisters(_) => None,
        }
    }

    /// How to take the edit back, from the string before it.
    pub fn undo(&self, before: &[u8]) -> Undo {
        let parts = match self {
            Edit::Append(_) => Vec::new(),
            Edit::RaiseRegisters(registers) => hyperloglog::parts_to_overwrite(before, &borrowed(registers))
                .unwrap_or_else(|| vec![(0, before.into())]),
            Edit::SetRange(..) | Edit::SetBits { .. } | Edit::AddBits(_) => match self.range() {
                Some((start, end)) if start < before.len() => {
                    vec![(start, before[start..end.min(before.len())].into())]
                }
                _ => Vec::new(),
            },
        };
        Undo { length: before.len(), parts }
    }
}

fn borrowed<B: AsRef<[u8]>>(registers: &Registers<B>) -> Registers<&[u8]> {
    Registers { packed: registers.packed.as_ref(), dense: registers.dense, recount: registers.recount }
}

/// How to take an edit back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// How long the string was.
    length: usize,
    /// What it overwrote, and where.
    parts: Vec<(usize, Box<[u8]>)>,
}

impl Undo {
    /// Makes of the string after the edit the one before it.
    pub fn apply(&self, text: &mut Vec<u8>) {
        // Only the snapshot of a faulty peer says otherwise.
        if self.length > MAX_STRING_BYTES + 8 {
            return;
        }
        text.resize(self.length, 0);
        for (at, bytes) in &self.parts {
            if let Some(part) = text.get_mut(*at..at.saturating_add(bytes.len())) {
                part.copy_from_slice(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Overflow;
    use crate::keyspace::hyperloglog::register_of;

    fn some_edit(random: &mut fastrand::Rng) -> Edit<Box<[u8]>> {
        let bytes: Box<[u8]> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
        let (offset, width) = (random.u64(..900), random.u8(1..=64));
        match random.u8(..5) {
            0 => Edit::Append(bytes),
            1 => Edit::SetRange(offset, bytes),
            2 => Edit::SetBits { offset, width, value: random.u64(..) },
            3 => {
                let overflow = random.choice([Overflow::Wrap, Overflow::Saturate, Overflow::Fail]).expect("not empty");
                let (signed, increment) = (random.bool(), random.i64(..));
                Edit::AddBits(BitAddition { offset, width, signed, overflow, increment })
            }
            _ => {
                let count = random.choice([1, 5, 900]).expect("not empty");
                let packed: Vec<u8> =
                    (0..random.usize(..=count)).flat_map(|_| register_of(&[random.u8(..); 3]).packed()).collect();
                let (dense, recount) = (random.u8(..8) == 0, random.bool());
                Edit::RaiseRegisters(Registers { packed: packed.into(), dense, recount })
            }
        }
    }

    #[test]
    fn every_edit_can_be_taken_back_and_be_done_in_place() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let mut value = None;
            for _ in 0..50 {
                let edit = some_edit(&mut random);
                let before = value.clone();
                edit.apply(&mut value);
                let after = value.clone().expect("every edit makes a string");
                let Some(before) = before else { continue };
                let mut back = after.clone();
                edit.undo(&before).apply(&mut back);
                assert!(back == before, "{edit:?} is not taken back");
                let mut in_place = before.clone();
                match edit.apply_in_place(&mut in_place) {
                    true => assert!(in_place == after, "{edit:?} is something else in place"),
                    false => assert!(in_place == before, "{edit:?} changed something"),
                }
            }
        }
    }

    #[test]
    fn no_string_grows_without_limit() {
        let edits: [Edit<&[u8]>; 4] = [
            Edit::SetRange(u64::MAX, b"x"),
            Edit::SetRange(1 << 40, b""),
            Edit::SetBits { offset: u64::MAX, width: 1, value: 1 },
            Edit::SetBits { offset: 1 << 32, width: 64, value: 1 },
        ];
        for edit in edits {
            let mut value = Some(b"abc".to_vec());
            edit.apply(&mut value);
            assert_eq!(value.as_deref(), Some(&b"abc"[..]));
            assert!(edit.apply_in_place(&mut [0; 3]));
        }
    }
}
