//! A run as text that people can read and change: a scenario, and the seed of everything random in it.
//!
//! One line for each thing. What is not said is as it usually is. Knows nothing of how a plan is drawn or run.

use std::fmt::{self, Display, Formatter, Write};
use std::str::{FromStr, SplitWhitespace};

use crate::scenario::{Ending, FAMILIES, Fault, Links, Scenario, Workload};
use crate::{Outcome, event_loop};

/// A scenario, and the seed of what it leaves open.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What happens.
    pub scenario: Scenario,
    /// Delays, losses and what clients choose follow from it.
    pub seed: u64,
}

impl Plan {
    /// Runs it in the event loop.
    pub fn run(&self, traced: bool) -> Outcome {
        event_loop::run(&self.scenario, self.seed, traced)
    }
}

fn numbers(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

impl Display for Links {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Links { latency, jitter, loss, duplication, reordering } = self;
        write!(
            formatter,
            "latency {latency} jitter {jitter} loss {loss} duplication {duplication} reordering {reordering}"
        )
    }
}

impl Display for Fault {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Start(node) => write!(formatter, "start {node}"),
            Fault::Crash(node) => write!(formatter, "crash {node}"),
            Fault::Pause(node) => write!(formatter, "pause {node}"),
            Fault::Resume(node) => write!(formatter, "resume {node}"),
            Fault::Cut { from, to } => write!(formatter, "cut {} {}", numbers(from), numbers(to)),
            Fault::Mend => formatter.write_str("mend"),
            Fault::Links(links) => write!(formatter, "links {links}"),
            Fault::Clock { node, offset } => write!(formatter, "clock {node} {offset}"),
            Fault::Dns(works) => write!(formatter, "dns {}", if *works { "works" } else { "fails" }),
        }
    }
}

impl Display for Plan {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Scenario {
            name,
            nodes,
            faults,
            links,
            workload,
            duration,
            convergence,
            ending,
            log_limit,
            waiting_limit,
            metadata_limit,
            late_writes,
        } = &self.scenario;
        writeln!(formatter, "name {name}\nseed {}\nnodes {nodes}", self.seed)?;
        writeln!(formatter, "duration {duration}\nconvergence {convergence}\nlinks {links}")?;
        let limits = [("log-limit", log_limit), ("waiting-limit", waiting_limit), ("metadata-limit", metadata_limit)];
        for (what, limit) in limits {
            if let Some(limit) = limit {
                writeln!(formatter, "{what} {limit}")?;
            }
        }
        if let Ending::Core(core) = ending {
            writeln!(formatter, "core {}", numbers(core))?;
        }
        let Workload { rate, keys, reads, flushes, mix, coarse_ids, writes } = workload;
        writeln!(formatter, "rate {rate}\nkeys {keys}\nreads {reads}")?;
        if *late_writes {
            writeln!(formatter, "late-writes")?;
        }
        if *coarse_ids {
            writeln!(formatter, "coarse-ids")?;
        }
        if *flushes {
            writeln!(formatter, "flushes")?;
        }
        if let Some(writes) = writes {
            writeln!(formatter, "writes {writes}")?;
        }
        let mut families = String::new();
        for (family, weight) in FAMILIES.iter().zip(mix).filter(|(_, weight)| **weight > 0) {
            write!(families, " {family} {weight}")?;
        }
        writeln!(formatter, "mix{families}")?;
        for (at, fault) in faults {
            writeln!(formatter, "at {at} {fault}")?;
        }
        Ok(())
    }
}

/// The words of one line.
struct Words<'a>(SplitWhitespace<'a>);

impl Words<'_> {
    fn word(&mut self) -> Result<&str, String> {
        self.0.next().ok_or_else(|| "something is missing".to_owned())
    }

    fn number<T: FromStr>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        word.parse().map_err(|_| format!("{word} is no number that fits here"))
    }

    fn numbers(&mut self) -> Result<Vec<usize>, String> {
        let parse = |part: &str| part.parse().map_err(|_| format!("{part} is no node"));
        self.word()?.split(',').map(parse).collect()
    }

    fn named<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        let word = self.word()?;
        if word == name { self.number() } else { Err(format!("{word} stands where {name} should")) }
    }

    fn links(&mut self) -> Result<Links, String> {
        Ok(Links {
            latency: self.named("latency")?,
            jitter: self.named("jitter")?,
            loss: self.named("loss")?,
            duplication: self.named("duplication")?,
            reordering: self.named("reordering")?,
        })
    }

    fn fault(&mut self) -> Result<Fault, String> {
        Ok(match self.word()?.to_owned().as_str() {
            "start" => Fault::Start(self.number()?),
            "crash" => Fault::Crash(self.number()?),
            "pause" => Fault::Pause(self.number()?),
            "resume" => Fault::Resume(self.number()?),
            "cut" => Fault::Cut { from: self.numbers()?, to: self.numbers()? },
            "mend" => Fault::Mend,
            "links" => Fault::Links(self.links()?),
            "clock" => Fault::Clock { node: self.number()?, offset: self.number()? },
            "dns" => Fault::Dns(match self.word()? {
                "works" => true,
                "fails" => false,
                other => return Err(format!("dns either works or fails, not {other}")),
            }),
            other => return Err(format!("there is no fault {other}")),
        })
    }

    fn mix(&mut self) -> Result<[u8; FAMILIES.len()], String> {
        let mut mix = [0; FAMILIES.len()];
        while let Some(family) = self.0.next() {
            let at = FAMILIES.iter().position(|name| *name == family);
            mix[at.ok_or_else(|| format!("there is no family {family}"))?] = self.number()?;
        }
        Ok(mix)
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Plan, String> {
        let mut scenario = Scenario::plain("plan");
        let mut seed = 0;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        for (number, line) in lines {
            let mut words = Words(line.split_whitespace());
            let mut read = || -> Result<(), String> {
                let workload = &mut scenario.workload;
                match words.word()?.to_owned().as_str() {
                    "name" => scenario.name = words.word()?.to_owned(),
                    "seed" => seed = words.number()?,
                    "nodes" => scenario.nodes = words.number()?,
                    "duration" => scenario.duration = words.number()?,
                    "convergence" => scenario.convergence = words.number()?,
                    "links" => scenario.links = words.links()?,
                    "log-limit" => scenario.log_limit = Some(words.number()?),
                    "waiting-limit" => scenario.waiting_limit = Some(words.number()?),
                    "metadata-limit" => scenario.metadata_limit = Some(words.number()?),
                    "late-writes" => scenario.late_writes = true,
                    "core" => scenario.ending = Ending::Core(words.numbers()?),
                    "rate" => workload.rate = words.number()?,
                    "keys" => workload.keys = words.number()?,
                    "reads" => workload.reads = words.number()?,
                    "flushes" => workload.flushes = true,
                    "coarse-ids" => workload.coarse_ids = true,
                    "writes" => workload.writes = Some(words.number()?),
                    "mix" => workload.mix = words.mix()?,
                    "at" => scenario.faults.push((words.number()?, words.fault()?)),
                    other => return Err(format!("there is no {other}")),
                }
                words.0.next().map_or(Ok(()), |word| Err(format!("{word} is too much")))
            };
            read().map_err(|error| format!("line {}: {error}", number + 1))?;
        }
        check(&scenario)?;
        Ok(Plan { scenario, seed })
    }
}

/// What would make no sense to run.
fn check(scenario: &Scenario) -> Result<(), String> {
    let of_core = match &scenario.ending {
        Ending::All => &[][..],
        Ending::Core(core) => core,
    };
    let named = scenario.faults.iter().flat_map(|(_, fault)| fault.nodes()).chain(of_core.iter().copied());
    if let Some(node) = named.into_iter().find(|node| *node >= scenario.nodes) {
        return Err(format!("there is no node {node} among {}", scenario.nodes));
    }
    if scenario.nodes == 0 || scenario.workload.keys == 0 {
        return Err("there are no nodes, or no keys".to_owned());
    }
    let total: u32 = scenario.workload.mix.iter().map(|weight| u32::from(*weight)).sum();
    match total {
        1..=255 => Ok(()),
        _ => Err(format!("the mix adds up to {total}, not to something from 1 to 255")),
    }
}
