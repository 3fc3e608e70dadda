//! What all connections of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::balance::Balance;
use crate::cluster::Clock;
use crate::commands::ServerState;

/// The node as its front end sees it.
pub struct Front {
    /// What commands see.
    pub state: Arc<ServerState>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Which threads serve how many.
    pub(super) balance: Balance,
    connected: AtomicU64,
    seeds: Mutex<fastrand::Rng>,
}

impl Front {
    /// A front end without connections, on one thread. `seed` decides the random choices made for clients.
    pub fn new(state: Arc<ServerState>, clock: Arc<dyn Clock>, seed: u64) -> Front {
        Front::balanced(state, clock, seed, Balance::new(1, 1))
    }

    /// The same on several threads.
    pub(super) fn balanced(state: Arc<ServerState>, clock: Arc<dyn Clock>, seed: u64, balance: Balance) -> Front {
        let seeds = Mutex::new(fastrand::Rng::with_seed(seed));
        Front { state, clock, balance, connected: AtomicU64::new(0), seeds }
    }

    /// A seed for one connection.
    pub(super) fn seed(&self) -> u64 {
        self.seeds.lock().u64(..)
    }

    /// A place for one more client, on this thread, unless all are taken.
    pub(super) fn take_place(self: &Arc<Self>, thread: usize) -> Option<Place> {
        if self.connected.fetch_add(1, Ordering::Relaxed) < self.state.config.max_clients() as u64 {
            self.balance.arrives(thread);
            return Some(Place { front: Arc::clone(self), thread });
        }
        self.connected.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One client counts as connected as long as this lives.
pub(super) struct Place {
    front: Arc<Front>,
    thread: usize,
}

impl Place {
    pub(super) fn front(&self) -> &Front {
        &self.front
    }

    /// Where the client is.
    pub(super) fn thread(&self) -> usize {
        self.thread
    }

    /// The client goes to another thread.
    pub(super) fn go_to(&mut self, thread: usize) {
        self.front.balance.leaves(self.thread);
        self.front.balance.arrives(thread);
        self.thread = thread;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.front.balance.leaves(self.thread);
        self.front.connected.fetch_sub(1, Ordering::Relaxed);
    }
}
