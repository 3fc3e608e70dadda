//! CLIENT PAUSE: for a while requests of all clients, or only those that may write, are left where they are.
//!
//! What this says is only who waits; the connections do the waiting. While clients are paused nothing expires or is evicted by
//! this node either. Effects of peers are applied all the while: a pause is about the clients of one node.

use parking_lot::Mutex;
use tokio::sync::watch;

use super::attention::{Attention, PAUSED};
use crate::keyspace::Millis;

/// Whose requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Those that may write or publish.
    Writes,
    /// All.
    All,
}

/// A pause that was asked for; it may be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    mode: PauseMode,
    until: Millis,
}

/// See the module's text.
#[derive(Debug)]
pub struct Pausing {
    pause: Mutex<Option<Pause>>,
    /// Counts the changes, for those who wait.
    changes: watch::Sender<u64>,
}

impl Default for Pausing {
    fn default() -> Pausing {
        Pausing { pause: Mutex::new(None), changes: watch::Sender::new(0) }
    }
}

impl Pausing {
    /// Pauses until then. A pause that is in effect is made stricter and longer, never weaker or shorter.
    pub fn pause(&self, attention: &Attention, mode: PauseMode, until: Millis, now: Millis) {
        let mut pause = self.pause.lock();
        let before = pause.filter(|pause| now < pause.until);
        *pause = Some(Pause {
            mode: before.map_or(mode, |before| before.mode.max(mode)),
            until: before.map_or(until, |before| before.until.max(until)),
        });
        attention.set(PAUSED, true);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Ends a pause.
    pub fn end(&self, attention: &Attention) {
        *self.pause.lock() = None;
        attention.set(PAUSED, false);
        self.changes.send_modify(|count| *count += 1);
    }

    /// What is paused now, and until when.
    pub fn current(&self, now: Millis) -> Option<(PauseMode, Millis)> {
        self.pause.lock().filter(|pause| now < pause.until).map(|pause| (pause.mode, pause.until))
    }

    /// Takes note of a pause that is over. To be called now and then.
    pub fn look(&self, attention: &Attention, now: Millis) {
        let mut pause = self.pause.lock();
        if pause.is_some_and(|pause| now >= pause.until) {
            *pause = None;
            attention.set(PAUSED, false);
        }
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_only_grows_until_it_is_over() {
        let (attention, pausing) = (Attention::default(), Pausing::default());
        pausing.pause(&attention, PauseMode::Writes, 500, 0);
        pausing.pause(&attention, PauseMode::Writes, 100, 0);
        assert_eq!(pausing.current(499), Some((PauseMode::Writes, 500)));
        pausing.pause(&attention, PauseMode::All, 100, 0);
        pausing.pause(&attention, PauseMode::Writes, 600, 0);
        assert_eq!(pausing.current(499), Some((PauseMode::All, 600)));
        assert_eq!(pausing.current(600), None);
        pausing.look(&attention, 599);
        assert_eq!(attention.get(), PAUSED);
        pausing.look(&attention, 600);
        assert_eq!(attention.get(), 0);
        pausing.pause(&attention, PauseMode::All, 900, 700);
        pausing.pause(&attention, PauseMode::Writes, 1000, 950);
        assert_eq!(pausing.current(960), Some((PauseMode::Writes, 1000)), "the one before was over");
        pausing.end(&attention);
        assert_eq!((pausing.current(960), attention.get()), (None, 0));
    }
}
