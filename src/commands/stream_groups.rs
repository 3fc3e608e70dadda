//! Consumer groups of streams: making them, and what their consumers have pending.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, Outcome, Refusal, SYNTAX, is_option, shown};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use super::stream_ids::{parse, parse_bound, parse_end, parse_start, reply_entry, reply_id};
use super::streams::{DELETE, NONDETERMINISTIC, READ, UPDATE, read, write};
use super::{Flow, wrong_arity};
use crate::effects::{StreamClaim, StreamId};
use crate::keyspace::{EventClasses, GroupOf, Pending, StreamValue, integer};
use crate::resp::Reply;

const INSERT_AT: &[KeySpec] = &[KeySpec::one(2, Access::READ_WRITE.with(Access::INSERT))];
const UPDATE_AT: &[KeySpec] = &[KeySpec::one(2, Access::READ_WRITE.with(Access::UPDATE))];
const DELETE_AT: &[KeySpec] = &[KeySpec::one(2, Access::READ_WRITE.with(Access::DELETE))];

const fn subcommand(name: &'static str, arity: isize, handler: Handler) -> Command {
    write(name, arity, handler)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("xack", -4, xack).flags(Flags::FAST).keys(UPDATE).docs(
        "5.0.0",
        "O(1) for each entry",
        "Acknowledges entries: they are pending no longer",
    ),
    write("xclaim", -6, xclaim)
        .flags(Flags::FAST)
        .keys(UPDATE)
        .hints(NONDETERMINISTIC)
        .coordination(Coordination::Decides)
        .docs("5.0.0", "O(log N) with N entries pending in the group", "Gives pending entries to a consumer"),
    write("xautoclaim", -6, xautoclaim)
        .flags(Flags::FAST)
        .keys(DELETE)
        .hints(NONDETERMINISTIC)
        .coordination(Coordination::Decides)
        .docs("6.2.0", "O(1) if COUNT is small", "Gives entries that are pending for long to a consumer"),
    read("xpending", -3, xpending).keys(READ).hints(NONDETERMINISTIC).docs(
        "5.0.0",
        "O(N) with N entries looked at",
        "Tells what is pending in a group",
    ),
    Command::new(Group::Stream, "xgroup", -2, container)
        .docs("5.0.0", "Depends on subcommand.", "Makes, changes and removes consumer groups")
        .subcommands(&[
            subcommand("create", -5, create)
                .flags(Flags::DENYOOM)
                .keys(INSERT_AT)
                .coordination(Coordination::Decides)
                .docs("5.0.0", "O(1)", "Makes a group"),
            subcommand("setid", -5, setid).keys(UPDATE_AT).docs("5.0.0", "O(1)", "Says how far a group is"),
            subcommand("destroy", 4, destroy).keys(DELETE_AT).docs(
                "5.0.0",
                "O(N) with N entries pending in the group",
                "Removes a group",
            ),
            subcommand("createconsumer", 5, create_consumer).flags(Flags::DENYOOM).keys(INSERT_AT).docs(
                "6.2.0",
                "O(1)",
                "Makes a consumer",
            ),
            subcommand("delconsumer", 5, delete_consumer).keys(DELETE_AT).docs(
                "5.0.0",
                "O(N) with N entries pending for it",
                "Removes a consumer with what it has pending",
            ),
            Command::new(Group::Stream, "help", 2, help)
                .flags(Flags::LOADING.with(Flags::STALE))
                .categories(Categories::STREAM)
                .docs("5.0.0", "O(1)", "Lists the subcommands"),
        ]),
];

/// Not reached: without a subcommand the number of arguments is wrong.
fn container(context: &mut Context<'_>) -> Outcome {
    Err(wrong_arity(context.entry))
}

const NO_KEY: Refusal = Refusal::Fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to \
     create an empty stream automatically.",
);

fn bad_subcommand(context: &Context<'_>) -> Refusal {
    let text: [&[u8]; 3] =
        [b"ERR unknown subcommand or wrong number of arguments for '", shown(context.word(1)), b"'. Try XGROUP HELP."];
    Refusal::Built(text.concat())
}

pub fn no_group_for(key: &[u8], group: &[u8]) -> Refusal {
    let text: [&[u8]; 5] = [b"NOGROUP No such consumer group '", shown(group), b"' for key name '", shown(key), b"'"];
    Refusal::Built(text.concat())
}

fn no_group(key: &[u8], group: &[u8]) -> Refusal {
    let text: [&[u8]; 5] = [b"NOGROUP No such key '", shown(key), b"' or consumer group '", shown(group), b"'"];
    Refusal::Built(text.concat())
}

/// The options of CREATE and SETID: MKSTREAM, and how many entries the group has read, if that is said.
fn position_options(context: &Context<'_>, creates: bool) -> Result<(bool, Option<u64>), Refusal> {
    let (mut makes_stream, mut entries_read) = (false, None);
    let mut at = 5;
    while at < context.words() {
        if creates && is_option(context.word(at), "mkstream") {
            makes_stream = true;
        } else if is_option(context.word(at), "entriesread") && at + 1 < context.words() {
            let number = context.integer(at + 1)?;
            if number < -1 {
                return Err(Refusal::Fixed("ERR value for ENTRIESREAD must be positive or -1"));
            }
            entries_read = u64::try_from(number).ok();
            at += 1;
        } else {
            return Err(bad_subcommand(context));
        }
        at += 1;
    }
    Ok((makes_stream, entries_read))
}

/// `$` is the last id of the stream. SETID also takes the bounds of ranges.
fn position(context: &Context<'_>, last: StreamId, creates: bool) -> Result<StreamId, Refusal> {
    match context.word(4) {
        b"$" => Ok(last),
        id if creates => parse(id, 0),
        id => parse_bound(id, 0),
    }
}

fn create(context: &mut Context<'_>) -> Outcome {
    let (makes_stream, entries_read) = position_options(context, true)?;
    let of = GroupOf { key: context.key(2), group: context.word(3) };
    let mut transaction = context.lock(of.key);
    let stream = transaction.stream(of.key)?;
    if stream.is_none() && !makes_stream {
        return Err(NO_KEY);
    }
    let delivered = position(context, stream.map_or(StreamId::MIN, |stream| stream.last_id), true)?;
    if stream.is_some_and(|stream| stream.group(of.group).is_some()) {
        return Err(Refusal::Fixed("BUSYGROUP Consumer Group name already exists"));
    }
    transaction.stream_create(of.key)?;
    transaction.group_create(of, delivered, entries_read);
    transaction.announce(EventClasses::STREAM, "xgroup-create", of.key);
    context.commit(transaction);
    context.ok()
}

/// The stream and the group of a subcommand, which have to be there.
fn needed<'a>(stream: Option<&'a StreamValue>, of: GroupOf<'_>) -> Result<&'a StreamValue, Refusal> {
    let stream = stream.ok_or(NO_KEY)?;
    if stream.group(of.group).is_none() {
        return Err(no_group_for(of.key.bytes, of.group));
    }
    Ok(stream)
}

fn setid(context: &mut Context<'_>) -> Outcome {
    let (_, entries_read) = position_options(context, false)?;
    let of = GroupOf { key: context.key(2), group: context.word(3) };
    let mut transaction = context.lock(of.key);
    let last = needed(transaction.stream(of.key)?, of)?.last_id;
    let delivered = position(context, last, false)?;
    transaction.group_set_position(of, delivered, entries_read);
    transaction.announce(EventClasses::STREAM, "xgroup-setid", of.key);
    context.commit(transaction);
    context.ok()
}

fn destroy(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(2), group: context.word(3) };
    let mut transaction = context.lock(of.key);
    let there = transaction.stream(of.key)?.ok_or(NO_KEY)?.group(of.group).is_some();
    if there {
        transaction.group_destroy(of);
        transaction.announce(EventClasses::STREAM, "xgroup-destroy", of.key);
        context.commit(transaction);
    }
    context.reply_flag(there)
}

fn create_consumer(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(2), group: context.word(3) };
    let mut transaction = context.lock(of.key);
    needed(transaction.stream(of.key)?, of)?;
    let is_new = transaction.consumer_seen(of, context.word(4));
    context.commit(transaction);
    context.reply_flag(is_new)
}

fn delete_consumer(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(2), group: context.word(3) };
    let name = context.word(4);
    let mut transaction = context.lock(of.key);
    let stream = needed(transaction.stream(of.key)?, of)?;
    let consumer = stream.group(of.group).and_then(|group| group.consumer(name));
    let pending = consumer.map(|consumer| consumer.pending().len());
    if pending.is_some() {
        transaction.consumer_remove(of, name);
        transaction.announce(EventClasses::STREAM, "xgroup-delconsumer", of.key);
        context.commit(transaction);
    }
    context.reply_count(pending.unwrap_or(0))
}

fn help(context: &mut Context<'_>) -> Outcome {
    context.reply_help(&[
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
    ])
}

fn xack(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(1), group: context.word(2) };
    let mut transaction = context.lock(of.key);
    let stream = transaction.stream(of.key)?;
    context.count_read(of.key, stream.is_some());
    let Some(group) = stream.and_then(|stream| stream.group(of.group)) else { return context.reply_integer(0) };
    let mut ids = Vec::new();
    for word in context.arguments.from(3).iter() {
        ids.push(parse(word, 0)?);
    }
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| group.pending().contains_key(id));
    transaction.group_acknowledge(of, &ids);
    context.commit(transaction);
    context.reply_count(ids.len())
}

/// The options of XCLAIM behind its ids.
#[derive(Default)]
struct Claiming {
    delivered_at: Option<i64>,
    deliveries: Option<u64>,
    forces: bool,
    only_ids: bool,
    last: Option<StreamId>,
}

impl Claiming {
    fn parse(context: &Context<'_>, begin: usize) -> Result<Claiming, Refusal> {
        let now = i64::try_from(context.now).unwrap_or(i64::MAX);
        let mut claiming = Claiming::default();
        let mut at = begin;
        while at < context.words() {
            let word = context.word(at);
            let value = context.arguments.get(at + 1);
            let number = |name: &str| {
                let number = value.and_then(integer::parse);
                number.ok_or_else(|| Refusal::built(format!("ERR Invalid {name} option argument for XCLAIM")))
            };
            at += 1;
            if is_option(word, "force") {
                claiming.forces = true;
                continue;
            }
            if is_option(word, "justid") {
                claiming.only_ids = true;
                continue;
            }
            if value.is_some() && is_option(word, "idle") {
                claiming.delivered_at = Some(now.saturating_sub(number("IDLE")?));
            } else if value.is_some() && is_option(word, "time") {
                claiming.delivered_at = Some(number("TIME")?);
            } else if value.is_some() && is_option(word, "retrycount") {
                claiming.deliveries = u64::try_from(number("RETRYCOUNT")?).ok();
            } else if let Some(id) = value.filter(|_| is_option(word, "lastid")) {
                claiming.last = Some(parse(id, 0)?);
            } else {
                let text: [&[u8]; 3] = [b"ERR Unrecognized XCLAIM option '", shown(word), b"'"];
                return Err(Refusal::Built(text.concat()));
            }
            at += 1;
        }
        // Nothing is delivered in the future, nor before there was time.
        claiming.delivered_at = claiming.delivered_at.map(|at| if at < 0 || at > now { now } else { at });
        Ok(claiming)
    }
}

/// The least time since the last delivery.
fn least_idle(context: &Context<'_>, command: &str) -> Result<u64, Refusal> {
    let number = integer::parse(context.word(4));
    let number = number.ok_or_else(|| Refusal::built(format!("ERR Invalid min-idle-time argument for {command}")))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

fn idle(now: u64, pending: &Pending) -> u64 {
    now.saturating_sub(pending.delivered_at)
}

fn xclaim(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(1), group: context.word(2) };
    let (consumer, now) = (context.word(3), context.now);
    let mut transaction = context.lock(of.key);
    let stream = transaction.stream(of.key)?;
    context.count_read(of.key, stream.is_some());
    if stream.and_then(|stream| stream.group(of.group)).is_none() {
        return Err(no_group(of.key.bytes, of.group));
    }
    let least = least_idle(context, "XCLAIM")?;
    // The ids end where one cannot be read.
    let mut ids: Vec<StreamId> = Vec::new();
    while let Some(id) = context.arguments.get(5 + ids.len()).and_then(|word| parse(word, 0).ok()) {
        ids.push(id);
    }
    let options = Claiming::parse(context, 5 + ids.len())?;
    transaction.consumer_seen(of, consumer);
    let stream = transaction.stream(of.key)?;
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(of.group)?))) else {
        return Err(no_group(of.key.bytes, of.group));
    };
    let (mut claims, mut gone) = (BTreeMap::new(), BTreeSet::new());
    let start = context.reply.bytes().len();
    let mut replied = 0;
    for id in ids {
        // What was claimed a moment ago: by the same request.
        let own: Option<StreamClaim> = claims.get(&id).copied();
        let pending = group.pending().get(&id).filter(|_| !gone.contains(&id));
        let Some(entry) = stream.get(id) else {
            if pending.is_some() {
                gone.insert(id);
            }
            continue;
        };
        let before = match (own, pending) {
            (Some(own), _) => Some((own.deliveries, now.saturating_sub(own.delivered_at))),
            (None, Some(pending)) => Some((pending.deliveries, idle(now, pending))),
            (None, None) => None,
        };
        let deliveries = match before {
            Some((_, idle)) if idle < least => continue,
            Some((deliveries, _)) => deliveries,
            None if options.forces => 1,
            None => continue,
        };
        let deliveries = match options.deliveries {
            Some(deliveries) => deliveries,
            None if options.only_ids => deliveries,
            None => deliveries.saturating_add(1),
        };
        let delivered_at = options.delivered_at.and_then(|at| u64::try_from(at).ok()).unwrap_or(now);
        claims.insert(id, StreamClaim { id, delivered_at, deliveries });
        match options.only_ids {
            true => reply_id(context.reply, id),
            false => reply_entry(context.reply, entry),
        }
        replied += 1;
    }
    super::stream_ids::open_at(context.reply, start, |reply| reply.array(replied));
    let last = options.last.filter(|last| *last > group.last_delivered);
    let (claims, gone) = (claims.into_values().collect::<Vec<_>>(), gone.into_iter().collect::<Vec<_>>());
    transaction.group_acknowledge(of, &gone);
    transaction.group_claim(of, consumer, &claims, last);
    context.commit(transaction);
    Ok(Flow::Continue)
}

/// So many entries are looked at for each that XAUTOCLAIM is asked for.
const ATTEMPTS: usize = 10;

fn xautoclaim(context: &mut Context<'_>) -> Outcome {
    let of = GroupOf { key: context.key(1), group: context.word(2) };
    let (consumer, now) = (context.word(3), context.now);
    let least = least_idle(context, "XAUTOCLAIM")?;
    let from = parse_start(context.word(5))?;
    let (mut count, mut only_ids) = (100, false);
    let mut at = 6;
    while at < context.words() {
        if is_option(context.word(at), "justid") {
            only_ids = true;
        } else if is_option(context.word(at), "count") && at + 1 < context.words() {
            let number = integer::parse(context.word(at + 1)).and_then(|number| usize::try_from(number).ok());
            let most = i64::MAX as usize / (ATTEMPTS * size_of::<StreamId>());
            let number = number.filter(|number| (1..=most).contains(number));
            count = number.ok_or(Refusal::Fixed("ERR COUNT must be > 0"))?;
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let mut transaction = context.lock(of.key);
    let stream = transaction.stream(of.key)?;
    context.count_read(of.key, stream.is_some());
    if stream.and_then(|stream| stream.group(of.group)).is_none() {
        return Err(no_group(of.key.bytes, of.group));
    }
    transaction.consumer_seen(of, consumer);
    let stream = transaction.stream(of.key)?;
    let Some((stream, group)) = stream.and_then(|stream| Some((stream, stream.group(of.group)?))) else {
        return Err(no_group(of.key.bytes, of.group));
    };
    let (mut claims, mut gone): (Vec<StreamClaim>, Vec<StreamId>) = (Vec::new(), Vec::new());
    let mut pending = group.pending().range(from..);
    let mut attempts = count.saturating_mul(ATTEMPTS);
    context.reply.array(3);
    let start = context.reply.bytes().len();
    while attempts > 0
        && count > 0
        && let Some((id, pending)) = pending.next()
    {
        attempts -= 1;
        let Some(entry) = stream.get(*id) else {
            gone.push(*id);
            count -= 1;
            continue;
        };
        if idle(now, pending) < least {
            continue;
        }
        let deliveries = if only_ids { pending.deliveries } else { pending.deliveries.saturating_add(1) };
        claims.push(StreamClaim { id: *id, delivered_at: now, deliveries });
        count -= 1;
        match only_ids {
            true => reply_id(context.reply, *id),
            false => reply_entry(context.reply, entry),
        }
    }
    let next = pending.next().map_or(StreamId::MIN, |(id, _)| *id);
    super::stream_ids::open_at(context.reply, start, |reply| {
        reply_id(reply, next);
        reply.array(claims.len());
    });
    context.reply.array(gone.len());
    gone.iter().for_each(|id| reply_id(context.reply, *id));
    transaction.group_acknowledge(of, &gone);
    transaction.group_claim(of, consumer, &claims, None);
    context.commit(transaction);
    Ok(Flow::Continue)
}

/// What XPENDING is asked for, beside the summary.
struct Listing<'c> {
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'c [u8]>,
    least_idle: u64,
}

impl<'c> Listing<'c> {
    fn parse(context: &Context<'c>) -> Result<Option<Listing<'c>>, Refusal> {
        let words = context.words();
        if words == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&words) {
            return Err(SYNTAX);
        }
        let (mut at, mut least_idle) = (3, 0);
        if is_option(context.word(3), "idle") {
            least_idle = u64::try_from(context.integer(4)?).unwrap_or(0);
            if words < 8 {
                return Err(SYNTAX);
            }
            at = 5;
        }
        let count = usize::try_from(context.integer(at + 2)?).unwrap_or(0);
        let (start, end) = (parse_start(context.word(at))?, parse_end(context.word(at + 1))?);
        Ok(Some(Listing { start, end, count, consumer: context.arguments.get(at + 3), least_idle }))
    }
}

fn xpending(context: &mut Context<'_>) -> Outcome {
    let listing = Listing::parse(context)?;
    let of = GroupOf { key: context.key(1), group: context.word(2) };
    let mut transaction = context.lock(of.key);
    let stream = transaction.stream(of.key)?;
    context.count_read(of.key, stream.is_some());
    let group = stream.and_then(|stream| stream.group(of.group));
    let group = group.ok_or_else(|| no_group(of.key.bytes, of.group))?;
    let now = context.now;
    let reply = &mut *context.reply;
    let Some(Listing { start, end, count, consumer, least_idle }) = listing else {
        reply.array(4);
        reply.count(group.pending().len());
        let (Some((first, _)), Some((last, _))) = (group.pending().first_key_value(), group.pending().last_key_value())
        else {
            reply.null();
            reply.null();
            reply.null_array();
            return Ok(Flow::Continue);
        };
        reply_id(reply, *first);
        reply_id(reply, *last);
        let busy = group.consumers().iter().filter(|(_, consumer)| !consumer.pending().is_empty());
        reply.array(busy.clone().count());
        for (name, consumer) in busy {
            reply.array(2);
            reply.bulk(name);
            reply.bulk_integer(i64::try_from(consumer.pending().len()).unwrap_or(i64::MAX));
        }
        return Ok(Flow::Continue);
    };
    let begin = reply.bytes().len();
    let mut replied = 0;
    let mut each = |reply: &mut Reply, id: &StreamId, pending: &Pending| {
        if replied < count && idle(now, pending) >= least_idle {
            reply.array(4);
            reply_id(reply, *id);
            reply.bulk(&pending.consumer);
            reply.count(usize::try_from(idle(now, pending)).unwrap_or(usize::MAX));
            reply.integer(i64::try_from(pending.deliveries).unwrap_or(i64::MAX));
            replied += 1;
        }
        replied < count
    };
    if start <= end && count > 0 {
        match consumer {
            None => {
                let _ = group.pending().range(start..=end).all(|(id, pending)| each(reply, id, pending));
            }
            Some(name) => {
                let owned = group.consumer(name).into_iter().flat_map(|owner| owner.pending().range(start..=end));
                let _ = owned
                    .filter_map(|id| Some((id, group.pending().get(id)?)))
                    .all(|(id, pending)| each(reply, id, pending));
            }
        }
    }
    super::stream_ids::open_at(reply, begin, |reply| reply.array(replied));
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn entries_go_through_a_group() {
        for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
            let entry = |id: &str| format!("*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
            let read =
                |entries: &[String]| format!("*1\r\n*2\r\n$1\r\ns\r\n*{}\r\n{}", entries.len(), entries.concat());
            for number in 1..=4 {
                fixture.run(&format!("xadd s {number}-1 f v"));
            }
            let now = fixture.now;
            fixture.expect(&[
                ("xgroup create s g 0", "+OK\r\n"),
                ("xgroup create s g 0", "-BUSYGROUP Consumer Group name already exists\r\n"),
                ("xreadgroup group g c count 2 streams s >", &read(&[entry("1-1"), entry("2-1")])),
                ("xreadgroup group g d count 1 noack streams s >", &read(&[entry("3-1")])),
                ("xreadgroup group g c streams s 1-1", &read(&[entry("2-1")])),
                ("xpending s g", "*4\r\n:2\r\n$3\r\n1-1\r\n$3\r\n2-1\r\n*1\r\n*2\r\n$1\r\nc\r\n$1\r\n2\r\n"),
                ("xpending s g - + 1", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:0\r\n:1\r\n"),
                ("xpending s g idle 1 - + 1", "*0\r\n"),
                ("xclaim s g d 0 2-1", &format!("*1\r\n{}", entry("2-1"))),
                ("xdel s 1-1", ":1\r\n"),
                ("xautoclaim s g d 0 0 justid", "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n2-1\r\n*1\r\n$3\r\n1-1\r\n"),
                ("xpending s g - + 9 d", "*1\r\n*4\r\n$3\r\n2-1\r\n$1\r\nd\r\n:0\r\n:3\r\n"),
                ("xack s g 2-1 2-1", ":1\r\n"),
                ("xgroup delconsumer s g d", ":0\r\n"),
                ("xinfo groups s", "*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:0\r\n\
                                    $17\r\nlast-delivered-id\r\n$3\r\n3-1\r\n$12\r\nentries-read\r\n:3\r\n$3\r\nlag\r\n:1\r\n"),
                ("xinfo consumers s g", "*1\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:0\r\n\
                                         $8\r\ninactive\r\n:0\r\n"),
                ("xgroup setid s g 0", "+OK\r\n"),
                ("xreadgroup group g e count 1 streams s >", &read(&[entry("2-1")])),
                ("xclaim s g f 99999 2-1", "*0\r\n"),
                ("xgroup destroy s g", ":1\r\n"),
                ("xgroup destroy s g", ":0\r\n"),
                ("xreadgroup group g c streams s >", "-NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option\r\n"),
            ]);
            assert_eq!(fixture.now, now);
        }
    }

    #[test]
    fn what_is_claimed_counts_as_got_and_what_is_only_shown_again_does_not() {
        // As Redis 7.2 documents `inactive`; 7.0 does not have it.
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("xadd s 1-1 f v", "$3\r\n1-1\r\n"),
            ("xgroup create s g 0", "+OK\r\n"),
            (
                "xreadgroup group g a streams s >",
                "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
            ),
        ]);
        let times = |fixture: &mut Fixture, idle: u64, inactive: u64| {
            let told = fixture.run("xinfo consumers s g");
            let expected = format!("$4\r\nidle\r\n:{idle}\r\n$8\r\ninactive\r\n:{inactive}\r\n");
            assert!(told.ends_with(&expected), "{told}");
        };
        fixture.now += 10;
        fixture.run("xreadgroup group g a streams s 0");
        times(&mut fixture, 0, 10);
        for (claim, inactive) in [
            ("xclaim s g a 1000 1-1", 20),
            ("xclaim s g a 0 1-1", 0),
            ("xautoclaim s g a 1000 0", 10),
            ("xautoclaim s g a 0 0", 0),
            ("xclaim s g a 0 7-7 lastid 9-9", 10),
        ] {
            fixture.now += 10;
            fixture.run(claim);
            times(&mut fixture, 0, inactive);
        }
    }

    #[test]
    fn a_consumer_is_there_even_if_it_got_nothing() {
        // As in Redis 7.2; 7.0 makes it only when it gets something.
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("xgroup create s g $ mkstream", "+OK\r\n"),
            ("xreadgroup group g a streams s >", "*-1\r\n"),
            ("xclaim s g b 0 1-1", "*0\r\n"),
            ("xautoclaim s g c 0 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n"),
        ]);
        let told = fixture.run("xinfo consumers s g");
        assert!(told.starts_with("*3\r\n") && told.matches("$8\r\ninactive\r\n:-1\r\n").count() == 3, "{told}");
    }
}
