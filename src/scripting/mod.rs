//! Lua, as scripts of Redis see it: the language in a box, `redis.call` and its kin, and what of both goes back and forth.
//!
//! An [`Engine`] is one Lua state with what was compiled in it. Each server thread has its own. Scripts and functions reach the
//! outside by a [`Host`] alone, which is there while one runs.
//!
//! Reading order: this file, `shebang` (what a script says of itself), `engine`, `invoke` (how one is called), `sandbox` (what it finds),
//! `api` (the table `redis`), `redis_call`, `convert` (replies and values), `functions` (libraries).
//!
//! Sources: "Redis Lua API reference", "Redis functions" and "Scripting with Lua" of the Redis documentation, the Lua 5.1
//! reference manual, and what redis-server replies.
//!
//! Architecture invariant: knows Lua and the protocol. Nothing here knows a session, a key or a command.

mod api;
mod convert;
mod engine;
mod functions;
mod invoke;
mod libraries;
mod random;
mod redis_call;
mod sandbox;
mod shebang;

pub use engine::{Digest, Engine, Failure, Loaded, MEMORY_LIMIT, Prepared, digest_of, hexadecimal};
pub use functions::{FunctionFacts, MAX_LOAD_MILLIS};
pub use shebang::{LibraryHeader, ScriptFlags, library_header, script_flags};

use crate::resp::{Arguments, Reply};

/// How important a message of a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`.
    Debug,
    /// `redis.LOG_VERBOSE`.
    Verbose,
    /// `redis.LOG_NOTICE`.
    Notice,
    /// `redis.LOG_WARNING`.
    Warning,
}

/// What a script reaches of the outside.
pub trait Host {
    /// Runs a command, and appends its reply, or an error.
    fn call(&mut self, arguments: &Arguments<'_>, reply: &mut Reply);

    /// May the client of the script run this? `None`: there is no such command.
    fn may_call(&mut self, arguments: &Arguments<'_>) -> Option<bool>;

    /// A message for the log.
    fn log(&mut self, level: LogLevel, message: &[u8]);

    /// Asked now and then while a script runs: why must it end?
    fn must_end(&mut self) -> Option<&'static str>;
}

scoped_tls_hkt::scoped_thread_local! {
    /// The host of the script that runs on this thread.
    static mut HOST: for<'h> &'h mut (dyn Host + 'h)
}
