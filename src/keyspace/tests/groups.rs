//! Consumer groups of streams at several nodes.

use super::*;

/// What arrives behind the back of a group is delivered all the same, also when the group came in a snapshot.
#[test]
fn an_entry_that_arrives_late_is_late_at_every_node() {
    let [mut one, mut two, _] = nodes();
    fn of(key: Key<'_>) -> GroupOf<'_> {
        GroupOf { key, group: b"g" }
    }
    let id = |milliseconds| StreamId::new(milliseconds, 0);
    let entry = || Elements::parts(b"fv", &[0..1, 1..2]);
    let created = one.write(1, "k", |t, key| {
        t.stream_add(key, id(1), entry());
        t.group_create(of(key), StreamId::MIN, None);
    });
    two.apply(&created);
    let late = two.write(2, "k", |t, key| t.stream_add(key, id(2), entry()));
    let read = one.write(3, "k", |t, key| {
        t.stream_add(key, id(3), entry());
        t.group_deliver(of(key), b"c", &[id(1), id(3)], true, None);
    });
    one.apply(&late);
    two.apply(&read);
    assert_eq!(one.dump(), two.dump());
    assert!(one.dump().contains("at 3-0 read ?, late 2-0,"), "{}", one.dump());
    let joiner = Node::new(9).keyspace;
    joiner.begin_import(NodeId(9));
    for shard in 0..Keyspace::SHARDS {
        joiner.import_shard(&one.keyspace.export_shard(shard)).expect("a snapshot of our own");
    }
    joiner.finish_import(&one.keyspace.frontier(), one.keyspace.latest_time());
    joiner.end_catch_up();
    assert_eq!(joiner.dump(), one.keyspace.dump());
    let key = joiner.key(b"k");
    joiner.lock_one(9, 0, key).group_deliver(of(key), b"c", &[id(2)], false, None);
    assert!(!joiner.dump().concat().contains("late"), "{:?}", joiner.dump());
}

/// Two nodes give one entry to two consumers; whoever removes the one that has it leaves it to nobody, at every node, no
/// matter which of them still remembers the other.
#[test]
fn a_consumer_that_goes_gives_nothing_back() {
    fn of(key: Key<'_>) -> GroupOf<'_> {
        GroupOf { key, group: b"g" }
    }
    let [mut one, mut two, three] = nodes();
    let id = StreamId::new(1, 0);
    let created = one.write(1, "k", |t, key| {
        t.stream_add(key, id, Elements::parts(b"fv", &[0..1, 1..2]));
        t.group_create(of(key), StreamId::MIN, None);
    });
    [&two, &three].into_iter().for_each(|node| node.apply(&created));
    let lower = one.write(2, "k", |t, key| t.group_deliver(of(key), b"a", &[id], true, None));
    let higher = two.write(3, "k", |t, key| t.group_deliver(of(key), b"b", &[id], true, None));
    one.apply(&higher);
    two.apply(&lower);
    [&lower, &higher].into_iter().for_each(|effect| three.apply(effect));
    fold(&three, &one.keyspace.frontier());
    let removed = one.write(4, "k", |t, key| t.consumer_remove(of(key), b"b"));
    [&two, &three].into_iter().for_each(|node| node.apply(&removed));
    assert_eq!([one.dump(), two.dump()], [three.dump(), three.dump()]);
    assert!(!three.dump().contains("1-0@"), "{}", three.dump());
}
