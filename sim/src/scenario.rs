//! What a simulation does, as data: nodes, their links, what goes wrong and when, what clients do. Both tiers run the
//! same scenarios. Knows nothing of how they are run or checked.

use crate::coverage::Coverage;

/// One thing to simulate. Times are simulated milliseconds since the beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// As on the command line.
    pub name: String,
    /// Nodes, numbered from 0. Each has one address for its whole life; none runs before its first [`Fault::Start`].
    pub nodes: usize,
    /// What happens to them, by ascending time.
    pub faults: Vec<(u64, Fault)>,
    /// How good the links are, until a [`Fault::Links`] says otherwise.
    pub links: Links,
    /// What clients do.
    pub workload: Workload,
    /// Until then clients write and things go wrong. Then everything is healed and every node started.
    pub duration: u64,
    /// So long after that, all nodes that were healed must have the same data.
    pub convergence: u64,
    /// What is healed at the end of the duration.
    pub ending: Ending,
    /// Bytes of effects that a node keeps for its peers; none: as shipped.
    pub log_limit: Option<usize>,
    /// Bytes of effects that may wait for others at a node; none: as shipped.
    pub waiting_limit: Option<usize>,
    /// Bytes of metadata that a node keeps for those who may come back; none: as shipped.
    pub metadata_limit: Option<usize>,
    /// Do clients still write while a node gives up its identity? (In the event loop.)
    pub late_writes: bool,
}

impl Scenario {
    /// Three nodes with good links and the usual clients, to which nothing happens.
    pub fn plain(name: &str) -> Scenario {
        Scenario {
            name: name.to_owned(),
            nodes: 3,
            faults: Vec::new(),
            links: Links::GOOD,
            workload: Workload::USUAL,
            duration: 40_000,
            convergence: 120_000,
            ending: Ending::All,
            log_limit: None,
            waiting_limit: None,
            metadata_limit: None,
            late_writes: false,
        }
    }
}

/// What is healed in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything, and every node is started: nothing may be wrong any more.
    All,
    /// These nodes, and the ways between them. What else went wrong stays so for ever: the dead stay dead, the cut off stay
    /// cut off, those that stand still stand still. (In the event loop; other tiers heal everything.)
    Core(Vec<usize>),
}

/// Something that happens to nodes or to the world around them.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A node starts, as a new incarnation with nothing in memory. Nothing happens when it runs.
    Start(usize),
    /// A node loses power: what it had in memory is gone.
    Crash(usize),
    /// A node stands still: it neither works nor answers until [`Fault::Resume`], and then goes on where it was.
    Pause(usize),
    /// A paused node goes on.
    Resume(usize),
    /// Nothing gets from any of these nodes to any of those.
    Cut {
        /// Senders.
        from: Vec<usize>,
        /// Receivers.
        to: Vec<usize>,
    },
    /// All cuts end.
    Mend,
    /// The links become as good, or as bad, as this.
    Links(Links),
    /// A node's wall clock is set to this many milliseconds before or after the true time.
    Clock {
        /// Which node.
        node: usize,
        /// How far it is off.
        offset: i64,
    },
    /// Names cannot be resolved from now on (false), or can again (true).
    Dns(bool),
}

impl Fault {
    /// The nodes that it names.
    pub fn nodes(&self) -> Vec<usize> {
        match self {
            Fault::Start(node) | Fault::Crash(node) | Fault::Pause(node) | Fault::Resume(node) => vec![*node],
            Fault::Clock { node, .. } => vec![*node],
            Fault::Cut { from, to } => from.iter().chain(to).copied().collect(),
            Fault::Mend | Fault::Links(_) | Fault::Dns(_) => Vec::new(),
        }
    }
}

/// How good links are, each direction for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    /// The shortest time on the way.
    pub latency: u64,
    /// Up to this much more, at random.
    pub jitter: u64,
    /// The part of all packets that is lost, of 1.
    pub loss: f64,
    /// The part of all packets that arrives twice.
    pub duplication: f64,
    /// The part of all packets that later ones overtake.
    pub reordering: f64,
}

impl Links {
    /// A good network.
    pub const GOOD: Links = Links { latency: 1, jitter: 4, loss: 0.0, duplication: 0.0, reordering: 0.0 };
}

/// What the clients of each serving node do.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Commands per simulated second at each node.
    pub rate: u64,
    /// Keys of each type: few, so that writes meet.
    pub keys: u64,
    /// The part of all commands that only read.
    pub reads: f64,
    /// Do some of them flush everything?
    pub flushes: bool,
    /// How often each of [`FAMILIES`] is written to, one against the other; at most 255 in all. (In the event loop.)
    pub mix: [u8; FAMILIES.len()],
    /// Do nodes name stream entries by the tenths of a second only? Then they often do so in the same one. (In the event loop.)
    pub coarse_ids: bool,
    /// So many commands write, over all nodes; then clients only read. None: without end. (In the event loop.)
    pub writes: Option<u64>,
}

/// The families of keys, by what their names begin with: strings, hashes, sets, sorted sets, streams, keys of any type; streams
/// that are only added to and read by a group, counters, sets that only grow, triples that are written together; lists, bit
/// fields, HyperLogLogs, queues, and pairs of sets of which the second only gets what was seen in the first.
pub const FAMILIES: [&str; 15] =
    ["s", "h", "m", "z", "r", "x", "feed", "sum", "grow", "t", "l", "b", "p", "queue", "cause"];

impl Workload {
    /// What the named scenarios do, if not said otherwise.
    pub const USUAL: Workload = Workload {
        rate: 20,
        keys: 4,
        reads: 0.4,
        flushes: false,
        mix: [18, 15, 8, 8, 11, 7, 7, 10, 6, 10, 0, 0, 0, 0, 0],
        coarse_ids: false,
        writes: None,
    };

    /// Is this family written to at all?
    pub fn has(&self, family: &str) -> bool {
        FAMILIES.iter().zip(self.mix).any(|(name, weight)| *name == family && weight > 0)
    }
}

/// What came of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What happened, one line each: virtual time, node, what. The same seed gives the same lines.
    pub trace: Vec<String>,
    /// Broken promises, each beginning with its name (`P1` … `P9`). Empty: all held.
    pub violations: Vec<String>,
    /// What was done, for the summary.
    pub statistics: Statistics,
    /// Which rare paths were taken. (In the event loop.)
    pub coverage: Coverage,
}

impl Outcome {
    /// Was a promise broken?
    pub fn has_failed(&self) -> bool {
        !self.violations.is_empty()
    }
}

/// How much a simulation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Simulated milliseconds.
    pub simulated: u64,
    /// Commands of clients that wrote.
    pub writes: u64,
    /// Commands of clients that read.
    pub reads: u64,
    /// Effects applied at nodes that did not make them.
    pub applied: u64,
    /// Packets or frames delivered.
    pub frames: u64,
    /// Snapshots taken in.
    pub snapshots: u64,
    /// Identities given up.
    pub rebases: u64,
    /// Nodes that lost power.
    pub crashes: u64,
    /// When, after everything was healed, all nodes had the same data.
    pub converged_after: u64,
}
