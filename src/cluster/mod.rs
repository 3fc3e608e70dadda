//! The runtime around the replication core: the seams to the outside world, identity, QUIC, DNS and the loop that feeds
//! the core and carries out what it asks for.
//!
//! Architecture invariant: this is the only place where the core meets sockets, clocks, names and randomness, and it
//! meets them through the traits in `seams`, so that the same code runs on real sockets and inside a simulation.

mod address;
mod dialer;
mod discovery;
mod dns;
mod event;
mod identity;
mod import;
mod inheritance;
mod leaving;
mod members;
mod mesh;
mod messages;
mod options;
mod passphrase;
mod peer;
mod quic;
mod rebase;
mod runtime;
mod seams;
mod send_queue;
mod snapshot;
mod start;
mod traces;
mod udp;
mod upkeep;
#[cfg(test)]
mod wire_record;

pub use dns::{SystemResolver, discover};
pub use identity::{Identity, IdentityError};
pub use members::MEMBERS_KEY;
pub use options::{ClusterError, ClusterOptions, Tune};
pub use passphrase::{ClusterSecret, PassphraseError, generate_passphrase};
pub use quic::{
    Connection, FrameReader, FrameWriter, Incoming, PROTOCOLS, StreamKind, Transport, TransportError, TransportOptions,
};
pub use runtime::ClusterLoop;
pub use seams::{BoxFuture, Clock, Net, ResolveError, Resolver, SystemClock};
pub use start::{ClusterHandle, ClusterTask, fresh_identity, start};
pub use udp::SystemNet;

#[cfg(test)]
mod tests;
