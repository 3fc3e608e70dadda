//! All that a peer lacks, at once: what this node's archive and log have of it, handed over as a whole.
//!
//! Who comes back after a long time may lack what has left the log of everybody else, while others lack what has left its own. What
//! still matters of that is in the archives (see `archive`), which can only be had as a whole: so the peer asks for everything beyond its
//! frontier, and applies it at once, between two writes of its clients. It goes on as what it is, with all that it has. The other
//! side does the same with it in turn, if it lacks something.
//!
//! # Why that is exact
//!
//! Everything handed over has seen all that is folded here, or nothing of it is applied; it comes in a causal order; and what is left out
//! makes no difference as soon as all of it is applied (`effects::compaction`), which is the next thing that anybody sees. So this node is
//! where it would be had it got each effect in its turn.
//!
//! The log cannot hold what came in this way, as it is not complete. It begins behind it; the archive takes it, for others.
//!
//! Who gets a handover is a member first, as with a snapshot (see `joining`): then nobody on the sender's side forgets what it will not have seen.
//!
//! # Bounds
//!
//! As a tail of a snapshot: at most [`MAX_TAIL_BYTES`], at both ends. One handover at a time comes in. While it is applied nobody writes,
//! which takes 5 to 10 µs for each effect.

use bytes::Bytes;

use super::Output;
use super::archive::{Known, Reader, Writer};
use super::core::Core;
use super::delivery::Delivery;
use super::joining::Phase;
use super::peers::{Violation, check_frontier};
use super::snapshot::{MAX_TAIL_BYTES, SnapshotHeader, SnapshotTail, tail_cost};
use crate::effects::{Effect, Frontier, NodeId};

impl Core {
    /// A peer asks for all that it lacks.
    pub(super) fn received_handover_request(
        &mut self,
        peer: NodeId,
        attempt: u32,
        beyond: Frontier,
    ) -> Result<(), Violation> {
        check_frontier(&beyond)?;
        if let Some(state) = self.peers.get_mut(&peer)
            && state.handed_over < attempt
        {
            state.wants_handover = Some((attempt, beyond));
        }
        Ok(())
    }

    /// Hands over what was asked for. Only right after all local effects were handed to the core, as with snapshots.
    pub(super) fn start_handovers(&mut self, out: &mut Vec<Output>) {
        if self.joining.phase != Phase::Serving || self.claimed != *self.delivery.frontier() {
            return;
        }
        let membership = &self.membership;
        let wanted = self.peers.iter_mut().filter(|(peer, _)| membership.is_member(**peer));
        let wanted: Vec<_> = wanted
            .filter_map(|(&peer, state)| {
                let (attempt, beyond) = state.wants_handover.take()?;
                state.handed_over = attempt;
                Some((peer, beyond))
            })
            .collect();
        for (peer, beyond) in wanted {
            let mut header = self.snapshot_header();
            header.participants.retain(|&node| node != peer);
            let effects = self.beyond(&beyond);
            if effects.is_some() {
                self.stability.count_again(peer);
                self.counters.handovers_sent += 1;
            }
            out.push(Output::HandOver { peer, header, effects });
        }
    }

    /// Where the archive begins, if before the log.
    pub(super) fn archive_before_log(&self) -> Option<Frontier> {
        let archive = self.archive.floor();
        (archive != self.stability.floor()).then(|| archive.clone())
    }

    /// All that matters beyond `begin`, each effect listing what its origin had seen since the one before. None when it is
    /// not to be had.
    fn beyond(&self, begin: &Frontier) -> Option<Vec<Bytes>> {
        let known = self.known_beyond(begin)?;
        let mut writer = Writer::default();
        let mut total = 0usize;
        let mut effects = Vec::with_capacity(known.len());
        for (effect, seen) in &known {
            let encoded = writer.write(effect, seen, effect.body());
            total = total.saturating_add(tail_cost(&encoded));
            effects.push(encoded);
        }
        (total <= MAX_TAIL_BYTES).then_some(effects)
    }

    /// The same, each effect with all that its origin had seen.
    pub(super) fn known_beyond(&self, begin: &Frontier) -> Option<Vec<Known>> {
        let mut known = self.archive.beyond(begin)?;
        let logged = self.past.complete(self.log.all());
        known.extend(logged.into_iter().filter(|(effect, _)| !begin.includes(effect.dot)));
        Some(known)
    }

    /// What was asked for is here.
    pub(super) fn handover_received(
        &mut self,
        now: u64,
        peer: NodeId,
        header: SnapshotHeader,
        tail: SnapshotTail,
        out: &mut Vec<Output>,
    ) {
        if self.joining.phase != Phase::Serving || !self.reconciliation.waits_for_handover_of(peer) {
            return;
        }
        let followed = match self.follow_handover(&header, tail) {
            Ok(followed) => followed,
            Err(reason) => return self.refuse(now, peer, reason, out),
        };
        let Some((delivery, effects)) = followed else { return self.reconciliation.handover_in_vain(peer) };
        self.joining.hopeless = None;
        self.counters.handovers_received += 1;
        let (archived, frontier) = (effects.clone(), delivery.frontier().clone());
        self.include_participants(&header.participants, &header.forced_out);
        self.begin_log_where_that_began(&header.begin, out);
        self.put_into_archive(archived, out);
        for (effect, _) in &effects {
            self.membership.heard(effect.dot.node, now);
        }
        self.delivery.take_over(delivery);
        // All effects of this node are among these, and the next one has seen them all.
        self.claimed.clone_from(self.delivery.frontier());
        self.reconciliation.is_over(self.delivery.frontier());
        out.push(Output::ApplyTogether { effects, frontier });
        self.release(now, out);
        self.enforce_log_limit(out);
    }

    /// Where this node is when all that is applied, and what that is. None when some of it had not seen what is folded here.
    fn follow_handover(
        &self,
        header: &SnapshotHeader,
        tail: SnapshotTail,
    ) -> Result<Option<(Delivery, Vec<Known>)>, Violation> {
        self.check_header(header)?;
        check_frontier(&tail.end)?;
        if tail.end != header.begin {
            return Err("a handover that does not lead to its end");
        }
        let mut delivery = Delivery::at(self.delivery.frontier(), self.delivery.last_seen().clone());
        let mut reader = Reader::default();
        let mut effects = Vec::with_capacity(tail.effects.len());
        for encoded in tail.effects {
            let effect = Effect::decode(encoded).map_err(|_| "a malformed effect")?;
            self.check_effect(&effect)?;
            let seen = reader.seen_of(&effect);
            if !header.begin.includes(effect.dot) || !seen.within(&header.begin) {
                return Err("a handover with more than it says");
            }
            if self.delivery.frontier().includes(effect.dot) {
                // It has come in another way meanwhile.
                continue;
            }
            if delivery.frontier().includes(effect.dot) {
                return Err("a handover with an effect that it has already");
            }
            if !delivery.skip_to(&effect, &seen, self.stability.folded()) {
                return Ok(None);
            }
            effects.push((effect, seen));
        }
        delivery.skip_rest(&header.begin, header.seen.iter().map(|(origin, seen)| (origin, seen)));
        Ok(Some((delivery, effects)))
    }
}
