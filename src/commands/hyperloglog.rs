//! HyperLogLogs: how many different elements were there, about?

use super::Flow;
use super::context::{Context, Outcome, Refusal, is_option, shown};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::effects::Registers;
use crate::keyspace::hyperloglog::{self, Representation, Union, Unusable, register_of};
use crate::keyspace::{EventClasses, Key, Transaction};

const INSERT: &[KeySpec] = &[KeySpec::one(1, Access::READ_WRITE.with(Access::INSERT))];
const COUNT: &[KeySpec] = &[KeySpec {
    note: "RW because it may change the internal representation of the key, and propagate to replicas",
    ..KeySpec::to_the_end(1, 1, Access::READ_WRITE.with(Access::ACCESS))
}];
const MERGE: &[KeySpec] = &[
    KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::INSERT)),
    KeySpec::to_the_end(2, 1, Access::READ.with(Access::ACCESS)),
];
const INSPECT: &[KeySpec] = &[KeySpec::one(2, Access::READ_WRITE.with(Access::ACCESS))];

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::HyperLogLog, name, arity, handler).categories(Categories::HYPERLOGLOG)
}

const fn write(name: &'static str, arity: isize, handler: Handler) -> Command {
    row(name, arity, handler).flags(Flags::WRITE.with(Flags::DENYOOM)).coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    write("pfadd", -2, pfadd).flags(Flags::FAST).keys(INSERT).docs(
        "2.8.9",
        "O(1) for each element",
        "Adds elements to a HyperLogLog",
    ),
    row("pfcount", -2, pfcount).flags(Flags::READONLY.with(Flags::MAY_REPLICATE)).keys(COUNT).docs(
        "2.8.9",
        "O(1) for one key whose number of elements is known already, else O(N) with N keys and a large constant",
        "Returns about how many different elements were added to HyperLogLogs",
    ),
    write("pfmerge", -2, pfmerge).keys(MERGE).docs(
        "2.8.9",
        "O(N) with N keys and a large constant",
        "Adds to a HyperLogLog what others have",
    ),
    write("pfdebug", 3, pfdebug).flags(Flags::ADMIN).keys(INSPECT).internal().docs(
        "2.8.9",
        "O(1) with a large constant",
        "Shows the inside of a HyperLogLog",
    ),
    row("pfselftest", 1, pfselftest).flags(Flags::ADMIN).internal().docs(
        "2.8.9",
        "O(1) with a large constant",
        "Tests the code of HyperLogLogs",
    ),
];

impl From<Unusable> for Refusal {
    fn from(error: Unusable) -> Self {
        Refusal::built(error.to_string())
    }
}

fn pfadd(context: &mut Context<'_>) -> Outcome {
    let mut packed = Vec::with_capacity(3 * context.words());
    for element in context.arguments.from(2).iter() {
        packed.extend_from_slice(&register_of(element).packed());
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let raised = transaction.raise_registers(key, Registers { packed: &packed, dense: false, recount: false });
    if raised == Ok(true) {
        transaction.announce(EventClasses::STRING, "pfadd", key);
    }
    context.commit(transaction);
    context.reply_flag(raised?)
}

/// Adds what a key has, if there is such a key.
fn unite(transaction: &mut Transaction<'_>, union: &mut Union, key: Key<'_>) -> Result<bool, Unusable> {
    let text = transaction.string(key)?;
    text.map_or(Ok(()), |text| union.add(text))?;
    Ok(text.is_some())
}

fn pfcount(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let count = match keys[..] {
        [key] => {
            let count = transaction.count_elements(key)?;
            context.count_read(key, count.is_some());
            count.unwrap_or(0)
        }
        _ => {
            let mut union = Union::default();
            for &key in &keys {
                let there = unite(&mut transaction, &mut union, key)?;
                context.count_read(key, there);
            }
            union.count()
        }
    };
    context.reply_integer(count as i64)
}

fn pfmerge(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let (destination, sources) = (keys[0], &keys[1..]);
    // Not for its registers, which it has anyhow: it must be one, and whole, and may be dense.
    let mut own = Union::default();
    let there = unite(&mut transaction, &mut own, destination)?;
    context.count_read(destination, there);
    let mut union = Union::default();
    for &source in sources {
        let there = unite(&mut transaction, &mut union, source)?;
        context.count_read(source, there);
    }
    let dense = own.has_dense() || union.has_dense();
    transaction.raise_registers(destination, Registers { packed: &union.packed(), dense, recount: true })?;
    transaction.announce(EventClasses::STRING, "pfadd", destination);
    context.commit(transaction);
    context.ok()
}

fn pfdebug(context: &mut Context<'_>) -> Outcome {
    let key = context.key(2);
    let mut transaction = context.lock(key);
    let Some(text) = transaction.string(key)? else {
        return Err(Refusal::Fixed("ERR The specified key does not exist"));
    };
    let representation = hyperloglog::representation(text)?;
    let to_dense = Registers { packed: &[][..], dense: true, recount: false };
    match context.word(1) {
        word if is_option(word, "getreg") => {
            // Redis makes it dense on the way.
            if representation == Representation::Sparse {
                transaction.raise_registers(key, to_dense)?;
            }
            let mut union = Union::default();
            unite(&mut transaction, &mut union, key)?;
            context.commit(transaction);
            context.reply.array(union.values().len());
            for &value in union.values() {
                context.reply.integer(i64::from(value));
            }
            Ok(Flow::Continue)
        }
        word if is_option(word, "decode") => {
            let words = hyperloglog::describe_sparse(text)?.ok_or(Refusal::Fixed("ERR HLL encoding is not sparse"))?;
            context.reply.bulk(words.as_bytes());
            Ok(Flow::Continue)
        }
        word if is_option(word, "encoding") => {
            context.reply.simple(match representation {
                Representation::Dense => "dense",
                Representation::Sparse => "sparse",
            });
            Ok(Flow::Continue)
        }
        word if is_option(word, "todense") => {
            let converts = representation == Representation::Sparse;
            if converts {
                transaction.raise_registers(key, to_dense)?;
                context.commit(transaction);
            }
            context.reply_flag(converts)
        }
        word => {
            let text = [b"ERR Unknown PFDEBUG subcommand '", shown(word), b"'"].concat();
            Err(Refusal::Built(text))
        }
    }
}

fn pfselftest(context: &mut Context<'_>) -> Outcome {
    hyperloglog::self_test(&mut context.session.random).map_err(|what| Refusal::built(format!("TESTFAILED {what}")))?;
    context.ok()
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    const NOT_ONE: &str = "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n";
    const CORRUPT: &str = "-INVALIDOBJ Corrupted HLL object detected\r\n";

    #[test]
    fn adding_counting_and_merging() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("pfcount h", ":0\r\n"),
            ("pfadd h", ":1\r\n"),
            ("pfadd h", ":0\r\n"),
            ("pfcount h", ":0\r\n"),
            ("pfadd h a b c", ":1\r\n"),
            ("pfadd h c b", ":0\r\n"),
            ("pfcount h", ":3\r\n"),
            ("pfadd g c d", ":1\r\n"),
            ("pfcount h g nosuch", ":4\r\n"),
            ("expire h 100", ":1\r\n"),
            ("pfmerge h g nosuch", "+OK\r\n"),
            ("pfcount h", ":4\r\n"),
            ("ttl h", ":100\r\n"),
            ("pfmerge new h", "+OK\r\n"),
            ("pfcount new", ":4\r\n"),
            ("ttl new", ":-1\r\n"),
            ("pfmerge empty", "+OK\r\n"),
            ("pfcount empty", ":0\r\n"),
            ("strlen empty", ":18\r\n"),
        ]);
    }

    #[test]
    fn other_values_are_refused() {
        let mut fixture = Fixture::new();
        fixture.run("pfadd h a b c");
        fixture.run("pfadd cut a b c");
        fixture.run_words(&[b"setrange", b"cut", b"16", b"\0\0\0\0"]);
        fixture.expect(&[
            ("set s text", "+OK\r\n"),
            ("hset x f v", ":1\r\n"),
            ("pfadd s a", NOT_ONE),
            ("pfcount s", NOT_ONE),
            ("pfcount h s", NOT_ONE),
            ("pfmerge s h", NOT_ONE),
            ("pfmerge h s", NOT_ONE),
            ("pfadd x a", WRONG_TYPE),
            ("pfcount x", WRONG_TYPE),
            ("pfmerge x h", WRONG_TYPE),
            ("pfdebug encoding x", WRONG_TYPE),
            ("pfdebug nosuch s", NOT_ONE),
            ("pfcount cut", CORRUPT),
            ("pfcount h cut", CORRUPT),
            ("pfmerge new cut", CORRUPT),
            ("exists new", ":0\r\n"),
            ("pfdebug todense cut", CORRUPT),
        ]);
    }

    #[test]
    fn the_inside() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("pfadd h a b c d", ":1\r\n"),
            ("pfdebug encoding h", "+sparse\r\n"),
            ("pfdebug decode h", "$57\r\nZ:7292 v:1,1 Z:1143 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603\r\n"),
            ("pfdebug TODENSE h", ":1\r\n"),
            ("pfdebug todense h", ":0\r\n"),
            ("pfdebug encoding h", "+dense\r\n"),
            ("strlen h", ":12304\r\n"),
            ("pfdebug decode h", "-ERR HLL encoding is not sparse\r\n"),
            ("pfcount h", ":4\r\n"),
            ("pfdebug foo h", "-ERR Unknown PFDEBUG subcommand 'foo'\r\n"),
            ("pfdebug foo nosuch", "-ERR The specified key does not exist\r\n"),
            ("pfmerge new h", "+OK\r\n"),
            ("pfdebug encoding new", "+dense\r\n"),
            ("pfadd g a", ":1\r\n"),
            ("pfselftest", "+OK\r\n"),
        ]);
        let registers = fixture.run("pfdebug getreg g");
        assert!(registers.starts_with("*16384\r\n:0\r\n"));
        assert_eq!(registers.matches(":2\r\n").count(), 1);
        assert_eq!(fixture.run("pfdebug encoding g"), "+dense\r\n");
    }

    #[test]
    fn in_a_cluster_only_writes_make_effects() {
        let mut fixture = Fixture::in_a_cluster();
        let mut made = |request: &str| {
            fixture.run(request);
            fixture.state.keyspace.drain_effects().len()
        };
        assert_eq!(made("pfadd h a"), 1);
        // Again, so that it survives a removal elsewhere.
        assert_eq!(made("pfadd h a"), 1);
        assert_eq!(made("pfadd h"), 0);
        assert_eq!(made("pfcount h"), 0);
        assert_eq!(made("pfmerge g h"), 1);
    }
}
