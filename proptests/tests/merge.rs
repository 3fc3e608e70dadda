//! Merge laws: whatever the order of delivery, folds and snapshots in between, every replica ends with what the
//! specification says (P1, P3, P5, P6), and so the merge commutes, associates, and depends on causality alone.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use proptests::{Replicas, Step, Write, specification};
use swytch::effects::{BitAddition, Overflow};
use swytch::planted::{Bug, plant};

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"7".to_vec()),
        Just(b"text".to_vec()),
        Just(b"0.5".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(b'0'..=b'9', 1..4)
}

fn float() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("0.1"), Just("-3"), Just("1e3"), Just("0.25")]
}

fn bit_addition() -> impl Strategy<Value = BitAddition> {
    let overflow = prop_oneof![Just(Overflow::Wrap), Just(Overflow::Saturate), Just(Overflow::Fail)];
    (0..20u64, 1..64u8, any::<bool>(), overflow, prop_oneof![-5i64..9, any::<i64>()]).prop_map(
        |(offset, width, signed, overflow, increment)| BitAddition { offset, width, signed, overflow, increment },
    )
}

/// Mostly few elements, sparse, and on keys of which one has no other strings.
fn elements() -> impl Strategy<Value = Write> {
    let elements = proptest::collection::vec(b'a'..b'h', 0..4);
    (0..3u8, elements, 0..12u8, any::<bool>()).prop_map(|(key, elements, dense, recount)| Write::AddElements {
        key,
        elements,
        dense: dense == 0,
        recount,
    })
}

fn write() -> impl Strategy<Value = Write> {
    let key = 0..2u8;
    let element = b'a'..b'd';
    let deadline = prop_oneof![Just(None), (50_000u64..50_004).prop_map(Some)];
    let simple = prop_oneof![
        3 => (key.clone(), value(), deadline.clone()).prop_map(|(key, value, at)| Write::Set(key, value, at)),
        1 => (key.clone(), value()).prop_map(|(key, value)| Write::SetKeepingLife(key, value)),
        3 => (key.clone(), -5i64..100).prop_map(|(key, by)| Write::Add(key, by)),
        1 => (key.clone(), float()).prop_map(|(key, by)| Write::AddFloat(key, by)),
        3 => (key.clone(), bytes()).prop_map(|(key, bytes)| Write::Append(key, bytes)),
        2 => (key.clone(), 0..6u8, bytes()).prop_map(|(key, at, bytes)| Write::SetRange(key, at, bytes)),
        2 => (key.clone(), 0..40u64, 1..=64u8, any::<u64>()).prop_map(|(key, at, width, value)| Write::SetBits(key, at, width, value)),
        2 => (key.clone(), bit_addition()).prop_map(|(key, addition)| Write::AddBits(key, addition)),
        4 => elements(),
        4 => (0..3u8).prop_map(Write::Remove),
        3 => (key.clone(), deadline).prop_map(|(key, at)| Write::Deadline(key, at)),
        3 => (key.clone(), element.clone(), value()).prop_map(|(key, field, value)| Write::FieldSet(key, field, value)),
        3 => (key.clone(), element.clone(), -5i64..9).prop_map(|(key, field, by)| Write::FieldAdd(key, field, by)),
        1 => (key.clone(), element.clone(), float()).prop_map(|(key, field, by)| Write::FieldAddFloat(key, field, by)),
        3 => (key.clone(), element.clone()).prop_map(|(key, field)| Write::FieldRemove(key, field)),
        3 => (key.clone(), proptest::collection::vec(element.clone(), 1..4))
            .prop_map(|(key, members)| Write::MemberAdd(key, members)),
        3 => (key, element).prop_map(|(key, member)| Write::MemberRemove(key, member)),
        1 => prop_oneof![Just(None), Just(Some(0)), Just(Some(1))].prop_map(Write::Flush),
    ];
    prop_oneof![
        5 => simple.clone(),
        1 => proptest::collection::vec(simple, 2..4).prop_map(Write::Together),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let replica = 0..5usize;
    prop_oneof![
        10 => (replica.clone(), write()).prop_map(|(at, write)| Step::Write(at, write)),
        14 => (replica.clone(), any::<usize>()).prop_map(|(at, choice)| Step::Deliver(at, choice)),
        2 => replica.clone().prop_map(Step::Fold),
        1 => (replica.clone(), replica).prop_map(|(at, from)| Step::Replace(at, from)),
    ]
}

fn history() -> impl Strategy<Value = (usize, Vec<Step>, u64)> {
    (2..6usize, proptest::collection::vec(step(), 1..60), any::<u64>())
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
    if let Err(error) = runner.run(&history(), check) {
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
        let result = runner.run(&history(), check);
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
        Step::Write(0, Write::Set(1, text(), None)),
        Step::Deliver(1, 0),
        Step::Write(0, Write::Together(vec![Write::Deadline(1, Some(50_000)), Write::Append(1, b"0".to_vec())])),
        Step::Write(1, Write::Flush(None)),
    ];
    // A write that saw another type win at its origin meets the loser alone.
    let loser_alone = vec![
        Step::Write(2, Write::Together(vec![Write::FieldSet(1, b'a', text()), Write::Set(0, text(), None)])),
        Step::Deliver(0, 0),
        Step::Write(0, Write::Flush(None)),
        Step::Write(1, Write::Set(1, text(), None)),
        Step::Deliver(1, 0),
        Step::Write(1, Write::FieldAdd(1, b'a', 0)),
        Step::Deliver(0, 0),
        Step::Deliver(0, 0),
        Step::Write(2, Write::Set(1, text(), None)),
    ];
    // What a removal left of a key's life must outlast the removal's own stability.
    let life_folded_too_early = vec![
        Step::Write(1, Write::FieldSet(0, b'b', text())),
        Step::Deliver(0, 0),
        Step::Write(1, Write::Deadline(0, Some(50_000))),
        Step::Write(1, Write::FieldAdd(0, b'a', 0)),
        Step::Write(0, Write::Remove(0)),
        Step::Deliver(0, 0),
        Step::Fold(0),
    ];
    // The TTL of a SET goes with it when a concurrent hash is settled on, also where the SET is stable already.
    let life_of_the_loser = vec![
        Step::Write(0, Write::FieldSet(0, b'a', text())),
        Step::Write(0, Write::Set(0, text(), Some(50_000))),
        Step::Deliver(1, 0),
        Step::Write(1, Write::Together(vec![Write::FieldSet(0, b'a', text()), Write::Deadline(0, None)])),
        Step::Deliver(0, 0),
        Step::Write(1, Write::Remove(0)),
        Step::Deliver(1, 0),
        Step::Write(0, Write::FieldSet(0, b'a', text())),
        Step::Fold(1),
    ];
    for (count, steps) in
        [(2, life_of_the_loser), (3, life_without_value), (3, loser_alone), (2, life_folded_too_early)]
    {
        if let Err(error) = check((count, steps.clone(), 0)) {
            panic!("{steps:?}: {error}");
        }
    }
}
