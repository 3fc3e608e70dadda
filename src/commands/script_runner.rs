//! Running a script or a function: alone, as one effect, with the rules that it has given itself.

use super::attention::MONITORED;
use super::context::{Context, Outcome, Refusal};
use super::script_host::ScriptHost;
use super::{Flow, OUT_OF_MEMORY, show};
use crate::keyspace::integer;
use crate::scripting::{Digest, Engine, Prepared, hexadecimal};

/// What runs.
#[derive(Clone, Copy, Debug)]
pub enum Name<'c> {
    Script(Digest),
    Function(&'c [u8]),
}

impl Name<'_> {
    /// As errors name it.
    fn text(self) -> String {
        match self {
            Name::Script(digest) => hexadecimal(&digest),
            Name::Function(name) => String::from_utf8_lossy(name).into_owned(),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'c> {
    pub name: Name<'c>,
    /// How many keys the request names; they stand from its fourth word on.
    pub keys: usize,
    /// The command of the request runs only what does not write.
    pub read_only: bool,
}

/// How many keys follow the third word of the request; `unreadable`: what is said of a word that is no number.
pub fn count_keys(context: &Context<'_>, unreadable: Refusal) -> Result<usize, Refusal> {
    let number = integer::parse(context.word(2)).ok_or(unreadable)?;
    let there = context.words() - 3;
    match usize::try_from(number) {
        Err(_) => Err(Refusal::Fixed("ERR Number of keys can't be negative")),
        Ok(number) if number > there => Err(Refusal::Fixed("ERR Number of keys can't be greater than number of args")),
        Ok(number) => Ok(number),
    }
}

/// Runs what was prepared.
pub fn run(context: &mut Context<'_>, engine: &Engine, prepared: &Prepared, call: Call<'_>) -> Outcome {
    let state = context.state;
    let flags = prepared.flags;
    let out_of_memory = state.keyspace.memory_limit() > 0 && !state.keyspace.make_room(context.now);
    if out_of_memory && !flags.unsaid && !flags.allow_oom && !flags.no_writes {
        return Err(OUT_OF_MEMORY);
    }
    if call.read_only && !flags.unsaid && !flags.no_writes {
        return Err(Refusal::Fixed("ERR Can not execute a script with write flag using *_ro command."));
    }
    let read_only = call.read_only || flags.no_writes;
    if state.supervision.attention.get() & MONITORED != 0 {
        show(context);
    }
    let is_part = context.session.in_exclusive;
    // The script has the data for itself from here on, unless EXEC has it already.
    let exclusive = match is_part {
        true => None,
        false => match state.keyspace.begin_exclusive() {
            Ok(exclusive) => Some(exclusive),
            Err(_) => {
                context.session.turned_away = true;
                return Err(state.scripting.busy());
            }
        },
    };
    let database = context.session.database;
    (context.session.in_script, context.session.in_exclusive) = (true, true);
    context.session.script_begun = state.facts.stopwatch.map(|read| read());
    let words = context.arguments.from(3);
    let function = if let Name::Function(name) = call.name { Some(name) } else { None };
    let mut host = ScriptHost::new(state, context.session, context.now, context.arguments);
    (host.read_only, host.out_of_memory, host.function) = (read_only, out_of_memory && !flags.allow_oom, function);
    let keys = (0..call.keys).map(|at| &words[at]);
    let arguments = (call.keys..words.len()).map(|at| &words[at]);
    let outcome = engine.run(prepared, keys, arguments, &mut host, context.reply);
    host.end();
    (context.session.in_script, context.session.in_exclusive) = (false, is_part);
    context.session.script_begun = None;
    if context.session.database != database {
        context.session.select(database);
    }
    if let Some(seq) = exclusive.and_then(|exclusive| exclusive.commit()) {
        context.session.last_written = seq;
    }
    match outcome {
        Ok(()) => Ok(Flow::Continue),
        Err(failure) if failure.counted => {
            // The command that failed was counted; the error is the same one.
            state.stats.thread(context.session.thread).command(context.entry.id).failed.add(1);
            context.reply.error(&failure.reply(&call.name.text()));
            Ok(Flow::Continue)
        }
        Err(failure) => Err(Refusal::Built(failure.reply(&call.name.text()))),
    }
}
