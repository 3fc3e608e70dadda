//! What `/status` answers: the node, and the cluster as this node sees it, as JSON with names that stay.
//!
//! `docs/operations.md` documents every field. A field may be added; none is renamed or removed. Who reads an answer of
//! another version takes what it knows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ThreadStats;
use crate::commands::ServerState;
use crate::keyspace::Millis;
use crate::replication::{ClusterReport, MemberReport, Stage};

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// The version of its software.
    pub version: String,
    /// Where it is in its life: `seeking`, `catching_up`, `loading`, `serving` or `leaving`.
    pub stage: String,
    /// Since the process started.
    pub uptime_seconds: u64,
    /// The port for clients, 0 for none.
    pub port: u16,
    /// Connections of clients.
    pub clients: ClientStatus,
    /// Memory.
    pub memory: MemoryStatus,
    /// Keys of all databases.
    pub keys: u64,
    /// The cluster as it sees it; `null` without one.
    pub cluster: Option<ClusterStatus>,
}

/// Connections of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientStatus {
    /// How many there are.
    pub connected: u64,
    /// How many there may be.
    pub limit: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryStatus {
    /// What the data takes.
    pub used_bytes: u64,
    /// `maxmemory`; 0: no limit.
    pub limit_bytes: u64,
    /// What the process occupies.
    pub resident_bytes: u64,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// The node's id, 16 hexadecimal digits.
    pub node: String,
    /// The node's name.
    pub name: String,
    /// Where its peers reach it.
    pub address: String,
    /// Effects kept for other nodes.
    pub log_effects: u64,
    /// Their size.
    pub log_bytes: u64,
    /// What their size may be.
    pub log_limit_bytes: u64,
    /// Effects that wait for others.
    pub waiting_effects: u64,
    /// Their size.
    pub waiting_bytes: u64,
    /// What is known about keys that are not stable.
    pub metadata_bytes: u64,
    /// Addresses that DNS names and where nobody was met yet.
    pub unmet_addresses: u64,
    /// When the certificate that peers are shown expires, since the Unix epoch.
    pub certificate_expires_seconds: u64,
    /// The other nodes that it knows.
    pub members: Vec<MemberStatus>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemberStatus {
    /// Its id.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub address: String,
    /// The version of its software.
    pub version: String,
    /// Is there a connection?
    pub connected: bool,
    /// Does it serve clients, by its last word?
    pub serving: bool,
    /// Is it gone from the membership without having left? It may come back.
    pub expired: bool,
    /// Writes made at the node that was asked, which this one has not acknowledged.
    pub lag_effects: u64,
    /// For how long it has not acknowledged all of them.
    pub lag_milliseconds: u64,
    /// For how long nothing was heard of it.
    pub silent_milliseconds: u64,
}

impl NodeStatus {
    /// The node at this moment.
    pub fn of(state: &ServerState, now: Millis) -> NodeStatus {
        let report = state.cluster.as_ref().map(|reports| Arc::clone(&reports.borrow()));
        let keyspace = &state.keyspace;
        let keys: usize = (0..keyspace.databases()).map(|number| keyspace.size(number).0).sum();
        let connected = |thread: &ThreadStats| thread.connections.get();
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stage: stage(state.is_serving(), report.as_ref().map(|report| report.stage)).to_owned(),
            uptime_seconds: now.saturating_sub(state.started) / 1000,
            port: if state.facts.port == 0 { state.facts.tls_port } else { state.facts.port },
            clients: ClientStatus {
                connected: (0..state.stats.threads()).map(|thread| connected(state.stats.thread(thread))).sum(),
                limit: state.config.max_clients() as u64,
            },
            memory: MemoryStatus {
                used_bytes: keyspace.memory() as u64,
                limit_bytes: keyspace.memory_limit() as u64,
                resident_bytes: (state.facts.resident_memory)() as u64,
            },
            keys: keys as u64,
            cluster: report.as_deref().map(ClusterStatus::of),
        }
    }

    /// As `/status` sends it.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers always have a JSON form")
    }
}

impl ClusterStatus {
    fn of(report: &ClusterReport) -> ClusterStatus {
        ClusterStatus {
            node: report.node.to_string(),
            name: report.name.clone(),
            address: report.address.clone(),
            log_effects: report.log_effects as u64,
            log_bytes: report.log_bytes as u64,
            log_limit_bytes: report.log_limit as u64,
            waiting_effects: report.waiting_effects as u64,
            waiting_bytes: report.waiting_bytes as u64,
            metadata_bytes: report.metadata_bytes as u64,
            unmet_addresses: report.unmet as u64,
            certificate_expires_seconds: report.certificate_expires / 1000,
            members: report.members.iter().map(MemberStatus::of).collect(),
        }
    }
}

impl MemberStatus {
    fn of(member: &MemberReport) -> MemberStatus {
        MemberStatus {
            node: member.node.to_string(),
            name: member.name.clone(),
            address: member.address.clone(),
            version: member.version.clone(),
            connected: member.connected,
            serving: member.serving,
            expired: member.expired,
            lag_effects: member.lag_effects,
            lag_milliseconds: member.lag_millis,
            silent_milliseconds: member.silent_millis,
        }
    }
}

/// A node that has what its cluster has may still load its file, or wait for what its clients saw before.
fn stage(serves: bool, in_cluster: Option<Stage>) -> &'static str {
    match in_cluster {
        Some(Stage::Leaving) => "leaving",
        Some(Stage::Parting) => "parting",
        _ if serves => "serving",
        Some(Stage::Seeking) => "seeking",
        Some(Stage::CatchingUp) => "catching_up",
        Some(Stage::Serving) | None => "loading",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_stay_and_what_another_version_lacks_is_empty() {
        let member = MemberReport { name: "b".into(), lag_effects: 3, silent_millis: 40, ..MemberReport::default() };
        let report = ClusterReport { name: "a".into(), members: vec![member], ..ClusterReport::default() };
        let status = NodeStatus { cluster: Some(ClusterStatus::of(&report)), ..NodeStatus::default() };
        let expected = r#"{"version":"","stage":"","uptime_seconds":0,"port":0,"clients":{"connected":0,"limit":0},"#
            .to_owned()
            + r#""memory":{"used_bytes":0,"limit_bytes":0,"resident_bytes":0},"keys":0,"cluster":{"node":"0000000000000000","#
            + r#""name":"a","address":"","log_effects":0,"log_bytes":0,"log_limit_bytes":0,"waiting_effects":0,"#
            + r#""waiting_bytes":0,"metadata_bytes":0,"unmet_addresses":0,"certificate_expires_seconds":0,"#
            + r#""members":[{"node":"0000000000000000","#
            + r#""name":"b","address":"","version":"","connected":false,"serving":false,"expired":false,"lag_effects":3,"#
            + r#""lag_milliseconds":0,"silent_milliseconds":40}]}}"#;
        assert_eq!(status.json(), expected);
        assert_eq!(serde_json::from_str::<NodeStatus>(&expected).expect("its own form"), status);
        let other: NodeStatus = serde_json::from_str(r#"{"version":"9","cluster":{"new":1}}"#).expect("what is known");
        assert_eq!((other.version.as_str(), other.cluster), ("9", Some(ClusterStatus::default())));
    }

    #[test]
    fn who_has_what_the_cluster_has_may_still_load() {
        assert_eq!(stage(false, Some(Stage::Serving)), "loading");
        assert_eq!(stage(true, Some(Stage::Serving)), "serving");
        assert_eq!(stage(true, Some(Stage::Leaving)), "leaving");
        assert_eq!(stage(false, Some(Stage::Parting)), "parting");
        assert_eq!(stage(false, Some(Stage::CatchingUp)), "catching_up");
        assert_eq!((stage(false, None), stage(true, None)), ("loading", "serving"));
    }
}
