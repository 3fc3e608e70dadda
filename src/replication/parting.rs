//! The last moments of an identity that is given up.
//!
//! Of a group of nodes that has to give way to another cluster, one makes the effects of all anew (see `legacy`). Best it has all
//! of them: what it lacks, its owner makes later, and cannot tell what that had seen of the rest under the names that the rest has
//! by then. So each of the group lets its clients wait, makes no effects any more and says so, and goes when all of the group that it
//! can reach say the same, and have the same. Nodes of one side of a split notice at about the same time that they have to give way;
//! if one does not, since it cannot reach the winners, the others go without it after [`PATIENCE`].
//!
//! If the reason passes meanwhile, the node stays, and goes on serving.
//!
//! This module knows nothing of reasons and of winners but who else has to give way.

use super::Output;
use super::core::Core;
use super::frame::Stage;
use super::rebase::SILENCE;

/// How long a node waits for the others of its group, in milliseconds: clients wait as long.
const PATIENCE: u64 = 3_000;

impl Core {
    /// Everything speaks for giving this identity up. Is that everything its group has? From the first question on clients wait.
    pub(super) fn may_part(&mut self, now: u64, out: &mut Vec<Output>) -> bool {
        let Some(since) = self.joining.parting_since else {
            self.joining.parting_since = Some(now);
            out.push(Output::Part);
            return false;
        };
        now >= since + PATIENCE || self.is_group_even(now)
    }

    /// This identity is not given up after all.
    pub(super) fn stay(&mut self, out: &mut Vec<Output>) {
        if self.joining.parting_since.take().is_some() {
            out.push(Output::Stay);
        }
    }

    /// Is this node about to give up its identity? Then it makes no effects.
    pub(super) fn is_parting(&self) -> bool {
        self.joining.parting_since.is_some()
    }

    fn is_group_even(&self, now: u64) -> bool {
        let is_heard = |peer| self.membership.silent_for(peer, now) < SILENCE;
        let mut group = self.serving_peers().filter(|(peer, _)| is_heard(*peer) && self.is_on_losing_side(*peer));
        group.all(|(_, said)| said.stage == Stage::Parting && said.frontier == self.claimed)
    }
}
