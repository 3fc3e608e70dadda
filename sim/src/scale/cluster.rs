//! Nodes that are always connected, each a core and a keyspace, and the time in which they live.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use swytch::effects::{Frontier, NodeId};
use swytch::keyspace::{Keyspace, KeyspaceOptions, Life};
use swytch::replication::{Core, CoreOptions, Frame, Input, Member, Now, Output};

use super::{Phase, Traffic, Use};
use crate::event_loop::members;
use crate::scenario::Links;

/// True time when a simulation begins: milliseconds since the Unix epoch.
const EPOCH: u64 = 1_800_000_000_000;
/// The second node starts after so many milliseconds, when the first has found that it is alone; then one by one.
const STARTS: (u64, u64) = (500, 20);
/// So long a cluster has to form.
const PATIENCE: u64 = 60_000;
/// Keys that clients write to.
const KEYS: u64 = 10_000;
/// Bytes of a value.
const VALUE: usize = 32;

enum Event {
    Tick(usize),
    Connect(usize, usize),
    Named(usize),
    Nobody(usize),
    Arrival { from: usize, to: usize, frame: Vec<u8> },
}

struct Node {
    id: NodeId,
    core: Core,
    keyspace: Keyspace,
    inputs: VecDeque<Input>,
    members_changed: bool,
    serving: bool,
    peers: BTreeMap<NodeId, usize>,
}

/// The nodes, and what is to happen.
pub(super) struct Cluster {
    now: u64,
    nodes: Vec<Node>,
    /// By time, and then in the order in which it was planned.
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    planned: u64,
    /// When the last frame of each stream arrives, by sender, receiver and stream.
    last_arrival: BTreeMap<(usize, usize, bool), u64>,
    links: Links,
    random: fastrand::Rng,
    traffic: [Traffic; 4],
    writes: u64,
}

impl Cluster {
    pub fn new(count: usize, seed: u64) -> Cluster {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cluster = Cluster {
            now: 0,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            planned: 0,
            last_arrival: BTreeMap::new(),
            links: Links::GOOD,
            random: fastrand::Rng::with_seed(random.u64(..)),
            traffic: Default::default(),
            writes: 0,
        };
        for slot in 0..count {
            let at = if slot == 0 { 0 } else { STARTS.0 + STARTS.1 * slot as u64 };
            cluster.nodes.push(Node::new(slot, at, &mut random));
            cluster.plan(at, Event::Tick(slot));
        }
        cluster
    }

    /// Lets time pass until all serve and know each other; returns when that was.
    pub fn form(&mut self) -> Result<u64, String> {
        while self.now < PATIENCE {
            self.pass(100, 0);
            if self.is_formed() {
                return Ok(self.now);
            }
        }
        Err(format!("{} nodes do not form a cluster within {} s", self.nodes.len(), PATIENCE / 1000))
    }

    fn is_formed(&self) -> bool {
        let count = self.nodes.len();
        let wall = EPOCH + self.now;
        let knows_all =
            |node: &Node| node.peers.len() + 1 == count && members::read(&node.keyspace, wall).len() == count;
        self.nodes.iter().all(|node| node.serving && knows_all(node))
    }

    /// Lets so many milliseconds pass, in which clients write at this rate a second over all nodes, and says what happened.
    pub fn pass(&mut self, millis: u64, rate: u64) -> Phase {
        let (begin, traffic, writes, processor) = (self.now, self.traffic, self.writes, processor_time());
        for number in 1..=rate * millis / 1000 {
            self.run_until(begin + number * 1000 / rate);
            self.write();
        }
        self.run_until(begin + millis);
        let mut phase = Phase { millis, writes: self.writes - writes, ..Phase::default() };
        for (sum, (after, before)) in phase.traffic.iter_mut().zip(self.traffic.iter().zip(&traffic)) {
            *sum = Traffic { frames: after.frames - before.frames, bytes: after.bytes - before.bytes };
        }
        phase.processor = processor_time().zip(processor).map(|(after, before)| after.saturating_sub(before));
        let now = Now { monotonic: self.now, wall: EPOCH + self.now };
        // The background work counts the metadata.
        self.nodes.iter().for_each(|node| node.keyspace.upkeep(now.wall, Keyspace::SHARDS));
        phase.metadata = self.nodes.iter().map(|node| node.keyspace.metadata()).max().unwrap_or(0);
        phase.log = self.nodes.iter().map(|node| node.core.report(now).log_bytes).max().unwrap_or(0);
        phase
    }

    /// What a healthy cluster never does was not done, and all nodes come to hold the same.
    pub fn check(&mut self) -> Result<(), String> {
        self.pass(3_000, 0);
        let now = Now { monotonic: self.now, wall: EPOCH + self.now };
        for node in &self.nodes {
            let report = node.core.report(now);
            if report.refused_peers + report.forced_out + report.duplicates + report.dropped_effects > 0 {
                return Err(format!("the network is healthy, and yet: {report:?}"));
            }
        }
        let digests: BTreeSet<_> = self.nodes.iter().map(|node| node.keyspace.digest()).collect();
        if digests.len() > 1 { Err("the nodes differ".to_owned()) } else { Ok(()) }
    }

    fn write(&mut self) {
        let slot = (self.writes % self.nodes.len() as u64) as usize;
        self.writes += 1;
        let name = format!("key:{:012}", self.random.u64(..KEYS));
        let value: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(VALUE).collect();
        let keyspace = &self.nodes[slot].keyspace;
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(EPOCH + self.now, 0, key).string_set(key, &value, Life::Forever);
        self.collect(slot, false);
        self.process(slot);
    }

    fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.queue.push(Reverse((at, self.planned)));
        self.events.insert(self.planned, event);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(&Reverse((at, number))) = self.queue.peek()
            && at <= end
        {
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.events.remove(&number) {
                self.handle(event);
            }
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Tick(slot) => {
                let bytes = self.nodes[slot].keyspace.metadata();
                self.step(slot, Input::Metadata { bytes });
                self.step(slot, Input::Tick);
                let pause = CoreOptions::new(NodeId(1), Member::default()).tick_interval;
                self.plan(self.now + pause, Event::Tick(slot));
            }
            Event::Connect(from, to) => {
                let ids = [from, to].map(|slot| self.nodes[slot].id);
                if self.nodes[from].peers.contains_key(&ids[1]) {
                    return;
                }
                for (slot, peer, at) in [(from, ids[1], to), (to, ids[0], from)] {
                    self.nodes[slot].peers.insert(peer, at);
                    self.step(slot, Input::Connected { peer });
                }
            }
            Event::Named(slot) => {
                let others = self.started().filter(|&other| other != slot).map(address).collect();
                self.step(slot, Input::Named(others));
            }
            Event::Nobody(slot) => self.step(slot, Input::NobodyFound),
            Event::Arrival { from, to, frame } => {
                let peer = self.nodes[from].id;
                let frame = Frame::decode(frame.into()).expect("what a node says can be read");
                self.step(to, Input::Received { peer, frame });
            }
        }
    }

    fn started(&self) -> impl Iterator<Item = usize> + use<> {
        let by_now = self.now.saturating_sub(STARTS.0) / STARTS.1;
        0..self.nodes.len().min(1 + by_now as usize)
    }

    /// Hands the core an input, after everything that was committed before.
    fn step(&mut self, slot: usize, input: Input) {
        self.collect(slot, matches!(input, Input::Tick));
        self.nodes[slot].inputs.push_back(input);
        self.process(slot);
    }

    fn collect(&mut self, slot: usize, always: bool) {
        let node = &mut self.nodes[slot];
        let effects = node.keyspace.drain_effects();
        if !effects.is_empty() || always {
            node.inputs.push_back(Input::LocalEffects(effects));
        }
    }

    fn process(&mut self, slot: usize) {
        let now = Now { monotonic: self.now, wall: EPOCH + self.now };
        while let Some(input) = self.nodes[slot].inputs.pop_front() {
            let mut outputs = Vec::new();
            self.nodes[slot].core.step(now, input, &mut outputs);
            outputs.into_iter().for_each(|output| self.carry_out(slot, output));
            if std::mem::take(&mut self.nodes[slot].members_changed) {
                // First what changed them, if it was done here, then how they are now, then everything else.
                let waiting = std::mem::take(&mut self.nodes[slot].inputs);
                self.collect(slot, false);
                let node = &mut self.nodes[slot];
                node.inputs.push_back(Input::Members(members::read(&node.keyspace, now.wall)));
                node.inputs.extend(waiting);
            }
        }
    }

    fn carry_out(&mut self, slot: usize, output: Output) {
        let wall = EPOCH + self.now;
        let node = &mut self.nodes[slot];
        match output {
            Output::Send { peer, frame } => {
                if let Some(&to) = node.peers.get(&peer) {
                    self.send(slot, to, &frame);
                }
            }
            Output::Apply { effect, seen } => {
                node.keyspace.apply(&effect, &seen, wall);
                node.members_changed |= members::touched_by(&effect);
            }
            Output::Fold(stable) => fold(&node.keyspace, &stable),
            Output::CatchUpComplete => node.keyspace.end_catch_up(),
            Output::Serving { .. } => node.serving = true,
            Output::Heartbeat(member) => {
                members::write(&node.keyspace, wall, node.id, &member);
                node.members_changed = true;
            }
            Output::Admit { node: newcomer, member } => {
                members::write(&node.keyspace, wall, newcomer, &member);
                node.members_changed = true;
            }
            Output::Connect { address, .. } | Output::Dial { address } => self.dial(slot, address),
            Output::LookUp => self.plan(self.now + 1, Event::Named(slot)),
            Output::Discover if self.started().count() == 1 => self.plan(self.now + 1, Event::Nobody(slot)),
            Output::Discover => {
                let others = self.started().filter(|&other| other != slot);
                others.for_each(|to| self.plan(self.now + 3, Event::Connect(slot, to)));
            }
            other @ (Output::RemoveMember(_)
            | Output::Disconnect { .. }
            | Output::Part
            | Output::Stay
            | Output::Rebase { .. }
            | Output::SendSnapshot { .. }
            | Output::TakeOver { .. }
            | Output::HandOver { .. }
            | Output::ApplyTogether { .. }
            | Output::MakeAgain(_)
            | Output::Forgo(_)
            | Output::Warn(_)) => {
                unreachable!("nobody is ever away, and all join before anything is forgotten: {other:?}")
            }
        }
    }

    fn dial(&mut self, slot: usize, address: String) {
        let Some(to) = slot_of(&address).filter(|&to| to != slot && to < self.nodes.len()) else { return };
        let peer = self.nodes[to].id;
        if self.nodes[slot].peers.contains_key(&peer) {
            self.nodes[slot].inputs.push_back(Input::Reached { address, peer: Some(peer) });
        } else {
            self.plan(self.now + 3, Event::Connect(slot, to));
        }
    }

    fn send(&mut self, from: usize, to: usize, frame: &Frame) {
        let bytes = frame.encode().concat();
        let usage = match frame {
            Frame::Gossip { .. } => Use::Gossip,
            Frame::Ack { .. } => Use::Acknowledgement,
            Frame::Effects(_) => Use::Effects,
            _ => Use::Other,
        };
        let traffic = &mut self.traffic[usage as usize];
        traffic.frames += 1;
        traffic.bytes += bytes.len() as u64 + 4;
        let soonest = self.now + self.links.latency + self.random.u64(0..=self.links.jitter);
        let last = self.last_arrival.entry((from, to, usage == Use::Effects)).or_default();
        *last = soonest.max(*last);
        let at = *last;
        self.plan(at, Event::Arrival { from, to, frame: bytes });
    }
}

impl Node {
    fn new(slot: usize, now: u64, random: &mut fastrand::Rng) -> Node {
        let id = NodeId(random.u64(1..));
        let wall = EPOCH + now;
        let (name, client_port, version) = (format!("node-{slot}"), 6379, "1.0.0".to_owned());
        let member = Member { name, address: address(slot), client_port, version, started: wall, ..Member::default() };
        let keyspace = KeyspaceOptions { random_seed: random.u64(..), node: Some(id), ..KeyspaceOptions::default() };
        Node {
            id,
            core: Core::new(CoreOptions::new(id, member), Now { monotonic: now, wall }),
            keyspace: Keyspace::new(keyspace),
            inputs: VecDeque::new(),
            members_changed: false,
            serving: false,
            peers: BTreeMap::new(),
        }
    }
}

fn address(slot: usize) -> String {
    format!("10.0.{}.{}:7379", slot / 256, slot % 256)
}

fn slot_of(address: &str) -> Option<usize> {
    let (high, low) = address.strip_prefix("10.0.")?.strip_suffix(":7379")?.split_once('.')?;
    Some(high.parse::<usize>().ok()? * 256 + low.parse::<usize>().ok()?)
}

fn fold(keyspace: &Keyspace, stable: &Frontier) {
    (0..Keyspace::SHARDS).for_each(|shard| keyspace.fold(shard, stable));
}

/// What this thread has worked so far. Only Linux tells.
fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}
