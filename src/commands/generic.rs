//! Keys, whatever they hold.

use super::Flow;
use super::context::{Context, Outcome};
use super::glob;
use super::spec::{Access, Categories, Command, Coordination, Flags, Group, Handler, KeySpec};
use crate::keyspace::{EventClasses, Key, Kind, Transaction};

const LOOK: &[KeySpec] = &[KeySpec::one(1, Access::READ)];
const LOOK_AT_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 1, Access::READ)];
const REMOVE_ALL: &[KeySpec] = &[KeySpec::to_the_end(1, 1, Access::REMOVE.with(Access::DELETE))];
const SUM_OF_SHARDS: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];
const PER_KEY: &str = "O(N) with N keys";

const fn read(name: &'static str, arity: isize, handler: Handler) -> Command {
    Command::new(Group::Generic, name, arity, handler).flags(Flags::READONLY).categories(Categories::KEYSPACE)
}

const fn remove(name: &'static str, handler: Handler) -> Command {
    Command::new(Group::Generic, name, -2, handler)
        .flags(Flags::WRITE)
        .categories(Categories::KEYSPACE)
        .keys(REMOVE_ALL)
        .hints(SUM_OF_SHARDS)
        .coordination(Coordination::Commutes)
}

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    read("keys", 2, keys)
        .flags(Flags::EVERYTHING)
        .categories(Categories::DANGEROUS)
        .hints(&["request_policy:all_shards", "nondeterministic_output_order"])
        .docs("1.0.0", "O(N) with N keys in the database", "Returns all keys that match a pattern"),
    read("randomkey", 1, randomkey)
        .flags(Flags::EVERYTHING)
        .hints(&["request_policy:all_shards", "nondeterministic_output"])
        .docs("1.0.0", "O(1)", "Returns a random key"),
    read("type", 2, kind).flags(Flags::FAST).keys(LOOK).docs("1.0.0", "O(1)", "Returns the type of a key's value"),
    read("exists", -2, exists).flags(Flags::FAST).keys(LOOK_AT_ALL).hints(SUM_OF_SHARDS).docs(
        "1.0.0",
        PER_KEY,
        "Counts how many of the keys exist",
    ),
    read("touch", -2, touch).flags(Flags::FAST).keys(LOOK_AT_ALL).hints(SUM_OF_SHARDS).docs(
        "3.2.1",
        PER_KEY,
        "Counts as a use of the keys",
    ),
    remove("del", del).docs("1.0.0", PER_KEY, "Deletes keys"),
    remove("unlink", del).flags(Flags::FAST).docs("4.0.0", PER_KEY, "Deletes keys"),
];

fn keys(context: &mut Context<'_>) -> Outcome {
    let pattern = context.word(1);
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let transaction = context.lock_all();
    transaction.for_each_key(&mut |key, _| {
        if glob::matches(pattern, key) {
            found.push(key.into());
        }
    });
    drop(transaction);
    context.reply.array(found.len());
    for key in found {
        context.reply.bulk(&key);
    }
    Ok(Flow::Continue)
}

fn randomkey(context: &mut Context<'_>) -> Outcome {
    let key = context.lock_all().random_key(&mut context.session.random);
    context.reply.bulk_or_null(key.as_deref());
    Ok(Flow::Continue)
}

fn kind(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let kind = context.lock(key).kind(key);
    context.count_read(key, kind.is_some());
    context.reply.simple(kind.map_or("none", Kind::name));
    Ok(Flow::Continue)
}

fn exists(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..context.words());
    let transaction = context.lock_keys(&keys);
    let mut found = 0;
    for &key in &keys {
        let there = transaction.kind(key).is_some();
        context.count_read(key, there);
        found += usize::from(there);
    }
    context.reply_count(found)
}

fn touch(context: &mut Context<'_>) -> Outcome {
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let mut found = 0;
    for &key in &keys {
        let there = transaction.touch(key);
        context.count_read(key, there);
        found += usize::from(there);
    }
    context.reply_count(found)
}

fn delete(transaction: &mut Transaction<'_>, key: Key<'_>) -> bool {
    let removed = transaction.remove(key);
    if removed {
        transaction.announce(EventClasses::GENERIC, "del", key);
    }
    removed
}

fn del(context: &mut Context<'_>) -> Outcome {
    if context.words() == 2 {
        let key = context.key(1);
        let mut transaction = context.lock(key);
        let removed = delete(&mut transaction, key);
        context.commit(transaction);
        return context.reply_flag(removed);
    }
    let keys = context.keys(1..context.words());
    let mut transaction = context.lock_keys(&keys);
    let removed = keys.iter().filter(|&&key| delete(&mut transaction, key)).count();
    context.commit(transaction);
    context.reply_count(removed)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    #[test]
    fn keys_of_all_types() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("randomkey", "$-1\r\n"),
            ("set s v", "+OK\r\n"),
            ("randomkey", "$1\r\ns\r\n"),
            ("hset h f v", ":1\r\n"),
            ("sadd m a", ":1\r\n"),
            ("type s", "+string\r\n"),
            ("type h", "+hash\r\n"),
            ("type m", "+set\r\n"),
            ("type nosuch", "+none\r\n"),
            ("exists s s h nosuch", ":3\r\n"),
            ("touch s h nosuch", ":2\r\n"),
            ("keys [h]", "*1\r\n$1\r\nh\r\n"),
            ("keys nosuch*", "*0\r\n"),
            ("del nosuch s s", ":1\r\n"),
            ("unlink h m", ":2\r\n"),
            ("del s", ":0\r\n"),
            ("keys *", "*0\r\n"),
        ]);
    }
}
