//! Scripts and functions as clients use them. What they reply is what redis-server 7.0.15 does, unless said.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use super::testing::Fixture;
use super::{Connected, ServerState, Session, execute};
use crate::keyspace::EventClasses;
use crate::resp::{Arguments, Protocol, Reply};

/// EVAL without keys.
fn eval(fixture: &mut Fixture, source: &str) -> String {
    fixture.run_words(&[b"eval", source.as_bytes(), b"0"])
}

/// What an error says, without the name of the script.
fn error(fixture: &mut Fixture, source: &str) -> String {
    let reply = eval(fixture, source);
    let (before, after) = reply.rsplit_once(" script: ").unwrap_or((&reply, ""));
    let place = after.split_once(',').map_or("", |(_, place)| place);
    format!("{before}{}", place.trim_end())
}

#[test]
fn values_become_replies() {
    let mut fixture = Fixture::new();
    for (source, reply) in [
        ("return 3.99", ":3\r\n"),
        ("return -3.99", ":-3\r\n"),
        ("return 1/0", ":-9223372036854775808\r\n"),
        ("return 'x'", "$1\r\nx\r\n"),
        ("return true", ":1\r\n"),
        ("return false", "$-1\r\n"),
        ("return", "$-1\r\n"),
        ("return {1,2,nil,4}", "*2\r\n:1\r\n:2\r\n"),
        ("return {{1,{2}},{}}", "*2\r\n*2\r\n:1\r\n*1\r\n:2\r\n*0\r\n"),
        ("return {err='MY x\\r\\ny'}", "-MY x  y\r\n"),
        ("return {ok='fine'}", "+fine\r\n"),
        ("return {double=3.5}", "$3\r\n3.5\r\n"),
        ("return {map={a=1}}", "*2\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", "*1\r\n$1\r\na\r\n"),
        ("return {big_number='1\\n2'}", "$3\r\n1 2\r\n"),
        ("return {verbatim_string={string='x',format='txt'}}", "$1\r\nx\r\n"),
        ("return {verbatim_string={string='x'}}", "*0\r\n"),
        ("return redis.error_reply('x')", "-ERR x\r\n"),
        ("return redis.error_reply('MY x')", "-MY x\r\n"),
        ("return redis.error_reply('-x')", "-ERR x\r\n"),
        ("return redis.status_reply('x')", "+x\r\n"),
        ("return redis.error_reply(5)", "-ERR wrong number or type of arguments\r\n"),
        ("return {math.random(1000),math.random(1000)}", "*2\r\n:397\r\n:841\r\n"),
        ("return redis.sha1hex('')", "$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n"),
        ("local t={} t[1]=t return t", "-ERR reached lua stack limit\r\n"),
        ("return redis.call", "$-1\r\n"),
    ] {
        assert_eq!(eval(&mut fixture, source), reply, "{source}");
        assert_eq!(eval(&mut fixture, source), reply, "again, as it was compiled before: {source}");
    }
}

#[test]
fn replies_become_values() {
    let mut fixture = Fixture::new();
    fixture.run("hset h f v");
    fixture.run("sadd s m");
    fixture.run("zadd z 1.5 a");
    for (source, reply) in [
        ("return redis.call('ping').ok", "$4\r\nPONG\r\n"),
        ("return tostring(redis.call('get','nosuch'))", "$5\r\nfalse\r\n"),
        ("return {redis.call('get','nosuch')}", "*1\r\n$-1\r\n"),
        ("return redis.call('hgetall','h')", "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
        ("redis.setresp(3) return redis.call('hgetall','h').map.f", "$1\r\nv\r\n"),
        ("redis.setresp(3) return tostring(redis.call('smembers','s').set.m)", "$4\r\ntrue\r\n"),
        ("redis.setresp(3) return tostring(redis.call('zscore','z','a').double)", "$3\r\n1.5\r\n"),
        ("redis.setresp(3) return redis.call('zscore','z','a')", "$3\r\n1.5\r\n"),
        ("redis.setresp(3) return tostring(redis.call('get','nosuch'))", "$3\r\nnil\r\n"),
        ("return type(redis.call('zscore','z','a'))", "$6\r\nstring\r\n"),
        ("redis.call('set','k',1.5) return redis.call('get','k')", "$3\r\n1.5\r\n"),
        ("redis.call('set','k',3) return redis.call('get','k')", "$1\r\n3\r\n"),
        ("redis.call('set','k',1e20) return redis.call('get','k')", "$5\r\n1e+20\r\n"),
    ] {
        assert_eq!(eval(&mut fixture, source), reply, "{source}");
    }
    fixture.run("hello 3");
    for (source, reply) in [
        ("redis.setresp(3) return redis.call('hgetall','h')", "%1\r\n$1\r\nf\r\n$1\r\nv\r\n"),
        ("redis.setresp(3) return {true,false}", "*2\r\n#t\r\n#f\r\n"),
        ("return {true,false}", "*2\r\n:1\r\n_\r\n"),
        ("return {double=3.5}", ",3.5\r\n"),
        ("return {big_number='12'}", "(12\r\n"),
        ("return {set={a=true}}", "~1\r\n$1\r\na\r\n"),
    ] {
        assert_eq!(eval(&mut fixture, source), reply, "{source}");
    }
}

#[test]
fn errors_say_where() {
    let mut fixture = Fixture::new();
    fixture.run("set k x");
    let sha = "5196d59bd105cba5312bca0f4eabdcac6b7917a1";
    assert_eq!(
        eval(&mut fixture, "redis.call('set','k','x') return redis.call('incr','k')"),
        format!("-ERR value is not an integer or out of range script: {sha}, on @user_script:1.\r\n")
    );
    for (source, said) in [
        ("error('hi')", "-ERR user_script:1: hi on @user_script:1."),
        ("error('hi',0)", "-ERR hi on @user_script:1."),
        ("error({err='MY hi'})", "-MY hi on @user_script:1."),
        ("error()", "-ERR nil on @user_script:1."),
        (
            "\nreturn nosuch",
            "-ERR user_script:2: Script attempted to access nonexistent global variable 'nosuch' on @user_script:2.",
        ),
        ("local a={} return a.b.c", "-ERR user_script:1: attempt to index field 'b' (a nil value) on @user_script:1."),
        (
            "local f=function() return redis.call('incr','k') end\nreturn f()",
            "-ERR value is not an integer or out of range on @user_script:1.",
        ),
        ("return redis.call('nosuch')", "-ERR Unknown Redis command called from script on @user_script:1."),
        ("return redis.call('config','nosuch')", "-ERR Unknown Redis command called from script on @user_script:1."),
        ("return redis.call('get')", "-ERR Wrong number of args calling Redis command from script on @user_script:1."),
        ("return redis.call('multi')", "-ERR This Redis command is not allowed from script on @user_script:1."),
        (
            "return redis.call('eval','return 1',0)",
            "-ERR This Redis command is not allowed from script on @user_script:1.",
        ),
        ("return redis.call()", "-ERR Please specify at least one argument for this redis lib call on @user_script:1."),
        (
            "return redis.call({})",
            "-ERR Lua redis lib command arguments must be strings or integers on @user_script:1.",
        ),
        (
            "return redis.call('get', KEYS[1])",
            "-ERR Lua redis lib command arguments must be strings or integers on @user_script:1.",
        ),
        (
            "return redis.call('set','__swytch:x','y')",
            "-ERR keys that begin with '__swytch:' belong to the system and are read-only on @user_script:1.",
        ),
        (
            "return loadstring('return x')()",
            "-ERR [string \"return x\"]:1: Script attempted to access nonexistent global variable 'x' on return x:1.",
        ),
        (
            "return math.random(0)",
            "-ERR user_script:1: bad argument #1 to 'random' (interval is empty) on @user_script:1.",
        ),
        (
            "return collectgarbage('nosuch')",
            "-ERR user_script:1: bad argument #1 to 'collectgarbage' (invalid option 'nosuch') on @user_script:1.",
        ),
        (
            "local a = pairs(5)",
            "-ERR user_script:1: bad argument #1 to 'pairs' (table expected, got number) on @user_script:1.",
        ),
    ] {
        assert_eq!(error(&mut fixture, source), said, "{source}");
    }
    assert_eq!(
        eval(&mut fixture, "foo("),
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'\r\n"
    );
    for (source, reply) in [
        ("return redis.pcall('incr','k')", "-ERR value is not an integer or out of range\r\n"),
        ("return redis.pcall('incr','k').err", "$43\r\nERR value is not an integer or out of range\r\n"),
        ("return select(2,pcall(redis.call,'incr','k'))", "$43\r\nERR value is not an integer or out of range\r\n"),
        ("return select(2,pcall(error,'x',0))", "$1\r\nx\r\n"),
        (
            "return select(2,xpcall(function() redis.call('nosuch') end, function(e) return e.err end))",
            "$44\r\nERR Unknown Redis command called from script\r\n",
        ),
        (
            "return type(select(2,coroutine.resume(coroutine.create(function() redis.call('nosuch') end))))",
            "$5\r\ntable\r\n",
        ),
    ] {
        assert_eq!(eval(&mut fixture, source), reply, "{source}");
    }
    let said = error(&mut fixture, "return redis.call('xread','BLOCK',0,'streams','s','$')");
    assert_eq!(said, "-ERR xread command is not allowed with BLOCK option from scripts on @user_script:1.");
    let said = fixture.run_words(&[b"eval_ro", b"return redis.pcall('publish','c','m')", b"0"]);
    assert_eq!(said, "-ERR Write commands are not allowed from read-only scripts.\r\n");
}

#[test]
fn what_scripts_share_is_not_theirs_to_change() {
    let mut fixture = Fixture::new();
    for source in [
        "x=1",
        "KEYS=1",
        "redis.call=1",
        "string.x=1",
        "getmetatable('').__index=nil",
        "getmetatable(_G).__index=1",
        "rawset(_G,'x',1)",
        "setmetatable(_G,{})",
        "table.insert(redis,'x')",
        "table.insert(_G,9,'x')",
        "loadstring('x=1')()",
        "for _,t in pairs(_G) do if type(t)=='table' then t.x=1 end end",
        "math.random=nil",
        "_G.redis=nil",
        "local r for k,v in pairs(redis) do r=r or v end redis.x=r",
        "coroutine.wrap(function() y=1 end)()",
    ] {
        let said = error(&mut fixture, source);
        assert!(said.contains("Attempt to modify a readonly table"), "{source}: {said}");
    }
    for (source, reply) in [
        ("return rawget(_G,'x')", "$-1\r\n"),
        ("return {#redis,type(redis[1]),type(rawget(_G,9))}", "*3\r\n:0\r\n$3\r\nnil\r\n$3\r\nnil\r\n"),
        ("redis.call('set','zero',-0.0) return redis.call('get','zero')", "$2\r\n-0\r\n"),
        ("return getmetatable('').__index==string", ":1\r\n"),
        ("local t=getmetatable(string.rep) return tostring(t)", "$3\r\nnil\r\n"),
        ("for k,v in pairs(_G) do if k=='redis' then return 1 end end", ":1\r\n"),
        ("for k,v in next,string do if k=='rep' then return 1 end end", ":1\r\n"),
        ("local p={} for k in pairs(_G) do p[k]=1 end local c=pairs(_G) return p.tostring", ":1\r\n"),
        ("local _,t=pairs(redis) t.call=nil return type(redis.call)", "$8\r\nfunction\r\n"),
        ("return loadstring(string.dump(function() return 1 end))", "$-1\r\n"),
        ("collectgarbage('stop') return 1", ":1\r\n"),
        ("return ('x'):rep(3)", "$3\r\nxxx\r\n"),
    ] {
        assert_eq!(eval(&mut fixture, source), reply, "{source}");
    }
    for name in [
        "os", "io", "debug", "print", "require", "dofile", "loadfile", "module", "package", "newproxy", "getfenv",
        "setfenv",
    ] {
        let said = error(&mut fixture, &format!("return {name}"));
        assert!(said.contains("nonexistent global variable"), "{name}: {said}");
    }
    let said = eval(&mut fixture, "local t={} while true do t[#t+1]=string.rep('x',100000)..#t end");
    assert!(said.starts_with("-ERR not enough memory"), "{said}");
    assert_eq!(eval(&mut fixture, "return 1"), ":1\r\n");
    assert!(eval(&mut fixture, "local function f() return f()+1 end return f()").contains("stack overflow"));
}

#[test]
fn a_script_is_one_effect_and_keeps_what_it_wrote_before_an_error() {
    let mut fixture = Fixture::in_a_cluster();
    let source = "redis.call('set',KEYS[1],'a') redis.call('rpush',KEYS[2],'b') redis.call('incr','undeclared') \
                  return redis.call('get',KEYS[1])";
    assert_eq!(fixture.run_words(&[b"eval", source.as_bytes(), b"2", b"k", b"l"]), "$1\r\na\r\n");
    let effects = fixture.state.keyspace.drain_effects();
    assert_eq!(effects.len(), 1);
    assert_eq!(fixture.session.last_written, effects[0].dot.seq);
    assert!(eval(&mut fixture, "redis.call('set','k','c') error('x')").starts_with("-ERR"));
    assert_eq!(fixture.run("get k"), "$1\r\nc\r\n");
    assert_eq!(fixture.state.keyspace.drain_effects().len(), 1);
    eval(&mut fixture, "return redis.call('get','k')");
    assert!(fixture.state.keyspace.drain_effects().is_empty(), "who only reads makes none");
    for request in ["multi", "set a 1", "eval redis.call('incr','a') 0", "evalsha nosuch 0", "dbsize", "exec"] {
        let words: Vec<_> = request.split(' ').map(str::as_bytes).collect();
        let reply = fixture.run_words(&words);
        if request == "exec" {
            assert_eq!(reply, "*4\r\n+OK\r\n$-1\r\n-NOSCRIPT No matching script. Please use EVAL.\r\n:4\r\n");
        }
    }
    assert_eq!(fixture.state.keyspace.drain_effects().len(), 1, "all of EXEC is one");
    assert_eq!(fixture.run("get a"), "$1\r\n2\r\n");
    assert!(!fixture.session.in_script && !fixture.session.in_exclusive);
    assert_eq!(fixture.run("eval redis.call('flushall')return(redis.call('dbsize')) 0"), ":0\r\n");
    assert_eq!(
        eval(&mut fixture, "return {redis.call('scan','0'),redis.call('keys','*'),redis.call('info','nosuch')}"),
        "*3\r\n*2\r\n$1\r\n0\r\n*0\r\n*0\r\n$0\r\n\r\n"
    );
}

#[test]
fn scripts_have_names() {
    let mut fixture = Fixture::new();
    let sha = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let none = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    assert_eq!(fixture.run(&format!("evalsha {sha} 0")), none);
    assert_eq!(fixture.run_words(&[b"script", b"load", b"return 1"]), format!("$40\r\n{sha}\r\n"));
    let upper = sha.to_uppercase();
    fixture.expect(&[
        (&format!("evalsha {sha} 0"), ":1\r\n"),
        (&format!("evalsha_ro {upper} 0"), ":1\r\n"),
        (&format!("script exists {sha} {upper} x"), "*3\r\n:1\r\n:1\r\n:0\r\n"),
        (&format!("script show {sha}"), "$8\r\nreturn 1\r\n"),
        ("script flush foo", "-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n"),
        ("script flush", "+OK\r\n"),
        (&format!("script exists {sha}"), "*1\r\n:0\r\n"),
        (&format!("evalsha {sha} 0"), none),
        ("script kill", "-NOTBUSY No scripts in execution right now.\r\n"),
        ("script debug no", "+OK\r\n"),
        ("script debug x", "-ERR Use SCRIPT DEBUG YES/SYNC/NO\r\n"),
        ("script nosuch", "-ERR unknown subcommand 'nosuch'. Try SCRIPT HELP.\r\n"),
        ("eval x y", "-ERR value is not an integer or out of range\r\n"),
        ("eval x -1", "-ERR Number of keys can't be negative\r\n"),
        ("eval x 5", "-ERR Number of keys can't be greater than number of args\r\n"),
        ("eval return(#ARGV..KEYS[1]) 1 k a b", "$2\r\n2k\r\n"),
    ]);
    for number in 0..600 {
        eval(&mut fixture, &format!("return {number}"));
    }
    let (count, bytes) = fixture.state.scripting.texts();
    assert_eq!(count, 500, "those of EVAL are bounded");
    assert!(bytes > 500 * 8);
    eval(&mut fixture, "return 599");
    fixture.run_words(&[b"script", b"load", b"return 599"]);
    for number in 600..1200 {
        eval(&mut fixture, &format!("return {number}"));
    }
    assert_eq!(fixture.state.scripting.texts().0, 501, "what was loaded stays");
}

#[test]
fn scripts_say_what_they_may_do() {
    let mut fixture = Fixture::new();
    let read_only = "-ERR Write commands are not allowed from read-only scripts. on @user_script:2.";
    assert_eq!(error(&mut fixture, "#!lua flags=no-writes\nreturn redis.call('set','x','y')"), read_only);
    assert_eq!(
        eval(&mut fixture, "#!lua flags=nosuch\nreturn 1"),
        "-ERR Unexpected flag in script shebang: nosuch\r\n"
    );
    assert_eq!(eval(&mut fixture, "#!lua\nreturn 1"), ":1\r\n");
    let wrong = "-ERR Can not execute a script with write flag using *_ro command.\r\n";
    assert_eq!(fixture.run_words(&[b"eval_ro", b"#!lua\nreturn 1", b"0"]), wrong);
    assert_eq!(fixture.run_words(&[b"eval_ro", b"#!lua flags=no-writes\nreturn 1", b"0"]), ":1\r\n");
    assert_eq!(
        fixture.run_words(&[b"eval_ro", b"return redis.pcall('set','a','b')", b"0"]),
        "-ERR Write commands are not allowed from read-only scripts.\r\n"
    );
    fixture.run("set k v");
    fixture.run("config set maxmemory-policy noeviction");
    fixture.state.keyspace.set_memory_limit(1);
    let full = "-OOM command not allowed when used memory > 'maxmemory'.";
    for (source, said) in [
        ("return redis.call('set','a','b')", format!("{full} on @user_script:1.")),
        ("return redis.call('get','a')", "$-1\r\n".into()),
        ("#!lua\nreturn 1", format!("{full}\r\n")),
        ("#!lua flags=no-writes\nreturn 1", ":1\r\n".into()),
        ("#!lua flags=allow-oom\nreturn redis.call('set','a','b')", "+OK\r\n".into()),
    ] {
        let found = if said.contains(" on ") { error(&mut fixture, source) } else { eval(&mut fixture, source) };
        assert_eq!(found, said, "{source}");
    }
}

#[test]
fn the_world_sees_what_scripts_call() {
    let mut fixture = Fixture::new();
    fixture.state.keyspace.set_event_classes(EventClasses::parse(b"KEA").expect("letters"));
    fixture.run("watch k");
    eval(&mut fixture, "redis.call('select',3) redis.call('set','k','other') return 1");
    assert_eq!(fixture.session.database, 0, "SELECT is the script's own");
    fixture.run("multi");
    assert_eq!(fixture.run("exec"), "*0\r\n", "the key of another database");
    fixture.run("watch k");
    eval(&mut fixture, "redis.call('set','k','v')");
    fixture.run("multi");
    assert_eq!(fixture.run("exec"), "*-1\r\n", "a watched key has changed");
    let before = fixture.run("info commandstats");
    eval(&mut fixture, "redis.pcall('incr','k') redis.pcall('nosuch') return 1");
    let after = fixture.run("info commandstats");
    assert!(!before.contains("cmdstat_incr:") && after.contains("cmdstat_incr:calls=1"), "{after}");
    fixture.run("config resetstat");
    eval(&mut fixture, "return redis.call('incr','k')");
    assert!(fixture.run("info errorstats").contains("errorstat_ERR:count=1\r\n"), "one error is counted once");
    assert_eq!(eval(&mut fixture, "return redis.call('publish','c','x')"), ":0\r\n");
    let memory = fixture.run("info memory");
    assert!(memory.contains("number_of_cached_scripts:5\r\n"), "{memory}");
    assert!(!memory.contains("used_memory_lua:0\r\n"));
}

#[test]
fn permissions_are_looked_at_call_by_call() {
    let mut fixture = Fixture::new();
    fixture.run("acl setuser u on nopass ~a* +@all -set resetchannels");
    fixture.run("auth u x");
    for (source, said) in [
        (
            "return redis.call('set','a','b')",
            "-NOPERM ACL failure in script: User u has no permissions to run the 'set' command on @user_script:1.",
        ),
        (
            "return redis.call('get','b')",
            "-NOPERM ACL failure in script: No permissions to access a key on @user_script:1.",
        ),
        (
            "return redis.call('publish','x','y')",
            "-NOPERM ACL failure in script: No permissions to access a channel on @user_script:1.",
        ),
        ("return redis.call('get','a')", "$-1"),
        ("return redis.acl_check_cmd('set','a','b')", "$-1"),
        ("return redis.acl_check_cmd('get','a')", ":1"),
        (
            "return redis.acl_check_cmd('nosuch')",
            "-ERR Invalid command passed to redis.acl_check_cmd() on @user_script:1.",
        ),
    ] {
        assert_eq!(error(&mut fixture, source).trim_end(), said, "{source}");
    }
    fixture.run("auth default x");
    assert!(fixture.run("acl log").contains("lua"));
}

const LIBRARY: &str = "#!lua name=mylib\n\
    local n=0\n\
    redis.register_function('f1', function(keys,args) return {keys[1] or 'none',args[1] or 'none'} end)\n\
    redis.register_function{function_name='f2', callback=function() return redis.call('get','k') end, \
    flags={'no-writes'}, description='desc'}\n\
    redis.register_function('count', function() n=n+1 return n end)\n\
    redis.register_function('bad', function() return KEYS end)\n\
    redis.register_function('writes', function() return redis.call('set','k','v') end)";

#[test]
fn functions() {
    for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        assert_eq!(fixture.run_words(&[b"function", b"load", LIBRARY.as_bytes()]), "$5\r\nmylib\r\n");
        let exists = "-ERR Library 'mylib' already exists\r\n";
        assert_eq!(fixture.run_words(&[b"function", b"load", LIBRARY.as_bytes()]), exists);
        assert_eq!(fixture.run_words(&[b"function", b"load", b"replace", LIBRARY.as_bytes()]), "$5\r\nmylib\r\n");
        let taken = b"#!lua name=other\nredis.register_function('F1', function() end)";
        assert_eq!(fixture.run_words(&[b"function", b"load", taken]), "-ERR Function F1 already exists\r\n");
        let bad = "-ERR user_function:6: Script attempted to access nonexistent global variable 'KEYS' script: bad, \
                   on @user_function:6.\r\n";
        fixture.expect(&[
            ("fcall f1 1 a b", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("fcall F1 0", "*2\r\n$4\r\nnone\r\n$4\r\nnone\r\n"),
            ("fcall count 0", ":1\r\n"),
            ("fcall count 0", ":2\r\n"),
            ("fcall bad 0", bad),
            ("fcall nosuch 0", "-ERR Function not found\r\n"),
            ("fcall f1 x", "-ERR Bad number of keys provided\r\n"),
            ("fcall_ro f1 0", "-ERR Can not execute a script with write flag using *_ro command.\r\n"),
            ("fcall writes 0", "+OK\r\n"),
            ("fcall_ro f2 0", "$1\r\nv\r\n"),
            ("function kill", "-NOTBUSY No scripts in execution right now.\r\n"),
            ("function delete nosuch", "-ERR Library not found\r\n"),
            ("flushall", "+OK\r\n"),
            ("fcall count 0", ":3\r\n"),
            ("dbsize", ":0\r\n"),
            ("keys *", "*0\r\n"),
        ]);
        let list = fixture.run("function list libraryname MY*");
        assert!(list.contains("$4\r\ndesc\r\n$5\r\nflags\r\n*1\r\n+no-writes\r\n"), "{list}");
        let stats = fixture.run("function stats");
        assert!(stats.ends_with("$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:5\r\n"), "{stats}");
        assert!(fixture.run("info memory").contains("number_of_functions:5\r\nnumber_of_libraries:1\r\n"));
        fixture.run("multi");
        fixture.run("fcall f1 0");
        fixture.run("function delete mylib");
        fixture.run("fcall f1 0");
        let replies = "*3\r\n*2\r\n$4\r\nnone\r\n$4\r\nnone\r\n+OK\r\n-ERR Function not found\r\n";
        assert_eq!(fixture.run("exec"), replies);
    }
}

#[test]
fn what_is_no_library_is_refused() {
    let mut fixture = Fixture::new();
    let name_rule =
        "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";
    for (code, said) in [
        ("return 1", "No functions registered"),
        ("foo(", "Error compiling function: user_function:2: unexpected symbol near '<eof>'"),
        (
            "redis.call('get','x')",
            "Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'call'",
        ),
        ("x=1", "Error registering functions: ERR user_function:2: Attempt to modify a readonly table"),
        (
            "redis.register_function('q')",
            "Error registering functions: ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ),
        (
            "redis.register_function()",
            "Error registering functions: ERR wrong number of arguments to redis.register_function",
        ),
        (
            "redis.register_function('q',1)",
            "Error registering functions: ERR second argument to redis.register_function must be a function",
        ),
        ("redis.register_function('q-q',function() end)", &format!("Error registering functions: ERR {name_rule}")),
        (
            "redis.register_function('q',function() end) redis.register_function('q',function() end)",
            "Error registering functions: ERR Function already exists in the library",
        ),
        (
            "redis.register_function{}",
            "Error registering functions: ERR redis.register_function must get a function name argument",
        ),
        (
            "redis.register_function{function_name='q'}",
            "Error registering functions: ERR redis.register_function must get a callback argument",
        ),
        (
            "redis.register_function{function_name='q',callback=function() end,flags={'x'}}",
            "Error registering functions: ERR unknown flag given",
        ),
        (
            "redis.register_function{function_name='q',callback=function() end,foo=1}",
            "Error registering functions: ERR unknown argument given to redis.register_function",
        ),
    ] {
        let code = format!("#!lua name=a\n{code}");
        let reply = fixture.run_words(&[b"function", b"load", code.as_bytes()]);
        assert_eq!(reply, format!("-ERR {said}\r\n"), "{code}");
    }
    assert_eq!(fixture.run("function list"), "*0\r\n");
}

#[test]
fn libraries_go_and_come_as_a_payload() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.run("function restore x"), "-ERR DUMP payload version or checksum are wrong\r\n");
    fixture.run_words(&[b"function", b"load", LIBRARY.as_bytes()]);
    let payload = crate::rdb::dump_libraries(std::iter::once(LIBRARY.as_bytes()));
    let restore =
        |fixture: &mut Fixture, policy: &[u8]| fixture.run_words(&[b"function", b"restore", &payload, policy]);
    let exists = "-ERR Library mylib already exists\r\n";
    assert_eq!(fixture.run_words(&[b"function", b"restore", &payload]), exists);
    assert_eq!(restore(&mut fixture, b"append"), exists);
    assert_eq!(restore(&mut fixture, b"replace"), "+OK\r\n");
    assert_eq!(restore(&mut fixture, b"flush"), "+OK\r\n");
    let wrong = "-ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.\r\n";
    assert_eq!(restore(&mut fixture, b"x"), wrong);
    fixture.expect(&[("fcall count 0", ":1\r\n"), ("function flush", "+OK\r\n"), ("function list", "*0\r\n")]);
    assert_eq!(restore(&mut fixture, b"append"), "+OK\r\n");
    assert_eq!(fixture.run("fcall count 0"), ":1\r\n");
    let mut damaged = payload.clone();
    damaged[5] ^= 1;
    let wrong = "-ERR DUMP payload version or checksum are wrong\r\n";
    assert_eq!(fixture.run_words(&[b"function", b"restore", &damaged]), wrong);
    // Exchanging databases does not move them.
    fixture.expect(&[
        ("set a b", "+OK\r\n"),
        ("swapdb 0 1", "+OK\r\n"),
        ("fcall count 0", ":2\r\n"),
        ("exists a", ":0\r\n"),
    ]);
}

/// Both nodes apply what the other made.
fn exchange(one: &Fixture, other: &Fixture) {
    for (from, to) in [(one, other), (other, one)] {
        for effect in from.state.keyspace.drain_effects() {
            let mut seen = from.state.keyspace.frontier();
            seen.set(effect.dot.node, effect.dot.seq - 1);
            to.state.keyspace.apply(&effect, &seen, to.now);
        }
    }
}

#[test]
fn libraries_reach_the_other_nodes() {
    use crate::effects::NodeId;
    let (mut one, mut other) = (Fixture::of_node(NodeId(1)), Fixture::of_node(NodeId(2)));
    one.run_words(&[b"function", b"load", LIBRARY.as_bytes()]);
    assert_eq!(other.run("fcall count 0"), "-ERR Function not found\r\n");
    exchange(&one, &other);
    assert_eq!(other.run("fcall count 0"), ":1\r\n");
    other.run("function delete mylib");
    exchange(&one, &other);
    assert_eq!(one.run("fcall count 0"), "-ERR Function not found\r\n");
    // What does not load here is passed over.
    let broken: &[u8] = b"#!lua name=broken\nfoo(";
    one.state.keyspace.change_libraries(one.now, std::iter::empty(), std::iter::once((&b"broken"[..], broken)));
    one.run_words(&[b"function", b"load", LIBRARY.as_bytes()]);
    exchange(&one, &other);
    for node in [&mut one, &mut other] {
        assert_eq!(node.run("fcall count 0"), ":1\r\n");
        assert!(node.run("function stats").contains("libraries_count\r\n:1\r\n"));
        assert_eq!(node.run("function flush"), "+OK\r\n");
    }
    let unwatched = Arc::default();
    assert!(one.state.keyspace.libraries(one.now, &unwatched).is_empty());
}

/// Another connection to the node of a fixture, on whatever thread runs this. Requests and their replies.
struct Client<'s> {
    state: &'s ServerState,
    session: Session,
}

impl Client<'_> {
    fn of(state: &ServerState) -> Client<'_> {
        Client { state, session: Session::open(state, Connected::default(), 0, 0, 1) }
    }

    /// As a connection does it: with one pass for the batch.
    fn run(&mut self, words: &[&str]) -> String {
        let inside = self.state.keyspace.gates().enter_unless_overdue();
        self.session.turned_away = inside.is_err();
        let (mut input, mut ranges) = (Vec::new(), Vec::new());
        for word in words {
            let start = input.len() as u32;
            input.extend_from_slice(word.as_bytes());
            ranges.push(start..input.len() as u32);
        }
        let mut reply = Reply::new(Protocol::Resp2);
        execute(self.state, &mut self.session, &Arguments::new(&input, &ranges), &mut reply, 1_700_000_000_000);
        String::from_utf8_lossy(reply.bytes()).into_owned()
    }
}

#[test]
fn scripts_on_several_threads_lose_nothing_and_nobody_sees_a_half_of_one() {
    const ROUNDS: usize = 1000;
    for fixture in [Fixture::new(), Fixture::in_a_cluster()] {
        let state = &fixture.state;
        let script =
            "local n=redis.call('get',KEYS[1]) or 0 redis.call('set',KEYS[1],n+1) redis.call('incr','undeclared')";
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut client = Client::of(state);
                    for _ in 0..ROUNDS {
                        assert_eq!(client.run(&["eval", script, "1", "k"]), "$-1\r\n");
                    }
                });
                scope.spawn(|| {
                    let mut client = Client::of(state);
                    for _ in 0..ROUNDS {
                        for request in [&["multi"][..], &["incr", "k"], &["incr", "undeclared"], &["exec"]] {
                            assert!(!client.run(request).starts_with('-'));
                        }
                        let seen = client.run(&["mget", "k", "undeclared"]);
                        let mut values = seen.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
                        assert_eq!(values.next(), values.next(), "{seen}");
                    }
                });
            }
        });
        let mut client = Client::of(state);
        let sum = (4 * ROUNDS).to_string();
        let expected = format!("*2\r\n${0}\r\n{sum}\r\n${0}\r\n{sum}\r\n", sum.len());
        assert_eq!(client.run(&["mget", "k", "undeclared"]), expected);
        if state.keyspace.is_in_cluster() {
            assert_eq!(state.keyspace.drain_effects().len(), 4 * ROUNDS);
        }
    }
}

fn nanoseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[test]
fn a_script_that_takes_too_long_is_ended_unless_it_has_written() {
    let mut fixture = Fixture::new();
    fixture.state.facts.stopwatch = Some(nanoseconds);
    fixture.state.scripting.set_threshold(20);
    fixture.run("set k v");
    let state = &fixture.state;
    let busy = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
    let wait = |client: &mut Client<'_>| {
        while client.run(&["get", "k"]) != busy {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        // It catches every error that it can.
        let stubborn = "while true do pcall(function() while true do end end) end";
        let script = scope.spawn(|| Client::of(state).run(&["eval", stubborn, "0"]));
        let mut client = Client::of(state);
        wait(&mut client);
        assert_eq!(client.run(&["ping"]), busy);
        assert_eq!(client.run(&["eval", "return 1", "0"]), busy);
        assert_eq!(client.run(&["watch", "k"]), busy, "the data cannot be got at");
        assert_eq!(client.run(&["function", "kill"]), busy);
        assert_eq!(client.run(&["shutdown", "save"]), busy);
        assert_eq!(client.run(&["multi"]), "+OK\r\n");
        assert_eq!(client.run(&["get", "k"]), busy);
        assert!(client.run(&["exec"]).starts_with("-EXECABORT Transaction discarded because of: BUSY"));
        assert_eq!(client.run(&["script", "kill"]), "+OK\r\n");
        let reply = script.join().expect("it has ended");
        assert!(reply.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{reply}");
        assert!(reply.ends_with(", on @user_script:1.\r\n"), "{reply}");
        assert_eq!(client.run(&["script", "kill"]), "-NOTBUSY No scripts in execution right now.\r\n");
        assert_eq!(client.run(&["get", "k"]), "$1\r\nv\r\n");

        let writing = "redis.call('set','k','w') while redis.call('get','k')=='w' do end";
        let script = scope.spawn(|| Client::of(state).run(&["eval", writing, "0"]));
        wait(&mut client);
        assert!(client.run(&["script", "kill"]).starts_with("-UNKILLABLE "));
        state.supervision.end();
        let reply = script.join().expect("it has ended");
        assert!(reply.starts_with("-ERR the server is shutting down"), "{reply}");
        assert_eq!(client.run(&["get", "k"]), "$1\r\nw\r\n", "what it wrote before is kept, as with any error");
    });
}
