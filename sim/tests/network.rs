//! Scenarios with whole nodes: the shipped front end, keyspace, replication and QUIC, and Redis clients.
//!
//! Every test runs its scenario twice and compares what happened byte for byte before it looks at what was checked. What
//! fails is repeated with `cargo run -p sim -- --tier network` or by the seed that the message names.

use std::process::Command;

use sim::network::record::hash;
use sim::network::{run, run_with_stranger};
use sim::{Ending, Fault, Links, Outcome, Scenario, Statistics, Workload};

/// Three nodes that start together.
fn scenario(name: &str, faults: Vec<(u64, Fault)>) -> Scenario {
    let starts = (0..3).map(|node| (0, Fault::Start(node)));
    Scenario {
        name: name.to_owned(),
        nodes: 3,
        faults: starts.chain(faults).collect(),
        links: Links::GOOD,
        workload: Workload { rate: 20, keys: 5, reads: 0.3, ..Workload::USUAL },
        duration: 30_000,
        convergence: 60_000,
        ending: Ending::All,
        log_limit: None,
        waiting_limit: None,
        metadata_limit: None,
        late_writes: false,
    }
}

fn cut(from: &[usize], to: &[usize]) -> Fault {
    Fault::Cut { from: from.to_vec(), to: to.to_vec() }
}

/// Nobody in one group hears anybody in the other.
fn split(at: u64, one: &[usize], other: &[usize]) -> Vec<(u64, Fault)> {
    vec![(at, cut(one, other)), (at, cut(other, one))]
}

fn assert_holds(scenario: &Scenario, seed: u64, first: &Outcome, second: &Outcome) {
    let difference = first.trace.iter().zip(&second.trace).position(|(one, other)| one != other);
    if let Some(line) = difference {
        let (one, other) = (&first.trace[line], &second.trace[line]);
        panic!("{}, seed {seed}: line {line} differs between two runs:\n{one}\n{other}", scenario.name);
    }
    assert_eq!(first.trace.len(), second.trace.len(), "{}, seed {seed}: one run is longer", scenario.name);
    assert!(first.violations.is_empty(), "{}, seed {seed}: {:#?}", scenario.name, first.violations);
}

/// Runs a scenario twice; nothing may differ, and every promise has to hold.
fn check(scenario: &Scenario, seed: u64) -> Statistics {
    let (first, second) = (run(scenario, seed), run(scenario, seed));
    assert_holds(scenario, seed, &first, &second);
    println!("{}, seed {seed}: {:?}", scenario.name, first.statistics);
    first.statistics
}

#[test]
fn three_nodes_find_each_other_and_agree() {
    let statistics = check(&scenario("calm", vec![]), 1);
    assert!(statistics.writes > 1000 && statistics.applied > 1000, "{statistics:?}");
}

#[test]
fn a_partition_longer_than_every_timeout_heals() {
    let mut faults = split(5_000, &[0], &[1, 2]);
    faults.push((25_000, Fault::Mend));
    check(&scenario("partition", faults), 2);
}

#[test]
fn a_partition_shorter_than_the_idle_timeout_goes_unnoticed() {
    let mut faults = split(5_000, &[0, 1], &[2]);
    faults.push((9_000, Fault::Mend));
    let faults = [faults, split(15_000, &[0], &[1]), vec![(18_000, Fault::Mend)]].concat();
    check(&scenario("short-partition", faults), 3);
}

#[test]
fn links_that_work_one_way_only_do_no_harm() {
    let faults = vec![(5_000, cut(&[0], &[1, 2])), (15_000, Fault::Mend), (16_000, cut(&[1, 2], &[0]))];
    check(&scenario("one-way", faults), 4);
}

#[test]
fn a_node_that_loses_power_comes_back_as_another() {
    let faults = vec![
        (6_000, Fault::Crash(2)),
        (9_000, Fault::Start(2)),
        (14_000, Fault::Crash(0)),
        (14_500, Fault::Start(0)),
        (20_000, Fault::Crash(1)),
    ];
    let statistics = check(&scenario("crash", faults), 5);
    assert_eq!(statistics.crashes, 3);
    assert!(statistics.snapshots >= 3, "{statistics:?}");
}

#[test]
fn packets_may_be_lost_doubled_late_and_in_any_order() {
    let links = Links { latency: 5, jitter: 30, loss: 0.1, duplication: 0.1, reordering: 0.2 };
    check(&Scenario { links, ..scenario("weather", vec![]) }, 6);
}

#[test]
fn packets_that_are_held_for_long_arrive_in_the_end() {
    let faults = vec![
        (5_000, Fault::Pause(1)),
        (8_000, Fault::Resume(1)),
        (10_000, Fault::Pause(2)),
        (24_000, Fault::Resume(2)),
    ];
    check(&scenario("hold", faults), 7);
}

#[test]
fn clocks_may_be_wrong_and_jump() {
    let clock = |node, offset| Fault::Clock { node, offset };
    let faults = vec![
        (0, clock(0, 300_000)),
        (1, clock(1, -300_000)),
        (8_000, clock(0, -60_000)),
        (12_000, clock(2, 3_600_000)),
        (16_000, clock(2, 0)),
        (20_000, clock(1, 10_000)),
    ];
    check(&scenario("clocks", faults), 8);
}

#[test]
fn names_are_needed_only_at_the_start() {
    let mut faults = vec![(4_000, Fault::Dns(false))];
    faults.extend(split(6_000, &[0], &[1, 2]));
    faults.extend([
        (22_000, Fault::Mend),
        (22_001, Fault::Crash(1)),
        (23_000, Fault::Start(1)),
        (27_000, Fault::Dns(true)),
    ]);
    check(&scenario("dns", faults), 9);
}

#[test]
fn a_joiner_gets_everything_and_then_serves() {
    let faults = vec![(0, Fault::Start(0)), (0, Fault::Start(1)), (15_000, Fault::Start(2))];
    // DNS names it from the beginning, so the others keep their logs for it, as far as they may.
    let statistics = check(&Scenario { faults, log_limit: Some(30_000), ..scenario("join", vec![]) }, 10);
    assert!(statistics.snapshots >= 1, "{statistics:?}");
}

#[test]
fn everything_at_once() {
    let links = Links { latency: 1, jitter: 10, loss: 0.05, duplication: 0.05, reordering: 0.1 };
    let mut faults = split(5_000, &[0], &[1, 2]);
    faults.extend([
        (8_000, Fault::Crash(1)),
        (9_000, Fault::Mend),
        (10_000, Fault::Start(1)),
        (12_000, Fault::Clock { node: 2, offset: -5_000 }),
        (15_000, cut(&[2], &[0])),
        (18_000, Fault::Crash(0)),
        (20_000, Fault::Mend),
        (21_000, Fault::Start(0)),
    ]);
    for seed in 11..13 {
        check(&Scenario { links: links.clone(), ..scenario("everything", faults.clone()) }, seed);
    }
}

#[test]
fn flushes_agree_as_well() {
    let workload = Workload { rate: 50, keys: 3, reads: 0.1, flushes: true, ..Workload::USUAL };
    let mut faults = split(5_000, &[0], &[1, 2]);
    faults.push((10_000, Fault::Mend));
    check(&Scenario { workload, ..scenario("flushes", faults) }, 13);
}

#[test]
fn a_node_with_another_passphrase_is_kept_out_and_disturbs_nobody() {
    let scenario = scenario("stranger", vec![(10_000, Fault::Crash(1)), (12_000, Fault::Start(1))]);
    let (first, second) = (run_with_stranger(&scenario, 14), run_with_stranger(&scenario, 14));
    assert_holds(&scenario, 14, &first, &second);
}

/// Tells the child process of the test below to do its part.
const CHILD: &str = "SWYTCH_SIMULATION_CHILD";

#[test]
fn another_process_sees_the_same() {
    let trace = || run(&Scenario { duration: 10_000, ..scenario("process", vec![(5_000, Fault::Crash(0))]) }, 15).trace;
    let line = format!("the trace is {:016x}", hash(trace().join("\n").as_bytes()));
    println!("{line}");
    if std::env::var_os(CHILD).is_none() {
        let myself = std::env::current_exe().unwrap();
        let mut child = Command::new(myself);
        child.args(["--exact", "another_process_sees_the_same", "--nocapture"]).env(CHILD, "1");
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        assert!(output.contains(&line), "{line}, and of the other process: {output}");
    }
}
