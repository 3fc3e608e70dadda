//! Snapshots on the wire: everything a node has, shard by shard, on a stream of its own.
//!
//! ```text
//! first frame   0, then the core's header (postcard)
//! shards        1 and a piece of a shard that goes on, or 2 and its last piece; in order, each once
//! history       7, then effects as in a frame of their stream: what the sender keeps of what the snapshot begins with; any number
//! tail          4, then effects as in a frame of their stream: what the sender has applied since it began, in order; any number
//! last frame    3, then the trailer (postcard): what the sender had applied at the end, its latest hybrid time, and where the history
//!               begins, if there is one;
//!               or 5: the sender's log does not have the tail any more, and the snapshot is worth nothing
//! ```
//!
//! A handover (see `replication::handover`) is the same without shards, and begins with 6 in place of 0.
//!
//! The sender holds no lock between two shards and keeps nothing of what it sent: writes go on while it works, and the
//! receiver's keyspace filters per shard what the shard has already. Shards are cut into pieces so that no frame is large.
//! The tail is the core's, which the loop is asked for when the last shard is out (see `replication::snapshot`).

use std::future::Future;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::send_queue::{Pieces, cost};
use super::{Connection, StreamKind, TransportError};
use crate::effects::Frontier;
use crate::keyspace::Keyspace;
use crate::replication::{Frame, MAX_EFFECTS_FRAME_BYTES, MAX_TAIL_BYTES, SnapshotHeader, SnapshotTail, tail_cost};

/// The most of a shard that one frame carries, in bytes.
const PIECE_BYTES: usize = 4 << 20;

/// About so many bytes of effects are in one frame, unless a single one is larger.
const EFFECTS_FRAME_BYTES: usize = 256 << 10;

/// The largest frame of a snapshot stream, in bytes: one with an effect of the tail.
pub(super) const MAX_FRAME_BYTES: usize = MAX_EFFECTS_FRAME_BYTES + 1;

/// The largest other frame, in bytes: a piece, or a header that knows many thousand nodes.
const MAX_OTHER_FRAME_BYTES: usize = 16 << 20;

/// The largest shard that is taken from a peer, in bytes.
const MAX_SHARD_BYTES: usize = 4 << 30;

mod tag {
    pub const HEADER: u8 = 0;
    pub const PIECE: u8 = 1;
    pub const LAST_PIECE: u8 = 2;
    pub const TRAILER: u8 = 3;
    pub const TAIL: u8 = 4;
    pub const ABANDONED: u8 = 5;
    pub const HANDOVER: u8 = 6;
    pub const HISTORY: u8 = 7;
}

/// What a snapshot ends with, if its sender's log has all of it.
#[derive(Debug)]
pub(super) struct Ending {
    pub tail: SnapshotTail,
    /// No stamp in the snapshot is later than this hybrid time.
    pub time: u64,
}

/// The last frame of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trailer {
    /// Applied at the sender when the tail was taken.
    pub end: Frontier,
    /// No stamp in the snapshot is later than this hybrid time.
    pub time: u64,
    /// Where its history begins, if there is one.
    pub history: Option<Frontier>,
}

/// One step of a snapshot as its receiver sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Header(SnapshotHeader),
    /// That of a handover.
    Handover(SnapshotHeader),
    Shard(Vec<u8>),
    History(Vec<Bytes>),
    Tail(Vec<Bytes>),
    Trailer(Trailer),
    Abandoned,
}

impl Part {
    /// The bytes that it keeps, about.
    pub fn length(&self) -> usize {
        match self {
            Part::Header(header) | Part::Handover(header) => {
                header.seen.iter().map(|seen| 16 * (1 + seen.1.len())).sum()
            }
            Part::Shard(shard) => shard.len(),
            Part::History(effects) | Part::Tail(effects) => effects.iter().map(Bytes::len).sum(),
            Part::Trailer(_) | Part::Abandoned => 0,
        }
    }
}

/// Sends everything that a keyspace has, and then what `ending` is told of when all shards are exported; returns how many bytes
/// that were, when the peer has received the last of them.
///
/// # Errors
/// When the connection or the stream broke.
pub(super) async fn send<E>(
    connection: &Connection,
    keyspace: &Keyspace,
    header: &SnapshotHeader,
    ending: impl FnOnce() -> E,
) -> Result<u64, TransportError>
where
    E: Future<Output = Option<Ending>>,
{
    let mut writer = connection.open(StreamKind::Snapshot).await?;
    let mut sent = 0;
    let mut frames: Vec<Pieces> = vec![header_frame(header)];
    for shard in 0..Keyspace::SHARDS {
        frames.extend(shard_frames(keyspace.export_shard(shard)));
        for frame in frames.drain(..) {
            sent += cost(&frame) as u64;
            writer.write(&frame).await?;
        }
        // A write that finds room does not wait: let the others of this thread have their turn.
        tokio::task::yield_now().await;
    }
    for frame in ending_frames(ending().await) {
        sent += cost(&frame) as u64;
        writer.write(&frame).await?;
    }
    writer.finish().await?;
    Ok(sent)
}

/// Hands over the effects that `ending` has, if it has them; returns how many bytes that were, when the peer has received the last of
/// them.
///
/// # Errors
/// When the connection or the stream broke.
pub(super) async fn hand_over(
    connection: &Connection,
    header: &SnapshotHeader,
    ending: Option<Ending>,
) -> Result<u64, TransportError> {
    let mut writer = connection.open(StreamKind::Snapshot).await?;
    let mut sent = 0;
    for frame in std::iter::once(tagged(tag::HANDOVER, header)).chain(ending_frames(ending)) {
        sent += cost(&frame) as u64;
        writer.write(&frame).await?;
        // As with shards.
        tokio::task::yield_now().await;
    }
    writer.finish().await?;
    Ok(sent)
}

/// Why a snapshot is not well formed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("a snapshot frame that does not belong here")]
    OutOfOrder,
    #[error("a snapshot frame that cannot be read")]
    Malformed,
    #[error("a part of a snapshot that is too large")]
    TooLarge,
}

/// The frame of a header.
pub(super) fn header_frame(header: &SnapshotHeader) -> Vec<Bytes> {
    tagged(tag::HEADER, header)
}

/// The frames behind the shards.
pub(super) fn ending_frames(ending: Option<Ending>) -> impl Iterator<Item = Vec<Bytes>> {
    let (history, effects, last) = match ending {
        Some(Ending { tail: SnapshotTail { effects, end, history }, time }) => {
            let (begin, history) = history.map(|history| (history.begin, history.effects)).unzip();
            (history.unwrap_or_default(), effects, tagged(tag::TRAILER, &Trailer { end, time, history: begin }))
        }
        None => (Vec::new(), Vec::new(), vec![Bytes::from_static(&[tag::ABANDONED])]),
    };
    effect_frames(&[tag::HISTORY], history).chain(effect_frames(&[tag::TAIL], effects)).chain([last])
}

/// Effects in frames of a moderate size.
fn effect_frames(tag: &'static [u8], effects: Vec<Bytes>) -> impl Iterator<Item = Vec<Bytes>> {
    let mut effects = effects.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut frame = Vec::new();
        let mut room = EFFECTS_FRAME_BYTES;
        while let Some(effect) = effects.next_if(|effect| frame.is_empty() || effect.len() <= room) {
            room = room.saturating_sub(effect.len());
            frame.push(effect);
        }
        (!frame.is_empty()).then(|| [vec![Bytes::from_static(tag)], Frame::Effects(frame).encode()].concat())
    })
}

fn tagged(tag: u8, value: &impl Serialize) -> Vec<Bytes> {
    let encoded = postcard::to_allocvec(value).expect("plain data in memory always has a wire form");
    vec![Bytes::copy_from_slice(&[tag]), Bytes::from(encoded)]
}

/// The frames of one shard, at least one.
pub(super) fn shard_frames(shard: Vec<u8>) -> impl Iterator<Item = Vec<Bytes>> {
    let mut rest = Bytes::from(shard);
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        done = rest.is_empty();
        let tag: &'static [u8] = if done { &[tag::LAST_PIECE] } else { &[tag::PIECE] };
        Some(vec![Bytes::from_static(tag), piece])
    })
}

/// Puts a snapshot's frames together again and checks their order.
#[derive(Debug)]
pub(super) struct Assembler {
    shards: usize,
    next: Option<usize>,
    partial: Vec<u8>,
    /// What the history and the tail so far count for.
    effects: usize,
    /// Has the tail begun?
    in_tail: bool,
    finished: bool,
}

impl Assembler {
    /// For a keyspace of that many shards.
    pub fn new(shards: usize) -> Self {
        Assembler { shards, next: None, partial: Vec::new(), effects: 0, in_tail: false, finished: false }
    }

    /// Has the last frame come?
    pub fn is_complete(&self) -> bool {
        self.finished
    }

    /// Takes the next frame. `None`: a shard goes on in the frames to come.
    pub fn take(&mut self, frame: &Bytes) -> Result<Option<Part>, SnapshotError> {
        let (&tag, rest) = frame.split_first().ok_or(SnapshotError::Malformed)?;
        if !matches!(tag, tag::HISTORY | tag::TAIL) && rest.len() > MAX_OTHER_FRAME_BYTES {
            return Err(SnapshotError::TooLarge);
        }
        match (tag, self.next) {
            (tag::HEADER, None) => {
                self.next = Some(0);
                read_header(rest).map(|header| Some(Part::Header(header)))
            }
            (tag::HANDOVER, None) => {
                self.next = Some(self.shards);
                read_header(rest).map(|header| Some(Part::Handover(header)))
            }
            (tag::PIECE | tag::LAST_PIECE, Some(shard)) if shard < self.shards => {
                if self.partial.len().saturating_add(rest.len()) > MAX_SHARD_BYTES {
                    return Err(SnapshotError::TooLarge);
                }
                self.partial.extend_from_slice(rest);
                if tag == tag::PIECE {
                    return Ok(None);
                }
                self.next = Some(shard + 1);
                Ok(Some(Part::Shard(std::mem::take(&mut self.partial))))
            }
            (tag::HISTORY, Some(shard)) if shard == self.shards && !self.in_tail && !self.finished => {
                self.take_effects(frame).map(|effects| Some(Part::History(effects)))
            }
            (tag::TAIL, Some(shard)) if shard == self.shards && !self.finished => {
                self.in_tail = true;
                self.take_effects(frame).map(|effects| Some(Part::Tail(effects)))
            }
            (tag::ABANDONED, Some(shard)) if shard == self.shards && !self.finished && rest.is_empty() => {
                self.finished = true;
                Ok(Some(Part::Abandoned))
            }
            (tag::TRAILER, Some(shard)) if shard == self.shards && !self.finished => {
                self.finished = true;
                let trailer: Trailer = read(rest)?;
                if trailer.end.is_canonical() && trailer.history.as_ref().is_none_or(Frontier::is_canonical) {
                    Ok(Some(Part::Trailer(trailer)))
                } else {
                    Err(SnapshotError::Malformed)
                }
            }
            _ => Err(SnapshotError::OutOfOrder),
        }
    }
}

impl Assembler {
    fn take_effects(&mut self, frame: &Bytes) -> Result<Vec<Bytes>, SnapshotError> {
        let Ok(Frame::Effects(effects)) = Frame::decode(frame.slice(1..)) else {
            return Err(SnapshotError::Malformed);
        };
        self.effects = effects.iter().map(tail_cost).fold(self.effects, usize::saturating_add);
        if self.effects > MAX_TAIL_BYTES { Err(SnapshotError::TooLarge) } else { Ok(effects) }
    }
}

fn read_header(bytes: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    let header: SnapshotHeader = read(bytes)?;
    let is_canonical = header.begin.is_canonical()
        && header.folded.is_canonical()
        && header.seen.iter().all(|(_, seen)| seen.is_canonical());
    if is_canonical { Ok(header) } else { Err(SnapshotError::Malformed) }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, SnapshotError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(SnapshotError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::NodeId;
    use crate::replication::History;

    fn join(pieces: &[Bytes]) -> Bytes {
        Bytes::from(pieces.concat())
    }

    fn header() -> SnapshotHeader {
        let begin: Frontier = [(NodeId(1), 4)].into_iter().collect();
        SnapshotHeader { seen: vec![(NodeId(1), begin.clone())], begin, ..SnapshotHeader::default() }
    }

    #[test]
    fn a_snapshot_round_trips_however_large_its_shards() {
        let shards = [vec![1; 10], Vec::new(), vec![2; 2 * PIECE_BYTES + 1]];
        let effects =
            [vec![3; 10], vec![4; EFFECTS_FRAME_BYTES], vec![5; 2 * EFFECTS_FRAME_BYTES], vec![6; 1]].map(Bytes::from);
        let past = History { begin: Frontier::EMPTY, effects: effects[..2].to_vec() };
        let tail = SnapshotTail { effects: effects.to_vec(), end: header().begin, history: Some(past) };
        let trailer = Trailer { end: header().begin, time: 9, history: Some(Frontier::EMPTY) };
        let mut frames = vec![join(&header_frame(&header()))];
        for shard in &shards {
            frames.extend(shard_frames(shard.clone()).map(|frame| join(&frame)));
        }
        frames.extend(ending_frames(Some(Ending { tail, time: 9 })).map(|frame| join(&frame)));
        let mut assembler = Assembler::new(3);
        let parts: Vec<Part> = frames.iter().filter_map(|frame| assembler.take(frame).expect("well formed")).collect();
        let [first, second, third] = shards;
        let expected = [
            Part::Header(header()),
            Part::Shard(first),
            Part::Shard(second),
            Part::Shard(third),
            Part::History(effects[..1].to_vec()),
            Part::History(effects[1..2].to_vec()),
            Part::Tail(effects[..1].to_vec()),
            Part::Tail(effects[1..2].to_vec()),
            Part::Tail(effects[2..3].to_vec()),
            Part::Tail(effects[3..].to_vec()),
            Part::Trailer(trailer),
        ];
        assert_eq!(parts, expected);
        assert!(assembler.is_complete());
    }

    #[test]
    fn a_snapshot_without_its_tail_ends_in_a_word_of_its_own() {
        let mut assembler = Assembler::new(0);
        assert_eq!(assembler.take(&join(&header_frame(&header()))), Ok(Some(Part::Header(header()))));
        let frames: Vec<Bytes> = ending_frames(None).map(|frame| join(&frame)).collect();
        let parts: Vec<_> = frames.iter().map(|frame| assembler.take(frame)).collect();
        assert_eq!(parts, [Ok(Some(Part::Abandoned))]);
        assert!(assembler.is_complete());
        assert_eq!(assembler.take(&frames[0]), Err(SnapshotError::OutOfOrder), "that was its end");
    }

    #[test]
    fn a_handover_is_a_snapshot_without_shards() {
        let mut assembler = Assembler::new(3);
        let effects = vec![Bytes::from_static(b"effect")];
        let tail = SnapshotTail { effects: effects.clone(), end: header().begin, history: None };
        let begin = tagged(tag::HANDOVER, &header());
        let frames = std::iter::once(begin).chain(ending_frames(Some(Ending { tail, time: 9 })));
        let parts: Vec<_> = frames.map(|frame| assembler.take(&join(&frame))).collect();
        let trailer = Trailer { end: header().begin, time: 9, history: None };
        let expected = [Part::Handover(header()), Part::Tail(effects), Part::Trailer(trailer)];
        assert_eq!(parts, expected.map(|part| Ok(Some(part))));
        assert!(assembler.is_complete());
    }

    #[test]
    fn garbage_and_disorder_are_errors() {
        let mut assembler = Assembler::new(1);
        assert_eq!(assembler.take(&Bytes::new()), Err(SnapshotError::Malformed));
        assert_eq!(assembler.take(&Bytes::from_static(&[2, 1])), Err(SnapshotError::OutOfOrder));
        assert_eq!(assembler.take(&Bytes::from_static(&[9])), Err(SnapshotError::OutOfOrder));
        assert!(assembler.take(&join(&header_frame(&header()))).is_ok());
        assert_eq!(
            assembler.take(&Bytes::from_static(&[3, 0, 0])),
            Err(SnapshotError::OutOfOrder),
            "a shard is missing"
        );
        let effects = |tag: &'static [u8]| {
            join(&[vec![Bytes::from_static(tag)], Frame::Effects(vec![Bytes::from_static(b"e")]).encode()].concat())
        };
        let (history, tail) = (effects(&[7]), effects(&[4]));
        for early in [&history, &tail, &Bytes::from_static(&[5])] {
            assert_eq!(assembler.take(early), Err(SnapshotError::OutOfOrder), "a shard is missing");
        }
        assert_eq!(assembler.take(&Bytes::from(vec![2; MAX_OTHER_FRAME_BYTES + 2])), Err(SnapshotError::TooLarge));
        assert_eq!(assembler.take(&Bytes::from_static(&[2])), Ok(Some(Part::Shard(Vec::new()))));
        assert_eq!(assembler.take(&Bytes::from_static(&[2])), Err(SnapshotError::OutOfOrder));
        assert!(assembler.take(&history).is_ok());
        let no_effects = join(&[vec![Bytes::from_static(&[4])], Frame::Ack { seq: 1 }.encode()].concat());
        assert_eq!(assembler.take(&no_effects), Err(SnapshotError::Malformed));
        assert!(assembler.take(&tail).is_ok());
        assert_eq!(assembler.take(&history), Err(SnapshotError::OutOfOrder), "the tail has begun");
        assert_eq!(assembler.take(&Bytes::from_static(&[5, 0])), Err(SnapshotError::OutOfOrder));
        assert_eq!(assembler.take(&Bytes::from_static(&[3, 9])), Err(SnapshotError::Malformed));
        assert_eq!(assembler.take(&tail), Err(SnapshotError::OutOfOrder));
    }

    #[test]
    fn a_tail_of_many_small_effects_is_bounded_by_what_it_takes_to_keep_them() {
        let mut assembler = Assembler::new(0);
        assert!(assembler.take(&join(&header_frame(&header()))).is_ok());
        let empty = Frame::Effects(vec![Bytes::new(); 65_536]).encode();
        let frame = join(&[vec![Bytes::from_static(&[4])], empty].concat());
        let taken = (0..).take_while(|_| assembler.take(&frame).is_ok()).count();
        assert_eq!(taken, MAX_TAIL_BYTES / (65_536 * tail_cost(&Bytes::new())));
        assert_eq!(assembler.take(&frame), Err(SnapshotError::TooLarge));
    }
}
