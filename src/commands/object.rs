//! OBJECT: what is known about a key beside its data.

use super::context::{Context, Outcome, Refusal};
use super::spec::{Access, Categories, Command, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};
use crate::keyspace::KeyFacts;

const KEYS: &[KeySpec] = &[KeySpec::one(2, Access::READ)];

const fn row(name: &'static str, handler: Handler) -> Command {
    Command::new(Group::Generic, name, 3, handler)
        .flags(Flags::READONLY)
        .categories(Categories::KEYSPACE)
        .keys(KEYS)
        .hints(&["nondeterministic_output"])
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Generic, "object", -2, container)
    .docs("2.2.3", "Depends on subcommand.", "Tells what is known about a key beside its data")
    .subcommands(&[
        row("encoding", encoding).docs("2.2.3", "O(1)", "Returns how a value lies in memory"),
        row("freq", freq).docs("4.0.0", "O(1)", "Returns how often a key is used"),
        row("idletime", idletime).docs("2.2.3", "O(1)", "Returns for how long a key was not used"),
        row("refcount", refcount).docs("2.2.3", "O(1)", "Returns how often a value is referred to"),
        Command::new(Group::Generic, "help", 2, help)
            .flags(Flags::LOADING.with(Flags::STALE))
            .categories(Categories::KEYSPACE)
            .docs("6.2.0", "O(1)", "Lists the subcommands"),
    ])];

/// Redis shares the integers below this one among all keys.
const SHARED_INTEGERS: i64 = 10_000;

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn facts(context: &Context<'_>) -> Option<KeyFacts> {
    let key = context.key(2);
    context.lock(key).facts(key)
}

fn integer_or_null(context: &mut Context<'_>, value: Option<i64>) -> Outcome {
    match value {
        Some(value) => context.reply.integer(value),
        None => context.reply.null(),
    }
    Ok(Flow::Continue)
}

fn encoding(context: &mut Context<'_>) -> Outcome {
    let facts = facts(context);
    context.reply.bulk_or_null(facts.map(|facts| facts.encoding.as_bytes()));
    Ok(Flow::Continue)
}

const COUNTS_NO_USES: Refusal = Refusal::Fixed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at \
     runtime LRU and LFU data will take some time to adjust.",
);
const NOTES_NO_TIMES: Refusal = Refusal::Fixed(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU \
     and LFU data will take some time to adjust.",
);

/// Redis keeps either of both, as its policy needs it, and refuses to tell the other. Here both are known.
fn freq(context: &mut Context<'_>) -> Outcome {
    let facts = facts(context);
    if facts.is_some() && !context.state.keyspace.eviction_policy().counts_uses() {
        return Err(COUNTS_NO_USES);
    }
    integer_or_null(context, facts.map(|facts| i64::from(facts.frequency)))
}

fn idletime(context: &mut Context<'_>) -> Outcome {
    let facts = facts(context);
    if facts.is_some() && context.state.keyspace.eviction_policy().counts_uses() {
        return Err(NOTES_NO_TIMES);
    }
    integer_or_null(context, facts.map(|facts| i64::try_from(facts.idle / 1000).unwrap_or(i64::MAX)))
}

/// No value is shared by keys here. The answer is Redis's, for what compares: small integers count as referred to by
/// everybody.
fn refcount(context: &mut Context<'_>) -> Outcome {
    let value = facts(context).map(|facts| match facts.integer {
        Some(0..SHARED_INTEGERS) => i64::from(i32::MAX),
        _ => 1,
    });
    integer_or_null(context, value)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "ENCODING <key>",
        "    Return how the value of a key lies in memory.",
        "FREQ <key>",
        "    Return how often a key is used, on a logarithmic scale.",
        "IDLETIME <key>",
        "    Return for how many seconds a key was not used.",
        "REFCOUNT <key>",
        "    Return how often the value of a key is referred to.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn encodings() {
        let mut fixture = Fixture::new();
        fixture.run("mset int 17 short abc changed abc");
        fixture.run("append changed d");
        fixture.run("incrby added 5");
        fixture.run(&format!("set long {}", "x".repeat(45)));
        fixture.run("hset h f v");
        fixture.run(&format!("hset hl f {}", "v".repeat(65)));
        fixture.run("sadd integers 1 2");
        fixture.run("sadd words 1 b");
        fixture.run(&format!("sadd wide {}", "v".repeat(65)));
        let mut expect = |key: &str, encoding: &str| {
            let reply = fixture.run(&format!("object encoding {key}"));
            assert_eq!(reply, format!("${}\r\n{encoding}\r\n", encoding.len()), "{key}");
        };
        expect("int", "int");
        expect("short", "embstr");
        // Redis calls a string raw once it was changed in place. Here only the text counts.
        expect("changed", "embstr");
        expect("added", "int");
        expect("long", "raw");
        expect("h", "listpack");
        expect("hl", "hashtable");
        expect("integers", "intset");
        expect("words", "listpack");
        expect("wide", "hashtable");
        fixture.expect(&[
            ("object encoding nosuch", "$-1\r\n"),
            ("copy h copied", ":1\r\n"),
            ("object encoding copied", "$8\r\nlistpack\r\n"),
            ("rename long renamed", "+OK\r\n"),
            ("object encoding renamed", "$3\r\nraw\r\n"),
        ]);
    }

    #[test]
    fn use_of_keys() {
        let mut fixture = Fixture::new();
        fixture.run("mset k 9999 many 10000 text v");
        fixture.expect(&[
            ("object freq k", ":5\r\n"),
            ("object freq nosuch", "$-1\r\n"),
            ("object idletime nosuch", "$-1\r\n"),
            ("object refcount k", ":2147483647\r\n"),
            ("object refcount many", ":1\r\n"),
            ("object refcount text", ":1\r\n"),
            ("object refcount nosuch", "$-1\r\n"),
            ("object", "-ERR wrong number of arguments for 'object' command\r\n"),
            ("object freq", "-ERR wrong number of arguments for 'object|freq' command\r\n"),
            ("object foo k", "-ERR unknown subcommand 'foo'. Try OBJECT HELP.\r\n"),
        ]);
        fixture.now += 600_000;
        let refused = |text: &str| {
            let advice = "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
            format!("-ERR An LFU maxmemory policy is {text} not tracked. {advice}\r\n")
        };
        fixture.expect(&[
            ("object freq k", ":0\r\n"),
            ("rename k k2", "+OK\r\n"),
            ("object idletime k2", &refused("selected, idle time")),
            ("config set maxmemory-policy noeviction", "+OK\r\n"),
            ("object freq k2", &refused("not selected, access frequency")),
            ("object freq nosuch", "$-1\r\n"),
            ("object idletime k2", ":600\r\n"),
            ("copy k2 k3", ":1\r\n"),
            ("object idletime k3", ":0\r\n"),
        ]);
        assert!(fixture.run("object help").starts_with("*11\r\n+OBJECT <subcommand>"));
    }
}
