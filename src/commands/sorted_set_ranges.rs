//! Ranges of sorted sets: by place, by score and by the bytes of the member.

use std::ops::{Bound, Range};

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::floats::parse_bound;
use super::sorted_sets::{DELETE, Scored, open_scored, read, read_sorted_set, reply_scored, write};
use super::spec::{Access, Command, Flags, KeySpec};
use crate::effects::Score;
use crate::keyspace::{EventClasses, Key, SortedSetValue, Transaction, WrongType};

const STORE: &[KeySpec] =
    &[KeySpec::one(1, Access::OVERWRITE.with(Access::UPDATE)), KeySpec::one(2, Access::READ.with(Access::ACCESS))];
const COUNTED: &str = "O(log(N)) with N members in the sorted set";
const RETURNED: &str = "O(log(N)+M) with N members in the sorted set and M returned";
const STORED: &str = "O(log(N)+M) with N members in the sorted set and M stored";
const REMOVED: &str = "O(log(N)+M) with N members in the sorted set and M removed";

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    read("zcount", 4, zcount).flags(Flags::FAST).docs("2.0.0", COUNTED, "Counts the members within a range of scores"),
    read("zlexcount", 4, zlexcount).flags(Flags::FAST).docs(
        "2.8.9",
        COUNTED,
        "Counts the members within a range of names",
    ),
    read("zrange", -4, zrange).docs("1.2.0", RETURNED, "Returns the members within a range"),
    read("zrevrange", -4, zrevrange).deprecated("6.2.0", "`ZRANGE` with the `REV` argument").docs(
        "1.2.0",
        RETURNED,
        "Returns the members within a range of places, highest score first",
    ),
    read("zrangebyscore", -4, zrangebyscore).deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument").docs(
        "1.0.5",
        RETURNED,
        "Returns the members within a range of scores",
    ),
    read("zrevrangebyscore", -4, zrevrangebyscore)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
        .docs("2.2.0", RETURNED, "Returns the members within a range of scores, highest score first"),
    read("zrangebylex", -4, zrangebylex).deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument").docs(
        "2.8.9",
        RETURNED,
        "Returns the members within a range of names",
    ),
    read("zrevrangebylex", -4, zrevrangebylex)
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
        .docs("2.8.9", RETURNED, "Returns the members within a range of names, last name first"),
    write("zrangestore", -5, zrangestore).flags(Flags::DENYOOM).keys(STORE).docs(
        "6.2.0",
        STORED,
        "Stores the members within a range",
    ),
    write("zremrangebyrank", 4, zremrangebyrank).keys(DELETE).docs(
        "2.0.0",
        REMOVED,
        "Removes the members within a range of places",
    ),
    write("zremrangebyscore", 4, zremrangebyscore).keys(DELETE).docs(
        "1.2.0",
        REMOVED,
        "Removes the members within a range of scores",
    ),
    write("zremrangebylex", 4, zremrangebylex).keys(DELETE).docs(
        "2.8.9",
        REMOVED,
        "Removes the members within a range of names",
    ),
];

/// What a range is a range of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The end of a range of names.
#[derive(Clone, Copy, Debug)]
enum Name<'a> {
    First,
    Last,
    Bound(Bound<&'a [u8]>),
}

/// Which members are wanted.
#[derive(Clone, Copy, Debug)]
enum Selection<'a> {
    /// Places; from the end where negative.
    Rank(i64, i64),
    /// Two scores, each excluded or not.
    Score((f64, bool), (f64, bool)),
    Lex(Name<'a>, Name<'a>),
}

fn score_bound(word: &[u8]) -> Result<(f64, bool), Refusal> {
    let (text, exclusive) = match word {
        [b'(', text @ ..] => (text, true),
        text => (text, false),
    };
    Ok((parse_bound(text).ok_or(Refusal::Fixed("ERR min or max is not a float"))?, exclusive))
}

fn name_bound(word: &[u8]) -> Result<Name<'_>, Refusal> {
    match word {
        [b'-'] | [b'-', 0, ..] => Ok(Name::First),
        [b'+'] | [b'+', 0, ..] => Ok(Name::Last),
        [b'[', name @ ..] => Ok(Name::Bound(Bound::Included(name))),
        [b'(', name @ ..] => Ok(Name::Bound(Bound::Excluded(name))),
        _ => Err(Refusal::Fixed("ERR min or max not valid string range item")),
    }
}

impl<'a> Selection<'a> {
    /// The range between the arguments at two positions.
    fn parse(context: &Context<'a>, by: By, min: usize, max: usize) -> Result<Selection<'a>, Refusal> {
        Ok(match by {
            By::Rank => Selection::Rank(context.integer(min)?, context.integer(max)?),
            By::Score => Selection::Score(score_bound(context.word(min))?, score_bound(context.word(max))?),
            By::Lex => Selection::Lex(name_bound(context.word(min))?, name_bound(context.word(max))?),
        })
    }

    /// The ranks of the members, lowest score first. `reverse`: places count from the highest score.
    fn ranks(&self, set: &SortedSetValue, reverse: bool) -> Range<usize> {
        let length = set.len();
        let (start, end) = match *self {
            Selection::Rank(first, last) => {
                let place = |place: i64| if place < 0 { place.saturating_add(length as i64) } else { place };
                let start = usize::try_from(place(first)).unwrap_or(0);
                let end = usize::try_from(place(last).saturating_add(1)).unwrap_or(0).min(length);
                match reverse {
                    false => (start, end),
                    true => (length - end, length.saturating_sub(start)),
                }
            }
            Selection::Score((min, min_excluded), (max, max_excluded)) => {
                (set.before_score(min, min_excluded), set.before_score(max, !max_excluded))
            }
            Selection::Lex(min, max) => {
                let start = match min {
                    Name::First => 0,
                    Name::Last => length,
                    Name::Bound(bound) => set.before_lex(bound),
                };
                let end = match max {
                    Name::First => 0,
                    Name::Last => length,
                    Name::Bound(Bound::Included(name)) => set.before_lex(Bound::Excluded(name)),
                    Name::Bound(Bound::Excluded(name)) => set.before_lex(Bound::Included(name)),
                    Name::Bound(Bound::Unbounded) => length,
                };
                (start, end)
            }
        };
        start.min(end)..end
    }
}

/// A part of what was selected: leaves out so many, then takes so many; both may be negative.
#[derive(Clone, Copy, Debug)]
struct Limit {
    offset: i64,
    count: i64,
}

impl Limit {
    fn apply(self, ranks: Range<usize>, reverse: bool) -> Range<usize> {
        let length = ranks.len();
        // A negative offset leaves out everything, a negative count takes all.
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(length);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(length - offset);
        match reverse {
            false => ranks.start + offset..ranks.start + offset + count,
            true => ranks.end - offset - count..ranks.end - offset,
        }
    }
}

fn zcount(context: &mut Context<'_>) -> Outcome {
    count(context, By::Score)
}

fn zlexcount(context: &mut Context<'_>) -> Outcome {
    count(context, By::Lex)
}

fn count(context: &mut Context<'_>, by: By) -> Outcome {
    let selection = Selection::parse(context, by, 2, 3)?;
    read_sorted_set(context, |context, set| context.reply_count(set.map_or(0, |set| selection.ranks(set, false).len())))
}

/// A request for a range.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    selection: Selection<'a>,
    reverse: bool,
    limit: Limit,
    with_scores: bool,
}

impl<'a> Request<'a> {
    /// `first`: where the range's first end stands. What the command's name does not say, its options may.
    fn parse(
        context: &Context<'a>,
        first: usize,
        mut by: Option<By>,
        mut reverse: Option<bool>,
        stores: bool,
    ) -> Result<Request<'a>, Refusal> {
        let mut limit = Limit { offset: 0, count: -1 };
        let mut with_scores = false;
        let mut at = first + 2;
        while at < context.words() {
            let word = context.word(at);
            if !stores && is_option(word, "withscores") {
                with_scores = true;
            } else if is_option(word, "limit") && at + 2 < context.words() {
                limit = Limit { offset: context.integer(at + 1)?, count: context.integer(at + 2)? };
                at += 2;
            } else if reverse.is_none() && is_option(word, "rev") {
                reverse = Some(true);
            } else if by.is_none() && is_option(word, "bylex") {
                by = Some(By::Lex);
            } else if by.is_none() && is_option(word, "byscore") {
                by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit.count != -1 && by == By::Rank {
            return Err(Refusal::Fixed(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(Refusal::Fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        if by == By::Rank {
            limit.offset = 0;
        }
        // The higher end of a range in reverse comes first; a place is a place.
        let (min, max) = if reverse && by != By::Rank { (first + 1, first) } else { (first, first + 1) };
        Ok(Request { selection: Selection::parse(context, by, min, max)?, reverse, limit, with_scores })
    }

    fn ranks(&self, set: &SortedSetValue) -> Range<usize> {
        self.limit.apply(self.selection.ranks(set, self.reverse), self.reverse)
    }
}

fn reply_range(context: &mut Context<'_>, by: Option<By>, reverse: Option<bool>) -> Outcome {
    let request = Request::parse(context, 2, by, reverse, false)?;
    read_sorted_set(context, |context, set| {
        let Some(set) = set else {
            context.reply.array(0);
            return Ok(Flow::Continue);
        };
        let members = set.range(request.ranks(set));
        open_scored(context.reply, members.len(), request.with_scores);
        let mut reply =
            |member: &[u8], score: f64| reply_scored(context.reply, member, request.with_scores.then_some(score));
        match request.reverse {
            false => members.for_each(|(member, score)| reply(&member, score)),
            true => members.rev().for_each(|(member, score)| reply(&member, score)),
        }
        Ok(Flow::Continue)
    })
}

fn zrange(context: &mut Context<'_>) -> Outcome {
    reply_range(context, None, None)
}

fn zrevrange(context: &mut Context<'_>) -> Outcome {
    reply_range(context, Some(By::Rank), Some(true))
}

fn zrangebyscore(context: &mut Context<'_>) -> Outcome {
    reply_range(context, Some(By::Score), Some(false))
}

fn zrevrangebyscore(context: &mut Context<'_>) -> Outcome {
    reply_range(context, Some(By::Score), Some(true))
}

fn zrangebylex(context: &mut Context<'_>) -> Outcome {
    reply_range(context, Some(By::Lex), Some(false))
}

fn zrevrangebylex(context: &mut Context<'_>) -> Outcome {
    reply_range(context, Some(By::Lex), Some(true))
}

/// Replaces what a key holds by a sorted set; without members there is no key.
///
/// `event`: what that is called.
pub fn store(
    transaction: &mut Transaction<'_>,
    key: Key<'_>,
    members: &[(Box<[u8]>, f64)],
    event: &'static str,
) -> Result<(), WrongType> {
    let existed = transaction.remove(key);
    for (member, score) in members {
        // What is stored was computed from scores: never NaN.
        if let Ok(score) = Score::try_from(*score) {
            transaction.score_set(key, member, score)?;
        }
    }
    transaction.announce_stored(EventClasses::SORTED_SET, event, key, existed);
    Ok(())
}

fn zrangestore(context: &mut Context<'_>) -> Outcome {
    let request = Request::parse(context, 3, None, None, true)?;
    let keys = context.keys(1..3);
    let mut transaction = context.lock_keys(&keys);
    let set = transaction.sorted_set(keys[1])?;
    context.count_read(keys[1], set.is_some());
    let members: Scored = match set {
        None => Vec::new(),
        Some(set) => set.range(request.ranks(set)).map(|(member, score)| ((*member).into(), score)).collect(),
    };
    store(&mut transaction, keys[0], &members, "zrangestore")?;
    context.commit(transaction);
    context.reply_count(members.len())
}

fn zremrangebyrank(context: &mut Context<'_>) -> Outcome {
    remove_range(context, By::Rank, "zremrangebyrank")
}

fn zremrangebyscore(context: &mut Context<'_>) -> Outcome {
    remove_range(context, By::Score, "zremrangebyscore")
}

fn zremrangebylex(context: &mut Context<'_>) -> Outcome {
    remove_range(context, By::Lex, "zremrangebylex")
}

fn remove_range(context: &mut Context<'_>, by: By, event: &'static str) -> Outcome {
    let selection = Selection::parse(context, by, 2, 3)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let count = transaction.score_take(key, |set| selection.ranks(set, false))?.len();
    if count > 0 {
        transaction.announce_taken(EventClasses::SORTED_SET, event, key);
    }
    context.commit(transaction);
    context.reply_count(count)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn ranges() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("zadd z 1 a 2 b 3 c 4 d", ":4\r\n"),
            ("zrange z 1 -2", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("zrange z 0 0 rev withscores", "*2\r\n$1\r\nd\r\n$1\r\n4\r\n"),
            ("zrevrange z 2 9", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
            ("zrange z 5 9", "*0\r\n"),
            ("zrange z (1 3 byscore", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("zrange z +inf (1 byscore rev limit 1 1", "*1\r\n$1\r\nc\r\n"),
            ("zrangebyscore z -inf +inf limit -1 5", "*0\r\n"),
            ("zrevrangebyscore z 2 -inf", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
            ("zrange z [b + bylex", "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("zrevrangebylex z (c -", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"),
            ("zrangebylex z + -", "*0\r\n"),
            ("zcount z 2 (4", ":2\r\n"),
            ("zlexcount z - (d", ":3\r\n"),
            ("zrange z a 1", "-ERR value is not an integer or out of range\r\n"),
            ("zcount z a 1", "-ERR min or max is not a float\r\n"),
            ("zlexcount z a +", "-ERR min or max not valid string range item\r\n"),
            (
                "zrange z 0 1 limit 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX\r\n",
            ),
            (
                "zrange z - + bylex withscores",
                "-ERR syntax error, WITHSCORES not supported in combination with BYLEX\r\n",
            ),
            ("zrangestore t z 1 2", ":2\r\n"),
            ("zrange t 0 -1 withscores", "*4\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\nc\r\n$1\r\n3\r\n"),
            ("zrangestore t z 9 9", ":0\r\n"),
            ("exists t", ":0\r\n"),
            ("zremrangebyrank z 0 0", ":1\r\n"),
            ("zremrangebyscore z (2 3", ":1\r\n"),
            ("zremrangebylex z [d +", ":1\r\n"),
            ("zremrangebyscore z -inf inf", ":1\r\n"),
            ("exists z", ":0\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[("zadd z 1 a", ":1\r\n"), ("zrange z 0 -1 withscores", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n")]);
    }
}
