//! Runs one scenario, or many seeds of it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use sim::{Outcome, scenarios};
use swytch::planted;

/// Whole swytch clusters in simulated time.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to simulate; see --list.
    #[arg(long, default_value = "swarm")]
    scenario: String,
    /// Everything random follows from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run all these seeds quietly and stop at the first failure: first..end, the end not included.
    #[arg(long, value_parser = parse_seeds, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// Run fresh seeds for so long, and tell of each failure how to repeat it.
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    minutes: Option<u64>,
    /// What is simulated.
    #[arg(long, value_enum, default_value_t = Tier::Loop)]
    tier: Tier,
    /// Plant this bug, to see it caught.
    #[arg(long)]
    bug: Option<String>,
    /// Name all scenarios and bugs.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Cores and keyspaces in one event loop.
    Loop,
    /// Whole nodes with real QUIC over a simulated network.
    Network,
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once("..").and_then(|(first, end)| Some((first.parse().ok()?, end.parse().ok()?)));
    numbers.filter(|(first, end)| first < end).ok_or_else(|| "expected first..end, as in 0..1000".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    if let Some(name) = &arguments.bug {
        let Some((_, bug)) = planted::ALL.iter().find(|(known, _)| known == name) else {
            eprintln!("there is no bug {name}; --list names them all");
            return ExitCode::from(2);
        };
        planted::plant(Some(*bug));
    }
    if scenarios::named(&arguments.scenario, 0).is_none() {
        eprintln!("there is no scenario {}; --list names them all", arguments.scenario);
        return ExitCode::from(2);
    }
    match (arguments.seeds, arguments.minutes) {
        (Some((first, end)), _) => run_seeds(&arguments, first, end),
        (None, Some(minutes)) => run_for(&arguments, Duration::from_secs(60 * minutes)),
        (None, None) => run_one(&arguments),
    }
}

fn list() {
    println!("scenarios:");
    for (name, about) in scenarios::ALL {
        println!("  {name:<18}{about}");
    }
    println!("bugs that can be planted:");
    for (name, _) in planted::ALL {
        println!("  {name}");
    }
}

fn run(arguments: &Arguments, seed: u64, traced: bool) -> Outcome {
    let scenario = scenarios::named(&arguments.scenario, seed).expect("the name was looked up before");
    match arguments.tier {
        Tier::Loop => sim::event_loop::run(&scenario, seed, traced),
        Tier::Network => sim::network::run(&scenario, seed),
    }
}

fn command(arguments: &Arguments, seed: u64) -> String {
    let tier = if arguments.tier == Tier::Network { " --tier network" } else { "" };
    let bug = arguments.bug.as_ref().map_or(String::new(), |bug| format!(" --bug {bug}"));
    format!("cargo run --release -p sim -- --scenario {} --seed {seed}{tier}{bug}", arguments.scenario)
}

/// Says which promises were broken, and how to see it again. True when all held.
fn report(arguments: &Arguments, seed: u64, outcome: &Outcome) -> bool {
    for violation in &outcome.violations {
        println!("BROKEN {violation}");
    }
    if !outcome.violations.is_empty() {
        println!("again: {}", command(arguments, seed));
    }
    outcome.violations.is_empty()
}

fn run_one(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let outcome = run(arguments, arguments.seed, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    let done = &outcome.statistics;
    println!(
        "{} seed {}: {:.1} s simulated in {:.2} s; {} writes, {} reads, {} effects applied, {} frames, {} snapshots, {} \
         rebases, {} crashes; converged {:.1} s after healing",
        arguments.scenario,
        arguments.seed,
        done.simulated as f64 / 1e3,
        begun.elapsed().as_secs_f64(),
        done.writes,
        done.reads,
        done.applied,
        done.frames,
        done.snapshots,
        done.rebases,
        done.crashes,
        done.converged_after as f64 / 1e3,
    );
    if report(arguments, arguments.seed, &outcome) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_seeds(arguments: &Arguments, first: u64, end: u64) -> ExitCode {
    let begun = Instant::now();
    let mut simulated = 0;
    for seed in first..end {
        let outcome = run(arguments, seed, false);
        simulated += outcome.statistics.simulated;
        if !report(arguments, seed, &outcome) {
            println!("{} seeds held before it", seed - first);
            return ExitCode::FAILURE;
        }
    }
    summarize(arguments, end - first, 0, simulated, begun.elapsed());
    ExitCode::SUCCESS
}

fn run_for(arguments: &Arguments, time: Duration) -> ExitCode {
    let begun = Instant::now();
    let (mut simulated, mut seeds, mut failures) = (0, 0, 0);
    while begun.elapsed() < time {
        let seed = fastrand::u64(..1 << 48);
        let outcome = run(arguments, seed, false);
        simulated += outcome.statistics.simulated;
        seeds += 1;
        failures += u64::from(!report(arguments, seed, &outcome));
    }
    summarize(arguments, seeds, failures, simulated, begun.elapsed());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summarize(arguments: &Arguments, seeds: u64, failures: u64, simulated: u64, took: Duration) {
    let (took, simulated) = (took.as_secs_f64(), simulated as f64 / 1e3);
    println!(
        "{}: {seeds} seeds, {failures} failed; {simulated:.0} s simulated in {took:.1} s, {:.0} for one, {:.0} seeds a minute",
        arguments.scenario,
        simulated / took,
        seeds as f64 * 60.0 / took,
    );
}
