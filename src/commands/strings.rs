//! Strings: reading them, several at once, numbers, parts. What SET does is in `assign`.

use super::context::{Context, Outcome, Refusal, check_reply_size};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use super::{Flow, assign, lcs};
use crate::keyspace::{EventClasses, Key, Life};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LENGTH: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const OVERWRITE: &[KeySpec] = &[KeySpec::one(1, Access::OVERWRITE.with(Access::UPDATE))];
const OVERWRITE_ABSENT: &[KeySpec] = &[KeySpec::one(1, Access::OVERWRITE.with(Access::INSERT))];
const CHANGE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))];
const BLIND_CHANGE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const EXTEND: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::INSERT))];
const TAKE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE))];
const SET_KEYS: &[KeySpec] = &[KeySpec {
    note: "RW and ACCESS due to the optional `GET` argument",
    ..KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE).with(Access::VARIABLE))
}];
const GETEX_KEYS: &[KeySpec] = &[KeySpec {
    note: "RW and UPDATE because it changes the TTL",
    ..KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))
}];
const READ_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 1, Access::READ.with(Access::ACCESS))];
const OVERWRITE_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 2, Access::OVERWRITE.with(Access::UPDATE))];
const INSERT_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 2, Access::OVERWRITE.with(Access::INSERT))];
const READ_TWO: &[KeySpec] = &[KeySpec {
    find: super::spec::Find::Range { last: 1, step: 1 },
    ..KeySpec::one(1, Access::READ.with(Access::ACCESS))
}];

const FAST: Flags = Flags::FAST;
const GROWS: Flags = Flags::DENYOOM;

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::String, name, arity, handler).flags(Flags::READONLY).categories(Categories::STRING).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::String, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::STRING)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    read("get", 2, get).flags(FAST).docs("1.0.0", "O(1)", "Returns a string"),
    write("set", -3, assign::set)
        .flags(GROWS)
        .keys(SET_KEYS)
        .coordination(Coordination::DecidesWith(&["nx", "xx", "get"]))
        .docs("1.0.0", "O(1)", "Sets a string, with conditions and a time to live if wanted"),
    write("setnx", 3, assign::setnx)
        .flags(GROWS.with(FAST))
        .keys(OVERWRITE_ABSENT)
        .coordination(Coordination::Decides)
        .docs("1.0.0", "O(1)", "Sets a string if the key is absent"),
    write("setex", 4, assign::setex).flags(GROWS).keys(OVERWRITE).docs(
        "2.0.0",
        "O(1)",
        "Sets a string that lives for some seconds",
    ),
    write("psetex", 4, assign::psetex).flags(GROWS).keys(OVERWRITE).docs(
        "2.6.0",
        "O(1)",
        "Sets a string that lives for some milliseconds",
    ),
    write("getset", 3, assign::getset)
        .flags(GROWS.with(FAST))
        .keys(CHANGE)
        .coordination(Coordination::Decides)
        .deprecated("6.2.0", "`SET` with the `!GET` argument")
        .docs("1.0.0", "O(1)", "Sets a string and returns what it was before"),
    write("getdel", 2, assign::getdel).flags(FAST).keys(TAKE).coordination(Coordination::Decides).docs(
        "6.2.0",
        "O(1)",
        "Returns a string and deletes its key",
    ),
    write("getex", -2, assign::getex).flags(FAST).keys(GETEX_KEYS).docs(
        "6.2.0",
        "O(1)",
        "Returns a string and changes its time to live",
    ),
    read("mget", -2, mget).flags(FAST).keys(READ_ALL).hints(&["request_policy:multi_shard"]).docs(
        "1.0.0",
        "O(N) with N keys",
        "Returns several strings",
    ),
    write("mset", -3, mset)
        .flags(GROWS)
        .keys(OVERWRITE_ALL)
        .hints(&["request_policy:multi_shard", "response_policy:all_succeeded"])
        .docs("1.0.1", "O(N) with N keys", "Sets several strings at once"),
    write("msetnx", -3, msetnx)
        .flags(GROWS)
        .keys(INSERT_ALL)
        .coordination(Coordination::Decides)
        .hints(&["request_policy:multi_shard", "response_policy:agg_min"])
        .docs("1.0.1", "O(N) with N keys", "Sets several strings at once if all keys are absent"),
    write("incr", 2, incr).flags(GROWS.with(FAST)).keys(CHANGE).docs("1.0.0", "O(1)", "Adds one to an integer"),
    write("decr", 2, decr).flags(GROWS.with(FAST)).keys(CHANGE).docs("1.0.0", "O(1)", "Takes one from an integer"),
    write("incrby", 3, incrby).flags(GROWS.with(FAST)).keys(CHANGE).docs("1.0.0", "O(1)", "Adds to an integer"),
    write("decrby", 3, decrby).flags(GROWS.with(FAST)).keys(CHANGE).docs("1.0.0", "O(1)", "Takes from an integer"),
    write("incrbyfloat", 3, incrbyfloat).flags(GROWS.with(FAST)).keys(CHANGE).docs(
        "2.6.0",
        "O(1)",
        "Adds to a number with a fraction",
    ),
    write("append", 3, append).flags(GROWS.with(FAST)).keys(EXTEND).docs(
        "2.0.0",
        "O(N) with N bytes appended",
        "Appends to a string",
    ),
    read("strlen", 2, strlen).flags(FAST).keys(LENGTH).docs("2.2.0", "O(1)", "Returns a string's length in bytes"),
    write("setrange", 4, setrange).flags(GROWS).keys(BLIND_CHANGE).docs(
        "2.2.0",
        "O(N) with N bytes written",
        "Overwrites a part of a string",
    ),
    read("getrange", 4, getrange).docs("2.4.0", "O(N) with N bytes returned", "Returns a part of a string"),
    read("substr", 4, getrange).deprecated("2.0.0", "`GETRANGE`").docs(
        "1.0.0",
        "O(N) with N bytes returned",
        "Returns a part of a string",
    ),
    read("lcs", -3, lcs::lcs).keys(READ_TWO).docs(
        "7.0.0",
        "O(N*M) with strings of N and M bytes",
        "Finds the longest common subsequence of two strings",
    ),
];

fn get(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let value = transaction.string(key)?;
    context.reply.bulk_or_null(value);
    context.count_read(key, value.is_some());
    Ok(Flow::Continue)
}

fn mget(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let start = context.reply.bytes().len();
    context.reply.array(keys.len());
    for &key in &keys {
        let value = transaction.string(key);
        // A key of another type is there.
        let there = !matches!(value, Ok(None));
        context.reply.bulk_or_null(value.unwrap_or(None));
        context.count_read(key, there);
        check_reply_size(context.reply, start)?;
    }
    Ok(Flow::Continue)
}

fn pairs<'c>(context: &Context<'c>) -> Result<Vec<Key<'c>>, Refusal> {
    if context.words().is_multiple_of(2) {
        return Err(super::wrong_arity(context.entry));
    }
    Ok(context.keys((1..context.words()).step_by(2)))
}

fn mset(context: &mut Context<'_>) -> Outcome {
    let keys = pairs(context)?;
    let mut transaction = context.lock_keys(&keys);
    for (at, &key) in keys.iter().enumerate() {
        transaction.string_set(key, context.word(2 + 2 * at), Life::Forever);
        transaction.announce(EventClasses::STRING, "set", key);
    }
    context.commit(transaction);
    context.ok()
}

fn msetnx(context: &mut Context<'_>) -> Outcome {
    let keys = pairs(context)?;
    let mut transaction = context.lock_keys(&keys);
    if keys.iter().any(|&key| transaction.kind(key).is_some()) {
        return context.reply_integer(0);
    }
    for (at, &key) in keys.iter().enumerate() {
        transaction.string_set(key, context.word(2 + 2 * at), Life::Forever);
        transaction.announce(EventClasses::STRING, "set", key);
    }
    context.commit(transaction);
    context.reply_integer(1)
}

fn incr(context: &mut Context<'_>) -> Outcome {
    add(context, 1)
}

fn decr(context: &mut Context<'_>) -> Outcome {
    add(context, -1)
}

fn incrby(context: &mut Context<'_>) -> Outcome {
    let increment = context.integer(2)?;
    add(context, increment)
}

fn decrby(context: &mut Context<'_>) -> Outcome {
    let decrement = context.integer(2)?;
    add(context, decrement.checked_neg().ok_or(Refusal::Fixed("ERR decrement would overflow"))?)
}

fn add(context: &mut Context<'_>, increment: i64) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let sum = transaction.string_add(key, increment)?;
    transaction.announce(EventClasses::STRING, "incrby", key);
    context.commit(transaction);
    context.reply_integer(sum)
}

fn incrbyfloat(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let increment = context.word(2);
    let mut transaction = context.lock(key);
    let sum = transaction.string_add_float(key, increment)?;
    transaction.announce(EventClasses::STRING, "incrbyfloat", key);
    context.commit(transaction);
    context.reply.bulk(&sum);
    Ok(Flow::Continue)
}

fn check_length(context: &Context<'_>, length: Option<usize>) -> Result<(), Refusal> {
    if length.is_none_or(|length| length > context.state.config.longest_string()) {
        return Err(Refusal::Fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    Ok(())
}

fn append(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let bytes = context.word(2);
    let mut transaction = context.lock(key);
    let current = transaction.string(key)?.map(<[u8]>::len);
    check_length(context, current.unwrap_or(0).checked_add(bytes.len()))?;
    // Nothing is added to what is there: nothing to tell other nodes. The clients of this one take it for a change, as in Redis.
    let length = match current {
        Some(length) if bytes.is_empty() => {
            transaction.count_as_changed(key);
            length
        }
        _ => transaction.string_append(key, bytes)?,
    };
    transaction.announce(EventClasses::STRING, "append", key);
    context.commit(transaction);
    context.reply_count(length)
}

fn strlen(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let value = transaction.string(key)?;
    context.count_read(key, value.is_some());
    context.reply_count(value.map_or(0, <[u8]>::len))
}

fn setrange(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let bytes = context.word(3);
    let offset = usize::try_from(context.integer(2)?).map_err(|_| Refusal::Fixed("ERR offset is out of range"))?;
    let mut transaction = context.lock(key);
    let length = transaction.string(key)?.map_or(0, <[u8]>::len);
    if bytes.is_empty() {
        return context.reply_count(length);
    }
    check_length(context, offset.checked_add(bytes.len()))?;
    let length = transaction.string_set_range(key, offset, bytes)?;
    transaction.announce(EventClasses::STRING, "setrange", key);
    context.commit(transaction);
    context.reply_count(length)
}

fn getrange(context: &mut Context<'_>) -> Outcome {
    let (start, end) = (context.integer(2)?, context.integer(3)?);
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let value = transaction.string(key)?;
    context.count_read(key, value.is_some());
    context.reply.bulk(part(value.unwrap_or_default(), start, end));
    Ok(Flow::Continue)
}

/// The bytes from `start` to `end`, both included; negative positions count from the end.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let length = value.len() as i64;
    let position = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (position(start), position(end).min(length - 1));
    if start > end {
        return &[];
    }
    // Both lie within 0..length here.
    &value[start as usize..=end as usize]
}

#[cfg(test)]
mod tests {
    use crate::commands::Flow;
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn several_strings_at_once() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("mset a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n"),
            ("mset a 1 b 2 a 3", "+OK\r\n"),
            ("hset h f v", ":1\r\n"),
            ("mget a b nosuch h", "*4\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n$-1\r\n"),
            ("msetnx c 1 a 2", ":0\r\n"),
            ("exists c", ":0\r\n"),
            ("msetnx c 1 d 2", ":1\r\n"),
            ("get d", "$1\r\n2\r\n"),
        ]);
    }

    #[test]
    fn numbers() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("incr n", ":1\r\n"),
            ("incrby n 9223372036854775807", "-ERR increment or decrement would overflow\r\n"),
            ("decrby n -9223372036854775808", "-ERR decrement would overflow\r\n"),
            ("decrby n 11", ":-10\r\n"),
            ("decr n", ":-11\r\n"),
            ("incrby n +1", "-ERR value is not an integer or out of range\r\n"),
            ("incrbyfloat n 0.5", "$5\r\n-10.5\r\n"),
            ("incr n", "-ERR value is not an integer or out of range\r\n"),
            ("incrbyfloat n abc", "-ERR value is not a valid float\r\n"),
            ("incrbyfloat n inf", "-ERR increment would produce NaN or Infinity\r\n"),
            ("hset h f v", ":1\r\n"),
            ("incr h", WRONG_TYPE),
            ("incrbyfloat h 1", WRONG_TYPE),
        ]);
    }

    #[test]
    fn parts_of_strings() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("append s hello", ":5\r\n"),
            ("append s \"\"", ":5\r\n"),
            ("append e \"\"", ":0\r\n"),
            ("exists e", ":1\r\n"),
            ("getrange s 1 3", "$3\r\nell\r\n"),
            ("getrange s -3 -1", "$3\r\nllo\r\n"),
            ("getrange s -1 -3", "$0\r\n\r\n"),
            ("getrange s 0 -100", "$1\r\nh\r\n"),
            ("getrange s 3 100", "$2\r\nlo\r\n"),
            ("getrange s 5 6", "$0\r\n\r\n"),
            ("getrange nosuch 0 -1", "$0\r\n\r\n"),
            ("substr s 0 0", "$1\r\nh\r\n"),
            ("setrange s 7 x", ":8\r\n"),
            ("get s", "$8\r\nhello\0\0x\r\n"),
            ("strlen s", ":8\r\n"),
            ("strlen nosuch", ":0\r\n"),
            ("setrange s -1 x", "-ERR offset is out of range\r\n"),
            ("setrange s 536870911 xx", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
            ("setrange s 9223372036854775807 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
            ("setrange nosuch 5 \"\"", ":0\r\n"),
            ("config set proto-max-bulk-len 1mb", "+OK\r\n"),
            ("setrange long 1048575 x", ":1048576\r\n"),
            ("append long x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
            ("setrange long 1048576 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
            ("setbit long 8388608 1", "-ERR bit offset is not an integer or out of range\r\n"),
            ("setbit long 8388607 1", ":0\r\n"),
            ("config set proto-max-bulk-len 8gb", "+OK\r\n"),
            ("append long x", ":1048577\r\n"),
            ("setrange s 536870911 xx", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
            ("exists nosuch", ":0\r\n"),
        ]);
    }

    #[test]
    fn a_write_in_a_cluster_is_remembered_for_wait() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.run("set a 1");
        assert_eq!(fixture.session.last_written, 1);
        fixture.run("get a");
        fixture.run("incr a");
        assert_eq!(fixture.session.last_written, 2);
        assert_eq!(fixture.run_flow(&[b"wait", b"0", b"0"]), (":0\r\n".to_string(), Flow::Continue));
    }
}
