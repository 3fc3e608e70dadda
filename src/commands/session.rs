//! What one connection is to the commands: who, which database, what it wrote last.
//!
//! Must not know sockets or buffers.

use std::sync::Arc;

use super::attention::Attention;
use super::clients::{ClientRecord, Connected, Wake, Waking};
use super::state::ServerState;
use super::subscriptions::{Subscriptions, deliver};
use super::supervision::Supervision;
use super::table::{Entry, table};
use super::timing::Batch;
use super::tracking::TrackingMode;
use super::transactions::Queue;
use crate::acl::{Definition, User};
use crate::effects::StreamId;
use crate::keyspace::{Millis, Waiter, Watcher};
use crate::pubsub::{Channels, Topic};
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
    /// Has it logged in, or was there no need to when it connected?
    pub authenticated: bool,
    /// The user that it has logged in as, `default` before.
    pub user: Arc<User>,
    /// What the user was when that was last looked at, and its version.
    permissions: (Arc<Definition>, u64),
    /// The seq of the last effect that this connection made, 0 for none: what WAIT waits for.
    pub last_written: u64,
    /// Random choices made for this client.
    pub random: fastrand::Rng,
    /// What others see of it.
    pub record: Arc<ClientRecord>,
    replies: Replies,
    cached: &'static Entry,
    /// A blocking command is waiting under this.
    waiter: Option<Arc<Waiter>>,
    /// What was queued since MULTI.
    pub(super) queue: Option<Box<Queue>>,
    /// The connection watches keys under this.
    watcher: Option<Arc<Watcher>>,
    /// What the watched keys take, about.
    pub(super) watched_bytes: usize,
    /// It ends with the reply to the current request.
    closing: bool,
    /// It reads along (MONITOR).
    monitoring: bool,
    /// Keys that it reads do not count as used (CLIENT NO-TOUCH).
    pub(super) no_touch: bool,
    /// What the current batch of requests takes.
    pub(super) batch: Batch,
    /// What it has ever listened to, if it has.
    subscriptions: Option<Box<Subscriptions>>,
    /// How it keeps copies of keys, if it does.
    pub(super) tracking: Option<Box<TrackingMode>>,
    /// A script runs on its behalf.
    pub(super) in_script: bool,
    /// When it began, by the stopwatch, in nanoseconds.
    pub(super) script_begun: Option<u64>,
    /// It has run a script, or is about to.
    pub runs_scripts: bool,
    /// The connection can carry out requests on a stack of their own, and does once it runs scripts.
    pub suspends_scripts: bool,
    /// What it runs is a part of something that is alone: a script, or EXEC with one in it.
    pub(super) in_exclusive: bool,
    /// A script takes too long: the data cannot be got at.
    pub turned_away: bool,
    /// The command that runs has told something that is no reply.
    pub(super) is_told: bool,
    /// From which ids on XREAD waits: what `$` meant when it began.
    pub(super) reads_after: Vec<StreamId>,
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
        let authenticated = !state.users.login_required();
        let user = Arc::clone(state.users.default_user());
        let record = state.clients.add(connected, now, Arc::clone(&user));
        let block = state.stats.thread(thread);
        block.connections_received.add(1);
        block.connections.add(1);
        Session {
            id: record.id,
            thread,
            database: 0,
            authenticated,
            permissions: (user.definition(), user.version()),
            user,
            last_written: 0,
            random: fastrand::Rng::with_seed(seed),
            record,
            replies: Replies::On,
            cached: &table().entries()[0],
            waiter: None,
            queue: None,
            watcher: None,
            watched_bytes: 0,
            closing: false,
            monitoring: false,
            no_touch: false,
            batch: Batch::default(),
            subscriptions: None,
            tracking: None,
            in_script: false,
            script_begun: None,
            runs_scripts: false,
            suspends_scripts: false,
            in_exclusive: false,
            turned_away: false,
            is_told: false,
            reads_after: Vec::new(),
        }
    }

    /// How to wake the connection when what a blocking command waits for is there.
    pub fn set_wake(&mut self, wake: Arc<dyn Wake>) {
        self.record.set_wake(wake);
    }

    /// Is the connection asked to end?
    pub fn is_killed(&self) -> bool {
        self.record.is_killed()
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
        let waking = self.record.waking();
        let waiter = Waiter::new(Box::new(move || waking.iter().for_each(|Waking(wake)| wake.wake())));
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

    /// Does its end need the data: to take it away from keys that it watches or waits for?
    pub fn is_noted_at_keys(&self) -> bool {
        self.watcher.is_some() || self.waiter.is_some()
    }

    /// What the connection watches keys under.
    pub(super) fn watcher(&mut self) -> Arc<Watcher> {
        let watcher = self.watcher.get_or_insert_default();
        self.record.note_watcher(Some(Arc::clone(watcher)));
        Arc::clone(watcher)
    }

    /// What the connection has watched keys under. They are still to be told that it does not any longer.
    pub(super) fn take_watcher(&mut self) -> Option<Arc<Watcher>> {
        let watcher = self.watcher.take()?;
        self.watched_bytes = 0;
        self.record.note_watcher(None);
        Some(watcher)
    }

    /// Watches nothing any longer.
    pub(super) fn unwatch(&mut self, state: &ServerState) {
        if let Some(watcher) = self.take_watcher() {
            state.keyspace.forget_watcher(&watcher);
        }
    }

    /// Nothing is queued or watched any longer.
    pub(super) fn end_transaction(&mut self, state: &ServerState) {
        self.queue = None;
        self.record.note_no_queue();
        self.unwatch(state);
    }

    /// What it listens to.
    pub(super) fn subscriptions(&mut self) -> &mut Subscriptions {
        self.subscriptions.get_or_insert_default()
    }

    /// Listens to something from now on.
    pub(super) fn listen(&mut self, channels: &Channels, topic: Topic, name: &[u8]) {
        let record = Arc::clone(&self.record);
        self.subscriptions().add(channels, topic, name, record.mailbox());
        self.note_subscriptions();
    }

    /// Reads along from now on. False: it did already.
    pub(super) fn read_along(&mut self, supervision: &Supervision) -> bool {
        if self.monitoring {
            return false;
        }
        self.monitoring = true;
        self.record.note_monitoring(true);
        supervision.monitors.add(&supervision.attention, Arc::clone(self.record.mailbox()));
        true
    }

    /// Reads along no longer.
    pub(super) fn stop_reading_along(&mut self, supervision: &Supervision) {
        if std::mem::take(&mut self.monitoring) {
            self.record.note_monitoring(false);
            supervision.monitors.remove(&supervision.attention, self.id);
        }
    }

    /// Ends with the reply to the current request.
    pub(super) fn close_after_reply(&mut self, attention: &Attention) {
        if !std::mem::replace(&mut self.closing, true) {
            attention.add_killed();
        }
    }

    /// Does it end with the reply to the current request?
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Says whether what it reads counts as used.
    pub(super) fn set_no_touch(&mut self, applies: bool) {
        self.no_touch = applies;
        self.record.note_no_touch(applies);
    }

    /// Does it read along?
    pub fn is_monitoring(&self) -> bool {
        self.monitoring
    }

    /// Listens to something no longer.
    pub(super) fn stop_listening(&mut self, channels: &Channels, topic: Topic, name: &[u8]) {
        let record = Arc::clone(&self.record);
        self.subscriptions().remove(channels, topic, name, record.mailbox());
        self.note_subscriptions();
    }

    /// Listens to nothing any longer.
    pub(super) fn stop_listening_at_all(&mut self, channels: &Channels) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.clear(channels, self.record.mailbox());
            self.note_subscriptions();
        }
    }

    fn note_subscriptions(&self) {
        self.record
            .note_subscriptions(self.subscriptions.as_ref().map_or([0; 3], |subscriptions| subscriptions.counts()));
    }

    /// Does it listen to anything?
    pub fn is_listening(&self) -> bool {
        self.subscriptions.as_ref().is_some_and(|subscriptions| !subscriptions.is_empty())
    }

    /// A client of RESP2 cannot tell messages from replies: while it listens, it may do little else.
    pub(super) fn is_restricted(&self, protocol: Protocol) -> bool {
        self.subscriptions.is_some() && protocol == Protocol::Resp2 && self.is_listening()
    }

    /// Has a message come that is not yet among the output?
    pub fn has_mail(&self) -> bool {
        self.record.existing_mailbox().is_some_and(|mailbox| mailbox.has_mail())
    }

    /// Have so many messages come that the connection must end?
    pub fn is_cut_off(&self) -> bool {
        self.record.existing_mailbox().is_some_and(|mailbox| mailbox.is_cut_off())
    }

    /// Adds messages that have come to the output, until that has about so many bytes.
    pub fn deliver(&self, reply: &mut Reply, limit: usize) {
        if let Some(mailbox) = self.record.existing_mailbox() {
            deliver(mailbox, reply, limit, self.is_listening());
        }
    }

    /// Keeps no copies of keys any longer.
    pub(super) fn stop_tracking(&mut self, state: &ServerState) {
        if let Some(tracking) = self.tracking.take() {
            self.record.note_tracking(None);
            state.trackers.remove(self.id);
            state.keyspace.remove_reader(tracking.broadcasts());
        }
    }

    /// The connection is gone. To be called on its own thread.
    pub fn close(mut self, state: &ServerState, now: Millis) {
        self.end_waiting(state, now);
        self.unwatch(state);
        self.stop_listening_at_all(&state.channels);
        self.stop_reading_along(&state.supervision);
        self.stop_tracking(state);
        self.record.note_gone();
        state.clients.remove(self.id);
        for _ in [self.is_killed(), self.closing].into_iter().filter(|asked| *asked) {
            state.supervision.attention.subtract_killed();
        }
        state.stats.thread(self.thread).connections.subtract(1);
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

    /// It has logged in as this user, or is (`authenticated`: no more than) what it was when it connected.
    pub(super) fn log_in(&mut self, user: Arc<User>, authenticated: bool) {
        self.authenticated = authenticated;
        // The version first: should the definition change in between, it is looked at once more.
        let version = user.version();
        self.permissions = (user.definition(), version);
        self.record.note_user(Arc::clone(&user));
        self.user = user;
    }

    /// What its user may do.
    pub fn permissions(&mut self) -> &Arc<Definition> {
        let version = self.user.version();
        if self.permissions.1 != version {
            self.permissions = (self.user.definition(), version);
        }
        &self.permissions.0
    }

    /// Must the connection end because of its user? That is so when the user was deleted, and when it must not listen any longer to
    /// what the connection listens to.
    pub fn is_ended(&mut self) -> bool {
        if self.record.is_killed() {
            return true;
        }
        if !self.record.take_recheck() {
            return false;
        }
        let permissions = Arc::clone(self.permissions());
        let forbidden = |topic| {
            let names = self.subscriptions.as_ref().map(|subscriptions| subscriptions.names(topic)).unwrap_or_default();
            names.iter().any(|name| !permissions.allows_channel(name, topic == Topic::Pattern))
        };
        [Topic::Channel, Topic::Pattern, Topic::Shard].into_iter().any(forbidden)
    }

    /// Changes which replies the client wants.
    pub(super) fn set_replies(&mut self, replies: Replies) {
        self.is_told = false;
        // A client that wants none has no reply to skip.
        if !(replies == Replies::SkipNext && self.replies == Replies::Off) {
            self.replies = replies;
        }
    }

    /// At the end of a command: does the client want its reply?
    pub fn wants_reply(&mut self) -> bool {
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
