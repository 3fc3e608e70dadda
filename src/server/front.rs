//! What all connections of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cluster::Clock;
use crate::commands::ServerState;

/// The node as its front end sees it.
pub struct Front {
    /// What commands see.
    pub state: Arc<ServerState>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    connected: AtomicU64,
    seeds: Mutex<fastrand::Rng>,
}

impl Front {
    /// A front end without connections. `seed` decides the random choices made for clients.
    pub fn new(state: Arc<ServerState>, clock: Arc<dyn Clock>, seed: u64) -> Front {
        let seeds = Mutex::new(fastrand::Rng::with_seed(seed));
        Front { state, clock, connected: AtomicU64::new(0), seeds }
    }

    /// A seed for one connection.
    pub(super) fn seed(&self) -> u64 {
        self.seeds.lock().u64(..)
    }

    /// A place for one more client, unless all are taken.
    pub(super) fn take_place(self: &Arc<Self>) -> Option<Place> {
        if self.connected.fetch_add(1, Ordering::Relaxed) < self.state.config.max_clients() as u64 {
            return Some(Place { front: Arc::clone(self) });
        }
        self.connected.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One client counts as connected as long as this lives.
pub(super) struct Place {
    front: Arc<Front>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.front.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
