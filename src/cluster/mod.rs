//! The runtime around the replication core: the seams to the outside world, identity, QUIC, DNS and the loop that feeds
//! the core and carries out what it asks for.
//!
//! Architecture invariant: this is the only place where the core meets sockets, clocks, names and randomness, and it
//! meets them through the traits in `seams`, so that the same code runs on real sockets and inside a simulation.

mod dns;
mod identity;
mod passphrase;
mod quic;
mod seams;
mod udp;

pub use dns::{SystemResolver, discover};
pub use identity::{Identity, IdentityError};
pub use passphrase::{ClusterSecret, PassphraseError, generate_passphrase};
pub use quic::{
    Connection, FrameReader, FrameWriter, HANDSHAKE_TIMEOUT, Incoming, PROTOCOL, StreamKind, Transport, TransportError,
    TransportOptions,
};
pub use seams::{BoxFuture, Clock, Net, ResolveError, Resolver, SystemClock};
pub use udp::SystemNet;
