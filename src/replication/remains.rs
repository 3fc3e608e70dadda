//! What an identity that is given up leaves to the next one, to be made again.
//!
//! The next identity takes a snapshot. What that lacks is made again under new names: the own effects that are in the archive and in the log, and
//! those of other nodes (who makes which is told in `legacy`). What each of them had seen goes with it, as its removals
//! are to reach that and nothing else. What later ones among them have made void is left out, as in an archive: a time to live is made again on top of
//! all that is there, whereas a removal reaches what it had seen, so that what both have done in turn is not what the original ones did. They are made again in the order of their stamps: what one had seen comes before it,
//! whoever made it.
//!
//! This module knows what there is to be made again, not who makes it, nor how.
//!
//! # Bounds
//!
//! [`Pasts`] has an entry per origin with effects in the log, of what these had seen, where it changed. [`Remains`] are parts of
//! one log and one archive, and so within their budgets, of the own effects and those of at most [`MAX_FORMER`] other nodes; at most [`MAX_HOLDERS`]
//! holders.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::archive::{Known, Reader};
use super::core::Core;
use super::rebase::SILENCE;
use super::{MAX_FORMER, Member, Stretch};
use crate::effects::{Dot, Effect, Frontier, NodeId, Rest, SeenChanges, compact};

/// The most entries of who is known to have what.
const MAX_HOLDERS: usize = 64;

/// What the effects in the log had seen.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    origins: BTreeMap<NodeId, Past>,
}

#[derive(Debug)]
struct Past {
    /// Within what the first effect of this origin in the log had seen; with its changes, all of it.
    base: Frontier,
    /// The changes of those in the log, where there are any. At most one per effect in the log.
    changes: VecDeque<(u64, SeenChanges)>,
    /// The latest effect.
    last: u64,
}

impl Pasts {
    /// An effect is appended to the log, which had seen this.
    pub(super) fn append(&mut self, effect: &Effect, seen: &Frontier) {
        let fresh = || Past { base: seen.clone(), changes: VecDeque::new(), last: 0 };
        let past = self.origins.entry(effect.dot.node).or_insert_with(fresh);
        past.last = effect.dot.seq;
        if !effect.seen_changes.is_empty() {
            past.changes.push_back((effect.dot.seq, effect.seen_changes.clone()));
        }
    }

    /// Everything within `floor` has left the log.
    pub(super) fn trim(&mut self, floor: &Frontier) {
        self.origins.retain(|&node, past| {
            let upto = floor.get(node);
            while let Some((at, changes)) = past.changes.front()
                && *at <= upto
            {
                for &(node, seen) in changes {
                    past.base.raise(node, seen);
                }
                past.changes.pop_front();
            }
            past.last > upto
        });
    }

    /// Adds to each of these effects, which are the first ones or all that the log has of their origins, in its order, what it had seen.
    pub(super) fn complete(&self, effects: Vec<Bytes>) -> Vec<(Effect, Frontier)> {
        let mut seen: BTreeMap<NodeId, Frontier> = BTreeMap::new();
        let each = effects.into_iter().map(|encoded| {
            let effect = Effect::decode(encoded).expect("what is in the log was decoded before");
            let Dot { node, seq } = effect.dot;
            let base = || self.origins.get(&node).map_or(Frontier::EMPTY, |past| past.base.clone());
            let seen = seen.entry(node).or_insert_with(base);
            for &(node, seq) in &effect.seen_changes {
                seen.raise(node, seq);
            }
            seen.set(node, seq - 1);
            let seen = seen.clone();
            (effect, seen)
        });
        each.collect()
    }
}

/// Effects that are to be made again as far as they are lacking then, and what each of them had seen.
#[derive(Debug, Default)]
pub struct Remains {
    effects: Vec<(Effect, Frontier)>,
    /// Which effects of own identities that ended and of other nodes are among these.
    legacy: BTreeMap<NodeId, Stretch>,
    /// Which effects of nodes were made again before; the latest last. These are own ones since then.
    made: Vec<Stretch>,
    /// Up to which seq effects of own identities had left the log; the latest last.
    forgotten: Vec<(NodeId, u64)>,
    holders: Vec<Holder>,
    absent: BTreeMap<NodeId, Absent>,
}

/// Effects that are to be made again as far as they are lacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Whose effects.
    pub(super) origin: NodeId,
    /// Up to which seq.
    pub(super) upto: u64,
    /// But for these, which others have made again.
    pub(super) made: Vec<Stretch>,
}

impl Again {
    pub(super) fn includes(&self, dot: Dot) -> bool {
        let is_made = || self.made.iter().any(|made| dot.seq > made.after && dot.seq <= made.upto);
        dot.node == self.origin && dot.seq <= self.upto && !is_made()
    }
}

/// A node that is known to have effects that might be made again.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// Who has them.
    pub(super) node: NodeId,
    /// Whose effects.
    pub(super) origin: NodeId,
    /// Up to which seq.
    pub(super) upto: u64,
}

/// A member that may only be cut off, whose effects might be made again, or who has such effects. The cluster that the next identity joins need not
/// know of it.
#[derive(Clone, Debug)]
pub struct Absent {
    /// Where its peers reach it.
    pub(super) address: String,
    /// When it started.
    pub(super) started: u64,
}

impl Remains {
    /// Is nothing left to be made again?
    pub fn is_settled(&self) -> bool {
        self.effects.is_empty()
    }

    /// The names of the effects.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.effects.iter().map(|(effect, _)| effect.dot)
    }

    /// For [`super::CoreOptions::legacy`] of the next identity.
    pub fn legacy(&self) -> Vec<Stretch> {
        self.legacy.values().copied().collect()
    }

    /// For [`super::CoreOptions::holders`] of the next identity.
    pub fn holders(&self) -> Vec<Holder> {
        self.holders.clone()
    }

    /// For [`super::CoreOptions::absent`] of the next identity.
    pub fn absent(&self) -> BTreeMap<NodeId, Absent> {
        self.absent.clone()
    }

    /// For [`super::Member::legacy`] of the next identity.
    pub fn made(&self) -> Vec<Stretch> {
        self.made.clone()
    }

    /// For [`super::Member::forgotten`] of the next identity.
    pub fn forgotten(&self) -> Vec<(NodeId, u64)> {
        self.forgotten.clone()
    }

    /// Adds what a later identity leaves.
    pub fn join(&mut self, later: Remains) {
        self.effects.extend(later.effects);
        for (node, stretch) in later.legacy {
            self.legacy.entry(node).or_insert(stretch).join(stretch);
        }
        while self.legacy.len() > MAX_FORMER
            && let Some(&least) = self.legacy.keys().next()
        {
            self.forgo(least);
        }
        self.made = later.made;
        self.forgotten.extend(later.forgotten);
        let old = self.forgotten.len().saturating_sub(MAX_FORMER);
        self.forgotten.drain(..old);
        self.holders.extend(later.holders);
        let old = self.holders.len().saturating_sub(MAX_HOLDERS);
        self.holders.drain(..old);
        self.absent.extend(later.absent);
        let is_needed =
            |node: &NodeId| self.legacy.contains_key(node) || self.holders.iter().any(|holder| holder.node == *node);
        self.absent.retain(|node, _| is_needed(node));
    }

    /// Adds an own effect that was committed when the core of its identity had ended.
    pub fn add_late(&mut self, effect: Effect, seen: Frontier) {
        let Dot { node: origin, seq } = effect.dot;
        let stretch = Stretch { origin, after: seq - 1, upto: seq };
        self.legacy.entry(origin).or_insert(stretch).join(stretch);
        self.effects.push((effect, seen));
    }

    /// Adds effects that were made again under the identity that has just ended, when its core had ended.
    pub fn add_made(&mut self, effects: Vec<Effect>) {
        let mut reader = Reader::default();
        for effect in effects {
            let seen = reader.seen_of(&effect);
            self.add_late(effect, seen);
        }
    }

    /// Takes out what is to be made again now, in the order of stamps: of these effects those that are not within `applied`. If there are none, what is within
    /// stays: it may be nowhere else.
    pub fn take(&mut self, again: &[Again], applied: &Frontier) -> Vec<(Effect, Frontier)> {
        let is_decided = |node: NodeId| again.iter().any(|again| again.origin == node);
        // What was made again before may have come as the original, too.
        let is_there = |effect: &Effect| applied.includes(effect.dot) || applied.includes(effect.original());
        let is_lacking = |effect: &Effect| !is_there(effect) && again.iter().any(|again| again.includes(effect.dot));
        self.legacy.retain(|&node, _| !is_decided(node));
        if !self.effects.iter().any(|(effect, _)| is_lacking(effect)) {
            self.effects.retain(|(effect, _)| !is_decided(effect.dot.node) || applied.includes(effect.dot));
            return Vec::new();
        }
        self.holders.clear();
        let effects = std::mem::take(&mut self.effects);
        let (due, kept): (Vec<_>, Vec<_>) = effects.into_iter().partition(|(effect, _)| is_decided(effect.dot.node));
        self.effects = kept;
        let mut due: Vec<_> = due.into_iter().filter(|(effect, _)| is_lacking(effect)).collect();
        // What one had seen has a lower stamp. Of effects that had not seen each other stamps decide who wins and what comes first;
        // made again in this order, they decide alike.
        due.sort_by_key(|(effect, _)| effect.stamp());
        due
    }

    /// The effects of this node are made again elsewhere.
    pub fn forgo(&mut self, origin: NodeId) {
        self.effects.retain(|(effect, _)| effect.dot.node != origin);
        self.legacy.remove(&origin);
    }

    /// What is applied here, others have as well.
    pub fn forget(&mut self, applied: &Frontier) {
        self.effects.retain(|(effect, _)| !applied.includes(effect.dot));
        self.legacy.retain(|&node, stretch| stretch.upto > applied.get(node));
        self.holders.clear();
    }
}

impl Core {
    /// What is known of another node, if it may only be cut off.
    fn absent(&self, node: NodeId) -> Option<Absent> {
        if node == self.options.node || !self.may_be_cut_off(self.joining.given_up_at, node) {
            return None;
        }
        let of_member = |member: &Member| Absent { address: member.address.clone(), started: member.started };
        self.membership.describe(node).map(of_member).or_else(|| self.legacy.absent(node).cloned())
    }

    /// What is to be made again, as far as it is lacking then, now that this identity has been given up: the own effects in the log,
    /// and those of other nodes; as far as they are there and matter.
    pub fn remains(&self) -> Remains {
        let own = self.options.node;
        let is_heard = |node| self.membership.silent_for(node, self.joining.given_up_at) < SILENCE;
        let is_there = |node: NodeId| self.peers.contains_key(&node) && is_heard(node);
        let mut joinable = Frontier::EMPTY;
        for (_, said) in self.serving_peers().filter(|(peer, _)| !self.is_on_losing_side(*peer)) {
            joinable.join(&said.frontier);
        }
        // Rather those of nodes that are gone, and of them those that nobody seems to have. Who is still there may be gone a moment later.
        let floor = self.archive.floor();
        let mut effects = self.known_beyond(floor).expect("the archive begins at its floor");
        let others = effects.iter().map(|(effect, _)| effect.dot.node).filter(|&node| node != own);
        let others: BTreeSet<NodeId> = others.collect();
        let upto = |node| (node, self.delivery.frontier().get(node));
        let mut logged: Vec<(NodeId, u64)> = others.into_iter().map(upto).collect();
        logged.sort_by_key(|&(node, upto)| (is_there(node), Reverse(upto.saturating_sub(joinable.get(node))), node));
        logged.truncate(MAX_FORMER - 1);
        let stretch = |(origin, upto)| (origin, Stretch { origin, after: floor.get(origin), upto });
        let legacy: BTreeMap<NodeId, Stretch> = logged.into_iter().chain([upto(own)]).map(stretch).collect();

        effects.retain(|(effect, _)| legacy.contains_key(&effect.dot.node));
        let rests = compact(&effects, floor);
        let still_matters = |((effect, seen), rest): (Known, Rest)| match rest {
            Rest::All => Some((effect, seen)),
            Rest::Some(body) => Some((effect.with_operations(&body), seen)),
            Rest::None => None,
        };
        let effects = effects.into_iter().zip(rests).filter_map(still_matters).collect();
        let mut holders = Vec::new();
        for origin in legacy.keys().copied() {
            let claims = self.stability.remembered().filter_map(|node| Some((node, self.stability.claimed_by(node)?)));
            let has = claims.map(|(node, claim)| Holder { node, origin, upto: claim.get(origin) });
            holders.extend(has.filter(|holder| holder.upto > floor.get(origin)));
        }
        holders.truncate(MAX_HOLDERS);
        let mentioned = legacy.keys().copied().chain(holders.iter().map(|holder| holder.node));
        let absent = mentioned.filter_map(|node| Some((node, self.absent(node)?))).collect();
        let (made, forgotten) = (self.options.member.legacy.clone(), vec![(own, floor.get(own))]);
        Remains { effects, legacy, made, forgotten, holders, absent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Reach;

    #[test]
    fn what_is_there_as_the_original_is_not_made_again_once_more() {
        let [owner, name] = [NodeId(1), NodeId(7)];
        let copy = |seq: u64, original: u64| {
            let original = Dot { node: owner, seq: original };
            let reach = Reach { frontier: Frontier::EMPTY, stable: false, original };
            let mut encoded = Vec::new();
            Effect::encode(&mut encoded, Dot { node: name, seq }, seq, &[], Some(&reach), &[]);
            Effect::decode(Bytes::from(encoded)).expect("well formed")
        };
        let mut remains = Remains::default();
        remains.add_made(vec![copy(1, 4), copy(2, 5), copy(3, 6)]);
        let again = [Again { origin: name, upto: 3, made: Vec::new() }];
        let applied: Frontier = [(owner, 5)].into_iter().collect();
        let taken = remains.take(&again, &applied);
        assert_eq!(taken.iter().map(|(effect, _)| effect.original().seq).collect::<Vec<_>>(), [6]);
        assert!(remains.is_settled());
    }
}
