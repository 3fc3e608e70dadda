//! The one text form of a 64-bit integer that Redis takes as a number: no sign but `-`, no leading zero, no space.
//!
//! Must not know what the number is for. Writing is the business of `itoa`: what it writes is what [`parse`] reads.

/// The longest text of a number: `-9223372036854775808`.
const MAX_LENGTH: usize = 20;

/// The number, when `text` is exactly how that number is written. `+1`, `01`, `-0`, ` 1` and the empty text are none.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return if negative { None } else { Some(0) },
        [] | [b'0', ..] => return None,
        _ if text.len() > MAX_LENGTH => return None,
        _ => {}
    }
    let mut magnitude = 0u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_a_number() {
        for number in [0, 1, -1, 10, 1234567890, i64::MAX, i64::MIN] {
            assert_eq!(parse(number.to_string().as_bytes()), Some(number));
        }
        let refused =
            ["", "-", "+1", "01", "-0", "-01", "00", " 1", "1 ", "1.0", "1e3", "0x1", "a", "1a", "9223372036854775808"];
        for text in refused.into_iter().chain(["-9223372036854775809", "18446744073709551616", "100000000000000000000"])
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
