//! Commands that take elements off lists, and may put them on others: at once or not at all, or as soon as something is
//! there.

use super::Flow;
use super::context::{Context, Outcome, Patience, Refusal, SYNTAX, is_option};
use super::lists::push_event;
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
use crate::effects::{Elements, End, Ranges};
use crate::keyspace::{Element, EventClasses, Key, Kind, ListValue, Transaction, WrongType, integer};
use crate::resp::Reply;

const TAKES: Access = Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE);
const TAKE: &[KeySpec] = &[KeySpec::one(1, TAKES)];
const MOVE: &[KeySpec] = &[KeySpec::one(1, TAKES), KeySpec::one(2, Access::READ_WRITE.with(Access::INSERT))];
const NUMBERED: &[KeySpec] = &[KeySpec { access: TAKES, begin: 1, find: Find::Number, note: "" }];
const NUMBERED_LATER: &[KeySpec] = &[KeySpec { access: TAKES, begin: 2, find: Find::Number, note: "" }];
const TAKE_ANY: &[KeySpec] = &[KeySpec { access: TAKES, begin: 1, find: Find::Range { last: -2, step: 1 }, note: "" }];
const WAITS: Flags = Flags::NOSCRIPT.with(Flags::BLOCKING);
const PER_KEY: &str = "O(N) with N keys";

const fn take(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::List, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::LIST)
        .coordination(Coordination::Decides)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    take("lpop", -2, lpop).flags(Flags::FAST).keys(TAKE).docs(
        "1.0.0",
        "O(N) with N elements returned",
        "Removes elements at the left end and returns them",
    ),
    take("rpop", -2, rpop).flags(Flags::FAST).keys(TAKE).docs(
        "1.0.0",
        "O(N) with N elements returned",
        "Removes elements at the right end and returns them",
    ),
    take("lmpop", -4, lmpop).flags(Flags::MOVABLEKEYS).keys(NUMBERED).docs(
        "7.0.0",
        "O(N+M) with N keys and M elements returned",
        "Removes elements from the first list that is there and returns them",
    ),
    take("lmove", 5, lmove).flags(Flags::DENYOOM).keys(MOVE).docs(
        "6.2.0",
        "O(1)",
        "Moves an element from an end of a list to an end of another",
    ),
    take("rpoplpush", 3, rpoplpush)
        .flags(Flags::DENYOOM)
        .keys(MOVE)
        .docs("1.2.0", "O(1)", "Moves an element from the right end of a list to the left end of another")
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    take("blpop", -3, blpop).flags(WAITS).keys(TAKE_ANY).docs(
        "2.0.0",
        PER_KEY,
        "Removes the element at the left end of the first list that has one, and waits for one",
    ),
    take("brpop", -3, brpop).flags(WAITS).keys(TAKE_ANY).docs(
        "2.0.0",
        PER_KEY,
        "Removes the element at the right end of the first list that has one, and waits for one",
    ),
    take("blmpop", -5, blmpop).flags(Flags::BLOCKING.with(Flags::MOVABLEKEYS)).keys(NUMBERED_LATER).docs(
        "7.0.0",
        "O(N+M) with N keys and M elements returned",
        "Removes elements from the first list that has some, and waits for one",
    ),
    take("blmove", 6, blmove).flags(WAITS.with(Flags::DENYOOM)).keys(MOVE).docs(
        "6.2.0",
        "O(1)",
        "Moves an element between ends of lists, and waits for one",
    ),
    take("brpoplpush", 4, brpoplpush)
        .flags(WAITS.with(Flags::DENYOOM))
        .keys(MOVE)
        .docs("2.2.0", "O(1)", "Moves an element from a right to a left end of lists, and waits for one")
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
];

/// How popped elements are shown with their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The key and its one element.
    Pair,
    /// The key and an array of elements.
    Nested,
}

/// The element at an end.
fn at_end(list: &ListValue, end: End) -> Option<Element<'_>> {
    match end {
        End::Left => list.get(0),
        End::Right => list.get(list.len().checked_sub(1)?),
    }
}

/// What it is called when elements are taken off an end.
fn pop_event(end: End) -> &'static str {
    match end {
        End::Left => "lpop",
        End::Right => "rpop",
    }
}

/// Replies with the elements at an end, nearest first, and takes them off. There must be so many, and at least one.
fn take_off(
    transaction: &mut Transaction<'_>,
    reply: &mut Reply,
    key: Key<'_>,
    end: End,
    count: usize,
) -> Result<(), WrongType> {
    if let Some(list) = transaction.list(key)? {
        let length = list.len();
        match end {
            End::Left => list.range(0..count).for_each(|element| reply.bulk(&element)),
            End::Right => list.range(length - count..length).rev().for_each(|element| reply.bulk(&element)),
        }
        transaction.list_remove(key, end, Ranges::first(count as u64))?;
        transaction.announce_taken(EventClasses::LIST, pop_event(end), key);
    }
    Ok(())
}

fn pop(context: &mut Context<'_>, end: End) -> Outcome {
    if context.words() > 3 {
        return Err(super::wrong_arity(context.entry));
    }
    let count = context.optional_count(2)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let length = transaction.list(key)?.map(ListValue::len);
    let Some(length) = length else {
        match count {
            None => context.reply.null(),
            Some(_) => context.reply.null_array(),
        }
        return Ok(Flow::Continue);
    };
    let taken = count.unwrap_or(1).min(length);
    if count.is_some() {
        context.reply.array(taken);
    }
    if taken > 0 {
        take_off(&mut transaction, context.reply, key, end, taken)?;
        context.commit(transaction);
    }
    Ok(Flow::Continue)
}

fn lpop(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Left)
}

fn rpop(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Right)
}

/// An end among the arguments.
fn end(word: &[u8]) -> Result<End, Refusal> {
    match word {
        word if is_option(word, "left") => Ok(End::Left),
        word if is_option(word, "right") => Ok(End::Right),
        _ => Err(SYNTAX),
    }
}

fn positive(word: &[u8], otherwise: &'static str) -> Result<usize, Refusal> {
    let number = integer::parse(word).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(Refusal::Fixed(otherwise))
}

/// Takes elements off the first of these lists that is there, and replies with its key and them.
fn pop_first(
    context: &mut Context<'_>,
    keys: &[Key<'_>],
    (end, count): (End, usize),
    shape: Shape,
    patience: Patience,
) -> Outcome {
    let mut transaction = context.lock_keys(keys);
    for &key in keys {
        let length = context.found(transaction.list(key).map(|list| list.map(ListValue::len)))?;
        let Some(length) = length else { continue };
        if patience != Patience::None && !context.may_take(&transaction, key, Kind::List) {
            continue;
        }
        let taken = count.min(length);
        context.reply.array(2);
        context.reply.bulk(key.bytes);
        if shape == Shape::Nested {
            context.reply.array(taken);
        }
        take_off(&mut transaction, context.reply, key, end, taken)?;
        context.commit(transaction);
        return Ok(Flow::Continue);
    }
    context.find_nothing(transaction, keys, Kind::List, patience, Reply::null_array)
}

fn pop_any(context: &mut Context<'_>, end: End) -> Outcome {
    let last = context.words() - 1;
    let patience = Patience::Waits(context.timeout(last)?);
    let keys = context.keys(1..last);
    pop_first(context, &keys, (end, 1), Shape::Pair, patience)
}

fn blpop(context: &mut Context<'_>) -> Outcome {
    pop_any(context, End::Left)
}

fn brpop(context: &mut Context<'_>) -> Outcome {
    pop_any(context, End::Right)
}

fn lmpop(context: &mut Context<'_>) -> Outcome {
    let (keys, taken) = parse_mpop(context, 1)?;
    pop_first(context, &keys, taken, Shape::Nested, Patience::None)
}

fn blmpop(context: &mut Context<'_>) -> Outcome {
    let (keys, taken) = parse_mpop(context, 2)?;
    let patience = Patience::Waits(context.timeout(1)?);
    pop_first(context, &keys, taken, Shape::Nested, patience)
}

/// The keys, the end and the count of LMPOP, whose number of keys stands at `begin`.
fn parse_mpop<'c>(context: &Context<'c>, begin: usize) -> Result<(Vec<Key<'c>>, (End, usize)), Refusal> {
    let number = positive(context.word(begin), "ERR numkeys should be greater than 0")?;
    let options = number.checked_add(begin + 1).filter(|at| *at < context.words()).ok_or(SYNTAX)?;
    let end = end(context.word(options))?;
    let mut count = None;
    let mut at = options + 1;
    while at < context.words() {
        if count.is_some() || !is_option(context.word(at), "count") || at + 1 == context.words() {
            return Err(SYNTAX);
        }
        count = Some(positive(context.word(at + 1), "ERR count should be greater than 0")?);
        at += 2;
    }
    Ok((context.keys(begin + 1..options), (end, count.unwrap_or(1))))
}

/// Moves an element, and replies with it.
fn move_between(
    context: &mut Context<'_>,
    (source, taken_at): (Key<'_>, End),
    (target, put_at): (Key<'_>, End),
    patience: Patience,
) -> Outcome {
    let mut transaction = context.lock_keys(&[source, target]);
    let list = context.found(transaction.list(source))?;
    let found = list.and_then(|list| Some((at_end(list, taken_at)?.to_vec(), list.len() == 1)));
    let may_take = patience == Patience::None || context.may_take(&transaction, source, Kind::List);
    let Some((element, alone)) = found.filter(|_| may_take) else {
        return context.find_nothing(transaction, &[source], Kind::List, patience, Reply::null);
    };
    transaction.list(target)?;
    if source.bytes != target.bytes {
        transaction.list_remove(source, taken_at, Ranges::first(1))?;
        transaction.list_push(target, put_at, Elements::one(&element))?;
    } else if taken_at != put_at && !alone {
        // The list is never empty in between: it keeps its time to live.
        transaction.list_push(target, put_at, Elements::one(&element))?;
        transaction.list_remove(source, taken_at, Ranges::first(1))?;
    } else {
        transaction.count_as_changed(source);
    }
    transaction.announce(EventClasses::LIST, push_event(put_at), target);
    transaction.announce_taken(EventClasses::LIST, pop_event(taken_at), source);
    context.commit(transaction);
    context.reply.bulk(&element);
    Ok(Flow::Continue)
}

fn lmove(context: &mut Context<'_>) -> Outcome {
    let (taken_at, put_at) = (end(context.word(3))?, end(context.word(4))?);
    move_between(context, (context.key(1), taken_at), (context.key(2), put_at), Patience::None)
}

fn rpoplpush(context: &mut Context<'_>) -> Outcome {
    move_between(context, (context.key(1), End::Right), (context.key(2), End::Left), Patience::None)
}

fn blmove(context: &mut Context<'_>) -> Outcome {
    let (taken_at, put_at) = (end(context.word(3))?, end(context.word(4))?);
    let patience = Patience::Waits(context.timeout(5)?);
    move_between(context, (context.key(1), taken_at), (context.key(2), put_at), patience)
}

fn brpoplpush(context: &mut Context<'_>) -> Outcome {
    let patience = Patience::Waits(context.timeout(3)?);
    move_between(context, (context.key(1), End::Right), (context.key(2), End::Left), patience)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";

    #[test]
    fn pops() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("rpush l a b c d e f", ":6\r\n"),
            ("lpop l", "$1\r\na\r\n"),
            ("rpop l", "$1\r\nf\r\n"),
            ("rpop l 2", "*2\r\n$1\r\ne\r\n$1\r\nd\r\n"),
            ("lpop l 0", "*0\r\n"),
            ("lpop l 1 2", "-ERR wrong number of arguments for 'lpop' command\r\n"),
            ("lpop l x", "-ERR value is out of range, must be positive\r\n"),
            ("lpop l -1", "-ERR value is out of range, must be positive\r\n"),
            ("lpop s", WRONG_TYPE),
            ("lpop l 9", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("exists l", ":0\r\n"),
            ("lpop l", "$-1\r\n"),
            ("lpop l 1", "*-1\r\n"),
            ("rpush m 1 2 3", ":3\r\n"),
            ("lmpop 2 l m left", "*2\r\n$1\r\nm\r\n*1\r\n$1\r\n1\r\n"),
            ("lmpop 2 l m RIGHT Count 5", "*2\r\n$1\r\nm\r\n*2\r\n$1\r\n3\r\n$1\r\n2\r\n"),
            ("lmpop 2 l m left", "*-1\r\n"),
            ("lmpop 2 l s left", WRONG_TYPE),
            ("lmpop 0 l left", "-ERR numkeys should be greater than 0\r\n"),
            ("lmpop 1 l left count 0", "-ERR count should be greater than 0\r\n"),
            ("lmpop 1 l up", SYNTAX),
            ("lmpop 2 l left", SYNTAX),
            ("lmpop 9223372036854775807 l left", SYNTAX),
            ("lmpop 1 l left count 1 count 1", SYNTAX),
            ("lmpop 1 l left count", SYNTAX),
        ]);
    }

    #[test]
    fn moves() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("rpush l a b c", ":3\r\n"),
            ("rpoplpush l m", "$1\r\nc\r\n"),
            ("lmove l m LEFT right", "$1\r\na\r\n"),
            ("lrange m 0 -1", "*2\r\n$1\r\nc\r\n$1\r\na\r\n"),
            ("lmove m m left right", "$1\r\nc\r\n"),
            ("lmove m m left left", "$1\r\na\r\n"),
            ("lrange m 0 -1", "*2\r\n$1\r\na\r\n$1\r\nc\r\n"),
            ("lmove l s left left", WRONG_TYPE),
            ("lmove s l left left", WRONG_TYPE),
            ("lmove none s left left", "$-1\r\n"),
            ("lmove l m up left", SYNTAX),
            ("expire l 100", ":1\r\n"),
            ("rpoplpush l l", "$1\r\nb\r\n"),
            ("ttl l", ":100\r\n"),
            ("rpoplpush l m", "$1\r\nb\r\n"),
            ("exists l", ":0\r\n"),
            ("llen m", ":3\r\n"),
        ]);
    }
}
