//! Traces across nodes: the spans of a sampled write from its hand-over to replication until every peer has acknowledged it, and, at
//! its peers, of its arrival.
//!
//! The place of an effect in a trace is no part of the effect, which the core replicates and keeps: it travels beside it, in a frame of its
//! own on the stream of effects, ahead of it, to whoever is connected when it is made. An effect that comes another way (repair, a snapshot)
//! shows no span; nothing but spans is lost with it. A node that traces nothing passes over such frames.
//!
//! **Wire form** (a frame on the stream of effects): protocol version, kind 3, and for each effect its origin (8 bytes, little endian), its
//! seq (varint), the trace (16 bytes) and the span (8 bytes) that it belongs to, both big endian, as W3C has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::runtime::ClusterLoop;
use crate::effects::{CodecError, Dot, NodeId, Reader, TraceContext, TracedEffect, write_varint};
use crate::replication::{Frame, PROTOCOL_VERSION};
use crate::trace::{Span, SpanKind, Tracer, Value};

/// The kind of these frames, beside those of `replication::frame`.
const KIND_TRACES: u8 = 3;
/// The most effects that one frame may name: as many as an origin notes between two collections.
const MAX_ENTRIES: usize = 1024;
/// So many effects are followed at a time: own ones that somebody has yet to acknowledge, and those of others that are to come. The oldest
/// are given up.
const MAX_FOLLOWED: usize = 4096;

/// Is this frame, which came on the stream of effects, one of these?
pub(super) fn is_traces(frame: &[u8]) -> bool {
    frame.get(1) == Some(&KIND_TRACES)
}

/// The frame that names these effects.
pub(super) fn encode_traces(effects: &[TracedEffect]) -> Bytes {
    let mut frame = vec![PROTOCOL_VERSION, KIND_TRACES];
    for TracedEffect { dot, context } in effects {
        frame.extend_from_slice(&dot.node.0.to_le_bytes());
        write_varint(&mut frame, dot.seq);
        frame.extend_from_slice(&context.trace.to_be_bytes());
        frame.extend_from_slice(&context.span.to_be_bytes());
    }
    Bytes::from(frame)
}

/// Reads a frame of which [`is_traces`] holds.
///
/// # Errors
/// Another version, or anything that `encode_traces` would not write.
pub(super) fn decode_traces(frame: &[u8]) -> Result<Vec<TracedEffect>, CodecError> {
    let mut reader = Reader::new(frame);
    if reader.byte()? != PROTOCOL_VERSION {
        return Err(CodecError::Invalid("another version of the protocol"));
    }
    reader.byte()?;
    let mut effects = Vec::new();
    while reader.remaining() > 0 {
        if effects.len() == MAX_ENTRIES {
            return Err(CodecError::Invalid("too many traces in one frame"));
        }
        let node = NodeId(reader.fixed64()?);
        let dot = Dot { node, seq: reader.varint()? };
        let trace = u128::from_be_bytes(reader.array()?);
        let span = u64::from_be_bytes(reader.array()?);
        if trace == 0 || span == 0 {
            return Err(CodecError::Invalid("a trace without an identity"));
        }
        effects.push(TracedEffect { dot, context: TraceContext { trace, span } });
    }
    Ok(effects)
}

/// The traces that one node follows.
pub(super) struct Traces {
    tracer: Arc<Tracer>,
    random: fastrand::Rng,
    /// Own effects that were collected in this turn: their spans, and the spans that caused them.
    handing: Vec<Handing>,
    /// Own effects by their seq, until all who were connected have acknowledged them.
    sent: BTreeMap<u64, Sent>,
    /// Effects of others that are to come.
    expected: BTreeMap<Dot, Expected>,
    /// Dots of `expected` in the order in which they were named, and some that have come.
    order: VecDeque<Dot>,
}

struct Handing {
    own: TracedEffect,
    parent: u64,
    begun: u64,
    peers: BTreeSet<NodeId>,
}

struct Sent {
    context: TraceContext,
    handed: u64,
    missing: BTreeSet<NodeId>,
}

struct Expected {
    context: TraceContext,
    from: NodeId,
    arrived: u64,
}

impl Traces {
    pub fn new(tracer: Arc<Tracer>, random: fastrand::Rng) -> Traces {
        Traces {
            tracer,
            random,
            handing: Vec::new(),
            sent: BTreeMap::new(),
            expected: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Own effects of traces were collected; what the peers who are connected are to be told about them.
    fn collected(&mut self, effects: Vec<TracedEffect>, peers: &BTreeSet<NodeId>) -> Option<Bytes> {
        let begun = self.tracer.now();
        let mut told = Vec::with_capacity(effects.len());
        for TracedEffect { dot, context } in effects {
            let own = TracedEffect { dot, context: self.tracer.child(context, &mut self.random) };
            told.push(own);
            self.handing.push(Handing { own, parent: context.span, begun, peers: peers.clone() });
        }
        (!told.is_empty()).then(|| encode_traces(&told))
    }

    /// What was collected is in the queues to the peers.
    fn handed_over(&mut self) {
        for Handing { own, parent, begun, peers } in std::mem::take(&mut self.handing) {
            let handed = self.tracer.now();
            self.tracer.finish(Span {
                name: "replicate",
                kind: SpanKind::Producer,
                context: own.context,
                parent: Some(parent),
                begun,
                ended: handed,
                failed: false,
                attributes: vec![
                    ("swytch.effect", Value::Text(name_of(own.dot))),
                    ("swytch.peers", Value::Number(i64::try_from(peers.len()).unwrap_or(i64::MAX))),
                ],
            });
            if peers.is_empty() {
                continue;
            }
            self.sent.insert(own.dot.seq, Sent { context: own.context, handed, missing: peers });
            while self.sent.len() > MAX_FOLLOWED {
                self.sent.pop_first();
            }
        }
    }

    /// A peer has applied this node's effects up to `seq`.
    fn acknowledged(&mut self, node: NodeId, peer: NodeId, seq: u64) {
        let ended = self.tracer.now();
        for (&acknowledged, sent) in self.sent.range_mut(..=seq) {
            if !sent.missing.remove(&peer) {
                continue;
            }
            self.tracer.finish(Span {
                name: "acknowledge",
                kind: SpanKind::Internal,
                context: self.tracer.child(sent.context, &mut self.random),
                parent: Some(sent.context.span),
                begun: sent.handed,
                ended,
                failed: false,
                attributes: vec![
                    ("swytch.effect", Value::Text(name_of(Dot { node, seq: acknowledged }))),
                    ("swytch.peer", Value::Text(peer.to_string())),
                ],
            });
        }
        self.sent.retain(|_, sent| !sent.missing.is_empty());
    }

    /// A peer has named effects that are to come.
    fn expect(&mut self, from: NodeId, effects: Vec<TracedEffect>) {
        let arrived = self.tracer.now();
        for TracedEffect { dot, context } in effects {
            if self.expected.insert(dot, Expected { context, from, arrived }).is_none() {
                self.order.push_back(dot);
            }
        }
        while self.order.len() > MAX_FOLLOWED {
            let Some(oldest) = self.order.pop_front() else { break };
            self.expected.remove(&oldest);
        }
    }

    /// An effect of another node is applied.
    fn applied(&mut self, dot: Dot) {
        let Some(Expected { context, from, arrived }) = self.expected.remove(&dot) else { return };
        self.tracer.finish(Span {
            name: "apply",
            kind: SpanKind::Consumer,
            context: self.tracer.child(context, &mut self.random),
            parent: Some(context.span),
            begun: arrived,
            ended: self.tracer.now(),
            failed: false,
            attributes: vec![
                ("swytch.effect", Value::Text(name_of(dot))),
                ("swytch.peer", Value::Text(from.to_string())),
            ],
        });
    }

    /// The peer does not acknowledge anything any more.
    fn lost(&mut self, peer: NodeId) {
        self.sent.retain(|_, sent| {
            sent.missing.remove(&peer);
            !sent.missing.is_empty()
        });
    }

    /// Another identity begins: what is known of the one before means nothing to it.
    pub fn forget(&mut self) {
        self.handing.clear();
        self.sent.clear();
        self.expected.clear();
        self.order.clear();
    }
}

/// An effect as people name it.
fn name_of(dot: Dot) -> String {
    format!("{}:{}", dot.node, dot.seq)
}

impl ClusterLoop {
    /// Tells the peers which of the effects that were just collected belong to traces; these come behind it on the same streams.
    pub(super) fn tell_traces(&mut self) {
        let Some(traces) = &mut self.traces else { return };
        let mut effects = self.keyspace.drain_traced();
        effects.retain(|effect| effect.dot.node == self.node);
        if effects.is_empty() {
            return;
        }
        let peers = self.mesh.connected().collect();
        if let Some(frame) = traces.collected(effects, &peers) {
            for link in self.mesh.links() {
                // One that is dropped for want of room is one trace less.
                link.send_traces(frame.clone());
            }
        }
    }

    /// What was collected is on its way.
    pub(super) fn traces_handed_over(&mut self) {
        if let Some(traces) = &mut self.traces
            && !traces.handing.is_empty()
        {
            traces.handed_over();
        }
    }

    /// A peer has said this.
    pub(super) fn trace_frame(&mut self, peer: NodeId, frame: &Frame) {
        let Some(traces) = &mut self.traces else { return };
        if traces.sent.is_empty() {
            return;
        }
        match frame {
            Frame::Ack { seq } => traces.acknowledged(self.node, peer, *seq),
            Frame::Gossip { frontier, .. } => traces.acknowledged(self.node, peer, frontier.get(self.node)),
            _ => {}
        }
    }

    /// A peer has named effects that belong to traces.
    pub(super) fn expect_traces(&mut self, peer: NodeId, effects: Vec<TracedEffect>) {
        if let Some(traces) = &mut self.traces {
            traces.expect(peer, effects);
        }
    }

    /// An effect of another node is applied.
    pub(super) fn trace_applied(&mut self, dot: Dot) {
        if let Some(traces) = &mut self.traces
            && !traces.expected.is_empty()
        {
            traces.applied(dot);
        }
    }

    /// A peer is gone.
    pub(super) fn trace_lost(&mut self, peer: NodeId) {
        if let Some(traces) = &mut self.traces {
            traces.lost(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(seq: u64) -> TracedEffect {
        TracedEffect { dot: Dot { node: NodeId(9), seq }, context: TraceContext { trace: 1 << 100, span: seq + 1 } }
    }

    #[test]
    fn frames_survive_the_wire_and_nonsense_is_refused() {
        let effects = vec![traced(1), traced(1 << 40)];
        let frame = encode_traces(&effects);
        assert!(is_traces(&frame));
        assert_eq!(decode_traces(&frame), Ok(effects));
        for length in 3..frame.len() {
            // A frame may end behind any effect.
            let cut = decode_traces(&frame[..length]);
            assert!(cut.is_err() || cut == Ok(vec![traced(1)]), "{length}");
        }
        let mut other = frame.to_vec();
        other[0] += 1;
        assert!(decode_traces(&other).is_err());
        let nobody = TracedEffect { dot: traced(1).dot, context: TraceContext { trace: 0, span: 1 } };
        assert!(decode_traces(&encode_traces(&[nobody])).is_err());
        assert!(decode_traces(&encode_traces(&vec![traced(1); MAX_ENTRIES + 1])).is_err());
    }

    #[test]
    fn what_is_followed_has_a_bound() {
        let mut traces = Traces::new(Arc::new(Tracer::new(1.0)), fastrand::Rng::with_seed(1));
        for seq in 0..MAX_FOLLOWED as u64 + 10 {
            traces.expect(NodeId(2), vec![traced(seq)]);
            traces.collected(vec![traced(seq)], &BTreeSet::from([NodeId(3)]));
            traces.handed_over();
        }
        assert_eq!(
            (traces.expected.len(), traces.order.len(), traces.sent.len()),
            (MAX_FOLLOWED, MAX_FOLLOWED, MAX_FOLLOWED)
        );
        traces.applied(traced(MAX_FOLLOWED as u64).dot);
        assert_eq!(traces.expected.len(), MAX_FOLLOWED - 1);
        traces.lost(NodeId(3));
        assert!(traces.sent.is_empty());
    }
}
