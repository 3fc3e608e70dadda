//! A histogram of times, with two significant digits at any size.
//!
//! The layout is that of HdrHistogram (Gil Tene; hdrhistogram.org): values below 256 are exact, and above that each power of two is cut
//! into 128 parts, so a value is known to within one percent. Parts of a power come into being with the first value in it:
//! most commands need two or three of them.

/// Parts of each power of two.
const PARTS: usize = 128;
/// Below 2^8 values are exact: they make the first two rows.
const EXACT_BITS: u32 = 8;
/// Greater values count as this one: a second, in nanoseconds.
const GREATEST: u64 = 1_000_000_000;

/// See the module's text. Values are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Row 0 is for values below 128, row r for those from 64 · 2^r on.
    rows: Vec<Option<Box<[u64; PARTS]>>>,
    count: u64,
    sum: u64,
}

/// Row and part of a value.
fn place(value: u64) -> (usize, usize) {
    let bits = u64::BITS - value.leading_zeros();
    if bits < EXACT_BITS {
        return (0, value as usize);
    }
    let row = (bits - EXACT_BITS + 1) as usize;
    (row, (value >> (row - 1)) as usize - PARTS)
}

/// The greatest value that belongs to a part.
fn greatest_of(row: usize, part: usize) -> u64 {
    match row {
        0 => part as u64,
        _ => (((PARTS + part + 1) as u64) << (row - 1)) - 1,
    }
}

impl LatencyHistogram {
    /// Counts a value `times` times.
    pub fn add(&mut self, nanoseconds: u64, times: u64) {
        let (row, part) = place(nanoseconds.clamp(1, GREATEST));
        if self.rows.len() <= row {
            self.rows.resize(row + 1, None);
        }
        self.rows[row].get_or_insert_with(|| Box::new([0; PARTS]))[part] += times;
        self.count += times;
        self.sum = self.sum.saturating_add(nanoseconds.saturating_mul(times));
    }

    /// Adds all values of another.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        let sum = self.sum.saturating_add(other.sum);
        for (greatest, times) in other.parts() {
            self.add(greatest, times);
        }
        self.sum = sum;
    }

    /// How many values it has.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values, as they were before they became known to a percent.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values do not exceed each of some ascending bounds. What shares its part with a bound may be on either side of
    /// it: a value counts one percent too large at most.
    pub fn up_to(&self, bounds: &[u64]) -> Vec<u64> {
        let mut parts = self.parts().peekable();
        let mut seen = 0;
        let count = |bound: &u64| {
            while let Some((_, times)) = parts.next_if(|(greatest, _)| greatest <= bound) {
                seen += times;
            }
            seen
        };
        bounds.iter().map(count).collect()
    }

    /// The parts that have values, the least first: the greatest value that belongs to it, and how many it has.
    fn parts(&self) -> impl Iterator<Item = (u64, u64)> {
        let rows = self.rows.iter().enumerate().filter_map(|(row, parts)| parts.as_ref().map(|parts| (row, parts)));
        let parts =
            rows.flat_map(|(row, parts)| parts.iter().enumerate().map(move |(part, &times)| (row, part, times)));
        parts.filter(|(.., times)| *times > 0).map(|(row, part, times)| (greatest_of(row, part), times))
    }

    /// The value that `percent` of all values do not exceed; 0 when there is none.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent.clamp(0.0, 100.0) / 100.0 * self.count as f64).round() as u64).max(1);
        let mut seen = 0;
        let found = self.parts().find(|(_, times)| {
            seen += times;
            seen >= wanted
        });
        found.map_or(0, |(greatest, _)| greatest)
    }

    /// How many values do not exceed a power of two microseconds (about), for each power at which that number grows: the power's
    /// upper bound in microseconds, and the number.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut bounds = Vec::new();
        let mut parts = self.parts().peekable();
        let mut seen = 0;
        for power in 10u32.. {
            if parts.peek().is_none() {
                break;
            }
            // Of the part that a power of two belongs to, all values count.
            let (row, part) = place(1 << power);
            let bound = greatest_of(row, part);
            let before = seen;
            while let Some((_, times)) = parts.next_if(|(greatest, _)| *greatest <= bound) {
                seen += times;
            }
            if seen > before {
                bounds.push((bound / 1000, seen));
            }
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_belongs_to_one_part_and_is_known_to_a_percent() {
        let mut last = None;
        let powers = (13..30).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for value in (1..5_000).chain(powers) {
            let (row, part) = place(value);
            assert!(part < PARTS && last <= Some((row, part)), "{value}");
            let greatest = greatest_of(row, part);
            assert!(greatest >= value && (greatest - value) as f64 <= value as f64 / 127.0, "{value} {greatest}");
            last = Some((row, part));
        }
    }

    /// What redis-server 7.0.15 shows for the same values.
    #[test]
    fn the_bounds_are_those_of_redis() {
        for (microseconds, bound) in [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (33, 33), (200, 264), (10_119, 16_908)]
        {
            let mut histogram = LatencyHistogram::default();
            histogram.add(microseconds * 1000, 1);
            assert_eq!(histogram.cumulative(), [(bound, 1)], "{microseconds}");
            assert!(histogram.percentile(50.0).abs_diff(microseconds * 1000) <= microseconds * 8);
        }
        let mut histogram = LatencyHistogram::default();
        histogram.add(3_000, 1);
        histogram.add(66_000, 1);
        let percentiles = [50.0, 99.0, 99.9].map(|percent| histogram.percentile(percent));
        assert_eq!(percentiles, [3_007, 66_047, 66_047]);
    }

    #[test]
    fn numbers_are_cumulative_and_add_up() {
        let (mut one, mut other) = (LatencyHistogram::default(), LatencyHistogram::default());
        one.add(500, 64);
        one.add(u64::MAX, 1);
        other.add(500, 1);
        other.add(3_000, 2);
        one.merge(&other);
        assert_eq!((one.count(), other.sum()), (68, 6_500));
        assert_eq!(one.up_to(&[400, 500, 3_000, 10_000, GREATEST - 1]), [0, 0, 65, 67, 67]);
        assert_eq!(one.cumulative(), [(1, 65), (4, 67), (1_082_130, 68)]);
        assert_eq!(LatencyHistogram::default().percentile(50.0), 0);
    }
}
