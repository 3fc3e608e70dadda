//! SORT and SORT_RO.
//!
//! With patterns (BY, GET) they read keys that are found only while they run, so they lock everything then.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Flow;
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, check_reply_size, is_option, shown};
use super::spec::{Access, Categories, Command, Coordination, Find, Flags, Group, KeySpec};
use crate::keyspace::{
    Contents, EventClasses, Keyspace, ListValue, Transaction, Value, WrongType, integer, long_double,
};

const SORTED: KeySpec = KeySpec::one(1, Access::READ.with(Access::ACCESS));
const BY_PATTERN: KeySpec = KeySpec {
    access: Access::READ.with(Access::ACCESS),
    begin: 2,
    find: Find::Unknown,
    note: "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the \
           key we sort",
};
const STORED: KeySpec = KeySpec {
    access: Access::OVERWRITE.with(Access::UPDATE),
    begin: 2,
    find: Find::Option { name: "store", others: &[("limit", 2), ("by", 1), ("get", 1)] },
    note: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument \
           array",
};

const COMPLEXITY: &str = "O(N+M*log(M)) with N elements of which M are returned, O(N) when they are not sorted";

/// The types that can be sorted.
const SORTABLE: Categories = Categories::SET.with(Categories::SORTED_SET).with(Categories::LIST);

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new(Group::Generic, "sort", -2, sort)
        .flags(Flags::WRITE.with(Flags::DENYOOM).with(Flags::MOVABLEKEYS))
        .categories(SORTABLE.with(Categories::DANGEROUS))
        .keys(&[SORTED, BY_PATTERN, STORED])
        .coordination(Coordination::Commutes)
        .docs("1.0.0", COMPLEXITY, "Sorts the elements of a collection, and returns or stores them"),
    Command::new(Group::Generic, "sort_ro", -2, sort_ro)
        .flags(Flags::READONLY.with(Flags::MOVABLEKEYS))
        .categories(SORTABLE.with(Categories::DANGEROUS))
        .keys(&[SORTED, BY_PATTERN])
        .docs("7.0.0", COMPLEXITY, "Sorts the elements of a collection, and returns them"),
];

fn sort(context: &mut Context<'_>) -> Outcome {
    run(context, true)
}

fn sort_ro(context: &mut Context<'_>) -> Outcome {
    run(context, false)
}

/// What is asked for.
#[derive(Debug, Default)]
struct Options<'c> {
    descending: bool,
    alpha: bool,
    /// Offset and count.
    limit: Option<(i64, i64)>,
    by: Option<Pattern<'c>>,
    get: Vec<Pattern<'c>>,
    store: Option<&'c [u8]>,
}

impl<'c> Options<'c> {
    fn parse(context: &Context<'c>, may_store: bool) -> Result<Options<'c>, Refusal> {
        let mut options = Options::default();
        let words = context.arguments.from(2);
        let integer = |at: usize| words.get(at).and_then(integer::parse).ok_or(NOT_AN_INTEGER);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let following = words.len() - at - 1;
            if is_option(word, "asc") {
                options.descending = false;
            } else if is_option(word, "desc") {
                options.descending = true;
            } else if is_option(word, "alpha") {
                options.alpha = true;
            } else if is_option(word, "limit") && following >= 2 {
                options.limit = Some((integer(at + 1)?, integer(at + 2)?));
                at += 2;
            } else if is_option(word, "store") && following >= 1 && may_store {
                options.store = Some(context.word(at + 3));
                at += 1;
            } else if is_option(word, "by") && following >= 1 {
                options.by = Some(Pattern::new(context.word(at + 3)));
                at += 1;
            } else if is_option(word, "get") && following >= 1 {
                options.get.push(Pattern::new(context.word(at + 3)));
                at += 1;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// Who may not read every key may not have elements say which keys to read. Redis asks for it with any BY that has a star, and
    /// with any GET but that of the element itself.
    fn check_access(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        let by = self.by.iter().any(|pattern| matches!(pattern, Pattern::Of { .. }));
        let get = self.get.iter().any(|pattern| !matches!(pattern, Pattern::Element));
        if (!by && !get) || context.session.user.is_unlimited() {
            return Ok(());
        }
        let permissions = Arc::clone(context.session.permissions());
        match permissions.may_read_all_keys(context.entry, &context.arguments) {
            true => Ok(()),
            false if by => Err(Refusal::Fixed("ERR BY option of SORT denied due to insufficient ACL permissions.")),
            false => Err(Refusal::Fixed("ERR GET option of SORT denied due to insufficient ACL permissions.")),
        }
    }

    /// Does it read keys that only the elements tell?
    fn reads_other_keys(&self) -> bool {
        self.by.iter().chain(&self.get).any(|pattern| matches!(pattern, Pattern::Of { .. }))
    }
}

/// How another value derives from an element.
#[derive(Clone, Debug)]
enum Pattern<'c> {
    /// `#`: the element itself.
    Element,
    /// No `*`: nothing.
    Nothing,
    /// A key, with the element between these two; and if so the field of a hash.
    Of { before: &'c [u8], after: &'c [u8], field: Option<&'c [u8]> },
}

impl<'c> Pattern<'c> {
    fn new(text: &'c [u8]) -> Pattern<'c> {
        if text == b"#" {
            return Pattern::Element;
        }
        // As in Redis, where patterns are C strings when they are searched, nothing is found behind a zero byte.
        let Some(star) = shown(text).iter().position(|&byte| byte == b'*') else { return Pattern::Nothing };
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = shown(after).windows(2).position(|two| two == b"->").filter(|&at| {
            let rest = &after[at + 2..];
            !rest.is_empty() && rest[0] != 0
        });
        match arrow {
            Some(at) => Pattern::Of { before, after: &after[..at], field: Some(&after[at + 2..]) },
            None => Pattern::Of { before, after, field: None },
        }
    }

    fn look_up(&self, keyspace: &Keyspace, transaction: &mut Transaction<'_>, element: &[u8]) -> Option<Vec<u8>> {
        match *self {
            Pattern::Element => Some(element.to_vec()),
            Pattern::Nothing => None,
            Pattern::Of { before, after, field } => {
                let name = [before, element, after].concat();
                let key = keyspace.key(&name);
                match field {
                    Some(field) => transaction.hash(key).ok()??.get(field).map(|value| value.to_vec()),
                    None => transaction.string(key).ok()?.map(<[u8]>::to_vec),
                }
            }
        }
    }
}

/// The elements of a collection, and whether they have an order of their own.
fn elements(value: &Value) -> Result<(Vec<Vec<u8>>, bool), WrongType> {
    match value {
        Value::Set(set) => Ok((set.iter().map(|member| member.to_vec()).collect(), false)),
        Value::List(list) => Ok((list.iter().map(|element| element.to_vec()).collect(), true)),
        Value::SortedSet(set) => Ok((set.iter_from(0).map(|(member, _)| member.to_vec()).collect(), true)),
        Value::Text(_) | Value::Hash(_) | Value::Stream(_) => Err(WrongType),
    }
}

/// The list that STORE leaves.
fn list_of(elements: &[Vec<u8>]) -> Value {
    let mut list = ListValue::new();
    elements.iter().for_each(|element| list.push_back(element));
    Value::List(list)
}

fn run(context: &mut Context<'_>, may_store: bool) -> Outcome {
    let options = Options::parse(context, may_store)?;
    options.check_access(context)?;
    let keyspace = &*context.state.keyspace;
    let key = context.key(1);
    let destination = options.store.map(|name| keyspace.key(name));
    let mut transaction = match options.reads_other_keys() {
        true => context.lock_all(),
        false => context.lock_keys(&[&[key], destination.as_slice()].concat()),
    };
    let (all, ordered) = transaction.value(key).map_or(Ok((Vec::new(), true)), |value| elements(&value))?;
    context.count_read(key, !all.is_empty());
    let sorted = sort_elements(&options, keyspace, &mut transaction, all, ordered)?;
    let mut rows: Vec<Option<Vec<u8>>> = Vec::with_capacity(sorted.len() * options.get.len().max(1));
    for element in sorted {
        if options.get.is_empty() {
            rows.push(Some(element));
            continue;
        }
        rows.extend(options.get.iter().map(|pattern| pattern.look_up(keyspace, &mut transaction, &element)));
    }
    if let Some(destination) = destination {
        let count = rows.len();
        let existed = transaction.kind(destination).is_some();
        if rows.is_empty() {
            transaction.remove(destination);
        } else {
            let elements: Vec<Vec<u8>> = rows.into_iter().map(Option::unwrap_or_default).collect();
            let list = list_of(&elements);
            transaction.put(destination, Contents::new(list, None, context.now))?;
        }
        transaction.announce_stored(EventClasses::LIST, "sortstore", destination, existed);
        context.commit(transaction);
        return context.reply_count(count);
    }
    drop(transaction);
    let start = context.reply.bytes().len();
    context.reply.array(rows.len());
    for row in rows {
        context.reply.bulk_or_null(row.as_deref());
        check_reply_size(context.reply, start)?;
    }
    Ok(Flow::Continue)
}

/// What elements are sorted by.
#[derive(Debug)]
enum Weight {
    Number(f64),
    /// A missing one comes first.
    Text(Option<Vec<u8>>),
    /// The element itself.
    Itself,
}

fn sort_elements(
    options: &Options<'_>,
    keyspace: &Keyspace,
    transaction: &mut Transaction<'_>,
    mut all: Vec<Vec<u8>>,
    ordered: bool,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let unsorted = matches!(options.by, Some(Pattern::Nothing | Pattern::Element));
    // What is stored has an order that does not depend on how a set lies in memory.
    let settle = unsorted && !ordered && options.store.is_some();
    let range = range(options.limit, all.len());
    if unsorted && !settle {
        if ordered && options.descending {
            all.reverse();
        }
        return Ok(all.drain(range).collect());
    }
    let by = options.by.as_ref().filter(|_| !settle);
    let mut weighed = Vec::with_capacity(all.len());
    for element in all {
        let weight = match by {
            None if options.alpha || settle => Weight::Itself,
            None => Weight::Number(number(&element)?),
            Some(by) => {
                let text = by.look_up(keyspace, transaction, &element);
                match (options.alpha, text) {
                    (true, text) => Weight::Text(text),
                    (false, Some(text)) => Weight::Number(number(&text)?),
                    (false, None) => Weight::Number(0.0),
                }
            }
        };
        weighed.push((weight, element));
    }
    weighed.sort_unstable_by(|one, other| {
        let order = compare(&one.0, &other.0).then_with(|| one.1.cmp(&other.1));
        if options.descending { order.reverse() } else { order }
    });
    Ok(weighed.drain(range).map(|(_, element)| element).collect())
}

fn compare(one: &Weight, other: &Weight) -> Ordering {
    match (one, other) {
        // None of them is NaN.
        (Weight::Number(one), Weight::Number(other)) => one.partial_cmp(other).unwrap_or(Ordering::Equal),
        (Weight::Text(one), Weight::Text(other)) => one.cmp(other),
        _ => Ordering::Equal,
    }
}

/// The part that LIMIT asks for: a negative offset counts as 0, a negative count as all.
fn range(limit: Option<(i64, i64)>, length: usize) -> std::ops::Range<usize> {
    let Some((offset, count)) = limit else { return 0..length };
    let start = usize::try_from(offset).unwrap_or(0).min(length);
    let count = usize::try_from(count).unwrap_or(length).min(length - start);
    start..start + count
}

const NOT_A_NUMBER: Refusal = Refusal::Fixed("ERR One or more scores can't be converted into double");

/// A weight that is a number, read as C's `strtod` does, whatever it is that must be read to the end: decimal or
/// hexadecimal, infinite, with space in front; nothing at all is 0. What a double cannot hold is an error.
fn number(text: &[u8]) -> Result<f64, Refusal> {
    let text = shown(text);
    if text.is_empty() {
        return Ok(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = text.iter().position(|byte| !is_space(byte)).ok_or(NOT_A_NUMBER)?;
    let text = &text[start..];
    let unsigned = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let is_infinite = ["inf", "infinity"].iter().any(|name| is_option(unsigned, name));
    if is_infinite {
        return Ok(if text[0] == b'-' { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let decimal = match unsigned {
        [b'0', b'x' | b'X', ..] => &*long_double::add(text, b"0").map_err(|_| NOT_A_NUMBER)?,
        [b'0'..=b'9' | b'.', ..] => text,
        _ => return Err(NOT_A_NUMBER),
    };
    let value: f64 = std::str::from_utf8(decimal).ok().and_then(|text| text.parse().ok()).ok_or(NOT_A_NUMBER)?;
    let mantissa = decimal.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let is_zero = !mantissa.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    if value.is_infinite() || (!is_zero && !value.is_normal()) { Err(NOT_A_NUMBER) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Fixture;

    fn array(words: &[&str]) -> String {
        let elements = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!("*{}\r\n{}", words.len(), elements.collect::<String>())
    }

    #[test]
    fn by_the_elements_themselves() {
        let mut fixture = Fixture::new();
        fixture.run("sadd k 10 9 -1.5 1e1 100");
        fixture.run("sadd words b a B");
        fixture.run("set s v");
        let all = array(&["-1.5", "9", "10", "1e1", "100"]);
        fixture.expect(&[
            ("sort nosuch", "*0\r\n"),
            ("sort s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
            ("sort s foo", "-ERR syntax error\r\n"),
            ("sort k", &all),
            ("sort_ro k ASC", &all),
            ("sort k desc", &array(&["100", "1e1", "10", "9", "-1.5"])),
            ("sort k alpha", &array(&["-1.5", "10", "100", "1e1", "9"])),
            ("sort k limit 1 2", &array(&["9", "10"])),
            ("sort k limit -3 1", &array(&["-1.5"])),
            ("sort k limit 3 -1", &array(&["1e1", "100"])),
            ("sort k limit 9 1", "*0\r\n"),
            ("sort k limit 0 9223372036854775807", &all),
            ("sort k limit x 1", "-ERR value is not an integer or out of range\r\n"),
            ("sort k limit 1", "-ERR syntax error\r\n"),
            ("sort words", "-ERR One or more scores can't be converted into double\r\n"),
            ("sort words alpha", &array(&["B", "a", "b"])),
            ("sort words by nosort get", "-ERR syntax error\r\n"),
        ]);
    }

    #[test]
    fn by_other_keys() {
        let mut fixture = Fixture::new();
        fixture.run("sadd k 1 2 3");
        fixture.run("mset w1 30 w2 20 w3 10 n1 one n2 two");
        fixture.run("hset h1 w b name x");
        fixture.run("hset h2 w a");
        fixture.expect(&[
            ("sort k by w*", &array(&["3", "2", "1"])),
            ("sort k by w* desc limit 0 2", &array(&["1", "2"])),
            ("sort k by n*", "-ERR One or more scores can't be converted into double\r\n"),
            ("sort k by h*->w alpha", &array(&["3", "2", "1"])),
            ("sort k by h*->w alpha desc", &array(&["1", "2", "3"])),
            ("sort k by w*->w", &array(&["1", "2", "3"])),
            ("sort k get # get n*", "*6\r\n$1\r\n1\r\n$3\r\none\r\n$1\r\n2\r\n$3\r\ntwo\r\n$1\r\n3\r\n$-1\r\n"),
            ("sort k by nosort get h*->name", "*3\r\n$1\r\nx\r\n$-1\r\n$-1\r\n"),
            ("sort k get nothing limit 0 1", "*1\r\n$-1\r\n"),
            ("command getkeys sort k by store get limit store d", "*2\r\n$1\r\nk\r\n$1\r\nd\r\n"),
            ("command getkeys sort k", "*1\r\n$1\r\nk\r\n"),
        ]);
        fixture.run("hello 3");
        fixture.expect(&[("sort k get nothing limit 0 1", "*1\r\n_\r\n")]);
    }

    #[test]
    fn storing() {
        let mut fixture = Fixture::new();
        fixture.run("sadd k 1 2 3");
        fixture.run("set d v");
        fixture.expect(&[
            ("sort_ro k store d", "-ERR syntax error\r\n"),
            (
                "sort k store __swytch:x",
                "-ERR keys that begin with '__swytch:' belong to the system and are read-only\r\n",
            ),
            ("sort nosuch store d", ":0\r\n"),
            ("exists d", ":0\r\n"),
            ("sort k limit 5 1 store d", ":0\r\n"),
        ]);
    }

    #[test]
    fn weights_are_read_as_c_reads_them() {
        for (text, value) in [
            ("", 0.0),
            ("3", 3.0),
            ("  \t+3.5e1", 35.0),
            ("-.5", -0.5),
            ("5.", 5.0),
            ("0x10", 16.0),
            ("-0x1p-1", -0.5),
            ("-INF", f64::NEG_INFINITY),
            ("infinity", f64::INFINITY),
            ("0e-999", 0.0),
            ("1\0x", 1.0),
        ] {
            assert_eq!(number(text.as_bytes()), Ok(value), "{text:?}");
        }
        for text in ["x", " ", "1 ", "1x", "nan", "infx", "1e400", "1e-400", "5e-324", ".", "1e", "--1", "+", "0x"] {
            assert!(number(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
