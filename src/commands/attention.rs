//! What makes commands take more than their straight way: one word that every command reads, and that is 0 nearly always.
//!
//! It lies beside what every command reads anyhow, and changes only when an operator does something, so it costs a command a load
//! from the first cache and a branch that is predicted.

use std::sync::atomic::{AtomicU32, Ordering};

/// Somebody reads along (MONITOR).
pub const MONITORED: u32 = 1;
/// Clients may have to wait (CLIENT PAUSE).
pub const PAUSED: u32 = 1 << 1;
/// Every command is to be timed.
pub const CLOSELY: u32 = 1 << 2;
/// Some commands are sampled for tracing.
pub const TRACED: u32 = 1 << 3;
/// From this bit on: how many connections are asked to end and have not ended.
const KILLED_UNIT: u32 = 1 << 8;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Attention(AtomicU32);

impl Attention {
    /// All reasons.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Is there a connection that is asked to end?
    pub fn has_killed(&self) -> bool {
        self.get() >= KILLED_UNIT
    }

    /// Adds or takes away a reason.
    pub fn set(&self, reason: u32, applies: bool) {
        if applies {
            self.0.fetch_or(reason, Ordering::SeqCst);
        } else {
            self.0.fetch_and(!reason, Ordering::SeqCst);
        }
    }

    /// A connection is asked to end.
    pub fn add_killed(&self) {
        self.0.fetch_add(KILLED_UNIT, Ordering::SeqCst);
    }

    /// A connection that was asked to end has ended.
    pub fn subtract_killed(&self) {
        self.0.fetch_sub(KILLED_UNIT, Ordering::SeqCst);
    }
}
