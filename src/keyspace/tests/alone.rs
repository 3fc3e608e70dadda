//! One keyspace.

use super::*;

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
