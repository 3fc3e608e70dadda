//! The world: time, faults, and all nodes in it.

use std::collections::{BTreeMap, BTreeSet};

use swytch::effects::{Dot, NodeId};
use swytch::keyspace::{Keyspace, Kind};

use super::members;
use super::node::Node;
use super::queue::{Connection, Event, Queue, Run};
use crate::checker::Checker;
use crate::coverage::Path;
use crate::scenario::{Ending, Fault, Links, Outcome, Scenario};
use crate::trace::Trace;

/// True time when a simulation begins: milliseconds since the Unix epoch.
const EPOCH: u64 = 1_800_000_000_000;
/// How often the promises that hold over all nodes are looked at.
const INSPECTION_INTERVAL: u64 = 500;
/// Every so many inspections, everything that a node holds is held against the specification.
const AUDIT_EVERY: u64 = 8;

/// One simulation.
pub(super) struct World<'a> {
    pub scenario: &'a Scenario,
    pub now: u64,
    pub queue: Queue,
    pub nodes: Vec<Option<Node>>,
    runs: u64,
    pub connections: BTreeMap<u64, Connection>,
    pub next_connection: u64,
    /// Does nothing get from the first to the second?
    pub cuts: Vec<Vec<bool>>,
    pub links: Links,
    offsets: Vec<i64>,
    pub dns_works: bool,
    pub random: fastrand::Rng,
    pub checker: Checker,
    pub trace: Trace,
    pub outcome: Outcome,
    /// Faults and clients are over.
    pub healed: bool,
    inspections: u64,
    pub next_value: u64,
    /// Removals of what was over.
    pub expiries: BTreeSet<Dot>,
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64, traced: bool) -> Self {
        let count = scenario.nodes;
        let mut queue = Queue::default();
        for (number, (at, _)) in scenario.faults.iter().enumerate() {
            queue.push(*at, Event::Fault(number));
        }
        queue.push(scenario.duration, Event::Heal);
        queue.push(INSPECTION_INTERVAL, Event::Inspect);
        World {
            scenario,
            now: 0,
            queue,
            nodes: (0..count).map(|_| None).collect(),
            runs: 0,
            connections: BTreeMap::new(),
            next_connection: 1,
            cuts: vec![vec![false; count]; count],
            links: scenario.links.clone(),
            offsets: vec![0; count],
            dns_works: true,
            random: fastrand::Rng::with_seed(seed),
            checker: Checker::new(count),
            trace: Trace::new(traced),
            outcome: Outcome::default(),
            healed: false,
            inspections: 0,
            next_value: 0,
            expiries: BTreeSet::new(),
        }
    }

    pub fn note(&mut self, slot: usize, what: impl FnOnce() -> String) {
        self.trace.note(self.now, Some(slot), what);
    }

    /// A node's wall clock.
    pub fn wall(&self, slot: usize) -> u64 {
        (EPOCH + self.now).saturating_add_signed(self.offsets[slot])
    }

    /// Runs until everything has converged, or has not in time, or a promise is broken.
    pub fn run(mut self) -> Outcome {
        while let Some((at, event)) = self.queue.pop() {
            self.now = at;
            self.handle(event);
            if self.checker.has_failed() {
                break;
            }
            if self.healed && self.has_converged() {
                self.finish();
                break;
            }
            let deadline = self.scenario.duration + self.scenario.convergence;
            if self.now > deadline {
                let state = self.describe();
                let limit = self.scenario.convergence / 1000;
                self.checker.violated("P1", format!("no convergence within {limit} s after all was healed: {state}"));
                break;
            }
        }
        for slot in 0..self.nodes.len() {
            self.take_counts(slot);
        }
        self.outcome.statistics.simulated = self.now;
        self.outcome.violations = self.checker.into_violations();
        self.outcome.trace = self.trace.into_lines();
        self.outcome
    }

    fn handle(&mut self, event: Event) {
        // A node that stands still finds everything when it goes on.
        if let Some(slot) = self.concerned(&event)
            && let Some(node) = self.nodes[slot].as_mut()
            && node.paused
        {
            node.backlog.push(event);
            return;
        }
        match event {
            Event::Fault(number) => {
                let fault = self.scenario.faults[number].1.clone();
                self.strike(fault);
            }
            Event::Heal => self.heal(),
            Event::Inspect => self.inspect(),
            Event::Tick(run) => self.on_run(run, Self::tick),
            Event::Client(run) => self.on_run(run, Self::client),
            Event::Collect(run) => self.on_run(run, Self::collect),
            Event::Search(run, search) => self.on_run(run, |world, slot| world.search(slot, search)),
            Event::Resolved(run, search, found) => {
                self.on_run(run, |world, slot| world.resolved(slot, search, found));
            }
            Event::Named(run, found) => self.on_run(run, |world, slot| world.named(slot, found)),
            Event::Dialed { from, to } => self.dialed(from, to),
            Event::Arrival { connection, end, sent } => self.arrived(connection, end, sent),
            Event::Idle { connection, end } => self.idle(connection, end),
            Event::Closed { connection, end } => self.closed(connection, end),
            Event::Export { connection, end, header, next } => self.export(connection, end, header, next),
        }
    }

    /// The node in which an event takes place, if it is one.
    fn concerned(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Tick(run) | Event::Client(run) | Event::Collect(run) => Some(run.slot),
            Event::Search(run, _) | Event::Resolved(run, ..) | Event::Named(run, _) => Some(run.slot),
            Event::Dialed { from: run, .. } => Some(run.slot),
            Event::Arrival { connection, end, .. }
            | Event::Idle { connection, end }
            | Event::Closed { connection, end }
            | Event::Export { connection, end, .. } => Some(self.connections.get(connection)?.ends[*end].run.slot),
            Event::Fault(_) | Event::Heal | Event::Inspect => None,
        }
    }

    fn on_run(&mut self, run: Run, act: impl FnOnce(&mut Self, usize)) {
        if self.nodes[run.slot].as_ref().is_some_and(|node| node.run == run) {
            act(self, run.slot);
            self.process_rebase(run.slot);
        }
    }

    fn strike(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.trace.note(self.now, None, || format!("{fault:?}"));
        match fault {
            Fault::Start(slot) => self.start(slot),
            Fault::Crash(slot) => {
                self.take_counts(slot);
                if let Some(node) = self.nodes[slot].take() {
                    let is_early = node.former.is_some();
                    self.outcome.coverage.count(Path::CrashInTransfer, u64::from(node.import.is_under_way()));
                    self.outcome.coverage.count(Path::CrashBeforeRemake, u64::from(is_early));
                    self.checker.crashed(slot);
                    self.outcome.statistics.crashes += 1;
                }
            }
            Fault::Pause(slot) => {
                if let Some(node) = self.nodes[slot].as_mut() {
                    node.paused = true;
                }
            }
            Fault::Resume(slot) => self.resume(slot),
            Fault::Cut { from, to } => {
                for &from in &from {
                    for &to in to.iter().filter(|&&to| to != from) {
                        self.cuts[from][to] = true;
                    }
                }
            }
            Fault::Mend => self.mend(),
            Fault::Links(links) => self.links = links,
            Fault::Clock { node, offset } => {
                let is_back = offset < self.offsets[node];
                self.outcome.coverage.count(Path::ClockBack, u64::from(is_back));
                self.offsets[node] = offset;
            }
            Fault::Dns(works) => self.dns_works = works,
        }
        self.update_connections();
    }

    fn start(&mut self, slot: usize) {
        if self.nodes[slot].is_some() {
            return;
        }
        self.runs += 1;
        let run = Run { slot, number: self.runs };
        let node = Node::new(run, self.now, self.wall(slot), self.scenario, &mut self.random);
        let id = node.id;
        self.checker.started(slot, id);
        self.nodes[slot] = Some(node);
        self.note(slot, || format!("starts as {id}"));
        let jitter = self.random.u64(0..50);
        self.queue.push(self.now + jitter, Event::Tick(run));
        self.queue.push(self.now + jitter, Event::Client(run));
        self.begin_search(slot);
    }

    fn resume(&mut self, slot: usize) {
        let Some(node) = self.nodes[slot].as_mut() else { return };
        if std::mem::take(&mut node.paused) {
            self.outcome.coverage.note(Path::Resumed);
        }
        for event in std::mem::take(&mut node.backlog) {
            self.queue.push(self.now, event);
        }
    }

    fn mend(&mut self) {
        self.cuts.iter_mut().flatten().for_each(|cut| *cut = false);
    }

    fn heal(&mut self) {
        self.trace.note(self.now, None, || "everything is healed, clients stop".to_owned());
        self.healed = true;
        let core = self.core();
        if core.len() == self.nodes.len() {
            self.mend();
        } else {
            self.outcome.coverage.note(Path::CoreHealed);
            let outsiders = (0..self.nodes.len()).filter(|slot| !core.contains(slot) && self.nodes[*slot].is_some());
            self.outcome.coverage.count(Path::OutsidersRun, outsiders.count() as u64);
            for &from in &core {
                core.iter().for_each(|&to| self.cuts[from][to] = false);
            }
        }
        self.links = Links::GOOD;
        self.dns_works = true;
        for &slot in &core {
            self.resume(slot);
            self.start(slot);
        }
        self.checker.healed(&core);
        self.update_connections();
    }

    /// The nodes that are healed in the end, and must have the same then.
    fn core(&self) -> Vec<usize> {
        match &self.scenario.ending {
            Ending::All => (0..self.nodes.len()).collect(),
            Ending::Core(core) => core.clone(),
        }
    }

    /// What a node's core has counted, before it is gone.
    pub fn take_counts(&mut self, slot: usize) {
        let Some(node) = &self.nodes[slot] else { return };
        self.outcome.coverage.take(&node.report(self.now));
        node.keyspace.conflicts().into_iter().for_each(|(kind, times)| {
            let path = match kind {
                None => Path::ConflictAbsent,
                Some(Kind::String) => Path::ConflictString,
                Some(Kind::Hash) => Path::ConflictHash,
                Some(Kind::Set) => Path::ConflictSet,
                Some(Kind::SortedSet) => Path::ConflictSortedSet,
                Some(Kind::List) => Path::ConflictList,
                Some(Kind::Stream) => Path::ConflictStream,
            };
            self.outcome.coverage.count(path, times);
        });
    }

    fn inspect(&mut self) {
        self.queue.push(self.now + INSPECTION_INTERVAL, Event::Inspect);
        self.inspections += 1;
        for slot in 0..self.nodes.len() {
            if self.nodes[slot].is_some() {
                self.collect_local_effects(slot, false);
            }
        }
        let keyspaces: Vec<Option<&Keyspace>> = self
            .nodes
            .iter()
            .map(|node| node.as_ref().filter(|node| node.serving).map(|node| &node.keyspace))
            .collect();
        self.checker.compare(&keyspaces);
        for (slot, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            if node.serving && (self.inspections + slot as u64).is_multiple_of(AUDIT_EVERY) {
                self.checker.audit(slot, &node.keyspace);
                if !self.scenario.workload.flushes {
                    self.checker.count(slot, &node.keyspace);
                }
            }
            let report = node.report(self.now);
            for what in node.excesses(&report) {
                self.checker.violated("P8", format!("node {slot}: {what}"));
            }
            self.outcome.coverage.count(Path::Waiting, report.waiting_effects as u64);
            for member in &report.members {
                let running = self.nodes.iter().flatten().find(|other| other.id == member.node);
                if let Some(other) = running {
                    self.checker.acknowledged(slot, node.id, member.acknowledged, other.run.slot);
                }
            }
        }
    }

    /// Do all nodes that were healed serve, know each other and nobody who does not run, and have the same?
    fn has_converged(&self) -> bool {
        let core = self.core();
        let nodes = core.iter().map(|&slot| self.nodes[slot].as_ref()).collect::<Option<Vec<_>>>();
        let Some(nodes) = nodes else { return false };
        let first = nodes[0].core.frontier();
        let all_have_it = |node: &&Node| node.core.frontier() == first && node.keyspace.frontier() == *first;
        if !nodes.iter().all(|node| node.serving && node.remains.is_settled() && all_have_it(node)) {
            return false;
        }
        let ids: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        let running: BTreeSet<NodeId> = self.nodes.iter().flatten().map(|node| node.id).collect();
        nodes.iter().all(|node| {
            let members = members::read(&node.keyspace, self.wall(node.run.slot));
            let members: BTreeSet<NodeId> = members.into_keys().collect();
            members.is_superset(&ids) && members.is_subset(&running)
        })
    }

    fn finish(&mut self) {
        let after = self.now - self.scenario.duration;
        self.outcome.statistics.converged_after = after;
        self.trace.note(self.now, None, || format!("all nodes have the same, {after} ms after everything was healed"));
        let keyspaces: Vec<Option<&Keyspace>> =
            self.nodes.iter().map(|node| node.as_ref().map(|node| &node.keyspace)).collect();
        self.checker.compare(&keyspaces);
        for (place, slot) in self.core().into_iter().enumerate() {
            let Some(keyspace) = keyspaces[slot] else { continue };
            self.checker.audit(slot, keyspace);
            if place == 0 {
                self.checker.at_the_end(slot, keyspace, !self.scenario.workload.flushes);
            }
        }
    }

    /// Where everybody is, for who has to find out why nothing converges.
    fn describe(&self) -> String {
        let each = self.nodes.iter().enumerate().map(|(slot, node)| {
            let Some(node) = node else { return format!("node {slot} does not run") };
            let members: Vec<_> = members::read(&node.keyspace, self.wall(slot)).into_keys().collect();
            let (id, serving, frontier) = (node.id, node.serving, node.core.frontier());
            format!("node {slot} is {id}, serving {serving}, has {frontier:?}, members {members:?}")
        });
        each.collect::<Vec<_>>().join("; ")
    }
}
