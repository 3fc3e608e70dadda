//! The commands: one table as data, one file per family of handlers, and [`execute`], which checks a request against
//! the table and carries it out.
//!
//! Reading order: `spec` (what a row of the table says), `table`, this file, `context` (what handlers work with), then
//! any family. `state` and `session` are what a node and a connection are to the commands.
//!
//! Architecture invariant: commands know requests, replies and the keyspace. They know no socket and no peer, read no
//! clock (the caller passes the time) and wait for nothing: what must be waited for is said by [`Flow`].

mod acl;
mod assign;
mod attention;
mod bitfield;
mod bitmaps;
mod bundle;
mod client_control;
mod client_eviction;
mod clients;
mod cluster_commands;
mod config;
mod configuration;
mod connection;
mod context;
mod debug;
#[cfg(test)]
mod event_tests;
mod expiry;
mod floats;
mod functions;
mod generic;
mod geo;
mod geohash;
mod hash_expiry;
mod hashes;
mod history;
mod hyperloglog;
mod information;
mod introspection;
mod latency;
mod lcs;
mod list_moves;
mod lists;
mod memory;
mod monitor;
mod monitoring;
mod moving;
mod object;
mod operations;
mod output_limits;
mod pausing;
mod persistence;
mod pubsub;
mod redaction;
mod rewrite;
mod sampling;
mod scan;
mod script_host;
mod script_runner;
mod script_state;
#[cfg(test)]
mod script_tests;
mod scripting;
mod serialization;
mod server;
mod session;
mod sets;
mod signatures;
mod slowlog;
mod sort;
mod sorted_set_operations;
mod sorted_set_ranges;
mod sorted_sets;
mod spec;
mod state;
mod stream_groups;
mod stream_ids;
mod stream_information;
mod stream_reads;
mod streams;
mod strings;
mod subscriptions;
mod supervision;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod timing;
mod traced;
mod trackers;
mod tracking;
#[cfg(test)]
mod transaction_stress;
mod transactions;

use std::sync::atomic::Ordering;
use std::time::Duration;

pub use bundle::{Bundle, Progress, may_bundle};
pub use clients::{BatchNote, ClientKind, ClientNames, ClientRecord, ClientRegistry, Connected, Wake};
pub use config::{Config, begin_with, check_parameter, parse_memory};
use context::shown;
pub use context::{Context, Outcome, Refusal};
pub use pausing::{PauseMode, Pausing};
pub use script_state::Scripting;
pub use session::Session;
pub use spec::{Access, Categories, ChannelUse, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
pub use state::{ServerFacts, ServerState, resident_memory};
pub use supervision::{DebugAccess, Supervision};
pub use table::{Entry, Table, command_names, table};
pub use timing::note_batch;

use attention::{MONITORED, PAUSED};
use monitoring::Source;

use crate::acl::LogContext;
use crate::glob;
use crate::keyspace::{Millis, is_system_key};
use crate::resp::{Arguments, Protocol, Reply};

/// The Redis version whose commands and replies this is.
pub const REDIS_VERSION: &str = "7.2.4";

/// What the connection is to do after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Send what there is, then close.
    Close,
    /// Wait until that many other nodes have applied this node's effects up to `seq`, or the timeout is over (`None`:
    /// wait for ever), then reply with the number of those that have, as an integer.
    Wait { replicas: usize, timeout: Option<Duration>, seq: u64 },
    /// There was nothing to take. Carry the same request out again when the session's waiter is woken; when the timeout is
    /// over (`None`: never), end the session's waiting and reply with the null of an array, whatever the command.
    Block { timeout: Option<Duration> },
    /// Scripts do not run like this. Carry the same request out on that thread, where they do, and on a stack of its own.
    Elsewhere { thread: usize },
    /// Clients are paused. Carry the same request out when the pause is over.
    Pause,
    /// A save has begun when so many had ended. When it has ended too, reply with `OK`, or with its error.
    Save { ended: u64 },
    /// The same, but if it went well the process ends, and else the reply says that it does not.
    SaveAndEnd { ended: u64 },
}

/// Carries one request out and appends the reply. `now` is the time of this command, in milliseconds.
pub fn execute(
    state: &ServerState,
    session: &mut Session,
    arguments: &Arguments<'_>,
    reply: &mut Reply,
    now: Millis,
) -> Flow {
    let start = reply.bytes().len();
    let flow = run(state, session, arguments, reply, now);
    // Where the reply is still to come, whoever writes it asks whether it is wanted.
    let replies_later = matches!(
        flow,
        Flow::Block { .. }
            | Flow::Wait { .. }
            | Flow::Save { .. }
            | Flow::SaveAndEnd { .. }
            | Flow::Pause
            | Flow::Elsewhere { .. }
    );
    if !replies_later && !session.wants_reply() && !std::mem::take(&mut session.is_told) {
        reply.bytes_mut().truncate(start);
    }
    if session.tracking.is_some() && !matches!(flow, Flow::Block { .. } | Flow::Pause | Flow::Elsewhere { .. }) {
        tracking::end_request(state, session, arguments, now);
    }
    if state.supervision.attention.has_killed() && session.is_closing() { Flow::Close } else { flow }
}

fn run(state: &ServerState, session: &mut Session, arguments: &Arguments<'_>, reply: &mut Reply, now: Millis) -> Flow {
    let Some(name) = arguments.get(0) else { return Flow::Continue };
    let limited = !session.user.is_unlimited();
    if limited && session.user.is_removed() {
        return Flow::Close;
    }
    let block = state.stats.thread(session.thread);
    let entry = match find(session, name, arguments) {
        Ok(entry) => entry,
        Err(refusal) => {
            let refusal = transactions::rejected(state, session, None, refusal);
            return refuse(state, session, reply, &refusal);
        }
    };
    if let Err(refusal) = check(state, session, entry, arguments, reply.protocol(), now, limited) {
        block.command(entry.id).rejected.add(1);
        let refusal = transactions::rejected(state, session, Some(entry), refusal);
        return refuse(state, session, reply, &refusal);
    }
    if state.supervision.attention.get() & PAUSED != 0 && is_paused(state, session, entry, now) {
        return Flow::Pause;
    }
    if let Err(refusal) = check_memory(state, entry, now) {
        block.command(entry.id).rejected.add(1);
        let refusal = transactions::rejected(state, session, Some(entry), refusal);
        return refuse(state, session, reply, &refusal);
    }
    if session.queue.is_some() && !entry.command.flags.has(Flags::UNQUEUED) {
        if entry.command.flags.has(Flags::NO_MULTI) {
            block.command(entry.id).rejected.add(1);
            let refusal = Refusal::Fixed("ERR Command not allowed inside a transaction");
            let refusal = transactions::rejected(state, session, Some(entry), refusal);
            return refuse(state, session, reply, &refusal);
        }
        reply.simple("QUEUED");
        return transactions::queue(session, entry, arguments);
    }
    call(&mut Context { state, session, arguments: *arguments, reply, now, entry, held: None })
}

/// Runs a command that may run, and appends its reply.
fn call(context: &mut Context<'_>) -> Flow {
    let (state, entry) = (context.state, context.entry);
    let block = state.stats.thread(context.session.thread);
    let start = context.reply.bytes().len();
    let counters = block.command(entry.id);
    if !context.session.is_blocked() {
        counters.calls.add(1);
        block.commands.add(1);
    }
    let timed = state.facts.stopwatch.and_then(|read| {
        let calls = timing::calls_timed(state, context.session, entry, block.commands.get())?;
        Some((read, read(), calls))
    });
    if context.session.tracking.is_some() {
        tracking::note_reads(context);
    }
    let traced = traced::begin(context);
    let mut outcome = (entry.command.handler)(context);
    if let Ok(flow @ Flow::Elsewhere { .. }) = outcome {
        // It counts when it is carried out.
        counters.calls.subtract(1);
        block.commands.subtract(1);
        return flow;
    }
    // A transaction that meets the import of a snapshot does nothing; its client is not to believe otherwise.
    if outcome.is_ok() && !entry.command.flags.has(Flags::LOADING) && state.keyspace.is_loading() {
        outcome = Err(loading(state));
    }
    // Who waits does nothing.
    let waits = matches!(outcome, Ok(Flow::Block { .. }));
    if let Some((read, begun, calls)) = timed.filter(|_| !waits) {
        let taken = (read().saturating_sub(begun), calls);
        timing::note(state, context.session, entry, &context.arguments, context.now, taken);
    }
    if let Some(traced) = traced.filter(|_| !waits) {
        traced.end(context.session, entry, outcome.is_err());
    }
    if state.supervision.attention.get() & MONITORED != 0 && !entry.command.flags.has(Flags::SKIP_MONITOR) {
        show(context);
    }
    match outcome {
        Ok(flow) => flow,
        Err(refusal) => {
            counters.failed.add(1);
            context.reply.bytes_mut().truncate(start);
            refuse(state, context.session, context.reply, &refusal)
        }
    }
}

/// Does this request wait for the end of a pause?
fn is_paused(state: &ServerState, session: &Session, entry: &Entry, now: Millis) -> bool {
    let Some((mode, _)) = state.supervision.pausing.current(now) else { return false };
    let may_write = |flags: Flags| flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
    mode == PauseMode::All
        || may_write(entry.command.flags)
        || entry.command.name == "exec" && session.queue.as_ref().is_some_and(|queue| queue.any(may_write))
}

/// Lets those who read along see a command that has run.
#[cold]
fn show(context: &Context<'_>) {
    let (state, session, entry) = (context.state, &*context.session, context.entry);
    if entry.command.flags.has(Flags::ADMIN) {
        return;
    }
    state.supervision.monitors.feed(
        if session.in_script { Source::Script } else { Source::Client(&session.record) },
        session.database,
        entry,
        &context.arguments,
        state.channels.limit(),
        context.now,
    );
}

const SYSTEM_KEYS: Refusal =
    Refusal::Fixed("ERR keys that begin with '__swytch:' belong to the system and are read-only");

const OUT_OF_MEMORY: Refusal = Refusal::Fixed("OOM command not allowed when used memory > 'maxmemory'.");

/// Why commands about data do not run yet.
fn loading(state: &ServerState) -> Refusal {
    match state.persistence.is_loading() {
        true => Refusal::Fixed("LOADING swytch is loading the dataset in memory"),
        false => Refusal::Fixed("LOADING swytch is joining the cluster and not ready yet"),
    }
}

fn refuse(state: &ServerState, session: &Session, reply: &mut Reply, refusal: &Refusal) -> Flow {
    let mut text = refusal.text();
    // Redis drops line breaks at the end of an error; those within it become spaces.
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    state.stats.count_error(session.thread, text);
    reply.error(text);
    Flow::Continue
}

/// The row of the table that the request means.
fn find(session: &mut Session, name: &[u8], arguments: &Arguments<'_>) -> Result<&'static Entry, Refusal> {
    let Some(entry) = session.find(name) else { return Err(unknown_command(name, arguments)) };
    match arguments.get(1) {
        Some(inner) if !entry.subcommands.is_empty() => {
            let found = entry.subcommand(inner).ok_or_else(|| unknown_subcommand(entry, inner))?;
            session.record.note_command(found.id);
            Ok(found)
        }
        _ => Ok(entry),
    }
}

/// May this request run? `limited`: its user may not do everything.
fn check(
    state: &ServerState,
    session: &mut Session,
    entry: &Entry,
    arguments: &Arguments<'_>,
    protocol: Protocol,
    now: Millis,
    limited: bool,
) -> Result<(), Refusal> {
    let command = entry.command;
    if !command.accepts(arguments.len()) {
        return Err(wrong_arity(entry));
    }
    if !session.authenticated && !command.flags.has(Flags::NO_AUTH) && state.users.login_required() {
        return Err(Refusal::Fixed("NOAUTH Authentication required."));
    }
    if limited {
        let context = if session.queue.is_some() { LogContext::Multi } else { LogContext::TopLevel };
        acl::check(state, session, entry, arguments, context, now)?;
    }
    if session.turned_away && !script_state::runs_while_busy(session, entry) {
        return Err(state.scripting.busy());
    }
    if session.is_restricted(protocol) && !command.flags.has(Flags::WHILE_SUBSCRIBED) {
        return Err(pubsub::only_listening(&entry.full_name));
    }
    if state.supervision.attention.get() & MONITORED != 0 && session.is_monitoring() {
        monitor::check(entry)?;
    }
    if !command.flags.has(Flags::LOADING) && !state.serving.load(Ordering::Relaxed) {
        return Err(loading(state));
    }
    if command.flags.has(Flags::WRITE) && touches_system_keys(entry, arguments) {
        return Err(SYSTEM_KEYS);
    }
    Ok(())
}

/// Is there memory for this request? Comes after the pause, during which nothing is evicted.
fn check_memory(state: &ServerState, entry: &Entry, now: Millis) -> Result<(), Refusal> {
    let needs_memory = entry.command.flags.has(Flags::DENYOOM) && state.keyspace.memory_limit() > 0;
    if needs_memory && !state.keyspace.make_room(now) {
        return Err(OUT_OF_MEMORY);
    }
    Ok(())
}

fn touches_system_keys(entry: &Entry, arguments: &Arguments<'_>) -> bool {
    let is_system = |at: usize| arguments.get(at).is_some_and(is_system_key);
    // Nearly every command has one key.
    if let (first @ 1.., last, _) = entry.key_range
        && last == first as isize
        && entry.command.keys.len() == 1
    {
        return is_system(first);
    }
    entry
        .command
        .keys
        .iter()
        .any(|spec| spec.positions(arguments).is_some_and(|mut positions| positions.any(is_system)))
}

/// `wrong number of arguments for 'config|get' command`.
fn wrong_arity(entry: &Entry) -> Refusal {
    Refusal::built(format!("ERR wrong number of arguments for '{}' command", entry.full_name))
}

/// How much of a client's words an error repeats.
const PREVIEW_BYTES: usize = 128;

/// The beginning of a word, as errors show it.
fn preview(word: &[u8], limit: usize) -> &[u8] {
    shown(&word[..word.len().min(limit)])
}

fn unknown_command(name: &[u8], arguments: &Arguments<'_>) -> Refusal {
    let mut shown = Vec::new();
    for argument in arguments.from(1).iter() {
        let Some(room) = PREVIEW_BYTES.checked_sub(shown.len()).filter(|&room| room > 0) else { break };
        shown.push(b'\'');
        shown.extend_from_slice(preview(argument, room));
        shown.extend_from_slice(b"' ");
    }
    let text = [b"ERR unknown command '", preview(name, PREVIEW_BYTES), b"', with args beginning with: ", &shown];
    Refusal::Built(text.concat())
}

fn unknown_subcommand(entry: &Entry, inner: &[u8]) -> Refusal {
    let upper = entry.full_name.to_uppercase();
    let text = [b"ERR unknown subcommand '", preview(inner, PREVIEW_BYTES), b"'. Try ", upper.as_bytes(), b" HELP."];
    Refusal::Built(text.concat())
}

#[cfg(test)]
mod tests {
    use super::testing::Fixture;

    #[test]
    fn unknown_commands_are_quoted_as_redis_does_it() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.run("foo"), "-ERR unknown command 'foo', with args beginning with: \r\n");
        assert_eq!(fixture.run("FOO a b"), "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n");
        assert_eq!(
            fixture.run_words(&[b"f\r\no", b"a\r\nb\0c"]),
            "-ERR unknown command 'f  o', with args beginning with: 'a  b' \r\n"
        );
        let long = "x".repeat(300);
        let expected =
            format!("-ERR unknown command '{}', with args beginning with: '{}' \r\n", "x".repeat(128), "x".repeat(128));
        assert_eq!(fixture.run(&format!("{long} {long} {long}")), expected);
        assert_eq!(fixture.run("config foo"), "-ERR unknown subcommand 'foo'. Try CONFIG HELP.\r\n");
    }

    #[test]
    fn the_number_of_arguments_is_checked() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.run("get"), "-ERR wrong number of arguments for 'get' command\r\n");
        assert_eq!(fixture.run("CONFIG GET"), "-ERR wrong number of arguments for 'config|get' command\r\n");
        assert_eq!(fixture.run("config"), "-ERR wrong number of arguments for 'config' command\r\n");
    }

    #[test]
    fn nothing_but_auth_before_the_password() {
        let mut fixture = Fixture::with_password(b"secret");
        assert_eq!(fixture.run("get k"), "-NOAUTH Authentication required.\r\n");
        assert_eq!(fixture.run("get"), "-ERR wrong number of arguments for 'get' command\r\n");
        assert_eq!(fixture.run("auth secret"), "+OK\r\n");
        assert_eq!(fixture.run("get k"), "$-1\r\n");
    }

    #[test]
    fn a_node_that_is_joining_says_so() {
        let mut fixture = Fixture::new();
        fixture.state.serving.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(fixture.run("get k"), "-LOADING swytch is joining the cluster and not ready yet\r\n");
        assert_eq!(fixture.run("echo hi"), "$2\r\nhi\r\n");
    }

    #[test]
    fn system_keys_are_read_only() {
        let mut fixture = Fixture::new();
        let refused = "-ERR keys that begin with '__swytch:' belong to the system and are read-only\r\n";
        let writes = [
            "set __swytch:x v",
            "mset a 1 __swytch:x 2",
            "del a __swytch:members",
            "smove a __swytch:x m",
            "sinterstore a b __swytch:x",
            "hset __swytch:members f v",
            "expire __swytch:members 1",
        ];
        for write in writes {
            assert_eq!(fixture.run(write), refused, "{write}");
        }
        assert_eq!(fixture.run("dbsize"), ":0\r\n");
        assert_eq!(fixture.run("exists __swytch:members"), ":0\r\n");
    }

    #[test]
    fn writes_are_refused_when_nothing_can_be_evicted() {
        let mut fixture = Fixture::new();
        fixture.state.keyspace.set_memory_limit(1);
        fixture.run("set k v");
        fixture.run("set k2 v");
        fixture.state.keyspace.set_memory_limit(0);
        assert_eq!(fixture.run("set k3 v"), "+OK\r\n");
        assert_eq!(fixture.run("get k3"), "$1\r\nv\r\n");
        let refused = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        fixture.run("config set maxmemory 1 maxmemory-policy noeviction");
        fixture.expect(&[
            ("set k3 w", refused),
            ("get k3", "$1\r\nv\r\n"),
            ("config set maxmemory-policy volatile-lru", "+OK\r\n"),
            ("set k3 w", refused),
            ("expire k3 100", ":1\r\n"),
        ]);
        let limit = fixture.state.keyspace.memory() - 1;
        fixture.state.keyspace.set_memory_limit(limit);
        fixture.expect(&[
            ("rpush l a", ":1\r\n"),
            ("exists k3 l", ":1\r\n"),
            ("config set maxmemory 1", "+OK\r\n"),
            ("multi", "+OK\r\n"),
            ("incr n", refused),
            ("exec", "-EXECABORT Transaction discarded because of previous errors.\r\n"),
        ]);
        assert!(fixture.run("info stats").contains("evicted_keys:2\r\n"));
    }

    #[test]
    fn commands_are_counted() {
        let mut fixture = Fixture::new();
        for request in ["get k", "get k", "get", "set k v ex x", "foo"] {
            fixture.run(request);
        }
        let stats = &fixture.state.stats;
        let id = |name: &str| super::table().find(name.as_bytes()).expect("a command").id;
        assert_eq!((stats.command(id("get")).calls, stats.command(id("get")).rejected), (2, 1));
        assert_eq!((stats.command(id("set")).calls, stats.command(id("set")).failed), (1, 1));
        assert_eq!(stats.total(|thread| &thread.commands), 3);
        assert_eq!(stats.error_kinds(), [("ERR".to_string(), 3)]);
    }
}
