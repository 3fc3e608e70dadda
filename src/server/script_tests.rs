//! Scripts that take too long, on a server of one thread: its other clients are answered meanwhile.

use tokio::io::{AsyncReadExt, DuplexStream};

use super::blocking_tests::{said, say};
use super::tests::{Node, expect, expect_end};

const BUSY: &[u8] = b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
const BUSY_FUNCTION: &[u8] =
    b"-BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.\r\n";
/// Takes many seconds, and catches every error that it can.
const LONG: &str = "for i=1,4e4 do pcall(function() for j=1,1e5 do end end) end return 7";

/// A node of one thread that the test runs on as well, where a script is overdue after 20 ms.
fn node() -> Node {
    let node = Node::measuring();
    node.state.scripting.set_threshold(20);
    node
}

async fn run(client: &mut DuplexStream, words: &str, answer: &[u8]) {
    say(client, words).await;
    expect(client, answer).await;
}

/// One line of an answer.
async fn line(client: &mut DuplexStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(client.read_u8().await.expect("answered"));
    }
    String::from_utf8_lossy(&line).into_owned()
}

#[tokio::test]
async fn clients_of_the_thread_of_a_busy_script_are_answered() {
    let node = node();
    let mut other = said(&node, "SET k v").await;
    expect(&mut other, b"+OK\r\n").await;
    let mut watching = said(&node, "WATCH k\r\nMULTI\r\nEVAL \"return 1\" 0").await;
    expect(&mut watching, b"+OK\r\n+OK\r\n+QUEUED\r\n").await;
    let mut waiting = said(&node, "BLPOP l 0.01").await;
    for is_first in [true, false] {
        let mut script = node.connect(1 << 12);
        if !is_first {
            run(&mut script, "EVAL \"return 1\" 0", b":1\r\n").await;
        }
        say(&mut script, &format!("EVAL \"{LONG}\" 0\r\nPING")).await;
        run(&mut other, "GET k", BUSY).await;
        run(&mut other, "PING", BUSY).await;
        run(&mut other, "EVAL \"return 1\" 0", BUSY).await;
        run(&mut other, "SET k w\r\nGET k\r\nINCR n\r\nINCR n", &[BUSY; 4].concat()).await;
        run(&mut other, "FUNCTION KILL", BUSY).await;
        run(&mut other, "SHUTDOWN SAVE", BUSY).await;
        let mut newcomer = said(&node, "HELLO 3\r\nPING").await;
        assert!(line(&mut newcomer).await.starts_with('%'));
        drop(newcomer);
        let mut newcomer = said(&node, "MULTI\r\nPING\r\nEXEC").await;
        expect(&mut newcomer, &[b"+OK\r\n", BUSY].concat()).await;
        let busy = String::from_utf8_lossy(&BUSY[1..]);
        expect(&mut newcomer, format!("-EXECABORT Transaction discarded because of: {busy}").as_bytes()).await;
        run(&mut newcomer, "SCRIPT KILL", b"+OK\r\n").await;
        let killed = line(&mut script).await;
        assert!(killed.starts_with("-ERR Script killed by user with SCRIPT KILL... script: "), "{killed}");
        expect(&mut script, b"+PONG\r\n").await;
        run(&mut newcomer, "SCRIPT KILL", b"-NOTBUSY No scripts in execution right now.\r\n").await;
        run(&mut other, "GET k", b"$1\r\nv\r\n").await;
        // Scripts run as before.
        run(&mut script, "EVAL \"return redis.call('get', KEYS[1])\" 1 k", b"$1\r\nv\r\n").await;
    }
    run(&mut watching, "EXEC", b"*1\r\n:1\r\n").await;
    expect(&mut waiting, b"*-1\r\n").await;
}

#[tokio::test]
async fn a_busy_function_is_told_of_and_ended() {
    let node = node();
    let library = format!("#!lua name=l\\nredis.register_function('f', function() {LONG} end)");
    let mut other = said(&node, &format!("FUNCTION LOAD \"{library}\"")).await;
    expect(&mut other, b"$1\r\nl\r\n").await;
    let mut calling = said(&node, "FCALL f 0").await;
    run(&mut other, "PING", BUSY_FUNCTION).await;
    run(&mut other, "SCRIPT KILL", BUSY_FUNCTION).await;
    run(&mut other, "FUNCTION STATS", b"*4\r\n$14\r\nrunning_script\r\n*6\r\n$4\r\nname\r\n$1\r\nf\r\n").await;
    while line(&mut other).await != "functions_count\r\n" {}
    expect(&mut other, b":1\r\n").await;
    run(&mut other, "FUNCTION LIST", BUSY_FUNCTION).await;
    run(&mut other, "FCALL f 0", BUSY_FUNCTION).await;
    run(&mut other, "FUNCTION KILL", b"+OK\r\n").await;
    let killed = line(&mut calling).await;
    assert!(killed.starts_with("-ERR Script killed by user with SCRIPT KILL... script: f"), "{killed}");
    run(&mut other, "PING", b"+PONG\r\n").await;
}

#[tokio::test]
async fn a_busy_script_within_exec_is_ended_alone() {
    let node = node();
    let mut other = said(&node, "PING").await;
    expect(&mut other, b"+PONG\r\n").await;
    let mut script = said(&node, &format!("MULTI\r\nGET k\r\nEVAL \"{LONG}\" 0\r\nSET k v")).await;
    expect(&mut script, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n").await;
    say(&mut script, "EXEC").await;
    run(&mut other, "GET k", BUSY).await;
    run(&mut other, "SCRIPT KILL", b"+OK\r\n").await;
    expect(&mut script, b"*3\r\n$-1\r\n-ERR Script killed by user").await;
    line(&mut script).await;
    expect(&mut script, b"+OK\r\n").await;
    run(&mut other, "GET k", b"$1\r\nv\r\n").await;
}

#[tokio::test]
async fn a_busy_script_that_has_written_ends_with_the_process_only() {
    let node = node();
    let script = format!("redis.call('set', 'k', 'v') {LONG}");
    let mut writing = said(&node, &format!("EVAL \"{script}\" 0")).await;
    let mut other = said(&node, "GET k").await;
    expect(&mut other, BUSY).await;
    say(&mut other, "SCRIPT KILL").await;
    assert!(line(&mut other).await.starts_with("-UNKILLABLE "));
    say(&mut other, "FUNCTION KILL").await;
    assert!(line(&mut other).await.starts_with("-UNKILLABLE "), "as Redis says before it asks whether it is one");
    let ending = node.state.supervision.ending();
    say(&mut other, "SHUTDOWN NOSAVE").await;
    expect_end(&mut other).await;
    assert!(*ending.borrow());
    let ended = line(&mut writing).await;
    assert!(ended.starts_with("-ERR the server is shutting down script: "), "{ended}");
}

#[tokio::test]
async fn a_busy_script_goes_on_without_its_client_and_does_not_outlive_its_server() {
    let node = node();
    let script = format!("redis.call('set', 'k', 'v') {}", LONG.replace("4e4", "3e2"));
    drop(said(&node, &format!("EVAL \"{script}\" 0")).await);
    let mut other = said(&node, "GET k").await;
    expect(&mut other, BUSY).await;
    while {
        say(&mut other, "GET k").await;
        line(&mut other).await.starts_with("-BUSY")
    } {}
    expect(&mut other, b"v\r\n").await;
    // The runtime of the test is dropped while this one is suspended.
    let script = said(&node, &format!("EVAL \"{LONG}\" 0")).await;
    run(&mut other, "GET k", BUSY).await;
    drop((node, script));
}
