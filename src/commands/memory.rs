//! MEMORY: what the data takes.

use super::context::{Context, Outcome, SYNTAX, is_option};
use super::script_state::library_counts;
use super::spec::{Access, Categories, Command, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};

const EVERYWHERE: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
const ALLOCATOR: &str = "Depends on how much memory is allocated";

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Server, name, arity, handler)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[row("memory", -2, container)
    .docs("4.0.0", "Depends on subcommand.", "Tells what the data takes in memory")
    .subcommands(&[
        row("usage", -3, usage)
            .flags(Flags::READONLY)
            .categories(Categories::READ)
            .keys(&[KeySpec::one(2, Access::READ)])
            .docs("4.0.0", "O(1)", "Returns what a key takes in memory"),
        row("doctor", 2, doctor).hints(EVERYWHERE).docs("4.0.0", "O(1)", "Says what is unusual about the memory"),
        row("stats", 2, stats).flags(Flags::EVERYTHING).hints(EVERYWHERE).docs(
            "4.0.0",
            "O(1)",
            "Returns what the data takes in memory",
        ),
        row("purge", 2, purge).hints(&["request_policy:all_shards", "response_policy:all_succeeded"]).docs(
            "4.0.0",
            ALLOCATOR,
            "Does nothing: the allocator gives memory back by itself",
        ),
        row("malloc-stats", 2, malloc_stats).hints(EVERYWHERE).docs(
            "4.0.0",
            ALLOCATOR,
            "Returns what is known about the allocator",
        ),
        row("help", 2, help).flags(Flags::LOADING.with(Flags::STALE)).docs("4.0.0", "O(1)", "Lists the subcommands"),
    ])];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

/// SAMPLES says how many elements Redis looks at to estimate the rest. Here every value keeps its own books.
fn usage(context: &mut Context<'_>) -> Outcome {
    let mut at = 3;
    while let Some(word) = context.arguments.get(at) {
        if !is_option(word, "samples") || at + 1 >= context.words() || context.integer(at + 1)? < 0 {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let key = context.key(2);
    let facts = context.lock(key).facts(key);
    match facts {
        Some(facts) => context.reply.count(facts.memory),
        None => context.reply.null(),
    }
    Ok(Flow::Continue)
}

/// A number of MEMORY STATS.
#[derive(Clone, Copy)]
enum Number {
    Count(usize),
    Float(f64),
}

/// The process, the data and what is kept about it, in bytes.
struct Sizes {
    resident: usize,
    data: usize,
    metadata: usize,
}

impl Sizes {
    fn of(context: &Context<'_>) -> Sizes {
        let keyspace = &context.state.keyspace;
        Sizes {
            resident: (context.state.facts.resident_memory)(),
            data: keyspace.memory(),
            metadata: keyspace.metadata(),
        }
    }
}

/// Below this much data what the process takes says nothing about it.
const MIN_DIAGNOSED: usize = 32 << 20;

fn doctor(context: &mut Context<'_>) -> Outcome {
    let sizes = Sizes::of(context);
    let limit = context.state.keyspace.memory_limit();
    let mut text = String::new();
    if sizes.data < MIN_DIAGNOSED {
        text.push_str("There is too little data here to say anything about its memory.\n");
    } else {
        if sizes.resident > sizes.data * 2 {
            text.push_str(
                "The process takes more than twice what the data does: much of it was freed, or is in buffers.\n",
            );
        }
        if sizes.metadata > sizes.data {
            text.push_str("Most of the data is not yet stable: another node is behind or cut off.\n");
        }
        if limit > 0 && sizes.data > limit / 100 * 95 {
            text.push_str("The data is about to reach its limit: keys are being evicted.\n");
        }
        if text.is_empty() {
            text.push_str("Nothing is unusual about the memory.\n");
        }
    }
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

fn stats(context: &mut Context<'_>) -> Outcome {
    let sizes = Sizes::of(context);
    let keyspace = &context.state.keyspace;
    let databases = 0..keyspace.databases();
    let used: Vec<(u32, (usize, usize))> =
        databases.map(|number| (number, context.size(number))).filter(|(_, (keys, _))| *keys > 0).collect();
    let keys: usize = used.iter().map(|(_, (keys, _))| keys).sum();
    let clients: usize = context.state.clients.all().iter().map(|record| record.memory()).sum();
    let allocated = sizes.data + sizes.metadata + clients;
    let peak = context.state.stats.note_memory(sizes.data as u64) as usize;
    let percentage = |part: usize, whole: usize| Number::Float(part as f64 * 100.0 / whole.max(1) as f64);
    let ratio = |part: usize, whole: usize| Number::Float(part as f64 / whole.max(1) as f64);
    let count = Number::Count;
    let before = [
        ("peak.allocated", count(peak)),
        ("total.allocated", count(allocated)),
        ("startup.allocated", count(0)),
        ("replication.backlog", count(0)),
        ("clients.slaves", count(0)),
        ("clients.normal", count(clients)),
        ("cluster.links", count(0)),
        ("aof.buffer", count(0)),
        ("lua.caches", count(context.state.scripting.texts().1)),
        ("functions.caches", count(library_counts(context).2)),
    ];
    let beyond = sizes.resident.saturating_sub(allocated);
    let behind = [
        ("overhead.total", count(sizes.metadata + clients)),
        ("keys.count", count(keys)),
        ("keys.bytes-per-key", count(sizes.data.checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", count(sizes.data)),
        ("dataset.percentage", percentage(sizes.data, allocated)),
        ("peak.percentage", percentage(sizes.data, peak)),
        ("allocator.allocated", count(allocated)),
        ("allocator.active", count(sizes.resident)),
        ("allocator.resident", count(sizes.resident)),
        ("allocator-fragmentation.ratio", ratio(sizes.resident, allocated)),
        ("allocator-fragmentation.bytes", count(beyond)),
        ("allocator-rss.ratio", Number::Float(1.0)),
        ("allocator-rss.bytes", count(0)),
        ("rss-overhead.ratio", Number::Float(1.0)),
        ("rss-overhead.bytes", count(0)),
        ("fragmentation", ratio(sizes.resident, allocated)),
        ("fragmentation.bytes", count(beyond)),
    ];
    let write = |context: &mut Context<'_>, numbers: &[(&str, Number)]| {
        for (name, number) in numbers {
            context.reply.bulk(name.as_bytes());
            match *number {
                Number::Count(count) => context.reply.count(count),
                Number::Float(float) => context.reply.double(float),
            }
        }
    };
    context.reply.map(before.len() + used.len() + behind.len());
    write(context, &before);
    for (number, _) in used {
        context.reply.bulk(format!("db.{number}").as_bytes());
        // Indexes are counted with the keys.
        context.reply.map(3);
        for part in ["overhead.hashtable.main", "overhead.hashtable.expires", "overhead.hashtable.slot-to-keys"] {
            context.reply.bulk(part.as_bytes());
            context.reply.count(0);
        }
    }
    write(context, &behind);
    Ok(Flow::Continue)
}

fn purge(context: &mut Context<'_>) -> Outcome {
    context.ok()
}

fn malloc_stats(context: &mut Context<'_>) -> Outcome {
    let text = format!("jemalloc; the process takes {} bytes of memory\n", Sizes::of(context).resident);
    context.reply.verbatim(*b"txt", text.as_bytes());
    Ok(Flow::Continue)
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "DOCTOR",
        "    Say what is unusual about the memory.",
        "MALLOC-STATS",
        "    Return what is known about the allocator.",
        "PURGE",
        "    Do nothing: the allocator gives memory back by itself.",
        "STATS",
        "    Return what the data takes in memory.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return what a key takes in memory, in bytes. It is known without samples.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn what_keys_take() {
        let mut fixture = Fixture::new();
        fixture.run("set k v");
        fixture.run(&format!("set l {}", "x".repeat(1000)));
        let mut usage = |request: &str| {
            let reply = fixture.run(request);
            reply.trim_matches([':', '\r', '\n']).parse::<usize>().expect("a number")
        };
        let (small, large) = (usage("memory usage k"), usage("memory usage l samples 0"));
        assert!((16..100).contains(&small) && (1000..1400).contains(&large), "{small} {large}");
        fixture.expect(&[
            ("memory usage nosuch", "$-1\r\n"),
            ("memory usage k samples", "-ERR syntax error\r\n"),
            ("memory usage k samples -1", "-ERR syntax error\r\n"),
            ("memory usage k samples x", "-ERR value is not an integer or out of range\r\n"),
            ("memory usage k foo 1", "-ERR syntax error\r\n"),
            ("memory usage", "-ERR wrong number of arguments for 'memory|usage' command\r\n"),
            ("memory purge", "+OK\r\n"),
            ("memory foo", "-ERR unknown subcommand 'foo'. Try MEMORY HELP.\r\n"),
        ]);
        let stats = fixture.run("memory stats");
        assert!(stats.starts_with("*56\r\n$14\r\npeak.allocated\r\n:"), "{stats}");
        assert!(stats.contains("$10\r\nkeys.count\r\n:2\r\n$"), "{stats}");
        assert!(fixture.run("memory doctor").contains("too little data"));
        assert!(fixture.run("memory malloc-stats").contains("1048576 bytes"));
        assert!(fixture.run("memory help").starts_with("*13\r\n+MEMORY <subcommand>"));
    }
}
