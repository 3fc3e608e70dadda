//! Runs of equal registers, as long as there are few of them.
//!
//! ```text
//! 00llllll           l + 1 registers that are zero (up to 64)
//! 01llllll llllllll  l + 1 registers that are zero (up to 16384), high bits first
//! 1vvvvvll           l + 1 registers of value v + 1 (up to 4 of up to 32)
//! ```
//!
//! Where runs are split and joined, the result is the one that redis-server comes to, byte by byte. So it is with bytes that
//! a client has spoiled: as far as a register is found it can be raised, and a run that is cut off at the end counts as if
//! a zero byte followed.

use smallvec::SmallVec;

use super::{HEADER, REGISTERS, Register, Unusable};
use crate::keyspace::Limit;

const MAX_VALUE: u8 = 32;
const MAX_VALUE_RUN: usize = 4;
const MAX_SHORT_ZEROS: usize = 64;

/// All registers zero: one long run.
pub const NOTHING: [u8; 2] = [0x7f, 0xff];

/// Some registers in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The value of each.
    pub value: u8,
    /// How many they are; at least one.
    pub length: usize,
}

impl Run {
    /// The first run of these bytes, and how many of them it takes (one more than there are when it is cut off).
    fn read(bytes: &[u8]) -> Option<(Run, usize)> {
        let first = *bytes.first()?;
        let second = bytes.get(1).copied().unwrap_or(0);
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => (Run { value: 0, length: low + 1 }, 1),
            1 => (Run { value: 0, length: (low << 8 | usize::from(second)) + 1 }, 2),
            _ => (Run { value: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1 }, 1),
        })
    }

    /// Appends the run, unless it is empty.
    fn write(self, out: &mut SmallVec<[u8; 8]>) {
        let Some(length) = self.length.checked_sub(1) else { return };
        match self.value {
            0 if length < MAX_SHORT_ZEROS => out.push(length as u8),
            0 => out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
            value => out.push(0x80 | (value - 1) << 2 | length as u8),
        }
    }
}

fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> + Clone {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (run, size) = Run::read(rest)?;
        rest = rest.get(size..).unwrap_or_default();
        Some(run)
    })
}

/// All runs, if together they are all registers.
pub fn whole(bytes: &[u8]) -> Result<impl Iterator<Item = Run>, Unusable> {
    let runs = runs(bytes);
    let length: usize = runs.clone().map(|run| run.length).sum();
    if length == REGISTERS { Ok(runs) } else { Err(Unusable::Corrupt) }
}

/// A register's value; `None`: there is no such register.
pub fn get(bytes: &[u8], index: u16) -> Option<u8> {
    let mut end = 0;
    runs(bytes)
        .find(|run| {
            end += run.length;
            usize::from(index) < end
        })
        .map(|run| run.value)
}

/// What became of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as high before.
    Unchanged,
    Raised,
    /// That can not be written down as runs, or not in few enough bytes. Nothing has changed.
    TooMuch,
}

/// Raises a register of a whole value, header included.
pub fn raise(text: &mut Vec<u8>, register: Register) -> Result<Outcome, Unusable> {
    let Register { index, value } = register;
    if value > MAX_VALUE {
        return Ok(Outcome::TooMuch);
    }
    let index = usize::from(index);
    let (mut at, mut previous, mut first) = (HEADER, HEADER, 0);
    let (run, size) = loop {
        let (run, size) = text.get(at..).and_then(Run::read).ok_or(Unusable::Corrupt)?;
        if index < first + run.length {
            break (run, size);
        }
        previous = at;
        at += size;
        first += run.length;
    };
    if run.value >= value {
        return Ok(Outcome::Unchanged);
    }
    let before = Run { length: index - first, ..run };
    let after = Run { length: first + run.length - index - 1, ..run };
    let mut pieces = SmallVec::new();
    for piece in [before, Run { value, length: 1 }, after] {
        piece.write(&mut pieces);
    }
    let length = text.len() + pieces.len() - size;
    if length > text.len().max(Limit::SparseBytes.get()) {
        return Ok(Outcome::TooMuch);
    }
    text.splice(at..text.len().min(at + size), pieces);
    text.truncate(length);
    join_around(text, previous);
    Ok(Outcome::Raised)
}

/// Joins runs of the same value among the first few from `at` on: those that a change can have made neighbours.
fn join_around(text: &mut Vec<u8>, mut at: usize) {
    // The run before the change, up to three pieces, the run behind it.
    for _ in 0..5 {
        let Some((run, size)) = text.get(at..).and_then(Run::read) else { return };
        match text.get(at + size..).and_then(Run::read) {
            Some((next, _))
                if run.value > 0 && run.value == next.value && run.length + next.length <= MAX_VALUE_RUN =>
            {
                let mut joined = SmallVec::new();
                Run { length: run.length + next.length, ..run }.write(&mut joined);
                text.splice(at..at + 2, joined);
            }
            _ => at += size,
        }
    }
}

/// The runs in words: `Z:` and `z:` for many and few registers that are zero, `v:` for value and length.
pub fn describe(bytes: &[u8]) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = bytes;
    while let Some((Run { value, length }, size)) = Run::read(rest) {
        words.push(match (value, size) {
            (0, 1) => format!("z:{length}"),
            (0, _) => format!("Z:{length}"),
            _ => format!("v:{value},{length}"),
        });
        rest = rest.get(size..).unwrap_or_default();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::empty;
    use super::*;

    #[test]
    fn runs_are_split_and_joined() {
        let mut text = empty();
        let mut raise = |index, value| {
            raise(&mut text, Register { index, value }).expect("not corrupt");
            describe(&text[HEADER..])
        };
        assert_eq!(raise(100, 2), "Z:100 v:2,1 Z:16283");
        assert_eq!(raise(101, 2), "Z:100 v:2,2 Z:16282");
        assert_eq!(raise(99, 2), "Z:99 v:2,3 Z:16282");
        assert_eq!(raise(103, 2), "Z:99 v:2,3 z:1 v:2,1 Z:16280");
        assert_eq!(raise(102, 2), "Z:99 v:2,4 v:2,1 Z:16280");
        assert_eq!(raise(100, 7), "Z:99 v:2,1 v:7,1 v:2,3 Z:16280");
        assert_eq!(raise(0, 1), "v:1,1 Z:98 v:2,1 v:7,1 v:2,3 Z:16280");
        assert_eq!(raise(16383, 32), "v:1,1 Z:98 v:2,1 v:7,1 v:2,3 Z:16279 v:32,1");
        assert_eq!(raise(16320, 1), "v:1,1 Z:98 v:2,1 v:7,1 v:2,3 Z:16216 v:1,1 z:62 v:32,1");
    }
}
