//! Numbers as C writes and reads them: `%.14g` and `strtod`.
//!
//! It must not know JSON.

use std::io::Write;

/// Writes a finite number with that many significant digits (1 to 14), like `%.{precision}g` of C.
pub(super) fn write(output: &mut Vec<u8>, number: f64, precision: usize) {
    if number.fract() == 0.0 && number.abs() < 10f64.powi(precision as i32) && number.to_bits() != NEGATIVE_ZERO {
        output.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
        return;
    }
    // An exact conversion, rounded to that many digits: a digit, a point, digits, and an exponent, which decides the form.
    let start = output.len();
    write!(output, "{number:.*e}", precision - 1).expect("memory takes what is written");
    let written = output.split_off(start);
    let letter = written.iter().position(|&byte| byte == b'e').expect("an exponent is always written");
    let exponent = std::str::from_utf8(&written[letter + 1..]).ok().and_then(|text| text.parse::<i32>().ok());
    let exponent = exponent.expect("the exponent of a float is a small number");
    let (sign, digits) = written[..letter].split_at(usize::from(written[0] == b'-'));
    let mut digits: Vec<u8> = digits.iter().copied().filter(u8::is_ascii_digit).collect();
    while digits.len() > 1 && digits.ends_with(b"0") {
        digits.pop();
    }
    output.extend_from_slice(sign);
    if exponent < -4 || exponent >= precision as i32 {
        with_point(output, &digits, 1);
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(output, "e{sign}{:02}", exponent.unsigned_abs()).expect("memory takes what is written");
    } else if exponent < 0 {
        output.extend_from_slice(&b"0.000"[..(1 - exponent) as usize]);
        output.extend_from_slice(&digits);
    } else {
        with_point(output, &digits, exponent as usize + 1);
    }
}

const NEGATIVE_ZERO: u64 = 1 << 63;

/// Digits with a point behind so many of them, if there are more; zeros in their place if there are less.
fn with_point(output: &mut Vec<u8>, digits: &[u8], whole: usize) {
    let (before, behind) = digits.split_at(whole.min(digits.len()));
    output.extend_from_slice(before);
    output.resize(output.len() + whole - before.len(), b'0');
    if !behind.is_empty() {
        output.push(b'.');
        output.extend_from_slice(behind);
    }
}

/// Reads the longest number at the start, in any form that `strtod` takes but without blanks in front, and says how many bytes it has.
pub(super) fn read(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let rest = &text[sign..];
    let (number, length) = if starts_with(rest, b"0x") {
        hexadecimal(&rest[2..]).map_or((0.0, 1), |(number, length)| (number, 2 + length))
    } else if starts_with(rest, b"infinity") {
        (f64::INFINITY, 8)
    } else if starts_with(rest, b"inf") {
        (f64::INFINITY, 3)
    } else if starts_with(rest, b"nan") {
        not_a_number(rest)
    } else {
        decimal(rest)?
    };
    Some((if text[0] == b'-' { -number } else { number }, sign + length))
}

/// Whether it starts so, in letters of any size.
pub(super) fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

fn digits(text: &[u8], is_digit: fn(&u8) -> bool) -> usize {
    text.iter().take_while(|byte| is_digit(byte)).count()
}

/// Digits, perhaps with a point: how many bytes, and whether there is a digit.
fn mantissa(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<usize> {
    let whole = digits(text, is_digit);
    let mut end = whole;
    let mut fraction = 0;
    if text.get(end) == Some(&b'.') {
        fraction = digits(&text[end + 1..], is_digit);
        end += 1 + fraction;
    }
    (whole + fraction > 0).then_some(end)
}

/// The bytes of an exponent that starts with that letter; 0 when there is none.
fn exponent(text: &[u8], letter: u8) -> usize {
    if !text.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&letter)) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    match digits(&text[1 + sign..], u8::is_ascii_digit) {
        0 => 0,
        count => 1 + sign + count,
    }
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let end = mantissa(text, u8::is_ascii_digit)?;
    let end = end + exponent(&text[end..], b'e');
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// What follows `0x`. None when there is no digit.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let end = mantissa(text, u8::is_ascii_hexdigit)?;
    let exponent_end = end + exponent(&text[end..], b'p');
    // The first 64 bits, one bit for all behind them, and how many bits those are.
    let (mut bits, mut rest, mut scale, mut point) = (0u64, false, 0i64, false);
    for &byte in &text[..end] {
        if byte == b'.' {
            point = true;
            continue;
        }
        let digit = (byte as char).to_digit(16).map_or(0, u64::from);
        if bits >> 60 == 0 {
            bits = bits << 4 | digit;
            scale -= if point { 4 } else { 0 };
        } else {
            rest |= digit != 0;
            scale += if point { 0 } else { 4 };
        }
    }
    let number = if exponent_end > end + 1 { &text[end + 1..exponent_end] } else { b"0" };
    let negative = number[0] == b'-';
    let written = number.iter().filter(|byte| byte.is_ascii_digit());
    let power = written.fold(0i64, |power, byte| (power * 10 + i64::from(byte - b'0')).min(1 << 40));
    Some((scaled(bits, rest, scale + if negative { -power } else { power }), exponent_end))
}

/// `bits` times two to a power, rounded once to the nearest even; `rest` says that there is a little more.
fn scaled(bits: u64, rest: bool, power: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    // The value is bits * 2^power. A float has 53 bits, and less below 2^-1022.
    let highest = 63 - i64::from(bits.leading_zeros()) + power;
    if highest > 1023 {
        return f64::INFINITY;
    }
    let lowest = (highest - 52).max(-1074);
    let cut = lowest - power;
    let kept = if cut <= 0 {
        bits << -cut
    } else if cut > 64 {
        0
    } else {
        let whole = if cut == 64 { 0 } else { bits >> cut };
        let half = 1u64 << (cut - 1);
        let below = bits & (half - 1);
        let up = bits & half != 0 && (below != 0 || rest || whole & 1 == 1);
        whole + u64::from(up)
    };
    // Exact: kept has at most 53 bits, or is 2^53.
    let step = if lowest < -1022 { f64::from_bits(1 << (lowest + 1074)) } else { 2f64.powi(lowest as i32) };
    kept as f64 * step
}

/// `nan`, or `nan(…)` with letters, digits and underscores, which tell the low bits when they are a number.
fn not_a_number(text: &[u8]) -> (f64, usize) {
    if text.get(3) == Some(&b'(') {
        let length = digits(&text[4..], |byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if text.get(4 + length) == Some(&b')') {
            let payload = std::str::from_utf8(&text[4..4 + length]).unwrap_or_default();
            let (digits, radix) = match payload.strip_prefix("0x").or(payload.strip_prefix("0X")) {
                Some(digits) => (digits, 16),
                None if payload.starts_with('0') => (payload, 8),
                None => (payload, 10),
            };
            let low = u64::from_str_radix(digits, radix).unwrap_or(0) & ((1 << 51) - 1);
            return (f64::from_bits(0x7ff8 << 48 | low), 5 + length);
        }
    }
    (f64::from_bits(0x7ff8 << 48), 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f64, precision: usize) -> String {
        let mut output = Vec::new();
        write(&mut output, number, precision);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn written_as_by_printf() {
        let cases = [
            (1e14, 14, "1e+14"),
            (123456789012345.0, 14, "1.2345678901234e+14"),
            (99999999999999.9, 14, "1e+14"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (-0.0, 14, "-0"),
            (0.0001, 14, "0.0001"),
            (0.00001, 14, "1e-05"),
            (5e-324, 14, "4.9406564584125e-324"),
            (f64::MAX, 14, "1.7976931348623e+308"),
            (100.0, 1, "1e+02"),
            (12345.0, 3, "1.23e+04"),
            (100.5, 3, "100"),
            (0.00012345, 3, "0.000123"),
            (-0.05, 14, "-0.05"),
            (150.0, 2, "1.5e+02"),
            (99.6, 2, "1e+02"),
            (1234.5, 14, "1234.5"),
            (-1234567.0, 14, "-1234567"),
        ];
        for (number, precision, expected) in cases {
            assert_eq!(written(number, precision), expected);
        }
    }

    #[test]
    fn read_as_by_strtod() {
        let cases = [
            ("1.5e3x", 1500.0, 5),
            ("1e", 1.0, 1),
            ("1.e2", 100.0, 4),
            ("-.5", -0.5, 3),
            ("0x", 0.0, 1),
            ("0x.8", 0.5, 4),
            ("0x1.8p-3", 0.1875, 8),
            ("0x1p+", 1.0, 3),
            ("0x1fffffffffffffffff", 590_295_810_358_705_651_711.0, 20),
            ("0x1p-1074", 5e-324, 9),
            ("0x1p-1075", 0.0, 9),
            ("0x1.8p-1075", 5e-324, 11),
            ("0x1p-1080", 0.0, 9),
            ("0x1.fffffffffffff8p1023", f64::INFINITY, 23),
            ("0x1p99999999999999999999", f64::INFINITY, 24),
            ("infinity", f64::INFINITY, 8),
            ("-infini", f64::NEG_INFINITY, 4),
            ("1e400", f64::INFINITY, 5),
        ];
        for (text, number, length) in cases {
            assert_eq!(read(text.as_bytes()), Some((number, length)), "{text}");
        }
        for text in ["", "-", "+-1", ".", "-.e1", "- 1", "x"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
        let (number, length) = read(b"-nan(0x7)").unwrap();
        assert_eq!((number.to_bits(), length), (0xfff8_0000_0000_0007, 9));
        assert_eq!(read(b"nan(a-)").unwrap().1, 3);
    }
}
