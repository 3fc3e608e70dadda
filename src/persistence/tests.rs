//! Files that were written here, whole, while clients write, and damaged.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::form::FileForm;
use super::load::load_bytes;
use super::save::{About, write_file};
use super::*;
use crate::effects::{NodeId, StreamId};
use crate::keyspace::{
    Contents, Cut, CutError, Group, HashValue, Keyspace, KeyspaceOptions, ListValue, Millis, SetValue, SortedSetValue,
    StreamValue, Value,
};

const NOW: Millis = 1_700_000_000_000;

fn keyspace(seed: u64, node: Option<NodeId>) -> Arc<Keyspace> {
    Arc::new(Keyspace::new(KeyspaceOptions { hash_seed: seed, node, ..KeyspaceOptions::default() }))
}

/// A directory that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("swytch-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for the test");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cut(keyspace: &Arc<Keyspace>) -> Cut {
    let form = FileForm { hint: UseHint::Frequency, now: NOW };
    Cut::begin(keyspace, NOW, Arc::new(form)).expect("there is no other")
}

/// The file that a cut makes. `between` is called between its pieces.
fn save(mut cut: Cut, mut between: impl FnMut()) -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.0.join("dump.rdb");
    let about = About { created: 1, memory: 2, redis_version: "7.2.4" };
    let mut go_on = |_| {
        between();
        true
    };
    write_file(&mut cut, &about, &path, &mut go_on).expect("it can be written");
    let left: Vec<_> = std::fs::read_dir(&folder.0).expect("a directory").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, ["dump.rdb"], "the temporary file has gone");
    std::fs::read(&path).expect("a file")
}

fn put(keyspace: &Keyspace, database: u32, name: &[u8], value: Value, deadline: Option<Millis>) {
    let key = keyspace.key(name);
    keyspace.lock_one(NOW, database, key).put(key, Contents::new(value, deadline, NOW)).expect("it fits");
}

fn bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let length = if random.u8(..8) == 0 { random.usize(..most) } else { random.usize(..12) };
    match random.u8(..3) {
        0 => random.i64(-1000..100_000).to_string().into_bytes(),
        1 => (0..length).map(|_| random.u8(..)).collect(),
        _ => vec![b'x'; length],
    }
}

fn value(random: &mut fastrand::Rng) -> Value {
    let count = if random.bool() { random.usize(1..6) } else { random.usize(1..700) };
    match random.u8(..6) {
        0 => Value::text(bytes(random, 1000)),
        1 => {
            let mut list = ListValue::new();
            (0..count).for_each(|_| list.push_back(&bytes(random, 100)));
            Value::List(list)
        }
        2 => {
            let mut set = SetValue::new();
            (0..count).for_each(|_| {
                set.insert(&bytes(random, 100));
            });
            Value::Set(set)
        }
        3 => {
            let mut set = SortedSetValue::new();
            for _ in 0..count {
                let score = if random.u8(..9) == 0 { f64::INFINITY } else { random.f64() * 100.0 };
                set.insert(&bytes(random, 100), score);
            }
            Value::SortedSet(set)
        }
        4 => {
            let mut hash = HashValue::new();
            let ends = random.u8(..3) == 0;
            for _ in 0..count {
                let field = bytes(random, 100);
                hash.insert(&field, &bytes(random, 100));
                if ends && random.bool() {
                    hash.set_deadline(&field, Some(NOW + random.u64(1..1000)));
                }
            }
            Value::Hash(hash)
        }
        _ => {
            let mut stream = StreamValue::new();
            for at in 0..count as u64 {
                let (field, value) = (bytes(random, 50), bytes(random, 50));
                stream.insert(StreamId::new(at / 3 + 1, at % 3), [&field[..], &value[..]].into_iter());
            }
            stream.last_id = StreamId::new(900, 1);
            stream.entries_added = count as u64 + 5;
            let mut group = Group::new(StreamId::new(1, 1), Some(2));
            group.create_consumer(b"c", NOW);
            group.give(StreamId::new(1, 0), b"c", NOW, 3);
            group.note_active(b"c", NOW);
            stream.put_group(b"g", group);
            Value::Stream(Box::new(stream))
        }
    }
}

fn fill(random: &mut fastrand::Rng, keyspace: &Keyspace, keys: usize) {
    for _ in 0..keys {
        let name = format!("key{}", random.u32(..keys as u32 * 2)).into_bytes();
        let deadline = (random.u8(..4) == 0).then(|| NOW + random.u64(1..10_000));
        let value = value(random);
        put(keyspace, random.u32(..3), &name, value, deadline);
    }
}

/// Does something that a client could do.
fn disturb(random: &mut fastrand::Rng, keyspace: &Keyspace, keys: u32) {
    let name = format!("key{}", random.u32(..keys * 2)).into_bytes();
    let (key, database) = (keyspace.key(&name), random.u32(..3));
    match random.u8(..40) {
        0 => drop(keyspace.lock_all(NOW, 0).flush(Some(database))),
        1 if !keyspace.is_in_cluster() => keyspace.lock_all(NOW, 0).swap_databases(0, 1).expect("it fits"),
        2..10 => drop(keyspace.lock_one(NOW, database, key).remove(key)),
        10..15 => drop(keyspace.lock_one(NOW, database, key).set_deadline(key, Some(NOW + 5))),
        15..20 => {
            // A value of another type is not changed.
            let _ = keyspace.lock_one(NOW, database, key).hash_set(key, b"new field", b"value");
        }
        20..25 => {
            let other = keyspace.key(b"key1");
            if other.bytes != key.bytes {
                let mut transaction = keyspace.lock_keys(NOW, database, [key, other].into_iter());
                transaction.move_key((database, key), (database, other)).expect("it fits");
            }
        }
        _ => {
            let value = value(random);
            put(keyspace, database, &name, value, None);
        }
    }
}

/// The first line in which two dumps differ would be lost among all others.
fn assert_same(found: &[String], expected: &[String], seed: u64) {
    for (found, expected) in found.iter().zip(expected) {
        // When a consumer was active is neither in an effect nor in a file that Redis 7.0 reads.
        let without = |line: &String| line.replace(&format!(" active {NOW}"), "");
        let (found, expected) = (&without(found), &without(expected));
        let short = |line: &str| line.chars().take(300).collect::<String>();
        let at = found.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
        let around = |line: &str| line.chars().skip(at.saturating_sub(40)).take(80).collect::<String>();
        assert!(found == expected, "seed {seed}: {}\n{}\n{}", short(found), around(found), around(expected));
    }
    assert_eq!(found.len(), expected.len(), "seed {seed}");
}

#[test]
fn what_is_saved_is_loaded() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let from = keyspace(seed, (seed % 3 == 0).then_some(NodeId(1)));
        fill(&mut random, &from, 300);
        let file = save(cut(&from), || {});
        let to = keyspace(seed + 1, (seed % 2 == 0).then_some(NodeId(2)));
        let loaded = load_bytes(&to, &file, NOW).expect("our own file");
        assert_eq!(loaded.keys as usize, from.dump().len());
        assert_same(&to.dump(), &from.dump(), seed);
    }
}

#[test]
fn a_file_is_the_data_of_one_moment_whatever_clients_do_meanwhile() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let from = keyspace(seed, (seed % 4 == 0).then_some(NodeId(1)));
        fill(&mut random, &from, 300);
        let before = from.dump();
        let cut = cut(&from);
        for _ in 0..random.usize(..200) {
            disturb(&mut random, &from, 300);
        }
        let file = save(cut, || {
            for _ in 0..random.usize(..3) {
                disturb(&mut random, &from, 300);
            }
        });
        let to = keyspace(seed, None);
        load_bytes(&to, &file, NOW).expect("our own file");
        assert_same(&to.dump(), &before, seed);
        assert!(from.dump() != before);
        // Nothing of the cut is left behind.
        assert_eq!(save(self::cut(&from), || {}).len(), save(self::cut(&from), || {}).len());
    }
}

#[test]
fn there_is_one_cut_at_a_time_and_a_dropped_one_leaves_nothing() {
    let keyspace = keyspace(1, None);
    let mut random = fastrand::Rng::with_seed(1);
    fill(&mut random, &keyspace, 100);
    let form = || Arc::new(FileForm { hint: UseHint::None, now: NOW });
    let first = Cut::begin(&keyspace, NOW, form()).expect("the first");
    assert!(Cut::begin(&keyspace, NOW, form()).is_none());
    keyspace.lock_all(NOW, 0).flush(None);
    drop(first);
    let mut second = Cut::begin(&keyspace, NOW, form()).expect("the first has gone");
    assert_eq!(second.next_piece(&mut Vec::new()), Ok(None));
}

#[test]
fn a_cut_fails_rather_than_keep_too_much() {
    let keyspace = keyspace(1, None);
    for at in 0..40u32 {
        put(&keyspace, 0, format!("key{at}").as_bytes(), Value::text(vec![b'x'; 50_000]), None);
    }
    let mut cut = cut(&keyspace);
    for at in 0..40u32 {
        put(&keyspace, 0, format!("key{at}").as_bytes(), Value::text(b"new".to_vec()), None);
    }
    let mut piece = Vec::new();
    let outcome = loop {
        match cut.next_piece(&mut piece) {
            Ok(Some(_)) => piece.clear(),
            other => break other,
        }
    };
    assert_eq!(outcome, Err(CutError::TooManyChanges));
}

/// A small file with something of each type.
fn small_file() -> (Arc<Keyspace>, Vec<u8>) {
    let from = keyspace(1, None);
    let mut random = fastrand::Rng::with_seed(5);
    put(&from, 0, b"text", Value::text(b"hello".to_vec()), Some(NOW + 100));
    put(&from, 2, b"long", Value::text(vec![b'l'; 350]), None);
    for at in 0..12 {
        let value = loop {
            let value = value(&mut random);
            if value.memory() < 400 {
                break value;
            }
        };
        put(&from, at % 2, format!("k{at}").as_bytes(), value, None);
    }
    let file = save(cut(&from), || {});
    (from, file)
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let (from, file) = small_file();
    for length in 0..file.len() {
        assert!(load_bytes(&keyspace(1, None), &file[..length], NOW).is_err(), "{length} of {}", file.len());
    }
    let to = keyspace(1, None);
    load_bytes(&to, &file, NOW).expect("all of it");
    assert_eq!(to.dump(), from.dump());
    let longer = [&file[..], b"x"].concat();
    assert!(load_bytes(&keyspace(1, None), &longer, NOW).is_err());
}

#[test]
fn a_changed_bit_is_found() {
    let (_, file) = small_file();
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            let outcome = load_bytes(&keyspace(1, None), &changed, NOW);
            // One bit of the version makes a file of version 5 to 12 out of another one; the checksum tells.
            assert!(outcome.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn bytes_that_were_never_a_file_are_refused() {
    let mut random = fastrand::Rng::with_seed(9);
    let (_, file) = small_file();
    for _ in 0..3000 {
        let mut noise = file[..random.usize(9..file.len())].to_vec();
        for _ in 0..random.usize(1..20) {
            let at = random.usize(9..noise.len() + 1);
            noise.insert(at, random.u8(..));
        }
        assert!(load_bytes(&keyspace(1, None), &noise, NOW).is_err());
    }
    for version in ["0000", "0013", "9999", "001x", "    "] {
        let header = [b"REDIS", version.as_bytes(), &[255, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let error = load_bytes(&keyspace(1, None), &header, NOW).expect_err("refused");
        assert!(error.contains("no RDB file"), "{error}");
    }
}

fn file(version: u16, body: &[u8]) -> Vec<u8> {
    let mut file = [format!("REDIS{version:04}").as_bytes(), body, &[255]].concat();
    if version >= 5 {
        file.extend_from_slice(&[0; 8]);
    }
    file
}

#[test]
fn what_stands_between_values() {
    let body = [
        &b"\xfa\x03abc\xc0\x07"[..], // something about the file
        b"\xf7\x01\x02\x00\x01\x05\x02\x06\x03abcd\x04abcdefgh\x05\x02hi\x00", // of a module
        b"\xf5\x05hello",            // a library
        b"\xfe\x00\xfb\x05\x02\xf4\x01\x02\x03", // database 0, sizes, slots
        b"\xfd\xff\xff\xff\x7f\x00\x01s\x01v", // until 2038, in seconds
        b"\xfc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01e\x01v", // expired
        b"\xf8\x40\x64\x00\x01i\x01v", // not used for 100 s
        b"\xf9\x63\x00\x01f\x01v",   // used often
        b"\xfe\x03\x00\x01s\xc0\x05", // database 3
        b"\x00\x0a__swytch:x\x01v",
    ]
    .concat();
    let to = keyspace(1, None);
    let loaded = load_bytes(&to, &file(11, &body), NOW).expect("well formed");
    assert_eq!((loaded.keys, loaded.expired, loaded.of_system), (4, 1, 1));
    assert_eq!((loaded.passed_over.libraries, loaded.passed_over.module_data), (1, 1));
    assert_eq!(to.dump(), ["0 f string [v]", "0 i string [v]", "0 s string [v] until 2147483647000", "3 s string [5]"]);
    let facts = |name: &[u8]| to.lock_one(NOW, 0, to.key(name)).facts(to.key(name)).expect("there");
    assert_eq!(facts(b"f").frequency, 99);
    assert!((40_000..=100_000).contains(&facts(b"i").idle), "{}", facts(b"i").idle);
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let cases: [(&[u8], &str); 6] = [
        (b"\x07\x03mod\x81\x00", "the key 'mod' holds a value of a Redis module"),
        (b"\x63\x03key\x00", "the value of the key 'key': the value type 99 is not known"),
        (b"\xfe\x10\x00\x01k\x01v", "--databases is 16"),
        (b"\x00\x01k\x01v\x00\x01k\x01v", "the key 'k' is in it twice"),
        (b"\x01\x01k\x00", "the value of the key 'k': a collection without elements"),
        (b"\xf6", "release candidates"),
    ];
    for (body, text) in cases {
        let error = load_bytes(&keyspace(1, None), &file(9, body), NOW).expect_err("refused");
        assert!(error.contains(text), "{error}");
    }
}

/// Old files have no checksum, and their end is their last byte.
#[test]
fn files_of_old_versions() {
    for version in 1..5 {
        let to = keyspace(1, None);
        load_bytes(&to, &file(version, b"\xfe\x00\x00\x01k\x01v"), NOW).expect("well formed");
        assert_eq!(to.dump(), ["0 k string [v]"]);
    }
}

#[test]
fn only_fields_that_expire_need_redis_7_4() {
    let from = keyspace(1, None);
    put(&from, 0, b"k", Value::text(b"v".to_vec()), None);
    assert!(save(cut(&from), || {}).starts_with(b"REDIS0010"));
    let mut hash = HashValue::new();
    hash.insert(b"f", b"v");
    hash.set_deadline(b"f", Some(NOW + 10));
    put(&from, 0, b"h", Value::Hash(hash), None);
    assert!(save(cut(&from), || {}).starts_with(b"REDIS0012"));
    let key = from.key(b"h");
    from.lock_one(NOW, 0, key).remove(key);
    assert!(save(cut(&from), || {}).starts_with(b"REDIS0010"));
}

#[test]
fn a_node_saves_and_loads() {
    let folder = Folder::new();
    let options = PersistenceOptions { directory: folder.0.clone(), ..PersistenceOptions::default() };
    let persistence = Arc::new(Persistence::new(options.clone(), NOW));
    let from = keyspace(1, None);
    persistence.load(&from, &|| NOW).expect("there is no file, and none is needed");
    put(&from, 0, b"k", Value::text(b"v".to_vec()), None);
    persistence.begin(&from, NOW, UseHint::None).expect("nothing else goes on");
    persistence.decide_end(true);
    persistence.end(&from, NOW + 5000, UseHint::None).expect("saved");
    let report = persistence.report();
    assert!(report.last_ok && report.running_seconds.is_none() && report.saves >= 1);
    assert_eq!(report.changes_saved, from.changes());
    assert!((NOW + 5000..NOW + 60_000).contains(&report.last_save));

    let to = keyspace(1, None);
    let persistence = Arc::new(Persistence::new(options.clone(), NOW));
    persistence.load(&to, &|| NOW).expect("our own file");
    assert_eq!(to.dump(), from.dump());
    assert_eq!(persistence.report().loaded.keys, 1);

    std::fs::write(folder.0.join("dump.rdb"), b"REDIS0010\xff12345678").expect("a file");
    let damaged = Arc::new(Persistence::new(options, NOW));
    let error = damaged.load(&keyspace(1, None), &|| NOW).expect_err("damaged").to_string();
    assert!(
        error.contains("dump.rdb: it is damaged: its checksum is wrong") && error.contains("move it away"),
        "{error}"
    );
    // A part of the data is never saved over the file.
    damaged.decide_end(true);
    assert_eq!(damaged.begin(&to, NOW, UseHint::None), Err(Refused::Loading));
    damaged.end(&to, NOW, UseHint::None).expect("nothing to do");
    assert_eq!(std::fs::read(folder.0.join("dump.rdb")).expect("a file").len(), 18);
}

#[test]
fn a_save_that_fails_leaves_the_file_as_it_was_and_says_why() {
    let folder = Folder::new();
    let options = PersistenceOptions { directory: folder.0.join("gone"), ..PersistenceOptions::default() };
    let persistence = Arc::new(Persistence::new(options, NOW));
    persistence.decide_end(true);
    let error = persistence.end(&keyspace(1, None), NOW, UseHint::None).expect_err("there is no such directory");
    assert!(error.starts_with("cannot create ") && error.contains("gone/temp-"), "{error}");
    let report = persistence.report();
    assert_eq!((report.last_ok, report.saves, report.last_save), (false, 0, NOW));
}

#[test]
fn a_node_saves_by_itself_when_enough_has_changed() {
    let folder = Folder::new();
    let options = PersistenceOptions {
        directory: folder.0.clone(),
        save_points: SavePoints::parse(b"10 2").expect("valid"),
        ..PersistenceOptions::default()
    };
    let persistence = Arc::new(Persistence::new(options, NOW));
    let from = keyspace(1, None);
    let saves = |at: Millis| {
        persistence.keep_up(&from, at, UseHint::None);
        persistence.wait();
        persistence.report().saves
    };
    put(&from, 0, b"k", Value::text(b"v".to_vec()), None);
    assert_eq!(saves(NOW + 11_000), 0, "one change");
    put(&from, 0, b"l", Value::text(b"v".to_vec()), None);
    assert_eq!(saves(NOW + 10_000), 0, "too early");
    assert_eq!(saves(NOW + 11_000), 1);
    assert_eq!(saves(NOW + 100_000), 1, "nothing has changed since");
    persistence.begin_soon();
    assert_eq!(saves(NOW + 100_001), 2, "somebody wanted it");
    assert_eq!(saves(NOW + 100_002), 2);
}
