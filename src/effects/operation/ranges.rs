//! Positions in a list, as ranges: ascending, none empty, none touching another.
//!
//! Wire form: their number, then for each the distance from the end of the one before (or from 0) and its length.

use std::fmt;
use std::ops::Range;

use crate::effects::{CodecError, Reader, write_varint};

/// No list is longer.
const MAX_POSITION: u64 = 1 << 62;

/// One or more ranges.
#[derive(Clone, Copy)]
pub struct Ranges<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    /// From 0: so many.
    First(u64),
    /// So many ranges in the wire form, which was checked.
    Encoded(u64, &'a [u8]),
}

impl<'a> Ranges<'a> {
    /// The first positions; at least one.
    pub fn first(count: u64) -> Ranges<'a> {
        assert!((1..=MAX_POSITION).contains(&count), "positions that a list has");
        Ranges(Form::First(count))
    }

    /// How many positions there are, if they are the first ones.
    pub fn at_the_end(&self) -> Option<u64> {
        let mut ranges = self.iter();
        match (ranges.next(), ranges.next()) {
            (Some(only), None) if only.start == 0 => Some(only.end),
            _ => None,
        }
    }

    /// How many positions they hold.
    pub fn positions(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + use<'a> {
        let (first, bytes) = match self.0 {
            Form::First(count) => (Some(0..count), &[][..]),
            Form::Encoded(_, bytes) => (None, bytes),
        };
        let (mut reader, mut end) = (Reader::new(bytes), 0);
        first.into_iter().chain(std::iter::from_fn(move || {
            let range = read_range(&mut reader, end).ok()?;
            end = range.end;
            Some(range)
        }))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.0 {
            Form::First(count) => [1, 0, count].into_iter().for_each(|number| write_varint(out, number)),
            Form::Encoded(count, bytes) => {
                write_varint(out, count);
                out.extend_from_slice(bytes);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Ranges<'a>, CodecError> {
        let count = reader.varint()?;
        if count == 0 {
            return Err(CodecError::Invalid("a removal of nothing"));
        }
        let mut whole = reader.clone();
        let mut end = 0;
        for _ in 0..count {
            end = read_range(reader, end)?.end;
        }
        Ok(Ranges(Form::Encoded(count, whole.take(whole.remaining() - reader.remaining())?)))
    }

    pub(super) fn read_at_the_end(reader: &mut Reader<'a>) -> Result<Ranges<'a>, CodecError> {
        match reader.varint()? {
            count @ 1..=MAX_POSITION => Ok(Ranges(Form::First(count))),
            _ => Err(CodecError::Invalid("a removal of what no list has")),
        }
    }
}

fn read_range(reader: &mut Reader<'_>, end: u64) -> Result<Range<u64>, CodecError> {
    let (distance, length) = (reader.varint()?, reader.varint()?);
    let start = end.checked_add(distance);
    let range = start.and_then(|start| Some(start..start.checked_add(length)?));
    range
        .filter(|range| !range.is_empty() && range.end <= MAX_POSITION)
        .ok_or(CodecError::Invalid("a removal of what no list has"))
}

impl PartialEq for Ranges<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ranges<'_> {}

impl fmt::Debug for Ranges<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Collects ascending positions.
#[derive(Debug, Default)]
pub struct RangesWriter {
    bytes: Vec<u8>,
    count: u64,
    /// The range that may still grow, and where the one before it ended.
    last: Option<Range<u64>>,
    end: u64,
}

impl RangesWriter {
    /// Adds a position, which is higher than those before.
    pub fn push(&mut self, position: u64) {
        match &mut self.last {
            Some(last) if last.end == position => last.end += 1,
            _ => {
                self.close();
                self.last = Some(position..position + 1);
            }
        }
    }

    fn close(&mut self) {
        let Some(last) = self.last.take() else { return };
        assert!(self.end <= last.start, "positions ascend");
        write_varint(&mut self.bytes, last.start - self.end);
        write_varint(&mut self.bytes, last.end - last.start);
        self.end = last.end;
        self.count += 1;
    }

    /// What was added; at least one position.
    pub fn ranges(&mut self) -> Ranges<'_> {
        self.close();
        assert!(self.count > 0, "nobody removes nothing");
        Ranges(Form::Encoded(self.count, &self.bytes))
    }
}
