//! One effect, and its wire form.
//!
//! ```text
//! origin    8 bytes, little endian
//! seq       varint
//! time      8 bytes, little endian (hybrid time)
//! changes   varint count, then (node 8 bytes, seq varint) each: how `seen` grew since the origin's previous effect
//! acts on   0, or 1 or 2 and (varint count, (node 8 bytes, seq varint) each), then the original (node 8 bytes, seq varint); 2: and what is stable
//! body      varint length, then the operations
//! ```

use bytes::Bytes;
use smallvec::SmallVec;

use super::{CodecError, Dot, Frontier, NodeId, Operation, Operations, Reader, Stamp, write_varint};

/// The largest encoded effect that is accepted from a peer, in bytes: Redis's query limit of 1 GiB is far above what
/// one frame may be, so a single command that writes more than this is refused at its origin.
pub const MAX_EFFECT_BYTES: usize = 600 << 20;

/// How the origin's frontier grew since its previous effect.
pub type SeenChanges = SmallVec<[(NodeId, u64); 2]>;

/// What an effect that was made again after a rebase removes and overwrites: less than what its origin has seen by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Only what lies within this.
    pub frontier: Frontier,
    /// Does it reach what has no metadata any more? If so, the effect is only applied where all of that lies within
    /// the frontier.
    pub stable: bool,
    /// The name under which the effect was made in the first place, however often it was made again since.
    pub original: Dot,
}

/// An immutable, atomic record of what one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Its name.
    pub dot: Dot,
    /// Hybrid time; with the origin it makes the stamp.
    pub time: u64,
    /// What the origin had seen in addition since its previous effect. Its own earlier effects go without saying.
    pub seen_changes: SeenChanges,
    /// For an effect that was made again after a rebase.
    pub acts_on: Option<Reach>,
    /// The whole wire form, this header included: logs and streams pass it on as it is.
    encoded: Bytes,
    body_at: usize,
}

impl Effect {
    /// Its place in the total order.
    pub fn stamp(&self) -> Stamp {
        Stamp { time: self.time, node: self.dot.node }
    }

    /// The operations. Those of a decoded effect are known to be well formed.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        Operations::new(self.body()).map_while(Result::ok)
    }

    /// The operations, as they are encoded.
    pub fn body(&self) -> &[u8] {
        &self.encoded[self.body_at..]
    }

    /// The same with other operations, as [`super::OperationsWriter`] has encoded them.
    pub fn with_operations(&self, body: &[u8]) -> Effect {
        let mut encoded = Vec::with_capacity(self.body_at + body.len());
        let acts_on = self.acts_on.as_ref();
        let body_at = Effect::encode(&mut encoded, self.dot, self.time, &self.seen_changes, acts_on, body);
        let (seen_changes, acts_on) = (self.seen_changes.clone(), self.acts_on.clone());
        Effect { dot: self.dot, time: self.time, seen_changes, acts_on, encoded: encoded.into(), body_at }
    }

    /// The name under which it was made in the first place: its own, unless it was made again.
    pub fn original(&self) -> Dot {
        self.acts_on.as_ref().map_or(self.dot, |reach| reach.original)
    }

    /// The wire form.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Appends the wire form of an effect; returns where in `out` its body begins.
    pub fn encode(
        out: &mut Vec<u8>,
        dot: Dot,
        time: u64,
        changes: &[(NodeId, u64)],
        acts_on: Option<&Reach>,
        body: &[u8],
    ) -> usize {
        out.extend_from_slice(&dot.node.0.to_le_bytes());
        write_varint(out, dot.seq);
        out.extend_from_slice(&time.to_le_bytes());
        write_entries(out, changes.len(), changes.iter().copied());
        match acts_on {
            None => out.push(0),
            Some(Reach { frontier, stable, original }) => {
                out.push(1 + u8::from(*stable));
                write_entries(out, frontier.len(), frontier.iter());
                out.extend_from_slice(&original.node.0.to_le_bytes());
                write_varint(out, original.seq);
            }
        }
        write_varint(out, body.len() as u64);
        let body_at = out.len();
        out.extend_from_slice(body);
        body_at
    }

    /// Reads one effect that fills `encoded` exactly, and checks all of it, operations included.
    pub fn decode(encoded: Bytes) -> Result<Effect, CodecError> {
        let mut reader = Reader::new(&encoded);
        let node = NodeId(reader.fixed64()?);
        let seq = reader.varint()?;
        if seq == 0 || node.0 == 0 {
            return Err(CodecError::Invalid("an effect without a name"));
        }
        let time = reader.fixed64()?;
        let mut seen_changes = SeenChanges::new();
        read_entries(&mut reader, |node, seq| seen_changes.push((node, seq)))?;
        if seen_changes.iter().any(|change| change.0 == node) {
            return Err(CodecError::Invalid("an effect that lists its own origin as seen"));
        }
        let acts_on = match reader.byte()? {
            0 => None,
            form @ (1 | 2) => {
                let mut frontier = Frontier::default();
                read_entries(&mut reader, |node, seq| frontier.raise(node, seq))?;
                let original = Dot { node: NodeId(reader.fixed64()?), seq: reader.varint()? };
                if original.seq == 0 || original.node.0 == 0 {
                    return Err(CodecError::Invalid("an effect that was made again of none"));
                }
                Some(Reach { frontier, stable: form == 2, original })
            }
            other => return Err(CodecError::UnknownTag(other)),
        };
        let body = reader.bytes()?;
        if reader.remaining() != 0 {
            return Err(CodecError::Invalid("bytes after the end of an effect"));
        }
        for operation in Operations::new(body) {
            operation?;
        }
        let body_at = encoded.len() - body.len();
        Ok(Effect { dot: Dot { node, seq }, time, seen_changes, acts_on, encoded, body_at })
    }
}

fn write_entries(out: &mut Vec<u8>, count: usize, entries: impl Iterator<Item = (NodeId, u64)>) {
    write_varint(out, count as u64);
    for (node, seq) in entries {
        out.extend_from_slice(&node.0.to_le_bytes());
        write_varint(out, seq);
    }
}

fn read_entries(reader: &mut Reader<'_>, mut each: impl FnMut(NodeId, u64)) -> Result<(), CodecError> {
    for _ in 0..reader.varint()? {
        let node = NodeId(reader.fixed64()?);
        let seq = reader.varint()?;
        if seq == 0 || node.0 == 0 {
            return Err(CodecError::Invalid("an empty frontier entry"));
        }
        each(node, seq);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::{Action, OperationsWriter};

    fn sample() -> Vec<u8> {
        let mut writer = OperationsWriter::default();
        writer.push(Operation::Key { database: 0, key: b"k", action: Action::StringAdd { increment: 4 } });
        let mut out = Vec::new();
        let dot = Dot { node: NodeId(7), seq: 300 };
        Effect::encode(&mut out, dot, 99, &[(NodeId(8), 4)], None, writer.bytes());
        out
    }

    #[test]
    fn an_effect_survives_the_wire() {
        let bytes = Bytes::from(sample());
        let effect = Effect::decode(bytes.clone()).expect("well formed");
        assert_eq!(effect.dot, Dot { node: NodeId(7), seq: 300 });
        assert_eq!(effect.seen_changes.as_slice(), [(NodeId(8), 4)]);
        assert_eq!(effect.operations().count(), 1);
        assert_eq!(effect.encoded(), &bytes);
    }

    #[test]
    fn no_truncation_and_no_flipped_byte_panics() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(Effect::decode(Bytes::copy_from_slice(&bytes[..length])).is_err());
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = Effect::decode(Bytes::from(changed));
            }
        }
    }
}
