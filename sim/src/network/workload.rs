//! What clients do: each talks to one node over connections that break and are made anew, writes down what it tried and
//! what it was promised, and checks at once what holds within one connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::{Answer, Client};
use super::history::{Acknowledged, Attempt, History, MemberHistory};
use super::machine::{CLIENT_PORT, Incarnation, Machine};
use super::record::Record;
use crate::Workload;

/// Connections to each node at a time.
pub const CLIENTS_PER_NODE: usize = 2;

/// The pause before a new connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// One in so many writes flushes everything, where the workload does that.
const FLUSH_EVERY: u64 = 500;

const WRITE_TOGETHER: &str = "redis.call('ZADD', ARGV[3], ARGV[4], 'member') redis.call('SET', ARGV[1], ARGV[4]) \
                              redis.call('HSET', ARGV[2], 'field', ARGV[4]) return 3";
/// How EXEC answers at a node that has begun to take in a snapshot since MULTI.
const NOT_READY: &str = "discarded because of: LOADING swytch is joining the cluster and not ready yet";

/// What all clients share.
pub struct Clients {
    /// What they do.
    pub workload: Workload,
    /// What they did.
    pub history: RefCell<History>,
    /// Are they to go on?
    pub busy: Cell<bool>,
    /// How many of them have not come to their end.
    pub active: Cell<usize>,
    /// Where it is written down.
    pub record: Record,
}

/// Why a connection ends.
enum End {
    /// It broke, or its node did not answer.
    Broken,
    /// The node does not serve at the moment.
    Loading,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Broken
    }
}

/// Lets one client work as long as clients do.
pub async fn run(clients: Rc<Clients>, machine: Rc<Machine>, name: String, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut connections = 0;
    let address = SocketAddr::new(machine.address, CLIENT_PORT);
    while clients.busy.get() {
        let incarnation = machine.running();
        if let (Some(incarnation), Ok(client)) = (incarnation, Client::connect(address).await) {
            connections += 1;
            let name = format!("{name}.{connections}");
            clients.record.note(&format!("{name} connected"));
            let mut session = Session {
                clients: &clients,
                machine: &machine,
                incarnation,
                client,
                random: random.fork(),
                name,
                number: 0,
                counters: BTreeMap::new(),
                member: None,
                field: None,
            };
            let end = session.work().await;
            let why = match end {
                Ok(()) => "done",
                Err(End::Broken) => "broken",
                Err(End::Loading) => "not served",
            };
            clients.record.note(&format!("{} ends: {why}", session.name));
        }
        sleep(RECONNECT_PAUSE).await;
    }
    clients.active.set(clients.active.get() - 1);
}

/// One connection, and what it has seen.
struct Session<'a> {
    clients: &'a Clients,
    machine: &'a Machine,
    incarnation: Incarnation,
    client: Client,
    random: fastrand::Rng,
    name: String,
    number: u64,
    /// The highest value seen of each counter.
    counters: BTreeMap<String, i64>,
    /// The last member it added and did not remove.
    member: Option<(String, String)>,
    /// The last value it wrote to its field, and the key.
    field: Option<(String, String)>,
}

impl Session<'_> {
    async fn work(&mut self) -> Result<(), End> {
        let workload = &self.clients.workload;
        let pause = 1_000_000 * CLIENTS_PER_NODE as u64 / workload.rate.max(1);
        while self.clients.busy.get() {
            sleep(Duration::from_micros(pause / 2 + self.random.u64(..=pause))).await;
            if self.random.f64() < workload.reads {
                self.clients.history.borrow_mut().reads += 1;
                self.read().await?;
            } else {
                self.clients.history.borrow_mut().writes += 1;
                self.number += 1;
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), End> {
        if self.clients.workload.flushes && self.random.u64(..FLUSH_EVERY) == 0 {
            self.clients.history.borrow_mut().flushed = true;
            return self.call(&["FLUSHALL"]).await.map(drop);
        }
        match self.random.u8(..6) {
            5 => self.write_together().await,
            0 => self.increment().await,
            1 => self.add_member().await,
            2 => self.remove_member().await,
            3 => self.write_field().await,
            _ => self.write_string().await,
        }
    }

    async fn increment(&mut self) -> Result<(), End> {
        let key = self.key("counter");
        let position = push(self.clients.history.borrow_mut().counters.entry(key.clone()).or_default(), "1");
        let Answer::Integer(value) = self.call(&["INCR", &key]).await? else { return Err(End::Broken) };
        let acknowledged = self.acknowledged();
        if let Some(attempts) = self.clients.history.borrow_mut().counters.get_mut(&key) {
            attempts[position].acknowledged = acknowledged;
        }
        self.saw_counter(key, value, 1);
        Ok(())
    }

    async fn add_member(&mut self) -> Result<(), End> {
        let (key, member) = (self.key("set"), format!("{}.{}", self.name, self.number));
        let place = (key.clone(), member.clone());
        self.clients.history.borrow_mut().members.insert(place.clone(), MemberHistory::default());
        let answer = self.call(&["SADD", &key, &member]).await?;
        let acknowledged = self.acknowledged();
        if let Some(history) = self.clients.history.borrow_mut().members.get_mut(&place) {
            history.added = acknowledged;
        }
        if answer != Answer::Integer(1) {
            self.violation(&format!("P5: adding {member} to {key} answered {answer:?}"));
        }
        self.member = Some(place);
        Ok(())
    }

    async fn remove_member(&mut self) -> Result<(), End> {
        let Some(place) = self.member.take() else { return Ok(()) };
        if let Some(history) = self.clients.history.borrow_mut().members.get_mut(&place) {
            history.removal_tried = true;
        }
        let answer = self.call(&["SREM", &place.0, &place.1]).await?;
        let acknowledged = self.acknowledged();
        match answer {
            Answer::Integer(1) => {
                if let Some(history) = self.clients.history.borrow_mut().members.get_mut(&place) {
                    history.removed = acknowledged;
                }
            }
            _ if self.clients.history.borrow().flushed => {}
            answer => self.violation(&format!("P4: removing {} from {} answered {answer:?}", place.1, place.0)),
        }
        Ok(())
    }

    async fn write_field(&mut self) -> Result<(), End> {
        let key = self.key("hash");
        let (field, value) = (self.name.clone(), self.number.to_string());
        let place = (key.clone(), field.clone());
        let position = push(self.clients.history.borrow_mut().fields.entry(place.clone()).or_default(), &value);
        self.field = None;
        self.call(&["HSET", &key, &field, &value]).await?;
        let acknowledged = self.acknowledged();
        if let Some(attempts) = self.clients.history.borrow_mut().fields.get_mut(&place) {
            attempts[position].acknowledged = acknowledged;
        }
        self.field = Some((key, value));
        Ok(())
    }

    async fn write_string(&mut self) -> Result<(), End> {
        let (key, value) = (self.key("string"), format!("{}.{}", self.name, self.number));
        let position = push(self.clients.history.borrow_mut().strings.entry(key.clone()).or_default(), &value);
        self.call(&["SET", &key, &value]).await?;
        let acknowledged = self.acknowledged();
        if let Some(attempts) = self.clients.history.borrow_mut().strings.get_mut(&key) {
            attempts[position].acknowledged = acknowledged;
        }
        Ok(())
    }

    /// A string, a hash and a sorted set that are only ever written together, in one transaction or by one script.
    async fn write_together(&mut self) -> Result<(), End> {
        let (key, value) = (self.key("together"), self.random.u32(..).to_string());
        let [string, hash, board] = together(&key);
        if self.random.bool() {
            // The keys are not declared: they turn up while it runs.
            let answer = self.call(&["EVAL", WRITE_TOGETHER, "0", &string, &hash, &board, &value]).await?;
            if answer != Answer::Integer(3) {
                self.violation(&format!("P3: a script on {key} answered {answer:?}"));
            }
            return Ok(());
        }
        self.call(&["MULTI"]).await?;
        self.call(&["ZADD", &board, &value, "member"]).await?;
        self.call(&["SET", &string, &value]).await?;
        self.call(&["HSET", &hash, "field", &value]).await?;
        match self.call(&["EXEC"]).await? {
            Answer::List(answers) if answers.len() == 3 => {}
            answer => self.violation(&format!("P3: a transaction on {key} answered {answer:?}")),
        }
        Ok(())
    }

    /// The latest of all three is of one transaction, whatever this node has and lacks.
    async fn read_together(&mut self) -> Result<(), End> {
        let key = self.key("together");
        let [string, hash, board] = together(&key);
        self.call(&["MULTI"]).await?;
        self.call(&["GET", &string]).await?;
        self.call(&["HGET", &hash, "field"]).await?;
        self.call(&["ZSCORE", &board, "member"]).await?;
        let answer = self.call(&["EXEC"]).await?;
        let Answer::List(values) = &answer else { return Err(End::Broken) };
        if values.len() != 3 || values.windows(2).any(|pair| pair[0] != pair[1]) {
            self.violation(&format!("P3: {} sees a torn transaction on {key}: {answer:?}", self.name));
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), End> {
        match self.random.u8(..5) {
            4 => self.read_together().await?,
            0 => {
                let Some((key, member)) = self.member.clone() else { return Ok(()) };
                let answer = self.call(&["SISMEMBER", &key, &member]).await?;
                self.expect_own(answer == Answer::Integer(1), &format!("{member} in {key}"));
            }
            1 => {
                let Some((key, value)) = self.field.clone() else { return Ok(()) };
                let answer = self.call(&["HGET", &key, &self.name.clone()]).await?;
                self.expect_own(answer == Answer::Text(Some(value.clone())), &format!("{value} in {key}"));
            }
            2 => {
                let key = self.key("counter");
                if let Answer::Text(value) = self.call(&["GET", &key]).await? {
                    let value = value.and_then(|value| value.parse().ok()).unwrap_or(0);
                    self.saw_counter(key, value, 0);
                }
            }
            _ => {
                let key = self.key("string");
                self.call(&["GET", &key]).await?;
            }
        }
        Ok(())
    }

    /// Sends a command; what a node that is not ready answers ends the connection.
    async fn call(&mut self, words: &[&str]) -> Result<Answer, End> {
        let outcome = self.client.call(words).await;
        self.clients.record.note(&format!("{} {words:?} {outcome:?}", self.name));
        match outcome? {
            Answer::Error(text) if text.starts_with("LOADING") || text.ends_with(NOT_READY) => Err(End::Loading),
            Answer::Error(text) => {
                self.violation(&format!("P5: {words:?} was answered with {text}"));
                Err(End::Broken)
            }
            answer => Ok(answer),
        }
    }

    /// What the node has promised with the answer that has just come: nothing, when it is not the same node any more.
    fn acknowledged(&self) -> Option<Acknowledged> {
        let running = self.machine.running()?;
        if running.number != self.incarnation.number {
            return None;
        }
        let node = running.node();
        let seq = running.keyspace.frontier().get(node);
        Some(Acknowledged { machine: self.machine.index, incarnation: running.number, node, seq })
    }

    /// A counter only grows before one client's eyes.
    fn saw_counter(&mut self, key: String, value: i64, growth: i64) {
        let seen = self.counters.insert(key.clone(), value).unwrap_or(0);
        if value < seen + growth {
            self.expect_own(false, &format!("{key} at {seen} or more (it is {value})"));
        }
    }

    fn expect_own(&self, holds: bool, what: &str) {
        if !holds && !self.clients.history.borrow().flushed {
            self.violation(&format!("P4: {} does not see {what}", self.name));
        }
    }

    fn violation(&self, what: &str) {
        let at = turmoil::sim_elapsed().unwrap_or_default().as_secs_f64();
        self.clients.history.borrow_mut().violations.push(format!("{what} (at {at:.3} s)"));
    }

    fn key(&mut self, kind: &str) -> String {
        format!("{kind}-{}", self.random.u64(..self.clients.workload.keys.max(1)))
    }
}

/// The keys that are only ever written together.
fn together(key: &str) -> [String; 3] {
    ["string", "hash", "board"].map(|kind| format!("{key}.{kind}"))
}

/// Adds an attempt of which nothing is known yet; its position.
fn push(attempts: &mut Vec<Attempt>, value: &str) -> usize {
    attempts.push(Attempt { value: value.to_owned(), acknowledged: None });
    attempts.len() - 1
}
