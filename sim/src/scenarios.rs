//! The scenarios, by name.

use fastrand::Rng;

use crate::scenario::{Fault, Links, Scenario, Workload};

/// Every scenario, and what it is for.
pub const ALL: [(&str, &str); 12] = [
    ("partition", "a symmetric partition, with writes on all sides"),
    ("one-way", "what some nodes say does not reach others, but the other way it does"),
    ("rolling-restart", "all nodes crash and start again, one after the other"),
    ("expiry", "a member crashes, expires after 30 s, and comes back as a new incarnation"),
    ("long-partition", "a partition that outlasts every timeout, with writes on both sides"),
    ("joiner", "nodes join, and crash while they join, during heavy writes"),
    ("lossy", "packets are lost, late, repeated and out of order, and logs are small"),
    ("clock-skew", "wall clocks are up to ten seconds off, and jump"),
    ("dns-failure", "DNS fails while a node starts: it serves alone, takes writes, and merges later"),
    ("together", "all nodes start at once and take writes before they know each other"),
    ("apart", "two groups of nodes begin apart, each a cluster of its own, and find each other later"),
    ("swarm", "a random mix of everything above"),
];

/// The scenario of this name; its details follow from the seed.
pub fn named(name: &str, seed: u64) -> Option<Scenario> {
    // Not the sequence that the run itself draws from.
    let mut random = Rng::with_seed(seed ^ 0x5eed_0f5c_e7a2_1051);
    let random = &mut random;
    let mut scenario =
        Scenario { workload: Workload { flushes: random.u8(..8) == 0, ..Workload::USUAL }, ..Scenario::plain(name) };
    match name {
        "partition" => partition(&mut scenario, random),
        "one-way" => one_way(&mut scenario, random),
        "rolling-restart" => rolling_restart(&mut scenario, random),
        "expiry" => expiry(&mut scenario, random),
        "long-partition" => long_partition(&mut scenario, random),
        "joiner" => joiner(&mut scenario, random),
        "lossy" => lossy(&mut scenario, random),
        "clock-skew" => clock_skew(&mut scenario, random),
        "dns-failure" => dns_failure(&mut scenario, random),
        "together" => together(&mut scenario, random),
        "apart" => apart(&mut scenario, random),
        "swarm" => swarm(&mut scenario, random),
        _ => return None,
    }
    scenario.faults.sort_by_key(|(at, _)| *at);
    Some(scenario)
}

/// Nodes start one after the other.
pub(crate) fn start(scenario: &mut Scenario, random: &mut Rng) {
    let mut at = 0;
    for node in 0..scenario.nodes {
        scenario.faults.push((at, Fault::Start(node)));
        at += random.u64(100..2_000);
    }
}

/// Two groups of nodes, neither of them empty.
pub(crate) fn groups(nodes: usize, random: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let mut all: Vec<usize> = (0..nodes).collect();
    random.shuffle(&mut all);
    let rest = all.split_off(random.usize(1..nodes));
    (all, rest)
}

/// Nothing gets from the one group to the other, nor back.
pub(crate) fn cut_both_ways(faults: &mut Vec<(u64, Fault)>, at: u64, one: &[usize], other: &[usize]) {
    faults.push((at, Fault::Cut { from: one.to_vec(), to: other.to_vec() }));
    faults.push((at, Fault::Cut { from: other.to_vec(), to: one.to_vec() }));
}

fn partition(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(3..6);
    start(scenario, random);
    let mut at = random.u64(5_000..12_000);
    while at < 30_000 {
        let (one, other) = groups(scenario.nodes, random);
        cut_both_ways(&mut scenario.faults, at, &one, &other);
        at += random.u64(500..16_000);
        scenario.faults.push((at, Fault::Mend));
        at += random.u64(500..5_000);
    }
}

fn one_way(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(3..6);
    start(scenario, random);
    let mut at = random.u64(5_000..12_000);
    while at < 30_000 {
        let (from, to) = groups(scenario.nodes, random);
        scenario.faults.push((at, Fault::Cut { from, to }));
        at += random.u64(500..16_000);
        scenario.faults.push((at, Fault::Mend));
        at += random.u64(500..5_000);
    }
}

fn rolling_restart(scenario: &mut Scenario, random: &mut Rng) {
    start(scenario, random);
    let mut at = random.u64(6_000..10_000);
    for node in 0..scenario.nodes {
        scenario.faults.push((at, Fault::Crash(node)));
        at += random.u64(200..6_000);
        scenario.faults.push((at, Fault::Start(node)));
        at += random.u64(2_000..8_000);
    }
    scenario.duration = at + 5_000;
}

fn expiry(scenario: &mut Scenario, random: &mut Rng) {
    start(scenario, random);
    let node = random.usize(..scenario.nodes);
    scenario.faults.push((10_000, Fault::Crash(node)));
    scenario.faults.push((random.u64(45_000..70_000), Fault::Start(node)));
    scenario.workload.rate = 8;
    scenario.duration = 80_000;
}

fn long_partition(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(2..5);
    start(scenario, random);
    let (one, other) = groups(scenario.nodes, random);
    cut_both_ways(&mut scenario.faults, 10_000, &one, &other);
    scenario.faults.push((130_000, Fault::Mend));
    scenario.workload.rate = 5;
    scenario.duration = 140_000;
    // In one run of four one side forgets what the other lacks: one of them has to take the other's snapshot.
    scenario.log_limit = (random.u8(..4) == 0).then(|| random.usize(8_000..60_000));
}

fn joiner(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(3..6);
    scenario.workload.rate = 60;
    scenario.duration = 30_000;
    scenario.faults.push((0, Fault::Start(0)));
    scenario.faults.push((500, Fault::Start(1)));
    for node in 2..scenario.nodes {
        let at = random.u64(8_000..25_000);
        scenario.faults.push((at, Fault::Start(node)));
        if random.bool() {
            let crash = at + random.u64(100..3_000);
            scenario.faults.push((crash, Fault::Crash(node)));
            scenario.faults.push((crash + random.u64(100..1_000), Fault::Start(node)));
        }
    }
}

/// Links on which anything may happen.
pub(crate) fn bad_links(random: &mut Rng) -> Links {
    Links {
        latency: random.u64(1..60),
        jitter: random.u64(1..100),
        loss: random.f64() * 0.2,
        duplication: random.f64() * 0.2,
        reordering: random.f64() * 0.3,
    }
}

fn lossy(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(2..5);
    start(scenario, random);
    scenario.links = bad_links(random);
    scenario.log_limit = (random.u8(..4) == 0).then(|| random.usize(20_000..100_000));
}

fn clock_skew(scenario: &mut Scenario, random: &mut Rng) {
    start(scenario, random);
    for node in 0..scenario.nodes {
        for _ in 0..4 {
            let fault = Fault::Clock { node, offset: random.i64(-10_000..10_000) };
            scenario.faults.push((random.u64(..scenario.duration), fault));
        }
    }
    let (one, other) = groups(scenario.nodes, random);
    cut_both_ways(&mut scenario.faults, 15_000, &one, &other);
    scenario.faults.push((random.u64(16_000..30_000), Fault::Mend));
}

fn dns_failure(scenario: &mut Scenario, random: &mut Rng) {
    start(scenario, random);
    let node = random.usize(..scenario.nodes);
    scenario.faults.push((8_000, Fault::Dns(false)));
    scenario.faults.push((9_000, Fault::Crash(node)));
    scenario.faults.push((9_500, Fault::Start(node)));
    // The others learn of the restart by the address that it kept; sometimes they are cut off as well.
    if random.bool() {
        let others: Vec<usize> = (0..scenario.nodes).filter(|&other| other != node).collect();
        cut_both_ways(&mut scenario.faults, 9_000, &[node], &others);
        scenario.faults.push((random.u64(15_000..28_000), Fault::Mend));
    }
    scenario.faults.push((random.u64(12_000..30_000), Fault::Dns(true)));
}

fn together(scenario: &mut Scenario, random: &mut Rng) {
    for node in 0..scenario.nodes {
        scenario.faults.push((random.u64(..20), Fault::Start(node)));
    }
    if random.bool() {
        for node in 0..scenario.nodes {
            let others: Vec<usize> = (0..scenario.nodes).filter(|&other| other != node).collect();
            cut_both_ways(&mut scenario.faults, 0, &[node], &others);
        }
        scenario.faults.push((random.u64(2_000..20_000), Fault::Mend));
    }
    scenario.duration = 30_000;
}

fn apart(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(3..6);
    let (one, other) = groups(scenario.nodes, random);
    cut_both_ways(&mut scenario.faults, 0, &one, &other);
    start(scenario, random);
    scenario.faults.push((random.u64(12_000..30_000), Fault::Mend));
    scenario.duration = 60_000;
}

fn swarm(scenario: &mut Scenario, random: &mut Rng) {
    scenario.nodes = random.usize(2..6);
    scenario.workload.rate = random.u64(4..40);
    scenario.workload.keys = random.u64(1..6);
    scenario.duration = random.u64(20_000..90_000);
    scenario.log_limit = (random.u8(..3) == 0).then(|| random.usize(8_000..200_000));
    if random.bool() {
        scenario.links = bad_links(random);
    }
    start(scenario, random);
    // Each run has only some kinds of faults: rare combinations come up more often than when all do.
    let kinds: Vec<u8> = (0..8).filter(|_| random.bool()).collect();
    for _ in 0..random.usize(1..14) {
        let Some(kind) = random.choice(&kinds) else { return };
        let at = random.u64(2_000..scenario.duration);
        let end = at + random.u64(100..30_000);
        let node = random.usize(..scenario.nodes);
        let (one, other) = groups(scenario.nodes, random);
        let faults = &mut scenario.faults;
        match kind {
            0 | 1 => {
                cut_both_ways(faults, at, &one, &other);
                faults.push((end, Fault::Mend));
            }
            2 => faults.extend([(at, Fault::Cut { from: one, to: other }), (end, Fault::Mend)]),
            3 => faults.extend([(at, Fault::Crash(node)), (end, Fault::Start(node))]),
            4 => faults.extend([(at, Fault::Pause(node)), (end, Fault::Resume(node))]),
            5 => faults.push((at, Fault::Clock { node, offset: random.i64(-10_000..10_000) })),
            6 => faults.extend([(at, Fault::Dns(false)), (end, Fault::Dns(true))]),
            _ => faults.extend([(at, Fault::Links(bad_links(random))), (end, Fault::Links(Links::GOOD))]),
        }
    }
}
