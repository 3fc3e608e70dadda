//! Runs, one after the other, and what is said of them.

use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::coverage::Path;
use sim::plan::Plan;
use sim::swarm::Severity;
use sim::{Coverage, Outcome, minimise, scenarios, swarm};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Cores and keyspaces in one event loop.
    Loop,
    /// Whole nodes with real QUIC over a simulated network.
    Network,
}

/// Where a run comes from.
pub enum Source {
    /// A scenario of this name.
    Scenario(String),
    /// Everything is drawn from the seed.
    Swarm(Severity),
    /// A file has it all; the seed is no matter.
    File(PathBuf, Box<Plan>),
}

/// Runs of one source.
pub struct Runner {
    pub source: Source,
    pub tier: Tier,
    /// The name of the bug that is planted.
    pub bug: Option<&'static str>,
    pub keeps_going: bool,
}

/// What many runs came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    /// Runs that are not judged.
    left_out: u64,
    simulated: u64,
    coverage: Coverage,
}

impl Runner {
    fn plan(&self, seed: u64) -> Plan {
        match &self.source {
            Source::Scenario(name) => {
                let scenario = scenarios::named(name, seed).expect("the name was looked up before");
                Plan { scenario, seed }
            }
            Source::Swarm(severity) => swarm::plan(seed, *severity),
            Source::File(_, plan) => (**plan).clone(),
        }
    }

    fn run(&self, seed: u64, traced: bool) -> Outcome {
        let plan = self.plan(seed);
        match self.tier {
            Tier::Loop => plan.run(traced),
            Tier::Network => sim::network::run(&plan.scenario, plan.seed),
        }
    }

    fn name(&self) -> String {
        match &self.source {
            Source::Scenario(name) => name.clone(),
            Source::Swarm(_) => "swarm".to_owned(),
            Source::File(path, _) => path.display().to_string(),
        }
    }

    /// How a run is repeated.
    fn command(&self, seed: u64) -> String {
        let mut command = "cargo run --release -p sim -- ".to_owned();
        // Writing to a string does not fail.
        let _ = match &self.source {
            Source::Scenario(name) => write!(command, "--scenario {name} --seed {seed}"),
            Source::Swarm(Severity::Whole) => write!(command, "swarm --seed {seed}"),
            Source::Swarm(Severity::WithoutRebases) => write!(command, "swarm --without-rebases --seed {seed}"),
            Source::File(path, _) => write!(command, "swarm --plan {}", path.display()),
        };
        if self.tier == Tier::Network {
            command.push_str(" --tier network");
        }
        if let Some(bug) = self.bug {
            command.push_str(" --bug ");
            command.push_str(bug);
        }
        command
    }

    /// Says which promises were broken, and how to see it again. True when all held.
    fn report(&self, seed: u64, outcome: &Outcome) -> bool {
        for violation in &outcome.violations {
            println!("BROKEN {violation}");
        }
        if !outcome.violations.is_empty() {
            println!("again: {}", self.command(seed));
        }
        outcome.violations.is_empty()
    }

    /// One run, with its trace.
    pub fn run_one(&self, seed: u64) -> ExitCode {
        let begun = Instant::now();
        let outcome = self.run(seed, true);
        for line in &outcome.trace {
            println!("{line}");
        }
        let (done, took) = (&outcome.statistics, begun.elapsed().as_secs_f64());
        println!(
            "{} seed {seed}: {:.1} s simulated in {took:.2} s; {} writes, {} reads, {} effects applied, {} frames, {} \
             snapshots, {} rebases, {} crashes; converged {:.1} s after healing",
            self.name(),
            done.simulated as f64 / 1e3,
            done.writes,
            done.reads,
            done.applied,
            done.frames,
            done.snapshots,
            done.rebases,
            done.crashes,
            done.converged_after as f64 / 1e3,
        );
        if self.report(seed, &outcome) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// All these seeds.
    pub fn run_seeds(&self, seeds: Range<u64>) -> ExitCode {
        self.run_all(seeds)
    }

    /// Fresh seeds for so many minutes.
    pub fn run_for(&self, minutes: u64) -> ExitCode {
        let (begun, time) = (Instant::now(), Duration::from_secs(60 * minutes));
        let fresh = std::iter::repeat_with(|| fastrand::u64(..1 << 48));
        self.run_all(fresh.take_while(|_| begun.elapsed() < time))
    }

    fn run_all(&self, seeds: impl Iterator<Item = u64>) -> ExitCode {
        let begun = Instant::now();
        let mut sum = Sum::default();
        for seed in seeds {
            let outcome = self.run(seed, false);
            sum.seeds += 1;
            sum.simulated += outcome.statistics.simulated;
            sum.coverage.add(&outcome.coverage);
            if self.is_left_out(&outcome) {
                sum.left_out += 1;
            } else if !self.report(seed, &outcome) {
                sum.failed += 1;
                if !self.keeps_going {
                    break;
                }
            }
        }
        self.summarize(&sum, begun.elapsed().as_secs_f64());
        if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Did a node give up its identity where that is not what is looked for? A node that starts while it is cut off begins a
    /// cluster of its own, whatever is left out.
    fn is_left_out(&self, outcome: &Outcome) -> bool {
        let rebases = || outcome.coverage.times(Path::Rebase) + outcome.coverage.times(Path::RebaseAgain);
        matches!(self.source, Source::Swarm(Severity::WithoutRebases)) && rebases() > 0
    }

    fn summarize(&self, sum: &Sum, took: f64) {
        let Sum { seeds, failed, left_out, .. } = sum;
        if *left_out > 0 {
            println!("not judged, as nodes gave up their identity all the same: {left_out}");
        }
        let simulated = sum.simulated as f64 / 1e3;
        if self.tier == Tier::Loop {
            print!("{}", sum.coverage.table());
        }
        println!(
            "{}: {seeds} seeds, {failed} failed; {simulated:.0} s simulated in {took:.1} s, {:.0} for one, {:.0} seeds a \
             minute",
            self.name(),
            simulated / took,
            *seeds as f64 * 60.0 / took,
        );
    }

    /// Makes a run that fails smaller, and writes down what is left.
    pub fn minimise(&self, seed: u64, most_runs: u64) -> Result<ExitCode, String> {
        if self.tier != Tier::Loop {
            return Err("only runs of the event loop are made smaller".to_owned());
        }
        let plan = self.plan(seed);
        let writes = plan.run(false).statistics.writes;
        let size = |plan: &Plan| {
            let scenario = &plan.scenario;
            let kinds = scenario.workload.mix.iter().filter(|weight| **weight > 0).count();
            format!("{} nodes, {} faults, {kinds} kinds of writes", scenario.nodes, scenario.faults.len())
        };
        println!("{}, {writes} writes", size(&plan));
        let Some(minimal) = minimise::minimise(&plan, most_runs, |plan| println!("{}", size(plan))) else {
            println!("no promise is broken");
            return Ok(ExitCode::SUCCESS);
        };
        let path = PathBuf::from(format!("minimal-{seed}.plan"));
        std::fs::write(&path, minimal.plan.to_string()).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{} runs later, {} writes:\n\n{}", minimal.runs, minimal.outcome.statistics.writes, minimal.plan);
        let left = Runner { source: Source::File(path, Box::new(minimal.plan)), ..*self };
        left.report(seed, &minimal.outcome);
        Ok(ExitCode::FAILURE)
    }
}
