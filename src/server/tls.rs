//! TLS between a socket and the connection above it.
//!
//! What the socket has is read in one go into a buffer that all connections of a thread share, and only what does not fit
//! above is kept. What is written becomes records of up to 16 KiB, as large as it comes, and all of them leave with one
//! system call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// A client has this long for its handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// What is read from a socket at most at once, in bytes.
const READ_SIZE: usize = 64 * 1024;
/// What records have beside their content: more is read by this, so that one record fits whole.
const OVERHEAD: usize = 512;

thread_local! {
    /// Where encrypted bytes arrive. Nothing in it outlives a call.
    static ARRIVALS: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
}

/// A stream whose other end speaks TLS.
pub(super) struct TlsStream<S: AsyncRead + AsyncWrite + Unpin> {
    socket: S,
    session: ServerConnection,
    /// Encrypted bytes that came while there was no room for what is in them.
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Nothing is sent or received yet.
    pub(super) fn new(socket: S, config: Arc<ServerConfig>) -> io::Result<TlsStream<S>> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(TlsStream { socket, session, unread: Vec::new() })
    }

    /// What it reads from and writes to.
    pub(super) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Agrees on everything with the client, or fails after a bounded time.
    pub(super) async fn handshake(&mut self) -> io::Result<()> {
        let agreed = timeout(HANDSHAKE_TIME, poll_fn(|context| self.poll_handshake(context))).await;
        agreed.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")))
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // A client that takes nothing at the moment may still have something to say. What is left to be sent at the
            // end, tickets for the next time, goes out beside everything else.
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(context, &mut ReadBuf::new(&mut [])))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads from the socket once, and moves what is decrypted into `into`. 0: the client sends nothing any more.
    fn poll_receive(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        ARRIVALS.with_borrow_mut(|arrivals| {
            let handshaking = self.session.is_handshaking();
            let most = if handshaking { READ_SIZE } else { READ_SIZE.min(into.remaining().saturating_add(OVERHEAD)) };
            let mut arrived = ReadBuf::new(&mut arrivals[..most]);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut arrived))?;
            let kept = self.decrypt(context, arrived.filled(), into)?;
            self.unread.extend_from_slice(kept);
            Poll::Ready(Ok(arrived.filled().len()))
        })
    }

    /// Decrypts until `into` is full; what is left of `bytes`.
    fn decrypt<'a>(
        &mut self,
        context: &mut Context<'_>,
        mut bytes: &'a [u8],
        into: &mut ReadBuf<'_>,
    ) -> io::Result<&'a [u8]> {
        while !bytes.is_empty() && (self.session.is_handshaking() || into.remaining() > 0) {
            if self.session.read_tls(&mut bytes)? == 0 {
                // The client said that nothing more comes: what does is not looked at.
                return Ok(&[]);
            }
            if let Err(error) = self.session.process_new_packets() {
                // The client is to know why, if it can be told without waiting.
                let _ = self.poll_send(context);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.take(into)?;
        }
        Ok(bytes)
    }

    /// Moves what is decrypted. False: there is nothing, and nothing will come either.
    fn take(&mut self, into: &mut ReadBuf<'_>) -> io::Result<bool> {
        let mut reader = self.session.reader();
        while into.remaining() > 0 {
            let chunk = match reader.fill_buf() {
                Ok([]) => return Ok(false),
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            let count = chunk.len().min(into.remaining());
            into.put_slice(&chunk[..count]);
            reader.consume(count);
        }
        Ok(true)
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Outlet { socket: &mut self.socket, context }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let before = into.filled().len();
        loop {
            if !stream.take(into)? || into.filled().len() > before || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if !stream.unread.is_empty() {
                let unread = std::mem::take(&mut stream.unread);
                let kept = stream.decrypt(context, &unread, into)?;
                stream.unread.extend_from_slice(kept);
                continue;
            }
            let received = stream.poll_receive(context, into);
            // What TLS itself has to say does not wait for the next answer.
            if stream.session.wants_write()
                && let Poll::Ready(Err(error)) = stream.poll_send(context)
            {
                return Poll::Ready(Err(error));
            }
            if ready!(received)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        loop {
            // No more is taken than fits the buffer of what is encrypted: 64 KiB.
            let taken = stream.session.writer().write(bytes)?;
            let sent = stream.poll_send(context);
            if taken > 0 || bytes.is_empty() {
                // What could not be sent goes with `poll_flush`.
                return match sent {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Ready(Ok(taken)),
                };
            }
            ready!(sent)?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        ready!(stream.poll_send(context))?;
        Pin::new(&mut stream.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.session.send_close_notify();
        ready!(stream.poll_send(context))?;
        Pin::new(&mut stream.socket).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for TlsStream<S> {
    /// Tells the client that this is the end and nothing was cut off, if it can be told without waiting.
    fn drop(&mut self) {
        if !self.session.is_handshaking() {
            self.session.send_close_notify();
            let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
        }
    }
}

/// The socket as TLS sees it: it takes bytes, or it would block.
struct Outlet<'a, 'b, S> {
    socket: &'a mut S,
    context: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> Write for Outlet<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write_vectored(self.context, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
