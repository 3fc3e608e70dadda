//! How often and how recently a key is used: the basis of eviction.
//!
//! When: the seconds of the clock of the latest use, as for LRU. How often: the approximated LFU of the Redis documentation ("Key eviction",
//! section LFU): a logarithmic counter of eight bits that saturates after about a million uses, and that loses one for each minute
//! without use. Both are always kept, so a change of the policy finds them as they are.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Millis;

/// A new key starts here, so that it is not the first to go.
const INITIAL: u8 = 5;

/// Bits of the seconds of the latest use: 97 days, after which it seems to have been later.
const TIME_BITS: u32 = 23;
const TIME_MASK: u32 = (1 << TIME_BITS) - 1;

/// A use that seems to be so many seconds short of a whole round ago lies ahead: the clock was put back.
const AHEAD: u32 = 3600;

/// How the counters of a process count: `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// The higher, the more uses it takes to raise a counter.
    pub log_factor: u32,
    /// Minutes without use that lower a counter by one; 0: it never falls.
    pub decay_minutes: u32,
}

static LOG_FACTOR: AtomicU32 = AtomicU32::new(Counting::DEFAULT.log_factor);
static DECAY_MINUTES: AtomicU32 = AtomicU32::new(Counting::DEFAULT.decay_minutes);

impl Counting {
    /// Redis's defaults.
    pub const DEFAULT: Counting = Counting { log_factor: 10, decay_minutes: 1 };

    /// How this process counts.
    pub fn current() -> Counting {
        Counting { log_factor: LOG_FACTOR.load(Relaxed), decay_minutes: DECAY_MINUTES.load(Relaxed) }
    }

    /// Changes how this process counts.
    pub fn set(self) {
        LOG_FACTOR.store(self.log_factor, Relaxed);
        DECAY_MINUTES.store(self.decay_minutes, Relaxed);
    }
}

/// 31 bits of history: from the lowest on, the counter as it was at the latest use, and when that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u32);

fn seconds_of(now: Millis) -> u32 {
    (now / 1000) as u32 & TIME_MASK
}

impl Access {
    /// A key that is written for the first time.
    pub fn new(now: Millis) -> Access {
        Access::of(INITIAL, seconds_of(now))
    }

    fn of(counter: u8, seconds: u32) -> Access {
        Access(seconds << 8 | u32::from(counter))
    }

    /// What it consists of: 31 bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// From what [`Access::bits`] has returned.
    pub fn from_bits(bits: u32) -> Access {
        Access(bits)
    }

    fn counter(self) -> u8 {
        self.0 as u8
    }

    /// Seconds since its latest use.
    fn idle_seconds(self, now: Millis) -> u32 {
        let idle = seconds_of(now).wrapping_sub(self.0 >> 8) & TIME_MASK;
        if idle > TIME_MASK - AHEAD { 0 } else { idle }
    }

    /// For how long it was not used, in steps of a second.
    pub fn idle(self, now: Millis) -> Millis {
        u64::from(self.idle_seconds(now)) * 1000
    }

    /// The counter after the decay since its latest use.
    pub fn frequency(self, now: Millis) -> u8 {
        self.frequency_by(now, Counting::current())
    }

    fn frequency_by(self, now: Millis, counting: Counting) -> u8 {
        if counting.decay_minutes == 0 {
            return self.counter();
        }
        let seconds = now / 1000;
        let used = seconds.saturating_sub(u64::from(self.idle_seconds(now)));
        let lost = (seconds / 60 - used / 60) / u64::from(counting.decay_minutes);
        self.counter().saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// As if its latest use had been then.
    pub fn used_at(self, moment: Millis) -> Access {
        Access::of(self.counter(), seconds_of(moment))
    }

    /// As if it had been used that often, on the logarithmic scale.
    pub fn with_counter(self, counter: u8) -> Access {
        Access::of(counter, self.0 >> 8)
    }

    /// Another use. `random` is uniform.
    pub fn touched(self, now: Millis, random: u32) -> Access {
        self.touched_by(now, random, Counting::current())
    }

    fn touched_by(self, now: Millis, random: u32, counting: Counting) -> Access {
        let counter = self.frequency_by(now, counting);
        let above = u64::from(counter.saturating_sub(INITIAL));
        let chance = u64::from(u32::MAX) / (above * u64::from(counting.log_factor) + 1);
        let raise = counter < u8::MAX && u64::from(random) < chance;
        Access::of(counter + u8::from(raise), seconds_of(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(times: usize, counting: Counting) -> Access {
        let mut random = fastrand::Rng::with_seed(1);
        (0..times).fold(Access::new(0), |access, _| access.touched_by(0, random.u32(..), counting))
    }

    #[test]
    fn use_raises_and_time_lowers() {
        let counting = Counting::DEFAULT;
        let access = used(1000, counting);
        assert!((10..60).contains(&access.counter()), "{access:?}");
        assert_eq!(access.frequency_by(60_000 * 3, counting), access.counter() - 3);
        assert_eq!(access.frequency_by(60_000 * 300, counting), 0);
        let slow = Counting { decay_minutes: 10, ..counting };
        assert_eq!(access.frequency_by(60_000 * 39, slow), access.counter() - 3);
        let never = Counting { decay_minutes: 0, ..counting };
        assert_eq!(access.frequency_by(60_000 * 300, never), access.counter());
        assert_eq!(used(300, Counting { log_factor: 0, ..counting }).counter(), u8::MAX, "each use counts");
        assert!(used(1000, Counting { log_factor: 100, ..counting }).counter() < access.counter());
        // Whoever is used all the time loses one a minute like the others.
        let often = (0..120).fold(access, |access, second| access.touched_by(second * 1000, u32::MAX, counting));
        assert_eq!(often.counter(), access.counter() - 1);
    }

    #[test]
    fn idleness_is_told_in_seconds() {
        let round = u64::from(TIME_MASK + 1) * 1000;
        for (used, now, idle) in [
            (0, 0, 0),
            (500, 1_499, 1_000),
            (60_000, 360_999, 300_000),
            (round - 1_000, round + 5_000, 6_000),
            (5_000, 0, 0),
            (0, 90 * 86_400_000, 90 * 86_400_000),
        ] {
            assert_eq!(Access::new(used).idle(now), idle, "{used} {now}");
        }
        assert_eq!(Access::new(90_000).used_at(0).idle(200_000), 200_000);
        let access = Access::new(7_000).with_counter(200);
        assert_eq!((access.counter(), access.idle(9_000), Access::from_bits(access.bits())), (200, 2_000, access));
    }
}
