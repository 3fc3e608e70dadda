//! The clients that keep copies of keys, and how they are told that a copy is stale.
//!
//! The keyspace says what has become stale and which numbers have read it ([`Stale`]); here a number is a connection, which hears of it
//! itself, or has it sent to another one. What is to be told is put into the receiver's mailbox, among the messages of its
//! channels, and bounded with them: whoever does not take it is disconnected.
//!
//! Must not know requests, nor take locks of the keyspace: it is called under them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::clients::ClientRecord;
use crate::keyspace::{Millis, Stale};
use crate::pubsub::{Delivery, OutputLimit};

/// One client that keeps copies.
#[derive(Clone, Debug)]
pub struct Tracker {
    /// Its connection.
    pub record: Arc<ClientRecord>,
    /// The connection that is told instead.
    pub target: Option<Arc<ClientRecord>>,
    /// It hears of all keys that begin with one of its prefixes, and not of those that it has read.
    pub broadcasts: bool,
    /// It does not hear of what it writes itself.
    pub skips_own: bool,
}

#[derive(Debug, Default)]
struct Registry {
    clients: BTreeMap<u64, Tracker>,
    prefixes: BTreeMap<Bytes, BTreeSet<u64>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Trackers(RwLock<Registry>);

impl Trackers {
    /// A client keeps copies from now on, or does so in another way.
    pub fn set(&self, tracker: Tracker, prefixes: &BTreeSet<Bytes>) {
        let mut registry = self.0.write();
        let id = tracker.record.id;
        for prefix in prefixes {
            registry.prefixes.entry(prefix.clone()).or_default().insert(id);
        }
        registry.clients.insert(id, tracker);
    }

    /// A client keeps no copies any longer.
    pub fn remove(&self, id: u64) {
        let mut registry = self.0.write();
        registry.clients.remove(&id);
        registry.prefixes.retain(|_, clients| {
            clients.remove(&id);
            !clients.is_empty()
        });
    }

    /// How many clients keep copies.
    pub fn len(&self) -> usize {
        self.0.read().clients.len()
    }

    /// Of how many prefixes somebody hears.
    pub fn prefixes(&self) -> usize {
        self.0.read().prefixes.len()
    }

    /// Tells who has to know. `writer`: the client that has caused it.
    pub fn tell(&self, stale: &[Stale], writer: Option<u64>, limit: OutputLimit, now: Millis) {
        let registry = self.0.read();
        let skips = |tracker: &Tracker| tracker.skips_own && writer == Some(tracker.record.id);
        for one in stale {
            match one {
                // Whoever has caused it may have forgotten what it reads, too.
                Stale::Everything => registry.clients.values().for_each(|tracker| tracker.tell(None, limit, now)),
                Stale::Key { name, readers, .. } => {
                    let keys: Arc<[Bytes]> = Arc::new([Bytes::copy_from_slice(name)]);
                    let found = readers.iter().filter_map(|id| registry.clients.get(id));
                    for tracker in found.filter(|tracker| !tracker.broadcasts && !skips(tracker)) {
                        tracker.tell(Some(&keys), limit, now);
                    }
                }
            }
        }
        if registry.prefixes.is_empty() {
            return;
        }
        let changed = stale.iter().filter_map(|one| match one {
            Stale::Key { name, changed: true, .. } => Some(&**name),
            Stale::Key { .. } | Stale::Everything => None,
        });
        let changed: BTreeSet<&[u8]> = changed.collect();
        for (prefix, clients) in &registry.prefixes {
            let within = changed
                .range::<[u8], _>((Bound::Included(&**prefix), Bound::Unbounded))
                .take_while(|name| name.starts_with(prefix));
            let keys: Arc<[Bytes]> = within.map(|name| Bytes::copy_from_slice(name)).collect();
            if keys.is_empty() {
                continue;
            }
            let found = clients.iter().filter_map(|id| registry.clients.get(id));
            found.filter(|tracker| !skips(tracker)).for_each(|tracker| tracker.tell(Some(&keys), limit, now));
        }
    }
}

impl Tracker {
    /// Tells it, or whom it has chosen, that these keys are stale; `None`: all.
    fn tell(&self, keys: Option<&Arc<[Bytes]>>, limit: OutputLimit, now: Millis) {
        let receiver = match &self.target {
            None => &self.record,
            Some(target) if !target.is_gone() => target,
            Some(target) => {
                self.record.note_broken_redirection();
                if self.record.understands_pushes() {
                    self.record.mailbox().put(Delivery::BrokenRedirection(target.id), limit, now);
                }
                return;
            }
        };
        // A client of RESP2 understands it as a message, if it expects messages at all, and only what another one has sent there.
        if receiver.understands_pushes() || (self.target.is_some() && receiver.is_listening()) {
            receiver.mailbox().put(Delivery::Stale(keys.cloned()), limit, now);
        }
    }
}
