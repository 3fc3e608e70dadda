//! Hashes.

use super::context::{Context, Outcome, Refusal, SYNTAX, check_reply_size, is_option};
use super::sampling::distinct_positions;
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};
use crate::keyspace::{EventClasses, HashView, WriteError, long_double};
use crate::resp::{Protocol, Reply};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const INSERT: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::INSERT))];
const DELETE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::DELETE))];
const ADD: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))];

const FAST: Flags = Flags::FAST;
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const PER_FIELD: &str = "O(N) with N fields in the request";
const WHOLE: &str = "O(N) with N fields in the hash";

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Hash, name, arity, handler).flags(Flags::READONLY).categories(Categories::HASH).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Hash, name, arity, handler)
        .flags(Flags::WRITE.with(FAST))
        .categories(Categories::HASH)
        .coordination(Coordination::Commutes)
}

const fn grow(name: &'static str, arity: isize, handler: Handler) -> Command {
    write(name, arity, handler).flags(Flags::DENYOOM)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    grow("hset", -4, hset).keys(UPDATE).docs("2.0.0", PER_FIELD, "Sets fields"),
    grow("hmset", -4, hmset).keys(UPDATE).deprecated("4.0.0", "`HSET` with multiple field-value pairs").docs(
        "2.0.0",
        PER_FIELD,
        "Sets fields",
    ),
    grow("hsetnx", 4, hsetnx).keys(INSERT).coordination(Coordination::Decides).docs(
        "2.0.0",
        "O(1)",
        "Sets a field if it is absent",
    ),
    read("hget", 3, hget).flags(FAST).docs("2.0.0", "O(1)", "Returns a field's value"),
    read("hmget", -3, hmget).flags(FAST).docs("2.0.0", PER_FIELD, "Returns the values of fields"),
    write("hdel", -3, hdel).keys(DELETE).docs("2.0.0", PER_FIELD, "Deletes fields"),
    read("hlen", 2, hlen).flags(FAST).keys(LOOK).docs("2.0.0", "O(1)", "Returns how many fields there are"),
    read("hstrlen", 3, hstrlen).flags(FAST).keys(LOOK).docs(
        "3.2.0",
        "O(1)",
        "Returns the length of a field's value in bytes",
    ),
    read("hexists", 3, hexists).flags(FAST).keys(LOOK).docs("2.0.0", "O(1)", "Says whether a field exists"),
    read("hkeys", 2, hkeys).hints(ANY_ORDER).docs("2.0.0", WHOLE, "Returns all fields"),
    read("hvals", 2, hvals).hints(ANY_ORDER).docs("2.0.0", WHOLE, "Returns all values"),
    read("hgetall", 2, hgetall).hints(ANY_ORDER).docs("2.0.0", WHOLE, "Returns all fields and their values"),
    grow("hincrby", 4, hincrby).keys(ADD).docs("2.0.0", "O(1)", "Adds to the integer in a field"),
    grow("hincrbyfloat", 4, hincrbyfloat).keys(ADD).docs(
        "2.6.0",
        "O(1)",
        "Adds to the number with a fraction in a field",
    ),
    read("hrandfield", -2, hrandfield).hints(&["nondeterministic_output"]).docs(
        "6.2.0",
        "O(N) with N fields returned",
        "Returns random fields",
    ),
];

fn set_fields(context: &mut Context<'_>) -> Result<usize, Refusal> {
    if !context.words().is_multiple_of(2) {
        return Err(wrong_arity(context.entry));
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let mut added = 0;
    for at in (2..context.words()).step_by(2) {
        added += usize::from(transaction.hash_set(key, context.word(at), context.word(at + 1))?);
    }
    transaction.announce(EventClasses::HASH, "hset", key);
    context.commit(transaction);
    Ok(added)
}

fn hset(context: &mut Context<'_>) -> Outcome {
    let added = set_fields(context)?;
    context.reply_count(added)
}

fn hmset(context: &mut Context<'_>) -> Outcome {
    set_fields(context)?;
    context.ok()
}

fn hsetnx(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let (field, value) = (context.word(2), context.word(3));
    let mut transaction = context.lock(key);
    let absent = transaction.hash(key)?.is_none_or(|hash| hash.get(field).is_none());
    if absent {
        transaction.hash_set(key, field, value)?;
        transaction.announce(EventClasses::HASH, "hset", key);
        context.commit(transaction);
    }
    context.reply_flag(absent)
}

/// Reads the hash at the first key, if there is one.
fn read_hash(
    context: &mut Context<'_>,
    read: impl FnOnce(&mut Context<'_>, Option<HashView<'_>>) -> Outcome,
) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let hash = transaction.hash(key)?;
    context.count_read(key, hash.is_some());
    read(context, hash)
}

fn hget(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        context.reply.bulk_or_null(hash.and_then(|hash| hash.get(context.arguments.get(2)?)).as_deref());
        Ok(Flow::Continue)
    })
}

fn hmget(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        let start = context.reply.bytes().len();
        context.reply.array(context.words() - 2);
        for field in context.arguments.from(2).iter() {
            context.reply.bulk_or_null(hash.and_then(|hash| hash.get(field)).as_deref());
            check_reply_size(context.reply, start)?;
        }
        Ok(Flow::Continue)
    })
}

fn hdel(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let mut removed = 0;
    for field in context.arguments.from(2).iter() {
        removed += usize::from(transaction.hash_remove(key, field)?);
    }
    if removed > 0 {
        transaction.announce_taken(EventClasses::HASH, "hdel", key);
    }
    context.commit(transaction);
    context.reply_count(removed)
}

fn hlen(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| context.reply_count(hash.map_or(0, |hash| hash.len())))
}

fn hstrlen(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        let value = hash.and_then(|hash| hash.get(context.word(2)));
        context.reply_count(value.map_or(0, |value| value.len()))
    })
}

fn hexists(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        let there = hash.is_some_and(|hash| hash.get(context.word(2)).is_some());
        context.reply_flag(there)
    })
}

fn hkeys(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        context.reply.array(hash.map_or(0, |hash| hash.len()));
        for (field, _) in hash.into_iter().flat_map(|hash| hash.iter()) {
            context.reply.bulk(&field);
        }
        Ok(Flow::Continue)
    })
}

fn hvals(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        context.reply.array(hash.map_or(0, |hash| hash.len()));
        for (_, value) in hash.into_iter().flat_map(|hash| hash.iter()) {
            context.reply.bulk(&value);
        }
        Ok(Flow::Continue)
    })
}

fn hgetall(context: &mut Context<'_>) -> Outcome {
    read_hash(context, |context, hash| {
        context.reply.map(hash.map_or(0, |hash| hash.len()));
        for (field, value) in hash.into_iter().flat_map(|hash| hash.iter()) {
            context.reply.bulk(&field);
            context.reply.bulk(&value);
        }
        Ok(Flow::Continue)
    })
}

fn hincrby(context: &mut Context<'_>) -> Outcome {
    let increment = context.integer(3)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let sum = transaction.hash_add(key, context.word(2), increment)?;
    transaction.announce(EventClasses::HASH, "hincrby", key);
    context.commit(transaction);
    context.reply_integer(sum)
}

fn hincrbyfloat(context: &mut Context<'_>) -> Outcome {
    let increment = context.word(3);
    if !long_double::is_valid(increment) {
        return Err(WriteError::NotAFloat.into());
    }
    if !long_double::is_finite(increment) {
        return Err(Refusal::Fixed("ERR value is NaN or Infinity"));
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let sum = transaction.hash_add_float(key, context.word(2), increment)?;
    transaction.announce(EventClasses::HASH, "hincrbyfloat", key);
    context.commit(transaction);
    context.reply.bulk(&sum);
    Ok(Flow::Continue)
}

fn hrandfield(context: &mut Context<'_>) -> Outcome {
    if context.words() == 2 {
        return read_hash(context, |context, hash| {
            let fields = hash.map(|hash| hash.numbered());
            let field = fields.and_then(|fields| fields.get(context.session.random.usize(..fields.len())));
            context.reply.bulk_or_null(field.as_ref().map(|(field, _)| &**field));
            Ok(Flow::Continue)
        });
    }
    let count = random_count(context)?;
    let with_values = match context.words() {
        3 => false,
        4 if is_option(context.word(3), "withvalues") => true,
        _ => return Err(SYNTAX),
    };
    if with_values && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Refusal::Fixed("ERR value is out of range"));
    }
    read_hash(context, |context, hash| {
        let Some(hash) = hash else {
            context.reply.array(0);
            return Ok(Flow::Continue);
        };
        let fields = hash.numbered();
        let start = context.reply.bytes().len();
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count >= 0 {
            let positions = distinct_positions(&mut context.session.random, fields.len(), wanted);
            open_fields(context.reply, positions.len(), with_values);
            for (field, value) in positions.into_iter().filter_map(|at| fields.get(at)) {
                reply_field(context.reply, &field, with_values.then_some(&value));
            }
            return Ok(Flow::Continue);
        }
        open_fields(context.reply, wanted, with_values);
        for _ in 0..wanted {
            let at = context.session.random.usize(..fields.len());
            let (field, value) = fields.get(at).expect("a number below how many there are");
            reply_field(context.reply, &field, with_values.then_some(&value));
            check_reply_size(context.reply, start)?;
        }
        Ok(Flow::Continue)
    })
}

/// The count of HRANDFIELD and SRANDMEMBER: negative for fields that may come several times.
pub fn random_count(context: &Context<'_>) -> Result<i64, Refusal> {
    match context.integer(2)? {
        i64::MIN => Err(Refusal::Fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

/// Opens the reply: pairs are arrays of two in RESP3, and lie flat in RESP2.
fn open_fields(reply: &mut Reply, fields: usize, with_values: bool) {
    let flat = with_values && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { fields.saturating_mul(2) } else { fields });
}

fn reply_field(reply: &mut Reply, field: &[u8], value: Option<&[u8]>) {
    if value.is_some() && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(field);
    if let Some(value) = value {
        reply.bulk(value);
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn fields() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h a 1 b", "-ERR wrong number of arguments for 'hset' command\r\n"),
            ("hmset h a 1 b", "-ERR wrong number of arguments for 'hmset' command\r\n"),
            ("hset h a 1 b 2 a 3", ":2\r\n"),
            ("hmset h b 22", "+OK\r\n"),
            ("hsetnx h b 2", ":0\r\n"),
            ("hsetnx h c 333", ":1\r\n"),
            ("hget h a", "$1\r\n3\r\n"),
            ("hget h nosuch", "$-1\r\n"),
            ("hget nosuch a", "$-1\r\n"),
            ("hmget h a nosuch b", "*3\r\n$1\r\n3\r\n$-1\r\n$2\r\n22\r\n"),
            ("hmget nosuch a b", "*2\r\n$-1\r\n$-1\r\n"),
            ("hlen h", ":3\r\n"),
            ("hstrlen h c", ":3\r\n"),
            ("hexists h c", ":1\r\n"),
            ("hexists h d", ":0\r\n"),
            ("hkeys h", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("hvals h", "*3\r\n$1\r\n3\r\n$2\r\n22\r\n$3\r\n333\r\n"),
            ("hdel h a b nosuch", ":2\r\n"),
            ("hgetall h", "*2\r\n$1\r\nc\r\n$3\r\n333\r\n"),
            ("hdel h c", ":1\r\n"),
            ("exists h", ":0\r\n"),
            ("hgetall h", "*0\r\n"),
            ("hello 3 extra", "-ERR Syntax error in HELLO option 'extra'\r\n"),
            ("set s v", "+OK\r\n"),
            ("hget s a", WRONG_TYPE),
            ("hset s a b", WRONG_TYPE),
            ("hgetall s", WRONG_TYPE),
            ("hdel s a", WRONG_TYPE),
        ]);
    }

    #[test]
    fn numbers() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hincrby h n 5", ":5\r\n"),
            ("hincrby h n -7", ":-2\r\n"),
            ("hincrby h n x", "-ERR value is not an integer or out of range\r\n"),
            ("hset h t text m 9223372036854775807", ":2\r\n"),
            ("hincrby h t 1", "-ERR hash value is not an integer\r\n"),
            ("hincrby h m 1", "-ERR increment or decrement would overflow\r\n"),
            ("hincrbyfloat h n 0.5", "$4\r\n-1.5\r\n"),
            ("hincrbyfloat h t 1", "-ERR hash value is not a float\r\n"),
            ("hincrbyfloat h t x", "-ERR value is not a valid float\r\n"),
            ("hincrbyfloat h t inf", "-ERR value is NaN or Infinity\r\n"),
        ]);
    }

    #[test]
    fn random_fields() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hrandfield nosuch", "$-1\r\n"),
            ("hrandfield nosuch 5", "*0\r\n"),
            ("hset h a 1", ":1\r\n"),
            ("hrandfield h", "$1\r\na\r\n"),
            ("hrandfield h 0", "*0\r\n"),
            ("hrandfield h 5", "*1\r\n$1\r\na\r\n"),
            ("hrandfield h -2 withvalues", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("hrandfield h 1 foo", "-ERR syntax error\r\n"),
            ("hrandfield h x", "-ERR value is not an integer or out of range\r\n"),
            ("hrandfield h 9223372036854775807 withvalues", "-ERR value is out of range\r\n"),
            (
                "hrandfield h -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
            ),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[
            ("hrandfield h 5 withvalues", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("hgetall h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
        ]);
    }

    #[test]
    fn a_reply_without_end_is_refused() {
        let mut fixture = Fixture::new();
        fixture.run(&format!("hset h f {}", "x".repeat(1 << 20)));
        assert_eq!(
            fixture.run("hrandfield h -4611686018427387903 withvalues"),
            "-ERR the reply would be larger than 1 GB\r\n"
        );
    }
}
