//! The scenarios in the event loop: they hold, they repeat, and what is wrong is found.

use sim::{Outcome, event_loop, scenarios};
use swytch::planted::{ALL, plant};

fn run(name: &str, seed: u64, traced: bool) -> Outcome {
    event_loop::run(&scenarios::named(name, seed).expect("a scenario of this name"), seed, traced)
}

/// Before any checker is believed: the same seed gives the same trace, byte for byte (P9).
#[test]
fn every_scenario_repeats() {
    for (name, _) in scenarios::ALL {
        let (first, second) = (run(name, 7, true), run(name, 7, true));
        assert!(first.trace.len() > 100, "{name} has a trace");
        assert_eq!(first.trace, second.trace, "{name}");
        assert_eq!(first.statistics, second.statistics, "{name}");
        assert_eq!(run(name, 7, false).statistics, first.statistics, "{name} is the same when nobody looks");
    }
}

#[test]
fn the_promises_hold_in_every_scenario() {
    for (name, _) in scenarios::ALL {
        for seed in 0..4 {
            let outcome = run(name, seed, false);
            assert_eq!(outcome.violations, Vec::<String>::new(), "cargo run -p sim -- --scenario {name} --seed {seed}");
            assert!(outcome.statistics.writes > 100 && outcome.statistics.applied > 100, "{name} does something");
        }
    }
}

/// Seeds that once went wrong.
#[test]
fn past_failures_stay_fixed() {
    for (name, seed) in PAST_FAILURES {
        assert_eq!(run(name, seed, false).violations, Vec::<String>::new(), "{name} {seed}");
    }
}

const PAST_FAILURES: [(&str, u64); 6] = [
    // A removed element took the value; the key's life went before the removals that others had not seen were stable.
    ("one-way", 41),
    // A flush of stable lists forgot the elements that concurrent effects count.
    ("swarm", 39),
    ("swarm", 109),
    // Groups that began apart never looked for each other, and had forgotten what the other lacked when they met.
    ("swarm", 260),
    ("swarm", 279),
    ("swarm", 286),
];

/// Each planted bug is found within ten seeds of `swarm`. The README has the table of what it took.
#[test]
fn planted_bugs_are_caught() {
    for (name, bug) in ALL {
        plant(Some(bug));
        let caught = (0..10).find(|&seed| !run("swarm", seed, false).violations.is_empty());
        plant(None);
        println!("{name}: caught by seed {caught:?}");
        assert!(caught.is_some(), "{name} was not caught");
    }
}
