//! Clients that wait for entries of streams: who is served, in which order, by whom, and how waiting ends.

use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use super::tests::{Node, expect};
use crate::effects::{Elements, Frontier, NodeId, StreamId};
use crate::keyspace::{Keyspace, KeyspaceOptions};

/// A client that has said something; the server has had time to look at it.
async fn said(node: &Node, words: &str) -> DuplexStream {
    let mut client = node.connect(1 << 12);
    say(&mut client, words).await;
    client
}

async fn say(client: &mut DuplexStream, words: &str) {
    client.write_all(format!("{words}\r\n").as_bytes()).await.expect("there is room");
    sleep(Duration::from_millis(1)).await;
}

/// What a read of one stream gives: these entries, each with `f` and `v`.
fn entries(key: &str, ids: &[&str]) -> Vec<u8> {
    let shown: String =
        ids.iter().map(|id| format!("*2\r\n${}\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", id.len())).collect();
    format!("*1\r\n*2\r\n${}\r\n{key}\r\n*{}\r\n{shown}", key.len(), ids.len()).into_bytes()
}

#[tokio::test(start_paused = true)]
async fn one_entry_serves_every_reader() {
    let node = Node::start(None, 100, 0);
    let mut adding = said(&node, "XADD s 1-1 f v").await;
    expect(&mut adding, b"$3\r\n1-1\r\n").await;
    let mut first = said(&node, "XREAD BLOCK 0 STREAMS none s $ $").await;
    let mut second = said(&node, "XREAD BLOCK 0 COUNT 1 STREAMS s 1-1").await;
    let mut later = said(&node, "XREAD BLOCK 0 STREAMS s 3-0").await;
    assert_eq!(node.state.clients.blocked(), 3);
    say(&mut adding, "XADD s 2-1 f v").await;
    expect(&mut adding, b"$3\r\n2-1\r\n").await;
    expect(&mut first, &entries("s", &["2-1"])).await;
    expect(&mut second, &entries("s", &["2-1"])).await;
    assert_eq!(node.state.clients.blocked(), 1, "it waits for a higher id");
    say(&mut adding, "XADD s 3-1 f v").await;
    expect(&mut adding, b"$3\r\n3-1\r\n").await;
    expect(&mut later, &entries("s", &["3-1"])).await;
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_what_was_not_there_when_it_came() {
    let node = Node::start(None, 100, 0);
    let mut reading = said(&node, "XREAD BLOCK 0 STREAMS s t $ $").await;
    // The stream comes, with an entry; it goes, and another value of that name comes; the second time is for another key.
    let mut adding = said(&node, "SET t text\r\nXADD s 5-1 f v").await;
    expect(&mut adding, b"+OK\r\n$3\r\n5-1\r\n").await;
    expect(&mut reading, &entries("s", &["5-1"])).await;
    say(&mut reading, "XREAD BLOCK 20 STREAMS s $\r\nPING").await;
    expect(&mut reading, b"*-1\r\n+PONG\r\n").await;
    say(&mut adding, "XGROUP CREATE s g $").await;
    expect(&mut adding, b"+OK\r\n").await;
    let mut in_group = said(&node, "XREADGROUP GROUP g c BLOCK 20 STREAMS s >").await;
    expect(&mut in_group, b"*-1\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn consumers_of_a_group_are_served_in_the_order_in_which_they_came() {
    let node = Node::start(None, 100, 0);
    let mut adding = said(&node, "XGROUP CREATE s g $ MKSTREAM\r\nXGROUP CREATE s h $").await;
    expect(&mut adding, b"+OK\r\n+OK\r\n").await;
    let mut first = said(&node, "XREADGROUP GROUP g a BLOCK 0 COUNT 1 STREAMS s >").await;
    let mut second = said(&node, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >").await;
    let mut other = said(&node, "XREADGROUP GROUP h c BLOCK 0 NOACK STREAMS s >").await;
    let mut reader = said(&node, "XREAD BLOCK 0 STREAMS s $").await;
    say(&mut adding, "XADD s 1-1 f v").await;
    expect(&mut adding, b"$3\r\n1-1\r\n").await;
    expect(&mut first, &entries("s", &["1-1"])).await;
    expect(&mut other, &entries("s", &["1-1"])).await;
    expect(&mut reader, &entries("s", &["1-1"])).await;
    assert_eq!(node.state.clients.blocked(), 1);
    say(&mut adding, "XADD s 2-1 f v\r\nXPENDING s g\r\nXPENDING s h").await;
    expect(&mut adding, b"$3\r\n2-1\r\n").await;
    expect(&mut second, &entries("s", &["2-1"])).await;
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_a_group_that_goes_is_told() {
    let node = Node::start(None, 100, 0);
    let gone: &[u8] = b"-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option\r\n";
    let mut other = node.connect(1 << 12);
    for (end, reply, error) in [
        ("DEL s", &b":1\r\n"[..], gone),
        ("XGROUP DESTROY s g", b":1\r\n", gone),
        ("FLUSHALL", b"+OK\r\n", gone),
        ("RENAME s t", b"+OK\r\n", gone),
        ("SET s text", b"+OK\r\n", b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    ] {
        say(&mut other, "FLUSHALL\r\nXGROUP CREATE s g $ MKSTREAM").await;
        expect(&mut other, b"+OK\r\n+OK\r\n").await;
        let mut first = said(&node, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >").await;
        let mut second = said(&node, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >").await;
        let reader = said(&node, "XREAD BLOCK 0 STREAMS s $").await;
        say(&mut other, end).await;
        expect(&mut other, reply).await;
        expect(&mut first, error).await;
        expect(&mut second, error).await;
        assert_eq!(node.state.clients.blocked(), 1, "{end}: who reads without a group waits on");
        drop(reader);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(node.state.clients.blocked(), 0, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_is_ended_by_others_and_by_leaving() {
    let node = Node::start(None, 100, 0);
    let mut first = said(&node, "CLIENT ID\r\nXREAD BLOCK 0 STREAMS s $").await;
    let mut second = said(&node, "XGROUP CREATE s g $ MKSTREAM\r\nXREADGROUP GROUP g c BLOCK 0 STREAMS s >").await;
    expect(&mut first, b":1\r\n").await;
    expect(&mut second, b"+OK\r\n").await;
    let mut other = said(&node, "CLIENT UNBLOCK 1\r\nCLIENT UNBLOCK 2 ERROR").await;
    expect(&mut other, b":1\r\n:1\r\n").await;
    expect(&mut first, b"*-1\r\n").await;
    expect(&mut second, b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n").await;
    // Who leaves takes nothing with it: the next of the group gets the entry.
    let gone = said(&node, "XREADGROUP GROUP g gone BLOCK 0 STREAMS s >").await;
    let mut next = said(&node, "XREADGROUP GROUP g next BLOCK 0 STREAMS s >").await;
    drop(gone);
    sleep(Duration::from_millis(1)).await;
    say(&mut other, "XADD s 1-1 f v").await;
    expect(&mut other, b"$3\r\n1-1\r\n").await;
    expect(&mut next, &entries("s", &["1-1"])).await;
    // What `$` meant is forgotten: this one is newer.
    say(&mut first, "XREAD BLOCK 0 STREAMS s $").await;
    say(&mut other, "XADD s 2-1 f v").await;
    expect(&mut first, &entries("s", &["2-1"])).await;
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_a_peer_serves_who_waits() {
    let node = Node::start(None, 100, 0);
    let mut other = said(&node, "XGROUP CREATE s g $ MKSTREAM").await;
    expect(&mut other, b"+OK\r\n").await;
    let mut reader = said(&node, "XREAD BLOCK 0 STREAMS s $").await;
    let mut first = said(&node, "XREADGROUP GROUP g a BLOCK 0 COUNT 1 STREAMS s >").await;
    let mut second = said(&node, "XREADGROUP GROUP g b BLOCK 0 STREAMS s >").await;
    let peer = Keyspace::new(KeyspaceOptions { node: Some(NodeId(2)), ..KeyspaceOptions::default() });
    for (number, client) in [(1, &mut first), (2, &mut second)] {
        let key = peer.key(b"s");
        let mut transaction = peer.lock_one(1, 0, key);
        transaction.stream_add(key, StreamId::new(number, 1), Elements::parts(b"fv", &[0..1, 1..2]));
        transaction.commit();
        for effect in peer.drain_effects() {
            let seen: Frontier = [(NodeId(2), effect.dot.seq - 1)].into_iter().collect();
            node.state.keyspace.apply(&effect, &seen, 1);
        }
        expect(client, &entries("s", &[&format!("{number}-1")])).await;
    }
    expect(&mut reader, &entries("s", &["1-1"])).await;
}
