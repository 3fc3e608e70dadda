//! EVAL and its kin, and SCRIPT: scripts that come with the request, or were seen before.

use super::Flow;
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, is_option};
use super::script_runner::{Call, Name, count_keys, run};
use super::script_state::with_engine;
use super::spec::{Access, Categories, Command, Find, Flags, Group, Handler, KeySpec};
use crate::scripting::{Digest, digest_of, hexadecimal};

/// What runs a script or function, whichever.
pub(super) const RUNS: Flags = Flags::NOSCRIPT
    .with(Flags::STALE)
    .with(Flags::SKIP_MONITOR)
    .with(Flags::NO_MANDATORY_KEYS)
    .with(Flags::MOVABLEKEYS)
    .with(Flags::ALONE);
/// May write: it waits when writes are paused.
pub(super) const RUNS_ANY: Flags = RUNS.with(Flags::MAY_REPLICATE);
pub(super) const RUNS_READS: Flags = RUNS.with(Flags::READONLY);

const ANY_USE: Access = Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE);
const READS: Access = Access::READ.with(Access::ACCESS);

/// Keys behind their number, used in any way.
pub(super) const WRITTEN: &[KeySpec] = &[KeySpec {
    access: ANY_USE,
    begin: 2,
    find: Find::Number,
    note: "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
}];
/// The same, only read.
pub(super) const READ: &[KeySpec] = &[KeySpec {
    access: READS,
    begin: 2,
    find: Find::Number,
    note: "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
}];
const WRITTEN_BY_NAME: &[KeySpec] = &[KeySpec { access: ANY_USE, begin: 2, find: Find::Number, note: "" }];
const READ_BY_NAME: &[KeySpec] = &[KeySpec { access: READS, begin: 2, find: Find::Number, note: "" }];

const SCRIPT_TIME: &str = "Depends on the script that is executed.";

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Scripting, name, arity, handler).flags(flags).categories(Categories::SCRIPTING)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("eval", -3, RUNS_ANY, eval).keys(WRITTEN).docs("2.6.0", SCRIPT_TIME, "Runs a script"),
    row("evalsha", -3, RUNS_ANY, eval_by_name).keys(WRITTEN_BY_NAME).docs(
        "2.6.0",
        SCRIPT_TIME,
        "Runs a script that was seen before",
    ),
    row("eval_ro", -3, RUNS_READS, eval_reading).keys(READ).docs(
        "7.0.0",
        SCRIPT_TIME,
        "Runs a script that does not write",
    ),
    row("evalsha_ro", -3, RUNS_READS, eval_reading_by_name).keys(READ_BY_NAME).docs(
        "7.0.0",
        SCRIPT_TIME,
        "Runs a script that was seen before and does not write",
    ),
    Command::new(Group::Scripting, "script", -2, help)
        .docs("2.6.0", "Depends on subcommand.", "Scripts that are kept, and the one that runs")
        .subcommands(&[
            row("help", 2, Flags::LOADING.with(Flags::STALE), help).docs("5.0.0", "O(1)", "Lists the subcommands"),
            row("kill", 2, Flags::NOSCRIPT.with(Flags::ALLOW_BUSY), kill)
                .hints(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .docs("2.6.0", "O(1)", "Ends the script that runs for too long"),
            row("exists", -3, Flags::NOSCRIPT, exists)
                .hints(&["request_policy:all_shards", "response_policy:agg_logical_and"])
                .docs("2.6.0", "O(N) with N names", "Tells which scripts are kept"),
            row("flush", -2, Flags::NOSCRIPT, flush)
                .hints(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs("2.6.0", "O(N) with N scripts", "Forgets all scripts"),
            row("debug", 3, Flags::NOSCRIPT, debug).docs("3.2.0", "O(1)", "Accepts NO; there is no debugger"),
            row("load", 3, Flags::NOSCRIPT.with(Flags::STALE), load)
                .hints(&["request_policy:all_nodes", "response_policy:all_succeeded"])
                .docs("2.6.0", "O(N) with N bytes of the script", "Keeps a script"),
            row("show", 3, Flags::NOSCRIPT, show).docs("8.0.0", "O(1)", "Returns the text of a script, as Valkey does"),
        ]),
];

const NO_SCRIPT: Refusal = Refusal::Fixed("NOSCRIPT No matching script. Please use EVAL.");

fn eval(context: &mut Context<'_>) -> Outcome {
    eval_text(context, false)
}

fn eval_reading(context: &mut Context<'_>) -> Outcome {
    eval_text(context, true)
}

fn eval_by_name(context: &mut Context<'_>) -> Outcome {
    eval_named(context, false)
}

fn eval_reading_by_name(context: &mut Context<'_>) -> Outcome {
    eval_named(context, true)
}

/// The thread that this request is to be carried out on instead: another one, or this one on a stack of its own. What is a part of a
/// transaction stays with it.
pub(super) fn elsewhere(context: &mut Context<'_>) -> Option<usize> {
    let own_stack = own_stack(context);
    let session = &*context.session;
    context.state.scripting.elsewhere(session.thread).or(own_stack).filter(|_| !session.in_exclusive)
}

/// This thread, if this request, which runs scripts, is to be carried out on it anew, on a stack of its own.
pub(super) fn own_stack(context: &mut Context<'_>) -> Option<usize> {
    let session = &mut *context.session;
    let is_first = !std::mem::replace(&mut session.runs_scripts, true);
    (is_first && session.suspends_scripts).then_some(session.thread)
}

fn eval_text(context: &mut Context<'_>, read_only: bool) -> Outcome {
    if let Some(thread) = elsewhere(context) {
        return Ok(Flow::Elsewhere { thread });
    }
    let keys = count_keys(context, NOT_AN_INTEGER)?;
    let source = context.word(1);
    with_engine(context.state, |engine| {
        let (digest, prepared) = match engine.latest(source) {
            Some(latest) => latest,
            None => {
                let digest = digest_of(source);
                let prepared = match engine.compiled(&digest) {
                    Some(prepared) => prepared,
                    None => {
                        let prepared = engine.compile(digest, source).map_err(Refusal::Built)?;
                        context.state.scripting.keep_text(digest, source, false);
                        prepared
                    }
                };
                engine.keep_as_latest(source, digest, &prepared);
                (digest, prepared)
            }
        };
        run(context, engine, &prepared, Call { name: Name::Script(digest), keys, read_only })
    })?
}

fn eval_named(context: &mut Context<'_>, read_only: bool) -> Outcome {
    if let Some(thread) = elsewhere(context) {
        return Ok(Flow::Elsewhere { thread });
    }
    let digest = digest(context.word(1)).ok_or(NO_SCRIPT)?;
    let keys = count_keys(context, NOT_AN_INTEGER)?;
    with_engine(context.state, |engine| {
        let prepared = match engine.compiled(&digest) {
            Some(prepared) => prepared,
            None => {
                let source = context.state.scripting.text(&digest).ok_or(NO_SCRIPT)?;
                engine.compile(digest, &source).map_err(Refusal::Built)?
            }
        };
        run(context, engine, &prepared, Call { name: Name::Script(digest), keys, read_only })
    })?
}

/// A name of 40 digits, in any case.
fn digest(name: &[u8]) -> Option<Digest> {
    let mut digest = [0; 20];
    if name.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).map(|digit| digit as u8);
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(digest)
}

fn load(context: &mut Context<'_>) -> Outcome {
    let source = context.word(2);
    let digest = digest_of(source);
    if !context.state.scripting.has_text(&digest) {
        with_engine(context.state, |engine| engine.compile(digest, source).map(drop))?.map_err(Refusal::Built)?;
    }
    context.state.scripting.keep_text(digest, source, true);
    context.reply.bulk(hexadecimal(&digest).as_bytes());
    Ok(Flow::Continue)
}

fn exists(context: &mut Context<'_>) -> Outcome {
    let names = context.arguments.from(2);
    context.reply.array(names.len());
    for name in names.iter() {
        let known = digest(name).is_some_and(|digest| context.state.scripting.has_text(&digest));
        context.reply.integer(i64::from(known));
    }
    Ok(Flow::Continue)
}

fn flush(context: &mut Context<'_>) -> Outcome {
    let known = match context.words() {
        2 => true,
        3 => is_option(context.word(2), "sync") || is_option(context.word(2), "async"),
        _ => false,
    };
    if !known {
        return Err(Refusal::Fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    context.state.scripting.forget_texts();
    context.ok()
}

fn kill(context: &mut Context<'_>) -> Outcome {
    context.state.scripting.kill(false)?;
    context.ok()
}

fn debug(context: &mut Context<'_>) -> Outcome {
    let mode = context.word(2);
    if is_option(mode, "no") {
        return context.ok();
    }
    match is_option(mode, "yes") || is_option(mode, "sync") {
        true => Err(Refusal::Fixed("ERR there is no debugger for scripts")),
        false => Err(Refusal::Fixed("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

fn show(context: &mut Context<'_>) -> Outcome {
    let source = digest(context.word(2)).and_then(|digest| context.state.scripting.text(&digest));
    context.reply.bulk(&source.ok_or(Refusal::Fixed("NOSCRIPT No matching script."))?);
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "DEBUG (YES|SYNC|NO)",
        "    Accepts NO: there is no debugger.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "SHOW <sha1>",
        "    Return the text of a script in the script cache.",
    ])
}
