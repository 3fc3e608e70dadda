//! One node: a core, a keyspace, and what the real runtime does between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use swytch::effects::{Dot, Effect, Frontier, NodeId, Operation, Reissue};
use swytch::keyspace::{Keyspace, KeyspaceOptions};
use swytch::replication::{
    Again, ClusterReport, Core, CoreOptions, Frame, Input, Member, Now, Output, Remains, is_covered,
};

use super::members;
use super::queue::{Event, Run};
use super::snapshots::Import;
use super::world::World;
use crate::coverage::Path;
use crate::scenario::Scenario;
use crate::trace;

/// How many shards are folded, and how many looked through for expired keys, in one tick.
const SHARDS_PER_TICK: usize = 64;
/// Clients wait so long for what they may have seen under a former identity.
const SESSION_PATIENCE: u64 = 15_000;
/// A lookup that works takes at most this long; one that fails takes so long.
const LOOKUP_TIME: u64 = 1_000;
/// How long the addresses of one answer have to lead to a peer.
const ANSWER_TIME: u64 = 3_000;
/// The first and the longest pause between two lookups.
const SEARCH_PAUSES: (u64, u64) = (1_000, 10_000);
/// The log may be so far over its budget: by effects that are applied, but not claimed yet.
const LOG_SLACK: usize = 16 << 10;
/// Of a hundred times that several effects are applied in a row, so many times clients write in between.
const INTERRUPTIONS: u8 = 5;

/// A node that runs.
pub(super) struct Node {
    pub run: Run,
    pub id: NodeId,
    pub core: Core,
    options: CoreOptions,
    pub keyspace: Keyspace,
    /// Does it serve clients?
    pub serving: bool,
    /// Until when it lets them wait, in case it does not yet.
    opens_at: Option<u64>,
    /// It is about to give up its identity: its clients wait.
    parting: bool,
    /// What clients of former identities may have seen.
    shown: Frontier,
    pub paused: bool,
    /// What happened while it stood still.
    pub backlog: Vec<Event>,
    pub links: BTreeMap<NodeId, u64>,
    pub dialing: BTreeSet<usize>,
    inputs: VecDeque<Input>,
    pub members_changed: bool,
    /// The keyspace holds data that the core knows nothing of.
    pub is_stale: bool,
    pub import: Import,
    /// A snapshot that came while it served, as a whole, until the core has decided what becomes of it.
    pub beside: Option<Box<Keyspace>>,
    pub folding: (Frontier, usize, usize),
    /// All that the latest own effect had seen.
    own_past: Frontier,
    /// The identity before, until this one serves.
    pub former: Option<NodeId>,
    /// What identities given up left to be made again.
    pub remains: Remains,
    /// A core of this node could not keep all that its peers lacked, or a snapshot came from such a node: what it holds
    /// may be more than it and others could send or make again.
    pub log_was_full: bool,
    /// Makes effects again under the current identity.
    pub reissue: Reissue,
    /// The latest time in the handover that has just come.
    pub handover_time: u64,
    rebase: Option<&'static str>,
    search: Search,
}

/// A search for peers.
#[derive(Default)]
struct Search {
    number: u64,
    active: bool,
    told: bool,
    pause: u64,
}

impl Node {
    pub fn new(run: Run, now: u64, wall: u64, scenario: &Scenario, random: &mut fastrand::Rng) -> Node {
        let id = NodeId(random.u64(1..));
        let member = Member {
            name: format!("node-{}", run.slot),
            address: address(run.slot),
            client_port: 6379,
            version: String::new(),
            started: wall,
            ..Member::default()
        };
        let mut options = CoreOptions::new(id, member);
        options.log_limit = scenario.log_limit.unwrap_or(options.log_limit);
        options.waiting_limit = scenario.waiting_limit.unwrap_or(options.waiting_limit);
        options.metadata_limit = scenario.metadata_limit.unwrap_or(options.metadata_limit);
        options.archive_limit = scenario.metadata_limit.unwrap_or(options.archive_limit);
        let core = Core::new(options.clone(), Now { monotonic: now, wall });
        // Nodes need not hash keys alike.
        let (random_seed, hash_seed) = (random.u64(..), id.0 % 2);
        let keyspace = KeyspaceOptions { random_seed, hash_seed, node: Some(id), ..KeyspaceOptions::default() };
        Node {
            run,
            id,
            core,
            options,
            keyspace: Keyspace::new(keyspace),
            serving: false,
            opens_at: None,
            parting: false,
            shown: Frontier::EMPTY,
            paused: false,
            backlog: Vec::new(),
            links: BTreeMap::new(),
            dialing: BTreeSet::new(),
            inputs: VecDeque::new(),
            members_changed: false,
            is_stale: false,
            import: Import::default(),
            beside: None,
            folding: (Frontier::EMPTY, 0, 0),
            own_past: Frontier::EMPTY,
            former: None,
            remains: Remains::default(),
            log_was_full: false,
            reissue: Reissue::new(id),
            handover_time: 0,
            rebase: None,
            search: Search::default(),
        }
    }

    /// Has it ever dropped what its peers lacked, or what it holds been dropped elsewhere?
    pub fn has_overflowed(&self, now: u64) -> bool {
        self.log_was_full || has_dropped(&self.report(now))
    }

    /// What the core knows and has counted.
    pub fn report(&self, now: u64) -> ClusterReport {
        self.core.report(Now { monotonic: now, wall: 0 })
    }

    /// What is larger than its documented bound (P8).
    pub fn excesses(&self, report: &ClusterReport) -> Vec<String> {
        let bounds = [
            ("the log of effects", report.log_bytes, self.options.log_limit + LOG_SLACK),
            ("what is kept for absent nodes", report.archive_bytes, self.options.archive_limit),
            ("what waits for other effects", report.waiting_bytes, self.options.waiting_limit),
        ];
        let over = bounds.into_iter().filter(|(_, bytes, limit)| bytes > limit);
        over.map(|(what, bytes, limit)| format!("{what} takes {bytes} bytes of {limit}")).collect()
    }

    fn follow(&mut self, effect: &Effect) -> Frontier {
        effect.seen_changes.iter().for_each(|&(node, seq)| self.own_past.raise(node, seq));
        self.own_past.set(effect.dot.node, effect.dot.seq - 1);
        self.own_past.clone()
    }

    fn keep_late(&mut self, effect: Effect) {
        let seen = self.follow(&effect);
        if self.former == Some(effect.dot.node) {
            self.remains.add_late(effect, seen);
        }
    }
}

/// Has it told its operator that it dropped what others may lack?
fn has_dropped(report: &ClusterReport) -> bool {
    report.archives_lost > 0 || report.forsaken > 0
}

/// The address of a slot.
fn address(slot: usize) -> String {
    format!("10.0.0.{slot}:7379")
}

fn slot_of(address: &str) -> Option<usize> {
    address.strip_prefix("10.0.0.")?.strip_suffix(":7379")?.parse().ok()
}

impl World<'_> {
    fn node(&mut self, slot: usize) -> &mut Node {
        self.nodes[slot].as_mut().expect("only nodes that run are asked for")
    }

    /// A turn by time.
    pub fn tick(&mut self, slot: usize) {
        let wall = self.wall(slot);
        let node = self.node(slot);
        let (run, interval) = (node.run, node.options.tick_interval);
        if node.serving || node.opens_at.is_some() {
            node.keyspace.upkeep(wall, SHARDS_PER_TICK);
            self.note_expired(slot);
            self.noted(slot);
        }
        let bytes = self.node(slot).keyspace.metadata();
        self.step(slot, Input::Metadata { bytes });
        self.step(slot, Input::Tick);
        self.consider_opening(slot);
        let node = self.node(slot);
        for _ in 0..SHARDS_PER_TICK.min(node.folding.2) {
            let (stable, next, left) = &mut node.folding;
            node.keyspace.fold(*next, stable);
            *next = (*next + 1) % Keyspace::SHARDS;
            *left -= 1;
        }
        self.queue.push(self.now + interval, Event::Tick(run));
    }

    /// What the background work has made since the last note are removals of what is over.
    fn note_expired(&mut self, slot: usize) {
        let node = self.nodes[slot].as_ref().expect("only nodes that run are asked for");
        let made = node.keyspace.frontier().get(node.id);
        for seq in self.checker.applied(slot).get(node.id) + 1..=made {
            self.outcome.coverage.note(Path::Expired);
            self.expiries.insert(Dot { node: node.id, seq });
        }
    }

    /// Something was committed.
    pub fn collect(&mut self, slot: usize) {
        self.collect_local_effects(slot, false);
        self.process_inputs(slot);
    }

    /// Something may have been written to the keyspace: the checker takes note, before anything else is applied.
    pub fn noted(&mut self, slot: usize) {
        let node = self.nodes[slot].as_ref().expect("only nodes that run are asked for");
        self.checker.made(slot, &node.keyspace);
    }

    /// Hands the core an input, after everything that was committed before.
    pub fn step(&mut self, slot: usize, input: Input) {
        if self.nodes[slot].is_none() {
            return;
        }
        self.collect_local_effects(slot, matches!(input, Input::Tick));
        self.node(slot).inputs.push_back(input);
        self.process_inputs(slot);
    }

    /// Queues local effects for the core; an empty list only when `always`.
    pub fn collect_local_effects(&mut self, slot: usize, always: bool) {
        self.noted(slot);
        let effects = self.node(slot).keyspace.drain_effects();
        for effect in &effects {
            self.note(slot, || format!("makes {}", trace::describe(effect)));
            self.checker.collected(slot, effect);
        }
        let node = self.node(slot);
        let (effects, late): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| effect.dot.node == node.id);
        let count = late.len() as u64;
        late.into_iter().for_each(|effect| node.keep_late(effect));
        if !effects.is_empty() || always {
            node.inputs.push_back(Input::LocalEffects(effects));
        }
        self.outcome.coverage.count(Path::LateOwn, count);
    }

    fn process_inputs(&mut self, slot: usize) {
        loop {
            let (monotonic, wall) = (self.now, self.wall(slot));
            let node = self.node(slot);
            if node.rebase.is_some() {
                return;
            }
            let Some(input) = node.inputs.pop_front() else { return };
            if let Input::LocalEffects(effects) = &input {
                for effect in effects {
                    node.follow(effect);
                }
            }
            let mut outputs = Vec::new();
            node.core.step(Now { monotonic, wall }, input, &mut outputs);
            for output in outputs {
                self.carry_out(slot, output);
            }
            let node = self.node(slot);
            if std::mem::take(&mut node.members_changed) {
                // First what changed them, if it was done here, then how they are now, then everything else.
                let waiting = std::mem::take(&mut node.inputs);
                let (local, waiting): (Vec<_>, Vec<_>) = waiting
                    .into_iter()
                    .partition(|input| matches!(input, Input::LocalEffects(_) | Input::MadeAgain(_)));
                node.inputs.extend(local);
                self.collect_local_effects(slot, false);
                let node = self.node(slot);
                let members = members::read(&node.keyspace, wall);
                let rank = members.keys().position(|member| *member == node.id);
                let (rank, count) = rank.map_or((0, 1), |rank| (rank as u32, members.len() as u32));
                node.keyspace.set_share(rank, count);
                node.inputs.push_back(Input::Members(members));
                node.inputs.extend(waiting);
            }
        }
    }

    /// How many actions have met something concurrent at a node.
    fn conflicts(&mut self, slot: usize) -> u64 {
        self.node(slot).keyspace.conflicts().into_iter().map(|(_, times)| times).sum()
    }

    fn carry_out(&mut self, slot: usize, output: Output) {
        let wall = self.wall(slot);
        match output {
            Output::Send { peer, frame } => {
                if let Frame::SnapshotRequest { attempt } | Frame::HandoverRequest { attempt, .. } = frame
                    && self.node(slot).import.expect(peer, attempt)
                    && attempt > 1
                {
                    self.outcome.coverage.note(Path::SnapshotRestarted);
                }
                self.send_frame(slot, peer, frame);
            }
            Output::Apply { effect, seen } => {
                self.drop_stale_data(slot);
                self.noted(slot);
                self.note(slot, || format!("applies {}", effect.dot));
                self.outcome.statistics.applied += 1;
                self.checker.applying(slot, &effect, &seen);
                let races = self.expiries.contains(&effect.dot).then(|| self.conflicts(slot));
                let node = self.node(slot);
                let is_relayed = !node.links.contains_key(&effect.dot.node);
                node.keyspace.apply(&effect, &seen, wall);
                node.members_changed |= members::touched_by(&effect);
                let is_race = races.is_some_and(|before| self.conflicts(slot) > before);
                let flushes = effect.operations().any(|operation| matches!(operation, Operation::Flush { .. }));
                for (path, is_taken) in
                    [(Path::Relay, is_relayed), (Path::ExpiryRace, is_race), (Path::RemoteFlush, flushes)]
                {
                    self.outcome.coverage.count(path, u64::from(is_taken));
                }
                if self.random.u8(..100) < INTERRUPTIONS {
                    self.outcome.coverage.note(Path::Interrupted);
                    self.use_node(slot);
                }
            }
            Output::TakeOver { tail, beyond, frontier } => self.take_over(slot, &tail, &beyond, &frontier),
            Output::ApplyTogether { effects, frontier } => self.apply_together(slot, &effects, &frontier),
            Output::HandOver { peer, header, effects } => self.hand_over(slot, peer, header, effects),
            Output::Fold(stable) => {
                let node = self.node(slot);
                (node.folding.0, node.folding.2) = (stable, Keyspace::SHARDS);
            }
            Output::SendSnapshot { peer, header } => self.begin_export(slot, peer, header),
            Output::CatchUpComplete => {
                self.node(slot).keyspace.end_catch_up();
                self.checker.caught_up(slot);
            }
            Output::Serving { again } => self.begin_to_serve(slot, &again),
            Output::Part => {
                self.note(slot, || "is about to give up its identity".to_owned());
                let now = self.now;
                let node = self.node(slot);
                (node.serving, node.parting) = (false, true);
                node.opens_at.get_or_insert(now);
            }
            Output::Stay => {
                self.note(slot, || "stays what it is".to_owned());
                self.outcome.coverage.note(Path::Stayed);
                self.node(slot).parting = false;
                self.consider_opening(slot);
            }
            Output::MakeAgain(again) => self.make_again(slot, &[again]),
            Output::Forgo(origin) => {
                self.node(slot).remains.forgo(origin);
                self.note(slot, || format!("leaves the effects of {origin} to be made again by another"));
                self.keeps(slot);
            }
            Output::Heartbeat(member) => {
                let node = self.node(slot);
                members::write(&node.keyspace, wall, node.id, &member);
                node.members_changed = true;
                self.noted(slot);
            }
            Output::Admit { node: newcomer, member } => {
                self.note(slot, || format!("admits {newcomer}"));
                self.outcome.coverage.note(Path::Admitted);
                let node = self.node(slot);
                members::write(&node.keyspace, wall, newcomer, &member);
                node.members_changed = true;
                self.noted(slot);
            }
            Output::RemoveMember(dead) => {
                self.note(slot, || format!("removes {dead} from the members"));
                let is_dead = !self.nodes.iter().flatten().any(|node| node.id == dead);
                self.outcome.coverage.note(if is_dead { Path::MemberRemoved } else { Path::MemberRemovedAlive });
                let node = self.node(slot);
                node.members_changed |= members::remove(&node.keyspace, wall, dead);
                self.noted(slot);
            }
            Output::Connect { address, .. } => {
                if let Some(to) = slot_of(&address) {
                    self.dial(slot, to);
                }
            }
            Output::Disconnect { peer, reason } => {
                self.note(slot, || format!("ends the connection to {peer}: {reason}"));
                if let Some(&number) = self.node(slot).links.get(&peer) {
                    self.close(number, slot);
                    self.node(slot).inputs.push_back(Input::Disconnected { peer });
                }
            }
            Output::Dial { address } => {
                let Some(to) = slot_of(&address) else { return };
                self.outcome.coverage.note(Path::UnmetDialed);
                match self.peer_at(slot, to) {
                    Some(peer) => self.node(slot).inputs.push_back(Input::Reached { address, peer: Some(peer) }),
                    None => self.dial(slot, to),
                }
            }
            Output::LookUp => {
                let run = self.node(slot).run;
                let (found, time) = self.look_up();
                if let Some(found) = found {
                    self.queue.push(self.now + time, Event::Named(run, found));
                }
            }
            Output::Discover => {
                let is_anew = self.node(slot).search.number > 1;
                self.outcome.coverage.count(Path::Rediscovered, u64::from(is_anew));
                self.begin_search(slot);
            }
            Output::Rebase { reason } => self.node(slot).rebase = Some(reason),
            Output::Warn(message) => {
                let unmet = message.contains("has never met");
                self.outcome.coverage.count(Path::UnmetGivenUp, u64::from(unmet));
                self.note(slot, || format!("warns: {message}"));
            }
        }
    }

    fn begin_to_serve(&mut self, slot: usize, again: &[Again]) {
        self.note(slot, || "serves".to_owned());
        self.drop_stale_data(slot);
        let wall = self.wall(slot);
        let former = self.node(slot).former.take();
        if let Some(former) = former {
            self.make_again(slot, again);
            let node = self.node(slot);
            node.remains.forget(&node.keyspace.frontier());
            node.members_changed |= members::remove(&node.keyspace, wall, former);
            self.noted(slot);
            self.keeps(slot);
        }
        let now = self.now;
        self.node(slot).opens_at = Some(now + SESSION_PATIENCE);
        self.consider_opening(slot);
    }

    /// Makes these effects again, as far as they are lacking.
    fn make_again(&mut self, slot: usize, again: &[Again]) {
        self.noted(slot);
        let wall = self.wall(slot);
        let node = self.node(slot);
        let effects = node.remains.take(again, &node.keyspace.frontier());
        let dots: Vec<Dot> = effects.iter().map(|(effect, _)| effect.dot).collect();
        self.collect_local_effects(slot, false);
        let node = self.node(slot);
        let made = node.keyspace.reissue(&mut node.reissue, &effects, node.core.folded(), wall);
        self.checker.made_again(slot, &made);
        for (former, effect) in &made {
            self.note(slot, || format!("makes {former} again: {}", trace::describe(effect)));
        }
        let made = made.into_iter().map(|(_, effect)| effect).collect();
        self.node(slot).inputs.push_back(Input::MadeAgain(made));
        self.note(slot, || {
            let origins: BTreeSet<String> = dots.iter().map(|dot| dot.node.to_string()).collect();
            format!("makes {} effects of {origins:?} again", dots.len())
        });
        self.outcome.coverage.count(Path::Remade, dots.len() as u64);
        self.outcome.coverage.count(Path::RemadeNone, u64::from(dots.is_empty()));
        self.noted(slot);
        self.keeps(slot);
    }

    /// The checker takes note of what a node still keeps to be made again.
    fn keeps(&mut self, slot: usize) {
        let node = self.nodes[slot].as_ref().expect("only nodes that run are asked for");
        self.checker.keeps(slot, node.remains.dots().collect());
    }

    /// Serves clients as soon as everything is here that they may have seen before, or will not come.
    fn consider_opening(&mut self, slot: usize) {
        let (now, wall) = (self.now, self.wall(slot));
        let node = self.node(slot);
        let Some(opens_at) = node.opens_at.filter(|_| !node.parting) else { return };
        let members = members::read(&node.keyspace, wall);
        let is_covered = is_covered(&node.shown, &node.keyspace.frontier(), &members);
        if !is_covered && now < opens_at {
            self.outcome.coverage.note(Path::OpenedLate);
            return;
        }
        node.opens_at = None;
        node.shown = Frontier::EMPTY;
        node.serving = true;
        if !is_covered {
            self.outcome.coverage.note(Path::OpenedWithout);
            self.checker.opened_without_all(slot);
        }
        self.note(slot, || {
            format!("lets clients in{}", if is_covered { "" } else { ", although something is missing" })
        });
    }

    /// Gives up the identity, if the core wants that.
    pub fn process_rebase(&mut self, slot: usize) {
        let Some(node) = self.nodes[slot].as_mut() else { return };
        let Some(reason) = node.rebase.take() else { return };
        self.outcome.statistics.rebases += 1;
        self.outcome.coverage.note(if node.former.is_some() { Path::RebaseAgain } else { Path::Rebase });
        self.note(slot, || format!("gives up its identity: {reason}"));
        let links: Vec<u64> = self.node(slot).links.values().copied().collect();
        for number in links {
            self.close(number, slot);
        }
        self.collect_local_effects(slot, false);
        let (monotonic, wall) = (self.now, self.wall(slot));
        let id = NodeId(self.random.u64(1..));
        let node = self.node(slot);
        let has_served = std::mem::take(&mut node.serving) | node.opens_at.take().is_some();
        node.parting = false;
        let waiting = std::mem::take(&mut node.inputs);
        let former = std::mem::replace(&mut node.id, id);
        node.options.node = id;
        node.reissue = Reissue::new(id);
        node.options.seed = id.0;
        node.options.member.started = wall.max(node.options.member.started + 1);
        if has_served {
            node.options.member.was(former);
            node.shown.join(node.core.frontier());
        }
        let report = node.core.report(Now { monotonic, wall });
        node.log_was_full |= has_dropped(&report);
        // What the core of an identity that never served has of others, they have.
        if has_served {
            node.former = Some(former);
            node.remains.join(node.core.remains());
            node.options.member.legacy = node.remains.made();
            node.options.member.forgotten = node.remains.forgotten();
        }
        for input in waiting {
            match input {
                Input::LocalEffects(effects) => effects.into_iter().for_each(|effect| node.keep_late(effect)),
                Input::MadeAgain(effects) => node.remains.add_made(effects),
                _ => {}
            }
        }
        (node.options.legacy, node.options.holders) = (node.remains.legacy(), node.remains.holders());
        node.options.absent = node.remains.absent();
        node.core = Core::new(node.options.clone(), Now { monotonic, wall });
        node.members_changed = false;
        node.is_stale = true;
        node.folding.2 = 0;
        node.import = Import::default();
        node.search.active = false;
        self.outcome.coverage.take(&report);
        let (kept, log_was_full) = (self.node(slot).remains.dots().collect::<Vec<Dot>>(), self.node(slot).log_was_full);
        self.checker.gave_up(slot, &kept, log_was_full);
        if has_served && self.scenario.late_writes {
            self.node(slot).serving = true;
            self.use_node(slot);
            self.node(slot).serving = false;
        }
        self.begin_search(slot);
    }

    /// Cancels what walks over the keyspace, and begins it anew for the current identity.
    pub fn begin_import(&mut self, slot: usize) {
        self.collect_local_effects(slot, false);
        let node = self.node(slot);
        node.folding.2 = 0;
        node.is_stale = true;
        let late = node.keyspace.begin_import(node.id);
        assert!(late.is_empty(), "everything was collected just before");
        node.own_past = Frontier::EMPTY;
        let (id, kept) = (node.id, node.remains.dots().collect::<Vec<Dot>>());
        let log_was_full = self.node(slot).log_was_full;
        self.checker.emptied(slot, id, &kept, log_was_full);
    }

    /// Begins to look for peers.
    pub fn begin_search(&mut self, slot: usize) {
        let now = self.now;
        let node = self.node(slot);
        if !node.search.active {
            let number = node.search.number + 1;
            node.search = Search { number, active: true, told: false, pause: SEARCH_PAUSES.0 };
            let run = node.run;
            self.queue.push(now, Event::Search(run, number));
        }
    }

    /// The search goes on: with a lookup.
    pub fn search(&mut self, slot: usize, number: u64) {
        let node = self.node(slot);
        if node.search.number != number || !node.search.active {
            return;
        }
        node.search.active = node.links.is_empty();
        if !node.search.active {
            return;
        }
        let run = node.run;
        let (found, time) = self.look_up();
        if let Some(found) = &found {
            self.queue.push(self.now + time, Event::Named(run, found.clone()));
        }
        self.queue.push(self.now + time, Event::Resolved(run, number, found.unwrap_or_default()));
    }

    /// What a lookup finds, unless it fails, and how long it takes.
    fn look_up(&mut self) -> (Option<Vec<usize>>, u64) {
        match self.dns_works {
            true => {
                let running = (0..self.nodes.len()).filter(|&to| self.nodes[to].is_some());
                (Some(running.collect()), self.random.u64(1..50))
            }
            false => {
                self.outcome.coverage.note(Path::DnsFailed);
                (None, LOOKUP_TIME)
            }
        }
    }

    /// A lookup named these nodes.
    pub fn named(&mut self, slot: usize, found: Vec<usize>) {
        let others = found.into_iter().filter(|&to| to != slot);
        self.step(slot, Input::Named(others.map(address).collect()));
    }

    /// The lookup came to an end. An empty list of addresses is told from one that was tried in vain by the time only.
    pub fn resolved(&mut self, slot: usize, number: u64, mut found: Vec<usize>) {
        let node = self.node(slot);
        if node.search.number != number || !node.search.active {
            return;
        }
        if let Some(former) = node.former {
            let members = members::read(&node.keyspace, 0);
            found.extend(
                members.into_iter().filter(|(id, _)| *id != former).filter_map(|(_, member)| slot_of(&member.address)),
            );
        }
        found.retain(|&to| to != slot);
        if !found.is_empty() {
            let run = node.run;
            found.iter().for_each(|&to| self.dial(slot, to));
            self.queue.push(self.now + ANSWER_TIME, Event::Resolved(run, number, vec![slot]));
            return;
        }
        if !node.links.is_empty() {
            node.search.active = false;
            return;
        }
        let (run, pause, told) = (node.run, node.search.pause, std::mem::replace(&mut node.search.told, true));
        node.search.pause = SEARCH_PAUSES.1.min(2 * pause);
        self.queue.push(self.now + pause, Event::Search(run, number));
        if !told {
            self.note(slot, || "finds nobody".to_owned());
            self.outcome.coverage.note(Path::BeganAlone);
            self.step(slot, Input::NobodyFound);
        }
    }
}
