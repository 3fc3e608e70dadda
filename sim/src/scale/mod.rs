//! What membership costs: clusters of more and more nodes in a healthy network, and what they say to each other when
//! nobody writes and when somebody does.
//!
//! Cores and keyspaces as shipped, in an event loop like that of the first tier but without its checker, whose work would be
//! most of what is measured. All but the processor's time follows from the seed.

mod cluster;

use std::fmt;
use std::time::Duration;

use cluster::Cluster;

/// Idle simulated milliseconds that are measured: six heartbeats of each node.
const IDLE: u64 = 60_000;
/// After the last node serves, so much passes before anything is measured.
const SETTLE: u64 = 15_000;
/// Writes a second over all nodes, and for how many simulated milliseconds.
const LOADS: [(u64, u64); 2] = [(10, 20_000), (1_000, 5_000)];

/// Frames on the streams of control and effects, as they are written to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub frames: u64,
    /// Their bytes, without what QUIC and UDP add.
    pub bytes: u64,
}

/// What frames are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What a node has applied.
    Gossip,
    /// How far a peer's effects are applied.
    Acknowledgement,
    /// Effects.
    Effects,
    /// First words, introductions, requests.
    Other,
}

/// The names of [`Use`]s, in their order.
const USES: [&str; 4] = ["gossip", "acks", "effects", "other"];

/// What happened in a part of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phase {
    /// Simulated milliseconds.
    pub millis: u64,
    /// Writes of clients.
    pub writes: u64,
    /// By [`Use`], over all nodes.
    pub traffic: [Traffic; 4],
    /// What the process has worked, if the system tells.
    pub processor: Option<Duration>,
    /// Bytes of the metadata of keys at the node that has most, when the phase ends.
    pub metadata: usize,
    /// The same of its log of effects.
    pub log: usize,
}

/// What one size of a cluster came to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// How many nodes.
    pub nodes: usize,
    /// Simulated milliseconds until all served and knew each other.
    pub formed: u64,
    /// Nobody writes.
    pub idle: Phase,
    /// Clients write at the rates of the loads.
    pub loaded: [Phase; LOADS.len()],
}

impl Phase {
    fn total(&self) -> Traffic {
        let add =
            |sum: Traffic, one: &Traffic| Traffic { frames: sum.frames + one.frames, bytes: sum.bytes + one.bytes };
        self.traffic.iter().fold(Traffic::default(), add)
    }

    fn seconds(&self) -> f64 {
        self.millis as f64 / 1e3
    }
}

/// Measures a cluster of so many nodes.
///
/// # Errors
/// It did not form: the words say what it lacks.
pub fn measure(nodes: usize, seed: u64) -> Result<Measured, String> {
    let mut cluster = Cluster::new(nodes, seed);
    let formed = cluster.form()?;
    cluster.pass(SETTLE, 0);
    let idle = cluster.pass(IDLE, 0);
    let loaded = LOADS.map(|(rate, millis)| {
        // Until the rate shows everywhere.
        cluster.pass(2_000, rate);
        cluster.pass(millis, rate)
    });
    cluster.check()?;
    Ok(Measured { nodes, formed, idle, loaded })
}

impl fmt::Display for Measured {
    /// Rows of a table in Markdown; [`HEAD`] is their head.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, per_second) = (self.nodes as f64, self.idle.seconds());
        let idle = self.idle.total();
        let micros = |processor: Option<Duration>, parts: f64| {
            processor.map_or("-".to_owned(), |time| format!("{:.0}", time.as_secs_f64() * 1e6 / parts))
        };
        let (frames, bytes) = (idle.frames as f64, idle.bytes as f64);
        writeln!(
            f,
            "| {} | none | {:.1} | {:.0} | {} | | | | {} | {} | {} |",
            self.nodes,
            frames / nodes / per_second,
            bytes / nodes / per_second,
            micros(self.idle.processor, nodes * per_second),
            shares(&self.idle),
            self.idle.metadata,
            self.idle.log
        )?;
        for phase in &self.loaded {
            let (total, writes) = (phase.total(), phase.writes as f64);
            let (seconds, each) = (phase.seconds(), nodes * phase.seconds());
            writeln!(
                f,
                "| {} | {:.0}/s | {:.1} | {:.0} | {} | {:.1} | {:.0} | {} | {} | {} | {} |",
                self.nodes,
                writes / seconds,
                total.frames as f64 / each,
                total.bytes as f64 / each,
                micros(phase.processor, each),
                total.frames as f64 / writes,
                total.bytes as f64 / writes,
                micros(phase.processor, writes),
                shares(phase),
                phase.metadata,
                phase.log
            )?;
        }
        Ok(())
    }
}

/// The head of the table.
pub const HEAD: &str = "\
| nodes | writes | frames per node and s | bytes per node and s | CPU µs per node and s | frames per write | bytes per write | \
CPU µs per write | bytes, in percent | metadata, bytes | log, bytes |
|---|---|---|---|---|---|---|---|---|---|---|";

/// What the bytes of a phase were for.
fn shares(phase: &Phase) -> String {
    let all = phase.total().bytes.max(1) as f64;
    let share = |(name, traffic): (&str, Traffic)| format!("{name} {:.0}", 100.0 * traffic.bytes as f64 / all);
    let named = USES.into_iter().zip(phase.traffic).filter(|(_, traffic)| traffic.bytes > 0);
    named.map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_measures_the_same() {
        let numbers = |seed| {
            let measured = measure(3, seed).expect("it forms");
            let phases = [measured.idle, measured.loaded[0], measured.loaded[1]];
            (measured.formed, phases.map(|phase| (phase.writes, phase.traffic, phase.metadata, phase.log)))
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    /// What everybody tells everybody must not be told the more often the more nodes there are.
    #[test]
    fn gossip_does_not_outgrow_what_it_tells_of() {
        let bytes = |nodes: usize| {
            let measured = measure(nodes, 1).expect("it forms");
            measured.loaded[1].traffic[Use::Gossip as usize].bytes as f64
        };
        let (few, many) = (bytes(8), bytes(24));
        assert!(many < 12.0 * few, "three times the nodes say {many} bytes, and not {few}");
    }
}
