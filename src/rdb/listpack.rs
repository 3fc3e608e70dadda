//! Listpacks: many small elements in one string, readable from both ends. Read and written here, from front to back.
//!
//! ```text
//! total bytes (4, little endian), elements (2; 65535: unknown), elements, 0xff
//! an element: encoding, data, and the length of both for readers that come from behind
//!
//! 0xxxxxxx                  0 to 127           11110000, 4 bytes    a string of that length (little endian)
//! 10xxxxxx                  a string           11110001, 2 bytes    a signed integer (little endian, likewise below)
//! 110xxxxx, 1 byte          13 bits, signed    11110010, 3 bytes
//! 1110xxxx, 1 byte          a string           11110011, 4 bytes
//!                                              11110100, 8 bytes
//! ```
//!
//! Source: the listpack specification (antirez/listpack, `listpack.md`).

use super::RdbError;
use super::packed::{Element, Elements, Walk};
use super::reader::Cursor;

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// The count of a listpack that has this many elements or more.
const UNKNOWN: u16 = u16::MAX;

/// A listpack.
#[derive(Debug)]
pub(super) struct Listpack<'a> {
    cursor: Cursor<'a>,
    announced: u16,
    found: usize,
}

impl<'a> Listpack<'a> {
    /// A listpack that fills `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Elements<Self>, RdbError> {
        let mut cursor = Cursor::new(bytes);
        let total = u32::from_le_bytes(cursor.array()?);
        let announced = u16::from_le_bytes(cursor.array()?);
        if usize::try_from(total) != Ok(bytes.len()) {
            return Err(RdbError::Invalid("a listpack of another length"));
        }
        Ok(Elements::of(Listpack { cursor, announced, found: 0 }))
    }
}

impl<'a> Elements<Listpack<'a>> {
    /// The next element, which has to be there.
    pub(super) fn expect(&mut self) -> Result<Element<'a>, RdbError> {
        self.next().ok_or(RdbError::Invalid("a listpack that ends too early"))?
    }
}

impl<'a> Walk for Listpack<'a> {
    type Element = Element<'a>;

    fn element(&mut self) -> Result<Option<Element<'a>>, RdbError> {
        let before = self.cursor.remaining();
        let first = self.cursor.byte()?;
        let low = usize::from(first);
        let element = match first {
            0..=0x7f => Element::Integer(i64::from(first)),
            0x80..=0xbf => Element::Bytes(self.cursor.take(low & 0x3f)?),
            0xc0..=0xdf => {
                let bits = (u16::from(first & 0x1f) << 8) | u16::from(self.cursor.byte()?);
                Element::Integer(i64::from((bits << 3) as i16 >> 3))
            }
            0xe0..=0xef => {
                let length = ((low & 0xf) << 8) | usize::from(self.cursor.byte()?);
                Element::Bytes(self.cursor.take(length)?)
            }
            0xf0 => {
                let length = u32::from_le_bytes(self.cursor.array()?);
                Element::Bytes(self.cursor.take(usize::try_from(length).map_err(|_| RdbError::Truncated)?)?)
            }
            0xf1 => Element::Integer(i64::from(i16::from_le_bytes(self.cursor.array()?))),
            0xf2 => Element::integer_of_24_bits(self.cursor.array()?),
            0xf3 => Element::Integer(i64::from(i32::from_le_bytes(self.cursor.array()?))),
            0xf4 => Element::Integer(i64::from_le_bytes(self.cursor.array()?)),
            END => {
                if self.cursor.remaining() > 0 {
                    return Err(RdbError::Invalid("bytes after the end of a listpack"));
                }
                if self.announced != UNKNOWN && usize::from(self.announced) != self.found {
                    return Err(RdbError::Invalid("a listpack with another number of elements"));
                }
                return Ok(None);
            }
            _ => return Err(RdbError::Invalid("an element of a listpack in an unknown encoding")),
        };
        let (back, size) = back_length(before - self.cursor.remaining());
        if self.cursor.take(size)? != &back[..size] {
            return Err(RdbError::Invalid("an element of a listpack that cannot be found from behind"));
        }
        self.found += 1;
        Ok(Some(element))
    }
}

/// The length of an element as it stands behind it, and how many bytes that takes: 7 bits in each, the lowest bits last,
/// and the upper bit set in all but the first. The highest number that would fit takes one byte more, except for 127:
/// so the server writes it, and where the next element begins follows from it.
fn back_length(length: usize) -> ([u8; 5], usize) {
    let size = match length {
        0..0x80 => 1,
        0x80..0x3fff => 2,
        0x3fff..0x1f_ffff => 3,
        0x1f_ffff..0xfff_ffff => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (place, byte) in bytes[..size].iter_mut().rev().enumerate() {
        let more = if place + 1 < size { 0x80 } else { 0 };
        *byte = (length >> (7 * place)) as u8 & 0x7f | more;
    }
    (bytes, size)
}

/// Builds a listpack.
#[derive(Debug)]
pub(super) struct ListpackWriter {
    bytes: Vec<u8>,
    elements: usize,
}

impl ListpackWriter {
    /// One without elements.
    pub(super) fn new() -> Self {
        ListpackWriter { bytes: vec![0; HEADER_BYTES], elements: 0 }
    }

    /// Appends an integer.
    pub(super) fn integer(&mut self, value: i64) {
        let start = self.bytes.len();
        match value {
            0..=0x7f => self.bytes.push(value as u8),
            -0x1000..=0xfff => self.bytes.extend_from_slice(&(value as u16 & 0x1fff | 0xc000).to_be_bytes()),
            -0x8000..=0x7fff => self.wide_integer(0xf1, value, 2),
            -0x80_0000..=0x7f_ffff => self.wide_integer(0xf2, value, 3),
            -0x8000_0000..=0x7fff_ffff => self.wide_integer(0xf3, value, 4),
            _ => self.wide_integer(0xf4, value, 8),
        }
        self.finish_element(start);
    }

    /// Appends a string.
    pub(super) fn string(&mut self, string: &[u8]) {
        let start = self.bytes.len();
        let length = string.len();
        match length {
            0..0x40 => self.bytes.push(0x80 | length as u8),
            0x40..0x1000 => self.bytes.extend_from_slice(&(0xe000 | length as u16).to_be_bytes()),
            _ => {
                self.bytes.push(0xf0);
                let length = u32::try_from(length).expect("a string that one command can write is shorter than 4 GiB");
                self.bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(string);
        self.finish_element(start);
    }

    /// The listpack.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).expect("what one command can write is shorter than 4 GiB");
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let elements = u16::try_from(self.elements).unwrap_or(UNKNOWN);
        self.bytes[4..HEADER_BYTES].copy_from_slice(&elements.to_le_bytes());
        self.bytes
    }

    fn wide_integer(&mut self, encoding: u8, value: i64, size: usize) {
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(&value.to_le_bytes()[..size]);
    }

    fn finish_element(&mut self, start: usize) {
        let (back, size) = back_length(self.bytes.len() - start);
        self.bytes.extend_from_slice(&back[..size]);
        self.elements += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Element<'_>>, RdbError> {
        Listpack::new(bytes)?.collect()
    }

    #[test]
    fn integers_and_strings_at_all_limits_come_back() {
        let mut integers = vec![0, 1, i64::MIN, i64::MAX];
        for bits in [7, 12, 15, 23, 31] {
            let limit = 1i64 << bits;
            integers.extend([limit - 1, limit, -limit, -limit - 1]);
        }
        let strings: Vec<Vec<u8>> = [0, 1, 63, 64, 125, 126, 4095, 4096, 16_377, 16_378, 16_379, 2_097_145, 2_097_146]
            .map(|length: usize| vec![b's'; length])
            .into();
        let mut writer = ListpackWriter::new();
        integers.iter().for_each(|&integer| writer.integer(integer));
        strings.iter().for_each(|string| writer.string(string));
        let bytes = writer.finish();
        let mut expected: Vec<Element<'_>> = integers.iter().copied().map(Element::Integer).collect();
        expected.extend(strings.iter().map(|string| Element::Bytes(string)));
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn the_form_is_that_of_the_specification() {
        let mut writer = ListpackWriter::new();
        writer.string(b"hello");
        writer.integer(-1);
        writer.string(&[b'x'; 500]);
        let mut expected =
            vec![0x0b, 0x02, 0, 0, 3, 0, 0x85, b'h', b'e', b'l', b'l', b'o', 6, 0xdf, 0xff, 2, 0xe1, 0xf4];
        expected.extend_from_slice(&[b'x'; 500]);
        expected.extend_from_slice(&[0x03, 0xf6, 0xff]);
        expected[0..4].copy_from_slice(&(521u32).to_le_bytes());
        assert_eq!(writer.finish(), expected);
    }

    /// As redis-server 7.0.15 writes them.
    #[test]
    fn lengths_for_readers_from_behind_are_the_servers() {
        let cases: [(usize, &[u8]); 8] = [
            (127, &[0x7f]),
            (128, &[0x01, 0x80]),
            (16_382, &[0x7f, 0xfe]),
            (16_383, &[0x00, 0xff, 0xff]),
            (16_384, &[0x01, 0x80, 0x80]),
            (2_097_150, &[0x7f, 0xff, 0xfe]),
            (2_097_151, &[0x00, 0xff, 0xff, 0xff]),
            (2_097_152, &[0x01, 0x80, 0x80, 0x80]),
        ];
        for (length, expected) in cases {
            let (bytes, size) = back_length(length);
            assert_eq!(&bytes[..size], expected, "{length}");
        }
    }

    #[test]
    fn more_elements_than_the_header_can_count() {
        for count in [65_534, 65_535, 65_536] {
            let mut writer = ListpackWriter::new();
            (0..count).for_each(|_| writer.integer(5));
            assert_eq!(read(&writer.finish()).map(|elements| elements.len()), Ok(count));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut writer = ListpackWriter::new();
        writer.string(b"abc");
        let bytes = writer.finish();
        for (at, value) in [(0, 11), (0, 13), (4, 0), (4, 2), (6, 0x84), (6, 0x82), (6, 0xf5), (10, 5), (11, 0)] {
            let mut changed = bytes.clone();
            changed[at] = value;
            assert!(read(&changed).is_err(), "{at} {value}");
        }
        let mut unknown = bytes.clone();
        unknown[4..6].copy_from_slice(&UNKNOWN.to_le_bytes());
        assert_eq!(read(&unknown), Ok(vec![Element::Bytes(b"abc")]));
    }
}
