//! The arithmetic of INCRBYFLOAT and HINCRBYFLOAT: x86-64's 80-bit `long double`, in software.
//!
//! Redis reads both numbers with `strtold`, adds them in extended precision (64 bits of mantissa, rounded to the nearest,
//! ties to even) and writes the sum with 17 digits after the point, without trailing zeros. Every step is done here
//! exactly, on big integers, and rounded once, so that the text is the same on every machine: in a cluster each member
//! adds for itself.
//!
//! Must not know which command or key a number belongs to.

use std::cmp::Ordering;

use num_bigint::BigUint;
use thiserror::Error;

/// Bits of the mantissa, the leading one included.
const MANTISSA_BITS: u64 = 64;
/// The exponent of the smallest positive number, 2^-16445.
const MIN_EXPONENT: i64 = -16445;
/// The exponent of the last bit of the largest finite numbers.
const MAX_EXPONENT: i64 = 16383 - 63;
/// A text of this many bytes or more is not taken as a number.
const TEXT_LIMIT: usize = 5 * 1024;
/// Digits after the point in the sum's text.
const FRACTION_DIGITS: usize = 17;
/// Decimal exponents (of the first digit) beyond these bounds are infinite or zero whatever the digits are.
const DECIMAL_BOUNDS: (i64, i64) = (-4970, 4940);
/// The same for binary exponents.
const BINARY_BOUNDS: (i64, i64) = (-16500, 16400);

/// Why two texts have no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FloatError {
    /// The current value is not the text of a number.
    #[error("the value is not a number")]
    CurrentNotAFloat,
    /// The increment is not the text of a number.
    #[error("the increment is not a number")]
    IncrementNotAFloat,
    /// The sum is infinite or not a number.
    #[error("the sum is not finite")]
    NotFinite,
}

/// A number: ± mantissa × 2^exponent, or ± infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongDouble {
    Infinite,
    Finite { negative: bool, mantissa: u64, exponent: i64 },
}

/// The text of `current + increment`.
pub fn add(current: &[u8], increment: &[u8]) -> Result<Vec<u8>, FloatError> {
    let current = parse(current).ok_or(FloatError::CurrentNotAFloat)?;
    let increment = parse(increment).ok_or(FloatError::IncrementNotAFloat)?;
    match sum(current, increment) {
        LongDouble::Infinite => Err(FloatError::NotFinite),
        LongDouble::Finite { negative, mantissa, exponent } => Ok(format(negative, mantissa, exponent)),
    }
}

/// Is this the text of a number? An infinity is one.
pub fn is_valid(text: &[u8]) -> bool {
    parse(text).is_some()
}

/// Is this the text of a number that is not infinite?
pub fn is_finite(text: &[u8]) -> bool {
    matches!(parse(text), Some(LongDouble::Finite { .. }))
}

/// What `strtold` makes of a text that it takes whole. A number too large, or too small to differ from zero, is none.
fn parse(text: &[u8]) -> Option<LongDouble> {
    if text.len() >= TEXT_LIMIT {
        return None;
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Some(LongDouble::Infinite);
    }
    let (mantissa, exponent) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
        _ => parse_decimal(digits)?,
    };
    Some(LongDouble::Finite { negative, mantissa, exponent })
}

/// The parts of a number's text.
struct Parts {
    /// All digits, the point left out.
    digits: Vec<u8>,
    /// How many of them stand behind the point.
    fraction: i64,
    /// The written exponent; beyond any that matters it is cut off.
    exponent: i64,
}

/// Splits `digits[.digits][marker[±]digits]`; there must be a digit before or after the point.
fn split(text: &[u8], marker: u8, is_digit: fn(&u8) -> bool) -> Option<Parts> {
    let end = text.iter().position(|byte| !is_digit(byte)).unwrap_or(text.len());
    let (whole, mut rest) = text.split_at(end);
    let mut digits = whole.to_vec();
    let mut fraction = 0;
    if let [b'.', behind @ ..] = rest {
        let end = behind.iter().position(|byte| !is_digit(byte)).unwrap_or(behind.len());
        digits.extend_from_slice(&behind[..end]);
        fraction = end as i64;
        rest = &behind[end..];
    }
    if digits.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [first, rest @ ..] if first.eq_ignore_ascii_case(&marker) => {
            let (negative, number) = match rest {
                [b'-', number @ ..] => (true, number),
                [b'+', number @ ..] => (false, number),
                number => (false, number),
            };
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let limit = 10 * TEXT_LIMIT as i64;
            let magnitude = number.iter().fold(0, |value, digit| limit.min(value * 10 + i64::from(digit - b'0')));
            if negative { -magnitude } else { magnitude }
        }
        _ => return None,
    };
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    digits.drain(..zeros);
    Some(Parts { digits, fraction, exponent })
}

fn parse_decimal(text: &[u8]) -> Option<(u64, i64)> {
    let parts = split(text, b'e', u8::is_ascii_digit)?;
    if parts.digits.is_empty() {
        return Some((0, 0));
    }
    let exponent = parts.exponent - parts.fraction;
    let magnitude = exponent + parts.digits.len() as i64;
    if magnitude < DECIMAL_BOUNDS.0 || magnitude > DECIMAL_BOUNDS.1 {
        return None;
    }
    let digits = BigUint::parse_bytes(&parts.digits, 10).expect("decimal digits, at least one");
    // Both bounds hold here: the power has at most some ten thousand digits.
    let power = BigUint::from(10u32).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
    if exponent >= 0 { round(&(digits * power), &BigUint::from(1u32), 0) } else { round(&digits, &power, 0) }
}

fn parse_hexadecimal(text: &[u8]) -> Option<(u64, i64)> {
    let parts = split(text, b'p', u8::is_ascii_hexdigit)?;
    if parts.digits.is_empty() {
        return Some((0, 0));
    }
    let exponent = parts.exponent - 4 * parts.fraction;
    let digits = BigUint::parse_bytes(&parts.digits, 16).expect("hexadecimal digits, at least one");
    let magnitude = exponent + digits.bits() as i64;
    if magnitude < BINARY_BOUNDS.0 || magnitude > BINARY_BOUNDS.1 {
        return None;
    }
    round(&digits, &BigUint::from(1u32), exponent)
}

/// Rounds `numerator / denominator × 2^exponent` (positive) to a long double's mantissa and exponent.
/// `None`: too large, or so small that nothing is left.
fn round(numerator: &BigUint, denominator: &BigUint, exponent: i64) -> Option<(u64, i64)> {
    // The quotient has `width` or `width + 1` bits; the last bit's place is chosen so that 64 of them remain.
    let width = numerator.bits() as i64 - denominator.bits() as i64;
    let mut place = (width - MANTISSA_BITS as i64).max(MIN_EXPONENT - exponent);
    loop {
        let mut numerator = numerator.clone();
        let mut denominator = denominator.clone();
        if place >= 0 {
            denominator <<= place.unsigned_abs();
        } else {
            numerator <<= place.unsigned_abs();
        }
        let quotient = &numerator / &denominator;
        if quotient.bits() > MANTISSA_BITS {
            place += 1;
            continue;
        }
        let twice_the_rest = (numerator - &quotient * &denominator) << 1u32;
        let mantissa = u64::try_from(&quotient).expect("at most 64 bits");
        let up = match twice_the_rest.cmp(&denominator) {
            Ordering::Less => false,
            Ordering::Equal => mantissa & 1 == 1,
            Ordering::Greater => true,
        };
        let (mantissa, place) = match mantissa.checked_add(u64::from(up)) {
            Some(mantissa) => (mantissa, place),
            None => (1 << (MANTISSA_BITS - 1), place + 1),
        };
        return (mantissa != 0 && place + exponent <= MAX_EXPONENT).then_some((mantissa, place + exponent));
    }
}

fn sum(left: LongDouble, right: LongDouble) -> LongDouble {
    let (
        LongDouble::Finite { negative: left_negative, mantissa: left, exponent: left_exponent },
        LongDouble::Finite { negative: right_negative, mantissa: right, exponent: right_exponent },
    ) = (left, right)
    else {
        return LongDouble::Infinite;
    };
    let exponent = match (left, right) {
        (0, _) => right_exponent,
        (_, 0) => left_exponent,
        _ => left_exponent.min(right_exponent),
    };
    let at_exponent = |mantissa: u64, own: i64| match mantissa {
        0 => BigUint::ZERO,
        _ => BigUint::from(mantissa) << (own - exponent).unsigned_abs(),
    };
    let (left, right) = (at_exponent(left, left_exponent), at_exponent(right, right_exponent));
    let (negative, magnitude) = if left_negative == right_negative {
        (left_negative, left + right)
    } else if left >= right {
        (left_negative, left - right)
    } else {
        (right_negative, right - left)
    };
    if magnitude == BigUint::ZERO {
        return LongDouble::Finite { negative: false, mantissa: 0, exponent: 0 };
    }
    // A sum of two long doubles is a multiple of the smallest one, so it never rounds to nothing.
    match round(&magnitude, &BigUint::from(1u32), exponent) {
        Some((mantissa, exponent)) => LongDouble::Finite { negative, mantissa, exponent },
        None => LongDouble::Infinite,
    }
}

/// As `%.17Lf` writes it (exact value, ties to even), without trailing zeros, without a point or a sign that says nothing.
fn format(negative: bool, mantissa: u64, exponent: i64) -> Vec<u8> {
    let scaled = BigUint::from(mantissa) * BigUint::from(10u32).pow(FRACTION_DIGITS as u32);
    let shift = exponent.unsigned_abs();
    let scaled = if exponent >= 0 {
        scaled << shift
    } else {
        let quotient = &scaled >> shift;
        let twice_the_rest = (scaled - (&quotient << shift)) << 1u32;
        let half = BigUint::from(1u32) << shift;
        match twice_the_rest.cmp(&half) {
            Ordering::Less => quotient,
            Ordering::Equal if !quotient.bit(0) => quotient,
            Ordering::Equal | Ordering::Greater => quotient + 1u32,
        }
    };
    let mut text = scaled.to_string();
    if text.len() <= FRACTION_DIGITS {
        text.insert_str(0, &"0".repeat(FRACTION_DIGITS + 1 - text.len()));
    }
    text.insert(text.len() - FRACTION_DIGITS, '.');
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if negative && text != "0" { format!("-{text}").into_bytes() } else { text.as_bytes().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(current: &str, increment: &str) -> Result<String, FloatError> {
        add(current.as_bytes(), increment.as_bytes()).map(|text| String::from_utf8(text).expect("digits"))
    }

    #[test]
    fn sums_as_the_documentation_shows_them() {
        // INCRBYFLOAT's own page.
        assert_eq!(sum_of("10.50", "0.1").as_deref(), Ok("10.6"));
        assert_eq!(sum_of("10.6", "-5").as_deref(), Ok("5.6"));
        assert_eq!(sum_of("5.0e3", "2.0e2").as_deref(), Ok("5200"));
    }

    #[test]
    fn sums_that_a_real_server_gave() {
        let known = [
            ("0", "-0", "0"),
            ("0.1", "0.2", "0.3"),
            ("3", "1.000000000000000005", "4.00000000000000001"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("1e20", "0.5", "100000000000000000000"),
            ("-0.000000000000000001", "0", "0"),
            ("0x1p4", "0x.8", "16.5"),
            ("1e-4950", "1e-4950", "0"),
        ];
        for (current, increment, expected) in known {
            assert_eq!(sum_of(current, increment).as_deref(), Ok(expected), "{current} + {increment}");
        }
    }

    #[test]
    fn what_is_no_number() {
        let refused = [
            "", ".", "-", "1 ", " 1", "1e", "1e+", "e5", "0x", "0x.", "0x1p", "1.2.3", "nan", "1e5000", "1e-5000",
            "infi",
        ];
        for text in refused {
            assert!(!is_valid(text.as_bytes()), "{text:?}");
        }
        assert!(!is_valid("1".repeat(TEXT_LIMIT).as_bytes()));
        for text in ["1.", ".5", "+1", "-1e+5", "0e999999999999", "00012", "INF", "-Infinity", "0X1P-3"] {
            assert!(is_valid(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn sums_that_are_not_finite() {
        assert_eq!(sum_of("1", "inf"), Err(FloatError::NotFinite));
        assert_eq!(sum_of("-inf", "inf"), Err(FloatError::NotFinite));
        assert_eq!(sum_of("1.1e4932", "1.1e4932"), Err(FloatError::NotFinite));
        assert_eq!(sum_of("x", "inf"), Err(FloatError::CurrentNotAFloat));
        assert_eq!(sum_of("1", "x"), Err(FloatError::IncrementNotAFloat));
        assert!(!is_finite(b"inf") && is_finite(b"1"));
    }

    #[test]
    fn huge_exponents_and_long_texts_take_no_time() {
        assert_eq!(sum_of("1e999999999999999999999", "0"), Err(FloatError::CurrentNotAFloat));
        let long = format!("0.{}1", "0".repeat(TEXT_LIMIT - 10));
        assert_eq!(sum_of(&long, "1"), Err(FloatError::CurrentNotAFloat));
        assert_eq!(sum_of(&"9".repeat(4_000), "0").map(|text| text.len()), Ok(4_000));
    }
}
