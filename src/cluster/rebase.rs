//! Giving up an identity: when the cluster has forgotten what this node lacks, it joins again under a new node id, and
//! makes those of its own effects again that nobody else has, and of nodes that are gone what the core says.
//!
//! Until the first word of the snapshot, the data stays as it is; `inheritance` tells what becomes of it when nobody is
//! left to send one. From the first word of the snapshot until its end, the node that sends it is the one that keeps the
//! data of others; this node keeps only what may have to be made again.

use std::time::Duration;

use super::discovery::Discovery;
use super::import::Import;
use super::inheritance::Heritage;
use super::mesh::Mesh;
use super::runtime::{ClusterLoop, bind_transport};
use super::start::fresh_identity;
use super::{ClusterError, Identity, Transport, members};
use crate::effects::{Effect, Frontier, Reissue};
use crate::replication::{Again, Input, is_covered};

/// The socket of the former identity may take so long to close: QUIC sees its connections off in three round trips, as it
/// estimates them.
const BIND_PATIENCE: Duration = Duration::from_secs(30);

/// Clients wait so long for what they may have seen under the former identity: others may be on the way as well.
const SESSION_PATIENCE: Duration = Duration::from_secs(15);

/// A pause between two attempts to bind.
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// What the latest own effect had seen: effects say only what changed since the one before.
#[derive(Debug, Default)]
pub(super) struct OwnPast {
    seen: Frontier,
}

impl OwnPast {
    /// Takes the next own effect; returns all that it had seen, earlier own effects included.
    pub fn follow(&mut self, effect: &Effect) -> &Frontier {
        for &(node, seq) in &effect.seen_changes {
            self.seen.raise(node, seq);
        }
        self.seen.set(effect.dot.node, effect.dot.seq - 1);
        &self.seen
    }

    /// What the latest own effect had seen. The next one begins anew.
    pub fn end(&mut self) -> Frontier {
        std::mem::take(&mut self.seen)
    }
}

impl ClusterLoop {
    /// Leaves the current identity behind and joins as another node.
    pub(super) async fn give_up_identity(&mut self, reason: &str) -> Result<(), ClusterError> {
        tracing::warn!(node = %self.node, reason, "rebase: this node joins again under a new id");
        let has_served = self.serving.send_replace(false) || self.opens_at.take().is_some();
        self.is_about_to_part = false;
        self.reports.urgent = true;
        self.publish();
        self.reports.rebases += 1;
        self.reports.refused_before += self.mesh.refused();
        self.mesh.close("it joins again under a new id").await;
        while self.events.try_recv().is_ok() {}

        let identity = fresh_identity(&self.settings.secret, &self.settings.also_accepted, &*self.net)?;
        let node = std::mem::replace(&mut self.node, identity.node());
        let transport = self.bind_again(identity).await?;
        self.mesh = Mesh::start(transport, self.mesh.next_link(), self.event_sender.clone());
        // Its clients only wait.
        self.mesh.declare(has_served);

        let member = self.member.clone();
        // An identity that never served made no effects but entries of members, which the next one makes anew.
        if has_served {
            self.member.was(node);
        }
        // One of two starts within a millisecond still has to be the later one.
        self.member.started = self.clock.wall().max(member.started + 1);
        // What the core of an identity that never served has of others, they have.
        if has_served {
            self.shown.join(self.core.frontier());
            self.heritage = Some(Heritage { node, member, header: self.core.snapshot_header() });
            self.remains.join(self.core.remains());
            (self.member.legacy, self.member.forgotten) = (self.remains.made(), self.remains.forgotten());
        }
        let waiting = std::mem::take(&mut self.inputs);
        for input in waiting {
            match input {
                Input::LocalEffects(effects) => self.keep_late_effects(effects),
                Input::MadeAgain(effects) => self.remains.add_made(effects),
                _ => {}
            }
        }
        self.core = self.new_core();
        if let Some(traces) = &mut self.traces {
            traces.forget();
        }
        self.reissue = Reissue::new(self.node);
        self.members_changed = false;
        self.is_stale = true;
        self.folding.cancel();
        self.import = Import::default();
        self.discovery = Discovery::default();
        self.discovery.start(self.clock.monotonic());
        Ok(())
    }

    /// The new identity uses the old address. The system may need a moment to let go of it.
    async fn bind_again(&mut self, identity: Identity) -> Result<Transport, ClusterError> {
        let (settings, net) = (&self.settings, self.net.clone());
        let deadline = self.clock.monotonic() + BIND_PATIENCE;
        let mut socket = net.bind(settings.bind);
        while socket.is_err() && self.clock.monotonic() < deadline {
            tokio::time::sleep(BIND_PAUSE).await;
            socket = net.bind(settings.bind);
        }
        drop(socket);
        bind_transport(settings, &*net, self.clock.clone(), identity)
    }

    /// Keeps effects that were committed under the former identity after its core had ended.
    pub(super) fn keep_late_effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let seen = self.own_past.follow(&effect).clone();
            if self.member.former.last() == Some(&effect.dot.node) {
                self.remains.add_late(effect, seen);
            }
        }
    }

    /// The addresses of the members as the former identity knew them: where to look for peers besides DNS.
    pub(super) fn former_peers(&self) -> Vec<String> {
        if self.heritage.is_none() {
            return Vec::new();
        }
        let members = members::read(&self.keyspace, self.clock.wall());
        let others = members.into_values().map(|member| member.address);
        others.filter(|address| *address != self.member.address).collect()
    }

    /// The core says that clients can be served, when this is made again.
    pub(super) fn begin_to_serve(&mut self, again: &[Again]) {
        self.drop_stale_data();
        self.make_again(again);
        // Only now: the former identities end after all that they made.
        for node in self.member.former.clone() {
            self.members_changed |= members::remove(&self.keyspace, self.clock.wall(), node);
        }
        let now = self.clock.monotonic();
        self.opens_at = Some(now + SESSION_PATIENCE);
        self.consider_opening(now);
    }

    /// Clients wait from now on.
    pub(super) fn part(&mut self) {
        self.is_about_to_part = true;
        self.serving.send_replace(false);
        self.opens_at.get_or_insert(self.clock.monotonic());
        self.reports.urgent = true;
    }

    /// Clients need not wait any more.
    pub(super) fn stay(&mut self) {
        self.is_about_to_part = false;
        if self.leaving.is_none() {
            self.consider_opening(self.clock.monotonic());
        }
    }

    /// Serves clients as soon as everything is here that they may have seen before, or will not come.
    pub(super) fn consider_opening(&mut self, now: Duration) {
        let Some(opens_at) = self.opens_at.filter(|_| !self.is_about_to_part) else { return };
        let is_covered = self.shown.is_empty() || {
            let members = members::read(&self.keyspace, self.clock.wall());
            is_covered(&self.shown, &self.keyspace.frontier(), &members)
        };
        if !is_covered && now < opens_at {
            return;
        }
        if !is_covered {
            tracing::warn!(node = %self.node, "what clients saw of nodes that are gone may be missing now");
        }
        self.opens_at = None;
        self.shown = Frontier::EMPTY;
        self.serving.send_replace(true);
        self.mesh.declare(true);
        self.reports.urgent = true;
        tracing::info!(node = %self.node, "serving");
    }

    /// Makes these effects again, as far as they are not here. With an inheritance all of them are
    /// here; they are kept in case this identity has to be given up, too, before another node has them.
    pub(super) fn make_again(&mut self, again: &[Again]) {
        let effects = self.remains.take(again, &self.keyspace.frontier());
        if !effects.is_empty() {
            self.collect_local_effects(false);
            let (folded, wall) = (self.core.folded(), self.clock.wall());
            let made = self.keyspace.reissue(&mut self.reissue, &effects, folded, wall);
            self.inputs.push_back(Input::MadeAgain(made.into_iter().map(|(_, effect)| effect).collect()));
            tracing::info!(node = %self.node, effects = effects.len(), "effects of identities given up made again");
        }
        self.remains_are_settled = false;
    }

    /// Another node has applied an effect of the current identity, and so everything that was here before it.
    pub(super) fn forget_remains(&mut self) {
        if !std::mem::replace(&mut self.remains_are_settled, true) {
            self.remains.forget(&self.keyspace.frontier());
        }
    }
}
