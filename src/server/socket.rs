//! A client's socket: TCP, with or without TLS, or unix.

use std::io;
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
    Tls(Box<TlsStream<TcpStream>>),
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
                Socket::Tls(Box::new(TlsStream::new(TcpStream::from_std(stream)?, config)?))
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
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(context),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
