//! The words of an inline request: a line as a person types it, with quotes.

use std::ops::Range;

/// A quote that is not closed, or closed in the middle of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Splits a line (at most 64 KiB, without its line break) into words: their bytes go to `unquoted`, their places in it
/// to `ranges`. Both are emptied first.
///
/// Words are separated by white space. Within double quotes, `\n \r \t \b \a \xHH` stand for bytes and a backslash
/// before anything else for that byte; within single quotes only `\'` is special. A closing quote ends its word.
pub(super) fn split(line: &[u8], unquoted: &mut Vec<u8>, ranges: &mut Vec<Range<u32>>) -> Result<(), Unbalanced> {
    unquoted.clear();
    ranges.clear();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = unquoted.len() as u32;
        rest = word(rest, unquoted)?;
        ranges.push(start..unquoted.len() as u32);
    }
}

/// The words of a line in this form, of at most 4 GiB; none when a quote is not closed, or closed in the middle of a
/// word.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut unquoted, mut ranges) = (Vec::new(), Vec::new());
    split(line, &mut unquoted, &mut ranges).ok()?;
    Some(ranges.into_iter().map(|range| unquoted[range.start as usize..range.end as usize].to_vec()).collect())
}

/// Reads one word; returns what follows it.
fn word<'a>(mut rest: &'a [u8], unquoted: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', quoted @ ..] => return closed(double_quoted(quoted, unquoted)?),
            [b'\'', quoted @ ..] => return closed(single_quoted(quoted, unquoted)?),
            [byte, after @ ..] => {
                unquoted.push(*byte);
                rest = after;
            }
        }
    }
}

/// A closing quote must be followed by white space or the end.
fn closed(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => Err(Unbalanced),
        _ => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], unquoted: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match rest {
            [] => return Err(Unbalanced),
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(*high) << 4 | hex_digit(*low), after)
            }
            [b'\\', escaped, after @ ..] => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, after)
            }
            [byte, after @ ..] => (*byte, after),
        };
        unquoted.push(byte);
        rest = after;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], unquoted: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, after) = match rest {
            [] => return Err(Unbalanced),
            [b'\'', after @ ..] => return Ok(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        unquoted.push(byte);
        rest = after;
    }
}

/// White space between words, as the C locale has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let (mut unquoted, mut ranges) = (b"old".to_vec(), Vec::new());
        split(line, &mut unquoted, &mut ranges).ok()?;
        Some(ranges.iter().map(|range| unquoted[range.start as usize..range.end as usize].to_vec()).collect())
    }

    #[test]
    fn words_quotes_and_escapes() {
        let cases: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b" \t ", &[]),
            (b"SET  key\tvalue ", &[b"SET", b"key", b"value"]),
            (b"\"\" ''", &[b"", b""]),
            (b"a\"b c\" d", &[b"ab c", b"d"]),
            (br#""\x41\x4g\n\r\t\b\a\q\\\"""#, &[b"Ax4g\n\r\t\x08\x07q\\\""]),
            (br"'a\'b\n'", &[br"a'b\n"]),
            (b"a\x0b b", &[b"a\x0b", b"b"]),
            (b"\"a\"\x0bb", &[b"a", b"b"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).expect("balanced"), expected, "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn quotes_that_do_not_balance() {
        for line in [&b"\"a"[..], b"'a", b"\"a\"b", b"'a'b", b"\"a\\", b"\"a\\\"", b"'a\\'"] {
            assert_eq!(words(line), None, "{:?}", String::from_utf8_lossy(line));
        }
    }
}
