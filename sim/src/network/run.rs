//! From a scenario to an outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use swytch::keyspace::Millis;
use swytch::planted;

use super::entropy;
use super::history::FinalData;
use super::inspection::Order;
use super::machine::Incarnation;
use super::world::World;
use crate::{Outcome, Scenario, Statistics};

/// How often the nodes are compared with each other.
const COMPARE_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is looked whether the nodes agree, once they should.
const CONVERGENCE_INTERVAL: Duration = Duration::from_millis(100);

/// For how long messages are published when all is well again.
const EPILOGUE: Duration = Duration::from_secs(5);

/// How long the last look at everything may take.
const INSPECTION_TIME: Duration = Duration::from_secs(20);

/// Runs a scenario with whole nodes on a simulated network.
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    isolated(scenario, seed, false)
}

/// The same, with one more machine that finds the others by DNS but has another passphrase. It must not get in, and must
/// not disturb anyone.
pub fn run_with_stranger(scenario: &Scenario, seed: u64) -> Outcome {
    isolated(scenario, seed, true)
}

/// On a fresh thread, with the bug that is planted on this one.
fn isolated(scenario: &Scenario, seed: u64, stranger: bool) -> Outcome {
    let bug = planted::ALL.into_iter().map(|(_, bug)| bug).find(|bug| planted::planted(*bug));
    entropy::on_fresh_thread(seed, || {
        planted::plant(bug);
        simulate(scenario, seed, stranger)
    })
}

fn simulate(scenario: &Scenario, seed: u64, stranger: bool) -> Outcome {
    let mut world = World::new(scenario, stranger, seed);
    let mut violations = Vec::new();
    let mut converged_after = 0;
    if stranger {
        world.start(scenario.nodes);
    }
    let outcome = suffer(&mut world, scenario, &mut violations).and_then(|()| {
        let agreed = converge(&mut world, scenario, &mut violations)?;
        converged_after = millis(agreed);
        talk(&mut world, scenario, &mut violations)?;
        inspect(&mut world, scenario, &mut violations)
    });
    if let Err(error) = outcome {
        violations.push(format!("P9: a machine failed: {error}"));
    }
    if stranger {
        check_stranger(&world, scenario, &mut violations);
    }
    let statistics = statistics(&world, converged_after);
    Outcome { trace: world.record.take(), violations, statistics, ..Outcome::default() }
}

/// Lets the faults happen while clients work.
fn suffer(world: &mut World<'_>, scenario: &Scenario, violations: &mut Vec<String>) -> Result<(), String> {
    let end = Duration::from_millis(scenario.duration);
    let mut faults = scenario.faults.iter().peekable();
    let mut compare_at = COMPARE_INTERVAL;
    loop {
        while let Some((_, fault)) = faults.next_if(|(at, _)| Duration::from_millis(*at) <= world.now()) {
            world.befall(fault);
        }
        if world.now() >= end {
            break;
        }
        if world.now() >= compare_at {
            compare_at += COMPARE_INTERVAL;
            compare(world, scenario, violations);
            let connected = are_connected(&running(world, scenario), scenario.nodes);
            world.note_calm(connected);
        }
        let next_fault = faults.peek().map_or(end, |(at, _)| Duration::from_millis(*at));
        world.advance(next_fault.min(compare_at).min(end))?;
    }
    world.clients.busy.set(false);
    world.heal();
    Ok(())
}

/// Nodes that have applied the same effects have the same data.
fn compare(world: &World<'_>, scenario: &Scenario, violations: &mut Vec<String>) {
    let nodes = running(world, scenario);
    for pair in nodes.windows(2) {
        let same_effects = pair[0].keyspace.frontier() == pair[1].keyspace.frontier();
        let loading = pair.iter().any(|node| node.keyspace.is_loading() || !node.report.borrow().serving);
        if same_effects && !loading && pair[0].keyspace.digest() != pair[1].keyspace.digest() {
            let (one, other, at) = (pair[0].node(), pair[1].node(), world.now().as_secs_f64());
            violations.push(format!("P1: {one} and {other} have the same effects and other data at {at:.1} s"));
        }
    }
}

/// Waits until all nodes agree; how long it took.
fn converge(world: &mut World<'_>, scenario: &Scenario, violations: &mut Vec<String>) -> Result<Duration, String> {
    let healed = world.now();
    let deadline = healed + Duration::from_millis(scenario.convergence);
    let mut disagreement = String::new();
    while world.now() < deadline {
        world.advance(world.now() + CONVERGENCE_INTERVAL)?;
        compare(world, scenario, violations);
        match agree(&running(world, scenario), scenario.nodes) {
            // A client's last command may still be on its way.
            Ok(()) if world.clients.active.get() > 0 => disagreement = "clients have not come to their end".to_owned(),
            Ok(()) => return Ok(world.now() - healed),
            Err(difference) => disagreement = difference,
        }
    }
    violations.push(format!("P1: no agreement within {} ms: {disagreement}", scenario.convergence));
    Ok(world.now() - healed)
}

/// Do all nodes serve, know exactly each other, and have the same effects and the same data?
fn agree(nodes: &[Incarnation], count: usize) -> Result<(), String> {
    if nodes.len() < count {
        return Err(format!("{} nodes run", nodes.len()));
    }
    let ids: BTreeSet<_> = nodes.iter().map(Incarnation::node).collect();
    for node in nodes {
        let report = node.report.borrow().clone();
        if !report.serving {
            return Err(format!("{} does not serve", report.node));
        }
        let expected: BTreeSet<_> = ids.iter().copied().filter(|id| *id != report.node).collect();
        let members: BTreeSet<_> = report.members.iter().filter(|member| !member.expired).map(|m| m.node).collect();
        if members != expected {
            return Err(format!("{} knows {members:?} instead of {expected:?}", report.node));
        }
        if node.keyspace.frontier() != nodes[0].keyspace.frontier() {
            return Err(format!("{} and {} have different effects", report.node, nodes[0].node()));
        }
        if node.keyspace.digest() != nodes[0].keyspace.digest() {
            return Err(format!("{} and {} have different data", report.node, nodes[0].node()));
        }
    }
    Ok(())
}

/// Are all nodes there, and connected to each other?
fn are_connected(nodes: &[Incarnation], count: usize) -> bool {
    nodes.len() == count
        && nodes.iter().all(|node| {
            let report = node.report.borrow();
            let connected = report.members.iter().filter(|member| member.connected && member.serving).count();
            report.serving && connected == count - 1
        })
}

/// Lets speakers speak for a while when all is well again, and looks at what was heard.
fn talk(world: &mut World<'_>, scenario: &Scenario, violations: &mut Vec<String>) -> Result<(), String> {
    let end = world.now() + EPILOGUE;
    while world.now() < end {
        let connected = are_connected(&running(world, scenario), scenario.nodes);
        world.note_calm(connected);
        world.advance(world.now() + CONVERGENCE_INTERVAL)?;
    }
    let connected = are_connected(&running(world, scenario), scenario.nodes);
    world.note_calm(connected);
    world.end_talk();
    violations.extend(world.talk.check(&world.calm));
    let (published, heard) = world.talk.counts();
    world.record.note_at(world.now(), &format!("published {published}, heard {heard}"));
    Ok(())
}

/// Looks at what clients see at every node, and compares it with what they were promised.
fn inspect(world: &mut World<'_>, scenario: &Scenario, violations: &mut Vec<String>) -> Result<(), String> {
    let history = world.clients.history.borrow().clone();
    let order = Order {
        machines: scenario.nodes,
        strings: history.counters.keys().chain(history.strings.keys()).cloned().collect(),
        sets: history.members.keys().map(|(key, _)| key.clone()).collect(),
        hashes: history.fields.keys().map(|(key, _)| key.clone()).collect(),
    };
    world.inspector.order.replace(Some(order));
    let deadline = world.now() + INSPECTION_TIME;
    while !world.inspector.done.get() && world.now() < deadline {
        world.advance(world.now() + CONVERGENCE_INTERVAL)?;
    }
    let expected: BTreeSet<String> = running(world, scenario).iter().map(|node| node.node().to_string()).collect();
    let seen = world.inspector.seen.borrow();
    let mut first: Option<&FinalData> = None;
    for machine in 0..scenario.nodes {
        match seen.get(&machine) {
            Some(Ok((members, data))) => {
                if *members != expected {
                    violations.push(format!("P1: node {machine} shows the members {members:?}, not {expected:?}"));
                }
                match first {
                    None => violations.extend(history.check(&world.survival, data)),
                    Some(first) if !same(first, data) => {
                        violations.push(format!("P1: node {machine} shows its clients other data than node 0"));
                    }
                    Some(_) => {}
                }
                first = first.or(Some(data));
            }
            Some(Err(error)) => violations.push(format!("P5: node {machine} does not answer its clients: {error}")),
            None => violations.push(format!("P5: node {machine} did not answer its clients in time")),
        }
    }
    Ok(())
}

fn same(one: &FinalData, other: &FinalData) -> bool {
    one.strings == other.strings && one.sets == other.sets && one.hashes == other.hashes
}

fn check_stranger(world: &World<'_>, scenario: &Scenario, violations: &mut Vec<String>) {
    let Some(stranger) = world.machines[scenario.nodes].running() else {
        return violations.push("P9: the stranger does not run".to_owned());
    };
    if stranger.state.is_serving() {
        violations.push("P5: a node with another passphrase serves clients beside the cluster".to_owned());
    }
    let known = stranger.keyspace.frontier().iter().any(|(node, _)| node != stranger.node());
    if known {
        violations.push("P5: a node with another passphrase got data of the cluster".to_owned());
    }
}

fn running(world: &World<'_>, scenario: &Scenario) -> Vec<Incarnation> {
    world.machines.iter().take(scenario.nodes).filter_map(|machine| machine.running()).collect()
}

fn statistics(world: &World<'_>, converged_after: Millis) -> Statistics {
    let history = world.clients.history.borrow();
    let mut statistics = Statistics {
        simulated: millis(world.now()),
        writes: history.writes,
        reads: history.reads,
        frames: world.record.received(),
        crashes: world.crashes,
        converged_after,
        ..Statistics::default()
    };
    for incarnation in world.machines.iter().flat_map(|machine| machine.incarnations()) {
        let report = incarnation.report.borrow();
        statistics.applied += report.effects_received.saturating_sub(report.duplicates);
        statistics.snapshots += report.snapshots_received;
        statistics.rebases += report.rebases;
    }
    statistics
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
