//! One byte string in 16 bytes: short texts and integers without an allocation, the rest with one.
//!
//! Must not know what the string is for.

use super::{Element, allocation};
use crate::keyspace::integer;

/// Texts of up to this many bytes lie inline.
const INLINE_TEXT: usize = 7;
/// The first inline byte of an integer; that of a text is its length. Seven bytes are left for the integer.
const INTEGER: u8 = 8;

/// A byte string. Equal ones have equal forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compact {
    /// The length of a text and the text, or [`INTEGER`] and an integer in little endian.
    Inline([u8; 8]),
    Heap(Box<[u8]>),
}

/// A byte string to be compared with many.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    bytes: &'a [u8],
    inline: Option<[u8; 8]>,
}

impl<'a> From<&'a [u8]> for Wanted<'a> {
    fn from(bytes: &'a [u8]) -> Wanted<'a> {
        Wanted { bytes, inline: inline(bytes) }
    }
}

fn inline(bytes: &[u8]) -> Option<[u8; 8]> {
    if bytes.len() <= INLINE_TEXT {
        let mut inline = [0; 8];
        inline[0] = bytes.len() as u8;
        inline[1..=bytes.len()].copy_from_slice(bytes);
        return Some(inline);
    }
    let shifted = integer::parse(bytes)?.checked_mul(256)?;
    Some((shifted | i64::from(INTEGER)).to_le_bytes())
}

impl From<Wanted<'_>> for Compact {
    fn from(wanted: Wanted<'_>) -> Compact {
        match wanted.inline {
            Some(inline) => Compact::Inline(inline),
            None => Compact::Heap(wanted.bytes.into()),
        }
    }
}

impl Compact {
    /// The first byte of what is behind it.
    pub fn first_byte(&self) -> u8 {
        match self {
            Compact::Inline(inline) => inline[0],
            // What is short is inline, so this one is not empty.
            Compact::Heap(bytes) => bytes[0],
        }
    }

    /// Its bytes.
    pub fn element(&self) -> Element<'_> {
        match self {
            Compact::Inline(integer @ [INTEGER, ..]) => Element::from(i64::from_le_bytes(*integer) >> 8),
            Compact::Inline(inline) => Element::from(&inline[1..=usize::from(inline[0])]),
            Compact::Heap(bytes) => Element::from(&**bytes),
        }
    }

    /// Is it this byte string?
    pub fn is(&self, wanted: &Wanted<'_>) -> bool {
        match self {
            Compact::Inline(inline) => wanted.inline == Some(*inline),
            Compact::Heap(bytes) => wanted.inline.is_none() && **bytes == *wanted.bytes,
        }
    }

    /// Bytes of memory beyond the 16.
    pub fn memory(&self) -> usize {
        match self {
            Compact::Inline(_) => 0,
            Compact::Heap(bytes) => allocation(bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::random_element;
    use super::*;

    #[test]
    fn it_takes_sixteen_bytes() {
        assert_eq!(size_of::<Compact>(), 16);
    }

    #[test]
    fn strings_come_back_and_equal_only_themselves() {
        let mut random = fastrand::Rng::with_seed(37);
        let mut strings: Vec<Vec<u8>> = (0..400).map(|_| random_element(&mut random, 20)).collect();
        let limit = 1i64 << 55;
        for number in [limit - 1, limit, -limit, -limit - 1, 12_345_678, 1_234_567] {
            strings.push(number.to_string().into_bytes());
        }
        strings.push(vec![b'x'; 100_000]);
        for string in &strings {
            let compact = Compact::from(Wanted::from(&string[..]));
            assert_eq!(*compact.element(), **string);
            for other in &strings {
                let wanted = Wanted::from(&other[..]);
                assert_eq!(compact.is(&wanted), string == other);
                assert_eq!(compact == Compact::from(wanted), string == other);
            }
        }
    }

    #[test]
    fn short_texts_and_most_integers_need_no_allocation() {
        for (text, memory) in [("", 0), ("1234567", 0), ("abcdefg", 0), ("abcdefgh", 8), ("1234567890123456", 0)] {
            assert_eq!(Compact::from(Wanted::from(text.as_bytes())).memory(), memory, "{text}");
        }
        assert_eq!(Compact::from(Wanted::from(i64::MAX.to_string().as_bytes())).memory(), 32);
    }
}
