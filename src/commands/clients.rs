//! The connections of this node, as CLIENT LIST shows them.
//!
//! Each connection shares one record with the registry. It writes to it with relaxed stores, and only when something
//! changes or a batch of requests is done: a command costs nothing here. Must not know sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::table::table;
use crate::acl::User;
use crate::keyspace::{Millis, Verdict, Waiter, Watcher};

/// What a client says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNames {
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub library: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: Vec<u8>,
}

/// Wakes a connection's task.
#[derive(Clone)]
pub struct Wake(pub Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wake")
    }
}

/// What others may see of one connection.
#[derive(Debug)]
pub struct ClientRecord {
    /// Counts from 1, never reused while the process lives.
    pub id: u64,
    /// The peer's address, or the path of the unix socket.
    pub address: String,
    /// The address that the client connected to.
    pub local_address: String,
    /// The number of the socket.
    pub descriptor: i32,
    /// It came over a unix socket.
    pub unix: bool,
    /// When it connected.
    pub connected_at: Millis,
    names: Mutex<ClientNames>,
    database: AtomicU32,
    protocol: AtomicU32,
    user: Mutex<Arc<User>>,
    killed: AtomicBool,
    /// What it listens to may be forbidden by now.
    recheck: AtomicBool,
    wake: OnceLock<Wake>,
    last_command: AtomicUsize,
    last_active: AtomicU64,
    input_buffer: AtomicUsize,
    output_buffer: AtomicUsize,
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    waiter: Mutex<Option<Arc<Waiter>>>,
    watcher: Mutex<Option<Arc<Watcher>>>,
    /// Commands queued since MULTI; -1 without MULTI.
    queued: AtomicIsize,
    queued_bytes: AtomicUsize,
    /// Channels, patterns and shard channels that it listens to.
    subscriptions: [AtomicUsize; 3],
}

/// Stands for "no command yet".
const NO_COMMAND: usize = usize::MAX;

impl ClientRecord {
    /// Notes the end of a batch of requests: when, what is left in the buffers, and how much went in and out.
    pub fn note_batch(&self, now: Millis, input_buffer: usize, output_buffer: usize, input: u64, output: u64) {
        self.last_active.store(now, Ordering::Relaxed);
        self.input_buffer.store(input_buffer, Ordering::Relaxed);
        self.output_buffer.store(output_buffer, Ordering::Relaxed);
        self.input_bytes.fetch_add(input, Ordering::Relaxed);
        self.output_bytes.fetch_add(output, Ordering::Relaxed);
    }

    /// When it last sent something.
    pub fn last_active(&self) -> Millis {
        self.last_active.load(Ordering::Relaxed)
    }

    /// A copy of what the client says about itself.
    pub fn names(&self) -> ClientNames {
        self.names.lock().clone()
    }

    pub(super) fn change_names(&self, change: impl FnOnce(&mut ClientNames)) {
        change(&mut self.names.lock());
    }

    pub(super) fn note_database(&self, database: u32) {
        self.database.store(database, Ordering::Relaxed);
    }

    pub(super) fn note_protocol(&self, version: u32) {
        self.protocol.store(version, Ordering::Relaxed);
    }

    pub(super) fn note_command(&self, id: usize) {
        self.last_command.store(id, Ordering::Relaxed);
    }

    pub(super) fn note_waiter(&self, waiter: Option<Arc<Waiter>>) {
        *self.waiter.lock() = waiter;
    }

    pub(super) fn note_watcher(&self, watcher: Option<Arc<Watcher>>) {
        *self.watcher.lock() = watcher;
    }

    /// So many commands wait for EXEC, and take so many bytes.
    pub(super) fn note_queued(&self, commands: usize, bytes: usize) {
        self.queued.store(isize::try_from(commands).unwrap_or(isize::MAX), Ordering::Relaxed);
        self.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    /// There was no MULTI.
    pub(super) fn note_no_queue(&self) {
        self.queued.store(-1, Ordering::Relaxed);
        self.queued_bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn note_subscriptions(&self, counts: [usize; 3]) {
        self.subscriptions.iter().zip(counts).for_each(|(noted, count)| noted.store(count, Ordering::Relaxed));
    }

    fn subscriptions(&self) -> [usize; 3] {
        self.subscriptions.each_ref().map(|noted| noted.load(Ordering::Relaxed))
    }

    /// Does it listen to channels?
    pub fn is_listening(&self) -> bool {
        self.subscriptions() != [0; 3]
    }

    /// The letters that CLIENT LIST shows for what it is doing.
    fn flags(&self) -> String {
        let watcher = self.watcher.lock().clone();
        let letters = [
            ('P', self.is_listening()),
            ('x', self.queued.load(Ordering::Relaxed) >= 0),
            ('b', self.is_blocked()),
            ('d', watcher.is_some_and(|watcher| watcher.is_touched())),
            ('U', self.unix),
        ];
        let shown: String = letters.iter().filter(|(_, applies)| *applies).map(|(letter, _)| *letter).collect();
        if shown.is_empty() { "N".to_string() } else { shown }
    }

    /// Does it wait in a blocking command?
    pub fn is_blocked(&self) -> bool {
        self.waiter.lock().is_some()
    }

    /// Ends the waiting of its blocking command. False when there is none.
    pub fn unblock(&self, verdict: Verdict) -> bool {
        let waiter = self.waiter.lock().clone();
        waiter.inspect(|waiter| waiter.unblock(verdict)).is_some()
    }

    pub(super) fn note_user(&self, user: Arc<User>) {
        *self.user.lock() = user;
    }

    /// Is this the user that it has logged in as?
    pub fn has_user(&self, user: &Arc<User>) -> bool {
        Arc::ptr_eq(&self.user.lock(), user)
    }

    /// How to wake its task.
    pub(super) fn set_wake(&self, wake: Wake) {
        // A connection has one task, and says so once.
        let _ = self.wake.set(wake);
    }

    /// Asks it to end, whatever its client does.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
    }

    /// Is it asked to end?
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Lets the connection see whether its user still may listen to what it listens to.
    pub(super) fn recheck(&self) {
        self.recheck.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn take_recheck(&self) -> bool {
        self.recheck.load(Ordering::Acquire) && self.recheck.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        if let Some(Wake(wake)) = self.wake.get() {
            wake();
        }
    }

    /// One line of CLIENT LIST, without the line break. Fields of features that are not there have the value that Redis
    /// shows when they are not used.
    pub fn describe(&self, now: Millis, out: &mut Vec<u8>) {
        let names = self.names();
        let seconds_since = |then: Millis| now.saturating_sub(then) / 1000;
        let command = table().name_of(self.last_command.load(Ordering::Relaxed)).unwrap_or("NULL");
        let (input, output) = (self.input_buffer.load(Ordering::Relaxed), self.output_buffer.load(Ordering::Relaxed));
        out.extend_from_slice(
            format!("id={} addr={} laddr={} fd={} name=", self.id, self.address, self.local_address, self.descriptor)
                .as_bytes(),
        );
        out.extend_from_slice(&names.name);
        let [channels, patterns, shards] = self.subscriptions();
        let watched = self.watcher.lock().as_ref().map_or(0, |watcher| watcher.len());
        let queued_bytes = self.queued_bytes.load(Ordering::Relaxed);
        let middle = format!(
            " age={} idle={} flags={} db={} sub={channels} psub={patterns} ssub={shards} multi={} watch={watched} qbuf={input} qbuf-free=0 \
             argv-mem=0 multi-mem={queued_bytes} rbs=0 rbp=0 obl={output} oll=0 omem=0 tot-mem={} events=r cmd={command} user=",
            seconds_since(self.connected_at),
            seconds_since(self.last_active()),
            self.flags(),
            self.database.load(Ordering::Relaxed),
            self.queued.load(Ordering::Relaxed),
            input + output + queued_bytes + std::mem::size_of::<ClientRecord>(),
        );
        out.extend_from_slice(middle.as_bytes());
        out.extend_from_slice(self.user.lock().name());
        out.extend_from_slice(format!(" redir=-1 resp={} lib-name=", self.protocol.load(Ordering::Relaxed)).as_bytes());
        out.extend_from_slice(&names.library);
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(&names.library_version);
    }
}

/// Where a connection comes from; the server knows.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    /// The peer's address, or the path of the unix socket.
    pub address: String,
    /// The address that the client connected to.
    pub local_address: String,
    /// The number of the socket, for operators.
    pub descriptor: i32,
    /// It came over a unix socket.
    pub unix: bool,
}

/// All open connections.
#[derive(Debug, Default)]
pub struct ClientRegistry {
    records: Mutex<BTreeMap<u64, Arc<ClientRecord>>>,
    last_id: AtomicU64,
}

impl ClientRegistry {
    /// Adds a connection.
    pub(super) fn add(&self, connected: Connected, now: Millis, user: Arc<User>) -> Arc<ClientRecord> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Arc::new(ClientRecord {
            id,
            address: connected.address,
            local_address: connected.local_address,
            descriptor: connected.descriptor,
            unix: connected.unix,
            connected_at: now,
            names: Mutex::default(),
            database: AtomicU32::new(0),
            protocol: AtomicU32::new(2),
            user: Mutex::new(user),
            killed: AtomicBool::new(false),
            recheck: AtomicBool::new(false),
            wake: OnceLock::new(),
            last_command: AtomicUsize::new(NO_COMMAND),
            last_active: AtomicU64::new(now),
            input_buffer: AtomicUsize::new(0),
            output_buffer: AtomicUsize::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            waiter: Mutex::new(None),
            watcher: Mutex::new(None),
            queued: AtomicIsize::new(-1),
            queued_bytes: AtomicUsize::new(0),
            subscriptions: Default::default(),
        });
        self.records.lock().insert(id, Arc::clone(&record));
        record
    }

    /// Forgets a closed connection.
    pub fn remove(&self, id: u64) {
        self.records.lock().remove(&id);
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.records.lock().len()
    }

    /// How many wait in a blocking command.
    pub fn blocked(&self) -> usize {
        self.records.lock().values().filter(|record| record.is_blocked()).count()
    }

    /// Is none open?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All connections by id.
    pub fn all(&self) -> Vec<Arc<ClientRecord>> {
        self.records.lock().values().map(Arc::clone).collect()
    }

    /// One connection.
    pub fn get(&self, id: u64) -> Option<Arc<ClientRecord>> {
        self.records.lock().get(&id).map(Arc::clone)
    }
}
