//! Snapshots: shard by shard, while time passes and everybody goes on writing.

use bytes::Bytes;
use swytch::effects::{Effect, Frontier, NodeId};
use swytch::keyspace::Keyspace;
use swytch::replication::{History, Input, SnapshotHeader, SnapshotTail};

use super::queue::{Event, Parcel};
use super::world::World;
use crate::coverage::Path;

/// How many shards are exported at one moment.
const SHARDS_AT_ONCE: usize = 64;
/// How many effects of the tail are sent at once.
const EFFECTS_AT_ONCE: usize = 32;
const SNAPSHOT_STREAM: usize = 2;

/// The snapshot that is asked for or coming in. There is at most one.
#[derive(Default)]
pub(super) struct Import {
    expected: Option<(NodeId, u32)>,
    current: Option<Current>,
}

struct Current {
    connection: u64,
    header: Box<SnapshotHeader>,
    /// It brings effects alone.
    is_handover: bool,
    /// Where it goes if the node has begun to serve: beside the data that clients see.
    beside: Option<Box<Keyspace>>,
    history: Vec<Bytes>,
    tail: Vec<Bytes>,
}

impl Current {
    fn new(connection: u64, header: Box<SnapshotHeader>) -> Current {
        let (history, tail) = (Vec::new(), Vec::new());
        Current { connection, header, is_handover: false, beside: None, history, tail }
    }
}

impl Import {
    /// The core asks this peer for a snapshot, or repeats that it does. True when it did not before.
    pub fn expect(&mut self, peer: NodeId, attempt: u32) -> bool {
        let is_new = self.expected != Some((peer, attempt));
        if is_new {
            *self = Import { expected: Some((peer, attempt)), current: None };
        }
        is_new
    }

    /// Is one coming in?
    pub fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    fn is_expected_from(&self, peer: NodeId) -> bool {
        self.expected.is_some_and(|(expected, _)| expected == peer)
    }

    fn is_current(&self, connection: u64) -> bool {
        self.current.as_ref().is_some_and(|current| current.connection == connection)
    }
}

impl World<'_> {
    /// Begins to send a snapshot.
    pub fn begin_export(&mut self, slot: usize, peer: NodeId, header: SnapshotHeader) {
        let Some(&connection) = self.nodes[slot].as_ref().and_then(|node| node.links.get(&peer)) else { return };
        let end = usize::from(self.connections[&connection].ends[1].run.slot == slot);
        let header = Box::new(header);
        self.note(slot, || format!("sends a snapshot to {peer}"));
        self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Header(header.clone()));
        self.queue.push(self.now + 1, Event::Export { connection, end, header, next: 0 });
    }

    /// Sends the next shards.
    pub fn export(&mut self, connection: u64, end: usize, header: Box<SnapshotHeader>, next: usize) {
        let Some(state) = self.connections.get(&connection).filter(|state| state.ends[end].open) else { return };
        let slot = state.ends[end].run.slot;
        let Some(node) = self.nodes[slot].as_ref() else { return };
        if next == Keyspace::SHARDS {
            return self.end_export(connection, slot, &header.begin);
        }
        let upto = next + SHARDS_AT_ONCE;
        let shards = (next..upto).map(|shard| node.keyspace.export_shard(shard)).collect();
        self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Shards(shards));
        let pause = self.random.u64(1..100);
        self.queue.push(self.now + pause, Event::Export { connection, end, header, next: upto });
    }

    /// All shards are out: what came since the beginning follows, if the log still has it.
    fn end_export(&mut self, connection: u64, slot: usize, begin: &Frontier) {
        self.collect(slot);
        self.process_rebase(slot);
        let Some(node) = self.nodes[slot].as_ref() else { return };
        let Some(SnapshotTail { effects, end, history }) = node.core.snapshot_tail(begin) else {
            self.note(slot, || "does not have the tail of a snapshot any more".to_owned());
            self.outcome.coverage.note(Path::TailForgotten);
            return self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Abandoned);
        };
        let (time, overflowed) = (node.keyspace.latest_time(), node.has_overflowed(self.now));
        let (history, past) = history.map(|history| (history.begin, history.effects)).unzip();
        for effects in past.unwrap_or_default().chunks(EFFECTS_AT_ONCE) {
            self.send(connection, slot, SNAPSHOT_STREAM, Parcel::History(effects.to_vec()));
        }
        for effects in effects.chunks(EFFECTS_AT_ONCE) {
            self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Tail(effects.to_vec()));
        }
        self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Trailer { end, time, history, overflowed });
    }

    /// A part of a snapshot arrived. One that nobody asked for, or not any more, is passed over.
    pub fn take_snapshot_part(&mut self, slot: usize, peer: NodeId, connection: u64, part: Parcel) {
        let Some(node) = self.nodes[slot].as_mut() else { return };
        match part {
            Parcel::Frame(_) => {}
            Parcel::Header(header) => {
                if node.import.is_expected_from(peer) && node.import.current.is_none() {
                    let beside = node.core.has_served().then(|| Box::new(node.keyspace.beside()));
                    let is_beside = beside.is_some();
                    node.import.current = Some(Current { beside, ..Current::new(connection, header) });
                    if !is_beside {
                        self.begin_import(slot);
                    }
                }
            }
            Parcel::Handover(header) => {
                if node.import.is_expected_from(peer) && node.import.current.is_none() {
                    node.import.current = Some(Current { is_handover: true, ..Current::new(connection, header) });
                }
            }
            Parcel::Shards(shards) => {
                if node.import.is_current(connection) {
                    let beside = node.import.current.as_ref().and_then(|current| current.beside.as_deref());
                    let target = beside.unwrap_or(&node.keyspace);
                    for shard in shards {
                        target.import_shard(&shard).expect("a shard that a keyspace exported");
                    }
                }
            }
            Parcel::History(effects) => {
                let current = node.import.current.as_mut().filter(|current| current.connection == connection);
                current.into_iter().for_each(|current| current.history.extend_from_slice(&effects));
            }
            Parcel::Tail(effects) => {
                let current = node.import.current.as_mut().filter(|current| current.connection == connection);
                current.into_iter().for_each(|current| current.tail.extend_from_slice(&effects));
            }
            Parcel::Abandoned => {
                if !node.import.is_current(connection) {
                    return;
                }
                if node.import.current.as_ref().is_some_and(|current| current.is_handover) {
                    node.import = Import::default();
                    self.outcome.coverage.note(Path::HandoverRefused);
                    return self.step(slot, Input::HandoverRefused { peer });
                }
                self.fail_import(slot, peer);
            }
            Parcel::Trailer { end, time, history: begin, overflowed } => {
                if !node.import.is_current(connection) {
                    return;
                }
                let Some(current) = std::mem::take(&mut node.import).current else { return };
                let Current { header, is_handover, beside, history, tail, .. } = current;
                let history = begin.map(|begin| History { begin, effects: history });
                if is_handover {
                    node.handover_time = time;
                    let tail = SnapshotTail { effects: tail, end, history };
                    return self.step(slot, Input::HandoverReceived { peer, header: *header, tail });
                }
                let begin = header.begin.clone();
                if !beside.as_deref().unwrap_or(&node.keyspace).is_imported_between(&begin, &end) {
                    self.checker
                        .violated("P2", format!("node {slot} gets a snapshot of more than {begin:?} to {end:?}"));
                }
                let Some(node) = self.nodes[slot].as_mut() else { return };
                if let Some(beside) = beside {
                    beside.finish_import(&begin, time);
                    node.beside = Some(beside);
                    self.outcome.coverage.count(Path::TailApplied, u64::from(!tail.is_empty()));
                    let tail = SnapshotTail { effects: tail, end, history };
                    self.step(slot, Input::SnapshotReceived { peer, header: *header, tail });
                    let Some(node) = self.nodes[slot].as_mut() else { return };
                    match node.beside.take() {
                        None => node.log_was_full |= overflowed,
                        Some(_) => self.outcome.coverage.note(Path::ReconciledInVain),
                    }
                    return;
                }
                node.keyspace.finish_import(&begin, time);
                node.is_stale = false;
                node.members_changed = true;
                node.log_was_full |= overflowed;
                self.checker.imported(slot, &begin, false);
                self.outcome.statistics.snapshots += 1;
                self.note(slot, || format!("has the snapshot of {peer}: {begin:?} to {end:?}"));
                self.outcome.coverage.count(Path::TailApplied, u64::from(!tail.is_empty()));
                let tail = SnapshotTail { effects: tail, end, history };
                self.step(slot, Input::SnapshotReceived { peer, header: *header, tail });
                if let Some(node) = self.nodes[slot].as_mut() {
                    // The core may have found fault with it.
                    node.is_stale = !begin.within(node.core.frontier());
                }
            }
        }
    }

    /// A connection was lost, and with it the snapshot that was to come over it.
    pub fn import_lost(&mut self, slot: usize, peer: NodeId) {
        if self.nodes[slot].as_ref().is_some_and(|node| node.import.is_expected_from(peer)) {
            self.fail_import(slot, peer);
        }
    }

    fn fail_import(&mut self, slot: usize, peer: NodeId) {
        let Some(node) = self.nodes[slot].as_mut() else { return };
        if let Some(current) = std::mem::take(&mut node.import).current {
            self.outcome.coverage.note(Path::SnapshotLost);
            if current.beside.is_none() && !current.is_handover {
                self.empty_keyspace(slot);
            }
        }
        self.note(slot, || format!("does not get the snapshot of {peer}"));
        self.step(slot, Input::SnapshotFailed { peer });
    }

    /// What was imported beside the data takes its place, with these effects applied to it.
    pub fn take_over(
        &mut self,
        slot: usize,
        tail: &[(Effect, Frontier)],
        beyond: &[(Effect, Frontier)],
        frontier: &Frontier,
    ) {
        let wall = self.wall(slot);
        let node = self.nodes[slot].as_mut().expect("only nodes that run are asked for");
        let beside = node.beside.take().expect("only a snapshot that has just come is taken over");
        let begin = beside.frontier();
        let mut takeover = node.keyspace.begin_takeover(wall);
        assert!(takeover.drain().is_empty(), "everything was collected just before");
        tail.iter().for_each(|(effect, seen)| beside.apply(effect, seen, wall));
        beside.end_catch_up();
        beside.begin_takeover(wall).apply(beyond, frontier, takeover.latest_time());
        takeover.finish(&beside);
        node.folding.2 = 0;
        node.members_changed = true;
        self.note(slot, || format!("takes over a state of {begin:?}, with {} effects", tail.len() + beyond.len()));
        self.outcome.statistics.snapshots += 1;
        self.checker.took_over(slot, &begin, tail, frontier);
    }

    /// Hands over to a peer what it lacks, or tells it that this cannot be.
    pub fn hand_over(&mut self, slot: usize, peer: NodeId, header: SnapshotHeader, effects: Option<Vec<Bytes>>) {
        let Some(node) = self.nodes[slot].as_ref() else { return };
        let Some(&connection) = node.links.get(&peer) else { return };
        let (time, overflowed) = (node.keyspace.latest_time(), node.has_overflowed(self.now));
        let end = header.begin.clone();
        self.note(slot, || format!("hands over {:?} effects to {peer}, up to {end:?}", effects.as_ref().map(Vec::len)));
        self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Handover(Box::new(header)));
        let Some(effects) = effects else {
            return self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Abandoned);
        };
        for effects in effects.chunks(EFFECTS_AT_ONCE) {
            self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Tail(effects.to_vec()));
        }
        self.send(connection, slot, SNAPSHOT_STREAM, Parcel::Trailer { end, time, history: None, overflowed });
    }

    /// Applies what was handed over.
    pub fn apply_together(&mut self, slot: usize, effects: &[(Effect, Frontier)], frontier: &Frontier) {
        let wall = self.wall(slot);
        let node = self.nodes[slot].as_mut().expect("only nodes that run are asked for");
        let mut takeover = node.keyspace.begin_takeover(wall);
        assert!(takeover.drain().is_empty(), "everything was collected just before");
        takeover.apply(effects, frontier, node.handover_time);
        node.members_changed = true;
        self.note(slot, || format!("applies {} effects at once, up to {frontier:?}", effects.len()));
        self.outcome.statistics.applied += effects.len() as u64;
        self.checker.went_on(slot, frontier);
    }

    /// The core, which has applied nothing, applies its first effect or serves: what else is here has to go.
    pub fn drop_stale_data(&mut self, slot: usize) {
        if self.nodes[slot].as_ref().is_some_and(|node| node.is_stale) {
            self.outcome.coverage.note(Path::StaleDropped);
            self.empty_keyspace(slot);
        }
    }

    fn empty_keyspace(&mut self, slot: usize) {
        self.begin_import(slot);
        let Some(node) = self.nodes[slot].as_mut() else { return };
        node.keyspace.finish_import(&Frontier::EMPTY, 0);
        node.is_stale = false;
        self.checker.imported(slot, &Frontier::EMPTY, true);
    }
}
