//! Commands that take elements off lists, and may put them on others. Each is a function that tries it now and says
//! whether anything was there to take; if not, nothing has happened.

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
use crate::effects::{Elements, End, Ranges};
use crate::keyspace::{Element, Key, ListValue, Transaction, WrongType, integer};
use crate::resp::Reply;

const TAKES: Access = Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE);
const TAKE: &[KeySpec] = &[KeySpec::one(1, TAKES)];
const MOVE: &[KeySpec] = &[KeySpec::one(1, TAKES), KeySpec::one(2, Access::READ_WRITE.with(Access::INSERT))];
const NUMBERED: &[KeySpec] = &[KeySpec { access: TAKES, begin: 1, find: Find::Number, note: "" }];

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
];

/// The element at an end.
fn at_end(list: &ListValue, end: End) -> Option<Element<'_>> {
    match end {
        End::Left => list.get(0),
        End::Right => list.get(list.len().checked_sub(1)?),
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
    }
    Ok(())
}

fn pop(context: &mut Context<'_>, end: End) -> Outcome {
    let count = match context.words() {
        2 => None,
        3 => {
            let count = integer::parse(context.word(2)).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(Refusal::Fixed("ERR value is out of range, must be positive"))?)
        }
        _ => return Err(super::wrong_arity(context.entry)),
    };
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let length = transaction.list(key)?.map(ListValue::len);
    context.count_read(length.is_some());
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

/// Takes elements off the first of these lists that is there, and replies with its key and them. False: none is there.
fn try_pop_first(context: &mut Context<'_>, keys: &[Key<'_>], end: End, count: usize) -> Result<bool, Refusal> {
    let mut transaction = context.lock_keys(keys);
    for &key in keys {
        let length = transaction.list(key)?.map(ListValue::len);
        context.count_read(length.is_some());
        if let Some(length) = length {
            let taken = count.min(length);
            context.reply.array(2);
            context.reply.bulk(key.bytes);
            context.reply.array(taken);
            take_off(&mut transaction, context.reply, key, end, taken)?;
            context.commit(transaction);
            return Ok(true);
        }
    }
    Ok(false)
}

fn lmpop(context: &mut Context<'_>) -> Outcome {
    let number = positive(context.word(1), "ERR numkeys should be greater than 0")?;
    let options = number.checked_add(2).filter(|at| *at < context.words()).ok_or(SYNTAX)?;
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
    let keys = context.keys(2..options);
    if !try_pop_first(context, &keys, end, count.unwrap_or(1))? {
        context.reply.null_array();
    }
    Ok(Flow::Continue)
}

/// Moves an element, and replies with it. False: there is none.
fn try_move(context: &mut Context<'_>, from: (Key<'_>, End), to: (Key<'_>, End)) -> Result<bool, Refusal> {
    let ((source, taken_at), (target, put_at)) = (from, to);
    let mut transaction = context.lock_keys(&[source, target]);
    let list = transaction.list(source)?;
    context.count_read(list.is_some());
    let Some(element) = list.and_then(|list| at_end(list, taken_at)) else { return Ok(false) };
    let (element, alone) = (element.to_vec(), list.is_some_and(|list| list.len() == 1));
    transaction.list(target)?;
    if source.bytes != target.bytes {
        transaction.list_remove(source, taken_at, Ranges::first(1))?;
        transaction.list_push(target, put_at, Elements::one(&element))?;
    } else if taken_at != put_at && !alone {
        // The list is never empty in between: it keeps its time to live.
        transaction.list_push(target, put_at, Elements::one(&element))?;
        transaction.list_remove(source, taken_at, Ranges::first(1))?;
    }
    context.commit(transaction);
    context.reply.bulk(&element);
    Ok(true)
}

fn lmove(context: &mut Context<'_>) -> Outcome {
    let (taken_at, put_at) = (end(context.word(3))?, end(context.word(4))?);
    if !try_move(context, (context.key(1), taken_at), (context.key(2), put_at))? {
        context.reply.null();
    }
    Ok(Flow::Continue)
}

fn rpoplpush(context: &mut Context<'_>) -> Outcome {
    if !try_move(context, (context.key(1), End::Right), (context.key(2), End::Left))? {
        context.reply.null();
    }
    Ok(Flow::Continue)
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
