//! Scenarios of which everything is drawn from a seed: how many nodes there are, what goes wrong and how often, what the links
//! are like, what clients do, how small the budgets are, and how it ends.
//!
//! After Groce, Zhang, Eide, Chen and Regehr, "Swarm Testing" (2012): each run leaves much out, as what is always there hides what
//! comes up only without it. A run has only some kinds of faults, of writes and of limits.

use fastrand::Rng;

use crate::plan::Plan;
use crate::scenario::{Ending, FAMILIES, Fault, Links, Scenario, Workload};
use crate::scenarios::{self, bad_links, cut_both_ways, groups, start};

/// Kinds of faults that a run may have.
const KINDS: u8 = 12;
/// Commands of all clients together, in a second.
const MOST_COMMANDS: u64 = 120;
/// As long as a connection lasts that hears nothing, and as members live that nobody hears.
const TIMEOUTS: [u64; 2] = [10_000, 30_000];

/// What may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Everything.
    Whole,
    /// Not what mostly makes nodes give up their identity: no log overflows, and DNS names everybody.
    WithoutRebases,
}

/// The run of this seed.
pub fn plan(seed: u64, severity: Severity) -> Plan {
    // Neither the sequence of the run itself nor that of the named scenarios.
    let mut random = Rng::with_seed(seed ^ 0x7ea5_0f5e_ed50_fa11);
    let scenario = draw(&mut random, seed, severity);
    Plan { scenario, seed }
}

fn draw(random: &mut Rng, seed: u64, severity: Severity) -> Scenario {
    let mut scenario = match random.u8(..4) {
        0 => {
            let (name, _) = scenarios::ALL[random.usize(..scenarios::ALL.len())];
            scenarios::named(name, seed).expect("it is one of all")
        }
        _ => own(random),
    };
    let base = scenario.name.clone();
    scenario.workload = workload(random, &scenario);
    scenario.workload.coarse_ids = seed.is_multiple_of(2);
    if random.u8(..3) == 0 {
        scenario.links = bad_links(random);
    }
    // The smaller ones overflow all the time, the larger ones when somebody was away.
    scenario.log_limit = (random.u8(..3) == 0).then(|| 1 << random.u32(12..18)).or(scenario.log_limit);
    scenario.waiting_limit = (random.u8(..3) == 0).then(|| 1 << random.u32(13..17));
    scenario.metadata_limit = (random.u8(..6) == 0).then(|| 1 << random.u32(10..16));
    scenario.late_writes = random.bool();
    if severity == Severity::WithoutRebases {
        (scenario.log_limit, scenario.metadata_limit) = (None, None);
        scenario.faults.retain(|(_, fault)| *fault != Fault::Dns(false));
    }
    let mode = if random.u8(..3) == 0 {
        scenario.ending = Ending::Core(core(scenario.nodes, random));
        "liveness"
    } else {
        "safety"
    };
    scenario.name = format!("{base}-{mode}");
    scenario.faults.sort_by_key(|(at, _)| *at);
    scenario
}

/// What clients do: some kinds of writes, each as often as it comes.
fn workload(random: &mut Rng, scenario: &Scenario) -> Workload {
    let rate = match random.u8(..4) {
        0 => scenario.workload.rate,
        1 => random.u64(1..6),
        _ => random.u64(4..60),
    };
    // More of the same teaches less than another run does.
    let rate = rate.min(MOST_COMMANDS / scenario.nodes as u64);
    let mut mix = [0; FAMILIES.len()];
    while mix.iter().all(|weight| *weight == 0) {
        for weight in &mut mix {
            *weight = if random.bool() { random.u8(1..17) } else { 0 };
        }
    }
    Workload {
        rate,
        keys: random.u64(1..6),
        reads: random.f64() * 0.7,
        flushes: random.u8(..6) == 0,
        mix,
        coarse_ids: false,
        writes: None,
    }
}

/// A majority, or any other group of at least two.
fn core(nodes: usize, random: &mut Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut all);
    let least = if random.bool() { nodes / 2 + 1 } else { 2 };
    all.truncate(random.usize(least.min(nodes)..=nodes));
    all.sort_unstable();
    all
}

/// A plan of faults of its own.
fn own(random: &mut Rng) -> Scenario {
    let nodes = match random.u8(..32) {
        0 => random.usize(9..13),
        1..8 => random.usize(5..9),
        _ => random.usize(2..6),
    };
    let mut scenario = Scenario { nodes, duration: random.u64(15_000..70_000), ..Scenario::plain("own") };
    match random.u8(..6) {
        // In two groups that do not know of each other.
        2 | 3 => {
            let (one, other) = groups(nodes, random);
            cut_both_ways(&mut scenario.faults, 0, &one, &other);
            start(&mut scenario, random);
            scenario.faults.push((random.u64(5_000..30_000), Fault::Mend));
        }
        // All at once: nobody is there to admit anybody.
        0 => scenario.faults.extend((0..nodes).map(|node| (random.u64(..50), Fault::Start(node)))),
        // Some of them late.
        1 => {
            scenario.faults.push((0, Fault::Start(0)));
            for node in 1..nodes {
                scenario.faults.push((random.u64(..scenario.duration), Fault::Start(node)));
            }
        }
        _ => start(&mut scenario, random),
    }
    let kinds: Vec<u8> = (0..KINDS).filter(|_| random.u8(..3) == 0).collect();
    // From a fault every half minute to several in a second.
    let pace = [30_000, 10_000, 3_000, 1_000][random.usize(..4)];
    let mut at = random.u64(1_000..8_000);
    while at < scenario.duration
        && let Some(kind) = random.choice(&kinds)
    {
        happen(&mut scenario, *kind, at, random);
        at += random.u64(1..2 * pace);
    }
    scenario
}

/// How long something lasts: mostly not long, now and then longer than one of the timeouts.
fn while_it_lasts(random: &mut Rng) -> u64 {
    match random.u8(..6) {
        0 => random.u64(1..300),
        1..4 => random.u64(300..8_000),
        4 => TIMEOUTS[0] + random.u64(..6_000),
        _ => TIMEOUTS[1] + random.u64(..20_000),
    }
}

fn happen(scenario: &mut Scenario, kind: u8, at: u64, random: &mut Rng) {
    let nodes = scenario.nodes;
    let (node, other) = (random.usize(..nodes), random.usize(..nodes));
    let end = at + while_it_lasts(random);
    let (one, rest) = groups(nodes, random);
    let others: Vec<usize> = (0..nodes).filter(|&other| other != node).collect();
    let faults = &mut scenario.faults;
    match kind {
        0 => {
            cut_both_ways(faults, at, &one, &rest);
            faults.push((end, Fault::Mend));
        }
        1 => faults.extend([(at, Fault::Cut { from: one, to: rest }), (end, Fault::Mend)]),
        // A single node, which may come back, or a single way.
        2 => {
            cut_both_ways(faults, at, &[node], &others);
            faults.push((end, Fault::Mend));
        }
        3 => faults.extend([(at, Fault::Cut { from: vec![node], to: vec![other] }), (end, Fault::Mend)]),
        4 => faults.extend([(at, Fault::Crash(node)), (end, Fault::Start(node))]),
        // Everybody but one at nearly the same time.
        5 => {
            for node in others {
                faults.push((at + random.u64(..500), Fault::Crash(node)));
                faults.push((end + random.u64(..500), Fault::Start(node)));
            }
        }
        // It crashes while it joins.
        6 => {
            let again = at + random.u64(100..3_000);
            faults.extend([(at, Fault::Crash(node)), (at + 100, Fault::Start(node))]);
            faults.extend([(again + 100, Fault::Crash(node)), (end.max(again + 200), Fault::Start(node))]);
        }
        7 => faults.extend([(at, Fault::Pause(node)), (end, Fault::Resume(node))]),
        8 => faults.push((at, Fault::Clock { node, offset: random.i64(-20_000..20_000) })),
        9 => faults.extend([(at, Fault::Dns(false)), (end, Fault::Dns(true))]),
        10 => faults.extend([(at, Fault::Links(bad_links(random))), (end, Fault::Links(Links::GOOD))]),
        // A partition that cuts through the middle of another.
        _ => {
            cut_both_ways(faults, at, &one, &rest);
            let (one, rest) = groups(nodes, random);
            let later = at + random.u64(1..5_000);
            faults.push((later, Fault::Mend));
            cut_both_ways(faults, later, &one, &rest);
            faults.push((end.max(later + 1), Fault::Mend));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_out_of_its_text() {
        for seed in 0..200 {
            let plan = plan(seed, Severity::Whole);
            let text = plan.to_string();
            let read: Plan = text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"));
            assert_eq!(read, plan);
        }
    }

    #[test]
    fn every_kind_of_run_is_drawn() {
        let plans: Vec<Plan> = (0..300).map(|seed| plan(seed, Severity::Whole)).collect();
        let sometimes = |what: &dyn Fn(&Scenario) -> bool| {
            let count = plans.iter().filter(|plan| what(&plan.scenario)).count();
            assert!(count > 0 && count < plans.len(), "{count} of {}", plans.len());
        };
        sometimes(&|scenario| scenario.ending == Ending::All);
        sometimes(&|scenario| scenario.nodes > 5);
        sometimes(&|scenario| scenario.log_limit.is_some());
        sometimes(&|scenario| scenario.waiting_limit.is_some());
        sometimes(&|scenario| scenario.metadata_limit.is_some());
        sometimes(&|scenario| scenario.late_writes);
        sometimes(&|scenario| scenario.links == Links::GOOD);
        sometimes(&|scenario| scenario.workload.flushes);
        sometimes(&|scenario| scenario.workload.coarse_ids);
        for family in FAMILIES {
            sometimes(&|scenario| scenario.workload.has(family));
        }
        for (name, _) in scenarios::ALL {
            sometimes(&|scenario| scenario.name.starts_with(&format!("{name}-")));
        }
    }
}
