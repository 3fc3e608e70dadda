//! Counters: one block per server thread, written by that thread alone, summed when somebody reads them.
//!
//! A counter is raised by a plain load and store (relaxed, no locked instruction), which is exact because each block has
//! one writer. Must not know what a command is: commands are numbers here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::LatencyHistogram;
use crate::keyspace::Millis;

/// Of the commands that take no time, every that many of a thread one is timed, and counts for all of them.
pub const TIMED_EVERY: u64 = 64;
/// Rates are averages over this many samples.
const SAMPLES: usize = 16;
/// Samples are at least this far apart, in milliseconds.
const SAMPLE_INTERVAL: Millis = 100;
/// No more than this many kinds of errors are counted: clients can make them up.
const MAX_ERROR_KINDS: usize = 128;

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only for the block's own thread.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes from it. Only for the block's own thread.
    pub fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What is counted for each command.
#[derive(Debug, Default)]
pub struct CommandCounters {
    /// Times it ran.
    pub calls: Counter,
    /// Nanoseconds that it took; of a command that takes no time estimated from one call in [`TIMED_EVERY`].
    pub nanoseconds: Counter,
    /// Times it was refused before it ran.
    pub rejected: Counter,
    /// Times it ran and answered with an error.
    pub failed: Counter,
}

/// The counters of one thread. Aligned so that no two threads write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct ThreadStats {
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections refused because there were too many.
    pub connections_rejected: Counter,
    /// Connections open now.
    pub connections: Counter,
    /// Commands run.
    pub commands: Counter,
    /// Reads of a key that was there.
    pub hits: Counter,
    /// Reads of a key that was not there.
    pub misses: Counter,
    /// Bytes received from clients.
    pub input_bytes: Counter,
    /// Bytes sent to clients.
    pub output_bytes: Counter,
    /// Errors replied.
    pub errors: Counter,
    /// Times that something was read from a client.
    pub reads: Counter,
    /// Times that something was sent to a client.
    pub writes: Counter,
    per_command: Box<[CommandCounters]>,
    /// How long commands took. Only this thread writes, so the lock is nearly always free.
    latencies: Mutex<BTreeMap<usize, LatencyHistogram>>,
}

impl ThreadStats {
    fn new(commands: usize) -> Self {
        ThreadStats {
            connections_received: Counter::default(),
            connections_rejected: Counter::default(),
            connections: Counter::default(),
            commands: Counter::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            errors: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            per_command: (0..commands).map(|_| CommandCounters::default()).collect(),
            latencies: Mutex::default(),
        }
    }

    /// The counters of one command.
    pub fn command(&self, id: usize) -> &CommandCounters {
        &self.per_command[id]
    }

    /// Notes how long a command took; it stands for that many calls.
    pub fn note_latency(&self, id: usize, nanoseconds: u64, calls: u64) {
        self.latencies.lock().entry(id).or_default().add(nanoseconds, calls);
    }
}

/// The sums of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// See [`CommandCounters`].
    pub calls: u64,
    /// See [`CommandCounters`].
    pub nanoseconds: u64,
    /// See [`CommandCounters`].
    pub rejected: u64,
    /// See [`CommandCounters`].
    pub failed: u64,
}

/// Units per second, now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Commands.
    pub commands: u64,
    /// Bytes from clients.
    pub input_bytes: u64,
    /// Bytes to clients.
    pub output_bytes: u64,
}

#[derive(Debug, Default)]
struct Sampler {
    /// Time, and commands, input and output bytes up to then; oldest first.
    samples: Vec<(Millis, [u64; 3])>,
}

/// All counters of a node.
#[derive(Debug)]
pub struct Stats {
    threads: Box<[ThreadStats]>,
    commands: usize,
    sampler: Mutex<Sampler>,
    error_kinds: Mutex<BTreeMap<String, u64>>,
    /// The most bytes of data that were noted.
    memory_peak: AtomicU64,
}

impl Stats {
    /// For that many server threads and that many commands.
    pub fn new(threads: usize, commands: usize) -> Self {
        Stats {
            threads: (0..threads.max(1)).map(|_| ThreadStats::new(commands)).collect(),
            commands,
            sampler: Mutex::default(),
            error_kinds: Mutex::default(),
            memory_peak: AtomicU64::new(0),
        }
    }

    /// The block of one thread. Panics when there are fewer threads.
    pub fn thread(&self, index: usize) -> &ThreadStats {
        &self.threads[index]
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The sum of one counter over all threads.
    pub fn total(&self, counter: fn(&ThreadStats) -> &Counter) -> u64 {
        self.threads.iter().map(|thread| counter(thread).get()).fold(0, u64::wrapping_add)
    }

    /// The sums of one command.
    pub fn command(&self, id: usize) -> CommandTotals {
        let mut totals = CommandTotals::default();
        for thread in &self.threads {
            let counters = thread.command(id);
            totals.calls += counters.calls.get();
            totals.nanoseconds += counters.nanoseconds.get();
            totals.rejected += counters.rejected.get();
            totals.failed += counters.failed.get();
        }
        totals
    }

    /// How long the calls of each command took, by its id.
    pub fn latencies(&self) -> BTreeMap<usize, LatencyHistogram> {
        let mut all: BTreeMap<usize, LatencyHistogram> = BTreeMap::new();
        for thread in &self.threads {
            for (id, histogram) in &*thread.latencies.lock() {
                all.entry(*id).or_default().merge(histogram);
            }
        }
        all
    }

    /// Notes how many bytes the data takes now. The most that were noted.
    pub fn note_memory(&self, bytes: u64) -> u64 {
        self.memory_peak.fetch_max(bytes, Ordering::Relaxed).max(bytes)
    }

    /// Counts a reply with an error by its code, the text's first word.
    pub fn count_error(&self, thread: usize, text: &[u8]) {
        self.thread(thread).errors.add(1);
        let code = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        let code = String::from_utf8_lossy(code);
        let mut kinds = self.error_kinds.lock();
        if let Some(count) = kinds.get_mut(&*code) {
            *count += 1;
        } else if kinds.len() < MAX_ERROR_KINDS {
            kinds.insert(code.into_owned(), 1);
        }
    }

    /// How often each error code was replied.
    pub fn error_kinds(&self) -> Vec<(String, u64)> {
        self.error_kinds.lock().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Takes a sample for the rates. To be called now and then (ten times a second is plenty).
    pub fn sample(&self, now: Millis) {
        let totals = self.sampled_totals();
        let mut sampler = self.sampler.lock();
        match sampler.samples.last() {
            Some(&(last, _)) if now < last => sampler.samples.clear(),
            Some(&(last, _)) if now - last < SAMPLE_INTERVAL => return,
            _ => {}
        }
        if sampler.samples.len() == SAMPLES {
            sampler.samples.remove(0);
        }
        sampler.samples.push((now, totals));
    }

    /// The rates over the last samples and up to now.
    pub fn rates(&self, now: Millis) -> Rates {
        let totals = self.sampled_totals();
        let sampler = self.sampler.lock();
        let Some(&(start, before)) = sampler.samples.first() else { return Rates::default() };
        let elapsed = now.saturating_sub(start);
        if elapsed == 0 {
            return Rates::default();
        }
        let rate = |at: usize| {
            let grown = u128::from(totals[at].saturating_sub(before[at]));
            u64::try_from(grown * 1000 / u128::from(elapsed)).unwrap_or(u64::MAX)
        };
        Rates { commands: rate(0), input_bytes: rate(1), output_bytes: rate(2) }
    }

    /// Sets everything to 0 but the number of open connections (CONFIG RESETSTAT).
    /// What other threads count at this very moment may survive.
    pub fn reset(&self) {
        for thread in &self.threads {
            let counters = [
                &thread.connections_received,
                &thread.connections_rejected,
                &thread.commands,
                &thread.hits,
                &thread.misses,
                &thread.input_bytes,
                &thread.output_bytes,
                &thread.errors,
                &thread.reads,
                &thread.writes,
            ];
            for counter in counters {
                counter.set(0);
            }
            for id in 0..self.commands {
                let command = thread.command(id);
                for counter in [&command.calls, &command.nanoseconds, &command.rejected, &command.failed] {
                    counter.set(0);
                }
            }
            thread.latencies.lock().clear();
        }
        self.memory_peak.store(0, Ordering::Relaxed);
        self.sampler.lock().samples.clear();
        self.error_kinds.lock().clear();
    }

    fn sampled_totals(&self) -> [u64; 3] {
        [
            self.total(|thread| &thread.commands),
            self.total(|thread| &thread.input_bytes),
            self.total(|thread| &thread.output_bytes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_threads() {
        let stats = Stats::new(2, 3);
        stats.thread(0).commands.add(2);
        stats.thread(1).commands.add(3);
        stats.thread(1).command(2).calls.add(7);
        stats.thread(0).connections.add(4);
        stats.count_error(0, b"WRONGTYPE Operation against");
        stats.count_error(1, b"WRONGTYPE");
        assert_eq!(stats.total(|thread| &thread.commands), 5);
        assert_eq!(stats.command(2), CommandTotals { calls: 7, ..CommandTotals::default() });
        assert_eq!(stats.error_kinds(), [("WRONGTYPE".to_string(), 2)]);
        stats.reset();
        assert_eq!(stats.total(|thread| &thread.commands), 0);
        assert_eq!(stats.total(|thread| &thread.connections), 4);
        assert_eq!(stats.command(2), CommandTotals::default());
    }

    #[test]
    fn rates_are_averages_over_the_last_samples() {
        let stats = Stats::new(1, 0);
        assert_eq!(stats.rates(5), Rates::default());
        for round in 0..100 {
            stats.sample(1_000 + round * 100);
            stats.thread(0).commands.add(10);
        }
        assert_eq!(stats.rates(1_000 + 100 * 100).commands, 100);
        stats.sample(5);
        assert_eq!(stats.rates(5), Rates::default(), "the clock went back");
    }

    #[test]
    fn clients_cannot_make_up_errors_without_end() {
        let stats = Stats::new(1, 0);
        for number in 0..1_000 {
            stats.count_error(0, format!("E{number} text").as_bytes());
        }
        assert_eq!(stats.error_kinds().len(), MAX_ERROR_KINDS);
    }
}
