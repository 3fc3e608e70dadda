//! Lists that are gone at one node and not yet at another.

use super::*;

/// Positions count what was removed meanwhile: the order of what comes is decided by it, whatever removed the key.
#[test]
fn a_removed_list_still_tells_where_elements_go() {
    type Removal = fn(&mut Transaction<'_>, Key<'_>);
    let removals: [(Removal, &str, &str); 3] = [
        (|transaction, key| assert!(transaction.remove(key)), "", "0 k list [x y]"),
        (|transaction, key| transaction.string_set(key, b"v", Life::Forever), "0 k string [v]", "0 k list [x y]"),
        (
            |transaction, key| assert!(transaction.list_remove(key, End::Right, Ranges::first(3)).is_ok()),
            "",
            "0 k list [x y]",
        ),
    ];
    for (removal, after, merged) in removals {
        let [mut one, mut two, mut three] = nodes();
        let elements = Elements::parts(b"abc", &[0..1, 1..2, 2..3]);
        let pushed =
            one.write(10, "k", |transaction, key| assert_eq!(transaction.list_push(key, End::Right, elements), Ok(3)));
        [&two, &three].into_iter().for_each(|node| node.apply(&pushed));
        // All of it is stable at the node that removes it.
        let shard = Keyspace::shard_of(one.keyspace.key(b"k").hash);
        one.keyspace.fold(shard, &one.keyspace.frontier());
        assert_eq!(one.keyspace.unstable_keys(), 0);
        let removed = one.write(11, "k", removal);
        assert_eq!(one.dump(), after);
        let late = two.write(12, "k", |transaction, key| assert!(transaction.list_insert(key, 2, b"y").is_ok()));
        let early = three.write(13, "k", |transaction, key| assert!(transaction.list_insert(key, 1, b"x").is_ok()));
        [&late, &early].into_iter().for_each(|effect| one.apply(effect));
        [&removed, &early].into_iter().for_each(|effect| two.apply(effect));
        [&late, &removed].into_iter().for_each(|effect| three.apply(effect));
        assert_eq!([one.dump(), two.dump(), three.dump()], [merged; 3]);
        // And is forgotten when all know all.
        let all: Frontier = [1, 2, 3].into_iter().map(|node| (NodeId(node), 1)).collect();
        let all: Frontier = all.iter().chain([(NodeId(1), 2)]).collect();
        one.keyspace.fold(shard, &all);
        assert_eq!((one.keyspace.unstable_keys(), one.dump()), (0, merged.to_owned()));
    }
}

#[test]
fn a_flushed_list_still_tells_where_elements_go() {
    let [mut one, mut two, _] = nodes();
    let elements = |text: &'static [u8]| Elements::parts(text, std::slice::from_ref(&(0..1)));
    let push = |node: &mut Node, now, text| {
        node.write(now, "k", |transaction, key| assert!(transaction.list_push(key, End::Right, elements(text)).is_ok()))
    };
    let first = push(&mut one, 10, b"a");
    two.apply(&first);
    fold(&one, &one.keyspace.frontier());
    let flush = one.flush(11);
    let early = push(&mut two, 12, b"b");
    let late = push(&mut one, 13, b"c");
    one.apply(&early);
    [&flush, &late].into_iter().for_each(|effect| two.apply(effect));
    // The later push went to an end of what was there before; the earlier one after an element that is not there any more.
    assert_eq!([one.dump(), two.dump()], ["0 k list [c b]"; 2]);
    let all: Frontier = [(NodeId(1), 3), (NodeId(2), 1)].into_iter().collect();
    fold(&one, &all);
    assert_eq!((one.keyspace.unstable_keys(), one.dump()), (0, "0 k list [c b]".to_owned()));
}
