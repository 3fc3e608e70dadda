//! Keys under other names and in other databases: RENAME, COPY, MOVE and what is like them.

use super::context::{Context, Outcome, Refusal, SYNTAX, is_option};
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::keyspace::{EventClasses, Key, Transaction, integer};

const COPIED: KeySpec = KeySpec::one(1, Access::READ.with(Access::ACCESS));
const RENAMED: KeySpec = KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::DELETE));
const MOVED: KeySpec = KeySpec::one(1, Access::READ_WRITE.with(Access::ACCESS).with(Access::UPDATE));
const OVERWRITTEN: KeySpec = KeySpec::one(2, Access::OVERWRITE.with(Access::UPDATE));
const MADE: KeySpec = KeySpec::one(2, Access::OVERWRITE.with(Access::INSERT));

const PER_VALUE: &str = "O(1), in a cluster O(N) with N elements";

const fn row(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Generic, name, arity, handler)
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    row("copy", -3, copy)
        .flags(Flags::DENYOOM)
        .keys(&[COPIED, OVERWRITTEN])
        .coordination(Coordination::DecidesWithout(&["replace"]))
        .docs("6.2.0", "O(N) with N elements", "Copies a key's value to another key"),
    row("move", 3, move_).flags(Flags::FAST).keys(&[MOVED]).coordination(Coordination::Decides).docs(
        "1.0.0",
        PER_VALUE,
        "Moves a key to another database",
    ),
    row("rename", 3, rename).keys(&[RENAMED, OVERWRITTEN]).docs(
        "1.0.0",
        PER_VALUE,
        "Gives a key another name, in the place of whatever had it",
    ),
    row("renamenx", 3, renamenx).flags(Flags::FAST).keys(&[RENAMED, MADE]).coordination(Coordination::Decides).docs(
        "1.0.0",
        PER_VALUE,
        "Gives a key another name if no key has it",
    ),
    Command::new(Group::Server, "swapdb", 3, swapdb)
        .flags(Flags::WRITE.with(Flags::FAST).with(Flags::EVERYTHING))
        .categories(Categories::KEYSPACE.with(Categories::DANGEROUS))
        .coordination(Coordination::Commutes)
        .docs("4.0.0", "O(1), in a cluster O(N) with N keys and elements", "Exchanges two databases"),
];

const SAME_OBJECT: Refusal = Refusal::Fixed("ERR source and destination objects are the same");

fn copy(context: &mut Context<'_>) -> Outcome {
    let here = context.session.database;
    let (mut there, mut replace) = (here, false);
    let mut at = 3;
    while let Some(word) = context.arguments.get(at) {
        if is_option(word, "replace") {
            replace = true;
        } else if is_option(word, "db") && at + 1 < context.words() {
            at += 1;
            there = context.database(at)?;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let (key, new) = (context.key(1), context.key(2));
    if here == there && key.bytes == new.bytes {
        return Err(SAME_OBJECT);
    }
    let mut transaction = context.lock_keys(&[key, new]);
    let found = transaction.kind(key).is_some();
    context.count_read(key, found);
    let copied = (replace || !transaction.is_there((there, new))) && transaction.copy_key((here, key), (there, new))?;
    if copied {
        transaction.announce_at(EventClasses::GENERIC, "copy_to", (there, new));
    }
    context.commit(transaction);
    context.reply_flag(copied)
}

fn move_(context: &mut Context<'_>) -> Outcome {
    let here = context.session.database;
    let there = context.database(2)?;
    if here == there {
        return Err(SAME_OBJECT);
    }
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let moved = !transaction.is_there((there, key)) && transaction.move_key((here, key), (there, key))?;
    if moved {
        transaction.announce(EventClasses::GENERIC, "move_from", key);
        transaction.announce_at(EventClasses::GENERIC, "move_to", (there, key));
    }
    context.commit(transaction);
    context.reply_flag(moved)
}

/// The key and its new name, both locked, and the key is there.
fn begin_rename<'c>(context: &Context<'c>) -> Result<(Transaction<'c>, Key<'c>, Key<'c>), Refusal> {
    let (key, new) = (context.key(1), context.key(2));
    let transaction = context.lock_keys(&[key, new]);
    match transaction.kind(key) {
        Some(_) => Ok((transaction, key, new)),
        None => Err(Refusal::Fixed("ERR no such key")),
    }
}

fn announce_rename(transaction: &mut Transaction<'_>, key: Key<'_>, new: Key<'_>) {
    transaction.announce(EventClasses::GENERIC, "rename_from", key);
    transaction.announce(EventClasses::GENERIC, "rename_to", new);
}

fn rename(context: &mut Context<'_>) -> Outcome {
    let here = context.session.database;
    let (mut transaction, key, new) = begin_rename(context)?;
    if key.bytes != new.bytes {
        transaction.move_key((here, key), (here, new))?;
        announce_rename(&mut transaction, key, new);
    }
    context.commit(transaction);
    context.ok()
}

fn renamenx(context: &mut Context<'_>) -> Outcome {
    let here = context.session.database;
    let (mut transaction, key, new) = begin_rename(context)?;
    // This includes its own name.
    let free = transaction.kind(new).is_none();
    let renamed = free && transaction.move_key((here, key), (here, new))?;
    if renamed {
        announce_rename(&mut transaction, key, new);
    }
    context.commit(transaction);
    context.reply_flag(renamed)
}

fn swapdb(context: &mut Context<'_>) -> Outcome {
    let number = |at: usize, refusal| {
        integer::parse(context.word(at)).and_then(|number| i32::try_from(number).ok()).ok_or(refusal)
    };
    let one = number(1, Refusal::Fixed("ERR invalid first DB index"))?;
    let other = number(2, Refusal::Fixed("ERR invalid second DB index"))?;
    let (one, other) = (context.check_database(one)?, context.check_database(other)?);
    let mut transaction = context.lock_all();
    transaction.swap_databases(one, other)?;
    context.commit(transaction);
    context.ok()
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    fn everywhere(test: impl Fn(&mut Fixture)) {
        test(&mut Fixture::new());
        test(&mut Fixture::in_a_cluster());
    }

    #[test]
    fn copying() {
        everywhere(|fixture| {
            fixture.run("set s v px 5000");
            fixture.run("hset h f v g w");
            fixture.run("sadd m 1 x");
            fixture.expect(&[
                ("copy nosuch x", ":0\r\n"),
                ("copy s s", "-ERR source and destination objects are the same\r\n"),
                ("copy s s db 0", "-ERR source and destination objects are the same\r\n"),
                ("copy s s db 16", "-ERR DB index is out of range\r\n"),
                ("copy s s db x", "-ERR value is not an integer or out of range\r\n"),
                (
                    "copy s s db 9999999999",
                    "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
                ),
                ("copy s s db", "-ERR syntax error\r\n"),
                ("copy s s foo", "-ERR syntax error\r\n"),
                ("copy s t", ":1\r\n"),
                ("get t", "$1\r\nv\r\n"),
                ("pttl t", ":5000\r\n"),
                ("copy h t", ":0\r\n"),
                ("copy h t REPLACE", ":1\r\n"),
                ("hgetall t", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$1\r\nw\r\n"),
                ("pttl t", ":-1\r\n"),
                ("copy m t db 3", ":1\r\n"),
                ("hset h f changed", ":0\r\n"),
                ("hget t f", "$1\r\nv\r\n"),
                ("select 3", "+OK\r\n"),
                ("smembers t", "*2\r\n$1\r\n1\r\n$1\r\nx\r\n"),
                ("copy t t db 0", ":0\r\n"),
                ("copy t t replace DB 0", ":1\r\n"),
                ("select 0", "+OK\r\n"),
                ("type t", "+set\r\n"),
                ("exists s h m t", ":4\r\n"),
            ]);
        });
    }

    #[test]
    fn moving_between_databases() {
        everywhere(|fixture| {
            fixture.run("sadd k a");
            fixture.run("pexpire k 5000");
            fixture.expect(&[
                ("move k 0", "-ERR source and destination objects are the same\r\n"),
                ("move k -1", "-ERR DB index is out of range\r\n"),
                ("move nosuch 1", ":0\r\n"),
                ("move k 1", ":1\r\n"),
                ("exists k", ":0\r\n"),
                ("dbsize", ":0\r\n"),
                ("set k here", "+OK\r\n"),
                ("select 1", "+OK\r\n"),
                ("smembers k", "*1\r\n$1\r\na\r\n"),
                ("pttl k", ":5000\r\n"),
                ("move k 0", ":0\r\n"),
                ("dbsize", ":1\r\n"),
            ]);
        });
    }

    #[test]
    fn renaming() {
        everywhere(|fixture| {
            fixture.run("hset h f v");
            fixture.run("pexpire h 5000");
            fixture.run("set s v");
            fixture.expect(&[
                ("rename nosuch x", "-ERR no such key\r\n"),
                ("renamenx nosuch nosuch", "-ERR no such key\r\n"),
                ("rename s s", "+OK\r\n"),
                ("renamenx s s", ":0\r\n"),
                ("renamenx s h", ":0\r\n"),
                ("rename h s", "+OK\r\n"),
                ("hgetall s", "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
                ("pttl s", ":5000\r\n"),
                ("exists h", ":0\r\n"),
                ("renamenx s h", ":1\r\n"),
                ("pttl h", ":5000\r\n"),
                ("dbsize", ":1\r\n"),
                (
                    "rename h __swytch:x",
                    "-ERR keys that begin with '__swytch:' belong to the system and are read-only\r\n",
                ),
            ]);
            fixture.now += 5000;
            fixture.expect(&[("rename h x", "-ERR no such key\r\n"), ("copy h x", ":0\r\n"), ("move h 1", ":0\r\n")]);
        });
    }

    #[test]
    fn swapping_databases() {
        everywhere(|fixture| {
            fixture.run("set a 1 px 5000");
            fixture.run("sadd b x y");
            fixture.run("select 2");
            fixture.run("hset a f v");
            fixture.expect(&[
                ("swapdb x 1", "-ERR invalid first DB index\r\n"),
                ("swapdb 1 99999999999", "-ERR invalid second DB index\r\n"),
                ("swapdb 1 16", "-ERR DB index is out of range\r\n"),
                ("swapdb 2 2", "+OK\r\n"),
                ("swapdb 0 2", "+OK\r\n"),
                ("dbsize", ":2\r\n"),
                ("get a", "$1\r\n1\r\n"),
                ("pttl a", ":5000\r\n"),
                ("smembers b", "*2\r\n$1\r\nx\r\n$1\r\ny\r\n"),
                ("select 0", "+OK\r\n"),
                ("hgetall a", "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
                ("dbsize", ":1\r\n"),
                ("swapdb 0 9", "+OK\r\n"),
                ("dbsize", ":0\r\n"),
            ]);
        });
    }

    #[test]
    fn what_no_effect_can_hold_is_refused() {
        let mut fixture = Fixture::in_a_cluster();
        fixture.run_words(&[b"set", b"large", &vec![b'x'; 700_000]]);
        fixture.run_words(&[b"set", b"larger", &vec![b'x'; 700_000]]);
        let refused = "-ERR the change is larger than what nodes can send to each other at once (600 MB)\r\n";
        fixture.expect(&[
            ("rename large l", "+OK\r\n"),
            ("swapdb 0 1", refused),
            ("append larger x", ":700001\r\n"),
            ("dbsize", ":2\r\n"),
        ]);
        fixture.run_words(&[b"append", b"larger", &vec![b'x'; 700_000]]);
        fixture.expect(&[("rename larger x", refused), ("copy larger x", refused), ("exists larger x", ":1\r\n")]);
        let mut alone = Fixture::new();
        alone.run_words(&[b"set", b"large", &vec![b'x'; 2_000_000]]);
        alone.expect(&[("rename large l", "+OK\r\n"), ("swapdb 0 1", "+OK\r\n"), ("dbsize", ":0\r\n")]);
    }
}
