//! Scores of members of sorted sets: 64-bit floats that are numbers.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A 64-bit float that is not NaN. There is one zero: -0 becomes 0, as it does in Redis's small sorted sets.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Score(f64);

/// NaN is no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a score that is not a number")]
pub struct NotANumber;

impl Score {
    /// Zero.
    pub const ZERO: Score = Score(0.0);

    /// The float.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The sum, as every node computes it: ∞ and -∞, which no client may add, make 0.
    pub fn plus(self, increment: Score) -> Score {
        Score::try_from(self.0 + increment.0).unwrap_or(Score::ZERO)
    }

    /// The greater one; this one where they are equal.
    pub fn max(self, other: Score) -> Score {
        if other.0 > self.0 { other } else { self }
    }

    /// The lesser one; this one where they are equal.
    pub fn min(self, other: Score) -> Score {
        if other.0 < self.0 { other } else { self }
    }
}

impl TryFrom<f64> for Score {
    type Error = NotANumber;

    fn try_from(float: f64) -> Result<Score, NotANumber> {
        if float.is_nan() { Err(NotANumber) } else { Ok(Score(float + 0.0)) }
    }
}

impl From<Score> for f64 {
    fn from(score: Score) -> f64 {
        score.0
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.0 == other.0
    }
}

impl Eq for Score {}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(float: f64) -> Score {
        Score::try_from(float).expect("a number")
    }

    #[test]
    fn a_score_is_a_number_whatever_happens_to_it() {
        assert_eq!(Score::try_from(f64::NAN), Err(NotANumber));
        assert_eq!(score(f64::INFINITY).plus(score(f64::NEG_INFINITY)), Score::ZERO);
        assert_eq!(score(-0.0).plus(score(-0.0)).get().to_bits(), 0);
        assert_eq!(score(1.5).plus(score(2.0)), score(3.5));
        assert_eq!((score(1.0).max(score(2.0)), score(1.0).min(score(2.0))), (score(2.0), score(1.0)));
    }

    #[test]
    fn nan_does_not_come_in_with_a_snapshot() {
        let bytes = postcard::to_extend(&f64::NAN, Vec::new()).expect("a float can be encoded");
        assert!(postcard::from_bytes::<Score>(&bytes).is_err());
    }
}
