//! FUNCTION and FCALL: libraries of functions, which are data, and replicate as such (`keyspace/libraries`).

use std::collections::BTreeMap;

use super::context::{Context, Outcome, Refusal, is_option};
use super::script_host::LoadingHost;
use super::script_runner::{Call, Name, count_keys, run};
use super::script_state::{Library, libraries, library_counts, taken, with_engine};
use super::scripting::{READ, RUNS_ANY, RUNS_READS, WRITTEN, elsewhere};
use super::spec::{Categories, Command, Coordination, Flags, Group, Handler};
use super::{Flow, glob};
use crate::rdb::{dump_libraries, load_libraries};

const FUNCTION_TIME: &str = "Depends on the function that is executed.";
const CHANGES: Flags = Flags::WRITE.with(Flags::NOSCRIPT).with(Flags::ALONE);
const LOOKS: Flags = Flags::NOSCRIPT.with(Flags::ALONE);

const fn row(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    Command::new(Group::Scripting, name, arity, handler).flags(flags).categories(Categories::SCRIPTING)
}

const fn change(name: &'static str, arity: isize, flags: Flags, handler: Handler) -> Command {
    row(name, arity, CHANGES.with(flags), handler)
        .coordination(Coordination::Commutes)
        .hints(&["request_policy:all_shards", "response_policy:all_succeeded"])
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("fcall", -3, RUNS_ANY, fcall).keys(WRITTEN).docs("7.0.0", FUNCTION_TIME, "Runs a function"),
    row("fcall_ro", -3, RUNS_READS, fcall_reading).keys(READ).docs(
        "7.0.0",
        FUNCTION_TIME,
        "Runs a function that does not write",
    ),
    Command::new(Group::Scripting, "function", -2, help)
        .docs("7.0.0", "Depends on subcommand.", "Libraries of functions")
        .subcommands(&[
            change("delete", 3, Flags::NONE, delete).docs("7.0.0", "O(1)", "Deletes a library"),
            change("flush", -2, Flags::NONE, flush).docs("7.0.0", "O(N) with N functions", "Deletes all libraries"),
            change("load", -3, Flags::DENYOOM, load).docs(
                "7.0.0",
                "O(N) with N bytes of the library",
                "Adds a library",
            ),
            change("restore", -3, Flags::DENYOOM, restore).docs(
                "7.0.0",
                "O(N) with N functions",
                "Adds the libraries of a payload",
            ),
            row("dump", 2, LOOKS, dump).docs("7.0.0", "O(N) with N functions", "Returns all libraries as a payload"),
            row("list", -2, LOOKS, list).hints(&["nondeterministic_output_order"]).docs(
                "7.0.0",
                "O(N) with N functions",
                "Describes libraries",
            ),
            row("kill", 2, Flags::NOSCRIPT.with(Flags::ALLOW_BUSY), kill)
                .hints(&["request_policy:all_shards", "response_policy:one_succeeded"])
                .docs("7.0.0", "O(1)", "Ends the function that runs for too long"),
            row("stats", 2, LOOKS.with(Flags::ALLOW_BUSY), stats)
                .hints(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
                .docs("7.0.0", "O(1)", "Tells what runs, and how many functions there are"),
            row("help", 2, Flags::LOADING.with(Flags::STALE), help).docs("7.0.0", "O(1)", "Lists the subcommands"),
        ]),
];

fn fcall(context: &mut Context<'_>) -> Outcome {
    call(context, false)
}

fn fcall_reading(context: &mut Context<'_>) -> Outcome {
    call(context, true)
}

fn call(context: &mut Context<'_>, read_only: bool) -> Outcome {
    if let Some(thread) = elsewhere(context) {
        return Ok(Flow::Elsewhere { thread });
    }
    with_engine(context.state, |engine| {
        libraries(context.state, engine, context.now);
        let name = context.word(1);
        let prepared = engine.function(name).ok_or(Refusal::Fixed("ERR Function not found"))?;
        let keys = count_keys(context, Refusal::Fixed("ERR Bad number of keys provided"))?;
        run(context, engine, &prepared, Call { name: Name::Function(name), keys, read_only })
    })?
}

/// All libraries as they are now.
fn all(context: &Context<'_>) -> Result<std::sync::Arc<Vec<Library>>, Refusal> {
    with_engine(context.state, |engine| libraries(context.state, engine, context.now))
}

/// Changes the libraries, and remembers the effect for WAIT.
fn apply<'n>(
    context: &mut Context<'_>,
    removed: impl Iterator<Item = &'n [u8]>,
    kept: impl Iterator<Item = (&'n [u8], &'n [u8])>,
) {
    if let Some(seq) = context.state.keyspace.change_libraries(context.now, removed, kept) {
        context.session.last_written = seq;
    }
}

/// Loads code without keeping it: what library it is.
fn examine(context: &Context<'_>, code: &[u8]) -> Result<Library, Refusal> {
    let loaded = with_engine(context.state, |engine| engine.load(code, &mut LoadingHost::new(context.state)))?;
    let loaded = loaded.map_err(Refusal::Built)?;
    Ok(Library { name: loaded.name, code: code.to_vec(), functions: loaded.functions })
}

fn load(context: &mut Context<'_>) -> Outcome {
    let options = context.words() - 3;
    let mut replaces = false;
    for at in 2..2 + options {
        let word = context.word(at);
        if !is_option(word, "replace") {
            return Err(Refusal::Built([b"ERR Unknown option given: ", word].concat()));
        }
        replaces = true;
    }
    let code = context.word(2 + options);
    let present = all(context)?;
    let name = crate::scripting::library_header(code).map_err(Refusal::Built)?.name;
    if !replaces && present.iter().any(|library| library.name == name) {
        return Err(Refusal::Built([b"ERR Library '", &*name, b"' already exists"].concat()));
    }
    let library = examine(context, code)?;
    let others: Vec<Library> = present.iter().filter(|other| other.name != name).cloned().collect();
    if let Some(function) = taken(&others, &library.functions) {
        return Err(Refusal::Built([b"ERR Function ", &*function, b" already exists"].concat()));
    }
    apply(context, std::iter::empty(), std::iter::once((&*name, code)));
    context.reply.bulk(&name);
    Ok(Flow::Continue)
}

fn delete(context: &mut Context<'_>) -> Outcome {
    let name = context.word(2);
    if !all(context)?.iter().any(|library| library.name == name) {
        return Err(Refusal::Fixed("ERR Library not found"));
    }
    apply(context, std::iter::once(name), std::iter::empty());
    context.ok()
}

fn flush(context: &mut Context<'_>) -> Outcome {
    match context.words() {
        2 => {}
        3 if is_option(context.word(2), "sync") || is_option(context.word(2), "async") => {}
        3 => return Err(Refusal::Fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => {
            return Err(Refusal::Fixed(
                "ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.",
            ));
        }
    }
    let names = names(context);
    apply(context, names.iter().map(|name| &**name), std::iter::empty());
    context.ok()
}

/// The names of all libraries, those that are not in use included.
fn names(context: &Context<'_>) -> Vec<Vec<u8>> {
    let unwatched = std::sync::Arc::default();
    let names = context.state.keyspace.libraries(context.now, &unwatched).into_keys().collect();
    context.state.keyspace.forget_watcher(&unwatched);
    names
}

fn dump(context: &mut Context<'_>) -> Outcome {
    let all = all(context)?;
    context.reply.bulk(&dump_libraries(all.iter().map(|library| &*library.code)));
    Ok(Flow::Continue)
}

/// What becomes of libraries that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Append,
    Replace,
    Flush,
}

fn restore(context: &mut Context<'_>) -> Outcome {
    if context.words() > 4 {
        return Err(Refusal::Fixed(
            "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION HELP.",
        ));
    }
    let policy = match context.arguments.get(3) {
        None => Policy::Append,
        Some(word) if is_option(word, "append") => Policy::Append,
        Some(word) if is_option(word, "replace") => Policy::Replace,
        Some(word) if is_option(word, "flush") => Policy::Flush,
        Some(_) => {
            return Err(Refusal::Fixed(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let wrong = Refusal::Fixed("ERR DUMP payload version or checksum are wrong");
    let restored = load_libraries(context.word(2)).map_err(|_| wrong)?;
    let present = all(context)?;
    let mut result: BTreeMap<Vec<u8>, Library> = match policy {
        Policy::Flush => BTreeMap::new(),
        _ => present.iter().map(|library| (library.name.clone(), library.clone())).collect(),
    };
    let mut new: Vec<Library> = Vec::new();
    for code in &restored {
        let library = examine(context, code)?;
        let is_there = new.iter().any(|other| other.name == library.name)
            || policy == Policy::Append && result.contains_key(&library.name);
        if is_there {
            return Err(Refusal::Built([b"ERR Library ", &*library.name, b" already exists"].concat()));
        }
        result.remove(&library.name);
        new.push(library);
    }
    let mut others: Vec<Library> = result.into_values().collect();
    for library in &new {
        if let Some(function) = taken(&others, &library.functions) {
            return Err(Refusal::Built([b"ERR Function ", &*function, b" already exists"].concat()));
        }
        others.push(library.clone());
    }
    let removed = if policy == Policy::Flush { names(context) } else { Vec::new() };
    let kept = new.iter().map(|library| (&*library.name, &*library.code));
    apply(context, removed.iter().map(|name| &**name), kept);
    context.ok()
}

fn list(context: &mut Context<'_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < context.words() {
        let word = context.word(at);
        if is_option(word, "withcode") && !with_code {
            with_code = true;
        } else if is_option(word, "libraryname") && pattern.is_none() {
            at += 1;
            let given = context.arguments.get(at);
            pattern = Some(given.ok_or(Refusal::Fixed("ERR library name argument was not given"))?);
        } else {
            return Err(Refusal::Built([b"ERR Unknown argument ", word].concat()));
        }
        at += 1;
    }
    let all = all(context)?;
    let matches = |library: &&Library| pattern.is_none_or(|pattern| glob::matches_in_any_case(pattern, &library.name));
    let found: Vec<&Library> = all.iter().filter(matches).collect();
    let reply = &mut *context.reply;
    reply.array(found.len());
    for library in found {
        reply.map(3 + usize::from(with_code));
        reply.bulk(b"library_name");
        reply.bulk(&library.name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in &library.functions {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&function.name);
            reply.bulk(b"description");
            reply.bulk_or_null(function.description.as_deref());
            reply.bulk(b"flags");
            let flags = function.flags.names();
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(Flow::Continue)
}

fn kill(context: &mut Context<'_>) -> Outcome {
    context.state.scripting.kill(true)?;
    context.ok()
}

fn stats(context: &mut Context<'_>) -> Outcome {
    let state = context.state;
    let running = state.scripting.running();
    if context.session.turned_away && running.as_ref().is_some_and(|running| running.function.is_none()) {
        return Err(state.scripting.busy());
    }
    let (libraries, functions, _) = library_counts(context);
    let reply = &mut *context.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&running.function.unwrap_or_default());
            reply.bulk(b"command");
            reply.array(running.command.len());
            running.command.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            let elapsed = state.facts.stopwatch.map_or(0, |read| read().saturating_sub(running.begun));
            reply.count((elapsed / 1_000_000) as usize);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(libraries);
    reply.bulk(b"functions_count");
    reply.count(functions);
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "LOAD [REPLACE] <FUNCTION CODE>",
        "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:",
        "    * Library name",
        "    * The engine used to run the Library",
        "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
        "STATS",
        "    Return information about the current function running:",
        "    * Function name",
        "    * Command used to run the function",
        "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
        "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
        "      libraries with the new libraries (notice that even on this option there is a chance of failure",
        "      in case of functions name collision with another library).",
    ])
}
