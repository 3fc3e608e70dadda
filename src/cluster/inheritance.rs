//! What becomes of a node's data when it has given up its identity and nobody is left who could send it a snapshot.
//!
//! Then nothing is wrong with the data: it is all that is left. The former identity plays the part of a node that serves,
//! sends its snapshot (which is in place already, so that nothing moves) and leaves. The core needs no rules of its own for
//! this: it joins a cluster, if one of a single node that was itself.

use std::time::Duration;

use super::members;
use super::runtime::ClusterLoop;
use crate::effects::NodeId;
use crate::replication::{Frame, Hello, Input, Member, SnapshotHeader, SnapshotTail, Stage};

/// How long it is borne that none of the connected peers serves. Shorter than what nodes that seek take to begin a new
/// cluster among themselves: an empty node must not win over one with data.
const PATIENCE: Duration = Duration::from_millis(250);

/// What the former identity leaves: the keyspace as it is, and this.
#[derive(Debug)]
pub(super) struct Heritage {
    pub node: NodeId,
    pub member: Member,
    pub header: SnapshotHeader,
}

impl ClusterLoop {
    /// The search found nobody.
    pub(super) fn nobody_found(&mut self) {
        if self.heritage.is_some() {
            self.inherit();
        } else {
            self.step(Input::NobodyFound);
        }
    }

    /// Looks whether there are peers, but none that could send a snapshot.
    pub(super) fn consider_inheritance(&mut self, now: Duration) {
        let report = self.heritage.is_some().then(|| self.core.report(self.now()));
        let is_unserved = report.is_some_and(|report| {
            let mut peers = report.members.iter().filter(|member| member.connected).peekable();
            peers.peek().is_some() && !peers.any(|peer| peer.serving)
        });
        if !is_unserved {
            self.unserved_since = None;
        } else if now >= *self.unserved_since.get_or_insert(now) + PATIENCE {
            self.inherit();
        }
    }

    fn inherit(&mut self) {
        let Some(Heritage { node, member, mut header }) = self.heritage.take() else { return };
        let late = self.keyspace.rename(self.node);
        self.keep_late_effects(late);
        self.is_stale = false;
        header.begin = self.keyspace.frontier();
        let seen = self.own_past.end();
        if header.begin.get(node) > 0 {
            // The core may have ended before it heard of the latest own effects.
            header.seen.retain(|(origin, _)| *origin != node);
            header.seen.push((node, seen));
        }
        tracing::warn!(node = %self.node, former = %node, "nobody else has the data: this node goes on with its own");

        let frontier = header.begin.clone();
        let hello = Hello {
            member,
            frontier: frontier.clone(),
            floor: frontier.clone(),
            archive: None,
            stage: Stage::Serving,
            departed: Vec::new(),
            participants: header.participants.clone(),
        };
        self.step(Input::Connected { peer: node });
        self.step(Input::Received { peer: node, frame: Frame::Hello(Box::new(hello)) });
        let tail = SnapshotTail { end: frontier.clone(), ..SnapshotTail::default() };
        self.step(Input::SnapshotReceived { peer: node, header, tail });
        // The former identity admits the next one. Nobody else has to know of it first.
        members::write(&self.keyspace, self.clock.wall(), self.node, &self.member);
        self.members_changed = true;
        self.step(Input::Received { peer: node, frame: Frame::Goodbye { last: frontier.get(node) } });
        self.step(Input::Disconnected { peer: node });
        self.import = super::import::Import::default();
    }
}
