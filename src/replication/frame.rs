//! What peers say to each other, and its wire form.
//!
//! A frame is a version byte, a kind byte and a body. Control frames have a postcard body, which is small and whose
//! limits are checked before and after decoding. An effects frame is a sequence of (varint length, encoded effect): its
//! effects are slices of what was received, and what is sent are slices of the log, so effects are never copied.
//!
//! This module knows what is well formed, not what is plausible: that is judged where the frame is handled.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Member;
use crate::effects::{CodecError, Frontier, MAX_EFFECT_BYTES, NodeId, Reader, write_varint};

/// The version of everything peers say. A peer with another one is refused at its first frame.
pub const PROTOCOL_VERSION: u8 = 1;
/// The longest control frame, in bytes: room for frontiers of some ten thousand incarnations.
pub const MAX_CONTROL_FRAME_BYTES: usize = 1 << 20;
/// The longest effects frame, in bytes: one effect of any permitted size, and its length.
pub const MAX_EFFECTS_FRAME_BYTES: usize = MAX_EFFECT_BYTES + 64;
/// The most effects in one frame.
const MAX_EFFECTS_PER_FRAME: usize = 65_536;

/// Which of a connection's two ordered streams a frame travels on, so that bulk never delays control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Small frames that must not wait.
    Control,
    /// Effects.
    Effects,
}

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Stage {
    /// Has nothing, and looks for a cluster to join.
    #[default]
    Seeking,
    /// Has found one, and gets what it has.
    CatchingUp,
    /// Serves clients.
    Serving,
    /// Makes no effects any more, and goes when the others have what it has.
    Leaving,
    /// Has all that it had when it served. Makes no effects any more, and is about to give up its identity (see `parting`).
    Parting,
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first word on each connection, from both sides.
    Hello(Box<Hello>),
    /// Repeated: what the sender has applied.
    Gossip {
        /// Everything that the sender has applied, and that each of its effects which is not within has seen.
        frontier: Frontier,
        /// Effects within this are not in its log any more.
        floor: Frontier,
        /// Where its archive begins (see `archive`), if before its log.
        archive: Option<Frontier>,
        /// Where it is in its life.
        stage: Stage,
        /// Does it hold off effects for ever because their origins had seen too little?
        stuck: bool,
        /// Nodes that left gracefully, with their last seq.
        departed: Vec<(NodeId, u64)>,
    },
    /// Other nodes that the sender is connected to, and where they are.
    Introduce {
        /// Who.
        nodes: Vec<(NodeId, Member)>,
    },
    /// The receiver's own effects up to this seq are applied. Says no more than that; comes sooner than gossip.
    Ack {
        /// The seq.
        seq: u64,
    },
    /// Encoded effects of any origin, in causal order as far as the sender can tell.
    Effects(Vec<Bytes>),
    /// Send me the effects of `origin` with seqs in (`after`, `upto`].
    Request {
        /// Whose effects.
        origin: NodeId,
        /// The last one that is not needed.
        after: u64,
        /// The last one that is.
        upto: u64,
    },
    /// Send me a snapshot.
    SnapshotRequest {
        /// Counts the attempts of the asking node: one number, at most one snapshot.
        attempt: u32,
    },
    /// Hand me over everything beyond this frontier (see `handover`).
    HandoverRequest {
        /// As with snapshots, and counted with them.
        attempt: u32,
        /// What the asking node has applied.
        beyond: Frontier,
    },
    /// The sender stops. It makes no effect after this seq.
    Goodbye {
        /// Its last seq.
        last: u64,
    },
}

/// The first word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who speaks, as it would stand in the membership.
    pub member: Member,
    /// As in gossip.
    pub frontier: Frontier,
    /// As in gossip.
    pub floor: Frontier,
    /// As in gossip.
    pub archive: Option<Frontier>,
    /// As in gossip.
    pub stage: Stage,
    /// As in gossip.
    pub departed: Vec<(NodeId, u64)>,
    /// Whose effects may still come, as far as the sender knows.
    pub participants: Vec<NodeId>,
}

/// The postcard form of all frames but `Effects`.
#[derive(Serialize, Deserialize)]
enum Control {
    Hello(Box<Hello>),
    Gossip {
        frontier: Frontier,
        floor: Frontier,
        archive: Option<Frontier>,
        stage: Stage,
        stuck: bool,
        departed: Vec<(NodeId, u64)>,
    },
    Introduce {
        nodes: Vec<(NodeId, Member)>,
    },
    Ack {
        seq: u64,
    },
    Request {
        origin: NodeId,
        after: u64,
        upto: u64,
    },
    SnapshotRequest {
        attempt: u32,
    },
    Goodbye {
        last: u64,
    },
    HandoverRequest {
        attempt: u32,
        beyond: Frontier,
    },
}

const KIND_CONTROL: u8 = 0;
const KIND_EFFECTS: u8 = 1;

impl Frame {
    /// The stream on which this frame travels.
    pub fn stream(&self) -> Stream {
        match self {
            Frame::Effects(_) => Stream::Effects,
            _ => Stream::Control,
        }
    }

    /// The wire form, as pieces to be written one after the other. The pieces that are effects are not copied.
    pub fn encode(&self) -> Vec<Bytes> {
        let control = match self.clone() {
            Frame::Effects(effects) => return encode_effects(effects),
            Frame::Hello(hello) => Control::Hello(hello),
            Frame::Gossip { frontier, floor, archive, stage, stuck, departed } => {
                Control::Gossip { frontier, floor, archive, stage, stuck, departed }
            }
            Frame::Introduce { nodes } => Control::Introduce { nodes },
            Frame::Ack { seq } => Control::Ack { seq },
            Frame::Request { origin, after, upto } => Control::Request { origin, after, upto },
            Frame::SnapshotRequest { attempt } => Control::SnapshotRequest { attempt },
            Frame::HandoverRequest { attempt, beyond } => Control::HandoverRequest { attempt, beyond },
            Frame::Goodbye { last } => Control::Goodbye { last },
        };
        let bytes = postcard::to_extend(&control, vec![PROTOCOL_VERSION, KIND_CONTROL])
            .expect("memory takes whatever is written, and these types have a length");
        vec![Bytes::from(bytes)]
    }

    /// Reads one frame that fills `bytes` exactly.
    ///
    /// # Errors
    /// Another version, anything malformed, too long or in a form that `encode` would not write.
    pub fn decode(bytes: Bytes) -> Result<Frame, CodecError> {
        let mut reader = Reader::new(&bytes);
        let version = reader.byte()?;
        if version != PROTOCOL_VERSION {
            return Err(CodecError::Invalid("another version of the protocol"));
        }
        match reader.byte()? {
            KIND_CONTROL => decode_control(&bytes[2..]),
            KIND_EFFECTS => decode_effects(&bytes, reader),
            other => Err(CodecError::UnknownTag(other)),
        }
    }
}

fn encode_effects(effects: Vec<Bytes>) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(effects.len() * 2 + 1);
    let mut head = vec![PROTOCOL_VERSION, KIND_EFFECTS];
    for effect in effects {
        write_varint(&mut head, effect.len() as u64);
        pieces.push(Bytes::from(std::mem::take(&mut head)));
        pieces.push(effect);
    }
    if pieces.is_empty() {
        pieces.push(Bytes::from(head));
    }
    pieces
}

fn decode_effects(bytes: &Bytes, mut reader: Reader<'_>) -> Result<Frame, CodecError> {
    if bytes.len() > MAX_EFFECTS_FRAME_BYTES {
        return Err(CodecError::Invalid("an effects frame that is too long"));
    }
    let mut effects = Vec::new();
    while reader.remaining() > 0 {
        if effects.len() == MAX_EFFECTS_PER_FRAME {
            return Err(CodecError::Invalid("too many effects in one frame"));
        }
        let length = reader.bytes()?.len();
        let end = bytes.len() - reader.remaining();
        effects.push(bytes.slice(end - length..end));
    }
    Ok(Frame::Effects(effects))
}

fn decode_control(body: &[u8]) -> Result<Frame, CodecError> {
    if body.len() > MAX_CONTROL_FRAME_BYTES {
        return Err(CodecError::Invalid("a control frame that is too long"));
    }
    let (control, rest) =
        postcard::take_from_bytes::<Control>(body).map_err(|_| CodecError::Invalid("a malformed control frame"))?;
    if !rest.is_empty() {
        return Err(CodecError::Invalid("bytes after the end of a control frame"));
    }
    Ok(match control {
        Control::Hello(hello) => Frame::Hello(hello),
        Control::Gossip { frontier, floor, archive, stage, stuck, departed } => {
            Frame::Gossip { frontier, floor, archive, stage, stuck, departed }
        }
        Control::Introduce { nodes } => Frame::Introduce { nodes },
        Control::Ack { seq } => Frame::Ack { seq },
        Control::Request { origin, after, upto } => Frame::Request { origin, after, upto },
        Control::SnapshotRequest { attempt } => Frame::SnapshotRequest { attempt },
        Control::HandoverRequest { attempt, beyond } => Frame::HandoverRequest { attempt, beyond },
        Control::Goodbye { last } => Frame::Goodbye { last },
    })
}

#[cfg(test)]
impl Hello {
    /// The first word of a node that serves.
    pub(super) fn of_serving(frontier: Frontier, floor: Frontier) -> Hello {
        let (member, stage) = (Member::default(), Stage::Serving);
        Hello { member, frontier, floor, archive: None, stage, departed: Vec::new(), participants: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontier() -> Frontier {
        [(NodeId(3), 9), (NodeId(u64::MAX), 1 << 40)].into_iter().collect()
    }

    fn samples() -> Vec<Frame> {
        let hello = Hello {
            member: Member { name: "a".into(), address: "a:1".into(), ..Member::default() },
            frontier: frontier(),
            floor: Frontier::EMPTY,
            archive: None,
            stage: Stage::Seeking,
            departed: vec![(NodeId(4), 4)],
            participants: vec![NodeId(5)],
        };
        let stage = Stage::Serving;
        vec![
            Frame::Hello(Box::new(hello)),
            Frame::Gossip {
                frontier: frontier(),
                floor: frontier(),
                archive: Some(Frontier::EMPTY),
                stage,
                stuck: true,
                departed: vec![],
            },
            Frame::Introduce { nodes: vec![(NodeId(8), Member::default())] },
            Frame::Ack { seq: 7 },
            Frame::Effects(vec![]),
            Frame::Effects(vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from(vec![7; 300])]),
            Frame::Request { origin: NodeId(1), after: 2, upto: 3 },
            Frame::SnapshotRequest { attempt: 1 },
            Frame::HandoverRequest { attempt: 2, beyond: frontier() },
            Frame::Goodbye { last: 12 },
        ]
    }

    #[test]
    fn frames_survive_the_wire() {
        for frame in samples() {
            assert_eq!(Frame::decode(Bytes::from(frame.encode().concat())), Ok(frame));
        }
    }

    #[test]
    fn effects_are_slices_of_what_arrived_and_of_the_log() {
        let effect = Bytes::from(vec![1; 64]);
        let pieces = Frame::Effects(vec![effect.clone()]).encode();
        assert_eq!(pieces[1].as_ptr(), effect.as_ptr());
        let received = Bytes::from(pieces.concat());
        let Ok(Frame::Effects(effects)) = Frame::decode(received.clone()) else { panic!("well formed") };
        assert!(received.as_ptr_range().contains(&effects[0].as_ptr()));
    }

    #[test]
    fn no_truncation_no_flipped_byte_and_no_noise_panics() {
        let mut rng = fastrand::Rng::with_seed(1);
        for frame in samples() {
            let bytes = frame.encode().concat();
            for length in 0..bytes.len() {
                let _ = Frame::decode(Bytes::copy_from_slice(&bytes[..length]));
            }
            for _ in 0..2_000 {
                let mut changed = bytes.clone();
                let at = rng.usize(..changed.len());
                changed[at] = rng.u8(..);
                let _ = Frame::decode(Bytes::from(changed));
            }
        }
        for length in 0..200 {
            let mut noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
            let _ = Frame::decode(Bytes::from(noise.clone()));
            noise.splice(..0, [PROTOCOL_VERSION, KIND_CONTROL]);
            let _ = Frame::decode(Bytes::from(noise));
        }
        assert!(Frame::decode(Bytes::from_static(&[PROTOCOL_VERSION + 1, 0])).is_err());
        assert!(Frame::decode(Bytes::from(vec![PROTOCOL_VERSION, KIND_CONTROL, 3, 1, 0])).is_err(), "bytes are left");
    }
}
