//! Snapshots as the loop sees them: sending this node's, and taking in the one that the core asked for.

use std::time::Duration;

use bytes::Bytes;

use super::event::LinkId;
use super::runtime::ClusterLoop;
use super::snapshot::{Ending, Part, Trailer};
use crate::effects::{Frontier, NodeId};
use crate::keyspace::{Keyspace, Takeover};
use crate::replication::{History, Input, Output, SnapshotHeader, SnapshotTail};

/// The snapshot that is asked for or coming in. There is at most one.
#[derive(Debug, Default)]
pub(super) struct Import {
    /// From whom, and which attempt that is.
    expected: Option<(NodeId, u32)>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    link: LinkId,
    stream: u64,
    header: SnapshotHeader,
    /// It brings effects alone.
    is_handover: bool,
    /// Where it goes if this node has begun to serve: beside the data that clients see.
    beside: Option<Box<Keyspace>>,
    /// Effects of its history and its tail, as far as these are here.
    history: Vec<Bytes>,
    tail: Vec<Bytes>,
    started: Duration,
    bytes: u64,
}

impl Current {
    fn new(link: LinkId, stream: u64, header: SnapshotHeader, started: Duration, bytes: u64) -> Current {
        let (history, tail) = (Vec::new(), Vec::new());
        Current { link, stream, header, is_handover: false, beside: None, history, tail, started, bytes }
    }

    /// What the core is to know, when the last frame is here.
    fn end(self, trailer: Trailer) -> (SnapshotHeader, SnapshotTail) {
        let history = trailer.history.map(|begin| History { begin, effects: self.history });
        (self.header, SnapshotTail { effects: self.tail, end: trailer.end, history })
    }
}

impl Import {
    /// The core asks this peer for a snapshot, or repeats that it does. What came in of another attempt counts for nothing.
    pub fn expect(&mut self, peer: NodeId, attempt: u32) {
        if self.expected != Some((peer, attempt)) {
            *self = Import { expected: Some((peer, attempt)), current: None };
        }
    }

    fn is_expected_from(&self, peer: NodeId) -> bool {
        self.expected.is_some_and(|(expected, _)| expected == peer)
    }

    fn is_current(&self, link: LinkId, stream: u64) -> bool {
        self.current.as_ref().is_some_and(|current| (current.link, current.stream) == (link, stream))
    }

    fn current_of(&mut self, link: LinkId, stream: u64) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| (current.link, current.stream) == (link, stream))
    }
}

impl ClusterLoop {
    /// Sends everything that is here to a peer.
    pub(super) fn send_snapshot(&mut self, peer: NodeId, header: SnapshotHeader) {
        let (keyspace, clock) = (self.keyspace.clone(), self.clock.clone());
        if let Some(link) = self.mesh.link(peer) {
            link.send_snapshot(keyspace, clock, header);
        }
    }

    /// Hands over to a peer what it lacks, or tells it that this cannot be.
    pub(super) fn hand_over(&mut self, peer: NodeId, header: SnapshotHeader, effects: Option<Vec<Bytes>>) {
        let end = header.begin.clone();
        let time = self.keyspace.latest_time();
        let ending = effects.map(|effects| Ending { tail: SnapshotTail { effects, end, history: None }, time });
        if let Some(link) = self.mesh.link(peer) {
            link.hand_over(header, ending);
        }
    }

    /// How a snapshot ends that began at `begin`, and of which all shards are exported by now. None when the log does not have
    /// what came since, or this identity comes to its end.
    pub(super) fn end_snapshot(&mut self, begin: &Frontier) -> Option<Ending> {
        // What the shards hold was committed by now: the core hears of it first.
        self.collect_local_effects(false);
        self.process_inputs();
        if self.rebase.is_some() {
            return None;
        }
        Some(Ending { tail: self.core.snapshot_tail(begin)?, time: self.keyspace.latest_time() })
    }

    /// A step of a snapshot arrived. One that nobody asked for, or not any more, is passed over.
    pub(super) fn take_snapshot_part(&mut self, peer: NodeId, link: LinkId, stream: u64, part: Part) {
        let length = part.length() as u64;
        match part {
            Part::Header(header) => {
                if !self.import.is_expected_from(peer) || self.import.current.is_some() {
                    return;
                }
                let beside = self.core.has_served().then(|| Box::new(self.keyspace.beside()));
                if beside.is_none() {
                    self.begin_import();
                }
                let current = Current::new(link, stream, header, self.clock.monotonic(), length);
                self.import.current = Some(Current { beside, ..current });
            }
            Part::Handover(header) => {
                if self.import.is_expected_from(peer) && self.import.current.is_none() {
                    let current = Current::new(link, stream, header, self.clock.monotonic(), length);
                    self.import.current = Some(Current { is_handover: true, ..current });
                }
            }
            Part::Shard(shard) => {
                if !self.import.is_current(link, stream) {
                    return;
                }
                let beside = self.import.current.as_ref().and_then(|current| current.beside.as_deref());
                if let Err(error) = beside.unwrap_or(&*self.keyspace).import_shard(&shard) {
                    self.reports.violations += 1;
                    tracing::error!(%peer, %error, "snapshot refused");
                    return self.lose(peer, "its snapshot cannot be read");
                }
                if let Some(current) = &mut self.import.current {
                    current.bytes += length;
                }
            }
            Part::History(effects) => {
                if let Some(current) = self.import.current_of(link, stream) {
                    current.bytes += length;
                    current.history.extend(effects);
                }
            }
            Part::Tail(effects) => {
                if let Some(current) = self.import.current_of(link, stream) {
                    current.bytes += length;
                    current.tail.extend(effects);
                }
            }
            Part::Abandoned => {
                let current = self
                    .import
                    .current
                    .take_if(|current| (current.link, current.stream) == (link, stream) && current.is_handover);
                if current.is_some() {
                    self.import = Import::default();
                    return self.step(Input::HandoverRefused { peer });
                }
                self.snapshot_broke(peer, link, stream);
            }
            Part::Trailer(trailer) => {
                if !self.import.is_current(link, stream) {
                    return;
                }
                if self.import.current.as_ref().is_some_and(|current| current.is_handover) {
                    let Some(current) = std::mem::take(&mut self.import).current else { return };
                    let millis = (self.clock.monotonic() - current.started).as_millis() as u64;
                    tracing::info!(%peer, bytes = current.bytes, millis, "handover received");
                    return self.apply_handover(peer, current, trailer);
                }
                let Some(current) = &self.import.current else { return };
                let target = current.beside.as_deref().unwrap_or(&*self.keyspace);
                if !target.is_imported_between(&current.header.begin, &trailer.end) {
                    self.reports.violations += 1;
                    return self.lose(peer, "its snapshot contradicts itself");
                }
                let Some(mut current) = std::mem::take(&mut self.import).current else { return };
                let millis = (self.clock.monotonic() - current.started).as_millis() as u64;
                tracing::info!(%peer, bytes = current.bytes, millis, "snapshot received");
                if let Some(beside) = current.beside.take() {
                    return self.take_over(peer, &beside, current, trailer);
                }
                let begin = current.header.begin.clone();
                self.keyspace.finish_import(&begin, trailer.time);
                self.is_stale = false;
                // The membership came with it.
                self.members_changed = true;
                let (header, tail) = current.end(trailer);
                self.step(Input::SnapshotReceived { peer, header, tail });
                // The core may have found fault with it.
                self.is_stale = !begin.within(self.core.frontier());
            }
        }
    }

    /// A snapshot is in, beside the data of this node, which serves. Unless the core finds fault with it, it takes the place of that
    /// data, with all effects of this node applied to it.
    fn take_over(&mut self, peer: NodeId, beside: &Keyspace, current: Current, trailer: Trailer) {
        beside.finish_import(&current.header.begin, trailer.time);
        self.collect_local_effects(false);
        self.process_inputs();
        if self.rebase.is_some() {
            return;
        }
        let (keyspace, wall) = (self.keyspace.clone(), self.clock.wall());
        let mut outputs = Vec::new();
        let mut takeover = keyspace.begin_takeover(wall);
        self.hand_late_effects_over(&mut takeover, &mut outputs);
        let keyspace_time = takeover.latest_time();
        let (header, tail) = current.end(trailer);
        let input = Input::SnapshotReceived { peer, header, tail };
        self.core.step(self.now(), input, &mut outputs);
        let taken_over = outputs.iter().find_map(|output| match output {
            Output::TakeOver { tail, beyond, frontier } => Some((tail, beyond, frontier)),
            _ => None,
        });
        if let Some((tail, beyond, frontier)) = taken_over {
            tail.iter().for_each(|(effect, seen)| beside.apply(effect, seen, wall));
            beside.end_catch_up();
            beside.begin_takeover(wall).apply(beyond, frontier, keyspace_time);
            takeover.finish(beside);
        } else {
            tracing::warn!(%peer, "the data of the peer cannot be merged with what is here");
            drop(takeover);
        }
        self.carry_out_all(outputs);
        self.process_inputs();
    }

    /// All that this node lacked of what a peer has is here. Unless the core finds fault with it, it is applied at once.
    fn apply_handover(&mut self, peer: NodeId, current: Current, trailer: Trailer) {
        self.collect_local_effects(false);
        self.process_inputs();
        if self.rebase.is_some() {
            return;
        }
        let keyspace = self.keyspace.clone();
        let mut outputs = Vec::new();
        let mut takeover = keyspace.begin_takeover(self.clock.wall());
        self.hand_late_effects_over(&mut takeover, &mut outputs);
        let time = trailer.time;
        let (header, tail) = current.end(trailer);
        let input = Input::HandoverReceived { peer, header, tail };
        self.core.step(self.now(), input, &mut outputs);
        let together = outputs.iter().find_map(|output| match output {
            Output::ApplyTogether { effects, frontier } => Some((effects, frontier)),
            _ => None,
        });
        if let Some((effects, frontier)) = together {
            takeover.apply(effects, frontier, time);
        } else {
            tracing::warn!(%peer, "what the peer handed over cannot be merged with what is here");
            drop(takeover);
        }
        self.carry_out_all(outputs);
        self.process_inputs();
    }

    /// From here on nothing is committed. What was until now, the core hears of first.
    fn hand_late_effects_over(&mut self, takeover: &mut Takeover<'_>, outputs: &mut Vec<Output>) {
        let local = takeover.drain();
        if !local.is_empty() {
            for effect in &local {
                self.own_past.follow(effect);
            }
            self.core.step(self.now(), Input::LocalEffects(local), outputs);
        }
    }

    /// A snapshot will not come to its end.
    pub(super) fn snapshot_broke(&mut self, peer: NodeId, link: LinkId, stream: u64) {
        if self.import.is_current(link, stream) {
            self.fail_import(peer);
        }
    }

    /// A connection was lost, and with it the snapshot that was to come over it.
    pub(super) fn import_lost(&mut self, peer: NodeId) {
        if self.import.is_expected_from(peer) {
            self.fail_import(peer);
        }
    }

    fn fail_import(&mut self, peer: NodeId) {
        tracing::warn!(%peer, "snapshot not received");
        let current = std::mem::take(&mut self.import).current;
        if current.is_some_and(|current| current.beside.is_none() && !current.is_handover) {
            self.empty_keyspace();
        }
        self.step(Input::SnapshotFailed { peer });
    }

    /// The core, which has applied nothing, applies its first effect or serves: what else is here has to go.
    pub(super) fn drop_stale_data(&mut self) {
        if self.is_stale {
            self.empty_keyspace();
        }
    }

    fn empty_keyspace(&mut self) {
        self.begin_import();
        self.keyspace.finish_import(&Frontier::EMPTY, 0);
        self.is_stale = false;
    }

    /// Empties the keyspace, which begins anew under the current identity.
    fn begin_import(&mut self) {
        self.folding.cancel();
        self.is_stale = true;
        self.heritage = None;
        let late = self.keyspace.begin_import(self.node);
        self.keep_late_effects(late);
        self.own_past.end();
    }
}
