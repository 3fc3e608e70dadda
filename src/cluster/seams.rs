//! The three seams: time, datagrams, names.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;

use crate::keyspace::Millis;

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump, both ways.
    fn wall(&self) -> Millis;
    /// Time since some fixed moment of this process. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// Where datagrams go, and what the QUIC endpoint above them may assume.
pub trait Net: Send + Sync + 'static {
    /// Binds a UDP socket.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
    /// The cryptography of the transport; a simulation hands in one that draws its randomness from the seed.
    fn crypto(&self) -> Arc<CryptoProvider>;
    /// A fixed MTU without discovery, segmentation offload and congestion marks, where the network needs that.
    fn fixed_mtu(&self) -> Option<u16>;
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name has no record of this type.
    #[error("no such record")]
    NotFound,
    /// No answer, or one that is an error.
    #[error("{0}")]
    Failed(String),
}

/// Where addresses come from.
pub trait Resolver: Send + Sync + 'static {
    /// SRV records: target name and port, best first.
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<(String, u16)>, ResolveError>>;
    /// A and AAAA records, the hosts file included.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Millis {
        // A clock before 1970 reads as 1970: nothing useful can be said about such a machine.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
