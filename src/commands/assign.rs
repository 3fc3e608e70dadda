//! SET and the commands that read and write a string in one step: its options, its older forms, GETEX.

use super::Flow;
use super::context::{
    Context, Outcome, Refusal, SYNTAX, Since, Unit, absolute_time, invalid_expire_time, is_option, time_option,
};
use crate::keyspace::{EventClasses, Key, Life, Transaction};

/// Whether SET writes at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// The options of SET and GETEX.
#[derive(Clone, Copy, Debug)]
struct Options {
    condition: Condition,
    returns_old: bool,
    persists: bool,
    keeps_life: bool,
    time: Option<(usize, (Unit, Since))>,
}

impl Options {
    /// What becomes of the time to live, if that is said. An error when the time makes no sense.
    fn life(&self, context: &Context<'_>) -> Result<Option<Life>, Refusal> {
        match self.time {
            Some((at, (unit, since))) => Ok(Some(Life::Until(deadline(context, at, unit, since)?))),
            None => Ok(self.keeps_life.then_some(Life::Keep)),
        }
    }
}

/// Which of the two commands the options belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Set,
    Getex,
}

fn parse_options(context: &Context<'_>, from: usize, syntax: Syntax) -> Result<Options, Refusal> {
    let mut options =
        Options { condition: Condition::Always, returns_old: false, persists: false, keeps_life: false, time: None };
    let mut at = from;
    while at < context.words() {
        let word = context.word(at);
        let set = syntax == Syntax::Set;
        if set && is_option(word, "nx") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if set && is_option(word, "xx") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if set && is_option(word, "get") {
            options.returns_old = true;
        } else if set && is_option(word, "keepttl") && options.time.is_none() {
            options.keeps_life = true;
        } else if !set && is_option(word, "persist") && options.time.is_none() {
            options.persists = true;
        } else if let Some(kind) = time_option(word)
            // The same unit again is no contradiction: the last one counts.
            && options.time.is_none_or(|(_, before)| before == kind)
            && !options.keeps_life
            && !options.persists
            && at + 1 < context.words()
        {
            options.time = Some((at + 1, kind));
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

/// The point in time that a positive time among the arguments means.
fn deadline(context: &Context<'_>, at: usize, unit: Unit, since: Since) -> Result<u64, Refusal> {
    let value = context.integer(at)?;
    let time = absolute_time(value, unit, since, context.now).filter(|_| value > 0);
    time.and_then(|time| u64::try_from(time).ok()).ok_or_else(|| invalid_expire_time(context))
}

/// Sets a string, or removes the key when its time is over before it begins.
fn store(transaction: &mut Transaction<'_>, key: Key<'_>, value: &[u8], life: Life) {
    match life {
        // In Redis it is there until somebody looks.
        Life::Until(deadline) if deadline <= transaction.now() => {
            transaction.remove(key);
            transaction.announce(EventClasses::STRING, "set", key);
            transaction.announce(EventClasses::GENERIC, "expire", key);
            transaction.announce(EventClasses::EXPIRED, "expired", key);
        }
        life => {
            transaction.string_set(key, value, life);
            transaction.announce(EventClasses::STRING, "set", key);
            if matches!(life, Life::Until(_)) {
                transaction.announce(EventClasses::GENERIC, "expire", key);
            }
        }
    }
}

/// SET.
pub fn set(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let value = context.word(2);
    if context.words() == 3 {
        let mut transaction = context.lock(key);
        transaction.string_set(key, value, Life::Forever);
        transaction.announce(EventClasses::STRING, "set", key);
        context.commit(transaction);
        return context.ok();
    }
    let options = parse_options(context, 3, Syntax::Set)?;
    let life = options.life(context)?.unwrap_or(Life::Forever);
    let mut transaction = context.lock(key);
    let present = match options.returns_old {
        true => {
            let old = transaction.string(key)?;
            context.reply.bulk_or_null(old);
            context.count_read(key, old.is_some());
            old.is_some()
        }
        false => options.condition != Condition::Always && transaction.kind(key).is_some(),
    };
    let writes = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => !present,
        Condition::IfPresent => present,
    };
    if writes {
        store(&mut transaction, key, value, life);
        context.commit(transaction);
    }
    match (options.returns_old, writes) {
        (true, _) => {}
        (false, true) => context.reply.ok(),
        (false, false) => context.reply.null(),
    }
    Ok(Flow::Continue)
}

/// SETNX.
pub fn setnx(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let absent = transaction.kind(key).is_none();
    if absent {
        transaction.string_set(key, context.word(2), Life::Forever);
        transaction.announce(EventClasses::STRING, "set", key);
        context.commit(transaction);
    }
    context.reply_flag(absent)
}

/// SETEX.
pub fn setex(context: &mut Context<'_>) -> Outcome {
    set_for(context, Unit::Seconds)
}

/// PSETEX.
pub fn psetex(context: &mut Context<'_>) -> Outcome {
    set_for(context, Unit::Milliseconds)
}

fn set_for(context: &mut Context<'_>, unit: Unit) -> Outcome {
    let deadline = deadline(context, 2, unit, Since::Now)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    store(&mut transaction, key, context.word(3), Life::Until(deadline));
    context.commit(transaction);
    context.ok()
}

/// GETSET.
pub fn getset(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let old = transaction.string(key)?;
    context.reply.bulk_or_null(old);
    context.count_read(key, old.is_some());
    transaction.string_set(key, context.word(2), Life::Forever);
    transaction.announce(EventClasses::STRING, "set", key);
    context.commit(transaction);
    Ok(Flow::Continue)
}

/// GETDEL.
pub fn getdel(context: &mut Context<'_>) -> Outcome {
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let old = transaction.string(key)?;
    context.reply.bulk_or_null(old);
    context.count_read(key, old.is_some());
    if old.is_some() {
        transaction.remove(key);
        transaction.announce(EventClasses::GENERIC, "del", key);
        context.commit(transaction);
    }
    Ok(Flow::Continue)
}

/// GETEX.
pub fn getex(context: &mut Context<'_>) -> Outcome {
    let options = parse_options(context, 2, Syntax::Getex)?;
    let key = context.key(1);
    let mut transaction = context.lock(key);
    let value = transaction.string(key)?;
    context.reply.bulk_or_null(value);
    context.count_read(key, value.is_some());
    if value.is_none() {
        return Ok(Flow::Continue);
    }
    // Only now: without the key the time is not looked at.
    match options.life(context)? {
        Some(Life::Until(deadline)) if deadline <= context.now => {
            transaction.remove(key);
            transaction.announce(EventClasses::GENERIC, "del", key);
        }
        Some(Life::Until(deadline)) => {
            transaction.set_deadline(key, Some(deadline));
            transaction.announce(EventClasses::GENERIC, "expire", key);
        }
        _ if options.persists && transaction.deadline(key).flatten().is_some() => {
            transaction.set_deadline(key, None);
            transaction.announce(EventClasses::GENERIC, "persist", key);
        }
        _ => {}
    }
    context.commit(transaction);
    Ok(Flow::Continue)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Fixture;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

    #[test]
    fn set_and_its_options() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("hset h f v", ":1\r\n"),
            ("set s v", "+OK\r\n"),
            ("get s", "$1\r\nv\r\n"),
            ("get h", WRONG_TYPE),
            ("set s v ex", "-ERR syntax error\r\n"),
            ("set s v ex 0", "-ERR invalid expire time in 'set' command\r\n"),
            ("set s v px 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
            ("set s v exat 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"),
            ("set s v ex abc", "-ERR value is not an integer or out of range\r\n"),
            ("set s v ex 10 px 10", "-ERR syntax error\r\n"),
            ("set s v ex 10 keepttl", "-ERR syntax error\r\n"),
            ("set s v keepttl ex 10", "-ERR syntax error\r\n"),
            ("set s v nx xx", "-ERR syntax error\r\n"),
            ("set s v ex 5 px 6", "-ERR syntax error\r\n"),
            ("set s v persist", "-ERR syntax error\r\n"),
            ("set s v ex 5 ex 6", "+OK\r\n"),
            ("ttl s", ":6\r\n"),
            ("set s v foo", "-ERR syntax error\r\n"),
            ("set s w nx get", "$1\r\nv\r\n"),
            ("set s w nx", "$-1\r\n"),
            ("set h v get", WRONG_TYPE),
            ("set new v xx get", "$-1\r\n"),
            ("set new v nx get", "$-1\r\n"),
            ("get new", "$1\r\nv\r\n"),
            ("set s w EX 10 xx", "+OK\r\n"),
            ("ttl s", ":10\r\n"),
            ("set s x keepttl", "+OK\r\n"),
            ("ttl s", ":10\r\n"),
            ("set s y", "+OK\r\n"),
            ("ttl s", ":-1\r\n"),
            ("set h v", "+OK\r\n"),
            ("set s z pxat 1", "+OK\r\n"),
            ("get s", "$-1\r\n"),
        ]);
    }

    #[test]
    fn the_older_forms_of_set() {
        let mut fixture = Fixture::new();
        fixture.expect(&[
            ("setnx s v", ":1\r\n"),
            ("setnx s w", ":0\r\n"),
            ("setex s 0 v", "-ERR invalid expire time in 'setex' command\r\n"),
            ("psetex s x v", "-ERR value is not an integer or out of range\r\n"),
            ("setex s 7 v", "+OK\r\n"),
            ("pttl s", ":7000\r\n"),
            ("getset s w", "$1\r\nv\r\n"),
            ("ttl s", ":-1\r\n"),
            ("getdel s", "$1\r\nw\r\n"),
            ("getdel s", "$-1\r\n"),
            ("getset s w", "$-1\r\n"),
            ("getex s ex 5", "$1\r\nw\r\n"),
            ("ttl s", ":5\r\n"),
            ("getex s persist", "$1\r\nw\r\n"),
            ("ttl s", ":-1\r\n"),
            ("getex s persist ex 5", "-ERR syntax error\r\n"),
            ("getex s nx", "-ERR syntax error\r\n"),
            ("getex s ex 0", "-ERR invalid expire time in 'getex' command\r\n"),
            ("getex nosuch ex 0", "$-1\r\n"),
            ("getex s pxat 5", "$1\r\nw\r\n"),
            ("exists s", ":0\r\n"),
        ]);
    }
}
