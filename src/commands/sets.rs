//! Sets.

use smallvec::{SmallVec, smallvec};

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, check_reply_size, is_option};
use super::hashes::random_count;
use super::sampling::distinct_positions;
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
use crate::keyspace::{EventClasses, Key, SetValue, Transaction, WrongType, integer};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const INSERT: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::INSERT))];
const DELETE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::DELETE))];
const TAKE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE))];
const MOVE: &[KeySpec] = &[
    KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE)),
    KeySpec::one(2, Access::READ_WRITE.with(Access::INSERT)),
];
const READ_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 1, Access::READ.with(Access::ACCESS))];
const STORE: &[KeySpec] = &[
    KeySpec::one(1, Access::OVERWRITE.with(Access::UPDATE)),
    KeySpec::to_the_end(2, 1, Access::READ.with(Access::ACCESS)),
];
const STORE_INTERSECTION: &[KeySpec] = &[
    KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE)),
    KeySpec::to_the_end(2, 1, Access::READ.with(Access::ACCESS)),
];
const NUMBERED: &[KeySpec] =
    &[KeySpec { access: Access::READ.with(Access::ACCESS), begin: 1, find: Find::Number, note: "" }];

const FAST: Flags = Flags::FAST;
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];
const RANDOM: &[&str] = &["nondeterministic_output"];
const PER_MEMBER: &str = "O(N) with N members in the request";
const INTERSECTION: &str = "O(N*M) with N members in the smallest of M sets";
const ALL_MEMBERS: &str = "O(N) with N members in all the sets";

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Set, name, arity, handler).flags(Flags::READONLY).categories(Categories::SET).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Set, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::SET)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("sadd", -3, sadd).flags(FAST.with(Flags::DENYOOM)).keys(INSERT).docs("1.0.0", PER_MEMBER, "Adds members"),
    write("srem", -3, srem).flags(FAST).keys(DELETE).docs("1.0.0", PER_MEMBER, "Removes members"),
    read("sismember", 3, sismember).flags(FAST).keys(LOOK).docs("1.0.0", "O(1)", "Says whether it is a member"),
    read("smismember", -3, smismember).flags(FAST).docs("6.2.0", PER_MEMBER, "Says which are members"),
    read("scard", 2, scard).flags(FAST).keys(LOOK).docs("1.0.0", "O(1)", "Returns how many members there are"),
    read("smembers", 2, smembers).hints(ANY_ORDER).docs(
        "1.0.0",
        "O(N) with N members in the set",
        "Returns all members",
    ),
    write("smove", 4, smove).flags(FAST).keys(MOVE).coordination(Coordination::Decides).docs(
        "1.0.0",
        "O(1)",
        "Moves a member to another set",
    ),
    write("spop", -2, spop).flags(FAST).keys(TAKE).hints(RANDOM).coordination(Coordination::Decides).docs(
        "1.0.0",
        "O(N) with N members returned",
        "Removes random members and returns them",
    ),
    read("srandmember", -2, srandmember).hints(RANDOM).docs(
        "1.0.0",
        "O(N) with N members returned",
        "Returns random members",
    ),
    read("sinter", -2, sinter).keys(READ_ALL).hints(ANY_ORDER).docs("1.0.0", INTERSECTION, "Intersects sets"),
    read("sintercard", -3, sintercard).flags(Flags::MOVABLEKEYS).keys(NUMBERED).docs(
        "7.0.0",
        INTERSECTION,
        "Returns how many members an intersection has",
    ),
    write("sinterstore", -3, sinterstore).flags(Flags::DENYOOM).keys(STORE_INTERSECTION).docs(
        "1.0.0",
        INTERSECTION,
        "Intersects sets and stores the result",
    ),
    read("sunion", -2, sunion).keys(READ_ALL).hints(ANY_ORDER).docs("1.0.0", ALL_MEMBERS, "Unites sets"),
    write("sunionstore", -3, sunionstore).flags(Flags::DENYOOM).keys(STORE).docs(
        "1.0.0",
        ALL_MEMBERS,
        "Unites sets and stores the result",
    ),
    read("sdiff", -2, sdiff).keys(READ_ALL).hints(ANY_ORDER).docs(
        "1.0.0",
        ALL_MEMBERS,
        "Returns what is in the first set and in no other",
    ),
    write("sdiffstore", -3, sdiffstore).flags(Flags::DENYOOM).keys(STORE).docs(
        "1.0.0",
        ALL_MEMBERS,
        "Stores what is in the first set and in no other",
    ),
];

fn sadd(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let mut added = 0;
    for member in context.arguments.from(2).iter() {
        added += usize::from(transaction.set_add(key, member)?);
    }
    if added > 0 {
        transaction.announce(EventClasses::SET, "sadd", key);
    }
    context.commit(transaction);
    context.reply_count(added)
}

fn srem(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let mut removed = 0;
    for member in context.arguments.from(2).iter() {
        removed += usize::from(transaction.set_remove(key, member)?);
    }
    if removed > 0 {
        transaction.announce_taken(EventClasses::SET, "srem", key);
    }
    context.commit(transaction);
    context.reply_count(removed)
}

/// Reads the set at the first key, if there is one.
fn read_set(context: &mut Context<'_>, read: impl FnOnce(&mut Context<'_>, Option<&SetValue>) -> Outcome) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let set = transaction.set(key)?;
    context.count_read(key, set.is_some());
    read(context, set)
}

fn sismember(context: &mut Context<'_>) -> Outcome {
    read_set(context, |context, set| {
        let there = set.is_some_and(|set| set.contains(context.word(2)));
        context.reply_flag(there)
    })
}

fn smismember(context: &mut Context<'_>) -> Outcome {
    read_set(context, |context, set| {
        context.reply.array(context.words() - 2);
        for member in context.arguments.from(2).iter() {
            context.reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
        }
        Ok(Flow::Continue)
    })
}

fn scard(context: &mut Context<'_>) -> Outcome {
    read_set(context, |context, set| context.reply_count(set.map_or(0, SetValue::len)))
}

fn smembers(context: &mut Context<'_>) -> Outcome {
    read_set(context, |context, set| {
        context.reply.set(set.map_or(0, SetValue::len));
        for member in set.into_iter().flat_map(SetValue::iter) {
            context.reply.bulk(&member);
        }
        Ok(Flow::Continue)
    })
}

fn smove(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..3);
    let (from, to, member) = (keys[0], keys[1], context.word(3));
    let mut transaction = context.lock_keys(&keys);
    let Some(source) = transaction.set(from)? else { return context.reply_integer(0) };
    let there = source.contains(member);
    transaction.set(to)?;
    if there && from.bytes != to.bytes {
        transaction.set_remove(from, member)?;
        transaction.announce_taken(EventClasses::SET, "srem", from);
        if transaction.set_add(to, member)? {
            transaction.announce(EventClasses::SET, "sadd", to);
        }
        context.commit(transaction);
    }
    context.reply_flag(there)
}

fn spop(context: &mut Context<'_>) -> Outcome {
    if context.words() > 3 {
        return Err(SYNTAX);
    }
    let count = context.optional_count(2)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let set = transaction.set(key)?;
    let length = set.map_or(0, SetValue::len);
    let random = &mut context.session.random;
    let positions: SmallVec<[usize; 1]> = match count {
        // A bundle foresees this choice.
        None if length > 1 => smallvec![random.usize(..length)],
        count => distinct_positions(random, length, count.unwrap_or(1)).into(),
    };
    let members: SmallVec<[Box<[u8]>; 1]> = match set {
        None => SmallVec::new(),
        Some(set) => positions.into_iter().filter_map(|at| set.at(at)).map(Into::into).collect(),
    };
    if members.len() == length {
        transaction.remove(key);
    } else {
        for member in &members {
            transaction.set_remove(key, member)?;
        }
    }
    if !members.is_empty() {
        transaction.announce_taken(EventClasses::SET, "spop", key);
    }
    context.commit(transaction);
    match count {
        None => context.reply.bulk_or_null(members.first().map(|member| &**member)),
        Some(_) => reply_set(context, &members),
    }
    Ok(Flow::Continue)
}

fn reply_set(context: &mut Context<'_>, members: &[Box<[u8]>]) {
    context.reply.set(members.len());
    for member in members {
        context.reply.bulk(member);
    }
}

fn srandmember(context: &mut Context<'_>) -> Outcome {
    let count = match context.words() {
        2 => {
            return read_set(context, |context, set| {
                let member = set.and_then(|set| set.at(context.session.random.usize(..set.len())));
                context.reply.bulk_or_null(member.as_deref());
                Ok(Flow::Continue)
            });
        }
        3 => random_count(context)?,
        _ => return Err(SYNTAX),
    };
    read_set(context, |context, set| {
        let Some(set) = set else {
            context.reply.array(0);
            return Ok(Flow::Continue);
        };
        let start = context.reply.bytes().len();
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count >= 0 {
            let positions = distinct_positions(&mut context.session.random, set.len(), wanted);
            context.reply.array(positions.len());
            for member in positions.into_iter().filter_map(|at| set.at(at)) {
                context.reply.bulk(&member);
            }
            return Ok(Flow::Continue);
        }
        context.reply.array(wanted);
        for _ in 0..wanted {
            let at = context.session.random.usize(..set.len());
            context.reply.bulk(&set.at(at).expect("a position below the length"));
            check_reply_size(context.reply, start)?;
        }
        Ok(Flow::Continue)
    })
}

/// What several sets are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combination {
    Intersection,
    Union,
    Difference,
}

/// The members of the combined sets, without repetition. A key that is absent is an empty set.
fn combine(
    context: &Context<'_>,
    transaction: &mut Transaction<'_>,
    keys: &[Key<'_>],
    combination: Combination,
) -> Result<Vec<Box<[u8]>>, WrongType> {
    let mut sizes = Vec::with_capacity(keys.len());
    for &key in keys {
        let size = transaction.set(key)?.map(SetValue::len);
        context.count_read(key, size.is_some());
        sizes.push(size.unwrap_or(0));
    }
    let members = |set: Option<&SetValue>| -> Vec<Box<[u8]>> {
        set.into_iter().flat_map(SetValue::iter).map(Into::into).collect()
    };
    match combination {
        Combination::Union => {
            let mut all = Vec::with_capacity(sizes.iter().sum());
            for &key in keys {
                all.append(&mut members(transaction.set(key)?));
            }
            all.sort_unstable();
            all.dedup();
            Ok(all)
        }
        Combination::Intersection => {
            // The smallest set bounds the work, and the next smallest ones leave the least of it.
            let mut by_size: Vec<usize> = (0..keys.len()).collect();
            by_size.sort_by_key(|&at| sizes[at]);
            let mut common = members(transaction.set(keys[by_size[0]])?);
            for &at in &by_size[1..] {
                let other = transaction.set(keys[at])?;
                common.retain(|member| other.is_some_and(|other| other.contains(member)));
            }
            Ok(common)
        }
        Combination::Difference => {
            let mut rest = members(transaction.set(keys[0])?);
            for &key in &keys[1..] {
                if let Some(other) = transaction.set(key)? {
                    rest.retain(|member| !other.contains(member));
                }
            }
            Ok(rest)
        }
    }
}

fn reply_combined(context: &mut Context<'_>, combination: Combination) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let members = combine(context, &mut transaction, &keys, combination)?;
    drop(transaction);
    reply_set(context, &members);
    Ok(Flow::Continue)
}

fn store_combined(context: &mut Context<'_>, combination: Combination, event: &'static str) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let members = combine(context, &mut transaction, &keys[1..], combination)?;
    let existed = transaction.remove(keys[0]);
    for member in &members {
        transaction.set_add(keys[0], member)?;
    }
    transaction.announce_stored(EventClasses::SET, event, keys[0], existed);
    context.commit(transaction);
    context.reply_count(members.len())
}

fn sinter(context: &mut Context<'_>) -> Outcome {
    reply_combined(context, Combination::Intersection)
}

fn sunion(context: &mut Context<'_>) -> Outcome {
    reply_combined(context, Combination::Union)
}

fn sdiff(context: &mut Context<'_>) -> Outcome {
    reply_combined(context, Combination::Difference)
}

fn sinterstore(context: &mut Context<'_>) -> Outcome {
    store_combined(context, Combination::Intersection, "sinterstore")
}

fn sunionstore(context: &mut Context<'_>) -> Outcome {
    store_combined(context, Combination::Union, "sunionstore")
}

fn sdiffstore(context: &mut Context<'_>) -> Outcome {
    store_combined(context, Combination::Difference, "sdiffstore")
}

fn sintercard(context: &mut Context<'_>) -> Outcome {
    let number = integer::parse(context.word(1)).and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|&number| number > 0).ok_or(Refusal::Fixed("ERR numkeys should be greater than 0"))?;
    if number > context.words() - 2 {
        return Err(Refusal::Fixed("ERR Number of keys can't be greater than number of args"));
    }
    let mut limit = 0;
    let mut at = 2 + number;
    while at < context.words() {
        if !is_option(context.word(at), "limit") || at + 1 == context.words() {
            return Err(SYNTAX);
        }
        let value = integer::parse(context.word(at + 1)).and_then(|value| usize::try_from(value).ok());
        limit = value.ok_or(Refusal::Fixed("ERR LIMIT can't be negative"))?;
        at += 2;
    }
    let keys = context.keys(2..2 + number);
    let mut transaction = context.lock_keys(&keys);
    let common = combine(context, &mut transaction, &keys, Combination::Intersection)?.len();
    context.reply_count(if limit > 0 { common.min(limit) } else { common })
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn members() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("sadd s a b a", ":2\r\n"),
            ("sadd s c", ":1\r\n"),
            ("scard s", ":3\r\n"),
            ("scard nosuch", ":0\r\n"),
            ("sismember s a", ":1\r\n"),
            ("sismember nosuch a", ":0\r\n"),
            ("smismember s a x b", "*3\r\n:1\r\n:0\r\n:1\r\n"),
            ("smismember nosuch a b", "*2\r\n:0\r\n:0\r\n"),
            ("smembers s", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("srem s a x", ":1\r\n"),
            ("smove s t b", ":1\r\n"),
            ("smove s t b", ":0\r\n"),
            ("smove s s c", ":1\r\n"),
            ("smove s s x", ":0\r\n"),
            ("set n 1", "+OK\r\n"),
            ("smove s n c", WRONG_TYPE),
            ("smove n s c", WRONG_TYPE),
            ("smove nosuch n c", ":0\r\n"),
            ("smove s t c", ":1\r\n"),
            ("exists s", ":0\r\n"),
            ("sadd n a", WRONG_TYPE),
            ("smembers n", WRONG_TYPE),
        ]);
    }

    #[test]
    fn random_members() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("spop nosuch", "$-1\r\n"),
            ("spop nosuch 1", "*0\r\n"),
            ("srandmember nosuch", "$-1\r\n"),
            ("srandmember nosuch 1", "*0\r\n"),
            ("sadd s a", ":1\r\n"),
            ("srandmember s", "$1\r\na\r\n"),
            ("srandmember s 5", "*1\r\n$1\r\na\r\n"),
            ("srandmember s -2", "*2\r\n$1\r\na\r\n$1\r\na\r\n"),
            ("srandmember s 1 2", "-ERR syntax error\r\n"),
            ("srandmember s x", "-ERR value is not an integer or out of range\r\n"),
            ("spop s 0", "*0\r\n"),
            ("spop s -1", "-ERR value is out of range, must be positive\r\n"),
            ("spop s x", "-ERR value is out of range, must be positive\r\n"),
            ("spop s 1 2", "-ERR syntax error\r\n"),
            ("spop s", "$1\r\na\r\n"),
            ("exists s", ":0\r\n"),
        ]);
        for number in 0..100 {
            fixture.run(&format!("sadd s {number}"));
        }
        assert!(fixture.run("spop s 40").starts_with("*40\r\n"));
        fixture.expect(&[("scard s", ":60\r\n")]);
        assert!(fixture.run("spop s 99").starts_with("*60\r\n"));
        fixture.expect(&[("exists s", ":0\r\n"), ("set n 1", "+OK\r\n"), ("spop n", WRONG_TYPE)]);
    }

    #[test]
    fn combinations() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("sadd a 1 2 3", ":3\r\n"),
            ("sadd b 2 3 4", ":3\r\n"),
            ("set n 1", "+OK\r\n"),
            ("sinter a b", "*2\r\n$1\r\n2\r\n$1\r\n3\r\n"),
            ("sinter a nosuch", "*0\r\n"),
            ("sunion a b nosuch", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n"),
            ("sdiff a b", "*1\r\n$1\r\n1\r\n"),
            ("sdiff a nosuch", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"),
            ("sdiff a a", "*0\r\n"),
            ("sinter nosuch n", WRONG_TYPE),
            ("sinterstore d nosuch n", WRONG_TYPE),
            ("sunionstore n a b", ":4\r\n"),
            ("type n", "+set\r\n"),
            ("sdiffstore a a b", ":1\r\n"),
            ("smembers a", "*1\r\n$1\r\n1\r\n"),
            ("sinterstore n a b", ":0\r\n"),
            ("exists n", ":0\r\n"),
            ("sintercard 2 b b", ":3\r\n"),
            ("sintercard 2 b b limit 2", ":2\r\n"),
            ("sintercard 2 b b limit 0", ":3\r\n"),
            ("sintercard 0 a", "-ERR numkeys should be greater than 0\r\n"),
            ("sintercard 2 a", "-ERR Number of keys can't be greater than number of args\r\n"),
            ("sintercard 1 a limit -1", "-ERR LIMIT can't be negative\r\n"),
            ("sintercard 1 a limit", "-ERR syntax error\r\n"),
            ("sintercard 1 a foo 1", "-ERR syntax error\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[("sinter a a", "~1\r\n$1\r\n1\r\n"), ("spop a 5", "~1\r\n$1\r\n1\r\n")]);
    }
}
