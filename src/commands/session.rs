//! What one connection is to the commands: who, which database, what it wrote last.
//!
//! Must not know sockets or buffers.

use std::fmt;
use std::sync::Arc;

use super::clients::{ClientRecord, Connected};
use super::state::ServerState;
use super::table::{Entry, table};
use crate::effects::StreamId;
use crate::keyspace::{Millis, Waiter};
use crate::resp::{Protocol, Reply};

/// The state of one connection. Lives on the thread that serves it.
#[derive(Debug)]
pub struct Session {
    /// Counts from 1; what CLIENT ID tells.
    pub id: u64,
    /// Which block of the statistics this connection's thread writes.
    pub thread: usize,
    /// The selected database.
    pub database: u32,
    /// Has a password been given, or was none needed when it connected?
    pub authenticated: bool,
    /// The seq of the last effect that this connection made, 0 for none: what WAIT waits for.
    pub last_written: u64,
    /// Random choices made for this client.
    pub random: fastrand::Rng,
    /// What others see of it.
    pub record: Arc<ClientRecord>,
    replies: Replies,
    cached: &'static Entry,
    wake: Wake,
    /// A blocking command is waiting under this.
    waiter: Option<Arc<Waiter>>,
    /// From which ids on XREAD waits: what `$` meant when it began.
    pub(super) reads_after: Vec<StreamId>,
}

/// Wakes the connection's task.
#[derive(Clone)]
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Wake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wake")
    }
}

/// Which replies the client wants (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// All but that of the command after this one.
    SkipNext,
    /// All but that of this command.
    Skip,
}

impl Session {
    /// A new connection, entered in the registry; [`Session::close`] takes it out again.
    /// `thread` is the index of the serving thread, `seed` makes the connection's random choices reproducible.
    pub fn open(state: &ServerState, connected: Connected, thread: usize, now: Millis, seed: u64) -> Session {
        let authenticated = !state.config.password_required();
        let record = state.clients.add(connected, now, authenticated);
        let block = state.stats.thread(thread);
        block.connections_received.add(1);
        block.connections.add(1);
        Session {
            id: record.id,
            thread,
            database: 0,
            authenticated,
            last_written: 0,
            random: fastrand::Rng::with_seed(seed),
            record,
            replies: Replies::On,
            cached: &table().entries()[0],
            wake: Wake(Arc::new(|| {})),
            waiter: None,
            reads_after: Vec::new(),
        }
    }

    /// How to wake the connection when what a blocking command waits for is there.
    pub fn set_wake(&mut self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.wake = Wake(wake);
    }

    /// Does a blocking command wait?
    pub fn is_blocked(&self) -> bool {
        self.waiter.is_some()
    }

    /// What a blocking command waits under, if one does.
    pub fn waiter(&self) -> Option<&Arc<Waiter>> {
        self.waiter.as_ref()
    }

    /// A blocking command waits from now on, or goes on waiting.
    pub(super) fn block(&mut self) -> Arc<Waiter> {
        if let Some(waiter) = &self.waiter {
            return Arc::clone(waiter);
        }
        let Wake(wake) = self.wake.clone();
        let waiter = Waiter::new(Box::new(move || wake()));
        self.record.note_waiter(Some(Arc::clone(&waiter)));
        self.waiter = Some(Arc::clone(&waiter));
        waiter
    }

    /// The blocking command waits no longer, whatever came of it.
    pub fn end_waiting(&mut self, state: &ServerState, now: Millis) {
        if let Some(waiter) = self.waiter.take() {
            self.reads_after.clear();
            self.record.note_waiter(None);
            state.keyspace.forget_waiter(now, self.database, &waiter);
        }
    }

    /// The connection is gone. To be called on its own thread.
    pub fn close(mut self, state: &ServerState, now: Millis) {
        self.end_waiting(state, now);
        state.stats.thread(self.thread).connections.subtract(1);
        state.clients.remove(self.id);
    }

    /// Selects a database.
    pub(super) fn select(&mut self, database: u32) {
        self.database = database;
        self.record.note_database(database);
    }

    /// Changes the protocol of the replies.
    pub(super) fn set_protocol(&self, protocol: Protocol, reply: &mut Reply) {
        reply.set_protocol(protocol);
        self.record.note_protocol(match protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        });
    }

    /// Says whether a password was given.
    pub(super) fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
        self.record.note_authenticated(authenticated);
    }

    /// Changes which replies the client wants.
    pub(super) fn set_replies(&mut self, replies: Replies) {
        // A client that wants none has no reply to skip.
        if !(replies == Replies::SkipNext && self.replies == Replies::Off) {
            self.replies = replies;
        }
    }

    /// At the end of a command: does the client want its reply?
    pub(super) fn wants_reply(&mut self) -> bool {
        match self.replies {
            Replies::On => return true,
            Replies::Off => {}
            Replies::SkipNext => self.replies = Replies::Skip,
            Replies::Skip => self.replies = Replies::On,
        }
        false
    }

    /// The command of this name. Clients repeat themselves, so the last one is looked at first.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&'static Entry> {
        if !name.eq_ignore_ascii_case(self.cached.command.name.as_bytes()) {
            self.cached = table().find(name)?;
            self.record.note_command(self.cached.id);
        }
        Some(self.cached)
    }
}
