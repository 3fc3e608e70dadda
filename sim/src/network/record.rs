//! The record of a simulation: every datagram, every command, every fault. What two runs of one seed must have in common
//! to the last byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It went out, which does not mean that it arrives.
    Sent,
    /// The network lost it.
    Lost,
    /// The network keeps it for a while: others overtake it.
    Delayed,
    /// It goes out a second time.
    Duplicated,
    /// It arrived.
    Received,
}

/// Everything that happened so far. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    received: u64,
}

impl Record {
    /// Notes what becomes of a datagram, now.
    pub fn packet(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8], fate: Fate) {
        let (length, hash) = (bytes.len(), hash(bytes));
        self.0.lock().received += u64::from(fate == Fate::Received);
        self.note(&format!("{from} {to} {length} {hash:016x} {fate:?}"));
    }

    /// Notes something that happens on a simulated machine, now.
    pub fn note(&self, what: &str) {
        self.note_at(turmoil::sim_elapsed().unwrap_or_default(), what);
    }

    /// Notes something that happens between the machines.
    pub fn note_at(&self, at: Duration, what: &str) {
        self.0.lock().lines.push(format!("{:.6} {what}", at.as_secs_f64()));
    }

    /// How many datagrams arrived.
    pub fn received(&self) -> u64 {
        self.0.lock().received
    }

    /// Takes all lines out.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().lines)
    }
}

/// FNV-1a (Fowler, Noll, Vo): the same in every process and version.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
