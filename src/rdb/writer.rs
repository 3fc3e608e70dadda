//! Writing lengths and strings, in the shortest form.

/// Appends a length, or any other number that is written like one.
pub fn write_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a string: as an integer, if it is the text of one of up to 32 bits.
pub fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    match integer(string) {
        Some(number) => {
            if let Ok(number) = i8::try_from(number) {
                out.push(0xc0);
                out.extend_from_slice(&number.to_le_bytes());
            } else if let Ok(number) = i16::try_from(number) {
                out.push(0xc1);
                out.extend_from_slice(&number.to_le_bytes());
            } else {
                out.push(0xc2);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        None => write_blob(out, string),
    }
}

/// Appends a string as it is.
pub fn write_blob(out: &mut Vec<u8>, string: &[u8]) {
    write_length(out, string.len() as u64);
    out.extend_from_slice(string);
}

/// The integer of which `text` is the one decimal form.
fn integer(text: &[u8]) -> Option<i32> {
    /// The digits of -2147483648.
    const LONGEST: usize = 11;
    if text.len() > LONGEST {
        return None;
    }
    let number: i32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn lengths_come_back_in_the_shortest_form() {
        let cases = [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 5), (u64::from(u32::MAX), 5), (1 << 32, 9)];
        for (length, size) in cases.into_iter().chain([(u64::MAX, 9)]) {
            let mut out = Vec::new();
            write_length(&mut out, length);
            assert_eq!((out.len(), Reader::new(&out).length()), (size, Ok(length)));
        }
    }

    #[test]
    fn only_canonical_integers_are_written_as_integers() {
        let cases: [(&str, usize); 15] = [
            ("0", 2),
            ("-1", 2),
            ("127", 2),
            ("-128", 2),
            ("128", 3),
            ("-32768", 3),
            ("32768", 5),
            ("-2147483648", 5),
            ("2147483648", 11),
            ("-2147483649", 12),
            ("-0", 3),
            ("+1", 3),
            ("01", 3),
            ("", 1),
            ("1 ", 3),
        ];
        for (text, size) in cases {
            let mut out = Vec::new();
            write_string(&mut out, text.as_bytes());
            assert_eq!((out.len(), Reader::new(&out).string().as_deref()), (size, Ok(text.as_bytes())), "{text}");
        }
    }
}
