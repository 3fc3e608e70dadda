//! Clients that wait for keys: who is served, in which order, by whom, and how waiting ends.

use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

use super::tests::{Node, expect};
use crate::effects::{Frontier, NodeId};
use crate::keyspace::{Keyspace, KeyspaceOptions};

/// A client that has said something; the server has had time to look at it.
pub(super) async fn said(node: &Node, words: &str) -> DuplexStream {
    let mut client = node.connect(1 << 12);
    say(&mut client, words).await;
    client
}

pub(super) async fn say(client: &mut DuplexStream, words: &str) {
    client.write_all(format!("{words}\r\n").as_bytes()).await.expect("there is room");
    sleep(Duration::from_millis(1)).await;
}

const NULL: &[u8] = b"*-1\r\n";

#[tokio::test(start_paused = true)]
async fn clients_are_served_in_the_order_in_which_they_came() {
    let node = Node::start(None, 100, 0);
    let mut first = said(&node, "BLPOP nothing l 0").await;
    let mut second = said(&node, "BRPOP l 0").await;
    let mut third = said(&node, "BLMPOP 0 1 l LEFT COUNT 9").await;
    let mut pushing = said(&node, "RPUSH l a b c d").await;
    expect(&mut pushing, b":4\r\n").await;
    expect(&mut first, b"*2\r\n$1\r\nl\r\n$1\r\na\r\n").await;
    expect(&mut second, b"*2\r\n$1\r\nl\r\n$1\r\nd\r\n").await;
    expect(&mut third, b"*2\r\n$1\r\nl\r\n*2\r\n$1\r\nb\r\n$1\r\nc\r\n").await;
    say(&mut pushing, "EXISTS l").await;
    expect(&mut pushing, b":0\r\n").await;
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_blocking_command_waits_with_it() {
    let node = Node::start(None, 100, 0);
    let mut client = said(&node, "BZPOPMIN z 0.05\r\nPING").await;
    assert_eq!(node.state.clients.blocked(), 1);
    expect(&mut client, b"*-1\r\n+PONG\r\n").await;
    let mut waiting = said(&node, "HELLO 3\r\nBZPOPMAX z 0\r\nPING").await;
    let mut other = said(&node, "ZADD z 1 a 2.5 b").await;
    expect(&mut other, b":2\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"+PONG\r\n") {
        let mut byte = [0];
        expect_some(&mut waiting, &mut byte).await;
        answer.extend(byte);
    }
    assert!(answer.ends_with(b"*3\r\n$1\r\nz\r\n$1\r\nb\r\n,2.5\r\n+PONG\r\n"), "{}", answer.escape_ascii());
}

async fn expect_some(client: &mut DuplexStream, bytes: &mut [u8]) {
    tokio::io::AsyncReadExt::read_exact(client, bytes).await.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn waiting_is_ended_by_others_and_by_leaving() {
    let node = Node::start(None, 100, 0);
    let mut first = said(&node, "CLIENT ID\r\nBLPOP l 0").await;
    let mut second = said(&node, "CLIENT ID\r\nBLMOVE l m LEFT LEFT 0").await;
    expect(&mut first, b":1\r\n").await;
    expect(&mut second, b":2\r\n").await;
    let mut other = said(&node, "CLIENT UNBLOCK 1\r\nCLIENT UNBLOCK 2 ERROR\r\nCLIENT UNBLOCK 3").await;
    expect(&mut other, b":1\r\n:1\r\n:0\r\n").await;
    expect(&mut first, NULL).await;
    expect(&mut second, b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n").await;
    // Who leaves takes nothing with it.
    let gone = said(&node, "BLPOP l 0").await;
    drop(gone);
    sleep(Duration::from_millis(1)).await;
    say(&mut other, "RPUSH l a\r\nLRANGE l 0 -1").await;
    expect(&mut other, b":1\r\n*1\r\n$1\r\na\r\n").await;
    assert_eq!(node.state.clients.blocked(), 0);
}

#[tokio::test(start_paused = true)]
async fn whatever_gives_a_key_its_value_serves_who_waits() {
    let node = Node::start(None, 100, 0);
    let mut other = said(&node, "SET l text").await;
    expect(&mut other, b"+OK\r\n").await;
    let mut refused = said(&node, "BLPOP l 0").await;
    expect(&mut refused, b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n").await;
    say(&mut other, "DEL l").await;
    expect(&mut other, b":1\r\n").await;
    let mut waiting = said(&node, "BLPOP l k 0").await;
    // A value of another type is passed over by who waits already.
    say(&mut other, "SET l text\r\nRPUSH x a b\r\nRENAME x k").await;
    expect(&mut other, b"+OK\r\n:2\r\n+OK\r\n").await;
    expect(&mut waiting, b"*2\r\n$1\r\nk\r\n$1\r\na\r\n").await;
    // One waits for what another one moves.
    let mut last = said(&node, "BLPOP c 0").await;
    let mut middle = said(&node, "BLMOVE b c LEFT RIGHT 0").await;
    say(&mut other, "RPUSH b chain").await;
    expect(&mut other, b":1\r\n").await;
    expect(&mut middle, b"$5\r\nchain\r\n").await;
    expect(&mut last, b"*2\r\n$1\r\nc\r\n$5\r\nchain\r\n").await;
    // In another database.
    say(&mut other, "SELECT 1\r\nRPUSH s one").await;
    expect(&mut other, b"+OK\r\n:1\r\n").await;
    let mut swapped = said(&node, "BLPOP s 0").await;
    say(&mut other, "SWAPDB 0 1").await;
    expect(&mut other, b"+OK\r\n").await;
    expect(&mut swapped, b"*2\r\n$1\r\ns\r\n$3\r\none\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_element_of_a_peer_serves_who_waits_longest() {
    let node = Node::start(None, 100, 0);
    let mut first = said(&node, "BLPOP l 0").await;
    let mut second = said(&node, "BLPOP l 0").await;
    let peer = Keyspace::new(KeyspaceOptions { node: Some(NodeId(2)), ..KeyspaceOptions::default() });
    for (element, client) in [(b"a", &mut first), (b"b", &mut second)] {
        let key = peer.key(b"l");
        let mut transaction = peer.lock_one(1, 0, key);
        let elements = crate::effects::Elements::one(element);
        transaction.list_push(key, crate::effects::End::Right, elements).expect("a list");
        transaction.commit();
        for effect in peer.drain_effects() {
            let seen: Frontier = [(NodeId(2), effect.dot.seq - 1)].into_iter().collect();
            node.state.keyspace.apply(&effect, &seen, 1);
        }
        expect(client, format!("*2\r\n$1\r\nl\r\n$1\r\n{}\r\n", char::from(element[0])).as_bytes()).await;
    }
}
