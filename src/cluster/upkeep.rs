//! What the loop does a little of in each turn: forgetting stable metadata, and telling the rest of the process how the
//! cluster is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::members;
use super::runtime::ClusterLoop;
use crate::effects::{Frontier, NodeId};
use crate::keyspace::Keyspace;
use crate::replication::{ClusterReport, DelayHistogram, Member};

/// How many shards are folded in one turn.
const FOLDS_PER_TURN: usize = 16;

/// A report comes at least this often.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// And at most this often, when acknowledgements arrive: somebody may wait for them.
const SHORTEST_REPORT_INTERVAL: Duration = Duration::from_millis(1);

/// How often the age of the certificate is looked at.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// A walk over all shards that drops what is stable.
#[derive(Debug, Default)]
pub(super) struct Folding {
    stable: Frontier,
    next: usize,
    left: usize,
}

impl Folding {
    /// Up to here metadata may go. Shards that the walk before has not reached yet, this one reaches.
    pub fn begin(&mut self, stable: Frontier) {
        self.stable = stable;
        self.left = Keyspace::SHARDS;
    }

    /// Forgets about it: the keyspace starts over.
    pub fn cancel(&mut self) {
        *self = Folding::default();
    }

    /// Is there more to do?
    pub fn is_pending(&self) -> bool {
        self.left > 0
    }

    /// Folds a few shards.
    pub fn advance(&mut self, keyspace: &Keyspace) {
        for _ in 0..FOLDS_PER_TURN.min(self.left) {
            keyspace.fold(self.next, &self.stable);
            self.next = (self.next + 1) % Keyspace::SHARDS;
            self.left -= 1;
        }
    }
}

/// The reports, and what they add to what the core knows.
#[derive(Debug)]
pub(super) struct Reports {
    published: watch::Sender<Arc<ClusterReport>>,
    last: Duration,
    acknowledged: u64,
    /// What others wait for may have changed: acknowledgements came in, or serving began or ended.
    pub urgent: bool,
    /// Identities given up.
    pub rebases: u64,
    /// Peers that sent what cannot be read.
    pub violations: u64,
    /// Effect frames that did not fit into a queue.
    pub dropped_frames: u64,
    /// Peers refused by the meshes of former identities.
    pub refused_before: u64,
    /// How old effects of other nodes were when they were applied here.
    pub delays: DelayHistogram,
    next_renewal_check: Duration,
}

impl Reports {
    /// Into this channel.
    pub fn new(published: watch::Sender<Arc<ClusterReport>>) -> Reports {
        Reports {
            published,
            last: Duration::ZERO,
            acknowledged: 0,
            urgent: true,
            rebases: 0,
            violations: 0,
            dropped_frames: 0,
            refused_before: 0,
            delays: DelayHistogram::default(),
            next_renewal_check: Duration::ZERO,
        }
    }

    /// When the next report is due.
    pub fn next_due(&self) -> Option<Duration> {
        Some(self.last + if self.urgent { SHORTEST_REPORT_INTERVAL } else { REPORT_INTERVAL })
    }
}

impl ClusterLoop {
    /// Publishes a report when one is due: somebody may wait for acknowledgements, nobody waits for the rest of it.
    pub(super) fn publish(&mut self) {
        let now = self.clock.monotonic();
        if self.reports.next_due().is_some_and(|due| now < due) {
            return;
        }
        let report = self.report();
        let acknowledged = report.members.iter().map(|member| member.acknowledged).sum();
        if report.serving && acknowledged > 0 {
            self.forget_remains();
        }
        let reports = &mut self.reports;
        let news = reports.acknowledged != acknowledged || reports.published.borrow().serving != report.serving;
        if std::mem::take(&mut reports.urgent) && !news {
            return;
        }
        reports.acknowledged = acknowledged;
        reports.last = now;
        reports.published.send_replace(Arc::new(report));
    }

    /// What the core knows, and what it cannot know.
    pub(super) fn report(&self) -> ClusterReport {
        let mut report = self.core.report(self.now());
        report.serving = *self.serving.borrow();
        report.rebases += self.reports.rebases;
        report.refused_peers += self.reports.refused_before + self.reports.violations + self.mesh.refused();
        report.delays.clone_from(&self.reports.delays);
        report.certificate_expires = self.mesh.certificate_expires();
        report
    }

    /// All members, after something changed. Takes note of which share of the common work falls to this node.
    pub(super) fn read_members(&mut self) -> BTreeMap<NodeId, Member> {
        let members = members::read(&self.keyspace, self.clock.wall());
        let rank = members.keys().position(|node| *node == self.node);
        let (rank, count) = rank.map_or((0, 1), |rank| (rank, members.len()));
        self.keyspace.set_share(to_u32(rank), to_u32(count));
        members
    }

    /// Replaces the certificate in good time.
    pub(super) fn renew_certificate(&mut self, now: Duration) {
        if now < self.reports.next_renewal_check {
            return;
        }
        self.reports.next_renewal_check = now + RENEWAL_INTERVAL;
        self.mesh.renew_certificate();
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
