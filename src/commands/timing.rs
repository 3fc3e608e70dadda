//! How long commands take, at a price that commands which take no time do not pay.
//!
//! # What is promised
//!
//! - Commands of which the table does not say that they take constant time, and are none of the simple reads and writes (`fast`), are
//!   timed each time: SLOWLOG, LATENCY and the statistics have every one of them, exactly.
//! - All others ([`is_quick`]) are not timed each by itself. A batch (what one wake-up of a connection executes) is timed as a whole. If it
//!   was one command, that is its time. If a batch of several takes as long as the lower of both thresholds, it is not known
//!   which of them it was: from then on this connection times each command of its next batches, up to [`CLOSE_COMMANDS`] of them.
//! - Below a threshold of a millisecond (`slowlog-log-slower-than`), every command is timed.
//! - For the statistics, one quick command of [`TIMED_EVERY`] is timed and counts for all of them.
//!
//! Must not know a clock: it is handed in with [`super::ServerFacts`].

use super::attention::CLOSELY;
use super::clients::ClientRecord;
use super::redaction::{REDACTED, is_secret};
use super::spec::{Command, Flags};
use super::table::Entry;
use super::{ServerState, Session};
use crate::keyspace::Millis;
use crate::observe::SlowCommand;
use crate::observe::stats::TIMED_EVERY;
use crate::resp::Arguments;

/// So many commands of a connection are timed each by itself after a batch that took long.
const CLOSE_COMMANDS: u32 = 4096;

/// Does this command take no time to speak of, whatever its arguments?
pub fn is_quick(command: &Command) -> bool {
    command.subcommands.is_empty() && (command.flags.has(Flags::FAST) || command.complexity == "O(1)")
}

/// What the current batch of a connection takes.
#[derive(Debug, Default)]
pub struct Batch {
    /// Commands that were not timed by themselves.
    untimed: u32,
    /// The latest of them.
    latest: Option<&'static Entry>,
    /// What those that were timed took, in nanoseconds.
    timed: u64,
    /// So many commands are still to be timed each by itself.
    close: u32,
}

/// Whether the command that is about to run is timed, and for how many calls it stands.
pub fn calls_timed(state: &ServerState, session: &mut Session, entry: &'static Entry, nth: u64) -> Option<u64> {
    if !entry.quick || session.batch.close > 0 || state.supervision.attention.get() & CLOSELY != 0 {
        session.batch.close = session.batch.close.saturating_sub(1);
        return Some(1);
    }
    if nth.is_multiple_of(TIMED_EVERY) {
        return Some(TIMED_EVERY);
    }
    session.batch.untimed += 1;
    session.batch.latest = Some(entry);
    None
}

/// Notes what a command took that was timed.
pub fn note(
    state: &ServerState,
    session: &mut Session,
    entry: &Entry,
    arguments: &Arguments<'_>,
    now: Millis,
    (nanoseconds, calls): (u64, u64),
) {
    // What such a command runs is counted by itself.
    if !entry.command.flags.has(Flags::SKIP_SLOWLOG) && !session.in_script {
        session.batch.timed += nanoseconds;
    }
    let block = state.stats.thread(session.thread);
    block.command(entry.id).nanoseconds.add(nanoseconds * calls);
    if state.supervision.timing.tracking() {
        block.note_latency(entry.id, nanoseconds, calls);
    }
    // What a script calls is part of it.
    if nanoseconds >= state.supervision.timing.suspicious() && !session.in_script {
        look_at(state, &session.record, entry, arguments, now, nanoseconds);
    }
}

/// Notes what a batch took as a whole. `only` is its request, if it had one only.
pub fn note_batch(
    state: &ServerState,
    session: &mut Session,
    nanoseconds: u64,
    only: Option<&Arguments<'_>>,
    now: Millis,
) {
    let untimed = std::mem::take(&mut session.batch.untimed);
    let rest = nanoseconds.saturating_sub(std::mem::take(&mut session.batch.timed));
    if untimed == 0 || rest < state.supervision.timing.suspicious() {
        return;
    }
    match (only, session.batch.latest) {
        // The one command may be EXEC, and what was not timed is within it.
        (Some(arguments), Some(entry)) if session.find(&arguments[0]).is_some_and(|found| is_of(entry, found)) => {
            look_at(state, &session.record, entry, arguments, now, rest);
        }
        _ => session.batch.close = CLOSE_COMMANDS,
    }
}

/// Is it this command, or one of its subcommands?
fn is_of(entry: &Entry, command: &Entry) -> bool {
    std::ptr::eq(entry, command) || command.subcommands.iter().any(|inner| std::ptr::eq(entry, inner))
}

/// A command took long enough for somebody to want to know.
#[cold]
fn look_at(
    state: &ServerState,
    record: &ClientRecord,
    entry: &Entry,
    arguments: &Arguments<'_>,
    now: Millis,
    nanoseconds: u64,
) {
    // What is run by such a command is looked at by itself.
    if entry.command.flags.has(Flags::SKIP_SLOWLOG) {
        return;
    }
    let supervision = &state.supervision;
    let (microseconds, milliseconds) = (nanoseconds / 1000, nanoseconds / 1_000_000);
    if supervision.timing.slower_than().is_some_and(|threshold| microseconds >= threshold) {
        let words: Vec<&[u8]> = (0..arguments.len())
            .map(|at| if is_secret(entry, arguments, at) { REDACTED } else { &arguments[at] })
            .collect();
        let command = SlowCommand {
            seconds: (now + milliseconds) / 1000,
            microseconds,
            words: words.into_iter(),
            address: record.address.to_string(),
            name: record.names().name,
        };
        supervision.slow_log.add(command, supervision.timing.log_length());
    }
    if supervision.timing.event_threshold().is_some_and(|threshold| milliseconds >= threshold) {
        let kind = if entry.command.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        supervision.latency.add(kind, (now + milliseconds) / 1000, milliseconds);
    }
}
