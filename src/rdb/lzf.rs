//! Decompression of LZF, the one compression that RDB knows.
//!
//! Source: the description of the format in the documentation of liblzf and of its descendants. A byte below 32 announces
//! that many literal bytes and one more. Any other byte is a copy of what came before: its upper three bits are the
//! length less 2 (all ones: the next byte is added), its lower five bits and the byte behind are the distance less 1.

use super::RdbError;
use super::reader::Cursor;

/// No byte of compressed input makes more than this many bytes of output: three bytes copy 264 at most.
pub(super) const MOST_EXPANSION: usize = 88;

/// The `length` bytes that `input` stands for.
///
/// # Errors
/// Another length, or a copy from before the beginning.
pub(super) fn decompress(input: &[u8], length: usize) -> Result<Vec<u8>, RdbError> {
    if length > input.len().saturating_mul(MOST_EXPANSION) {
        return Err(RdbError::Invalid("a compressed string that claims more than it can hold"));
    }
    let mut output = Vec::with_capacity(length);
    let mut cursor = Cursor::new(input);
    while cursor.remaining() > 0 {
        let control = usize::from(cursor.byte()?);
        let room = length - output.len();
        if control < 32 {
            let literal = cursor.take(control + 1)?;
            if literal.len() > room {
                return Err(RdbError::Invalid("a compressed string that is longer than it claims"));
            }
            output.extend_from_slice(literal);
            continue;
        }
        let mut count = (control >> 5) + 2;
        if count == 9 {
            count += usize::from(cursor.byte()?);
        }
        let distance = ((control & 0x1f) << 8) + usize::from(cursor.byte()?) + 1;
        if count > room {
            return Err(RdbError::Invalid("a compressed string that is longer than it claims"));
        }
        let Some(from) = output.len().checked_sub(distance) else {
            return Err(RdbError::Invalid("a compressed string that refers to before its beginning"));
        };
        if count <= distance {
            output.extend_from_within(from..from + count);
        } else {
            // The copy reads what it has just written: that is how runs are compressed.
            for at in from..from + count {
                output.push(output[at]);
            }
        }
    }
    if output.len() != length {
        return Err(RdbError::Invalid("a compressed string that is shorter than it claims"));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_copies_and_runs() {
        assert_eq!(decompress(&[2, b'a', b'b', b'c', 0x20, 2], 6), Ok(b"abcabc".to_vec()));
        assert_eq!(decompress(&[0, b'x', 0xe0, 0xff, 0], 265), Ok(vec![b'x'; 265]));
        assert_eq!(decompress(&[1, b'a', b'b', 0x60, 1], 7), Ok(b"abababa".to_vec()));
        assert_eq!(decompress(&[], 0), Ok(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases: [(&[u8], usize); 8] = [
            (&[2, b'a', b'b', b'c'], 2),
            (&[2, b'a', b'b', b'c'], 4),
            (&[2, b'a', b'b'], 3),
            (&[0, b'x', 0x20, 1], 4),
            (&[0, b'x', 0x20, 0], 3),
            (&[0, b'x', 0xe0, 9], 20),
            (&[0, b'x', 0xe0, 0xff, 0], 1 << 30),
            (&[0x20, 0], 3),
        ];
        for (input, length) in cases {
            assert!(decompress(input, length).is_err(), "{input:?} {length}");
        }
    }
}
