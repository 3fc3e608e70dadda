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
