//! What an operator decides about a cluster node, and what can be wrong with it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{ClusterSecret, Identity, IdentityError};

/// How one node takes part in a cluster.
pub struct ClusterOptions {
    /// What the passphrase derives; it signs this node's certificates.
    pub secret: ClusterSecret,
    /// Further passphrases whose nodes are trusted, during a rotation.
    pub also_accepted: Vec<ClusterSecret>,
    /// The identity of this start. The keyspace's effects carry the same node id.
    pub identity: Identity,
    /// The UDP address to bind.
    pub bind: SocketAddr,
    /// The address that peers reach this node at; `None`: found out from the routing table.
    pub advertise: Option<SocketAddr>,
    /// The DNS name under which the nodes find each other. `None`: this node starts a cluster and waits for others.
    pub join: Option<String>,
    /// The cluster port of peers whose DNS records do not name one.
    pub join_port: u16,
    /// What people call this node: its host name, usually.
    pub name: String,
    /// The port for Redis clients.
    pub client_port: u16,
    /// A silent connection counts as lost after this long.
    pub idle_timeout: Duration,
    /// A connection says something at least this often.
    pub keep_alive: Duration,
}

impl ClusterOptions {
    /// The default idle timeout: long enough to ride out a short outage.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
    /// The default keep-alive interval.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
}

/// Why a node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The UDP socket.
    #[error("cannot bind the cluster's UDP address {address}: {cause}; choose another with --cluster-port")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The thread or its event loop.
    #[error("cannot start the cluster's thread: {0}")]
    Thread(io::Error),
}
