//! How requests come in: when a connection reads, and how much memory what has come may take.
//!
//! Must not know what the requests say.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tracing::warn;

use super::{ARRIVALS, Asked, Connection, MAX_READ_SIZE, MIN_ROOM, READ_SIZE, SMALL_BUFFER};
use crate::commands::Session;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits for the client to send more. False: hang up.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.handle.wake_me(context, &mut self.waker);
        match self.handle.asked() {
            Asked::Nothing => {}
            Asked::Close => return Poll::Ready(Ok(false)),
            Asked::Trim => self.trim(),
        }
        if self.is_ended() {
            return Poll::Ready(Ok(false));
        }
        if self.is_cut_off() {
            warn!("disconnected a subscriber: the messages that it did not take reached the limit");
            return Poll::Ready(Ok(false));
        }
        if self.session.as_ref().is_some_and(Session::has_mail) {
            return Poll::Ready(Ok(true));
        }
        let limit = self.place.front().state.config.most_input();
        if self.input.len() - self.consumed >= limit {
            warn!(limit, "disconnected a client: its unfinished request reached the limit");
            return Poll::Ready(Ok(false));
        }
        let count = ready!(self.poll_read(context))?;
        Poll::Ready(Ok(count > 0))
    }

    /// Takes in what the client sends while something else is awaited.
    pub(super) fn poll_absorb(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let limit = self.place.front().state.config.most_input();
        while !self.ended && self.input.len() - self.consumed < limit {
            match self.poll_read(context) {
                Poll::Ready(result) => result?,
                Poll::Pending => break,
            };
        }
        Ok(())
    }

    /// Reads once. 0: the client sends nothing any more.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (room, count) = if self.consumed == self.input.len() && self.input.capacity() < MIN_ROOM {
            (READ_SIZE, ready!(self.poll_read_elsewhere(context))?)
        } else {
            self.make_room();
            let room = self.input.capacity() - self.input.len();
            (room, ready!(pin!(self.stream.read_buf(&mut self.input)).poll(context))?)
        };
        if count == 0 {
            self.ended = true;
        } else if count == room {
            self.read_size = (self.read_size * 2).min(MAX_READ_SIZE);
        }
        self.received += count as u64;
        let block = self.place.front().state.stats.thread(self.place.thread());
        block.input_bytes.add(count as u64);
        block.reads.add(1);
        Poll::Ready(Ok(count))
    }

    /// Reads once for a connection whose buffer is empty and small, and copies what has come there: so the buffers of most connections, which
    /// send a little now and then, are as large as their requests.
    fn poll_read_elsewhere(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.clear();
        self.consumed = 0;
        ARRIVALS.with_borrow_mut(|arrivals| {
            let mut arrived = ReadBuf::new(arrivals);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut arrived))?;
            self.input.extend_from_slice(arrived.filled());
            Poll::Ready(Ok(self.input.len()))
        })
    }

    /// Makes room in the input buffer for a read. A long word gets its room step by step, each time as much as has
    /// arrived: announcing a length costs a client nothing, so it must not cost the server its memory.
    fn make_room(&mut self) {
        if self.consumed == self.input.len() {
            self.input.clear();
            self.consumed = 0;
        }
        let left = self.input.len() - self.consumed;
        let wanted = self.parser.missing(left).clamp(self.read_size, left.max(self.read_size));
        let enough = if wanted > self.read_size { wanted } else { MIN_ROOM };
        if self.input.capacity() - self.input.len() >= enough {
            return;
        }
        // What is moved is no more than what was executed since the last move.
        if self.consumed > left {
            self.input.drain(..self.consumed);
            self.consumed = 0;
        }
        if self.input.capacity() - self.input.len() < enough {
            self.input.reserve(wanted);
        }
    }

    /// Gives back what a silent connection does not need.
    pub(super) fn trim(&mut self) {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        self.input.shrink_to(SMALL_BUFFER);
        self.reply.bytes_mut().shrink_to(SMALL_BUFFER);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        self.parser.shrink();
        self.read_size = READ_SIZE;
    }
}
