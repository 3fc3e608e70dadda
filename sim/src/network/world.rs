//! The machines, the links between them, and what goes wrong with them.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use swytch::cluster::ClusterSecret;
use turmoil::Sim;

use super::clock::EPOCH;
use super::history::Survival;
use super::inspection::Inspector;
use super::machine::{JOIN, Machine};
use super::messages::{self, Calm, Talk};
use super::names::SimulatedNames;
use super::record::Record;
use super::socket::{DatagramFaults, SimulatedNet, Weather};
use super::workload::{CLIENTS_PER_NODE, Clients};
use super::{inspection, workload};
use crate::{Fault, Links, Scenario};

/// How far simulated time goes at once.
const TICK: Duration = Duration::from_millis(1);

/// For how long at most a datagram is kept back that others are to overtake.
const LONGEST_DELAY: Duration = Duration::from_millis(50);

/// Stretching takes a tenth of a second; every simulation has the same passphrases.
static SECRETS: LazyLock<[ClusterSecret; 2]> = LazyLock::new(|| {
    ["the cluster's passphrase", "another passphrase"]
        .map(|passphrase| ClusterSecret::derive(passphrase).expect("it is not empty"))
});

/// Everything that a scenario happens to.
pub struct World<'a> {
    simulation: Sim<'a>,
    /// The machines, the stranger's (which no fault names) last.
    pub machines: Vec<Rc<Machine>>,
    /// The clients of all machines.
    pub clients: Rc<Clients>,
    /// The speakers and listeners of all machines but the stranger's.
    pub talk: Rc<Talk>,
    /// When all nodes were connected.
    pub calm: Vec<Calm>,
    calm_since: Option<Duration>,
    calm_at: Duration,
    links: Links,
    /// Who looks at the data in the end.
    pub inspector: Rc<Inspector>,
    /// What happened.
    pub record: Record,
    /// What must not be lost.
    pub survival: Survival,
    /// How many nodes lost power.
    pub crashes: u64,
    nodes: usize,
    names: SimulatedNames,
    weather: Weather,
    cuts: BTreeSet<(usize, usize)>,
    paused: BTreeSet<usize>,
}

impl World<'_> {
    /// Machines without power, and clients that wait for them. With a stranger, one more machine has another passphrase.
    pub fn new<'a>(scenario: &Scenario, stranger: bool, seed: u64) -> World<'a> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut simulation = turmoil::Builder::new()
            .epoch(std::time::UNIX_EPOCH + EPOCH)
            .simulation_duration(Duration::MAX)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(2))
            .udp_capacity(4096)
            .tcp_capacity(4096)
            .rng_seed(random.u64(..))
            .build();
        let (record, names, weather) = (Record::default(), SimulatedNames::default(), Weather::default());
        let clients = Rc::new(Clients {
            workload: scenario.workload.clone(),
            history: Default::default(),
            busy: true.into(),
            active: (CLIENTS_PER_NODE * (scenario.nodes + usize::from(stranger))).into(),
            record: record.clone(),
        });
        let count = scenario.nodes + usize::from(stranger);
        let machines: Vec<Rc<Machine>> = (0..count)
            .map(|index| {
                let address = simulation.lookup(machine_name(index));
                let net = SimulatedNet::new(address, weather.clone(), record.clone(), random.u64(..));
                let secret = SECRETS[usize::from(index == scenario.nodes)].clone();
                Machine::new(index, address, names.clone(), net, secret, scenario.log_limit, random.u64(..))
            })
            .collect();
        names.set_addresses(JOIN, machines.iter().map(|machine| machine.address).collect());
        for machine in &machines {
            let software = machine.clone();
            simulation.host(machine_name(machine.index), move || software.clone().run());
        }
        let inspector = Rc::new(Inspector::default());
        for machine in &machines {
            for number in 0..CLIENTS_PER_NODE {
                let name = format!("client-{}-{number}", machine.index);
                let work = workload::run(clients.clone(), machine.clone(), name.clone(), random.u64(..));
                simulation.client(name, async move {
                    work.await;
                    Ok(())
                });
            }
        }
        simulation.client("inspector", inspection::run(inspector.clone(), machines.clone()));
        let nodes = scenario.nodes;
        let talk = Talk::new(record.clone());
        for machine in &machines[..nodes] {
            let [speaker, listener] = talkers(machine.index);
            let speaks = messages::speak(talk.clone(), machine.clone(), speaker.clone());
            simulation.client(speaker, async move {
                speaks.await;
                Ok(())
            });
            let listens = messages::listen(talk.clone(), machine.clone(), listener.clone());
            simulation.client(listener, async move {
                listens.await;
                Ok(())
            });
        }
        let mut world = World {
            simulation,
            machines,
            clients,
            talk,
            calm: Vec::new(),
            calm_since: None,
            calm_at: Duration::ZERO,
            links: scenario.links.clone(),
            inspector,
            record,
            survival: Survival::default(),
            crashes: 0,
            nodes,
            names,
            weather,
            cuts: BTreeSet::new(),
            paused: BTreeSet::new(),
        };
        world.set_links(&scenario.links);
        world
    }

    /// Simulated time.
    pub fn now(&self) -> Duration {
        self.simulation.elapsed()
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When the software of a machine failed.
    pub fn advance(&mut self, until: Duration) -> Result<(), String> {
        while self.now() < until {
            self.simulation.step().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Lets something go wrong.
    pub fn befall(&mut self, fault: &Fault) {
        self.record.note_at(self.now(), &format!("{fault:?}"));
        self.end_calm(self.now());
        match fault {
            Fault::Start(node) => self.start(*node),
            Fault::Crash(node) => self.crash(*node),
            Fault::Pause(node) => {
                self.paused.insert(*node);
                self.relink();
            }
            Fault::Resume(node) => self.resume(*node),
            Fault::Cut { from, to } => {
                let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
                self.cuts.extend(pairs.filter(|(from, to)| from != to));
                self.relink();
            }
            Fault::Mend => {
                self.cuts.clear();
                self.relink();
            }
            Fault::Links(links) => self.set_links(links),
            Fault::Clock { node, offset } => self.machines[*node].clock.set_error(*offset),
            Fault::Dns(works) => self.names.set_failing(!works),
        }
    }

    /// Nodes are connected to each other at this moment, or they are not. It is asked often.
    pub fn note_calm(&mut self, connected: bool) {
        let is_well = self.cuts.is_empty() && self.paused.is_empty() && self.links.loss == 0.0;
        if connected && is_well {
            self.calm_at = self.now();
            self.calm_since.get_or_insert(self.calm_at);
        } else {
            self.end_calm(self.calm_at);
        }
    }

    fn end_calm(&mut self, until: Duration) {
        self.calm.extend(self.calm_since.take().map(|since| (since, until)));
    }

    /// Ends the talk, and the calm with it.
    pub fn end_talk(&mut self) {
        self.talk.going_on.set(false);
        self.end_calm(self.now());
    }

    /// Nothing goes wrong any more, and every machine has power.
    pub fn heal(&mut self) {
        for node in 0..self.nodes {
            self.befall(&Fault::Resume(node));
            self.befall(&Fault::Clock { node, offset: 0 });
        }
        for fault in [Fault::Mend, Fault::Links(Links::GOOD), Fault::Dns(true)] {
            self.befall(&fault);
        }
        for machine in 0..self.machines.len() {
            self.start(machine);
        }
    }

    /// Gives a machine power.
    pub fn start(&mut self, index: usize) {
        if !self.machines[index].is_powered() {
            self.machines[index].set_power(true);
            self.simulation.bounce(machine_name(index));
        }
    }

    fn crash(&mut self, node: usize) {
        let Some(gone) = self.machines[node].running() else { return };
        self.crashes += 1;
        self.machines[node].set_power(false);
        // Off the network first: a machine without power sends no farewells.
        for other in self.neighbours(node) {
            self.simulation.partition(machine_name(node), other);
        }
        self.simulation.crash(machine_name(node));
        self.note_survivors(node, gone.number);
        self.paused.remove(&node);
        self.relink();
    }

    /// Notes how much of what dead nodes wrote is left.
    fn note_survivors(&mut self, machine: usize, incarnation: usize) {
        let alive: Vec<_> = self.machines.iter().filter_map(|machine| machine.running()).collect();
        let living: BTreeSet<_> = alive.iter().map(|incarnation| incarnation.node()).collect();
        let all = self.machines.iter().flat_map(|machine| machine.incarnations());
        let dead = all.map(|incarnation| incarnation.node()).filter(|node| !living.contains(node));
        let frontiers: Vec<_> = alive.iter().map(|incarnation| incarnation.keyspace.frontier()).collect();
        let held = |node| frontiers.iter().map(|frontier| frontier.get(node)).max().unwrap_or(0);
        self.survival.crash(machine, incarnation, dead.map(|node| (node, held(node))));
    }

    fn resume(&mut self, node: usize) {
        if self.paused.remove(&node) {
            for other in self.neighbours(node) {
                self.simulation.release(machine_name(node), other);
            }
            self.relink();
        }
    }

    /// Everyone that a machine is linked to: the other machines, and its own clients.
    fn neighbours(&self, node: usize) -> Vec<String> {
        let others = (0..self.machines.len()).filter(|other| *other != node).map(machine_name);
        let clients = (0..CLIENTS_PER_NODE).map(|number| format!("client-{node}-{number}"));
        let talkers = talkers(node).into_iter().filter(|_| node < self.nodes);
        others.chain(clients).chain(["inspector".to_owned()]).chain(talkers).collect()
    }

    /// Makes the links what cuts and pauses say.
    fn relink(&self) {
        for node in 0..self.machines.len() {
            for other in self.neighbours(node) {
                if !self.paused.contains(&node) {
                    self.simulation.repair(machine_name(node), other);
                }
            }
        }
        for (from, to) in &self.cuts {
            self.simulation.partition_oneway(machine_name(*from), machine_name(*to));
        }
        for node in &self.paused {
            for other in self.neighbours(*node) {
                self.simulation.hold(machine_name(*node), other);
            }
        }
    }

    fn set_links(&mut self, links: &Links) {
        self.links = links.clone();
        self.weather.set(DatagramFaults {
            loss: links.loss,
            duplication: links.duplication,
            reordering: links.reordering,
            longest_delay: LONGEST_DELAY,
        });
        let (least, most) = (links.latency, links.latency + links.jitter);
        for one in 0..self.machines.len() {
            for other in 0..one {
                let (one, other) = (machine_name(one), machine_name(other));
                self.simulation.set_link_latency(one.clone(), other.clone(), Duration::from_millis(least));
                self.simulation.set_link_max_message_latency(one, other, Duration::from_millis(most));
            }
        }
    }
}

/// Who speaks and who listens at a machine.
fn talkers(index: usize) -> [String; 2] {
    [format!("speaker-{index}"), format!("listener-{index}")]
}

fn machine_name(index: usize) -> String {
    format!("node-{index}")
}
