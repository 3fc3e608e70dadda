//! How long effects of other nodes were on their way: a histogram with fixed bounds, which adds up over nodes.
//!
//! The runtime, which has the clock, fills it. It only adds: nothing is ever taken out.

/// See the module's text. Values are in milliseconds, as finely as hybrid time tells them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DelayHistogram {
    /// How many values belong to each bound and to no lower one; the last are above all bounds.
    counts: [u64; DelayHistogram::BOUNDS.len() + 1],
    sum: u64,
}

impl DelayHistogram {
    /// The upper bounds, which belong to what is below them.
    pub const BOUNDS: [u64; 16] =
        [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

    /// Counts a value.
    pub fn add(&mut self, millis: u64) {
        self.counts[Self::BOUNDS.partition_point(|bound| *bound < millis)] += 1;
        self.sum = self.sum.saturating_add(millis);
    }

    /// Each bound, and how many values do not exceed it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let grown = self.counts.iter().scan(0, |seen, count| {
            *seen += count;
            Some(*seen)
        });
        Self::BOUNDS.into_iter().zip(grown)
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_what_is_below_them() {
        let mut delays = DelayHistogram::default();
        for millis in [0, 1, 2, 3, 300_000, 300_001, u64::MAX] {
            delays.add(millis);
        }
        let numbers: Vec<(u64, u64)> = delays.cumulative().collect();
        assert_eq!(numbers[..3], [(1, 2), (2, 3), (5, 4)]);
        assert_eq!(numbers.last(), Some(&(300_000, 5)));
        assert_eq!((delays.count(), delays.sum()), (7, u64::MAX));
    }
}
