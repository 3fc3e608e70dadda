//! Who makes effects again, when those who have them give up their identities.
//!
//! A group of nodes can have to give way to another cluster as a whole (see `rebase`). Its effects have to be made again: each exactly once, as
//! effects made again twice count twice, and best by one node in one row, as that one knows what each of them had seen of the others
//! (see `effects::Reissue`). Each node of the group has its own, and those of the others as far as they had come to it. It says which
//! ([`Member::legacy`]), in its first word under its new name and in
//! the entry of the membership by which it is admitted. Admission comes before the snapshot, and from the end of that until it decides a node
//! waits a little, so that those who give way at about the same time know of each other; and for those of the group that have yet to give way.
//! Then, for each origin:
//!
//! 1. What is here under its own name is here: peers may have had it all the same. What a peer that serves has under its own name is on its way.
//! 2. A member that serves and says that it has made it anew did. So did a later identity of the node itself, if there is one that
//!    serves, or knows who did, but for what had left its log ([`Member::forgotten`]).
//!    So may have a peer that serves and whose entry is yet to come here: that is waited for.
//! 3. Of those that join and have of it what was not made anew, that one makes it which has most of all; of several the one with the lowest id. Should that
//!    one go before it serves, its entry expires, and the next one does it. What only others have of an origin they make when it serves.
//! 4. A node of which somebody has heard lately may only be cut off, and bring its effects itself. It is waited for until it expires; one of which only
//!    this node had heard, under its former name, for as long as a member takes to expire ([`super::Absent`]).
//! 5. Else it is this node that makes them anew.
//!
//! Nor is anything made anew, of this node or of another, while somebody is known to have it under its own name who may only be cut off.
//!
//! A node that is gone may come back all the same. If it has to give up its identity, it makes only those of its effects anew that
//! no member says it has made. If it has not, because the others can apply its effects by then, these count twice.
//!
//! Clients wait for the first decision, and until this node's own effects are here again, whoever makes them. A
//! node that serves looks again and again at what it left to others.
//!
//! This module decides from what nodes say. It knows no effect.
//!
//! # Bounds
//!
//! At most [`MAX_FORMER`] origins. Clients wait as long as a member takes to expire, and not for what others left to others.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::core::Core;
use super::frame::Stage;
use super::joining::Phase;
use super::peers::{MAX_SEQ, Said};
use super::{Absent, Again, Holder, MAX_FORMER, Member, Output, Stretch};
use crate::effects::NodeId;

/// From the moment when everything else is here until a node that joins decides, in milliseconds: others may be about to say that
/// they have the same effects.
const PAUSE: u64 = 1_500;

/// The origins whose effects this node could make again.
#[derive(Debug)]
pub(super) struct Legacy {
    /// Undecided, or left to others.
    pending: Vec<Stretch>,
    /// Who may only be cut off,
    absent: BTreeMap<NodeId, Absent>,
    /// until so late.
    absent_until: u64,
}

/// What becomes of the effects of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// They are here under their own names.
    Here,
    /// Another node has made them again.
    Made,
    /// Another node will make or bring them.
    Left,
    /// The node may be alive.
    Unknown,
    /// This node makes these again.
    Ours(Again),
}

impl Legacy {
    pub(super) fn new(pending: &[Stretch], absent: BTreeMap<NodeId, Absent>, absent_until: u64) -> Self {
        Legacy { pending: pending.iter().copied().take(MAX_FORMER).collect(), absent, absent_until }
    }

    /// What is known of a node that was a member where this one comes from, and may only be cut off.
    pub(super) fn absent(&self, node: NodeId) -> Option<&Absent> {
        self.absent.get(&node)
    }

    /// The nodes that are not decided on.
    pub(super) fn pending(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.pending.iter().map(|stretch| stretch.origin)
    }
}

impl Core {
    /// This node's entry as it is told to others while it joins.
    pub(super) fn introduction(&self) -> Member {
        let mut member = self.options.member.clone();
        self.legacy.pending.iter().for_each(|&stretch| member.made_again(stretch));
        member
    }

    fn fate(&self, now: u64, stretch: Stretch) -> Fate {
        let origin = stretch.origin;
        let here = self.delivery.frontier().get(origin);
        if here >= stretch.upto {
            return Fate::Here;
        }
        let own = self.options.node;
        let others = || self.membership.members().iter().filter(|(node, _)| **node != own);
        let made = self.made_of(origin);
        // What the node itself could not make anew any more, as it was not in its log, others may still have.
        let itself = others().filter(|(_, member)| member.serving).filter_map(|(_, member)| member.makes_after(origin));
        let upto = stretch.upto.min(itself.max().unwrap_or(stretch.upto));
        let is_lacking = |stretch: Stretch| has_more(stretch, here, &made);
        if !is_lacking(Stretch { upto, ..stretch }) {
            return Fate::Made;
        }
        let mine = rank(own, &self.introduction());
        let comes_first =
            |node: NodeId, member: &Member| member.stretches(origin).any(is_lacking) && rank(node, member) > mine;
        let joins = |stage: Stage| matches!(stage, Stage::Seeking | Stage::CatchingUp);
        let mut said = self.peers.iter().filter_map(|(&peer, state)| Some((peer, state.said.as_ref()?)));
        // An identity that ended before it served, of this node or of another, is still a member until it expires.
        let is_superseded = |member: &Member| {
            let mut later = others().map(|(_, other)| other).chain([&self.options.member]);
            later.any(|other| other.address == member.address && other.started > member.started)
        };
        let will = |node: NodeId, member: &Member| comes_first(node, member) && !is_superseded(member);
        // Who has begun to serve may have made them; its entry says so, and is yet to come.
        let may_have = |peer: NodeId, said: &Said| {
            let is_known = self.membership.members().get(&peer).is_some_and(|member| member.serving);
            said.serves() && !is_known && said.member.stretches(origin).any(is_lacking)
        };
        // Who has them under their own names will bring them: what exists is not made twice.
        let is_on_its_way = self.serving_peers().any(|(_, said)| said.frontier.get(origin) > here);
        let is_left = is_on_its_way
            || self.peers.contains_key(&origin)
            || others().any(|(&node, member)| !member.serving && will(node, member))
            || said.any(|(peer, said)| may_have(peer, said) || joins(said.stage) && comes_first(peer, &said.member));
        if is_left {
            Fate::Left
        } else if self.may_be_cut_off(now, origin) {
            Fate::Unknown
        } else {
            Fate::Ours(Again { origin, upto, made })
        }
    }

    /// The fates of all that is pending, which is to be decided on now.
    fn take_fates(&mut self, now: u64) -> Vec<(Stretch, Fate)> {
        let fates = self.legacy.pending.iter().map(|&stretch| (stretch, self.fate(now, stretch)));
        let fates = fates.collect();
        self.legacy.pending.clear();
        fates
    }

    /// Which effects of this node members that serve say they have made anew.
    fn made_of(&self, origin: NodeId) -> Vec<Stretch> {
        let others = self.membership.members().iter().filter(|(node, _)| **node != self.options.node);
        others.filter(|(_, member)| member.serving).flat_map(|(_, member)| member.stretches(origin)).collect()
    }

    /// Can this node tell what it has to make again? It has had everything else since then.
    pub(super) fn has_decided(&self, now: u64, since: u64) -> bool {
        let fates = || self.legacy.pending.iter().map(|&stretch| (stretch.origin, self.fate(now, stretch)));
        let is_here = |fate: &Fate| matches!(fate, Fate::Here | Fate::Made);
        let may_serve = |origin, fate: &Fate| *fate != Fate::Unknown && (*fate != Fate::Left || !self.is_own(origin));
        let is_settled = fates().all(|(_, fate)| is_here(&fate))
            || (now >= since + PAUSE && fates().all(|(origin, fate)| may_serve(origin, &fate)));
        // The last of a group to give way has all that the others have, but not the other way round.
        let is_group_here = self.legacy.pending.is_empty()
            || now >= since + 2 * self.options.rebase_grace
            || !self.serving_peers().any(|(peer, _)| self.is_on_losing_side(peer));
        let are_met = self.options.holders.iter().all(|holder| self.is_met_or_gone(now, holder));
        (is_settled && are_met && is_group_here) || now >= since + self.options.expiry + self.options.rebase_grace
    }

    /// Does this node have what the holder has, or learn of it from the holder, or can the holder not bring it any more?
    fn is_met_or_gone(&self, now: u64, holder: &Holder) -> bool {
        let node = holder.node;
        self.delivery.frontier().get(holder.origin) >= holder.upto
            || self.peers.get(&node).is_some_and(|state| state.said.is_some())
            || !self.may_be_cut_off(now, node)
    }

    /// Is this a node that somebody has heard of lately, that was not replaced, and has not given up its identity?
    pub(super) fn may_be_cut_off(&self, now: u64, node: NodeId) -> bool {
        let said = || self.peers.values().filter_map(|state| state.said.as_ref()).map(|said| &said.member);
        let known = || self.membership.members().values().chain(said());
        if known().chain([&self.options.member]).any(|member| member.former.contains(&node)) {
            return false;
        }
        if self.membership.is_member(node) {
            return self.membership.silent_for(node, now) < self.options.expiry && !self.membership.is_replaced(node);
        }
        let Some(absent) = self.legacy.absent(node).filter(|_| now < self.legacy.absent_until) else { return false };
        let replaces = |member: &Member| member.address == absent.address && member.started > absent.started;
        !known().any(replaces)
    }

    /// This node is about to serve: whose effects does it make again, and after which seqs?
    pub(super) fn begin_making_again(&mut self, now: u64, out: &mut Vec<Output>) -> Vec<Again> {
        let is_pending = |former: NodeId| self.legacy.pending().any(|origin| origin == former);
        let others = self.options.member.former.iter().filter(|&&former| !is_pending(former));
        let mut again: Vec<Again> = others.map(|&former| self.rest_of_own(former)).collect();
        for (stretch, fate) in self.take_fates(now) {
            let origin = stretch.origin;
            match fate {
                Fate::Here | Fate::Made if self.is_own(origin) => again.push(self.rest_of_own(origin)),
                // Kept until another node has it as well.
                Fate::Here => {}
                Fate::Made => out.push(Output::Forgo(origin)),
                Fate::Left | Fate::Unknown => self.legacy.pending.push(stretch),
                Fate::Ours(ours) => {
                    again.push(if self.is_own(origin) { self.rest_of_own(origin) } else { ours });
                    self.options.member.made_again(stretch);
                }
            }
        }
        again
    }

    /// Looks again at what was left to others.
    pub(super) fn tend_legacy(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.joining.phase != Phase::Serving || self.is_parting() {
            return;
        }
        for (stretch, fate) in self.take_fates(now) {
            let origin = stretch.origin;
            match fate {
                Fate::Here | Fate::Made if self.is_own(origin) => {
                    out.push(Output::MakeAgain(self.rest_of_own(origin)));
                }
                Fate::Here | Fate::Made => out.push(Output::Forgo(origin)),
                Fate::Left | Fate::Unknown => self.legacy.pending.push(stretch),
                Fate::Ours(ours) => {
                    let ours = if self.is_own(origin) { self.rest_of_own(origin) } else { ours };
                    out.push(Output::MakeAgain(ours));
                    self.options.member.made_again(stretch);
                    self.membership.beat_at_once();
                }
            }
        }
    }

    /// Is this a former identity of this node?
    fn is_own(&self, origin: NodeId) -> bool {
        self.options.member.former.contains(&origin)
    }

    /// What nobody has made anew of a former identity. What was committed when that ended, nobody else knows of.
    fn rest_of_own(&self, former: NodeId) -> Again {
        Again { origin: former, upto: MAX_SEQ, made: self.made_of(former) }
    }
}

/// Of those that join, the highest makes effects again: who has most.
fn rank(node: NodeId, member: &Member) -> (u64, Reverse<NodeId>) {
    (member.legacy.iter().map(Stretch::count).sum(), Reverse(node))
}

/// Is there anything in this stretch beyond what is here, and these that were made anew?
fn has_more(stretch: Stretch, here: u64, made: &[Stretch]) -> bool {
    let mut upto = stretch.after.max(here);
    while let Some(next) = made.iter().filter(|made| made.after <= upto && made.upto > upto).map(|made| made.upto).max()
    {
        upto = next;
    }
    upto < stretch.upto
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::harness::{Cluster, TICK};
    use super::super::{CoreOptions, Frame, Hello, Input, Now};
    use super::*;
    use crate::effects::{Dot, Frontier};

    #[test]
    fn what_lies_beyond_what_others_made_is_more() {
        let stretch = |after, upto| Stretch { origin: NodeId(1), after, upto };
        assert!(has_more(stretch(0, 1), 0, &[]));
        assert!(!has_more(stretch(0, 9), 9, &[]));
        assert!(!has_more(stretch(4, 9), 2, &[stretch(6, 12), stretch(3, 6)]));
        // Who made the later ones lacked the first, or some between.
        assert!(has_more(stretch(0, 9), 3, &[stretch(4, 20)]));
        assert!(has_more(stretch(0, 9), 3, &[stretch(2, 5), stretch(6, 20)]));
        assert!(has_more(stretch(0, 9), 3, &[stretch(2, 8)]));
    }

    #[test]
    fn who_lacks_the_first_leaves_these_to_their_owner() {
        let mut member = Member::default();
        let stretch = |after, upto| Stretch { origin: NodeId(1), after, upto };
        [stretch(5, 8), Stretch { origin: NodeId(2), after: 0, upto: 3 }, stretch(8, 11)]
            .into_iter()
            .for_each(|made| member.made_again(made));
        assert_eq!(member.stretches(NodeId(1)).collect::<Vec<_>>(), [stretch(5, 11)]);
        let own = Again { origin: NodeId(1), upto: MAX_SEQ, made: member.stretches(NodeId(1)).collect() };
        let left = (1..=13).filter(|&seq| own.includes(Dot { node: NodeId(1), seq }));
        assert_eq!(left.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 12, 13]);
    }

    #[test]
    fn a_member_that_only_the_former_identity_knew_is_waited_for_unless_it_is_known_to_be_gone() {
        const OTHER: NodeId = NodeId(9);
        let mut options = CoreOptions::new(NodeId(1), Member::default());
        options.absent = [(OTHER, Absent { address: "there".into(), started: 50 })].into_iter().collect();
        let expiry = options.expiry;
        let mut core = Core::new(options, Now { monotonic: 100, wall: 0 });
        assert!(core.may_be_cut_off(100 + expiry - 1, OTHER) && !core.may_be_cut_off(100 + expiry, OTHER));
        assert!(!core.may_be_cut_off(100, NodeId(8)), "nobody knew that one");
        let mut meet = |peer: NodeId, started: u64, former: Vec<NodeId>| {
            let mut hello = Hello::of_serving(Frontier::EMPTY, Frontier::EMPTY);
            (hello.member.address, hello.member.started, hello.member.former) = ("there".into(), started, former);
            let frame = Frame::Hello(Box::new(hello));
            for input in [Input::Connected { peer }, Input::Received { peer, frame }] {
                core.step(Now { monotonic: 100, wall: 0 }, input, &mut Vec::new());
            }
            core.may_be_cut_off(100, OTHER)
        };
        assert!(meet(NodeId(3), 40, Vec::new()), "this one was there earlier");
        assert!(!meet(NodeId(4), 60, Vec::new()), "this one took its place");
        assert!(!meet(NodeId(4), 10, vec![OTHER]), "it has given up its identity");
    }

    /// Two clusters that began apart, of which the first has forgotten what the second has not seen, and the second has forgotten
    /// nothing. Returns what was added in the second, by these.
    fn apart(cluster: &mut Cluster, writers: &[usize]) -> BTreeSet<Vec<u8>> {
        cluster.strict_folds = false;
        across(cluster, true);
        for machine in 2..5 {
            cluster.feed(machine, Input::Named(vec!["0".into(), "1".into()]));
        }
        cluster.run(10_000);
        let mut added = BTreeSet::new();
        for _ in 0..12 {
            for machine in 0..2 {
                cluster.add(machine, 30);
            }
            for &machine in writers {
                added.insert(cluster.add(machine, 30));
                cluster.run(TICK);
            }
        }
        cluster.run(5_000);
        added
    }

    fn across(cluster: &mut Cluster, blocked: bool) {
        for (one, other) in [(0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4)] {
            cluster.block(one, other, blocked);
        }
    }

    fn assert_made_again_once(cluster: &mut Cluster, added: &BTreeSet<Vec<u8>>, seed: u64) {
        cluster.assert_converged();
        let contents = cluster.machines[0].contents();
        let lost = added.difference(&contents).count();
        let made_again: Vec<usize> = cluster.machines.iter().map(|machine| machine.reissued).collect();
        assert_eq!((lost, made_again.iter().sum()), (0, added.len()), "seed {seed}: made again {made_again:?}");
        assert_eq!(cluster.machines.iter().map(|machine| machine.lost).sum::<u64>(), 0, "seed {seed}");
    }

    #[test]
    fn of_a_group_that_gives_way_one_makes_the_effects_of_its_dead_member_again() {
        for seed in 0..40 {
            let mut cluster = Cluster::new(seed, 5, |_| ());
            let added = apart(&mut cluster, &[2, 3, 4]);
            cluster.crash(4);
            across(&mut cluster, false);
            cluster.run(60_000);
            assert_made_again_once(&mut cluster, &added, seed);
            let rebases: Vec<usize> = cluster.machines.iter().map(|machine| machine.rebases).collect();
            assert_eq!(rebases, [0, 0, 1, 1, 0], "seed {seed}");
        }
    }

    #[test]
    fn who_has_got_a_snapshot_makes_again_what_its_sender_had_when_that_is_gone() {
        for seed in 0..40 {
            let mut cluster = Cluster::new(seed, 5, |options| options.log_limit = 2_000);
            let added = apart(&mut cluster, &[2, 3, 4]);
            let joiner = cluster.add_machine();
            (0..2).for_each(|other| cluster.block(joiner, other, true));
            cluster.feed(joiner, Input::Named(["0", "1", "2", "3", "4"].map(String::from).to_vec()));
            cluster.run(10_000);
            assert_eq!(cluster.machines[joiner].contents(), cluster.machines[2].contents(), "seed {seed}");
            (2..5).for_each(|machine| cluster.crash(machine));
            across(&mut cluster, false);
            (0..2).for_each(|other| cluster.block(joiner, other, false));
            cluster.run(60_000);
            assert_made_again_once(&mut cluster, &added, seed);
        }
    }

    #[test]
    fn who_was_only_cut_off_does_not_make_again_what_others_have() {
        for seed in 0..40 {
            let mut cluster = Cluster::new(seed, 5, |_| ());
            let mut added = apart(&mut cluster, &[2, 3, 4]);
            cluster.isolate(4, true);
            added.insert(cluster.add(4, 30));
            for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
                cluster.block(one, other, false);
            }
            cluster.run(40_000);
            added.insert(cluster.add(4, 30));
            cluster.isolate(4, false);
            cluster.run(90_000);
            assert_made_again_once(&mut cluster, &added, seed);
        }
    }

    #[test]
    fn who_dies_on_the_way_leaves_it_to_the_next() {
        let mut tried = 0;
        for seed in 0..40 {
            let mut cluster = Cluster::new(seed, 5, |_| ());
            let added = apart(&mut cluster, &[4]);
            cluster.crash(4);
            across(&mut cluster, false);
            let both_join = |cluster: &Cluster| {
                cluster.machines[2..4].iter().all(|machine| machine.rebases == 1 && !machine.serving)
            };
            for _ in 0..1_000 {
                cluster.run(10);
                if both_join(&cluster) {
                    break;
                }
            }
            cluster.run(600);
            // One may have been done before the other began.
            if both_join(&cluster) {
                let first = if cluster.machines[2].node() < cluster.machines[3].node() { 2 } else { 3 };
                cluster.crash(first);
                cluster.run(100_000);
                assert_made_again_once(&mut cluster, &added, seed);
                tried += 1;
            }
        }
        assert!(tried >= 20, "{tried}");
    }
}
