//! The scenarios in the event loop: they hold, they repeat, and what is wrong is found.

use sim::plan::Plan;
use sim::scenario::Fault;
use sim::swarm::{self, Severity};
use sim::{Coverage, Outcome, event_loop, minimise, scenarios};
use swytch::planted::{ALL, Bug, plant};

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

const PAST_FAILURES: [(&str, u64); 13] = [
    // A removed element took the value; the key's life went before the removals that others had not seen were stable.
    ("one-way", 41),
    // A flush of stable lists forgot the elements that concurrent effects count.
    ("swarm", 39),
    ("swarm", 109),
    // Groups that began apart never looked for each other, and had forgotten what the other lacked when they met.
    ("swarm", 260),
    ("swarm", 279),
    ("swarm", 286),
    // A group gave way, and nobody made the effects of its dead member again.
    ("swarm", 5074),
    // What waited somewhere when its origin gave up its identity was applied there after it had been made again.
    ("swarm", 5083),
    // What a node had given to others was made again by it while these were cut off.
    ("swarm", 5085),
    // A node forwent what the origin could not make again, as its log had overflowed.
    ("swarm", 5492),
    // Effects were left to an identity of the node itself that had ended before it served.
    ("swarm", 5209),
    // A node gave up its identity to one that was dead.
    ("swarm", 272336640850804),
    // A node served a part of what came after the beginning of its snapshot, and got it again later.
    ("swarm", 116540479827565),
];

/// Seeds of the swarm that once went wrong.
#[test]
fn past_failures_of_the_swarm_stay_fixed() {
    for (seed, severity) in PAST_FAILURES_OF_THE_SWARM {
        assert_eq!(swarm::plan(seed, severity).run(false).violations, Vec::<String>::new(), "{seed}");
    }
}

const PAST_FAILURES_OF_THE_SWARM: [(u64, Severity); 2] = [
    // All who could have sent what came after the beginning of a snapshot died, and its receiver served all the same.
    (177299356640593, Severity::WithoutRebases),
    // A connection of which one end had let go never came to its end at the other, as what was said there was cut.
    (500140, Severity::WithoutRebases),
];

/// A node that joined is left alone with what it got, whenever the one dies that it got it from. (It once served a part of what
/// came after the beginning of the snapshot.)
#[test]
fn a_snapshot_needs_nobody_once_it_is_there() {
    for (text, crash) in JOINS {
        let plan: Plan = text.parse().expect("a plan");
        for dies in (crash - 1_200..crash + 60).step_by(20) {
            let mut plan = plan.clone();
            plan.scenario.faults.push((dies, Fault::Crash(0)));
            assert_eq!(plan.run(false).violations, Vec::<String>::new(), "node 0 dies after {dies} ms of {text}");
        }
    }
}

/// Node 1 joins, and about that time node 0 may crash with which it was alone.
const JOINS: [(&str, u64); 2] = [
    (
        "duration 7120
        rate 2
        keys 1
        reads 0
        mix s 10
        nodes 2
        seed 88809420675477
        at 53 links latency 14 jitter 44 loss 0.0006788746460894551 duplication 0.1882521524849249 reordering 0.1911270458351887
        at 120 start 1
        at 519 start 0
        at 5681 crash 1
        at 5849 start 1",
        7_030,
    ),
    (
        "duration 8051
        rate 1
        keys 1
        reads 0
        mix s 10
        nodes 2
        seed 116540479827585
        at 97 start 0
        at 164 start 1
        at 472 crash 1
        at 6305 start 1
        at 6355 cut 1 0",
        7_986,
    ),
];

/// A node had taken its snapshot from one that gave way itself, and could not get what others had of its own former effects. As it
/// served a moment before it gave way once more, it had made them again.
#[test]
fn who_is_about_to_give_way_makes_nothing_again() {
    let plan = "duration 10447
        links latency 52 jitter 82 loss 0.1580913204143701 duplication 0.1090800539629751 reordering 0.24581774671675888
        log-limit 4096
        rate 20
        keys 1
        reads 0.4135260252961391
        writes 173
        mix sum 10
        nodes 4
        seed 900390
        at 0 start 0
        at 379 start 1
        at 796 start 2
        at 1687 start 3";
    let plan: Plan = plan.parse().expect("a plan");
    assert_eq!(plan.run(false).violations, Vec::<String>::new());
}

/// The same of runs of which everything is drawn.
#[test]
fn the_swarm_repeats_and_its_promises_hold() {
    for seed in 0..12 {
        let plan = swarm::plan(seed, Severity::Whole);
        let (first, second) = (plan.run(true), plan.run(true));
        assert_eq!(first.trace, second.trace, "{seed}");
        assert_eq!(first.coverage, second.coverage, "{seed}");
        assert_eq!(first.violations, Vec::<String>::new(), "cargo run -p sim -- swarm --seed {seed}");
        let read: Plan = plan.to_string().parse().expect("a plan");
        assert_eq!(read.run(true).trace, first.trace, "{seed} is the same out of a file");
    }
}

/// Most rare paths are taken by few runs.
#[test]
fn rare_paths_are_taken() {
    let mut coverage = Coverage::default();
    (0..100).for_each(|seed| coverage.add(&swarm::plan(seed, Severity::Whole).run(false).coverage));
    let gaps = coverage.gaps();
    assert!(gaps.len() <= 8, "{gaps:?}");
}

/// Each planted bug is found by one of the first seeds of the swarm. The README has the table of what it took.
#[test]
fn planted_bugs_are_caught() {
    let fails = |seed: u64| swarm::plan(seed, Severity::Whole).run(false).has_failed();
    for (name, bug) in ALL {
        let is_caught_by = |seed: &u64| {
            plant(Some(bug));
            let caught = fails(*seed);
            plant(None);
            caught && !fails(*seed)
        };
        let caught = (0..60).find(is_caught_by);
        println!("{name}: caught by seed {caught:?}");
        assert!(caught.is_some(), "{name} was not caught");
    }
}

/// A run that fails becomes much smaller, and fails in the same way.
#[test]
fn a_failing_run_becomes_small() {
    for (bug, most_writes) in [(Bug::TearEffect, 4), (Bug::LoseIncrement, 50), (Bug::SkipDeduplication, 8)] {
        plant(Some(bug));
        let mut plans = (0..20).map(|seed| swarm::plan(seed, Severity::Whole));
        let (plan, before) = plans
            .find_map(|plan| Some((plan.clone(), plan.run(false))).filter(|(_, run)| run.has_failed()))
            .expect("a seed that catches it");
        let minimal = minimise::minimise(&plan, 400, |_| {}).expect("it fails");
        let again = minimal.plan.run(false);
        plant(None);
        let promise = |run: &Outcome| minimise::promise(&run.violations[0]).to_owned();
        assert_eq!((promise(&again), promise(&minimal.outcome)), (promise(&before), promise(&before)), "{bug:?}");
        let (writes, faults) = (again.statistics.writes, minimal.plan.scenario.faults.len());
        assert!(writes <= most_writes, "{bug:?}: {} writes became {writes}", before.statistics.writes);
        assert!(faults <= 4, "{bug:?}: {} faults became {faults}", plan.scenario.faults.len());
        assert!(!minimal.plan.run(false).has_failed(), "{bug:?}: without the bug it holds");
    }
}
