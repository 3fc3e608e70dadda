//! What a node knows about its cluster, for operators (`INFO`, metrics) and for `WAIT`.

use std::collections::BTreeSet;

use super::Now;
use super::core::Core;
use super::delay::DelayHistogram;
use super::frame::Stage;
use super::peers::Said;
use crate::effects::{Frontier, NodeId};
use crate::keyspace::Millis;

/// One look at the cluster from one node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ClusterReport {
    /// This incarnation.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its cluster address.
    pub address: String,
    /// Does it serve clients?
    pub serving: bool,
    /// Where it is in its life.
    pub stage: Stage,
    /// The other nodes that it knows, by ascending id.
    pub members: Vec<MemberReport>,
    /// The seq of the latest own effect.
    pub own_seq: u64,
    /// Effects kept for peers.
    pub log_effects: usize,
    /// Their bytes.
    pub log_bytes: usize,
    /// What those may be at most.
    pub log_limit: usize,
    /// Bytes of what has left the log and is kept for nodes that may come back.
    pub archive_bytes: usize,
    /// What those may be at most.
    pub archive_limit: usize,
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
    /// Snapshots that took the place of what was here, while this node served.
    pub reconciliations: u64,
    /// Times that a peer handed over all that was lacking here, at once.
    pub handovers_received: u64,
    /// Times that this node handed over what a peer lacked.
    pub handovers_sent: u64,
    /// Times that what was kept for nodes that are away was over its limit and dropped.
    pub archives_lost: u64,
    /// Identities given up. (The runtime adds those of the cores before this one.)
    pub rebases: u64,
    /// Own effects that could not be made anew when the identity was given up: nobody else has them, and the log was too
    /// small to keep them.
    pub lost_effects: u64,
    /// Peers disconnected because of what they said.
    pub refused_peers: u64,
    /// Nodes that were given up because the log was full.
    pub forced_out: u64,
    /// Nodes that were forgotten for good because too much metadata was kept for their return.
    pub forsaken: u64,
    /// Bytes of the metadata of keys.
    pub metadata_bytes: usize,
    /// Addresses that DNS names and where nobody was met yet.
    pub unmet: usize,
    /// Everything applied here.
    pub frontier: Frontier,
    /// Everything forgotten here: effects within it can not be sent to anyone any more.
    pub floor: Frontier,
    /// How old effects of other nodes were when they were applied here, by the wall clocks. (The runtime's, as is the next.)
    pub delays: DelayHistogram,
    /// When the certificate that peers are shown expires.
    pub certificate_expires: Millis,
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
    /// The version of its software.
    pub version: String,
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
    /// For how long nothing was heard of it, also not through others.
    pub silent_millis: u64,
}

impl ClusterReport {
    /// How many other nodes have applied this node's effect `seq`.
    pub fn acknowledged(&self, seq: u64) -> usize {
        self.members.iter().filter(|member| !member.expired && member.acknowledged >= seq).count()
    }
}

impl Core {
    /// What this node knows about its cluster.
    pub fn report(&self, now: Now) -> ClusterReport {
        let own = self.options.node;
        let own_seq = self.delivery.frontier().get(own);
        let mut nodes: BTreeSet<NodeId> = self.membership.members().keys().copied().collect();
        nodes.extend(self.peers.iter().filter(|(_, state)| state.said.is_some()).map(|(&peer, _)| peer));
        nodes.extend(self.stability.remembered());
        nodes.remove(&own);
        let members = nodes.into_iter().map(|node| self.report_member(node, own_seq, now.monotonic)).collect();
        let ((log_effects, log_bytes), (waiting_effects, waiting_bytes)) = (self.log.size(), self.delivery.waiting());
        ClusterReport {
            node: own,
            name: self.options.member.name.clone(),
            address: self.options.member.address.clone(),
            serving: self.stage() == Stage::Serving,
            stage: self.stage(),
            members,
            own_seq,
            log_effects,
            log_bytes,
            log_limit: self.options.log_limit,
            archive_bytes: self.archive.bytes(),
            archive_limit: self.options.archive_limit,
            waiting_effects,
            waiting_bytes,
            effects_sent: self.counters.effects_sent,
            effects_received: self.counters.effects_received,
            duplicates: self.delivery.duplicates,
            refused_effects: self.delivery.refused,
            dropped_effects: self.delivery.dropped,
            repairs: self.counters.repairs,
            snapshots_sent: self.counters.snapshots_sent,
            snapshots_received: self.counters.snapshots_received,
            reconciliations: self.counters.reconciliations,
            handovers_received: self.counters.handovers_received,
            handovers_sent: self.counters.handovers_sent,
            archives_lost: self.counters.archives_lost,
            rebases: self.counters.rebases,
            lost_effects: self.counters.lost_effects,
            refused_peers: self.counters.refused_peers,
            forced_out: self.counters.forced_out,
            forsaken: self.counters.forsaken,
            metadata_bytes: self.stability.metadata_bytes,
            unmet: self.unmet.len(),
            frontier: self.delivery.frontier().clone(),
            floor: self.stability.floor().clone(),
            delays: DelayHistogram::default(),
            certificate_expires: 0,
        }
    }

    fn report_member(&self, node: NodeId, own_seq: u64, now: u64) -> MemberReport {
        let peer = self.peers.get(&node);
        let said = peer.and_then(|state| state.said.as_ref());
        let member = self.membership.describe(node).cloned().unwrap_or_default();
        // Who is not connected may still be known to have some of it, through others.
        let known = self.stability.claimed_by(node).map_or(0, |claim| claim.get(self.options.node));
        let known = known.max(self.delivery.known_by(node).get(self.options.node));
        let acknowledged = peer.map_or(0, |state| state.push.acknowledged()).max(known);
        MemberReport {
            node,
            name: member.name,
            address: member.address,
            version: member.version,
            connected: said.is_some(),
            expired: !self.membership.is_member(node) && said.is_none(),
            serving: said.is_some_and(Said::serves),
            acknowledged,
            lag_effects: own_seq.saturating_sub(acknowledged),
            lag_millis: peer.map_or(0, |state| state.push.lag_millis(now)),
            silent_millis: self.membership.silent_for(node, now),
        }
    }
}
