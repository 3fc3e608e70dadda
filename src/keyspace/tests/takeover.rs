//! What takes the place of what is here, while clients are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

/// Fills a keyspace beside that of a node with all that another one has.
fn beside(node: &Node, source: &Node) -> Keyspace {
    let beside = node.keyspace.beside();
    for shard in 0..Keyspace::SHARDS {
        beside.import_shard(&source.keyspace.export_shard(shard)).expect("well formed");
    }
    beside.finish_import(&source.keyspace.frontier(), source.keyspace.latest_time());
    beside
}

#[test]
fn a_node_goes_on_as_what_it_is_and_has_seen_all_of_the_other_state() {
    let [mut a, mut b, _] = nodes();
    let common = a.write(1, "k", |t, key| assert_eq!(t.set_add(key, b"common"), Ok(true)));
    b.apply(&common);
    fold(&b, &b.keyspace.frontier());
    b.write(2, "k", |t, key| assert_eq!(t.set_remove(key, b"common"), Ok(true)));
    let own = a.write(3, "k", |t, key| assert_eq!(t.set_add(key, b"own"), Ok(true)));
    let beside = beside(&a, &b);
    let late = a.write(4, "counter", |t, key| assert!(t.string_add(key, 1).is_ok()));
    [&own, &late].iter().for_each(|(effect, seen)| beside.apply(effect, seen, 5));
    beside.end_catch_up();
    a.keyspace.begin_takeover(5).finish(&beside);
    [&own, &late].into_iter().for_each(|effect| b.apply(effect));
    assert_eq!(a.dump(), "0 counter string [1]; 0 k set [own]");
    assert_eq!((a.dump(), a.keyspace.frontier()), (b.dump(), b.keyspace.frontier()));
    assert!(a.keyspace.memory() > 0 && beside.dump().is_empty());
    // The next effect says what came with the state, and is applied by who has that.
    let next = a.write(6, "k", |t, key| assert_eq!(t.set_remove(key, b"own"), Ok(true)));
    assert_eq!(next.0.dot.seq, 4);
    assert_eq!(next.0.seen_changes.as_slice(), [(NodeId(2), 1)]);
    b.apply(&next);
    assert_eq!(a.dump(), b.dump());
}

#[test]
fn whoever_waits_for_keys_or_watches_them_learns_of_it() {
    let [mut a, mut b, _] = nodes();
    let own = a.write(1, "seen", |t, key| t.string_set(key, b"before", Life::Forever));
    b.write(2, "list", |t, key| {
        assert!(t.list_push(key, End::Left, Elements::parts(b"x", std::slice::from_ref(&(0..1)))).is_ok());
    });
    let beside = beside(&a, &b);
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let waiter = Waiter::new(Box::new(move || {
        counter.fetch_add(1, Relaxed);
    }));
    let watcher = Arc::new(Watcher::default());
    let (list, seen) = (a.keyspace.key(b"list"), a.keyspace.key(b"seen"));
    a.keyspace.lock_one(3, 0, list).wait(list, Kind::List, &waiter);
    a.keyspace.lock_one(3, 0, seen).watch(seen, &watcher);
    beside.apply(&own.0, &own.1, 4);
    beside.end_catch_up();
    let takeover = a.keyspace.begin_takeover(4);
    assert!(woken.load(Relaxed) == 0 && !watcher.is_touched(), "nothing has changed so far");
    takeover.finish(&beside);
    assert_eq!(a.dump(), "0 list list [x]; 0 seen string [before]");
    assert!(woken.load(Relaxed) == 1 && watcher.is_touched());
}
