//! Reading lengths and strings, from input that nobody trusts.
//!
//! ```text
//! 00xxxxxx                     a length of 6 bits
//! 01xxxxxx, 1 byte             of 14 bits
//! 10000000, 4 bytes            of 32 bits, big endian
//! 10000001, 8 bytes            of 64 bits, big endian
//! 110000nn, 1, 2 or 4 bytes    instead of a string's length: a signed integer, little endian, for its decimal text
//! 11000011, length, length     likewise: the compressed and the true length, then LZF
//! ```

use std::borrow::Cow;

use super::{RdbError, lzf};

/// The most memory that one decoded value may take, in bytes, counted with [`ELEMENT_OVERHEAD`] for each string in it.
/// What is decompressed on the way counts as well.
pub const MAX_DECODED_BYTES: usize = 1 << 30;
/// The longest compressed string, in bytes after decompression: Redis's own limit of a string.
pub const MAX_STRING_BYTES: usize = 512 << 20;
/// What a string in a collection takes besides its bytes, roughly.
pub(super) const ELEMENT_OVERHEAD: usize = 32;

/// Walks through bytes.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Cursor { rest: input }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        let (&first, rest) = self.rest.split_first().ok_or(RdbError::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], RdbError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RdbError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let (&taken, rest) = self.rest.split_first_chunk().ok_or(RdbError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// How much memory may still be used.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), RdbError> {
        self.left = self.left.checked_sub(bytes).ok_or(RdbError::TooLarge)?;
        Ok(())
    }
}

/// Reads the parts of encoded values one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) budget: Budget,
}

/// What stands where a string begins.
enum Head {
    Length(u64),
    Encoded(u8),
}

impl<'a> Reader<'a> {
    /// Starts at the first byte. What is read may take [`MAX_DECODED_BYTES`] in all.
    pub fn new(input: &'a [u8]) -> Self {
        Self::with_budget(input, MAX_DECODED_BYTES)
    }

    /// The same with another limit, in bytes.
    pub fn with_budget(input: &'a [u8], bytes: usize) -> Self {
        Reader { cursor: Cursor::new(input), budget: Budget { left: bytes } }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.cursor.remaining()
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, RdbError> {
        self.cursor.byte()
    }

    /// A length, or any other number that is written like one.
    pub fn length(&mut self) -> Result<u64, RdbError> {
        match self.head()? {
            Head::Length(length) => Ok(length),
            Head::Encoded(_) => Err(RdbError::Invalid("an encoded string where a length should be")),
        }
    }

    /// A string, decompressed.
    pub fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        let string = self.blob()?;
        let copied = if matches!(string, Cow::Borrowed(_)) { string.len() } else { 0 };
        self.budget.spend(copied + ELEMENT_OVERHEAD)?;
        Ok(string.into_owned())
    }

    /// The number of things that follow, of which each takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize, RdbError> {
        let count = usize::try_from(self.length()?).map_err(|_| RdbError::Truncated)?;
        if count > self.remaining() { Err(RdbError::Truncated) } else { Ok(count) }
    }

    /// A string that is only looked at: as it lies in the input, if it is not compressed.
    pub(super) fn blob(&mut self) -> Result<Cow<'a, [u8]>, RdbError> {
        let number = match self.head()? {
            Head::Length(length) => {
                let length = usize::try_from(length).map_err(|_| RdbError::Truncated)?;
                return Ok(Cow::Borrowed(self.cursor.take(length)?));
            }
            Head::Encoded(0) => i64::from(i8::from_le_bytes(self.cursor.array()?)),
            Head::Encoded(1) => i64::from(i16::from_le_bytes(self.cursor.array()?)),
            Head::Encoded(2) => i64::from(i32::from_le_bytes(self.cursor.array()?)),
            Head::Encoded(3) => return self.compressed().map(Cow::Owned),
            Head::Encoded(_) => return Err(RdbError::Invalid("a string in an unknown encoding")),
        };
        let text = decimal(number);
        self.budget.spend(text.len())?;
        Ok(Cow::Owned(text))
    }

    /// A binary double, which is not NaN.
    pub(super) fn double(&mut self) -> Result<f64, RdbError> {
        number(f64::from_le_bytes(self.cursor.array()?))
    }

    /// A double as text: a byte for its length, or 253, 254, 255 for what is no number, infinite, and negative infinite.
    pub(super) fn text_double(&mut self) -> Result<f64, RdbError> {
        match self.byte()? {
            253 => number(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            length => parse_double(self.cursor.take(usize::from(length))?),
        }
    }

    /// Milliseconds since the epoch, as eight bytes; `None` if they are negative.
    pub(super) fn millis(&mut self) -> Result<Option<u64>, RdbError> {
        Ok(u64::try_from(i64::from_le_bytes(self.cursor.array()?)).ok())
    }

    fn head(&mut self) -> Result<Head, RdbError> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(Head::Length(match (first >> 6, low) {
            (0, _) => u64::from(low),
            (1, _) => u64::from(low) << 8 | u64::from(self.byte()?),
            (2, 0) => u64::from(u32::from_be_bytes(self.cursor.array()?)),
            (2, 1) => u64::from_be_bytes(self.cursor.array()?),
            (2, _) => return Err(RdbError::Invalid("a length in an unknown form")),
            _ => return Ok(Head::Encoded(low)),
        }))
    }

    fn compressed(&mut self) -> Result<Vec<u8>, RdbError> {
        let input = self.count()?;
        let length = usize::try_from(self.length()?).map_err(|_| RdbError::TooLarge)?;
        let input = self.cursor.take(input)?;
        if length > MAX_STRING_BYTES {
            return Err(RdbError::TooLarge);
        }
        self.budget.spend(length)?;
        lzf::decompress(input, length)
    }
}

/// The text of an integer.
pub(super) fn decimal(number: i64) -> Vec<u8> {
    itoa::Buffer::new().format(number).as_bytes().to_vec()
}

/// The number that a text is from its first to its last byte.
pub(super) fn parse_double(text: &[u8]) -> Result<f64, RdbError> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number(parsed.ok_or(RdbError::Invalid("a score that is not a number"))?)
}

fn number(value: f64) -> Result<f64, RdbError> {
    if value.is_nan() { Err(RdbError::Invalid("a score that is NaN")) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_forms() {
        let cases: [(&[u8], u64); 6] = [
            (&[0], 0),
            (&[0x3f], 63),
            (&[0x40, 0x40], 64),
            (&[0x7f, 0xff], 16_383),
            (&[0x80, 0, 0, 0x40, 0], 16_384),
            (&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        ];
        for (bytes, length) in cases {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.length(), Ok(length));
            assert_eq!(reader.remaining(), 0);
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).length(), Err(RdbError::Truncated));
        }
        assert!(Reader::new(&[0x82, 0, 0, 0, 1]).length().is_err());
        assert!(Reader::new(&[0xc0, 1]).length().is_err());
    }

    #[test]
    fn strings_of_all_encodings() {
        let cases: [(&[u8], &[u8]); 7] = [
            (&[0], b""),
            (&[2, b'h', b'i'], b"hi"),
            (&[0x80, 0, 0, 0, 2, b'h', b'i'], b"hi"),
            (&[0xc0, 0x80], b"-128"),
            (&[0xc1, 0xff, 0x7f], b"32767"),
            (&[0xc2, 0, 0, 0, 0x80], b"-2147483648"),
            (&[0xc3, 5, 12, 0, b'a', 0xe0, 2, 0], b"aaaaaaaaaaaa"),
        ];
        for (bytes, string) in cases {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.string().as_deref(), Ok(string));
            assert_eq!(reader.remaining(), 0);
        }
        assert!(Reader::new(&[0xc4, 0]).string().is_err());
        assert!(Reader::new(&[0xff, 0]).string().is_err());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut claim = vec![0x81];
        claim.extend_from_slice(&(1u64 << 62).to_be_bytes());
        claim.push(0);
        assert_eq!(Reader::new(&claim).string(), Err(RdbError::Truncated));
        assert_eq!(Reader::new(&claim).count(), Err(RdbError::Truncated));
        let mut compressed = vec![0xc3, 5];
        compressed.extend_from_slice(&claim[..9]);
        compressed.extend_from_slice(&[0, b'a', 0xe0, 2, 0]);
        assert_eq!(Reader::new(&compressed).string(), Err(RdbError::TooLarge));
        let within_the_limit = [0xc3, 5, 0x80, 0x10, 0, 0, 0, 0, b'a', 0xe0, 2, 0];
        assert!(matches!(Reader::new(&within_the_limit).string(), Err(RdbError::Invalid(_))));
    }

    #[test]
    fn the_budget_counts_strings_and_what_they_take_besides() {
        let input = [3, b'a', b'b', b'c', 0xc0, 7];
        let enough = 3 + 1 + 2 * ELEMENT_OVERHEAD;
        let mut reader = Reader::with_budget(&input, enough);
        assert_eq!((reader.string(), reader.string()), (Ok(b"abc".to_vec()), Ok(b"7".to_vec())));
        let mut reader = Reader::with_budget(&input, enough - 1);
        assert_eq!((reader.string(), reader.string()), (Ok(b"abc".to_vec()), Err(RdbError::TooLarge)));
    }

    #[test]
    fn doubles_as_text() {
        let parse = |bytes: &[u8]| Reader::new(bytes).text_double();
        assert_eq!(parse(b"\x031.5"), Ok(1.5));
        assert_eq!(parse(b"\x05-1e-3"), Ok(-0.001));
        assert_eq!(parse(&[254]), Ok(f64::INFINITY));
        assert_eq!(parse(&[255]), Ok(f64::NEG_INFINITY));
        for wrong in [&[253][..], b"\x00", b"\x03nan", b"\x041.5x", b"\x04 1.5", b"\x02\xff\xff"] {
            assert!(matches!(parse(wrong), Err(RdbError::Invalid(_))), "{wrong:?}");
        }
    }
}
