//! Streams: their entries. Reading on from an id and waiting for more is in `stream_reads`, groups are in
//! `stream_groups`, and what XINFO tells in `stream_information`.

use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use super::stream_ids::{Written, parse, parse_end, parse_start, reply_entry, reply_id, written};
use super::{Flow, wrong_arity};
use crate::effects::{Elements, StreamId};
use crate::keyspace::{EventClasses, Key, Limits, NodeLimit, StreamValue, Transaction, Trim, TrimTo, integer};

pub const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
pub const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
pub const DELETE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::DELETE))];
const ADD: &[KeySpec] = &[KeySpec {
    note: "UPDATE instead of INSERT because of the optional trimming feature",
    ..KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))
}];

const FAST: Flags = Flags::FAST;
pub const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

/// A command that reads one stream.
pub const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Stream, name, arity, handler).flags(Flags::READONLY).categories(Categories::STREAM).keys(READ)
}

/// A command that changes a stream.
pub const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Stream, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::STREAM)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("xadd", -5, xadd).flags(FAST.with(Flags::DENYOOM)).keys(ADD).hints(NONDETERMINISTIC).docs(
        "5.0.0",
        "O(1), and O(N) with N entries trimmed",
        "Adds an entry",
    ),
    write("xtrim", -4, xtrim).keys(DELETE).hints(NONDETERMINISTIC).docs(
        "5.0.0",
        "O(N) with N entries removed",
        "Removes entries from the lowest id on",
    ),
    write("xdel", -3, xdel).flags(FAST).keys(DELETE).docs("5.0.0", "O(1) for each entry", "Removes entries"),
    write("xsetid", -3, xsetid).flags(FAST.with(Flags::DENYOOM)).keys(UPDATE).docs(
        "5.0.0",
        "O(1)",
        "Says which id was the last",
    ),
    read("xlen", 2, xlen).flags(FAST).keys(LOOK).docs("5.0.0", "O(1)", "Returns how many entries there are"),
    read("xrange", -4, xrange).docs("5.0.0", "O(N) with N entries returned", "Returns the entries of a range of ids"),
    read("xrevrange", -4, xrevrange).docs(
        "5.0.0",
        "O(N) with N entries returned",
        "Returns the entries of a range of ids, highest first",
    ),
];

/// How XADD names the entry.
#[derive(Clone, Copy, Debug)]
enum NewId {
    Any,
    AnyOf(u64),
    Given(StreamId),
}

/// The options of XADD and XTRIM.
struct Options {
    creates: bool,
    trim: Option<Trim>,
    id: Option<NewId>,
    /// Where the first field is.
    fields: usize,
}

impl Options {
    fn parse(context: &Context<'_>, adds: bool) -> Result<Options, Refusal> {
        let mut options = Options { creates: true, trim: None, id: None, fields: 0 };
        let mut limit = None;
        let mut at = 2;
        while at < context.words() {
            let word = context.word(at);
            let more = context.words() - 1 - at;
            let by_length = is_option(word, "maxlen");
            if adds && word == b"*" {
                options.id = Some(NewId::Any);
                break;
            } else if more > 0 && (by_length || is_option(word, "minid")) {
                if options.trim.is_some() {
                    let text = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
                    return Err(Refusal::Fixed(text));
                }
                let next = context.word(at + 1);
                let approximate = more > 1 && next == b"~";
                at += usize::from(approximate || more > 1 && next == b"=") + 1;
                let to = match by_length {
                    true => {
                        let length = usize::try_from(context.integer(at)?);
                        TrimTo::Length(length.map_err(|_| Refusal::Fixed("ERR The MAXLEN argument must be >= 0."))?)
                    }
                    false => TrimTo::Id(parse(context.word(at), 0)?),
                };
                options.trim = Some(Trim { to, approximate, limit: None });
            } else if more > 0 && is_option(word, "limit") {
                at += 1;
                let number = usize::try_from(context.integer(at)?);
                limit = Some(number.map_err(|_| Refusal::Fixed("ERR The LIMIT argument must be >= 0."))?);
            } else if adds && is_option(word, "nomkstream") {
                options.creates = false;
            } else if adds {
                options.id = Some(match written(word)? {
                    Written::Whole(id) => NewId::Given(id),
                    Written::Milliseconds(milliseconds) => NewId::Given(StreamId { milliseconds, sequence: 0 }),
                    Written::AnyOf(milliseconds) => NewId::AnyOf(milliseconds),
                });
                break;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        options.fields = at + 1;
        match (&mut options.trim, limit) {
            (None, Some(_)) => {
                Err(Refusal::Fixed("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"))
            }
            (None, None) if !adds => Err(SYNTAX),
            (Some(Trim { approximate: false, .. }), Some(_)) => {
                Err(Refusal::Fixed("ERR syntax error, LIMIT cannot be used without the special ~ option"))
            }
            (Some(trim), limit) => {
                trim.limit = match limit {
                    // So much work is too much unless it was asked for.
                    None if trim.approximate => Some(Limits::current().stream_node.entries().saturating_mul(100)),
                    limit => limit.filter(|limit| *limit > 0),
                };
                Ok(options)
            }
            _ => Ok(options),
        }
    }
}

fn trim(transaction: &mut Transaction<'_>, key: Key<'_>, trim: &Trim) -> Result<usize, Refusal> {
    let Some(stream) = transaction.stream(key)? else { return Ok(0) };
    let Some((below, removed)) = stream.trim_point(trim) else { return Ok(0) };
    let left = stream.len() - removed;
    // No id is above the highest one: that entry is removed by itself, without counting as deleted.
    let takes_highest = below == StreamId::MAX && left == 0 && stream.get(below).is_some();
    let (last, added, deleted) = (stream.last_id, stream.entries_added, stream.max_deleted_id);
    transaction.stream_trim(key, below);
    if takes_highest {
        transaction.stream_remove(key, &[below]);
        transaction.stream_set_id(key, last, Some(added), Some(deleted));
    }
    Ok(removed)
}

fn xadd(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context, true)?;
    let fields = context.words().saturating_sub(options.fields);
    let Some(wanted) = options.id.filter(|_| fields >= 2 && fields.is_multiple_of(2)) else {
        return Err(wrong_arity(context.entry));
    };
    if matches!(wanted, NewId::Given(StreamId::MIN)) {
        return Err(Refusal::Fixed("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let last = transaction.stream(key)?.map(|stream| stream.last_id);
    if last.is_none() && !options.creates {
        context.reply.null();
        return Ok(Flow::Continue);
    }
    let last = last.unwrap_or_default();
    if last == StreamId::MAX {
        let text = "ERR The stream has exhausted the last possible ID, unable to add more items";
        return Err(Refusal::Fixed(text));
    }
    let id = match wanted {
        NewId::Given(id) => Some(id).filter(|id| *id > last),
        NewId::AnyOf(milliseconds) => StreamId::in_millisecond(milliseconds, last, transaction.stream_writer()),
        NewId::Any => StreamId::after(last, context.now, transaction.stream_writer()),
    };
    let id =
        id.ok_or(Refusal::Fixed("ERR The ID specified in XADD is equal or smaller than the target stream top item"))?;
    let (buffer, parts) = context.arguments.from(options.fields).parts();
    if parts.iter().map(|part| part.len()).sum::<usize>() > NodeLimit::MOST_BYTES {
        return Err(Refusal::Fixed("ERR Elements are too large to be stored"));
    }
    transaction.stream_add(key, id, Elements::parts(buffer, parts));
    transaction.announce(EventClasses::STREAM, "xadd", key);
    if let Some(options) = &options.trim
        && trim(&mut transaction, key, options)? > 0
    {
        transaction.announce(EventClasses::STREAM, "xtrim", key);
    }
    context.commit(transaction);
    reply_id(context.reply, id);
    Ok(Flow::Continue)
}

fn xtrim(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context, false)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let removed = match &options.trim {
        Some(options) => trim(&mut transaction, key, options)?,
        None => 0,
    };
    if removed > 0 {
        transaction.announce(EventClasses::STREAM, "xtrim", key);
    }
    context.commit(transaction);
    context.reply_count(removed)
}

fn xdel(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let Some(stream) = transaction.stream(key)? else { return context.reply_integer(0) };
    let mut ids = Vec::new();
    for word in context.arguments.from(2).iter() {
        ids.push(parse(word, 0)?);
    }
    ids.sort_unstable();
    ids.dedup();
    ids.retain(|id| stream.get(*id).is_some());
    transaction.stream_remove(key, &ids);
    if !ids.is_empty() {
        transaction.announce(EventClasses::STREAM, "xdel", key);
    }
    context.commit(transaction);
    context.reply_count(ids.len())
}

fn xsetid(context: &mut Context<'_>) -> Outcome {
    let id = parse(context.word(2), 0)?;
    let (mut added, mut max_deleted) = (None, None);
    let mut at = 3;
    while at < context.words() {
        let more = at + 1 < context.words();
        if more && is_option(context.word(at), "entriesadded") {
            let number = u64::try_from(context.integer(at + 1)?);
            added = Some(number.map_err(|_| Refusal::Fixed("ERR entries_added must be positive"))?);
        } else if more && is_option(context.word(at), "maxdeletedid") {
            let deleted = parse(context.word(at + 1), 0)?;
            if id < deleted {
                return Err(Refusal::Fixed(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            max_deleted = Some(deleted);
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let Some(stream) = transaction.stream(key)? else { return Err(Refusal::Fixed("ERR no such key")) };
    if let Some(last) = stream.range_back(StreamId::MIN, StreamId::MAX).next() {
        if id < last.id {
            return Err(Refusal::Fixed("ERR The ID specified in XSETID is smaller than the target stream top item"));
        }
        if added.is_some_and(|added| added < stream.len() as u64) {
            return Err(Refusal::Fixed(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
    }
    // Redis cannot tell 0-0 from what was not said.
    let max_deleted = max_deleted.filter(|deleted| *deleted != StreamId::MIN);
    transaction.stream_set_id(key, id, added, max_deleted);
    transaction.announce(EventClasses::STREAM, "xsetid", key);
    context.commit(transaction);
    context.ok()
}

fn xlen(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let stream = transaction.stream(key)?;
    context.count_read(key, stream.is_some());
    context.reply_count(stream.map_or(0, StreamValue::len))
}

fn range(context: &mut Context<'_>, start: usize, end: usize, ascending: bool) -> Outcome {
    let (start, end) = (parse_start(context.word(start))?, parse_end(context.word(end))?);
    let mut count = usize::MAX;
    let mut at = 4;
    while at < context.words() {
        if !is_option(context.word(at), "count") || at + 1 == context.words() {
            return Err(SYNTAX);
        }
        let number = integer::parse(context.word(at + 1)).ok_or(NOT_AN_INTEGER)?;
        count = usize::try_from(number).unwrap_or(0);
        at += 2;
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let stream = transaction.stream(key)?;
    context.count_read(key, stream.is_some());
    let reply = &mut *context.reply;
    match stream {
        None => reply.array(0),
        Some(_) if count == 0 => reply.null_array(),
        Some(stream) => {
            let begin = reply.bytes().len();
            let mut replied = 0;
            let mut each = |entry| {
                reply_entry(reply, entry);
                replied += 1;
            };
            match ascending {
                true => stream.range(start, end).take(count).for_each(&mut each),
                false => stream.range_back(start, end).take(count).for_each(&mut each),
            }
            super::stream_ids::open_at(reply, begin, |reply| reply.array(replied));
        }
    }
    Ok(Flow::Continue)
}

fn xrange(context: &mut Context<'_>) -> Outcome {
    range(context, 2, 3, true)
}

fn xrevrange(context: &mut Context<'_>) -> Outcome {
    range(context, 3, 2, false)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const TOO_LOW: &str = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";

    #[test]
    fn ids_grow() {
        let mut fixture = Fixture::new();
        let now = fixture.now;
        fixture.expect(&[
            ("set t x", "+OK\r\n"),
            ("xadd s 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0\r\n"),
            ("xadd s nomkstream 1-1 f v", "$-1\r\n"),
            ("xadd s nomkstream", "-ERR wrong number of arguments for 'xadd' command\r\n"),
            ("xadd s 0-* f v", "$3\r\n0-1\r\n"),
            ("xadd s 5 f v", "$3\r\n5-0\r\n"),
            ("xadd s 5-* f v", "$3\r\n5-1\r\n"),
            ("xadd s 5-1 f v", TOO_LOW),
            ("xadd s 4-* f v", TOO_LOW),
            ("xadd s * f v", &format!("$15\r\n{now}-0\r\n")),
            ("xadd s * f v", &format!("$15\r\n{now}-1\r\n")),
            ("xadd s 6-1 f", "-ERR wrong number of arguments for 'xadd' command\r\n"),
            (
                "xadd s 18446744073709551615-18446744073709551615 f v",
                "$41\r\n18446744073709551615-18446744073709551615\r\n",
            ),
            ("xadd s * f v", "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n"),
            ("xlen s", ":6\r\n"),
            ("xtrim s maxlen 0", ":6\r\n"),
            ("xlen s", ":0\r\n"),
            ("type s", "+stream\r\n"),
            ("object encoding s", "$6\r\nstream\r\n"),
            ("xadd t * f v", WRONG_TYPE),
        ]);
    }

    #[test]
    fn a_node_of_a_cluster_chooses_ids_of_its_own() {
        let mut fixture = Fixture::in_a_cluster();
        let now = fixture.now;
        let one = fixture.run("xadd s * f v");
        let other = fixture.run("xadd s * f v");
        let id = |reply: &str| {
            let (_, id) = reply.trim_end().split_once("\r\n").expect("a bulk string");
            let (milliseconds, sequence) = id.split_once('-').expect("an id");
            (milliseconds.parse::<u64>().expect("a number"), sequence.parse::<u64>().expect("a number"))
        };
        let (one, other) = (id(&one), id(&other));
        assert_eq!((one.0, other.0), (now, now));
        assert!(one.1 > 1 && other.1 == one.1 + (1 << 48), "{one:?} {other:?}");
        fixture.expect(&[("xadd s 1-1 f v", TOO_LOW), ("xlen s", ":2\r\n"), ("xdel s 1-1", ":0\r\n")]);
    }

    #[test]
    fn ranges_and_removals() {
        for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
            let entry = |id: &str| format!("*2\r\n$3\r\n{id}\r\n*2\r\n$1\r\nf\r\n$1\r\n7\r\n");
            for number in 1..=4 {
                fixture.run(&format!("xadd s {number}-1 f 7"));
            }
            fixture.expect(&[
                ("xrange s - + count 1", &format!("*1\r\n{}", entry("1-1"))),
                ("xrange s (1-1 2", &format!("*1\r\n{}", entry("2-1"))),
                ("xrevrange s + (3 count 2", &format!("*2\r\n{}{}", entry("4-1"), entry("3-1"))),
                ("xrange s + -", "*0\r\n"),
                ("xrange s - + count 0", "*-1\r\n"),
                ("xrange none - + count 0", "*0\r\n"),
                ("xdel s 2-1 2-1 9-9", ":1\r\n"),
                ("xtrim s minid 3-1", ":1\r\n"),
                ("xtrim s maxlen ~ 0", ":2\r\n"),
                (
                    "xtrim s maxlen 5 minid 5",
                    "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible\r\n",
                ),
                (
                    "xsetid s 3-0 entriesadded 9 maxdeletedid 4",
                    "-ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id\r\n",
                ),
                ("xsetid s 3-0 entriesadded 9", "+OK\r\n"),
                ("xadd s 3-2 f 7", "$3\r\n3-2\r\n"),
            ]);
        }
    }
}
