//! Connections: like QUIC's, ordered streams that end when nothing was heard for the idle timeout.
//!
//! What meets a cut is held and goes on when the cut ends, as retransmission would have it. Loss, duplication and
//! reordering are harsher than QUIC is: they hit whole frames, which a full queue or a lost connection can lose in the
//! real thing. Snapshots have a stream of their own that is never lossy.

use std::collections::BTreeMap;

use swytch::effects::NodeId;
use swytch::replication::{Frame, Input, Stream};

use super::queue::{Connection, End, Event, Parcel, Run, Sent};
use super::world::World;
use crate::coverage::Path;

/// QUIC's idle timeout as shipped.
const IDLE_TIMEOUT: u64 = 10_000;
/// A connection attempt that nobody answers is given up after this time.
const DIAL_TIMEOUT: u64 = 3_000;
/// A node that starts on the address of another incarnation tells its peers within this time that it knows nothing of them.
const RESET_TIME: u64 = 1_000;

const SNAPSHOT_STREAM: usize = 2;

impl World<'_> {
    /// Does what one node sends reach the other now?
    fn passes(&self, from: usize, to: usize) -> bool {
        !self.cuts[from][to]
    }

    fn is_running(&self, run: Run) -> bool {
        self.nodes[run.slot].as_ref().is_some_and(|node| node.run == run)
    }

    fn works(&self, slot: usize) -> bool {
        self.nodes[slot].as_ref().is_some_and(|node| !node.paused)
    }

    /// The peer at an address, if a node is connected to it.
    pub fn peer_at(&self, from: usize, to: usize) -> Option<NodeId> {
        let leads_there = |number: &u64| {
            self.connections.get(number).is_some_and(|connection| connection.ends.iter().any(|end| end.run.slot == to))
        };
        let mut links = self.nodes[from].as_ref()?.links.iter();
        links.find(|(_, number)| leads_there(number)).map(|(&peer, _)| peer)
    }

    /// A node tries to connect to an address.
    pub fn dial(&mut self, from: usize, to: usize) {
        let Some(node) = self.nodes[from].as_mut() else { return };
        let run = node.run;
        if from == to || self.peer_at(from, to).is_some() {
            return;
        }
        let Some(node) = self.nodes[from].as_mut().filter(|node| !node.dialing.contains(&to)) else { return };
        node.dialing.insert(to);
        let answered = self.works(to) && self.passes(from, to) && self.passes(to, from);
        let wait = if answered { 3 * self.delay() } else { DIAL_TIMEOUT };
        self.queue.push(self.now + wait, Event::Dialed { from: run, to });
    }

    /// A connection attempt comes to its end.
    pub fn dialed(&mut self, from: Run, to: usize) {
        let Some(node) = self.nodes[from.slot].as_mut() else { return };
        node.dialing.remove(&to);
        let ways = self.passes(from.slot, to) && self.passes(to, from.slot);
        if !ways || !self.works(to) || !self.works(from.slot) {
            return;
        }
        let end = |world: &World<'_>, slot: usize| {
            let node = world.nodes[slot].as_ref().expect("a node that works runs");
            let (run, node) = (node.run, node.id);
            End {
                run,
                node,
                open: true,
                last_arrival: [0; 3],
                held: Vec::new(),
                sent: [0; 3],
                taken: 0,
                early: BTreeMap::new(),
                silent_since: None,
            }
        };
        let ends = [end(self, from.slot), end(self, to)];
        let (here, there) = (self.link(from.slot, ends[1].node), self.link(to, ends[0].node));
        // Both dialed at the same time: one connection is enough.
        if here.is_some() && here == there {
            self.outcome.coverage.note(Path::CrossedDials);
            return;
        }
        for (slot, old, peer) in [(from.slot, here, ends[1].node), (to, there, ends[0].node)] {
            if let Some(old) = old {
                self.close(old, slot);
                self.disconnected(slot, peer);
            }
        }
        let number = self.next_connection;
        self.next_connection += 1;
        let peers = [(from.slot, ends[1].node), (to, ends[0].node)];
        // What happened meanwhile may have made one of them another node.
        if ends.iter().any(|end| self.nodes[end.run.slot].as_ref().is_none_or(|node| node.id != end.node)) {
            return;
        }
        self.connections.insert(number, Connection { ends });
        for (slot, peer) in peers {
            if let Some(node) = self.nodes[slot].as_mut() {
                node.links.insert(peer, number);
            }
        }
        for (slot, peer) in peers {
            self.note(slot, || format!("connected to {peer}"));
            self.step(slot, Input::Connected { peer });
            self.process_rebase(slot);
        }
    }

    fn link(&self, slot: usize, peer: NodeId) -> Option<u64> {
        self.nodes[slot].as_ref()?.links.get(&peer).copied()
    }

    /// A node says something to a peer, if there is a connection.
    pub fn send_frame(&mut self, slot: usize, peer: NodeId, frame: Frame) {
        let Some(number) = self.link(slot, peer) else { return };
        let stream = match frame.stream() {
            Stream::Control => 0,
            Stream::Effects => 1,
        };
        let received = Frame::decode(frame.encode().concat().into());
        match received {
            Ok(received) => self.send(number, slot, stream, Parcel::Frame(received)),
            Err(error) => {
                self.checker.violated("P2", format!("node {slot} sends {frame:?}, which is no frame: {error}"))
            }
        }
    }

    /// Something goes out on one of the streams of a connection.
    pub fn send(&mut self, number: u64, from: usize, stream: usize, what: Parcel) {
        let (mut delay, mut times, mut in_order) = (self.delay(), 1, true);
        if stream != SNAPSHOT_STREAM {
            if self.random.f64() < self.links.loss {
                return;
            }
            times += u8::from(self.random.f64() < self.links.duplication);
            if self.random.f64() < self.links.reordering {
                delay += self.random.u64(0..100 + 4 * self.links.jitter);
                in_order = false;
            }
        }
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let to = usize::from(connection.ends[0].run.slot == from);
        let end = &mut connection.ends[to];
        let mut at = self.now + delay;
        if in_order {
            at = at.max(end.last_arrival[stream]);
            end.last_arrival[stream] = at;
        }
        let sent = Sent { stream, number: end.sent[stream], what };
        end.sent[stream] += 1;
        for _ in 0..times {
            self.queue.push(at, Event::Arrival { connection: number, end: to, sent: sent.clone() });
            at += self.random.u64(0..200);
        }
    }

    /// Something arrives.
    pub fn arrived(&mut self, number: u64, to: usize, sent: Sent) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (end, other) = (&connection.ends[to], &connection.ends[1 - to]);
        let (slot, peer) = (end.run.slot, other.node);
        if !end.open {
            return;
        }
        if self.cuts[other.run.slot][slot] {
            connection.ends[to].held.push(sent);
            self.outcome.coverage.note(Path::Held);
            return;
        }
        self.outcome.statistics.frames += 1;
        match sent.what {
            Parcel::Frame(frame) => {
                self.step(slot, Input::Received { peer, frame });
            }
            part => {
                // What was held by a cut may still be on its way when a later part comes.
                connection.ends[to].early.insert(sent.number, part);
                while let Some(end) = self.connections.get_mut(&number).map(|connection| &mut connection.ends[to])
                    && end.open
                    && let Some(part) = end.early.remove(&end.taken)
                {
                    end.taken += 1;
                    self.take_snapshot_part(slot, peer, number, part);
                }
            }
        }
        self.process_rebase(slot);
    }

    /// One end lets go of a connection. The other learns of it when word gets there.
    pub fn close(&mut self, number: u64, slot: usize) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let end = usize::from(connection.ends[1].run.slot == slot);
        connection.ends[end].open = false;
        if let Some(node) = self.nodes[slot].as_mut() {
            node.links.retain(|_, link| *link != number);
        }
        self.update_connections();
    }

    /// Looks at all connections after something changed about nodes or cuts.
    pub fn update_connections(&mut self) {
        let mut events = Vec::new();
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            let runs = self.connections[&number].ends.each_ref().map(|end| end.run);
            for to in 0..2 {
                let (from, slot) = (runs[1 - to], runs[to].slot);
                let is_gone = !self.is_running(runs[to]);
                let (works, passes) = (self.works(from.slot), self.passes(from.slot, slot));
                let can_tell = works && passes && self.passes(slot, from.slot);
                let is_other_known = self.is_running(from);
                let delay = self.delay() + if is_other_known { 0 } else { self.random.u64(0..RESET_TIME) };
                let Some(connection) = self.connections.get_mut(&number) else { continue };
                let is_other_open = connection.ends[1 - to].open && is_other_known;
                let is_heard = is_other_open && works && passes;
                let end = &mut connection.ends[to];
                if is_gone {
                    end.open = false;
                }
                if end.open && !is_other_open && can_tell {
                    events.push((self.now + delay, Event::Closed { connection: number, end: to }));
                }
                if is_heard {
                    end.silent_since = None;
                } else if end.open && end.silent_since.is_none() {
                    end.silent_since = Some(self.now);
                    events.push((self.now + IDLE_TIMEOUT, Event::Idle { connection: number, end: to }));
                }
                if self.cuts[from.slot][slot] {
                    continue;
                }
                for sent in std::mem::take(&mut end.held) {
                    let at = end.last_arrival[sent.stream].max(self.now + delay);
                    end.last_arrival[sent.stream] = at;
                    events.push((at, Event::Arrival { connection: number, end: to, sent }));
                }
            }
        }
        self.connections.retain(|_, connection| connection.ends.iter().any(|end| end.open));
        for (at, event) in events {
            self.queue.push(at, event);
        }
    }

    /// One end may have heard nothing for too long.
    pub fn idle(&mut self, number: u64, end: usize) {
        let Some(connection) = self.connections.get(&number) else { return };
        let is_over = connection.ends[end].silent_since.is_some_and(|since| since + IDLE_TIMEOUT <= self.now);
        if is_over {
            self.outcome.coverage.note(Path::IdleTimeout);
            self.closed(number, end);
        }
    }

    /// One end of a connection is told that it is over.
    pub fn closed(&mut self, number: u64, end: usize) {
        let Some(connection) = self.connections.get(&number) else { return };
        let (slot, peer) = (connection.ends[end].run.slot, connection.ends[1 - end].node);
        if connection.ends[end].open {
            self.lose(slot, peer);
        }
    }

    /// A node loses the connection to a peer, or ends it.
    pub fn lose(&mut self, slot: usize, peer: NodeId) {
        let Some(number) = self.link(slot, peer) else { return };
        self.close(number, slot);
        self.disconnected(slot, peer);
    }

    fn disconnected(&mut self, slot: usize, peer: NodeId) {
        self.note(slot, || format!("lost the connection to {peer}"));
        self.import_lost(slot, peer);
        self.step(slot, Input::Disconnected { peer });
        self.process_rebase(slot);
    }

    /// How long something is on its way.
    pub fn delay(&mut self) -> u64 {
        self.links.latency + self.random.u64(0..=self.links.jitter)
    }
}
