//! Keyspace notifications: what a subscriber hears of commands, of peers, and of keys that end by themselves.

use std::sync::Arc;

use bytes::Bytes;

use super::testing::Fixture;
use crate::effects::{Frontier, NodeId};
use crate::pubsub::{Delivery, Subscriber, Topic};

/// One who listens to all events of a node, in channels named after the events.
struct Ear(Arc<Subscriber>);

impl Ear {
    fn at(fixture: &mut Fixture, classes: &str) -> Ear {
        fixture.expect(&[(&format!("config set notify-keyspace-events {classes}"), "+OK\r\n")]);
        let subscriber = Subscriber::new(1, Box::new(|| {}));
        fixture.state.channels.subscribe(Topic::Pattern, &Bytes::from_static(b"__key*__:*"), &subscriber);
        Ear(subscriber)
    }

    /// What came since the last time: `event:key`, in other databases than the first with its number.
    fn heard(&self) -> String {
        let mut heard = Vec::new();
        while let Some(delivery) = self.0.take() {
            let Delivery::Message { message, .. } = delivery else { panic!("nobody reads along") };
            let channel = String::from_utf8_lossy(&message.channel).into_owned();
            let payload = String::from_utf8_lossy(&message.payload);
            let event = channel.trim_start_matches("__keyevent@0__:").trim_start_matches("__keyevent@");
            heard.push(format!("{event}:{payload}"));
        }
        heard.join(" ")
    }
}

#[track_caller]
fn check(fixture: &mut Fixture, ear: &Ear, expected: &[(&str, &str)]) {
    for (request, events) in expected {
        fixture.run(request);
        assert_eq!(ear.heard(), *events, "{request}");
    }
}

/// What differs in nothing between a node alone and one of a cluster.
const LOCAL: &[(&str, &str)] = &[
    ("get a", "keymiss:a"),
    ("rpush other x", "new:other rpush:other"),
    ("mget a other", "keymiss:a"),
    ("set a 1", "new:a set:a"),
    ("set a 1 ex 100", "set:a expire:a"),
    ("setnx a 1", ""),
    ("getex a persist", "persist:a"),
    ("getdel a", "del:a"),
    ("mset a 1 b 2 a 3", "new:a set:a new:b set:b set:a"),
    ("incrby a 3", "incrby:a"),
    ("append s \"\"", "new:s append:s"),
    ("bitop not a nosuch", "keymiss:nosuch del:a"),
    ("bitfield bf get u8 0", "keymiss:bf"),
    ("bitfield bf overflow fail incrby u2 9 4", "new:bf"),
    ("bitfield bf set u8 0 3 incrby u8 0 5", "setbit:bf"),
    ("bitfield bf set u8 0 8 incrby u8 0 0", ""),
    ("bitfield bf set u8 200 0", "setbit:bf"),
    ("setbit bits 3 0", "new:bits setbit:bits"),
    ("setbit bits 3 0", ""),
    ("setbit bits 3 1", "setbit:bits"),
    ("setbit bits 100 0", "setbit:bits"),
    ("pfadd h a", "new:h pfadd:h"),
    ("pfadd h a", ""),
    ("pfmerge h2 h nosuch", "keymiss:h2 keymiss:nosuch new:h2 pfadd:h2"),
    ("hset ha f v g w", "new:ha hset:ha"),
    ("hincrby ha n 1", "hincrby:ha"),
    ("hdel ha f", "hdel:ha"),
    ("hdel ha f", ""),
    ("hdel ha g n", "hdel:ha del:ha"),
    ("sadd st a b", "new:st sadd:st"),
    ("sadd st a", ""),
    ("smove st st2 a", "srem:st new:st2 sadd:st2"),
    ("smove st st2 b", "srem:st del:st sadd:st2"),
    ("sunionstore so st2", "new:so sunionstore:so"),
    ("sinterstore so st2", "sinterstore:so"),
    ("sdiffstore so st2 st2", "del:so"),
    ("spop st2 5", "spop:st2 del:st2"),
    ("rpush l a b c", "new:l rpush:l"),
    ("lpop l", "lpop:l"),
    ("lpop nosuch", ""),
    ("rpoplpush l m", "new:m lpush:m rpop:l"),
    ("lmove l m left right", "rpush:m lpop:l del:l"),
    ("lmove m m left left", "lpush:m lpop:m"),
    ("ltrim m 5 6", "ltrim:m del:m"),
    ("zadd z 1 a 2 b 3 c", "new:z zadd:z"),
    ("zadd z 1 a", ""),
    ("zincrby z 1 a", "zincr:z"),
    ("zpopmin z", "zpopmin:z"),
    ("zremrangebyrank z 0 0", "zremrangebyrank:z"),
    ("zunionstore zd 2 z nosuch", "keymiss:nosuch new:zd zunionstore:zd"),
    ("zrangestore zd z 5 6", "del:zd"),
    ("zrem z c b a", "zrem:z del:z"),
    ("xadd x maxlen 1 1-1 f v", "new:x xadd:x"),
    ("xadd x maxlen 1 1-2 f v", "xadd:x xtrim:x"),
    ("xgroup create x2 g 0 mkstream", "new:x2 xgroup-create:x2"),
    ("xgroup create x g 0", "xgroup-create:x"),
    ("xreadgroup group g c streams x >", "xgroup-createconsumer:x"),
    ("xgroup delconsumer x g c", "xgroup-delconsumer:x"),
    ("xdel x 1-2", "xdel:x"),
    ("set a 1", "new:a set:a"),
    ("set b 1", "set:b"),
    ("rename a b", "new:b rename_from:a rename_to:b"),
    ("copy b c", "new:c copy_to:c"),
    ("copy b c replace", "new:c copy_to:c"),
    ("move c 1", "1__:new:c move_from:c 1__:move_to:c"),
    ("expire b 100", "expire:b"),
    ("expire b -1", "del:b"),
    ("rpush l 2 1", "new:l rpush:l"),
    ("sort l store sorted", "new:sorted sortstore:sorted"),
    ("sort l store sorted", "sortstore:sorted"),
    ("del l nosuch sorted", "del:l del:sorted"),
    // Of later versions, by their documentation.
    ("hset ha f v g w h x", "new:ha hset:ha"),
    ("hexpire ha 100 fields 1 f", "hexpire:ha"),
    ("hpersist ha fields 1 f", "hpersist:ha"),
    ("hexpire ha 0 fields 1 f", "hdel:ha"),
    ("hgetex ha ex 100 fields 1 g", "hexpire:ha"),
    ("hsetex ha ex 100 fields 1 f v", "hset:ha hexpire:ha"),
    ("hgetdel ha fields 3 f g h", "hdel:ha del:ha"),
    ("flushall", ""),
];

#[test]
fn commands_are_announced_as_in_redis() {
    for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        let ear = Ear::at(&mut fixture, "EAmn");
        check(&mut fixture, &ear, LOCAL);
    }
}

#[test]
fn only_what_is_wanted_is_announced_in_the_wanted_forms() {
    let mut fixture = Fixture::new();
    let ear = Ear::at(&mut fixture, "KEl");
    let both = "__keyspace@0__:l:rpush rpush:l";
    check(&mut fixture, &ear, &[("rpush l a", both), ("set a 1", ""), ("lpop l", "__keyspace@0__:l:lpop lpop:l")]);
    fixture.run("config set notify-keyspace-events \"\"");
    check(&mut fixture, &ear, &[("rpush l a", ""), ("get nosuch", "")]);
    fixture.expect(&[
        (
            "config set notify-keyspace-events KEQ",
            "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class \
             character. Use 'Ag$lshzxeKEtmdn'.\r\n",
        ),
        ("config set notify-keyspace-events KEA", "+OK\r\n"),
        ("config get notify-keyspace-events", "*2\r\n$22\r\nnotify-keyspace-events\r\n$3\r\nAKE\r\n"),
    ]);
}

#[test]
fn commands_of_a_transaction_are_announced_in_their_order() {
    let mut fixture = Fixture::in_a_cluster();
    let ear = Ear::at(&mut fixture, "EA");
    let queued = ["multi", "set a 1", "publish __keyevent@0__:between x", "rpush l 1", "lpop l"];
    check(&mut fixture, &ear, &queued.map(|request| (request, "")));
    check(&mut fixture, &ear, &[("exec", "set:a between:x rpush:l lpop:l del:l")]);
}

#[test]
fn ends_are_announced_when_keys_are_removed() {
    let mut fixture = Fixture::new();
    let ear = Ear::at(&mut fixture, "EAn");
    check(
        &mut fixture,
        &ear,
        &[
            ("set a 1 px 10", "new:a set:a expire:a"),
            ("set b 1 px 10", "new:b set:b expire:b"),
            ("set c 1 px 10", "new:c set:c expire:c"),
            ("set past 1 exat 1", "set:past expire:past expired:past"),
            ("hsetex h px 10 fields 1 f v", "new:h hset:h hexpire:h"),
            ("hsetex g px 10 fields 1 f v", "new:g hset:g hexpire:g"),
            ("hset g other v", "hset:g"),
        ],
    );
    fixture.now += 20;
    // By whoever writes there next, or by nobody.
    check(&mut fixture, &ear, &[("set a 2", "expired:a new:a set:a"), ("del b", "expired:b")]);
    fixture.state.keyspace.upkeep(fixture.now, crate::keyspace::Keyspace::SHARDS);
    let mut heard: Vec<String> = ear.heard().split(' ').map(str::to_owned).collect();
    heard.sort();
    assert_eq!(heard, ["del:h", "expired:c", "hexpired:g", "hexpired:h"]);
    fixture.state.keyspace.set_memory_limit(1);
    while fixture.state.keyspace.memory() > 1 && fixture.state.keyspace.make_room(fixture.now) {}
    let mut heard: Vec<String> = ear.heard().split(' ').map(str::to_owned).collect();
    heard.sort();
    assert_eq!(heard, ["evicted:a", "evicted:g"]);
}

/// What other nodes are told of a command here, by the events of its effect.
const REMOTE: &[(&str, &str)] = &[
    ("set a 1", "new:a set:a"),
    ("set a 1 ex 100", "set:a expire:a"),
    ("persist a", "persist:a"),
    ("get a", ""),
    ("del a", "del:a"),
    ("hincrby h f 1", "new:h hincrby:h"),
    ("hincrby h g 1", "hincrby:h"),
    ("hset h f v i w", "hset:h"),
    ("hdel h f g i", "hdel:h del:h"),
    ("sadd s a b", "new:s sadd:s"),
    ("spop s 5", "del:s"),
    ("rpush l a b c", "new:l rpush:l"),
    ("lpop l", "lrem:l"),
    ("rename l m", "del:l new:m rpush:m"),
    ("zadd z 1 a", "new:z zadd:z"),
    ("zincrby z 1 a", "zincr:z"),
    ("zunionstore z 1 z", "zadd:z"),
    ("xadd x 1-1 f v", "new:x xadd:x"),
    ("expire z 100", "expire:z"),
    ("move z 1", "del:z 1__:new:z 1__:zadd:z 1__:expire:z"),
    ("flushall", ""),
];

#[test]
fn effects_of_peers_are_announced_to_the_subscribers_of_each_node() {
    let mut origin = Fixture::in_a_cluster();
    let mut other = Fixture::of_node(NodeId(8));
    let (near, far) = (Ear::at(&mut origin, "EAn"), Ear::at(&mut other, "EAn"));
    for (request, events) in REMOTE {
        origin.run(request);
        near.heard();
        for effect in origin.state.keyspace.drain_effects() {
            let seen: Frontier = [(NodeId(7), effect.dot.seq - 1)].into_iter().collect();
            other.state.keyspace.apply(&effect, &seen, other.now);
        }
        assert_eq!(far.heard(), *events, "{request}");
    }
    assert_eq!(near.heard(), "", "nothing of it comes back");
}

#[test]
fn what_ended_at_a_peer_is_told_apart_from_what_was_removed() {
    let mut origin = Fixture::in_a_cluster();
    let mut other = Fixture::of_node(NodeId(8));
    let far = Ear::at(&mut other, "EAn");
    origin.run("set a 1 px 10");
    let system = origin.state.keyspace.key(b"__swytch:own");
    let mut transaction = origin.state.keyspace.lock_one(origin.now, 0, system);
    assert!(transaction.hash_set(system, b"f", b"v").expect("a hash"));
    transaction.commit();
    let send = |origin: &Fixture| {
        for effect in origin.state.keyspace.drain_effects() {
            let seen: Frontier = [(NodeId(7), effect.dot.seq - 1)].into_iter().collect();
            other.state.keyspace.apply(&effect, &seen, origin.now);
        }
    };
    send(&origin);
    origin.now += 20;
    origin.state.keyspace.upkeep(origin.now, crate::keyspace::Keyspace::SHARDS);
    send(&origin);
    assert_eq!(far.heard(), "new:a set:a expire:a expired:a");
}
