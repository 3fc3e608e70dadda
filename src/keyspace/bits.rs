//! Strings as rows of bits: pure functions over bytes.
//!
//! Bit 0 is the highest bit of the first byte, and a number of several bits begins with its highest one, as the Redis
//! documentation counts them (commands SETBIT and BITFIELD). Bits beyond the end of a string are zero.
//!
//! Must not know where the bytes lie, or who asked.

use super::edit::MAX_STRING_BYTES;
use crate::effects::{BitAddition, Overflow};

/// The widest field, in bits.
pub const MAX_WIDTH: u8 = 64;

/// The bytes that hold a field of bits, and how far its last bit is from the end of the last of them.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: usize,
    last: usize,
    shift: u32,
}

impl Window {
    /// `None` where no string is long enough, or no field that narrow or wide.
    fn of(offset: u64, width: u8) -> Option<Window> {
        let first = usize::try_from(offset / 8).ok().filter(|&first| first < MAX_STRING_BYTES)?;
        if !(1..=MAX_WIDTH).contains(&width) {
            return None;
        }
        let last_bit = offset + u64::from(width) - 1;
        Some(Window { first, last: (last_bit / 8) as usize, shift: 7 - (last_bit % 8) as u32 })
    }

    /// The bytes as one number: nine of them at most.
    fn read(self, text: &[u8]) -> u128 {
        let bytes = text.get(self.first..).unwrap_or_default().iter().copied().chain(std::iter::repeat(0));
        bytes.take(self.last - self.first + 1).fold(0, |all, byte| all << 8 | u128::from(byte))
    }
}

fn mask(width: u8) -> u64 {
    u64::MAX >> (MAX_WIDTH - width)
}

/// How many bytes a string needs to hold a field; `None` where no string is that long.
pub fn bytes_needed(offset: u64, width: u8) -> Option<usize> {
    Some(Window::of(offset, width)?.last + 1)
}

/// The `width` bits (1 to 64) from `offset` on.
pub fn get(text: &[u8], offset: u64, width: u8) -> u64 {
    Window::of(offset, width).map_or(0, |window| (window.read(text) >> window.shift) as u64 & mask(width))
}

/// Overwrites `width` bits (1 to 64) from `offset` on with the low bits of `value`. The string is long enough.
pub fn set(text: &mut [u8], offset: u64, width: u8, value: u64) {
    let Some(window) = Window::of(offset, width) else { return };
    let field = u128::from(mask(width)) << window.shift;
    let value = u128::from(value & mask(width)) << window.shift;
    let mut all = window.read(text) & !field | value;
    for byte in text[window.first..=window.last].iter_mut().rev() {
        *byte = all as u8;
        all >>= 8;
    }
}

/// Those low bits as a number; the highest of them is its sign if it has one.
pub fn number(bits: u64, width: u8, signed: bool) -> i64 {
    let unused = MAX_WIDTH - width;
    if signed { (bits << unused) as i64 >> unused } else { bits as i64 }
}

/// What a field of `width` bits (1 to 64; without a sign 1 to 63) holds when it is to hold `value`; `None` when that fails.
pub fn fit(value: i128, width: u8, signed: bool, overflow: Overflow) -> Option<u64> {
    let (least, greatest) = match signed {
        true => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
        false => (0, (1i128 << width) - 1),
    };
    let fitting = match overflow {
        _ if (least..=greatest).contains(&value) => value,
        Overflow::Wrap => value,
        Overflow::Saturate => value.clamp(least, greatest),
        Overflow::Fail => return None,
    };
    Some(fitting as u64 & mask(width))
}

/// The bits of a field after an addition; `None` when it fails.
pub fn sum(text: &[u8], addition: &BitAddition) -> Option<u64> {
    let BitAddition { offset, width, signed, overflow, increment } = *addition;
    let old = get(text, offset, width);
    // Without a sign also the highest of 64 bits counts upwards.
    let old = if signed { i128::from(number(old, width, true)) } else { i128::from(old) };
    fit(old + i128::from(increment), width, signed, overflow)
}

/// How many bits are set.
pub fn count(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Some bits of a string, from the first to the last.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The bytes that hold them all.
    bytes: &'a [u8],
    /// The first bit's place in `bytes`, below 8.
    begin: u64,
    /// The place behind the last bit.
    end: u64,
    /// The place of `bytes` in the string, in bits.
    at: u64,
}

impl<'a> Span<'a> {
    /// The bits `first..=last`, which lie within the string.
    pub fn new(text: &'a [u8], first: u64, last: u64) -> Span<'a> {
        let at = first / 8 * 8;
        let bytes = &text[(first / 8) as usize..=(last / 8) as usize];
        Span { bytes, begin: first - at, end: last + 1 - at, at }
    }

    /// What of a byte belongs to the span.
    fn part(&self, byte: usize) -> u8 {
        let from_begin = if byte == 0 { 0xff >> self.begin } else { 0xff };
        let behind_end = (byte as u64 * 8 + 8).saturating_sub(self.end);
        from_begin & (0xff << behind_end)
    }

    /// How many bits are set.
    pub fn count(&self) -> u64 {
        let last = self.bytes.len() - 1;
        let outside = |byte: usize| u64::from((self.bytes[byte] & !self.part(byte)).count_ones());
        count(self.bytes) - outside(0) - if last > 0 { outside(last) } else { 0 }
    }

    /// The place in the string of the first bit that is so.
    pub fn find(&self, bit: bool) -> Option<u64> {
        // Looking for a zero is looking for a one among the opposites.
        let opposite = if bit { 0 } else { 0xff };
        let candidates = |byte: usize| (self.bytes[byte] ^ opposite) & self.part(byte);
        let last = self.bytes.len() - 1;
        let within = match self.bytes {
            [] | [_] | [_, _] => None,
            bytes => first_other_than(opposite, &bytes[1..last]).map(|at| at + 1),
        };
        [Some(0), within, Some(last)].into_iter().flatten().find(|&byte| candidates(byte) != 0).map(|byte| {
            let place = byte as u64 * 8 + u64::from(candidates(byte).leading_zeros());
            self.at + place
        })
    }
}

/// Where the first byte is that differs.
fn first_other_than(byte: u8, bytes: &[u8]) -> Option<usize> {
    // Large blocks of the same byte are the rule in sparse bitmaps: they are passed over as a whole.
    const WORDS: usize = 8;
    let same = u64::from_ne_bytes([byte; 8]);
    let (words, _) = bytes.as_chunks::<8>();
    let (blocks, _) = words.as_chunks::<WORDS>();
    let differs =
        |block: &[[u8; 8]; WORDS]| block.iter().fold(0, |all, word| all | (u64::from_ne_bytes(*word) ^ same)) != 0;
    let at = blocks.iter().position(differs).unwrap_or(blocks.len()) * WORDS * 8;
    bytes[at..].iter().position(|&other| other != byte).map(|rest| at + rest)
}

/// How BITOP makes one string of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    And,
    Or,
    Xor,
}

/// Combines `other` into `text`, the shorter one continued by zeros.
pub fn combine(text: &mut Vec<u8>, other: &[u8], combination: Combination) {
    if text.len() < other.len() {
        text.resize(other.len(), 0);
    }
    let (common, rest) = text.split_at_mut(other.len());
    let pairs = common.iter_mut().zip(other);
    match combination {
        Combination::And => {
            pairs.for_each(|(byte, other)| *byte &= other);
            rest.fill(0);
        }
        Combination::Or => pairs.for_each(|(byte, other)| *byte |= other),
        Combination::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
    }
}

/// Turns every bit over.
pub fn complement(text: &mut [u8]) {
    text.iter_mut().for_each(|byte| *byte = !*byte);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit.
    fn bit(text: &[u8], at: u64) -> bool {
        text.get(at as usize / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0)
    }

    #[test]
    fn fields_lie_where_their_bits_are_and_touch_no_other() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut text: Vec<u8> = (0..20).map(|_| random.u8(..)).collect();
            let (offset, width, value) = (random.u64(..96), random.u8(1..=64), random.u64(..));
            assert!(bytes_needed(offset, width).expect("within the limit") <= text.len());
            let before = text.clone();
            let field = offset..offset + u64::from(width);
            let expected = field.clone().fold(0u64, |all, at| all << 1 | u64::from(bit(&text, at)));
            assert_eq!(get(&text, offset, width), expected);
            set(&mut text, offset, width, value);
            assert_eq!(get(&text, offset, width), value & mask(width));
            assert!((0..160).filter(|at| !field.contains(at)).all(|at| bit(&text, at) == bit(&before, at)));
        }
        assert_eq!(get(&[0xff], 4, 8), 0xf0);
        assert_eq!(get(&[], 1 << 40, 8), 0);
        assert_eq!(bytes_needed((1 << 32) - 1, 64), Some((512 << 20) + 8));
        assert_eq!(bytes_needed(1 << 32, 1), None);
    }

    #[test]
    fn numbers_overflow_as_they_are_told() {
        let cases = [
            // Value, width, signed: wrapped, saturated, failing.
            (300, 8, false, Some(44), Some(255), None),
            (-1, 8, false, Some(255), Some(0), None),
            (128, 8, true, Some(0x80), Some(127), None),
            (-129, 8, true, Some(127), Some(0x80), None),
            (1, 1, true, Some(1), Some(0), None),
            (-1, 1, true, Some(1), Some(1), Some(1)),
            (1 << 63, 64, true, Some(1 << 63), Some(i64::MAX as u64), None),
            (5, 3, false, Some(5), Some(5), Some(5)),
        ];
        for (value, width, signed, wrapped, saturated, failing) in cases {
            let all = [Overflow::Wrap, Overflow::Saturate, Overflow::Fail];
            assert_eq!(
                all.map(|overflow| fit(value, width, signed, overflow)),
                [wrapped, saturated, failing],
                "{value} in {width}"
            );
        }
        assert_eq!(number(0xff, 8, true), -1);
        assert_eq!(number(0xff, 8, false), 255);
        assert_eq!(number(u64::MAX, 64, true), -1);
    }

    #[test]
    fn spans_count_and_find_only_what_is_in_them() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let filler = random.choice([0, 0xff, 0x10]).expect("not empty");
            let mut text = vec![filler; random.usize(1..300)];
            let at = random.usize(..text.len());
            text[at] = random.u8(..);
            let last = random.u64(..text.len() as u64 * 8);
            let first = random.u64(..=last);
            let span = Span::new(&text, first, last);
            assert_eq!(span.count(), (first..=last).filter(|&at| bit(&text, at)).count() as u64);
            for wanted in [false, true] {
                assert_eq!(span.find(wanted), (first..=last).find(|&at| bit(&text, at) == wanted));
            }
        }
    }

    #[test]
    fn strings_of_different_length_combine_as_if_continued_by_zeros() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            let mut some = || (0..random.usize(..40)).map(|_| random.u8(..)).collect::<Vec<_>>();
            let (one, other) = (some(), some());
            let at = |text: &[u8], at: usize| text.get(at).copied().unwrap_or(0);
            let check = |combination, combine_bytes: fn(u8, u8) -> u8| {
                let mut text = one.clone();
                combine(&mut text, &other, combination);
                let expected =
                    (0..one.len().max(other.len())).map(|place| combine_bytes(at(&one, place), at(&other, place)));
                assert_eq!(text, expected.collect::<Vec<_>>());
            };
            check(Combination::And, |one, other| one & other);
            check(Combination::Or, |one, other| one | other);
            check(Combination::Xor, |one, other| one ^ other);
        }
    }
}
