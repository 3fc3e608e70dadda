//! Which effects there are, what each had seen, and who has applied which.

use std::collections::BTreeSet;

use swytch::effects::{Dot, Effect, Frontier, NodeId, Operation};
use swytch::keyspace::{Keyspace, is_system_key};

use super::{Checker, Slot};

/// A few of them, and how many there are.
pub(super) fn first_of(dots: &[Dot]) -> String {
    let first: Vec<String> = dots.iter().take(5).map(Dot::to_string).collect();
    format!("{} ({} in all)", first.join(", "), dots.len())
}

impl Checker {
    /// A node starts with nothing.
    pub fn started(&mut self, slot: usize, node: NodeId) {
        self.slots[slot] = Slot { running: true, origin: node, ..Slot::default() };
    }

    /// A node lost power. What nobody else has is gone with it.
    pub fn crashed(&mut self, slot: usize) {
        let gone = std::mem::take(&mut self.slots[slot]);
        self.lose(&gone.applied);
        for dot in gone.former {
            self.lose(&[(dot.node, dot.seq)].into_iter().collect());
        }
    }

    /// Of all this, notes and returns what no running node has any more, neither applied nor to be made again.
    fn lose(&mut self, applied: &Frontier) -> Vec<Dot> {
        let running = || self.slots.iter().filter(|slot| slot.running);
        let holding = || running().filter(|slot| !slot.given_up);
        let kept: BTreeSet<Dot> = running().flat_map(|slot| &slot.former).copied().collect();
        let mut lost = Vec::new();
        for (node, seq) in applied.iter() {
            let left = holding().map(|slot| slot.applied.get(node)).max().unwrap_or(0);
            let dots = (left + 1..=seq).map(|seq| Dot { node, seq });
            let is_elsewhere = |dot: &Dot| {
                let is_applied = |name: &Dot| holding().any(|slot| slot.applied.includes(*name));
                let mut others = self.names(*dot).filter(|name| name != dot);
                kept.contains(dot) || others.any(|name| kept.contains(&name) || is_applied(&name))
            };
            lost.extend(dots.filter(|dot| !self.lost.contains(dot) && !is_elsewhere(dot)));
        }
        self.lost.extend(&lost);
        lost
    }

    /// A node may have made effects since the last call: each has seen what is applied now.
    pub fn made(&mut self, slot: usize, keyspace: &Keyspace) {
        let slot = &mut self.slots[slot];
        let upto = keyspace.frontier().get(slot.origin);
        while slot.noted < upto {
            let past = slot.applied.clone();
            slot.noted += 1;
            slot.applied.set(slot.origin, slot.noted);
            slot.uncollected.push_back((slot.noted, past));
        }
    }

    /// An own effect of a node is handed to its core: it must say exactly what it had seen (P2).
    pub fn collected(&mut self, slot: usize, effect: &Effect) {
        let book = &mut self.slots[slot];
        let dot = effect.dot;
        let Some((_, past)) = book.uncollected.pop_front().filter(|&(seq, _)| seq == dot.seq) else {
            return self.violated("P2", format!("node {slot} hands over {dot}, which is not its next effect"));
        };
        effect.seen_changes.iter().for_each(|&(node, seq)| book.told.raise(node, seq));
        book.told.set(dot.node, dot.seq - 1);
        if book.told != past {
            let what = format!("{dot} of node {slot} says it has seen {:?}, but it was {past:?}", book.told);
            self.violated("P2", what);
        }
        let is_of_the_system = |operation: Operation<'_>| match operation {
            Operation::Key { key, .. } => is_system_key(key),
            Operation::Flush { .. } => false,
        };
        if effect.operations().all(is_of_the_system) {
            self.of_the_system.insert(dot);
        }
        self.past.insert(dot, past.clone());
        self.history.add(effect.clone(), past);
    }

    /// A core asks for an effect to be applied: once, and after all that its origin had seen (P2).
    pub fn applying(&mut self, slot: usize, effect: &Effect, seen: &Frontier) {
        let (dot, applied) = (effect.dot, self.slots[slot].applied.clone());
        let Some(past) = self.past.get(&dot) else {
            return self.violated("P2", format!("node {slot} applies {dot}, which nobody made"));
        };
        let wrong = if dot.seq <= applied.get(dot.node) {
            Some("a second time".to_owned())
        } else if !past.within(&applied) {
            Some(format!("which had seen {past:?}, on {applied:?}"))
        } else if past != seen {
            Some(format!("as if it had seen {seen:?} where it had seen {past:?}"))
        } else {
            None
        };
        if let Some(wrong) = wrong {
            self.violated("P2", format!("node {slot} applies {dot} {wrong}"));
        }
        self.slots[slot].applied.raise(dot.node, dot.seq);
    }

    /// A node has given up its identity. Of what it had, it keeps the effects `kept`, its own and those of nodes that are gone, to be made
    /// again. What is lost by that is a breach, unless its log was over its budget: then it had said so.
    pub fn gave_up(&mut self, slot: usize, kept: &[Dot], log_was_full: bool) {
        let book = &mut self.slots[slot];
        (book.given_up, book.former) = (true, kept.to_vec());
        let had = book.applied.clone();
        self.forsake(slot, &had, log_was_full);
    }

    /// A node empties its keyspace, which then makes effects as `node`. As before, with what it had made and applied meanwhile.
    pub fn emptied(&mut self, slot: usize, node: NodeId, kept: &[Dot], log_was_full: bool) {
        let book = &mut self.slots[slot];
        let had = std::mem::take(&mut book.applied);
        (book.noted, book.importing, book.given_up) = (0, true, false);
        book.told = Frontier::EMPTY;
        book.origin = node;
        book.former = kept.to_vec();
        self.forsake(slot, &had, log_was_full);
    }

    fn forsake(&mut self, slot: usize, had: &Frontier, log_was_full: bool) {
        let lost = self.lose(had);
        // An archive does not keep what later effects have made void.
        let void = if lost.is_empty() { BTreeSet::new() } else { self.history.void() };
        let lost = lost.into_iter().filter(|dot| !self.of_the_system.contains(dot) && !void.contains(dot));
        let forsaken: Vec<Dot> = lost.collect();
        if log_was_full {
            // Whatever its clients saw may be gone; they were told so.
            self.slots[slot].session.clear();
        } else if !forsaken.is_empty() {
            let what =
                format!("node {slot} gave up its identity, and with it the last copy of {}", first_of(&forsaken));
            self.violated("P5", what);
        }
    }

    /// A node lets clients in although not all is there that they may have seen: what died with the last node that had it
    /// cannot be.
    pub fn opened_without_all(&mut self, slot: usize) {
        let mut session = self.slots[slot].session.clone();
        for (key, members) in &mut session {
            members.retain(|member| !self.is_lost(key, member));
        }
        self.slots[slot].session = session;
    }

    /// All parts of a snapshot are in (or there is none, and nothing). Parts may be ahead of `begin` until the node has
    /// caught up.
    pub fn imported(&mut self, slot: usize, begin: &Frontier, caught_up: bool) {
        self.slots[slot].applied = begin.clone();
        self.slots[slot].importing = !caught_up;
    }

    /// A node that serves takes over a state of which all of `begin` is part, with its tail on top, and then goes on from there to all
    /// of `end`, which all that it has applied before has to be among.
    pub fn took_over(&mut self, slot: usize, begin: &Frontier, tail: &[(Effect, Frontier)], end: &Frontier) {
        let had = std::mem::replace(&mut self.slots[slot].applied, begin.clone());
        tail.iter().for_each(|(effect, seen)| self.applying(slot, effect, seen));
        if !had.within(end) {
            self.violated("P4", format!("node {slot} had applied {had:?}, and now shows a state of {end:?}"));
        }
        self.went_on(slot, end);
    }

    /// A node that serves applies at once all that it lacked of a peer: all of this is applied now.
    pub fn went_on(&mut self, slot: usize, frontier: &Frontier) {
        if !self.slots[slot].applied.within(frontier) {
            let had = &self.slots[slot].applied;
            self.violated("P4", format!("node {slot} had applied {had:?}, and goes on from {frontier:?}"));
        }
        self.slots[slot].applied = frontier.clone();
    }

    /// No part of the snapshot is ahead any more.
    pub fn caught_up(&mut self, slot: usize) {
        self.slots[slot].importing = false;
    }

    /// A node has made effects of former identities and of other nodes again, in this order; each with its former name.
    pub fn made_again(&mut self, slot: usize, made: &[(Dot, Effect)]) {
        for (_, effect) in made {
            self.renamed.entry(effect.original()).or_default().push(effect.dot);
            self.originals.insert(effect.dot, effect.original());
            let past = self.slots[slot].applied.clone();
            self.slots[slot].applied.raise(effect.dot.node, effect.dot.seq);
            self.past.insert(effect.dot, past.clone());
            self.history.add(effect.clone(), past);
        }
    }

    /// Of what it kept to be made again, a node has this left.
    pub fn keeps(&mut self, slot: usize, left: Vec<Dot>) {
        self.slots[slot].former = left;
    }

    /// Faults are over. Unless all nodes were healed, only what those that were have counts from now on.
    pub fn healed(&mut self, core: &[usize]) {
        if core.len() == self.slots.len() {
            return;
        }
        let mut had = Frontier::EMPTY;
        let mut former = BTreeSet::new();
        for &slot in core {
            had.join(&self.slots[slot].applied);
            former.extend(&self.slots[slot].former);
        }
        self.demanded = Some((had, former));
    }

    /// A client added to a counter that is only ever added to.
    pub fn added(&mut self, slot: usize, seq: Option<u64>, key: &str, amount: i64) {
        let Some(seq) = seq else { return };
        self.additions.push((Dot { node: self.slots[slot].origin, seq }, key.to_owned(), amount));
    }

    /// A client added a member to a set that is only ever added to.
    pub fn grew(&mut self, slot: usize, seq: Option<u64>, key: &str, member: &str) {
        let Some(seq) = seq else { return };
        let slot = &mut self.slots[slot];
        slot.session.entry(key.to_owned()).or_default().insert(member.to_owned());
        self.members.push((Dot { node: slot.origin, seq }, key.to_owned(), member.to_owned()));
    }
}
