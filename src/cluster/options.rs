//! What an operator decides about a cluster node, and what can be wrong with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{ClusterSecret, Identity, IdentityError, TransportError};
use crate::pubsub::Channels;
use crate::replication::CoreOptions;
use crate::trace::Tracer;

/// Changes the settings of a replication core.
pub type Tune = Arc<dyn Fn(&mut CoreOptions) + Send + Sync>;

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
    /// Where peers reach this node, `host:port`; `None`: found out from the routing table.
    pub advertise: Option<String>,
    /// The DNS name under which the nodes find each other. `None`: this node starts a cluster and waits for others.
    pub join: Option<String>,
    /// The cluster port of peers whose DNS records do not name one.
    pub join_port: u16,
    /// What people call this node: its host name, usually. Empty: its advertised address.
    pub name: String,
    /// The port for Redis clients.
    pub client_port: u16,
    /// A silent connection counts as lost after this long.
    pub idle_timeout: Duration,
    /// A connection says something at least this often.
    pub keep_alive: Duration,
    /// Who listens to what clients of all nodes publish.
    pub channels: Arc<Channels>,
    /// Who gets the spans of sampled writes, here and at their origins, if somebody does.
    pub tracer: Option<Arc<Tracer>>,
    /// Changes the settings of the replication core; most callers leave them as they are.
    pub tune: Tune,
}

impl ClusterOptions {
    /// A node with the usual settings, which joins nobody.
    pub fn new(secret: ClusterSecret, identity: Identity, bind: SocketAddr, client_port: u16) -> ClusterOptions {
        ClusterOptions {
            secret,
            also_accepted: Vec::new(),
            identity,
            bind,
            advertise: None,
            join: None,
            join_port: bind.port(),
            name: String::new(),
            client_port,
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
            channels: Arc::default(),
            tracer: None,
            tune: Arc::new(|_| {}),
        }
    }
}

/// Why a node cannot take part in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The UDP socket, most likely.
    #[error("{0}; another port can be chosen with --cluster-port")]
    Transport(#[from] TransportError),
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No random bytes for a key.
    #[error("the cryptographic library has no random bytes")]
    Random,
    /// The thread or its event loop.
    #[error("cannot start the cluster's thread: {0}")]
    Thread(io::Error),
}
