//! Whole clusters of cores, through many seeds.

use super::harness::{CALM, Cluster, TICK, Weather};
use super::*;

fn ordinary(_: &mut CoreOptions) {}

/// A log so small that a short absence is too long.
fn small_log(options: &mut CoreOptions) {
    options.log_limit = 20_000;
}

/// A log that lasts for what happens while several nodes join.
fn medium_log(options: &mut CoreOptions) {
    options.log_limit = 60_000;
}

fn writes(cluster: &mut Cluster, rounds: usize) {
    for _ in 0..rounds {
        cluster.client();
        let pause = cluster.rng.u64(..30);
        cluster.run(pause);
    }
}

/// Makes the node that runs alone have a floor, so that whoever joins needs a snapshot.
fn fill_log(cluster: &mut Cluster, machine: usize) {
    for _ in 0..60 {
        cluster.add(machine, 1_500);
        cluster.run(TICK);
    }
}

#[test]
fn nodes_that_start_together_form_one_cluster() {
    for seed in 0..100 {
        let machines = 2 + seed as usize % 4;
        let mut cluster = Cluster::new(seed, machines, ordinary);
        cluster.run(4_000);
        writes(&mut cluster, 30);
        cluster.run(3_000);
        cluster.assert_converged();
        assert!(cluster.machines.iter().all(|machine| machine.rebases == 0), "seed {seed}");
    }
}

#[test]
fn a_lone_node_serves_and_forgets_nothing() {
    let mut cluster = Cluster::new(1, 1, ordinary);
    cluster.run(1_000);
    assert!(cluster.machines[0].serving);
    writes(&mut cluster, 50);
    cluster.run(60_000);
    assert!(cluster.machines[0].core.report(Now { monotonic: 0, wall: 0 }).floor.is_empty());
    cluster.add_machine();
    cluster.run(5_000);
    cluster.assert_converged();
    assert_eq!(cluster.machines[1].core.report(Now { monotonic: 0, wall: 0 }).snapshots_received, 0);
}

#[test]
fn whatever_the_network_does_nodes_converge_in_causal_order() {
    for seed in 0..150 {
        let mut cluster = Cluster::new(seed, 2 + seed as usize % 4, ordinary);
        cluster.run(4_000);
        let (loss, repeat) = (cluster.rng.u32(..30), cluster.rng.u32(..30));
        cluster.weather = Weather { loss, repeat, latency: (1, 1 + seed % 200) };
        for _ in 0..6 {
            writes(&mut cluster, 15);
            let (one, other) =
                (cluster.rng.usize(..cluster.machines.len()), cluster.rng.usize(..cluster.machines.len()));
            let blocked = cluster.rng.bool();
            if one != other {
                cluster.block(one, other, blocked);
            }
        }
        for machine in 0..cluster.machines.len() {
            cluster.isolate(machine, false);
        }
        cluster.weather = CALM;
        cluster.run(30_000);
        cluster.assert_converged();
        assert!(cluster.machines.iter().all(|machine| machine.rebases == 0), "seed {seed}");
    }
}

#[test]
fn a_newcomer_takes_a_snapshot_while_everybody_writes() {
    for seed in 0..100 {
        let mut cluster = Cluster::new(seed, 1, medium_log);
        cluster.strict_folds = false;
        cluster.run(1_000);
        fill_log(&mut cluster, 0);
        cluster.snapshot_millis = 50 + seed;
        for _ in 0..3 {
            cluster.add_machine();
            writes(&mut cluster, 40);
            cluster.run(2_000);
        }
        cluster.run(15_000);
        cluster.assert_converged();
        for machine in &cluster.machines[1..] {
            assert_eq!(machine.rebases, 0, "seed {seed}");
        }
        let received = cluster.machines.iter().map(|machine| machine.core.report(Now { monotonic: 0, wall: 0 }));
        assert!(received.map(|report| report.snapshots_received).sum::<u64>() >= 1, "seed {seed}");
    }
}

#[test]
fn a_source_that_fails_is_replaced_by_another() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, 1, small_log);
        cluster.strict_folds = false;
        cluster.run(1_000);
        fill_log(&mut cluster, 0);
        cluster.add_machine();
        cluster.run(10_000);
        writes(&mut cluster, 30);
        cluster.run(10_000);
        cluster.snapshot_millis = 2_000;
        let newcomer = cluster.add_machine();
        cluster.run(200 + seed * 60);
        cluster.crash(usize::from(seed % 2 == 0));
        cluster.run(90_000);
        cluster.assert_converged();
        assert!(cluster.machines[newcomer].serving, "seed {seed}");
    }
}

#[test]
fn who_has_a_snapshot_needs_nobody_for_what_was_written_meanwhile() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, 1, medium_log);
        cluster.strict_folds = false;
        cluster.run(1_000);
        fill_log(&mut cluster, 0);
        cluster.snapshot_millis = 100 + 10 * seed;
        let newcomer = cluster.add_machine();
        let received = |cluster: &Cluster| {
            cluster.machines[newcomer].core.report(Now { monotonic: 0, wall: 0 }).snapshots_received
        };
        let (mut added, before) = (Vec::new(), cluster.machines[0].contents());
        while received(&cluster) == 0 {
            assert!(cluster.now < 20_000, "seed {seed}");
            added.push(cluster.add(0, 30));
            cluster.run(10);
        }
        cluster.crash(0);
        // The last one was made while the snapshot arrived.
        added.pop();
        cluster.run(10_000);
        cluster.hand_over(newcomer);
        let machine = &cluster.machines[newcomer];
        assert!(machine.serving, "seed {seed}");
        assert_eq!(machine.core.frontier(), machine.data_frontier(), "seed {seed}");
        let contents = machine.contents();
        assert!(before.iter().chain(&added).all(|member| contents.contains(member)), "seed {seed}");
    }
}

#[test]
fn who_is_forced_out_during_its_snapshot_gets_another() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 1, small_log);
        cluster.strict_folds = false;
        cluster.run(1_000);
        fill_log(&mut cluster, 0);
        cluster.snapshot_millis = 400 + 10 * seed;
        cluster.add_machine();
        // Each time as much as the log holds.
        for _ in 0..60 {
            cluster.add(0, 3_000);
            cluster.run(TICK);
        }
        let report = |cluster: &Cluster, machine: usize| {
            cluster.machines[machine].core.report(Now { monotonic: cluster.now, wall: 0 })
        };
        assert_eq!(report(&cluster, 1).snapshots_received, 0, "seed {seed}");
        assert!(report(&cluster, 0).forced_out >= 2 && report(&cluster, 0).snapshots_sent >= 2, "seed {seed}");
        cluster.run(10_000);
        cluster.assert_converged();
        assert_eq!((report(&cluster, 1).snapshots_received, cluster.machines[1].rebases), (1, 0), "seed {seed}");
    }
}

#[test]
fn a_pair_without_a_path_is_served_by_a_third() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(seed, 3, ordinary);
        cluster.run(4_000);
        cluster.block(0, 2, true);
        writes(&mut cluster, 40);
        cluster.run(2_500);
        assert_eq!(cluster.machines[0].core.frontier(), cluster.machines[2].core.frontier(), "seed {seed}");
        cluster.run(60_000);
        let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
        assert_eq!(report.members.len(), 2);
        assert!(report.repairs > 0 && report.members.iter().all(|member| !member.expired), "{report:#?}");
        assert!(!report.floor.is_empty(), "what is stable is known through the third, too");
        cluster.add_machine();
        cluster.block(0, 3, true);
        writes(&mut cluster, 200);
        cluster.run(10_000);
        assert!(cluster.machines.iter().all(|machine| machine.serving && machine.rebases == 0), "seed {seed}");
        assert_eq!(cluster.machines[0].core.frontier(), cluster.machines[3].core.frontier(), "seed {seed}");
    }
}

#[test]
fn everything_heals_after_an_absence_within_the_budget() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 4, ordinary);
        cluster.run(8_000);
        let blocked = [(0, 2), (0, 3), (1, 2), (1, 3)];
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, true));
        writes(&mut cluster, 50);
        cluster.run(45_000);
        let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
        assert_eq!(report.members.iter().filter(|member| member.expired).count(), 2, "{report:#?}");
        writes(&mut cluster, 50);
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, false));
        cluster.run(75_000);
        cluster.assert_converged();
        assert!(cluster.machines.iter().all(|machine| machine.rebases == 0), "seed {seed}");
    }
}

/// Keeps nothing of what has left the log.
fn small_log_alone(options: &mut CoreOptions) {
    small_log(options);
    options.archive_limit = 0;
}

#[test]
fn whoever_returns_too_late_gets_what_it_lacks_at_once_or_takes_over_a_state_and_loses_nothing() {
    for seed in 0..160 {
        let has_archive = seed % 2 == 0;
        let mut cluster = Cluster::new(seed, 3, if has_archive { small_log } else { small_log_alone });
        cluster.strict_folds = false;
        cluster.run(8_000);
        writes(&mut cluster, 20);
        cluster.run(2_000);
        cluster.isolate(2, true);
        let before = cluster.machines[0].contents();
        let mut added: Vec<Vec<u8>> = (0..5).map(|_| cluster.add(2, 30)).collect();
        for _ in 0..40 {
            added.push(cluster.add(seed as usize % 2, 600));
            cluster.run(TICK);
        }
        assert!(cluster.machines[0].core.report(Now { monotonic: 0, wall: 0 }).log_bytes <= 20_000);
        cluster.isolate(2, false);
        cluster.run(100_000);
        cluster.assert_converged();
        let contents = cluster.machines[0].contents();
        assert!(added.iter().chain(&before).all(|member| contents.contains(member)), "seed {seed}");
        let reports = cluster.machines.iter().map(|machine| machine.core.report(Now { monotonic: 0, wall: 0 }));
        let how: Vec<_> = reports.map(|report| (report.handovers_received, report.reconciliations)).collect();
        let expected = if has_archive { (1, 0) } else { (0, 1) };
        assert_eq!(how, [(0, 0), (0, 0), expected], "seed {seed}");
        assert!(cluster.machines.iter().all(|machine| machine.rebases == 0), "seed {seed}");
    }
}

/// Each side of a cut writes more than its log holds.
#[test]
fn two_sides_that_both_forgot_hand_each_other_over_what_they_lack() {
    for seed in 0..60 {
        let mut cluster = Cluster::new(seed, 4, small_log);
        cluster.strict_folds = false;
        cluster.run(8_000);
        writes(&mut cluster, 20);
        cluster.run(2_000);
        let blocked = [(0, 2), (0, 3), (1, 2), (1, 3)];
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, true));
        let before = cluster.machines[0].contents();
        let mut added = Vec::new();
        for round in 0..160 {
            added.push(cluster.add((round + seed as usize) % 4, 600));
            cluster.run(TICK);
        }
        let removed = added.swap_remove(1);
        let remover = ((1 + seed as usize) % 4) ^ 1;
        cluster.change(remover, &removed, false);
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, false));
        cluster.run(100_000);
        cluster.assert_converged();
        let contents = cluster.machines[0].contents();
        assert!(added.iter().chain(&before).all(|member| contents.contains(member)), "seed {seed}");
        assert!(!contents.contains(&removed), "seed {seed}");
        let reports = cluster.machines.iter().map(|machine| machine.core.report(Now { monotonic: 0, wall: 0 }));
        let how: Vec<_> = reports.map(|report| (report.reconciliations, report.archive_bytes)).collect();
        assert_eq!(how, [(0, 0); 4], "seed {seed}");
        assert!(cluster.machines.iter().all(|machine| machine.rebases == 0), "seed {seed}");
    }
}

/// Two of four are away together, one of them dies, and so much was written that the others have forgotten what the one
/// that returns lacks, and that handing over takes longer than a state without remedy is borne.
#[test]
fn what_a_dead_node_left_stays_with_who_has_it_and_takes_over_a_state() {
    fn options(options: &mut CoreOptions) {
        options.log_limit = 12_000_000;
        options.archive_limit = 0;
        options.rebase_grace = 1_500;
    }
    for seed in 0..4 {
        let mut cluster = Cluster::new(seed, 4, options);
        cluster.strict_folds = false;
        cluster.run(8_000);
        let blocked = [(0, 2), (0, 3), (1, 2), (1, 3)];
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, true));
        let mut added = Vec::new();
        for (machine, count) in [(3, 100), (0, 150)] {
            for _ in 0..count {
                added.push(cluster.add(machine, 100_000));
                cluster.run(TICK);
            }
        }
        added.push(cluster.add(2, 30));
        cluster.crash(3);
        cluster.weather.latency = (100, 120);
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, false));
        cluster.run(60_000);
        cluster.assert_converged();
        let contents = cluster.machines[0].contents();
        let lost = added.iter().filter(|&member| !contents.contains(member)).count();
        let rebases: Vec<usize> = cluster.machines.iter().map(|machine| machine.rebases).collect();
        let report = cluster.machines[2].core.report(Now { monotonic: 0, wall: 0 });
        assert_eq!((lost, rebases, report.reconciliations), (0, vec![0; 4], 1), "seed {seed}");
    }
}

#[test]
fn two_clusters_that_both_forgot_become_one() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 4, ordinary);
        cluster.strict_folds = false;
        let blocked = [(0, 2), (0, 3), (1, 2), (1, 3)];
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, true));
        cluster.run(10_000);
        let mut added = Vec::new();
        for round in 0..40 {
            added.push(cluster.add(round % 4, 30));
            cluster.run(TICK);
        }
        cluster.run(5_000);
        blocked.iter().for_each(|&(one, other)| cluster.block(one, other, false));
        // Both have peers, so neither asks DNS: somebody new brings them together.
        cluster.add_machine();
        cluster.run(150_000);
        cluster.assert_converged();
        let contents = cluster.machines[0].contents();
        let lost = added.iter().filter(|&member| !contents.contains(member)).count() as u64;
        let told: u64 = cluster.machines.iter().map(|machine| machine.lost).sum();
        assert!(lost <= told && lost <= 20, "seed {seed}: {lost} are lost and {told} are told of");
    }
}

#[test]
fn clusters_that_began_apart_find_each_other_and_merge_from_their_logs() {
    for seed in 0..50 {
        let mut cluster = Cluster::new(seed, 4, ordinary);
        (cluster.has_dns, cluster.strict_folds) = (true, false);
        for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            cluster.block(one, other, true);
        }
        cluster.run(10_000);
        writes(&mut cluster, 60);
        // Long enough for each pair to know that it has everything.
        cluster.run(20_000);
        for machine in &cluster.machines {
            let report = machine.core.report(Now { monotonic: cluster.now, wall: 0 });
            assert_eq!((report.unmet, report.floor.is_empty()), (2, true), "seed {seed}");
        }
        for (one, other) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            cluster.block(one, other, false);
        }
        cluster.run(45_000);
        cluster.assert_converged();
        for machine in &cluster.machines {
            let report = machine.core.report(Now { monotonic: cluster.now, wall: 0 });
            assert_eq!((machine.rebases, report.unmet), (0, 0), "seed {seed}");
            assert!(!report.floor.is_empty(), "seed {seed}: what all have is forgotten");
        }
    }
}

#[test]
fn who_is_named_and_never_answers_is_not_waited_for_beyond_the_budget_or_an_hour() {
    let named = |cluster: &mut Cluster, machine| {
        cluster.feed(machine, Input::Named(vec!["1".into(), "7".into()]));
    };
    type Case = (fn(&mut CoreOptions), u64);
    let cases: [Case; 2] = [(ordinary, 60_000), (small_log, 0)];
    for (adjust, pause) in cases {
        let mut cluster = Cluster::new(3, 2, adjust);
        cluster.strict_folds = false;
        cluster.run(5_000);
        named(&mut cluster, 0);
        named(&mut cluster, 1);
        for _ in 0..60 {
            fill_log(&mut cluster, 0);
            cluster.run(pause);
            named(&mut cluster, 0);
        }
        let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
        assert!(!report.floor.is_empty());
        let warnings = &cluster.machines[0].warnings;
        assert_eq!(warnings.iter().filter(|warning| warning.contains("DNS names")).count(), 1, "{warnings:?}");
        // DNS names it no more.
        for (pause, unmet) in [(1_000, 1), (100_000, 0)] {
            cluster.run(pause);
            cluster.feed(0, Input::Named(vec!["1".into()]));
            assert_eq!(cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 }).unmet, unmet);
        }
    }
}

#[test]
fn the_log_keeps_to_its_budget_alone_and_with_a_silent_peer() {
    let mut cluster = Cluster::new(3, 2, small_log);
    cluster.strict_folds = false;
    cluster.run(8_000);
    cluster.crash(1);
    for _ in 0..300 {
        cluster.add(0, 300);
        cluster.hand_over(0);
        let report = cluster.machines[0].core.report(Now { monotonic: 0, wall: 0 });
        assert!(report.log_bytes <= 20_000, "{report:#?}");
        cluster.run(5);
    }
    let report = cluster.machines[0].core.report(Now { monotonic: 0, wall: 0 });
    assert_eq!(report.forced_out, 1);
    assert!(!cluster.machines[0].warnings.is_empty());
}

#[test]
fn who_leaves_or_is_replaced_is_not_waited_for() {
    for seed in 0..30 {
        let mut cluster = Cluster::new(seed, 3, ordinary);
        cluster.run(8_000);
        writes(&mut cluster, 20);
        if seed % 2 == 0 {
            cluster.leave(2);
            cluster.run(500);
            cluster.crash(2);
        } else {
            cluster.crash(2);
            cluster.run(1_000);
            cluster.restart(2);
        }
        cluster.run(45_000);
        writes(&mut cluster, 20);
        cluster.run(3_000);
        cluster.assert_converged();
        let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
        assert!(report.members.iter().all(|member| !member.expired), "seed {seed}: {report:#?}");
        assert_eq!(report.log_effects, 0, "seed {seed}: {report:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut cluster = Cluster::new(seed, 4, ordinary);
        cluster.weather = Weather { loss: 10, repeat: 10, latency: (1, 50) };
        cluster.run(3_000);
        writes(&mut cluster, 50);
        let reports = cluster.machines.iter().map(|one| one.core.report(Now { monotonic: cluster.now, wall: 0 }));
        format!("{:?}", reports.collect::<Vec<_>>())
    };
    assert_eq!(history(9), history(9));
    assert_ne!(history(9), history(10));
}

#[test]
fn two_newcomers_that_meet_each_other_first_join_what_is_there() {
    for seed in 0..40 {
        let mut cluster = Cluster::new(seed, 2, small_log);
        cluster.strict_folds = false;
        cluster.run(6_000);
        fill_log(&mut cluster, 0);
        let (one, other) = (cluster.add_machine(), cluster.add_machine());
        [(0, one), (0, other), (1, one), (1, other)].iter().for_each(|&(a, b)| cluster.block(a, b, true));
        cluster.run(seed * 9);
        [(0, one), (0, other), (1, one), (1, other)].iter().for_each(|&(a, b)| cluster.block(a, b, false));
        cluster.run(60_000);
        writes(&mut cluster, 20);
        cluster.run(60_000);
        cluster.assert_converged();
    }
}

#[test]
fn clocks_that_are_wrong_expire_nobody() {
    let mut cluster = Cluster::new(5, 3, ordinary);
    cluster.wall_offset = |machine, now| now.wrapping_add([0, 3_600_000, u64::MAX / 4][machine]);
    cluster.run(120_000);
    cluster.assert_converged();
    let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
    assert_eq!(report.members.iter().filter(|member| member.connected && !member.expired).count(), 2);
}

#[test]
fn acknowledgements_come_at_once_and_mean_applied() {
    let mut cluster = Cluster::new(8, 2, ordinary);
    cluster.run(10_020);
    cluster.add(0, 20);
    cluster.hand_over(0);
    cluster.run(7);
    let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
    assert_eq!(report.members[0].acknowledged, report.own_seq, "one round trip, no tick: {report:#?}");
    assert_eq!((report.members[0].lag_effects, report.members[0].lag_millis), (0, 0));
    cluster.block(0, 1, true);
    cluster.add(0, 20);
    cluster.run(1_000);
    let report = cluster.machines[0].core.report(Now { monotonic: cluster.now, wall: 0 });
    assert!(report.members[0].lag_effects >= 1);
}

#[test]
fn no_more_than_the_window_is_under_way() {
    let mut cluster = Cluster::new(2, 2, |options| options.log_limit = 1 << 30);
    cluster.run(10_000);
    cluster.weather.latency = (400, 400);
    for _ in 0..100 {
        cluster.add(0, 100_000);
    }
    cluster.hand_over(0);
    assert!(cluster.bytes_under_way() < 5 << 20);
    cluster.run(20_000);
    cluster.weather = CALM;
    cluster.run(5_000);
    cluster.assert_converged();
}

/// Feeds a core that serves, with a peer that said hello, one frame after another; returns what it disconnected for.
fn say(frames: Vec<Frame>) -> Vec<&'static str> {
    let now = Now { monotonic: 1_000, wall: 1_000 };
    let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
    let mut core = Core::new(options, now);
    let mut outputs = Vec::new();
    let peer = NodeId(2);
    let hello = Hello {
        member: Member::default(),
        frontier: [(NodeId(2), 2)].into_iter().collect(),
        floor: Frontier::EMPTY,
        archive: None,
        stage: Stage::Serving,
        departed: Vec::new(),
        participants: Vec::new(),
    };
    core.step(now, Input::LocalEffects(Vec::new()), &mut outputs);
    core.step(now, Input::Tick, &mut outputs);
    core.step(now, Input::LocalEffects(vec![super::harness::effect(1, 1, &[])]), &mut outputs);
    core.step(now, Input::Connected { peer }, &mut outputs);
    core.step(now, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) }, &mut outputs);
    for frame in frames {
        core.step(now, Input::Received { peer, frame }, &mut outputs);
        core.step(now, Input::LocalEffects(Vec::new()), &mut outputs);
        core.step(now, Input::Tick, &mut outputs);
    }
    let reasons = outputs.into_iter().filter_map(|output| match output {
        Output::Disconnect { reason, .. } => Some(reason),
        _ => None,
    });
    reasons.collect()
}

fn gossip(frontier: Frontier, floor: Frontier) -> Frame {
    Frame::Gossip { frontier, floor, archive: None, stage: Stage::Serving, stuck: false, departed: Vec::new() }
}

fn effects(effects: &[Effect]) -> Frame {
    Frame::Effects(effects.iter().map(|effect| effect.encoded().clone()).collect())
}

#[test]
fn what_no_correct_peer_says_ends_its_connection() {
    use super::harness::effect;
    let frontier =
        |entries: &[(u64, u64)]| entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect::<Frontier>();
    let unsorted: Frontier = postcard::from_bytes(&[2, 3, 1, 2, 2]).expect("the form of a frontier");
    let none = || Frontier::EMPTY;
    let offences = [
        (gossip(frontier(&[(1, 2), (2, 2)]), none()), "it claims effects that this node never made"),
        (gossip(frontier(&[(3, 9)]), none()), "its frontier went back"),
        (gossip(frontier(&[(2, 3)]), frontier(&[(2, 4)])), "its floor is beyond its frontier"),
        (gossip(frontier(&[(2, u64::MAX)]), none()), "an absurd frontier"),
        (gossip(unsorted, none()), "a frontier that is not in canonical form"),
        (Frame::Ack { seq: 2 }, "it acknowledges effects that this node never made"),
        (effects(&[effect(1, 2, &[])]), "an effect under this node's name that it never made"),
        (effects(&[effect(2, 1, &[(1, 2)])]), "an effect that saw what this node never made"),
        (effects(&[effect(2, u64::MAX, &[])]), "an effect with an absurd seq"),
        (Frame::Effects(vec![bytes::Bytes::from_static(b"effect")]), "a malformed effect"),
        (Frame::Request { origin: NodeId(1), after: u64::MAX, upto: u64::MAX }, "it asks for an empty range"),
        (Frame::Goodbye { last: u64::MAX }, "it leaves with fewer effects than it made"),
    ];
    for (frame, reason) in offences {
        assert_eq!(say(vec![frame.clone(), frame]), [reason]);
    }
    let harmless = vec![
        gossip(frontier(&[(2, 1)]), none()),
        gossip(frontier(&[(1, 1), (2, 9), (7, 7)]), frontier(&[(7, 7)])),
        effects(&[effect(1, 1, &[]), effect(2, 2, &[(9, 9)]), effect(2, 2, &[(9, 9)]), effect(2, 1, &[])]),
        Frame::Request { origin: NodeId(8), after: 4, upto: u64::MAX },
        Frame::Request { origin: NodeId(1), after: 0, upto: u64::MAX },
        Frame::SnapshotRequest { attempt: 0 },
        Frame::Introduce { nodes: vec![(NodeId(0), Member::default()), (NodeId(1), Member::default())] },
        Frame::Goodbye { last: 20 },
    ];
    assert_eq!(say(harmless), Vec::<&str>::new());
}

#[test]
fn who_never_says_hello_is_disconnected() {
    let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
    let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
    let mut outputs = Vec::new();
    core.step(Now { monotonic: 0, wall: 0 }, Input::Connected { peer: NodeId(2) }, &mut outputs);
    for monotonic in (0..=10_000).step_by(50) {
        core.step(Now { monotonic, wall: 0 }, Input::Tick, &mut outputs);
    }
    let hellos = outputs.iter().filter(|output| matches!(output, Output::Send { frame: Frame::Hello(_), .. })).count();
    assert_eq!(hellos, 10, "it may have been lost");
    assert_eq!(outputs.iter().filter(|output| matches!(output, Output::Disconnect { .. })).count(), 1);
}

#[test]
fn noise_in_well_formed_frames_never_panics() {
    use super::harness::effect;
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let seq =
            |rng: &mut fastrand::Rng| *rng.choice(&[0, 1, 2, 3, 9, 1 << 49, u64::MAX - 1, u64::MAX]).expect("some");
        let frames = (0..12).map(|_| {
            let frontier = |rng: &mut fastrand::Rng| {
                (0..rng.u64(..4)).map(|_| (NodeId(rng.u64(..4)), seq(rng))).collect::<Frontier>()
            };
            match rng.u32(..8) {
                0 => gossip(frontier(&mut rng), frontier(&mut rng)),
                1 => Frame::Ack { seq: seq(&mut rng) },
                2 => Frame::Request { origin: NodeId(rng.u64(..4)), after: seq(&mut rng), upto: seq(&mut rng) },
                3 => Frame::SnapshotRequest { attempt: rng.u32(..) },
                4 => Frame::Goodbye { last: seq(&mut rng) },
                _ => {
                    let changes = [(1 + rng.u64(..4), seq(&mut rng).max(1))];
                    let changes = if rng.bool() { &changes[..] } else { &[] };
                    let node = 1 + rng.u64(..3);
                    let changes: Vec<_> = changes.iter().copied().filter(|change| change.0 != node).collect();
                    effects(&[effect(node, seq(&mut rng).max(1), &changes)])
                }
            }
        });
        let frames: Vec<Frame> = frames.collect();
        say(frames);
    }
}

/// With each bug planted, some check of the harness has to fail.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs_are_caught() {
    use crate::planted::{Bug, plant};
    for bug in [Bug::SkipDeduplication, Bug::IgnoreDependencies, Bug::SkipRepair, Bug::FoldTooEarly] {
        let caught = (0..20).any(|seed| {
            let history = move || {
                plant(Some(bug));
                let mut cluster = Cluster::new(seed, 3, ordinary);
                cluster.run(8_000);
                cluster.weather = Weather { loss: 20, repeat: 20, latency: (1, 100) };
                writes(&mut cluster, 60);
                cluster.weather = CALM;
                cluster.run(20_000);
                cluster.assert_converged();
            };
            std::thread::spawn(history).join().is_err()
        });
        assert!(caught, "{bug:?} goes unnoticed");
    }
}
