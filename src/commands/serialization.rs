//! DUMP and RESTORE: values as Redis's own serialized form, see `rdb`.

use super::Flow;
use super::context::{Context, NOT_AN_INTEGER, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, KeySpec};
use crate::keyspace::{Contents, EventClasses, Key, Millis, Transaction, integer};
use crate::persistence::{from_rdb, to_rdb};
use crate::rdb::{RdbError, dump_payload, load_payload};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new(Group::Generic, "dump", 2, dump)
        .flags(Flags::READONLY)
        .categories(Categories::KEYSPACE)
        .keys(&[KeySpec::one(1, Access::READ.with(Access::ACCESS))])
        .hints(&["nondeterministic_output"])
        .docs("2.6.0", "O(N) with N bytes of data", "Returns a value in its serialized form"),
    Command::new(Group::Generic, "restore", -4, restore)
        .flags(Flags::WRITE.with(Flags::DENYOOM))
        .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .keys(&[KeySpec::one(1, Access::OVERWRITE.with(Access::UPDATE))])
        .coordination(Coordination::DecidesWithout(&["replace"]))
        .docs("2.6.0", "O(N) with N bytes of data", "Makes a key from a value in its serialized form"),
];

const BAD_FORMAT: Refusal = Refusal::Fixed("ERR Bad data format");

fn dump(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let value = transaction.value(key).map(|value| to_rdb(&value, context.now));
    drop(transaction);
    context.count_read(key, value.is_some());
    context.reply.bulk_or_null(value.as_ref().map(dump_payload).as_deref());
    Ok(Flow::Continue)
}

/// How long the serialized form of a value is, without the type in front and what checks it behind.
pub(super) fn dumped_bytes(transaction: &mut Transaction<'_>, key: Key<'_>, now: Millis) -> usize {
    /// The type, the version of the form, and the checksum.
    const AROUND: usize = 1 + 2 + 8;
    let payload = transaction.value(key).map(|value| dump_payload(&to_rdb(&value, now)));
    payload.map_or(0, |payload| payload.len().saturating_sub(AROUND))
}

/// What RESTORE is asked for beside the value.
#[derive(Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    /// Seconds since the key was last used.
    idle: Option<u64>,
    /// How often it was used, on a logarithmic scale.
    frequency: Option<u8>,
}

impl Options {
    fn parse(context: &Context<'_>) -> Result<Options, Refusal> {
        let mut options = Options::default();
        let words = context.arguments.from(4);
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let value = words.get(at + 1);
            let number = || value.and_then(integer::parse).ok_or(NOT_AN_INTEGER);
            if is_option(word, "replace") {
                options.replace = true;
            } else if is_option(word, "absttl") {
                options.absolute = true;
            } else if is_option(word, "idletime") && value.is_some() && options.frequency.is_none() {
                let refusal = Refusal::Fixed("ERR Invalid IDLETIME value, must be >= 0");
                options.idle = Some(u64::try_from(number()?).map_err(|_| refusal)?);
                at += 1;
            } else if is_option(word, "freq") && value.is_some() && options.idle.is_none() {
                let refusal = Refusal::Fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.frequency = Some(u8::try_from(number()?).map_err(|_| refusal)?);
                at += 1;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn restore(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    if !options.replace && transaction.kind(key).is_some() {
        return Err(Refusal::Fixed("BUSYKEY Target key name already exists."));
    }
    let life = u64::try_from(context.integer(2)?).map_err(|_| Refusal::Fixed("ERR Invalid TTL value, must be >= 0"))?;
    let value = load_payload(context.word(3)).map_err(|error| match error {
        RdbError::Version(_) | RdbError::Checksum => Refusal::Fixed("ERR DUMP payload version or checksum are wrong"),
        _ => BAD_FORMAT,
    })?;
    let value = from_rdb(value);
    let deadline = match life {
        0 => None,
        life if options.absolute => Some(life),
        // A life that is longer than can be said lasts as long as can be said.
        life => Some(context.now.saturating_add(life).min(i64::MAX as u64)),
    };
    if deadline.is_some_and(|deadline| deadline <= context.now) || value.is_over(context.now) {
        // Its time is over: nothing is made, and what was there is replaced by nothing.
        if transaction.remove(key) {
            transaction.announce(EventClasses::GENERIC, "del", key);
        }
    } else {
        let mut contents = Contents::new(value, deadline, context.now);
        if let Some(seconds) = options.idle {
            contents = contents.idle_for(seconds, context.now);
        }
        if let Some(frequency) = options.frequency {
            contents = contents.with_frequency(frequency);
        }
        transaction.put(key, contents)?;
        transaction.announce(EventClasses::GENERIC, "restore", key);
    }
    context.commit(transaction);
    context.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Fixture;
    use crate::rdb::{HashField, RdbValue};

    fn run(fixture: &mut Fixture, words: &[&[u8]]) -> String {
        fixture.run_words(words)
    }

    #[test]
    fn what_was_dumped_is_restored() {
        for mut fixture in [Fixture::new(), Fixture::in_a_cluster()] {
            let values = [
                RdbValue::String(b"text".to_vec()),
                RdbValue::Set(vec![b"1".to_vec(), b"m".to_vec()]),
                RdbValue::Hash(vec![HashField { field: b"f".to_vec(), value: b"v".to_vec(), expires_at: None }]),
            ];
            for value in values {
                let payload = dump_payload(&value);
                assert_eq!(run(&mut fixture, &[b"restore", b"k", b"5000", &payload, b"replace"]), "+OK\r\n");
                let key = fixture.state.keyspace.key(b"k");
                let mut transaction = fixture.state.keyspace.lock_one(fixture.now, 0, key);
                assert_eq!(transaction.value(key).map(|value| to_rdb(&value, fixture.now)), Some(value));
                drop(transaction);
                fixture.expect(&[("pttl k", ":5000\r\n")]);
            }
        }
    }

    #[test]
    fn the_options_of_restore() {
        let mut fixture = Fixture::new();
        let payload = dump_payload(&RdbValue::String(b"text".to_vec()));
        let mut restore = |words: &[&str]| {
            let mut request: Vec<&[u8]> = vec![b"restore", b"k", words[0].as_bytes(), &payload];
            request.extend(words[1..].iter().map(|word| word.as_bytes()));
            run(&mut fixture, &request)
        };
        assert_eq!(restore(&["-1"]), "-ERR Invalid TTL value, must be >= 0\r\n");
        assert_eq!(restore(&["x"]), "-ERR value is not an integer or out of range\r\n");
        assert_eq!(restore(&["0", "idletime", "-1"]), "-ERR Invalid IDLETIME value, must be >= 0\r\n");
        assert_eq!(restore(&["0", "freq", "256"]), "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n");
        assert_eq!(restore(&["0", "freq", "1", "idletime", "1"]), "-ERR syntax error\r\n");
        assert_eq!(restore(&["0", "freq"]), "-ERR syntax error\r\n");
        assert_eq!(restore(&["0", "freq", "200"]), "+OK\r\n");
        assert_eq!(restore(&["0"]), "-BUSYKEY Target key name already exists.\r\n");
        fixture.expect(&[("object freq k", ":200\r\n")]);
        let payload = dump_payload(&RdbValue::String(b"text".to_vec()));
        assert_eq!(run(&mut fixture, &[b"restore", b"i", b"0", &payload, b"IDLETIME", b"6000"]), "+OK\r\n");
        fixture.expect(&[
            ("config set maxmemory-policy allkeys-lru", "+OK\r\n"),
            ("object idletime i", ":6000\r\n"),
            ("config set maxmemory-policy allkeys-lfu", "+OK\r\n"),
        ]);
        assert_eq!(run(&mut fixture, &[b"restore", b"i", b"1", &payload, b"absttl", b"replace"]), "+OK\r\n");
        fixture.expect(&[("exists i", ":0\r\n"), ("dump i", "$-1\r\n")]);
        let late = (fixture.now + 77).to_string();
        assert_eq!(run(&mut fixture, &[b"restore", b"i", late.as_bytes(), &payload, b"absttl"]), "+OK\r\n");
        fixture.expect(&[("pttl i", ":77\r\n")]);
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let mut fixture = Fixture::new();
        let payload = dump_payload(&RdbValue::String(b"text".to_vec()));
        let checksum = "-ERR DUMP payload version or checksum are wrong\r\n";
        for length in 0..payload.len() {
            assert_eq!(run(&mut fixture, &[b"restore", b"k", b"0", &payload[..length]]), checksum);
        }
        let list = dump_payload(&RdbValue::List(vec![]));
        assert_eq!(run(&mut fixture, &[b"restore", b"k", b"0", &list]), "-ERR Bad data format\r\n");
        fixture.expect(&[("dbsize", ":0\r\n")]);
    }
}
