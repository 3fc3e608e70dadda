//! What the elements looked like that were removed from a list: enough to know one again.
//!
//! Positions tell every node that applies a removal as it was made which elements are meant. When an effect has to be made again by another
//! node, on top of another list, they do not (see `keyspace::made_again`).

use std::fmt;

use crc::{CRC_32_ISCSI, Crc, Table};
use smallvec::SmallVec;

use crate::effects::{CodecError, Reader};

const BYTES: usize = 4;
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// For each position that is removed, in the order of the [`super::Ranges`], a checksum of the element there. None at all for
/// removals of more than [`Prints::MOST`] elements: they would cost more than they are worth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Prints<'a>(&'a [u8]);

impl<'a> Prints<'a> {
    /// It was not noted what the elements looked like.
    pub const NONE: Prints<'static> = Prints(&[]);
    /// The most elements of one removal of which it is noted.
    pub const MOST: u64 = 16;

    /// What an element looks like: its CRC-32C.
    pub fn of(element: &[u8]) -> u32 {
        CHECKSUM.checksum(element)
    }

    /// Is it not known what they looked like?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What each of them looked like.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.as_chunks::<BYTES>().0.iter().copied().map(u32::from_le_bytes)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }

    pub(super) fn read(reader: &mut Reader<'a>, count: u64) -> Result<Prints<'a>, CodecError> {
        match usize::try_from(count) {
            Ok(count) if count as u64 <= Prints::MOST => Ok(Prints(reader.take(count * BYTES)?)),
            _ => Err(CodecError::Invalid("what too many elements looked like")),
        }
    }
}

impl fmt::Debug for Prints<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Collects [`Prints`].
#[derive(Debug, Default)]
pub struct PrintsWriter(SmallVec<[u8; BYTES * Prints::MOST as usize]>);

impl PrintsWriter {
    /// Adds that of the next position.
    pub fn push(&mut self, print: u32) {
        self.0.extend_from_slice(&print.to_le_bytes());
    }

    /// What was added.
    pub fn prints(&self) -> Prints<'_> {
        Prints(&self.0)
    }
}
