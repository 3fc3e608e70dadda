//! The source of this node's effects: names them, stamps them, and notes what had been seen.
//!
//! The keyspace holds its `Origin` behind a lock that a write takes after the locks of its shards. Everything that a
//! write has seen on its shards is then within `frontier`: effects from peers raise it while they still hold theirs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Dot, Effect, Frontier, HybridClock, NodeId, Operation, OperationsWriter, Reach, SeenChanges, Stamp, TracedEffect,
    current_trace,
};
use crate::planted::{Bug, planted};

/// So many effects that belong to traces are noted until they are collected; of more, nobody learns that they belong to one.
const MAX_TRACED: usize = 1024;

/// Names and collects local effects. Holds no clock: callers pass the time.
#[derive(Debug)]
pub struct Origin {
    node: NodeId,
    clock: HybridClock,
    /// Everything applied here, this node's own effects included.
    frontier: Frontier,
    /// What was applied from others since the last own effect.
    changes: BTreeMap<NodeId, u64>,
    writer: OperationsWriter,
    open: Option<Stamp>,
    acts_on: Option<Reach>,
    outbox: Vec<u8>,
    ends: Vec<usize>,
    traced: Vec<TracedEffect>,
}

impl Origin {
    /// An origin that has made and seen nothing.
    pub fn new(node: NodeId) -> Self {
        Origin {
            node,
            clock: HybridClock::default(),
            frontier: Frontier::default(),
            changes: BTreeMap::new(),
            writer: OperationsWriter::default(),
            open: None,
            acts_on: None,
            outbox: Vec::new(),
            ends: Vec::new(),
            traced: Vec::new(),
        }
    }

    /// The node whose effects these are.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is applied here. While an effect is open it is not part of this.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The latest hybrid time handed out or observed.
    pub fn last_time(&self) -> u64 {
        self.clock.last()
    }

    /// Begins an effect, or returns the one that is open.
    pub fn open(&mut self, wall_millis: u64) -> (Dot, Stamp) {
        let seq = self.frontier.get(self.node) + 1;
        let stamp = match self.open {
            Some(stamp) => stamp,
            None => {
                let stamp = Stamp { time: self.clock.tick(wall_millis), node: self.node };
                self.open = Some(stamp);
                stamp
            }
        };
        (Dot { node: self.node, seq }, stamp)
    }

    /// The hybrid time of an effect that is made here in another name.
    pub fn tick(&mut self, wall_millis: u64) -> u64 {
        assert!(self.open.is_none(), "one effect after the other");
        self.clock.tick(wall_millis)
    }

    /// Restricts what the open effect removes and overwrites (see [`Effect::acts_on`]).
    pub fn restrict(&mut self, acts_on: Reach) {
        assert!(self.open.is_some(), "only an open effect can be restricted");
        self.acts_on = Some(acts_on);
    }

    /// Adds to the open effect.
    pub fn push(&mut self, operation: Operation<'_>) {
        assert!(self.open.is_some(), "an operation belongs to an open effect");
        self.writer.push(operation);
    }

    /// Bytes of the operations of the open effect.
    pub fn open_bytes(&self) -> usize {
        self.writer.bytes().len()
    }

    /// Ends the open effect. Returns its seq, and whether the outbox was empty before it.
    pub fn commit(&mut self) -> Option<(u64, bool)> {
        let stamp = self.open.take()?;
        let acts_on = self.acts_on.take();
        if self.writer.bytes().is_empty() {
            return None;
        }
        let seq = self.frontier.get(self.node) + 1;
        let changes: SeenChanges = std::mem::take(&mut self.changes).into_iter().collect();
        let dot = Dot { node: self.node, seq };
        let was_empty = self.ends.is_empty();
        Effect::encode(&mut self.outbox, dot, stamp.time, &changes, acts_on.as_ref(), self.writer.bytes());
        self.ends.push(self.outbox.len());
        self.writer.clear();
        self.frontier.set(self.node, seq);
        if let Some(context) = current_trace()
            && self.traced.len() < MAX_TRACED
        {
            self.traced.push(TracedEffect { dot, context });
        }
        Some((seq, was_empty))
    }

    /// Notes that an effect from elsewhere is applied.
    pub fn observe(&mut self, dot: Dot, time: u64) {
        assert_ne!(dot.node, self.node, "a node does not observe itself");
        self.frontier.set(dot.node, dot.seq);
        if !planted(Bug::SeeNothing) {
            self.changes.insert(dot.node, dot.seq);
        }
        self.clock.observe(time);
    }

    /// Starts from a snapshot: all of `frontier` is applied, `time` is the latest stamp in it.
    pub fn adopt(&mut self, frontier: &Frontier, time: u64) {
        assert_eq!(self.frontier.get(self.node), 0, "only a node without own effects adopts a snapshot");
        self.frontier = frontier.clone();
        self.changes = frontier.iter().collect();
        self.clock.observe(time);
    }

    /// Goes over to a state of which all of `frontier` is part, and with it all effects of this node; `time` is the latest stamp in it.
    pub fn take_over(&mut self, frontier: &Frontier, time: u64) {
        assert_eq!(frontier.get(self.node), self.frontier.get(self.node), "it has all own effects");
        for (node, seq) in frontier.iter().filter(|&(node, _)| node != self.node) {
            if seq > self.frontier.get(node) {
                self.frontier.set(node, seq);
                self.changes.insert(node, seq);
            }
        }
        self.clock.observe(time);
    }

    /// Bytes of committed effects that nobody has collected yet.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Those effects since the last call that were committed on behalf of a trace (see [`super::TraceScope`]). Of an effect that
    /// [`Origin::drain`] has handed out, the next call knows.
    pub fn drain_traced(&mut self) -> Vec<TracedEffect> {
        std::mem::take(&mut self.traced)
    }

    /// Collects the effects committed since the last call, in order.
    pub fn drain(&mut self) -> Vec<Effect> {
        let encoded = Bytes::from(std::mem::take(&mut self.outbox));
        let mut start = 0;
        self.ends
            .drain(..)
            .map(|end| {
                let slice = encoded.slice(start..end);
                start = end;
                Effect::decode(slice).expect("an effect of our own is well formed")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::{Action, TraceContext, TraceScope};

    #[test]
    fn effects_carry_what_was_seen_since_the_one_before() {
        let mut origin = Origin::new(NodeId(1));
        let remove = Operation::Key { database: 0, key: b"k", action: Action::Remove };
        origin.observe(Dot { node: NodeId(2), seq: 5 }, 0);
        origin.open(10);
        origin.push(remove);
        assert_eq!(origin.commit(), Some((1, true)));
        origin.open(10);
        assert_eq!(origin.commit(), None, "an effect that does nothing is none");
        origin.open(10);
        origin.push(remove);
        assert_eq!(origin.commit(), Some((2, false)));
        let effects = origin.drain();
        assert_eq!(effects.len(), 2);
        assert_eq!(effects[0].seen_changes.as_slice(), [(NodeId(2), 5)]);
        assert!(effects[1].seen_changes.is_empty());
        assert!(effects[1].time > effects[0].time);
        assert!(origin.drain().is_empty());
    }

    #[test]
    fn what_is_committed_within_a_trace_is_noted_and_nothing_else() {
        let mut origin = Origin::new(NodeId(1));
        let mut write = || {
            origin.open(10);
            origin.push(Operation::Key { database: 0, key: b"k", action: Action::Remove });
            origin.commit()
        };
        let context = TraceContext { trace: 7, span: 8 };
        write();
        {
            let _scope = TraceScope::enter(context);
            write();
        }
        write();
        assert_eq!(origin.drain_traced(), [TracedEffect { dot: Dot { node: NodeId(1), seq: 2 }, context }]);
        assert!(origin.drain_traced().is_empty());
    }

    #[test]
    fn traces_that_nobody_collects_are_forgotten_at_a_bound() {
        let mut origin = Origin::new(NodeId(1));
        let _scope = TraceScope::enter(TraceContext { trace: 7, span: 8 });
        for _ in 0..MAX_TRACED + 1 {
            origin.open(10);
            origin.push(Operation::Key { database: 0, key: b"k", action: Action::Remove });
            origin.commit();
        }
        assert_eq!(origin.drain_traced().len(), MAX_TRACED);
    }
}
