//! Runs one scenario, or many seeds of it, or the swarm. Arguments only: what is done with them is in [`runner`].

mod bugs;
mod runner;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sim::swarm::Severity;
use sim::{scale, scenarios};
use swytch::planted;

use self::runner::{Source, Tier};

/// Whole swytch clusters in simulated time.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to simulate; see --list.
    #[arg(long, default_value = "swarm")]
    scenario: String,
    /// Name all scenarios and bugs.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    seeds: Seeds,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs of which everything is drawn from the seed; stops at the first broken promise.
    Swarm {
        /// Run what this file says, instead of what is drawn.
        #[arg(long, conflicts_with_all = ["seed", "seeds", "minutes"])]
        plan: Option<PathBuf>,
        /// Leave out what makes nodes give up their identity: small budgets for logs and metadata, DNS that fails. Runs in
        /// which one does so all the same are counted, and not judged.
        #[arg(long)]
        without_rebases: bool,
        /// Only say what is drawn.
        #[arg(long)]
        show: bool,
        #[command(flatten)]
        seeds: Seeds,
    },
    /// Measures what membership costs: what clusters of several sizes say to each other in a healthy network, when nobody writes
    /// and when somebody does.
    Scale {
        /// Everything random follows from this number.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The sizes.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 8, 16, 32])]
        nodes: Vec<usize>,
    },
    /// Plants each bug and counts the seeds of the swarm until it is caught.
    Bugs {
        /// Only this one.
        #[arg(long)]
        bug: Option<String>,
        /// So many ranges of seeds are tried, each a thousand after the one before.
        #[arg(long, default_value_t = 5)]
        ranges: u64,
        /// So many seeds of each range at most.
        #[arg(long, default_value_t = 100)]
        most: u64,
    },
}

/// Which runs, and what is done with them.
#[derive(Debug, Args)]
struct Seeds {
    /// Everything random follows from this number.
    #[arg(long)]
    seed: Option<u64>,
    /// Run all these seeds quietly and stop at the first failure: first..end, the end not included.
    #[arg(long, value_parser = parse_seeds, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// Run fresh seeds for so long.
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    minutes: Option<u64>,
    /// Do not stop at a failure.
    #[arg(long)]
    keep_going: bool,
    /// Make the run smaller for as long as it fails, and write the plan that is left to a file.
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    minimise: bool,
    /// With so many runs at most.
    #[arg(long, default_value_t = 2_000)]
    runs: u64,
    /// What is simulated.
    #[arg(long, value_enum, default_value_t = Tier::Loop)]
    tier: Tier,
    /// Plant this bug, to see it caught.
    #[arg(long)]
    bug: Option<String>,
}

impl ValueEnum for Tier {
    fn value_variants<'a>() -> &'a [Tier] {
        &[Tier::Loop, Tier::Network]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(match self {
            Tier::Loop => clap::builder::PossibleValue::new("loop").help("Cores and keyspaces in one event loop"),
            Tier::Network => {
                clap::builder::PossibleValue::new("network").help("Whole nodes with real QUIC over a simulated network")
            }
        })
    }
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
    let done = match arguments.command {
        None if scenarios::named(&arguments.scenario, 0).is_none() => {
            Err(format!("there is no scenario {}; --list names them all", arguments.scenario))
        }
        None => run(Source::Scenario(arguments.scenario), arguments.seeds),
        Some(Command::Swarm { plan: Some(path), seeds, .. }) => {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()));
            text.and_then(|text| {
                let plan = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
                run(Source::File(path, Box::new(plan)), seeds)
            })
        }
        Some(Command::Swarm { without_rebases, show, seeds, .. }) => {
            let severity = if without_rebases { Severity::WithoutRebases } else { Severity::Whole };
            if show {
                print!("{}", sim::swarm::plan(seeds.seed.unwrap_or(1), severity));
                return ExitCode::SUCCESS;
            }
            run(Source::Swarm(severity), seeds)
        }
        Some(Command::Scale { seed, nodes }) => measure_scale(seed, &nodes),
        Some(Command::Bugs { bug, ranges, most }) => {
            bug.as_deref().map(known_bug).transpose().map(|bug| bugs::measure(bug, ranges, most))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn run(source: Source, seeds: Seeds) -> Result<ExitCode, String> {
    let bug = seeds.bug.as_deref().map(known_bug).transpose()?;
    planted::plant(bug.map(|(_, bug)| bug));
    // Fresh seeds of a scenario go on after a failure, those of the swarm do not.
    let keeps_going = seeds.keep_going || (seeds.minutes.is_some() && matches!(source, Source::Scenario(_)));
    let runner = runner::Runner { source, tier: seeds.tier, bug: bug.map(|(name, _)| name), keeps_going };
    match (seeds.seeds, seeds.minutes) {
        (Some((first, end)), _) => Ok(runner.run_seeds(first..end)),
        (None, Some(minutes)) => Ok(runner.run_for(minutes)),
        (None, None) if seeds.minimise => runner.minimise(seeds.seed.unwrap_or(1), seeds.runs),
        (None, None) => Ok(runner.run_one(seeds.seed.unwrap_or(1))),
    }
}

fn measure_scale(seed: u64, nodes: &[usize]) -> Result<ExitCode, String> {
    println!("{}", scale::HEAD);
    for &count in nodes {
        print!("{}", scale::measure(count, seed)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn known_bug(name: &str) -> Result<(&'static str, planted::Bug), String> {
    let known = planted::ALL.into_iter().find(|(known, _)| *known == name);
    known.ok_or_else(|| format!("there is no bug {name}; --list names them all"))
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
