//! What clients see of transactions, and what a node makes of them.

use crate::commands::spec::Flags;
use crate::commands::testing::Fixture;
use crate::commands::{Connected, Flow, Session, table};
use crate::effects::{Action, Operation};

const QUEUED: &str = "+QUEUED\r\n";
const DISCARDED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

#[test]
fn commands_run_together() {
    let mut fixture = Fixture::new();
    fixture.expect(&[
        ("exec", "-ERR EXEC without MULTI\r\n"),
        ("discard", "-ERR DISCARD without MULTI\r\n"),
        ("multi", "+OK\r\n"),
        ("exec", "*0\r\n"),
        ("multi", "+OK\r\n"),
        ("multi", "-ERR MULTI calls can not be nested\r\n"),
        ("watch a", "-ERR WATCH inside MULTI is not allowed\r\n"),
        ("incr a", QUEUED),
        ("lpush a 1", QUEUED),
        ("unwatch", QUEUED),
        ("select 1", QUEUED),
        ("set b \"\"", QUEUED),
        ("get a", QUEUED),
        ("exec", "*6\r\n:1\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n+OK\r\n+OK\r\n+OK\r\n$-1\r\n"),
        ("get b", "$0\r\n\r\n"),
        ("select 0", "+OK\r\n"),
        ("get a", "$1\r\n1\r\n"),
        ("multi", "+OK\r\n"),
        ("set a 2", QUEUED),
        ("discard", "+OK\r\n"),
        ("get a", "$1\r\n1\r\n"),
        ("hello 3", &fixture_hello()),
        ("multi", "+OK\r\n"),
        ("get nosuch", QUEUED),
        ("hgetall nosuch", QUEUED),
        ("exec", "*2\r\n_\r\n%0\r\n"),
    ]);
}

fn fixture_hello() -> String {
    Fixture::new().run("hello 3")
}

#[test]
fn a_refused_request_discards_the_rest() {
    let mut fixture = Fixture::new();
    for (request, refused) in [
        ("get", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("foo x", "-ERR unknown command 'foo', with args beginning with: 'x' \r\n"),
        ("client foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP.\r\n"),
        ("discard x", "-ERR wrong number of arguments for 'discard' command\r\n"),
    ] {
        fixture.expect(&[
            ("multi", "+OK\r\n"),
            ("set k v", QUEUED),
            (request, refused),
            ("exec", DISCARDED),
            ("exec", "-ERR EXEC without MULTI\r\n"),
        ]);
    }
    let wrong = "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n";
    fixture.expect(&[
        ("exec 1", wrong),
        ("multi", "+OK\r\n"),
        ("exec 1", wrong),
        ("exec", "-ERR EXEC without MULTI\r\n"),
        ("get k", "$-1\r\n"),
    ]);
}

#[test]
fn some_commands_are_not_queued() {
    let mut fixture = Fixture::new();
    fixture.expect(&[
        ("watch k", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("reset", "+RESET\r\n"),
        ("exec", "-ERR EXEC without MULTI\r\n"),
        ("multi", "+OK\r\n"),
    ]);
    assert!(fixture.run("client info").starts_with("+QUEUED"));
    assert_eq!(fixture.run_flow(&[b"quit"]), ("+OK\r\n".to_string(), Flow::Close));
}

#[test]
fn nobody_waits_within() {
    let mut fixture = Fixture::new();
    let waiting = [
        ("blpop l 0", "*-1\r\n"),
        ("blmove l m left left 0", "$-1\r\n"),
        ("blmpop 0 1 l left", "*-1\r\n"),
        ("bzpopmin z 0", "*-1\r\n"),
        ("bzmpop 0 1 z min", "*-1\r\n"),
        ("wait 1 0", ":0\r\n"),
        ("xread block 0 streams s 0", "*-1\r\n"),
        ("xgroup create s g 0 mkstream", "+OK\r\n"),
        ("xreadgroup group g c block 0 streams s >", "*-1\r\n"),
        ("xread block 0 streams s $", "*-1\r\n"),
        ("blpop l x", "-ERR timeout is not a float or out of range\r\n"),
        ("rpush l a", ":1\r\n"),
        ("blpop l 0", "*2\r\n$1\r\nl\r\n$1\r\na\r\n"),
    ];
    fixture.run("multi");
    let mut expected = format!("*{}\r\n", waiting.len());
    for (request, reply) in waiting {
        assert_eq!(fixture.run(request), QUEUED);
        expected.push_str(reply);
    }
    assert_eq!(fixture.run("exec"), expected);
    assert!(!fixture.session.is_blocked());
}

#[test]
fn what_works_on_all_keys_works_within() {
    for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        fixture.run("mset a 1 b 2 w_1 3 w_2 2");
        let within = [
            ("dbsize", ":4\r\n"),
            ("rpush l 1 2", ":2\r\n"),
            ("sort l by w_*", "*2\r\n$1\r\n2\r\n$1\r\n1\r\n"),
            ("sort l by w_* store s", ":2\r\n"),
            ("keys l", "*1\r\n$1\r\nl\r\n"),
            ("scan 0 match s", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\ns\r\n"),
            ("swapdb 0 1", "+OK\r\n"),
            ("randomkey", "$-1\r\n"),
            ("scan 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("select 1", "+OK\r\n"),
            ("flushdb", "+OK\r\n"),
            ("set x y", "+OK\r\n"),
            ("randomkey", "$1\r\nx\r\n"),
            ("info nosuch", "$0\r\n\r\n"),
            ("flushall", "+OK\r\n"),
            ("dbsize", ":0\r\n"),
        ];
        fixture.run("multi");
        let mut expected = format!("*{}\r\n", within.len());
        for (request, reply) in within {
            assert_eq!(fixture.run(request), QUEUED);
            expected.push_str(reply);
        }
        assert_eq!(fixture.run("exec"), expected);
        fixture.run("multi");
        fixture.run("info");
        fixture.run("memory stats");
        assert!(fixture.run("exec").starts_with("*2\r\n$"));
    }
}

/// EXEC learns from the table alone which locks it needs.
#[test]
fn the_table_tells_what_a_command_locks() {
    let all = table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
    for entry in all {
        let flags = entry.command.flags;
        let data = flags.has(Flags::WRITE) || flags.has(Flags::READONLY);
        let known = !entry.command.keys.is_empty() || flags.has(Flags::EVERYTHING) || flags.has(Flags::ALONE);
        // It is marked as a read, and draws.
        let known = known || entry.command.name == "lolwut";
        assert!(known || !data || !entry.subcommands.is_empty(), "{}", entry.full_name);
    }
}

/// Every command with too few, too many and senseless words: none may want a lock that EXEC did not take.
#[test]
fn no_command_asks_for_more_locks() {
    let mut fixture = Fixture::in_a_cluster();
    for entry in table().entries().iter().filter(|entry| entry.subcommands.is_empty()) {
        if entry.command.flags.has(Flags::UNQUEUED) || ["hello", "auth"].contains(&entry.command.name) {
            continue;
        }
        for words in [["2", "b", "c", "d", "e", "f"], ["a", "1", "2", "3", "4", "5"], ["a", "b", "0", "1", "-1", "x"]] {
            for count in 0..=words.len() {
                let mut request = vec![entry.command.name.as_bytes()];
                request.extend(words[..count].iter().map(|word| word.as_bytes()));
                fixture.run("multi");
                fixture.run_words(&request);
                fixture.run("exec");
            }
        }
    }
}

#[test]
fn a_transaction_is_one_effect() {
    let mut fixture = Fixture::in_a_cluster();
    let requests = ["set s v", "rpush l a b", "hset h f v", "sadd m x", "zadd z 1 x", "rename s t", "lpop l", "incr t"];
    fixture.run("multi");
    requests.iter().for_each(|request| drop(fixture.run(request)));
    assert!(fixture.state.keyspace.drain_effects().is_empty());
    fixture.run("exec");
    let effects = fixture.state.keyspace.drain_effects();
    let [effect] = &effects[..] else { panic!("{} effects", effects.len()) };
    let keys = effect
        .operations()
        .filter(|operation| matches!(operation, Operation::Key { action, .. } if !matches!(action, Action::Remove)));
    assert_eq!(keys.count(), 7, "set, push, field, member, score, the renamed value, pop");
    assert_eq!(fixture.session.last_written, effect.dot.seq);
    fixture.run("multi");
    fixture.run("get s");
    assert_eq!(fixture.run("exec"), "*1\r\n$-1\r\n");
    assert!(fixture.state.keyspace.drain_effects().is_empty(), "who only reads makes none");
}

#[test]
fn what_no_effect_can_hold_is_refused() {
    let mut fixture = Fixture::in_a_cluster();
    let large = vec![b'x'; 100_000];
    let refused = "the change is larger than what nodes can send to each other at once (600 MB)\r\n";
    fixture.run("multi");
    fixture.run_words(&[b"set", b"a", &large]);
    fixture.run_words(&[b"set", b"b", &large]);
    assert_eq!(fixture.run("exec"), format!("-EXECABORT Transaction discarded because of: {refused}"));
    fixture.run_words(&[b"set", b"a", &large]);
    fixture.run("multi");
    for request in ["copy a b", "copy a c", "set d x"] {
        fixture.run(request);
    }
    assert_eq!(fixture.run("exec"), format!("*3\r\n:1\r\n:1\r\n-ERR {refused}"));
}

/// Another connection to the same node.
fn other(fixture: &mut Fixture, request: &str) {
    let session = Session::open(&fixture.state, Connected::default(), 0, fixture.now, 2);
    let mine = std::mem::replace(&mut fixture.session, session);
    for request in request.split("; ") {
        let reply = fixture.run(request);
        assert!(!reply.starts_with('-'), "{request}: {reply}");
    }
    std::mem::replace(&mut fixture.session, mine).close(&fixture.state, fixture.now);
}

fn is_refused(fixture: &mut Fixture) -> bool {
    assert_eq!(fixture.run("multi"), "+OK\r\n");
    assert_eq!(fixture.run("ping"), QUEUED);
    let reply = fixture.run("exec");
    assert!(reply == "*-1\r\n" || reply == "*1\r\n+PONG\r\n", "{reply}");
    reply == "*-1\r\n"
}

#[test]
fn a_watched_key_that_changes_stops_exec() {
    for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        other(&mut fixture, "set k v; set e v px 100; sadd m a; hset h f v; zadd z 1 a; rpush l a b");
        let changes = [
            ("set k v", true),
            ("get k", false),
            ("append k x", true),
            ("del k; set k v", true),
            ("del nosuch", false),
            ("set nosuch v; del nosuch", true),
            ("expire k 100", true),
            ("persist k", true),
            ("persist k", false),
            ("rename k x; rename x k", true),
            ("copy k nosuch; del nosuch", true),
            ("sadd m a", false),
            ("sadd m b; srem m b", true),
            ("srem m b", false),
            ("hset h f v", true),
            ("hdel h g", false),
            ("zrem z b", false),
            ("zincrby z 1 a", true),
            ("lpop l; lpush l a", true),
            ("lrange l 0 -1", false),
            ("lmove l l left left", true),
            ("sort l alpha store l", true),
            ("flushdb; set k v; sadd m a; hset h f v; zadd z 1 a; rpush l a b", true),
            ("select 1; flushdb; set k v", false),
            ("swapdb 1 2", false),
            ("swapdb 0 3; swapdb 0 3", true),
        ];
        for (change, stops) in changes {
            assert_eq!(fixture.run("watch k m h z l nosuch"), "+OK\r\n");
            other(&mut fixture, change);
            assert_eq!(is_refused(&mut fixture), stops, "{change}");
            assert!(!is_refused(&mut fixture), "what was watched is forgotten");
        }
    }
}

#[test]
fn own_changes_count_and_unwatch_forgets() {
    let mut fixture = Fixture::new();
    fixture.expect(&[("watch k", "+OK\r\n"), ("set k v", "+OK\r\n")]);
    assert!(is_refused(&mut fixture));
    for forget in ["unwatch", "reset", "multi\ndiscard", "exec 1"] {
        fixture.expect(&[("watch k", "+OK\r\n"), ("set k v", "+OK\r\n")]);
        forget.split('\n').for_each(|request| drop(fixture.run(request)));
        assert!(!is_refused(&mut fixture), "{forget}");
    }
    fixture.expect(&[
        ("watch k", "+OK\r\n"),
        ("multi", "+OK\r\n"),
        ("set k w", QUEUED),
        ("set k x", QUEUED),
        ("exec", "*2\r\n+OK\r\n+OK\r\n"),
        ("select 1", "+OK\r\n"),
        ("watch k", "+OK\r\n"),
    ]);
    other(&mut fixture, "set k y");
    assert!(!is_refused(&mut fixture), "another database");
    fixture.run("watch k");
    other(&mut fixture, "select 1; set k y");
    fixture.run("hello 3");
    assert_eq!(fixture.run("multi"), "+OK\r\n");
    assert_eq!(fixture.run("exec"), "_\r\n");
}

#[test]
fn a_watched_key_whose_time_is_over() {
    for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        fixture.run("set k v px 100");
        fixture.run("watch k");
        fixture.now += 100;
        assert!(is_refused(&mut fixture), "it has gone since, though nobody removed it");
        fixture.run("watch k");
        fixture.state.keyspace.upkeep(fixture.now, 1024);
        assert!(!is_refused(&mut fixture), "it was over already");
        fixture.run("set k v px 100");
        fixture.now += 100;
        fixture.run("watch k");
        assert_eq!(fixture.run("del k"), ":0\r\n");
        assert!(!is_refused(&mut fixture));
        fixture.run("set k v px 100");
        fixture.now += 100;
        fixture.run("watch k");
        other(&mut fixture, "flushall");
        assert!(!is_refused(&mut fixture));
        fixture.run("watch k");
        other(&mut fixture, "set k new");
        assert!(is_refused(&mut fixture));
    }
}

#[test]
fn connections_show_it() {
    let mut fixture = Fixture::new();
    let shown = |fixture: &Fixture| {
        let mut line = Vec::new();
        fixture.session.record.describe(fixture.now, &mut line);
        String::from_utf8_lossy(&line).into_owned()
    };
    assert!(shown(&fixture).contains(" flags=N ") && shown(&fixture).contains(" multi=-1 watch=0 "));
    fixture.run("watch a b a");
    fixture.run("multi");
    fixture.run("set a 1");
    assert!(shown(&fixture).contains(" flags=x ") && shown(&fixture).contains(" multi=1 watch=2 "));
    fixture.run("client info");
    let within = fixture.run("exec");
    assert!(within.contains(" flags=x ") && within.contains(" multi=2 watch=0 "), "{within}");
    assert!(shown(&fixture).contains(" flags=N ") && shown(&fixture).contains(" multi=-1 watch=0 "));
    fixture.run("watch a");
    fixture.run("set a 2");
    assert!(shown(&fixture).contains(" flags=d "));
}

#[test]
fn what_is_queued_and_watched_is_bounded() {
    let mut fixture = Fixture::new();
    fixture.run("multi");
    let value = vec![b'x'; 600_000];
    assert_eq!(fixture.run_flow(&[b"set", b"k", &value]).1, Flow::Continue);
    assert_eq!(fixture.run_flow(&[b"set", b"k", &value]).1, Flow::Close);
    fixture.run("discard");
    assert_eq!(fixture.run_flow(&[b"watch", &value]).1, Flow::Continue);
    assert_eq!(fixture.run_flow(&[b"watch", &value]).1, Flow::Close);
    fixture.run("unwatch");
    assert_eq!(fixture.run_flow(&[b"watch", &value]).1, Flow::Continue);
}

#[test]
fn a_node_that_can_not_serve_says_why() {
    let mut fixture = Fixture::in_a_cluster();
    fixture.run("multi");
    fixture.run("set k v");
    fixture.state.serving.store(false, std::sync::atomic::Ordering::Relaxed);
    let loading =
        "-EXECABORT Transaction discarded because of: LOADING swytch is joining the cluster and not ready yet\r\n";
    fixture.expect(&[("exec", loading), ("multi", "+OK\r\n"), ("echo a", QUEUED), ("exec", "*1\r\n$1\r\na\r\n")]);
    fixture.state.serving.store(true, std::sync::atomic::Ordering::Relaxed);
    fixture.expect(&[("multi", "+OK\r\n"), ("set k v", QUEUED)]);
    fixture.state.keyspace.begin_import(crate::effects::NodeId(9));
    fixture.expect(&[("exec", loading)]);
}
