//! A cluster of bare cores for tests: a fake keyspace per node, and a network that loses, repeats, reorders and delays.
//!
//! It checks each effect that a core tells to apply: exactly once, after everything that its origin had seen, with exactly
//! the frontier that its origin had, and never behind a fold.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;

use super::fake_keyspace::{Data, MEMBERS, touches_members};
use super::*;
use crate::effects::{Action, Dot, Making, Operation, Origin, Reach, Reissue};

pub(super) const TICK: u64 = 50;

/// An effect with one operation, as a peer would send it.
pub(super) fn effect(node: u64, seq: u64, changes: &[(u64, u64)]) -> Effect {
    let mut writer = crate::effects::OperationsWriter::default();
    writer.push(Operation::Key { database: 0, key: b"k", action: Action::Remove });
    let changes: Vec<_> = changes.iter().map(|&(node, seq)| (NodeId(node), seq)).collect();
    let mut encoded = Vec::new();
    Effect::encode(&mut encoded, Dot { node: NodeId(node), seq }, 1, &changes, None, writer.bytes());
    Effect::decode(Bytes::from(encoded)).expect("well formed")
}

/// One machine: the node that runs on it, and its runtime.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) alive: bool,
    pub(super) core: Core,
    pub(super) data: Data,
    origin: Origin,
    /// Parts of an imported snapshot hold effects up to here.
    imported: Frontier,
    /// A snapshot that came while it served, and what that holds.
    beside: Option<(Data, Frontier)>,
    /// What identities given up left to be made again.
    remains: Remains,
    /// How many effects were made again.
    pub(super) reissued: usize,
    reissue: Reissue,
    /// What was made since the core was told last, besides effects in the origin.
    made: Vec<Input>,
    members_changed: bool,
    pub(super) serving: bool,
    pub(super) rebases: usize,
    pub(super) lost: u64,
    pub(super) applied: u64,
    pub(super) warnings: Vec<String>,
    pub(super) disconnects: Vec<&'static str>,
}

impl Machine {
    pub(super) fn node(&self) -> NodeId {
        self.origin.node()
    }

    /// What is applied to the data.
    pub(super) fn data_frontier(&self) -> &Frontier {
        self.origin.frontier()
    }

    /// The elements of the set.
    pub(super) fn contents(&self) -> BTreeSet<Vec<u8>> {
        self.data.elements.keys().cloned().collect()
    }
}

#[derive(Clone, Debug)]
enum Event {
    Tick { machine: usize },
    Frame { from: usize, to: usize, link: u64, bytes: Bytes },
    Link { one: usize, other: usize },
    Nobody { machine: usize },
    Named { machine: usize },
    Snapshot { from: usize, to: usize, link: u64, header: SnapshotHeader },
    Handover { from: usize, to: usize, link: u64, header: SnapshotHeader, effects: Option<Vec<Bytes>> },
}

/// What the network does to frames, in percent, and how long they take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) loss: u32,
    pub(super) repeat: u32,
    pub(super) latency: (u64, u64),
}

pub(super) const CALM: Weather = Weather { loss: 0, repeat: 0, latency: (1, 3) };

/// Machines and the network between them.
pub(super) struct Cluster {
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) machines: Vec<Machine>,
    pub(super) weather: Weather,
    pub(super) snapshot_millis: u64,
    /// What each machine's wall clock says.
    pub(super) wall_offset: fn(usize, u64) -> u64,
    events: BTreeMap<(u64, u64), Event>,
    counter: u64,
    /// Connections that stand: which, for each pair in ascending order.
    links: BTreeMap<(usize, usize), u64>,
    blocked: BTreeSet<(usize, usize)>,
    /// What each effect had seen, as its origin knows.
    truth: BTreeMap<Dot, Frontier>,
    adjust: fn(&mut CoreOptions),
    next_node: u64,
    /// Counts the members added to the set, to make each unique.
    pub(super) writes: u64,
    /// Does every machine's name lead to all that are alive?
    pub(super) has_dns: bool,
    /// Must a fold be within everybody's frontier? Not when nodes are given up.
    pub(super) strict_folds: bool,
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}

impl Cluster {
    pub(super) fn new(seed: u64, machines: usize, adjust: fn(&mut CoreOptions)) -> Self {
        let mut cluster = Cluster {
            now: 1_000,
            rng: Rng::with_seed(seed),
            machines: Vec::new(),
            weather: CALM,
            snapshot_millis: 100,
            wall_offset: |_, now| now,
            events: BTreeMap::new(),
            counter: 0,
            links: BTreeMap::new(),
            blocked: BTreeSet::new(),
            truth: BTreeMap::new(),
            adjust,
            next_node: 0,
            writes: 0,
            has_dns: false,
            strict_folds: true,
        };
        for _ in 0..machines {
            cluster.add_machine();
        }
        cluster
    }

    pub(super) fn add_machine(&mut self) -> usize {
        let machine = self.machines.len();
        let (core, origin) = self.fresh_node(machine, Vec::new(), &Remains::default());
        let reissue = Reissue::new(core.options.node);
        self.machines.push(Machine {
            alive: true,
            core,
            data: Data::new(),
            origin,
            imported: Frontier::EMPTY,
            beside: None,
            remains: Remains::default(),
            reissued: 0,
            reissue,
            made: Vec::new(),
            members_changed: false,
            serving: false,
            rebases: 0,
            lost: 0,
            applied: 0,
            warnings: Vec::new(),
            disconnects: Vec::new(),
        });
        let delay = self.rng.u64(0..TICK);
        self.schedule(delay, Event::Tick { machine });
        machine
    }

    /// A node with an id that says nothing about its age.
    fn fresh_node(&mut self, machine: usize, former: Vec<NodeId>, remains: &Remains) -> (Core, Origin) {
        self.next_node += 1;
        let node = NodeId(self.rng.u64(1..1_000) * 1_000 + self.next_node);
        let member = Member {
            name: format!("machine-{machine}"),
            address: machine.to_string(),
            started: (self.wall_offset)(machine, self.now),
            former,
            legacy: remains.made(),
            forgotten: remains.forgotten(),
            ..Member::default()
        };
        let mut options = CoreOptions::new(node, member);
        (options.legacy, options.holders, options.absent) = (remains.legacy(), remains.holders(), remains.absent());
        (self.adjust)(&mut options);
        (Core::new(options, self.time()), Origin::new(node))
    }

    fn time(&self) -> Now {
        Now { monotonic: self.now, wall: self.now }
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.counter += 1;
        self.events.insert((self.now + delay, self.counter), event);
    }

    /// Lets this many milliseconds pass.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick { machine } => {
                self.schedule(TICK, Event::Tick { machine });
                if self.machines[machine].alive {
                    self.hand_over(machine);
                    self.feed(machine, Input::Tick);
                }
            }
            Event::Frame { from, to, link, bytes } => {
                if self.links.get(&pair(from, to)) == Some(&link) {
                    let frame = Frame::decode(bytes).expect("what was encoded can be decoded");
                    let peer = self.machines[from].node();
                    self.feed(to, Input::Received { peer, frame });
                }
            }
            Event::Link { one, other } => self.link(one, other),
            Event::Nobody { machine } => self.feed(machine, Input::NobodyFound),
            Event::Named { machine } => {
                let has_dns = self.has_dns;
                let others =
                    (0..self.machines.len()).filter(|&other| has_dns && other != machine && self.machines[other].alive);
                let named = others.map(|other| other.to_string()).collect();
                self.feed(machine, Input::Named(named));
            }
            Event::Handover { from, to, link, header, effects } => {
                if self.links.get(&pair(from, to)) == Some(&link) {
                    let peer = self.machines[from].node();
                    let Some(effects) = effects else { return self.feed(to, Input::HandoverRefused { peer }) };
                    self.hand_over(to);
                    let tail = SnapshotTail { effects, end: header.begin.clone(), history: None };
                    self.feed(to, Input::HandoverReceived { peer, header, tail });
                }
            }
            Event::Snapshot { from, to, link, header } => {
                if self.links.get(&pair(from, to)) == Some(&link) {
                    self.transfer(from, to, header);
                }
            }
        }
    }

    pub(super) fn feed(&mut self, machine: usize, input: Input) {
        if !self.machines[machine].alive {
            return;
        }
        let mut outputs = Vec::new();
        let time = Now { monotonic: self.now, wall: (self.wall_offset)(machine, self.now) };
        self.machines[machine].core.step(time, input, &mut outputs);
        for output in outputs {
            self.carry_out(machine, output);
        }
        if std::mem::take(&mut self.machines[machine].members_changed) {
            let members = self.machines[machine].data.member_map();
            self.feed(machine, Input::Members(members));
        }
    }

    /// Hands the local effects over to the core.
    pub(super) fn hand_over(&mut self, machine: usize) {
        for input in std::mem::take(&mut self.machines[machine].made) {
            self.feed(machine, input);
        }
        let effects = self.machines[machine].origin.drain();
        self.feed(machine, Input::LocalEffects(effects));
    }

    fn carry_out(&mut self, machine: usize, output: Output) {
        match output {
            Output::Send { peer, frame } => self.send(machine, peer, &frame),
            Output::Apply { effect, seen } => self.apply(machine, &effect, &seen),
            Output::TakeOver { tail, beyond, frontier } => self.take_over(machine, &tail, &beyond, &frontier),
            Output::Fold(stable) => {
                assert!(stable.within(self.machines[machine].origin.frontier()));
                for other in self.machines.iter().filter(|other| self.strict_folds && other.serving) {
                    assert!(stable.within(other.origin.frontier()), "folded before everybody had it");
                }
                self.machines[machine].data.fold(&stable);
            }
            Output::ApplyTogether { effects, frontier } => self.apply_together(machine, &effects, &frontier),
            Output::HandOver { peer, header, effects } => {
                let Some(to) = self.machine_of(peer) else { return };
                let Some(&link) = self.links.get(&pair(machine, to)) else { return };
                let delay = self.snapshot_millis;
                self.schedule(delay, Event::Handover { from: machine, to, link, header, effects });
            }
            Output::SendSnapshot { peer, header } => {
                let Some(to) = self.machine_of(peer) else { return };
                let Some(&link) = self.links.get(&pair(machine, to)) else { return };
                let delay = self.snapshot_millis;
                self.schedule(delay, Event::Snapshot { from: machine, to, link, header });
            }
            Output::CatchUpComplete => {
                let machine = &mut self.machines[machine];
                assert!(machine.imported.within(machine.core.frontier()));
            }
            Output::Serving { again } => {
                self.machines[machine].serving = true;
                self.reissue(machine, &again);
            }
            Output::Part => self.machines[machine].serving = false,
            Output::Stay => self.machines[machine].serving = true,
            Output::MakeAgain(again) => self.reissue(machine, &[again]),
            Output::Forgo(origin) => self.machines[machine].remains.forgo(origin),
            Output::Heartbeat(member) => {
                let node = self.machines[machine].node();
                self.write_member(machine, node, Some(&member));
            }
            Output::Admit { node, member } => self.write_member(machine, node, Some(&member)),
            Output::RemoveMember(node) => self.write_member(machine, node, None),
            Output::Connect { address, .. } => {
                let other = address.parse().expect("written by the harness");
                self.dial(machine, other);
            }
            Output::Disconnect { peer, reason } => {
                self.machines[machine].disconnects.push(reason);
                if let Some(other) = self.machine_of(peer) {
                    self.unlink(machine, other);
                }
            }
            Output::Discover => {
                let others: Vec<usize> = (0..self.machines.len()).filter(|&other| other != machine).collect();
                let found = others.into_iter().filter(|&other| self.dial(machine, other)).count();
                if found == 0 {
                    self.schedule(100, Event::Nobody { machine });
                }
            }
            Output::LookUp => self.schedule(10, Event::Named { machine }),
            Output::Dial { address } => {
                let other = address.parse().expect("named by the harness");
                self.dial(machine, other);
            }
            Output::Rebase { .. } => self.rebase(machine),
            Output::Warn(text) => self.machines[machine].warnings.push(text),
        }
    }

    fn machine_of(&self, node: NodeId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.alive && machine.node() == node)
    }

    fn send(&mut self, from: usize, peer: NodeId, frame: &Frame) {
        let Some(to) = self.machine_of(peer) else { return };
        let Some(&link) = self.links.get(&pair(from, to)) else { return };
        let bytes = Bytes::from(frame.encode().concat());
        let Weather { loss, repeat, latency } = self.weather;
        let copies = if self.rng.u32(..100) < repeat { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.u32(..100) >= loss {
                let delay = self.rng.u64(latency.0..=latency.1);
                self.schedule(delay, Event::Frame { from, to, link, bytes: bytes.clone() });
            }
        }
    }

    /// Has this machine apply an effect, and checks that it may.
    fn apply(&mut self, machine: usize, effect: &Effect, seen: &Frontier) {
        let machine = &mut self.machines[machine];
        assert_eq!(self.truth.get(&effect.dot), Some(seen), "{:?}: what its origin had seen", effect.dot);
        if machine.imported.includes(effect.dot) {
            return;
        }
        let frontier = machine.origin.frontier();
        assert_eq!(frontier.get(effect.dot.node) + 1, effect.dot.seq, "exactly once and without gaps");
        assert!(seen.within(frontier), "{:?} before what its origin had seen", effect.dot);
        assert!(machine.data.folded.within(seen), "{:?} behind a fold", effect.dot);
        machine.applied += 1;
        machine.data.apply(effect, seen);
        machine.origin.observe(effect.dot, effect.time);
        machine.members_changed |= touches_members(effect);
    }

    /// One local effect: made and applied at once, handed over to the core at the next tick or before.
    fn write(&mut self, machine: usize, operation: Operation<'_>, acts_on: Option<&Reach>) {
        let now = self.now;
        let machine = &mut self.machines[machine];
        let seen = machine.origin.frontier().clone();
        let (dot, stamp) = machine.origin.open(now);
        if let Some(acts_on) = acts_on {
            machine.origin.restrict(acts_on.clone());
        }
        machine.origin.push(operation);
        machine.origin.commit();
        let mut writer = crate::effects::OperationsWriter::default();
        writer.push(operation);
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, dot, stamp.time, &[], acts_on, writer.bytes());
        let effect = Effect::decode(Bytes::from(encoded)).expect("well formed");
        machine.data.apply(&effect, &seen);
        machine.members_changed |= touches_members(&effect);
        self.truth.insert(dot, seen);
    }

    fn write_member(&mut self, machine: usize, node: NodeId, member: Option<&Member>) {
        let field = node.0.to_le_bytes();
        let value = member.map(|member| serde_json::to_vec(member).expect("plain data"));
        let action = match &value {
            Some(value) => Action::FieldSet { field: &field, value, deadline: None },
            None => Action::FieldRemove { field: &field },
        };
        self.write(machine, Operation::Key { database: 0, key: MEMBERS, action }, None);
    }

    /// A client adds an element that nobody added before, of at least `size` bytes.
    pub(super) fn add(&mut self, machine: usize, size: usize) -> Vec<u8> {
        self.writes += 1;
        let mut member = format!("{:05}", self.writes).into_bytes();
        member.resize(size.max(5), b'.');
        let action = Action::MemberAdd { member: &member };
        self.write(machine, Operation::Key { database: 0, key: b"set", action }, None);
        member
    }

    /// A client adds an element again, or removes it.
    pub(super) fn change(&mut self, machine: usize, member: &[u8], is_there: bool) {
        let action = if is_there { Action::MemberAdd { member } } else { Action::MemberRemove { member } };
        self.write(machine, Operation::Key { database: 0, key: b"set", action }, None);
    }

    /// Some client does something, at any machine that serves.
    pub(super) fn client(&mut self) {
        let machine = self.rng.usize(..self.machines.len());
        if !self.machines[machine].serving || !self.machines[machine].alive {
            return;
        }
        let some = self.machines[machine].data.elements.keys();
        let chosen = self.rng.choice(some.cloned().collect::<Vec<_>>());
        match (self.rng.u32(..4), chosen) {
            (0, Some(member)) => self.change(machine, &member, false),
            (1, Some(member)) => self.change(machine, &member, true),
            _ => {
                self.add(machine, 20);
            }
        }
        if self.rng.bool() {
            self.hand_over(machine);
        }
    }

    /// Bytes of all frames that were sent and have not arrived.
    pub(super) fn bytes_under_way(&self) -> usize {
        let frames = self.events.values().map(|event| match event {
            Event::Frame { bytes, .. } => bytes.len(),
            _ => 0,
        });
        frames.sum()
    }

    /// Tries to connect, and again after a while, as a handshake repeats itself. False when nobody is there to answer.
    fn dial(&mut self, machine: usize, other: usize) -> bool {
        let reachable = self.machines.get(other).is_some_and(|other| other.alive);
        if !reachable || machine == other {
            return false;
        }
        for delay in [self.rng.u64(1..20), self.rng.u64(380..400)] {
            self.schedule(delay, Event::Link { one: machine, other });
        }
        !self.blocked.contains(&pair(machine, other))
    }

    fn link(&mut self, one: usize, other: usize) {
        let ends = pair(one, other);
        let both_live = self.machines[one].alive && self.machines[other].alive;
        if both_live && !self.blocked.contains(&ends) && !self.links.contains_key(&ends) {
            self.counter += 1;
            self.links.insert(ends, self.counter);
            for (machine, peer) in [(one, other), (other, one)] {
                let peer = self.machines[peer].node();
                self.feed(machine, Input::Connected { peer });
            }
        }
    }

    fn unlink(&mut self, one: usize, other: usize) {
        if self.links.remove(&pair(one, other)).is_some() {
            for (machine, peer) in [(one, other), (other, one)] {
                let peer = self.machines[peer].node();
                self.feed(machine, Input::Disconnected { peer });
            }
        }
    }

    /// Cuts the connection between two machines, or lets them connect again.
    pub(super) fn block(&mut self, one: usize, other: usize, blocked: bool) {
        if blocked {
            self.blocked.insert(pair(one, other));
            self.unlink(one, other);
        } else {
            self.blocked.remove(&pair(one, other));
        }
    }

    /// Cuts a machine off from all others, or lets it connect again.
    pub(super) fn isolate(&mut self, machine: usize, blocked: bool) {
        for other in (0..self.machines.len()).filter(|&other| other != machine) {
            self.block(machine, other, blocked);
        }
    }

    /// Power loss.
    pub(super) fn crash(&mut self, machine: usize) {
        for other in (0..self.machines.len()).filter(|&other| other != machine) {
            self.unlink(machine, other);
        }
        self.machines[machine].alive = false;
        self.machines[machine].serving = false;
    }

    /// A new node on a machine that crashed.
    pub(super) fn restart(&mut self, machine: usize) {
        (self.machines[machine].core, self.machines[machine].origin) =
            self.fresh_node(machine, Vec::new(), &Remains::default());
        self.machines[machine].remains = Remains::default();
        self.machines[machine].made.clear();
        self.machines[machine].reissue = Reissue::new(self.machines[machine].core.options.node);
        self.machines[machine].data = Data::new();
        self.machines[machine].imported = Frontier::EMPTY;
        self.machines[machine].alive = true;
    }

    /// The graceful end of a node: its entry goes, everything goes out, then the last word.
    pub(super) fn leave(&mut self, machine: usize) {
        let node = self.machines[machine].node();
        self.write_member(machine, node, None);
        self.hand_over(machine);
        self.feed(machine, Input::Leave);
    }

    fn transfer(&mut self, from: usize, to: usize, header: SnapshotHeader) {
        self.hand_over(from);
        let source = &self.machines[from];
        let (peer, data) = (source.node(), source.data.clone());
        let tail = source.core.snapshot_tail(&header.begin);
        if self.machines[to].core.is_reconciling_with(peer) {
            let Some(tail) = tail else { return self.feed(to, Input::SnapshotFailed { peer }) };
            assert_eq!(data.folded, header.folded, "nothing is folded during an export");
            self.machines[to].beside = Some((data, tail.end.clone()));
            self.hand_over(to);
            self.feed(to, Input::SnapshotReceived { peer, header, tail });
            self.machines[to].beside = None;
            return;
        }
        let target = &mut self.machines[to];
        if !matches!(target.core.joining.phase, joining::Phase::Transfer { source, .. } if source == peer) {
            return;
        }
        let Some(tail) = tail else { return self.feed(to, Input::SnapshotFailed { peer }) };
        assert_eq!(data.folded, header.folded, "nothing is folded during an export");
        target.data = data;
        target.imported.clone_from(&tail.end);
        target.origin.adopt(&tail.end, 0);
        target.members_changed = true;
        self.feed(to, Input::SnapshotReceived { peer, header, tail });
    }

    /// Lets what was imported beside the data take its place, with these effects on top.
    fn take_over(
        &mut self,
        machine: usize,
        tail: &[(Effect, Frontier)],
        beyond: &[(Effect, Frontier)],
        end: &Frontier,
    ) {
        let target = &mut self.machines[machine];
        let (mut data, imported) = target.beside.take().expect("only a snapshot that has just come is taken over");
        let mut frontier = imported.clone();
        for (effect, seen) in tail.iter().filter(|(effect, _)| !imported.includes(effect.dot)) {
            assert_eq!(self.truth.get(&effect.dot), Some(seen), "{:?}: what its origin had seen", effect.dot);
            assert_eq!(frontier.get(effect.dot.node) + 1, effect.dot.seq, "exactly once and without gaps");
            assert!(seen.within(&frontier) && data.folded.within(seen), "{:?} on what it had not seen", effect.dot);
            data.apply(effect, seen);
            frontier.raise(effect.dot.node, effect.dot.seq);
        }
        for (effect, seen) in beyond {
            assert_eq!(self.truth.get(&effect.dot), Some(seen), "{:?}: what its origin had seen", effect.dot);
            assert!(!frontier.includes(effect.dot) && data.folded.within(seen), "{:?}", effect.dot);
            data.apply(effect, seen);
            frontier.join(seen);
            frontier.raise(effect.dot.node, effect.dot.seq);
        }
        assert!(frontier.within(end) && target.origin.frontier().within(end), "nothing is lost");
        target.origin.take_over(end, 0);
        target.data = data;
        target.members_changed = true;
    }

    /// Applies effects between which there are gaps.
    fn apply_together(&mut self, machine: usize, effects: &[(Effect, Frontier)], frontier: &Frontier) {
        let target = &mut self.machines[machine];
        let mut applied = target.origin.frontier().clone();
        for (effect, seen) in effects {
            assert_eq!(self.truth.get(&effect.dot), Some(seen), "{:?}: what its origin had seen", effect.dot);
            assert!(!applied.includes(effect.dot), "{:?} twice", effect.dot);
            assert!(target.data.folded.within(seen), "{:?} on what it had not seen", effect.dot);
            target.data.apply(effect, seen);
            applied.join(seen);
            applied.raise(effect.dot.node, effect.dot.seq);
        }
        assert!(applied.within(frontier), "it leads to its end");
        target.origin.take_over(frontier, 0);
        target.members_changed = true;
    }

    fn rebase(&mut self, machine: usize) {
        for other in (0..self.machines.len()).filter(|&other| other != machine) {
            self.unlink(machine, other);
        }
        let mut former = self.machines[machine].core.options.member.former.clone();
        former.push(self.machines[machine].node());
        self.machines[machine].lost += self.machines[machine].core.report(self.time()).lost_effects;
        let mut remains = std::mem::take(&mut self.machines[machine].remains);
        remains.join(self.machines[machine].core.remains());
        let (core, origin) = self.fresh_node(machine, former, &remains);
        let machine = &mut self.machines[machine];
        machine.made.clear();
        machine.reissue = Reissue::new(core.options.node);
        (machine.core, machine.remains) = (core, remains);
        machine.origin = origin;
        machine.data = Data::new();
        machine.imported = Frontier::EMPTY;
        machine.serving = false;
        machine.rebases += 1;
    }

    fn reissue(&mut self, machine: usize, again: &[Again]) {
        let applied = self.machines[machine].origin.frontier().clone();
        let effects = self.machines[machine].remains.take(again, &applied);
        let folded = self.machines[machine].core.folded().clone();
        let mut made = Vec::new();
        let local = self.machines[machine].origin.drain();
        for (effect, past) in effects.iter().filter(|(effect, _)| !touches_members(effect)) {
            assert_eq!(self.truth.get(&effect.dot), Some(past));
            let target = &mut self.machines[machine];
            let (applied, time) = (target.origin.frontier().clone(), target.origin.tick(self.now));
            let making = Making { folded: &folded, applied: &applied, time };
            let Some(again) = target.reissue.make(effect, past, making, |operation, _, writer| {
                writer.push(operation);
                true
            }) else {
                continue;
            };
            target.data.apply(&again, &applied);
            target.origin.observe(again.dot, time);
            target.reissued += 1;
            self.truth.insert(again.dot, applied);
            made.push(again);
        }
        self.machines[machine].made.extend([Input::LocalEffects(local), Input::MadeAgain(made)]);
    }

    /// Do all machines that run serve, know each other and have the same? What is under way, such as a heartbeat, may
    /// arrive first.
    pub(super) fn assert_converged(&mut self) {
        for _ in 0..20 {
            let mut frontiers = self.machines.iter().filter(|one| one.alive).map(|one| one.origin.frontier());
            let first = frontiers.next();
            if frontiers.all(|frontier| Some(frontier) == first) {
                break;
            }
            self.run(TICK);
        }
        let live: Vec<&Machine> = self.machines.iter().filter(|machine| machine.alive).collect();
        let first = live.first().expect("one lives");
        for machine in &live {
            let report = machine.core.report(self.time());
            assert!(machine.serving, "{} does not serve: {:?}", machine.node(), machine.core.joining);
            assert_eq!(machine.core.frontier(), first.core.frontier(), "{report:#?}");
            assert_eq!(machine.core.frontier(), machine.origin.frontier());
            assert_eq!(machine.contents(), first.contents());
            assert_eq!(report.members.iter().filter(|member| member.connected).count(), live.len() - 1, "{report:#?}");
            assert_eq!(report.waiting_effects, 0, "{report:#?}");
            assert_eq!(
                machine.data.members.keys().copied().collect::<BTreeSet<_>>(),
                live.iter().map(|one| one.node()).collect()
            );
        }
    }
}
