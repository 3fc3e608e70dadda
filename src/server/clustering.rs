//! Starting a node's part in its cluster: from flags to a running loop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tracing::info;

use super::options::{ClusterSettings, Options};
use super::start::StartError;
use crate::cluster::{
    self, Clock, ClusterHandle, ClusterOptions, ClusterSecret, Identity, SystemNet, SystemResolver, fresh_identity,
};
use crate::keyspace::Keyspace;
use crate::pubsub::Channels;
use crate::trace::Tracer;

/// What has to be known before the keyspace is made: who this node is, and how keys are hashed in this cluster.
pub struct Credentials {
    secret: ClusterSecret,
    also_accepted: Vec<ClusterSecret>,
    /// This start of the node.
    pub identity: Identity,
}

impl Credentials {
    /// Stretches the passphrases and makes a fresh identity.
    pub fn derive(settings: &ClusterSettings) -> Result<Credentials, StartError> {
        let secret = ClusterSecret::derive(&settings.passphrase).map_err(refused)?;
        let also_accepted = settings.also_accepted.iter().map(|also| ClusterSecret::derive(also));
        let also_accepted = also_accepted.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let identity = fresh_identity(&secret, &also_accepted, &SystemNet::default()).map_err(refused)?;
        if !also_accepted.is_empty() {
            info!(
                "nodes with another passphrase are accepted, too: leave --cluster-passphrase-also out when all have the new one"
            );
        }
        Ok(Credentials { secret, also_accepted, identity })
    }

    /// The seed of the hash of keys: the same at every node of the cluster, unless that goes from one passphrase to another.
    pub fn hash_seed(&self) -> u64 {
        self.secret.hash_seed()
    }
}

/// Binds the cluster's port and starts its thread.
pub fn start(
    settings: &ClusterSettings,
    options: &Options,
    credentials: Credentials,
    (keyspace, channels): (&Arc<Keyspace>, &Arc<Channels>),
    tracer: Option<Arc<Tracer>>,
    clock: Arc<dyn Clock>,
    seed: u64,
) -> Result<ClusterHandle, StartError> {
    let Credentials { secret, also_accepted, identity } = credentials;
    let bind = SocketAddr::new(cluster_address(options), settings.port);
    let log_limit = settings.log_limit;
    let options = ClusterOptions {
        advertise: settings.advertise.clone(),
        join: settings.join.clone(),
        name: options.node_name.clone(),
        channels: Arc::clone(channels),
        tracer,
        also_accepted,
        tune: Arc::new(move |core| {
            (core.log_limit, core.archive_limit, core.metadata_limit) = (log_limit, log_limit, log_limit);
        }),
        ..ClusterOptions::new(secret, identity, bind, options.client_port())
    };
    let resolver = Arc::new(SystemResolver::new(settings.dns_server));
    cluster::start(options, Arc::clone(keyspace), Arc::new(SystemNet::default()), clock, resolver, seed)
        .map_err(refused)
}

/// Peers are served where clients are; on every address when those are several or none.
fn cluster_address(options: &Options) -> IpAddr {
    match options.bind[..] {
        [only] => only.address,
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

fn refused(error: impl std::fmt::Display) -> StartError {
    StartError::Cluster(error.to_string())
}
