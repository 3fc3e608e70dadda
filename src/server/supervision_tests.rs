//! What an operator does to connections: ending them, pausing them, reading along.

use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::{Instant, sleep};

use super::blocking_tests::{said, say};
use super::tests::{Node, expect};

async fn run(client: &mut DuplexStream, words: &str, answer: &str) {
    say(client, words).await;
    expect(client, answer.as_bytes()).await;
}

/// What the server still says before it ends the connection.
async fn rest(mut client: DuplexStream) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_ended_whatever_it_waits_for() {
    let node = Node::start(None, 100, 0);
    let mut operator = node.connect(1 << 12);
    run(&mut operator, "CLIENT ID", ":1\r\n").await;
    let idle = said(&node, "CLIENT REPLY OFF").await;
    let blocked = said(&node, "BLPOP l 0").await;
    let waiting = said(&node, "WAIT 1 0").await;
    let half = said(&node, "*2\r\n$4\r\nPING\r\n$100\r\nunfinished").await;
    let mut deaf = node.connect(100);
    say(&mut deaf, &"PING\r\n".repeat(200)).await;
    sleep(Duration::from_secs(1)).await;
    run(&mut operator, "CLIENT KILL TYPE normal\r\nPING", ":5\r\n+PONG\r\n").await;
    for client in [idle, blocked, half] {
        assert_eq!(rest(client).await, "");
    }
    assert_eq!(rest(waiting).await, ":0\r\n", "it learns how many nodes had it");
    assert!(rest(deaf).await.len() < 200 * "+PONG\r\n".len(), "what it did not take is gone");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.state.clients.len(), 1);
    assert_eq!(node.state.supervision.attention.get(), 0);
    say(&mut operator, "CLIENT KILL ID 1 SKIPME no\r\nPING").await;
    assert_eq!(rest(operator).await, ":1\r\n");
}

#[tokio::test(start_paused = true)]
async fn paused_requests_run_when_the_pause_is_over() {
    let node = Node::start(None, 100, 0);
    let mut operator = node.connect(1 << 12);
    run(&mut operator, "CLIENT PAUSE 1000 WRITE", "+OK\r\n").await;
    let mut writing = said(&node, "SET k v\r\nGET k\r\nPING").await;
    let mut reading = said(&node, "GET k").await;
    expect(&mut reading, b"$-1\r\n").await;
    assert_eq!(node.state.clients.blocked(), 1);
    run(&mut operator, "CLIENT UNBLOCK 2", ":0\r\n").await;
    run(&mut operator, "CLIENT UNPAUSE", "+OK\r\n").await;
    expect(&mut writing, b"+OK\r\n$1\r\nv\r\n+PONG\r\n").await;
    assert_eq!(node.state.clients.blocked(), 0);
}

/// The end of a pause by its time alone: real time, as the wall clock decides it. What is asserted is only that it ends.
#[tokio::test]
async fn a_pause_ends_by_itself() {
    let node = Node::start(None, 100, 0);
    let mut operator = node.connect(1 << 12);
    run(&mut operator, "CLIENT PAUSE 50", "+OK\r\n").await;
    let mut client = node.connect(1 << 12);
    run(&mut client, "CLIENT REPLY SKIP\r\nPING\r\nECHO a", "$1\r\na\r\n").await;
    run(&mut operator, "PING", "+PONG\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_client_can_leave_or_be_ended() {
    let node = Node::start(None, 100, 0);
    let mut operator = node.connect(1 << 12);
    run(&mut operator, "CLIENT PAUSE 100000000 WRITE", "+OK\r\n").await;
    drop(said(&node, "SET k v").await);
    let killed = said(&node, "SET k v").await;
    sleep(Duration::from_secs(1)).await;
    run(&mut operator, "CLIENT KILL ID 3", ":1\r\n").await;
    assert_eq!(rest(killed).await, "");
    run(&mut operator, "DBSIZE", ":0\r\n").await;
    assert_eq!(node.state.clients.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn replies_that_come_late_are_left_out_as_well() {
    let node = Node::start(None, 100, 0);
    let mut client = node.connect(1 << 12);
    let start = Instant::now();
    let requests = "CLIENT REPLY SKIP\r\nBLPOP l 1\r\nPING\r\nCLIENT REPLY SKIP\r\nWAIT 1 1000\r\nECHO a";
    run(&mut client, requests, "+PONG\r\n$1\r\na\r\n").await;
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn who_reads_along_is_told_at_once_and_cut_off_when_it_does_not_read() {
    let node = Node::start(None, 100, 0);
    let mut reader = said(&node, "MONITOR").await;
    expect(&mut reader, b"+OK\r\n").await;
    let mut client = node.connect(1 << 20);
    run(&mut client, "SET k v", "+OK\r\n").await;
    let mut line = vec![0; 100];
    let length = reader.read(&mut line).await.expect("told");
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    assert!(line.starts_with('+') && line.ends_with("\"SET\" \"k\" \"v\"\r\n"), "{line}");
    run(&mut client, "CONFIG SET client-output-buffer-limit \"pubsub 100000 0 0\"", "+OK\r\n").await;
    let value = "x".repeat(1000);
    for _ in 0..1000 {
        run(&mut client, &format!("SET k {value}"), "+OK\r\n").await;
    }
    rest(reader).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((node.state.clients.len(), node.state.supervision.attention.get()), (1, 0));
}
