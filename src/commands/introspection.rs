//! COMMAND: the table as clients see it.

use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::glob;
use super::spec::{Access, Categories, Command, Find, Flags, Group, Handler, KeySpec};
use super::{Entry, Flow, history, signatures, table};
use crate::acl::access_of;
use crate::resp::Reply;

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
        .flags(Flags::LOADING.with(Flags::STALE))
        .categories(Categories::CONNECTION)
}

const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const PER_COMMAND: &str = "O(N) with N commands";

/// The rows of this family.
pub const COMMANDS: &[Command] =
    &[row("command", -1, all).hints(ANY_ORDER).docs("2.8.13", PER_COMMAND, "Describes all commands").subcommands(&[
        row("count", 2, count).docs("2.8.13", "O(1)", "Returns how many commands there are"),
        row("info", -2, info).hints(ANY_ORDER).docs("2.8.13", PER_COMMAND, "Describes commands"),
        row("docs", -2, docs).hints(ANY_ORDER).docs("7.0.0", PER_COMMAND, "Returns the documentation of commands"),
        row("list", -2, list).hints(ANY_ORDER).docs("7.0.0", PER_COMMAND, "Returns the names of commands"),
        row("getkeys", -4, getkeys).docs("2.8.13", "O(N) with N arguments", "Returns the keys of a request"),
        row("getkeysandflags", -4, getkeysandflags).docs(
            "7.0.0",
            "O(N) with N arguments",
            "Returns the keys of a request, and what it does with them",
        ),
        row("help", 2, help).docs("5.0.0", "O(1)", "Lists the subcommands"),
    ])];

fn all(context: &mut Context<'_>) -> Outcome {
    describe_all(context.reply);
    Ok(Flow::Continue)
}

fn describe_all(reply: &mut Reply) {
    reply.array(table().entries().len());
    for entry in table().entries() {
        describe(reply, entry);
    }
}

fn count(context: &mut Context<'_>) -> Outcome {
    context.reply_count(table().entries().len())
}

fn info(context: &mut Context<'_>) -> Outcome {
    let names = context.arguments.from(2);
    if names.is_empty() {
        describe_all(context.reply);
        return Ok(Flow::Continue);
    }
    context.reply.array(names.len());
    for name in names.iter() {
        match table().find_full(name) {
            Some(entry) => describe(context.reply, entry),
            None => context.reply.null(),
        }
    }
    Ok(Flow::Continue)
}

/// Ten elements: name, arity, flags, first key, last key, step, categories, hints, key specifications, subcommands.
fn describe(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(command.arity as i64);
    words(reply, command.flags.names().map(str::to_string).collect());
    let (first, last, step) = entry.key_range;
    reply.count(first);
    reply.integer(last as i64);
    reply.count(step);
    words(reply, command.all_categories().names().map(|name| format!("@{name}")).collect());
    reply.set(command.hints.len());
    for hint in command.hints {
        reply.bulk(hint.as_bytes());
    }
    reply.set(command.keys.len());
    for spec in command.keys {
        describe_keys(reply, spec);
    }
    reply.array(entry.subcommands.len());
    for inner in &entry.subcommands {
        describe(reply, inner);
    }
}

/// A set of simple strings.
fn words(reply: &mut Reply, words: Vec<String>) {
    reply.set(words.len());
    for word in words {
        reply.simple(&word);
    }
}

fn describe_keys(reply: &mut Reply, spec: &KeySpec) {
    reply.map(if spec.note.is_empty() { 3 } else { 4 });
    if !spec.note.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(spec.note.as_bytes());
    }
    reply.bulk(b"flags");
    words(reply, spec.access.names().map(str::to_string).collect());
    reply.bulk(b"begin_search");
    match spec.find {
        Find::Word(word) | Find::Half(word) => {
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(spec.begin as i64);
        }
        Find::Range { .. } | Find::Number => describe_search(reply, "index", &[("index", spec.begin as i64)]),
        Find::Option { .. } | Find::Unknown => describe_search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step } => {
            describe_search(reply, "range", &[("lastkey", last as i64), ("keystep", step as i64), ("limit", 0)]);
        }
        Find::Word(_) => describe_search(reply, "range", &[("lastkey", 0), ("keystep", 1), ("limit", 0)]),
        Find::Half(_) => describe_search(reply, "range", &[("lastkey", -1), ("keystep", 1), ("limit", 2)]),
        Find::Number => describe_search(reply, "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]),
        Find::Option { .. } | Find::Unknown => describe_search(reply, "unknown", &[]),
    }
}

fn describe_search(reply: &mut Reply, kind: &str, numbers: &[(&str, i64)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}

fn docs(context: &mut Context<'_>) -> Outcome {
    let names = context.arguments.from(2);
    let entries: Vec<&Entry> = match names.is_empty() {
        true => table().entries().iter().collect(),
        false => names.iter().filter_map(|name| table().find_full(name)).collect(),
    };
    context.reply.map(entries.len());
    for entry in entries {
        document(context.reply, entry);
    }
    Ok(Flow::Continue)
}

fn document(reply: &mut Reply, entry: &Entry) {
    let command = entry.command;
    let deprecated = command.deprecated;
    let history = history::of(&entry.full_name);
    let arguments = signatures::of(&entry.full_name);
    let parts = [
        !command.complexity.is_empty(),
        deprecated.is_some() || command.is_internal,
        !history.is_empty(),
        !arguments.is_empty(),
        !entry.subcommands.is_empty(),
    ];
    let parts = parts.into_iter().filter(|is_there| *is_there).count();
    let fields = 3 + if deprecated.is_some() { 2 } else { 0 } + parts;
    reply.bulk(entry.full_name.as_bytes());
    reply.map(fields);
    let texts = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if deprecated.is_some() || command.is_internal {
        let flags = [(deprecated.is_some(), "deprecated"), (command.is_internal, "syscmd")];
        reply.bulk(b"doc_flags");
        words(reply, flags.into_iter().filter(|(has, _)| *has).map(|(_, flag)| flag.to_string()).collect());
    }
    if let Some((since, instead)) = deprecated {
        reply.bulk(b"deprecated_since");
        reply.bulk(since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(instead.as_bytes());
    }
    if !history.is_empty() {
        reply.bulk(b"history");
        reply.set(history.len());
        for (version, change) in history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        signatures::describe(reply, &arguments);
    }
    if !entry.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for inner in &entry.subcommands {
            document(reply, inner);
        }
    }
}

fn list(context: &mut Context<'_>) -> Outcome {
    let with_subcommands =
        || table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands));
    let found: Vec<&Entry> = match context.words() {
        2 => with_subcommands().collect(),
        5 if is_option(context.word(2), "filterby") => {
            let (filter, value) = (context.word(3), context.word(4));
            if is_option(filter, "module") {
                Vec::new()
            } else if is_option(filter, "aclcat") {
                let category = Categories::named(value);
                with_subcommands()
                    .filter(|entry| category.is_some_and(|category| entry.command.all_categories().has(category)))
                    .collect()
            } else if is_option(filter, "pattern") {
                with_subcommands()
                    .filter(|entry| glob::matches_in_any_case(value, entry.full_name.as_bytes()))
                    .collect()
            } else {
                return Err(SYNTAX);
            }
        }
        _ => return Err(SYNTAX),
    };
    context.reply.array(found.len());
    for entry in found {
        context.reply.bulk(entry.full_name.as_bytes());
    }
    Ok(Flow::Continue)
}

fn getkeys(context: &mut Context<'_>) -> Outcome {
    let keys = keys_of(context)?;
    context.reply.array(keys.len());
    for (key, _) in keys {
        context.reply.bulk(key);
    }
    Ok(Flow::Continue)
}

fn getkeysandflags(context: &mut Context<'_>) -> Outcome {
    let keys = keys_of(context)?;
    context.reply.array(keys.len());
    for (key, access) in keys {
        context.reply.array(2);
        context.reply.bulk(key);
        words(context.reply, access.names().map(str::to_string).collect());
    }
    Ok(Flow::Continue)
}

/// The keys of the request behind the subcommand, and what it does with each.
fn keys_of<'a>(context: &Context<'a>) -> Result<Vec<(&'a [u8], Access)>, Refusal> {
    let request = context.arguments.from(2);
    let entry = table().find(context.word(2)).map(|entry| match request.get(1) {
        Some(inner) => entry.subcommand(inner).unwrap_or(entry),
        None => entry,
    });
    let entry = entry.ok_or(Refusal::Fixed("ERR Invalid command specified"))?;
    let specs = || entry.command.keys.iter().filter(|spec| spec.is_of_keys());
    if specs().next().is_none() {
        return Err(Refusal::Fixed("ERR The command has no key arguments"));
    }
    if !entry.command.accepts(request.len()) {
        return Err(Refusal::Fixed("ERR Invalid number of arguments specified for command"));
    }
    let mut keys = Vec::new();
    for spec in specs() {
        if entry.command.flags.has(Flags::NO_MANDATORY_KEYS) && spec.positions(&request).is_none() {
            continue;
        }
        let found = spec.positions(&request).ok_or(Refusal::Fixed("ERR Invalid arguments specified for command"))?;
        let access = access_of(entry, spec, &request);
        keys.extend(found.filter_map(|at| Some((request.get(at)?, access))));
    }
    Ok(keys)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "(no subcommand)",
        "    Describe all commands.",
        "COUNT",
        "    Return how many commands there are.",
        "INFO [<command> ...]",
        "    Describe some commands, or all.",
        "DOCS [<command> ...]",
        "    Return the documentation of some commands, or of all.",
        "LIST [FILTERBY <MODULE <name>|ACLCAT <category>|PATTERN <pattern>>]",
        "    Return the names of all commands, or of those that pass a filter.",
        "GETKEYS <command> [<argument> ...]",
        "    Return the keys of a request.",
        "GETKEYSANDFLAGS <command> [<argument> ...]",
        "    Return the keys of a request, and what it does with each.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn a_command_describes_itself() {
        let mut fixture = Fixture::new();
        let get = "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
                   *3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n\
                   *1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n\
                   $4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n\
                   $4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
        fixture.expect(&[
            ("command info GET foo", &format!("*2\r\n{get}$-1\r\n")),
            (
                "command info config|get",
                "*1\r\n*10\r\n$10\r\nconfig|get\r\n:-3\r\n*4\r\n+admin\r\n+noscript\r\n+loading\r\n+stale\r\n\
                 :0\r\n:0\r\n:0\r\n*3\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n*0\r\n*0\r\n*0\r\n",
            ),
        ]);
        let count = super::table().entries().len();
        assert_eq!(fixture.run("command count"), format!(":{count}\r\n"));
        assert!(fixture.run("command").starts_with(&format!("*{count}\r\n")));
        assert!(fixture.run("command info").starts_with(&format!("*{count}\r\n")));
        assert!(fixture.run("command docs").starts_with(&format!("*{}\r\n", count * 2)));
        assert!(fixture.run("command docs getset").contains("$9\r\ndoc_flags\r\n*1\r\n+deprecated\r\n"));
    }

    #[test]
    fn keys_of_requests() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("command getkeys mset a b c d", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"),
            ("command getkeys smove a b c", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("command getkeys sintercard 2 a b limit 1", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("command getkeys eval x 2 a b c", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
            ("command getkeys eval x 0 a", "*0\r\n"),
            ("command getkeys sintercard 9 a", "-ERR Invalid arguments specified for command\r\n"),
            ("command getkeys sintercard x a", "-ERR Invalid arguments specified for command\r\n"),
            ("command getkeys ping a", "-ERR The command has no key arguments\r\n"),
            ("command getkeys config get x", "-ERR The command has no key arguments\r\n"),
            ("command getkeys foo a", "-ERR Invalid command specified\r\n"),
            ("command getkeys get k x", "-ERR Invalid number of arguments specified for command\r\n"),
        ]);
        let overwrites = "*1\r\n*2\r\n$1\r\nk\r\n*2\r\n+OW\r\n+update\r\n";
        let changes = "*1\r\n*2\r\n$1\r\nk\r\n*3\r\n+RW\r\n+access\r\n+update\r\n";
        let reads = "*1\r\n*2\r\n$1\r\nk\r\n*2\r\n+RO\r\n+access\r\n";
        fixture.expect(&[
            ("command getkeysandflags set k v ex 9", overwrites),
            ("command getkeysandflags set k v ex 9 get", changes),
            ("command getkeysandflags bitfield k get u8 0", reads),
            ("command getkeysandflags bitfield k set u8 0 1", changes),
            ("command getkeysandflags get k", reads),
        ]);
    }

    #[test]
    fn names_of_commands() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("command list filterby pattern ge*x", "*1\r\n$5\r\ngetex\r\n"),
            ("command list filterby module x", "*0\r\n"),
            ("command list filterby aclcat foo", "*0\r\n"),
            ("command list filterby foo x", "-ERR syntax error\r\n"),
            ("command list foo", "-ERR syntax error\r\n"),
        ]);
        assert!(fixture.run("command list").contains("\r\nconfig|get\r\n"));
        assert!(fixture.run("command list filterby aclcat hash").contains("hgetall"));
        assert!(fixture.run("command list filterby pattern config|*").contains("config|get"));
    }
}
