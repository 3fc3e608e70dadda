//! Stand-in for the commands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::keyspace::{Keyspace, Life, Millis};
use crate::observe::Stats;
use crate::resp::{Arguments, Protocol, Reply};

pub enum Flow {
    Continue,
    Close,
    Wait { replicas: usize, timeout: Option<Duration>, seq: u64 },
}

pub struct Command {
    pub name: &'static str,
}

pub fn command_names() -> impl Iterator<Item = (usize, &'static str)> {
    ["ping", "get", "set", "config", "wait", "quit", "auth", "panic"].into_iter().enumerate()
}

#[derive(Clone, Debug)]
pub struct ConfigOptions {
    pub max_clients: u64,
    pub timeout: u64,
    pub password: Vec<u8>,
    pub databases: u32,
}

impl Default for ConfigOptions {
    fn default() -> Self {
        ConfigOptions { max_clients: 10_000, timeout: 0, password: Vec::new(), databases: 16 }
    }
}

#[derive(Debug)]
pub struct Config {
    options: ConfigOptions,
}

impl Config {
    pub fn new(options: ConfigOptions) -> Config {
        Config { options }
    }
    pub fn password_required(&self) -> bool {
        !self.options.password.is_empty()
    }
    pub fn max_clients(&self) -> u64 {
        self.options.max_clients
    }
    pub fn timeout(&self) -> u64 {
        self.options.timeout
    }
}

#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub port: u16,
    pub bind: String,
    pub unix_socket: String,
    pub process: u32,
    pub executable: String,
    pub threads: usize,
    pub resident_memory: fn() -> usize,
    pub stopwatch: Option<fn() -> u64>,
}

pub fn resident_memory() -> usize {
    0
}

pub struct ServerState {
    pub keyspace: Arc<Keyspace>,
    pub config: Config,
    pub stats: Arc<Stats>,
    pub clients: ClientRegistry,
    pub serving: AtomicBool,
    pub started: Millis,
    pub run_id: String,
    pub facts: ServerFacts,
}

impl ServerState {
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub struct ClientRecord {
    pub id: u64,
    last_active: AtomicU64,
}

impl ClientRecord {
    pub fn note_batch(&self, now: Millis, _input_buffer: usize, _output_buffer: usize, _input: u64, _output: u64) {
        self.last_active.store(now, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug, Default)]
pub struct Connected {
    pub address: String,
    pub local_address: String,
    pub descriptor: i32,
    pub unix: bool,
}

#[derive(Debug, Default)]
pub struct ClientRegistry {
    records: Mutex<BTreeMap<u64, Arc<ClientRecord>>>,
    last_id: AtomicU64,
}

pub struct Session {
    pub thread: usize,
    pub authenticated: bool,
    pub record: Arc<ClientRecord>,
}

impl Session {
    pub fn open(state: &ServerState, _connected: Connected, thread: usize, now: Millis, _seed: u64) -> Session {
        let id = state.clients.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Arc::new(ClientRecord { id, last_active: AtomicU64::new(now) });
        state.clients.records.lock().insert(id, record.clone());
        state.stats.thread(thread).connections_received.add(1);
        state.stats.thread(thread).connections.add(1);
        Session { thread, authenticated: !state.config.password_required(), record }
    }
    pub fn close(self, state: &ServerState) {
        state.stats.thread(self.thread).connections.subtract(1);
        state.clients.records.lock().remove(&self.record.id);
    }
}

pub fn execute(
    state: &ServerState,
    session: &mut Session,
    arguments: &Arguments<'_>,
    reply: &mut Reply,
    now: Millis,
) -> Flow {
    let name = arguments[0].to_ascii_lowercase();
    let stats = state.stats.thread(session.thread);
    stats.commands.add(1);
    if let Some((id, _)) = command_names().find(|(_, known)| known.as_bytes() == name) {
        stats.command(id).calls.add(1);
    }
    if !session.authenticated && name != b"auth" && name != b"quit" {
        reply.error(b"NOAUTH Authentication required.");
        return Flow::Continue;
    }
    match &name[..] {
        b"ping" => match arguments.get(1) {
            Some(text) => reply.bulk(text),
            None => reply.simple("PONG"),
        },
        b"auth" => {
            session.authenticated = arguments.get(1) == Some(&state.config.options.password[..]);
            if session.authenticated {
                reply.ok()
            } else {
                reply.error(b"WRONGPASS invalid username-password pair or user is disabled.")
            }
        }
        b"hello" => {
            reply.set_protocol(Protocol::Resp3);
            reply.map(0);
        }
        b"get" => {
            let key = state.keyspace.key(&arguments[1]);
            let mut transaction = state.keyspace.lock_one(now, 0, key);
            match transaction.string(key) {
                Ok(value) => {
                    if value.is_some() {
                        stats.hits.add(1)
                    } else {
                        stats.misses.add(1)
                    }
                    reply.bulk_or_null(value)
                }
                Err(_) => reply.error(b"WRONGTYPE Operation against a key holding the wrong kind of value"),
            }
        }
        b"set" => {
            let key = state.keyspace.key(&arguments[1]);
            state.keyspace.lock_one(now, 0, key).string_set(key, &arguments[2], Life::Forever);
            reply.ok();
        }
        b"config" => {
            reply.array(2);
            reply.bulk(&arguments[2]);
            reply.bulk(b"");
        }
        b"wait" => {
            let text = |at| std::str::from_utf8(&arguments[at]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let timeout = text(2);
            let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
            return Flow::Wait { replicas: text(1) as usize, timeout, seq: 1 };
        }
        b"quit" => {
            reply.ok();
            return Flow::Close;
        }
        b"panic" => panic!("asked for"),
        _ => reply.error(b"ERR unknown command"),
    }
    Flow::Continue
}

pub struct Table;

pub fn table() -> &'static Table {
    &Table
}

impl Table {
    pub fn ids(&self) -> usize {
        command_names().count()
    }
    pub fn name_of(&self, id: usize) -> Option<&'static str> {
        command_names().find(|(known, _)| *known == id).map(|(_, name)| name)
    }
}
