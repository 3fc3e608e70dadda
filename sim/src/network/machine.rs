//! One simulated machine: what survives its crashes (address, clock, sources of randomness), and the node that runs on it,
//! which is the shipped code.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use swytch::acl::Users;
use swytch::cluster::{Clock, ClusterOptions, ClusterSecret, ClusterTask, fresh_identity};
use swytch::commands::{ClientRegistry, Config, Connected, Scripting, ServerFacts, ServerState, Supervision, table};
use swytch::effects::NodeId;
use swytch::keyspace::{Keyspace, KeyspaceOptions};
use swytch::observe::Stats;
use swytch::persistence::{Persistence, PersistenceOptions};
use swytch::pubsub::Channels;
use swytch::replication::ClusterReport;
use swytch::server::{Accepted, ClientListener, Front, follow_cluster, keep_up, serve};
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

use super::clock::SimulatedClock;
use super::names::SimulatedNames;
use super::socket::SimulatedNet;

/// The port for clients.
pub const CLIENT_PORT: u16 = 6379;

/// The port for peers.
pub const CLUSTER_PORT: u16 = 7379;

/// The name under which the nodes find each other.
pub const JOIN: &str = "cache.local";

/// How many clients a node takes, as by default.
const MAX_CLIENTS: usize = 10_000;

/// One start of a node, as the checkers see it. What it holds outlives the node's crash.
#[derive(Clone)]
pub struct Incarnation {
    /// Counts the starts of its machine from 0.
    pub number: usize,
    /// Its data.
    pub keyspace: Arc<Keyspace>,
    /// What it knows about its cluster.
    pub report: watch::Receiver<Arc<ClusterReport>>,
    /// What its commands see.
    pub state: Arc<ServerState>,
}

impl Incarnation {
    /// Its current identity.
    pub fn node(&self) -> NodeId {
        self.report.borrow().node
    }
}

/// A machine.
pub struct Machine {
    /// Its number in the scenario.
    pub index: usize,
    /// Its address, the same for its whole life.
    pub address: IpAddr,
    /// Its clocks.
    pub clock: Arc<SimulatedClock>,
    names: SimulatedNames,
    net: Arc<SimulatedNet>,
    secret: ClusterSecret,
    /// Bytes of effects that the node keeps, unless it is to keep the usual.
    log_limit: Option<usize>,
    seeds: RefCell<fastrand::Rng>,
    powered: Cell<bool>,
    incarnations: RefCell<Vec<Incarnation>>,
}

impl Machine {
    /// A machine without power.
    pub fn new(
        index: usize,
        address: IpAddr,
        names: SimulatedNames,
        net: SimulatedNet,
        secret: ClusterSecret,
        log_limit: Option<usize>,
        seed: u64,
    ) -> Rc<Machine> {
        Rc::new(Machine {
            index,
            address,
            clock: Arc::default(),
            names,
            net: Arc::new(net),
            secret,
            log_limit,
            seeds: RefCell::new(fastrand::Rng::with_seed(seed)),
            powered: Cell::new(false),
            incarnations: RefCell::default(),
        })
    }

    /// Switches its power. The node starts, or is gone, when turmoil is told.
    pub fn set_power(&self, powered: bool) {
        self.powered.set(powered);
    }

    /// Does its node run?
    pub fn is_powered(&self) -> bool {
        self.powered.get()
    }

    /// The node that runs here now.
    pub fn running(&self) -> Option<Incarnation> {
        self.incarnations.borrow().last().filter(|_| self.powered.get()).cloned()
    }

    /// All starts so far.
    pub fn incarnations(&self) -> Vec<Incarnation> {
        self.incarnations.borrow().clone()
    }

    /// Runs a node until the power goes: the shipped parts, put together as the process does it.
    pub async fn run(self: Rc<Self>) -> Result<(), Box<dyn Error>> {
        if !self.powered.get() {
            return Ok(());
        }
        let identity = fresh_identity(&self.secret, &[], &*self.net)?;
        let keyspace = Arc::new(Keyspace::new(KeyspaceOptions {
            hash_seed: self.secret.hash_seed(),
            random_seed: self.seed(),
            node: Some(identity.node()),
            ..KeyspaceOptions::default()
        }));
        let bind = SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLUSTER_PORT));
        let mut options = ClusterOptions::new(self.secret.clone(), identity, bind, CLIENT_PORT);
        options.advertise = Some(SocketAddr::new(self.address, CLUSTER_PORT).to_string());
        options.join = Some(JOIN.to_owned());
        options.name = format!("node-{}", self.index);
        if let Some(limit) = self.log_limit {
            options.tune = Arc::new(move |core| core.log_limit = limit);
        }
        let (net, clock, names) = (self.net.clone(), self.clock.clone(), Arc::new(self.names.clone()));
        let channels = options.channels.clone();
        let (handle, task) = ClusterTask::new(options, keyspace.clone(), net, clock, names, self.seed());
        let state = Arc::new(self.state(keyspace.clone(), channels, handle.report()));
        let number = self.incarnations.borrow().len();
        let incarnation = Incarnation { number, keyspace, report: handle.report(), state: state.clone() };
        self.incarnations.borrow_mut().push(incarnation);

        // The sender lives as long as the node: simulated nodes lose power, they do not stop.
        let (_stop_sender, stop) = watch::channel(false);
        let front = Arc::new(Front::new(state.clone(), self.clock.clone(), self.seed()));
        let cluster = task.bind().await?;
        tokio::task::spawn_local(cluster.run());
        tokio::spawn(follow_cluster(handle.serving(), state, stop.clone()));
        tokio::spawn(keep_up(front.clone(), stop.clone()));
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).await?;
        serve(Clients(listener), front, 0, stop).await;
        Ok(())
    }

    fn seed(&self) -> u64 {
        self.seeds.borrow_mut().u64(..)
    }

    fn state(
        &self,
        keyspace: Arc<Keyspace>,
        channels: Arc<Channels>,
        report: watch::Receiver<Arc<ClusterReport>>,
    ) -> ServerState {
        ServerState {
            keyspace,
            users: Users::new(None, None),
            config: Config::new(None, MAX_CLIENTS, 0),
            channels,
            persistence: Arc::new(Persistence::new(PersistenceOptions::default(), self.clock.wall())),
            stats: Arc::new(Stats::new(1, table().ids())),
            clients: ClientRegistry::default(),
            trackers: Arc::default(),
            scripting: Scripting::default(),
            serving: AtomicBool::new(false),
            supervision: Supervision::default(),
            cluster: Some(report),
            tls: None,
            started: self.clock.wall(),
            run_id: "0".repeat(40),
            facts: ServerFacts {
                port: CLIENT_PORT,
                tls_port: 0,
                bind: self.address.to_string(),
                unix_socket: String::new(),
                process: 1,
                executable: "swytch".to_owned(),
                config_file: None,
                threads: 1,
                resident_memory: || 0,
                stopwatch: None,
            },
        }
    }
}

/// The clients that connect to a simulated machine.
struct Clients(TcpListener);

impl ClientListener for Clients {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<Accepted<TcpStream>> {
        let (stream, address) = self.0.accept().await?;
        let local_address = stream.local_addr()?.to_string();
        let connected = Connected { address: address.to_string(), local_address, descriptor: 0, unix: false };
        Ok(Accepted { stream, connected })
    }
}
