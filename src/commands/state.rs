//! What all connections of a node share.
//!
//! Must not know how requests arrive, or how effects reach other nodes: of the cluster it sees a report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::clients::ClientRegistry;
use super::config::Config;
use super::script_state::Scripting;
use super::supervision::Supervision;
use super::trackers::Trackers;
use crate::acl::Users;
use crate::keyspace::{EvictionPolicy, Keyspace, Millis};
use crate::observe::Stats;
use crate::persistence::{Persistence, UseHint};
use crate::pubsub::Channels;
use crate::replication::ClusterReport;
use crate::tls::Certificates;

/// What does not change while the process lives, known by whoever started it.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The TCP port for clients without TLS, 0 for none.
    pub port: u16,
    /// The TCP port for clients with TLS, 0 for none.
    pub tls_port: u16,
    /// Addresses that are listened on, separated by spaces.
    pub bind: String,
    /// The path of the unix socket, or nothing.
    pub unix_socket: String,
    /// The process.
    pub process: u32,
    /// The path of the executable.
    pub executable: String,
    /// The file that it was started with.
    pub config_file: Option<PathBuf>,
    /// Server threads.
    pub threads: usize,
    /// Reads how many bytes of memory the process occupies; a simulation hands in a constant.
    pub resident_memory: fn() -> usize,
    /// A monotonic clock in nanoseconds for the time that commands take; `None`: they are not timed.
    pub stopwatch: Option<fn() -> u64>,
}

/// The state of a node as its clients see it.
#[derive(Debug)]
pub struct ServerState {
    /// The data.
    pub keyspace: Arc<Keyspace>,
    /// Runtime parameters.
    pub config: Config,
    /// Who may do what.
    pub users: Users,
    /// Who listens to which channel.
    pub channels: Arc<Channels>,
    /// The data in a file.
    pub persistence: Arc<Persistence>,
    /// Counters.
    pub stats: Arc<Stats>,
    /// Connections.
    pub clients: ClientRegistry,
    /// Clients that keep copies of keys.
    pub trackers: Arc<Trackers>,
    /// Is this node ready for clients? Until then commands about data are answered with LOADING.
    pub serving: AtomicBool,
    /// Scripts and functions.
    pub scripting: Scripting,
    /// What an operator does to the node.
    pub supervision: Supervision,
    /// The cluster as this node sees it, when it is in one.
    pub cluster: Option<watch::Receiver<Arc<ClusterReport>>>,
    /// The certificates that clients are shown, when there is TLS.
    pub tls: Option<Arc<Certificates>>,
    /// When the process started.
    pub started: Millis,
    /// 40 hexadecimal digits, fresh at each start.
    pub run_id: String,
    /// What does not change.
    pub facts: ServerFacts,
}

impl ServerState {
    /// What happens to keys is told to this node's clients from now on: published as far as it is configured, and to whom keeps
    /// copies of them.
    pub fn publish_events(&self) {
        let channels = Arc::clone(&self.channels);
        self.keyspace.on_event(Box::new(move |event| channels.announce(event)));
        let (channels, trackers) = (Arc::clone(&self.channels), Arc::clone(&self.trackers));
        self.keyspace.on_stale(Box::new(move |stale, writer, now| trackers.tell(stale, writer, channels.limit(), now)));
    }

    /// What a file says about the use of keys.
    pub fn use_hint(&self) -> UseHint {
        match self.keyspace.eviction_policy() {
            EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu => UseHint::Frequency,
            EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru => UseHint::Idle,
            _ => UseHint::None,
        }
    }

    /// May commands about data run?
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }
}

impl ServerState {
    /// A turn of the background work on keys. One that takes long is noted.
    pub fn look_after_keys(&self, now: Millis, shards: usize) {
        let begun = self.facts.stopwatch.map(|read| (read, read()));
        self.keyspace.upkeep(now, shards);
        let (Some((read, begun)), Some(threshold)) = (begun, self.supervision.timing.event_threshold()) else { return };
        let milliseconds = read().saturating_sub(begun) / 1_000_000;
        if milliseconds >= threshold {
            self.supervision.latency.add("expire-cycle", (now + milliseconds) / 1000, milliseconds);
        }
    }
}

/// The bytes of memory that this process occupies, from `/proc`; 0 where there is no such thing.
pub fn resident_memory() -> usize {
    const PAGE_BYTES: usize = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()));
    pages.unwrap_or(0) * PAGE_BYTES
}
