//! Leaving the cluster gracefully: this node's membership entry goes, the peers get everything they lack, then farewell.

use std::time::Duration;

use tokio::sync::oneshot;

use super::members;
use super::runtime::ClusterLoop;
use crate::replication::Input;

/// How long the peers have to acknowledge the last effects.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(2);

/// How long the farewell has to arrive.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// While leaving, the loop looks at its peers this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How far the node is on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    stage: Stage,
    /// When this stage ends, whatever the peers say.
    until: Duration,
    look_at: Duration,
    done: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Connected peers are to acknowledge everything.
    Pushing,
    /// The farewell is on its way.
    Parting,
    /// Nothing is left to do.
    Gone,
}

impl ClusterLoop {
    /// Begins to leave. `done` is told when the node has left.
    pub(super) fn begin_to_leave(&mut self, done: oneshot::Sender<()>) {
        if let Some(leaving) = &mut self.leaving {
            return leaving.done.push(done);
        }
        let now = self.clock.monotonic();
        let until = now + ACKNOWLEDGE_TIME;
        self.leaving = Some(Leaving { stage: Stage::Pushing, until, look_at: now, done: vec![done] });
        if !self.keyspace.is_loading() && members::remove(&self.keyspace, self.clock.wall(), self.node) {
            self.members_changed = true;
        }
    }

    /// Goes on with leaving.
    pub(super) fn advance_leaving(&mut self, now: Duration) {
        let Some(leaving) = &self.leaving else { return };
        let (stage, over) = (leaving.stage, leaving.until <= now);
        let next = match stage {
            Stage::Pushing if over || self.is_everything_acknowledged() => {
                self.step(Input::Leave);
                self.mesh.links().for_each(super::peer::Link::finish);
                Stage::Parting
            }
            Stage::Parting if over || self.mesh.links().all(super::peer::Link::is_finished) => Stage::Gone,
            same => same,
        };
        if let Some(leaving) = &mut self.leaving {
            leaving.look_at = now + LOOK_INTERVAL;
            if next != stage {
                leaving.stage = next;
                leaving.until = now + FAREWELL_TIME;
            }
        }
    }

    /// When to look at the peers again.
    pub(super) fn leaving_due(&self) -> Option<Duration> {
        self.leaving.as_ref().map(|leaving| leaving.look_at)
    }

    /// Has the last word been said?
    pub(super) fn is_parting(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.stage != Stage::Pushing)
    }

    /// Is nothing left to do?
    pub(super) fn has_left(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.stage == Stage::Gone)
    }

    /// Closes everything and tells those who wait.
    pub(super) async fn say_goodbye(mut self) {
        self.mesh.close("it left the cluster").await;
        tracing::info!(node = %self.node, "left the cluster");
        for done in self.leaving.into_iter().flat_map(|leaving| leaving.done) {
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    }

    fn is_everything_acknowledged(&self) -> bool {
        let report = self.core.report(self.now());
        report.members.iter().all(|member| !member.connected || member.acknowledged >= report.own_seq)
    }
}
