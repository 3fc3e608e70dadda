//! Latency spikes by kind of event: when something took longer than an operator wants to see.
//!
//! Of each kind the latest samples are kept, one for each second: the worst of it. Must not know what is watched.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

/// Samples that are kept of each kind.
pub const SAMPLES: usize = 160;

/// One second's worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Since the epoch.
    pub second: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// What is known of one kind of event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The oldest first.
    pub samples: VecDeque<Sample>,
    /// The worst ever.
    pub worst: u64,
}

/// What the samples of a series say together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// In milliseconds.
    pub average: u64,
    /// How far the samples are from the average, on average, in milliseconds.
    pub deviation: u64,
    /// The least, in milliseconds.
    pub least: u64,
    /// The greatest, in milliseconds.
    pub greatest: u64,
    /// Seconds from one sample to the next, on average.
    pub period: f64,
}

impl Series {
    /// What its samples say together.
    pub fn summary(&self, now: u64) -> Summary {
        let count = self.samples.len() as u64;
        let Some(first) = self.samples.front() else { return Summary::default() };
        let values = || self.samples.iter().map(|sample| sample.milliseconds);
        let average = values().sum::<u64>() / count;
        Summary {
            count: self.samples.len(),
            average,
            deviation: values().map(|value| value.abs_diff(average)).sum::<u64>() / count,
            least: values().min().unwrap_or(0),
            greatest: values().max().unwrap_or(0),
            period: now.saturating_sub(first.second) as f64 / count as f64,
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct LatencyEvents(Mutex<BTreeMap<&'static str, Series>>);

impl LatencyEvents {
    /// Something of this kind took so long.
    pub fn add(&self, kind: &'static str, second: u64, milliseconds: u64) {
        let mut all = self.0.lock();
        let series = all.entry(kind).or_default();
        series.worst = series.worst.max(milliseconds);
        match series.samples.back_mut() {
            Some(last) if last.second == second => last.milliseconds = last.milliseconds.max(milliseconds),
            _ => {
                if series.samples.len() == SAMPLES {
                    series.samples.pop_front();
                }
                series.samples.push_back(Sample { second, milliseconds });
            }
        }
    }

    /// All kinds of which there are samples, by name.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        self.0.lock().iter().map(|(kind, series)| (*kind, series.clone())).collect()
    }

    /// What is known of one kind, named in any case.
    pub fn get(&self, kind: &[u8]) -> Option<(&'static str, Series)> {
        let all = self.0.lock();
        let found = all.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(kind));
        found.map(|(kind, series)| (*kind, series.clone()))
    }

    /// Forgets one kind. Was there anything to forget?
    pub fn forget(&self, kind: &[u8]) -> bool {
        let mut all = self.0.lock();
        let before = all.len();
        all.retain(|known, _| !known.as_bytes().eq_ignore_ascii_case(kind));
        all.len() < before
    }

    /// Forgets everything. How many kinds there were.
    pub fn forget_all(&self) -> usize {
        std::mem::take(&mut *self.0.lock()).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_its_worst() {
        let events = LatencyEvents::default();
        for (second, milliseconds) in [(10, 20), (10, 30), (10, 25), (12, 15)] {
            events.add("command", second, milliseconds);
        }
        let (_, series) = events.get(b"COMMAND").expect("there are samples");
        let expected = [Sample { second: 10, milliseconds: 30 }, Sample { second: 12, milliseconds: 15 }];
        assert_eq!((series.samples.iter().copied().collect::<Vec<_>>(), series.worst), (expected.to_vec(), 30));
        let summary = series.summary(14);
        assert_eq!((summary.count, summary.average, summary.deviation), (2, 22, 7));
        assert_eq!((summary.least, summary.greatest, summary.period), (15, 30, 2.0));
        assert!(!events.forget(b"fork") && events.forget(b"command") && events.all().is_empty());
    }

    #[test]
    fn old_samples_make_room() {
        let events = LatencyEvents::default();
        for second in 0..SAMPLES as u64 + 5 {
            events.add("command", second, second);
        }
        let (_, series) = events.get(b"command").expect("there are samples");
        assert_eq!((series.samples.len(), series.samples[0].second), (SAMPLES, 5));
        assert_eq!(events.forget_all(), 1);
    }
}
