//! Messages between connections: order, waking, and what becomes of those who do not read.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::sleep;

use super::blocking_tests::{said, say};
use super::tests::{Node, expect};
use crate::pubsub::Message;

fn message(channel: &str, payload: &str) -> String {
    format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n", channel.len(), payload.len())
}

async fn run(client: &mut DuplexStream, words: &str, answer: &str) {
    say(client, words).await;
    expect(client, answer.as_bytes()).await;
}

#[tokio::test(start_paused = true)]
async fn messages_reach_who_listens_in_the_order_of_their_publisher() {
    let node = Node::start(None, 100, 0);
    let mut listening = node.connect(1 << 16);
    run(&mut listening, "SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").await;
    let mut publishing = node.connect(1 << 16);
    let mut expected = String::new();
    for number in 0..500 {
        say(&mut publishing, &format!("PUBLISH news {number}\r\nPUBLISH other {number}")).await;
        expect(&mut publishing, b":1\r\n:0\r\n").await;
        expected.push_str(&message("news", &number.to_string()));
    }
    expect(&mut listening, expected.as_bytes()).await;
    run(&mut listening, "UNSUBSCRIBE\r\nPING", "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n+PONG\r\n").await;
    run(&mut publishing, "PUBLISH news late", ":0\r\n").await;
    drop(said(&node, "SUBSCRIBE gone").await);
    sleep(Duration::from_millis(1)).await;
    run(&mut publishing, "PUBLISH gone x\r\nPUBSUB CHANNELS", ":0\r\n*0\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_key_hears_messages_meanwhile() {
    let node = Node::start(None, 100, 0);
    let mut waiting = said(&node, "HELLO 3").await;
    let mut greeting = vec![0; 1000];
    let length = waiting.read(&mut greeting).await.expect("greeted");
    assert!(greeting[..length].starts_with(b"%7"));
    run(&mut waiting, "SUBSCRIBE news", ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").await;
    say(&mut waiting, "BLPOP l 0").await;
    let mut other = node.connect(1 << 12);
    run(&mut other, "PUBLISH news one\r\nPUBLISH news two", ":1\r\n:1\r\n").await;
    let heard = ["one", "two"].map(|payload| message("news", payload).replacen('*', ">", 1)).concat();
    expect(&mut waiting, heard.as_bytes()).await;
    run(&mut other, "RPUSH l a", ":1\r\n").await;
    expect(&mut waiting, b"*2\r\n$1\r\nl\r\n$1\r\na\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_disconnected_and_holds_up_nobody() {
    let node = Node::start(None, 100, 0);
    let mut slow = node.connect(100);
    run(&mut slow, "SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").await;
    let mut publishing = node.connect(1 << 20);
    run(&mut publishing, "CONFIG SET client-output-buffer-limit \"pubsub 1mb 0 0\"", "+OK\r\n").await;
    let payload = "x".repeat(100_000);
    let mut published = 0;
    loop {
        let listeners = node.state.channels.publish(
            Message { sharded: false, channel: Bytes::from_static(b"news"), payload: payload.clone().into() },
            0,
        );
        sleep(Duration::from_millis(1)).await;
        if listeners == 0 {
            break;
        }
        published += 1;
        assert!(published < 30, "a listener that does not read is still there");
    }
    assert!(published > 10, "{published}: the limit is a megabyte, and some of it is in the buffers between");
    let mut left = Vec::new();
    // However the connection ended, what came before was whole messages as far as it goes.
    let _ = slow.read_to_end(&mut left).await;
    assert!(left.starts_with(&message("news", &payload).as_bytes()[..100]));
    run(&mut publishing, "PING", "+PONG\r\n").await;
    assert_eq!(node.state.clients.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_listens_may_be_silent() {
    let node = Node::start(None, 100, 5);
    let mut listening = said(&node, "SUBSCRIBE news").await;
    let mut silent = said(&node, "PING").await;
    sleep(Duration::from_secs(20)).await;
    let mut bytes = Vec::new();
    silent.read_to_end(&mut bytes).await.expect("disconnected");
    expect(&mut listening, b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").await;
    let mut publishing = said(&node, "PUBLISH news still").await;
    expect(&mut publishing, b":1\r\n").await;
    expect(&mut listening, message("news", "still").as_bytes()).await;
    // One that stops listening is to say something again.
    run(&mut listening, "RESET", "+RESET\r\n").await;
    sleep(Duration::from_secs(20)).await;
    let mut bytes = Vec::new();
    listening.read_to_end(&mut bytes).await.expect("disconnected");
}

#[tokio::test(start_paused = true)]
async fn messages_come_while_something_else_is_awaited() {
    let node = Node::start(None, 100, 0);
    let mut publishing = node.connect(1 << 16);
    let mut listening = said(&node, "HELLO 3\r\nSUBSCRIBE news\r\nWAIT 1 5000\r\nPING").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"news\r\n:1\r\n") {
        seen.push(listening.read_u8().await.expect("answered"));
    }
    let pushed = ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n";
    let begun = tokio::time::Instant::now();
    for _ in 0..2 {
        run(&mut publishing, "PUBLISH news x", ":1\r\n").await;
        expect(&mut listening, pushed.as_bytes()).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "they do not wait for WAIT");
    expect(&mut listening, b":0\r\n+PONG\r\n").await;
    run(&mut publishing, "CLIENT PAUSE 5000 WRITE", "+OK\r\n").await;
    say(&mut listening, "SET k v").await;
    let begun = tokio::time::Instant::now();
    let message = Message { sharded: false, channel: "news".into(), payload: "x".into() };
    node.state.channels.publish(message, 0);
    expect(&mut listening, pushed.as_bytes()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "nor for the end of a pause");
    run(&mut publishing, "CLIENT UNPAUSE", "+OK\r\n").await;
    expect(&mut listening, b"+OK\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_wants_no_replies_is_told_what_it_listens_to() {
    let node = Node::start(None, 100, 0);
    let told = |command: &str, name: &str, count: u32| {
        format!("*3\r\n${}\r\n{command}\r\n${}\r\n{name}\r\n:{count}\r\n", command.len(), name.len())
    };
    let mut client = said(&node, "SUBSCRIBE a\r\nUNSUBSCRIBE\r\nCLIENT REPLY OFF\r\nPING\r\nGET k\r\nSUBSCRIBE").await;
    expect(&mut client, (told("subscribe", "a", 1) + &told("unsubscribe", "a", 0)).as_bytes()).await;
    run(&mut client, "SUBSCRIBE a b", &(told("subscribe", "a", 1) + &told("subscribe", "b", 2))).await;
    run(&mut client, "PSUBSCRIBE p*\r\nPING", &told("psubscribe", "p*", 3)).await;
    run(&mut client, "UNSUBSCRIBE\r\nPUNSUBSCRIBE", &told("unsubscribe", "a", 2)).await;
    expect(&mut client, (told("unsubscribe", "b", 1) + &told("punsubscribe", "p*", 0)).as_bytes()).await;
    run(&mut client, "CLIENT REPLY ON\r\nPING", "+OK\r\n+PONG\r\n").await;
    run(&mut client, "CLIENT REPLY SKIP\r\nSUBSCRIBE a\r\nUNSUBSCRIBE", &told("subscribe", "a", 1)).await;
    run(&mut client, "PING", &(told("unsubscribe", "a", 0) + "+PONG\r\n")).await;
}

#[tokio::test(start_paused = true)]
async fn who_does_not_take_replies_is_disconnected_if_that_is_limited() {
    let node = Node::start(None, 100, 0);
    let mut operator = node.connect(1 << 16);
    let value = "v".repeat(100_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}", value.len());
    run(&mut operator, &set, "+OK\r\n").await;
    let limit = |limits: &str| format!("CONFIG SET client-output-buffer-limit \"normal {limits}\"");
    let answer = format!("${}\r\n{value}\r\n", value.len());
    // Only what is beyond 16 KiB counts.
    run(&mut operator, &limit("90000 0 0"), "+OK\r\n").await;
    let mut client = said(&node, "GET k").await;
    expect(&mut client, answer.as_bytes()).await;
    run(&mut operator, &limit("80000 0 0"), "+OK\r\n").await;
    let mut client = said(&node, "PING\r\nGET k").await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("disconnected");
    assert!(rest.is_empty(), "at once, and what it would have got is gone");
    run(&mut operator, &limit("0 50000 10"), "+OK\r\n").await;
    let mut slow = said(&node, "GET k").await;
    let mut deaf = said(&node, "GET k").await;
    sleep(Duration::from_secs(9)).await;
    let (taken, left) = answer.as_bytes().split_at(50_000);
    expect(&mut slow, taken).await;
    sleep(Duration::from_secs(30)).await;
    expect(&mut slow, left).await;
    deaf.read_to_end(&mut rest).await.expect("disconnected");
    assert!(rest.len() < 10_000, "{}", rest.len());
    // Who listens has a limit of its own.
    run(&mut operator, &limit("1 0 0"), "+OK\r\n").await;
    let mut listening = said(&node, "HELLO 3\r\nSUBSCRIBE news\r\nGET k\r\nPING").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"+PONG\r\n") {
        seen.push(listening.read_u8().await.expect("not disconnected"));
    }
}
