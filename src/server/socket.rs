//! A client's socket: TCP, with or without TLS, or unix.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tls::TlsStream;

/// A socket that its server thread has taken over.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// In a box: the other kinds are to stay small.
    Tls(Box<TlsStream<Underlying>>),
    /// On its way from one thread to another; nothing is read or written. None: it was lost on the way.
    Loose(Option<LooseSocket>),
}

/// What is below TLS, which stays where it is while this is on its way.
pub(super) enum Underlying {
    Tcp(TcpStream),
    Loose(Option<std::net::TcpStream>),
}

fn lost() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Socket {
    /// Takes the socket out of the event loop of the current thread, to be entered into that of another.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Socket::Loose(None)) {
            Socket::Tcp(stream) => Socket::Loose(Some(LooseSocket::Tcp(stream.into_std()?))),
            Socket::Unix(stream) => Socket::Loose(Some(LooseSocket::Unix(stream.into_std()?))),
            Socket::Tls(mut stream) => {
                let below = stream.socket_mut();
                if let Underlying::Tcp(socket) = std::mem::replace(below, Underlying::Loose(None)) {
                    *below = Underlying::Loose(Some(socket.into_std()?));
                }
                Socket::Tls(stream)
            }
            loose @ Socket::Loose(_) => loose,
        };
        Ok(())
    }

    /// Enters a detached socket into the event loop of the current thread.
    pub(super) fn attach(&mut self) -> io::Result<()> {
        match self {
            Socket::Loose(loose) => *self = loose.take().ok_or_else(lost)?.register()?,
            Socket::Tls(stream) => {
                if let Underlying::Loose(socket) = stream.socket_mut() {
                    let socket = TcpStream::from_std(socket.take().ok_or_else(lost)?)?;
                    *stream.socket_mut() = Underlying::Tcp(socket);
                }
            }
            Socket::Tcp(_) | Socket::Unix(_) => {}
        }
        Ok(())
    }
}

/// A socket on its way to its server thread: it belongs to no event loop.
pub(super) enum LooseSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Tls(std::net::TcpStream, Arc<ServerConfig>),
}

impl LooseSocket {
    /// Enters the socket into the event loop of the current thread.
    pub(super) fn register(self) -> io::Result<Socket> {
        Ok(match self {
            LooseSocket::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            LooseSocket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
            LooseSocket::Tls(stream, config) => {
                let below = Underlying::Tcp(TcpStream::from_std(stream)?);
                Socket::Tls(Box::new(TlsStream::new(below, config)?))
            }
        })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Socket::Unix(stream) => Pin::new(stream).poll_read(context, into),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_read(context, into),
            Socket::Loose(_) => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Socket::Loose(_) => Poll::Ready(Err(lost())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(context),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
            Socket::Loose(_) => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Socket::Loose(_) => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncRead for Underlying {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Underlying::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Underlying::Loose(_) => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Underlying {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Underlying::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Underlying::Loose(_) => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Underlying::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Underlying::Loose(_) => Poll::Ready(Err(lost())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Underlying::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Underlying::Loose(_) => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Underlying::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Underlying::Loose(_) => Poll::Ready(Err(lost())),
        }
    }
}
