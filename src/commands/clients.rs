//! The connections of this node, as CLIENT LIST shows them.
//!
//! Each connection shares one record with the registry. It writes to it with relaxed stores, and only when something
//! changes or a batch of requests is done: a command costs nothing here. Must not know sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::attention::Attention;
use super::table::table;
use crate::acl::User;
use crate::keyspace::{Millis, Verdict, Waiter, Watcher};
use crate::pubsub::Subscriber;

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

/// What kind of client one is, as filters name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Neither of the others.
    Normal,
    /// It listens to channels.
    PubSub,
    /// Of those that follow another server, or are followed, there are none.
    Replication,
}

impl ClientKind {
    /// The kind of this name, in any case.
    pub fn named(name: &[u8]) -> Option<ClientKind> {
        let known = [
            ("normal", ClientKind::Normal),
            ("pubsub", ClientKind::PubSub),
            ("slave", ClientKind::Replication),
            ("replica", ClientKind::Replication),
            ("master", ClientKind::Replication),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, kind)| kind)
    }
}

/// Wakes a connection's task. What a connection is reached by does so itself, and needs no function in a box of its own.
pub trait Wake: Send + Sync {
    /// Wakes it. Must be quick.
    fn wake(&self);
}

impl<F: Fn() + Send + Sync> Wake for F {
    fn wake(&self) {
        self();
    }
}

/// The way to wake a connection's task.
#[derive(Clone)]
pub(super) struct Waking(pub(super) Arc<dyn Wake>);

impl fmt::Debug for Waking {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Waking")
    }
}

/// How a batch of requests went, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchNote {
    /// Input that is left because its request is not complete.
    pub input: usize,
    /// Room in the input buffer.
    pub input_room: usize,
    /// Replies that are not sent yet.
    pub output: usize,
    /// The size of the buffer of replies.
    pub output_room: usize,
}

/// What others may see of a connection and is not a number. One lock is enough: it changes seldom.
#[derive(Debug)]
struct Visible {
    /// What the client says about itself, if it does.
    names: Option<Box<ClientNames>>,
    user: Arc<User>,
    waiter: Option<Arc<Waiter>>,
    watcher: Option<Arc<Watcher>>,
}

/// What others may see of one connection. Each of many silent ones has it, so it is kept small.
#[derive(Debug)]
pub struct ClientRecord {
    /// Counts from 1, never reused while the process lives.
    pub id: u64,
    /// The peer's address, or the path of the unix socket.
    pub address: Box<str>,
    /// The address that the client connected to.
    pub local_address: Box<str>,
    /// The number of the socket.
    pub descriptor: i32,
    /// It came over a unix socket.
    pub unix: bool,
    /// When it connected.
    pub connected_at: Millis,
    visible: Mutex<Visible>,
    database: AtomicU32,
    protocol: AtomicU32,
    killed: AtomicBool,
    /// What it listens to may be forbidden by now.
    recheck: AtomicBool,
    wake: OnceLock<Waking>,
    last_command: AtomicU32,
    last_active: AtomicU64,
    /// Bytes, as [`BatchNote`] has them; more than 4 GiB is shown as that.
    input: AtomicU32,
    input_room: AtomicU32,
    output: AtomicU32,
    output_room: AtomicU32,
    /// How it keeps copies of keys: 0 when it does not.
    tracking: AtomicU32,
    /// The client that is told in its place that they are stale; 0: none.
    redirection: AtomicU64,
    /// Its connection has ended.
    gone: AtomicBool,
    /// Where messages and lines for it wait, once it has ever wanted some.
    subscriber: OnceLock<Arc<Subscriber>>,
    /// A request of it waits for the end of a pause.
    postponed: AtomicBool,
    /// CLIENT NO-EVICT.
    no_evict: AtomicBool,
    /// CLIENT NO-TOUCH.
    no_touch: AtomicBool,
    /// It reads along.
    monitoring: AtomicBool,
    /// Commands queued since MULTI; -1 without MULTI.
    queued: AtomicIsize,
    queued_bytes: AtomicUsize,
    /// Channels, patterns and shard channels that it listens to.
    subscriptions: [AtomicU32; 3],
}

/// What a connection takes beside its buffers, about, in bytes: record, session, task.
const CONNECTION_BYTES: usize = 1536;

/// It keeps copies of keys,
const TRACKS: u32 = 1;
/// and of those whose names begin with its prefixes;
const BROADCASTS: u32 = 1 << 1;
/// who is to be told in its place is gone.
const BROKEN_REDIRECTION: u32 = 1 << 2;

/// Stands for "no command yet".
const NO_COMMAND: u32 = u32::MAX;

/// The number, or the largest that there is room for.
fn fitting(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl ClientRecord {
    /// Notes the end of a batch of requests.
    pub fn note_batch(&self, now: Millis, note: BatchNote) {
        self.last_active.store(now, Ordering::Relaxed);
        self.input.store(fitting(note.input), Ordering::Relaxed);
        self.input_room.store(fitting(note.input_room), Ordering::Relaxed);
        self.output.store(fitting(note.output), Ordering::Relaxed);
        self.output_room.store(fitting(note.output_room), Ordering::Relaxed);
    }

    /// A request of it waits for the end of a pause, or does so no longer.
    pub fn note_postponed(&self, postponed: bool) {
        self.postponed.store(postponed, Ordering::Relaxed);
    }

    pub(super) fn note_no_evict(&self, applies: bool) {
        self.no_evict.store(applies, Ordering::Relaxed);
    }

    /// Is it not to be disconnected for want of memory?
    pub(super) fn is_protected(&self) -> bool {
        self.no_evict.load(Ordering::Relaxed)
    }

    pub(super) fn note_no_touch(&self, applies: bool) {
        self.no_touch.store(applies, Ordering::Relaxed);
    }

    pub(super) fn note_monitoring(&self, applies: bool) {
        self.monitoring.store(applies, Ordering::Relaxed);
    }

    /// What kind of client it is.
    pub fn kind(&self) -> ClientKind {
        if self.is_listening() { ClientKind::PubSub } else { ClientKind::Normal }
    }

    /// When it last sent something.
    pub fn last_active(&self) -> Millis {
        self.last_active.load(Ordering::Relaxed)
    }

    /// A copy of what the client says about itself.
    pub fn names(&self) -> ClientNames {
        self.visible.lock().names.as_deref().cloned().unwrap_or_default()
    }

    pub(super) fn change_names(&self, change: impl FnOnce(&mut ClientNames)) {
        change(self.visible.lock().names.get_or_insert_default());
    }

    pub(super) fn note_database(&self, database: u32) {
        self.database.store(database, Ordering::Relaxed);
    }

    pub(super) fn note_protocol(&self, version: u32) {
        self.protocol.store(version, Ordering::Relaxed);
    }

    pub(super) fn note_command(&self, id: usize) {
        self.last_command.store(fitting(id), Ordering::Relaxed);
    }

    pub(super) fn note_waiter(&self, waiter: Option<Arc<Waiter>>) {
        self.visible.lock().waiter = waiter;
    }

    pub(super) fn note_watcher(&self, watcher: Option<Arc<Watcher>>) {
        self.visible.lock().watcher = watcher;
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

    /// Where messages for it wait.
    pub(super) fn mailbox(&self) -> &Arc<Subscriber> {
        self.subscriber.get_or_init(|| {
            let wake = self.wake.get().cloned();
            Subscriber::new(self.id, Box::new(move || wake.iter().for_each(|Waking(wake)| wake.wake())))
        })
    }

    /// The same, if it has ever wanted some.
    pub(super) fn existing_mailbox(&self) -> Option<&Arc<Subscriber>> {
        self.subscriber.get()
    }

    /// How it keeps copies of keys: who is told in its place (0: nobody), and whether they are of all that begin with its prefixes.
    pub(super) fn note_tracking(&self, tracking: Option<(u64, bool)>) {
        let (redirection, modes) = match tracking {
            None => (0, 0),
            Some((redirection, broadcasts)) => (redirection, TRACKS | if broadcasts { BROADCASTS } else { 0 }),
        };
        self.redirection.store(redirection, Ordering::Relaxed);
        self.tracking.store(modes, Ordering::Relaxed);
    }

    /// Who is to be told in its place is gone.
    pub(super) fn note_broken_redirection(&self) {
        self.tracking.fetch_or(BROKEN_REDIRECTION, Ordering::Relaxed);
    }

    pub(super) fn has_broken_redirection(&self) -> bool {
        self.tracking.load(Ordering::Relaxed) & BROKEN_REDIRECTION != 0
    }

    /// Its connection has ended.
    pub(super) fn note_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Can it tell messages from replies?
    pub(super) fn understands_pushes(&self) -> bool {
        self.protocol.load(Ordering::Relaxed) == 3
    }

    pub(super) fn note_subscriptions(&self, counts: [usize; 3]) {
        self.subscriptions.iter().zip(counts).for_each(|(noted, count)| noted.store(fitting(count), Ordering::Relaxed));
    }

    fn subscriptions(&self) -> [u32; 3] {
        self.subscriptions.each_ref().map(|noted| noted.load(Ordering::Relaxed))
    }

    /// Does it listen to channels?
    pub fn is_listening(&self) -> bool {
        self.subscriptions() != [0; 3]
    }

    /// The letters that CLIENT LIST shows for what it is doing.
    fn flags(&self) -> String {
        let watcher = self.visible.lock().watcher.clone();
        let tracking = self.tracking.load(Ordering::Relaxed);
        let letters = [
            ('O', self.monitoring.load(Ordering::Relaxed)),
            ('P', self.is_listening()),
            ('x', self.queued.load(Ordering::Relaxed) >= 0),
            ('b', self.is_blocked()),
            ('t', tracking & TRACKS != 0),
            ('R', tracking & BROKEN_REDIRECTION != 0),
            ('B', tracking & BROADCASTS != 0),
            ('d', watcher.is_some_and(|watcher| watcher.is_touched())),
            ('U', self.unix),
            ('e', self.no_evict.load(Ordering::Relaxed)),
            ('T', self.no_touch.load(Ordering::Relaxed)),
        ];
        let shown: String = letters.iter().filter(|(_, applies)| *applies).map(|(letter, _)| *letter).collect();
        if shown.is_empty() { "N".to_string() } else { shown }
    }

    /// Does it wait in a blocking command, or for the end of a pause?
    pub fn is_blocked(&self) -> bool {
        self.postponed.load(Ordering::Relaxed) || self.visible.lock().waiter.is_some()
    }

    /// Ends the waiting of its blocking command. False when there is none.
    pub fn unblock(&self, verdict: Verdict) -> bool {
        let waiter = self.visible.lock().waiter.clone();
        waiter.inspect(|waiter| waiter.unblock(verdict)).is_some()
    }

    pub(super) fn note_user(&self, user: Arc<User>) {
        self.visible.lock().user = user;
    }

    /// Is this the user that it has logged in as?
    pub fn has_user(&self, user: &Arc<User>) -> bool {
        Arc::ptr_eq(&self.visible.lock().user, user)
    }

    /// How to wake its task.
    pub(super) fn set_wake(&self, wake: Arc<dyn Wake>) {
        // A connection has one task, and says so once.
        let _ = self.wake.set(Waking(wake));
    }

    /// How to wake its task, if it has one.
    pub(super) fn waking(&self) -> Option<Waking> {
        self.wake.get().cloned()
    }

    /// Asks it to end, whatever its client does. The session says when it has ended.
    pub fn kill(&self, attention: &Attention) {
        if !self.killed.swap(true, Ordering::SeqCst) {
            attention.add_killed();
        }
        self.wake();
    }

    /// Is it asked to end?
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
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
        if let Some(Waking(wake)) = self.wake.get() {
            wake.wake();
        }
    }

    /// Bytes of memory that the connection takes, about.
    pub fn memory(&self) -> usize {
        let buffers = [&self.input_room, &self.output_room].map(|size| size.load(Ordering::Relaxed) as usize);
        let queued = self.queued_bytes.load(Ordering::Relaxed);
        let mail = self.subscriber.get().map_or(0, |subscriber| subscriber.waiting().0);
        buffers.iter().sum::<usize>() + queued + mail + CONNECTION_BYTES
    }

    /// Bytes of input that wait for the rest of their request, and of replies that are not sent yet.
    pub fn buffered(&self) -> (usize, usize) {
        let sizes = [&self.input, &self.output].map(|size| size.load(Ordering::Relaxed) as usize);
        sizes.into()
    }

    /// One line of CLIENT LIST, without the line break. Fields of features that are not there have the value that Redis
    /// shows when they are not used.
    pub fn describe(&self, now: Millis, out: &mut Vec<u8>) {
        let names = self.names();
        let seconds_since = |then: Millis| now.saturating_sub(then) / 1000;
        let command = table().name_of(self.last_command.load(Ordering::Relaxed) as usize).unwrap_or("NULL");
        let sizes = [&self.input, &self.input_room, &self.output, &self.output_room];
        let [input, input_room, output, output_room] = sizes.map(|size| size.load(Ordering::Relaxed));
        let (mail_bytes, mail) = self.subscriber.get().map_or((0, 0), |subscriber| subscriber.waiting());
        out.extend_from_slice(
            format!("id={} addr={} laddr={} fd={} name=", self.id, self.address, self.local_address, self.descriptor)
                .as_bytes(),
        );
        out.extend_from_slice(&names.name);
        let [channels, patterns, shards] = self.subscriptions();
        let watched = self.visible.lock().watcher.as_ref().map_or(0, |watcher| watcher.len());
        let queued_bytes = self.queued_bytes.load(Ordering::Relaxed);
        let middle = format!(
            " age={} idle={} flags={} db={} sub={channels} psub={patterns} ssub={shards} multi={} watch={watched} qbuf={input} qbuf-free={} \
             argv-mem=0 multi-mem={queued_bytes} rbs={output_room} rbp={output_room} obl={output} oll={mail} omem={mail_bytes} tot-mem={} events=r cmd={command} user=",
            seconds_since(self.connected_at),
            seconds_since(self.last_active()),
            self.flags(),
            self.database.load(Ordering::Relaxed),
            self.queued.load(Ordering::Relaxed),
            input_room.saturating_sub(input),
            self.memory(),
        );
        out.extend_from_slice(middle.as_bytes());
        out.extend_from_slice(self.visible.lock().user.name());
        let redirection = match self.tracking.load(Ordering::Relaxed) {
            0 => -1,
            _ => i64::try_from(self.redirection.load(Ordering::Relaxed)).unwrap_or(i64::MAX),
        };
        let protocol = self.protocol.load(Ordering::Relaxed);
        out.extend_from_slice(format!(" redir={redirection} resp={protocol} lib-name=").as_bytes());
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
    evicted: AtomicU64,
}

impl ClientRegistry {
    /// Adds a connection.
    pub(super) fn add(&self, connected: Connected, now: Millis, user: Arc<User>) -> Arc<ClientRecord> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let record = Arc::new(ClientRecord {
            id,
            address: connected.address.into(),
            local_address: connected.local_address.into(),
            descriptor: connected.descriptor,
            unix: connected.unix,
            connected_at: now,
            visible: Mutex::new(Visible { names: None, user, waiter: None, watcher: None }),
            database: AtomicU32::new(0),
            protocol: AtomicU32::new(2),
            killed: AtomicBool::new(false),
            recheck: AtomicBool::new(false),
            wake: OnceLock::new(),
            last_command: AtomicU32::new(NO_COMMAND),
            last_active: AtomicU64::new(now),
            input: AtomicU32::new(0),
            input_room: AtomicU32::new(0),
            output: AtomicU32::new(0),
            output_room: AtomicU32::new(0),
            tracking: AtomicU32::new(0),
            redirection: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            subscriber: OnceLock::new(),
            postponed: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            monitoring: AtomicBool::new(false),
            queued: AtomicIsize::new(-1),
            queued_bytes: AtomicUsize::new(0),
            subscriptions: Default::default(),
        });
        self.records.lock().insert(id, Arc::clone(&record));
        record
    }

    /// One was disconnected for want of memory.
    pub(super) fn count_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were disconnected for want of memory.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Counts them from 0 on.
    pub(super) fn reset_evicted(&self) {
        self.evicted.store(0, Ordering::Relaxed);
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
