//! Frames on a one-way stream: a length of four bytes, least significant first, and that many bytes of content.
//!
//! What a length claims costs nothing: a reader's memory grows with the bytes that have arrived.

use bytes::{Buf, Bytes};
use quinn::{RecvStream, SendStream, VarInt};
use smallvec::SmallVec;

use super::error::TransportError;

const LENGTH_BYTES: usize = 4;

/// The most that is taken out of QUIC's receive buffer at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Pieces below this many bytes are copied together.
const COPY_BELOW: usize = 8 * 1024;

/// Into chunks of about so many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// The code of a stream that was given up by one side. Nobody reads it.
const ABANDONED: VarInt = VarInt::from_u32(1);

/// The sending end of a stream. One that is dropped without [`FrameWriter::finish`] tells the reader that something is
/// missing.
pub struct FrameWriter {
    stream: SendStream,
    finished: bool,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> FrameWriter {
        FrameWriter { stream, finished: false }
    }

    /// Sends one frame, given in pieces. As [`FrameWriter::write_all`].
    pub async fn write(&mut self, frame: &[Bytes]) -> Result<(), TransportError> {
        self.write_all([frame]).await
    }

    /// Sends frames, each given in pieces; large pieces are not copied. Returns when QUIC has taken all of them, which it
    /// does as fast as the peer reads; that says nothing about their arrival. A writer whose `write_all` was cancelled must
    /// not be used again: part of a frame may be on its way.
    ///
    /// # Errors
    /// When a frame is longer than a length can say, the connection is lost, or the peer has given up the stream.
    pub async fn write_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a [Bytes]>) -> Result<(), TransportError> {
        let mut chunks = Chunks::default();
        for frame in frames {
            let length = frame.iter().map(Bytes::len).sum::<usize>();
            let Ok(announced) = u32::try_from(length) else {
                return Err(TransportError::FrameTooLong { length, limit: u32::MAX as usize });
            };
            chunks.copy(&announced.to_le_bytes());
            frame.iter().for_each(|piece| chunks.add(piece));
        }
        Ok(self.stream.write_all_chunks(&mut chunks.end()).await?)
    }

    /// Ends the stream, and waits until the peer has received everything that was written.
    ///
    /// # Errors
    /// When the connection is lost first, or the peer has given up the stream.
    pub async fn finish(mut self) -> Result<(), TransportError> {
        self.finished = true;
        self.stream.finish().map_err(|_| TransportError::Closed)?;
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(TransportError::StreamAbandoned),
            Err(quinn::StoppedError::ConnectionLost(error)) => Err(error.into()),
            Err(error @ quinn::StoppedError::ZeroRttRejected) => Err(TransportError::Protocol(error.to_string())),
        }
    }
}

/// Gathers pieces into few chunks: for every packet, QUIC walks through all chunks that are not acknowledged, so that its
/// work would grow with the square of the number of small ones.
#[derive(Default)]
struct Chunks {
    complete: Vec<Bytes>,
    open: Vec<u8>,
}

impl Chunks {
    fn add(&mut self, piece: &Bytes) {
        if piece.len() < COPY_BELOW {
            self.copy(piece);
        } else {
            self.close();
            self.complete.push(piece.clone());
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
        if self.open.len() >= CHUNK_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.complete.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }

    fn end(mut self) -> Vec<Bytes> {
        self.close();
        self.complete
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        if !self.finished {
            // QUIC would end a dropped stream as if it were complete. An error means that the stream is gone already.
            let _ = self.stream.reset(ABANDONED);
        }
    }
}

/// The receiving end of a stream.
pub struct FrameReader {
    stream: RecvStream,
    assembly: FrameAssembly,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream) -> FrameReader {
        FrameReader { stream, assembly: FrameAssembly::default() }
    }

    /// Receives one frame of at most `limit` bytes; `None` when the peer has finished the stream. May be cancelled and
    /// called again without losing anything.
    ///
    /// # Errors
    /// When a frame announces more than `limit`, the stream ends inside a frame or was given up by the peer, or the
    /// connection is lost. Nothing more can be read after an error.
    pub async fn read(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        loop {
            match self.assembly.next(limit) {
                Ok(None) => {}
                Ok(frame) => return Ok(frame),
                Err(error) => {
                    // An error means that the stream is gone already.
                    let _ = self.stream.stop(ABANDONED);
                    return Err(error);
                }
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.assembly.feed(chunk.bytes),
                None if self.assembly.is_between_frames() => return Ok(None),
                None => return Err(TransportError::Truncated),
            }
        }
    }
}

/// Puts frames together from whatever pieces arrive.
#[derive(Default)]
struct FrameAssembly {
    /// Arrived, and not looked at yet.
    arrived: Bytes,
    /// As much of the length as there is while it is incomplete.
    length: SmallVec<[u8; LENGTH_BYTES]>,
    /// The length of the frame that is being put together.
    announced: Option<usize>,
    /// As much of its content as there is.
    content: Vec<u8>,
}

impl FrameAssembly {
    /// Takes the next piece; the one before must have been used up.
    fn feed(&mut self, piece: Bytes) {
        assert!(self.arrived.is_empty(), "a piece is asked for only when the last one is used up");
        self.arrived = piece;
    }

    fn is_between_frames(&self) -> bool {
        self.announced.is_none() && self.length.is_empty() && self.arrived.is_empty()
    }

    /// The next complete frame; `None` when another piece is needed first.
    ///
    /// The content is copied, once, into memory of its own: a piece is a slice of a receive buffer with many datagrams, and
    /// a frame that is kept for long would keep all of them.
    fn next(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        let announced = match self.announced {
            Some(announced) => announced,
            None => {
                let missing = (LENGTH_BYTES - self.length.len()).min(self.arrived.len());
                self.length.extend_from_slice(&self.arrived.split_to(missing));
                let Some(length) = self.length.first_chunk().copied() else { return Ok(None) };
                let length = u32::from_le_bytes(length) as usize;
                if length > limit {
                    return Err(TransportError::FrameTooLong { length, limit });
                }
                self.length.clear();
                self.announced = Some(length);
                length
            }
        };
        let missing = announced - self.content.len();
        let available = missing.min(self.arrived.len());
        if self.content.capacity() - self.content.len() < available {
            // Doubling keeps the copying linear; never beyond the announced length keeps the memory exact.
            self.content.reserve_exact(missing.min(available.max(self.content.len())));
        }
        self.content.extend_from_slice(&self.arrived[..available]);
        self.arrived.advance(available);
        if available < missing {
            return Ok(None);
        }
        self.announced = None;
        Ok(Some(Bytes::from(std::mem::take(&mut self.content))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frames: &[&[u8]]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [&u32::try_from(frame.len()).unwrap().to_le_bytes()[..], frame].concat())
            .collect()
    }

    fn assemble(wire: &[u8], piece: usize, limit: usize) -> Result<Vec<Bytes>, TransportError> {
        let mut assembly = FrameAssembly::default();
        let mut frames = Vec::new();
        for piece in wire.chunks(piece) {
            assembly.feed(Bytes::copy_from_slice(piece));
            while let Some(frame) = assembly.next(limit)? {
                frames.push(frame);
            }
        }
        if assembly.is_between_frames() { Ok(frames) } else { Err(TransportError::Truncated) }
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let long = (0..1000).map(|number| (number % 251) as u8).collect::<Vec<_>>();
        let frames: [&[u8]; 5] = [b"one", b"", &long, b"", b"two"];
        let wire = framed(&frames);
        for piece in [1, 2, 3, 5, 7, 64, 999, wire.len()] {
            assert_eq!(assemble(&wire, piece, 1000).unwrap(), frames, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_by_its_length_alone() {
        let error = assemble(&framed(&[&[0; 11]])[..LENGTH_BYTES], 1, 10).unwrap_err();
        assert_eq!(error, TransportError::FrameTooLong { length: 11, limit: 10 });
        assert_eq!(assemble(&framed(&[&[0; 10]]), 1, 10).unwrap().len(), 1);
    }

    #[test]
    fn small_pieces_become_few_chunks_and_large_ones_stay_as_they_are() {
        let large = Bytes::from(vec![1; COPY_BELOW]);
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.add(&Bytes::from_static(b"0123456789"));
        }
        chunks.add(&large);
        chunks.add(&Bytes::from_static(b"end"));
        let chunks = chunks.end();
        assert!(chunks.len() < 20, "{}", chunks.len());
        assert_eq!(chunks[chunks.len() - 2].as_ptr(), large.as_ptr());
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 1_000_000 + COPY_BELOW + 3);
    }

    #[test]
    fn an_end_inside_a_frame_is_noticed() {
        let wire = framed(&[b"one", b"two"]);
        for end in [1, 4, 6, 8, 13] {
            assert_eq!(assemble(&wire[..end], 2, 10), Err(TransportError::Truncated), "after {end} bytes");
        }
        assert_eq!(assemble(&wire[..7], 2, 10).unwrap().len(), 1);
    }

    #[test]
    fn memory_follows_what_has_arrived_and_not_what_was_announced() {
        let mut assembly = FrameAssembly::default();
        assembly.feed(Bytes::from([&u32::MAX.to_le_bytes()[..], &[7; 100]].concat()));
        assert_eq!(assembly.next(usize::MAX), Ok(None));
        assert!(assembly.content.capacity() <= 200);
        for _ in 0..100 {
            assembly.feed(Bytes::from_static(&[7; 100]));
            assert_eq!(assembly.next(usize::MAX), Ok(None));
        }
        assert!(assembly.content.capacity() <= 2 * 101 * 100);
    }

    #[test]
    fn a_frame_takes_exactly_its_own_memory() {
        let mut assembly = FrameAssembly::default();
        let wire = framed(&[&[7; 1000]]);
        for piece in wire.chunks(33) {
            assembly.feed(Bytes::copy_from_slice(piece));
            assert!(assembly.content.capacity() <= 1000);
            if assembly.next(1000).unwrap().is_some() {
                return;
            }
        }
        panic!("the frame was complete");
    }
}
