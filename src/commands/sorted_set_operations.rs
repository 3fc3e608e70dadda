//! What several sorted sets are made into: unions, intersections, differences. Sets count as sorted sets whose members
//! all have the score 1.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Flow;
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::floats::parse_float;
use super::sorted_set_ranges::store;
use super::sorted_sets::{Scored, open_scored, read, reply_scored, write};
use super::spec::{Access, Command, Find, Flags, KeySpec};
use crate::keyspace::{Key, Kind, Transaction, WrongType, integer};

const NUMBERED: &[KeySpec] =
    &[KeySpec { access: Access::READ.with(Access::ACCESS), begin: 1, find: Find::Number, note: "" }];
const STORE: &[KeySpec] = &[
    KeySpec::one(1, Access::OVERWRITE.with(Access::UPDATE)),
    KeySpec { access: Access::READ.with(Access::ACCESS), begin: 2, find: Find::Number, note: "" },
];
const UNION: &str = "O(N)+O(M*log(M)) with N members in all the sorted sets and M in the result";
const INTERSECTION: &str = "O(N*K)+O(M*log(M)) with N members in the smallest of K sorted sets and M in the result";
const DIFFERENCE: &str = "O(L+(N-K)*log(N)) with L members in all the sorted sets, N in the first and K in the result";
const CARDINALITY: &str = "O(N*K) with N members in the smallest of K sorted sets";

const MOVABLE: Flags = Flags::MOVABLEKEYS;
const STORING: Flags = Flags::MOVABLEKEYS.with(Flags::DENYOOM);

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    read("zunion", -3, zunion).flags(MOVABLE).keys(NUMBERED).docs("6.2.0", UNION, "Unites sorted sets"),
    read("zinter", -3, zinter).flags(MOVABLE).keys(NUMBERED).docs("6.2.0", INTERSECTION, "Intersects sorted sets"),
    read("zdiff", -3, zdiff).flags(MOVABLE).keys(NUMBERED).docs(
        "6.2.0",
        DIFFERENCE,
        "Returns what is in the first sorted set and in no other",
    ),
    read("zintercard", -3, zintercard).flags(MOVABLE).keys(NUMBERED).docs(
        "7.0.0",
        CARDINALITY,
        "Returns how many members an intersection has",
    ),
    write("zunionstore", -4, zunionstore).flags(STORING).keys(STORE).docs(
        "2.0.0",
        UNION,
        "Unites sorted sets and stores the result",
    ),
    write("zinterstore", -4, zinterstore).flags(STORING).keys(STORE).docs(
        "2.0.0",
        INTERSECTION,
        "Intersects sorted sets and stores the result",
    ),
    write("zdiffstore", -4, zdiffstore).flags(STORING).keys(STORE).docs(
        "6.2.0",
        DIFFERENCE,
        "Stores what is in the first sorted set and in no other",
    ),
];

/// What several sorted sets are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combination {
    Union,
    Intersection,
    Difference,
}

/// What becomes of a member's scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            Aggregate::Sum => number(one + other),
            Aggregate::Min if other < one => other,
            Aggregate::Max if other > one => other,
            Aggregate::Min | Aggregate::Max => one,
        }
    }
}

/// What is not a number (0 times ∞, ∞ and -∞) is 0.
fn number(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// Options of a combination.
struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

/// Where the request's result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Reply,
    Store,
    Count,
}

fn parse_options(
    context: &Context<'_>,
    from: usize,
    number: usize,
    combination: Combination,
    form: Form,
) -> Result<Options, Refusal> {
    let mut options = Options { weights: vec![1.0; number], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    let weighs = combination != Combination::Difference && form != Form::Count;
    let mut at = from;
    while at < context.words() {
        let (word, left) = (context.word(at), context.words() - at);
        if weighs && left > number && is_option(word, "weights") {
            for (place, weight) in options.weights.iter_mut().enumerate() {
                let parsed = parse_float(context.word(at + 1 + place));
                *weight = parsed.ok_or(Refusal::Fixed("ERR weight value is not a float"))?;
            }
            at += number;
        } else if weighs && left > 1 && is_option(word, "aggregate") {
            at += 1;
            options.aggregate = match context.word(at) {
                word if is_option(word, "sum") => Aggregate::Sum,
                word if is_option(word, "min") => Aggregate::Min,
                word if is_option(word, "max") => Aggregate::Max,
                _ => return Err(SYNTAX),
            };
        } else if form == Form::Reply && is_option(word, "withscores") {
            options.with_scores = true;
        } else if form == Form::Count && left > 1 && is_option(word, "limit") {
            at += 1;
            let limit = integer::parse(context.word(at)).and_then(|limit| usize::try_from(limit).ok());
            options.limit = limit.ok_or(Refusal::Fixed("ERR LIMIT can't be negative"))?;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

/// The members of a set or a sorted set, with their scores.
fn members(transaction: &mut Transaction<'_>, key: Key<'_>) -> Result<Scored, WrongType> {
    match transaction.kind(key) {
        Some(Kind::Set) => {
            let set = transaction.set(key)?;
            Ok(set.into_iter().flat_map(|set| set.iter()).map(|member| (member.into(), 1.0)).collect())
        }
        _ => {
            let set = transaction.sorted_set(key)?;
            let members = set.into_iter().flat_map(|set| set.iter_from(0));
            Ok(members.map(|(member, score)| ((*member).into(), score)).collect())
        }
    }
}

fn score(transaction: &mut Transaction<'_>, key: Key<'_>, member: &[u8]) -> Result<Option<f64>, WrongType> {
    match transaction.kind(key) {
        Some(Kind::Set) => Ok(transaction.set(key)?.is_some_and(|set| set.contains(member)).then_some(1.0)),
        _ => transaction.score(key, member),
    }
}

/// How many members each key has; refuses keys of other types.
fn sizes(context: &Context<'_>, transaction: &mut Transaction<'_>, keys: &[Key<'_>]) -> Result<Vec<usize>, WrongType> {
    let mut sizes = Vec::with_capacity(keys.len());
    for &key in keys {
        let kind = transaction.kind(key);
        context.count_read(key, kind.is_some());
        sizes.push(match kind {
            Some(Kind::Set) => transaction.set(key)?.map_or(0, |set| set.len()),
            _ => transaction.sorted_set(key)?.map_or(0, |set| set.len()),
        });
    }
    Ok(sizes)
}

fn combine(
    transaction: &mut Transaction<'_>,
    keys: &[Key<'_>],
    sizes: &[usize],
    combination: Combination,
    options: &Options,
) -> Result<Scored, WrongType> {
    // Scores are added from the smallest sorted set to the largest: with floats the order matters.
    let mut by_size: Vec<usize> = (0..keys.len()).collect();
    if combination != Combination::Difference {
        by_size.sort_by_key(|&at| sizes[at]);
    }
    let mut result: Scored = match combination {
        Combination::Union => {
            let mut all: BTreeMap<Box<[u8]>, f64> = BTreeMap::new();
            for at in by_size {
                for (member, score) in members(transaction, keys[at])? {
                    let score = number(score * options.weights[at]);
                    let sum = all.get(&member).map_or(score, |sum| options.aggregate.of(*sum, score));
                    all.insert(member, sum);
                }
            }
            all.into_iter().collect()
        }
        Combination::Intersection => {
            let mut common = members(transaction, keys[by_size[0]])?;
            common.iter_mut().for_each(|(_, score)| *score = number(*score * options.weights[by_size[0]]));
            for &at in &by_size[1..] {
                let mut left = Vec::with_capacity(common.len());
                for (member, sum) in common {
                    if let Some(score) = score(transaction, keys[at], &member)? {
                        left.push((member, options.aggregate.of(sum, score * options.weights[at])));
                    }
                }
                common = left;
            }
            common
        }
        Combination::Difference => {
            let mut rest = members(transaction, keys[0])?;
            for &key in &keys[1..] {
                let mut left = Vec::with_capacity(rest.len());
                for (member, sum) in rest {
                    if score(transaction, key, &member)?.is_none() {
                        left.push((member, sum));
                    }
                }
                rest = left;
            }
            rest
        }
    };
    result
        .sort_by(|one, other| one.1.partial_cmp(&other.1).unwrap_or(Ordering::Equal).then_with(|| one.0.cmp(&other.0)));
    Ok(result)
}

fn run(context: &mut Context<'_>, combination: Combination, form: Form) -> Outcome {
    let number_at = if form == Form::Store { 2 } else { 1 };
    let number = integer::parse(context.word(number_at)).ok_or(NOT_AN_INTEGER)?;
    let Some(number) = usize::try_from(number).ok().filter(|&number| number > 0) else {
        let name = &context.entry.full_name;
        return Err(Refusal::built(format!("ERR at least 1 input key is needed for '{name}' command")));
    };
    if number > context.words() - number_at - 1 {
        return Err(SYNTAX);
    }
    let end = number_at + 1 + number;
    let mut all = context.keys(number_at + 1..end);
    let sources = all.len();
    if form == Form::Store {
        all.push(context.key(1));
    }
    let mut transaction = context.lock_keys(&all);
    let keys = &all[..sources];
    let sizes = sizes(context, &mut transaction, keys)?;
    let options = parse_options(context, end, number, combination, form)?;
    let members = combine(&mut transaction, keys, &sizes, combination, &options)?;
    match form {
        Form::Store => {
            let event = match combination {
                Combination::Union => "zunionstore",
                Combination::Intersection => "zinterstore",
                Combination::Difference => "zdiffstore",
            };
            store(&mut transaction, all[sources], &members, event)?;
            context.commit(transaction);
            context.reply_count(members.len())
        }
        Form::Count => {
            let limit = if options.limit > 0 { options.limit } else { usize::MAX };
            context.reply_count(members.len().min(limit))
        }
        Form::Reply => {
            drop(transaction);
            open_scored(context.reply, members.len(), options.with_scores);
            for (member, score) in &members {
                reply_scored(context.reply, member, options.with_scores.then_some(*score));
            }
            Ok(Flow::Continue)
        }
    }
}

fn zunion(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Union, Form::Reply)
}

fn zinter(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Intersection, Form::Reply)
}

fn zdiff(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Difference, Form::Reply)
}

fn zintercard(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Intersection, Form::Count)
}

fn zunionstore(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Union, Form::Store)
}

fn zinterstore(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Intersection, Form::Store)
}

fn zdiffstore(context: &mut Context<'_>) -> Outcome {
    run(context, Combination::Difference, Form::Store)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn combinations() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("zadd a 1 x 2 y", ":2\r\n"),
            ("zadd b 10 y 20 z", ":2\r\n"),
            ("sadd s y q", ":2\r\n"),
            ("zunion 2 a b withscores", "*6\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\ny\r\n$2\r\n12\r\n$1\r\nz\r\n$2\r\n20\r\n"),
            ("zinter 3 a b s withscores", "*2\r\n$1\r\ny\r\n$2\r\n13\r\n"),
            ("zinter 2 a b weights 2 3 aggregate max withscores", "*2\r\n$1\r\ny\r\n$2\r\n30\r\n"),
            ("zdiff 2 a b", "*1\r\n$1\r\nx\r\n"),
            ("zintercard 2 a b limit 5", ":1\r\n"),
            ("zunionstore a 2 a s", ":3\r\n"),
            ("zrange a 0 -1 withscores", "*6\r\n$1\r\nq\r\n$1\r\n1\r\n$1\r\nx\r\n$1\r\n1\r\n$1\r\ny\r\n$1\r\n3\r\n"),
            ("zinterstore b 2 b nosuch", ":0\r\n"),
            ("exists b", ":0\r\n"),
            ("zdiffstore b 1 a", ":3\r\n"),
            ("zunion 0 a", "-ERR at least 1 input key is needed for 'zunion' command\r\n"),
            ("zunion 2 a", "-ERR syntax error\r\n"),
            ("zunion x a", "-ERR value is not an integer or out of range\r\n"),
            ("zunion 1 a weights x", "-ERR weight value is not a float\r\n"),
            ("zdiff 1 a weights 1", "-ERR syntax error\r\n"),
            ("zunionstore d 1 a withscores", "-ERR syntax error\r\n"),
        ]);
        fixture.expect(&[
            ("zadd i inf m", ":1\r\n"),
            ("zunion 1 i weights 0 withscores", "*2\r\n$1\r\nm\r\n$1\r\n0\r\n"),
            ("zunion 2 i i weights 1 -1 withscores", "*2\r\n$1\r\nm\r\n$1\r\n0\r\n"),
        ]);
    }
}
