//! One connection: a peer whose identity is proven, and one-way streams of frames in both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{RecvStream, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::sync::Mutex;

use super::error::TransportError;
use super::framing::{FrameReader, FrameWriter};
use crate::cluster::identity::node_of;
use crate::effects::NodeId;

/// The code of every close; the reason in words says more.
pub(super) const CLOSED: VarInt = VarInt::from_u32(0);

/// The first byte of the stream by which the dialed side confirms that it has accepted the dialer.
const WELCOME: u8 = 0;

/// What a stream carries; its first byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StreamKind {
    /// Frontiers, acknowledgements, requests: short, and ahead of everything else.
    Control = 1,
    /// Effects in order.
    Effects = 2,
    /// A snapshot: large, and behind everything else.
    Snapshot = 3,
    /// What clients have published.
    Messages = 4,
}

impl StreamKind {
    fn from_byte(byte: u8) -> Option<StreamKind> {
        let kinds = [StreamKind::Control, StreamKind::Effects, StreamKind::Snapshot, StreamKind::Messages];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// What has the higher priority is sent first when both have something to send.
    fn priority(self) -> i32 {
        match self {
            StreamKind::Control => 2,
            StreamKind::Effects | StreamKind::Messages => 1,
            StreamKind::Snapshot => 0,
        }
    }
}

/// A connection to a peer that holds the passphrase. Clones are the same connection, which closes when the last of them
/// and of its streams is dropped.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    connection: quinn::Connection,
    peer: NodeId,
    dialed: bool,
    /// A stream whose kind has not arrived yet, kept for the next `accept` when one is cancelled.
    opening: Mutex<Option<RecvStream>>,
}

impl Connection {
    /// The dialing side: the connection stands when the peer says so. Without its word a dialer would think so although
    /// the peer has yet to look at its certificate.
    pub(super) async fn confirmed(connection: quinn::Connection, myself: NodeId) -> Result<Connection, TransportError> {
        let connection = Connection::verified(connection, myself, true)?;
        let mut stream = connection.0.connection.accept_uni().await?;
        match first_byte(&mut stream).await? {
            Some(WELCOME) => Ok(connection),
            _ => Err(TransportError::Protocol("no welcome".to_owned())),
        }
    }

    /// The dialed side: the handshake is complete only when the dialer's certificate has been verified.
    pub(super) async fn welcomed(connection: quinn::Connection, myself: NodeId) -> Result<Connection, TransportError> {
        let connection = Connection::verified(connection, myself, false)?;
        let mut stream = connection.0.connection.open_uni().await?;
        stream.write_all(&[WELCOME]).await?;
        stream.finish().map_err(|_| TransportError::Closed)?;
        Ok(connection)
    }

    fn verified(connection: quinn::Connection, myself: NodeId, dialed: bool) -> Result<Connection, TransportError> {
        let certificates = connection.peer_identity().and_then(|identity| {
            // TLS hands out the certificates that it has verified, the peer's own first.
            identity.downcast::<Vec<CertificateDer<'static>>>().ok()
        });
        let peer = certificates.and_then(|certificates| node_of(certificates.first()?));
        let peer = peer.ok_or_else(|| TransportError::Handshake("its certificate names no node".to_owned()))?;
        if peer == myself {
            connection.close(CLOSED, b"this is myself");
            return Err(TransportError::Myself);
        }
        Ok(Connection(Arc::new(Shared { connection, peer, dialed, opening: Mutex::new(None) })))
    }

    /// The version of the protocol that both sides have agreed on: the newest that both speak.
    pub fn protocol(&self) -> String {
        let data = self.0.connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let protocol = data.and_then(|data| data.protocol);
        String::from_utf8_lossy(&protocol.unwrap_or_default()).into_owned()
    }

    /// The peer, proven by its certificate.
    pub fn peer(&self) -> NodeId {
        self.0.peer
    }

    /// The address the peer's packets come from.
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.0.connection.remote_address())
    }

    /// Did this node begin the connection?
    pub fn dialed(&self) -> bool {
        self.0.dialed
    }

    /// Opens a stream. Waits while the peer allows no more of them.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open(&self, kind: StreamKind) -> Result<FrameWriter, TransportError> {
        let mut stream = self.0.connection.open_uni().await?;
        stream.set_priority(kind.priority()).map_err(|_| TransportError::Closed)?;
        stream.write_all(&[kind as u8]).await?;
        Ok(FrameWriter::new(stream))
    }

    /// Waits for the next stream that the peer opens. May be cancelled and called again without losing a stream.
    ///
    /// # Errors
    /// When the connection is lost, or the stream is of no known kind.
    pub async fn accept(&self) -> Result<(StreamKind, FrameReader), TransportError> {
        let mut opening = self.0.opening.lock().await;
        loop {
            // In its place while the byte is awaited, so that a cancelled call leaves it there.
            if opening.is_none() {
                *opening = Some(self.0.connection.accept_uni().await?);
            }
            let byte = first_byte(opening.as_mut().expect("it was put there above")).await;
            let stream = opening.take().expect("it was put there above");
            match byte {
                Ok(Some(byte)) => {
                    let kind = StreamKind::from_byte(byte).ok_or(TransportError::UnknownStream(byte))?;
                    return Ok((kind, FrameReader::new(stream)));
                }
                // Given up by the peer before it said what it was for.
                Ok(None) | Err(TransportError::StreamAbandoned) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the connection at once; what is still under way is lost. The peer is told the reason.
    pub fn close(&self, reason: &str) {
        self.0.connection.close(CLOSED, reason.as_bytes());
    }

    /// Waits for the end of the connection, and says why it came.
    pub async fn closed(&self) -> String {
        TransportError::from(self.0.connection.closed().await).to_string()
    }

    /// The current estimate of the round-trip time.
    pub fn rtt(&self) -> Duration {
        self.0.connection.rtt()
    }
}

/// The first byte of a stream; `None` when it ends without one.
async fn first_byte(stream: &mut RecvStream) -> Result<Option<u8>, TransportError> {
    let mut byte = [0];
    Ok(stream.read(&mut byte).await?.map(|_| byte[0]))
}

/// An IPv4 address as such, not in the IPv6 form that a socket for both reports.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
