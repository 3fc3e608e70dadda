//! What a node knows about its cluster, for operators (`INFO`, metrics) and for `WAIT`.

use crate::effects::{Frontier, NodeId};

/// One look at the cluster from one node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClusterReport {
    /// This incarnation.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Does it serve clients?
    pub serving: bool,
    /// The other nodes that it knows, by ascending id.
    pub members: Vec<MemberReport>,
    /// The seq of the latest own effect.
    pub own_seq: u64,
    /// Effects kept for peers.
    pub log_effects: usize,
    /// Their bytes.
    pub log_bytes: usize,
    /// Effects that wait for others.
    pub waiting_effects: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Effects sent, repetitions and answers to requests included.
    pub effects_sent: u64,
    /// Effects received, whatever became of them.
    pub effects_received: u64,
    /// Effects received that were applied or waiting already.
    pub duplicates: u64,
    /// Effects received that may not be applied any more because their origin had seen too little.
    pub refused_effects: u64,
    /// Effects dropped from the waiting buffer because it was full.
    pub dropped_effects: u64,
    /// Ranges asked for because they did not come by themselves.
    pub repairs: u64,
    /// Snapshots that were begun to be sent.
    pub snapshots_sent: u64,
    /// Snapshots received in full.
    pub snapshots_received: u64,
    /// Identities given up. (The runtime adds those of the cores before this one.)
    pub rebases: u64,
    /// Peers disconnected because of what they said.
    pub refused_peers: u64,
    /// Nodes that were given up because the log was full.
    pub forced_out: u64,
    /// Everything applied here.
    pub frontier: Frontier,
    /// Everything forgotten here: effects within it can not be sent to anyone any more.
    pub floor: Frontier,
}

/// What is known of one other node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberReport {
    /// The incarnation.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its cluster address.
    pub address: String,
    /// Is there a connection over which it said who it is?
    pub connected: bool,
    /// Is it gone from the membership, without having left or being replaced?
    pub expired: bool,
    /// Does it serve clients, by its last word?
    pub serving: bool,
    /// Up to which of this node's own effects it has applied.
    pub acknowledged: u64,
    /// Own effects that it has not acknowledged.
    pub lag_effects: u64,
    /// For how long it has not acknowledged all own effects; 0 when it has.
    pub lag_millis: u64,
}
