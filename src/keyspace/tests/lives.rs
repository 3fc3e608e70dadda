//! The life of fields that are set and end at the same time.

use super::*;

#[test]
fn a_field_that_is_set_while_it_ends_elsewhere_stays() {
    let [mut one, mut two, three] = nodes();
    let life = |at| {
        move |t: &mut Transaction<'_>, key: Key<'_>| {
            assert_eq!(t.hash_set_with_life(key, b"f", b"1", Life::Until(at)), Ok(true));
            assert_eq!(t.hash_set(key, b"g", b"2"), Ok(true));
        }
    };
    let set = one.write(10, "k", life(100));
    [&two, &three].into_iter().for_each(|node| node.apply(&set));
    let again = two.write(90, "k", |t, key| assert_eq!(t.hash_set(key, b"f", b"3"), Ok(false)));
    one.keyspace.upkeep(100, Keyspace::SHARDS);
    assert_eq!((one.dump(), one.keyspace.expired()), ("0 k hash [g=2]".to_owned(), 0));
    let ended = (one.keyspace.drain_effects().remove(0), one.seen.clone());
    one.apply(&again);
    two.apply(&ended);
    three.apply(&ended);
    three.apply(&again);
    assert_eq!([one.dump(), two.dump(), three.dump()], ["0 k hash [f=3 g=2]"; 3]);
}

#[test]
fn the_life_of_a_field_outlives_it_until_nobody_can_inherit_it() {
    let [mut one, mut two, mut three] = nodes();
    let set = one.write(10, "k", |t, key| {
        assert_eq!(t.hash_set(key, b"f", b"1"), Ok(true));
        assert_eq!(t.hash_set(key, b"g", b"2"), Ok(true));
    });
    [&two, &three].into_iter().for_each(|node| node.apply(&set));
    let stable = one.keyspace.frontier();
    [&one, &two, &three].into_iter().for_each(|node| fold(node, &stable));
    let removed = one.write(11, "k", |t, key| assert_eq!(t.hash_remove(key, b"f"), Ok(true)));
    let prolonged = two.write(12, "k", |t, key| assert_eq!(t.hash_set_deadline(key, b"f", Some(90_000)), Ok(true)));
    let added = three.write(13, "k", |t, key| assert_eq!(t.hash_add(key, b"f", 4), Ok(5)));
    one.apply(&prolonged);
    // Stable, or nearly so: what the life outlived is not yet.
    fold(&one, &[(NodeId(1), 1), (NodeId(2), 1)].into_iter().collect());
    assert_eq!((one.dump(), one.keyspace.unstable_keys()), ("0 k hash [g=2]".to_owned(), 1));
    one.apply(&added);
    [&removed, &added].into_iter().for_each(|effect| two.apply(effect));
    [&prolonged, &removed].into_iter().for_each(|effect| three.apply(effect));
    assert_eq!([one.dump(), two.dump(), three.dump()], ["0 k hash [f=4 until 90000 g=2]"; 3]);
    let all = one.keyspace.frontier();
    [&one, &two, &three].into_iter().for_each(|node| fold(node, &all));
    assert_eq!([&one, &two, &three].map(|node| node.keyspace.unstable_keys()), [0; 3]);
    // A field that begins anew inherits nothing.
    let removed = one.write(14, "k", |t, key| assert_eq!(t.hash_remove(key, b"f"), Ok(true)));
    let prolonged = two.write(15, "k", |t, key| assert_eq!(t.hash_set_deadline(key, b"f", Some(95_000)), Ok(true)));
    one.apply(&prolonged);
    let anew = one.write(16, "k", |t, key| assert_eq!(t.hash_add(key, b"f", 7), Ok(7)));
    [&removed, &anew].into_iter().for_each(|effect| two.apply(effect));
    [&removed, &prolonged, &anew].into_iter().for_each(|effect| three.apply(effect));
    assert_eq!([one.dump(), two.dump(), three.dump()], ["0 k hash [f=7 g=2]"; 3]);
}
