//! Floats among the arguments, read as C's `strtod` reads them: Redis leaves it to that function what a number is.
//!
//! Must not know which command a number belongs to.

/// What was read, and where it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Read {
    value: f64,
    /// Bytes that belong to the number; 0 when there is none.
    length: usize,
    /// A number that is not zero became zero, or infinite.
    out_of_range: bool,
}

/// A whole argument as a number, e.g. a score: no space in front, nothing behind, no overflow, no NaN.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    if text.first().is_none_or(|&byte| is_space(byte)) {
        return None;
    }
    let read = read(text);
    (read.length == text.len() && !read.out_of_range && !read.value.is_nan()).then_some(read.value)
}

/// The end of a range of scores. Here space in front is allowed, an empty text is 0, the text ends at a zero byte, and what
/// is too large is infinite.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    let read = read(text);
    let ends = text.get(read.length).is_none_or(|&byte| byte == 0);
    (ends && !read.value.is_nan()).then_some(read.value)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn read(text: &[u8]) -> Read {
    let space = text.iter().take_while(|&&byte| is_space(byte)).count();
    let signed = &text[space..];
    let (negative, number) = match signed {
        [b'-', number @ ..] => (true, number),
        [b'+', number @ ..] => (false, number),
        number => (false, number),
    };
    let mut read = read_unsigned(number);
    if read.length > 0 {
        read.length += text.len() - number.len();
    }
    if negative {
        read.value = -read.value;
    }
    read
}

fn read_unsigned(text: &[u8]) -> Read {
    let starts_with = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let special = |value: f64, length: usize| Read { value, length, out_of_range: false };
    if starts_with(b"infinity") {
        return special(f64::INFINITY, 8);
    }
    if starts_with(b"inf") {
        return special(f64::INFINITY, 3);
    }
    if starts_with(b"nan") {
        let inner = text[3..].strip_prefix(b"(").and_then(|rest| {
            let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')?;
            (rest[end] == b')').then_some(end + 2)
        });
        return special(f64::NAN, 3 + inner.unwrap_or(0));
    }
    if starts_with(b"0x") {
        let read = read_hexadecimal(&text[2..]);
        if read.length > 0 {
            return Read { length: read.length + 2, ..read };
        }
    }
    read_decimal(text)
}

/// How many digits stand in front of the point and behind it, and the length of both with the point.
fn count_digits(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> (usize, usize, usize) {
    let count = |text: &[u8]| text.iter().take_while(|&byte| is_digit(byte)).count();
    let whole = count(text);
    match text.get(whole) {
        Some(b'.') => {
            let fraction = count(&text[whole + 1..]);
            (whole, fraction, if whole + fraction > 0 { whole + 1 + fraction } else { 0 })
        }
        _ => (whole, 0, whole),
    }
}

/// An exponent behind its letter: its value, kept within what matters, and its length with the letter.
fn read_exponent(text: &[u8], letter: u8) -> (i64, usize) {
    let [first, rest @ ..] = text else { return (0, 0) };
    if !first.eq_ignore_ascii_case(&letter) {
        return (0, 0);
    }
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return (0, 0);
    }
    let exponent = digits[..count].iter().fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1 << 40));
    (if negative { -exponent } else { exponent }, text.len() - digits.len() + count)
}

fn read_decimal(text: &[u8]) -> Read {
    let (.., length) = count_digits(text, u8::is_ascii_digit);
    if length == 0 {
        return Read { value: 0.0, length: 0, out_of_range: false };
    }
    let is_zero = text[..length].iter().all(|byte| matches!(byte, b'0' | b'.'));
    let length = length + read_exponent(&text[length..], b'e').1;
    let value = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Read { value, length, out_of_range: f64::is_infinite(value) || value == 0.0 && !is_zero }
}

fn read_hexadecimal(text: &[u8]) -> Read {
    let (whole, _, length) = count_digits(text, u8::is_ascii_hexdigit);
    if length == 0 {
        return Read { value: 0.0, length: 0, out_of_range: false };
    }
    // The first digits, and whether anything follows them: enough to round once.
    let (mut mantissa, mut exponent, mut rest) = (0u64, 0i64, false);
    for (at, byte) in text[..length].iter().enumerate() {
        let Some(digit) = char::from(*byte).to_digit(16) else { continue };
        if mantissa >> 59 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if at > whole { 4 } else { 0 };
        } else {
            rest |= digit != 0;
            exponent += if at < whole { 4 } else { 0 };
        }
    }
    let (power, power_length) = read_exponent(&text[length..], b'p');
    let value = scale(mantissa, rest, exponent.saturating_add(power));
    let out_of_range = value.is_infinite() || value == 0.0 && mantissa != 0;
    Read { value, length: length + power_length, out_of_range }
}

/// `mantissa` × 2^`exponent`, rounded to the nearest float, ties to even. `rest`: there is a little more than `mantissa`.
fn scale(mantissa: u64, rest: bool, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = 64 - i64::from(mantissa.leading_zeros());
    // The exponent of the leading bit says how many bits are kept: 53, and fewer below 2^-1022.
    let leading = exponent + bits - 1;
    if leading > 1023 {
        return f64::INFINITY;
    }
    let kept = 53.min(leading + 1075);
    if kept < 0 {
        return 0.0;
    }
    let dropped = bits - kept;
    let (kept_bits, exponent) = if dropped <= 0 {
        (mantissa, exponent)
    } else {
        let half = 1u64 << (dropped - 1);
        let low = mantissa & (half | (half - 1));
        let high = if dropped == 64 { 0 } else { mantissa >> dropped };
        let up = low > half || low == half && (rest || high & 1 == 1);
        (high + u64::from(up), exponent + dropped)
    };
    // All factors are exact; two steps, since a power of two may be beyond what a float holds by itself.
    let first = exponent.clamp(-1000, 1000);
    kept_bits as f64 * 2f64.powi(first as i32) * 2f64.powi((exponent - first) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_strtod() {
        let numbers = [
            ("0", 0.0),
            ("-1.5e3", -1500.0),
            ("+5", 5.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("007", 7.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("5e-324", 5e-324),
            ("0e99999", 0.0),
            ("0x10", 16.0),
            ("-0X1.8p1", -3.0),
            ("0x.8", 0.5),
            ("0x1p-1074", 5e-324),
            ("0x1.fffffffffffff7fffp0", 1.9999999999999998),
            ("0x1.fffffffffffff8p1023", 0.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080001p0", 1.0000000000000002),
            ("0x100000000000000000000", 2f64.powi(80)),
            ("0x1p1023", 2f64.powi(1023)),
        ];
        for (text, number) in numbers {
            let expected = if text == "0x1.fffffffffffff8p1023" { None } else { Some(number) };
            assert_eq!(parse_float(text.as_bytes()), expected, "{text}");
        }
        for text in
            ["", " 1", "1 ", "nan", "NaN(x)", "1e", "e5", "abc", "1\0", "0x", "0xp1", "--1", "1,5", "1e999", "1e-999"]
        {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_read_with_less_care() {
        let bounds: [(&[u8], Option<f64>); 8] = [
            (b"", Some(0.0)),
            (b" 1", Some(1.0)),
            (b"1\0x", Some(1.0)),
            (b"1e999", Some(f64::INFINITY)),
            (b"1e-999", Some(0.0)),
            (b"1 ", None),
            (b"nan", None),
            (b"x", None),
        ];
        for (text, number) in bounds {
            assert_eq!(parse_bound(text), number);
        }
    }
}
