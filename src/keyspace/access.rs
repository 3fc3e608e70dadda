//! How often and how recently a key is used: the basis of eviction.
//!
//! The approximated LFU of the Redis documentation ("Using Redis as an LRU cache", section LFU): a logarithmic counter
//! of eight bits that saturates after about a million uses, and that loses one for each minute without use.

use super::Millis;

/// A new key starts here, so that it is not the first to go.
const INITIAL: u8 = 5;
/// The higher, the more uses it takes to raise the counter.
const LOG_FACTOR: u32 = 10;

/// Three bytes of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The logarithmic counter as it was at `minutes`.
    pub counter: u8,
    /// Minutes of the clock, modulo 2^16, of the latest use.
    pub minutes: u16,
}

fn minutes_of(now: Millis) -> u16 {
    (now / 60_000) as u16
}

impl Access {
    /// A key that is written for the first time.
    pub fn new(now: Millis) -> Access {
        Access { counter: INITIAL, minutes: minutes_of(now) }
    }

    /// The counter after the decay since its latest use.
    pub fn frequency(self, now: Millis) -> u8 {
        let idle = minutes_of(now).wrapping_sub(self.minutes);
        self.counter.saturating_sub(u8::try_from(idle).unwrap_or(u8::MAX))
    }

    /// For how long it was not used, at least: its latest use may have been at the end of its minute.
    pub fn idle(self, now: Millis) -> Millis {
        let minutes = minutes_of(now).wrapping_sub(self.minutes);
        (u64::from(minutes) * 60_000 + now % 60_000).saturating_sub(59_999)
    }

    /// As if its latest use had been then.
    pub fn used_at(self, moment: Millis) -> Access {
        Access { minutes: minutes_of(moment), ..self }
    }

    /// Another use. `random` is uniform.
    pub fn touched(self, now: Millis, random: u32) -> Access {
        let counter = self.frequency(now);
        let above = u32::from(counter.saturating_sub(INITIAL));
        let raise = counter < u8::MAX && random < u32::MAX / (above * LOG_FACTOR + 1);
        Access { counter: counter + u8::from(raise), minutes: minutes_of(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_raises_and_time_lowers() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut access = Access::new(0);
        for _ in 0..1000 {
            access = access.touched(0, random.u32(..));
        }
        assert!((10..60).contains(&access.counter), "{access:?}");
        assert_eq!(access.frequency(60_000 * 3), access.counter - 3);
        assert_eq!(access.frequency(60_000 * 300), 0);
    }

    #[test]
    fn nothing_is_said_to_be_idle_for_longer_than_it_is() {
        for (used, now) in [(0, 0), (30_000, 59_999), (59_999, 60_000), (59_999, 360_000), (60_000, 360_000)] {
            let idle = Access::new(used).idle(now);
            assert!(idle <= now - used && idle + 60_000 > now - used, "{used} {now} {idle}");
        }
        assert_eq!(Access::new(90_000).used_at(0).idle(200_000), 200_000 - 59_999);
    }
}
