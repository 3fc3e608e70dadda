//! SCAN, HSCAN, SSCAN and ZSCAN: walking through a collection in pieces.
//!
//! What is there from the first call to the last is returned at least once. Within a large hash or set the cursor is a
//! position: what lies below it is still to come, and the walk goes from the end towards 0. A removal moves the last
//! element into the gap: never from below the cursor to above it. A small one, where elements move more freely, is
//! returned whole.

use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::glob;
use super::spec::{Access, Categories, Command, Flags, Group, Handler, KeySpec};
use super::{Flow, context};
use crate::keyspace::{Kind, ScanPage};
use crate::resp::{Reply, format_double};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const COMPLEXITY: &str = "O(1) for each call, O(N) for a whole walk through N elements";
/// Elements visited by one call unless COUNT says otherwise.
const DEFAULT_COUNT: usize = 10;
/// A collection of up to this many elements is returned whole, too.
const WHOLE_UP_TO: usize = 128;

const fn row(group: Group, name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(group, name, arity, handler).flags(Flags::READONLY).hints(&["nondeterministic_output"])
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row(Group::Generic, "scan", -2, scan)
        .flags(Flags::EVERYTHING)
        .categories(Categories::KEYSPACE)
        .hints(&["nondeterministic_output", "request_policy:special"])
        .docs("2.8.0", COMPLEXITY, "Walks through the keys of the database"),
    row(Group::Hash, "hscan", -3, hscan).categories(Categories::HASH).keys(READ).docs(
        "2.8.0",
        COMPLEXITY,
        "Walks through the fields of a hash",
    ),
    row(Group::Set, "sscan", -3, sscan).categories(Categories::SET).keys(READ).docs(
        "2.8.0",
        COMPLEXITY,
        "Walks through the members of a set",
    ),
    row(Group::SortedSet, "zscan", -3, zscan).categories(Categories::SORTED_SET).keys(READ).docs(
        "2.8.0",
        COMPLEXITY,
        "Walks through the members of a sorted set",
    ),
];

#[derive(Clone, Copy, Debug)]
struct Options<'c> {
    count: usize,
    pattern: Option<&'c [u8]>,
    kind: Option<&'c [u8]>,
}

impl Options<'_> {
    fn wants(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element))
    }

    fn wants_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|name| context::is_option(name, kind.name()))
    }
}

fn parse_options<'c>(context: &Context<'c>, from: usize, of_keys: bool) -> Result<Options<'c>, Refusal> {
    let mut options = Options { count: DEFAULT_COUNT, pattern: None, kind: None };
    let mut at = from;
    while at < context.words() {
        let word = context.word(at);
        if at + 1 == context.words() {
            return Err(SYNTAX);
        }
        if is_option(word, "count") {
            let count = usize::try_from(context.integer(at + 1)?).map_err(|_| SYNTAX)?;
            options.count = if count > 0 { count } else { return Err(SYNTAX) };
        } else if is_option(word, "match") {
            options.pattern = Some(context.word(at + 1));
        } else if of_keys && is_option(word, "type") {
            options.kind = Some(context.word(at + 1));
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    Ok(options)
}

/// A cursor as C's `strtoul` reads it: the empty text is 0, a sign is allowed, a negative number wraps around.
fn parse_cursor(text: &[u8]) -> Result<u64, Refusal> {
    let invalid = Refusal::Fixed("ERR invalid cursor");
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid);
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok()).ok_or(invalid)?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

/// The reply: the next cursor, and an array.
fn reply_page(reply: &mut Reply, cursor: u64, elements: &[Box<[u8]>]) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(elements.len());
    for element in elements {
        reply.bulk(element);
    }
}

fn scan(context: &mut Context<'_>) -> Outcome {
    let cursor = parse_cursor(context.word(1))?;
    let options = parse_options(context, 2, true)?;
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let page = ScanPage { cursor, count: options.count };
    let mut each = |key: &[u8], kind| {
        if options.wants_kind(kind) && options.wants(key) {
            found.push(key.into());
        }
    };
    let next = match context.in_exec() {
        true => context.lock_all().scan(page, &mut each),
        false => context.state.keyspace.scan(context.now, context.session.database, page, &mut each),
    };
    reply_page(context.reply, next, &found);
    Ok(Flow::Continue)
}

/// The positions to visit and the next cursor.
fn page(length: usize, is_whole: bool, cursor: u64, count: usize) -> (std::ops::Range<usize>, u64) {
    if is_whole || length <= WHOLE_UP_TO {
        return (0..length, 0);
    }
    let end = match cursor {
        0 => length,
        cursor => usize::try_from(cursor).unwrap_or(usize::MAX).min(length),
    };
    let start = end.saturating_sub(count);
    (start..end, start as u64)
}

fn hscan(context: &mut Context<'_>) -> Outcome {
    let cursor = parse_cursor(context.word(2))?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let hash = transaction.hash(key)?;
    context.count_read(key, hash.is_some());
    let Some(hash) = hash else {
        reply_page(context.reply, 0, &[]);
        return Ok(Flow::Continue);
    };
    let options = parse_options(context, 3, false)?;
    let (positions, next) = page(hash.positions(), hash.is_scanned_whole(), cursor, options.count);
    let mut found: Vec<Box<[u8]>> = Vec::new();
    for (field, value) in hash.range(positions).filter(|(field, _)| options.wants(field)) {
        found.push(field.into());
        found.push(value.into());
    }
    reply_page(context.reply, next, &found);
    Ok(Flow::Continue)
}

fn sscan(context: &mut Context<'_>) -> Outcome {
    let cursor = parse_cursor(context.word(2))?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let set = transaction.set(key)?;
    context.count_read(key, set.is_some());
    let Some(set) = set else {
        reply_page(context.reply, 0, &[]);
        return Ok(Flow::Continue);
    };
    let options = parse_options(context, 3, false)?;
    let (positions, next) = page(set.len(), set.is_scanned_whole(), cursor, options.count);
    let wanted = set.range(positions).filter(|member| options.wants(member));
    let found: Vec<Box<[u8]>> = wanted.map(Into::into).collect();
    reply_page(context.reply, next, &found);
    Ok(Flow::Continue)
}

/// A score as ZSCAN shows it: in Redis's compact encoding a whole number is an integer, however large.
fn score_text(score: f64, is_compact: bool) -> String {
    const INTEGERS: f64 = (i64::MAX / 2) as f64;
    if is_compact && score.abs() < INTEGERS && score.trunc() == score {
        return (score as i64).to_string();
    }
    format_double(score)
}

fn zscan(context: &mut Context<'_>) -> Outcome {
    let cursor = parse_cursor(context.word(2))?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let set = transaction.sorted_set(key)?;
    context.count_read(key, set.is_some());
    let Some(set) = set else {
        reply_page(context.reply, 0, &[]);
        return Ok(Flow::Continue);
    };
    let options = parse_options(context, 3, false)?;
    let is_compact = set.is_scanned_whole();
    let (positions, next) = page(set.len(), is_compact, cursor, options.count);
    let mut found: Vec<Box<[u8]>> = Vec::new();
    for (member, score) in set.positions(positions).filter(|(member, _)| options.wants(member)) {
        found.push((*member).into());
        found.push(score_text(score, is_compact).into_bytes().into());
    }
    reply_page(context.reply, next, &found);
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::commands::testing::Fixture;

    /// Walks to the end, doing something between the pages; returns what was seen.
    fn walk(fixture: &mut Fixture, command: &str, options: &str, between: impl Fn(&mut Fixture, usize)) -> Vec<String> {
        let mut cursor = "0".to_string();
        let mut seen = Vec::new();
        for round in 0.. {
            let reply = fixture.run(&format!("{command} {cursor} {options}"));
            let mut bulks = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
            cursor = bulks.next().expect("a cursor").to_string();
            seen.extend(bulks.map(str::to_string));
            if cursor == "0" {
                break;
            }
            between(fixture, round);
        }
        seen
    }

    #[test]
    fn nothing_that_stays_is_missed_while_other_elements_go() {
        let families = [
            ("sadd k m", "sscan k", "srem k m"),
            ("hset k m", "hscan k", "hdel k m"),
            ("zadd k 5 m", "zscan k", "zrem k m"),
        ];
        for (add, scan, remove) in families {
            let mut fixture = Fixture::new();
            for number in 0..1_000 {
                let value = if add.starts_with('h') { " v" } else { "" };
                fixture.run(&format!("{add}{number}{value}"));
            }
            let seen = walk(&mut fixture, scan, "count 7", |fixture, round| {
                for number in [round * 3 + 1, 998 - round * 5 % 900] {
                    if number % 2 == 1 {
                        fixture.run(&format!("{remove}{number}"));
                    }
                }
            });
            let seen: BTreeSet<String> = seen.into_iter().collect();
            for number in (0..1_000).step_by(2) {
                assert!(seen.contains(&format!("m{number}")), "{scan} {number}");
            }
        }
    }

    #[test]
    fn all_keys_are_seen_once_when_nothing_changes() {
        let mut fixture = Fixture::new();
        for number in 0..500 {
            fixture.run(&format!("set k{number} v"));
        }
        fixture.run("hset h f v");
        let seen = walk(&mut fixture, "scan", "count 30 match k*", |_, _| {});
        assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (500, 500));
        assert_eq!(walk(&mut fixture, "scan", "type HASH count 1000", |_, _| {}), ["h"]);
        assert_eq!(walk(&mut fixture, "scan", "type nosuch", |_, _| {}), Vec::<String>::new());
    }

    #[test]
    fn small_collections_come_whole() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h a 1 b 2", ":2\r\n"),
            ("hscan h 0 count 1", "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            ("hscan h 7 match a", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("hscan nosuch 5 count 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("zadd z 1e17 a 0.5 b", ":2\r\n"),
            ("zscan z 0 match a", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$18\r\n100000000000000000\r\n"),
            ("sscan nosuch 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ]);
    }

    #[test]
    fn refusals() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h a 1", ":1\r\n"),
            ("scan x", "-ERR invalid cursor\r\n"),
            ("scan 99999999999999999999999", "-ERR invalid cursor\r\n"),
            ("scan -1", "*2\r\n$1\r\n0\r\n*0\r\n"),
            ("scan \"\" count 9999", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nh\r\n"),
            ("scan 0 count 0", "-ERR syntax error\r\n"),
            ("scan 0 count x", "-ERR value is not an integer or out of range\r\n"),
            ("scan 0 match", "-ERR syntax error\r\n"),
            ("scan 0 foo bar", "-ERR syntax error\r\n"),
            ("hscan h x", "-ERR invalid cursor\r\n"),
            ("hscan h 0 type hash", "-ERR syntax error\r\n"),
            ("sscan h 0", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ]);
    }
}
