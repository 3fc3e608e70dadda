//! Many connections on many threads whose transactions meet: nothing may be lost, seen half done, or wait for ever.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::testing::Fixture;
use super::*;
use crate::effects::{Frontier, NodeId};
use crate::keyspace::{Keyspace, KeyspaceOptions};
use crate::resp::Protocol;

const ROUNDS: usize = 2000;
const LISTS: usize = 6;
const TOKENS: usize = 40;

/// A connection that blocks its thread where a real one would wait.
struct Client {
    state: Arc<ServerState>,
    session: Option<Session>,
    now: Millis,
    random: fastrand::Rng,
}

impl Client {
    fn open(state: &Arc<ServerState>, now: Millis, seed: u64) -> Client {
        let mut session = Session::open(state, Connected::default(), 0, now, seed);
        let thread = thread::current();
        session.set_wake(Arc::new(move || thread.unpark()));
        Client { state: Arc::clone(state), session: Some(session), now, random: fastrand::Rng::with_seed(seed) }
    }

    fn call(&mut self, request: &str) -> String {
        let mut ranges = Vec::new();
        let mut end = 0;
        for word in request.split(' ') {
            ranges.push(end..end + word.len() as u32);
            end += word.len() as u32 + 1;
        }
        let session = self.session.as_mut().expect("open");
        let mut deadline = None;
        loop {
            let mut reply = Reply::new(Protocol::Resp2);
            let arguments = Arguments::new(request.as_bytes(), &ranges);
            let flow = execute(&self.state, session, &arguments, &mut reply, self.now);
            let Flow::Block { timeout } = flow else {
                session.end_waiting(&self.state, self.now);
                return String::from_utf8_lossy(reply.bytes()).into_owned();
            };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeout.expect("a timeout"));
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                session.end_waiting(&self.state, self.now);
                return "$-1\r\n".to_string();
            }
            thread::park_timeout(left);
        }
    }

    fn transaction(&mut self, requests: &[String]) -> String {
        self.call("multi");
        requests.iter().for_each(|request| assert_eq!(self.call(request), "+QUEUED\r\n"));
        self.call("exec")
    }

    fn list(&mut self) -> usize {
        self.random.usize(..LISTS)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.state, self.now);
        }
    }
}

/// Adds to a counter that others add to, until it has done so often enough. Some of its transactions lock everything.
fn count(client: &mut Client) {
    for round in 0..ROUNDS {
        loop {
            client.call("watch counter");
            let value = client.call("get counter");
            let value: u64 = value.split("\r\n").nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut requests = vec![format!("set counter {}", value + 1)];
            if round % 16 == 0 {
                requests.push("dbsize".to_string());
            }
            if client.transaction(&requests) != "*-1\r\n" {
                break;
            }
        }
    }
}

/// Moves tokens between lists, alone, in transactions, and by waiting for them.
fn shuffle(client: &mut Client) {
    for _ in 0..ROUNDS {
        let (from, to, mine) = (client.list(), client.list(), client.session.as_ref().map_or(0, |session| session.id));
        match client.random.u8(..6) {
            0 => drop(client.call(&format!("lmove l{from} l{to} left right"))),
            1 => drop(client.call(&format!("blmove l{from} l{to} left right 0.002"))),
            2 => {
                let requests = [
                    format!("rename l{from} own{mine}"),
                    format!("lmove own{mine} l{to} right left"),
                    format!("lmove l{to} own{mine} left left"),
                    format!("renamenx own{mine} l{from}"),
                ];
                client.transaction(&requests);
            }
            3 => {
                let requests = [format!("lmove l{from} l{to} left left"), format!("blmove l{to} l{from} left left 0")];
                client.transaction(&requests);
            }
            4 => drop(client.transaction(&[format!("renamenx l{from} l{to}"), "keys nosuch".to_string()])),
            _ => {
                let requests = [
                    format!("move l{from} 1"),
                    "select 1".to_string(),
                    format!("move l{from} 0"),
                    "select 0".to_string(),
                ];
                client.transaction(&requests);
            }
        }
    }
}

/// Sees all tokens, whatever others are doing.
fn look(client: &mut Client) {
    let mut requests: Vec<String> = (0..LISTS).map(|list| format!("llen l{list}")).collect();
    requests.push("get counter".to_string());
    requests.push("get counter".to_string());
    for _ in 0..ROUNDS {
        let reply = client.transaction(&requests);
        let lengths = reply.split("\r\n").filter_map(|line| line.strip_prefix(':')?.parse::<usize>().ok());
        assert_eq!(lengths.sum::<usize>(), TOKENS, "{reply}");
        let counters: Vec<&str> = reply.split("\r\n").skip(LISTS + 1).collect();
        assert_eq!(counters[..counters.len() / 2], counters[counters.len() / 2..counters.len() / 2 * 2], "{reply}");
    }
}

fn run_all(fixture: Fixture) -> (Arc<ServerState>, Millis) {
    let (state, now) = (Arc::new(fixture.state), fixture.now);
    let mut first = Client::open(&state, now, 1);
    for token in 0..TOKENS {
        first.call(&format!("rpush l{} t{token}", token % LISTS));
    }
    let (report, done) = channel();
    let roles: [fn(&mut Client); 8] = [count, count, count, shuffle, shuffle, shuffle, look, look];
    for (number, role) in roles.into_iter().enumerate() {
        let (state, report) = (Arc::clone(&state), report.clone());
        thread::spawn(move || {
            let mut client = Client::open(&state, now, number as u64 + 10);
            role(&mut client);
            drop(client);
            report.send(()).expect("the test waits");
        });
    }
    drop(report);
    wait_for(&done, roles.len());
    assert_eq!(first.call("get counter"), format!("${}\r\n{}\r\n", (3 * ROUNDS).to_string().len(), 3 * ROUNDS));
    look(&mut first);
    let keys = (0..LISTS).map(|list| format!("lrange l{list} 0 -1"));
    let mut tokens: Vec<String> = keys
        .flat_map(|request| first.call(&request).split("\r\n").map(str::to_string).collect::<Vec<_>>())
        .filter(|line| line.starts_with('t'))
        .collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), TOKENS);
    drop(first);
    assert_eq!((state.clients.len(), state.clients.blocked()), (1, 0));
    (state, now)
}

/// Every thread ends in time: none failed, and none waits for another in a circle.
fn wait_for(done: &Receiver<()>, threads: usize) {
    for left in (0..threads).rev() {
        let ended = done.recv_timeout(Duration::from_secs(120));
        assert!(ended.is_ok(), "{} threads did not end: {ended:?}", left + 1);
    }
}

#[test]
fn transactions_of_many_threads_lose_nothing() {
    run_all(Fixture::new());
}

#[test]
fn in_a_cluster_their_effects_make_the_same_data() {
    let (state, now) = run_all(Fixture::in_a_cluster());
    let other = Keyspace::new(KeyspaceOptions { node: Some(NodeId(8)), ..KeyspaceOptions::default() });
    for effect in state.keyspace.drain_effects() {
        let seen: Frontier = [(NodeId(7), effect.dot.seq - 1)].into_iter().collect();
        other.apply(&effect, &seen, now);
    }
    assert_eq!(other.dump(), state.keyspace.dump());
}
