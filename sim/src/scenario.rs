//! What a simulation does, as data: nodes, their links, what goes wrong and when, what clients do. Both tiers run the
//! same scenarios. Knows nothing of how they are run or checked.

/// One thing to simulate. Times are simulated milliseconds since the beginning.
#[derive(Clone, Debug)]
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
    /// So long after that, all nodes must have the same data.
    pub convergence: u64,
    /// Bytes of effects that a node keeps for its peers; none: as shipped.
    pub log_limit: Option<usize>,
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
