//! The other compact forms: ziplists (until Redis 6.2), intsets, and zipmaps (before Redis 2.6).
//!
//! A ziplist:
//!
//! ```text
//! total bytes (4), offset of the last entry (4), entries (2; 65535: unknown), entries, 0xff    (all little endian)
//! an entry: the size of the previous one (1 byte, or 254 and 4 bytes), encoding, data
//!
//! 00xxxxxx             a string                          11010000, 4 bytes    a signed integer
//! 01xxxxxx, 1 byte     a string                          11100000, 8 bytes
//! 10......, 4 bytes    a string (length big endian)      11110000, 3 bytes
//! 11000000, 2 bytes    a signed integer (little endian)  11111110, 1 byte
//!                                                        1111xxxx             1 to 13, for 0 to 12
//! ```
//!
//! An intset: the size of its integers (4 bytes), their number (4), and the integers in ascending order, little endian.
//!
//! A zipmap: the number of fields (1 byte; 254 or more: unknown), and for each the length of its name (1 byte, or 254 and
//! 4 bytes), the name, the length of its value, the number of unused bytes behind it (1 byte), the value; 0xff.
//!
//! Source: the description of the format by redis-rdb-tools; that a length of 253 still is one byte, as observed.

use super::RdbError;
use super::reader::{Budget, Cursor, ELEMENT_OVERHEAD, decimal, parse_double};

/// One element of a compact form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element<'a> {
    Bytes(&'a [u8]),
    /// Stands for its decimal text.
    Integer(i64),
}

impl<'a> Element<'a> {
    pub(super) fn integer_of_24_bits([low, middle, high]: [u8; 3]) -> Self {
        Element::Integer(i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8))
    }

    /// The string that it is.
    pub(super) fn string(self, budget: &mut Budget) -> Result<Vec<u8>, RdbError> {
        match self {
            Element::Bytes(bytes) => {
                budget.spend(bytes.len() + ELEMENT_OVERHEAD)?;
                Ok(bytes.to_vec())
            }
            Element::Integer(number) => {
                let text = decimal(number);
                budget.spend(text.len() + ELEMENT_OVERHEAD)?;
                Ok(text)
            }
        }
    }

    /// The score that it is.
    pub(super) fn score(self) -> Result<f64, RdbError> {
        match self {
            Element::Bytes(bytes) => parse_double(bytes),
            Element::Integer(number) => Ok(number as f64),
        }
    }

    /// The number that it is. Numbers are always written as such.
    pub(super) fn integer(self) -> Result<i64, RdbError> {
        match self {
            Element::Bytes(_) => Err(RdbError::Invalid("a string where a number should be")),
            Element::Integer(number) => Ok(number),
        }
    }

    /// The number that it is, which is not negative.
    pub(super) fn unsigned(self) -> Result<u64, RdbError> {
        u64::try_from(self.integer()?).map_err(|_| RdbError::Invalid("a negative number"))
    }
}

/// What is read one element after the other.
pub(super) trait Walk {
    /// What it yields.
    type Element;

    /// The next element; `None` at the end, which is checked.
    fn element(&mut self) -> Result<Option<Self::Element>, RdbError>;
}

/// The elements of a walk. After an error there are no more.
#[derive(Debug)]
pub(super) struct Elements<W>(Option<W>);

impl<W> Elements<W> {
    /// All of this walk.
    pub(super) fn of(walk: W) -> Self {
        Elements(Some(walk))
    }
}

impl<W: Walk> Iterator for Elements<W> {
    type Item = Result<W::Element, RdbError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.as_mut()?.element().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        next
    }
}

/// A ziplist.
#[derive(Debug)]
pub(super) struct Ziplist<'a> {
    cursor: Cursor<'a>,
    length: usize,
    /// What the header says of the last entry.
    tail: usize,
    announced: u16,
    found: usize,
    /// Where the last entry is, and its size.
    last_at: usize,
    last_size: usize,
}

impl<'a> Ziplist<'a> {
    const HEADER_BYTES: usize = 10;
    const END: u8 = 0xff;

    /// A ziplist that fills `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Elements<Self>, RdbError> {
        let mut cursor = Cursor::new(bytes);
        let total = u32::from_le_bytes(cursor.array()?);
        let tail = u32::from_le_bytes(cursor.array()?);
        let announced = u16::from_le_bytes(cursor.array()?);
        if usize::try_from(total) != Ok(bytes.len()) {
            return Err(RdbError::Invalid("a ziplist of another length"));
        }
        Ok(Elements::of(Ziplist {
            cursor,
            length: bytes.len(),
            tail: usize::try_from(tail).map_err(|_| RdbError::Truncated)?,
            announced,
            found: 0,
            last_at: Self::HEADER_BYTES,
            last_size: 0,
        }))
    }

    fn check_end(&self) -> Result<(), RdbError> {
        if self.cursor.remaining() > 0 {
            return Err(RdbError::Invalid("bytes after the end of a ziplist"));
        }
        if self.announced != u16::MAX && usize::from(self.announced) != self.found {
            return Err(RdbError::Invalid("a ziplist with another number of entries"));
        }
        if self.tail != self.last_at {
            return Err(RdbError::Invalid("a ziplist whose last entry is elsewhere"));
        }
        Ok(())
    }
}

impl<'a> Walk for Ziplist<'a> {
    type Element = Element<'a>;

    fn element(&mut self) -> Result<Option<Element<'a>>, RdbError> {
        let before = self.cursor.remaining();
        let previous = match self.cursor.byte()? {
            Self::END => return self.check_end().map(|()| None),
            254 => u32::from_le_bytes(self.cursor.array()?),
            size => u32::from(size),
        };
        if usize::try_from(previous) != Ok(self.last_size) {
            return Err(RdbError::Invalid("an entry of a ziplist that cannot be found from behind"));
        }
        let first = self.cursor.byte()?;
        let low = usize::from(first & 0x3f);
        let element = match first {
            0..=0x3f => Element::Bytes(self.cursor.take(low)?),
            0x40..=0x7f => {
                let length = (low << 8) | usize::from(self.cursor.byte()?);
                Element::Bytes(self.cursor.take(length)?)
            }
            0x80..=0xbf => {
                let length = u32::from_be_bytes(self.cursor.array()?);
                Element::Bytes(self.cursor.take(usize::try_from(length).map_err(|_| RdbError::Truncated)?)?)
            }
            0xc0 => Element::Integer(i64::from(i16::from_le_bytes(self.cursor.array()?))),
            0xd0 => Element::Integer(i64::from(i32::from_le_bytes(self.cursor.array()?))),
            0xe0 => Element::Integer(i64::from_le_bytes(self.cursor.array()?)),
            0xf0 => Element::integer_of_24_bits(self.cursor.array()?),
            0xf1..=0xfd => Element::Integer(i64::from(first - 0xf1)),
            0xfe => Element::Integer(i64::from(i8::from_le_bytes(self.cursor.array()?))),
            _ => return Err(RdbError::Invalid("an entry of a ziplist in an unknown encoding")),
        };
        self.last_at = self.length - before;
        self.last_size = before - self.cursor.remaining();
        self.found += 1;
        Ok(Some(element))
    }
}

/// The integers of an intset that fills `bytes`.
pub(super) fn intset(bytes: &[u8]) -> Result<impl Iterator<Item = Result<Element<'_>, RdbError>>, RdbError> {
    let mut cursor = Cursor::new(bytes);
    let width = u32::from_le_bytes(cursor.array()?);
    let count = u32::from_le_bytes(cursor.array()?);
    if !matches!(width, 2 | 4 | 8) {
        return Err(RdbError::Invalid("an intset of integers of an unknown size"));
    }
    if u64::from(width) * u64::from(count) != cursor.remaining() as u64 {
        return Err(RdbError::Invalid("an intset of another length"));
    }
    let mut previous = None;
    Ok((0..count).map(move |_| {
        let number = match width {
            2 => i64::from(i16::from_le_bytes(cursor.array()?)),
            4 => i64::from(i32::from_le_bytes(cursor.array()?)),
            _ => i64::from_le_bytes(cursor.array()?),
        };
        if previous >= Some(number) {
            return Err(RdbError::Invalid("an intset that is not in order"));
        }
        previous = Some(number);
        Ok(Element::Integer(number))
    }))
}

/// A zipmap: its fields and values, in turn.
#[derive(Debug)]
pub(super) struct Zipmap<'a> {
    cursor: Cursor<'a>,
    announced: u8,
    found: usize,
    /// The field came, its value did not.
    value_is_next: bool,
}

impl<'a> Zipmap<'a> {
    const LONG: u8 = 254;
    const END: u8 = 255;

    /// A zipmap that fills `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Elements<Self>, RdbError> {
        let mut cursor = Cursor::new(bytes);
        let announced = cursor.byte()?;
        Ok(Elements::of(Zipmap { cursor, announced, found: 0, value_is_next: false }))
    }

    fn check_end(&self) -> Result<(), RdbError> {
        if self.cursor.remaining() > 0 {
            return Err(RdbError::Invalid("bytes after the end of a zipmap"));
        }
        if self.announced < Self::LONG && usize::from(self.announced) != self.found {
            return Err(RdbError::Invalid("a zipmap with another number of fields"));
        }
        Ok(())
    }
}

impl<'a> Walk for Zipmap<'a> {
    type Element = Element<'a>;

    fn element(&mut self) -> Result<Option<Element<'a>>, RdbError> {
        let length = match self.cursor.byte()? {
            Self::END if self.value_is_next => return Err(RdbError::Invalid("a field of a zipmap without a value")),
            Self::END => return self.check_end().map(|()| None),
            Self::LONG => u32::from_le_bytes(self.cursor.array()?),
            length => u32::from(length),
        };
        let unused = if self.value_is_next { self.cursor.byte()? } else { 0 };
        let bytes = self.cursor.take(usize::try_from(length).map_err(|_| RdbError::Truncated)?)?;
        self.cursor.take(usize::from(unused))?;
        self.found += usize::from(self.value_is_next);
        self.value_is_next = !self.value_is_next;
        Ok(Some(Element::Bytes(bytes)))
    }
}
