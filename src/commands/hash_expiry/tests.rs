//! Times to live of fields, with a clock that the tests set. What the commands refuse is recorded in
//! `ci/replies/hash_expiry.txt`.

use crate::commands::testing::Fixture;
use crate::rdb::{HashField, RdbValue, dump_payload, load_payload};

/// A node alone, and a node of a cluster.
fn fixtures() -> [Fixture; 2] {
    [Fixture::new(), Fixture::in_a_cluster()]
}

#[test]
fn fields_live_as_long_as_they_are_told() {
    for mut fixture in fixtures() {
        fixture.expect(&[
            ("hset h a 1 b 2 c 3", ":3\r\n"),
            ("hexpire h 10 fields 2 a nosuch", "*2\r\n:1\r\n:-2\r\n"),
            ("httl h fields 3 a b nosuch", "*3\r\n:10\r\n:-1\r\n:-2\r\n"),
            ("hpttl h fields 1 a", "*1\r\n:10000\r\n"),
            ("hexpiretime h fields 1 a", "*1\r\n:1700000010\r\n"),
            ("hpexpiretime h fields 1 a", "*1\r\n:1700000010000\r\n"),
            ("hpexpireat h 1700000000001 fields 1 b", "*1\r\n:1\r\n"),
            ("httl h fields 1 b", "*1\r\n:1\r\n"),
            ("hexpiretime h fields 1 b", "*1\r\n:1700000001\r\n"),
            ("object encoding h", "$10\r\nlistpackex\r\n"),
        ]);
        fixture.now += 1;
        fixture.expect(&[
            ("hlen h", ":2\r\n"),
            ("httl h fields 2 a b", "*2\r\n:10\r\n:-2\r\n"),
            ("hpexpire h 5 fields 1 b", "*1\r\n:-2\r\n"),
            ("hpersist h fields 4 a a b c", "*4\r\n:1\r\n:-1\r\n:-2\r\n:-1\r\n"),
            ("hexpireat h 1700000000 fields 1 a", "*1\r\n:2\r\n"),
            ("hgetall h", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("hexpire h 0 fields 2 c c", "*2\r\n:2\r\n:-2\r\n"),
            ("exists h", ":0\r\n"),
        ]);
    }
}

#[test]
fn conditions() {
    for mut fixture in fixtures() {
        fixture.expect(&[
            ("hset h f v", ":1\r\n"),
            ("hexpire h 10 gt fields 1 f", "*1\r\n:0\r\n"),
            ("hexpire h 10 xx fields 1 f", "*1\r\n:0\r\n"),
            ("hexpire h 10 LT fields 1 f", "*1\r\n:1\r\n"),
            ("hexpire h 9 NX fields 1 f", "*1\r\n:0\r\n"),
            ("hexpire h 10 GT fields 1 f", "*1\r\n:0\r\n"),
            ("hexpire h 10 LT fields 1 f", "*1\r\n:0\r\n"),
            ("hexpire h 11 GT fields 1 f", "*1\r\n:1\r\n"),
            ("hexpire h 7 XX FIELDS 1 f", "*1\r\n:1\r\n"),
            // A condition that does not hold keeps the field also from a time that is over.
            ("hexpire h 0 nx fields 1 f", "*1\r\n:0\r\n"),
            ("hpersist h fields 1 f", "*1\r\n:1\r\n"),
            ("hexpire h 10 nx fields 1 f", "*1\r\n:1\r\n"),
            ("httl h fields 1 f", "*1\r\n:10\r\n"),
        ]);
    }
}

#[test]
fn what_has_ended_is_hidden_from_every_command() {
    for mut fixture in fixtures() {
        fixture.expect(&[
            ("hset h a 1 b 2", ":2\r\n"),
            ("hpexpire h 5 fields 1 a", "*1\r\n:1\r\n"),
            ("rpush l h", ":1\r\n"),
        ]);
        fixture.now += 5;
        fixture.expect(&[
            ("hget h a", "$-1\r\n"),
            ("hmget h a b", "*2\r\n$-1\r\n$1\r\n2\r\n"),
            ("hgetall h", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            ("hkeys h", "*1\r\n$1\r\nb\r\n"),
            ("hvals h", "*1\r\n$1\r\n2\r\n"),
            ("hlen h", ":1\r\n"),
            ("hexists h a", ":0\r\n"),
            ("hstrlen h a", ":0\r\n"),
            ("hrandfield h", "$1\r\nb\r\n"),
            ("hrandfield h 5", "*1\r\n$1\r\nb\r\n"),
            ("hrandfield h -2", "*2\r\n$1\r\nb\r\n$1\r\nb\r\n"),
            ("hscan h 0", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            ("sort l by *->a get *->a get *->b", "*2\r\n$-1\r\n$1\r\n2\r\n"),
            ("hdel h a", ":0\r\n"),
            ("hgetdel h fields 1 a", "*1\r\n$-1\r\n"),
            ("hgetex h persist fields 1 a", "*1\r\n$-1\r\n"),
            ("hsetex h fxx fields 1 a 9", ":0\r\n"),
            ("copy h i", ":1\r\n"),
            ("rename i j", "+OK\r\n"),
            ("hgetall j", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            // What is written there begins anew.
            ("hsetnx h a 7", ":1\r\n"),
            ("httl h fields 1 a", "*1\r\n:-1\r\n"),
            ("hpexpire h 5 fields 1 a", "*1\r\n:1\r\n"),
        ]);
        fixture.now += 5;
        fixture.expect(&[
            ("hincrby h a 5", ":5\r\n"),
            ("httl h fields 1 a", "*1\r\n:-1\r\n"),
            ("hpexpire h 5 fields 1 a", "*1\r\n:1\r\n"),
        ]);
        fixture.now += 5;
        fixture.expect(&[
            ("hincrbyfloat h a 0.5", "$3\r\n0.5\r\n"),
            ("httl h fields 1 a", "*1\r\n:-1\r\n"),
            ("hpexpire h 5 fields 1 a", "*1\r\n:1\r\n"),
        ]);
        fixture.now += 5;
        fixture.expect(&[("hset h a 1", ":1\r\n"), ("httl h fields 1 a", "*1\r\n:-1\r\n")]);
    }
}

#[test]
fn a_hash_whose_last_field_has_ended_is_gone() {
    for mut fixture in fixtures() {
        let build = |fixture: &mut Fixture| {
            fixture.expect(&[
                ("hset h a 1 b 2", ":2\r\n"),
                ("expire h 1000", ":1\r\n"),
                ("hpexpire h 5 fields 2 a b", "*2\r\n:1\r\n:1\r\n"),
            ]);
            fixture.now += 5;
        };
        build(&mut fixture);
        fixture.expect(&[
            ("exists h", ":0\r\n"),
            ("type h", "+none\r\n"),
            ("ttl h", ":-2\r\n"),
            ("keys *", "*0\r\n"),
            ("scan 0 count 5000", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("randomkey", "$-1\r\n"),
            ("dump h", "$-1\r\n"),
            ("object encoding h", "$-1\r\n"),
            ("copy h i", ":0\r\n"),
            ("rename h i", "-ERR no such key\r\n"),
            ("persist h", ":0\r\n"),
            ("hgetall h", "*0\r\n"),
            ("del h", ":0\r\n"),
            // Another type may have the name, and nothing of the former life stays.
            ("sadd h m", ":1\r\n"),
            ("ttl h", ":-1\r\n"),
            ("del h", ":1\r\n"),
        ]);
        build(&mut fixture);
        fixture.expect(&[("hset h c 3", ":1\r\n"), ("ttl h", ":-1\r\n"), ("hlen h", ":1\r\n"), ("del h", ":1\r\n")]);
        build(&mut fixture);
        fixture.expect(&[("hincrby h a 3", ":3\r\n"), ("ttl h", ":-1\r\n"), ("hlen h", ":1\r\n"), ("del h", ":1\r\n")]);
        // The last field that has not ended takes those that have with it.
        fixture.expect(&[("hset h a 1 b 2", ":2\r\n"), ("hpexpire h 5 fields 1 a", "*1\r\n:1\r\n")]);
        fixture.now += 5;
        fixture.expect(&[("hdel h b", ":1\r\n"), ("exists h", ":0\r\n"), ("dbsize", ":0\r\n")]);
    }
}

#[test]
fn background_work_removes_what_has_ended_a_part_at_a_time() {
    for mut fixture in fixtures() {
        for number in 0..1500 {
            fixture.run(&format!("hsetex h px {} fields 1 {number} x", 1 + number % 2));
        }
        fixture.expect(&[("hset h stays 1", ":1\r\n"), ("hlen h", ":1501\r\n")]);
        let keyspace = fixture.state.keyspace.clone();
        let turn = |now| {
            keyspace.upkeep(now, crate::keyspace::Keyspace::SHARDS);
            let line = keyspace.dump().pop().expect("the hash");
            line.matches("=x").count()
        };
        assert_eq!(turn(fixture.now), 1500);
        assert_eq!(turn(fixture.now + 1), 750);
        assert_eq!(turn(fixture.now + 1), 750);
        assert_eq!(turn(fixture.now + 2), 0);
        fixture.now += 2;
        fixture.expect(&[
            ("hgetall h", "*2\r\n$5\r\nstays\r\n$1\r\n1\r\n"),
            ("hpexpire h 1 fields 1 stays", "*1\r\n:1\r\n"),
        ]);
        keyspace.upkeep(fixture.now + 1, crate::keyspace::Keyspace::SHARDS);
        assert!(keyspace.dump().is_empty());
        // More than go in one turn.
        for number in 0..1500 {
            fixture.run(&format!("hsetex h px 1 fields 1 {number} x"));
        }
        fixture.run("hset h stays 1");
        assert_eq!((turn(fixture.now + 1), turn(fixture.now + 1)), (500, 0));
    }
}

#[test]
fn values_and_lives_together() {
    for mut fixture in fixtures() {
        fixture.expect(&[
            ("hsetex h ex 10 fields 2 a 1 b 2", ":1\r\n"),
            ("httl h fields 2 a b", "*2\r\n:10\r\n:10\r\n"),
            ("hsetex h FNX fields 2 b 3 c 3", ":0\r\n"),
            ("hsetex h fxx KEEPTTL fields 2 a 11 b 22", ":1\r\n"),
            ("hmget h a b", "*2\r\n$2\r\n11\r\n$2\r\n22\r\n"),
            ("httl h fields 2 a b", "*2\r\n:10\r\n:10\r\n"),
            ("hsetex h keepttl fnx fields 1 c 3", ":1\r\n"),
            ("httl h fields 1 c", "*1\r\n:-1\r\n"),
            ("hsetex h fields 1 a 12", ":1\r\n"),
            ("httl h fields 1 a", "*1\r\n:-1\r\n"),
            ("hset h b 23", ":0\r\n"),
            ("httl h fields 1 b", "*1\r\n:-1\r\n"),
            ("hgetex h px 1500 fields 3 a nosuch a", "*3\r\n$2\r\n12\r\n$-1\r\n$2\r\n12\r\n"),
            ("hpttl h fields 1 a", "*1\r\n:1500\r\n"),
            ("hincrby h a 1", ":13\r\n"),
            ("hincrbyfloat h a 0.5", "$4\r\n13.5\r\n"),
            ("hgetex h fields 1 a", "*1\r\n$4\r\n13.5\r\n"),
            ("hpttl h fields 1 a", "*1\r\n:1500\r\n"),
            ("hgetex h persist fields 1 a", "*1\r\n$4\r\n13.5\r\n"),
            ("httl h fields 1 a", "*1\r\n:-1\r\n"),
            ("hgetex h exat 1 fields 2 a a", "*2\r\n$4\r\n13.5\r\n$-1\r\n"),
            ("hsetex h pxat 1 fields 2 b 1 d 4", ":1\r\n"),
            ("hgetall h", "*2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("hgetdel h fields 2 c c", "*2\r\n$1\r\n3\r\n$-1\r\n"),
            ("exists h", ":0\r\n"),
            ("hsetex h pxat 1 fields 1 d 4", ":1\r\n"),
            ("exists h", ":0\r\n"),
        ]);
    }
}

#[test]
fn copies_and_payloads_keep_the_lives_of_fields() {
    for mut fixture in fixtures() {
        fixture.expect(&[
            ("hset h a 1 b 2", ":2\r\n"),
            ("hpexpire h 7000 fields 1 a", "*1\r\n:1\r\n"),
            ("copy h i", ":1\r\n"),
            ("rename i j", "+OK\r\n"),
            ("hpttl j fields 2 a b", "*2\r\n:7000\r\n:-1\r\n"),
            ("swapdb 0 1", "+OK\r\n"),
            ("select 1", "+OK\r\n"),
            ("hpttl h fields 2 a b", "*2\r\n:7000\r\n:-1\r\n"),
        ]);
        let field = |field: &str, value: &str, expires_at| HashField {
            field: field.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            expires_at,
        };
        let dumped = |fixture: &Fixture, name: &[u8]| {
            let key = fixture.state.keyspace.key(name);
            let mut transaction = fixture.state.keyspace.lock_one(fixture.now, 1, key);
            transaction.value(key).map(|value| crate::persistence::to_rdb(&value, fixture.now))
        };
        let both = RdbValue::Hash(vec![field("a", "1", Some(fixture.now + 7000)), field("b", "2", None)]);
        assert_eq!(dumped(&fixture, b"h"), Some(both.clone()));
        let payload = dump_payload(&both);
        assert_eq!(load_payload(&payload), Ok(both));
        assert_eq!(fixture.run_words(&[b"restore", b"r", b"0", &payload]), "+OK\r\n");
        fixture.expect(&[("hpttl r fields 2 a b", "*2\r\n:7000\r\n:-1\r\n")]);
        fixture.now += 7000;
        assert_eq!(dumped(&fixture, b"h"), Some(RdbValue::Hash(vec![field("b", "2", None)])));
        fixture.expect(&[("hgetall r", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n")]);
        // Of a payload whose fields have all ended nothing is made.
        let over = dump_payload(&RdbValue::Hash(vec![field("a", "1", Some(fixture.now))]));
        assert_eq!(fixture.run_words(&[b"restore", b"r", b"0", &over, b"replace"]), "+OK\r\n");
        fixture.expect(&[("exists r", ":0\r\n"), ("dbsize", ":2\r\n")]);
    }
}

#[test]
fn encodings() {
    let mut fixture = Fixture::new();
    fixture.expect(&[
        ("hset h a 1", ":1\r\n"),
        ("object encoding h", "$8\r\nlistpack\r\n"),
        ("hexpire h 10 fields 1 a", "*1\r\n:1\r\n"),
        ("object encoding h", "$10\r\nlistpackex\r\n"),
        ("hpersist h fields 1 a", "*1\r\n:1\r\n"),
        ("object encoding h", "$10\r\nlistpackex\r\n"),
    ]);
    fixture.run(&format!("hset h long {}", "x".repeat(100)));
    fixture.expect(&[
        ("object encoding h", "$9\r\nhashtable\r\n"),
        ("hexpire h 10 fields 1 a", "*1\r\n:1\r\n"),
        ("httl h fields 2 a long", "*2\r\n:10\r\n:-1\r\n"),
        ("object encoding h", "$9\r\nhashtable\r\n"),
    ]);
}
