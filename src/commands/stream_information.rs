//! XINFO: what there is to know about a stream, its groups and their consumers.

use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, is_option, shown};
use super::spec::{Access, Categories, Command, Flags, Group, Handler, KeySpec};
use super::stream_groups::no_group_for;
use super::stream_ids::{reply_entry, reply_id};
use super::streams::NONDETERMINISTIC;
use super::{Flow, wrong_arity};
use crate::effects::StreamId;
use crate::keyspace::{Consumer, Group as ConsumerGroup, Millis, StreamValue, integer};
use crate::resp::Reply;

const READ_AT: &[KeySpec] = &[KeySpec::one(2, Access::READ.with(Access::ACCESS))];

const fn subcommand(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Stream, name, arity, handler)
        .flags(Flags::READONLY)
        .categories(Categories::STREAM)
        .keys(READ_AT)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command::new(Group::Stream, "xinfo", -2, container)
    .docs("5.0.0", "Depends on subcommand.", "Tells what there is to know about streams")
    .subcommands(&[
        subcommand("stream", -3, stream).docs("5.0.0", "O(1)", "Tells about a stream"),
        subcommand("groups", 3, groups).docs("5.0.0", "O(1)", "Tells about the groups of a stream"),
        subcommand("consumers", 4, consumers).hints(NONDETERMINISTIC).docs(
            "5.0.0",
            "O(1)",
            "Tells about the consumers of a group",
        ),
        Command::new(Group::Stream, "help", 2, help)
            .flags(Flags::LOADING.with(Flags::STALE))
            .categories(Categories::STREAM)
            .docs("5.0.0", "O(1)", "Lists the subcommands"),
    ])];

const NO_KEY: Refusal = Refusal::Fixed("ERR no such key");

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ])
}

/// How many entries FULL shows unless it is told.
const SHOWN: usize = 10;

/// The most entries that STREAM shows; `None` without FULL.
fn shown_entries(context: &Context<'_>) -> Result<Option<usize>, Refusal> {
    let bad = || {
        let text: [&[u8]; 3] = [
            b"ERR unknown subcommand or wrong number of arguments for '",
            shown(context.word(1)),
            b"'. Try XINFO HELP.",
        ];
        Refusal::Built(text.concat())
    };
    match context.words() {
        3 => return Ok(None),
        4 | 6 if is_option(context.word(3), "full") => {}
        _ => return Err(bad()),
    }
    let Some(word) = context.arguments.get(4) else { return Ok(Some(SHOWN)) };
    if !is_option(word, "count") {
        return Err(bad());
    }
    let count = integer::parse(context.word(5)).ok_or(NOT_AN_INTEGER)?;
    Ok(Some(match usize::try_from(count) {
        Ok(0) => usize::MAX,
        Ok(count) => count,
        Err(_) => SHOWN,
    }))
}

/// How many nodes Redis's radix tree has below `depth` bytes of these keys, which ascend: one for each place where keys
/// part, one for each run of bytes between such places, and one for each key.
fn radix_nodes(keys: &[u128], depth: u32) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 1 };
    let common = (first ^ last).leading_zeros() / 8;
    let run = usize::from(common > depth);
    if keys.len() == 1 {
        return run + 1;
    }
    let byte = |key: &u128| key.to_be_bytes()[common as usize];
    run + 1
        + keys.chunk_by(|one, next| byte(one) == byte(next)).map(|part| radix_nodes(part, common + 1)).sum::<usize>()
}

/// How many nodes the tree of a stream has.
fn nodes_of(ids: impl Iterator<Item = StreamId>) -> usize {
    let keys: Vec<u128> = ids.map(|id| u128::from(id.milliseconds) << 64 | u128::from(id.sequence)).collect();
    radix_nodes(&keys, 0)
}

fn stream(context: &mut Context<'_>) -> Outcome {
    let key = context.key(2);
    let mut transaction = context.lock(key);
    let stream = transaction.stream(key)?;
    context.count_read(key, stream.is_some());
    let stream = stream.ok_or(NO_KEY)?;
    let full = shown_entries(context)?;
    let reply = &mut *context.reply;
    reply.map(if full.is_some() { 9 } else { 10 });
    reply.bulk(b"length");
    reply.count(stream.len());
    reply.bulk(b"radix-tree-keys");
    reply.count(stream.chunks());
    reply.bulk(b"radix-tree-nodes");
    reply.count(nodes_of(stream.chunk_ids()));
    reply.bulk(b"last-generated-id");
    reply_id(reply, stream.last_id);
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, stream.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(stream.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, stream.first_id());
    match full {
        None => {
            reply.bulk(b"groups");
            reply.count(stream.groups().len());
            reply.bulk(b"first-entry");
            let (first, last) = (stream.iter().next(), stream.range_back(StreamId::MIN, StreamId::MAX).next());
            reply_entry_or_null(reply, first);
            reply.bulk(b"last-entry");
            reply_entry_or_null(reply, last);
        }
        Some(count) => {
            reply.bulk(b"entries");
            reply.array(count.min(stream.len()));
            stream.iter().take(count).for_each(|entry| reply_entry(reply, entry));
            reply.bulk(b"groups");
            reply.array(stream.groups().len());
            for (name, group) in stream.groups() {
                reply_group(reply, stream, (name, group), count);
            }
        }
    }
    Ok(Flow::Continue)
}

fn reply_entry_or_null(reply: &mut Reply, entry: Option<crate::keyspace::StreamEntry<'_>>) {
    match entry {
        Some(entry) => reply_entry(reply, entry),
        None => reply.null(),
    }
}

/// A number that may not be known.
fn reply_known(reply: &mut Reply, number: Option<i64>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

fn reply_progress(reply: &mut Reply, stream: &StreamValue, group: &ConsumerGroup) {
    reply.bulk(b"entries-read");
    reply_known(reply, group.entries_read.map(|read| read as i64));
    reply.bulk(b"lag");
    reply_known(reply, stream.lag(group));
}

/// A group, as FULL shows it.
fn reply_group(reply: &mut Reply, stream: &StreamValue, (name, group): (&[u8], &ConsumerGroup), count: usize) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_delivered);
    reply_progress(reply, stream, group);
    reply.bulk(b"pel-count");
    reply.count(group.pending().len());
    reply.bulk(b"pending");
    reply.array(count.min(group.pending().len()));
    for (id, pending) in group.pending().iter().take(count) {
        reply.array(4);
        reply_id(reply, *id);
        reply.bulk(&pending.consumer);
        reply_time(reply, pending.delivered_at);
        reply.integer(i64::try_from(pending.deliveries).unwrap_or(i64::MAX));
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"seen-time");
        reply_time(reply, seen_at(consumer));
        reply.bulk(b"active-time");
        reply_known(reply, Some(consumer.active_at.map_or(-1, |at| at as i64)));
        reply.bulk(b"pel-count");
        reply.count(consumer.pending().len());
        reply.bulk(b"pending");
        reply.array(count.min(consumer.pending().len()));
        for id in consumer.pending().iter().take(count) {
            let pending = group.pending().get(id);
            reply.array(3);
            reply_id(reply, *id);
            reply_time(reply, pending.map_or(0, |pending| pending.delivered_at));
            let deliveries = pending.map_or(0, |pending| pending.deliveries);
            reply.integer(i64::try_from(deliveries).unwrap_or(i64::MAX));
        }
    }
}

/// When a consumer last tried anything. This node may know only of what it got, from another node.
fn seen_at(consumer: &Consumer) -> Millis {
    consumer.seen_at.max(consumer.active_at.unwrap_or_default())
}

fn reply_time(reply: &mut Reply, at: Millis) {
    reply.integer(i64::try_from(at).unwrap_or(i64::MAX));
}

fn groups(context: &mut Context<'_>) -> Outcome {
    let key = context.key(2);
    let mut transaction = context.lock(key);
    let stream = transaction.stream(key)?;
    context.count_read(key, stream.is_some());
    let stream = stream.ok_or(NO_KEY)?;
    let reply = &mut *context.reply;
    reply.array(stream.groups().len());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.count(group.consumers().len());
        reply.bulk(b"pending");
        reply.count(group.pending().len());
        reply.bulk(b"last-delivered-id");
        reply_id(reply, group.last_delivered);
        reply_progress(reply, stream, group);
    }
    Ok(Flow::Continue)
}

fn consumers(context: &mut Context<'_>) -> Outcome {
    let key = context.key(2);
    let mut transaction = context.lock(key);
    let stream = transaction.stream(key)?;
    context.count_read(key, stream.is_some());
    let name = context.word(3);
    let group = stream.ok_or(NO_KEY)?.group(name).ok_or_else(|| no_group_for(key.bytes, name))?;
    let (now, reply) = (context.now, &mut *context.reply);
    let since = |at: Millis| i64::try_from(now.saturating_sub(at)).unwrap_or(i64::MAX);
    reply.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"pending");
        reply.count(consumer.pending().len());
        reply.bulk(b"idle");
        reply.integer(since(seen_at(consumer)));
        reply.bulk(b"inactive");
        reply.integer(consumer.active_at.map_or(-1, since));
    }
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_counted_as_redis_counts_them() {
        let count = |ids: &[(u64, u64)]| nodes_of(ids.iter().map(|&(ms, seq)| StreamId::new(ms, seq)));
        // As redis-server 7.0.15 says in `radix-tree-nodes`, with one entry in each node.
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&[(1, 0)]), 2);
        assert_eq!(count(&[(1, 0), (4, 0)]), 6);
        assert_eq!(count(&[(1, 0), (4, 0), (7, 0)]), 8);
    }
}
