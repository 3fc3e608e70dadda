//! Addresses that DNS names and where nobody was met yet.
//!
//! Nodes that cannot reach each other when they start begin several clusters, and each of them takes writes. As nobody of
//! the one is a member of the other, membership brings them together never. So a node looks the name of its cluster up
//! again now and then, and goes on dialing whoever is named and was not met.
//!
//! And it waits with forgetting: whoever is at such an address may have written to the same keys. What is in the logs of both
//! sides merges exactly; what both have forgotten does not (see `rebase`). It waits until
//! - somebody is met there, who is a participant from then on (see `stability`), or nobody of this cluster is;
//! - DNS has not named the address for a while (one answer need not name all);
//! - [`PATIENCE`] is over: then the operator is told.
//!
//! When the log is over its budget, what still matters of it is kept for them in the archive, as for nodes that are forced out (see
//! `stability`), and so is the metadata of keys, until that is over its own.
//!
//! A node that is to join a cluster, and that DNS has not told of any address yet, waits likewise for whoever may be there.
//!
//! # Bounds
//!
//! At most [`MAX_UNMET`] addresses. One that DNS names beyond that counts for nothing until another is gone.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::Output;
use super::core::Core;
use super::joining::Phase;
use crate::effects::NodeId;
use crate::planted::{Bug, planted};

/// The most addresses that are remembered.
const MAX_UNMET: usize = 256;
/// Between two attempts to connect: at first, and at most; milliseconds.
const DIAL: (u64, u64) = (1_000, 30_000);
/// Between two lookups: at first, and at most; milliseconds.
const LOOKUP: (u64, u64) = (1_000, 30_000);
/// An address is gone when an answer does not name it, nor any in so many milliseconds before.
const UNNAMED: u64 = 90_000;
/// How long nothing is forgotten for the sake of an address where nobody answers, in milliseconds.
pub(super) const PATIENCE: u64 = 3_600_000;

/// Whom DNS names and this node has not met.
#[derive(Debug)]
pub(super) struct Unmet {
    addresses: BTreeMap<String, Address>,
    /// Whoever DNS would name, as long as it has not answered.
    unknown: Option<Address>,
    lookup_at: u64,
    lookup_pause: u64,
    rng: Rng,
}

#[derive(Debug)]
struct Address {
    /// When it was named for the first time, and for the last.
    first_named: u64,
    last_named: u64,
    dial_at: u64,
    dial_pause: u64,
    /// The log is not kept for it any more.
    unlogged: bool,
    /// It was waited for in vain, and is only dialed from now on.
    given_up: bool,
}

impl Address {
    fn new(now: u64) -> Address {
        Address {
            first_named: now,
            last_named: now,
            dial_at: now,
            dial_pause: DIAL.0,
            unlogged: false,
            given_up: false,
        }
    }
}

impl Unmet {
    pub(super) fn new(seed: u64, now: u64, joining: bool) -> Self {
        let unknown = joining.then(|| Address::new(now));
        Unmet { addresses: BTreeMap::new(), unknown, lookup_at: now, lookup_pause: LOOKUP.0, rng: Rng::with_seed(seed) }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Is the log kept because of them?
    pub(super) fn are_waited_for(&self) -> bool {
        self.all().any(|address| !address.given_up && !address.unlogged) && !planted(Bug::IgnoreUnmet)
    }

    /// Is metadata kept because of them, and what matters of the log?
    pub(super) fn are_remembered(&self) -> bool {
        self.all().any(|address| !address.given_up) && !planted(Bug::IgnoreUnmet)
    }

    /// The log is kept for none of them any more. Returns for whom it was.
    pub(super) fn stop_logging(&mut self) -> Vec<String> {
        let logged = self.all_mut().filter(|(_, address)| !address.given_up && !address.unlogged);
        let stopped = logged.map(|(name, address)| {
            address.unlogged = true;
            name
        });
        stopped.collect()
    }

    fn all(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values().chain(&self.unknown)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = (String, &mut Address)> {
        let unknown = self.unknown.as_mut().map(|address| ("unknown addresses".to_owned(), address));
        self.addresses.iter_mut().map(|(name, address)| (name.clone(), address)).chain(unknown)
    }

    /// These are not waited for any more. Returns who was.
    fn give_up(&mut self, mut which: impl FnMut(&Address) -> bool) -> Vec<String> {
        let waited_for = self.all_mut().filter(|(_, address)| !address.given_up && which(address));
        let given_up = waited_for.map(|(name, address)| {
            address.given_up = true;
            name
        });
        given_up.collect()
    }

    /// Those that the log is not kept for any more are not waited for at all. Returns who was.
    pub(super) fn give_up_unlogged(&mut self) -> Vec<String> {
        self.give_up(|address| address.unlogged)
    }
}

impl Core {
    /// DNS names these addresses, this node's own left out.
    pub(super) fn named(&mut self, now: u64, addresses: Vec<String>) {
        self.unmet.unknown = None;
        let own = &self.options.member.address;
        let strangers = addresses.into_iter().filter(|address| address != own && !self.membership.knows(address));
        for address in strangers {
            if let Some(known) = self.unmet.addresses.get_mut(&address) {
                known.last_named = now;
            } else if self.unmet.addresses.len() < MAX_UNMET {
                self.unmet.addresses.insert(address, Address::new(now));
            }
        }
        // Not by time alone: while DNS fails, nothing is known.
        self.unmet.addresses.retain(|_, address| now < address.last_named + UNNAMED);
    }

    /// It is known who is at an address. A peer counts as met when it has said who it is.
    pub(super) fn reached(&mut self, address: &str, peer: Option<NodeId>) {
        let has_said = |peer: NodeId| self.peers.get(&peer).is_some_and(|state| state.said.is_some());
        if peer.is_none_or(has_said) {
            self.unmet.addresses.remove(address);
        }
    }

    /// What time asks for: lookups, attempts to connect, and an end of the waiting.
    pub(super) fn tend_unmet(&mut self, now: u64, out: &mut Vec<Output>) {
        if matches!(self.joining.phase, Phase::Leaving | Phase::GivenUp) {
            return;
        }
        let Core { unmet, membership, .. } = self;
        unmet.addresses.retain(|address, _| !membership.knows(address));
        if self.joining.phase == Phase::Serving && now >= unmet.lookup_at {
            // Between four and six fifths of the pause, so that nodes do not ask in step.
            unmet.lookup_at = now + unmet.lookup_pause * 4 / 5 + unmet.rng.u64(0..=unmet.lookup_pause * 2 / 5);
            unmet.lookup_pause = LOOKUP.1.min(2 * unmet.lookup_pause);
            out.push(Output::LookUp);
        }
        for (name, address) in &mut unmet.addresses {
            if now >= address.dial_at {
                let pause = address.dial_pause;
                address.dial_pause = DIAL.1.min(2 * pause);
                address.dial_at = now + pause * 4 / 5 + unmet.rng.u64(0..=pause * 2 / 5);
                out.push(Output::Dial { address: name.clone() });
            }
        }
        for address in unmet.give_up(|address| now >= address.first_named + PATIENCE) {
            out.push(Output::Warn(format!(
                "DNS names {address}, where no node of this cluster has answered for an hour: should one come that was \
                 written to all the while, only what it still has in its log of effects is merged"
            )));
        }
    }
}
