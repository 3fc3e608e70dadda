//! Transactions of connections: what they mean to who waits, and what peers do to watched keys.

use tokio::io::DuplexStream;

use super::blocking_tests::{said, say};
use super::tests::{Node, expect};
use crate::effects::{Elements, End, Frontier, NodeId};
use crate::keyspace::{Keyspace, KeyspaceOptions};

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_after_exec() {
    let node = Node::start(None, 100, 0);
    let mut waiting = said(&node, "BLPOP l 0").await;
    let mut moving = said(&node, "BLMOVE l m LEFT RIGHT 0").await;
    let mut other = said(&node, "MULTI\r\nRPUSH l a b c\r\nLPOP l\r\nLLEN l\r\nEXEC\r\nLLEN l\r\nLRANGE m 0 -1").await;
    expect(&mut other, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:3\r\n$1\r\na\r\n:2\r\n").await;
    expect(&mut waiting, b"*2\r\n$1\r\nl\r\n$1\r\nb\r\n").await;
    expect(&mut moving, b"$1\r\nc\r\n").await;
    say(&mut other, "PING").await;
    // What is left of the lists depends on who was quicker; nobody waits any more.
    drop(other);
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_exec_takes_back_is_handed_out() {
    let node = Node::start(None, 100, 0);
    let mut waiting = said(&node, "BLPOP l 0").await;
    let mut other = said(&node, "MULTI\r\nRPUSH l a\r\nDEL l\r\nEXEC").await;
    expect(&mut other, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:1\r\n").await;
    assert_eq!(node.state.clients.blocked(), 1);
    say(&mut other, "MULTI\r\nSET l text\r\nDEL l\r\nRPUSH l b\r\nEXEC").await;
    expect(&mut waiting, b"*2\r\n$1\r\nl\r\n$1\r\nb\r\n").await;
}

/// A peer pushes to a list.
fn push_at_a_peer(node: &Node, peer: &Keyspace, key: &[u8]) {
    let key = peer.key(key);
    let mut transaction = peer.lock_one(1, 0, key);
    transaction.list_push(key, End::Right, Elements::one(b"x")).expect("a list");
    transaction.commit();
    for effect in peer.drain_effects() {
        let seen: Frontier = [(NodeId(2), effect.dot.seq - 1)].into_iter().collect();
        node.state.keyspace.apply(&effect, &seen, 1);
    }
}

async fn run(client: &mut DuplexStream, words: &str, answer: &str) {
    say(client, words).await;
    expect(client, answer.as_bytes()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_changes_stops_exec() {
    let node = Node::start(None, 100, 0);
    let peer = Keyspace::new(KeyspaceOptions { node: Some(NodeId(2)), ..KeyspaceOptions::default() });
    let mut client = node.connect(1 << 12);
    run(&mut client, "WATCH l", "+OK\r\n").await;
    push_at_a_peer(&node, &peer, b"other");
    run(&mut client, "MULTI\r\nLLEN l\r\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n:0\r\n").await;
    run(&mut client, "WATCH l", "+OK\r\n").await;
    push_at_a_peer(&node, &peer, b"l");
    run(&mut client, "MULTI\r\nLLEN l\r\nEXEC\r\nLLEN l", "+OK\r\n+QUEUED\r\n*-1\r\n:1\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_watches_nothing_and_leaves_nothing_queued() {
    let node = Node::start(None, 100, 0);
    let mut leaving = said(&node, "WATCH k\r\nMULTI\r\nSET k v").await;
    expect(&mut leaving, b"+OK\r\n+OK\r\n+QUEUED\r\n").await;
    drop(leaving);
    let mut client = node.connect(1 << 12);
    run(&mut client, "GET k\r\nMULTI\r\nQUIT\r\nGET k", "$-1\r\n+OK\r\n+OK\r\n").await;
    assert_eq!(tokio::io::AsyncReadExt::read(&mut client, &mut [0; 8]).await.expect("closed in order"), 0);
}
