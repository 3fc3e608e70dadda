//! Connections that end because their user may no longer do what they do, or is no more.

use tokio::io::DuplexStream;

use super::blocking_tests::{said, say};
use super::tests::{Node, expect, expect_end};

async fn run(client: &mut DuplexStream, words: &str, answer: &str) {
    say(client, words).await;
    expect(client, answer.as_bytes()).await;
}

async fn logged_in(node: &Node, user: &str) -> DuplexStream {
    let mut client = said(node, &format!("AUTH {user} x")).await;
    expect(&mut client, b"+OK\r\n").await;
    client
}

#[tokio::test(start_paused = true)]
async fn who_is_deleted_is_disconnected_whatever_he_does() {
    let node = Node::start(None, 100, 0);
    let mut admin = node.connect(1 << 16);
    run(&mut admin, "ACL SETUSER u on nopass +@all ~* &*\r\nACL SETUSER v on nopass +@all ~* &*", "+OK\r\n+OK\r\n")
        .await;
    let mut silent = logged_in(&node, "u").await;
    let mut blocked = logged_in(&node, "u").await;
    say(&mut blocked, "BLPOP l 0").await;
    let mut listening = logged_in(&node, "u").await;
    run(&mut listening, "SUBSCRIBE c", "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n").await;
    let mut other = logged_in(&node, "v").await;
    run(&mut other, "PING", "+PONG\r\n").await;
    run(&mut admin, "ACL DELUSER u", ":1\r\n").await;
    for client in [&mut silent, &mut blocked, &mut listening] {
        expect_end(client).await;
    }
    run(&mut other, "PING", "+PONG\r\n").await;
    // Who deletes himself gets his answer.
    run(&mut other, "ACL DELUSER v\r\nPING", ":1\r\n").await;
    expect_end(&mut other).await;
    run(&mut admin, "PING", "+PONG\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_is_disabled_stays() {
    let node = Node::start(None, 100, 0);
    let mut admin = node.connect(1 << 16);
    run(&mut admin, "ACL SETUSER u on nopass +@all ~*", "+OK\r\n").await;
    let mut client = logged_in(&node, "u").await;
    run(&mut admin, "ACL SETUSER u off", "+OK\r\n").await;
    run(&mut client, "PING", "+PONG\r\n").await;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    run(&mut client, "AUTH u x", wrong).await;
    run(&mut client, "PING", "+PONG\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_may_not_listen_any_longer_is_disconnected_before_the_next_message() {
    let node = Node::start(None, 100, 0);
    let mut admin = node.connect(1 << 16);
    run(&mut admin, "ACL SETUSER u on nopass +@all &*", "+OK\r\n").await;
    let mut listening = Vec::new();
    for request in ["SUBSCRIBE news", "PSUBSCRIBE n*", "SSUBSCRIBE news"] {
        let mut client = logged_in(&node, "u").await;
        let (kind, name) = request.split_once(' ').expect("two words");
        let answer = format!("*3\r\n${}\r\n{}\r\n${}\r\n{name}\r\n:1\r\n", kind.len(), kind.to_lowercase(), name.len());
        run(&mut client, request, &answer).await;
        listening.push(client);
    }
    let mut shard = listening.pop().expect("three");
    let mut pattern = listening.pop().expect("three");
    let mut channel = listening.pop().expect("three");
    run(&mut admin, "ACL SETUSER u -get\r\nACL SETUSER u resetchannels &news &n*", "+OK\r\n+OK\r\n").await;
    run(&mut admin, "PUBLISH news 1", ":2\r\n").await;
    let message = "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\n1\r\n";
    expect(&mut channel, message.as_bytes()).await;
    expect(&mut pattern, b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\n1\r\n").await;
    // A pattern has to be among the rules as it is.
    say(&mut admin, "ACL SETUSER u resetchannels &new*\r\nPUBLISH news 2").await;
    expect_end(&mut pattern).await;
    expect(&mut channel, message.replace("$1\r\n1", "$1\r\n2").as_bytes()).await;
    say(&mut admin, "ACL SETUSER u resetchannels\r\nPUBLISH news 3\r\nSPUBLISH news 3").await;
    expect_end(&mut channel).await;
    expect_end(&mut shard).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_may_no_longer_take_is_told() {
    let node = Node::start(None, 100, 0);
    let mut admin = node.connect(1 << 16);
    run(&mut admin, "ACL SETUSER u on nopass +@all ~*", "+OK\r\n").await;
    let mut waiting = logged_in(&node, "u").await;
    say(&mut waiting, "BLPOP l 0").await;
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    run(&mut admin, "ACL SETUSER u resetkeys\r\nRPUSH l a", "+OK\r\n:1\r\n").await;
    expect(&mut waiting, b"-NOPERM No permissions to access a key\r\n").await;
    run(&mut admin, "LLEN l", ":1\r\n").await;
    run(&mut waiting, "PING", "+PONG\r\n").await;
}
