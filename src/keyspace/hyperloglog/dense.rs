//! All registers side by side, six bits each; the first begins at the lowest bit of the first byte.

use std::ops::Range;

use super::{REGISTERS, Register};

const BITS: usize = 6;
const MAX: u16 = (1 << BITS) - 1;

/// How many bytes the registers take.
pub const BYTES: usize = REGISTERS * BITS / 8;

/// The bytes that a register lies in, and its lowest bit in the first of them.
fn place(index: u16) -> (Range<usize>, usize) {
    let bit = usize::from(index) * BITS;
    (bit / 8..(bit + BITS - 1) / 8 + 1, bit % 8)
}

/// The one or two bytes that a register lies in.
pub fn bytes_of(index: u16) -> Range<usize> {
    place(index).0
}

fn read(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes.get(1).copied().unwrap_or(0)])
}

/// A register's value.
pub fn get(registers: &[u8], index: u16) -> u8 {
    let (bytes, bit) = place(index);
    (read(&registers[bytes]) >> bit & MAX) as u8
}

/// Raises a register. True when it was lower.
pub fn raise(registers: &mut [u8], register: Register) -> bool {
    if get(registers, register.index) >= register.value {
        return false;
    }
    let (bytes, bit) = place(register.index);
    let bytes = &mut registers[bytes];
    let changed = read(bytes) & !(MAX << bit) | u16::from(register.value) << bit;
    for (byte, new) in bytes.iter_mut().zip(changed.to_le_bytes()) {
        *byte = new;
    }
    true
}

/// The values of all registers in order, four at a time: that many are three bytes.
pub fn quadruples(registers: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    registers.as_chunks::<3>().0.iter().map(|bytes| {
        let four = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
        [0, 6, 12, 18].map(|bit| (four >> bit) as u8 & MAX as u8)
    })
}
