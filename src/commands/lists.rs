//! Lists. What takes elements and may wait for them is in `list_moves`.

use super::Flow;
use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::effects::{Elements, End, Ranges, RangesWriter};
use crate::keyspace::{EventClasses, ListValue};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const INSERT: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::INSERT))];
const UPDATE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::UPDATE))];
const DELETE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::DELETE))];

const FAST: Flags = Flags::FAST;
const GROWS: Flags = Flags::DENYOOM;
const PER_ELEMENT: &str = "O(N) with N elements in the request";
const TO_THE_PLACE: &str = "O(N) with N elements up to the place";

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::List, name, arity, handler).flags(Flags::READONLY).categories(Categories::LIST).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::List, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::LIST)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("lpush", -3, lpush).flags(FAST.with(GROWS)).keys(INSERT).docs(
        "1.0.0",
        PER_ELEMENT,
        "Pushes elements to the left end",
    ),
    write("rpush", -3, rpush).flags(FAST.with(GROWS)).keys(INSERT).docs(
        "1.0.0",
        PER_ELEMENT,
        "Pushes elements to the right end",
    ),
    write("lpushx", -3, lpushx).flags(FAST.with(GROWS)).keys(INSERT).docs(
        "2.2.0",
        PER_ELEMENT,
        "Pushes elements to the left end of a list that is there",
    ),
    write("rpushx", -3, rpushx).flags(FAST.with(GROWS)).keys(INSERT).docs(
        "2.2.0",
        PER_ELEMENT,
        "Pushes elements to the right end of a list that is there",
    ),
    read("llen", 2, llen).flags(FAST).keys(LOOK).docs("1.0.0", "O(1)", "Returns how many elements there are"),
    read("lindex", 3, lindex).docs("1.0.0", TO_THE_PLACE, "Returns the element of an index"),
    read("lrange", 4, lrange).docs(
        "1.0.0",
        "O(S+N) with S elements up to the first, and N elements returned",
        "Returns a range of elements",
    ),
    read("lpos", -3, lpos).docs("6.0.6", "O(N) with N elements looked at", "Returns the indices of equal elements"),
    write("linsert", 5, linsert).flags(GROWS).keys(INSERT).docs(
        "2.2.0",
        TO_THE_PLACE,
        "Inserts an element beside another",
    ),
    write("lset", 4, lset).flags(GROWS).keys(UPDATE).docs("1.0.0", TO_THE_PLACE, "Sets the element of an index"),
    write("lrem", 4, lrem).keys(DELETE).docs(
        "1.0.0",
        "O(N+M) with N elements looked at and M removed",
        "Removes equal elements",
    ),
    write("ltrim", 4, ltrim).keys(DELETE).docs(
        "1.0.0",
        "O(N) with N elements removed",
        "Removes everything outside a range",
    ),
];

/// What it is called when elements are pushed to an end.
pub fn push_event(end: End) -> &'static str {
    match end {
        End::Left => "lpush",
        End::Right => "rpush",
    }
}

fn push(context: &mut Context<'_>, end: End, creates: bool) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    if !creates && transaction.list(key)?.is_none() {
        return context.reply_integer(0);
    }
    let (buffer, parts) = context.arguments.from(2).parts();
    let length = transaction.list_push(key, end, Elements::parts(buffer, parts))?;
    transaction.announce(EventClasses::LIST, push_event(end), key);
    context.commit(transaction);
    context.reply_count(length)
}

fn lpush(context: &mut Context<'_>) -> Outcome {
    push(context, End::Left, true)
}

fn rpush(context: &mut Context<'_>) -> Outcome {
    push(context, End::Right, true)
}

fn lpushx(context: &mut Context<'_>) -> Outcome {
    push(context, End::Left, false)
}

fn rpushx(context: &mut Context<'_>) -> Outcome {
    push(context, End::Right, false)
}

/// Reads the list at the first key, if there is one.
fn read_list(context: &mut Context<'_>, read: impl FnOnce(&mut Context<'_>, Option<&ListValue>) -> Outcome) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let list = transaction.list(key)?;
    context.count_read(key, list.is_some());
    read(context, list)
}

fn llen(context: &mut Context<'_>) -> Outcome {
    read_list(context, |context, list| context.reply_count(list.map_or(0, ListValue::len)))
}

/// The place of an index, which counts from the right when it is negative: the nearer end, and how far from it.
fn place(index: i64) -> (End, usize) {
    let end = if index < 0 { End::Right } else { End::Left };
    let distance = if index < 0 { index.unsigned_abs() - 1 } else { index.unsigned_abs() };
    (end, usize::try_from(distance).unwrap_or(usize::MAX))
}

fn lindex(context: &mut Context<'_>) -> Outcome {
    read_list(context, |context, list| {
        let Some(list) = list else {
            context.reply.null();
            return Ok(Flow::Continue);
        };
        let at = match place(context.integer(2)?) {
            (End::Left, distance) => Some(distance),
            (End::Right, distance) => list.len().checked_sub(distance).and_then(|at| at.checked_sub(1)),
        };
        let element = at.and_then(|at| list.get(at));
        context.reply.bulk_or_null(element.as_deref());
        Ok(Flow::Continue)
    })
}

/// The elements from one index to another, both included; how many come before them, and how many they are.
fn span(length: usize, first: i64, last: i64) -> (usize, usize) {
    let from_left = |index: i64| match place(index) {
        (End::Left, distance) => Some(distance),
        (End::Right, distance) => length.checked_sub(distance).and_then(|at| at.checked_sub(1)),
    };
    let first = from_left(first).unwrap_or(0).min(length);
    let end = from_left(last).map_or(0, |last| last.saturating_add(1).min(length));
    (first, end.saturating_sub(first))
}

fn lrange(context: &mut Context<'_>) -> Outcome {
    let (first, last) = (context.integer(2)?, context.integer(3)?);
    read_list(context, |context, list| {
        let (first, count) = span(list.map_or(0, ListValue::len), first, last);
        context.reply.array(count);
        for element in list.into_iter().flat_map(|list| list.range(first..first + count)) {
            context.reply.bulk(&element);
        }
        Ok(Flow::Continue)
    })
}

/// The options of LPOS.
struct Search {
    from: End,
    /// So many matches are passed over.
    skips: u64,
    count: Option<u64>,
    looks_at: u64,
}

fn search(context: &Context<'_>) -> Result<Search, Refusal> {
    let mut search = Search { from: End::Left, skips: 0, count: None, looks_at: 0 };
    let mut at = 3;
    while at < context.words() {
        let option = context.word(at);
        if at + 1 == context.words() {
            return Err(SYNTAX);
        }
        let not_negative =
            |text| u64::try_from(context.integer(at + 1).unwrap_or(-1)).map_err(|_| Refusal::Fixed(text));
        if is_option(option, "rank") {
            let rank = context.integer(at + 1)?;
            // What its positive counterpart would be does not fit: so in 7.2; 7.0 overflows.
            if rank == i64::MIN {
                return Err(Refusal::Fixed(
                    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                ));
            }
            search.skips = rank.unsigned_abs().checked_sub(1).ok_or(Refusal::Fixed(
                "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
                 start from the end of the list",
            ))?;
            search.from = if rank < 0 { End::Right } else { End::Left };
        } else if is_option(option, "count") {
            search.count = Some(not_negative("ERR COUNT can't be negative")?);
        } else if is_option(option, "maxlen") {
            search.looks_at = not_negative("ERR MAXLEN can't be negative")?;
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    Ok(search)
}

/// Where equal elements are: their distances from the end where the search begins, ascending.
fn matches<'a>(list: &'a ListValue, from: End, wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut elements = list.iter();
    let mut distance = 0;
    std::iter::from_fn(move || {
        loop {
            let element = if from == End::Left { elements.next() } else { elements.next_back() }?;
            distance += 1;
            if *element == *wanted {
                return Some(distance - 1);
            }
        }
    })
}

fn lpos(context: &mut Context<'_>) -> Outcome {
    let search = search(context)?;
    let limit = |limit: u64| if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    read_list(context, |context, list| {
        let (wanted, length) = (context.word(2), list.map_or(0, ListValue::len));
        let skips = usize::try_from(search.skips).unwrap_or(usize::MAX);
        let reach = limit(search.looks_at).min(length);
        let found = list.into_iter().flat_map(|list| matches(list, search.from, wanted));
        let found = found.take_while(|distance| *distance < reach).skip(skips);
        let index = |distance: usize| if search.from == End::Left { distance } else { length - 1 - distance };
        match search.count {
            None => match found.map(index).next() {
                Some(index) => context.reply.count(index),
                None => context.reply.null(),
            },
            Some(count) => {
                let indices: Vec<usize> = found.map(index).take(limit(count)).collect();
                context.reply.array(indices.len());
                indices.into_iter().for_each(|index| context.reply.count(index));
            }
        }
        Ok(Flow::Continue)
    })
}

fn linsert(context: &mut Context<'_>) -> Outcome {
    let after = match context.word(2) {
        word if is_option(word, "after") => true,
        word if is_option(word, "before") => false,
        _ => return Err(SYNTAX),
    };
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let Some(list) = transaction.list(key)? else { return context.reply_integer(0) };
    let length = list.len();
    let Some(pivot) = matches(list, End::Left, context.word(3)).next() else { return context.reply_integer(-1) };
    transaction.list_insert(key, pivot + usize::from(after), context.word(4))?;
    transaction.announce(EventClasses::LIST, "linsert", key);
    context.commit(transaction);
    context.reply_count(length + 1)
}

fn lset(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    if transaction.list(key)?.is_none() {
        return Err(Refusal::Fixed("ERR no such key"));
    }
    let (from, distance) = place(context.integer(2)?);
    if !transaction.list_set(key, from, distance, context.word(3))? {
        return Err(Refusal::Fixed("ERR index out of range"));
    }
    transaction.announce(EventClasses::LIST, "lset", key);
    context.commit(transaction);
    context.ok()
}

fn lrem(context: &mut Context<'_>) -> Outcome {
    let count = context.integer(2)?;
    let from = if count < 0 { End::Right } else { End::Left };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let (mut removed, mut ranges) = (0, RangesWriter::default());
    if let Some(list) = transaction.list(key)? {
        for distance in matches(list, from, context.word(3)).take(most) {
            ranges.push(distance as u64);
            removed += 1;
        }
    }
    if removed > 0 {
        transaction.list_remove(key, from, ranges.ranges())?;
        transaction.announce_taken(EventClasses::LIST, "lrem", key);
        context.commit(transaction);
    }
    context.reply_count(removed)
}

fn ltrim(context: &mut Context<'_>) -> Outcome {
    let (first, last) = (context.integer(2)?, context.integer(3)?);
    let key = context.key(1);
    let mut transaction = context.lock(key);
    if let Some(list) = transaction.list(key)? {
        let length = list.len();
        let (left, count) = span(length, first, last);
        if count == 0 {
            transaction.remove(key);
        } else {
            for (end, count) in [(End::Left, left), (End::Right, length - left - count)] {
                if count > 0 {
                    transaction.list_remove(key, end, Ranges::first(count as u64))?;
                }
            }
            if count == length {
                transaction.count_as_changed(key);
            }
        }
        transaction.announce_taken(EventClasses::LIST, "ltrim", key);
        context.commit(transaction);
    }
    context.ok()
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";
    const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";

    #[test]
    fn pushes_and_reads() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("lpushx l a", ":0\r\n"),
            ("rpush l b c", ":2\r\n"),
            ("lpush l a 1", ":4\r\n"),
            ("rpushx l d", ":5\r\n"),
            ("lrange l 0 1", "*2\r\n$1\r\n1\r\n$1\r\na\r\n"),
            ("lrange l -2 99", "*2\r\n$1\r\nc\r\n$1\r\nd\r\n"),
            ("lrange l -99 0", "*1\r\n$1\r\n1\r\n"),
            ("lrange l 3 2", "*0\r\n"),
            ("lrange l 0 -99", "*0\r\n"),
            ("lrange l 9 9223372036854775807", "*0\r\n"),
            ("lrange none 0 -1", "*0\r\n"),
            ("lrange l x 0", NOT_AN_INTEGER),
            ("llen l", ":5\r\n"),
            ("llen none", ":0\r\n"),
            ("lindex l 0", "$1\r\n1\r\n"),
            ("lindex l -1", "$1\r\nd\r\n"),
            ("lindex l -6", "$-1\r\n"),
            ("lindex l -9223372036854775808", "$-1\r\n"),
            ("lindex none x", "$-1\r\n"),
            ("lindex l x", NOT_AN_INTEGER),
            ("lpush s a", WRONG_TYPE),
            ("lpushx s a", WRONG_TYPE),
            ("llen s", WRONG_TYPE),
            ("type l", "+list\r\n"),
        ]);
    }

    #[test]
    fn changes_inside() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.expect(&[
            ("set s v", "+OK\r\n"),
            ("rpush l a b a c a", ":5\r\n"),
            ("linsert l before b x", ":6\r\n"),
            ("linsert l AFTER c y", ":7\r\n"),
            ("linsert l after none y", ":-1\r\n"),
            ("linsert none after b y", ":0\r\n"),
            ("linsert s before b y", WRONG_TYPE),
            ("linsert l beside b y", SYNTAX),
            ("lrem l -2 a", ":2\r\n"),
            ("lrange l 0 -1", "*5\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\ny\r\n"),
            ("lset l 0 A", "+OK\r\n"),
            ("lset l -1 Y", "+OK\r\n"),
            ("lset l 5 z", "-ERR index out of range\r\n"),
            ("lset l -6 z", "-ERR index out of range\r\n"),
            ("lset none x z", "-ERR no such key\r\n"),
            ("lset l x z", NOT_AN_INTEGER),
            ("ltrim l 1 -1", "+OK\r\n"),
            ("ltrim l 0 -2", "+OK\r\n"),
            ("lrange l 0 -1", "*3\r\n$1\r\nx\r\n$1\r\nb\r\n$1\r\nc\r\n"),
            ("lrem l 1 nothing", ":0\r\n"),
            ("lrem l x a", NOT_AN_INTEGER),
            ("lrem l 0 x", ":1\r\n"),
            ("ltrim l 5 6", "+OK\r\n"),
            ("exists l", ":0\r\n"),
            ("ltrim none 0 1", "+OK\r\n"),
            ("rpush l a a", ":2\r\n"),
            ("lrem l 5 a", ":2\r\n"),
            ("exists l", ":0\r\n"),
        ]);
    }

    #[test]
    fn positions() {
        let mut fixture = Fixture::new();
        let zero = "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
                    start from the end of the list\r\n";
        fixture.expect(&[
            ("rpush l a b c 1 2 3 c c", ":8\r\n"),
            ("lpos l c", ":2\r\n"),
            ("lpos l 2", ":4\r\n"),
            ("lpos l x", "$-1\r\n"),
            ("lpos none c", "$-1\r\n"),
            ("lpos none c count 1", "*0\r\n"),
            ("lpos l c rank 2", ":6\r\n"),
            ("lpos l c rank -1", ":7\r\n"),
            ("lpos l c count 2", "*2\r\n:2\r\n:6\r\n"),
            ("lpos l c count 0", "*3\r\n:2\r\n:6\r\n:7\r\n"),
            ("lpos l c COUNT 0 RANK -2", "*2\r\n:6\r\n:2\r\n"),
            ("lpos l c maxlen 2", "$-1\r\n"),
            ("lpos l c count 0 maxlen 7", "*2\r\n:2\r\n:6\r\n"),
            ("lpos l c rank -1 count 0 maxlen 1", "*1\r\n:7\r\n"),
            ("lpos l c rank 0", zero),
            ("lpos l c rank x", NOT_AN_INTEGER),
            (
                "lpos l c rank -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
            ),
            ("lpos l c count -1", "-ERR COUNT can't be negative\r\n"),
            ("lpos l c maxlen x", "-ERR MAXLEN can't be negative\r\n"),
            ("lpos l c rank", SYNTAX),
            ("lpos l c foo 1", SYNTAX),
        ]);
    }
}
