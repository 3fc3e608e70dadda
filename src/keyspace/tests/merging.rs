//! Concurrent writes of strings and of whole keys.

use super::*;

#[test]
fn a_removal_takes_only_what_it_has_seen() {
    let [mut a, mut b, c] = nodes();
    let old = a.write(1, "k", |t, key| t.string_set(key, b"old", Life::Forever));
    b.apply(&old);
    let new = a.write(2, "k", |t, key| t.string_set(key, b"new", Life::Until(500)));
    let removal = b.write(3, "k", |t, key| assert!(t.remove(key)));
    a.apply(&removal);
    b.apply(&new);
    for effect in [&old, &removal, &new] {
        c.apply(effect);
    }
    assert_eq!(a.dump(), "0 k string [new] until 500");
    assert_eq!((b.dump(), c.dump()), (a.dump(), a.dump()));
}

#[test]
fn a_removal_of_the_winner_shows_the_write_that_it_had_not_seen() {
    let [mut a, mut b, mut c] = nodes();
    let low = a.write(1, "k", |t, key| t.string_set(key, b"low", Life::Forever));
    let high = b.write(2, "k", |t, key| t.string_set(key, b"high", Life::Until(900)));
    c.apply(&high);
    let removal = c.write(3, "k", |t, key| assert!(t.remove(key)));
    a.apply(&high);
    assert_eq!(a.dump(), "0 k string [high] until 900");
    a.apply(&removal);
    b.apply(&low);
    b.apply(&removal);
    c.apply(&low);
    assert_eq!(a.dump(), "0 k string [low]");
    assert_eq!((b.dump(), c.dump()), (a.dump(), a.dump()));
}

#[test]
fn concurrent_string_writes_apply_in_stamp_order() {
    let [mut a, mut b, c] = nodes();
    let one = a.write(1, "k", |t, key| assert_eq!(t.string_append(key, b"a"), Ok(1)));
    let two = b.write(2, "k", |t, key| assert_eq!(t.string_append(key, b"bb"), Ok(2)));
    let three = a.write(3, "k", |t, key| assert_eq!(t.string_append(key, b"c"), Ok(2)));
    b.apply(&one);
    b.apply(&three);
    a.apply(&two);
    for effect in [&two, &one, &three] {
        c.apply(effect);
    }
    assert_eq!(a.dump(), "0 k string [abbc]");
    assert_eq!((b.dump(), c.dump()), (a.dump(), a.dump()));
    // Folding changes nothing that is visible.
    let stable = a.keyspace.frontier();
    for shard in 0..Keyspace::SHARDS {
        a.keyspace.fold(shard, &stable);
    }
    assert_eq!((a.dump(), a.keyspace.unstable_keys()), (c.dump(), 0));
}

#[test]
fn changed_parts_of_a_large_string_are_kept_and_not_the_string() {
    let [mut a, mut b, c] = nodes();
    let large = vec![b'x'; 1 << 20];
    let start = a.write(1, "k", |t, key| t.string_set(key, &large, Life::Forever));
    b.apply(&start);
    c.apply(&start);
    let shard = Keyspace::shard_of(a.keyspace.key(b"k").hash);
    for node in [&a, &b, &c] {
        let stable = node.keyspace.frontier();
        (0..Keyspace::SHARDS).for_each(|shard| node.keyspace.fold(shard, &stable));
    }
    let mut effects = Vec::new();
    for number in 0..20u64 {
        let (node, place) = (if number % 2 == 0 { &mut a } else { &mut b }, 1000 * number);
        effects.push(node.write(2 + number, "k", |t, key| {
            t.string_set_bits(key, place, 3, number).expect("a string");
            t.string_append(key, b"y").expect("a string");
        }));
    }
    for (at, effect) in effects.iter().enumerate() {
        if at % 2 == 0 { &b } else { &a }.apply(effect);
        c.apply(&effects[effects.len() / 2 * (at % 2) + at / 2]);
    }
    for node in [&a, &b, &c] {
        assert_eq!(node.keyspace.digest(), a.keyspace.digest());
        let metadata = node.keyspace.export_shard(shard).len() - large.len();
        assert!(metadata < 10_000, "{metadata} bytes beside the string");
    }
}

/// PFADD.
fn add(t: &mut Transaction<'_>, key: Key<'_>, element: &[u8]) -> Result<bool, hyperloglog::Unusable> {
    let packed = hyperloglog::register_of(element).packed();
    t.raise_registers(key, Registers { packed: &packed[..], dense: false, recount: false })
}

#[test]
fn a_string_is_made_by_the_lowest_of_the_writes_that_survive() {
    let [mut a, mut b, c] = nodes();
    let first = a.write(1, "k", |t, key| assert_eq!(add(t, key, b"first"), Ok(true)));
    b.apply(&first);
    let low = a.write(2, "k", |t, key| assert_eq!(add(t, key, b"low"), Ok(true)));
    let gone = b.write(3, "k", |t, key| assert!(t.remove(key)));
    let high = b.write(4, "k", |t, key| assert_eq!(add(t, key, b"high"), Ok(true)));
    b.apply(&low);
    a.apply(&gone);
    a.apply(&high);
    for effect in [&first, &gone, &high, &low] {
        c.apply(effect);
    }
    let key = b.keyspace.key(b"k");
    assert_eq!(b.keyspace.lock_one(0, 0, key).count_elements(key), Ok(Some(2)));
    assert_eq!((a.dump(), c.dump()), (b.dump(), b.dump()));
}

#[test]
fn hyperloglogs_unite_and_leave_other_strings_alone() {
    let [mut a, mut b, c] = nodes();
    let one = a.write(1, "k", |t, key| assert_eq!(add(t, key, b"one"), Ok(true)));
    let two = b.write(2, "k", |t, key| assert_eq!(add(t, key, b"two"), Ok(true)));
    b.apply(&one);
    a.apply(&two);
    let again = a.write(3, "k", |t, key| {
        assert_eq!(add(t, key, b"two"), Ok(false));
        assert_eq!(t.count_elements(key), Ok(Some(2)));
    });
    let gone = b.write(4, "k", |t, key| assert!(t.remove(key)));
    a.apply(&gone);
    b.apply(&again);
    for effect in [&one, &two, &gone, &again] {
        c.apply(effect);
    }
    let count = |node: &Node| {
        let key = node.keyspace.key(b"k");
        node.keyspace.lock_one(0, 0, key).count_elements(key)
    };
    assert_eq!([&a, &b, &c].map(count), [Ok(Some(1)); 3]);
    let text = a.write(5, "k", |t, key| t.string_set(key, b"text", Life::Forever));
    let three = b.write(6, "k", |t, key| assert_eq!(add(t, key, b"three"), Ok(true)));
    a.apply(&three);
    b.apply(&text);
    c.apply(&three);
    c.apply(&text);
    assert_eq!([&a, &b, &c].map(Node::dump), [(); 3].map(|()| "0 k string [text]".to_string()));
}

#[test]
fn types_that_were_created_concurrently_are_kept_apart() {
    let [mut a, mut b, mut c] = nodes();
    let text = a.write(1, "k", |t, key| t.string_set(key, b"text", Life::Forever));
    let hash = b.write(2, "k", |t, key| assert_eq!(t.hash_set(key, b"f", b"v"), Ok(true)));
    a.apply(&hash);
    b.apply(&text);
    assert_eq!((a.dump().as_str(), b.dump()), ("0 k hash [f=v]", a.dump()));
    c.apply(&hash);
    let gone = c.write(3, "k", |t, key| assert_eq!(t.hash_remove(key, b"f"), Ok(true)));
    a.apply(&gone);
    b.apply(&gone);
    c.apply(&text);
    assert_eq!(a.dump(), "0 k string [text]");
    assert_eq!((b.dump(), c.dump()), (a.dump(), a.dump()));
}

#[test]
fn a_rename_is_one_effect_and_leaves_concurrent_writes_where_they_were_made() {
    let [mut one, mut two, three] = nodes();
    let added = one.write(1, "k", |transaction, key| {
        transaction.set_add(key, b"a").expect("a set");
        transaction.set_deadline(key, Some(90_000));
    });
    two.apply(&added);
    three.apply(&added);
    let (from, to) = (one.keyspace.key(b"k"), one.keyspace.key(b"new"));
    let mut transaction = one.keyspace.lock_keys(2, 0, [from, to].into_iter());
    assert_eq!(transaction.move_key((0, from), (1, to)), Ok(true));
    transaction.commit();
    let mut effects = one.keyspace.drain_effects();
    assert_eq!(effects.len(), 1);
    let renamed = (effects.remove(0), one.seen.clone());
    let concurrent = two.write(2, "k", |transaction, key| {
        transaction.set_add(key, b"b").expect("a set");
    });
    one.apply(&concurrent);
    two.apply(&renamed);
    three.apply(&renamed);
    three.apply(&concurrent);
    for node in [&one, &two, &three] {
        assert_eq!(node.keyspace.dump(), ["0 k set [b]", "1 new set [a] until 90000"]);
    }
}

#[test]
fn conflicts_are_counted_where_something_concurrent_arrives() {
    let [mut a, mut b, _] = nodes();
    let conflicts = |node: &Node| -> Vec<(Option<Kind>, u64)> {
        node.keyspace.conflicts().into_iter().filter(|(_, count)| *count > 0).collect()
    };
    let first = a.write(1, "k", |t, key| t.string_set(key, b"1", Life::Forever));
    b.apply(&first);
    let second = b.write(2, "k", |t, key| t.string_set(key, b"2", Life::Forever));
    a.apply(&second);
    assert_eq!(conflicts(&a), [], "each had seen the one before");
    let here = a.write(3, "k", |t, key| t.string_set(key, b"3", Life::Forever));
    let there = b.write(3, "k", |t, key| t.string_set(key, b"4", Life::Forever));
    let elsewhere = b.write(4, "other", |t, key| t.string_set(key, b"5", Life::Forever));
    let member = b.write(5, "__swytch:members", |t, key| assert_eq!(t.hash_set(key, b"b", b"x"), Ok(true)));
    a.write(5, "__swytch:members", |t, key| assert_eq!(t.hash_set(key, b"a", b"x"), Ok(true)));
    [&there, &elsewhere, &member].into_iter().for_each(|effect| a.apply(effect));
    b.apply(&here);
    assert_eq!(conflicts(&a), [(Some(Kind::String), 1)]);
    assert_eq!(conflicts(&b), [(Some(Kind::String), 1)]);
    a.write(6, "k", |t, key| t.string_set(key, b"6", Life::Forever));
    assert_eq!(conflicts(&a), [(Some(Kind::String), 1)], "a write of this node has seen all that is here");
}

/// A write that is merged leaves the key where a scan that is under way will find it.
#[test]
fn a_scan_finds_a_key_that_is_merged_into_meanwhile() {
    let keyspace = Node::new(1).keyspace;
    let shard_of = |name: &str| Keyspace::shard_of(keyspace.key(name.as_bytes()).hash);
    let names = (0..100_000).map(|number| format!("key{number}"));
    let names: Vec<String> = names.filter(|name| shard_of(name) == 5).take(3).collect();
    let stream = keyspace.key(names[0].as_bytes());
    keyspace.lock_one(0, 0, stream).stream_create(stream).expect("no key before");
    for name in &names[1..] {
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(0, 0, key).string_set(key, b"v", Life::Forever);
    }
    let mut found = Vec::new();
    let mut each = |key: &[u8], _: Kind| found.push(String::from_utf8_lossy(key).into_owned());
    let cursor = keyspace.scan(0, 0, ScanPage { cursor: 0, count: 1 }, &mut each);
    let of = GroupOf { key: stream, group: b"g" };
    keyspace.lock_one(0, 0, stream).group_create(of, StreamId::MIN, None);
    assert_eq!(keyspace.scan(0, 0, ScanPage { cursor, count: 1000 }, &mut each), 0);
    found.sort_unstable();
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
