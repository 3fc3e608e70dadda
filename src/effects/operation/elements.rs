//! The elements of one push, wherever they lie: a request's arguments become part of an effect without a copy between.

use std::fmt;
use std::ops::Range;

use crate::effects::{CodecError, Reader, write_bytes, write_varint};

/// One or more byte strings, in order.
#[derive(Clone, Copy)]
pub struct Elements<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    One(Option<&'a [u8]>),
    /// Ranges of a buffer.
    Parts(&'a [u8], &'a [Range<u32>]),
    /// So many in the wire form, which was checked.
    Encoded(usize, &'a [u8]),
}

impl<'a> Elements<'a> {
    /// A single one.
    pub fn one(element: &'a [u8]) -> Elements<'a> {
        Elements(Form::One(Some(element)))
    }

    /// Parts of a buffer, which must lie within it; at least one.
    pub fn parts(buffer: &'a [u8], parts: &'a [Range<u32>]) -> Elements<'a> {
        assert!(!parts.is_empty(), "nobody pushes nothing");
        Elements(Form::Parts(buffer, parts))
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self.0 {
            Form::One(element) => usize::from(element.is_some()),
            Form::Parts(_, parts) => parts.len(),
            Form::Encoded(count, _) => count,
        }
    }

    /// Is there none? Never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || match &mut rest {
            Form::One(element) => element.take(),
            Form::Parts(buffer, parts) => {
                let (first, others) = parts.split_first()?;
                *parts = others;
                Some(&buffer[first.start as usize..first.end as usize])
            }
            Form::Encoded(_, bytes) => {
                let mut reader = Reader::new(bytes);
                let element = reader.bytes().ok()?;
                *bytes = &bytes[bytes.len() - reader.remaining()..];
                Some(element)
            }
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.len() as u64);
        for element in self.iter() {
            write_bytes(out, element);
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Elements<'a>, CodecError> {
        let count = reader.varint()?;
        if count == 0 {
            return Err(CodecError::Invalid("a push of nothing"));
        }
        let mut whole = reader.clone();
        for _ in 0..count {
            reader.bytes()?;
        }
        let encoded = whole.take(whole.remaining() - reader.remaining())?;
        // So many lie in memory: the number fits.
        Ok(Elements(Form::Encoded(count as usize, encoded)))
    }
}

impl PartialEq for Elements<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Elements<'_> {}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter().map(|element| element.escape_ascii().to_string())).finish()
    }
}
