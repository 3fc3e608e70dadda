//! The record of every datagram of a simulation: what two runs of one seed must have in common to the last byte.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// What became of a datagram where it was sent.
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

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Simulated time.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who is to receive it.
    pub to: SocketAddr,
    /// Its length in bytes.
    pub length: usize,
    /// A hash of its bytes.
    pub hash: u64,
    /// What became of it.
    pub fate: Fate,
}

impl fmt::Display for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packet { at, from, to, length, hash, fate } = self;
        write!(out, "{:>12.6} {from} {to} {length:>4} {hash:016x} {fate:?}", at.as_secs_f64())
    }
}

/// All packets of a simulation so far. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub struct PacketTrace(Arc<Mutex<Vec<Packet>>>);

impl PacketTrace {
    /// Notes what becomes of a datagram.
    pub fn note(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8], fate: Fate) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        self.0.lock().push(Packet { at, from, to, length: bytes.len(), hash: hash(bytes), fate });
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record as text, one line per packet.
    pub fn text(&self) -> String {
        self.0.lock().iter().fold(String::new(), |mut text, packet| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{packet}");
            text
        })
    }
}

/// FNV-1a (Fowler, Noll, Vo): the same in every process and version.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
