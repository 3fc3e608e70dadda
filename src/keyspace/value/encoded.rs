//! How one entry of a packed buffer is encoded: a tag of one byte, and a payload that lies elsewhere.
//!
//! ```text
//! tag        entry                                   payload
//! 0..=63     a string of so many bytes               the bytes
//! 64..=191   an integer from 0 to 127                none
//! 192..=199  an integer of tag - 191 bytes           two's complement, little endian
//! 200..=215  a string of 64 to 4159 bytes: 64 + 256 * (tag - 200) + low    low, the bytes, low
//! 216        a longer string                         its length in 4 bytes, the bytes, the length again
//! ```
//!
//! A length that the tag does not tell stands at both ends, so that a walk in either direction finds it. Each byte
//! string has exactly one encoding: equal entries have equal tags and payloads, and a search need not decode.
//!
//! Must not know how entries lie in their buffer.

use super::Element;
use crate::keyspace::integer;

const SMALL_INTEGER: u8 = 64;
const WIDE_INTEGER: u8 = 192;
const MEDIUM: u8 = 200;
const LONG: u8 = 216;
const END: u8 = 217;

const SHORT_STRING_LIMIT: usize = SMALL_INTEGER as usize;
const MEDIUM_STRING_LIMIT: usize = SHORT_STRING_LIMIT + 256 * (LONG - MEDIUM) as usize;

/// In [`SIZES`]: the payload itself tells.
const TOLD_BY_PAYLOAD: u8 = u8::MAX;

/// Bytes of payload, by tag.
const SIZES: [u8; 256] = {
    let mut sizes = [TOLD_BY_PAYLOAD; 256];
    let mut tag = 0;
    while tag < MEDIUM {
        sizes[tag as usize] = match tag {
            0..SMALL_INTEGER => tag,
            SMALL_INTEGER..WIDE_INTEGER => 0,
            _ => tag - WIDE_INTEGER + 1,
        };
        tag += 1;
    }
    sizes
};

/// What lies in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

impl<'a> From<Stored<'a>> for Element<'a> {
    fn from(stored: Stored<'a>) -> Element<'a> {
        match stored {
            Stored::Integer(number) => Element::from(number),
            Stored::Bytes(bytes) => Element::from(bytes),
        }
    }
}

/// An entry to be looked for or written.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    tag: u8,
    /// How many bytes of the length stand at each end of the payload.
    edge: usize,
    body: Body<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    Integer { bytes: [u8; 8], width: usize },
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [u8]> for Encoded<'a> {
    fn from(bytes: &'a [u8]) -> Encoded<'a> {
        if let Some(number) = integer::parse(bytes) {
            return Encoded::from(number);
        }
        Encoded::from_bytes(bytes)
    }
}

impl From<i64> for Encoded<'_> {
    fn from(number: i64) -> Self {
        let (tag, width) = match number {
            0..=127 => (SMALL_INTEGER + number as u8, 0),
            _ => {
                let magnitude = (number ^ (number >> 63)) as u64;
                let width = (64 - magnitude.leading_zeros() as usize + 1).div_ceil(8);
                (WIDE_INTEGER + width as u8 - 1, width)
            }
        };
        Encoded { tag, edge: 0, body: Body::Integer { bytes: number.to_le_bytes(), width } }
    }
}

impl<'a> Encoded<'a> {
    /// A byte string that is kept as such, whatever it reads as. Never equal to an integer's entry.
    pub fn from_bytes(bytes: &'a [u8]) -> Encoded<'a> {
        let (tag, edge) = match bytes.len() {
            length @ 0..SHORT_STRING_LIMIT => (length as u8, 0),
            length @ SHORT_STRING_LIMIT..MEDIUM_STRING_LIMIT => {
                (MEDIUM + ((length - SHORT_STRING_LIMIT) >> 8) as u8, 1)
            }
            length => {
                assert!(length <= u32::MAX as usize, "an element is shorter than 4 GiB");
                (LONG, 4)
            }
        };
        Encoded { tag, edge, body: Body::Bytes(bytes) }
    }

    pub fn tag(&self) -> u8 {
        self.tag
    }

    fn body(&self) -> &[u8] {
        match &self.body {
            Body::Integer { bytes, width } => &bytes[..*width],
            Body::Bytes(bytes) => bytes,
        }
    }

    /// Bytes of its payload.
    pub fn size(&self) -> usize {
        self.body().len() + 2 * self.edge
    }

    /// Writes the payload into a place of exactly its size.
    pub fn write(&self, place: &mut [u8]) {
        let body = self.body();
        let length = match self.edge {
            1 => (body.len() - SHORT_STRING_LIMIT) as u32,
            _ => body.len() as u32,
        };
        let (front, rest) = place.split_at_mut(self.edge);
        let (middle, back) = rest.split_at_mut(body.len());
        front.copy_from_slice(&length.to_le_bytes()[..self.edge]);
        middle.copy_from_slice(body);
        back.copy_from_slice(&length.to_le_bytes()[..self.edge]);
    }

    /// Is this the payload of an equal entry, given that the tags are equal?
    pub fn has_payload(&self, payload: &[u8]) -> bool {
        payload.len() == self.size() && payload[self.edge..payload.len() - self.edge] == *self.body()
    }

    /// What a search looks at first: the last four bytes of the body, as far as it has them. Elements of one kind
    /// mostly differ there.
    pub fn probe(&self) -> Probe {
        let body = self.body();
        let length = body.len().min(4);
        let mut word = [0; 4];
        word[4 - length..].copy_from_slice(&body[body.len() - length..]);
        let mask = (u64::from(u32::MAX) << (8 * (4 - length))) as u32;
        Probe { end: self.edge + body.len(), word: u32::from_le_bytes(word), mask }
    }
}

/// See [`Encoded::probe`].
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Where in the payload the four bytes stop. Before their begin may lie something else, which the mask hides.
    pub end: usize,
    word: u32,
    mask: u32,
}

impl Probe {
    pub fn fits(&self, bytes: [u8; 4]) -> bool {
        u32::from_le_bytes(bytes) & self.mask == self.word
    }
}

/// Bytes of the payload that begins at `start`.
pub fn size_from_start(tag: u8, payload: &[u8], start: usize) -> usize {
    match SIZES[usize::from(tag)] {
        TOLD_BY_PAYLOAD if tag == LONG => told_by_long(&payload[start..start + 4]),
        TOLD_BY_PAYLOAD => told_by_medium(tag, payload[start]),
        size => usize::from(size),
    }
}

/// Bytes of the payload that stops before `end`.
pub fn size_from_end(tag: u8, payload: &[u8], end: usize) -> usize {
    match SIZES[usize::from(tag)] {
        TOLD_BY_PAYLOAD if tag == LONG => told_by_long(&payload[end - 4..end]),
        TOLD_BY_PAYLOAD => told_by_medium(tag, payload[end - 1]),
        size => usize::from(size),
    }
}

fn told_by_medium(tag: u8, low: u8) -> usize {
    debug_assert!((MEDIUM..END).contains(&tag));
    SHORT_STRING_LIMIT + 256 * usize::from(tag - MEDIUM) + usize::from(low) + 2
}

fn told_by_long(length: &[u8]) -> usize {
    u32::from_le_bytes(length.try_into().expect("four bytes")) as usize + 8
}

/// The entry of this tag and payload.
pub fn decode(tag: u8, payload: &[u8]) -> Stored<'_> {
    match tag {
        0..SMALL_INTEGER => Stored::Bytes(payload),
        SMALL_INTEGER..WIDE_INTEGER => Stored::Integer(i64::from(tag - SMALL_INTEGER)),
        WIDE_INTEGER..MEDIUM => {
            let mut bytes = [0; 8];
            bytes[..payload.len()].copy_from_slice(payload);
            let unused = 64 - 8 * payload.len() as u32;
            Stored::Integer((i64::from_le_bytes(bytes) << unused) >> unused)
        }
        MEDIUM..LONG => Stored::Bytes(&payload[1..payload.len() - 1]),
        _ => Stored::Bytes(&payload[4..payload.len() - 4]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], size: usize) {
        let encoded = Encoded::from(bytes);
        let mut payload = vec![0xee; encoded.size() + 2];
        let end = payload.len() - 1;
        encoded.write(&mut payload[1..end]);
        assert_eq!(encoded.size() + 1, size, "{}", bytes.escape_ascii());
        assert_eq!(size_from_start(encoded.tag(), &payload, 1), encoded.size());
        assert_eq!(size_from_end(encoded.tag(), &payload, end), encoded.size());
        assert!(encoded.has_payload(&payload[1..end]));
        assert_eq!(*Element::from(decode(encoded.tag(), &payload[1..end])), *bytes);
    }

    #[test]
    fn strings_come_back_and_are_as_long_as_promised() {
        for (length, overhead) in [(0, 1), (1, 1), (63, 1), (64, 3), (319, 3), (320, 3), (4159, 3), (4160, 9)] {
            check(&vec![b'x'; length], length + overhead);
        }
        check(&vec![0xff; 70_000], 70_009);
        for text in ["007", "-0", "+1", "9223372036854775808", "-9223372036854775809", "1.0", " 1", "-", "1e3"] {
            check(text.as_bytes(), text.len() + 1);
        }
    }

    #[test]
    fn integers_come_back_in_the_fewest_bytes() {
        for (number, size) in [
            (0, 1),
            (127, 1),
            (128, 3),
            (-1, 2),
            (-128, 2),
            (-129, 3),
            (32_767, 3),
            (32_768, 4),
            (-8_388_608, 4),
            (8_388_608, 5),
            (1_700_000_000_000, 7),
            (1 << 55, 9),
            (i64::MAX, 9),
            (i64::MIN, 9),
        ] {
            check(number.to_string().as_bytes(), size);
        }
        for shift in 0..64 {
            for number in [1i64 << shift, (1i64 << shift).wrapping_sub(1), (1i64 << shift).wrapping_neg()] {
                check(number.to_string().as_bytes(), Encoded::from(number).size() + 1);
            }
        }
    }

    #[test]
    fn bytes_that_read_as_an_integer_can_be_kept_apart() {
        let (integer, bytes) = (Encoded::from(&b"12345678"[..]), Encoded::from_bytes(b"12345678"));
        assert_ne!(integer.tag(), bytes.tag());
        assert_eq!(decode(bytes.tag(), b"12345678"), Stored::Bytes(b"12345678"));
    }
}
