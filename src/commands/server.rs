//! The server as a whole: INFO, sizes, flushing, time, waiting for other nodes.

use std::time::Duration;

use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Categories, Command, Coordination, Flags, Group, Handler};
use super::{Flow, information};
use crate::keyspace::integer;

const EVERYWHERE: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
}

const fn flush_row(name: &'static str, handler: Handler) -> Command {
    row(name, -1, handler)
        .flags(Flags::WRITE.with(Flags::EVERYTHING))
        .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .coordination(Coordination::Commutes)
        .hints(EVERYWHERE)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("info", -1, info)
        .flags(Flags::LOADING.with(Flags::STALE).with(Flags::EVERYTHING))
        .categories(Categories::DANGEROUS)
        .hints(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .docs("1.0.0", "O(1)", "Describes the server"),
    row("dbsize", 1, dbsize)
        .flags(Flags::READONLY.with(Flags::FAST).with(Flags::EVERYTHING))
        .categories(Categories::KEYSPACE)
        .hints(&["request_policy:all_shards", "response_policy:agg_sum"])
        .docs("1.0.0", "O(1)", "Returns how many keys the database has"),
    flush_row("flushall", flushall).docs("1.0.0", "O(N) with N keys in all databases", "Deletes all keys"),
    flush_row("flushdb", flushdb).docs("1.0.0", "O(N) with N keys", "Deletes all keys of the database"),
    row("time", 1, time)
        .flags(Flags::LOADING.with(Flags::STALE).with(Flags::FAST))
        .hints(&["nondeterministic_output"])
        .docs("2.6.0", "O(1)", "Returns the server's time"),
    Command::new(Group::Generic, "wait", 3, wait)
        .flags(Flags::NOSCRIPT)
        .categories(Categories::CONNECTION)
        .hints(&["request_policy:all_shards", "response_policy:agg_min"])
        .docs("3.0.0", "O(1)", "Waits until other nodes have this connection's writes"),
];

fn info(context: &mut Context<'_>) -> Outcome {
    let text = information::text(context, context.arguments.from(1).iter());
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

fn dbsize(context: &mut Context<'_>) -> Outcome {
    let (keys, _) = context.size(context.session.database);
    context.reply_count(keys)
}

fn flushall(context: &mut Context<'_>) -> Outcome {
    flush(context, None)
}

fn flushdb(context: &mut Context<'_>) -> Outcome {
    flush(context, Some(context.session.database))
}

fn flush(context: &mut Context<'_>, database: Option<u32>) -> Outcome {
    // ASYNC and SYNC say who frees the memory in Redis; here it is gone at once either way.
    match context.arguments.get(1) {
        Some(word) if !is_option(word, "async") && !is_option(word, "sync") => return Err(SYNTAX),
        Some(_) if context.words() > 2 => return Err(SYNTAX),
        _ => {}
    }
    let mut transaction = context.lock_all();
    transaction.flush(database);
    context.commit(transaction);
    context.ok()
}

fn time(context: &mut Context<'_>) -> Outcome {
    // Within a script time goes on: it may wait for that. The lives of keys do not.
    let elapsed = match (context.session.script_begun, context.state.facts.stopwatch) {
        (Some(begun), Some(read)) => read().saturating_sub(begun) / 1000,
        _ => 0,
    };
    let now = context.now * 1000 + elapsed;
    let (seconds, microseconds) = (now / 1_000_000, now % 1_000_000);
    context.reply.array(2);
    context.reply.bulk(seconds.to_string().as_bytes());
    context.reply.bulk(microseconds.to_string().as_bytes());
    Ok(Flow::Continue)
}

fn wait(context: &mut Context<'_>) -> Outcome {
    let replicas = integer::parse(context.word(1)).ok_or(NOT_AN_INTEGER)?;
    let timeout =
        integer::parse(context.word(2)).ok_or(Refusal::Fixed("ERR timeout is not an integer or out of range"))?;
    let timeout = u64::try_from(timeout).map_err(|_| Refusal::Fixed("ERR timeout is negative"))?;
    let Some(reports) = &context.state.cluster else { return context.reply_integer(0) };
    let seq = context.session.last_written;
    if context.in_exec() {
        let count = reports.borrow().acknowledged(seq);
        return context.reply_count(count);
    }
    Ok(Flow::Wait {
        replicas: usize::try_from(replicas).unwrap_or(0),
        timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
        seq,
    })
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn flushing() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("mset a 1 b 2", "+OK\r\n"),
            ("dbsize", ":2\r\n"),
            ("select 1", "+OK\r\n"),
            ("set c 3", "+OK\r\n"),
            ("flushdb foo", "-ERR syntax error\r\n"),
            ("flushdb async sync", "-ERR syntax error\r\n"),
            ("flushdb async", "+OK\r\n"),
            ("dbsize", ":0\r\n"),
            ("select 0", "+OK\r\n"),
            ("dbsize", ":2\r\n"),
            ("flushall SYNC", "+OK\r\n"),
            ("dbsize", ":0\r\n"),
        ]);
    }

    #[test]
    fn time_and_waiting() {
        let mut fixture = Fixture::new();
        fixture.now = 1_700_000_000_123;
        fixture.expect(&[
            ("time", "*2\r\n$10\r\n1700000000\r\n$6\r\n123000\r\n"),
            ("wait 1 0", ":0\r\n"),
            ("wait a 0", "-ERR value is not an integer or out of range\r\n"),
            ("wait 0 x", "-ERR timeout is not an integer or out of range\r\n"),
            ("wait 0 -1", "-ERR timeout is negative\r\n"),
        ]);
    }

    #[test]
    fn info_has_the_sections_that_are_asked_for() {
        let mut fixture = Fixture::new();
        fixture.run("set k v");
        fixture.run("set k2 v ex 100");
        fixture.run("get k");
        fixture.run("get nosuch");
        let text = fixture.run("info");
        for line in [
            "# Server\r\nredis_version:7.2.4\r\n",
            "\r\nswytch_version:",
            "\r\nredis_mode:standalone\r\n",
            "\r\ntcp_port:6379\r\n",
            "\r\n\r\n# Clients\r\nconnected_clients:1\r\n",
            "\r\nused_memory_rss:1048576\r\n",
            "\r\nkeyspace_hits:1\r\n",
            "\r\nkeyspace_misses:1\r\n",
            "\r\ntotal_commands_processed:5\r\n",
            "\r\nrole:master\r\nconnected_slaves:0\r\n",
            "\r\ncluster_enabled:0\r\n",
            "\r\ndb0:keys=2,expires=1,avg_ttl=100000\r\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(!text.contains("Commandstats"));
        assert_eq!(fixture.run("info nosuch"), "$0\r\n\r\n");
        let text = fixture.run("info KEYSPACE commandstats");
        assert!(text.contains("# Keyspace\r\n") && text.contains("\r\ncmdstat_get:calls=2,usec=0,"), "{text}");
        assert!(!text.contains("# Server"));
        assert!(fixture.run("info everything").contains("# Errorstats"));
        fixture.run("hello 3");
        assert!(fixture.run("info keyspace").starts_with("=53\r\ntxt:# Keyspace\r\n"));
    }
}
