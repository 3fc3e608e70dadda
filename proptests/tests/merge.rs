//! Merge laws: whatever the order of delivery, folds and snapshots in between, every replica ends with what the
//! specification says (P1, P3, P5, P6), and so the merge commutes, associates, and depends on causality alone.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use proptests::writes::{any_stream_write, any_write, hash_write};
use proptests::{HashWrite, Replicas, Step, StringWrite, Write, specification};
use swytch::planted::{Bug, plant};

fn step(write: impl Strategy<Value = Write> + 'static) -> impl Strategy<Value = Step> {
    let replica = 0..5usize;
    prop_oneof![
        10 => (replica.clone(), write).prop_map(|(at, write)| Step::Write(at, write)),
        14 => (replica.clone(), any::<usize>()).prop_map(|(at, choice)| Step::Deliver(at, choice)),
        2 => replica.clone().prop_map(Step::Fold),
        1 => (replica.clone(), replica.clone()).prop_map(|(at, from)| Step::Replace(at, from)),
        1 => (replica.clone(), replica.clone()).prop_map(|(at, from)| Step::TakeOver(at, from)),
        2 => (replica.clone(), replica).prop_map(|(at, from)| Step::HandOver(at, from)),
    ]
}

fn history(write: impl Strategy<Value = Write> + 'static) -> impl Strategy<Value = (usize, Vec<Step>, u64)> {
    (2..6usize, proptest::collection::vec(step(write), 1..60), any::<u64>())
}

fn check((count, steps, seed): (usize, Vec<Step>, u64)) -> Result<(), TestCaseError> {
    let mut replicas = Replicas::new(count);
    for step in &steps {
        replicas.step(step);
    }
    replicas.settle(seed);
    let expected = specification::dump(replicas.history());
    for dump in replicas.dumps() {
        prop_assert_eq!(&dump, &expected);
    }
    let digests = replicas.digests();
    prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
    Ok(())
}

/// Cases per run; more with PROPTEST_CASES.
fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn every_replica_ends_with_what_the_specification_says() {
    let mut runner = TestRunner::new(config(3000));
    if let Err(error) = runner.run(&history(any_write()), check) {
        panic!("{error:?}");
    }
}

/// Fields have values and lives, which merge by rules of their own: few fields of one hash, and much that happens to them.
#[test]
fn a_hash_ends_with_what_the_specification_says() {
    let mut runner = TestRunner::new(config(2000));
    if let Err(error) = runner.run(&history(hash_write()), check) {
        panic!("{error:?}");
    }
}

/// Groups of streams take many writes of one key until they differ.
#[test]
fn every_replica_ends_with_the_streams_that_the_specification_says() {
    let steps = proptest::collection::vec(step(any_stream_write()), 1..80);
    let mut runner = TestRunner::new(config(2000));
    if let Err(error) = runner.run(&(2..5usize, steps, any::<u64>()), check) {
        panic!("{error:?}");
    }
}

/// Each of these defects must be found within the stated number of random histories.
#[test]
fn planted_bugs_are_caught() {
    let bugs =
        [(Bug::RemoveUnseen, 200), (Bug::LoseIncrement, 1000), (Bug::LastArrivalWins, 200), (Bug::TearEffect, 500)];
    for (bug, within) in bugs {
        plant(Some(bug));
        let mut runner = TestRunner::new(ProptestConfig { max_shrink_iters: 0, ..config(within) });
        let result = runner.run(&history(any_write()), check);
        plant(None);
        assert!(result.is_err(), "{bug:?} was not caught within {within} histories");
    }
}

/// Histories that once went wrong.
#[test]
fn past_failures_stay_fixed() {
    let text = || b"7".to_vec();
    // A concurrent EXPIRE outlives a removal, and the value that survives beside it inherits it.
    let life_without_value = vec![
        Step::Write(0, Write::String(1, StringWrite::Set(text(), None))),
        Step::Deliver(1, 0),
        Step::Write(
            0,
            Write::Together(vec![
                Write::Deadline(1, Some(50_000)),
                Write::String(1, StringWrite::Append(b"0".to_vec())),
            ]),
        ),
        Step::Write(1, Write::Flush(None)),
    ];
    // A write that saw another type win at its origin meets the loser alone.
    let loser_alone = vec![
        Step::Write(
            2,
            Write::Together(vec![
                Write::Hash(1, HashWrite::Set(b'a', text())),
                Write::String(0, StringWrite::Set(text(), None)),
            ]),
        ),
        Step::Deliver(0, 0),
        Step::Write(0, Write::Flush(None)),
        Step::Write(1, Write::String(1, StringWrite::Set(text(), None))),
        Step::Deliver(1, 0),
        Step::Write(1, Write::Hash(1, HashWrite::Add(b'a', 0))),
        Step::Deliver(0, 0),
        Step::Deliver(0, 0),
        Step::Write(2, Write::String(1, StringWrite::Set(text(), None))),
    ];
    // What a removal left of a key's life must outlast the removal's own stability.
    let life_folded_too_early = vec![
        Step::Write(1, Write::Hash(0, HashWrite::Set(b'b', text()))),
        Step::Deliver(0, 0),
        Step::Write(1, Write::Deadline(0, Some(50_000))),
        Step::Write(1, Write::Hash(0, HashWrite::Add(b'a', 0))),
        Step::Write(0, Write::Remove(0)),
        Step::Deliver(0, 0),
        Step::Fold(0),
    ];
    // The TTL of a SET goes with it when a concurrent hash is settled on, also where the SET is stable already.
    let life_of_the_loser = vec![
        Step::Write(0, Write::Hash(0, HashWrite::Set(b'a', text()))),
        Step::Write(0, Write::String(0, StringWrite::Set(text(), Some(50_000)))),
        Step::Deliver(1, 0),
        Step::Write(1, Write::Together(vec![Write::Hash(0, HashWrite::Set(b'a', text())), Write::Deadline(0, None)])),
        Step::Deliver(0, 0),
        Step::Write(1, Write::Remove(0)),
        Step::Deliver(1, 0),
        Step::Write(0, Write::Hash(0, HashWrite::Set(b'a', text()))),
        Step::Fold(1),
    ];
    // Of two SETs the lower is forgotten first. What lengthened the life of the higher one stays known.
    let lower_set_forgotten = |set: &dyn Fn() -> Write, life: &dyn Fn(u64) -> Write, change: Write| {
        let other_key = || Write::Hash(1, HashWrite::Set(b'a', text()));
        vec![
            Step::Write(0, set()),
            Step::Write(0, life(50_001)),
            Step::Write(1, set()),
            Step::Write(1, life(50_002)),
            Step::Deliver(1, 0),
            Step::Write(1, other_key()),
            Step::Deliver(0, 0),
            Step::Deliver(0, 0),
            Step::Deliver(2, 0),
            Step::Deliver(2, 0),
            Step::Deliver(2, 0),
            Step::Deliver(2, 0),
            Step::Deliver(2, 0),
            Step::Write(0, other_key()),
            Step::Deliver(2, 0),
            Step::Fold(2),
            Step::Write(1, change),
            Step::Deliver(2, 0),
        ]
    };
    let lower_string = lower_set_forgotten(
        &|| Write::String(0, StringWrite::Set(text(), None)),
        &|at| Write::Deadline(0, Some(at)),
        Write::String(0, StringWrite::Append(b"0".to_vec())),
    );
    let lower_field = lower_set_forgotten(
        &|| Write::Hash(0, HashWrite::Set(b'a', text())),
        &|at| Write::Hash(0, HashWrite::Deadline(b'a', Some(at))),
        Write::Hash(0, HashWrite::Add(b'a', 1)),
    );
    for (count, steps) in [
        (2, life_of_the_loser),
        (3, life_without_value),
        (3, loser_alone),
        (2, life_folded_too_early),
        (3, lower_string),
        (3, lower_field),
    ] {
        if let Err(error) = check((count, steps.clone(), 0)) {
            panic!("{steps:?}: {error}");
        }
    }
}
