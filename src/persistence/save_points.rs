//! When a node saves by itself: so many seconds after the last save, if so much has changed since.

use std::fmt;

/// In this many seconds after a save that failed, none begins by itself.
const PAUSE_AFTER_FAILURE: u64 = 5;

/// Pairs of seconds and changes, each of which alone is reason enough. Without any, a node saves when it is told to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavePoints(Vec<(u64, u64)>);

impl SavePoints {
    /// Reads pairs of numbers, separated by spaces: `3600 1 300 100`. Nothing at all is no pair.
    pub fn parse(text: &[u8]) -> Option<SavePoints> {
        let text = std::str::from_utf8(text).ok()?;
        let numbers: Option<Vec<u64>> = text
            .split_ascii_whitespace()
            .map(|word| word.parse::<i32>().ok().and_then(|number| u64::try_from(number).ok()))
            .collect();
        let pairs: Vec<(u64, u64)> = numbers.as_deref()?.chunks(2).map(pair).collect::<Option<_>>()?;
        Some(SavePoints(pairs))
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is it time, so many seconds after the last save, the last attempt, and with so many changes since?
    pub fn is_due(&self, since_save: u64, since_failure: Option<u64>, changes: u64) -> bool {
        since_failure.is_none_or(|seconds| seconds > PAUSE_AFTER_FAILURE)
            && self.0.iter().any(|&(seconds, least)| changes >= least && since_save > seconds)
    }
}

fn pair(numbers: &[u64]) -> Option<(u64, u64)> {
    match *numbers {
        [seconds, changes] if seconds > 0 => Some((seconds, changes)),
        _ => None,
    }
}

impl fmt::Display for SavePoints {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (seconds, changes)) in self.0.iter().enumerate() {
            write!(out, "{}{seconds} {changes}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_printed_as_redis_does_it() {
        for text in ["", "900 1", "3600 1 300 100 60 10000", "1 0"] {
            assert_eq!(SavePoints::parse(text.as_bytes()).expect("valid").to_string(), text);
        }
        for text in ["900", "900 x", "0 1", "-1 1", "1 -1", "900 1 300", "99999999999 1"] {
            assert_eq!(SavePoints::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn one_pair_is_reason_enough() {
        let points = SavePoints::parse(b"100 5 10 50").expect("valid");
        assert!(!points.is_due(100, None, 5));
        assert!(points.is_due(101, None, 5));
        assert!(!points.is_due(101, None, 4));
        assert!(points.is_due(11, None, 50));
        assert!(!points.is_due(11, Some(5), 50));
        assert!(points.is_due(11, Some(6), 50));
        assert!(!SavePoints::default().is_due(u64::MAX, None, u64::MAX));
    }
}
