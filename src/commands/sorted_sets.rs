//! Sorted sets: members and their scores. Ranges, and what several sorted sets are made into, have files of their own.

use smallvec::SmallVec;

use super::context::{Context, Outcome, Patience, Refusal, SYNTAX, check_reply_size, is_option};
use super::floats::parse_float;
use super::hashes::random_count;
use super::sampling::distinct_positions;
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, Handler, KeySpec};
use super::{Flow, wrong_arity};
use crate::effects::Score;
use crate::keyspace::{EventClasses, Key, Kind, SortedSetValue, Taken, Transaction, WriteError, WrongType, integer};
use crate::resp::{Protocol, Reply};

pub const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const ADD: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))];
pub const DELETE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::DELETE))];
const TAKE: &[KeySpec] = &[KeySpec::one(1, TAKES)];
const TAKES: Access = Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE);
const TAKE_FIRST: &[KeySpec] = &[KeySpec { access: TAKES, begin: 1, find: Find::Number, note: "" }];
const TAKE_LATER: &[KeySpec] = &[KeySpec { access: TAKES, begin: 2, find: Find::Number, note: "" }];
const TAKE_ANY: &[KeySpec] = &[KeySpec { access: TAKES, begin: 1, find: Find::Range { last: -2, step: 1 }, note: "" }];

const FAST: Flags = Flags::FAST;
const LOGARITHMIC: &str = "O(log(N)) with N members in the sorted set";
const PER_MEMBER: &str = "O(M*log(N)) with M members in the request and N in the sorted set";
const PER_POPPED: &str = "O(M*log(N)) with M members removed and N in the sorted set";

/// A command that reads one sorted set.
pub const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::SortedSet, name, arity, handler)
        .flags(Flags::READONLY)
        .categories(Categories::SORTED_SET)
        .keys(READ)
}

/// A command that changes a sorted set.
pub const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::SortedSet, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::SORTED_SET)
        .coordination(Coordination::Commutes)
}

/// A command that waits for a member to take.
const fn wait(name: &'static str, arity: isize, handler: Handler) -> Command {
    write(name, arity, handler).flags(Flags::BLOCKING).coordination(Coordination::Decides)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("zadd", -4, zadd).flags(FAST.with(Flags::DENYOOM)).keys(UPDATE).docs(
        "1.2.0",
        PER_MEMBER,
        "Adds members and changes scores",
    ),
    write("zincrby", 4, zincrby).flags(FAST.with(Flags::DENYOOM)).keys(ADD).docs(
        "1.2.0",
        LOGARITHMIC,
        "Adds to the score of a member",
    ),
    write("zrem", -3, zrem).flags(FAST).keys(DELETE).docs("1.2.0", PER_MEMBER, "Removes members"),
    read("zscore", 3, zscore).flags(FAST).docs("1.2.0", "O(1)", "Returns the score of a member"),
    read("zmscore", -3, zmscore).flags(FAST).docs("6.2.0", "O(N) with N members in the request", "Returns scores"),
    read("zcard", 2, zcard).flags(FAST).keys(LOOK).docs("1.2.0", "O(1)", "Returns how many members there are"),
    read("zrank", -3, zrank).flags(FAST).docs(
        "2.0.0",
        LOGARITHMIC,
        "Returns the place of a member, lowest score first",
    ),
    read("zrevrank", -3, zrevrank).flags(FAST).docs(
        "2.0.0",
        LOGARITHMIC,
        "Returns the place of a member, highest score first",
    ),
    write("zpopmin", -2, zpopmin).flags(FAST).keys(TAKE).coordination(Coordination::Decides).docs(
        "5.0.0",
        PER_POPPED,
        "Removes the members with the lowest scores and returns them",
    ),
    write("zpopmax", -2, zpopmax).flags(FAST).keys(TAKE).coordination(Coordination::Decides).docs(
        "5.0.0",
        PER_POPPED,
        "Removes the members with the highest scores and returns them",
    ),
    write("zmpop", -4, zmpop).flags(Flags::MOVABLEKEYS).keys(TAKE_FIRST).coordination(Coordination::Decides).docs(
        "7.0.0",
        "O(K) + O(M*log(N)) with K keys, M members removed and N in the sorted set",
        "Removes members from the first sorted set that has any and returns them",
    ),
    wait("bzpopmin", -3, bzpopmin).flags(Flags::NOSCRIPT.with(FAST)).keys(TAKE_ANY).docs(
        "5.0.0",
        LOGARITHMIC,
        "Removes the member with the lowest score from the first sorted set that has one, and waits for one",
    ),
    wait("bzpopmax", -3, bzpopmax).flags(Flags::NOSCRIPT.with(FAST)).keys(TAKE_ANY).docs(
        "5.0.0",
        LOGARITHMIC,
        "Removes the member with the highest score from the first sorted set that has one, and waits for one",
    ),
    wait("bzmpop", -5, bzmpop).flags(Flags::MOVABLEKEYS).keys(TAKE_LATER).docs(
        "7.0.0",
        "O(K) + O(M*log(N)) with K keys, M members removed and N in the sorted set",
        "Removes members from the first sorted set that has any, and waits for one",
    ),
    read("zrandmember", -2, zrandmember).hints(&["nondeterministic_output"]).docs(
        "6.2.0",
        "O(N) with N members returned",
        "Returns random members",
    ),
];

/// What is not a float.
pub const NOT_A_FLOAT: Refusal = Refusal::Fixed("ERR value is not a valid float");

/// A float among the arguments.
pub fn float(context: &Context<'_>, at: usize) -> Result<f64, Refusal> {
    parse_float(context.word(at)).ok_or(NOT_A_FLOAT)
}

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddOptions {
    /// Only members that are not there.
    pub absent: bool,
    /// Only members that are there.
    pub present: bool,
    greater: bool,
    lesser: bool,
    /// Count also those that are changed.
    pub changed: bool,
    add: bool,
}

/// What became of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    New,
    Changed,
    Same,
    /// The options forbid it.
    Refused,
}

fn zadd(context: &mut Context<'_>) -> Outcome {
    add_scores(context, AddOptions::default())
}

fn zincrby(context: &mut Context<'_>) -> Outcome {
    add_scores(context, AddOptions { add: true, ..AddOptions::default() })
}

fn add_scores(context: &mut Context<'_>, mut options: AddOptions) -> Outcome {
    let mut at = 2;
    while at < context.words() {
        let word = context.word(at);
        match () {
            () if is_option(word, "nx") => options.absent = true,
            () if is_option(word, "xx") => options.present = true,
            () if is_option(word, "ch") => options.changed = true,
            () if is_option(word, "incr") => options.add = true,
            () if is_option(word, "gt") => options.greater = true,
            () if is_option(word, "lt") => options.lesser = true,
            () => break,
        }
        at += 1;
    }
    let words = context.words() - at;
    if words == 0 || !words.is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let AddOptions { absent, present, greater, lesser, add, .. } = options;
    if absent && present {
        return Err(Refusal::Fixed("ERR XX and NX options at the same time are not compatible"));
    }
    if absent && (greater || lesser) || greater && lesser {
        return Err(Refusal::Fixed("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if add && words > 2 {
        return Err(Refusal::Fixed("ERR INCR option supports a single increment-element pair"));
    }
    let mut pairs: SmallVec<[_; 1]> = SmallVec::with_capacity(words / 2);
    for at in (at..context.words()).step_by(2) {
        pairs.push((Score::try_from(float(context, at)?).map_err(|_| NOT_A_FLOAT)?, context.word(at + 1)));
    }
    if add {
        return increment(context, options, float(context, at)?, pairs[0]);
    }
    add_members(context, options, &pairs)
}

/// Adds members, and replies with how many are new (or changed).
pub fn add_members(context: &mut Context<'_>, options: AddOptions, pairs: &[(Score, &[u8])]) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let (mut count, mut shows) = (0, false);
    for &(score, member) in pairs {
        let added = add_member(&mut transaction, key, options, score, member)?;
        shows |= matches!(added, Added::New | Added::Changed);
        count += usize::from(added == Added::New || options.changed && added == Added::Changed);
    }
    if shows {
        transaction.announce(EventClasses::SORTED_SET, "zadd", key);
    }
    context.commit(transaction);
    context.reply_count(count)
}

fn add_member(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    options: AddOptions,
    score: Score,
    member: &[u8],
) -> Result<Added, WrongType> {
    if (options.absent || options.present) && transaction.score(key, member)?.is_some() != options.present {
        return Ok(Added::Refused);
    }
    let former = match options {
        AddOptions { greater: true, .. } => transaction.score_raise(key, member, score)?,
        AddOptions { lesser: true, .. } => transaction.score_lower(key, member, score)?,
        _ => transaction.score_set(key, member, score)?,
    };
    Ok(match former {
        None => Added::New,
        Some(former) if former == score.get() => Added::Same,
        Some(former) if options.greater && score.get() < former || options.lesser && score.get() > former => {
            Added::Refused
        }
        Some(_) => Added::Changed,
    })
}

/// ZADD INCR and ZINCRBY: replies with the new score, or null where the options forbid it. `number` is the increment as
/// the client gave it: the reply, unlike the score, has the sign of a zero.
fn increment(context: &mut Context<'_>, options: AddOptions, number: f64, (by, member): (Score, &[u8])) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let former = transaction.score(key, member)?;
    let sum = former.map_or(number, |former| former + number);
    let allowed = match former {
        None => !options.present,
        Some(_) if options.absent => false,
        Some(_) if sum.is_nan() => return Err(WriteError::ScoreNotANumber.into()),
        Some(former) => !(options.greater && sum <= former || options.lesser && sum >= former),
    };
    if !allowed {
        context.reply.null();
        return Ok(Flow::Continue);
    }
    transaction.score_add(key, member, by)?;
    if former != Some(sum) {
        transaction.announce(EventClasses::SORTED_SET, "zincr", key);
    }
    context.commit(transaction);
    context.reply.double(sum);
    Ok(Flow::Continue)
}

fn zrem(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let mut removed = 0;
    for member in context.arguments.from(2).iter() {
        removed += usize::from(transaction.score_remove(key, member)?);
    }
    if removed > 0 {
        transaction.announce_taken(EventClasses::SORTED_SET, "zrem", key);
    }
    context.commit(transaction);
    context.reply_count(removed)
}

/// Reads the sorted set at the first key, if there is one.
pub fn read_sorted_set(
    context: &mut Context<'_>,
    read: impl FnOnce(&mut Context<'_>, Option<&SortedSetValue>) -> Outcome,
) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let set = transaction.sorted_set(key)?;
    context.count_read(key, set.is_some());
    read(context, set)
}

fn reply_score(reply: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

fn zscore(context: &mut Context<'_>) -> Outcome {
    read_sorted_set(context, |context, set| {
        reply_score(context.reply, set.and_then(|set| set.score(context.arguments.get(2)?)));
        Ok(Flow::Continue)
    })
}

fn zmscore(context: &mut Context<'_>) -> Outcome {
    read_sorted_set(context, |context, set| {
        context.reply.array(context.words() - 2);
        for member in context.arguments.from(2).iter() {
            reply_score(context.reply, set.and_then(|set| set.score(member)));
        }
        Ok(Flow::Continue)
    })
}

fn zcard(context: &mut Context<'_>) -> Outcome {
    read_sorted_set(context, |context, set| context.reply_count(set.map_or(0, SortedSetValue::len)))
}

fn zrank(context: &mut Context<'_>) -> Outcome {
    rank(context, false)
}

fn zrevrank(context: &mut Context<'_>) -> Outcome {
    rank(context, true)
}

fn rank(context: &mut Context<'_>, reverse: bool) -> Outcome {
    let with_score = match context.words() {
        3 => false,
        4 if is_option(context.word(3), "withscore") => true,
        4 => return Err(SYNTAX),
        _ => return Err(wrong_arity(context.entry)),
    };
    read_sorted_set(context, |context, set| {
        let member = context.word(2);
        let found = set.and_then(|set| {
            let rank = set.rank(member)?;
            Some((if reverse { set.len() - 1 - rank } else { rank }, set.score(member)?))
        });
        match found {
            None if with_score => context.reply.null_array(),
            None => context.reply.null(),
            Some((rank, _)) if !with_score => context.reply.count(rank),
            Some((rank, score)) => {
                context.reply.array(2);
                context.reply.count(rank);
                context.reply.double(score);
            }
        }
        Ok(Flow::Continue)
    })
}

/// Opens an array of members with scores: they lie flat in RESP2, and are arrays of two in RESP3.
pub fn open_scored(reply: &mut Reply, members: usize, with_scores: bool) {
    let flat = with_scores && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { members.saturating_mul(2) } else { members });
}

/// One member of such an array.
pub fn reply_scored(reply: &mut Reply, member: &[u8], score: Option<f64>) {
    if score.is_some() && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(member);
    if let Some(score) = score {
        reply.double(score);
    }
}

/// Members with their scores, apart from where they came from.
pub type Scored = Vec<(Box<[u8]>, f64)>;

/// From which end members are popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lowest,
    Highest,
}

/// Removes up to `count` members from an end; returns them, that at the end first.
fn pop(transaction: &mut Transaction<'_>, key: Key<'_>, end: End, count: usize) -> Result<Taken, WrongType> {
    let mut popped = transaction.score_take(key, |set| {
        let (length, count) = (set.len(), count.min(set.len()));
        if end == End::Lowest { 0..count } else { length - count..length }
    })?;
    if end == End::Highest {
        popped.reverse();
    }
    if !popped.is_empty() {
        let name = if end == End::Lowest { "zpopmin" } else { "zpopmax" };
        transaction.announce_taken(EventClasses::SORTED_SET, name, key);
    }
    Ok(popped)
}

fn zpopmin(context: &mut Context<'_>) -> Outcome {
    pop_one_key(context, End::Lowest)
}

fn zpopmax(context: &mut Context<'_>) -> Outcome {
    pop_one_key(context, End::Highest)
}

fn pop_one_key(context: &mut Context<'_>, end: End) -> Outcome {
    if context.words() > 3 {
        return Err(SYNTAX);
    }
    let count = context.optional_count(2)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let popped = pop(&mut transaction, key, end, count.unwrap_or(1))?;
    context.commit(transaction);
    if count.is_some() {
        open_scored(context.reply, popped.len(), true);
        for (member, score) in &popped {
            reply_scored(context.reply, member, Some(*score));
        }
        return Ok(Flow::Continue);
    }
    context.reply.array(2 * popped.len());
    for (member, score) in &popped {
        context.reply.bulk(member);
        context.reply.double(*score);
    }
    Ok(Flow::Continue)
}

/// Pops from the first of these sorted sets that is there. `show` writes its key and what was popped.
fn pop_first(
    context: &mut Context<'_>,
    keys: &[Key<'_>],
    (end, count): (End, usize),
    patience: Patience,
    show: fn(&mut Reply, Key<'_>, &Taken),
) -> Outcome {
    let mut transaction = context.lock_keys(keys);
    for &key in keys {
        let there = context.found(transaction.sorted_set(key).map(|set| set.is_some()))?;
        if !there || patience != Patience::None && !context.may_take(&transaction, key, Kind::SortedSet) {
            continue;
        }
        let popped = pop(&mut transaction, key, end, count)?;
        context.commit(transaction);
        show(context.reply, key, &popped);
        return Ok(Flow::Continue);
    }
    context.find_nothing(transaction, keys, Kind::SortedSet, patience, Reply::null_array)
}

/// The key, then each member with its score as a pair.
fn show_pairs(reply: &mut Reply, key: Key<'_>, popped: &Taken) {
    reply.array(2);
    reply.bulk(key.bytes);
    reply.array(popped.len());
    for (member, score) in popped {
        reply.array(2);
        reply.bulk(member);
        reply.double(*score);
    }
}

/// The key, the one member and its score.
fn show_flat(reply: &mut Reply, key: Key<'_>, popped: &Taken) {
    reply.array(1 + 2 * popped.len());
    reply.bulk(key.bytes);
    for (member, score) in popped {
        reply.bulk(member);
        reply.double(*score);
    }
}

fn pop_any(context: &mut Context<'_>, end: End) -> Outcome {
    let last = context.words() - 1;
    let patience = Patience::Waits(context.timeout(last)?);
    let keys = context.keys(1..last);
    pop_first(context, &keys, (end, 1), patience, show_flat)
}

fn bzpopmin(context: &mut Context<'_>) -> Outcome {
    pop_any(context, End::Lowest)
}

fn bzpopmax(context: &mut Context<'_>) -> Outcome {
    pop_any(context, End::Highest)
}

fn zmpop(context: &mut Context<'_>) -> Outcome {
    let (keys, popped) = parse_mpop(context, 1)?;
    pop_first(context, &keys, popped, Patience::None, show_pairs)
}

fn bzmpop(context: &mut Context<'_>) -> Outcome {
    let (keys, popped) = parse_mpop(context, 2)?;
    let patience = Patience::Waits(context.timeout(1)?);
    pop_first(context, &keys, popped, patience, show_pairs)
}

/// The keys, the end and the count of ZMPOP, whose number of keys stands at `begin`.
fn parse_mpop<'c>(context: &Context<'c>, begin: usize) -> Result<(Vec<Key<'c>>, (End, usize)), Refusal> {
    let positive = |at: usize| {
        integer::parse(context.word(at)).and_then(|number| usize::try_from(number).ok()).filter(|&number| number > 0)
    };
    let number = positive(begin).ok_or(Refusal::Fixed("ERR numkeys should be greater than 0"))?;
    let end_at = number.checked_add(begin + 1).filter(|&at| at < context.words()).ok_or(SYNTAX)?;
    let end = match context.word(end_at) {
        word if is_option(word, "min") => End::Lowest,
        word if is_option(word, "max") => End::Highest,
        _ => return Err(SYNTAX),
    };
    let mut count = None;
    let mut at = end_at + 1;
    while at < context.words() {
        if count.is_some() || !is_option(context.word(at), "count") || at + 1 == context.words() {
            return Err(SYNTAX);
        }
        count = Some(positive(at + 1).ok_or(Refusal::Fixed("ERR count should be greater than 0"))?);
        at += 2;
    }
    Ok((context.keys(begin + 1..end_at), (end, count.unwrap_or(1))))
}

fn zrandmember(context: &mut Context<'_>) -> Outcome {
    if context.words() == 2 {
        return read_sorted_set(context, |context, set| {
            let member = set.and_then(|set| set.at(context.session.random.usize(..set.len())));
            context.reply.bulk_or_null(member.as_ref().map(|(member, _)| &**member));
            Ok(Flow::Continue)
        });
    }
    let count = random_count(context)?;
    let with_scores = match context.words() {
        3 => false,
        4 if is_option(context.word(3), "withscores") => true,
        _ => return Err(SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(Refusal::Fixed("ERR value is out of range"));
    }
    read_sorted_set(context, |context, set| {
        let Some(set) = set else {
            context.reply.array(0);
            return Ok(Flow::Continue);
        };
        let start = context.reply.bytes().len();
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if count >= 0 {
            let ranks = distinct_positions(&mut context.session.random, set.len(), wanted);
            open_scored(context.reply, ranks.len(), with_scores);
            for (member, score) in ranks.into_iter().filter_map(|rank| set.at(rank)) {
                reply_scored(context.reply, &member, with_scores.then_some(score));
            }
            return Ok(Flow::Continue);
        }
        open_scored(context.reply, wanted, with_scores);
        for _ in 0..wanted {
            let rank = context.session.random.usize(..set.len());
            let (member, score) = set.at(rank).expect("a rank below the length");
            reply_scored(context.reply, &member, with_scores.then_some(score));
            check_reply_size(context.reply, start)?;
        }
        Ok(Flow::Continue)
    })
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn scores() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("zadd z 1 a 2 b 1.5 a", ":2\r\n"),
            ("zscore z a", "$3\r\n1.5\r\n"),
            ("zscore z nosuch", "$-1\r\n"),
            ("zmscore z a x b", "*3\r\n$3\r\n1.5\r\n$-1\r\n$1\r\n2\r\n"),
            ("zadd z ch 1.5 a 3 b 4 c", ":2\r\n"),
            ("zadd z nx 9 a 5 d", ":1\r\n"),
            ("zadd z xx ch 9 nosuch 6 d", ":1\r\n"),
            ("zadd z gt ch 1 d 7 c", ":1\r\n"),
            ("zadd z lt ch 9 d 5 c", ":1\r\n"),
            ("zmscore z c d", "*2\r\n$1\r\n5\r\n$1\r\n6\r\n"),
            ("zadd z incr 0.1 a", "$18\r\n1.6000000000000001\r\n"),
            ("zadd z gt incr -1 a", "$-1\r\n"),
            ("zadd z nx incr 1 a", "$-1\r\n"),
            ("zincrby z -inf i", "$4\r\n-inf\r\n"),
            ("zincrby z inf i", "-ERR resulting score is not a number (NaN)\r\n"),
            ("zincrby z -0 o", "$2\r\n-0\r\n"),
            ("zscore z o", "$1\r\n0\r\n"),
            ("zrem z o", ":1\r\n"),
            ("zincrby z x i", "-ERR value is not a valid float\r\n"),
            ("zadd z nan a", "-ERR value is not a valid float\r\n"),
            ("zadd z 1 a 2", "-ERR syntax error\r\n"),
            ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible\r\n"),
            ("zadd z gt lt 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"),
            ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair\r\n"),
            ("zcard z", ":5\r\n"),
            ("zrank z b", ":2\r\n"),
            ("zrevrank z b", ":2\r\n"),
            ("zrank z b withscore", "*2\r\n:2\r\n$1\r\n3\r\n"),
            ("zrank z x withscore", "*-1\r\n"),
            ("zrank z b x", "-ERR syntax error\r\n"),
            ("zrem z a b x", ":2\r\n"),
            ("set s v", "+OK\r\n"),
            ("zadd s 1 a", WRONG_TYPE),
            ("zscore s a", WRONG_TYPE),
            ("type z", "+zset\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[("zscore z d", ",6\r\n"), ("zscore z i", ",-inf\r\n"), ("zscore z x", "_\r\n")]);
    }

    #[test]
    fn popping() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("zpopmin nosuch", "*0\r\n"),
            ("zadd z 1 a 2 b 3 c 4 d", ":4\r\n"),
            ("zpopmin z", "*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("zpopmax z 2", "*4\r\n$1\r\nd\r\n$1\r\n4\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("zpopmax z -1", "-ERR value is out of range, must be positive\r\n"),
            ("zmpop 2 nosuch z min count 5", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"),
            ("exists z", ":0\r\n"),
            ("zmpop 1 z max", "*-1\r\n"),
            ("zmpop 0 z max", "-ERR numkeys should be greater than 0\r\n"),
            ("zmpop 2 z max", "-ERR syntax error\r\n"),
            ("zmpop 1 z max count 0", "-ERR count should be greater than 0\r\n"),
        ]);
    }
}
