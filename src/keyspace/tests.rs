//! The keyspace alone, and two or three of them exchanging effects by hand.

use super::*;
use crate::effects::{Effect, Elements, End, Frontier, NodeId, Ranges, Registers, StreamId};

fn single() -> Keyspace {
    Keyspace::new(KeyspaceOptions::default())
}

/// A node of a cluster in miniature: a keyspace and the full past of the effects it hands out.
pub(super) struct Node {
    pub keyspace: Keyspace,
    seen: Frontier,
}

impl Node {
    fn new(id: u64) -> Node {
        let node = Some(NodeId(id));
        Node { keyspace: Keyspace::new(KeyspaceOptions { node, ..Default::default() }), seen: Frontier::EMPTY }
    }

    /// Runs a write on one key, and returns its effect with everything that it had seen.
    fn write(
        &mut self,
        now: Millis,
        name: &str,
        write: impl FnOnce(&mut Transaction<'_>, Key<'_>),
    ) -> (Effect, Frontier) {
        let key = self.keyspace.key(name.as_bytes());
        let mut transaction = self.keyspace.lock_one(now, 0, key);
        write(&mut transaction, key);
        transaction.commit();
        self.made()
    }

    /// Removes everything.
    fn flush(&mut self, now: Millis) -> (Effect, Frontier) {
        self.keyspace.lock_all(now, 0).flush(None);
        self.made()
    }

    /// The effect of what was just done, with everything that it had seen.
    fn made(&mut self) -> (Effect, Frontier) {
        let effect = self.keyspace.drain_effects().remove(0);
        for (node, seq) in &effect.seen_changes {
            self.seen.raise(*node, *seq);
        }
        let seen = self.seen.clone();
        self.seen.raise(effect.dot.node, effect.dot.seq);
        (effect, seen)
    }

    fn apply(&self, (effect, seen): &(Effect, Frontier)) {
        self.keyspace.apply(effect, seen, 0);
    }

    fn dump(&self) -> String {
        self.keyspace.dump().join("; ")
    }
}

fn nodes() -> [Node; 3] {
    [Node::new(1), Node::new(2), Node::new(3)]
}

#[test]
fn a_single_node_keeps_no_metadata() {
    let keyspace = single();
    let key = keyspace.key(b"k");
    let mut transaction = keyspace.lock_one(0, 0, key);
    transaction.string_set(key, b"5", Life::Forever);
    assert_eq!(transaction.string_add(key, 3), Ok(8));
    assert_eq!(transaction.hash_set(key, b"f", b"v"), Err(WrongType));
    assert_eq!(transaction.commit(), None);
    assert_eq!(keyspace.unstable_keys(), 0);
    assert_eq!(keyspace.dump(), ["0 k string [8]"]);
    assert!(keyspace.memory() > 0);
    keyspace.lock_one(0, 0, key).remove(key);
    assert_eq!(keyspace.size(0), (0, 0));
}

#[test]
fn an_expired_key_is_hidden_at_once_and_removed_later() {
    let keyspace = single();
    let key = keyspace.key(b"k");
    keyspace.lock_one(0, 0, key).string_set(key, b"v", Life::Until(100));
    assert_eq!(keyspace.lock_one(99, 0, key).string(key), Ok(Some(&b"v"[..])));
    assert_eq!(keyspace.lock_one(100, 0, key).string(key), Ok(None));
    assert_eq!(keyspace.size(0), (1, 1));
    keyspace.upkeep(100, Keyspace::SHARDS);
    assert_eq!((keyspace.size(0), keyspace.expired()), ((0, 0), 1));
}

#[test]
fn a_scan_reports_everything_that_stays() {
    let keyspace = single();
    for number in 0..3000 {
        let name = format!("key:{number}");
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(0, 0, key).string_set(key, b"v", Life::Forever);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut cursor = 0;
    let mut removed = 0;
    loop {
        cursor = keyspace.scan(0, 0, ScanPage { cursor, count: 7 }, &mut |key, _| {
            seen.insert(key.to_vec());
        });
        // Something disappears all the time.
        let name = format!("key:{removed}");
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(0, 0, key).remove(key);
        removed += 2;
        if cursor == 0 {
            break;
        }
    }
    for number in (1..3000).step_by(2) {
        assert!(seen.contains(format!("key:{number}").as_bytes()), "key:{number} is missing");
    }
}

#[test]
fn eviction_keeps_the_data_within_the_limit() {
    let keyspace = Keyspace::new(KeyspaceOptions { memory_limit: 400_000, ..Default::default() });
    for number in 0..20_000 {
        assert!(keyspace.make_room(0));
        let name = format!("key:{number}");
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(0, 0, key).string_set(key, &[b'v'; 50], Life::Forever);
    }
    assert!(keyspace.memory() < 402_000, "{}", keyspace.memory());
    assert!(keyspace.evicted() > 10_000);
}

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
    lone.keyspace.begin_import(NodeId(9));
    for shard in 0..Keyspace::SHARDS {
        lone.keyspace.import_shard(&a.keyspace.export_shard(shard)).expect("well formed");
    }
    lone.keyspace.finish_import(&a.keyspace.frontier(), a.keyspace.latest_time());
    lone.keyspace.end_catch_up();
    lone.keyspace.reissue(&own, &stable, 10);
    assert_eq!(lone.dump(), "0 count string [4]; 0 kept string [cluster]");
    let mut past = stable;
    for effect in lone.keyspace.drain_effects() {
        for (node, seq) in &effect.seen_changes {
            past.raise(*node, *seq);
        }
        a.keyspace.apply(&effect, &past, 10);
        past.raise(effect.dot.node, effect.dot.seq);
    }
    assert_eq!(a.dump(), lone.dump());
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

fn fold(node: &Node, stable: &Frontier) {
    (0..Keyspace::SHARDS).for_each(|shard| node.keyspace.fold(shard, stable));
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
        lone.keyspace.begin_import(NodeId(9));
        for shard in 0..Keyspace::SHARDS {
            lone.keyspace.import_shard(&a.keyspace.export_shard(shard)).expect("well formed");
        }
        lone.keyspace.finish_import(&a.keyspace.frontier(), a.keyspace.latest_time());
        lone.keyspace.end_catch_up();
        lone.keyspace.reissue(&own, &stable, 10);
        let mut past = stable;
        for effect in lone.keyspace.drain_effects() {
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
