//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: several commands as one.
//!
//! Between MULTI and EXEC requests are checked and queued in the session. EXEC locks all that they and the watched keys
//! need, in the order of all locks, and runs them one after the other on these locks: nobody on this node comes in between, and
//! what they write together is one effect, so at other nodes it is all there or not at all. Which keys that are is
//! read from the table; where it cannot tell, everything is locked. With a script among them, they have the data for themselves
//! ([`crate::keyspace::Exclusive`]), and each locks for itself.
//!
//! # Bounds
//!
//! What a connection has queued and watches takes at most [`MAX_QUEUED_BYTES`]; beyond that it is closed, as Redis does it when a
//! query buffer is over its limit. In a cluster the writes of one EXEC have to fit into one effect.

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::context::{Context, MAX_REPLY_BYTES, Outcome, Refusal, TOO_LARGE_REPLY};
use super::scripting::own_stack;
use super::spec::{Access, Categories, Command, Find, Flags, Group, Handler, KeySpec};
use super::{Entry, Flow, OUT_OF_MEMORY, ServerState, Session, acl, call, loading, refuse};
use crate::keyspace::{Held, Key, Millis, Transaction, Watched, WriteError};
use crate::resp::Arguments;

/// What a connection may queue and watch, in bytes.
pub const MAX_QUEUED_BYTES: usize = if cfg!(test) { 1 << 20 } else { 1 << 30 };
/// What a queued word or a watched key takes beside its bytes, about.
const WORD_BYTES: usize = 64;

const AT_ONCE: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::UNQUEUED);
const QUICK: Flags = Flags::FAST.with(Flags::ALLOW_BUSY);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Transactions, name, arity, handler).flags(flags).categories(Categories::TRANSACTION)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("multi", 1, AT_ONCE.with(QUICK), multi).docs("1.2.0", "O(1)", "Begins a transaction"),
    row("exec", 1, AT_ONCE.with(Flags::SKIP_SLOWLOG), exec).docs(
        "1.2.0",
        "As the commands in it",
        "Runs the commands of a transaction",
    ),
    row("discard", 1, AT_ONCE.with(QUICK), discard).docs("2.0.0", "O(N) with N queued commands", "Drops a transaction"),
    row("watch", -2, AT_ONCE.with(QUICK), watch).keys(&[KeySpec::to_the_end(1, 1, Access::READ)]).docs(
        "2.2.0",
        "O(1) per key",
        "Lets the next transaction run only if these keys do not change until then",
    ),
    row("unwatch", 1, Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(QUICK), unwatch).docs(
        "2.2.0",
        "O(1) per watched key",
        "Forgets the watched keys",
    ),
];

/// One request that waits for EXEC.
#[derive(Debug)]
struct Request {
    entry: &'static Entry,
    bytes: Box<[u8]>,
    ranges: Box<[Range<u32>]>,
}

impl Request {
    fn arguments(&self) -> Arguments<'_> {
        Arguments::new(&self.bytes, &self.ranges)
    }

    fn has(&self, flag: Flags) -> bool {
        self.entry.command.flags.has(flag)
    }

    /// Which words are keys; `None`: any key may be meant.
    fn keys(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let specs = self.entry.command.keys;
        if self.has(Flags::EVERYTHING) || specs.iter().any(|spec| spec.find == Find::Unknown) {
            return None;
        }
        let arguments = self.arguments();
        // A number of keys that makes no sense is refused by the command itself.
        let positions = specs.iter().filter_map(move |spec| spec.positions(&arguments)).flatten();
        Some(positions.filter_map(move |at| arguments.get(at)))
    }
}

/// What a connection has queued since MULTI.
#[derive(Debug, Default)]
pub struct Queue {
    requests: Vec<Request>,
    bytes: usize,
    /// A request was refused: EXEC will be, too.
    failed: bool,
}

impl Queue {
    /// Has one of the requests such flags?
    pub fn any(&self, wanted: impl Fn(Flags) -> bool) -> bool {
        self.requests.iter().any(|request| wanted(request.entry.command.flags))
    }

    /// Adds a request.
    fn push(&mut self, entry: &'static Entry, arguments: &Arguments<'_>) {
        let mut bytes = Vec::with_capacity(arguments.iter().map(<[u8]>::len).sum());
        let mut ranges = Vec::with_capacity(arguments.len());
        for word in arguments.iter() {
            // All of a request lies in an input buffer whose positions fit into 32 bits.
            let start = bytes.len() as u32;
            bytes.extend_from_slice(word);
            ranges.push(start..bytes.len() as u32);
        }
        self.bytes += bytes.len() + (ranges.len() + 1) * WORD_BYTES;
        self.requests.push(Request { entry, bytes: bytes.into(), ranges: ranges.into() });
    }
}

/// Queues a request, which was checked. The connection is closed when that is too much.
pub fn queue(session: &mut Session, entry: &'static Entry, arguments: &Arguments<'_>) -> Flow {
    let Some(queue) = &mut session.queue else { return Flow::Continue };
    queue.push(entry, arguments);
    session.record.note_queued(queue.requests.len(), queue.bytes);
    if queue.bytes + session.watched_bytes > MAX_QUEUED_BYTES { Flow::Close } else { Flow::Continue }
}

/// A request was refused before it ran: a transaction will not run. If it was EXEC itself, the transaction ends here, and EXEC says why.
pub fn rejected(state: &ServerState, session: &mut Session, entry: Option<&Entry>, refusal: Refusal) -> Refusal {
    if let Some(queue) = &mut session.queue {
        queue.failed = true;
    }
    if entry.is_none_or(|entry| entry.command.name != "exec") {
        return refusal;
    }
    session.end_transaction(state);
    aborted(&refusal)
}

/// EXEC is refused because of something else.
fn aborted(reason: &Refusal) -> Refusal {
    let text = reason.text();
    let reason = text.strip_prefix(b"ERR ").unwrap_or(text);
    Refusal::Built([b"EXECABORT Transaction discarded because of: ", reason].concat())
}

fn multi(context: &mut Context<'_>) -> Outcome {
    if context.session.queue.is_some() {
        return Err(Refusal::Fixed("ERR MULTI calls can not be nested"));
    }
    context.session.queue = Some(Box::default());
    context.session.record.note_queued(0, 0);
    context.ok()
}

fn discard(context: &mut Context<'_>) -> Outcome {
    if context.session.queue.is_none() {
        return Err(Refusal::Fixed("ERR DISCARD without MULTI"));
    }
    context.session.end_transaction(context.state);
    context.ok()
}

fn watch(context: &mut Context<'_>) -> Outcome {
    if context.session.queue.is_some() {
        return Err(Refusal::Fixed("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = context.keys(1..context.words());
    context.session.watched_bytes += keys.iter().map(|key| key.bytes.len() + WORD_BYTES).sum::<usize>();
    if context.session.watched_bytes > MAX_QUEUED_BYTES {
        return Ok(Flow::Close);
    }
    let watcher = context.session.watcher();
    let mut transaction = context.lock_keys(&keys);
    keys.iter().for_each(|key| transaction.watch(*key, &watcher));
    drop(transaction);
    context.ok()
}

fn unwatch(context: &mut Context<'_>) -> Outcome {
    context.session.unwatch(context.state);
    context.ok()
}

fn exec(context: &mut Context<'_>) -> Outcome {
    let runs_scripts = context.session.queue.as_ref().is_some_and(|queue| queue.any(|flags| flags.has(Flags::ALONE)));
    if runs_scripts && let Some(thread) = own_stack(context) {
        return Ok(Flow::Elsewhere { thread });
    }
    let Some(queue) = context.session.queue.take() else { return Err(Refusal::Fixed("ERR EXEC without MULTI")) };
    let outcome = run(context, &queue);
    context.session.end_transaction(context.state);
    outcome
}

/// Runs what was queued, unless a watched key has changed.
fn run(context: &mut Context<'_>, queue: &Queue) -> Outcome {
    if queue.failed {
        return Err(Refusal::Fixed("EXECABORT Transaction discarded because of previous errors."));
    }
    check(context, queue).map_err(|refusal| aborted(&refusal))?;
    let watcher = context.session.take_watcher();
    let (state, now, database) = (context.state, context.now, context.session.database);
    let watched = watcher.as_ref().map(|watcher| watcher.keys()).unwrap_or_default();
    // What a script needs turns up while it runs: then all of this has the data for itself.
    let exclusive = match queue.any(|flags| flags.has(Flags::ALONE)) {
        false => None,
        true => match state.keyspace.begin_exclusive() {
            Ok(exclusive) => Some(exclusive),
            Err(_) => {
                context.session.turned_away = true;
                return Err(aborted(&state.scripting.busy()));
            }
        },
    };
    let mut transaction = lock(state, queue, &watched, now, database);
    // A snapshot may have begun to come in since the check. From here on that has to wait.
    let is_loading = state.keyspace.is_loading();
    if watcher.is_some_and(|watcher| transaction.stop_watching(&watcher)) {
        context.reply.null_array();
        return Ok(Flow::Continue);
    }
    if is_loading && !queue.requests.iter().all(|request| request.has(Flags::LOADING)) {
        return Err(aborted(&loading(state)));
    }
    let seq = match exclusive {
        None => run_all(context, queue, Some(transaction)),
        Some(exclusive) => {
            drop(transaction);
            context.session.in_exclusive = true;
            run_all(context, queue, None);
            context.session.in_exclusive = false;
            exclusive.commit()
        }
    };
    if let Some(seq) = seq {
        context.session.last_written = seq;
    }
    Ok(Flow::Continue)
}

/// Runs the requests on these locks, or alone. Returns the seq of their effect, unless they are alone.
fn run_all<'s>(context: &'s mut Context<'_>, queue: &'s Queue, transaction: Option<Transaction<'s>>) -> Option<u64> {
    let held = transaction.map(Held::new);
    let whole = context.reply.bytes().len();
    context.reply.array(queue.requests.len());
    if let Some(first) = queue.requests.first() {
        let mut inner = Context {
            state: context.state,
            session: context.session,
            arguments: first.arguments(),
            reply: context.reply,
            now: context.now,
            entry: first.entry,
            held: held.clone(),
        };
        for request in &queue.requests {
            (inner.arguments, inner.entry) = (request.arguments(), request.entry);
            run_one(&mut inner, whole);
        }
    }
    held?.take().and_then(Transaction::commit)
}

/// May the queued commands run?
fn check(context: &Context<'_>, queue: &Queue) -> Result<(), Refusal> {
    let keyspace = &context.state.keyspace;
    let requests = &queue.requests;
    if !context.state.is_serving() && !requests.iter().all(|request| request.has(Flags::LOADING)) {
        return Err(loading(context.state));
    }
    let needs_memory = requests.iter().any(|request| request.has(Flags::DENYOOM));
    if needs_memory && keyspace.memory_limit() > 0 && !keyspace.make_room(context.now) {
        return Err(OUT_OF_MEMORY);
    }
    let mut writes = requests.iter().filter(|request| request.has(Flags::WRITE));
    let written: usize = writes.clone().map(|request| request.bytes.len()).sum();
    if writes.nth(1).is_some() && !keyspace.fits_into_effect(written) {
        return Err(WriteError::TooLarge.into());
    }
    Ok(())
}

/// Locks what the requests and the watched keys need.
fn lock<'s>(state: &'s ServerState, queue: &Queue, watched: &[Watched], now: Millis, database: u32) -> Transaction<'s> {
    let keyspace = &*state.keyspace;
    let mut keys: Vec<Key<'_>> = watched.iter().map(|watched| keyspace.key(&watched.key)).collect();
    for request in &queue.requests {
        // A script locks what it needs when it comes to it.
        if request.has(Flags::ALONE) {
            continue;
        }
        match request.keys() {
            Some(found) => keys.extend(found.map(|key| keyspace.key(key))),
            None => return keyspace.lock_all(now, database),
        }
    }
    keyspace.lock_keys(now, database, keys.into_iter())
}

/// Runs one of the requests on the locks of all; the replies began at `whole`.
fn run_one(context: &mut Context<'_>, whole: usize) {
    let (state, start) = (context.state, context.reply.bytes().len());
    let effect_bytes = || match &context.held {
        Some(held) => held.effect_bytes(),
        None => state.keyspace.open_effect_bytes(),
    };
    if context.entry.command.flags.has(Flags::WRITE) && !state.keyspace.fits_into_effect(effect_bytes()) {
        refuse(state, context.session, context.reply, &WriteError::TooLarge.into());
        return;
    }
    if !context.session.user.is_unlimited() {
        let (entry, arguments) = (context.entry, context.arguments);
        let allowed = acl::check_late(state, context.session, entry, &arguments, context.now);
        if let Err(refusal) = allowed {
            state.stats.thread(context.session.thread).command(entry.id).rejected.add(1);
            refuse(state, context.session, context.reply, &refusal);
            return;
        }
    }
    call(context);
    if context.reply.bytes().len() - whole > MAX_REPLY_BYTES {
        context.reply.bytes_mut().truncate(start);
        refuse(state, context.session, context.reply, &TOO_LARGE_REPLY);
    }
}
