//! XREAD and XREADGROUP: what comes after an id, at once or as soon as it is there.

use std::time::Duration;

use super::Flow;
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Command, Coordination, Find, Flags, KeySpec};
use super::stream_ids::{open_at, parse, reply_entry, reply_id};
use super::streams::{read, write};
use crate::effects::{StreamClaim, StreamId};
use crate::keyspace::{GroupOf, Key, StreamValue, Transaction, WrongType, integer};
use crate::resp::Reply;

const ACCESS: Access = Access::READ.with(Access::ACCESS);

const fn streams(begin: usize) -> KeySpec {
    KeySpec { access: ACCESS, begin, find: Find::Half("STREAMS"), note: "" }
}

const WAITS: Flags = Flags::BLOCKING.with(Flags::MOVABLEKEYS);

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    read("xread", -4, xread).flags(WAITS).keys(&[streams(1)]).docs(
        "5.0.0",
        "O(N) with N entries returned",
        "Returns the entries above an id of each stream, and waits for some",
    ),
    write("xreadgroup", -7, xreadgroup).flags(WAITS).keys(&[streams(4)]).coordination(Coordination::Decides).docs(
        "5.0.0",
        "O(N) with N entries returned",
        "Returns the entries of each stream that are new to a group, or pending for a consumer, and waits for some",
    ),
];

/// From where on a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Id(StreamId),
    /// `$`
    Last,
    /// `>`: what no consumer of the group got.
    New,
}

/// A request.
struct Request<'c> {
    group: Option<(&'c [u8], &'c [u8])>,
    count: usize,
    /// `Some(None)`: for ever.
    block: Option<Option<Duration>>,
    acknowledges: bool,
    /// Where the names of the streams begin, and how many they are.
    streams: usize,
    number: usize,
}

impl<'c> Request<'c> {
    fn parse(context: &Context<'c>, in_group: bool) -> Result<Request<'c>, Refusal> {
        let mut request =
            Request { group: None, count: usize::MAX, block: None, acknowledges: false, streams: 0, number: 0 };
        let mut at = 1;
        while at < context.words() {
            let word = context.word(at);
            let more = context.words() - 1 - at;
            if more > 0 && is_option(word, "block") {
                if context.session.in_script {
                    let name = context.word(0);
                    return Err(Refusal::Built(
                        [b"ERR ", name, b" command is not allowed with BLOCK option from scripts"].concat(),
                    ));
                }
                // Within EXEC nobody waits.
                let timeout = timeout(context.word(at + 1))?;
                request.block = (!context.in_exec()).then_some(timeout);
                at += 1;
            } else if more > 0 && is_option(word, "count") {
                let count = integer::parse(context.word(at + 1)).ok_or(NOT_AN_INTEGER)?;
                request.count = usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
                at += 1;
            } else if more > 0 && is_option(word, "streams") {
                if !more.is_multiple_of(2) {
                    return Err(Refusal::Fixed(
                        "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
                    ));
                }
                (request.streams, request.number) = (at + 1, more / 2);
                break;
            } else if more > 1 && is_option(word, "group") {
                if !in_group {
                    return Err(Refusal::Fixed(
                        "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                request.group = Some((context.word(at + 1), context.word(at + 2)));
                at += 2;
            } else if is_option(word, "noack") {
                if !in_group {
                    return Err(Refusal::Fixed(
                        "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
                    ));
                }
                request.acknowledges = true;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if request.number == 0 {
            return Err(SYNTAX);
        }
        if in_group && request.group.is_none() {
            return Err(Refusal::Fixed("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(request)
    }

    /// From where on each stream is read, once it is clear that it is one.
    fn after(
        &self,
        context: &Context<'_>,
        transaction: &mut Transaction<'_>,
        keys: &[Key<'_>],
    ) -> Result<Vec<After>, Refusal> {
        let mut after = Vec::with_capacity(self.number);
        for (number, key) in keys.iter().enumerate() {
            let stream = found(context, transaction.stream(*key), self.group.is_some())?;
            // As in Redis, this look counts as a read, and the one for the entries as another.
            if stream.is_none() {
                context.count_read(*key, false);
            }
            if let Some((group, _)) = self.group
                && stream.and_then(|stream| stream.group(group)).is_none()
            {
                let text: [&[u8]; 5] = [
                    b"NOGROUP No such key '",
                    super::context::shown(key.bytes),
                    b"' or consumer group '",
                    super::context::shown(group),
                    b"' in XREADGROUP with GROUP option",
                ];
                return Err(Refusal::Built(text.concat()));
            }
            after.push(match (context.word(self.streams + self.number + number), self.group) {
                (b"$", None) => After::Last,
                (b"$", Some(_)) => {
                    return Err(Refusal::Fixed(
                        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                         consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                         return an empty result set.",
                    ));
                }
                (b">", Some(_)) => After::New,
                (b">", None) => {
                    return Err(Refusal::Fixed(
                        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                         option.",
                    ));
                }
                (id, group) => match parse(id, 0)? {
                    // So Redis says `>` to itself.
                    StreamId::MAX if group.is_some() => After::New,
                    id => After::Id(id),
                },
            });
        }
        Ok(after)
    }
}

/// A stream; one that reads without a group and has waited passes over a value of another type.
fn found<'a>(
    context: &Context<'_>,
    stream: Result<Option<&'a StreamValue>, WrongType>,
    in_group: bool,
) -> Result<Option<&'a StreamValue>, WrongType> {
    if in_group { stream } else { context.found(stream) }
}

/// A timeout in milliseconds; 0 is for ever.
fn timeout(word: &[u8]) -> Result<Option<Duration>, Refusal> {
    let number = integer::parse(word).ok_or(Refusal::Fixed("ERR timeout is not an integer or out of range"))?;
    let milliseconds = u64::try_from(number).map_err(|_| Refusal::Fixed("ERR timeout is negative"))?;
    Ok((milliseconds > 0).then(|| Duration::from_millis(milliseconds)))
}

/// Replies with entries, and says how many they were.
fn reply_entries<'a>(reply: &mut Reply, entries: impl Iterator<Item = crate::keyspace::StreamEntry<'a>>) -> usize {
    let start = reply.bytes().len();
    let mut replied = 0;
    for entry in entries {
        reply_entry(reply, entry);
        replied += 1;
    }
    open_at(reply, start, |reply| reply.array(replied));
    replied
}

/// A stream's name, in front of its entries.
fn reply_name(reply: &mut Reply, name: &[u8]) {
    if reply.protocol() == crate::resp::Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(name);
}

/// Opens the reply in front of what was written about so many streams.
fn open_streams(reply: &mut Reply, start: usize, number: usize) {
    open_at(reply, start, |reply| match reply.protocol() {
        crate::resp::Protocol::Resp2 => reply.array(number),
        crate::resp::Protocol::Resp3 => reply.map(number),
    });
}

fn xread(context: &mut Context<'_>) -> Outcome {
    let request = Request::parse(context, false)?;
    let keys = context.keys(request.streams..request.streams + request.number);
    let mut transaction = context.lock_keys(&keys);
    let mut after = Vec::new();
    if context.session.is_blocked() {
        after.extend_from_slice(&context.session.reads_after);
    } else {
        for (key, wanted) in keys.iter().zip(request.after(context, &mut transaction, &keys)?) {
            after.push(match wanted {
                After::Id(id) => id,
                After::Last | After::New => transaction.stream(*key)?.map_or(StreamId::MIN, |stream| stream.last_id),
            });
        }
    }
    let start = context.reply.bytes().len();
    let mut replied = 0;
    for (key, after) in keys.iter().zip(&after) {
        let stream = found(context, transaction.stream(*key), false)?;
        context.count_read(*key, stream.is_some());
        let (Some(stream), Some(from)) = (stream, after.next()) else { continue };
        let mut entries = stream.range(from, StreamId::MAX).take(request.count).peekable();
        if entries.peek().is_some() {
            reply_name(context.reply, key.bytes);
            reply_entries(context.reply, entries);
            replied += 1;
        }
    }
    if replied > 0 {
        open_streams(context.reply, start, replied);
        return Ok(Flow::Continue);
    }
    let Some(timeout) = request.block else {
        context.reply.null_array();
        return Ok(Flow::Continue);
    };
    let waiter = context.session.block();
    context.session.reads_after = after;
    keys.iter().for_each(|key| transaction.wait_for_entry(*key, None, &waiter));
    Ok(Flow::Block { timeout })
}

/// Gives a consumer entries that nobody in the group got. How many they are.
fn deliver(
    reply: &mut Reply,
    transaction: &mut Transaction<'_>,
    of: GroupOf<'_>,
    consumer: &[u8],
    (count, pending): (usize, bool),
) -> Result<usize, WrongType> {
    let Some(stream) = transaction.stream(of.key)? else { return Ok(0) };
    let Some(group) = stream.group(of.group) else { return Ok(0) };
    let late = group.late().iter().filter_map(|id| stream.get(*id));
    let first = group.last_delivered.next();
    let new = first.into_iter().flat_map(|from| stream.range(from, StreamId::MAX));
    let mut entries = late.chain(new).take(count).peekable();
    if entries.peek().is_none() {
        return Ok(0);
    }
    let mut ids = Vec::new();
    reply_name(reply, of.key.bytes);
    reply_entries(reply, entries.inspect(|entry| ids.push(entry.id)));
    let late_left = group.late().iter().any(|id| ids.binary_search(id).is_err());
    let mut read = group.entries_read;
    for id in &ids {
        read = stream.entries_read_after(read, *id);
    }
    let read = read.filter(|_| !late_left);
    let number = ids.len();
    transaction.group_deliver(of, consumer, &ids, pending, read);
    Ok(number)
}

/// Shows a consumer again what is pending for it.
fn show_history(
    reply: &mut Reply,
    transaction: &mut Transaction<'_>,
    of: GroupOf<'_>,
    consumer: &[u8],
    (after, count): (StreamId, usize),
) -> Result<(), WrongType> {
    let now = transaction.now();
    let stream = transaction.stream(of.key)?;
    let group = stream.and_then(|stream| stream.group(of.group));
    let mut claims = Vec::new();
    reply_name(reply, of.key.bytes);
    let start = reply.bytes().len();
    let mut replied = 0;
    if let (Some(stream), Some(group), Some(from)) = (stream, group, after.next())
        && let Some(owner) = group.consumer(consumer)
    {
        for id in owner.pending().range(from..).take(count) {
            replied += 1;
            match stream.get(*id) {
                Some(entry) => {
                    reply_entry(reply, entry);
                    let deliveries = group.pending().get(id).map_or(0, |pending| pending.deliveries);
                    claims.push(StreamClaim { id: *id, delivered_at: now, deliveries: deliveries.saturating_add(1) });
                }
                None => {
                    reply.array(2);
                    reply_id(reply, *id);
                    reply.null_array();
                }
            }
        }
    }
    open_at(reply, start, |reply| reply.array(replied));
    transaction.group_deliver_again(of, consumer, &claims);
    Ok(())
}

fn xreadgroup(context: &mut Context<'_>) -> Outcome {
    let request = Request::parse(context, true)?;
    let Some((group, consumer)) = request.group else { return Err(SYNTAX) };
    let keys = context.keys(request.streams..request.streams + request.number);
    let mut transaction = context.lock_keys(&keys);
    let after = request.after(context, &mut transaction, &keys)?;
    let start = context.reply.bytes().len();
    let mut replied = 0;
    for (key, after) in keys.iter().zip(after) {
        let of = GroupOf { key: *key, group };
        context.count_read(*key, true);
        transaction.consumer_seen(of, consumer);
        if let After::Id(after) = after {
            show_history(context.reply, &mut transaction, of, consumer, (after, request.count))?;
            replied += 1;
            continue;
        }
        let may_take = request.block.is_none() || transaction.is_first_of_group(of, context.session.waiter());
        if may_take {
            let taken = (request.count, !request.acknowledges);
            replied += usize::from(deliver(context.reply, &mut transaction, of, consumer, taken)? > 0);
        }
    }
    if replied > 0 {
        open_streams(context.reply, start, replied);
        context.commit(transaction);
        return Ok(Flow::Continue);
    }
    let Some(timeout) = request.block else {
        context.reply.null_array();
        context.commit(transaction);
        return Ok(Flow::Continue);
    };
    let waiter = context.session.block();
    keys.iter().for_each(|key| transaction.wait_for_entry(*key, Some(group), &waiter));
    context.commit(transaction);
    Ok(Flow::Block { timeout })
}
