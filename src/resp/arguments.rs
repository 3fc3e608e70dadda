//! One request's arguments, as views into the connection's input buffer: nothing is copied.

use std::ops::{Index, Range};

/// The words of one request; the first is the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    input: &'a [u8],
    ranges: &'a [Range<u32>],
}

impl<'a> Arguments<'a> {
    /// `ranges` lie within `input`: the parser made both.
    pub fn new(input: &'a [u8], ranges: &'a [Range<u32>]) -> Self {
        Arguments { input, ranges }
    }

    /// How many words there are, the command's name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// An empty request.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// One word, if there are that many.
    pub fn get(&self, at: usize) -> Option<&'a [u8]> {
        self.ranges.get(at).map(|range| &self.input[range.start as usize..range.end as usize])
    }

    /// All words from `from` on.
    pub fn from(&self, from: usize) -> Arguments<'a> {
        Arguments { input: self.input, ranges: &self.ranges[from.min(self.ranges.len())..] }
    }

    /// The buffer in which the words lie, and where in it.
    pub fn parts(&self) -> (&'a [u8], &'a [Range<u32>]) {
        (self.input, self.ranges)
    }

    /// All words in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone + use<'a> {
        let input = self.input;
        self.ranges.iter().map(move |range| &input[range.start as usize..range.end as usize])
    }
}

impl Index<usize> for Arguments<'_> {
    type Output = [u8];

    fn index(&self, at: usize) -> &[u8] {
        let range = &self.ranges[at];
        &self.input[range.start as usize..range.end as usize]
    }
}
