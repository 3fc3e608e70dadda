//! One element as a reader sees it.
//!
//! Must not know in which structure the element lies.

use std::fmt;
use std::ops::Deref;

/// The longest text of a 64-bit integer: `-9223372036854775808`.
const LONGEST_INTEGER: usize = 20;

/// The bytes of an element: borrowed from where it lies, or, when an integer lies there, its text within this very
/// value. Reading one never allocates.
#[derive(Clone, Copy)]
pub struct Element<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Bytes(&'a [u8]),
    Integer { text: [u8; LONGEST_INTEGER], length: u8 },
}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(bytes: &'a [u8]) -> Element<'a> {
        Element(Form::Bytes(bytes))
    }
}

impl From<i64> for Element<'_> {
    fn from(number: i64) -> Self {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let mut text = [0; LONGEST_INTEGER];
        text[..digits.len()].copy_from_slice(digits);
        Element(Form::Integer { text, length: digits.len() as u8 })
    }
}

impl Deref for Element<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Bytes(bytes) => bytes,
            Form::Integer { text, length } => &text[..usize::from(*length)],
        }
    }
}

impl From<Element<'_>> for Box<[u8]> {
    fn from(element: Element<'_>) -> Box<[u8]> {
        (*element).into()
    }
}

impl From<Element<'_>> for Vec<u8> {
    fn from(element: Element<'_>) -> Vec<u8> {
        element.to_vec()
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_reads_as_its_text() {
        for number in [0, 7, -7, 1_000, i64::MAX, i64::MIN] {
            assert_eq!(*Element::from(number), *number.to_string().as_bytes());
        }
        assert_eq!(*Element::from(&b"\xff\0"[..]), *b"\xff\0");
        assert!(size_of::<Element<'_>>() <= 24);
    }
}
