//! What can go wrong between two nodes, told apart by what an operator or the runtime would do about it.

use std::net::SocketAddr;

use quinn::{ConnectionError, ReadError, TransportErrorCode, WriteError};
use rustls::AlertDescription;

use super::PROTOCOLS;

/// The range of QUIC's error codes that carry a TLS alert (RFC 9001, section 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// How much of a peer's reason for closing is kept, in characters.
const REASON_LIMIT: usize = 200;

/// Why there is no connection, or no stream, to a peer. Reads well after the peer's address and a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// One side's certificate is not signed by an authority that the other trusts.
    #[error("it has another cluster passphrase; all nodes need the same --cluster-passphrase")]
    WrongPassphrase,
    /// As before; and the peer does not serve clients yet.
    #[error("it has another cluster passphrase, and does not serve yet; all nodes need the same --cluster-passphrase")]
    WrongPassphraseIdle,
    /// The peer speaks another version of QUIC or of the protocol above it.
    #[error("it speaks no version of the cluster protocol that this node speaks ({})", PROTOCOLS.join(", "))]
    VersionMismatch,
    /// A certificate is not valid yet or not valid any more, in the eyes of one side.
    #[error("its clock and the clock of this node are more than a day apart")]
    ClocksApart,
    /// The TLS handshake failed for another reason.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The peer is this node.
    #[error("the address leads back to this node")]
    Myself,
    /// Nothing, or nothing more, came back in time: not there, unreachable, or dead.
    #[error("it does not answer")]
    NoAnswer,
    /// No datagram can be sent to this address from the local socket.
    #[error("the address {0} cannot be reached from the local cluster address (another address family?)")]
    UnusableAddress(SocketAddr),
    /// The peer has no room for another connection, or is about to stop.
    #[error("it refused the connection")]
    Refused,
    /// The peer has lost its memory of the connection: it was restarted.
    #[error("it was restarted")]
    Restarted,
    /// The peer closed the connection and said why.
    #[error("it closed the connection: {0}")]
    ClosedByPeer(String),
    /// This node closed the connection, or the transport.
    #[error("this node closed the connection")]
    Closed,
    /// A frame announces more bytes than the reader takes, or the writer can announce.
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    FrameTooLong {
        /// What the frame announces.
        length: usize,
        /// What was allowed.
        limit: usize,
    },
    /// A stream ended inside a frame.
    #[error("a stream ended inside a frame")]
    Truncated,
    /// The peer gave up a stream, as writer or as reader.
    #[error("it gave up a stream")]
    StreamAbandoned,
    /// A stream of a kind that this version does not know.
    #[error("it opened a stream of the unknown kind {0}")]
    UnknownStream(u8),
    /// The peer violated QUIC, or found that this node did.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// This node cannot build its end of the transport.
    #[error("cannot set up the cluster transport: {0}")]
    Setup(String),
}

impl TransportError {
    /// Wraps a failure to build the local end.
    pub(super) fn setup(error: impl std::fmt::Display) -> TransportError {
        TransportError::Setup(error.to_string())
    }

    /// Reads QUIC's error code. A rejected certificate arrives as a TLS alert, here or from the peer.
    fn from_code(code: TransportErrorCode, reason: String) -> TransportError {
        if code == TransportErrorCode::CONNECTION_REFUSED {
            return TransportError::Refused;
        }
        let code = u64::from(code);
        if !CRYPTO_ERRORS.contains(&code) {
            return TransportError::Protocol(reason);
        }
        match AlertDescription::from(code.to_le_bytes()[0]) {
            AlertDescription::UnknownCA => TransportError::WrongPassphrase,
            AlertDescription::NoApplicationProtocol => TransportError::VersionMismatch,
            AlertDescription::CertificateExpired => TransportError::ClocksApart,
            alert if reason.is_empty() => TransportError::Handshake(format!("{alert:?}")),
            _ => TransportError::Handshake(reason),
        }
    }
}

impl From<ConnectionError> for TransportError {
    fn from(error: ConnectionError) -> TransportError {
        match error {
            ConnectionError::VersionMismatch => TransportError::VersionMismatch,
            ConnectionError::TransportError(error) => TransportError::from_code(error.code, error.reason),
            ConnectionError::ConnectionClosed(close) => {
                TransportError::from_code(close.error_code, readable(&close.reason))
            }
            ConnectionError::ApplicationClosed(close) => TransportError::ClosedByPeer(readable(&close.reason)),
            ConnectionError::Reset => TransportError::Restarted,
            ConnectionError::TimedOut => TransportError::NoAnswer,
            ConnectionError::LocallyClosed => TransportError::Closed,
            ConnectionError::CidsExhausted => TransportError::Protocol("no connection ids left".to_owned()),
        }
    }
}

impl From<ReadError> for TransportError {
    fn from(error: ReadError) -> TransportError {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(_) => TransportError::StreamAbandoned,
            ReadError::ClosedStream => TransportError::Closed,
            ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => TransportError::Protocol(error.to_string()),
        }
    }
}

impl From<WriteError> for TransportError {
    fn from(error: WriteError) -> TransportError {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(_) => TransportError::StreamAbandoned,
            WriteError::ClosedStream => TransportError::Closed,
            WriteError::ZeroRttRejected => TransportError::Protocol(error.to_string()),
        }
    }
}

/// A peer's words, made fit for a log line.
fn readable(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason).chars().filter(|character| !character.is_control()).take(REASON_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(alert: AlertDescription) -> TransportError {
        TransportError::from_code(TransportErrorCode::crypto(u8::from(alert)), String::new())
    }

    #[test]
    fn alerts_are_told_apart() {
        assert_eq!(alert(AlertDescription::UnknownCA), TransportError::WrongPassphrase);
        assert_eq!(alert(AlertDescription::NoApplicationProtocol), TransportError::VersionMismatch);
        assert_eq!(alert(AlertDescription::CertificateExpired), TransportError::ClocksApart);
        assert_eq!(alert(AlertDescription::DecryptError), TransportError::Handshake("DecryptError".to_owned()));
    }

    #[test]
    fn a_peers_reason_cannot_break_a_log_line() {
        assert_eq!(readable(b"going\ndown \xff"), "goingdown \u{fffd}");
        assert_eq!(readable(&[b'x'; 5000]).len(), REASON_LIMIT);
    }
}
