//! Bitmaps: strings as rows of bits. What BITFIELD does is in `bitfield`.

use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::keyspace::bits::{self, Combination, Span};
use crate::keyspace::{EventClasses, Life, Transaction, WrongType, integer};

const READ: &[KeySpec] = &[KeySpec::one(1, Access::READ.with(Access::ACCESS))];
const CHANGE: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE))];
const COMBINE: &[KeySpec] = &[
    KeySpec::one(2, Access::OVERWRITE.with(Access::UPDATE)),
    KeySpec::to_the_end(3, 1, Access::READ.with(Access::ACCESS)),
];

const PER_BYTE: &str = "O(N) with N bytes looked at";

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Bitmap, name, arity, handler).flags(Flags::READONLY).categories(Categories::BITMAP).keys(READ)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Bitmap, name, arity, handler)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .categories(Categories::BITMAP)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("setbit", 4, setbit).keys(CHANGE).docs("2.2.0", "O(1)", "Sets a bit and returns what it was before"),
    read("getbit", 3, getbit).flags(Flags::FAST).docs("2.2.0", "O(1)", "Returns a bit"),
    read("bitcount", -2, bitcount).docs("2.6.0", PER_BYTE, "Returns how many bits are set"),
    read("bitpos", -3, bitpos).docs("2.8.7", PER_BYTE, "Finds the first bit that is set, or that is not"),
    write("bitop", -4, bitop).keys(COMBINE).docs(
        "2.6.0",
        "O(N) with N bytes in the longest string",
        "Combines strings bit by bit and stores the result",
    ),
];

const BIT_OFFSET: Refusal = Refusal::Fixed("ERR bit offset is not an integer or out of range");

/// The place of a bit, whose byte lies within the longest string.
pub fn bit_offset(context: &Context<'_>, word: &[u8]) -> Result<u64, Refusal> {
    let offset = integer::parse(word).and_then(|offset| u64::try_from(offset).ok());
    checked_bit_offset(context, offset)
}

/// The place of a bit that was computed, if it could be.
pub fn checked_bit_offset(context: &Context<'_>, offset: Option<u64>) -> Result<u64, Refusal> {
    offset.filter(|offset| offset / 8 < context.state.config.longest_string() as u64).ok_or(BIT_OFFSET)
}

fn setbit(context: &mut Context<'_>) -> Outcome {
    let offset = bit_offset(context, context.word(2))?;
    let value = match context.word(3) {
        b"0" => 0,
        b"1" => 1,
        _ => return Err(Refusal::Fixed("ERR bit is not an integer or out of range")),
    };
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let text = transaction.string(key)?.unwrap_or_default();
    let (before, length) = (bits::get(text, offset, 1), text.len());
    if before != value || offset / 8 >= length as u64 {
        transaction.string_set_bits(key, offset, 1, value)?;
        transaction.announce(EventClasses::STRING, "setbit", key);
    } else {
        // Other nodes may have to know that it was set, but nothing has changed.
        transaction.unnoticed(key, |transaction| transaction.string_set_bits(key, offset, 1, value))?;
    }
    context.commit(transaction);
    context.reply_flag(before == 1)
}

fn getbit(context: &mut Context<'_>) -> Outcome {
    let offset = bit_offset(context, context.word(2))?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let text = transaction.string(key)?;
    context.count_read(key, text.is_some());
    context.reply_flag(bits::get(text.unwrap_or_default(), offset, 1) == 1)
}

/// `BIT` (true) or `BYTE` (false).
fn unit(word: &[u8]) -> Result<bool, Refusal> {
    match word {
        word if is_option(word, "bit") => Ok(true),
        word if is_option(word, "byte") => Ok(false),
        _ => Err(SYNTAX),
    }
}

/// The part of a string between two positions, both included, in bytes or bits. Negative ones count from the end.
fn span(text: &[u8], start: i64, end: i64, in_bits: bool) -> Option<Span<'_>> {
    let length = text.len() as i64 * if in_bits { 8 } else { 1 };
    let position = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (position(start), position(end).min(length - 1));
    if start > end {
        return None;
    }
    // Both lie within 0..length here.
    let (start, end) = (start as u64, end as u64);
    Some(if in_bits { Span::new(text, start, end) } else { Span::new(text, start * 8, end * 8 + 7) })
}

fn bitcount(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let text = transaction.string(key)?;
    context.count_read(key, text.is_some());
    // Only now, as Redis does it: without the key nothing else is looked at.
    let Some(text) = text else { return context.reply_integer(0) };
    let (start, end) = match context.words() {
        2 => (0, -1),
        4 | 5 => (context.integer(2)?, context.integer(3)?),
        _ => return Err(SYNTAX),
    };
    // Nor at the unit of what is empty anyhow.
    if start < 0 && end < 0 && start > end {
        return context.reply_integer(0);
    }
    let in_bits = context.arguments.get(4).map_or(Ok(false), unit)?;
    let count = span(text, start, end, in_bits).map_or(0, |span| span.count());
    context.reply_integer(count as i64)
}

fn bitpos(context: &mut Context<'_>) -> Outcome {
    let bit = match integer::parse(context.word(2)).ok_or(NOT_AN_INTEGER)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::Fixed("ERR The bit argument must be 1 or 0.")),
    };
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let text = transaction.string(key)?;
    context.count_read(key, text.is_some());
    // Only now: without the key, which is as good as zeros without end, nothing else is looked at.
    let Some(text) = text else { return context.reply_integer(if bit { -1 } else { 0 }) };
    let words = context.words();
    if words > 6 {
        return Err(SYNTAX);
    }
    let start = if words > 3 { context.integer(3)? } else { 0 };
    let in_bits = context.arguments.get(5).map_or(Ok(false), unit)?;
    let end = if words > 4 { Some(context.integer(4)?) } else { None };
    let place = span(text, start, end.unwrap_or(-1), in_bits).and_then(|span| match span.find(bit) {
        // No end was asked for: behind the string are zeros.
        None if !bit && end.is_none() => Some(text.len() as u64 * 8),
        found => found,
    });
    context.reply_integer(place.map_or(-1, |place| place as i64))
}

fn bitop(context: &mut Context<'_>) -> Outcome {
    let combination = match context.word(1) {
        word if is_option(word, "and") => Some(Combination::And),
        word if is_option(word, "or") => Some(Combination::Or),
        word if is_option(word, "xor") => Some(Combination::Xor),
        word if is_option(word, "not") => None,
        _ => return Err(SYNTAX),
    };
    if combination.is_none() && context.words() != 4 {
        return Err(Refusal::Fixed("ERR BITOP NOT must be called with a single source key."));
    }
    let keys = context.keys(2..context.words());
    let mut transaction = context.lock_keys(&keys);
    let (destination, sources) = (keys[0], &keys[1..]);
    let read = |transaction: &mut Transaction<'_>, key| -> Result<Vec<u8>, WrongType> {
        let text = transaction.string(key)?.map(<[u8]>::to_vec);
        context.count_read(key, text.is_some());
        Ok(text.unwrap_or_default())
    };
    let mut result = read(&mut transaction, sources[0])?;
    match combination {
        None => bits::complement(&mut result),
        Some(combination) => {
            for &source in &sources[1..] {
                bits::combine(&mut result, &read(&mut transaction, source)?, combination);
            }
        }
    }
    let existed = transaction.kind(destination).is_some();
    if result.is_empty() {
        transaction.remove(destination);
    } else {
        transaction.string_set(destination, &result, Life::Forever);
    }
    transaction.announce_stored(EventClasses::STRING, "set", destination, existed);
    context.commit(transaction);
    context.reply_count(result.len())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const BIT_OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
    const BIT: &str = "-ERR bit is not an integer or out of range\r\n";
    const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";

    #[test]
    fn single_bits() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h f v", ":1\r\n"),
            ("setbit s 7 1", ":0\r\n"),
            ("get s", "$1\r\n\u{1}\r\n"),
            ("setbit s 7 1", ":1\r\n"),
            ("getbit s 7", ":1\r\n"),
            ("getbit s 6", ":0\r\n"),
            ("getbit s 4294967295", ":0\r\n"),
            ("setbit s 16 0", ":0\r\n"),
            ("strlen s", ":3\r\n"),
            ("setbit s 4294967296 1", BIT_OFFSET),
            ("setbit s -1 1", BIT_OFFSET),
            ("setbit s x 2", BIT_OFFSET),
            ("setbit s 1 2", BIT),
            ("setbit s 1 01", BIT),
            ("setbit h 1 1", WRONG_TYPE),
            ("getbit h x", BIT_OFFSET),
            ("getbit h 1", WRONG_TYPE),
            ("set n 5 ex 100", "+OK\r\n"),
            ("setbit n 7 0", ":1\r\n"),
            ("get n", "$1\r\n4\r\n"),
            ("ttl n", ":100\r\n"),
        ]);
    }

    #[test]
    fn counting() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set s foobar", "+OK\r\n"),
            ("hset h f v", ":1\r\n"),
            ("bitcount s", ":26\r\n"),
            ("bitcount s 0 0", ":4\r\n"),
            ("bitcount s 1 1", ":6\r\n"),
            ("bitcount s 1 1 byte", ":6\r\n"),
            ("bitcount s 5 30 BIT", ":17\r\n"),
            ("bitcount s -2 -3", ":0\r\n"),
            ("bitcount s 0 -100", ":4\r\n"),
            ("bitcount s -100 -200", ":0\r\n"),
            ("bitcount s 6 6", ":0\r\n"),
            ("bitcount s -9223372036854775808 9223372036854775807 bit", ":26\r\n"),
            ("bitcount s 0", SYNTAX),
            ("bitcount s a", SYNTAX),
            ("bitcount s a b", NOT_AN_INTEGER),
            ("bitcount s 0 1 foo", SYNTAX),
            ("bitcount s 0 1 bit x", SYNTAX),
            ("bitcount s -1 -2 foo", ":0\r\n"),
            ("bitcount h a", WRONG_TYPE),
            ("bitcount nosuch a b c d", ":0\r\n"),
        ]);
    }

    #[test]
    fn finding() {
        let mut fixture = Fixture::new();
        fixture.run_words(&[b"set", b"ff", b"\xff\xff\xff"]);
        fixture.expect(&[
            ("set s foobar", "+OK\r\n"),
            ("set e \"\"", "+OK\r\n"),
            ("hset h f v", ":1\r\n"),
            ("bitpos s 1", ":1\r\n"),
            ("bitpos s 1 7 8 bit", ":-1\r\n"),
            ("bitpos s 1 -100 -200", ":1\r\n"),
            ("bitpos s 1 100", ":-1\r\n"),
            ("bitpos s 1 2 1", ":-1\r\n"),
            ("bitpos s 0 -1", ":40\r\n"),
            ("bitpos ff 0", ":24\r\n"),
            ("bitpos ff 0 1", ":24\r\n"),
            ("bitpos ff 0 3", ":-1\r\n"),
            ("bitpos ff 0 0 -1", ":-1\r\n"),
            ("bitpos ff 1 -3 -1 bit", ":21\r\n"),
            ("bitpos e 0", ":-1\r\n"),
            ("bitpos e 1 0 0", ":-1\r\n"),
            ("bitpos nosuch 0 a", ":0\r\n"),
            ("bitpos nosuch 1 0 0 foo", ":-1\r\n"),
            ("bitpos nosuch 3", "-ERR The bit argument must be 1 or 0.\r\n"),
            ("bitpos h x", NOT_AN_INTEGER),
            ("bitpos h 0 a", WRONG_TYPE),
            ("bitpos s 1 a", NOT_AN_INTEGER),
            ("bitpos s 1 0 1 x", SYNTAX),
            ("bitpos s 1 0 a x", SYNTAX),
            ("bitpos s 1 a 0 x", NOT_AN_INTEGER),
            ("bitpos s 1 a 0 x x", SYNTAX),
            ("bitpos s 1 0 1 bit x", SYNTAX),
        ]);
    }

    #[test]
    fn combining() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("set a abc", "+OK\r\n"),
            ("set b AB", "+OK\r\n"),
            ("hset h f v", ":1\r\n"),
            ("set d x ex 100", "+OK\r\n"),
            ("bitop and d a b", ":3\r\n"),
            ("get d", "$3\r\nAB\0\r\n"),
            ("ttl d", ":-1\r\n"),
            ("bitop OR d a b nosuch", ":3\r\n"),
            ("get d", "$3\r\nabc\r\n"),
            ("bitop xor d a b", ":3\r\n"),
            ("get d", "$3\r\n  c\r\n"),
            ("bitop xor d d d", ":3\r\n"),
            ("get d", "$3\r\n\0\0\0\r\n"),
            ("bitop not h b", ":2\r\n"),
            ("bitop not h h", ":2\r\n"),
            ("get h", "$2\r\nAB\r\n"),
            ("bitop or d nosuch", ":0\r\n"),
            ("exists d", ":0\r\n"),
            ("hset other f v", ":1\r\n"),
            ("bitop or d a other", WRONG_TYPE),
            ("bitop nand d other", SYNTAX),
            ("bitop not d a b", "-ERR BITOP NOT must be called with a single source key.\r\n"),
        ]);
    }
}
