//! A few keyspaces that exchange effects, one delivery at a time.

use std::sync::Arc;

use swytch::effects::{Effect, Frontier, NodeId, Rest, compact};
use swytch::keyspace::{Keyspace, KeyspaceOptions};

use crate::writes::Write;

/// One step of a history.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client of a replica writes.
    Write(usize, Write),
    /// A replica is given one of the effects that it may apply now, chosen by the number.
    Deliver(usize, usize),
    /// A replica drops the metadata of what is stable.
    Fold(usize),
    /// A replica is lost with all it has, and starts anew from another's snapshot.
    Replace(usize, usize),
    /// A replica takes over another's state, with the effects on top that only it has.
    TakeOver(usize, usize),
    /// A replica is handed over what matters of all that another one has and it lacks, and applies it at once.
    HandOver(usize, usize),
}

/// An effect with everything that its origin had seen.
#[derive(Clone, Debug)]
pub struct Made {
    pub effect: Effect,
    pub seen: Frontier,
}

struct Replica {
    node: NodeId,
    keyspace: Keyspace,
    frontier: Frontier,
    /// Up to here metadata is gone.
    folded: Frontier,
    /// For each node, what it had applied when it made its latest effect that arrived here.
    known: Vec<(NodeId, Frontier)>,
}

/// The cluster.
pub struct Replicas {
    replicas: Vec<Replica>,
    history: Vec<Arc<Made>>,
    next_node: u64,
    time: u64,
}

const NOW: u64 = 1_000;

impl Replicas {
    /// That many empty keyspaces that know of each other.
    pub fn new(count: usize) -> Self {
        let replicas = (0..count).map(|at| Replica::new(NodeId(at as u64 + 1))).collect();
        Replicas { replicas, history: Vec::new(), next_node: count as u64 + 1, time: NOW }
    }

    /// Everything that was ever written.
    pub fn history(&self) -> &[Arc<Made>] {
        &self.history
    }

    /// What each replica has, as sorted lines of text.
    pub fn dumps(&self) -> Vec<Vec<String>> {
        self.replicas.iter().map(|replica| replica.keyspace.dump()).collect()
    }

    /// One number for what each replica has.
    pub fn digests(&self) -> Vec<u128> {
        self.replicas.iter().map(|replica| replica.keyspace.digest()).collect()
    }

    /// Takes one step.
    pub fn step(&mut self, step: &Step) {
        let count = self.replicas.len();
        match step {
            Step::Write(at, write) => self.write(at % count, write),
            Step::Deliver(at, choice) => {
                self.deliver(at % count, *choice);
            }
            Step::Fold(at) => self.fold(at % count),
            Step::Replace(at, from) => self.replace(at % count, from % count),
            Step::TakeOver(at, from) => self.take_over(at % count, from % count),
            Step::HandOver(at, from) => self.hand_over(at % count, from % count),
        }
    }

    /// Delivers everything to everybody, in an order that the seed decides.
    pub fn settle(&mut self, seed: u64) {
        let mut choice = seed as usize;
        for at in 0..self.replicas.len() {
            while self.deliver(at, choice) {
                choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            }
        }
    }

    fn write(&mut self, at: usize, write: &Write) {
        let replica = &mut self.replicas[at];
        // Two writes in three get a later wall clock: equal times and clocks that stand still must be right as well.
        self.time += u64::from(!self.history.len().is_multiple_of(3));
        replica.run(self.time + at as u64 * 7, write);
        for effect in replica.keyspace.drain_effects() {
            let seen = replica.frontier.clone();
            replica.note(&effect, &seen);
            self.history.push(Arc::new(Made { effect, seen }));
        }
    }

    fn deliver(&mut self, at: usize, choice: usize) -> bool {
        let replica = &mut self.replicas[at];
        let ready: Vec<_> = self.history.iter().filter(|made| replica.can_apply(made)).cloned().collect();
        if ready.is_empty() {
            return false;
        }
        let made = &ready[choice % ready.len()];
        replica.keyspace.apply(&made.effect, &made.seen, NOW);
        replica.note(&made.effect, &made.seen);
        true
    }

    fn fold(&mut self, at: usize) {
        let (stable, replica) = (self.stable(at), &self.replicas[at]);
        for shard in 0..Keyspace::SHARDS {
            replica.keyspace.fold(shard, &stable);
        }
        self.replicas[at].folded.join(&stable);
    }

    /// Only a replica whose effects are everywhere may be lost: what nobody else has is gone with it.
    fn replace(&mut self, at: usize, from: usize) {
        let lost = self.replicas[at].node;
        let made = self.replicas[at].frontier.get(lost);
        if at == from || self.replicas.iter().any(|replica| replica.frontier.get(lost) < made) {
            return;
        }
        let joiner = Replica::new(NodeId(self.next_node));
        self.next_node += 1;
        joiner.keyspace.begin_import(joiner.node);
        let source = &self.replicas[from];
        source.copy_to(&joiner.keyspace);
        joiner.keyspace.end_catch_up();
        let (frontier, folded, known) = (source.frontier.clone(), source.folded.clone(), source.known.clone());
        self.replicas[at] = Replica { frontier, folded, known, ..joiner };
    }

    /// Only what has seen all that is folded in a state can be applied on top of it.
    fn take_over(&mut self, at: usize, from: usize) {
        let (target, source) = (&self.replicas[at], &self.replicas[from]);
        let is_missing =
            |made: &&Arc<Made>| target.frontier.includes(made.effect.dot) && !source.frontier.includes(made.effect.dot);
        let missing: Vec<Arc<Made>> = self.history.iter().filter(is_missing).cloned().collect();
        if at == from || missing.iter().any(|made| !source.folded.within(&made.seen)) {
            return;
        }
        let beside = target.keyspace.beside();
        source.copy_to(&beside);
        missing.iter().for_each(|made| beside.apply(&made.effect, &made.seen, NOW));
        beside.end_catch_up();
        let mut takeover = target.keyspace.begin_takeover(NOW);
        assert!(takeover.drain().is_empty(), "effects are collected as they are made");
        takeover.finish(&beside);
        let (frontier, folded) = (source.frontier.clone(), source.folded.clone());
        (self.replicas[at].frontier, self.replicas[at].folded) = (frontier, folded);
        self.learn(at, from);
        let replica = &mut self.replicas[at];
        for made in missing {
            let dot = made.effect.dot;
            replica.frontier.set(dot.node, dot.seq);
        }
        assert_eq!(replica.frontier, replica.keyspace.frontier());
    }

    /// Only what has seen all that is folded here can be applied. What is handed over is compacted together with what the
    /// receiver has already beyond what is stable, as an archive is.
    fn hand_over(&mut self, at: usize, from: usize) {
        let (target, source) = (&self.replicas[at], &self.replicas[from]);
        let has = |made: &&Arc<Made>| source.frontier.includes(made.effect.dot);
        let is_lacking = |made: &Made| !target.frontier.includes(made.effect.dot);
        if at == from
            || self.history.iter().filter(has).any(|made| is_lacking(made) && !target.folded.within(&made.seen))
        {
            return;
        }
        let stable = self.stable(from);
        let archived = self.history.iter().filter(has).filter(|made| !stable.includes(made.effect.dot));
        let archived: Vec<(Effect, Frontier)> = archived.map(|made| (made.effect.clone(), made.seen.clone())).collect();
        let mut effects = Vec::new();
        for ((effect, seen), rest) in archived.iter().zip(compact(&archived, &stable)) {
            let body = match rest {
                Rest::All => effect.body().to_vec(),
                Rest::Some(body) => body,
                Rest::None => continue,
            };
            let mut encoded = Vec::new();
            Effect::encode(&mut encoded, effect.dot, effect.time, &effect.seen_changes, None, &body);
            effects.push((Effect::decode(encoded.into()).expect("as it was encoded"), seen.clone()));
        }
        effects.retain(|(effect, _)| !target.frontier.includes(effect.dot));
        let mut frontier = target.frontier.clone();
        frontier.join(&source.frontier);
        let time = source.keyspace.latest_time();
        target.keyspace.begin_takeover(NOW).apply(&effects, &frontier, time);
        self.replicas[at].frontier = frontier;
        self.learn(at, from);
        assert_eq!(self.replicas[at].frontier, self.replicas[at].keyspace.frontier());
    }

    /// A replica knows what another one knows of what each had applied.
    fn learn(&mut self, at: usize, from: usize) {
        for (node, frontier) in self.replicas[from].known.clone() {
            let replica = &mut self.replicas[at];
            match replica.known.iter_mut().find(|(other, _)| *other == node) {
                Some((_, known)) => known.join(&frontier),
                None => replica.known.push((node, frontier)),
            }
        }
    }

    /// What a replica knows to be applied everywhere.
    fn stable(&self, at: usize) -> Frontier {
        let replica = &self.replicas[at];
        let mut stable = replica.frontier.clone();
        for member in self.replicas.iter().map(|replica| replica.node).filter(|member| *member != replica.node) {
            let known = replica.known.iter().find(|(node, _)| *node == member);
            stable.meet(known.map_or(&Frontier::EMPTY, |(_, frontier)| frontier));
        }
        stable
    }
}

impl Replica {
    fn new(node: NodeId) -> Replica {
        // Nodes need not hash keys alike.
        let options = KeyspaceOptions { node: Some(node), hash_seed: node.0 % 2, ..KeyspaceOptions::default() };
        let (frontier, folded) = (Frontier::EMPTY, Frontier::EMPTY);
        Replica { node, keyspace: Keyspace::new(options), frontier, folded, known: Vec::new() }
    }

    /// Fills an empty keyspace with all that is here.
    fn copy_to(&self, keyspace: &Keyspace) {
        for shard in 0..Keyspace::SHARDS {
            keyspace.import_shard(&self.keyspace.export_shard(shard)).expect("a snapshot of our own");
        }
        keyspace.finish_import(&self.frontier, self.keyspace.latest_time());
    }

    fn can_apply(&self, made: &Made) -> bool {
        let dot = made.effect.dot;
        dot.seq == self.frontier.get(dot.node) + 1 && made.seen.within(&self.frontier)
    }

    fn note(&mut self, effect: &Effect, seen: &Frontier) {
        self.frontier.set(effect.dot.node, effect.dot.seq);
        let mut known = seen.clone();
        known.set(effect.dot.node, effect.dot.seq);
        self.known.retain(|(node, _)| *node != effect.dot.node);
        self.known.push((effect.dot.node, known));
    }

    fn run(&self, now: u64, write: &Write) {
        let mut transaction = self.keyspace.lock_all(now, 0);
        write.run(&self.keyspace, &mut transaction);
    }
}
