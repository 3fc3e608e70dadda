//! Snapshots, and what is made again on top of one.

use super::*;

#[test]
fn a_snapshot_taken_while_effects_arrive_is_exact() {
    snapshot_while_effects_arrive(0);
}

#[test]
fn who_takes_a_snapshot_may_hash_otherwise() {
    snapshot_while_effects_arrive(99);
}

fn snapshot_while_effects_arrive(hash_seed: u64) {
    let [mut a, mut b, mut c] = nodes();
    c.keyspace = Keyspace::new(KeyspaceOptions { node: Some(NodeId(3)), hash_seed, ..Default::default() });
    for number in 0..200 {
        let name = format!("k{number}");
        let effect = a.write(1, &name, |t, key| assert_eq!(t.set_add(key, b"m"), Ok(true)));
        b.apply(&effect);
    }
    let begin = a.keyspace.frontier();
    c.keyspace.begin_import(NodeId(3));
    let mut later = Vec::new();
    for shard in 0..Keyspace::SHARDS {
        c.keyspace.import_shard(&a.keyspace.export_shard(shard)).expect("well formed");
        if shard % 10 == 0 {
            let name = format!("k{}", shard / 10);
            later.push(b.write(2, &name, |t, key| assert!(t.remove(key) || t.set_add(key, b"new") == Ok(true))));
            a.apply(later.last().expect("just pushed"));
            later.push(a.write(3, "counter", |t, key| assert!(t.string_add(key, 1).is_ok())));
            b.apply(later.last().expect("just pushed"));
        }
        if shard == Keyspace::SHARDS / 2 {
            // Some shards of the snapshot are from before it, others from after it.
            later.push(a.flush(4));
            b.apply(later.last().expect("just pushed"));
            later.push(a.write(5, "k150", |t, key| assert_eq!(t.set_add(key, b"again"), Ok(true))));
            b.apply(later.last().expect("just pushed"));
        }
    }
    c.keyspace.finish_import(&begin, a.keyspace.latest_time());
    for effect in &later {
        c.apply(effect);
    }
    c.keyspace.end_catch_up();
    assert_eq!(c.dump(), a.dump());
    assert_eq!(c.keyspace.digest(), b.keyspace.digest());
    assert_eq!(c.keyspace.frontier(), a.keyspace.frontier());
}

/// Has a node begin anew, under another name, with all that another one has.
fn take_snapshot(node: &Node, source: &Node) {
    node.keyspace.begin_import(NodeId(9));
    for shard in 0..Keyspace::SHARDS {
        node.keyspace.import_shard(&source.keyspace.export_shard(shard)).expect("well formed");
    }
    node.keyspace.finish_import(&source.keyspace.frontier(), source.keyspace.latest_time());
    node.keyspace.end_catch_up();
}

#[test]
fn what_is_reissued_lands_on_top_and_removes_only_its_own() {
    let [mut a, mut lone, _] = nodes();
    a.write(1, "kept", |t, key| t.string_set(key, b"cluster", Life::Forever));
    let stable = a.keyspace.frontier();
    for shard in 0..Keyspace::SHARDS {
        a.keyspace.fold(shard, &stable);
    }
    let mut own = vec![lone.write(1, "x", |t, key| t.string_set(key, b"1", Life::Forever))];
    own.push(lone.write(2, "x", |t, key| assert!(t.remove(key))));
    own.push(lone.write(3, "kept", |t, key| assert_eq!(t.set_add(key, b"m"), Ok(true))));
    own.push(lone.write(4, "kept", |t, key| assert!(t.remove(key))));
    own.push(lone.write(5, "count", |t, key| assert_eq!(t.string_add(key, 4), Ok(4))));
    take_snapshot(&lone, &a);
    let made = lone.keyspace.reissue(&mut Reissue::new(NodeId(9)), &own, &stable, 10);
    assert_eq!(lone.dump(), "0 count string [4]; 0 kept string [cluster]");
    let mut past = stable;
    for (_, effect) in made {
        for (node, seq) in &effect.seen_changes {
            past.raise(*node, *seq);
        }
        a.keyspace.apply(&effect, &past, 10);
        past.raise(effect.dot.node, effect.dot.seq);
    }
    assert_eq!(a.dump(), lone.dump());
}

#[test]
fn a_life_that_is_reissued_is_the_same_where_more_is_folded() {
    type Make = fn(&mut Transaction<'_>, Key<'_>);
    let cases: [(&str, Make, Make, Make); 5] = [
        (
            "field",
            |t, key| assert!(t.hash_set(key, b"f", b"1").is_ok()),
            |t, key| assert!(t.hash_add(key, b"f", 2).is_ok()),
            |t, key| assert!(t.hash_set_deadline(key, b"f", Some(90_000)).is_ok()),
        ),
        (
            "field with a life",
            |t, key| {
                assert!(t.hash_set(key, b"f", b"1").is_ok());
                assert!(t.hash_set_deadline(key, b"f", Some(95_000)).is_ok());
            },
            |t, key| assert!(t.hash_add(key, b"f", 2).is_ok()),
            |t, key| assert!(t.hash_set_deadline(key, b"f", Some(90_000)).is_ok()),
        ),
        (
            "string with a life",
            |t, key| t.string_set(key, b"1", Life::Until(95_000)),
            |t, key| assert!(t.string_add(key, 2).is_ok()),
            |t, key| assert!(t.set_deadline(key, Some(90_000))),
        ),
        (
            "counted field",
            |t, key| assert!(t.hash_add(key, b"f", 1).is_ok()),
            |t, key| assert!(t.hash_add(key, b"f", 2).is_ok()),
            |t, key| assert!(t.hash_set_deadline(key, b"f", Some(90_000)).is_ok()),
        ),
        (
            "string",
            |t, key| t.string_set(key, b"1", Life::Forever),
            |t, key| assert!(t.string_add(key, 2).is_ok()),
            |t, key| assert!(t.set_deadline(key, Some(90_000))),
        ),
    ];
    for (name, start, change, live) in cases {
        let [mut a, mut lone, b] = nodes();
        let started = a.write(1, "k", start);
        b.apply(&started);
        let stable = a.keyspace.frontier();
        fold(&a, &stable);
        let own = [lone.write(2, "k", change), lone.write(3, "k", live)];
        take_snapshot(&lone, &a);
        let made = lone.keyspace.reissue(&mut Reissue::new(NodeId(9)), &own, &stable, 10);
        let mut past = stable;
        for (_, effect) in made {
            for (node, seq) in &effect.seen_changes {
                past.raise(*node, *seq);
            }
            a.keyspace.apply(&effect, &past, 10);
            b.keyspace.apply(&effect, &past, 10);
            past.raise(effect.dot.node, effect.dot.seq);
        }
        assert!(lone.dump().contains("until 90000"), "{name}: {}", lone.dump());
        assert_eq!([a.dump(), b.dump()], [lone.dump(), lone.dump()], "{name}");
    }
}
