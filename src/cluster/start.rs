//! How a node becomes part of a cluster, and what the rest of the process holds of it afterwards.

use std::sync::Arc;
use std::{io, thread};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::runtime::ClusterLoop;
use super::{Clock, ClusterError, ClusterOptions, ClusterSecret, Identity, Net, Resolver};
use crate::effects::NodeId;
use crate::keyspace::Keyspace;
use crate::replication::ClusterReport;

/// A fresh identity, with a key from the random source of `net`.
///
/// # Errors
/// When there are no random bytes or no key can be made of them.
pub fn fresh_identity(
    secret: &ClusterSecret,
    also_accepted: &[ClusterSecret],
    net: &dyn Net,
) -> Result<Identity, ClusterError> {
    Ok(Identity::create(secret, also_accepted, random_bytes(net)?)?)
}

/// 32 bytes that nobody can guess (a simulation can).
pub(super) fn random_bytes(net: &dyn Net) -> Result<[u8; 32], ClusterError> {
    let mut bytes = [0; 32];
    net.crypto().secure_random.fill(&mut bytes).map_err(|_| ClusterError::Random)?;
    Ok(bytes)
}

/// What the rest of the process holds of a running cluster node.
#[derive(Clone, Debug)]
pub struct ClusterHandle {
    node: NodeId,
    report: watch::Receiver<Arc<ClusterReport>>,
    serving: watch::Receiver<bool>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
}

impl ClusterHandle {
    /// The identity that the node started with. A rebase gives it another; the report has the current one.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is known about the cluster: at least ten times a second, and as soon as a peer has acknowledged more.
    pub fn report(&self) -> watch::Receiver<Arc<ClusterReport>> {
        self.report.clone()
    }

    /// May clients be served? False until the node has caught up with the cluster, and again during a rebase.
    pub fn serving(&self) -> watch::Receiver<bool> {
        self.serving.clone()
    }

    /// Leaves the cluster gracefully and returns when the peers know, or after a few seconds. Clients must not write any
    /// more by then.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        // Errors mean that the loop has ended: the node has left already.
        if self.requests.send(done).await.is_ok() {
            let _ = left.await;
        }
    }
}

/// A cluster node that is about to start: what its loop needs, without the thread that it will run on.
pub struct ClusterTask {
    pub(super) options: ClusterOptions,
    pub(super) keyspace: Arc<Keyspace>,
    pub(super) net: Arc<dyn Net>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) seed: u64,
    pub(super) report: watch::Sender<Arc<ClusterReport>>,
    pub(super) serving: watch::Sender<bool>,
    pub(super) requests: mpsc::Receiver<oneshot::Sender<()>>,
    pub(super) commits: Arc<Notify>,
}

impl ClusterTask {
    /// Puts a node together. The keyspace is empty, and its effects carry the node id of `options.identity`. `seed` is for
    /// jitter only; keys come from `net`.
    pub fn new(
        options: ClusterOptions,
        keyspace: Arc<Keyspace>,
        net: Arc<dyn Net>,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolver>,
        seed: u64,
    ) -> (ClusterHandle, ClusterTask) {
        let node = options.identity.node();
        let (report, report_receiver) = watch::channel(Arc::new(ClusterReport { node, ..ClusterReport::default() }));
        let (serving, serving_receiver) = watch::channel(false);
        let (request_sender, requests) = mpsc::channel(1);
        let commits = Arc::new(Notify::new());
        let committed = commits.clone();
        keyspace.on_commit(Box::new(move || committed.notify_one()));
        let published = commits.clone();
        options.channels.outbox.open(Box::new(move || published.notify_one()));
        let handle =
            ClusterHandle { node, report: report_receiver, serving: serving_receiver, requests: request_sender };
        let task = ClusterTask { options, keyspace, net, clock, resolver, seed, report, serving, requests, commits };
        (handle, task)
    }

    /// Binds the socket. To be called inside a [`LocalSet`]; [`ClusterLoop::run`] then does the work.
    ///
    /// # Errors
    /// When the address cannot be bound or no certificate can be made.
    pub async fn bind(self) -> Result<ClusterLoop, ClusterError> {
        ClusterLoop::bind(self).await
    }
}

/// Starts a node on a thread of its own, so that replication never waits behind clients, nor they behind it. Returns when
/// the socket is bound.
///
/// # Errors
/// When the address cannot be bound, no certificate can be made, or the thread cannot be started.
pub fn start(
    options: ClusterOptions,
    keyspace: Arc<Keyspace>,
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    resolver: Arc<dyn Resolver>,
    seed: u64,
) -> Result<ClusterHandle, ClusterError> {
    let (handle, task) = ClusterTask::new(options, keyspace, net, clock, resolver, seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClusterError::Thread)?;
    let (bound_sender, bound) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        LocalSet::new().block_on(&runtime, async move {
            let (outcome, cluster) = match task.bind().await {
                Ok(cluster) => (Ok(()), Some(cluster)),
                Err(error) => (Err(error), None),
            };
            // The one who started this waits for the outcome.
            let _ = bound_sender.send(outcome);
            if let Some(cluster) = cluster {
                cluster.run().await;
            }
        });
    };
    thread::Builder::new().name("cluster".to_owned()).spawn(work).map_err(ClusterError::Thread)?;
    let ended = || Err(ClusterError::Thread(io::Error::other("it ended at once")));
    bound.recv().unwrap_or_else(|_| ended())?;
    Ok(handle)
}
