//! Snapshots as the loop sees them: sending this node's, and taking in the one that the core asked for.

use std::time::Duration;

use bytes::Bytes;

use super::event::LinkId;
use super::runtime::ClusterLoop;
use super::snapshot::{Ending, Part};
use crate::effects::{Frontier, NodeId};
use crate::replication::{Input, SnapshotHeader, SnapshotTail};

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
    /// Effects of its tail, as far as that is here.
    tail: Vec<Bytes>,
    started: Duration,
    bytes: u64,
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
}

impl ClusterLoop {
    /// Sends everything that is here to a peer.
    pub(super) fn send_snapshot(&mut self, peer: NodeId, header: SnapshotHeader) {
        let (keyspace, clock) = (self.keyspace.clone(), self.clock.clone());
        if let Some(link) = self.mesh.link(peer) {
            link.send_snapshot(keyspace, clock, header);
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
                self.begin_import();
                let started = self.clock.monotonic();
                self.import.current = Some(Current { link, stream, header, tail: Vec::new(), started, bytes: length });
            }
            Part::Shard(shard) => {
                if !self.import.is_current(link, stream) {
                    return;
                }
                if let Err(error) = self.keyspace.import_shard(&shard) {
                    self.reports.violations += 1;
                    tracing::error!(%peer, %error, "snapshot refused");
                    return self.lose(peer, "its snapshot cannot be read");
                }
                if let Some(current) = &mut self.import.current {
                    current.bytes += length;
                }
            }
            Part::Tail(effects) => {
                if self.import.is_current(link, stream)
                    && let Some(current) = &mut self.import.current
                {
                    current.bytes += length;
                    current.tail.extend(effects);
                }
            }
            Part::Abandoned => self.snapshot_broke(peer, link, stream),
            Part::Trailer(trailer) => {
                if !self.import.is_current(link, stream) {
                    return;
                }
                let Some(current) = &self.import.current else { return };
                if !self.keyspace.is_imported_between(&current.header.begin, &trailer.end) {
                    self.reports.violations += 1;
                    return self.lose(peer, "its snapshot contradicts itself");
                }
                let Some(current) = std::mem::take(&mut self.import).current else { return };
                let begin = current.header.begin.clone();
                self.keyspace.finish_import(&begin, trailer.time);
                self.is_stale = false;
                let millis = (self.clock.monotonic() - current.started).as_millis() as u64;
                tracing::info!(%peer, bytes = current.bytes, millis, "snapshot received");
                // The membership came with it.
                self.members_changed = true;
                let tail = SnapshotTail { effects: current.tail, end: trailer.end };
                self.step(Input::SnapshotReceived { peer, header: current.header, tail });
                // The core may have found fault with it.
                self.is_stale = !begin.within(self.core.frontier());
            }
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
        if std::mem::take(&mut self.import).current.is_some() {
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
