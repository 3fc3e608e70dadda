//! A machine's clocks: simulated time, and an error of the wall clock that the scenario decides.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use swytch::cluster::Clock;
use swytch::keyspace::Millis;

/// The wall time at which every simulation begins: a day of the year 2026.
pub const EPOCH: Duration = Duration::from_millis(1_780_000_000_000);

/// The clocks of one machine. They survive its crashes.
#[derive(Debug, Default)]
pub struct SimulatedClock {
    /// What the wall clock is ahead of the truth, in milliseconds.
    error: AtomicI64,
    /// The last moment read, in nanoseconds: what is read where no machine runs.
    last: AtomicU64,
}

impl SimulatedClock {
    /// Sets the wall clock to so many milliseconds ahead of the truth (behind it, when negative).
    pub fn set_error(&self, milliseconds: i64) {
        self.error.store(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn wall(&self) -> Millis {
        let truth = EPOCH + self.monotonic();
        let truth = u64::try_from(truth.as_millis()).unwrap_or(u64::MAX);
        truth.saturating_add_signed(self.error.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        match turmoil::sim_elapsed() {
            Some(elapsed) => {
                self.last.store(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
                elapsed
            }
            None => Duration::from_nanos(self.last.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn time_passes_with_the_simulation_and_the_wall_can_be_wrong() {
        let clock = Arc::new(SimulatedClock::default());
        let mut simulation = turmoil::Builder::new().build();
        let read = clock.clone();
        simulation.client("machine", async move {
            let wall = read.wall();
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(read.wall() - wall, 2000);
            read.set_error(-5000);
            assert_eq!(read.wall() + 3000, wall);
            assert!(read.monotonic() >= Duration::from_secs(2));
            Ok(())
        });
        simulation.run().unwrap();
        assert!(clock.monotonic() >= Duration::from_secs(2));
    }
}
