//! What scripts reach: commands, on behalf of the client that runs them; and the limits of a script.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::context::{Context, Refusal};
use super::script_state::Running;
use super::spec::Flags;
use super::{Entry, OUT_OF_MEMORY, ServerState, Session, acl, call, loading, refuse, table, touches_system_keys};
use crate::acl::LogContext;
use crate::coroutine::{self, Suspension};
use crate::keyspace::{Millis, WriteError};
use crate::resp::{Arguments, Reply};
use crate::scripting::{Host, LogLevel, MAX_LOAD_MILLIS};

/// A script runs for so long before its thread is said to be held up, in nanoseconds.
const HELD_UP_AFTER: u64 = 50_000_000;
/// One that takes too long lets the others of its thread do something after this time, in nanoseconds.
const TURN: u64 = 2_000_000;

const NOT_KNOWN: Refusal = Refusal::Fixed("ERR Unknown Redis command called from script");
const WRONG_ARITY: Refusal = Refusal::Fixed("ERR Wrong number of args calling Redis command from script");
const NOT_ALLOWED: Refusal = Refusal::Fixed("ERR This Redis command is not allowed from script");
const READ_ONLY: Refusal = Refusal::Fixed("ERR Write commands are not allowed from read-only scripts.");

/// The host of a script or function that runs.
pub struct ScriptHost<'h> {
    pub state: &'h ServerState,
    pub session: &'h mut Session,
    pub now: Millis,
    /// It may not write.
    pub read_only: bool,
    /// There is no memory left, and it is refused what needs some, until it has written.
    pub out_of_memory: bool,
    /// The request that runs it, and the name of the function.
    pub request: Arguments<'h>,
    pub function: Option<&'h [u8]>,
    wrote: bool,
    /// When it began, by the stopwatch.
    begun: u64,
    held_up: bool,
    overdue: bool,
    /// When its thread was last here, coming from others, by the stopwatch.
    resumed: u64,
    /// Nobody waits for it any more.
    abandoned: bool,
    cached: Option<&'static Entry>,
}

impl<'h> ScriptHost<'h> {
    /// Of a script that is about to begin.
    pub fn new(
        state: &'h ServerState,
        session: &'h mut Session,
        now: Millis,
        request: Arguments<'h>,
    ) -> ScriptHost<'h> {
        ScriptHost {
            state,
            session,
            now,
            read_only: false,
            out_of_memory: false,
            request,
            function: None,
            wrote: false,
            begun: state.facts.stopwatch.map_or(0, |read| read()),
            held_up: false,
            overdue: false,
            resumed: 0,
            abandoned: false,
            cached: None,
        }
    }

    /// It has ended.
    pub fn end(&self) {
        self.state.scripting.note_end(self.wrote || self.held_up);
    }

    fn find(&mut self, arguments: &Arguments<'_>) -> Option<&'static Entry> {
        let name = arguments.get(0)?;
        let entry = match self.cached.filter(|entry| name.eq_ignore_ascii_case(entry.command.name.as_bytes())) {
            Some(entry) => entry,
            None => table().find(name)?,
        };
        self.cached = Some(entry);
        match arguments.get(1) {
            Some(inner) if !entry.subcommands.is_empty() => entry.subcommand(inner),
            _ => Some(entry),
        }
    }

    /// May the script run this?
    fn check(&mut self, arguments: &Arguments<'_>) -> Result<&'static Entry, Refusal> {
        let entry = self.find(arguments).ok_or(NOT_KNOWN)?;
        let (state, flags) = (self.state, entry.command.flags);
        if !entry.command.accepts(arguments.len()) {
            return Err(WRONG_ARITY);
        }
        if flags.has(Flags::NOSCRIPT) {
            return Err(NOT_ALLOWED);
        }
        if !self.session.user.is_unlimited() {
            let checked = acl::authorize(state, self.session, entry, arguments, LogContext::Script, self.now);
            checked.map_err(|denial| {
                let message = denial.message(self.session.user.name());
                Refusal::Built([b"NOPERM ACL failure in script: ", &*message].concat())
            })?;
        }
        if !flags.has(Flags::LOADING) && !state.is_serving() {
            return Err(loading(state));
        }
        if self.read_only && (flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE)) {
            return Err(READ_ONLY);
        }
        if flags.has(Flags::WRITE) {
            if touches_system_keys(entry, arguments) {
                return Err(super::SYSTEM_KEYS);
            }
            if !state.keyspace.fits_into_effect(state.keyspace.open_effect_bytes()) {
                return Err(WriteError::TooLarge.into());
            }
        }
        if self.out_of_memory && !self.wrote && flags.has(Flags::DENYOOM) {
            return Err(OUT_OF_MEMORY);
        }
        if flags.has(Flags::WRITE) && !self.wrote {
            self.wrote = true;
            state.scripting.wrote.store(true, Relaxed);
        }
        Ok(entry)
    }
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, arguments: &Arguments<'_>, reply: &mut Reply) {
        let entry = match self.check(arguments) {
            Ok(entry) => entry,
            Err(refusal) => {
                if let Some(entry) = self.find(arguments) {
                    self.state.stats.thread(self.session.thread).command(entry.id).rejected.add(1);
                }
                refuse(self.state, self.session, reply, &refusal);
                return;
            }
        };
        let begun = reply.bytes().len();
        call(&mut Context {
            state: self.state,
            session: &mut *self.session,
            arguments: *arguments,
            reply,
            now: self.now,
            entry,
            held: None,
        });
        if reply.bytes().len() == begun {
            // What replies later, if at all, is nothing that scripts may run.
            refuse(self.state, self.session, reply, &NOT_ALLOWED);
        }
    }

    fn may_call(&mut self, arguments: &Arguments<'_>) -> Option<bool> {
        let entry = self.find(arguments)?;
        if !entry.command.accepts(arguments.len()) || self.session.user.is_unlimited() {
            return Some(self.session.user.is_unlimited());
        }
        Some(self.session.permissions().check(entry, arguments).is_ok())
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log(level, message);
    }

    fn must_end(&mut self) -> Option<&'static str> {
        let read = self.state.facts.stopwatch?;
        let now = read();
        let elapsed = now.saturating_sub(self.begun);
        let scripting = &self.state.scripting;
        if !self.held_up && elapsed >= HELD_UP_AFTER {
            self.held_up = true;
            scripting.note_held_up(self.session.thread);
        }
        let threshold = scripting.threshold();
        if !self.overdue && threshold > 0 && elapsed / 1_000_000 >= threshold {
            (self.overdue, self.held_up) = (true, true);
            let command = self.request.iter().map(<[u8]>::to_vec).collect();
            let function = self.function.map(<[u8]>::to_vec);
            scripting.note_overdue(Running { function, command, begun: self.begun });
            self.state.keyspace.gates().note_overdue();
            tracing::warn!(
                milliseconds = elapsed / 1_000_000,
                "a script takes long: other clients are answered with BUSY until it has ended"
            );
        }
        if self.overdue && now.saturating_sub(self.resumed) >= TURN {
            // Others of this thread are answered with BUSY meanwhile, and may end the script.
            let aside = self.state.keyspace.gates().lay_aside();
            self.abandoned |= coroutine::suspend() == Suspension::Abandoned;
            drop(aside);
            self.resumed = read();
        }
        if self.overdue && scripting.is_killed() {
            return Some("ERR Script killed by user with SCRIPT KILL...");
        }
        let is_ending = self.held_up && self.state.supervision.is_ending();
        (is_ending || self.abandoned).then_some("ERR the server is shutting down")
    }
}

fn log(level: LogLevel, message: &[u8]) {
    let message = String::from_utf8_lossy(message);
    match level {
        LogLevel::Debug | LogLevel::Verbose => tracing::debug!("script: {message}"),
        LogLevel::Notice => tracing::info!("script: {message}"),
        LogLevel::Warning => tracing::warn!("script: {message}"),
    }
}

/// The host of a library that is loaded: there is nothing to reach.
pub struct LoadingHost {
    /// Until when it may take; `None`: nobody measures time here.
    until: Option<Instant>,
}

impl LoadingHost {
    /// Of a library that is about to be loaded.
    pub fn new(state: &ServerState) -> LoadingHost {
        let measured = state.facts.stopwatch.is_some();
        LoadingHost { until: measured.then(|| Instant::now() + std::time::Duration::from_millis(MAX_LOAD_MILLIS)) }
    }
}

impl Host for LoadingHost {
    fn call(&mut self, _: &Arguments<'_>, reply: &mut Reply) {
        reply.error(NOT_ALLOWED.text());
    }

    fn may_call(&mut self, _: &Arguments<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        log(level, message);
    }

    fn must_end(&mut self) -> Option<&'static str> {
        self.until.is_some_and(|until| Instant::now() >= until).then_some("ERR FUNCTION LOAD timeout")
    }
}
