//! What clients did, counted up: at any time, and when everything is healed and all nodes have the same effects.

use std::collections::{BTreeMap, BTreeSet};

use swytch::effects::{Dot, Frontier, StreamId};
use swytch::keyspace::Keyspace;

use super::Checker;
use super::books::first_of;
use crate::event_loop::still_to_come;

impl Checker {
    /// Nothing that was acknowledged is missing, unless it died with the last node that had it (P5). `keyspace` is that of
    /// any node that was healed: all are alike by now. With `counts`, what clients did is counted up.
    pub fn at_the_end(&mut self, slot: usize, keyspace: &Keyspace, counts: bool) {
        let end = self.slots[slot].applied.clone();
        let mut missing: Vec<Dot> = self
            .past
            .keys()
            .filter(|dot| !self.of_the_system.contains(dot) && self.is_demanded(**dot) && !self.is_excused(**dot, &end))
            .copied()
            .collect();
        if !missing.is_empty() {
            // Who makes effects of an archive again leaves out what later ones have made void.
            let void = self.history.void();
            missing.retain(|dot| !self.names(*dot).any(|name| void.contains(&name)));
        }
        if !missing.is_empty() {
            self.violated("P5", format!("nobody has these acknowledged writes any more: {}", first_of(&missing)));
        }
        if counts {
            self.count(slot, keyspace);
            self.feeds(&end, keyspace);
        }
    }

    /// Of a stream that is only added to, a client got every entry, or its group is still to deliver it: none was passed over,
    /// however late it arrived.
    fn feeds(&mut self, end: &Frontier, keyspace: &Keyspace) {
        let mut wrong = Vec::new();
        for (name, delivered) in &self.delivered {
            let key = keyspace.key(name.as_bytes());
            let mut transaction = keyspace.lock_one(0, 0, key);
            let Some(stream) = transaction.stream(key).ok().flatten() else { continue };
            let Some(group) = stream.group(b"g") else {
                // Who made it may have died, and what it made with it.
                let is_there = |dot: Dot| self.names(dot).any(|name| end.includes(name));
                if self.groups.iter().any(|(dot, key)| key == name && is_there(*dot)) {
                    wrong.push(format!("{name} has lost its group"));
                }
                continue;
            };
            let to_come: BTreeSet<StreamId> = still_to_come(stream, group).collect();
            let is_missed = |id: &StreamId| !delivered.contains(id) && !to_come.contains(id);
            if let Some(id) = stream.iter().map(|entry| entry.id).find(is_missed) {
                wrong.push(format!("nobody got entry {id} of {name}, nor is it still to come"));
            }
        }
        for what in wrong {
            self.violated("P5", what);
        }
    }

    /// Must an effect be there in the end? Not when only nodes had it that were not healed.
    fn is_demanded(&self, dot: Dot) -> bool {
        self.demanded.as_ref().is_none_or(|(had, former)| had.includes(dot) || former.contains(&dot))
    }

    /// Is an effect within `end`, under whatever name, or was it lost with the last node that had it?
    fn is_excused(&self, dot: Dot, end: &Frontier) -> bool {
        self.names(dot).any(|name| end.includes(name) || self.lost.contains(&name))
    }

    /// All names of an effect: the original one, and those under which it was made again, by whomever.
    pub(super) fn names(&self, dot: Dot) -> impl Iterator<Item = Dot> + '_ {
        let original = self.originals.get(&dot).copied().unwrap_or(dot);
        [original].into_iter().chain(self.renamed.get(&original).into_iter().flatten().copied())
    }

    /// Counters are the sum, sets the union, and queues the rest, of what is applied at a node: counted from what clients did,
    /// not from effects (P5).
    pub fn count(&mut self, slot: usize, keyspace: &Keyspace) {
        if self.slots[slot].importing {
            return;
        }
        let applied = &self.slots[slot].applied;
        let is_there = |dot: Dot| self.names(dot).any(|name| applied.includes(name));
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (dot, key, amount) in &self.additions {
            *sums.entry(key).or_default() += if is_there(*dot) { *amount } else { 0 };
        }
        let mut unions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (dot, key, member) in &self.members {
            unions.entry(key).or_default().extend(is_there(*dot).then_some(member.as_str()));
        }
        let mut wrong = Vec::new();
        for (name, sum) in sums {
            let key = keyspace.key(name.as_bytes());
            let mut transaction = keyspace.lock_one(0, 0, key);
            let found = transaction.string(key).ok().flatten().map(|text| text.escape_ascii().to_string());
            if found.as_deref().unwrap_or("0") != sum.to_string() {
                wrong.push(format!("{name} is {found:?}, but its additions make {sum}"));
            }
        }
        for (name, union) in unions {
            let key = keyspace.key(name.as_bytes());
            let mut transaction = keyspace.lock_one(0, 0, key);
            let set = transaction.set(key).ok().flatten();
            let found: BTreeSet<String> =
                set.into_iter().flat_map(|set| set.iter()).map(|member| member.escape_ascii().to_string()).collect();
            let differing = found.iter().map(String::as_str).collect::<BTreeSet<_>>() != union;
            if differing {
                wrong.push(format!("{name} has {} members, but {} were added", found.len(), union.len()));
            }
        }
        let mut queues: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (dot, key, element) in &self.pushed {
            queues.entry(key).or_default().extend(is_there(*dot).then_some(element.as_str()));
        }
        for (name, pushed) in queues {
            let key = keyspace.key(name.as_bytes());
            let mut transaction = keyspace.lock_one(0, 0, key);
            let list = transaction.list(key).ok().flatten();
            let found: Vec<String> = list
                .into_iter()
                .flat_map(|list| list.iter())
                .map(|element| element.escape_ascii().to_string())
                .collect();
            let mut unique = BTreeSet::new();
            if let Some(element) = found.iter().find(|element| !unique.insert(element.as_str())) {
                wrong.push(format!("{name} has {element} twice"));
            }
            if let Some(element) = unique.difference(&pushed).next() {
                wrong.push(format!("{name} has {element}, which nobody pushed"));
            }
            let mut gone = pushed.difference(&unique);
            if let Some(element) =
                gone.find(|element| !self.popped.contains(&(name.to_owned(), (**element).to_owned())))
            {
                wrong.push(format!("{name} lacks {element}, which nobody took out"));
            }
        }
        for what in wrong {
            self.violated("P5", format!("node {slot}: {what}"));
        }
    }
}
