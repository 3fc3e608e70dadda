//! How answers leave a connection, and when a client that does not take them is cut off.
//!
//! Must not know what the answers say.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::warn;

use super::Connection;
use crate::commands::Session;
use crate::pubsub::OutputLimit;

/// So much of the answers counts towards no limit, as in Redis, which has room for it in each connection.
const UNCOUNTED_OUTPUT: usize = 16 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Sends all answers.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.reply.bytes().is_empty() {
            return Ok(());
        }
        if let Some(sending) = self.begin_limited() {
            sending.await?;
        } else {
            let mut sent = 0;
            poll_fn(|context| self.poll_flush(context, &mut sent)).await?;
        }
        let sent = self.reply.bytes().len();
        self.reply.bytes_mut().clear();
        let block = self.place.front().state.stats.thread(self.place.thread());
        block.output_bytes.add(sent as u64);
        block.writes.add(1);
        Ok(())
    }

    /// Begins to send all answers, if it is limited how much of them the client may leave untaken. In a box of its own: it is rare.
    fn begin_limited(&mut self) -> Option<Pin<Box<impl Future<Output = io::Result<()>>>>> {
        let limit = self.place.front().state.config.limit_of_replies()?;
        if self.session().is_listening() {
            return None;
        }
        Some(Box::pin(self.send_within(limit)))
    }

    /// Sends all answers, unless they are more than the client may leave untaken: then it is disconnected.
    async fn send_within(&mut self, limit: OutputLimit) -> io::Result<()> {
        let whole = self.reply.bytes().len();
        let is_over = |sent: usize, limit: usize| limit > 0 && (whole - sent).saturating_sub(UNCOUNTED_OUTPUT) >= limit;
        let mut sent = 0;
        if !is_over(sent, limit.hard) {
            // What is left only becomes less.
            let until = is_over(sent, limit.soft)
                .then(|| Instant::now().checked_add(Duration::from_secs(limit.seconds)))
                .flatten();
            let mut patience = pin!(async move {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            });
            tokio::select! {
                biased;
                outcome = poll_fn(|context| self.poll_flush(context, &mut sent)) => return outcome,
                () = &mut patience => {}
            }
            if !is_over(sent, limit.soft) {
                return poll_fn(|context| self.poll_flush(context, &mut sent)).await;
            }
        }
        warn!("disconnected a client: the replies that it did not take reached the limit");
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn poll_flush(&mut self, context: &mut Context<'_>, sent: &mut usize) -> Poll<io::Result<()>> {
        while *sent < self.reply.bytes().len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.reply.bytes()[*sent..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => *sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // A subscriber that takes nothing any more is woken for this as well.
                    self.handle.wake_me(context, &mut self.waker);
                    if self.is_ended() {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    if self.is_cut_off() {
                        warn!("disconnected a subscriber: the messages that it did not take reached the limit");
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    self.poll_absorb(context)?;
                    self.note_buffers(self.reply.bytes().len() - *sent);
                    return Poll::Pending;
                }
            }
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Have more messages come than the client may leave untaken?
    pub(super) fn is_cut_off(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_cut_off)
    }
}
