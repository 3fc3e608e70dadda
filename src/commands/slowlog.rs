//! SLOWLOG. What gets into the log is decided in [`super::timing`].

use super::context::{Context, Outcome, Refusal};
use super::spec::{Command, Flags, Group, Handler};
use super::{Flow, wrong_arity};
use crate::keyspace::integer;

/// Entries that SLOWLOG GET returns without a count.
const DEFAULT_COUNT: usize = 10;

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler).flags(Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE))
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Server, "slowlog", -2, container)
    .docs("2.2.12", "Depends on subcommand.", "Tells which commands took long")
    .subcommands(&[
        row("get", -2, get).hints(&["request_policy:all_nodes", "nondeterministic_output"]).docs(
            "2.2.12",
            "O(N) with N entries",
            "Returns the latest commands that took long",
        ),
        row("len", 2, len)
            .hints(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
            .docs("2.2.12", "O(1)", "Returns how many commands that took long are kept"),
        row("reset", 2, reset).hints(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
            "2.2.12",
            "O(N) with N entries",
            "Forgets the commands that took long",
        ),
        Command::new(Group::Server, "help", 2, help).flags(Flags::LOADING.with(Flags::STALE)).docs(
            "6.2.0",
            "O(1)",
            "Lists the subcommands",
        ),
    ])];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn get(context: &mut Context<'_>) -> Outcome {
    let count = match context.words() {
        2 => DEFAULT_COUNT,
        3 => {
            let count = integer::parse(context.word(2)).filter(|count| *count >= -1);
            let count = count.ok_or(Refusal::Fixed("ERR count should be greater than or equal to -1"))?;
            // -1: all.
            usize::try_from(count).unwrap_or(usize::MAX)
        }
        _ => {
            return Err(Refusal::Fixed(
                "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.",
            ));
        }
    };
    let entries = context.state.supervision.slow_log.latest(count);
    let reply = &mut *context.reply;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(number(entry.id));
        reply.integer(number(entry.seconds));
        reply.integer(number(entry.microseconds));
        reply.array(entry.words.len());
        entry.words.iter().for_each(|word| reply.bulk(word));
        reply.bulk(entry.address.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(Flow::Continue)
}

fn len(context: &mut Context<'_>) -> Outcome {
    let count = context.state.supervision.slow_log.len();
    context.reply_count(count)
}

fn reset(context: &mut Context<'_>) -> Outcome {
    context.state.supervision.slow_log.clear();
    context.ok()
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "GET [<count>]",
        "    Return the latest entries (10, or as many as told; -1: all). Each has:",
        "    id, time, microseconds, words of the request, address and name of the client.",
        "LEN",
        "    Return how many entries there are.",
        "RESET",
        "    Forget all entries.",
    ])
}
